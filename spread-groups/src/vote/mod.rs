//! Votes of all members on a topic.
//!
//! **Promises.** A vote has one result, which all members decide at one place, as soon as it is
//! certain. The electorate are the members that take part in the replicated state at the place of
//! the proposal. It is fixed there and does not shrink: a member that departs or has no handler
//! still counts. The first ballot of each member counts. The result does not depend on the
//! proposer, which may crash. All members are told
//! ([`Group::on_vote_result`](crate::Group::on_vote_result)). The last 256 results, of 1 MiB of
//! topics, are remembered ([`Group::recent_votes`](crate::Group::recent_votes)).
//!
//! **Sends** one operation for the proposal and one for each ballot. If the time runs out, the
//! senior member sends one more; it measures the time from its own delivery of the proposal, and
//! clocks of two machines are not compared.
//!
//! **A roster change** decides a vote as [unreachable](VoteResult::Unreachable) if so many members
//! departed without a ballot that there cannot be enough yeses. A member that comes back before
//! the decision may still vote. If the senior member departs, the next one measures the time.
//! Newcomers do not vote on what was proposed before.
//!
//! **In a partition** each side goes on with the whole electorate and the ballots from before: it
//! cannot happen that one side decides yes and the other one no. A later proposal has the
//! electorate of its side: two sides may decide it differently, and a member alone on its side decides
//! alone, also by [`Rule::Unanimous`]. **At a merge** the votes of the
//! side that stands remain. A vote that was proposed on the other side only is proposed again by
//! its proposer, if that is still a member, and all members vote on it; a handler may be asked
//! twice. So a result can turn out to be untrue: without voters no result is final.
//!
//! **With [voters](crate::voters)** only the side with a majority decides, and its result is final.
//! A vote that a member has proposed ends with [`Error::NoQuorum`] when that member comes to a
//! minority: the others may decide it, which the member is told at the merge
//! ([`Group::on_vote_result`](crate::Group::on_vote_result)).

mod agenda;
mod ballots;
mod desk;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::codec::{self, CodecError, Message};
use crate::core::fragments;
use crate::desk::{Complete, Desk};
use crate::leader::Revocation;
use crate::machines::random;
use crate::{Error, Pending};
pub(crate) use ballots::{Motion, Votes};
pub use ballots::{Rule, VoteOutcome, VoteResult};
use desk::{Added, Order, Question};

/// The answer of a member to a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ballot {
    /// The member accepts it.
    Yes,
    /// The member rejects it.
    No,
}

/// A vote to be proposed, made by [`Group::vote`](crate::Group::vote).
///
/// ```
/// # let daemon = spread_daemon::Daemon::builder().start()?;
/// # let address = daemon.address();
/// use std::time::Duration;
///
/// use spread::Mailbox;
/// use spread_groups::{Ballot, Node, Rule, VoteResult};
///
/// let node = Node::connect(Mailbox::builder(address))?;
/// let plant = node.group("plant")?.join()?;
/// let voting = plant.on_vote(|topic: String, _| match &*topic {
///     "open the valve" => Ballot::Yes,
///     _ => Ballot::No,
/// })?;
/// let vote = plant.vote(&String::from("open the valve")).rule(Rule::Unanimous);
/// let outcome = vote.within(Duration::from_secs(5)).send().wait()?;
/// assert_eq!(outcome.result, VoteResult::Yes);
/// // Who has not answered, by the names of their connections.
/// let members = plant.members();
/// let missing = members.iter().filter(|member| outcome.missing.contains(&member.session));
/// println!("not heard: {:?}", missing.map(|member| member.name).collect::<Vec<_>>());
/// # drop(voting);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "nothing is sent before `send`"]
pub struct Vote {
    proposal: Proposal,
    within: Duration,
}

impl Vote {
    pub(crate) fn new(proposal: Proposal) -> Vote {
        Vote { proposal, within: WITHIN }
    }

    /// Sets the rule. Defaults to [`Rule::Majority`].
    pub fn rule(mut self, rule: Rule) -> Vote {
        self.proposal.rule = rule;
        self
    }

    /// Limits the time of the vote, by the clock of the senior member, to the millisecond.
    /// Defaults to 10 s.
    pub fn within(mut self, time: Duration) -> Vote {
        self.within = time;
        self
    }

