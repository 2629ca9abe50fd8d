//! The command line.

use std::ffi::OsString;
use std::fmt::{self, Display};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args as Group, Subcommand, ValueEnum};
use spread::{Builder, Service};

use crate::options::service;

const MAX_BUSY_POLL: u64 = spread_daemon::Builder::MAX_BUSY_POLL.as_micros() as u64;

#[derive(Debug, Group)]
#[command(
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    after_help = "\
Without --daemon and SPREAD_DAEMON it starts a daemon of its own, without TLS and passwords.
Every client is a process, and so is the daemon, so that their CPU times can be told apart. With
--versus two daemons are measured in turns, and the table has their ratios; with --versus-client
the second side has other clients, for example benches/c/bench.c, which is written in C against
sp.h."
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(super) options: Options,
    #[command(subcommand)]
    pub(super) part: Option<Part>,
}

#[derive(Debug, Group)]
pub(super) struct Options {
    /// What to measure; all of it unless named
    #[arg(value_enum)]
    pub(super) workloads: Vec<Workload>,
    /// Bytes a message
    #[arg(long, value_name = "BYTES", value_delimiter = ',', default_value = "64,1024,16384")]
    pub(super) size: Vec<usize>,
    /// Messages to send in a run; in pingpong, round trips
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) count: u64,
    /// Messages to send before that
    #[arg(long, value_name = "COUNT", default_value_t = 10_000)]
    pub(super) warm_up: u64,
    /// Runs of which the median is taken
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) runs: u32,
    /// Messages under way at the most; Spread cuts off who has 1000 unread
    #[arg(long, value_name = "MESSAGES", default_value_t = 200,
        value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub(super) window: u64,
    /// Receivers of fanout, each of them a process
    #[arg(long, value_name = "COUNT", value_delimiter = ',', default_value = "4",
        value_parser = clap::value_parser!(u64).range(1..=100))]
    pub(super) receivers: Vec<u64>,
    /// Groups that flood sends to in turn
    #[arg(long, value_name = "COUNT", value_delimiter = ',', default_value = "1",
        value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(super) groups: Vec<u64>,
    /// unreliable, reliable, fifo, causal, agreed or safe
    #[arg(long, default_value = "agreed", value_parser = service)]
    pub(super) service: Service,
    /// Messages to send in one go, if they are not long; 1 is a call for each
    #[arg(long, value_name = "MESSAGES", default_value_t = 64,
        value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub(super) batch: u64,
    /// The daemon to measure, if it is not one of its own.
    #[arg(skip)]
    pub(super) daemon: Option<String>,
    /// Variables that tell the clients of TLS, the user and the file of the password.
    #[arg(skip)]
    pub(super) environment: Vec<(&'static str, OsString)>,
    /// The process of --daemon, if it is not found by its socket
    #[arg(long, value_name = "PID")]
    pub(super) daemon_pid: Option<u32>,
    /// How clients reach its own daemon
    #[arg(long, value_enum, default_value_t = Transport::Unix)]
    pub(super) transport: Transport,
    /// How long its own daemon polls before it sleeps
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 0,
        value_parser = clap::value_parser!(u64).range(..=MAX_BUSY_POLL))]
    pub(super) busy_poll: u64,
    /// By how much clients of the first daemon coalesce receives [default: 0]
    #[arg(long, value_name = "MICROSECONDS")]
    pub(super) coalesce: Option<u64>,
    /// A second daemon, measured in turns with the first
    #[arg(long, value_name = "ADDRESS")]
    pub(super) versus: Option<String>,
    /// Its process, if it is not found by its socket
    #[arg(long, value_name = "PID", requires = "versus")]
    pub(super) versus_pid: Option<u32>,
    /// The program whose clients the second side has, such as one from
    /// benches/c/bench.c; without --versus, at the first daemon
    #[arg(long, value_name = "PROGRAM")]
    pub(super) versus_client: Option<PathBuf>,
    /// Names of the two sides in tables and plots, as in "ours,Spread 5.0.1"
    #[arg(long, value_name = "NAMES", value_delimiter = ',', num_args = 1..=2)]
    pub(super) labels: Vec<String>,
    /// Seconds after which a run has stalled
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = parse_seconds)]
    pub(super) deadline: Duration,
    /// Counts system calls, too, in a further run under strace
    #[arg(long)]
    pub(super) syscalls: bool,
    /// Writes each run to a file
    #[arg(long, value_name = "FILE")]
    pub(super) csv: Option<PathBuf>,
    /// Draws rate and latency against message size
    #[arg(long, value_name = "FILE.svg")]
    pub(super) plot: Option<PathBuf>,
}

impl Options {
    pub(super) fn deadline_from_now(&self) -> Instant {
        Instant::now() + self.deadline
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Workload {
    Flood,
    Fanout,
    #[value(name = "pingpong")]
    PingPong,
}

impl Workload {
    pub(super) fn name(self) -> &'static str {
        match self {
            Workload::Flood => "flood",
            Workload::Fanout => "fanout",
            Workload::PingPong => "pingpong",
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Transport {
    Tcp,
    Unix,
}

impl Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Transport::Tcp => "tcp",
            Transport::Unix => "unix",
        })
    }
}

/// What else this program is, when it has started itself.
#[derive(Debug, Subcommand)]
pub(super) enum Part {
    /// A daemon, until the end of its input
    #[command(hide = true)]
    Daemon {
        #[arg(long)]
        busy_poll: u64,
    },
    /// One of the clients of a workload
    #[command(hide = true)]
    Client(Box<ClientArgs>),
}

/// The arguments of each client, in whatever language it is written.
#[derive(Debug, Group)]
pub(super) struct ClientArgs {
    #[arg(value_enum)]
    pub(super) role: Role,
    /// To the daemon, by the options that all commands have.
    #[arg(skip)]
    pub(super) builder: Option<Builder>,
    /// Begins the names of all groups of the run.
    #[arg(long)]
    pub(super) group: String,
    #[arg(long)]
    pub(super) size: usize,
    #[arg(long)]
    pub(super) count: u64,
    #[arg(long)]
    pub(super) warm_up: u64,
    #[arg(long)]
    pub(super) window: u64,
    #[arg(long)]
    pub(super) receivers: u64,
    #[arg(long)]
    pub(super) groups: u64,
    #[arg(long, value_parser = service)]
    pub(super) service: Service,
    #[arg(long)]
    pub(super) batch: u64,
    /// Which of the receivers this is, from 0.
    #[arg(long, default_value_t = 0)]
    pub(super) index: i16,
    #[arg(long)]
    pub(super) daemon_pid: Option<u32>,
    /// Microseconds; only our own clients are told.
    #[arg(long)]
    pub(super) coalesce: Option<u64>,
    /// The private group of the client that was there first.
    #[arg(long, default_value = "")]
    pub(super) peer: String,
}

/// Who a client is in its workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Role {
    Flood,
    Send,
    Receive,
    Ping,
    Pong,
}

impl Role {
    pub(super) fn name(self) -> &'static str {
        match self {
            Role::Flood => "flood",
            Role::Send => "send",
            Role::Receive => "receive",
            Role::Ping => "ping",
            Role::Pong => "pong",
        }
    }
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map_err(|error| format!("{error}"))?;
    let duration = Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?;
    match Instant::now().checked_add(duration) {
        Some(_) => Ok(duration),
        None => Err("too long".to_owned()),
    }
}
