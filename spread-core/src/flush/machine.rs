//! All groups of a client, and what there is to do: a state machine without I/O.

use std::collections::{BTreeMap, VecDeque};

use spread_wire::{GroupId, Name, ServiceType};

use super::group::{Group, Overrun};
use super::packet::{FLUSH_OK, Message, Packet};

/// Bytes that all groups may take.
const MAX_GROUPS_LEN: usize = 256 << 20;

/// Replies that may wait to be sent.
pub const MAX_REPLIES: usize = 1 << 16;

/// A message that Flush Spread sends by itself, or for a flush: FIFO, to the members of a
/// group, with an id in the byte order of this machine as its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The group that it goes to.
    pub group: Name,
    /// The type of the message.
    pub message_type: i16,
    /// Its body.
    pub id: GroupId,
}

/// What there is to do, in order.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    deliveries: VecDeque<Message>,
    deliveries_len: usize,
    replies: VecDeque<Reply>,
}

impl Outputs {
    pub(super) fn deliver(&mut self, message: Message) {
        self.deliveries_len += message.len();
        self.deliveries.push_back(message);
    }

    pub(super) fn reply(&mut self, group: Name, message_type: i16, id: GroupId) {
        self.replies.push_back(Reply { group, message_type, id });
    }
}

/// Why the application may not do something now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is not in the group, or is on the way in or out.
    Group,
    /// It has flushed the group, or has not been asked to.
    State,
    /// A receiver was not in the view.
    Receivers,
}

/// The groups of a client.
#[derive(Debug)]
pub struct Machine {
    own: Name,
    groups: BTreeMap<Name, Group>,
    /// Bytes that all groups take at most: a daemon may announce ever more of them.
    groups_len: usize,
    out: Outputs,
}

impl Machine {
    /// A client in no group; `own` is its private group.
    pub fn new(own: Name) -> Machine {
        Machine { own, groups: BTreeMap::new(), groups_len: 0, out: Outputs::default() }
    }

    /// Takes what has come from Spread.
    ///
    /// # Errors
    ///
    /// [`Overrun`] if there is more than it keeps.
    pub fn input(&mut self, packet: Packet) -> Result<(), Overrun> {
        match packet {
            Packet::FlushOk { group, sender, id } => self.change(&group, |group, out| {
                group.flush_ok(sender, id, out);
                Ok(())
            }),
            Packet::Confirmed { group, sender, id } => self.change(&group, |group, _| {
                group.confirm(sender, id);
                Ok(())
            }),
            Packet::Data { group, message, .. }
                if group == self.own && !self.groups.contains_key(&group) =>
            {
                self.out.deliver(message);
                Ok(())
            }
            Packet::Data { group, view, message } => {
                self.change(&group, |group, out| group.data(view, message, out))
            }
            Packet::View { group, view } => {
                let (own, len) = (self.own, &mut self.groups_len);
                self.groups.entry(group).or_insert_with(|| {
                    let group = Group::new(group, own);
                    *len += group.len();
                    group
                });
                self.change(&group, |group, out| group.new_view(view, out))
            }
            Packet::Signal { group } => self.change(&group, |group, out| {
                group.signal(out);
                Ok(())
            }),
            Packet::SelfLeave { group } => {
                let left = self.groups.remove(&group);
                self.groups_len -= left.map_or(0, |group| group.len());
                self.out.deliver(Message::about(group, ServiceType::CAUSED_BY_LEAVE));
                Ok(())
            }
            Packet::Other(message) => {
                self.out.deliver(message);
                Ok(())
            }
        }
    }

    /// Lets a group take something, if it is there: otherwise it is from before the receiver
    /// joined.
    fn change(
        &mut self,
        group: &Name,
        change: impl FnOnce(&mut Group, &mut Outputs) -> Result<(), Overrun>,
    ) -> Result<(), Overrun> {
        let Some(group) = self.groups.get_mut(group) else { return Ok(()) };
        self.groups_len -= group.len();
        let changed = change(group, &mut self.out);
        self.groups_len += group.len();
        let is_full = self.groups_len > MAX_GROUPS_LEN || self.out.replies.len() > MAX_REPLIES;
        if is_full { Err(Overrun) } else { changed }
    }

