//! The numbers of a status as metrics: for Prometheus, and as OpenMetrics.

use std::fmt::Write;

use super::status::{HostsStatus, Status};

/// A number of the status: name, meaning, value, and whether it only grows.
type Number = (&'static str, &'static str, u64, bool);

impl HostsStatus {
    /// Returns the numbers that the metrics have.
    fn numbers(&self) -> [Number; 8] {
        [
            (
                "present",
                "Daemons in the configuration of the hosts",
                self.present.len() as u64,
                false,
            ),
            (
                "absent",
                "Daemons that are not in the configuration",
                self.absent.len() as u64,
                false,
            ),
            ("forming", "1 while the next configuration is formed", u64::from(self.forming), false),
            (
                "outbox_bytes",
                "Bytes not sent to the other hosts yet",
                self.outbox_bytes as u64,
                false,
            ),
            ("safe_lag", "Packets that safe messages wait for", self.safe_lag, false),
            ("configurations_total", "Configurations that were formed", self.configurations, true),
            ("full_total", "Sends to other hosts that had no room", self.full, true),
            ("rejoined_total", "Returns to the other hosts", self.rejoined, true),
        ]
    }
}

impl Status {
    /// Returns the numbers of the metrics.
    fn numbers(&self) -> [Number; 23] {
        let Status { totals: t, counts, limits, .. } = self;
        [
            ("start_time_seconds", "Unix time of the daemon's start", self.started, false),
            ("uptime_seconds", "Time since the daemon started", self.uptime.as_secs(), false),
            ("sessions", "Clients that are connected", counts.sessions as u64, false),
            ("max_sessions", "Clients that may be connected", limits.sessions as u64, false),
            ("groups", "Groups with a member", counts.groups as u64, false),
            ("members", "Members of all groups", counts.members as u64, false),
            ("queued_messages", "Messages that wait for clients", counts.queued as u64, false),
            (
                "queued_bytes",
                "Bytes of messages that wait for clients",
                self.queued_bytes as u64,
                false,
            ),
            (
                "max_queued_bytes",
                "Bytes that may wait for all clients",
                limits.queued_bytes as u64,
                false,
            ),
            (
                "longest_queue_messages",
                "Messages that wait for the client for which most do",
                counts.longest_queue as u64,
                false,
            ),
            (
                "max_queue_messages",
                "Messages that may wait for a client",
                limits.session_messages as u64,
                false,
            ),
            (
                "received_total",
                "Messages, joins and leaves that came from clients",
                t.received,
                true,
            ),
            (
                "received_bytes_total",
                "Bytes of messages, joins and leaves that came from clients",
                t.received_bytes,
                true,
            ),
            (
                "delivered_total",
                "Messages and views that went to clients or wait to",
                t.delivered,
                true,
            ),
            (
                "delivered_bytes_total",
                "Bytes of messages and views that went to clients or wait to",
                t.delivered_bytes,
                true,
            ),
            ("connected_total", "Clients that got a session", t.connected, true),
            ("rejected_total", "Clients that were rejected", t.rejected, true),
            (
                "cut_off_total",
                "Sessions that the daemon ended because the client did not read",
                t.cut_off,
                true,
            ),
            (
                "protocol_errors_total",
                "Sessions that the daemon ended because the client broke the protocol",
                t.protocol_errors,
                true,
            ),
            ("kicked_total", "Sessions that were ended by a kick", t.kicked, true),
            (
                "refused_total",
                "Requests that were refused: joins beyond the limit of groups, or by the policy",
                t.refused,
                true,
            ),
            ("throttled_total", "Waits of a sender for a receiver", t.throttled, true),
            ("views_total", "Views of all groups", t.views, true),
        ]
    }

    /// Returns the status in the text format of Prometheus, version 0.0.4.
    pub fn to_prometheus(&self) -> String {
        self.metrics(false)
    }

    /// Returns the status in the text format of OpenMetrics 1.0.
    ///
    /// ```
    /// let daemon = spread_daemon::Daemon::builder().start()?;
    /// let text = daemon.status().unwrap().to_openmetrics();
    /// assert!(text.contains("# TYPE spread_received counter\n"));
    /// assert!(text.contains("\nspread_received_total 0\n") && text.ends_with("# EOF\n"));
    /// # Ok::<(), spread_daemon::StartError>(())
    /// ```
    pub fn to_openmetrics(&self) -> String {
        self.metrics(true) + "# EOF\n"
    }

