//! The kernel: one group of one member, without I/O, a clock or threads.
//!
//! [`Core`] is a state machine. It is told what the connection delivers and what the
//! application asks for ([`Input`]), and tells what is to be sent and what counts
//! ([`Output`]). Time is an argument. The [`Replica`] beside it applies what counts.
//!
//! | module | what it is |
//! |---|---|
//! | [`config`], [`events`] | what goes in, and what comes out |
//! | [`envelope`] | messages between members: bytes to types and back |
//! | [`exchange`], `forming` | from a view to a roster and a log: Hello, Form |
//! | [`roster`] | who the members are, by seniority; sessions and their expiry |
//! | [`history`] | places, branches, and what two histories have in common |
//! | `counting` | ordered messages to entries of the log |
//! | [`fragments`] | operations that are too large for one message |
//! | [`requests`], [`window`] | own operations, sent until they are answered; backpressure |
//! | [`transfer`], `giving` | markers and snapshots |
//! | [`replica`], [`sessions`] | the state: machines, and each operation once |
//! | [`voting`] | what changes in a group with voters: what is committed, and by whom |
//!
//! What counts is decided by three rules. An operation counts only under the Form that it
//! was sent under: not in an exchange, and not after a signal. Its sender has to be the
//! current client of its session. And its fragments must all have come in one view. An
//! operation that does not count is sent again by its submitter, after the next Form, under
//! the same sequence number.

pub(crate) mod config;
pub(crate) mod envelope;
pub(crate) mod events;
pub(crate) mod exchange;
pub(crate) mod fragments;
pub(crate) mod history;
#[rustfmt::skip]
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
pub(crate) mod proto;
pub(crate) mod replica;
pub(crate) mod requests;
pub(crate) mod roster;
pub(crate) mod sessions;
pub(crate) mod status;
pub(crate) mod transfer;
pub(crate) mod voting;
pub(crate) mod window;

mod counting;
mod forming;
mod giving;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use spread::{GroupId, Name};

#[cfg(test)]
pub(crate) use config::Broken;
pub(crate) use config::Config;
pub use events::{Event, JoinFailed};
pub(crate) use events::{Excess, Failure, Input, Output, View};

use envelope::{ExchangeId, Frame, Sent};
use exchange::Exchange;
use fragments::Assembler;
use history::History;
use replica::Entry;
use requests::{Ended, OperationId, Requests};
use roster::{Departure, Member, Roster};
use sessions::Answer;
use status::Counters;
use transfer::{Donations, Newcomer};
use voting::Voting;
use voting::voters::Chain;
use window::Window;

/// Where the member stands with its connection and the group.
#[derive(Debug)]
enum Phase {
    /// Without a view.
    Out,
    /// Between a signal and the next view.
    Transitional,
    Exchanging(Exchange),
    Formed(Formed),
    /// It has left for good.
    Closed,
}

/// A Form that stands.
#[derive(Debug)]
struct Formed {
    id: ExchangeId,
    /// The history that stood; `None` if the group was founded.
    base: Option<History>,
}

/// What the replica has.
#[derive(Debug)]
enum Holdings {
    /// The state at the place of the roster's history; it follows.
    Current,
    /// The state of another place.
    Kept {
        /// The roster at that place.
        roster: Box<Roster>,
        /// Whether a merge took it back; otherwise this member was not heard when a group
        /// was founded in its view.
        former: bool,
        /// The voters by the log at that place; nobody in a group without voters.
        voters: Chain,
    },
    Nothing,
}

/// A member of a group.
#[derive(Debug)]
pub(crate) struct Core {
    config: Config,
    outputs: VecDeque<Output>,
    /// The own private group.
    me: Option<Name>,
    phase: Phase,
    view: View,
    /// Members of views that said no Hello: they are not waited for.
    silent: BTreeSet<Name>,
    /// Why members of the roster are gone from the views of an exchange.
    gone: BTreeMap<u32, Departure>,
    /// As of the last Form and what was counted since.
    roster: Roster,
    holdings: Holdings,
    /// Counts what the replica's state was replaced by.
    generation: u64,
    /// In a group with voters, the history in which own operations were answered, while it is not
    /// the roster's: a Form stands that does not count the Hello of this member.
    answers: Option<History>,
    /// The own session, once there is one.
    session: Option<u32>,
    /// Whether the application was told that the member is ready.
    told_ready: bool,
    assembler: Assembler,
    requests: Requests,
    /// Topic messages that wait.
    topics: VecDeque<Bytes>,
    topic_bytes: usize,
    window: Window,
    donations: Donations,
    newcomer: Option<Newcomer>,
    /// When this member last got on with being given the state.
    progress: Duration,
    overflows: u32,
    /// Since when sessions are known to be without a client.
    absent_since: BTreeMap<u32, Duration>,
    counters: Counters,
    /// None in a group without voters.
    voting: Option<Voting>,
}

