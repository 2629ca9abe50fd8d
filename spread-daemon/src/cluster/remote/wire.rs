//! What daemons send each other: packets to bytes and back.
//!
//! Integers are little-endian. A packet is one byte for its kind, and then:
//!
//! | kind | what follows |
//! |---|---|
//! | 1, events | label (8), position (8), events to the end |
//! | 2, flush | view (8), digest (8), name (32), daemon (1), again (1), alone (1), incarnation (8), change (4), former label (8), side (16), proc_id (4), clock (4), latest (4), delivered (8) |
//! | 3, state | label (8), log (8), last (1), groups to the end |
//!
//! An event is a byte for its kind, and then who and which group (32 each), the session
//! (8) and its serial (8) for a join (1); who and which group for a leave (2); who for an
//! end (3); the frame of the client for a message (4).
//!
//! A group is its name (32), the id of its view (4, 4, 4), whether it has changed (1), the
//! number of members (4), and for each of them the daemon (1) and the name (32).
//!
//! A decoder returns an error for anything else, and reserves no memory for what only a
//! length announces.

use std::collections::HashMap;

use bytes::Bytes;
use spread_wire::limits::{MAX_GROUPS, NAME_FIELD};
use spread_wire::{
    FrameError, FrameRef, GroupId, Limits, Name, Request, RequestError, ServiceType,
};

use crate::cluster::component::{Message, What};
use crate::cluster::replica::{Group, Member};
use crate::cluster::{DaemonId, DaemonSet, MAX_DAEMONS, SUBGROUP_CAST, SessionId};

const EVENTS: u8 = 1;
pub(super) const FLUSH: u8 = 2;
pub(super) const STATE: u8 = 3;

/// The bytes of a flush that tell what was delivered, and of a state what was received.
#[cfg(test)]
pub(super) const FLUSH_DELIVERED: std::ops::Range<usize> = 100..108;
#[cfg(test)]
pub(super) const STATE_LOG: std::ops::Range<usize> = 9..17;

const JOIN: u8 = 1;
const LEAVE: u8 = 2;
const END: u8 = 3;
const MULTICAST: u8 = 4;

/// Bytes of events before the first: kind, label, position.
pub(super) const EVENTS_HEAD: usize = 17;

/// Bytes of a part of a state, at most. Corosync takes messages of 1,047,552 bytes.
const PART: usize = 512 * 1024;
const GROUP: usize = NAME_FIELD + GroupId::LEN + 5;
const MEMBER: usize = 1 + NAME_FIELD;

/// What a daemon sends to all others.
#[derive(Debug)]
pub(super) enum Packet {
    Events(Events),
    Flush(Flush),
    State(State),
}

/// What clients asked for, in the order of their daemon.
#[derive(Debug)]
pub(super) struct Events {
    /// The configuration in which it was sent.
    pub(super) label: u64,
    /// How many packets with events its sender has received in that configuration.
    pub(super) position: u64,
    /// The client, and what it asks.
    pub(super) events: Vec<(Name, What)>,
}

/// A daemon has got back all that it sent before the members changed, and sends no
/// events until a configuration is formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flush {
    /// The members as its sender sees them.
    pub(super) view: u64,
    /// The sender's configuration file: see [`digest`](super::digest).
    pub(super) digest: u64,
    pub(super) name: Name,
    pub(super) daemon: DaemonId,
    /// Whether the sender lacks the flush of another daemon, which should repeat it.
    pub(super) again: bool,
    /// Whether no other member is on the sender's host.
    pub(super) alone: bool,
    /// Tells the daemon from itself before it was started again.
    pub(super) incarnation: u64,
    /// How often the members have changed for it.
    pub(super) change: u32,
    /// The label of the configuration from which it comes, or 0.
    pub(super) former: u64,
    /// The daemons of that configuration that are still with it.
    pub(super) side: DaemonSet,
    pub(super) proc_id: i32,
    /// Its time in seconds.
    pub(super) clock: i32,
    /// The greatest time in the id of a view that it knows of.
    pub(super) latest: i32,
    /// How many events it has delivered in the former configuration.
    pub(super) delivered: u64,
}

/// A daemon knows the label of the next configuration; or a part of the groups that its
/// side brings.
#[derive(Debug)]
pub(super) struct State {
    pub(super) label: u64,
    /// Tells the events that the sender has received in the former configuration from others.
    pub(super) log: u64,
    /// Whether no further part follows.
    pub(super) is_last: bool,
    pub(super) groups: Vec<(Name, Group)>,
}

