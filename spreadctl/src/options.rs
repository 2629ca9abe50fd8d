//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, Parser, Subcommand};
use clap_complete::Shell;
use spread::{GroupName, Name, PrivateGroup, PrivateName, Service};

use crate::bench;
use crate::output::Color;

/// The command line of the Spread toolkit: subscribe, publish, chat, measure, and look into
/// a daemon.
#[derive(Debug, Parser)]
#[command(
    name = "spreadctl",
    version,
    after_help = "\
The daemon is that of --daemon or SPREAD_DAEMON: PORT (the unix socket /tmp/PORT), PORT@HOST,
or the path of a unix socket.

Exit codes:
  0    the command was done; the reader of the output went away
  1    it failed: the connection was lost, the daemon refused it, the output cannot be
       written; doctor: something is wrong
  2    the command line is wrong, a name is illegal or a message too long
  3    no session: no daemon there, another server, wrong password, name in use
  4    no answer: nobody serves the request, the time is over, sub got fewer than --count,
       the daemon is stopped
  130  ctrl-c (143 after SIGTERM, 129 after SIGHUP); groups are left first

Colours are used on a terminal only, and not if NO_COLOR is set."
)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// When to use colours
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t)]
    pub(crate) color: Color,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How to reach a daemon.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Connection {
    /// The daemon, as PORT, PORT@HOST or the path of a unix socket [env: SPREAD_DAEMON]
    /// [default: 4803]
    #[arg(short, long, global = true, value_name = "ADDRESS")]
    pub(crate) daemon: Option<String>,
    /// The private name to ask for, 1 to 10 bytes; without it the daemon makes one up
    #[arg(short, long, global = true, value_parser = private_name)]
    pub(crate) name: Option<String>,
    /// The user, for a daemon that demands a password [env: SPREAD_USER]
    #[arg(short, long, global = true, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// The file whose first line is the user's password [env: SPREAD_PASSWORD_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// How long to wait for a session, as in 500ms or 10s
    #[arg(long, global = true, value_name = "TIME", default_value = "10s",
        value_parser = humantime::parse_duration)]
    pub(crate) timeout: Duration,
    /// The directory of the daemon's status socket, for status, health, kick, top and doctor
    #[arg(long, global = true, value_name = "DIR", default_value = "/tmp")]
    pub(crate) unix_dir: PathBuf,
    #[command(flatten)]
    pub(crate) tls: Tls,
}

/// Whether and how to connect over TLS.
#[cfg(feature = "tls")]
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Tls {
    /// Connect over TLS to a daemon with a certificate of an authority in this PEM file
    /// [env: SPREAD_TLS_CA]
    #[arg(long = "tls-ca", id = "tls-ca", global = true, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// The certificate to show the daemon, in a PEM file [env: SPREAD_TLS_CERT]
    #[arg(long = "tls-cert", id = "tls-cert", global = true, value_name = "FILE")]
    pub(crate) cert: Option<PathBuf>,
    /// The private key of --tls-cert, in a PEM file [env: SPREAD_TLS_KEY]
    #[arg(long = "tls-key", id = "tls-key", global = true, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// The name that the daemon's certificate is for [env: SPREAD_TLS_NAME]
    /// [default: the host of --daemon]
    #[arg(long = "tls-name", id = "tls-name", global = true, value_name = "NAME")]
    pub(crate) name: Option<String>,
}

