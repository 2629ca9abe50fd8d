//! What the screen shows and what keys do to it. Without I/O and clock.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::time::Duration;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::rows::{Column, Row, Tab};
use crate::admin::Status;

/// Rates that the chart shows.
const CHART: usize = 120;

/// What a key asks for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Request {
    Quit,
    Refresh,
    Kick(String),
}

/// What the keyboard is for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Mode {
    #[default]
    Table,
    /// A filter is being typed.
    Filter,
    /// Whether to kick this client.
    Confirm(String),
    /// More of the selected row.
    Detail,
    Help,
}

/// How the rows of a tab are sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sort {
    pub(super) column: usize,
    pub(super) is_descending: bool,
}

/// The screen.
#[derive(Debug, Default)]
pub(super) struct Top {
    pub(super) status: Status,
    /// Why there is no newer status.
    pub(super) problem: Option<String>,
    /// What the last kick came to.
    pub(super) notice: Option<String>,
    pub(super) tab: Tab,
    pub(super) mode: Mode,
    pub(super) filter: String,
    pub(super) is_paused: bool,
    sorts: [Sort; Tab::ALL.len()],
    /// The key of the selected row, so that it stays selected wherever it goes.
    selected: Option<String>,
    /// Messages received and delivered in a second, the newest last.
    pub(super) chart: VecDeque<(u64, u64)>,
    /// Messages of each session in a second.
    pub(super) session_rates: HashMap<String, (f64, f64)>,
}

impl Top {
    /// Takes a status, or why there is none, so much time after the one before.
    pub(super) fn update(&mut self, status: Result<Status, String>, after: Duration) {
        let status = match status {
            Err(problem) => {
                self.problem = Some(problem);
                return;
            }
            Ok(status) => status,
        };
        self.problem = None;
        if self.is_paused {
            return;
        }
        let before: HashMap<&str, (u64, u64)> = self
            .status
            .session_list
            .iter()
            .map(|session| (&*session.private_group, (session.received, session.delivered)))
            .collect();
        let seconds = after.as_secs_f64();
        let growth = |now: u64, before: u64| match seconds > 0.0 {
            // A session that came back under its name counts anew.
            true => now.checked_sub(before).map_or(0.0, |growth| growth as f64 / seconds),
            false => 0.0,
        };
        let rates = status.session_list.iter().filter_map(|session| {
            let (received, delivered) = before.get(&*session.private_group)?;
            let rates =
                (growth(session.received, *received), growth(session.delivered, *delivered));
            Some((session.private_group.clone(), rates))
        });
        self.session_rates = rates.collect();
        let rates = status.rates();
        self.chart.push_back((rates.received as u64, rates.delivered as u64));
        if self.chart.len() > CHART {
            self.chart.pop_front();
        }
        self.status = status;
    }

    pub(super) fn sort(&self) -> Sort {
        self.sorts[self.tab as usize]
    }