impl Core {
    /// Returns a member that is not connected yet.
    pub(crate) fn new(config: Config) -> Core {
        let (messages, bytes) = config.window;
        Core {
            outputs: VecDeque::new(),
            me: None,
            phase: Phase::Out,
            view: View { id: GroupId::default(), members: Vec::new(), departure: None },
            silent: BTreeSet::new(),
            gone: BTreeMap::new(),
            roster: Roster::default(),
            holdings: Holdings::Nothing,
            generation: 0,
            answers: None,
            session: None,
            told_ready: false,
            assembler: Assembler::new(config.fragment_memory),
            requests: Requests::default(),
            topics: VecDeque::new(),
            topic_bytes: 0,
            window: Window::new(messages, bytes),
            donations: Donations::new(config.chunk),
            newcomer: None,
            progress: Duration::ZERO,
            overflows: 0,
            absent_since: BTreeMap::new(),
            counters: Counters::default(),
            voting: config.voters.clone().map(Voting::new),
            config,
        }
    }

    /// Takes what happens; `now` never goes back.
    pub(crate) fn input(&mut self, now: Duration, input: Input) {
        if matches!(self.phase, Phase::Closed) {
            if let Input::Submit { id, .. } = input {
                let failure = Failure::Closed { may_have_executed: false };
                self.out(Output::Done(id, Err(failure)));
            }
            return;
        }
        match input {
            Input::Connected(me) => self.connected(me),
            Input::Lost => self.lost(now),
            Input::View(view) => self.see(now, view),
            Input::Signal => self.signal(now),
            Input::SelfLeave => {}
            Input::Message { from, bytes } => {
                if self.message(now, from, &bytes) {
                    // Nothing but the window may have changed.
                    return self.pump(now);
                }
            }
            Input::Submit { id, channel, payload, patient } => {
                self.submit(id, channel, payload, patient);
            }
            Input::Publish { frames } => {
                self.topic_bytes += frames.iter().map(Bytes::len).sum::<usize>();
                self.topics.extend(frames);
            }
            Input::Answered(generation, answered) => self.answered(generation, answered),
            Input::State { generation, cut, state } if generation == self.generation => {
                let tail = self.donations.take_tail(cut);
                let pieces = self.donations.state(cut, self.given(tail, state));
                self.give(pieces);
            }
            Input::State { .. } | Input::Tick => {}
            Input::ForcePrimary => self.force_primary(),
            Input::BadState => self.fail(JoinFailed::BadState),
            Input::Close => self.close(),
        }
        self.form(now);
        self.give_up(now);
        self.want(now);
        self.expire(now);
        self.acknowledge();
        self.replace_voters();
        self.pump(now);
        self.tell_standing();
        self.tell_side();
    }

