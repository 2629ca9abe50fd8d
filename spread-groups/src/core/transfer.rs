//! How a newcomer gets the state.
//!
//! Its donor multicasts a marker, whose place is the cut: the state at this place is sent
//! in chunks to the newcomer's private group, and the newcomer keeps what is counted after
//! it until all chunks have come. So nothing is missing and nothing is applied twice.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use spread::Name;

use super::proto;
use super::replica::Entry;

/// Bytes of a chunk.
pub(crate) const CHUNK: usize = 64 * 1024;
/// Chunks that are sent ahead of what the newcomer has taken.
const AHEAD: u64 = 8;

/// The states that a member gives, by the index of their markers.
#[derive(Debug)]
pub(crate) struct Donations {
    /// Bytes of a chunk.
    chunk: usize,
    /// The sessions for which a marker is under way.
    pub(crate) marked: Vec<u32>,
    cuts: BTreeMap<u64, Donation>,
}

#[derive(Debug)]
struct Donation {
    /// The number of the Form of the cut.
    epoch: u64,
    /// `None` until the replica has made it.
    state: Option<Bytes>,
    /// What is logged at the cut and not committed.
    tail: Vec<proto::Entry>,
    targets: Vec<Target>,
}

#[derive(Debug)]
struct Target {
    session: u32,
    name: Name,
    sent: u64,
    taken: u64,
    /// Whether another Form stands since, and it has not said yet where to go on.
    resumes: bool,
}

/// A chunk that is to be sent.
#[derive(Debug, PartialEq)]
pub(crate) struct Piece {
    pub(crate) to: Name,
    pub(crate) epoch: u64,
    pub(crate) cut: u64,
    pub(crate) offset: u64,
    pub(crate) total: u64,
    pub(crate) bytes: Bytes,
}

impl Donations {
    pub(crate) fn new(chunk: usize) -> Donations {
        Donations { chunk, marked: Vec::new(), cuts: BTreeMap::new() }
    }

    /// Begins to give the state at a marker's place.
    pub(crate) fn begin(
        &mut self,
        epoch: u64,
        cut: u64,
        targets: &[(u32, Name)],
        tail: Vec<proto::Entry>,
    ) {
        for (session, _) in targets {
            self.end(*session);
        }
        let target = |&(session, name): &(u32, Name)| {
            let (sent, taken, resumes) = (0, 0, false);
            Target { session, name, sent, taken, resumes }
        };
        let targets = targets.iter().map(target).collect();
        self.cuts.insert(cut, Donation { epoch, state: None, tail, targets });
    }

    /// Returns whether a session is being given the state, or is about to be.
    pub(crate) fn serves(&self, session: u32) -> bool {
        let targets = self.cuts.values().flat_map(|donation| &donation.targets);
        self.marked.contains(&session) || targets.into_iter().any(|t| t.session == session)
    }

    /// Gives a session nothing more.
    pub(crate) fn end(&mut self, session: u32) {
        self.marked.retain(|marked| *marked != session);
        for donation in self.cuts.values_mut() {
            donation.targets.retain(|target| target.session != session);
        }
        self.cuts.retain(|_, donation| !donation.targets.is_empty());
    }

    /// Ends the transfers to all newcomers but those given; these say where to go on.
    pub(crate) fn retain(&mut self, is_given: impl Fn(u32, Name) -> bool) {
        for donation in self.cuts.values_mut() {
            donation.targets.retain(|target| is_given(target.session, target.name));
            donation.targets.iter_mut().for_each(|target| target.resumes = true);
        }
        self.cuts.retain(|_, donation| !donation.targets.is_empty());
    }

    /// Returns the session of a newcomer that goes on with another cut than the one that was kept
    /// for it, or with none.
    pub(crate) fn kept_in_vain(&self, from: Name, epoch: u64, cut: u64) -> Option<u32> {
        let others = self.cuts.iter().filter(|(at, of)| (of.epoch, **at) != (epoch, cut));
        let mut targets = others.flat_map(|(_, donation)| &donation.targets);
        targets.find(|target| target.name == from && target.resumes).map(|target| target.session)
    }

    pub(crate) fn clear(&mut self) {
        *self = Donations::new(self.chunk);
    }

    /// Returns what is logged at a cut and not committed.
    pub(crate) fn take_tail(&mut self, cut: u64) -> Vec<proto::Entry> {
        let donation = self.cuts.get_mut(&cut);
        donation.map(|donation| std::mem::take(&mut donation.tail)).unwrap_or_default()
    }

    /// Takes the state at a cut; returns the first chunks.
    pub(crate) fn state(&mut self, cut: u64, state: Bytes) -> Vec<Piece> {
        let Some(donation) = self.cuts.get_mut(&cut) else {
            return Vec::new();
        };
        donation.state = Some(state);
        let epoch = donation.epoch;
        let names: Vec<Name> = donation.targets.iter().map(|target| target.name).collect();
        names.into_iter().flat_map(|name| self.taken(name, epoch, cut, 0)).collect()
    }

