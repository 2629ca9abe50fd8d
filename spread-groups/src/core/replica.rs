//! The replicated state: sessions, and the machines of the log.
//!
//! It is apart from the [core](super::Core), so that it can live in another thread: the
//! core tells which entries count and in which order, and the replica applies them. At
//! equal places two replicas are equal.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message as _;

use super::history::{Place, mix};
use super::proto;
use super::roster::Change;
use super::sessions::{Answer, Sessions, Verdict};
use crate::Fence;

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Where it stands.
    pub place: Place,
    /// The number of the Form under which it was logged.
    pub epoch: u64,
    /// What it is.
    pub body: Body,
}

/// What an entry of the log is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// A change of the roster.
    Roster(Change),
    /// An operation.
    Operation {
        /// The session of its sender.
        session: u32,
        /// Its number in the session.
        sequence: u64,
        /// The sender has had the answers of all operations below this one.
        acknowledged: u64,
        /// When it was sent, in milliseconds since 1970 by the sender's clock.
        sent_at: u64,
        /// Which machine it is for.
        channel: u32,
        /// What it says; `None` if there was no room for all of its fragments.
        payload: Option<Bytes>,
    },
}

impl Body {
    /// Returns the bytes that the entry takes, about.
    pub(crate) fn len(&self) -> usize {
        let payload = match self {
            Body::Operation { payload, .. } => payload.as_ref().map_or(0, Bytes::len),
            Body::Roster(_) => 0,
        };
        size_of::<Entry>() + payload
    }

    /// Returns a word that tells it from other entries.
    pub(crate) fn digest(&self) -> u64 {
        match self {
            Body::Roster(change) => change.digest(),
            Body::Operation { session, sequence, channel, .. } => {
                [u64::from(*session), *sequence, u64::from(*channel)].into_iter().fold(7, mix)
            }
        }
    }
}

/// At which place an entry is applied, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    /// The place.
    pub place: Place,
    /// The epoch under which the operation was logged: a number that is raised whenever the group,
    /// or a majority of its [voters](crate::voters), forms anew.
    pub epoch: u64,
    /// Milliseconds since 1970, stamped by the clock of the operation's sender, but never
    /// earlier than that of an operation before it.
    pub time: u64,
    /// The session of the operation's sender; 0 for a change of the roster.
    pub session: u32,
}

impl At {
    /// Returns the epoch and the index of this place as a fence, which is unique in groups with
    /// [voters](crate::voters) only: without them another side of a partition can have the same
    /// one. In a group with voters it is greater than those of all places before.
    pub fn fence(&self) -> Fence {
        Fence { epoch: self.epoch, index: self.place.index }
    }
}

/// A machine of the log: state that is the same at all members, because each does the same
/// to it in the same order.
///
/// What it does must depend on its arguments and its state alone: not on the order of a
/// `HashMap`, on a clock, on random numbers, or on another thread.
pub(crate) trait Machine: Send {
    /// Applies an operation and answers it.
    fn apply(&mut self, at: At, operation: &[u8]) -> Answer;

    /// Follows a change of the roster.
    fn follow(&mut self, _at: At, _change: &Change) {}

    /// Returns what encodes the whole state as it is now.
    fn capture(&self) -> Encode;

    /// Takes over a state; an empty one is that in which a group begins.
    ///
    /// # Errors
    ///
    /// [`BadState`] if it is none of a [`capture`](Machine::capture).
    fn restore(&mut self, state: &[u8]) -> Result<(), BadState>;

    /// Returns a number that differs, most likely, where the state does.
    #[cfg(test)]
    fn digest(&self) -> u64 {
        super::history::mix_bytes(0, &self.capture()())
    }
}

/// Encodes a state that was captured.
pub(crate) type Encode = Box<dyn FnOnce() -> Bytes + Send>;

/// The bytes are not a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what a member sent is not the state of this group's machines")]
pub struct BadState;

/// The answer of an operation, at the replica of any member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answered {
    /// The session that sent it.
    pub session: u32,
    /// Its number in the session.
    pub sequence: u64,
    /// Where it stands.
    pub index: u64,
    /// What it came to; `None` if its sender has had the answer before.
    pub answer: Option<Answer>,
}

/// The replicated state of a member.
#[derive(Default)]
pub(crate) struct Replica {
    sessions: Sessions,
    machines: BTreeMap<u32, Box<dyn Machine>>,
    time: u64,
    #[cfg(test)]
    pub(crate) executes_again: bool,
}

