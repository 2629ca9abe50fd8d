//! How the state is drawn.

use std::collections::HashSet;

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Sparkline, Table, TableState};

use super::layout;
use super::rows::{Cell, Column, Tab, number, time};
use super::state::{Mode, Top};
use crate::admin::Status;
use crate::text::{count, printable};

const HELP: &str = "\
tab        sessions, groups, cut-offs
up down    select; also j and k
s r        sort by the next column; the other way round
/          filter; escape clears it
enter      all of a row, with its groups or members
x          kick the selected session
p          pause
R          ask the daemon now
q          quit";

/// The keys, the most important first: as many as fit stand at the foot.
const KEYS: [&str; 9] = [
    "q quit",
    "? help",
    "tab next table",
    "s sort",
    "/ filter",
    "enter more",
    "x kick",
    "r reverse",
    "p pause",
];

/// Draws the screen; without `colors` in what a terminal has for all.
pub(super) fn draw(frame: &mut Frame<'_>, top: &Top, colors: bool) {
    let look = Look { colors };
    let width = frame.area().width;
    let (header, footer) = (header(top, &look, width), footer(top, &look, width));
    let height = |lines: &[Line<'_>]| u16::try_from(lines.len()).unwrap_or(u16::MAX);
    let [head, chart, tabs, body, foot] = Layout::vertical([
        Constraint::Length(height(&header)),
        Constraint::Length(3),
        Constraint::Length(1),
        Constraint::Min(3),
        Constraint::Length(height(&footer)),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(header), head);
    draw_charts(frame, top, &look, chart);
    frame.render_widget(tab_line(top, &look), tabs);
    draw_table(frame, top, &look, body);
    frame.render_widget(Paragraph::new(footer), foot);
    match &top.mode {
        Mode::Help => popup(frame, "keys", HELP.lines().map(str::to_owned).collect()),
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

fn header<'a>(top: &'a Top, look: &Look, width: u16) -> Vec<Line<'a>> {
    let status = &top.status;
    let mut first = vec![
        Span::styled(printable(status.daemon.as_bytes()), look.strong()),
        Span::raw(format!(" spreadd {}, up {}", status.version, time(status.uptime_seconds))),
    ];
    if top.is_paused {
        first.push(Span::styled("  paused", look.color(Color::Yellow)));
    }
    let sessions = match status.limits.sessions {
        0 => count(status.sessions(), "session"),
        limit => format!("{} of {limit} sessions", status.sessions()),
    };
    let now = status.rates();
    let mut numbers = vec![
        format!("{sessions}, {}", count(status.groups(), "group")),
        format!("{} queued, {} KiB", number(status.queued() as f64), status.queued_bytes / 1024),
        format!("{} cut off, {} rejected", status.cut_off_total, status.rejected_total),
    ];
    let mut rates = vec![format!(
        "in {}/s, out {}/s, {}",
        number(now.received),
        number(now.delivered),
        bytes(now.delivered_bytes),
    )];
    if let Some(minute) = status.last_minute {
        let (received, delivered) = (number(minute.received), number(minute.delivered));
        rates.push(format!("over 60 s: in {received}/s, out {delivered}/s"));
    }
    if let Some(hosts) = &status.hosts {
        let listed = |what: &str, names: &[String]| {
            let text = format!("{what}: {}", names.join(" "));
            (!names.is_empty()).then(|| printable(text.as_bytes()))
        };
        numbers.extend(listed("hosts", &hosts.present));
        numbers.extend(listed("absent", &hosts.absent));
        numbers.extend(hosts.forming.then(|| "forming".to_owned()));
    }
    let lines = |parts: &[String]| layout::lines(parts.iter().map(String::as_str), "; ", width);
    let others = [lines(&numbers), lines(&rates)].concat();
    [Line::from(first)].into_iter().chain(others.into_iter().map(Line::from)).collect()
}

/// Returns a rate of bytes.
fn bytes(rate: f64) -> String {
    if rate < 1e6 { format!("{:.1} kB/s", rate / 1e3) } else { format!("{:.1} MB/s", rate / 1e6) }
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
    let rows = top.rows();
    let shown = layout::columns(columns, &rows, sort.column, area.width);
    let heading = shown.iter().map(|(place, width)| {
        let arrow = match (*place == sort.column, sort.is_descending) {
            (false, _) => "",
            (true, false) => "^",
            (true, true) => "v",
        };
        let column = columns[*place];
        aligned(&format!("{}{arrow}", column.title), *width, column.is_number)
    });
    let heading = ratatui::widgets::Row::new(heading).style(look.strong());
    let waiting: HashSet<&str> = top
        .status
        .session_list
        .iter()
        .filter(|session| session.throttled_by.is_some() || session.queued > 0)
        .map(|session| &*session.private_group)
        .collect();
    let lines = rows.iter().map(|row| {
        let is_waiting = top.tab == Tab::Sessions && waiting.contains(&*row.key);
        let style = if is_waiting { look.color(Color::Yellow) } else { Style::new() };
        let cells = shown.iter().map(|(place, width)| {
            aligned(row.cells[*place].shown(), *width, columns[*place].is_number)
        });
        ratatui::widgets::Row::new(cells).style(style)
    });
    let widths = shown.iter().map(|(_, width)| Constraint::Length(*width));
    let table = Table::new(lines, widths).header(heading).row_highlight_style(look.marked());
    let mut state = TableState::default().with_selected(top.selected(&rows));
    frame.render_stateful_widget(table, area, &mut state);
}

fn aligned<'a>(text: &str, width: u16, right: bool) -> Line<'a> {
    let alignment = if right { Alignment::Right } else { Alignment::Left };
    Line::from(layout::cut(text, width)).alignment(alignment)
}

fn footer<'a>(top: &'a Top, look: &Look, width: u16) -> Vec<Line<'a>> {
    let alarm = look.color(Color::Red).add_modifier(Modifier::BOLD);
    let (text, style) = match (&top.mode, &top.problem, &top.notice) {
        (Mode::Confirm(client), ..) => {
            (format!("kick {client}? y kicks it, any other key does not"), alarm)
        }
        (_, Some(problem), _) => (format!("{problem}; asking again"), alarm),
        (_, _, Some(notice)) => (notice.clone(), look.color(Color::Yellow)),
        _ => {
            let keys = layout::lines(KEYS, "  ", width);
            return keys.into_iter().take(1).map(Line::from).collect();
        }
    };
    let text = printable(text.as_bytes());
    let lines = layout::lines(text.split(' '), " ", width).into_iter();
    lines.map(|line| Line::styled(line, style)).collect()
}

