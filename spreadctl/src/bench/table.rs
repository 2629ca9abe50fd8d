//! The table for people.

use super::outcome::{Figures, Row};

const LEGEND: &str = "\
messages/s: delivered, to all receivers together; medians of all runs
latency: of pingpong the round trip, of flood from send to receive
CPU: us a message delivered, of all clients together and of the daemon
";

/// A column of figures: its heading, where it comes from, and its decimals.
type Column = (&'static str, fn(&Figures) -> Option<f64>, usize);

const COLUMNS: [Column; 7] = [
    ("messages/s", |f| Some(f.rate), 0),
    ("MB/s", |f| Some(f.megabytes), 1),
    ("p50 us", |f| Some(f.latency?.p50), 1),
    ("p99 us", |f| Some(f.latency?.p99), 1),
    ("p99.9 us", |f| Some(f.latency?.p999), 1),
    ("client CPU", |f| f.client_cpu, 3),
    ("daemon CPU", |f| f.daemon_cpu, 3),
];

/// The rows of a case stand together; those of two sides are followed by their
/// ratio.
pub(super) fn of(rows: &[Row], syscalls: bool) -> String {
    let mut lines = vec![heading(syscalls)];
    for sides in rows.chunk_by(|a, b| a.case == b.case) {
        lines.extend(sides.iter().map(|row| line(row, syscalls)));
        if let [first, second] = sides {
            lines.push(ratios(first, second));
        }
    }
    let mut text = align(&lines);
    text.push_str(LEGEND);
    if syscalls {
        text.push_str("calls: system calls a message delivered, those of start and end left out\n");
    }
    text
}

fn heading(syscalls: bool) -> Vec<String> {
    let mut cells = vec!["workload", "bytes", "daemon"];
    cells.extend(COLUMNS.map(|(heading, ..)| heading));
    if syscalls {
        cells.extend(["client calls", "daemon calls"]);
    }
    cells.into_iter().map(str::to_owned).collect()
}

fn line(row: &Row, syscalls: bool) -> Vec<String> {
    let mut cells = vec![row.case.to_string(), row.case.size.to_string(), row.side.clone()];
    let Some(figures) = row.median() else {
        let word = if row.stalls() > 0 { "stalled" } else { "failed" };
        cells.push(word.to_owned());
        return cells;
    };
    cells.extend(COLUMNS.map(|(_, of, decimals)| number(of(&figures), decimals)));
    if syscalls {
        cells.push(number(row.calls.map(|calls| calls.client), 2));
        cells.push(number(row.calls.and_then(|calls| calls.daemon), 2));
    }
    if row.failures() > 0 {
        cells.push(format!(
            "({} of {} runs stalled or failed)",
            row.failures(),
            row.outcomes.len()
        ));
    }
    cells
}

/// The first by the second.
fn ratios(first: &Row, second: &Row) -> Vec<String> {
    let mut cells = vec![String::new(), String::new(), "ratio".to_owned()];
    if let (Some(first), Some(second)) = (first.median(), second.median()) {
        cells.extend(COLUMNS.map(|(_, of, _)| match (of(&first), of(&second)) {
            (Some(first), Some(second)) => format!("{:.2}x", first / second),
            _ => "-".to_owned(),
        }));
    }
    cells
}

fn number(value: Option<f64>, decimals: usize) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.decimals$}"))
}

/// Texts to the left, figures to the right.
fn align(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column| lines.iter().filter_map(|line| line.get(column)).map(String::len).max();
    let widths: Vec<_> = (0..columns).map(|column| width(column).unwrap_or_default()).collect();
    let mut text = String::new();
    for line in lines {
        let cells =
            line.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
                0 | 2 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}
