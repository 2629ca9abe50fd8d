//! The handle of a group.

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, SystemTime};

use crate::action::{self, Action, Due};
use crate::audit;
use crate::barrier::{Barrier, Parties};
use crate::call::{self, Call, Servers, Serving};
use crate::codec::Message;
use crate::core::roster::{Incarnation, Member};
use crate::core::status::Status;
use crate::core::{Event, Input};
use crate::leader::{self, LeaderServing, LeaderTopic, Leadership};
use crate::lock::{AdvisoryLock, AdvisoryRwLock, AdvisorySemaphore};
use crate::machines::Machines;
use crate::map::Map;
use crate::mesh::MeshBuilder;
use crate::node::{Commands, Shared};
use crate::registry::Registry;
use crate::sequence::AdvisorySequence;
use crate::topic::{Source, Topic};
use crate::vote::{self, Asked, Ballot, Handling, Proposal, Vote, VoteOutcome};
use crate::work::Work;
use crate::{Error, Pending, reactor};

/// A group that a node takes part in, made by
/// [`GroupBuilder::join`](crate::GroupBuilder::join).
///
/// Clones are handles of the same group. Dropping them does not leave it: the node is a member
/// until [`Group::leave`] or the end of the node.
#[derive(Clone, Debug)]
pub struct Group {
    commands: Commands,
    shared: Arc<Shared>,
    incarnation: Incarnation,
    machines: Machines,
}

impl Group {
    pub(crate) fn new(
        commands: Commands,
        shared: Arc<Shared>,
        incarnation: Incarnation,
        machines: Machines,
    ) -> Group {
        Group { commands, shared, incarnation, machines }
    }

    /// Returns the incarnation, which identifies the member in the roster. It is new for each
    /// join, and stays the same when the node reconnects.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Ends when the node is in the roster and has the replicated state. An observer, which gets no
    /// state, is ready once it is in the roster.
    ///
    /// # Errors
    ///
    /// The pending result fails with [`Error::JoinFailed`], [`Error::Poisoned`] or
    /// [`Error::Closed`] if that does not happen any more.
    pub fn ready(&self) -> Pending<()> {
        let (completion, pending) = Pending::of_bytes(|_| Ok(()));
        let shared = self.shared.clone();
        self.commands.push(move |runner| match runner.part(&shared) {
            Some(hosted) => hosted.when_ready(completion),
            None => completion(Err(Error::Closed { may_have_executed: false })),
        });
        pending
    }

    /// Returns the members by seniority, as this one knows them; none before it has a
    /// roster. Without a connection, and after the member has left, they are those that it knew
    /// last.
    pub fn members(&self) -> Arc<[Member]> {
        self.shared.roster()
    }

    /// Waits until the roster has at least this number of members; returns the members.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] after `timeout`; [`Error::Closed`], [`Error::JoinFailed`],
    /// [`Error::Poisoned`] or [`Error::Diverged`] as soon as this member has left the group;
    /// [`Error::OwnThread`] on a thread of this crate.
    pub fn wait_for_members(
        &self,
        at_least: usize,
        timeout: Duration,
    ) -> Result<Arc<[Member]>, Error> {
        self.shared.wait_for_roster(timeout, |roster| roster.len() >= at_least)
    }

    /// Returns the status of the group: members, silent clients, the place of the log, and
    /// counters of messages that had no effect.
    ///
    /// # Errors
    ///
    /// The pending result fails with [`Error::Closed`] if the node has ended.
    pub fn status(&self) -> Pending<Status> {
        let (complete, pending) = Pending::new();
        let shared = self.shared.clone();
        self.commands.push(move |runner| {
            let closed = Error::Closed { may_have_executed: false };
            complete(runner.part(&shared).map(|hosted| hosted.core().status()).ok_or(closed));
        });
        pending
    }

    /// Returns the events of the member from now on. The receiver ends when the member has left
    /// the group, after the event that says why ([`Event::Failed`], [`Event::Poisoned`] or
    /// [`Event::Diverged`]), or after 1,024 events that were not received.
    pub fn events(&self) -> Receiver<Event> {
        self.shared.listen()
    }

