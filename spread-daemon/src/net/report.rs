//! What a server tells of itself, and what it does for who asks: the door of inspections.

use std::time::Instant;

use spread_wire::PrivateGroup;

use super::connection::{Connection, Phase};
use super::server::Server;
use super::sessions::Sessions;
use crate::admin::health::Health;
use crate::admin::inspection::{self, Question};
use crate::admin::status::{
    Counts, CutOffReason, GroupStatus, Limits, SessionStatus, Status, Totals,
};
use crate::cluster::SessionId;

impl Server {
    /// Answers a question once it has come whole.
    pub(super) fn inspect(&mut self, key: usize) {
        let connection = self.sessions.connections.get(key);
        let Some(Connection { phase: Phase::Inspection(inspection), input, .. }) = connection
        else {
            return;
        };
        let Some(question) = inspection::question(*inspection, input) else {
            return;
        };
        let answer = match question {
            Question::Table => self.status().to_string(),
            Question::Json => self.status().to_json() + "\n",
            Question::Health => match self.health() {
                // Who asks here may end a daemon that is not healthy, and with it all sessions.
                Health::Healthy | Health::Full(_) => format!("{}\n", Health::Healthy),
                ailing => format!("error: {ailing}\n"),
            },
            Question::Kick(name) => match self.kick(&name, "status socket") {
                Some(client) => format!("kicked {client}\n"),
                None => format!("error: no session {name:?}\n"),
            },
            Question::Http { is_metrics: true, is_head } => {
                inspection::http("200 OK", &self.numbers().to_prometheus(), is_head)
            }
            Question::Http { is_metrics: false, is_head } => {
                inspection::http("404 Not Found", "Only GET /metrics is here.\n", is_head)
            }
            Question::Other => "error: ask for table, json, health or kick NAME\n".to_owned(),
        };
        self.answer(key, answer.as_bytes());
    }

    /// Returns whether clients can connect.
    pub(crate) fn health(&self) -> Health {
        let hosts = self.hosts.as_ref();
        match hosts.and_then(|hosts| hosts.reason(&self.sessions.cluster)) {
            _ if self.drains => Health::Draining,
            Some(reason) => Health::NoConfiguration(reason),
            None if self.open >= self.max_sessions => Health::Full(self.open),
            None => Health::Healthy,
        }
    }

    /// Ends a session, named by its private group or, of this daemon, by its private name. The log
    /// tells by whom. Returns its private group, or `None` if there is no such session.
    pub(crate) fn kick(&mut self, name: &str, by: &str) -> Option<String> {
        let named = |daemon: &&str| self.sessions.client(&format!("#{name}#{daemon}"));
        let key = self
            .sessions
            .client(name)
            .or_else(|| self.sessions.cluster.own_names().iter().find_map(named))?;
        let client = self.sessions.connections.get(key)?.private_group();
        tracing::warn!(%client, by, "a client is kicked");
        self.sessions.connections.cut_off(key, CutOffReason::Kicked, "it was kicked");
        Some(client)
    }

    /// Notes how many messages come and go.
    pub(crate) fn note_rates(&mut self, now: Instant) {
        self.growth.note(now, &self.sessions.connections.totals);
    }

    /// Returns the status of the daemon.
    pub(crate) fn status(&mut self) -> Status {
        let now = Instant::now();
        let numbers = self.numbers();
        let Sessions { cluster, connections, .. } = &self.sessions;
        let groups = cluster.groups(Status::MAX_NAMES).into_iter();
        Status {
            sessions: self.session_list(now),
            groups: groups
                .map(|(name, members, names)| GroupStatus {
                    name: name.to_string(),
                    members,
                    member_names: names.iter().map(ToString::to_string).collect(),
                })
                .collect(),
            cut_offs: connections.cut_offs(now),
            views: connections.views.list(now),
            history: self.growth.history(),
            ..numbers
        }
    }

    /// Returns the status of the daemon without its lists.
    pub(crate) fn numbers(&mut self) -> Status {
        let now = Instant::now();
        self.note_rates(now);
        let Sessions { cluster, connections, .. } = &self.sessions;
        let (groups, members) = cluster.count_groups();
        let sessions = connections.iter().filter(|(_, connection)| connection.has_session());
        let (queued, longest_queue) = sessions
            .map(|(_, connection)| connection.queued())
            .fold((0, 0), |(sum, longest), queued| (sum + queued, longest.max(queued)));
        Status {
            daemon: cluster.own_names().join(" "),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            hosts: self.hosts.as_ref().map(|hosts| hosts.status(cluster)),
            uptime: now - self.started,
            started: self.started_at,
            limits: self.limits(),
            counts: Counts { sessions: self.open, groups, members, queued, longest_queue },
            queued_bytes: connections.queued_bytes(),
            tls_certificate_expiry: self.certificate_expiry,
            totals: Totals { views: connections.views.count(), ..connections.totals },
            last_second: self.growth.rates(1),
            last_minute: self.growth.rates(60),
            ..Status::default()
        }
    }

    fn limits(&self) -> Limits {
        let Sessions { connections, max_groups, .. } = &self.sessions;
        Limits {
            sessions: self.max_sessions,
            session_messages: connections.flow.max_messages(),
            session_groups: *max_groups,
            queued_bytes: connections.max_bytes(),
        }
    }

    fn session_list(&self, now: Instant) -> Vec<SessionStatus> {
        let Sessions { cluster, connections, .. } = &self.sessions;
        let throttled = self.sessions.throttled();
        let clients = connections.iter().filter(|(_, connection)| connection.has_session());
        let group = |(key, c): (usize, &Connection)| Some((c.client.as_ref()?.private_group, key));
        let mut clients: Vec<(PrivateGroup, usize)> = clients.filter_map(group).collect();
        if Status::MAX_NAMES < clients.len() {
            clients.select_nth_unstable(Status::MAX_NAMES);
            clients.truncate(Status::MAX_NAMES);
        }
        clients.sort_unstable();
        let mut left = Status::MAX_NAMES;
        let of_client = |(_, key): (PrivateGroup, usize)| {
            let connection = connections.get(key)?;
            let client = connection.client.as_ref()?;
            let receiver = throttled.get(&key).and_then(|key| connections.get(*key));
            let names = cluster.joined(SessionId(key)).into_iter().flatten().take(left);
            let group_names: Vec<String> = names.map(ToString::to_string).collect();
            left -= group_names.len();
            Some(SessionStatus {
                private_group: client.private_group.to_string(),
                address: connection.address_text(),
                port: connection.address.map(|address| address.port()),
                transport: connection.transport.to_owned(),
                user: client.user.clone(),
                connected: now.saturating_duration_since(connection.since),
                groups: cluster.groups_of(SessionId(key)),
                group_names,
                queued: connection.queued(),
                received: connection.received,
                delivered: connection.delivered,
                throttled_by: receiver.map(Connection::private_group),
                throttled: connection.throttled,
            })
        };
        clients.into_iter().filter_map(of_client).collect()
    }
}