fn draw_detail(frame: &mut Frame<'_>, top: &Top) {
    let Some(row) = top.selected_row() else {
        return;
    };
    let (title, names) = match top.tab {
        Tab::Sessions => {
            let session = top.status.session_list.iter().find(|s| s.private_group == row.key);
            ("groups", session.map(|session| &session.group_names[..]))
        }
        Tab::Groups => {
            let group = top.status.group_list.iter().find(|group| group.name == row.key);
            ("members", group.map(|group| &group.member_names[..]))
        }
        Tab::CutOffs => ("cut off", None),
    };
    // All columns, also those that have no room in the table; names have more room here.
    let fields = top.columns().iter().zip(&row.cells).skip(1);
    let fields =
        fields.filter(|(column, cell)| column.title != "NAMES" && !cell.shown().is_empty());
    let width = frame.area().width.saturating_sub(2);
    let field = |(column, cell): (&Column, &Cell)| {
        let text = format!("{:<9} {}", column.title.to_lowercase(), cell.shown());
        layout::lines(text.split(' '), " ", width)
    };
    let mut lines: Vec<String> = fields.flat_map(field).collect();
    if let Some(names) = names {
        let names: Vec<String> = names.iter().map(|name| printable(name.as_bytes())).collect();
        lines.push(String::new());
        match names.is_empty() {
            true => lines.push("the daemon tells no names".to_owned()),
            false => lines.extend(layout::names(&names, width)),
        }
    }
    popup(frame, &format!("{title} of {}", row.cells[0].shown()), lines);
}

/// Draws lines in a frame over the middle of the screen.
fn popup(frame: &mut Frame<'_>, title: &str, lines: Vec<String>) {
    let whole = frame.area();
    let lines = layout::at_most(lines, whole.height.saturating_sub(2));
    let longest = lines.iter().map(|line| line.chars().count()).max().unwrap_or_default();
    let wanted = (longest + 2).max(title.chars().count() + 4);
    let width = u16::try_from(wanted).unwrap_or(u16::MAX).min(whole.width);
    let height = u16::try_from(lines.len() + 2).unwrap_or(u16::MAX).min(whole.height);
    let area = Rect {
        x: whole.x + (whole.width - width) / 2,
        y: whole.y + (whole.height - height) / 2,
        width,
        height,
    };
    frame.render_widget(Clear, area);
    let lines: Vec<Line<'_>> = lines.into_iter().map(Line::from).collect();
    let block = Block::bordered().title(format!(" {title} "));
    frame.render_widget(Paragraph::new(lines).block(block), area);
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
        line_with(&screen, "│members   3");
        line_with(&screen, "│#amy#here  #bob#here  #cid#here│");
        press(&mut top, " ?");
        line_with(&shown(&top, 100, 20), "kick the selected session");
        press(&mut top, " \t\tx");
        line_with(&shown(&top, 100, 20), "kick #amy#here? y kicks it");
    }

    #[test]
    fn nothing_that_matters_is_cut_at_80_and_60_columns() {
        let mut top = top();
        let mut long = status();
        long.session_list[0].private_group = "#longname10#localhost".to_owned();
        long.session_list[0].address = "192.168.100.100".to_owned();
        top.update(Ok(long), Duration::from_secs(1));
        for (width, told) in [(80, "192.168.100.100"), (60, "#longname10#localhost")] {
            let screen = shown(&top, width, 24);
            let row = line_with(&screen, "#longname10#localhost");
            assert!(row.contains(told), "{screen}");
            line_with(&screen, "OUT/S");
            line_with(&screen, "0 cut off, 0 rejected");
            line_with(&screen, "over 60 s: in 100/s, out 0/s");
            line_with(&screen, "q quit  ? help");
            assert!(!screen.contains('…'), "{screen}");
        }
        // A row has all of it.
        press(&mut top, "vvv\n");
        line_with(&shown(&top, 60, 24), "address   192.168.100.100");
    }

    #[test]
    fn a_long_list_of_members_says_that_it_goes_on() {
        let mut top = top();
        let mut many = status();
        many.group_list[0].member_names = (0..500).map(|n| format!("#c{n}#here")).collect();
        top.update(Ok(many), Duration::from_secs(1));
        press(&mut top, "\tv\n");
        let screen = shown(&top, 80, 24);
        line_with(&screen, "#c0#here");
        line_with(&screen, " lines more");
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
