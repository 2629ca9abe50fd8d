//! `spreadd`: the Spread daemon as a program.

#![forbid(unsafe_code)]

mod ask;
mod check;
mod conf;
mod corosync_conf;
#[cfg_attr(not(feature = "http"), path = "no_http.rs")]
mod http;
mod log;
mod notify;
mod options;
mod plan;
mod run;
mod secrets;
#[cfg_attr(not(feature = "tls"), path = "no_tls.rs")]
mod tls;

use std::env;
use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use tracing::Level;

use log::json_line;
use options::{Command, LogFormat, Options};
use plan::Outcome;

fn main() -> ExitCode {
    let options = match Options::try_parse().map_err(with_hint) {
        Ok(options) => options,
        Err(error) if error.use_stderr() && asks_for_json() => {
            say(LogFormat::Json, Level::ERROR, error.to_string().trim_end());
            return ExitCode::from(2);
        }
        Err(error) => error.exit(),
    };
    let format = options.run.log_format;
    let (done, code) = match options.command {
        Some(Command::Status { json, at }) => {
            (ask::ask(&at, if json { "json" } else { "table" }).and_then(print), 1)
        }
        Some(Command::Kick { client, at }) => {
            (ask::ask(&at, &format!("kick {client}")).and_then(print), 1)
        }
        Some(Command::Health { at }) => (ask::ask(&at, "health").and_then(print), 1),
        Some(Command::CorosyncConf { file }) => (corosync_conf::make(&file).and_then(print), 1),
        Some(Command::Passwd { file, user: Some(user), .. }) => {
            (ask::set_password(&file, &user), 1)
        }
        Some(Command::Passwd { file, user: None, import, force }) => {
            let import = ask::import_passwords(&file, &import.unwrap_or_default(), force);
            (import.and_then(print), 1)
        }
        None => run::run(options.run),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format, Level::ERROR, &chain(&*error));
            ExitCode::from(code)
        }
    }
}

/// Adds to the error about an option of TLS, in a program without it, what to do.
fn with_hint(mut error: clap::Error) -> clap::Error {
    let is_of_tls = matches!(error.get(ContextKind::InvalidArg),
        Some(ContextValue::String(option)) if option.starts_with("--tls"));
    if !cfg!(feature = "tls") && error.kind() == ErrorKind::UnknownArgument && is_of_tls {
        let hint = "this spreadd is built without TLS: cargo install spreadd --features tls";
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![hint.into()]));
    }
    error
}

/// Returns whether wrong options have JSON among them.
fn asks_for_json() -> bool {
    let options: Vec<String> =
        env::args_os().map(|option| option.to_string_lossy().into_owned()).collect();
    options.iter().any(|option| option == "--log-format=json")
        || options.windows(2).any(|two| two == ["--log-format", "json"])
}

/// Writes a line to stderr; ignores errors.
fn say(format: LogFormat, level: Level, text: &str) {
    let line = match format {
        LogFormat::Text => log::with_priority(level, &format!("spreadd: {text}\n")),
        LogFormat::Json => json_line(level.as_str(), "spreadd", text, &[]),
    };
    let _ = io::stderr().write_all(line.as_bytes());
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
