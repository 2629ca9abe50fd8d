//! `spreadd`: the Spread daemon for a single host as a program.

#![forbid(unsafe_code)]

mod ask;
mod conf;
mod notify;
mod options;
mod plan;

use std::error::Error;
use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use clap::Parser;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use spread_daemon::Daemon;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use notify::notify;
use options::{Command, LogFormat, Options, Run};
use plan::{Outcome, Plan, plan};

/// How long clients may take to read what is queued for them at the end.
const DRAIN: Duration = Duration::from_secs(5);

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
            Ok(Some((daemon, signals))) => (wait(daemon, signals), 3),
            Err(error) => (Err(error), 2),
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("spreadd: {}", chain(&*error));
            ExitCode::from(code)
        }
    }
}

/// Starts the daemon, or only checks whether it could be.
fn start(run: &Run) -> Outcome<Option<(Daemon, Signals)>> {
    let Plan { name, builder, log_file, log_level, warnings } = plan(run)?;
    if run.check {
        warnings.iter().for_each(|warning| eprintln!("spreadd: warning: {warning}"));
        print(format!("the configuration of {name} is fine\n"))?;
        return Ok(None);
    }
    log(run.log_format, log_file.as_deref(), log_level)?;
    warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    // Before anything that a signal would leave behind.
    let signals = Signals::new([SIGINT, SIGTERM])?;
    let daemon = builder.start()?;
    let file = daemon.unix_path().unwrap_or("".as_ref()).display();
    // Whoever started it need not listen.
    let _ = writeln!(io::stdout(), "{name} is ready at {} and {file}", daemon.address());
    if let Some(address) = daemon.metrics_addr() {
        let _ = writeln!(io::stdout(), "metrics are at http://{address}/metrics");
    }
    notify("READY=1");
    Ok(Some((daemon, signals)))
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
    // It has nothing to tell.
    let _ = listener.join();
    Ok(ended?)
}

fn log(format: LogFormat, file: Option<&Path>, level: &str) -> Outcome<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let writer = match file {
        Some(path) => {
            let file = OpenOptions::new().create(true).append(true).open(path);
            let file = file.map_err(|e| format!("cannot log to {}: {e}", path.display()))?;
            BoxMakeWriter::new(Mutex::new(file))
        }
        None => BoxMakeWriter::new(io::stderr),
    };
    let colours = file.is_none() && io::stderr().is_terminal();
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    match format {
        LogFormat::Text => subscriber.with_ansi(colours).init(),
        LogFormat::Json => subscriber.json().init(),
    }
    Ok(())
}

fn print(text: String) -> Outcome<()> {
    Ok(io::stdout().write_all(text.as_bytes())?)
}

/// An error with its causes, in one line.
fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(&format!(": {error}"));
        cause = error.source();
    }
    line
}
