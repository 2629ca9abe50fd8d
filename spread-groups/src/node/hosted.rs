//! One group of a node: its core, its replica's thread, and who waits for what.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use spread::Name;

use super::executor::{Executor, Task};
use super::link::Link;
use super::outlet::ConnectionId;
use super::shared::{Shared, Side};
use super::subscribers::{Memory, Subscribers};
use crate::call::{Asked, Handlers};
use crate::core::envelope::{Call, Reply, ReplyOutcome, Topic};
use crate::core::requests::OperationId;
use crate::core::roster::Change;
use crate::core::sessions::Answer;
use crate::core::{Core, Event, Failure, Input, JoinFailed, Output};
use crate::feed::{Delivered, Tap};
use crate::inbox::{Inbox, Published};
use crate::pending::Completion;
use crate::recent::Recent;
use crate::services::{Service, Services};
use crate::{Error, codec, ping, replicated};

/// Messages of topics whose copies are dropped.
const COPIES: usize = 16_384;

/// An operation that waits until fewer are open.
struct Due {
    /// The standing operation that it belongs to.
    key: Option<u128>,
    channel: u32,
    payload: Bytes,
    completion: Completion,
}

pub(crate) struct Hosted {
    core: Core,
    /// What this member serves.
    handlers: Handlers,
    /// Who waits until it is known that this member serves something.
    begun: BTreeMap<u32, Vec<Completion>>,
    /// Services and topics of which the others have to be told whether this member has them.
    announce: BTreeSet<u32>,
    /// None once the member has left.
    executor: Option<Executor>,
    shared: Arc<Shared>,
    completions: HashMap<OperationId, Completion>,
    ready: Vec<Completion>,
    /// Operators who wait until a primary is forced.
    forcing: Vec<Completion>,
    is_ready: bool,
    /// Counts how often the member became ready, or was so no longer.
    readiness: u64,
    /// Why the member has left, or is about to.
    end: Option<Error>,
    left: bool,
    /// Whether the replica is too far behind.
    overrun: bool,
    subscribers: HashMap<u32, Subscribers>,
    /// For what they get.
    memory: Memory,
    /// Reactors and bridges.
    taps: Vec<Tap>,
    /// The messages of topics that were delivered last: bridges may bring copies of them.
    delivered: Recent,
    /// Operations that are submitted whenever this member is new in the roster.
    standing: BTreeMap<u128, (u32, Bytes)>,
    /// Operations that wait until fewer are open.
    due: VecDeque<Due>,
    /// The channels whose subscribers have got something in this turn.
    told: Vec<u32>,
}

impl Hosted {
    pub(super) fn new(core: Core, executor: Executor, shared: Arc<Shared>) -> Hosted {
        Hosted {
            core,
            handlers: Handlers::new(),
            begun: BTreeMap::new(),
            announce: BTreeSet::new(),
            executor: Some(executor),
            shared,
            completions: HashMap::new(),
            ready: Vec::new(),
            forcing: Vec::new(),
            is_ready: false,
            readiness: 0,
            end: None,
            left: false,
            overrun: false,
            subscribers: HashMap::new(),
            memory: Memory::default(),
            taps: Vec::new(),
            delivered: Recent::new(COPIES),
            standing: BTreeMap::new(),
            due: VecDeque::new(),
            told: Vec::new(),
        }
    }

