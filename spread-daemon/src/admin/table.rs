//! The table of a status, for people.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::status::{HostsStatus, Status};

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t = &self.totals;
        writeln!(f, "{}, running for {} s", self.daemon, self.uptime.as_secs())?;
        if let Some(hosts) = &self.hosts {
            write!(f, "{hosts}")?;
        }
        writeln!(
            f,
            "received {} ({} bytes), delivered {} ({} bytes)",
            t.received, t.received_bytes, t.delivered, t.delivered_bytes
        )?;
        for (rates, time) in [(&self.last_second, "second"), (&self.last_minute, "minute")] {
            writeln!(
                f,
                "last {time}: received {:.0}/s ({:.0} bytes/s), delivered {:.0}/s ({:.0} bytes/s)",
                rates.received, rates.received_bytes, rates.delivered, rates.delivered_bytes
            )?;
        }
        writeln!(
            f,
            "clients: {} now, {} ever, {} rejected, {} cut off, {} kicked, {} broke the protocol",
            self.counts.sessions, t.connected, t.rejected, t.cut_off, t.kicked, t.protocol_errors
        )?;
        writeln!(f, "senders throttled {}, requests refused {}", t.throttled, t.refused)?;
        writeln!(
            f,
            "\n{:<32} {:<24} {:<5} {:<16} {:>6} {:>6}  NAMES OF THE GROUPS",
            "SESSION", "ADDRESS", "OVER", "USER", "QUEUED", "GROUPS"
        )?;
        for s in &self.sessions {
            let names = names(&s.group_names, s.groups);
            let address = with_port(&s.address, s.port);
            let over = if s.transport.is_empty() { "-" } else { &s.transport };
            // Any client can give any name.
            let user = s.user.as_deref().map_or("-".into(), |user| user.escape_debug().to_string());
            writeln!(
                f,
                "{:<32} {address:<24} {over:<5} {user:<16} {:>6} {:>6}{names}",
                s.private_group, s.queued, s.groups
            )?;
        }
        more(f, self.counts.sessions, self.sessions.len())?;
        writeln!(f, "\n{:<32} {:>7}  MEMBERS", "GROUP", "COUNT")?;
        for g in &self.groups {
            let names = names(&g.member_names, g.members);
            writeln!(f, "{:<32} {:>7}{names}", g.name, g.members)?;
        }
        more(f, self.counts.groups, self.groups.len())?;
        let throttled = self.sessions.iter().filter_map(|s| Some((s, s.throttled_by.as_ref()?)));
        for (number, (session, receiver)) in throttled.enumerate() {
            if number == 0 {
                writeln!(f, "\n{:<32} {:>7}  WAITS FOR", "THROTTLED", "TIMES")?;
            }
            writeln!(f, "{:<32} {:>7}  {receiver}", session.private_group, session.throttled)?;
        }
        for (number, cut) in self.cut_offs.iter().enumerate() {
            if number == 0 {
                writeln!(f, "\n{:<32} {:<24} {:>9}  REASON", "CUT OFF", "ADDRESS", "AGO")?;
            }
            let (address, ago) = (address(&cut.address), cut.ago.as_secs());
            writeln!(f, "{:<32} {address:<24} {ago:>7} s  {}", cut.private_group, cut.detail)?;
        }
        Ok(())
    }
}

/// Writes how many there are beside those that are listed.
fn more(f: &mut fmt::Formatter<'_>, count: usize, listed: usize) -> fmt::Result {
    match count.saturating_sub(listed) {
        0 => Ok(()),
        more => writeln!(f, "and {more} more"),
    }
}

fn address(address: &str) -> &str {
    if address.is_empty() { "unix" } else { address }
}

fn with_port(text: &str, port: Option<u16>) -> String {
    match (text.parse::<IpAddr>(), port) {
        (Ok(ip), Some(port)) => SocketAddr::new(ip, port).to_string(),
        _ => address(text).to_owned(),
    }
}

/// Returns a list of names for the end of a line; `count` is how many there are.
fn names(names: &[String], count: usize) -> String {
    let listed: String = names.iter().map(|name| format!(" {name}")).collect();
    match count - names.len().min(count) {
        0 if listed.is_empty() => listed,
        0 => format!(" {listed}"),
        more => format!(" {listed} and {more} more"),
    }
}

impl HostsStatus {
    /// Returns the line of the log about a configuration that was formed.
    pub(crate) fn formed(&self) -> String {
        let mut line = format!("a configuration was formed: {}", self.present.join(" "));
        if !self.absent.is_empty() {
            line.push_str(&format!("; absent: {}", self.absent.join(" ")));
        }
        line
    }
}

