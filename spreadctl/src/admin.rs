//! What a daemon tells of itself at its status socket.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use crate::failure::{Code, End, Failure, Result};

/// After this long a daemon is not going to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes of an answer; a daemon with thousands of sessions has less.
const MAX_ANSWER: u64 = 64 * 1024 * 1024;

/// Asks the daemon, and returns its answer.
pub(crate) fn ask(socket: &Path, question: &str) -> Result<String> {
    exchange(socket, question).map_err(|error| unanswered(socket, &error))
}

/// Asks the daemon whether it serves clients; returns `None` where there is no socket, or only other
/// users may ask.
pub(crate) fn health(socket: &Path) -> Result<Option<String>> {
    match exchange(socket, "health") {
        Ok(answer) => Ok(Some(answer)),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => Ok(None),
            _ => Err(unanswered(socket, &error)),
        },
    }
}

fn exchange(socket: &Path, question: &str) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    writeln!(stream, "{question}")?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER).read_to_string(&mut answer)?;
    if answer.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(answer)
}

/// Returns the failure of a question, with advice.
fn unanswered(socket: &Path, error: &io::Error) -> End {
    if is_timeout(error) {
        let (socket, seconds) = (socket.display(), PATIENCE.as_secs());
        let text = format!("no answer within {seconds} s at {socket}");
        return Failure::new(Code::NoAnswer, text).advise(STOPPED).into();
    }
    let text = format!("no daemon tells its status at {}: {error}", socket.display());
    let advice = match error.kind() {
        io::ErrorKind::PermissionDenied => "only the user of the daemon, and root, may ask it",
        _ => {
            "only spreadd has this socket, on its own host: is it running, does it need \
             --unix-dir, and is this its port (the one without TLS: --daemon 4803 for one with \
             TLS at 4804)?"
        }
    };
    Failure::new(Code::NoDaemon, text).advise(advice).into()
}

/// What to do about a daemon that does not answer.
pub(crate) const STOPPED: &str = "the daemon is there, but is stopped (SIGSTOP, a debugger) or \
                                  overloaded: look at its process and its log";

/// Returns whether an error is the end of the time for an answer.
pub(crate) fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// Asks for the status.
pub(crate) fn status(socket: &Path) -> Result<Status> {
    let json = ask(socket, "json")?;
    serde_json::from_str(&json).map_err(|error| {
        let text = format!("what answers at {} is no spreadd: {error}", socket.display());
        Failure::new(Code::NoDaemon, text).into()
    })
}

/// Asks the daemon to end a session; returns its private group.
pub(crate) fn kick(socket: &Path, client: &str) -> Result<String> {
    if client.trim().is_empty() {
        return Err(Failure::new(Code::Usage, "the name of the client is empty")
            .advise("spreadctl status lists the sessions")
            .into());
    }
    if client.contains(char::is_control) {
        return Err(Failure::new(Code::Usage, format!("illegal name {client:?}")).into());
    }
    let answer = ask(socket, &format!("kick {client}"))?;
    let answer = answer.trim_end();
    if let Some(kicked) = answer.strip_prefix("kicked ") {
        return Ok(kicked.to_owned());
    }
    let failure = match answer.strip_prefix("error: ") {
        Some(error) if error.starts_with("no session") => {
            Failure::new(Code::Failed, error).advise("spreadctl status lists the sessions")
        }
        Some(error) => Failure::new(Code::Failed, error),
        None => Failure::new(Code::Failed, "the daemon cannot kick: it is an older spreadd"),
    };
    Err(failure.into())
}

/// The status of a daemon, as its JSON has it. What is missing, because the daemon is of
/// another version, is empty.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Status {
    pub(crate) daemon: String,
    pub(crate) version: String,
    pub(crate) uptime_seconds: u64,
    pub(crate) hosts: Option<Hosts>,
    pub(crate) limits: Limits,
    /// The first sessions, by name: a list may be cut.
    pub(crate) session_list: Vec<Session>,
    /// The first groups, by name: a list may be cut.
    pub(crate) group_list: Vec<Group>,
    /// The numbers of all of them; daemons that cut no list may not tell them.
    #[serde(flatten)]
    pub(crate) counts: Counts,
    pub(crate) cut_offs: Vec<CutOff>,
    pub(crate) queued_bytes: u64,
    pub(crate) rejected_total: u64,
    pub(crate) cut_off_total: u64,
    pub(crate) last_second: Option<Rates>,
    pub(crate) last_minute: Option<Rates>,
    /// Of daemons without `last_second`: over the last seconds.
    pub(crate) received_per_second: f64,
    pub(crate) delivered_per_second: f64,
}

