//! The status of a daemon, and its JSON. The table for people is in `table`, the metrics in
//! `metrics`.

use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

/// The status of a daemon. [`Display`](std::fmt::Display) gives a table for people,
/// [`Status::to_json`] what programs read, and [`Deserialize`] reads it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Status {
    /// The daemon's name; of several the names with blanks between.
    pub daemon: String,
    /// The version of this crate.
    pub version: String,
    /// How long it has been running; whole seconds in JSON.
    #[serde(rename = "uptime_seconds", with = "whole_seconds")]
    pub uptime: Duration,
    /// When it started, as Unix time in seconds.
    #[serde(rename = "start_time_seconds")]
    pub started: u64,
    /// The daemons of several hosts, if it is one of them.
    pub hosts: Option<HostsStatus>,
    /// When the certificate expires that the program has for TLS, as Unix time in seconds; `None`
    /// if it has not [told it](crate::AdmitHandle::certificate_expires).
    pub tls_certificate_expiry: Option<u64>,
    /// Its limits for clients.
    pub limits: Limits,
    /// Its sessions, by private group; at most [`Status::MAX_NAMES`].
    #[serde(rename = "session_list")]
    pub sessions: Vec<SessionStatus>,
    /// Its groups, by name; at most [`Status::MAX_NAMES`].
    #[serde(rename = "group_list")]
    pub groups: Vec<GroupStatus>,
    /// How many there are of what it lists, also beyond the limits of the lists.
    #[serde(flatten)]
    pub counts: Counts,
    /// The last [`Status::MAX_CUT_OFFS`] sessions that the daemon ended, the last first.
    pub cut_offs: Vec<CutOff>,
    /// The last [`Status::MAX_VIEWS`] views of all groups, the last first.
    pub views: Vec<ViewStatus>,
    /// Bytes of the messages that wait for clients; one that waits for several
    /// counts once.
    pub queued_bytes: usize,
    /// Counters since the daemon started.
    #[serde(flatten)]
    pub totals: Totals,
    /// Rates in the last whole second.
    pub last_second: Rates,
    /// Mean rates over the last 60 whole seconds, or since the start of the daemon.
    pub last_minute: Rates,
    /// What came and went in each of the last seconds.
    pub history: History,
}

/// The numbers of what a status lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Counts {
    /// Sessions.
    pub sessions: usize,
    /// Groups with a member.
    pub groups: usize,
    /// Memberships: each member counts once for each of its groups.
    pub members: usize,
    /// Messages that wait for some client to read them.
    #[serde(rename = "queued_messages")]
    pub queued: usize,
    /// Those that wait for the client for which most do.
    #[serde(rename = "longest_queue_messages")]
    pub longest_queue: usize,
}

/// The daemons of several hosts, as one of them sees them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct HostsStatus {
    /// The daemons of the present configuration, itself included; none while Corosync is
    /// gone.
    pub present: Vec<String>,
    /// The others that are not in it.
    pub absent: Vec<String>,
    /// Why this daemon is in no configuration, as the last error of Corosync; `None` while it is
    /// in one.
    pub reason: Option<String>,
    /// The other daemons that this one waits for: while the next configuration is being formed,
    /// those whose message it needs; otherwise those that are furthest behind with safe messages.
    /// A process that has not told which daemon it is stands here as `process 7 on node 2`.
    pub waits_for: Vec<String>,
    /// The present configuration: the same at all of its daemons, and another for each that
    /// is formed; 0 before the first. In JSON it is a text of 16 hexadecimal digits.
    #[serde(with = "hexadecimal")]
    pub configuration: u64,
    /// Whether the next configuration is being formed.
    pub forming: bool,
    /// Bytes that wait to be sent to the other daemons. Clients are not read while it is
    /// more than a MiB.
    pub outbox_bytes: usize,
    /// Packets of events that the daemon that is furthest behind has not acknowledged, while
    /// a safe message waits for it; otherwise 0.
    pub safe_lag: u64,
    /// Configurations that were formed since this daemon started.
    #[serde(rename = "configurations_total")]
    pub configurations: u64,
    /// Sends for which Corosync had no room; each was repeated.
    #[serde(rename = "full_total")]
    pub full: u64,
    /// How often this daemon has joined the others again, after Corosync was gone.
    #[serde(rename = "rejoined_total")]
    pub rejoined: u64,
}

