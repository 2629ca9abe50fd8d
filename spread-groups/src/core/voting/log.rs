//! What is logged and not committed.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use prost::Message as _;

use crate::core::proto::{self, entry, roster_change};
use crate::core::replica::{Body, Entry};
use crate::core::roster::{Change, Departure, Incarnation, incarnation, incarnation_bytes};

/// The entries behind those that are committed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Tail(VecDeque<Entry>);

impl Tail {
    pub(crate) fn push(&mut self, entry: Entry) {
        self.0.push_back(entry);
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn extend(&mut self, entries: Vec<Entry>) {
        self.0.extend(entries);
    }

    /// Returns the next entry, if the log is committed up to it.
    pub(crate) fn commit(&mut self, index: u64) -> Option<Entry> {
        self.0.front().filter(|entry| entry.place.index <= index)?;
        self.0.pop_front()
    }

    /// Returns the numbers of the operations of a session, in the order of the log.
    pub(crate) fn sequences(&self, of: u32) -> impl Iterator<Item = u64> {
        self.0.iter().filter_map(move |entry| match entry.body {
            Body::Operation { session, sequence, .. } => (session == of).then_some(sequence),
            Body::Roster(_) => None,
        })
    }

    pub(crate) fn to_proto(&self) -> Vec<proto::Entry> {
        self.0.iter().map(write).collect()
    }

    pub(crate) fn from_proto(entries: Vec<proto::Entry>) -> Option<Tail> {
        entries.into_iter().map(read).collect::<Option<_>>().map(Tail)
    }
}

/// Returns what a newcomer is given: the state after what is committed, and the tail.
pub(crate) fn snapshot(state: Bytes, tail: Vec<proto::Entry>) -> Bytes {
    proto::Snapshot { state, tail }.encode_to_vec().into()
}

/// Reads a snapshot; `None` if it is not one.
pub(crate) fn read_snapshot(bytes: Bytes) -> Option<(Bytes, Tail)> {
    let proto::Snapshot { state, tail } = proto::Snapshot::decode(bytes).ok()?;
    Some((state, Tail::from_proto(tail)?))
}

/// Up to which index each voter has the log of an epoch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Acknowledged(BTreeMap<Incarnation, u64>);

impl Acknowledged {
    pub(crate) fn take(&mut self, voter: Incarnation, index: u64) {
        let known = self.0.entry(voter).or_default();
        *known = index.max(*known);
    }

    pub(crate) fn by(&self, voter: Incarnation) -> u64 {
        self.0.get(&voter).copied().unwrap_or_default()
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

fn write(entry: &Entry) -> proto::Entry {
    let body = match &entry.body {
        Body::Roster(change) => entry::Body::Roster(write_change(change)),
        Body::Operation { session, sequence, acknowledged, sent_at, channel, payload } => {
            entry::Body::Operation(proto::LoggedOperation {
                session: *session,
                sequence: *sequence,
                acknowledged: *acknowledged,
                sent_at: *sent_at,
                channel: *channel,
                payload: payload.clone(),
            })
        }
    };
    proto::Entry { place: Some(entry.place.into()), epoch: entry.epoch, body: Some(body) }
}

fn read(entry: proto::Entry) -> Option<Entry> {
    let body = match entry.body? {
        entry::Body::Roster(change) => Body::Roster(read_change(change)?),
        entry::Body::Operation(operation) => Body::Operation {
            session: operation.session,
            sequence: operation.sequence,
            acknowledged: operation.acknowledged,
            sent_at: operation.sent_at,
            channel: operation.channel,
            payload: operation.payload,
        },
    };
    Some(Entry { place: entry.place?.into(), epoch: entry.epoch, body })
}

fn write_change(change: &Change) -> proto::RosterChange {
    let (session, change) = match change {
        Change::Joined { session, incarnation, resumed, observer } => {
            let incarnation = incarnation_bytes(*incarnation);
            let joined = proto::Joined { incarnation, resumed: *resumed, observer: *observer };
            (session, roster_change::Change::Joined(joined))
        }
        Change::Departed { session, cause } => {
            (session, roster_change::Change::Departed(proto::Cause::from(*cause).into()))
        }
        Change::Expired { session } => (session, roster_change::Change::Expired(true)),
    };
    proto::RosterChange { session: *session, change: Some(change) }
}

fn read_change(change: proto::RosterChange) -> Option<Change> {
    let session = change.session;
    Some(match change.change? {
        roster_change::Change::Joined(joined) => Change::Joined {
            session,
            incarnation: incarnation(&joined.incarnation)?,
            resumed: joined.resumed,
            observer: joined.observer,
        },
        roster_change::Change::Departed(cause) => {
            let cause = Departure::from(proto::Cause::try_from(cause).ok()?);
            Change::Departed { session, cause }
        }
        roster_change::Change::Expired(_) => Change::Expired { session },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::history::Place;

    fn entry(index: u64, body: Body) -> Entry {
        Entry { place: Place { branch: 7, index }, epoch: 2, body }
    }

    fn operation(payload: Option<&'static [u8]>) -> Body {
        Body::Operation {
            session: 1,
            sequence: 2,
            acknowledged: 1,
            sent_at: 9,
            channel: 7,
            payload: payload.map(Bytes::from_static),
        }
    }

    #[test]
    fn a_snapshot_reads_as_it_was_written() {
        let incarnation = Incarnation([3; 16]);
        let changes = [
            Change::Joined { session: 1, incarnation, resumed: true, observer: false },
            Change::Departed { session: 0, cause: Departure::Parted },
            Change::Departed { session: 2, cause: Departure::Crashed },
            Change::Expired { session: 3 },
        ];
        let bodies = changes.into_iter().map(Body::Roster);
        let bodies = bodies.chain([operation(None), operation(Some(b"")), operation(Some(b"x"))]);
        let mut tail = Tail::default();
        tail.extend((4..).zip(bodies).map(|(index, body)| entry(index, body)).collect());
        let state = Bytes::from_static(b"state");
        let bytes = snapshot(state.clone(), tail.to_proto());
        assert_eq!(read_snapshot(bytes), Some((state, tail)));
        assert_eq!(read_snapshot(Bytes::from_static(b"\xff")), None);
    }

    #[test]
    fn entries_are_taken_up_to_what_is_committed() {
        let mut tail = Tail::default();
        tail.extend(vec![entry(3, operation(None)), entry(5, operation(None))]);
        assert_eq!(tail.commit(2), None);
        assert_eq!(tail.commit(4).unwrap().place.index, 3);
        assert_eq!(tail.commit(4), None);
        assert_eq!(tail.commit(9).unwrap().place.index, 5);
        assert_eq!(tail.commit(9), None);
    }

    #[test]
    fn an_acknowledgement_is_never_taken_back() {
        let mut acknowledged = Acknowledged::default();
        let voter = Incarnation([1; 16]);
        acknowledged.take(voter, 5);
        acknowledged.take(voter, 3);
        assert_eq!(acknowledged.by(voter), 5);
        assert_eq!(acknowledged.by(Incarnation([2; 16])), 0);
    }
}