    /// Returns the next thing to do.
    pub(crate) fn output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Returns when [`Input::Tick`] is due, if nothing happens before.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        match &self.phase {
            Phase::Exchanging(exchange) => {
                self.form_due(exchange).into_iter().chain(self.patience()).min()
            }
            Phase::Formed(_) => {
                let stalled = self.wants().then(|| self.stalled_at());
                stalled.into_iter().chain(self.next_expiry()).min()
            }
            Phase::Out | Phase::Transitional => self.patience(),
            Phase::Closed => None,
        }
    }

    /// Returns the bytes of topic messages that wait for the window.
    pub(crate) fn topic_bytes(&self) -> usize {
        self.topic_bytes
    }

    /// Returns whether no more operations can be submitted for now.
    pub(crate) fn is_full(&self) -> bool {
        self.requests.is_full()
    }

    /// Returns whether an entry is an operation of this member.
    pub(crate) fn is_own(&self, entry: &Entry) -> bool {
        match entry.body {
            replica::Body::Operation { session, .. } => self.session == Some(session),
            replica::Body::Roster(_) => false,
        }
    }

    /// Returns whether the member has left for good.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    fn connected(&mut self, me: Name) {
        self.me = Some(me);
        self.phase = Phase::Out;
        self.window.clear();
        self.out(Output::Join);
    }

    /// The state stays as it is; what is counted from here on is missing in it.
    fn lost(&mut self, now: Duration) {
        self.me = None;
        self.phase = Phase::Out;
        self.is_without_form(now);
        self.view.members.clear();
        self.gone.clear();
        self.void();
    }

    fn submit(&mut self, id: OperationId, channel: u32, payload: Bytes, patient: bool) {
        let excess = Excess { len: payload.len(), max: self.config.fragment_memory };
        let failure = match () {
            () if self.config.observer => Some(Failure::Observer),
            () if excess.len > excess.max => Some(Failure::TooLarge(excess)),
            () if self.voting.as_ref().is_some_and(|voting| voting.given_up) && !patient => {
                Some(Failure::NoQuorum { may_have_executed: false })
            }
            () if self.requests.is_full() => Some(Failure::Full),
            () => None,
        };
        match failure {
            Some(failure) => self.out(Output::Done(id, Err(failure))),
            None if patient => self.requests.submit_patiently(id, channel, payload),
            None => {
                self.requests.submit(id, channel, payload);
            }
        }
    }

    fn answered(&mut self, generation: u64, answered: replica::Answered) {
        let replica::Answered { session, sequence, index, answer } = answered;
        // What is committed stays so.
        let stands = matches!(self.holdings, Holdings::Current) || self.voting.is_some();
        if !stands || generation != self.generation || self.session != Some(session) {
            return;
        }
        let executed = !matches!(answer, Some(Answer::Full | Answer::Unreadable));
        match self.requests.answer(sequence, index, executed) {
            Ended::For(id) => {
                let answer = answer.ok_or(Failure::SessionExpired);
                self.out(Output::Done(id, answer));
            }
            Ended::Lost(id) => self.out(Output::Event(Event::Lost(vec![id]))),
            Ended::Before | Ended::Again => {}
        }
    }

    fn close(&mut self) {
        if self.me.is_some() {
            // The window is for a member that stays.
            for bytes in std::mem::take(&mut self.topics) {
                self.out(Output::Send { to: None, bytes });
            }
            self.out(Output::Leave);
        }
        for (id, may_have_executed) in self.requests.give_up() {
            self.out(Output::Done(id, Err(Failure::Closed { may_have_executed })));
        }
        self.phase = Phase::Closed;
        self.void();
        // Nothing of it is needed any more.
        (self.topics, self.topic_bytes) = (VecDeque::new(), 0);
        self.requests = Requests::default();
        self.assembler.clear();
        self.absent_since.clear();
    }

    fn fail(&mut self, why: JoinFailed) {
        self.out(Output::Event(Event::Failed(why)));
        self.close();
    }

    fn tell_standing(&mut self) {
        // An observer has no state that it could be without.
        let holds = self.config.observer || matches!(self.holdings, Holdings::Current);
        let ready = holds && self.own().is_some();
        if ready && !self.told_ready {
            self.out(Output::Event(Event::Ready));
        }
        if self.told_ready && !holds {
            self.out(Output::Event(Event::Behind));
        }
        // An exchange alone is not worth telling.
        self.told_ready = ready || self.told_ready && holds;
    }

    /// Sends what the window has room for.
    fn pump(&mut self, now: Duration) {
        if self.view.members.is_empty() {
            return;
        }
        self.skip_logged();
        while self.window.is_open() {
            if let Some(topic) = self.topics.pop_front() {
                self.topic_bytes -= topic.len();
                self.multicast(topic);
                continue;
            }
            if !self.requests.has_next() || self.has_too_much_uncommitted() {
                return;
            }
            let Some(sent) = self.sent().filter(|_| self.is_ready()) else {
                return;
            };
            let size = self.config.fragment;
            let Some(operation) = self.requests.next(sent, self.unix_time(now), size) else {
                return;
            };
            self.multicast(Frame::Operation(operation).encode());
        }
    }

    fn multicast(&mut self, bytes: Bytes) {
        self.window.sent(bytes.len());
        self.out(Output::Send { to: None, bytes });
    }

    fn out(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    /// Returns this member in the roster of the Form that stands.
    fn own(&self) -> Option<&Member> {
        let member = self.roster.by_incarnation(self.config.incarnation);
        member
            .filter(|_| matches!(self.phase, Phase::Formed(_)))
            .filter(|member| Some(member.name) == self.me)
    }

    /// Returns what ordered messages of this member carry.
    fn sent(&self) -> Option<Sent> {
        let session = self.own()?.session;
        Some(Sent { session, epoch: self.roster.history.epoch() })
    }

    /// Returns whether operations are sent: the member is in the roster of the Form that
    /// stands, and has the state.
    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.holdings, Holdings::Current) && self.own().is_some()
    }

    fn unix_time(&self, now: Duration) -> u64 {
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        self.config.epoch.saturating_add(now)
    }

    /// Returns the place and a digest of the roster at it.
    #[cfg(test)]
    pub(crate) fn roster_digest(&self) -> (history::Place, u64) {
        let mut roster = self.roster.clone();
        if self.breaks(Broken::TakesTheNumberAtTheForm) {
            // It is about what comes of that; that the numbers differ is plain.
            roster.history.renumber(0);
        }
        (roster.history.place(), roster.digest())
    }

    /// Returns whether a client is in the view of this member.
    #[cfg(test)]
    pub(crate) fn sees(&self, client: Name) -> bool {
        self.view.members.contains(&client)
    }

    /// Returns the number and the branch of the Form that stands.
    #[cfg(test)]
    pub(crate) fn stands(&self) -> Option<(u64, u64)> {
        let history = &self.roster.history;
        matches!(self.phase, Phase::Formed(_)).then(|| (history.epoch(), history.place().branch))
    }

    /// Returns which founding the log goes back to that this member counts, and the number of the
    /// last forced Form. What one majority has committed another one has, as long as both are the
    /// same.
    #[cfg(test)]
    pub(crate) fn line(&self) -> (u64, u64) {
        (self.roster.history.founded(), self.roster.history.forced())
    }

    #[cfg(test)]
    fn breaks(&self, rule: Broken) -> bool {
        self.config.broken == Some(rule)
    }
}
