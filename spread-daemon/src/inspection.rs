//! Those who come to look at the daemon instead of to use it.

use std::time::Instant;

use crate::cluster::SessionId;
use crate::connection::Phase;
use crate::listener::Door;
use crate::server::Server;
use crate::status::{SessionStatus, Status};

/// Bytes of a question that is no question.
const TOO_LONG: usize = 8 * 1024;

impl Server {
    /// Answers a question once it is all there.
    ///
    /// At the status socket that is a line: `table`, `json` or `health`. At the
    /// address of the metrics it is a request of HTTP.
    pub(crate) fn inspect(&mut self, key: usize) {
        let Some(connection) = self.connections.slab.get(key) else {
            return;
        };
        let input = &connection.input[..];
        let is_http = connection.door == Door::Metrics;
        let end: &[u8] = if is_http { b"\r\n\r\n" } else { b"\n" };
        let is_whole = input.windows(end.len()).any(|bytes| bytes == end);
        if !is_whole && input.len() < TOO_LONG {
            return;
        }
        let line = input.split(|&b| b == b'\n').next().unwrap_or_default().trim_ascii();
        let answer = match (is_http, line) {
            (true, line) if line.starts_with(b"GET /metrics ") => {
                http("200 OK", &self.status().to_prometheus())
            }
            (true, _) => http("404 Not Found", "Only GET /metrics is here.\n"),
            (false, b"table") => self.status().to_string(),
            (false, b"json") => self.status().to_json() + "\n",
            (false, b"health") => "healthy\n".to_owned(),
            (false, _) => "ask for table, json or health\n".to_owned(),
        };
        self.answer(key, answer.as_bytes());
    }

    /// What goes on.
    pub(crate) fn status(&self) -> Status {
        let now = Instant::now();
        let totals = self.connections.totals;
        let mut sessions: Vec<SessionStatus> = Vec::new();
        for (key, connection) in &self.connections.slab {
            let group = self.cluster.private_group(SessionId(key));
            if let (Phase::Session, Some(private_group)) = (&connection.phase, group) {
                let address = connection.address.map(|a| a.to_string()).unwrap_or_default();
                sessions.push(SessionStatus {
                    private_group: private_group.to_string(),
                    address,
                    groups: self.cluster.groups_of(SessionId(key)),
                    queued: connection.queued(),
                });
            }
        }
        sessions.sort_by(|a, b| a.private_group.cmp(&b.private_group));
        Status {
            daemon: self.cluster.names().join(" "),
            uptime: now - self.started,
            sessions,
            groups: self.cluster.groups(),
            queued_bytes: self.connections.queued_bytes(),
            totals,
            received_rate: self.received_rate.per_second(now, totals.received),
            delivered_rate: self.delivered_rate.per_second(now, totals.delivered),
        }
    }
}

fn http(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}
