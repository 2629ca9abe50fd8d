//! `spreadd`: the Spread daemon for a single host as a program.

#![forbid(unsafe_code)]

mod ask;
mod conf;
mod log;
mod notify;
mod options;
mod plan;

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Parser;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use spread_daemon::Daemon;

use log::Log;
use notify::notify;
use options::{Command, Options, Run};
use plan::{Outcome, Plan, plan};

/// How long clients may take to read what is queued for them at the end.
const DRAIN: Duration = Duration::from_secs(5);

/// File descriptors beside those of the sessions: connections without a session,
/// listeners, files.
const OTHER_DESCRIPTORS: u64 = 1200;

fn main() -> ExitCode {
    let options = Options::parse();
    let (done, code) = match options.command {
        Some(Command::Status { json, at }) => {
            (ask::ask(&at, if json { "json" } else { "table" }).and_then(print), 1)
        }
        Some(Command::Health { at }) => (ask::ask(&at, "health").and_then(print), 1),
        Some(Command::Passwd { file, user }) => (ask::set_password(&file, &user), 1),
        None => match start(&options.run) {
            Ok(None) => (Ok(()), 0),
            Ok(Some(Started { daemon, signals, log })) => {
                let ended = wait(daemon, signals);
                log.finish();
                (ended, 3)
            }
            Err(error) => (Err(error), 2),
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&chain(&*error));
            ExitCode::from(code)
        }
    }
}

/// A daemon that runs, and what belongs to it.
struct Started {
    daemon: Daemon,
    signals: Signals,
    log: Log,
}

/// Starts the daemon, or only checks its configuration.
fn start(run: &Run) -> Outcome<Option<Started>> {
    let Plan { name, builder, log_file, log_level, warnings } = plan(run)?;
    if run.check {
        builder.check()?;
        warnings.iter().for_each(|warning| say(&format!("warning: {warning}")));
        print(format!("the configuration of {name} is fine\n"))?;
        return Ok(None);
    }
    let log = log::start(run.log_format, log_file.as_deref(), log_level)?;
    warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    // Before anything that a signal would leave behind.
    let signals = Signals::new([SIGINT, SIGTERM])?;
    raise_descriptor_limit(run.max_sessions);
    let daemon = match builder.start() {
        Ok(daemon) => daemon,
        Err(error) => {
            log.finish();
            return Err(error.into());
        }
    };
    let file = daemon.unix_path().unwrap_or("".as_ref()).display();
    // Stdout may be closed.
    let _ = writeln!(io::stdout(), "{name} is ready at {} and {file}", daemon.address());
    if let Some(address) = daemon.metrics_addr() {
        let _ = writeln!(io::stdout(), "metrics are at http://{address}/metrics");
    }
    notify("READY=1");
    Ok(Some(Started { daemon, signals, log }))
}

/// Waits until the daemon has ended: gently on the first SIGTERM, at once on any
/// other signal.
fn wait(daemon: Daemon, mut signals: Signals) -> Outcome<()> {
    let (stop, handle) = (daemon.stop_handle(), signals.handle());
    let listener = thread::spawn(move || {
        for (number, signal) in signals.forever().enumerate() {
            notify("STOPPING=1");
            match (number, signal) {
                (0, SIGTERM) => stop.drain(DRAIN),
                _ => stop.stop(),
            }
        }
    });
    let ended = daemon.wait();
    handle.close();
    // It returns nothing.
    let _ = listener.join();
    Ok(ended?)
}

/// Raises the limit of file descriptors to what the sessions need, as far as the
/// system allows it.
fn raise_descriptor_limit(sessions: usize) {
    let wanted = u64::try_from(sessions).unwrap_or(u64::MAX).saturating_add(OTHER_DESCRIPTORS);
    match rlimit::increase_nofile_limit(wanted) {
        Ok(limit) if limit < wanted => {
            tracing::warn!(
                limit,
                "the limit of file descriptors is too low for {sessions} sessions"
            );
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "cannot raise the limit of file descriptors"),
    }
}

/// Writes a line to stderr; ignores errors.
fn say(text: &str) {
    let _ = writeln!(io::stderr(), "spreadd: {text}");
}

fn print(text: String) -> Outcome<()> {
    Ok(io::stdout().write_all(text.as_bytes())?)
}

/// Returns an error with its causes, in one line.
fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(&format!(": {error}"));
        cause = error.source();
    }
    line
}
