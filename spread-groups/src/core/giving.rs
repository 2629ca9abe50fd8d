//! Who gives the state to whom: the core's part in [transfers](super::transfer).

use std::time::Duration;

use bytes::Bytes;
use spread::Name;

use super::envelope::{Chunk, ChunkTaken, Frame, Sent};
use super::transfer::{Newcomer, Piece, Taken};
use super::{Core, Holdings, Output, Phase};

/// Kinds of control messages, for the digest of the history.
const MARKER: u64 = 101;
const WANT: u64 = 102;
const SYNCED: u64 = 103;

/// How often the time doubles for which a newcomer waits.
const MAX_DOUBLINGS: u32 = 4;

impl Core {
    /// Sends a marker for those whom this member is to give the state.
    pub(super) fn offer(&mut self) {
        let Some(sent) = self.sent().filter(|_| self.is_ready()) else {
            return;
        };
        let wanting = self.roster.wanting().map(|member| member.session);
        let mine = |target: &u32| {
            let donor = self.roster.donor_of(*target);
            donor.is_some_and(|donor| donor.session == sent.session)
        };
        let targets: Vec<u32> =
            wanting.filter(mine).filter(|target| !self.donations.serves(*target)).collect();
        if !targets.is_empty() {
            self.donations.marked.extend(&targets);
            self.multicast(Frame::Marker(sent, targets).encode());
        }
    }

    /// Takes a marker in its place: the cut.
    pub(super) fn marker(&mut self, now: Duration, from: Name, sent: Sent, targets: &[u32]) {
        let cut = self.count_control(MARKER, sent.session);
        let wanting = self.roster.wanting();
        let valid = wanting.filter(|member| targets.contains(&member.session)).filter(|member| {
            let donor = self.roster.donor_of(member.session);
            donor.is_some_and(|donor| donor.session == sent.session)
        });
        let valid: Vec<(u32, Name)> = valid.map(|member| (member.session, member.name)).collect();
        let is_refused = valid.len() < targets.len();
        let current = matches!(self.holdings, Holdings::Current);
        if Some(from) == self.me && current {
            self.donations.marked.retain(|marked| !targets.contains(marked));
            if !valid.is_empty() {
                let tail = self.tail_at_cut();
                self.donations.begin(sent.epoch, cut, &valid, tail);
                self.out(Output::Cut(cut));
            }
        }
        if !current && valid.iter().any(|(_, name)| Some(*name) == self.me) {
            self.newcomer = Some(Newcomer::new(sent.epoch, cut, from));
            self.progress = now;
        }
        if is_refused {
            // Another member has become the donor meanwhile.
            self.offer();
        }
    }

    /// Goes on with the transfers of the former Form if the log that stands is that one's, so that
    /// what was counted since the cuts is the same. The donors have to be the same, too.
    pub(super) fn keep_transfers(&mut self, follows: bool) {
        if !follows {
            return self.void();
        }
        let donor = |session| self.roster.donor_of(session).map(|donor| donor.name);
        let gives = self.own().filter(|_| self.wants()).and_then(|own| donor(own.session));
        self.newcomer = self.newcomer.take().filter(|newcomer| Some(newcomer.donor) == gives);
        let wants =
            |session, name| self.roster.wanting().any(|m| (m.session, m.name) == (session, name));
        let me = self.me;
        self.donations.retain(|session, name| wants(session, name) && donor(session) == me);
    }

    /// Tells the donor where it is to go on, as what it sent before the Form may be lost.
    pub(super) fn resume_transfer(&mut self) {
        let own = self.own().filter(|_| self.wants()).map(|own| own.session);
        let Some(donor) = own.and_then(|own| self.roster.donor_of(own)) else {
            return;
        };
        let place = |newcomer: &Newcomer| (newcomer.epoch, newcomer.cut, newcomer.received());
        let (epoch, cut, received) = self.newcomer.as_ref().map(place).unwrap_or_default();
        let (to, group) = (Some(donor.name), self.config.group);
        let taken = ChunkTaken { group, epoch, cut, received };
        self.out(Output::Send { to, bytes: Frame::ChunkTaken(taken).encode() });
    }

    /// Takes the state that came as a whole before there was a Form.
    pub(super) fn take_early_state(&mut self) {
        if matches!(self.phase, Phase::Formed(_))
            && let Some(state) = self.newcomer.as_mut().and_then(|newcomer| newcomer.whole.take())
        {
            self.synchronized(state);
        }
    }

    /// Takes note that a member asks for another cut, of the next donor.
    pub(super) fn wanted(&mut self, sent: Sent) {
        self.count_control(WANT, sent.session);
        if let Some(member) = self.roster.member_mut(sent.session) {
            member.attempts = member.attempts.wrapping_add(1);
        }
        self.donations.end(sent.session);
        self.offer();
    }

