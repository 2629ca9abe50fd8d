//! The receivers of a message.
//!
//! Most messages go where the one before them went. So the last receivers are
//! remembered until anything changes that could make them others; then to find
//! them takes no more time with many groups or sessions than with few.

use std::collections::HashMap;

use spread_wire::Name;

use super::component::Message;
use super::replica::Group;
use super::{DaemonId, Session, SessionId};

/// The receivers of the last message.
#[derive(Debug, Default)]
pub(super) struct Route {
    receivers: Vec<SessionId>,
    /// The groups of that message, as they stood in it.
    fields: Vec<u8>,
    at: Option<DaemonId>,
    /// The sender, if it wanted no copy.
    without: Option<Name>,
    /// Counts the routes that were found, so that each has a session only once.
    number: u64,
}

impl Route {
    /// Forgets the receivers, because what they came from is about to change.
    pub(super) fn forget(&mut self) {
        self.at = None;
    }

    /// Finds the sessions of one daemon that receive a message.
    pub(super) fn find<'a>(
        &'a mut self,
        at: DaemonId,
        from: Name,
        message: &Message<impl AsRef<[u8]>>,
        groups: &HashMap<Name, Group>,
        by_name: &HashMap<Name, SessionId>,
        sessions: &mut [Option<Session>],
    ) -> &'a [SessionId] {
        let without = message.self_discard.then_some(from);
        if self.at == Some(at) && self.without == without && self.fields == message.fields() {
            return &self.receivers;
        }
        self.at = Some(at);
        self.without = without;
        self.fields.clear();
        self.fields.extend_from_slice(message.fields());
        self.receivers.clear();
        self.number += 1;
        let number = self.number;
        if let Some(sender) = without.and_then(|name| by_name.get(&name)) {
            // As if it had got its copy.
            sessions[sender.0].iter_mut().for_each(|sender| sender.route = number);
        }
        let mut add = |id: SessionId| {
            if let Some(receiver) = &mut sessions[id.0]
                && receiver.daemon == at
                && receiver.route != number
            {
                receiver.route = number;
                self.receivers.push(id);
            }
        };
        for target in message.groups().iter() {
            if target.as_field()[0] == b'#' {
                by_name.get(&target).into_iter().for_each(|id| add(*id));
            } else if let Some(group) = groups.get(&target) {
                group.sessions().for_each(&mut add);
            }
        }
        &self.receivers
    }
}
