//! What a majority has is committed; voters that came back empty take their former places.

use bytes::Bytes;

use super::log::{read_snapshot, snapshot};
use super::voters::{self, CHANNEL, VoterChange};
use crate::core::envelope::{Frame, Sent};
use crate::core::replica::Entry;
use crate::core::roster::Member;
use crate::core::{Core, Holdings, JoinFailed, Output, Phase, proto};

impl Core {
    /// Takes an entry of the log that this member has: it is applied where it is committed,
    /// in a group without voters at once.
    pub(crate) fn log(&mut self, entry: Entry) {
        match &mut self.voting {
            Some(voting) => voting.tail.push(entry),
            None => self.out(Output::Entry(entry)),
        }
    }

    /// Returns the payload with which an operation on the voters is logged: whether they
    /// change. All members come to the same here, whether they have the log or not, since they
    /// have one roster. A change after which no majority would be here is refused: it could not be
    /// committed.
    pub(crate) fn judged(&mut self, channel: u32, payload: Option<Bytes>) -> Option<Bytes> {
        let next = self.roster.history.place().index + 1;
        match (&mut self.voting, payload) {
            (Some(voting), Some(payload)) if channel == CHANNEL => {
                let is_here = |voter| {
                    let member = self.roster.by_incarnation(voter);
                    member.is_some_and(|member| !member.observer)
                };
                let changes = voting.chain.log(next, &payload, is_here);
                #[cfg(test)]
                if self.breaks(crate::core::Broken::ChangesVotersAtOnce)
                    && let Some(voting) = &mut self.voting
                {
                    voting.chain.commit(next);
                }
                Some(Bytes::copy_from_slice(&[u8::from(changes)]))
            }
            (_, payload) => payload,
        }
    }

    /// Acknowledges what this member has logged, if it is a voter. One message is on its way
    /// at a time.
    pub(crate) fn acknowledge(&mut self) {
        let (Holdings::Current, Some(sent), Some(voting)) =
            (&self.holdings, self.sent(), &self.voting)
        else {
            return;
        };
        let index = self.roster.history.place().index;
        let votes = self.own_vote(&voting.chain).is_some();
        if !votes || voting.under_way || index <= voting.own || voting.accepted > sent.epoch {
            return;
        }
        if let Some(voting) = &mut self.voting {
            (voting.own, voting.under_way) = (index, true);
            self.multicast(Frame::Acknowledge(sent, index).encode());
        }
    }

    /// Takes an acknowledgement.
    pub(crate) fn acknowledged(&mut self, sent: Sent, index: u64) {
        let member = self.roster.by_session(sent.session);
        let (Some(member), Some(voting)) = (member, &mut self.voting) else {
            return self.counters.foreign += 1;
        };
        let own = member.incarnation == self.config.incarnation;
        let voter = member.incarnation;
        #[cfg(test)]
        let voter = match (self.config.broken, &member.voter) {
            (Some(crate::core::Broken::CountsNames), Some(name)) => {
                let voters = voting.chain.last();
                let named = voters.and_then(|voters| voters.get(name));
                named.map_or(voter, |voter| voter.incarnation)
            }
            _ => voter,
        };
        voting.under_way &= !own;
        if voting.chain.has(voter) {
            voting.acknowledged.take(voter, index);
            self.commit();
        }
    }

    /// Applies what is committed, if this member has the log.
    pub(crate) fn commit(&mut self) {
        let head = self.roster.history.place().index;
        let Some(voting) = &mut self.voting else {
            return;
        };
        // Once a change is committed, those after it may have acknowledged more than those before it.
        let committed = loop {
            let committed = voting.chain.committed(|voter| voting.acknowledged.by(voter)).min(head);
            if !voting.chain.commit(committed) {
                break committed;
            }
        };
        #[cfg(test)]
        let committed = match self.config.broken {
            Some(crate::core::Broken::CommitsAtOnce) => head,
            _ => committed,
        };
        #[cfg(test)]
        voting.chain.commit(committed);
        voting.committed = voting.committed.max(committed);
        self.tell_side();
        if let (Holdings::Current, Some(voting)) = (&self.holdings, &mut self.voting) {
            while let Some(entry) = voting.tail.commit(committed) {
                self.outputs.push_back(Output::Entry(entry));
            }
        }
    }