    /// Takes note that a member has the state.
    pub(super) fn synced(&mut self, sent: Sent) {
        self.count_control(SYNCED, sent.session);
        if let Some(member) = self.roster.member_mut(sent.session) {
            member.holds = !member.observer;
        }
        self.donations.end(sent.session);
    }

    pub(super) fn chunk(&mut self, now: Duration, from: Name, chunk: &Chunk) {
        let formed = matches!(self.phase, Phase::Formed(_));
        let Some(newcomer) = self.newcomer.as_mut().filter(|newcomer| {
            (newcomer.epoch, newcomer.cut, newcomer.donor) == (chunk.epoch, chunk.cut, from)
        }) else {
            return self.counters.stale += 1;
        };
        match newcomer.take(chunk.offset, chunk.total, &chunk.bytes) {
            Taken::No => self.counters.stale += 1,
            Taken::Some(received) => {
                self.progress = now;
                let taken = ChunkTaken {
                    group: self.config.group,
                    epoch: chunk.epoch,
                    cut: chunk.cut,
                    received,
                };
                let bytes = Frame::ChunkTaken(taken).encode();
                self.out(Output::Send { to: Some(from), bytes });
            }
            Taken::All(state) if formed => self.synchronized(state),
            // Its Hello has said that it has no state.
            Taken::All(state) => newcomer.whole = Some(state),
        }
    }

    /// Goes on with a state that has come as a whole, and what was counted since its cut.
    fn synchronized(&mut self, state: Bytes) {
        let entries = self.newcomer.take().map(Newcomer::into_entries).unwrap_or_default();
        #[cfg(test)]
        let entries = if self.breaks(super::Broken::CutsAtTheEnd) { Vec::new() } else { entries };
        if !self.take_snapshot(state, entries) {
            return;
        }
        self.overflows = 0;
        if let Some(sent) = self.sent() {
            self.multicast(Frame::Synced(sent).encode());
        }
    }

    /// Replaces the replica's state by the current one.
    pub(super) fn restore(&mut self, state: Bytes) {
        self.generation += 1;
        let generation = self.generation;
        self.out(Output::Restore { generation, state });
        self.holdings = Holdings::Current;
        self.requests.follow();
    }

    pub(super) fn chunk_taken(&mut self, from: Name, taken: &ChunkTaken) {
        if let Some(session) = self.donations.kept_in_vain(from, taken.epoch, taken.cut) {
            self.donations.end(session);
            return self.offer();
        }
        let pieces = self.donations.taken(from, taken.epoch, taken.cut, taken.received);
        self.give(pieces);
    }

    pub(super) fn give(&mut self, pieces: Vec<Piece>) {
        for Piece { to, epoch, cut, offset, total, bytes } in pieces {
            let group = self.config.group;
            let chunk = Chunk { group, epoch, cut, offset, total, bytes };
            self.out(Output::Send { to: Some(to), bytes: Frame::Chunk(chunk).encode() });
        }
    }

    /// Returns whether this member is in the roster and waits for the state.
    pub(super) fn wants(&self) -> bool {
        let current = matches!(self.holdings, Holdings::Current);
        !current && self.own().is_some_and(|member| !member.observer)
    }

    /// Returns when this member asks for another cut. It waits longer after each attempt, because
    /// the donor encodes the state anew each time, and that may take longer than the first wait.
    pub(super) fn stalled_at(&self) -> Duration {
        let attempts = self.own().map_or(0, |own| own.attempts);
        self.progress + self.config.stall * (1 << attempts.min(MAX_DOUBLINGS))
    }

    /// Asks for another cut if it takes too long.
    pub(super) fn want(&mut self, now: Duration) {
        if self.wants() && self.stalled_at() <= now {
            self.ask(now);
        }
    }

    pub(super) fn ask(&mut self, now: Duration) {
        self.newcomer = None;
        self.progress = now;
        if let Some(sent) = self.sent() {
            self.multicast(Frame::Want(sent).encode());
        }
    }

    /// Returns when the next session is to expire, if this member is the one to say so.
    pub(super) fn next_expiry(&self) -> Option<Duration> {
        let senior = self.roster.holders().next()?.session;
        self.own().filter(|own| own.session == senior)?;
        let since = self.absent_since.values().min()?;
        since.checked_add(self.config.session_life)
    }

    /// Says that sessions are to expire whose clients have been gone for long.
    pub(super) fn expire(&mut self, now: Duration) {
        let Some(sent) = self.sent().filter(|_| self.next_expiry().is_some_and(|due| due <= now))
        else {
            return;
        };
        let life = self.config.session_life;
        let is_due = |since: Duration| since.checked_add(life).is_some_and(|due| due <= now);
        let due = self.absent_since.iter_mut().filter(|(_, since)| is_due(**since));
        let mut due: Vec<(Duration, u32)> = due
            // If that gets lost, it is said again.
            .map(|(session, since)| (std::mem::replace(since, now), *session))
            .collect();
        due.sort_unstable();
        for (_, session) in due {
            self.multicast(Frame::Expire(sent, session).encode());
        }
    }
}