    /// Returns the metrics. In OpenMetrics the family of a counter lacks the `_total` of its
    /// sample, there is a type for information, and units are declared.
    fn metrics(&self, is_open: bool) -> String {
        let mut out = String::new();
        let kind = if is_open { "info" } else { "gauge" };
        let family = if is_open { "spread_build" } else { "spread_build_info" };
        let version = self.version.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = writeln!(out, "# HELP {family} Version of the daemon.\n# TYPE {family} {kind}");
        let _ = writeln!(out, "spread_build_info{{version=\"{version}\"}} 1");
        let mut write = |prefix: &str, (name, meaning, value, grows): Number| {
            let kind = if grows { "counter" } else { "gauge" };
            let family = if is_open { name.strip_suffix("_total").unwrap_or(name) } else { name };
            let _ = writeln!(out, "# HELP {prefix}{family} {meaning}.");
            let _ = writeln!(out, "# TYPE {prefix}{family} {kind}");
            let unit = ["bytes", "seconds"].into_iter().find(|unit| family.ends_with(unit));
            if let Some(unit) = unit.filter(|_| is_open) {
                let _ = writeln!(out, "# UNIT {prefix}{family} {unit}");
            }
            let _ = writeln!(out, "{prefix}{name} {value}");
        };
        self.numbers().into_iter().for_each(|number| write("spread_", number));
        if let Some(expiry) = self.tls_certificate_expiry {
            let name = "tls_certificate_expiry_timestamp_seconds";
            write("spread_", (name, "Unix time of the end of the certificate", expiry, false));
        }
        let hosts = self.hosts.iter().flat_map(HostsStatus::numbers);
        hosts.for_each(|number| write("spread_hosts_", number));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::super::status::tests::status;
    use super::*;

    #[test]
    fn its_metrics_have_a_type_and_a_value_each() {
        let text = status().to_prometheus();
        assert!(text.contains("# TYPE spread_sessions gauge\nspread_sessions 1\n"), "{text}");
        assert!(text.contains("# TYPE spread_delivered_total counter\nspread_delivered_total 9\n"));
        let hosts = HostsStatus::default().numbers().len();
        assert_eq!(text.lines().count(), 3 * (1 + status().numbers().len() + hosts));
        for line in [
            "spread_hosts_present 2",
            "spread_hosts_absent 1",
            "spread_hosts_outbox_bytes 11",
            "spread_hosts_safe_lag 12",
            "# TYPE spread_hosts_full_total counter\nspread_hosts_full_total 14",
        ] {
            assert!(text.contains(&format!("{line}\n")), "{line}: {text}");
        }
        assert!(text.contains("spread_build_info{version=\"\"} 1\n"), "{text}");
        let alone = Status { hosts: None, ..status() }.to_prometheus();
        assert!(!alone.contains("spread_hosts") && !alone.contains("spread_tls"), "{alone}");
    }

    #[test]
    fn each_help_is_understood_without_those_before_it() {
        let text = status().to_prometheus();
        let helps = text.lines().filter_map(|line| line.strip_prefix("# HELP "));
        for help in helps {
            let words: Vec<&str> = help.trim_end_matches('.').split(' ').skip(1).collect();
            let pronoun =
                ["them", "those", "it", "one"].iter().find(|word| words.ends_with(&[word]));
            assert!(pronoun.is_none() && words.len() > 1, "{help}");
        }
    }

    /// Holds a text against the grammar of OpenMetrics 1.0, as far as it uses it, and returns
    /// its samples.
    fn samples(text: &str) -> Vec<(&str, u64)> {
        let body = text.strip_suffix("# EOF\n").expect("it ends with EOF");
        let mut samples = Vec::new();
        let (mut family, mut kind, mut families) = ("", "", Vec::new());
        for line in body.lines() {
            let words: Vec<&str> = line.splitn(4, ' ').collect();
            match words[..] {
                ["#", word, name, rest] => {
                    if name != family {
                        assert!(!families.contains(&name), "{name} is there twice");
                        assert!(!name.ends_with("_total") && !name.ends_with("_info"), "{line}");
                        families.push(name);
                        (family, kind) = (name, "");
                    }
                    match word {
                        "TYPE" => {
                            assert!(["counter", "gauge", "info"].contains(&rest), "{line}");
                            kind = rest;
                        }
                        "UNIT" => assert!(name.ends_with(&format!("_{rest}")), "{line}"),
                        "HELP" => assert!(!rest.contains(['"', '\\'])),
                        _ => panic!("{line}"),
                    }
                }
                [sample, value] => {
                    let suffix = match kind {
                        "counter" => "_total",
                        "info" => "_info",
                        _ => "",
                    };
                    let (name, labels) = sample.split_once('{').unwrap_or((sample, "}"));
                    assert_eq!(name, format!("{family}{suffix}"), "{line}");
                    assert!(labels.ends_with('}') && !kind.is_empty(), "{line}");
                    samples.push((name, value.parse().unwrap()));
                }
                _ => panic!("{line}"),
            }
        }
        assert_eq!(samples.len(), families.len());
        samples
    }

    #[test]
    fn its_open_metrics_are_grammatical_and_the_same_numbers() {
        let version = "1\"\\".to_owned();
        let status = || Status { tls_certificate_expiry: Some(1_800_000_000), ..status() };
        let text = Status { version, ..status() }.to_openmetrics();
        assert!(text.contains("spread_build_info{version=\"1\\\"\\\\\"} 1\n"), "{text}");
        let samples = samples(&text);
        assert_eq!(
            samples.len(),
            2 + status().numbers().len() + HostsStatus::default().numbers().len()
        );
        for sample in [
            ("spread_delivered_total", 9),
            ("spread_queued_bytes", 300),
            ("spread_tls_certificate_expiry_timestamp_seconds", 1_800_000_000),
        ] {
            assert!(samples.contains(&sample), "{text}");
        }
        assert!(text.contains("# UNIT spread_received_bytes bytes\n"), "{text}");
    }
}