    /// Proposes the topic; returns the result, the counts, and who has not answered.
    ///
    /// # Errors
    ///
    /// The pending result fails with [`Error::NoRoom`] if 256 proposals and actions, or 4 MiB
    /// of them, are open; with [`Error::Codec`], [`Error::TooLarge`] (more than 128 KiB),
    /// [`Error::Full`] (1,024 operations of this member are open), [`Error::Observer`] or
    /// [`Error::System`] if it was not sent; with [`Error::SessionExpired`],
    /// [`Error::JoinFailed`], [`Error::Poisoned`], [`Error::Diverged`] or [`Error::Closed`] if the
    /// others may decide it all the same. In a group with [voters](crate::voters) it fails with
    /// [`Error::NoQuorum`] as soon as this member is told of a minority
    /// ([`Event::Minority`](crate::Event::Minority)), and in a minority as
    /// [`Replicated::submit`](crate::Replicated::submit) does.
    pub fn send(self) -> Pending<VoteOutcome> {
        self.proposal.propose(self.within, None, |outcome, _| outcome)
    }
}

/// The time of a vote, unless another one is given.
const WITHIN: Duration = Duration::from_secs(10);

/// A proposal that is being made.
pub(crate) struct Proposal {
    /// The name of the topic's type.
    topic: &'static str,
    pub(crate) rule: Rule,
    channel: u32,
    payload: Result<Bytes, CodecError>,
    desk: Desk<Votes>,
}

impl std::fmt::Debug for Proposal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Proposal { topic, rule, .. } = self;
        let mut proposal = f.debug_struct("Proposal");
        proposal.field("topic", topic).field("rule", rule).finish_non_exhaustive()
    }
}

impl Proposal {
    pub(crate) fn new<T: Message>(topic: &T, desk: Desk<Votes>) -> Proposal {
        let (channel, payload) = (channel::<T>(), codec::encode(topic));
        Proposal { topic: T::NAME, rule: Rule::Majority, channel, payload, desk }
    }

    /// Submits it; `read` makes the pending result of the outcome, and of whether the time of
    /// an accepted action was past.
    pub(crate) fn propose<R: Send + 'static>(
        self,
        within: Duration,
        at: Option<u64>,
        read: impl FnOnce(VoteOutcome, bool) -> R + Send + 'static,
    ) -> Pending<R> {
        let payload = match self.payload {
            Ok(payload) if payload.len() > fragments::FRAGMENT => {
                let (len, max) = (payload.len(), fragments::FRAGMENT);
                return Pending::failed(Error::TooLarge { len, max });
            }
            Ok(payload) => payload.to_vec(),
            Err(error) => return Pending::failed(error.into()),
        };
        let ticket = match random() {
            Ok(ticket) => ticket,
            Err(error) => return Pending::failed(error),
        };
        let within = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        let motion = Motion { channel: self.channel, payload, rule: self.rule, within, at };
        let (complete, pending) = Pending::new();
        let complete = Arc::new(Mutex::new(Some(complete)));
        let take = |of: &Mutex<Option<_>>| of.lock().unwrap_or_else(PoisonError::into_inner).take();
        // In a minority it is decided without this member, or not at all.
        let (doubt, doubtful) = (Arc::new(Revocation::default()), complete.clone());
        doubt.when_revoked(move || {
            if let Some(complete) = take(&doubtful) {
                complete(Err(Error::NoQuorum { may_have_executed: true }));
            }
        });
        self.desk.machine().revoke_in_minority(&doubt);
        let complete: Complete<_> = Box::new(move |end| {
            drop(doubt);
            if let Some(complete) = take(&complete) {
                complete(end.map(|(outcome, missed)| read(outcome, missed)));
            }
        });
        pending.of_operation(self.desk.submit(ticket, motion, complete))
    }
}

/// A proposal as its voters see it, besides the topic.
#[derive(Clone, Debug)]
pub struct Asked {
    question: Question,
}

impl Asked {
    /// Returns the rule.
    pub fn rule(&self) -> Rule {
        self.question.motion.rule
    }

    /// Returns the number of members that have a vote.
    pub fn electorate(&self) -> usize {
        self.question.electorate
    }

