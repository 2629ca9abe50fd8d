//! Runs a case: starts its clients, in turns at each side, and collects what they
//! report.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use super::Result;
use super::case::Case;
use super::options::{Options, Role};
use super::outcome::{Calls, Figures, Outcome, Report, Row};
use super::process::{Processes, Said};
use super::progress::Progress;
use super::strace::{self, Attached};
use crate::options::{Connection, service_name};
use crate::output::say;

/// A daemon, and the program that plays the clients.
pub(super) struct Side {
    pub(super) label: String,
    pub(super) address: String,
    pub(super) program: PathBuf,
    /// Its arguments before those of a client.
    pub(super) leading: &'static [&'static str],
    pub(super) daemon_pid: Option<u32>,
    /// Microseconds.
    pub(super) coalesce: Option<u64>,
    /// Variables that tell the clients of TLS, the user and the file of the password.
    pub(super) environment: Vec<(&'static str, OsString)>,
}

/// One row for each side, whose runs take turns: so what else goes on in the machine
/// meets both of them.
pub(super) fn all_sides(
    case: &Case,
    sides: &[Side],
    options: &Options,
    progress: &Progress,
) -> Vec<Row> {
    let row = |side: &Side| Row {
        case: *case,
        side: side.label.clone(),
        outcomes: Vec::new(),
        calls: None,
    };
    let mut rows: Vec<_> = sides.iter().map(row).collect();
    for number in 1..=options.runs {
        for (side, row) in sides.iter().zip(&mut rows) {
            progress.begin(format!("{case}, {} bytes, {}", case.size, side.label));
            let outcome = once(case, side, options);
            let what = match &outcome {
                Outcome::Measured(figures) => format!("{:.0} messages/s", figures.rate),
                Outcome::Stalled => format!("stalled, {:?} are over", options.deadline),
                Outcome::Failed => "failed".to_owned(),
            };
            progress.done(format!(
                "{case}, {} bytes, {}, run {number} of {}: {what}",
                case.size, side.label, options.runs
            ));
            row.outcomes.push(outcome);
        }
    }
    if options.syscalls {
        for (side, row) in sides.iter().zip(&mut rows) {
            row.calls = traced(case, side, options)
                .inspect_err(|error| say(format_args!("system calls are not counted: {error}")))
                .ok();
        }
    }
    rows
}

fn once(case: &Case, side: &Side, options: &Options) -> Outcome {
    let run = Run { case, side, options, warm_up: options.warm_up, count: options.count };
    match run.clients(|command| command, options.deadline_from_now()) {
        Ok(Some(ended)) => {
            let reports: Vec<_> = ended.into_iter().map(|(report, _)| report).collect();
            Figures::of(&reports, case.size).map_or(Outcome::Failed, Outcome::Measured)
        }
        Ok(None) => Outcome::Stalled,
        Err(error) => {
            say(error);
            Outcome::Failed
        }
    }
}

/// Messages whose system calls are counted: strace slows them down a lot.
const TRACED: u64 = 2_000;

/// System calls for each message delivered. What the processes do once, at start and
/// end, is in a short run as well and is taken off.
fn traced(case: &Case, side: &Side, options: &Options) -> Result<Calls> {
    let count = options.count.min(TRACED);
    let short = Run { case, side, options, warm_up: 0, count: TRACED / 10 };
    let (few, more) = (short.calls()?, Run { count: short.count + count, ..short }.calls()?);
    let messages = case.deliveries(count) as f64;
    let a_message = |few: u64, more: u64| more.saturating_sub(few) as f64 / messages;
    Ok(Calls {
        client: a_message(few.client, more.client),
        daemon: few.daemon.zip(more.daemon).map(|(few, more)| a_message(few, more)),
    })
}

/// System calls of a run: those of all clients, and those of the daemon meanwhile.
struct Counted {
    client: u64,
    daemon: Option<u64>,
}

#[derive(Clone, Copy)]
struct Run<'a> {
    case: &'a Case,
    side: &'a Side,
    options: &'a Options,
    warm_up: u64,
    count: u64,
}

impl Run<'_> {
    /// Starts the clients and waits for the end of all; returns the report and the
    /// error output of each, or `None` if they have not ended at the deadline.
    fn clients(
        &self,
        wrap: fn(Command) -> Command,
        deadline: Instant,
    ) -> Result<Option<Vec<(Report, String)>>> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let group = format!("bench{}-{number}", std::process::id());

        let mut processes = Processes::new();
        let (first, others) = self.case.roles();
        processes.start(wrap(self.client(first, &group)))?;
        if !others.is_empty() {
            let peer = match processes.next(deadline) {
                Said::Line(_, line) => line,
                Said::End(_) => return Err(format!("{} has failed", first.name()).into()),
                Said::Nothing => return Ok(None),
            };
            let peer = peer.strip_prefix("ready ").ok_or("a client that is not ready")?;
            for (index, role) in others.iter().enumerate() {
                let mut client = self.client(*role, &group);
                client.args(["--peer", peer, "--index", &index.to_string()]);
                processes.start(wrap(client))?;
            }
        }
        let mut reports: Vec<Option<Report>> = vec![None; 1 + others.len()];
        let mut ended = Vec::new();
        while ended.len() < reports.len() {
            match processes.next(deadline) {
                Said::Line(index, line) => {
                    reports[index] = Report::parse(&line).or(reports[index].take());
                }
                Said::End(index) => match (reports[index].take(), processes.end(index)?) {
                    (Some(report), (true, errors)) => ended.push((report, errors)),
                    (_, (_, errors)) => return Err(format!("a client has failed {errors}").into()),
                },
                Said::Nothing => return Ok(None),
            }
        }
        Ok(Some(ended))
    }

    fn calls(&self) -> Result<Counted> {
        let daemon = self.side.daemon_pid.map(Attached::to).transpose()?;
        let ended = self.clients(strace::traced, self.options.deadline_from_now())?;
        let daemon = daemon.map(Attached::calls).transpose()?;
        let ended = ended.ok_or("stalled under strace")?;
        let clients: Option<u64> = ended.iter().map(|(_, errors)| strace::total(errors)).sum();
        Ok(Counted { client: clients.ok_or("strace has not counted")?, daemon })
    }

    fn client(&self, role: Role, group: &str) -> Command {
        let (case, options) = (self.case, self.options);
        let mut command = Command::new(&self.side.program);
        command.args(self.side.leading);
        command.args(["client", role.name(), "--daemon", &self.side.address, "--group", group]);
        let service = service_name(options.service);
        command.args(["--service", &service]);
        for (name, value) in [
            ("--size", case.size as u64),
            ("--count", self.count),
            ("--warm-up", self.warm_up),
            ("--window", options.window),
            ("--receivers", case.receivers),
            ("--groups", case.groups),
            ("--batch", case.batch(options)),
        ] {
            command.arg(name).arg(value.to_string());
        }
        if let Some(time) = self.side.coalesce {
            command.arg("--coalesce").arg(time.to_string());
        }
        if let Some(pid) = self.side.daemon_pid {
            command.arg("--daemon-pid").arg(pid.to_string());
        }
        for name in Connection::VARIABLES {
            command.env_remove(name);
        }
        command.envs(self.side.environment.iter().cloned());
        command.stderr(Stdio::inherit());
        command
    }
}