/// A session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct SessionStatus {
    /// Its private group.
    pub private_group: String,
    /// The address of its client; empty for the unix socket.
    pub address: String,
    /// The port of its client.
    pub port: Option<u16>,
    /// What it comes by: `tcp`, `unix`, or what the program names
    /// ([`Incoming::transport`](crate::Incoming::transport)), as `spreadd` does with `tls`.
    pub transport: String,
    /// The user whose password it gave, if it was asked for one.
    pub user: Option<String>,
    /// How long it has been connected; whole seconds in JSON.
    #[serde(rename = "connected_seconds", with = "whole_seconds")]
    pub connected: Duration,
    /// How many groups it has joined.
    pub groups: usize,
    /// Their names in order; fewer than `groups` beyond [`Status::MAX_NAMES`].
    pub group_names: Vec<String>,
    /// Messages that wait for it to read them.
    pub queued: usize,
    /// Messages, joins and leaves that came from it.
    pub received: u64,
    /// Messages and views that went to it, or wait for it.
    pub delivered: u64,
    /// The private group of the session whose full queue this one waits for: the daemon
    /// reads nothing of it meanwhile.
    pub throttled_by: Option<String>,
    /// How often it had to wait for another session so far.
    pub throttled: u64,
}

/// A group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct GroupStatus {
    /// Its name.
    pub name: String,
    /// How many members it has.
    pub members: usize,
    /// Their private groups in the order of the group's views; fewer than `members` beyond
    /// [`Status::MAX_NAMES`].
    pub member_names: Vec<String>,
}

/// The limits that a daemon has for its clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Limits {
    /// Sessions that may be open.
    pub sessions: usize,
    /// Messages that may wait for one session.
    pub session_messages: usize,
    /// Groups that one session may join.
    pub session_groups: usize,
    /// Bytes of messages that may wait for all sessions.
    pub queued_bytes: usize,
}

/// A session that the daemon ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct CutOff {
    /// Its private group.
    pub private_group: String,
    /// The address of its client; empty for the unix socket.
    pub address: String,
    /// The reason.
    pub reason: CutOffReason,
    /// The reason in words.
    pub detail: String,
    /// How long ago it was; whole seconds in JSON.
    #[serde(rename = "seconds_ago", with = "whole_seconds")]
    pub ago: Duration,
}

/// Why a daemon ended a session; in JSON as `queue_full`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CutOffReason {
    /// It did not read, and more messages waited for it than may.
    QueueFull,
    /// The messages that waited for it kept most memory in use when there was too much.
    Memory,
    /// It sent what the protocol does not allow.
    Protocol,
    /// Someone asked for it: `spreadd kick`, or [`Daemon::kick`](crate::Daemon::kick).
    Kicked,
    /// The daemon lost the daemons of the other hosts, and ended all its sessions.
    HostsGone,
    /// A reason that is not known to this version.
    #[default]
    #[serde(other)]
    Unknown,
}

/// A view of a group: the change of its members that it tells of, as this daemon sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ViewStatus {
    /// Its number among the views of all groups since the daemon started; the first is 1.
    pub number: u64,
    /// The group.
    pub group: String,
    /// The cause of the change.
    pub cause: ViewCause,
    /// The private group of the member that came or went; `None` if the cause is the network.
    pub member: Option<String>,
    /// How many members the group has then.
    pub members: usize,
    /// How long ago it was; whole seconds in JSON.
    #[serde(rename = "seconds_ago", with = "whole_seconds")]
    pub ago: Duration,
}

/// The cause of a view; in JSON as `join`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ViewCause {
    /// A member joined.
    Join,
    /// A member left.
    Leave,
    /// The connection of a member ended.
    Disconnect,
    /// Daemons of several hosts parted or came together.
    Network,
    /// A cause that is not known to this version.
    #[default]
    #[serde(other)]
    Unknown,
}

/// What came and went in each of the last 60 whole seconds, or since the start of the daemon,
/// the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct History {
    /// Messages, joins, leaves and disconnects that came from clients.
    pub received: Vec<u64>,
    /// Bytes of them.
    pub received_bytes: Vec<u64>,
    /// Messages and views that went to clients.
    pub delivered: Vec<u64>,
    /// Bytes of them.
    pub delivered_bytes: Vec<u64>,
}