/// The numbers of what a status lists, also beyond the limits of the lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Counts {
    pub(crate) sessions: Option<usize>,
    pub(crate) groups: Option<usize>,
    pub(crate) queued_messages: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Hosts {
    pub(crate) present: Vec<String>,
    pub(crate) absent: Vec<String>,
    pub(crate) forming: bool,
    /// Why the daemon is in no configuration.
    pub(crate) reason: Option<String>,
    pub(crate) waits_for: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Limits {
    pub(crate) sessions: u64,
    pub(crate) session_messages: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Session {
    pub(crate) private_group: String,
    /// Empty for the unix socket.
    pub(crate) address: String,
    pub(crate) port: Option<u16>,
    /// Empty of daemons that do not tell it.
    pub(crate) transport: String,
    pub(crate) user: Option<String>,
    pub(crate) connected_seconds: u64,
    pub(crate) groups: u64,
    pub(crate) group_names: Vec<String>,
    pub(crate) queued: u64,
    pub(crate) received: u64,
    pub(crate) delivered: u64,
    pub(crate) throttled_by: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) members: u64,
    pub(crate) member_names: Vec<String>,
}

/// A session that the daemon ended.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct CutOff {
    pub(crate) private_group: String,
    pub(crate) reason: String,
    pub(crate) detail: String,
    pub(crate) seconds_ago: u64,
}

/// Rates per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Rates {
    #[serde(rename = "received_per_second")]
    pub(crate) received: f64,
    #[serde(rename = "delivered_per_second")]
    pub(crate) delivered: f64,
    #[serde(rename = "delivered_bytes_per_second")]
    pub(crate) delivered_bytes: f64,
}

impl Status {
    /// Returns the rates of the last second, or what an older daemon has instead.
    pub(crate) fn rates(&self) -> Rates {
        self.last_second.unwrap_or(Rates {
            received: self.received_per_second,
            delivered: self.delivered_per_second,
            delivered_bytes: 0.0,
        })
    }

    /// Returns how many sessions there are, also if not all are listed.
    pub(crate) fn sessions(&self) -> usize {
        self.counts.sessions.unwrap_or(self.session_list.len())
    }

    /// Returns how many groups there are, also if not all are listed.
    pub(crate) fn groups(&self) -> usize {
        self.counts.groups.unwrap_or(self.group_list.len())
    }

    /// Returns how many messages wait for all sessions.
    pub(crate) fn queued(&self) -> u64 {
        let listed = || self.session_list.iter().map(|session| session.queued).sum();
        self.counts.queued_messages.unwrap_or_else(listed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_of_another_version_is_read_as_far_as_it_goes() {
        let old = r##"{"daemon":"here","uptime_seconds":7,"received_per_second":2.5,"hosts":null,
            "session_list":[{"private_group":"#a#here","address":"","groups":1,"queued":3}],
            "group_list":[{"name":"g","members":1}]}"##;
        let status: Status = serde_json::from_str(old).unwrap();
        assert_eq!((status.rates().received, status.queued()), (2.5, 3));
        assert!(status.group_list[0].member_names.is_empty() && status.version.is_empty());
        let new = r##"{"version":"9","novelty":{"x":[1]},"last_second":{"received_per_second":4.0},
            "session_list":[{"private_group":"#a#h","mood":"good","group_names":["g"]}],
            "cut_offs":[{"private_group":"#b#h","reason":"boredom","seconds_ago":3}]}"##;
        let status: Status = serde_json::from_str(new).unwrap();
        assert_eq!(status.rates().received, 4.0);
        assert_eq!(status.session_list[0].group_names, ["g"]);
        assert_eq!(status.cut_offs[0].reason, "boredom");
    }

    #[test]
    fn the_numbers_are_those_of_the_daemon_where_its_lists_are_cut() {
        let cut = r##"{"sessions":12000,"groups":11000,"queued_messages":5,
            "session_list":[{"private_group":"#a#h","queued":2}],"group_list":[{"name":"g"}]}"##;
        let status: Status = serde_json::from_str(cut).unwrap();
        assert_eq!((status.sessions(), status.groups(), status.queued()), (12_000, 11_000, 5));
        let old: Status = serde_json::from_str(r##"{"session_list":[{},{}]}"##).unwrap();
        assert_eq!((old.sessions(), old.groups(), old.queued()), (2, 0, 0));
    }
}