    pub(super) fn columns(&self) -> &'static [Column] {
        self.tab.columns()
    }

    /// Returns the rows of the tab that the filter lets through, in their order.
    pub(super) fn rows(&self) -> Vec<Row> {
        let mut rows = self.tab.rows(self);
        let filter = self.filter.to_lowercase();
        rows.retain(|row| row.contains(&filter));
        let Sort { column, is_descending } = self.sort();
        // The keys are distinct, so the order is certain.
        rows.sort_by(|a, b| {
            let order = a.cells[column].cmp(&b.cells[column]);
            let order = if is_descending { order.reverse() } else { order };
            order.then_with(|| a.key.cmp(&b.key))
        });
        rows
    }

    /// Returns the place of the selected row among these.
    pub(super) fn selected(&self, rows: &[Row]) -> Option<usize> {
        if rows.is_empty() {
            return None;
        }
        let place = rows.iter().position(|row| Some(&row.key) == self.selected.as_ref());
        Some(place.unwrap_or(0))
    }

    pub(super) fn selected_row(&self) -> Option<Row> {
        let mut rows = self.rows();
        self.selected(&rows).map(|place| rows.swap_remove(place))
    }

    /// Does what a key is for.
    pub(super) fn key(&mut self, key: KeyEvent) -> Option<Request> {
        if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
            return Some(Request::Quit);
        }
        match &self.mode {
            Mode::Filter => {
                match key.code {
                    KeyCode::Enter => self.mode = Mode::Table,
                    KeyCode::Esc => {
                        self.filter.clear();
                        self.mode = Mode::Table;
                    }
                    KeyCode::Backspace => drop(self.filter.pop()),
                    KeyCode::Char(c) => self.filter.push(c),
                    _ => {}
                }
                None
            }
            Mode::Confirm(client) => {
                let request =
                    (key.code == KeyCode::Char('y')).then(|| Request::Kick(client.clone()));
                self.mode = Mode::Table;
                request
            }
            Mode::Detail | Mode::Help => {
                self.mode = Mode::Table;
                None
            }
            Mode::Table => self.table_key(key.code),
        }
    }

    fn table_key(&mut self, key: KeyCode) -> Option<Request> {
        self.notice = None;
        match key {
            KeyCode::Char('q') => return Some(Request::Quit),
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Char('R') => return Some(Request::Refresh),
            KeyCode::Tab | KeyCode::Right => self.switch(1),
            KeyCode::BackTab | KeyCode::Left => self.switch(Tab::ALL.len() - 1),
            KeyCode::Up | KeyCode::Char('k') => self.go(|place, _| place.saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => self.go(|place, last| (place + 1).min(last)),
            KeyCode::PageUp => self.go(|place, _| place.saturating_sub(10)),
            KeyCode::PageDown => self.go(|place, last| (place + 10).min(last)),
            KeyCode::Home => self.go(|_, _| 0),
            KeyCode::End => self.go(|_, last| last),
            KeyCode::Char('s') => {
                let sort = &mut self.sorts[self.tab as usize];
                sort.column = (sort.column + 1) % self.tab.columns().len();
                sort.is_descending = self.tab.columns()[sort.column].is_number;
            }
            KeyCode::Char('r') => {
                let sort = &mut self.sorts[self.tab as usize];
                sort.is_descending = !sort.is_descending;
            }
            KeyCode::Char('/') => self.mode = Mode::Filter,
            KeyCode::Char('p') | KeyCode::Char(' ') => self.is_paused = !self.is_paused,
            KeyCode::Char('?') | KeyCode::Char('h') => self.mode = Mode::Help,
            KeyCode::Enter if self.selected_row().is_some() => self.mode = Mode::Detail,
            KeyCode::Char('x') | KeyCode::Delete if self.tab == Tab::Sessions => {
                if let Some(row) = self.selected_row() {
                    self.mode = Mode::Confirm(row.key);
                }
            }
            _ => {}
        }
        None
    }

    fn switch(&mut self, by: usize) {
        self.tab = Tab::ALL[(self.tab as usize + by) % Tab::ALL.len()];
        self.selected = None;
    }

    fn go(&mut self, to: impl Fn(usize, usize) -> usize) {
        let mut rows = self.rows();
        if let Some(place) = self.selected(&rows) {
            let place = to(place, rows.len() - 1);
            self.selected = Some(rows.swap_remove(place).key);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::admin::{CutOff, Group, Rates, Session};

    pub(in super::super) fn status() -> Status {
        let session = |name: &str, queued, delivered| Session {
            private_group: format!("#{name}#here"),
            groups: 1,
            group_names: vec!["news".to_owned()],
            connected_seconds: 75,
            queued,
            received: 10,
            delivered,
            ..Session::default()
        };
        Status {
            daemon: "here".to_owned(),
            version: "0.1.0".to_owned(),
            uptime_seconds: 3725,
            session_list: vec![session("amy", 0, 100), session("bob", 7, 50), session("cid", 2, 0)],
            group_list: vec![
                Group {
                    name: "news".to_owned(),
                    members: 3,
                    member_names: ["amy", "bob", "cid"].map(|n| format!("#{n}#here")).to_vec(),
                },
                Group { name: "empty-ish".to_owned(), members: 1, member_names: Vec::new() },
            ],
            cut_offs: vec![CutOff {
                private_group: "#slow#here".to_owned(),
                reason: "queue_full".to_owned(),
                detail: "it did not read".to_owned(),
                seconds_ago: 12,
            }],
            last_second: Some(Rates { received: 1500.0, delivered: 4500.0, delivered_bytes: 3e6 }),
            last_minute: Some(Rates { received: 100.0, ..Rates::default() }),
            ..Status::default()
        }
    }

    pub(in super::super) fn top() -> Top {
        let mut top = Top::default();
        top.update(Ok(status()), Duration::ZERO);
        top
    }

    pub(in super::super) fn press(top: &mut Top, keys: &str) -> Vec<Request> {
        let key = |c| match c {
            '\n' => KeyCode::Enter,
            '\t' => KeyCode::Tab,
            '\x1b' => KeyCode::Esc,
            'v' => KeyCode::Down,
            '^' => KeyCode::Up,
            c => KeyCode::Char(c),
        };
        keys.chars().filter_map(|c| top.key(key(c).into())).collect()
    }

    fn keys(top: &Top) -> Vec<String> {
        top.rows().into_iter().map(|row| row.key).collect()
    }

    #[test]
    fn rows_are_sorted_by_each_column_both_ways() {
        let mut top = top();
        assert_eq!(keys(&top), ["#amy#here", "#bob#here", "#cid#here"]);
        press(&mut top, "r");
        assert_eq!(keys(&top), ["#cid#here", "#bob#here", "#amy#here"]);
        let queue = Tab::Sessions.columns().iter().position(|c| c.title == "QUEUED").unwrap();
        press(&mut top, &"s".repeat(queue));
        assert_eq!(keys(&top), ["#bob#here", "#cid#here", "#amy#here"], "the longest first");
        press(&mut top, "r");
        assert_eq!(keys(&top), ["#amy#here", "#cid#here", "#bob#here"]);
        press(&mut top, "\t");
        assert_eq!(keys(&top), ["empty-ish", "news"], "each tab has its own order");
    }

    #[test]
    fn a_filter_is_typed_kept_and_cleared() {
        let mut top = top();
        press(&mut top, "/BO");
        assert_eq!((keys(&top), &top.mode), (vec!["#bob#here".to_owned()], &Mode::Filter));
        press(&mut top, "\n");
        assert_eq!((keys(&top).len(), &top.mode), (1, &Mode::Table));
        assert!(press(&mut top, "\x1b").is_empty(), "the first escape clears the filter");
        assert_eq!(keys(&top).len(), 3);
        assert!(press(&mut top, "?\x1b\x1b").is_empty(), "it closes the help, and no more");
        assert_eq!(press(&mut top, "q"), [Request::Quit]);
    }

    #[test]
    fn the_selection_stays_with_its_row() {
        let mut top = top();
        press(&mut top, "v");
        assert_eq!(top.selected_row().unwrap().key, "#bob#here");
        press(&mut top, "r");
        assert_eq!(top.selected_row().unwrap().key, "#bob#here");
        let mut fewer = status();
        fewer.session_list.retain(|session| session.private_group != "#bob#here");
        top.update(Ok(fewer), Duration::from_secs(1));
        assert_eq!(top.selected_row().unwrap().key, "#cid#here", "the first takes its place");
        press(&mut top, "vvvvvv");
        assert_eq!(top.selected_row().unwrap().key, "#amy#here");
        top.update(Ok(Status::default()), Duration::from_secs(1));
        assert_eq!(top.selected_row(), None);
        press(&mut top, "v^x\n");
        assert_eq!(top.mode, Mode::Table);
    }

    #[test]
    fn nobody_is_kicked_without_a_yes() {
        let mut top = top();
        assert!(press(&mut top, "vxn").is_empty());
        assert_eq!(press(&mut top, "xy"), [Request::Kick("#bob#here".to_owned())]);
        assert!(press(&mut top, "\txy").is_empty(), "a group cannot be kicked");
    }

    #[test]
    fn rates_of_sessions_are_their_growth() {
        let mut top = top();
        let mut later = status();
        later.session_list[0].delivered += 500;
        later.session_list[1].delivered = 10;
        top.update(Ok(later), Duration::from_secs(2));
        assert_eq!(top.session_rates["#amy#here"], (0.0, 250.0));
        assert_eq!(top.session_rates["#bob#here"], (0.0, 0.0), "a new session of the old name");
    }

    #[test]
    fn a_daemon_that_is_away_leaves_the_last_status() {
        let mut top = top();
        top.update(Err("no daemon".to_owned()), Duration::from_secs(1));
        assert_eq!((top.problem.as_deref(), keys(&top).len()), (Some("no daemon"), 3));
        top.update(Ok(status()), Duration::from_secs(1));
        assert_eq!(top.problem, None);
        press(&mut top, "p");
        top.update(Ok(Status::default()), Duration::from_secs(1));
        assert_eq!(keys(&top).len(), 3, "a screen that is paused stays");
    }
}