    /// Returns a topic. Programs have to agree on its name, and on the name and the codec of
    /// its type: otherwise it is [another topic](crate#names-types-and-codecs).
    pub fn topic<T: Message>(&self, name: &str) -> Topic<T> {
        Topic::new(name, self.source(), self.machines.retained.clone())
    }

    /// Serves calls: a thread calls `handler` with one question after the other, until the
    /// returned [`Serving`] is dropped or a later call of this method with the same name and
    /// types replaces it. The pending result ends at the place of the order at which the other
    /// members learn of the service.
    ///
    /// The handler may wait for results. One that calls its own service waits for itself, forever
    /// unless the call has a [limit](Call::within).
    ///
    /// Bind the [`Serving`] to a name: `let (_serving, begun) = …`. With `let (_, begun)`, or
    /// `let _ = …`, it is dropped and the service ends at once.
    ///
    /// # Errors
    ///
    /// [`Error::System`] if no thread can be started. The pending result fails with
    /// [`Error::Observer`], and as [`Group::ready`] does.
    pub fn serve<Q: Message, A: Message>(
        &self,
        name: &str,
        handler: impl Fn(Q) -> Result<A, String> + Send + 'static,
    ) -> Result<(Serving, Pending<()>), Error> {
        let Group { commands, shared, .. } = self.clone();
        call::serve(name, commands, shared, handler)
    }

    /// Returns the servers of calls of a name and its types.
    pub fn servers<Q: Message, A: Message>(&self, name: &str) -> Servers {
        Servers::new::<Q, A>(name, self.shared.clone(), self.machines.services.clone())
    }

    /// Returns a call of a service. Programs have to agree on its name, and on the names and
    /// codecs of its types.
    pub fn call<Q: Message, A: Message>(&self, name: &str, question: &Q) -> Call<A> {
        let Group { commands, shared, machines, .. } = self.clone();
        Call::new(name, question, commands, shared, machines.services)
    }

    /// Returns the leadership of the group. It is advisory; that of a
    /// [`VotedGroup`](crate::VotedGroup::leadership) has fences. See [`crate::leader`].
    pub fn leadership(&self) -> Leadership {
        Leadership::new(self.shared.clone(), self.incarnation, self.machines.leaders.clone())
    }

    /// Returns a topic on which only the leader publishes. Programs have to agree on its name,
    /// and on the name and the codec of its type.
    pub fn leader_topic<T: Message>(&self, name: &str) -> LeaderTopic<T> {
        LeaderTopic::new(name, self.machines.leaders.clone(), &self.source())
    }

    /// Sends a question to the leader, which is the member that leads at the place of the
    /// question. Programs have to agree on the name, and on the names and codecs of the types.
    ///
    /// There is no timeout: call [`wait_timeout`](Pending::wait_timeout) for a deadline. Dropping
    /// the pending result does not withdraw the question. In a group with
    /// [voters](crate::voters), a question that is in the log waits through a minority for its
    /// answer; one that is not fails there with [`Error::NoQuorum`].
    ///
    /// # Errors
    ///
    /// The pending result fails with [`Error::LeaderGone`] if the leader departs before it has
    /// answered, or [`Error::Disconnected`] if this member does: the leader may have executed it.
    /// It fails with [`Error::NoResponders`] if the leader does not
    /// [serve](Group::serve_as_leader) this, [`Error::Busy`] if too many questions wait there,
    /// [`Error::Failed`] if its handler says so, [`Error::TooLarge`] (1 MiB) or
    /// [`Error::Codec`] if it cannot be sent, [`Error::NoRoom`] if the members have no room for
    /// it, and with the errors of [`Replicated::submit`](crate::Replicated::submit).
    pub fn to_leader<Q: Message, A: Message>(&self, name: &str, question: &Q) -> Pending<A> {
        leader::ask(name, question, &self.machines.leaders)
    }

