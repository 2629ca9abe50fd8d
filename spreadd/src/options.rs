//! The command line.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use spread_daemon::Builder;

const MAX_BUSY_POLL: u64 = Builder::MAX_BUSY_POLL.as_micros() as u64;

/// A Spread daemon for a single host.
///
/// Any client of Spread connects to it, with `PORT@HOST` over TCP or, on this
/// host, with `PORT` over the unix socket /tmp/PORT. Several daemons do not form
/// a cluster: for groups across hosts, run Spread itself.
#[derive(Debug, Parser)]
#[command(
    name = "spreadd",
    version,
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  spreadd                           for clients on this host, at 4803
  spreadd --bind 0.0.0.0            for clients on other hosts, too
  spreadd --port 0 --unix-dir .     a free port and ./PORT, told on stdout
  spreadd -c spread.conf -n host1   as the daemon host1 of a configuration
  spreadd status                    who is connected, in which groups

It tells on stdout when clients can connect, and to the socket in NOTIFY_SOCKET
that it is READY. It logs to stderr; RUST_LOG sets what: error, warn (the
default), info or debug. On SIGTERM it takes nothing new, waits until clients
have read what is queued for them, for up to 5 seconds, and ends. On SIGINT, or
a second SIGTERM, it ends at once.

Exit codes:
  0  it ended after a signal; the command was done; the configuration is fine
  1  status, health: no daemon answers, or passwd: the entry could not be made
  2  it cannot start: wrong options or configuration, or the port is taken
  3  it failed while it ran"
)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) run: Run,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show sessions, groups and rates of the daemon that runs on this host
    Status {
        /// As one JSON object
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        at: At,
    },
    /// End with code 0 if the daemon that runs on this host answers
    Health {
        #[command(flatten)]
        at: At,
    },
    /// Set a user's password in a file for --passwords; it is read from stdin
    Passwd {
        /// The file; it is made if it is not there
        file: PathBuf,
        /// The user
        user: String,
    },
}

/// Which daemon.
#[derive(Debug, Args)]
pub(crate) struct At {
    /// Its TCP port
    #[arg(long, default_value_t = 4803)]
    pub(crate) port: u16,

    /// The directory of its unix socket
    #[arg(long, value_name = "DIR", default_value = "/tmp")]
    pub(crate) unix_dir: PathBuf,
}

/// How to run.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Read this spread.conf; what is given here as well overrides it
    #[arg(short = 'c', long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Only check the options and the configuration
    #[arg(long)]
    pub(crate) check: bool,

    /// TCP port; 0 is a free one [default: 4803]
    #[arg(long)]
    pub(crate) port: Option<u16>,

    /// Name of the daemon, in private groups: #client#NAME; 1 to 19 bytes. Of a
    /// configuration with several daemons, the one to be [default: localhost]
    #[arg(short = 'n', long)]
    pub(crate) name: Option<String>,

    /// Address to listen at; can be given several times [default: 127.0.0.1]
    #[arg(long, value_name = "IP")]
    pub(crate) bind: Vec<IpAddr>,

    /// Directory of the unix socket, a file named as the port; clients look in /tmp
    #[arg(long, value_name = "DIR", default_value = "/tmp")]
    pub(crate) unix_dir: PathBuf,

    /// Remove the socket file of a daemon that was killed
    #[arg(long)]
    pub(crate) remove_stale_socket: bool,

    /// Sessions that may be open; more clients are rejected
    #[arg(long, value_name = "N", default_value_t = 1000,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    pub(crate) max_sessions: usize,

    /// Messages that may wait for a client that does not read; with one more it
    /// is disconnected [default: 1000]
    #[arg(long, value_name = "N")]
    pub(crate) max_session_messages: Option<usize>,

    /// Slow-consumer policy: disconnect a client that does not read, or slow down its
    /// senders
    #[arg(long, value_enum, default_value_t = Slow::Disconnect)]
    pub(crate) slow_receivers: Slow,

    /// MiB of messages that may wait for all clients together
    #[arg(long, value_name = "MIB", default_value_t = 512)]
    pub(crate) max_queued: usize,

    /// Microseconds to look for further messages before sleeping; 10000 at most.
    /// 50 spare a lone message on this host the time to wake the daemon. That takes
    /// up to a core, which should be idle, while messages come, and nothing otherwise
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 0,
        value_parser = clap::value_parser!(u64).range(..=MAX_BUSY_POLL))]
    pub(crate) busy_poll: u64,

    /// Demand the password of a user in this file, which `passwd` writes
    #[arg(long, value_name = "FILE")]
    pub(crate) passwords: Option<PathBuf>,

    /// Let in only clients from the addresses in this file
    #[arg(long, value_name = "FILE")]
    pub(crate) allow: Option<PathBuf>,

    /// Answer GET /metrics, for Prometheus
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) metrics: Option<SocketAddr>,

    /// How to log
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Slow {
    Disconnect,
    Backpressure,
}
