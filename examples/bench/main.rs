//! Measures group multicast: rate, latency, and what it costs client and daemon.
//!
//! | workload | what it does |
//! |---|---|
//! | `flood` | a member of its groups sends to them in turn and receives what it sent |
//! | `fanout` | one client sends, and several receive, at the pace of the slowest |
//! | `pingpong` | a message goes to another client and back |
//!
//! Every client is a process, and so is the daemon, so that their CPU times can be
//! told apart. `bench` starts a daemon of its own, or measures one that runs:
//!
//! ```sh
//! cargo run --release --example bench
//! cargo run --release --example bench -- --daemon 4803 flood --groups 1,1000
//! ```
//!
//! With `--versus` it measures two daemons in turns, and prints the ratios. With
//! `--versus-client` the second side has other clients, for example that of
//! `benches/c/bench.c`, which is written in C against `sp.h`.

mod case;
mod client;
mod csv;
mod daemon;
mod exchange;
mod fanout;
mod flood;
mod meter;
mod options;
mod outcome;
mod pingpong;
mod plot;
mod process;
mod run;
mod stats;
mod strace;
mod table;

use std::path::Path;

use clap::Parser;

use case::Case;
use daemon::OwnDaemon;
use options::{Args, Options, Part};
use outcome::Row;
use run::Side;

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() {
    let args = Args::parse();
    let result = match &args.part {
        Some(Part::Daemon { busy_poll }) => daemon::serve(*busy_poll),
        Some(Part::Client(args)) => client::run(args),
        None => measure(&args.options),
    };
    if let Err(error) = result {
        eprintln!("bench: {error}");
        std::process::exit(1);
    }
}

fn measure(options: &Options) -> Result {
    if cfg!(debug_assertions) {
        eprintln!("bench: not built with --release, so the figures say nothing");
    }
    let own = match options.daemon {
        None => Some(OwnDaemon::start(options.transport, options.busy_poll)?),
        Some(_) => None,
    };
    let sides = sides(options, own.as_ref())?;
    let mut rows = Vec::new();
    for case in Case::all(options) {
        rows.extend(run::all_sides(&case, &sides, options));
    }
    let text = table::of(&rows, options.syscalls);
    print!("{text}");
    if let Some(file) = &options.csv {
        std::fs::write(file, csv::of(&rows)).map_err(|error| at(file, &error))?;
    }
    if let Some(file) = &options.plot {
        std::fs::write(file, plot::of(&rows)).map_err(|error| at(file, &error))?;
    }
    let runs: usize = rows.iter().map(|row| row.outcomes.len()).sum();
    match rows.iter().map(Row::failures).sum::<usize>() {
        0 => Ok(()),
        failures => Err(format!("{failures} of {runs} runs stalled or failed").into()),
    }
}

/// What is measured: a daemon with the clients that talk to it.
fn sides(options: &Options, own: Option<&OwnDaemon>) -> Result<Vec<Side>> {
    let this = std::env::current_exe()?;
    let (daemon, address, daemon_pid) = match (own, &options.daemon) {
        (Some(own), _) => {
            let daemon = match options.busy_poll {
                0 => format!("own, {}", options.transport),
                time => format!("own, {}, busy-poll {time}", options.transport),
            };
            (daemon, own.address().to_owned(), Some(own.pid()))
        }
        (None, address) => {
            let address = address.clone().unwrap_or_default();
            let pid = options.daemon_pid.or_else(|| daemon::find(&address));
            (address.clone(), address, pid)
        }
    };
    let label = match options.coalesce {
        None => daemon.clone(),
        Some(time) => format!("{daemon}, coalesce {time}"),
    };
    let coalesce = options.coalesce;
    let first = Side { label, address, program: this.clone(), daemon_pid, coalesce };
    let mut sides = vec![first];
    if options.versus.is_some() || options.versus_client.is_some() {
        let address = options.versus.as_ref();
        let daemon_pid = match address {
            None => sides[0].daemon_pid,
            Some(address) => options.versus_pid.or_else(|| daemon::find(address)),
        };
        let mut label = address.cloned().unwrap_or(daemon);
        if let Some(program) = &options.versus_client {
            let name = program.file_name().unwrap_or_default();
            label = format!("{label}, {}", name.display());
        }
        sides.push(Side {
            label,
            address: address.unwrap_or(&sides[0].address).clone(),
            program: options.versus_client.clone().unwrap_or(this),
            daemon_pid,
            coalesce: None,
        });
    }
    Ok(sides)
}

fn at(file: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", file.display())
}