/// Rates per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Rates {
    /// Messages, joins, leaves and disconnects that came from clients.
    #[serde(rename = "received_per_second", serialize_with = "in_tenths")]
    pub received: f64,
    /// Bytes of them.
    #[serde(rename = "received_bytes_per_second", serialize_with = "in_tenths")]
    pub received_bytes: f64,
    /// Messages and views that went to clients.
    #[serde(rename = "delivered_per_second", serialize_with = "in_tenths")]
    pub delivered: f64,
    /// Bytes of them.
    #[serde(rename = "delivered_bytes_per_second", serialize_with = "in_tenths")]
    pub delivered_bytes: f64,
}

/// Counters since a daemon started. In JSON and metrics their names end with `_total`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Totals {
    /// Messages, joins, leaves and disconnects that came from clients.
    #[serde(rename = "received_total")]
    pub received: u64,
    /// Bytes of them.
    #[serde(rename = "received_bytes_total")]
    pub received_bytes: u64,
    /// Messages and views that went to clients.
    #[serde(rename = "delivered_total")]
    pub delivered: u64,
    /// Bytes of them.
    #[serde(rename = "delivered_bytes_total")]
    pub delivered_bytes: u64,
    /// Clients that got a session.
    #[serde(rename = "connected_total")]
    pub connected: u64,
    /// Clients that were rejected, and those that left because they have none of the
    /// authentication methods.
    #[serde(rename = "rejected_total")]
    pub rejected: u64,
    /// Clients that were disconnected because they did not read.
    #[serde(rename = "cut_off_total")]
    pub cut_off: u64,
    /// Clients that were disconnected because they broke the protocol.
    #[serde(rename = "protocol_errors_total")]
    pub protocol_errors: u64,
    /// Clients that were disconnected because someone asked for it.
    #[serde(rename = "kicked_total")]
    pub kicked: u64,
    /// Requests that were refused: joins beyond the limit of groups, or by the policy.
    #[serde(rename = "refused_total")]
    pub refused: u64,
    /// How often a sender had to wait for a receiver.
    #[serde(rename = "throttled_total")]
    pub throttled: u64,
    /// Views of all groups.
    #[serde(rename = "views_total")]
    pub views: u64,
}

impl Status {
    /// The cut-offs that a daemon remembers: 32.
    pub const MAX_CUT_OFFS: usize = 32;

    /// The views that a daemon remembers: 100.
    pub const MAX_VIEWS: usize = 100;

    /// The sessions and the groups that a status lists, and the memberships whose names it
    /// lists in each of these two lists: 10,000. It is made by the thread that serves clients,
    /// which it must not hold up.
    pub const MAX_NAMES: usize = 10_000;

    /// Messages that wait for some client to read them.
    pub fn queued(&self) -> usize {
        self.counts.queued
    }

    /// Returns the number of memberships: each member counts once for each of its groups.
    pub fn members(&self) -> usize {
        self.counts.members
    }

    /// Returns one JSON object, in one line: the fields of this type.
    pub fn to_json(&self) -> String {
        // No value of this type fails.
        serde_json::to_value(self).unwrap_or_default().to_string()
    }
}

/// A number beyond those that every reader of JSON keeps exactly.
mod hexadecimal {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// What an older version has written is a number.
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Text(String),
        Number(u64),
    }

    pub(super) fn serialize<S: Serializer>(number: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{number:016x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        match Written::deserialize(from)? {
            Written::Text(text) => u64::from_str_radix(&text, 16).map_err(D::Error::custom),
            Written::Number(number) => Ok(number),
        }
    }
}

mod whole_seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(time.as_secs())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_secs)
    }
}

