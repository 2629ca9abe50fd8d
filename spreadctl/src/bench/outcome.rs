//! What a run comes to: what clients report, in one line each, and what follows
//! from it.

use std::fmt::Write;
use std::time::Duration;

use super::case::Case;
use super::meter::Used;
use super::stats::{Latency, median};

/// What a client has measured. It prints this as a line, `result` and `key=value`
/// pairs, times in seconds and latencies in microseconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Report {
    /// Messages delivered to all clients, from the one that timed the run.
    pub(super) messages: Option<u64>,
    pub(super) seconds: Option<f64>,
    pub(super) client_cpu: Option<f64>,
    pub(super) daemon_cpu: Option<f64>,
    pub(super) latency: Option<Latency>,
}

impl Report {
    pub(super) fn of(used: Used) -> Report {
        Report {
            seconds: Some(used.wall.as_secs_f64()),
            client_cpu: used.client.as_ref().map(Duration::as_secs_f64),
            daemon_cpu: used.daemon.as_ref().map(Duration::as_secs_f64),
            ..Report::default()
        }
    }

    pub(super) fn print(&self) {
        println!("{}", self.line());
    }

    fn line(&self) -> String {
        let latency = |of: fn(&Latency) -> f64| self.latency.as_ref().map(of);
        let pairs = [
            ("messages", self.messages.map(|messages| messages as f64)),
            ("seconds", self.seconds),
            ("client_cpu", self.client_cpu),
            ("daemon_cpu", self.daemon_cpu),
            ("p50", latency(|latency| latency.p50)),
            ("p99", latency(|latency| latency.p99)),
            ("p999", latency(|latency| latency.p999)),
        ];
        let mut line = "result".to_owned();
        for (key, value) in pairs {
            if let Some(value) = value {
                // Writing to a text does not fail.
                let _ = write!(line, " {key}={value}");
            }
        }
        line
    }

    /// Reads such a line; `None` if it is another one.
    pub(super) fn parse(line: &str) -> Option<Report> {
        let pairs = line.strip_prefix("result")?.split_whitespace();
        let pairs = pairs.map(|pair| {
            let (key, value) = pair.split_once('=')?;
            Some((key, value.parse().ok()?))
        });
        let pairs: Vec<(&str, f64)> = pairs.collect::<Option<_>>()?;
        let value = |key| pairs.iter().find(|pair| pair.0 == key).map(|pair| pair.1);
        let latency =
            || Some(Latency { p50: value("p50")?, p99: value("p99")?, p999: value("p999")? });
        Some(Report {
            messages: value("messages").map(|messages| messages as u64),
            seconds: value("seconds"),
            client_cpu: value("client_cpu"),
            daemon_cpu: value("daemon_cpu"),
            latency: latency(),
        })
    }
}

/// What the table says of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Figures {
    /// Messages delivered a second.
    pub(super) rate: f64,
    pub(super) megabytes: f64,
    pub(super) latency: Option<Latency>,
    /// Microseconds a message delivered.
    pub(super) client_cpu: Option<f64>,
    pub(super) daemon_cpu: Option<f64>,
}

impl Figures {
    /// Of the reports of all clients; `None` if none of them timed the run.
    pub(super) fn of(reports: &[Report], size: usize) -> Option<Figures> {
        let timed = reports.iter().find(|report| report.messages.is_some())?;
        let messages = timed.messages? as f64;
        let rate = messages / timed.seconds?;
        let client_cpu: Option<f64> = reports.iter().map(|report| report.client_cpu).sum();
        let a_message = |cpu: f64| cpu * 1e6 / messages;
        Some(Figures {
            rate,
            megabytes: rate * size as f64 / 1e6,
            latency: timed.latency,
            client_cpu: client_cpu.map(a_message),
            daemon_cpu: timed.daemon_cpu.map(a_message),
        })
    }

    fn median(runs: &[Figures]) -> Option<Figures> {
        let of = |figure: fn(&Figures) -> Option<f64>| median(runs.iter().filter_map(figure));
        let latency = || {
            Some(Latency {
                p50: of(|run| Some(run.latency?.p50))?,
                p99: of(|run| Some(run.latency?.p99))?,
                p999: of(|run| Some(run.latency?.p999))?,
            })
        };
        Some(Figures {
            rate: of(|run| Some(run.rate))?,
            megabytes: of(|run| Some(run.megabytes))?,
            latency: latency(),
            client_cpu: of(|run| run.client_cpu),
            daemon_cpu: of(|run| run.daemon_cpu),
        })
    }
}

pub(super) enum Outcome {
    Measured(Figures),
    /// It was not over at the deadline.
    Stalled,
    /// A client ended without a result.
    Failed,
}

/// System calls for each message delivered.
#[derive(Clone, Copy)]
pub(super) struct Calls {
    pub(super) client: f64,
    pub(super) daemon: Option<f64>,
}

/// All runs of a case at one side.
pub(super) struct Row {
    pub(super) case: Case,
    pub(super) side: String,
    pub(super) outcomes: Vec<Outcome>,
    pub(super) calls: Option<Calls>,
}

impl Row {
    /// The median of each figure over the runs that came to one.
    pub(super) fn median(&self) -> Option<Figures> {
        let measured = self.outcomes.iter().filter_map(|outcome| match outcome {
            Outcome::Measured(figures) => Some(*figures),
            Outcome::Stalled | Outcome::Failed => None,
        });
        Figures::median(&measured.collect::<Vec<_>>())
    }

    pub(super) fn stalls(&self) -> usize {
        self.outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Stalled)).count()
    }

    pub(super) fn failures(&self) -> usize {
        let measured = |outcome: &&Outcome| matches!(outcome, Outcome::Measured(_));
        self.outcomes.len() - self.outcomes.iter().filter(measured).count()
    }
}