    /// Returns the [session](crate::Member::session) of the proposer.
    pub fn proposer(&self) -> u32 {
        self.question.proposer
    }

    /// Returns the time of the action, if it is an [action](crate::action).
    pub fn action_at(&self) -> Option<SystemTime> {
        self.question.motion.at.map(time)
    }
}

/// A handler of votes or actions, which ends when this is dropped.
#[derive(Debug)]
#[must_use = "dropping it ends the handler"]
pub struct Handling {
    number: u64,
    desk: Desk<Votes>,
    dropped: Arc<AtomicU64>,
}

impl Handling {
    /// Returns the number of topics, results or actions that were dropped, because 1,024 waited
    /// for the handler. For an accepted action that this member did not do there is no other
    /// sign.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl Drop for Handling {
    fn drop(&mut self) {
        desk::remove(&self.desk, self.number);
    }
}

/// Starts a thread that votes on all topics of a type.
pub(crate) fn on_vote<T: Message>(
    desk: Desk<Votes>,
    handler: impl Fn(T, &Asked) -> Ballot + Send + 'static,
) -> Result<Handling, Error> {
    let added = desk::add_voter(&desk, channel::<T>())?;
    let near = desk.clone();
    handle(added, desk, move |question: Question| {
        // There is no ballot for a topic that this program cannot read.
        if let Ok(topic) = codec::decode(&question.motion.payload) {
            let ticket = question.ticket;
            let ballot = handler(topic, &Asked { question });
            desk::ballot(&near, ticket, ballot == Ballot::Yes);
        }
    })
}

/// Starts a thread that handles the results of all votes on topics of a type.
pub(crate) fn on_vote_result<T: Message>(
    desk: Desk<Votes>,
    handler: impl Fn(T, VoteOutcome) + Send + 'static,
) -> Result<Handling, Error> {
    let added = desk::add_listener(&desk, channel::<T>())?;
    handle(added, desk, move |decided: ballots::Decided| {
        if let Ok(topic) = codec::decode(&decided.motion.payload) {
            handler(topic, decided.outcome);
        }
    })
}

/// Starts a thread that does all actions of a type.
pub(crate) fn on_order<T: Message>(
    desk: Desk<Votes>,
    handler: impl Fn(T, SystemTime, bool) + Send + 'static,
) -> Result<Handling, Error> {
    let added = desk::add_actor(&desk, channel::<T>())?;
    handle(added, desk, move |Order { motion, missed }: Order| {
        if let (Ok(command), Some(at)) = (codec::decode(&motion.payload), motion.at) {
            handler(command, time(at), missed);
        }
    })
}

/// Starts the thread of a handler, which ends when the desk drops the other end.
fn handle<E: Send + 'static>(
    added: Added<E>,
    desk: Desk<Votes>,
    handler: impl Fn(E) + Send + 'static,
) -> Result<Handling, Error> {
    let Added { number, events, dropped } = added;
    let handling = Handling { number, desk, dropped };
    let thread = thread::Builder::new().name(String::from("spread-groups-vote"));
    let started = thread.spawn(move || {
        for event in events {
            // The panic hook has reported a panic. A voter gives no ballot then; the handler
            // itself has to check state that it shares.
            drop(catch_unwind(AssertUnwindSafe(|| handler(event))));
        }
    });
    started.map_err(|error| Error::System(Arc::new(error)))?;
    Ok(handling)
}

/// Returns the last results on topics of a type that can be read, the oldest first.
pub(crate) fn recent<T: Message>(desk: &Desk<Votes>) -> Vec<(T, VoteOutcome)> {
    desk.machine().read(|votes| {
        let of_type = votes.all_decided().iter().filter(|of| of.motion.channel == channel::<T>());
        let read = |of: &ballots::Decided| {
            Some((codec::decode(&of.motion.payload).ok()?, of.outcome.clone()))
        };
        of_type.filter_map(read).collect()
    })
}

fn channel<T: Message>() -> u32 {
    codec::channel::<T>("vote", "")
}

/// Returns the time of so many milliseconds since 1970.
fn time(millis: u64) -> SystemTime {
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis));
    time.unwrap_or(SystemTime::UNIX_EPOCH)
}