/// What stands for the options of TLS without the feature `tls`.
#[cfg(not(feature = "tls"))]
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Tls {
    /// Whether the environment asks for TLS.
    #[arg(skip)]
    pub(crate) is_asked_for: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show messages and views of groups as they come
    #[command(visible_alias = "subscribe")]
    Sub(Sub),
    /// Send messages to groups
    #[command(name = "pub", visible_alias = "publish")]
    Publish(Publish),
    /// Show the members of a group: joins it, prints them, and leaves
    Members(Members),
    /// Ask a service of a group, over spread-groups
    Request(Request),
    /// Serve requests of a group with a command, over spread-groups
    Serve(Serve),
    /// Talk in groups, with line editing and history
    Chat(Chat),
    /// Measure rate, latency and CPU time, of a daemon of its own or of --daemon
    Bench(Box<bench::Args>),
    /// Watch sessions, groups, rates and queues of the daemon on this host
    Top(Top),
    /// Show sessions, groups and rates of the daemon on this host
    Status(Json),
    /// End with code 0 if the daemon serves clients: as it says at its status socket, or where
    /// there is none or this user may not ask, if a session can be opened
    Health,
    /// Disconnect a client of the daemon on this host
    Kick(Kick),
    /// Look for what is wrong with a daemon or the way to it
    Doctor(Json),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page, or write those of all commands
    Man {
        /// Write spreadctl.1 and a page for each command into this directory
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "\
With --json each event is an object in one line. Its fields are stable:
  time, and event, which is one of
  message       sender, groups, service, type, bytes, and text or, if it is not UTF-8, base64
  view          group, id, cause (join, leave, disconnect, network), member, members, me, and
                for network vs_sets
  transitional  group, id
  left          group
  rejected      groups, request
  lost, retrying, restored   error; attempt, error; private_group, attempts")]
pub(crate) struct Sub {
    /// The groups to join
    #[arg(required = true, value_parser = group)]
    pub(crate) groups: Vec<GroupName>,
    /// Print each event as a JSON object in one line
    #[arg(long, conflicts_with = "raw")]
    pub(crate) json: bool,
    /// Print payloads as they are, each with a newline behind it, and nothing else
    #[arg(long)]
    pub(crate) raw: bool,
    /// With --raw, no newlines
    #[arg(long, requires = "raw")]
    pub(crate) no_newline: bool,
    /// End after so many messages; views do not count
    #[arg(short, long, value_name = "N", allow_negative_numbers = true, value_parser = count)]
    pub(crate) count: Option<u64>,
    /// End after this time
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) time: Option<Duration>,
    /// Print the time of each event, in UTC; JSON always has it
    #[arg(short, long)]
    pub(crate) timestamps: bool,
    /// No views, only messages
    #[arg(long)]
    pub(crate) no_views: bool,
    /// End with code 1 when the connection is lost, instead of connecting again
    #[arg(long)]
    pub(crate) no_reconnect: bool,
}

#[derive(Debug, Args)]
#[command(
    override_usage = "spreadctl pub [OPTIONS] GROUP... [TEXT | - | @FILE]",
    after_help = "\
The last argument is the message, unless there is only one: then it is read as with -.
  TEXT    this text; @@TEXT is @TEXT
  -       standard input: each line is a message, without its newline; at a terminal, ctrl-d
          ends it
  @FILE   a file: one message
--whole and --lines change what standard input and files are. It ends when the daemon has
taken everything, and with code 1 if the daemon refuses a message.

Examples:
  spreadctl pub news 'it rains'
  spreadctl pub '#alice#localhost' psst         to one client
  tail -f log | spreadctl pub news -
  spreadctl pub --count 1000 --rate 100 news ping"
)]
pub(crate) struct Publish {
    /// The groups, among them private groups such as '#alice#localhost', and the message
    #[arg(required = true, value_name = "GROUP... MESSAGE", allow_hyphen_values = false)]
    pub(crate) arguments: Vec<String>,
    /// unreliable, reliable, fifo, causal, agreed or safe
    #[arg(short, long, default_value = "agreed", value_parser = service)]
    pub(crate) service: Service,
    /// The number that the message carries for applications
    #[arg(
        short = 't',
        long = "type",
        value_name = "NUMBER",
        default_value_t = 0,
        allow_negative_numbers = true
    )]
    pub(crate) message_type: i16,
    /// How often to send each message
    #[arg(short, long, value_name = "N", default_value_t = 1, allow_negative_numbers = true,
        value_parser = count)]
    pub(crate) count: u64,
    /// Messages a second at most
    #[arg(short, long, value_name = "N", allow_negative_numbers = true, value_parser = rate)]
    pub(crate) rate: Option<f64>,
    /// Each line is a message, also of a file
    #[arg(long, conflicts_with = "whole")]
    pub(crate) lines: bool,
    /// All of the standard input is one message
    #[arg(long)]
    pub(crate) whole: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Members {
    /// The group; its members see this client join and leave
    #[arg(value_parser = group)]
    pub(crate) group: GroupName,
    /// Print a JSON object: group, id, members
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
A service takes bytes and answers with bytes: with the crate spread-groups,
group.serve(\"SERVICE\", |question: Vec<u8>| Ok::<Vec<u8>, String>(..)).")]
pub(crate) struct Request {
    /// The group
    #[arg(value_parser = group)]
    pub(crate) group: GroupName,
    /// The service
    pub(crate) service: String,
    /// The question: TEXT, - for all of the standard input, or @FILE
    #[arg(default_value = "-", hide_default_value = true)]
    pub(crate) question: String,
    /// How long to wait for the answer
    #[arg(long, value_name = "TIME", default_value = "5s",
        value_parser = humantime::parse_duration)]
    pub(crate) within: Duration,
    /// Wait as long for a server, too, if there is none
    #[arg(long)]
    pub(crate) wait: bool,
    /// Ask all servers, and print the answer of each
    #[arg(long)]
    pub(crate) all: bool,
    /// Print a JSON object for each answer: server, and text or base64, or error
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("answer").required(true).args(["echo", "command"]),
    override_usage = "spreadctl serve [OPTIONS] <GROUP> <SERVICE> <--echo | -- COMMAND...>",
    after_help = "\
The command gets the question as its standard input, and its standard output is the answer,
128 KiB at most. A command that fails makes the request fail with its error output.

