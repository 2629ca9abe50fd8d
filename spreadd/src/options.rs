//! The command line.

#[cfg(feature = "http")]
use std::net::Ipv4Addr;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use spread_daemon::Builder;

#[cfg(feature = "http")]
use crate::http::HostName;
use crate::tls;

const MAX_BUSY_POLL: u64 = Builder::MAX_BUSY_POLL.as_micros() as u64;

/// The version and the features that it is built with.
const VERSION: &str = match (cfg!(feature = "http"), cfg!(feature = "tls")) {
    (true, true) => concat!(env!("CARGO_PKG_VERSION"), " (http, tls)"),
    (true, false) => concat!(env!("CARGO_PKG_VERSION"), " (http)"),
    (false, true) => concat!(env!("CARGO_PKG_VERSION"), " (tls)"),
    (false, false) => concat!(env!("CARGO_PKG_VERSION"), " (without http and tls)"),
};

/// A Spread daemon for a single host, or over Corosync for several.
///
/// Any client of Spread connects to it, with `PORT@HOST` over TCP or, on this
/// host, with `PORT` over the unix socket /tmp/PORT. With --corosync the daemons
/// of a spread.conf have their groups in common; they are no cluster with
/// Spread's own daemons.
#[derive(Debug, Parser)]
#[command(
    name = "spreadd",
    version = VERSION,
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  spreadd                           for clients on this host, at 4803
  spreadd --bind 0.0.0.0            for clients on other hosts, too
  spreadd --port 0 --unix-dir .     a free port and ./PORT, told on stdout
  spreadd -c spread.conf            as the daemon of a configuration
  spreadd -c spread.conf --corosync as one of the daemons of several hosts
  spreadd corosync-conf spread.conf a corosync.conf for them
  spreadd --http 8080               with a page at http://127.0.0.1:8080/
  spreadd status                    who is connected, in which groups
  spreadd kick '#client#localhost'  end the session of a client

It tells on stdout when clients can connect, and to the socket in NOTIFY_SOCKET
that it is READY; with --corosync when it is in a configuration with the others.
It logs to stderr; RUST_LOG sets what: error, warn (the default), info or debug,
or directives such as spread_daemon=debug. It overrides the EventPriority of a
configuration.

On SIGHUP it reads the configuration, the passwords, the allowed addresses, the
token and the certificates again, and opens its log file anew. Sessions stay, and after an
error in one of the files everything is as before. On SIGUSR1 it only opens its log
file anew. On SIGTERM it takes nothing new, waits until
what is queued for clients has been sent, for up to 5 seconds, and ends. On
SIGINT, or a second SIGTERM, it ends at once.

Exit codes:
  0  it ended after a signal; the command was done; the configuration is fine
  1  status, health, kick: no daemon answers; health: the daemon serves no clients,
     because it is in no configuration; kick: there is no such session; passwd: the entry could not be made; corosync-conf: the configuration is not
     one of several hosts
  2  it cannot start: wrong options or configuration, the port is taken, or the
     daemons of the other hosts refuse it
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
    /// End the session of a client of the daemon that runs on this host
    Kick {
        /// The client: its private group, as #client#localhost, or its private name
        #[arg(value_parser = client)]
        client: String,
        #[command(flatten)]
        at: At,
    },
    /// End with code 0 if the daemon that runs on this host serves clients: not if it does not
    /// answer, and not while it is one of several hosts and in no configuration with them
    Health {
        #[command(flatten)]
        at: At,
    },
    /// Print a corosync.conf for the daemons of a spread.conf
    CorosyncConf {
        /// The spread.conf
        file: PathBuf,
    },
    /// Set a user's password in a file for --passwords
    ///
    /// It is asked for twice, without being shown, or read from the first line of stdin if
    /// that is no terminal.
    Passwd {
        /// The file; it is made if it is not there
        file: PathBuf,
        /// The user
        #[arg(required_unless_present_any = ["import", "force"])]
        user: Option<String>,
        /// Take over the users of another file, such as Spread's spread.access_pword
        #[arg(long, value_name = "FILE", conflicts_with = "user")]
        import: Option<PathBuf>,
        /// With --import: also replace the passwords of users that the file has already
        #[arg(long, requires = "import", conflicts_with = "user")]
        force: bool,
    },
}

/// Reads the name of a client.
fn client(text: &str) -> Result<String, &'static str> {
    match text.trim() {
        "" => Err("the name of the client is empty"),
        name => Ok(name.to_owned()),
    }
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
#[derive(Clone, Debug, Args)]
pub(crate) struct Run {
    /// Read this spread.conf; what is given here as well overrides it. Without this the first
    /// of these is read, if there is one: ./spread.conf, /usr/local/etc/spread.conf,
    /// /etc/spread.conf, /etc/spread/spread.conf
    #[arg(short = 'c', long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Read no spread.conf
    #[arg(long, conflicts_with = "config")]
    pub(crate) no_config: bool,