    /// Answers questions to the leader while this member leads: a thread calls `handler` with one
    /// question after the other, until the returned [`LeaderServing`] is dropped: bind it to a name,
    /// not to `_`. All members that can become the leader should call it.
    ///
    /// A question may be handled after the member was deposed: the answer is ignored then, and
    /// the question has failed with [`Error::LeaderGone`].
    ///
    /// # Errors
    ///
    /// [`Error::System`] if no thread can be started.
    pub fn serve_as_leader<Q: Message, A: Message>(
        &self,
        name: &str,
        handler: impl Fn(Q) -> Result<A, String> + Send + 'static,
    ) -> Result<LeaderServing, Error> {
        let Machines { leaders, leader_handlers, .. } = self.machines.clone();
        leader::serve(name, leaders, leader_handlers, handler)
    }

    fn source(&self) -> Source {
        let Group { commands, shared, machines, .. } = self.clone();
        Source::new(commands, shared, machines.services)
    }

    /// Returns a map by its name. Programs have to agree on it, and on the name and the codec
    /// of its values.
    pub fn map<V: Message>(&self, name: &str) -> Map<V> {
        Map::new(name, self.machines.maps.clone())
    }

    /// Returns a mutex by its name. It is advisory; see [`crate::lock`].
    pub fn advisory_lock(&self, name: &str) -> AdvisoryLock {
        AdvisoryLock::new(name, self.machines.locks.clone())
    }

    /// Returns a lock of many readers or one writer by its name. It is advisory; see
    /// [`crate::lock`].
    pub fn advisory_rw_lock(&self, name: &str) -> AdvisoryRwLock {
        AdvisoryRwLock::new(name, self.machines.locks.clone())
    }

    /// Returns a semaphore by its name and its number of permits, at least 1. It is advisory; see
    /// [`crate::lock`]. Programs have to agree on the number: semaphores of one name with
    /// different numbers are different semaphores.
    pub fn advisory_semaphore(&self, name: &str, permits: u32) -> AdvisorySemaphore {
        AdvisorySemaphore::new(name, permits, self.machines.locks.clone())
    }

    /// Returns a barrier by its name. Programs have to agree on the parties: barriers of one
    /// name with different parties are different barriers.
    pub fn barrier(&self, name: &str, parties: Parties) -> Barrier {
        Barrier::new(name, parties, self.machines.barriers.clone())
    }

    /// Returns a sequence of numbers by its name. It is advisory; see [`crate::sequence`].
    pub fn advisory_sequence(&self, name: &str) -> AdvisorySequence {
        AdvisorySequence::new(name, self.machines.sequences.clone())
    }

    /// Begins an audit: the members compare the [digests](crate::StateMachine::digest) of their
    /// state machines at one place. The pending result ends at that place; the
    /// comparison follows. A member whose digest differs from that of the majority gets
    /// [`Event::Diverged`] and leaves the group with [`Error::Diverged`]. Without a majority the
    /// most frequent digest stands, and of equally frequent ones that of the senior member.
    /// Machines without a digest are not compared.
    ///
    /// # Errors
    ///
    /// The pending result fails with the errors of
    /// [`Replicated::submit`](crate::Replicated::submit).
    pub fn audit(&self) -> Pending<()> {
        self.machines.audits.submit(&audit::Step::Begin)
    }

    /// Returns a queue of jobs. Programs have to agree on its name, and on the names and
    /// codecs of its types.
    pub fn work<J: Message, D: Message>(&self, name: &str) -> Work<J, D> {
        Work::new(name, self.machines.work.clone())
    }

    /// Returns a vote on a topic. Programs have to agree on the name and the codec of its type.
    pub fn vote<T: Message>(&self, topic: &T) -> Vote {
        Vote::new(Proposal::new(topic, self.machines.votes.clone()))
    }