    /// The next message for the application.
    pub fn delivery(&self) -> Option<&Message> {
        self.out.deliveries.front()
    }

    /// The application has got the next message.
    pub fn delivered(&mut self) {
        self.take_delivery();
    }

    /// The next message for the application, which it gets.
    pub fn take_delivery(&mut self) -> Option<Message> {
        let message = self.out.deliveries.pop_front()?;
        self.out.deliveries_len -= message.len();
        Some(message)
    }

    /// Messages for the application.
    pub fn deliveries(&self) -> usize {
        self.out.deliveries.len()
    }

    /// Bytes of messages for the application, with their headers.
    pub fn deliveries_len(&self) -> usize {
        self.out.deliveries_len
    }

    /// The next message to send.
    pub fn reply(&self) -> Option<Reply> {
        self.out.replies.front().copied()
    }

    /// The next message to send is on its way.
    pub fn replied(&mut self) {
        self.out.replies.pop_front();
    }

    /// Checks that the application may join a group.
    ///
    /// # Errors
    ///
    /// [`Refusal::Group`]: it is in the group, or on the way in or out.
    pub fn may_join(&self, group: &Name) -> Result<(), Refusal> {
        if self.groups.contains_key(group) { Err(Refusal::Group) } else { Ok(()) }
    }

    /// Checks that the application may leave a group.
    ///
    /// # Errors
    ///
    /// [`Refusal::Group`]: no view with it has been installed, or it is leaving.
    pub fn may_leave(&self, group: &Name) -> Result<(), Refusal> {
        self.joined(group).map(drop)
    }

    /// The application leaves a group.
    pub fn leave(&mut self, group: &Name) {
        if let Some(group) = self.groups.get_mut(group) {
            group.leave();
        }
    }

    /// The message by which the application flushes a group.
    ///
    /// # Errors
    ///
    /// [`Refusal::Group`]: it is not in the group, or is leaving it. [`Refusal::State`]: it has not
    /// been asked to flush the group.
    pub fn may_flush(&self, group: &Name) -> Result<Reply, Refusal> {
        let state = self.groups.get(group).filter(|group| !group.is_leaving());
        let id = state.ok_or(Refusal::Group)?.requested().ok_or(Refusal::State)?;
        Ok(Reply { group: *group, message_type: FLUSH_OK, id })
    }

    /// The application has flushed a group.
    pub fn flush(&mut self, group: &Name) {
        if let Some(group) = self.groups.get_mut(group) {
            group.flush();
        }
    }

    /// Checks that the application may send to a group, or to these of its members; returns
    /// the view that the message has to carry.
    ///
    /// # Errors
    ///
    /// [`Refusal::Group`] as for a leave, [`Refusal::State`] after a flush, and
    /// [`Refusal::Receivers`] if one of them is not in the view.
    pub fn may_send(
        &self,
        group: &Name,
        service_type: ServiceType,
        receivers: &[Name],
    ) -> Result<Option<GroupId>, Refusal> {
        if group.as_bytes().contains(&b'#') {
            let is_own = receivers.iter().all(|receiver| receiver == group);
            return if is_own { Ok(None) } else { Err(Refusal::Receivers) };
        }
        let group = self.joined(group)?;
        if group.is_flushed() {
            return Err(Refusal::State);
        }
        if !receivers.iter().all(|receiver| group.has_member(receiver)) {
            return Err(Refusal::Receivers);
        }
        Ok(group.view_to_carry(service_type))
    }

    fn joined(&self, group: &Name) -> Result<&Group, Refusal> {
        self.groups.get(group).filter(|group| group.is_joined()).ok_or(Refusal::Group)
    }
}