    /// Be a daemon of a spread.conf that has several, and know nothing of the others
    #[arg(long, conflicts_with = "corosync")]
    pub(crate) alone: bool,

    /// Only check the options, the configuration and the files that they name, whether the log
    /// can be written and socket files be made; an address that is not of this host is warned of
    #[arg(long)]
    pub(crate) check: bool,

    /// TCP port; 0 is a free one [default: 4803]
    #[arg(long)]
    pub(crate) port: Option<u16>,

    /// Name of the daemon, in private groups: #client#NAME; 1 to 19 bytes. Of a
    /// configuration with several daemons, the one to be [default: the first whose
    /// address is one of this host; without a configuration localhost]
    #[arg(short = 'n', long, visible_alias = "node")]
    pub(crate) name: Option<String>,

    /// Be one of the daemons of the configuration, which speak to each other over
    /// Corosync, in this process group [default: spread]
    #[arg(long, value_name = "GROUP", conflicts_with = "no_config", num_args = 0..=1,
        require_equals = true, default_missing_value = "spread")]
    pub(crate) corosync: Option<String>,

    /// Address to listen at; can be given several times [default: 127.0.0.1]
    #[arg(long, value_name = "IP")]
    pub(crate) bind: Vec<IpAddr>,

    /// Directory of the unix socket, a file named as the port; clients look in /tmp
    #[arg(long, value_name = "DIR", default_value = "/tmp")]
    pub(crate) unix_dir: PathBuf,

    /// Sessions that may be open; more clients are rejected. Each needs a file descriptor, three
    /// over TLS: with more than the limit allows it does not start [default: 1000; if the limit
    /// allows fewer, that is warned of]
    #[arg(long, value_name = "N",
        value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    pub(crate) max_sessions: Option<usize>,

    /// Messages that may wait for a client that does not read; with one more it
    /// is disconnected [default: 1000]
    #[arg(long, value_name = "N",
        value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    pub(crate) max_session_messages: Option<usize>,

    /// Slow-consumer policy: disconnect a client that does not read, or slow down its
    /// senders, which is not possible with --corosync
    #[arg(long, value_enum, default_value_t = Slow::Disconnect)]
    pub(crate) slow_receivers: Slow,

    /// MiB of messages that may wait for all clients together
    #[arg(long, value_name = "MIB", default_value_t = 512,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
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

    /// Let in only clients from the addresses in this file, one a line: unix, local for the
    /// loopback addresses, an address, or ADDRESS/BITS
    #[arg(long, value_name = "FILE")]
    pub(crate) allow: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) tls: tls::TlsOptions,

    /// Answer GET /metrics, for Prometheus
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) metrics: Option<SocketAddr>,

    /// Serve a page for browsers at /, and /status.json, /metrics, /healthz and /readyz, at
    /// this port of 127.0.0.1, or of another address; 0 is a free port
    #[cfg(feature = "http")]
    #[arg(long, value_name = "[IP:]PORT", value_parser = http_address)]
    pub(crate) http: Option<SocketAddr>,

    /// A name by which browsers and scrapers ask for the page, beside localhost and IP
    /// addresses; can be given several times. Requests by other names are refused
    #[cfg(feature = "http")]
    #[arg(long, value_name = "NAME", requires = "http")]
    pub(crate) http_host: Vec<HostName>,

    /// Let whoever has the token in this file kick clients on the page, and by
    /// POST /kick/CLIENT with Authorization: Bearer TOKEN
    #[cfg(feature = "http")]
    #[arg(long, value_name = "FILE", requires = "http")]
    pub(crate) http_token_file: Option<PathBuf>,

    /// Log to the end of this file instead of stderr; SIGHUP and SIGUSR1 open it again
    #[arg(long, value_name = "FILE")]
    pub(crate) log_file: Option<PathBuf>,

    /// How to log; with json each line on stdout and stderr is one JSON object
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
}

/// Returns an address that may lack its IP, which then is the loopback address.
#[cfg(feature = "http")]
fn http_address(text: &str) -> Result<SocketAddr, String> {
    let port = text.parse().map(|port: u16| (Ipv4Addr::LOCALHOST, port).into());
    let address = port.or_else(|_| text.parse());
    address.map_err(|_| "it is a port, or an IP address with a port".to_owned())
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