    /// Votes on topics of a type: a thread calls `handler` with one topic after the other,
    /// beginning with the open ones, until the returned [`Handling`] is dropped. There is no
    /// ballot if the handler panics, or if 1,024 topics wait for it.
    ///
    /// Bind it to a name, `let _voting = …`: with `let _ = …` it is dropped and votes on nothing.
    ///
    /// # Errors
    ///
    /// [`Error::System`] if no thread can be started; [`Error::Closed`] if the member has left
    /// the group.
    pub fn on_vote<T: Message>(
        &self,
        handler: impl Fn(T, &Asked) -> Ballot + Send + 'static,
    ) -> Result<Handling, Error> {
        vote::on_vote(self.machines.votes.clone(), handler)
    }

    /// Receives results: a thread calls `handler` with each topic of a type that is decided from
    /// now on, until the returned [`Handling`] is dropped. Results are dropped while 1,024 wait
    /// for the handler; [`Handling::dropped`] counts them. Results of the time in which the
    /// member was away are not received either; [`Group::recent_votes`] has them.
    ///
    /// Bind the [`Handling`] to a name, `let _told = …`, not to `_`.
    ///
    /// # Errors
    ///
    /// Those of [`Group::on_vote`].
    pub fn on_vote_result<T: Message>(
        &self,
        handler: impl Fn(T, VoteOutcome) + Send + 'static,
    ) -> Result<Handling, Error> {
        vote::on_vote_result(self.machines.votes.clone(), handler)
    }

    /// Returns the last topics of this type that were decided, the oldest first, as this
    /// member knows them: of the last 256 of the group, and 1 MiB.
    pub fn recent_votes<T: Message>(&self) -> Vec<(T, VoteOutcome)> {
        vote::recent(&self.machines.votes)
    }

    /// Returns an action at a time, to the millisecond, on which the members vote as on a topic
    /// of its type. A time before 1970 is 1970.
    pub fn action<C: Message>(&self, command: &C, time: SystemTime) -> Action {
        Action::new(Proposal::new(command, self.machines.votes.clone()), time)
    }

    /// Does actions of a type: a thread calls `handler` with each action at its time, until the
    /// returned [`Handling`] is dropped. Actions are dropped while 1,024 wait for the handler;
    /// [`Handling::dropped`] counts them.
    ///
    /// Bind the [`Handling`] to a name, `let _acting = …`, not to `_`.
    ///
    /// # Errors
    ///
    /// Those of [`Group::on_vote`].
    pub fn on_action<C: Message>(
        &self,
        handler: impl Fn(C, Due) + Send + 'static,
    ) -> Result<Handling, Error> {
        action::on_action(self.machines.votes.clone(), handler)
    }

    /// Publishes a value to the [reactors](crate::reactor) of the group. Returns as soon as
    /// the message is queued.
    ///
    /// # Errors
    ///
    /// Those of [`Topic::publish`].
    pub fn post<T: Message>(&self, value: &T) -> Result<(), Error> {
        reactor::post_to_reactors(self, value)
    }

    /// Returns the builder of a mesh: commands to the members, and handlers for their commands.
    pub fn mesh(&self) -> MeshBuilder {
        MeshBuilder::new(self)
    }

    /// Returns the registry of services.
    pub fn registry(&self) -> Registry {
        Registry::new(self.clone(), self.machines.registry.clone())
    }

    pub(crate) fn machines(&self) -> &Machines {
        &self.machines
    }

    pub(crate) fn parts(&self) -> (&Commands, &Arc<Shared>) {
        (&self.commands, &self.shared)
    }

    /// Leaves the group. Returns at once: a join that follows may fail with
    /// [`Error::AlreadyJoined`] until the daemon has confirmed it. Pending results end with
    /// [`Error::Closed`], calls with [`Error::Disconnected`]. Messages that were published before
    /// are sent first; without a connection they are dropped. It has no effect if the node has
    /// joined the group again since.
    pub fn leave(&self) {
        self.shared.end();
        let shared = self.shared.clone();
        self.commands.push(move |runner| runner.input_to(&shared, Input::Close));
    }
}
