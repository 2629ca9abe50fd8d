//! `spreadctl`: the command line of the Spread toolkit.

#![forbid(unsafe_code)]

mod admin;
mod bench;
mod chat;
mod connect;
mod doctor;
mod failure;
mod inspect;
mod manual;
mod members;
mod options;
mod output;
mod payload;
mod publish;
mod record;
mod request;
mod serve;
mod stop;
mod sub;
mod text;
mod top;

use std::env;
use std::process::ExitCode;

use clap::Parser;

use failure::{End, Failure, Result};
use options::{Command, Options};
use output::say;
use stop::Stop;

fn main() -> ExitCode {
    match run(Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(end) => {
            if let End::Failure(failure) = &end {
                say(failure);
            }
            ExitCode::from(end.code())
        }
    }
}

fn run(options: Options) -> Result {
    let Options { connection, color, command } = options;
    let connection = connection.with_environment(|name| env::var_os(name));
    let theme = color.theme();
    let stop = Stop::on_signals().map_err(|error| Failure::io("cannot handle signals", &error))?;
    match command {
        Command::Sub(options) => sub::run(&options, &connection, theme, &stop),
        Command::Publish(options) => publish::run(&options, &connection, &stop),
        Command::Members(options) => members::run(&options, &connection, &stop),
        Command::Request(options) => request::run(&options, &connection, &stop),
        Command::Serve(options) => serve::run(&options, &connection, &stop),
        Command::Chat(options) => chat::run(&options, &connection, theme, &stop),
        Command::Bench(args) => bench::run(*args, &connection, &stop),
        Command::Top(options) => top::run(&options, &connection, theme, &stop),
        Command::Status(options) => inspect::status(&options, &connection),
        Command::Health => inspect::health(&connection),
        Command::Kick(options) => inspect::kick(&options, &connection),
        Command::Doctor(options) => doctor::run(&options, &connection, theme),
        Command::Completions { shell } => manual::completions(shell),
        Command::Man { dir } => manual::man(dir.as_deref()),
    }
}
