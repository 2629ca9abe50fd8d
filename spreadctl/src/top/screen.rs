//! How the state is drawn.

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Sparkline, Table, TableState, Wrap};

use super::rows::{Tab, number, time};
use super::state::{Mode, Top};
use crate::admin::Status;
use crate::text::{count, printable};

const HELP: &str = "\
tab        sessions, groups, cut-offs
up down    select; also j and k
s r        sort by the next column; the other way round
/          filter; escape clears it
enter      groups of a session, members of a group
x          kick the selected session
p          pause
R          ask the daemon now
q          quit";

/// Draws the screen; without `colors` in what a terminal has for all.
pub(super) fn draw(frame: &mut Frame<'_>, top: &Top, colors: bool) {
    let [head, chart, tabs, body, foot] = Layout::vertical([
        Constraint::Length(3),
        Constraint::Length(3),
        Constraint::Length(1),
        Constraint::Min(3),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let look = Look { colors };
    frame.render_widget(header(top, &look), head);
    draw_charts(frame, top, &look, chart);
    frame.render_widget(tab_line(top, &look), tabs);
    draw_table(frame, top, &look, body);
    frame.render_widget(footer(top, &look), foot);
    match &top.mode {
        Mode::Help => popup(frame, "keys", HELP),
        Mode::Detail => draw_detail(frame, top),
        _ => {}
    }
}

/// The styles.
struct Look {
    colors: bool,
}

impl Look {
    fn color(&self, color: Color) -> Style {
        if self.colors { Style::new().fg(color) } else { Style::new() }
    }

    fn strong(&self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    fn marked(&self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }
}

fn header<'a>(top: &'a Top, look: &Look) -> Paragraph<'a> {
    let status = &top.status;
    let mut first = vec![
        Span::styled(printable(status.daemon.as_bytes()), look.strong()),
        Span::raw(format!(" spreadd {}, up {}", status.version, time(status.uptime_seconds))),
    ];
    if top.is_paused {
        first.push(Span::styled("  paused", look.color(Color::Yellow)));
    }
    if let Some(hosts) = &status.hosts {
        let mut text = format!("  hosts: {}", hosts.present.join(" "));
        if !hosts.absent.is_empty() {
            text.push_str(&format!("; absent: {}", hosts.absent.join(" ")));
        }
        if hosts.forming {
            text.push_str("; forming");
        }
        first.push(Span::raw(text));
    }
    let sessions = match status.limits.sessions {
        0 => count(status.sessions(), "session"),
        limit => format!("{} of {limit} sessions", status.sessions()),
    };
    let second = format!(
        "{sessions}, {}; {} queued, {} KiB; {} cut off, {} rejected",
        count(status.groups(), "group"),
        number(status.queued() as f64),
        status.queued_bytes / 1024,
        status.cut_off_total,
        status.rejected_total,
    );
    let now = status.rates();
    let mut third = format!(
        "in {}/s, out {}/s, {:.1} MB/s",
        number(now.received),
        number(now.delivered),
        now.delivered_bytes / 1e6,
    );
    if let Some(minute) = status.last_minute {
        let (received, delivered) = (number(minute.received), number(minute.delivered));
        third.push_str(&format!("; over 60 s: in {received}/s, out {delivered}/s"));
    }
    Paragraph::new(vec![Line::from(first), Line::from(second), Line::from(third)])
}

fn draw_charts(frame: &mut Frame<'_>, top: &Top, look: &Look, area: Rect) {
    let halves = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).spacing(2);
    let [left, right] = halves.areas(area);
    let received: Vec<u64> = top.chart.iter().map(|rates| rates.0).collect();
    let delivered: Vec<u64> = top.chart.iter().map(|rates| rates.1).collect();
    for (title, rates, area, color) in
        [("in/s", received, left, Color::Green), ("out/s", delivered, right, Color::Cyan)]
    {
        let most = rates.iter().max().copied().unwrap_or_default();
        // The newest at the right, as far as there is room.
        let newest = &rates[rates.len().saturating_sub(area.width.into())..];
        let title = format!("{title}, at most {}", number(most as f64));
        let chart = Sparkline::default().block(Block::new().title(title)).data(newest);
        frame.render_widget(chart.style(look.color(color)), area);
    }
}

fn tab_line<'a>(top: &Top, look: &Look) -> Line<'a> {
    let Status { session_list, group_list, cut_offs, .. } = &top.status;
    let sizes = [
        size(session_list.len(), top.status.sessions()),
        size(group_list.len(), top.status.groups()),
        size(cut_offs.len(), cut_offs.len()),
    ];
    let mut spans = Vec::new();
    for (tab, size) in Tab::ALL.into_iter().zip(sizes) {
        let style = if tab == top.tab { look.marked() } else { Style::new() };
        spans.push(Span::styled(format!(" {} {size} ", tab.title()), style));
        spans.push(Span::raw(" "));
    }
    if !top.filter.is_empty() || top.mode == Mode::Filter {
        let cursor = if top.mode == Mode::Filter { "_" } else { "" };
        let filter = format!("/{}{cursor}", printable(top.filter.as_bytes()));
        spans.push(Span::styled(filter, look.color(Color::Yellow)));
    }
    Line::from(spans)
}