    /// Takes note of how much a newcomer has; returns the next chunks.
    pub(crate) fn taken(&mut self, from: Name, epoch: u64, cut: u64, received: u64) -> Vec<Piece> {
        let donation = self.cuts.get_mut(&cut).filter(|donation| donation.epoch == epoch);
        let Some(Donation { state: Some(state), targets, .. }) = donation else {
            return Vec::new();
        };
        let Some(target) = targets.iter_mut().find(|target| target.name == from) else {
            return Vec::new();
        };
        let total = state.len() as u64;
        if std::mem::take(&mut target.resumes) {
            target.sent = received.min(target.sent);
            target.taken = target.sent;
        }
        target.taken = target.taken.max(received.min(target.sent));
        let mut pieces = Vec::new();
        // An empty state takes one chunk, too, to say so.
        while target.sent < total.min(target.taken + AHEAD * self.chunk as u64)
            || (total == 0 && received == 0 && pieces.is_empty())
        {
            let start = target.sent as usize;
            let bytes = state.slice(start..state.len().min(start + self.chunk));
            let offset = target.sent;
            target.sent += bytes.len() as u64;
            pieces.push(Piece { to: from, epoch, cut, offset, total, bytes });
        }
        pieces
    }
}

/// A member that is being given the state.
#[derive(Debug)]
pub(crate) struct Newcomer {
    /// The number of the Form of the marker.
    pub(crate) epoch: u64,
    /// The index of the marker.
    pub(crate) cut: u64,
    pub(crate) donor: Name,
    state: BytesMut,
    /// All of it, if there was no Form when the last chunk came.
    pub(crate) whole: Option<Bytes>,
    /// What has been counted since.
    entries: Vec<Entry>,
    entry_bytes: usize,
}

/// What a chunk comes to.
#[derive(Debug, PartialEq)]
pub(crate) enum Taken {
    /// It is not the next one.
    No,
    /// So many bytes are there.
    Some(u64),
    /// All of them.
    All(Bytes),
}

impl Newcomer {
    pub(crate) fn new(epoch: u64, cut: u64, donor: Name) -> Newcomer {
        let (state, whole, entries) = (BytesMut::new(), None, Vec::new());
        Newcomer { epoch, cut, donor, state, whole, entries, entry_bytes: 0 }
    }

    pub(crate) fn take(&mut self, offset: u64, total: u64, bytes: &Bytes) -> Taken {
        if offset != self.state.len() as u64 {
            return Taken::No;
        }
        self.state.extend_from_slice(bytes);
        let received = self.state.len() as u64;
        if received < total {
            return Taken::Some(received);
        }
        Taken::All(std::mem::take(&mut self.state).freeze())
    }

    /// Returns how many bytes of the state have come.
    pub(crate) fn received(&self) -> u64 {
        self.state.len() as u64
    }

    /// Keeps an entry; returns whether there is room for it.
    pub(crate) fn keep(&mut self, entry: Entry, limit: usize) -> bool {
        self.entry_bytes += entry.body.len();
        self.entries.push(entry);
        self.entry_bytes <= limit
    }

    pub(crate) fn into_entries(self) -> Vec<Entry> {
        self.entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    #[test]
    fn a_state_is_given_in_chunks_that_are_waited_for() {
        let newcomer = name("#n#d");
        let state = Bytes::from(vec![7; CHUNK * 20 + 5]);
        let mut donations = Donations::new(CHUNK);
        donations.begin(1, 3, &[(1, newcomer)], Vec::new());
        let mut pieces = donations.state(3, state.clone());
        assert_eq!(pieces.len() as u64, AHEAD);
        let mut taker = Newcomer::new(1, 3, name("#d#d"));
        let mut whole = None;
        while let Some(piece) = (!pieces.is_empty()).then(|| pieces.remove(0)) {
            match taker.take(piece.offset, piece.total, &piece.bytes) {
                Taken::Some(received) => pieces.extend(donations.taken(newcomer, 1, 3, received)),
                Taken::All(state) => whole = Some(state),
                Taken::No => panic!("out of order"),
            }
        }
        assert_eq!(whole, Some(state));
    }

    #[test]
    fn an_empty_state_is_a_chunk() {
        let newcomer = name("#n#d");
        let mut donations = Donations::new(CHUNK);
        donations.begin(1, 3, &[(1, newcomer)], Vec::new());
        let pieces = donations.state(3, Bytes::new());
        assert_eq!(pieces.len(), 1);
        let mut taker = Newcomer::new(1, 3, name("#d#d"));
        let taken = taker.take(0, pieces[0].total, &pieces[0].bytes);
        assert_eq!(taken, Taken::All(Bytes::new()));
    }

    #[test]
    fn whoever_is_gone_is_given_nothing_more() {
        let newcomer = name("#n#d");
        let mut donations = Donations::new(CHUNK);
        donations.marked.push(1);
        assert!(donations.serves(1));
        donations.begin(1, 3, &[(1, newcomer)], Vec::new());
        assert!(donations.serves(1));
        donations.end(1);
        assert!(!donations.serves(1));
        assert_eq!(donations.state(3, Bytes::from_static(b"x")), []);
    }
}
