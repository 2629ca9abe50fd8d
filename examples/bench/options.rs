//! The command line.

use std::fmt::{self, Display};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args as Group, Parser, Subcommand, ValueEnum};
use spread::Service;
use spread_daemon::Builder;

const MAX_BUSY_POLL: u64 = Builder::MAX_BUSY_POLL.as_micros() as u64;

/// Measures group multicast: rate, latency, and CPU time of client and daemon.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) options: Options,
    #[command(subcommand)]
    pub(crate) part: Option<Part>,
}

#[derive(Group)]
pub(crate) struct Options {
    /// What to measure; all of it unless named
    #[arg(value_enum)]
    pub(crate) workloads: Vec<Workload>,
    /// Bytes a message
    #[arg(long, value_name = "BYTES", value_delimiter = ',', default_value = "64,1024,16384")]
    pub(crate) size: Vec<usize>,
    /// Messages to send in a run; in pingpong, round trips
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: u64,
    /// Messages to send before that
    #[arg(long, value_name = "COUNT", default_value_t = 10_000)]
    pub(crate) warm_up: u64,
    /// Runs of which the median is taken
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) runs: u32,
    /// Messages under way at the most; Spread cuts off who has 1000 unread
    #[arg(long, value_name = "MESSAGES", default_value_t = 200,
        value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub(crate) window: u64,
    /// Receivers of fanout, each of them a process
    #[arg(long, value_name = "COUNT", value_delimiter = ',', default_value = "4",
        value_parser = clap::value_parser!(u64).range(1..=100))]
    pub(crate) receivers: Vec<u64>,
    /// Groups that flood sends to in turn
    #[arg(long, value_name = "COUNT", value_delimiter = ',', default_value = "1",
        value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(crate) groups: Vec<u64>,
    /// unreliable, reliable, fifo, causal, agreed or safe
    #[arg(long, default_value = "agreed", value_parser = parse_service)]
    pub(crate) service: Service,
    /// Messages to send in one go, if they are not long; 1 is a call for each
    #[arg(long, value_name = "MESSAGES", default_value_t = 64,
        value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub(crate) batch: u64,
    /// The daemon to measure, as PORT@HOST or PORT; without it, one of its own
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) daemon: Option<String>,
    /// Its process, if it is not found by its socket
    #[arg(long, value_name = "PID", requires = "daemon")]
    pub(crate) daemon_pid: Option<u32>,
    /// How clients reach its own daemon
    #[arg(long, value_enum, default_value_t = Transport::Unix)]
    pub(crate) transport: Transport,
    /// How long its own daemon polls before it sleeps
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 0, conflicts_with = "daemon",
        value_parser = clap::value_parser!(u64).range(..=MAX_BUSY_POLL))]
    pub(crate) busy_poll: u64,
    /// By how much clients of the first daemon coalesce receives [default: 0]
    #[arg(long, value_name = "MICROSECONDS")]
    pub(crate) coalesce: Option<u64>,
    /// A second daemon, measured in turns with the first
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) versus: Option<String>,
    /// Its process, if it is not found by its socket
    #[arg(long, value_name = "PID", requires = "versus")]
    pub(crate) versus_pid: Option<u32>,
    /// The program whose clients the second side has, such as one from
    /// benches/c/bench.c; without --versus, at the first daemon
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) versus_client: Option<PathBuf>,
    /// Seconds after which a run has stalled
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = parse_seconds)]
    pub(crate) deadline: Duration,
    /// Counts system calls, too, in a further run under strace
    #[arg(long)]
    pub(crate) syscalls: bool,
    /// Writes each run to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: Option<PathBuf>,
    /// Draws rate and latency against message size
    #[arg(long, value_name = "FILE.svg")]
    pub(crate) plot: Option<PathBuf>,
}

impl Options {
    pub(crate) fn deadline_from_now(&self) -> Instant {
        Instant::now() + self.deadline
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    Flood,
    Fanout,
    #[value(name = "pingpong")]
    PingPong,
}

impl Workload {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Workload::Flood => "flood",
            Workload::Fanout => "fanout",
            Workload::PingPong => "pingpong",
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Transport {
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
#[derive(Subcommand)]
pub(crate) enum Part {
    /// A daemon, until the end of its input
    #[command(hide = true)]
    Daemon {
        #[arg(long)]
        busy_poll: u64,
    },
    /// One of the clients of a workload
    #[command(hide = true)]
    Client(ClientArgs),
}

/// The arguments of each client, in whatever language it is written.
#[derive(Group)]
pub(crate) struct ClientArgs {
    #[arg(value_enum)]
    pub(crate) role: Role,
    #[arg(long)]
    pub(crate) daemon: String,
    /// Begins the names of all groups of the run.
    #[arg(long)]
    pub(crate) group: String,
    #[arg(long)]
    pub(crate) size: usize,
    #[arg(long)]
    pub(crate) count: u64,
    #[arg(long)]
    pub(crate) warm_up: u64,
    #[arg(long)]
    pub(crate) window: u64,
    #[arg(long)]
    pub(crate) receivers: u64,
    #[arg(long)]
    pub(crate) groups: u64,
    #[arg(long, value_parser = parse_service)]
    pub(crate) service: Service,
    #[arg(long)]
    pub(crate) batch: u64,
    /// Which of the receivers this is, from 0.
    #[arg(long, default_value_t = 0)]
    pub(crate) index: i16,
    #[arg(long)]
    pub(crate) daemon_pid: Option<u32>,
    /// Microseconds; only our own clients are told.
    #[arg(long)]
    pub(crate) coalesce: Option<u64>,
    /// The private group of the client that was there first.
    #[arg(long, default_value = "")]
    pub(crate) peer: String,
}

/// Who a client is in its workload.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    Flood,
    Send,
    Receive,
    Ping,
    Pong,
}

impl Role {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Role::Flood => "flood",
            Role::Send => "send",
            Role::Receive => "receive",
            Role::Ping => "ping",
            Role::Pong => "pong",
        }
    }
}

/// The name of a service on the command line.
pub(crate) fn service_name(service: Service) -> String {
    format!("{service:?}").to_lowercase()
}

fn parse_service(text: &str) -> Result<Service, String> {
    let found = Service::ALL.into_iter().find(|service| service_name(*service) == text);
    found.ok_or_else(|| format!("one of {}", Service::ALL.map(service_name).join(", ")))
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map_err(|error| format!("{error}"))?;
    let duration = Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?;
    match Instant::now().checked_add(duration) {
        Some(_) => Ok(duration),
        None => Err("too long".to_owned()),
    }
}