impl std::fmt::Debug for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let machines: Vec<&u32> = self.machines.keys().collect();
        f.debug_struct("Replica")
            .field("sessions", &self.sessions.len())
            .field("machines", &machines)
            .field("time", &self.time)
            .finish()
    }
}

impl Replica {
    /// Returns the state in which a group begins, of these machines by their channels. They
    /// have to be the same at all members.
    pub(crate) fn new(machines: impl IntoIterator<Item = (u32, Box<dyn Machine>)>) -> Replica {
        Replica { machines: machines.into_iter().collect(), ..Replica::default() }
    }

    /// Applies the next entry; returns the answer, if it is an operation that counts.
    pub(crate) fn apply(&mut self, entry: &Entry) -> Option<Answered> {
        let Entry { place, epoch, .. } = *entry;
        match &entry.body {
            Body::Roster(change) => {
                match change {
                    Change::Joined { session, .. } => self.sessions.open(*session),
                    Change::Expired { session } => self.sessions.expire(*session),
                    Change::Departed { .. } => {}
                }
                let at = At { place, epoch, time: self.time, session: 0 };
                self.machines.values_mut().for_each(|machine| machine.follow(at, change));
                None
            }
            Body::Operation { session, sequence, acknowledged, sent_at, channel, payload } => {
                let (session, sequence, index) = (*session, *sequence, place.index);
                let answer = match self.judge(session, sequence, *acknowledged) {
                    Verdict::Skip => return None,
                    Verdict::Old => None,
                    Verdict::Repeat(answer) => Some(answer),
                    Verdict::Execute => {
                        self.time = self.time.max(*sent_at);
                        let at = At { place, epoch, time: self.time, session };
                        let answer = self.execute(at, *channel, payload.as_deref());
                        self.sessions.keep(session, answer.clone());
                        Some(answer)
                    }
                };
                Some(Answered { session, sequence, index, answer })
            }
        }
    }

    fn judge(&mut self, session: u32, sequence: u64, acknowledged: u64) -> Verdict {
        let verdict = self.sessions.judge(session, sequence, acknowledged);
        #[cfg(test)]
        if self.executes_again && matches!(verdict, Verdict::Repeat(_) | Verdict::Old) {
            return Verdict::Execute;
        }
        verdict
    }

    fn execute(&mut self, at: At, channel: u32, payload: Option<&[u8]>) -> Answer {
        let Some(payload) = payload else {
            return Answer::Full;
        };
        let machine = self.machines.get_mut(&channel);
        machine.map_or(Answer::Unreadable, |machine| machine.apply(at, payload))
    }

    /// Returns the whole state.
    #[cfg(test)]
    pub(crate) fn snapshot(&self) -> Bytes {
        self.capture()()
    }

    /// Returns what encodes the whole state as it is now.
    pub(crate) fn capture(&self) -> Encode {
        let (time, sessions) = (self.time, self.sessions.to_proto());
        let machines = self.machines.iter().map(|(channel, machine)| (*channel, machine.capture()));
        let machines: Vec<(u32, Encode)> = machines.collect();
        Box::new(move || {
            let machines = machines
                .into_iter()
                .map(|(channel, encode)| proto::Machine { channel, state: encode() });
            let state = proto::State { time, sessions, machines: machines.collect() };
            state.encode_to_vec().into()
        })
    }

    /// Takes over the state of a [`capture`](Replica::capture); an empty one is that in
    /// which a group begins.
    ///
    /// # Errors
    ///
    /// [`BadState`] if it is not the state of these machines. Then this one is of no use
    /// any more.
    pub(crate) fn restore(&mut self, state: &Bytes) -> Result<(), BadState> {
        let state = proto::State::decode(state.clone()).map_err(|_| BadState)?;
        self.time = state.time;
        self.sessions = Sessions::from_proto(state.sessions);
        let mut states: BTreeMap<u32, Bytes> =
            state.machines.into_iter().map(|machine| (machine.channel, machine.state)).collect();
        for (channel, machine) in &mut self.machines {
            machine.restore(&states.remove(channel).unwrap_or_default())?;
        }
        if states.is_empty() { Ok(()) } else { Err(BadState) }
    }

    /// Returns a number that differs, most likely, where the state does.
    #[cfg(test)]
    pub(crate) fn digest(&self) -> u64 {
        let machines = self.machines.iter();
        machines.fold(mix(self.sessions.digest(), self.time), |digest, (channel, machine)| {
            mix(mix(digest, (*channel).into()), machine.digest())
        })
    }
}