/// Why bytes are not a packet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    #[error("a packet ends early")]
    Short,
    #[error("a packet goes on after its end")]
    Long,
    #[error("no packet is of kind {0}")]
    Packet(u8),
    #[error("no event is of kind {0}")]
    Event(u8),
    #[error("{0} is neither yes nor no")]
    Flag(u8),
    #[error("there is no daemon number {0}")]
    Daemon(u8),
    #[error("a session has the number {0}")]
    Session(u64),
    #[error("the members of a group do not stand in their order")]
    Order,
    #[error("a group without members")]
    Empty,
    #[error("the frame of a message is wrong")]
    Frame(#[from] FrameError),
    #[error("the frame of a message is not one")]
    Request(#[from] RequestError),
    #[error("a message of type {:#x} to {groups} groups", service_type.bits())]
    Message { service_type: ServiceType, groups: usize },
}

impl Packet {
    /// Returns the packet that the bytes are; messages share their memory.
    pub(super) fn decode(bytes: &Bytes) -> Result<Packet, WireError> {
        let mut from = Reader { whole: bytes, rest: bytes };
        match from.u8()? {
            EVENTS => {
                let (label, position) = (from.u64()?, from.u64()?);
                let events = from.until_end(Reader::event)?;
                Ok(Packet::Events(Events { label, position, events }))
            }
            FLUSH => {
                let flush = from.flush()?;
                from.rest.is_empty().then_some(Packet::Flush(flush)).ok_or(WireError::Long)
            }
            STATE => {
                let (label, log, is_last) = (from.u64()?, from.u64()?, from.flag()?);
                let groups = from.until_end(Reader::group)?;
                Ok(Packet::State(State { label, log, is_last, groups }))
            }
            kind => Err(WireError::Packet(kind)),
        }
    }
}

/// Returns a packet of no events, to which they are appended; see [`label_events`].
pub(super) fn no_events() -> Vec<u8> {
    let mut out = vec![0; EVENTS_HEAD];
    out[0] = EVENTS;
    out
}

/// Returns whether a packet has events.
pub(super) fn has_events(packet: &[u8]) -> bool {
    packet.first() == Some(&EVENTS) && packet.len() > EVENTS_HEAD
}

/// Writes label and position into a packet of events.
pub(super) fn label_events(packet: &mut [u8], label: u64, position: u64) {
    packet[1..9].copy_from_slice(&label.to_le_bytes());
    packet[9..EVENTS_HEAD].copy_from_slice(&position.to_le_bytes());
}

pub(super) fn put_event(who: Name, what: &What, out: &mut Vec<u8>) {
    match what {
        What::Join { group, session, serial } => {
            out.push(JOIN);
            out.extend_from_slice(who.as_field());
            out.extend_from_slice(group.as_field());
            out.extend_from_slice(&(session.0 as u64).to_le_bytes());
            out.extend_from_slice(&serial.to_le_bytes());
        }
        What::Leave { group } => {
            out.push(LEAVE);
            out.extend_from_slice(who.as_field());
            out.extend_from_slice(group.as_field());
        }
        What::End => {
            out.push(END);
            out.extend_from_slice(who.as_field());
        }
        What::Multicast(message) => put_multicast(&message.bytes, out),
    }
}

/// Appends a message, which has its sender in its header.
pub(super) fn put_multicast(frame: &[u8], out: &mut Vec<u8>) {
    out.push(MULTICAST);
    out.extend_from_slice(frame);
}

impl Flush {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![FLUSH];
        out.extend_from_slice(&self.view.to_le_bytes());
        out.extend_from_slice(&self.digest.to_le_bytes());
        out.extend_from_slice(self.name.as_field());
        out.push(self.daemon.0 as u8);
        out.push(u8::from(self.again));
        out.push(u8::from(self.alone));
        out.extend_from_slice(&self.incarnation.to_le_bytes());
        out.extend_from_slice(&self.change.to_le_bytes());
        out.extend_from_slice(&self.former.to_le_bytes());
        out.extend_from_slice(&self.side.bits().to_le_bytes());
        for word in [self.proc_id, self.clock, self.latest] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&self.delivered.to_le_bytes());
        out
    }
}

/// Returns the packets that tell the groups of a side; a packet without groups if
/// there are none.
pub(super) fn state(label: u64, log: u64, groups: &HashMap<Name, Group>) -> Vec<Vec<u8>> {
    let begin = || {
        let mut part = vec![STATE];
        part.extend_from_slice(&label.to_le_bytes());
        part.extend_from_slice(&log.to_le_bytes());
        part.push(0);
        part
    };
    let mut groups: Vec<_> = groups.iter().collect();
    groups.sort_unstable_by_key(|(name, _)| **name);
    let mut parts = Vec::new();
    let mut part = begin();
    for (name, group) in groups {
        let mut rest = &group.members[..];
        while !rest.is_empty() {
            if part.len() + GROUP + MEMBER > PART {
                parts.push(std::mem::replace(&mut part, begin()));
            }
            let room = (PART - part.len() - GROUP) / MEMBER;
            let (members, later) = rest.split_at(room.min(rest.len()));
            put_group(*name, group, members, &mut part);
            rest = later;
        }
    }
    const LAST: usize = 17;
    part[LAST] = 1;
    parts.push(part);
    parts
}