impl fmt::Display for HostsStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.present[..] {
            [] => {
                write!(f, "in no configuration")?;
                self.reason.iter().try_for_each(|reason| write!(f, ": {reason}"))?;
            }
            present => write!(f, "configuration: {}", present.join(" "))?,
        }
        if !self.absent.is_empty() {
            write!(f, "; absent: {}", self.absent.join(" "))?;
        }
        let waits_for = self.waits_for.join(" ");
        if self.forming && !self.present.is_empty() {
            write!(f, "; the next one is being formed")?;
        }
        if self.forming && !waits_for.is_empty() {
            write!(f, "; it waits for {waits_for}")?;
        }
        writeln!(f)?;
        writeln!(
            f,
            "number of the configuration: {:016x}, formed {}; not sent {} bytes, safe lag {}, no \
             room {}, rejoined {}",
            self.configuration,
            self.configurations,
            self.outbox_bytes,
            self.safe_lag,
            self.full,
            self.rejoined
        )?;
        match waits_for.is_empty() || self.forming {
            true => Ok(()),
            false => writeln!(f, "safe messages wait for {waits_for}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::status::{Counts, CutOff, GroupStatus, SessionStatus};

    #[test]
    fn it_tells_why_there_is_no_configuration_and_whom_the_next_one_waits_for() {
        let first_line = |hosts: &HostsStatus| hosts.to_string().lines().next().unwrap().to_owned();
        let texts = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let mut hosts = HostsStatus { absent: texts(&["d2", "d3"]), ..HostsStatus::default() };
        hosts.reason = Some("corosync does not run".to_owned());
        let gone = "in no configuration: corosync does not run; absent: d2 d3";
        assert_eq!(first_line(&hosts), gone);
        hosts.reason = Some("the first one is being formed".to_owned());
        hosts.forming = true;
        hosts.waits_for = texts(&["process 7 on node 2"]);
        let first = "in no configuration: the first one is being formed; absent: d2 d3; it waits for \
                     process 7 on node 2";
        assert_eq!(first_line(&hosts), first);
        hosts = HostsStatus { present: texts(&["d1", "d2"]), absent: texts(&["d3"]), ..hosts };
        let next = "configuration: d1 d2; absent: d3; the next one is being formed; it waits for \
                    process 7 on node 2";
        assert_eq!(first_line(&hosts), next);
        assert!(!hosts.to_string().contains("safe messages wait"));
        assert_eq!(hosts.formed(), "a configuration was formed: d1 d2; absent: d3");
        hosts.absent.clear();
        assert_eq!(hosts.formed(), "a configuration was formed: d1 d2");
    }

    #[test]
    fn it_tells_who_is_where_who_waits_for_whom_and_who_was_cut_off() {
        let session = SessionStatus {
            private_group: "#ann#here".to_owned(),
            groups: 2,
            group_names: vec!["a".to_owned(), "b".to_owned()],
            throttled_by: Some("#bob#here".to_owned()),
            throttled: 3,
            address: "2001:db8::7".to_owned(),
            port: Some(4000),
            transport: "tls".to_owned(),
            user: Some("ann\n".to_owned()),
            ..SessionStatus::default()
        };
        let group = GroupStatus {
            name: "a".to_owned(),
            members: 5,
            member_names: vec!["#ann#here".to_owned()],
        };
        let cut_off = CutOff {
            private_group: "#eve#here".to_owned(),
            detail: "it did not read".to_owned(),
            ..CutOff::default()
        };
        let status = Status {
            sessions: vec![session],
            groups: vec![group],
            counts: Counts { groups: 8, ..Counts::default() },
            cut_offs: vec![cut_off],
            ..Status::default()
        };
        let table = status.to_string();
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let lines: Vec<String> = table.lines().map(words).collect();
        for line in [
            "SESSION ADDRESS OVER USER QUEUED GROUPS NAMES OF THE GROUPS",
            "#ann#here [2001:db8::7]:4000 tls ann\\n 0 2 a b",
            "a 5 #ann#here and 4 more",
            "and 7 more",
            "#ann#here 3 #bob#here",
            "#eve#here unix 0 s it did not read",
        ] {
            assert!(lines.iter().any(|l| l == line), "{line}: {table}");
        }
        assert!(!Status::default().to_string().contains("CUT OFF"));
    }
}
