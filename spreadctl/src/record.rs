//! What a subscription shows of what it receives: as JSON, whose field names are stable, and
//! as lines for people.

use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use spread::{Cause, Message, Name, ServiceType, SessionEvent};

use crate::failure::chain;
use crate::options::service_name;
use crate::output::{Theme, styled};
use crate::text::{count, printable};

/// An event of a subscription.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Record {
    /// A client sent this.
    Message(Payload),
    /// The members of a group have changed.
    View {
        group: String,
        id: String,
        /// join, leave, disconnect or network.
        cause: &'static str,
        /// Who joined, left or disconnected.
        #[serde(skip_serializing_if = "Option::is_none")]
        member: Option<String>,
        members: Vec<String>,
        /// The private group of the subscription itself.
        me: String,
        /// After a change of the network, the members by the view that they come from.
        #[serde(skip_serializing_if = "Option::is_none")]
        vs_sets: Option<Vec<Vec<String>>>,
    },
    /// The view of a group is about to end because daemons part.
    Transitional { group: String, id: String },
    /// The subscription has left a group.
    Left { group: String },
    /// The daemon refused what this client asked for: its access policy does not allow it.
    Rejected {
        groups: Vec<String>,
        /// join, leave or the service of a message.
        request: String,
    },
    /// The connection is lost.
    Lost { error: String },
    /// An attempt to connect has failed.
    Retrying { attempt: u32, error: String },
    /// There is a connection again.
    Restored { private_group: String, attempts: u32 },
}

/// A message of a client.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Payload {
    sender: String,
    groups: Vec<String>,
    service: String,
    #[serde(rename = "type")]
    message_type: i16,
    /// Bytes of the payload.
    bytes: usize,
    /// The payload, if it is UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// The payload otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    /// For people.
    #[serde(skip)]
    printable: String,
}

impl Record {
    /// Returns the record of an event; `None` for events of later versions.
    pub(crate) fn of(event: &SessionEvent) -> Option<Record> {
        match event {
            SessionEvent::Message(message) => Record::of_message(message),
            SessionEvent::Lost { error, .. } => Some(Record::Lost { error: chain(error) }),
            SessionEvent::Retrying { attempt, error, .. } => {
                Some(Record::Retrying { attempt: *attempt, error: chain(error) })
            }
            SessionEvent::Restored { private_group, attempts, .. } => Some(Record::Restored {
                private_group: private_group.to_string(),
                attempts: *attempts,
            }),
            _ => None,
        }
    }

    pub(crate) fn of_message(message: &Message) -> Option<Record> {
        Some(match message {
            Message::Regular(m) => Record::Message(Payload::new(
                m.sender(),
                m.groups(),
                service_name(m.service()),
                m.message_type(),
                m.payload(),
            )),
            Message::Rejected(m) => Record::Rejected {
                groups: match &m.groups[..] {
                    // The daemon adds the client that asked.
                    [groups @ .., last]
                        if !groups.is_empty() && last.as_bytes().starts_with(b"#") =>
                    {
                        names(groups)
                    }
                    groups => names(groups),
                },
                request: request(m.old_type),
            },
            Message::Membership(view) => Record::View {
                group: view.group.to_string(),
                id: view.id.to_string(),
                cause: match view.cause {
                    Cause::Joined(_) => "join",
                    Cause::Left(_) => "leave",
                    Cause::Disconnected(_) => "disconnect",
                    Cause::Network { .. } => "network",
                },
                member: view.cause.member().map(|member| member.to_string()),
                members: names(&view.members),
                me: view.me().to_string(),
                vs_sets: match &view.cause {
                    Cause::Network { vs_sets, .. } => {
                        Some(vs_sets.iter().map(|set| names(set)).collect())
                    }
                    _ => None,
                },
            },
            Message::Transitional(signal) => {
                Record::Transitional { group: signal.group.to_string(), id: signal.id.to_string() }
            }
            Message::SelfLeave(leave) => Record::Left { group: leave.group.to_string() },
            _ => return None,
        })
    }