/// Returns the number of rows of a table, and of how many where the daemon lists a part.
fn size(listed: usize, all: usize) -> String {
    if listed < all { format!("{listed} of {all}") } else { listed.to_string() }
}

fn draw_table(frame: &mut Frame<'_>, top: &Top, look: &Look, area: Rect) {
    let columns = top.columns();
    let sort = top.sort();
    let heading = columns.iter().enumerate().map(|(place, column)| {
        let arrow = match (place == sort.column, sort.is_descending) {
            (false, _) => "",
            (true, false) => "^",
            (true, true) => "v",
        };
        aligned(format!("{}{arrow}", column.title), column.is_number)
    });
    let heading = ratatui::widgets::Row::new(heading).style(look.strong());
    let rows = top.rows();
    let lines = rows.iter().map(|row| {
        let cells = row.cells.iter().zip(columns);
        let is_waiting = top.tab == Tab::Sessions
            && top.status.session_list.iter().any(|session| {
                session.private_group == row.key
                    && (session.throttled_by.is_some() || session.queued > 0)
            });
        let style = if is_waiting { look.color(Color::Yellow) } else { Style::new() };
        let cells = cells.map(|(cell, column)| aligned(cell.shown().to_owned(), column.is_number));
        ratatui::widgets::Row::new(cells).style(style)
    });
    // The last column takes what is left.
    let last = columns.len() - 1;
    let widths = columns.iter().enumerate().map(|(place, column)| match place == last {
        true => Constraint::Min(column.width.min(8)),
        false => Constraint::Length(column.width),
    });
    let table = Table::new(lines, widths).header(heading).row_highlight_style(look.marked());
    let mut state = TableState::default().with_selected(top.selected(&rows));
    frame.render_stateful_widget(table, area, &mut state);
}

fn aligned<'a>(text: String, right: bool) -> Line<'a> {
    Line::from(text).alignment(if right { Alignment::Right } else { Alignment::Left })
}

fn footer<'a>(top: &'a Top, look: &Look) -> Line<'a> {
    let alarm = look.color(Color::Red).add_modifier(Modifier::BOLD);
    match (&top.mode, &top.problem, &top.notice) {
        (Mode::Confirm(client), ..) => {
            let client = printable(client.as_bytes());
            Line::styled(format!("kick {client}? y kicks it, any other key does not"), alarm)
        }
        (_, Some(problem), _) => Line::styled(format!("{problem}; asking again"), alarm),
        (_, _, Some(notice)) => Line::styled(notice.as_str(), look.color(Color::Yellow)),
        _ => Line::from(
            "tab next table  s sort  r reverse  / filter  enter more  x kick  p pause  ? help  q quit",
        ),
    }
}

fn draw_detail(frame: &mut Frame<'_>, top: &Top) {
    let Some(row) = top.selected_row() else {
        return;
    };
    let (title, lines) = match top.tab {
        Tab::Sessions => {
            let session = top.status.session_list.iter().find(|s| s.private_group == row.key);
            ("groups", session.map(|session| session.group_names.clone()))
        }
        Tab::Groups => {
            let group = top.status.group_list.iter().find(|group| group.name == row.key);
            ("members", group.map(|group| group.member_names.clone()))
        }
        Tab::CutOffs => {
            ("cut off", Some(row.cells.iter().map(|cell| cell.shown().to_owned()).collect()))
        }
    };
    let lines = lines.unwrap_or_default();
    let text = match lines.is_empty() {
        true => "the daemon does not tell them".to_owned(),
        false => printable_lines(&lines),
    };
    popup(frame, &format!("{} of {}", title, printable(row.cells[0].shown().as_bytes())), &text);
}

fn printable_lines(lines: &[String]) -> String {
    lines.iter().map(|line| printable(line.as_bytes())).collect::<Vec<_>>().join("\n")
}