/// Appends some of the members of a group.
fn put_group(name: Name, group: &Group, members: &[Member], out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_field());
    for word in [group.id.proc_id, group.id.time, group.id.index] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.push(u8::from(group.changed));
    out.extend_from_slice(&(members.len() as u32).to_le_bytes());
    for member in members {
        out.push(member.daemon.0 as u8);
        out.extend_from_slice(member.name.as_field());
    }
}

/// What is left of a packet.
struct Reader<'a> {
    whole: &'a Bytes,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(WireError::Short)?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(WireError::Short)?;
        self.rest = rest;
        Ok(*head)
    }

    fn u8(&mut self) -> Result<u8, WireError> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, WireError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn i32(&mut self) -> Result<i32, WireError> {
        Ok(i32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, WireError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn flag(&mut self) -> Result<bool, WireError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(WireError::Flag(other)),
        }
    }

    fn name(&mut self) -> Result<Name, WireError> {
        Ok(Name::from_field(self.array()?))
    }

    fn daemon(&mut self) -> Result<DaemonId, WireError> {
        let number = self.u8()?;
        let daemon = DaemonId(number.into());
        (daemon.0 < MAX_DAEMONS).then_some(daemon).ok_or(WireError::Daemon(number))
    }

    /// Reads one thing after another until the packet ends.
    fn until_end<T>(
        &mut self,
        mut one: impl FnMut(&mut Self) -> Result<T, WireError>,
    ) -> Result<Vec<T>, WireError> {
        let mut all = Vec::new();
        while !self.rest.is_empty() {
            all.push(one(self)?);
        }
        Ok(all)
    }

    fn event(&mut self) -> Result<(Name, What), WireError> {
        match self.u8()? {
            JOIN => {
                let (who, group, session) = (self.name()?, self.name()?, self.u64()?);
                let number = usize::try_from(session).map_err(|_| WireError::Session(session))?;
                let serial = self.u64()?;
                Ok((who, What::Join { group, session: SessionId(number), serial }))
            }
            LEAVE => Ok((self.name()?, What::Leave { group: self.name()? })),
            END => Ok((self.name()?, What::End)),
            MULTICAST => self.message(),
            kind => Err(WireError::Event(kind)),
        }
    }

    /// Reads a message. Its frame must be one that a daemon passes on: of a type that
    /// its clients take for a message, and nothing else.
    fn message(&mut self) -> Result<(Name, What), WireError> {
        let frame = FrameRef::decode(self.rest, Limits::FROM_CLIENT)?.ok_or(WireError::Short)?;
        let header = frame.header();
        let (service_type, groups) = (header.service_type, header.num_groups);
        let wrong = WireError::Message { service_type, groups };
        let Request::Multicast(message) = Request::parse(frame)? else {
            return Err(wrong);
        };
        let (service, self_discard) = (message.service, message.self_discard);
        let regular = ServiceType::regular(service, self_discard);
        if service_type - SUBGROUP_CAST != regular || groups > MAX_GROUPS {
            return Err(wrong);
        }
        let bytes = self.whole.slice_ref(self.take(frame.as_bytes().len())?);
        let message = Message { service, self_discard, num_groups: groups, bytes };
        Ok((header.name, What::Multicast(message)))
    }

    fn flush(&mut self) -> Result<Flush, WireError> {
        Ok(Flush {
            view: self.u64()?,
            digest: self.u64()?,
            name: self.name()?,
            daemon: self.daemon()?,
            again: self.flag()?,
            alone: self.flag()?,
            incarnation: self.u64()?,
            change: self.u32()?,
            former: self.u64()?,
            side: DaemonSet::from_bits(u128::from_le_bytes(self.array()?)),
            proc_id: self.i32()?,
            clock: self.i32()?,
            latest: self.i32()?,
            delivered: self.u64()?,
        })
    }

    fn group(&mut self) -> Result<(Name, Group), WireError> {
        let name = self.name()?;
        let id = GroupId { proc_id: self.i32()?, time: self.i32()?, index: self.i32()? };
        let (changed, count) = (self.flag()?, self.u32()?);
        let mut members: Vec<Member> = Vec::new();
        for _ in 0..count {
            let member = Member { daemon: self.daemon()?, name: self.name()?, local: None };
            if members.last().is_some_and(|last| last.rank() >= member.rank()) {
                return Err(WireError::Order);
            }
            members.push(member);
        }
        if members.is_empty() {
            return Err(WireError::Empty);
        }
        Ok((name, Group { id, changed, members }))
    }
}

#[cfg(test)]
mod tests;