    /// Hands something to the core, and does what it says.
    pub(super) fn input(&mut self, now: Duration, input: Input, link: &mut Link) {
        match &input {
            Input::Connected(name) => self.shared.connected(*name, link.connection()),
            Input::Lost => {
                self.tell_subscribers();
                self.inboxes().for_each(Inbox::miss);
                self.taps.iter().for_each(Tap::miss);
                self.shared.lost();
            }
            Input::Tick => self.shared.calls(|calls| calls.tick(now)),
            // What was published before it is sent.
            Input::Close => self.publish(now, link),
            _ => {}
        }
        let published = match &input {
            Input::Publish { frames } => frames.iter().map(Bytes::len).sum(),
            _ => 0,
        };
        let waiting = self.core.topic_bytes() + published;
        let mut next = Some(input);
        while let Some(input) = next.take() {
            self.core.input(now, input);
            while let Some(output) = self.core.output() {
                self.act(output, link);
            }
            next = self.next_due();
        }
        self.tell_who_forces();
        self.shared.release(waiting.saturating_sub(self.core.topic_bytes()));
        if std::mem::take(&mut self.overrun) {
            let why = JoinFailed::TooSlow;
            self.fail(Error::JoinFailed { why, may_have_executed: false }, &Event::Failed(why));
            self.input(now, Input::Close, link);
        }
        if self.core.is_closed() {
            if link.name().is_none() && !self.left {
                // Nobody will confirm it. The session is not to join the group again.
                self.left = true;
                link.leave(self.shared.group);
            }
            self.finish();
        }
    }

    /// Takes the messages of topics that are queued.
    pub(super) fn publish(&mut self, now: Duration, link: &mut Link) {
        let frames = self.shared.take_topics();
        if !frames.is_empty() {
            self.input(now, Input::Publish { frames }, link);
        }
    }

    fn act(&mut self, output: Output, link: &mut Link) {
        let group = self.shared.group;
        match output {
            Output::Join => link.join(group),
            Output::Leave => link.leave(group),
            Output::Send { to, bytes } => {
                if link.multicast(to.unwrap_or(group), &bytes).is_err() {
                    self.core.count_unsendable();
                }
            }
            Output::Entry(entry) => {
                let own = self.core.is_own(&entry);
                self.execute(Task::Entry(entry, own));
            }
            Output::Cut(cut) => self.execute(Task::Cut(cut)),
            Output::Restore { generation, state } => {
                self.execute(Task::Restore(generation, state));
            }
            Output::Done(id, outcome) => {
                if let Some(completion) = self.completions.remove(&id) {
                    completion(match outcome {
                        Ok(Answer::Done(bytes)) => Ok(bytes),
                        Ok(Answer::Full) => Err(Error::NoRoom),
                        Ok(Answer::Unreadable) => Err(Error::Unreadable),
                        Ok(Answer::Forgotten) => Err(Error::AnswerForgotten),
                        Err(failure) => Err(self.failed(failure)),
                    });
                }
            }
            Output::Topic { from, topic } => self.deliver(from, topic, link.received_at()),
            Output::Event(event) => self.event(event),
        }
    }

    /// Returns the error of an operation without an answer: why the member has left, if it has.
    fn failed(&self, failure: Failure) -> Error {
        match (&self.end, failure) {
            (Some(Error::JoinFailed { why, .. }), Failure::Closed { may_have_executed }) => {
                Error::JoinFailed { why: *why, may_have_executed }
            }
            (Some(Error::Closed { .. }) | None, failure) => failure.into(),
            (Some(error), _) => error.clone(),
        }
    }

    /// Hands a message of a topic to its subscribers, unless it is a copy.
    fn deliver(&mut self, from: Name, topic: Topic, received_at: SystemTime) {
        if topic.message != 0 && !self.delivered.insert(topic.message) {
            return;
        }
        let from = topic.publisher.unwrap_or(from);
        let Topic { channel, sent_at, .. } = topic;
        if let Some(subscribers) = self.subscribers.get_mut(&channel) {
            let payload = self.memory.keep(&topic.payload);
            subscribers.arrived.push(Published { from, sent_at, received_at, payload });
            if subscribers.arrived.len() == 1 {
                self.told.push(channel);
            }
        }
        if !self.taps.is_empty() {
            let delivered = Delivered { from, received_at, topic };
            self.taps.retain(|tap| tap.deliver(&delivered));
        }
    }