    /// Returns one JSON object, in one line.
    pub(crate) fn json(&self, time: SystemTime) -> String {
        #[derive(Serialize)]
        struct Timed<'a> {
            time: String,
            #[serde(flatten)]
            record: &'a Record,
        }
        let timed = Timed { time: timestamp(time), record: self };
        serde_json::to_string(&timed).expect("texts and numbers can be written")
    }

    /// Returns one line for people.
    pub(crate) fn line(&self, theme: &Theme) -> String {
        let notice = |text: String| styled(theme.notice, format_args!("* {text}"));
        let group = |group: &str| styled(theme.group, format_args!("[{group}]"));
        match self {
            Record::Message(payload) => payload.line(theme),
            Record::Rejected { groups, request } => {
                notice(format!("the daemon refused: {request}, {}", groups.join(" ")))
            }
            Record::View { group: name, cause, member, members, vs_sets, .. } => {
                let what = match (member, vs_sets) {
                    (Some(member), _) => format!("{member} {}", past(cause)),
                    (None, sets) => {
                        let sets = sets.as_deref().unwrap_or_default();
                        format!("the network changed, {}", count(sets.len(), "part"))
                    }
                };
                let members = format!("{}: {}", count(members.len(), "member"), members.join(" "));
                format!("{} {}; {members}", group(name), notice(what))
            }
            Record::Transitional { group: name, .. } => {
                let what = "daemons part: what follows may not have reached all members";
                format!("{} {}", group(name), notice(what.to_owned()))
            }
            Record::Left { group: name } => {
                format!("{} {}", group(name), notice("left".to_owned()))
            }
            Record::Lost { error } => notice(format!("the connection is lost: {error}")),
            Record::Retrying { attempt, error } => notice(format!("attempt {attempt}: {error}")),
            Record::Restored { private_group, attempts } => notice(format!(
                "connected again as {private_group} after {}; what was sent meanwhile is missing",
                count(*attempts as usize, "attempt")
            )),
        }
    }

    /// Whether it tells of the connection, not of a group.
    pub(crate) fn is_of_connection(&self) -> bool {
        matches!(self, Record::Lost { .. } | Record::Retrying { .. } | Record::Restored { .. })
    }
}

impl Payload {
    fn new(
        sender: Name,
        groups: &[Name],
        service: String,
        message_type: i16,
        payload: &[u8],
    ) -> Payload {
        let text = std::str::from_utf8(payload).ok().map(str::to_owned);
        let base64 = text.is_none().then(|| STANDARD.encode(payload));
        Payload {
            sender: sender.to_string(),
            groups: names(groups),
            service,
            message_type,
            bytes: payload.len(),
            text,
            base64,
            printable: printable(payload),
        }
    }

    fn line(&self, theme: &Theme) -> String {
        let group = styled(theme.group, format_args!("[{}]", self.groups.join(",")));
        let mut unusual = Vec::new();
        if self.service != "agreed" {
            unusual.push(self.service.clone());
        }
        if self.message_type != 0 {
            unusual.push(format!("type {}", self.message_type));
        }
        let unusual = match unusual.is_empty() {
            true => String::new(),
            false => styled(theme.faint, format_args!(" ({})", unusual.join(", "))),
        };
        format!("{group} {}{unusual}: {}", styled(theme.name, &self.sender), self.printable)
    }
}

/// Returns what a client asked for; a daemon returns a join with its flag of the request, or of
/// the view that it would have caused.
fn request(old_type: ServiceType) -> String {
    match old_type {
        old if old.intersects(ServiceType::JOIN | ServiceType::CAUSED_BY_JOIN) => "join".to_owned(),
        old if old.intersects(ServiceType::LEAVE | ServiceType::CAUSED_BY_LEAVE) => {
            "leave".to_owned()
        }
        old => old.service().map(service_name).unwrap_or_default(),
    }
}

fn past(cause: &str) -> &str {
    match cause {
        "join" => "joined",
        "leave" => "left",
        _ => "disconnected",
    }
}

pub(crate) fn names(names: &[Name]) -> Vec<String> {
    names.iter().map(Name::to_string).collect()
}

/// Returns a time in UTC as RFC 3339 has it, to the microsecond.
pub(crate) fn timestamp(time: SystemTime) -> String {
    humantime::format_rfc3339_micros(time).to_string()
}
