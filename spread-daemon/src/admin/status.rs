//! The status of a daemon, as a table, as JSON and for Prometheus.

use std::fmt::{self, Write};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value, json};

/// The status of a daemon. [`Display`](fmt::Display) gives a table for
/// people.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Status {
    /// The daemon's name; of several the names with blanks between.
    pub daemon: String,
    /// How long it has been running.
    pub uptime: Duration,
    /// Its sessions, by private group.
    pub sessions: Vec<SessionStatus>,
    /// Its groups, by name.
    pub groups: Vec<GroupStatus>,
    /// Bytes of the messages that wait for clients; one that waits for several
    /// counts once.
    pub queued_bytes: usize,
    /// Counters since the daemon started.
    pub totals: Totals,
    /// Messages from clients in a second, averaged over the last seconds.
    pub received_rate: f64,
    /// Messages to clients in a second, averaged over the last seconds.
    pub delivered_rate: f64,
}

/// A session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SessionStatus {
    /// Its private group.
    pub private_group: String,
    /// The address of its client; empty for the unix socket.
    pub address: String,
    /// Groups that it has joined.
    pub groups: usize,
    /// Messages that wait for it to read them.
    pub queued: usize,
}

/// A group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct GroupStatus {
    /// Its name.
    pub name: String,
    /// How many members it has.
    pub members: usize,
}

/// Counters since a daemon started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// Messages, joins, leaves and disconnects that came from clients.
    pub received: u64,
    /// Messages and views that went to clients.
    pub delivered: u64,
    /// Bytes of them.
    pub delivered_bytes: u64,
    /// Clients that got a session.
    pub connected: u64,
    /// Clients that were rejected.
    pub rejected: u64,
    /// Clients that were disconnected because they did not read.
    pub cut_off: u64,
    /// Requests that the policy refused.
    pub refused: u64,
}

impl Status {
    /// Messages that wait for some client to read them.
    pub fn queued(&self) -> usize {
        self.sessions.iter().map(|session| session.queued).sum()
    }

    /// Returns the number of memberships: each member counts once for each of its groups.
    pub fn members(&self) -> usize {
        self.groups.iter().map(|group| group.members).sum()
    }

    /// Returns the numbers that stand in all forms: name, meaning, value, and whether
    /// it only grows.
    fn numbers(&self) -> [(&'static str, &'static str, u64, bool); 13] {
        let t = &self.totals;
        [
            ("uptime_seconds", "Time since the daemon started", self.uptime.as_secs(), false),
            ("sessions", "Clients that are connected", self.sessions.len() as u64, false),
            ("groups", "Groups with a member", self.groups.len() as u64, false),
            ("members", "Members of all groups", self.members() as u64, false),
            ("queued_messages", "Messages not read yet", self.queued() as u64, false),
            ("queued_bytes", "Bytes of them", self.queued_bytes as u64, false),
            ("received_total", "Requests that came from clients", t.received, true),
            ("delivered_total", "Messages that went to clients", t.delivered, true),
            ("delivered_bytes_total", "Bytes of those", t.delivered_bytes, true),
            ("connected_total", "Clients that got a session", t.connected, true),
            ("rejected_total", "Clients that were rejected", t.rejected, true),
            ("cut_off_total", "Clients that did not read", t.cut_off, true),
            ("refused_total", "Requests that the policy refused", t.refused, true),
        ]
    }

    /// Returns one JSON object, in one line.
    pub fn to_json(&self) -> String {
        let tenths = |rate: f64| (rate * 10.0).round() / 10.0;
        let numbers = self.numbers().map(|(name, _, value, _)| (name.to_owned(), value.into()));
        let mut object: Map<String, Value> = numbers.into_iter().collect();
        object.extend(
            [
                ("daemon", json!(self.daemon)),
                ("received_per_second", json!(tenths(self.received_rate))),
                ("delivered_per_second", json!(tenths(self.delivered_rate))),
                ("session_list", json!(self.sessions)),
                ("group_list", json!(self.groups)),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        Value::Object(object).to_string()
    }

    /// Returns the status in the text format of Prometheus.
    pub fn to_prometheus(&self) -> String {
        let mut out = String::new();
        for (name, meaning, value, grows) in self.numbers() {
            let kind = if grows { "counter" } else { "gauge" };
            let _ = writeln!(out, "# HELP spread_{name} {meaning}.\n# TYPE spread_{name} {kind}");
            let _ = writeln!(out, "spread_{name} {value}");
        }
        out
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t = &self.totals;
        writeln!(f, "{}, running for {} s", self.daemon, self.uptime.as_secs())?;
        writeln!(
            f,
            "received {} ({:.0}/s), delivered {} ({:.0}/s, {} bytes in all)",
            t.received, self.received_rate, t.delivered, self.delivered_rate, t.delivered_bytes
        )?;
        writeln!(
            f,
            "clients: {} now, {} ever, {} rejected, {} cut off; requests refused: {}",
            self.sessions.len(),
            t.connected,
            t.rejected,
            t.cut_off,
            t.refused
        )?;
        writeln!(f, "\n{:<32} {:<24} {:>6} {:>6}", "SESSION", "ADDRESS", "GROUPS", "QUEUED")?;
        for s in &self.sessions {
            let address = if s.address.is_empty() { "unix" } else { &s.address };
            writeln!(f, "{:<32} {address:<24} {:>6} {:>6}", s.private_group, s.groups, s.queued)?;
        }
        writeln!(f, "\n{:<32} {:>7}", "GROUP", "MEMBERS")?;
        self.groups.iter().try_for_each(|g| writeln!(f, "{:<32} {:>7}", g.name, g.members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Status {
        Status {
            daemon: "here".to_owned(),
            uptime: Duration::from_secs(7),
            sessions: vec![SessionStatus {
                private_group: "#a#here".to_owned(),
                address: String::new(),
                groups: 1,
                queued: 3,
            }],
            groups: vec![GroupStatus { name: "g\"\\\u{1}".to_owned(), members: 1 }],
            queued_bytes: 300,
            totals: Totals { received: 5, delivered: 9, ..Totals::default() },
            received_rate: 2.5,
            delivered_rate: 0.0,
        }
    }

    #[test]
    fn its_json_is_json() {
        let json: Value = serde_json::from_str(&status().to_json()).unwrap();
        assert_eq!(json["daemon"], "here");
        assert_eq!((&json["queued_messages"], &json["received_total"]), (&3.into(), &5.into()));
        assert_eq!(json["session_list"][0]["private_group"], "#a#here");
        assert_eq!(json["group_list"][0]["name"], "g\"\\\u{1}");
        assert_eq!(json["received_per_second"], 2.5);
    }

    #[test]
    fn its_metrics_have_a_type_and_a_value_each() {
        let text = status().to_prometheus();
        assert!(text.contains("# TYPE spread_sessions gauge\nspread_sessions 1\n"), "{text}");
        assert!(text.contains("# TYPE spread_delivered_total counter\nspread_delivered_total 9\n"));
        assert_eq!(text.lines().count(), 3 * status().numbers().len());
    }
}