    fn event(&mut self, event: Event) {
        // What came before it is there for whoever is told of it.
        self.tell_subscribers();
        match &event {
            Event::Ready => {
                // The replica has the state once it has done what it has to do by now.
                self.readiness += 1;
                return self.execute(Task::Ready(self.readiness));
            }
            Event::Behind => {
                self.readiness += 1;
                self.is_ready = false;
            }
            Event::Roster { members, changes } => {
                self.shared.set_roster(members.clone(), changes);
                let roster = self.shared.roster();
                self.taps.retain(|tap| tap.roster(&roster, changes));
                let own = self.core.session();
                if changes.iter().any(|change| {
                    matches!(change, Change::Joined { session, .. } if Some(*session) == own)
                }) {
                    let channels = self.handlers.keys().chain(self.subscribers.keys());
                    self.announce.extend(channels.chain(self.begun.keys()));
                    for (key, (channel, payload)) in self.standing.clone() {
                        self.submit_standing(key, channel, payload);
                    }
                }
            }
            Event::Primary(_) => self.shared.stand_on(Side::Primary),
            Event::Minority => self.shared.stand_on(Side::Minority),
            Event::Failed(why) => {
                self.end = Some(Error::JoinFailed { why: *why, may_have_executed: false });
            }
            _ => {}
        }
        self.shared.tell(&event);
    }

    fn execute(&mut self, task: Task) {
        // Whoever sees that it is done finds what came before it.
        self.tell_subscribers();
        self.overrun |= self.executor.as_ref().is_some_and(|executor| !executor.push(task));
    }

    /// Hands the subscribers what has come for them, all at once.
    pub(super) fn tell_subscribers(&mut self) {
        for channel in self.told.drain(..) {
            if let Some(subscribers) = self.subscribers.get_mut(&channel) {
                subscribers.tell();
            }
        }
    }