fn in_tenths<S: Serializer>(rate: &f64, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64((rate * 10.0).round() / 10.0)
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::Value;

    use super::*;

    pub(in super::super) fn status() -> Status {
        Status {
            daemon: "here".to_owned(),
            uptime: Duration::from_secs(7),
            hosts: Some(HostsStatus {
                present: vec!["here".to_owned(), "d2".to_owned()],
                absent: vec!["d3".to_owned()],
                reason: None,
                waits_for: vec!["d2".to_owned()],
                configuration: 0xf000_0000_0000_002a,
                forming: false,
                outbox_bytes: 11,
                safe_lag: 12,
                configurations: 13,
                full: 14,
                rejoined: 15,
            }),
            sessions: vec![SessionStatus {
                private_group: "#a#here".to_owned(),
                connected: Duration::from_secs(5),
                groups: 1,
                group_names: vec!["g".to_owned()],
                queued: 3,
                received: 8,
                throttled_by: Some("#b#here".to_owned()),
                ..SessionStatus::default()
            }],
            groups: vec![GroupStatus {
                name: "g\"\\\u{1}".to_owned(),
                members: 1,
                member_names: vec!["#a#here".to_owned()],
            }],
            counts: Counts { sessions: 1, groups: 1, members: 1, queued: 3, longest_queue: 3 },
            cut_offs: vec![CutOff {
                reason: CutOffReason::QueueFull,
                ago: Duration::from_secs(9),
                ..CutOff::default()
            }],
            views: vec![ViewStatus {
                number: 4,
                cause: ViewCause::Join,
                member: Some("#a#here".to_owned()),
                ..ViewStatus::default()
            }],
            history: History { received: vec![6], ..History::default() },
            queued_bytes: 300,
            totals: Totals { received: 5, delivered: 9, ..Totals::default() },
            last_second: Rates { received: 2.5, ..Rates::default() },
            ..Status::default()
        }
    }

    #[test]
    fn its_json_is_json() {
        let json: Value = serde_json::from_str(&status().to_json()).unwrap();
        assert_eq!(json["daemon"], "here");
        assert_eq!((&json["queued_messages"], &json["received_total"]), (&3.into(), &5.into()));
        assert_eq!(json["session_list"][0]["private_group"], "#a#here");
        assert_eq!(json["group_list"][0]["name"], "g\"\\\u{1}");
        assert_eq!(json["session_list"][0]["group_names"][0], "g");
        assert_eq!(json["session_list"][0]["throttled_by"], "#b#here");
        assert_eq!(json["group_list"][0]["member_names"][0], "#a#here");
        assert_eq!(json["last_second"]["received_per_second"], 2.5);
        assert_eq!(json["cut_offs"][0]["reason"], "queue_full");
        assert_eq!(json["cut_offs"][0]["seconds_ago"], 9);
        let view = &json["views"][0];
        assert_eq!((&view["number"], &view["cause"]), (&4.into(), &"join".into()));
        assert_eq!(
            (&view["member"], &json["history"]["received"][0]),
            (&"#a#here".into(), &6.into())
        );
        assert_eq!(json["hosts"]["absent"][0], "d3");
        let keys = ["outbox_bytes", "safe_lag", "configurations_total"];
        assert_eq!(keys.map(|key| json["hosts"][key].as_u64()), [11, 12, 13].map(Some));
        assert_eq!(json["hosts"]["configuration"], "f00000000000002a");
        assert_eq!(json["hosts"]["waits_for"][0], "d2");
        assert_eq!(
            (&json["hosts"]["full_total"], &json["hosts"]["rejoined_total"]),
            (&14.into(), &15.into())
        );
    }

    #[test]
    fn its_json_is_read_back_also_that_of_another_version() {
        let read: Status = serde_json::from_str(&status().to_json()).unwrap();
        assert_eq!(read, status());
        let older: Status = serde_json::from_str(r#"{"hosts": {"configuration": 42}}"#).unwrap();
        assert_eq!(older.hosts.unwrap().configuration, 42);
        let newer = r#"{"daemon": "d", "news": 1, "cut_offs": [{"reason": "bored"}],
            "views": [{"cause": "moon"}]}"#;
        let read: Status = serde_json::from_str(newer).unwrap();
        assert_eq!((&*read.daemon, read.cut_offs[0].reason), ("d", CutOffReason::Unknown));
        assert_eq!(read.views[0].cause, ViewCause::Unknown);
    }

    #[test]
    fn its_table_tells_who_is_in_the_configuration() {
        let table = status().to_string();
        assert!(table.contains("\nconfiguration: here d2; absent: d3\n"), "{table}");
        let numbers = "\nnumber of the configuration: f00000000000002a, formed 13; not sent 11 bytes, \
                       safe lag 12, no room 14, rejoined 15\n";
        assert!(table.contains(numbers), "{table}");
        assert!(table.contains("rejoined 15\nsafe messages wait for d2\n"), "{table}");
    }
}
