//! The tables of the screen: their columns, and a status as their rows.

use super::state::Top;
use crate::admin::Session;
use crate::text::printable;

/// A table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tab {
    #[default]
    Sessions,
    Groups,
    CutOffs,
}

const SESSION_COLUMNS: [Column; 9] = [
    Column::text("SESSION", 32),
    Column::text("ADDRESS", 39).gives_way(3),
    Column::text("USER", 16).gives_way(4).may_be_missing(),
    Column::number("GROUPS", 7).gives_way(1),
    Column::number("QUEUED", 7),
    Column::number("IN/S", 6),
    Column::number("OUT/S", 6),
    Column::number("TIME", 9).gives_way(2),
    Column::text("WAITS FOR", 32).gives_way(5).may_be_missing(),
];

const GROUP_COLUMNS: [Column; 3] =
    [Column::text("GROUP", 32), Column::number("MEMBERS", 8), Column::rest("NAMES").gives_way(1)];

const CUT_OFF_COLUMNS: [Column; 4] = [
    Column::text("SESSION", 32),
    Column::text("REASON", 12),
    Column::number("AGO", 9),
    Column::rest("DETAIL").gives_way(1),
];

impl Tab {
    pub(super) const ALL: [Tab; 3] = [Tab::Sessions, Tab::Groups, Tab::CutOffs];

    pub(super) fn title(self) -> &'static str {
        match self {
            Tab::Sessions => "Sessions",
            Tab::Groups => "Groups",
            Tab::CutOffs => "Cut off",
        }
    }

    pub(super) fn columns(self) -> &'static [Column] {
        match self {
            Tab::Sessions => &SESSION_COLUMNS,
            Tab::Groups => &GROUP_COLUMNS,
            Tab::CutOffs => &CUT_OFF_COLUMNS,
        }
    }

    pub(super) fn rows(self, top: &Top) -> Vec<Row> {
        let status = &top.status;
        match self {
            Tab::Sessions => status.session_list.iter().map(|session| of(session, top)).collect(),
            Tab::Groups => status
                .group_list
                .iter()
                .map(|group| Row {
                    key: group.name.clone(),
                    cells: vec![
                        Cell::text(&group.name),
                        Cell::number(group.members as f64),
                        Cell::text(&group.member_names.join(" ")),
                    ],
                })
                .collect(),
            Tab::CutOffs => status
                .cut_offs
                .iter()
                .enumerate()
                .map(|(place, cut_off)| Row {
                    // A client may be cut off several times.
                    key: format!("{place} {}", cut_off.private_group),
                    cells: vec![
                        Cell::text(&cut_off.private_group),
                        Cell::text(&cut_off.reason),
                        Cell::time(cut_off.seconds_ago),
                        Cell::text(&cut_off.detail),
                    ],
                })
                .collect(),
        }
    }
}

fn of(session: &Session, top: &Top) -> Row {
    let address = if session.address.is_empty() { "unix" } else { &session.address };
    let (received, delivered) =
        top.session_rates.get(&session.private_group).copied().unwrap_or_default();
    Row {
        key: session.private_group.clone(),
        cells: vec![
            Cell::text(&session.private_group),
            Cell::text(address),
            Cell::text(session.user.as_deref().unwrap_or_default()),
            Cell::number(session.groups as f64),
            Cell::number(session.queued as f64),
            Cell::number(received),
            Cell::number(delivered),
            Cell::time(session.connected_seconds),
            Cell::text(session.throttled_by.as_deref().unwrap_or_default()),
        ],
    }
}

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) title: &'static str,
    pub(super) width: Width,
    pub(super) is_number: bool,
    /// Those with more give way to those with less.
    pub(super) gives_way: u8,
    /// Whether it may be missing while all its cells are empty.
    pub(super) may_be_missing: bool,
}

/// The width of a column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    /// What its cells need, up to this.
    AtMost(u16),
    Fixed(u16),
    /// What others leave, at least this.
    Rest(u16),
}

impl Column {
    const fn new(title: &'static str, width: Width, is_number: bool) -> Column {
        Column { title, width, is_number, gives_way: 0, may_be_missing: false }
    }

    const fn text(title: &'static str, most: u16) -> Column {
        Column::new(title, Width::AtMost(most), false)
    }

    const fn number(title: &'static str, width: u16) -> Column {
        Column::new(title, Width::Fixed(width), true)
    }

    const fn rest(title: &'static str) -> Column {
        Column::new(title, Width::Rest(12), false)
    }

    const fn gives_way(self, gives_way: u8) -> Column {
        Column { gives_way, ..self }
    }

    const fn may_be_missing(self) -> Column {
        Column { may_be_missing: true, ..self }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    /// What it is about, distinct among the rows of a table.
    pub(super) key: String,
    pub(super) cells: Vec<Cell>,
}

impl Row {
    /// Whether a text, in lower case, is in one of its texts.
    pub(super) fn contains(&self, text: &str) -> bool {
        self.cells.iter().any(|cell| match cell {
            Cell::Text(cell) => cell.to_lowercase().contains(text),
            Cell::Number(..) => false,
        })
    }
}

/// What stands in a cell, and how it is sorted.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    Text(String),
    /// A number, and how it is shown.
    Number(f64, String),
}

impl Cell {
    fn text(text: &str) -> Cell {
        Cell::Text(printable(text.as_bytes()))
    }

    fn number(value: f64) -> Cell {
        Cell::Number(value, number(value))
    }

    fn time(seconds: u64) -> Cell {
        Cell::Number(seconds as f64, time(seconds))
    }

    pub(super) fn shown(&self) -> &str {
        match self {
            Cell::Text(text) | Cell::Number(_, text) => text,
        }
    }

    pub(super) fn cmp(&self, other: &Cell) -> std::cmp::Ordering {
        match (self, other) {
            (Cell::Number(a, _), Cell::Number(b, _)) => a.total_cmp(b),
            _ => self.shown().cmp(other.shown()),
        }
    }
}

/// Returns a number in at most six characters.
pub(super) fn number(value: f64) -> String {
    match value {
        value if value < 100_000.0 => format!("{value:.0}"),
        value if value < 1e7 => format!("{:.1}k", value / 1e3),
        value if value < 1e10 => format!("{:.1}M", value / 1e6),
        value => format!("{:.1}G", value / 1e9),
    }
}

/// Returns a time in its two largest units.
pub(super) fn time(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} m {} s", seconds % 60),
        (0, hours, minutes) => format!("{hours} h {minutes} m"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_short() {
        assert_eq!(
            [0.0, 99_999.0, 123_456.0, 2.5e7].map(number),
            ["0", "99999", "123.5k", "25.0M"]
        );
        let times = [5, 65, 3725, 90_000].map(time);
        assert_eq!(times, ["5 s", "1 m 5 s", "1 h 2 m", "1 d 1 h"]);
    }

    #[test]
    fn numbers_are_sorted_by_value_and_names_are_escaped() {
        assert!(Cell::number(9.0).cmp(&Cell::number(100_000.0)).is_lt());
        assert_eq!(Cell::text("a\x1b[2Jb").shown(), "a\\u{1b}[2Jb");
    }
}