    /// Returns when the next [`Input::Tick`] is due.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let calls = self.shared.calls(|calls| calls.deadline());
        self.core.deadline().into_iter().chain(calls).min()
    }

    /// Begins to serve something, in the place of what served it before. It is announced at
    /// the next input; then `begun` ends.
    pub(crate) fn begin_service(
        &mut self,
        channel: u32,
        handler: (u64, SyncSender<Asked>),
        begun: Completion,
    ) {
        if let Some(error) = &self.end {
            return begun(Err(error.clone()));
        }
        self.handlers.insert(channel, handler);
        self.announce.insert(channel);
        self.begun.entry(channel).or_default().push(begun);
    }

    /// Ends a service, unless another one has taken its place.
    pub(crate) fn end_service(&mut self, channel: u32, number: u64) {
        if self.handlers.get(&channel).is_some_and(|(of, _)| *of == number) {
            self.handlers.remove(&channel);
            self.announce.insert(channel);
        }
    }

    /// Hands a call to its handler; returns the outcome if no handler has to answer.
    pub(super) fn called(
        &mut self,
        from: Name,
        connection: ConnectionId,
        call: Call,
    ) -> Option<ReplyOutcome> {
        // One that is not admitted yet, or no longer, would wait for good.
        if !self.core.has_member(from) {
            return Some(ReplyOutcome::NotServed);
        }
        // Answered by this thread: what is measured is the way here and back.
        if call.channel == ping::CHANNEL {
            return Some(ReplyOutcome::Answered);
        }
        let asked = Asked { from, connection, number: call.number, payload: call.payload };
        match self.handlers.get(&call.channel).map(|(_, handler)| handler.try_send(asked)) {
            Some(Ok(())) => None,
            Some(Err(TrySendError::Full(_))) => Some(ReplyOutcome::Busy),
            Some(Err(TrySendError::Disconnected(_))) | None => Some(ReplyOutcome::NotServed),
        }
    }

    /// Takes an answer to a call, unless its time is over.
    pub(super) fn answered(&mut self, from: Name, reply: Reply) {
        self.tell_subscribers();
        // It may be a call of this turn.
        let now = self.shared.now();
        self.shared.calls(|calls| {
            calls.tick(now);
            calls.reply(from, reply);
        });
    }

    /// Returns the next operation that has waited for room, if there is room: first what this
    /// member serves and subscribes to, as far as the others have to be told.
    fn next_due(&mut self) -> Option<Input> {
        if self.core.session().is_none() {
            // All of it is announced when there is one.
            self.announce.clear();
        }
        if self.core.is_full() {
            return None;
        }
        if let Some(channel) = self.announce.pop_first() {
            let has_it =
                self.handlers.contains_key(&channel) || self.subscribers.contains_key(&channel);
            let service = if has_it { Service::Begins(channel) } else { Service::Ends(channel) };
            let payload = codec::encode(&service).expect("numbers can be encoded");
            let begun = self.begun.remove(&channel).unwrap_or_default();
            let completion = Box::new(move |answer: Result<Bytes, Error>| {
                begun.into_iter().for_each(|waits| waits(answer.clone()));
            });
            return Some(self.submission(replicated::channel::<Services>(), payload, completion));
        }
        let Due { channel, payload, completion, .. } = self.due.pop_front()?;
        Some(self.submission(channel, payload, completion))
    }

    fn submission(&mut self, channel: u32, payload: Bytes, completion: Completion) -> Input {
        let id = self.shared.next_operation();
        self.wait_for(id, completion);
        Input::Submit { id, channel, payload, patient: true }
    }

    /// Submits an operation at the next input, or as soon as fewer operations are open. Without
    /// a majority of the voters it waits for one.
    pub(crate) fn submit_when_room(
        &mut self,
        channel: u32,
        payload: Bytes,
        completion: Completion,
    ) {
        match &self.end {
            Some(error) => completion(Err(error.clone())),
            None => self.due.push_back(Due { key: None, channel, payload, completion }),
        }
    }

    /// Submits a standing operation, or the one that ends it, when there is room. It replaces
    /// one of the same key that still waits.
    fn submit_standing(&mut self, key: u128, channel: u32, payload: Bytes) {
        self.due.retain(|due| due.key != Some(key));
        self.due.push_back(Due { key: Some(key), channel, payload, completion: Box::new(drop) });
    }

    /// Submits an operation from here on whenever this member is new in the roster.
    pub(crate) fn stand(&mut self, key: u128, channel: u32, payload: Bytes) {
        if self.end.is_none() {
            self.standing.insert(key, (channel, payload));
        }
    }

    /// Submits another one in its place, once.
    pub(crate) fn end_standing(&mut self, key: u128, channel: u32, payload: Bytes) {
        if self.standing.remove(&key).is_some() {
            self.submit_standing(key, channel, payload);
        }
    }

    /// Registers who waits for an operation of this id, before it is submitted.
    pub(crate) fn wait_for(&mut self, id: OperationId, completion: Completion) {
        self.completions.insert(id, completion);
    }

    /// Ends this when the group is formed with those who are there, or is not.
    pub(crate) fn wait_until_forced(&mut self, completion: Completion) {
        match &self.end {
            Some(error) => completion(Err(error.clone())),
            None => self.forcing.push(completion),
        }
    }

    fn tell_who_forces(&mut self) {
        if self.forcing.is_empty() || self.core.is_closed() {
            return;
        }
        if let Some(outcome) = self.core.forced() {
            let outcome = outcome.map(|()| Bytes::new()).map_err(Error::Unforced);
            self.forcing.drain(..).for_each(|waits| waits(outcome.clone()));
        }
    }

    /// Takes note that the replica has done what it had to do when the member became ready.
    pub(super) fn ready(&mut self, readiness: u64) {
        if readiness == self.readiness && self.end.is_none() {
            self.is_ready = true;
            self.ready.drain(..).for_each(|waits| waits(Ok(Bytes::new())));
            self.shared.tell(&Event::Ready);
        }
    }

    /// Ends the completion when the member is ready.
    pub(crate) fn when_ready(&mut self, completion: Completion) {
        match &self.end {
            Some(error) => completion(Err(error.clone())),
            None if self.is_ready => completion(Ok(Bytes::new())),
            None => self.ready.push(completion),
        }
    }

    /// Adds a subscriber. What is to be announced is so at the next input.
    pub(crate) fn subscribe(&mut self, channel: u32, inbox: Inbox) {
        if self.end.is_some() {
            return inbox.close();
        }
        let subscribers = self.subscribers.entry(channel).or_insert_with(|| {
            self.announce.insert(channel);
            Subscribers::default()
        });
        // What has come before is not for the new one.
        subscribers.tell();
        subscribers.inboxes.push(inbox);
    }

    /// Removes the subscribers of a channel that have closed their ends.
    pub(crate) fn unsubscribe(&mut self, channel: u32) {
        if let Some(subscribers) = self.subscribers.get_mut(&channel) {
            subscribers.inboxes.retain(|inbox| !inbox.is_closed());
            if subscribers.inboxes.is_empty() {
                self.subscribers.remove(&channel);
                self.announce.insert(channel);
            }
        }
    }

    /// Returns whether this is the part in a group that `shared` belongs to.
    pub(super) fn is_of(&self, shared: &Arc<Shared>) -> bool {
        Arc::ptr_eq(&self.shared, shared)
    }

    /// Returns whether the member has left, or is about to.
    pub(crate) fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    /// Begins to tell a reactor or a bridge.
    pub(crate) fn tap(&mut self, tap: Tap) {
        let roster = self.shared.roster();
        if self.end.is_none() && (roster.is_empty() || tap.roster(&roster, &[])) {
            self.taps.push(tap);
        }
    }

    fn inboxes(&self) -> impl Iterator<Item = &Inbox> {
        self.subscribers.values().flat_map(|subscribers| &subscribers.inboxes)
    }

    pub(crate) fn core(&self) -> &Core {
        &self.core
    }

    /// Takes note that a message cannot be encoded.
    pub(crate) fn count_unsendable(&mut self) {
        self.core.count_unsendable();
    }

    /// Takes note why the member is going to leave, and tells the event of it.
    pub(crate) fn fail(&mut self, error: Error, event: &Event) {
        if self.end.is_none() {
            self.end = Some(error);
            self.shared.tell(event);
        }
    }

    /// Takes note that the daemon has confirmed it.
    pub(super) fn left(&mut self) {
        self.left = self.core.is_closed();
    }

    /// Returns whether nothing more comes of the group.
    pub(super) fn has_left(&self) -> bool {
        self.left
    }

    /// Returns whether the group was left, and no handle can ask how it ended.
    pub(super) fn is_forgotten(&self) -> bool {
        self.left && Arc::strong_count(&self.shared) == 1
    }

    /// Ends everything that waits, because nothing more comes.
    pub(super) fn finish(&mut self) {
        let error = self.end.get_or_insert(Error::Closed { may_have_executed: false }).clone();
        let begun = std::mem::take(&mut self.begun).into_values().flatten();
        let waiting = self.ready.drain(..).chain(self.forcing.drain(..)).chain(begun);
        waiting.for_each(|waits| waits(Err(error.clone())));
        self.tell_subscribers();
        self.inboxes().for_each(Inbox::close);
        self.subscribers.clear();
        self.taps.clear();
        self.handlers.clear();
        self.announce.clear();
        self.delivered = Recent::new(0);
        self.standing.clear();
        let due = self.due.drain(..).map(|due| due.completion);
        due.for_each(|waits| waits(Err(error.clone())));
        self.executor = None;
        self.shared.close(error);
    }
}
