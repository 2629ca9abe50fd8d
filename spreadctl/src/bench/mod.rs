//! `bench`: measures group multicast: rate, latency, and what it costs client and daemon.
//!
//! | workload | what it does |
//! |---|---|
//! | `flood` | a member of its groups sends to them in turn and receives what it sent |
//! | `fanout` | one client sends, and several receive, at the pace of the slowest |
//! | `pingpong` | a message goes to another client and back |
//!
//! Every client is a process, and so is the daemon, so that their CPU times can be
//! told apart. `bench` starts a daemon of its own, or measures one that runs.
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
mod progress;
mod run;
mod stats;
mod strace;
mod table;

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::Path;

use spread::MAX_BODY_AND_GROUPS;

use case::Case;
use daemon::OwnDaemon;
pub(crate) use options::Args;
use options::{Options, Part};
use outcome::Row;
use progress::Progress;
use run::Side;

use crate::failure::{Code, End, Failure};
use crate::options::Connection;
use crate::output::{Output, say};
use crate::stop::Stop;

/// Errors of a client or of the daemon.
type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

pub(crate) fn run(args: Args, connection: &Connection, stop: &Stop) -> crate::failure::Result {
    let Args { mut options, part } = args;
    let done = match part {
        Some(Part::Daemon { busy_poll }) => {
            // It ends with the one that started it, not before.
            stop.on_wake(|| {});
            daemon::serve(busy_poll)
        }
        Some(Part::Client(mut args)) => {
            args.builder = Some(connection.builder()?);
            client::run(&args)
        }
        None => {
            options.daemon = connection.named().map(str::to_owned);
            options.environment = connection.environment();
            return measure(&options, connection);
        }
    };
    done.map_err(failed)
}

fn failed(error: Box<dyn std::error::Error + Send + Sync>) -> End {
    match error.downcast_ref::<spread::Error>() {
        Some(error) => Failure::from(error).into(),
        None => Failure::new(Code::Failed, error.to_string()).into(),
    }
}

fn measure(options: &Options, connection: &Connection) -> crate::failure::Result {
    if options.daemon.is_some() && options.busy_poll > 0 {
        let text = "--busy-poll is of its own daemon, not of the one of --daemon";
        return Err(Failure::new(Code::Usage, text).into());
    }
    // Beside the name of its group.
    let longest = MAX_BODY_AND_GROUPS - 32;
    if let Some(size) = options.size.iter().find(|size| **size > longest) {
        let text = format!("--size {size}: a message has {longest} bytes at most");
        return Err(Failure::new(Code::Usage, text).into());
    }
    // Before anything is measured, so that nothing is measured in vain.
    let csv = options.csv.as_deref().map(Target::open).transpose()?;
    let plot = options.plot.as_deref().map(Target::open).transpose()?;
    // What is wrong with a connection is said once, and not by each client.
    let connect = |connection: &Connection| -> crate::failure::Result {
        Ok(connection.builder()?.connect()?.disconnect()?)
    };
    match (&options.daemon, &options.versus) {
        (Some(_), _) => connect(connection)?,
        (None, None) if connection.tls.is_asked_for() || !options.environment.is_empty() => {
            let text = "bench starts a daemon of its own, which has neither TLS nor passwords";
            return Err(Failure::new(Code::Usage, text)
                .advise(
                    "--daemon names another one; otherwise leave --tls-ca and --user out, and \
                     SPREAD_TLS_CA and SPREAD_USER",
                )
                .into());
        }
        (None, _) => {}
    }
    if let (Some(address), None) = (&options.versus, &options.versus_client) {
        connect(&Connection { daemon: Some(address.clone()), ..connection.clone() })?;
    }
    if cfg!(debug_assertions) {
        say("not built with --release, so the figures say nothing");
    }
    let own = match options.daemon {
        None => Some(OwnDaemon::start(options.transport, options.busy_poll).map_err(failed)?),
        Some(_) => None,
    };
    let sides = sides(options, own.as_ref()).map_err(failed)?;
    let cases = Case::all(options);
    let progress = Progress::new(cases.len() * sides.len() * options.runs as usize);
    let mut rows = Vec::new();
    for case in cases {
        rows.extend(run::all_sides(&case, &sides, options, &progress));
    }
    progress.finish();
    let mut output = Output::new();
    output.bytes(table::of(&rows, options.syscalls).as_bytes())?;
    output.flush()?;
    csv.map_or(Ok(()), |target| target.write(&csv::of(&rows)))?;
    plot.map_or(Ok(()), |target| target.write(&plot::of(&rows)))?;
    let runs: usize = rows.iter().map(|row| row.outcomes.len()).sum();
    match rows.iter().map(Row::failures).sum::<usize>() {
        0 => Ok(()),
        failures => {
            let text = format!("{failures} of {runs} runs stalled or failed");
            Err(Failure::new(Code::Failed, text).into())
        }
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
    let own: &[&str] = &["bench"];
    let program = this.clone();
    // Its own daemon has neither TLS nor passwords.
    let environment = match options.daemon {
        None => Vec::new(),
        Some(_) => options.environment.clone(),
    };
    let first = Side { label, address, program, leading: own, daemon_pid, coalesce, environment };
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
            leading: if options.versus_client.is_some() { &[] } else { own },
            daemon_pid,
            coalesce: None,
            environment: match address {
                None => sides[0].environment.clone(),
                Some(_) => options.environment.clone(),
            },
        });
    }
    for (side, label) in sides.iter_mut().zip(&options.labels) {
        side.label.clone_from(label);
    }
    Ok(sides)
}

/// A file that is written at the end, and stays as it is until then.
struct Target<'a> {
    path: &'a Path,
    /// `None` if it is not there yet.
    file: Option<File>,
}

impl Target<'_> {
    fn open(path: &Path) -> crate::failure::Result<Target<'_>> {
        // A file that is made only to see whether it can be is not left behind.
        let opened = match File::create_new(path) {
            Ok(_) => fs::remove_file(path).map(|()| None),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                OpenOptions::new().write(true).create(true).truncate(false).open(path).map(Some)
            }
            Err(error) => Err(error),
        };
        let file = opened.map_err(|error| cannot_write(path, &error))?;
        Ok(Target { path, file })
    }

    fn write(self, text: &str) -> crate::failure::Result {
        let write = || {
            let mut file = match self.file {
                Some(file) => file,
                None => File::create(self.path)?,
            };
            if file.metadata().is_ok_and(|metadata| metadata.is_file()) {
                file.set_len(0)?;
            }
            file.write_all(text.as_bytes())
        };
        write().map_err(|error| cannot_write(self.path, &error))
    }
}

fn cannot_write(path: &Path, error: &std::io::Error) -> End {
    Failure::io(format_args!("cannot write {}", path.display()), error).into()
}