Example:
  spreadctl serve plant upper -- tr a-z A-Z
  spreadctl request plant upper hello")]
pub(crate) struct Serve {
    /// The group
    #[arg(value_parser = group)]
    pub(crate) group: GroupName,
    /// The service
    pub(crate) service: String,
    /// Answer with the question
    #[arg(long)]
    pub(crate) echo: bool,
    /// The command to run for each request, and its arguments
    #[arg(last = true)]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Chat {
    /// The groups to join at first
    #[arg(value_parser = group)]
    pub(crate) groups: Vec<GroupName>,
    /// Keep no history of lines
    #[arg(long)]
    pub(crate) no_history: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Top {
    /// How often to ask the daemon
    #[arg(short, long, value_name = "TIME", default_value = "1s",
        value_parser = humantime::parse_duration)]
    pub(crate) interval: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct Json {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Kick {
    /// Its private name, or its private group such as '#alice#localhost'
    pub(crate) client: String,
}

/// The name of a service on the command line and in JSON.
pub(crate) fn service_name(service: Service) -> String {
    format!("{service:?}").to_lowercase()
}

pub(crate) fn service(text: &str) -> Result<Service, String> {
    let found = Service::ALL.into_iter().find(|service| service_name(*service) == text);
    found.ok_or_else(|| format!("one of {}", Service::ALL.map(service_name).join(", ")))
}

fn group(text: &str) -> Result<GroupName, String> {
    GroupName::new(text).map_err(|error| {
        format!(
            "{error}; a group is 1 to {} bytes of printable ASCII except space, ! \" and #",
            spread::MAX_GROUP_NAME
        )
    })
}

/// Reads a group that a message goes to, which may be the private group of a client.
pub(crate) fn target(text: &str) -> Result<Name, String> {
    match text.starts_with('#') {
        true => PrivateGroup::new(text)
            .map(Name::from)
            .map_err(|error| format!("{error}; a private group is #NAME#DAEMON")),
        false => group(text).map(Name::from),
    }
}

fn private_name(text: &str) -> Result<String, String> {
    PrivateName::new(text).map(|_| text.to_owned()).map_err(|error| {
        format!(
            "{error}; a private name is 1 to {} bytes of printable ASCII except space, ! \" and #",
            spread::MAX_PRIVATE_NAME
        )
    })
}

fn count(text: &str) -> Result<u64, &'static str> {
    text.parse().ok().filter(|count| *count > 0).ok_or("a whole number above 0")
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if rate > 0.0 && f64::is_finite(rate) => Ok(rate),
        _ => Err("a number above 0".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn a_message_goes_to_groups_and_private_groups() {
        assert_eq!(target("news").unwrap().to_string(), "news");
        assert_eq!(target("#a#d").unwrap().to_string(), "#a#d");
        for illegal in ["", "two words", "#a", "a-name-of-thirty-two-bytes-is-one-more"] {
            assert!(target(illegal).is_err(), "{illegal}");
        }
    }
}