    /// Takes note, once under each Form, which operations of this member are in its log: they are
    /// committed with the log, or the log that stands next is without them.
    pub(crate) fn skip_logged(&mut self) {
        let sent = self.sent().filter(|_| self.is_ready());
        if let (Some(Sent { session, .. }), Some(voting)) = (sent, &self.voting) {
            self.requests.skip_logged(voting.tail.sequences(session));
        }
    }

    /// Returns whether this member has to wait before it sends more: what is not committed is
    /// kept by all.
    pub(crate) fn has_too_much_uncommitted(&self) -> bool {
        let (messages, bytes) = self.requests.under_way();
        let (most, most_bytes) = self.config.window;
        self.voting.is_some() && (messages >= most || bytes >= most_bytes)
    }

    /// Returns whether something has been committed under the Form that stands, or its base.
    pub(crate) fn is_confirmed(&self) -> bool {
        let began = self.roster.history.began();
        let committed = self.voting.as_ref().map_or(0, |voting| voting.committed);
        matches!(self.phase, Phase::Formed(_)) && committed >= began.max(1)
    }

    /// Returns what a newcomer needs besides the state at a cut.
    pub(crate) fn tail_at_cut(&self) -> Vec<proto::Entry> {
        #[cfg(test)]
        if self.breaks(crate::core::Broken::ForgetsTheTail) {
            return Vec::new();
        }
        self.voting.as_ref().map(|voting| voting.tail.to_proto()).unwrap_or_default()
    }

    /// Returns what a newcomer is given.
    pub(crate) fn given(&self, tail: Vec<proto::Entry>, state: Bytes) -> Bytes {
        match self.voting {
            Some(_) => snapshot(state, tail),
            None => state,
        }
    }

    /// Takes what a newcomer was given, and what was counted since; returns whether it can be
    /// read.
    pub(crate) fn take_snapshot(&mut self, bytes: Bytes, entries: Vec<Entry>) -> bool {
        let Some(voting) = &mut self.voting else {
            self.restore(bytes);
            entries.into_iter().for_each(|entry| self.out(Output::Entry(entry)));
            return true;
        };
        let Some((state, tail)) = read_snapshot(bytes) else {
            self.fail(JoinFailed::BadState);
            return false;
        };
        voting.tail = tail;
        voting.tail.extend(entries);
        self.restore(state);
        self.commit();
        true
    }

    /// Submits a change of the voters in which a member takes the place of the voter that it
    /// is configured to be, if that is gone. The senior member with the log does so.
    pub(crate) fn replace_voters(&mut self) {
        let senior = self.roster.holders().next().map(|member| member.incarnation);
        if senior != Some(self.config.incarnation) || !self.is_ready() {
            return;
        }
        let Some((voting, voters)) =
            self.voting.as_ref().and_then(|voting| Some((voting, voting.chain.last()?)))
        else {
            return;
        };
        // One at a time, each after the one before it is committed.
        if voting.chain.first() != voting.chain.last() {
            return;
        }
        let gone = |incarnation| self.roster.by_incarnation(incarnation).is_none();
        let vacant = |member: &Member| {
            let may = !member.observer && !voters.has(member.incarnation);
            let name = member.voter.as_deref().filter(|_| may)?;
            let voter = voters.get(name).filter(|voter| gone(voter.incarnation))?;
            let voter = voters::Voter { incarnation: member.incarnation, ..voter };
            Some(VoterChange { version: voters.version, name: name.to_owned(), voter })
        };
        let change = self.roster.members().iter().find_map(vacant);
        let Some(change) = change.filter(|change| voting.proposed.as_ref() != Some(change)) else {
            return;
        };
        // Under an earlier Form it may have been submitted, too.
        let payload = change.encode();
        if self.requests.is_full() || self.requests.has_unasked(CHANNEL, &payload) {
            return;
        }
        if let Some(voting) = &mut self.voting {
            self.requests.submit_unasked(CHANNEL, payload);
            voting.proposed = Some(change);
        }
    }
}