/// Draws a text in a frame over the middle of the screen.
fn popup(frame: &mut Frame<'_>, title: &str, text: &str) {
    let whole = frame.area();
    let longest = text.lines().map(|line| line.chars().count()).max().unwrap_or_default();
    let wanted = longest.max(title.chars().count()) + 4;
    let width = u16::try_from(wanted).unwrap_or(u16::MAX).min(whole.width);
    let height = u16::try_from(text.lines().count() + 2).unwrap_or(u16::MAX).min(whole.height);
    let area = Rect {
        x: whole.x + (whole.width - width) / 2,
        y: whole.y + (whole.height - height) / 2,
        width,
        height,
    };
    frame.render_widget(Clear, area);
    let block = Block::bordered().title(format!(" {title} "));
    frame.render_widget(Paragraph::new(text).block(block).wrap(Wrap { trim: false }), area);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::state::tests::{press, status, top};
    use super::*;

    fn shown(top: &Top, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, top, true)).unwrap();
        terminal.backend().to_string()
    }

    fn line_with<'a>(screen: &'a str, text: &str) -> &'a str {
        let found = screen.lines().find(|line| line.contains(text));
        found.unwrap_or_else(|| panic!("no {text:?} in\n{screen}"))
    }

    #[test]
    fn the_screen_shows_daemon_rates_and_sessions() {
        let screen = shown(&top(), 120, 20);
        line_with(&screen, "here spreadd 0.1.0, up 1 h 2 m");
        line_with(&screen, "3 sessions, 2 groups; 9 queued");
        line_with(&screen, "in 1500/s, out 4500/s, 3.0 MB/s; over 60 s: in 100/s, out 0/s");
        line_with(&screen, "Sessions 3   Groups 2   Cut off 1");
        assert!(line_with(&screen, "QUEUED").contains("SESSION^"));
        let bob = line_with(&screen, "#bob#here");
        assert!(bob.contains("unix") && bob.contains(" 7 ") && bob.contains("1 m 15 s"), "{bob}");
    }

    #[test]
    fn the_numbers_are_those_of_all_sessions_also_if_a_part_is_listed() {
        let mut top = top();
        let json = r##"{"sessions":12000,"groups":1,"queued_messages":34,
            "session_list":[{"private_group":"#amy#here"}],"group_list":[{"name":"news"}]}"##;
        top.update(Ok(serde_json::from_str(json).unwrap()), Duration::from_secs(1));
        let screen = shown(&top, 120, 20);
        line_with(&screen, "12000 sessions, 1 group; 34 queued");
        line_with(&screen, "Sessions 1 of 12000   Groups 1   Cut off 0");
    }

    #[test]
    fn groups_and_cut_offs_have_tables_of_their_own() {
        let mut top = top();
        press(&mut top, "\t");
        let screen = shown(&top, 100, 20);
        assert!(line_with(&screen, "\"news ").contains("#amy#here #bob#here #cid#here"));
        press(&mut top, "\t");
        assert!(line_with(&shown(&top, 100, 20), "#slow#here").contains("queue_full"));
    }

    #[test]
    fn details_help_and_questions_stand_on_the_screen() {
        let mut top = top();
        press(&mut top, "\tv\n");
        let screen = shown(&top, 100, 20);
        line_with(&screen, "members of news");
        line_with(&screen, "│#cid#here");
        press(&mut top, " ?");
        line_with(&shown(&top, 100, 20), "kick the selected session");
        press(&mut top, " \t\tx");
        line_with(&shown(&top, 100, 20), "kick #amy#here? y kicks it");
    }

    #[test]
    fn a_daemon_that_is_away_is_told_at_the_foot() {
        let mut top = top();
        top.update(Err("no daemon answers".to_owned()), Duration::from_secs(1));
        let screen = shown(&top, 80, 20);
        assert!(screen.lines().last().unwrap().contains("no daemon answers; asking again"));
        line_with(&screen, "#amy#here");
    }

    #[test]
    fn no_screen_is_too_small_and_no_name_too_strange() {
        let mut top = top();
        let mut odd = status();
        odd.daemon = "\x1b[31mred".to_owned();
        odd.session_list[0].private_group = format!("#{}#\u{202e}x", "w".repeat(200));
        odd.group_list[0].name = "\u{7}\n".to_owned();
        top.update(Ok(odd), Duration::from_secs(1));
        for keys in ["", "\t", "\n", " ?", " /abc", "\n\x1b\tx"] {
            press(&mut top, keys);
            for (width, height) in [(1, 1), (2, 30), (200, 2), (40, 8), (300, 100)] {
                let screen = shown(&top, width, height);
                assert!(!screen.contains(['\u{1b}', '\u{202e}', '\u{7}']));
            }
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(24))]
        #[test]
        fn any_keys_and_statuses_can_be_drawn(
            steps in proptest::collection::vec(("[qsrpxyvab/?\n\t\\x1b^]{0,3}", 0..5usize), 0..20),
            (width, height) in (1..150u16, 1..50u16),
        ) {
            let mut top = top();
            for (keys, sessions) in steps {
                press(&mut top, &keys);
                let mut next = status();
                next.session_list.truncate(sessions);
                next.group_list.truncate(sessions / 2);
                let next = if sessions == 4 { Err("gone".to_owned()) } else { Ok(next) };
                top.update(next, Duration::from_secs(1));
                shown(&top, width, height);
                let rows = top.rows();
                assert_eq!(top.selected(&rows).is_some(), !rows.is_empty());
            }
        }
    }
}
