//! Each run as a line for other programs.

use std::fmt::Write;

use super::outcome::{Figures, Outcome, Row};

pub(super) fn of(rows: &[Row]) -> String {
    let mut text = "workload,bytes,groups,receivers,side,run,outcome,messages_per_s,mb_per_s,\
                    p50_us,p99_us,p999_us,client_cpu_us,daemon_cpu_us,\
                    client_calls,daemon_calls\n"
        .to_owned();
    for row in rows {
        for (run, outcome) in row.outcomes.iter().enumerate() {
            let (word, figures) = match outcome {
                Outcome::Measured(figures) => ("measured", Some(figures)),
                Outcome::Stalled => ("stalled", None),
                Outcome::Failed => ("failed", None),
            };
            let case = &row.case;
            let start = format!(
                "{},{},{},{},\"{}\",{},{word}",
                case.workload.name(),
                case.size,
                case.groups,
                case.receivers,
                row.side,
                run + 1
            );
            text.push_str(&start);
            for value in values(row, figures) {
                // Writing to a text does not fail.
                let _ = match value {
                    Some(value) => write!(text, ",{value}"),
                    None => write!(text, ","),
                };
            }
            text.push('\n');
        }
    }
    text
}

fn values(row: &Row, figures: Option<&Figures>) -> [Option<f64>; 9] {
    let latency = figures.and_then(|figures| figures.latency);
    [
        figures.map(|figures| figures.rate),
        figures.map(|figures| figures.megabytes),
        latency.map(|latency| latency.p50),
        latency.map(|latency| latency.p99),
        latency.map(|latency| latency.p999),
        figures.and_then(|figures| figures.client_cpu),
        figures.and_then(|figures| figures.daemon_cpu),
        row.calls.map(|calls| calls.client),
        row.calls.and_then(|calls| calls.daemon),
    ]
}
