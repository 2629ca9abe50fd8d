//! Actions that all members do at one time, if they agree.
//!
//! **Promises.** An action is a [vote] with a time. If the vote decides yes before that time,
//! every member does the action when its own clock shows the time; otherwise no member does. The
//! place of the decision tells for all members whether the time is past: it is compared with the
//! time of the order, which is the latest that any operation was stamped with by its sender. So
//! all members agree whether an action was [missed](ActionResult::Missed). The members do it as
//! far apart as their clocks are. A member whose clock is ahead may learn of the decision after
//! the time: it does the action at once, and its handler is told [how late](Due::Now).
//!
//! **Sends** the operations of the vote; nothing is sent for the execution. The time runs by the
//! monotonic clock from the moment at which a member learns of the decision: setting the clock
//! afterwards has no effect.
//!
//! **A roster change** has no effect on an action that was decided. A newcomer, or a node that
//! reconnects, does the action if it has the state before the time, and not afterwards. A node
//! without a connection does it if it learned of the decision before. A member does an action at
//! most once: it remembers the last 4,096.
//!
//! **In a partition** both sides do what was decided before; for the rest see [votes](vote).
//! **At a merge** members that have not done an action yet which only the other side decided do
//! not do it. It is voted on again, and missed if its time is past by then.

use std::time::{Duration, SystemTime};

use crate::codec::Message;
use crate::desk::Desk;
use crate::vote::{self, Handling, Proposal, Rule, VoteOutcome, VoteResult, Votes};
use crate::{Error, Pending};

/// The outcome of an action, the same at all members.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ActionResult {
    /// It was accepted, and all members do it at its time.
    Accepted,
    /// It was accepted after its time; no member does it.
    Missed,
    /// It was not accepted, with this outcome of the vote.
    Rejected(VoteOutcome),
}

/// What the handler of an action has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Due {
    /// Do it now.
    Now {
        /// The time since the time of the action, by the clock of this machine.
        late: Duration,
    },
    /// Nothing: it was accepted after its time, and no member does it.
    Missed,
}

/// An action to be proposed, made by [`Group::action`](crate::Group::action).
///
/// ```
/// # let daemon = spread_daemon::Daemon::builder().start()?;
/// # let address = daemon.address();
/// use std::sync::mpsc::channel;
/// use std::time::{Duration, SystemTime};
///
/// use spread::Mailbox;
/// use spread_groups::{ActionResult, Ballot, Due, Node};
///
/// let node = Node::connect(Mailbox::builder(address))?;
/// let plant = node.group("plant")?.join()?;
/// let (done, valves) = channel();
/// let voting = plant.on_vote(|_: String, _| Ballot::Yes)?;
/// let acting = plant.on_action(move |valve: String, due| match due {
///     Due::Now { .. } => drop(done.send(valve)),
///     _ => println!("too late for {valve}"),
/// })?;
/// let soon = SystemTime::now() + Duration::from_millis(500);
/// let action = plant.action(&String::from("valve 3"), soon).send();
/// assert_eq!(action.wait()?, ActionResult::Accepted);
/// assert_eq!(valves.recv()?, "valve 3");
/// # drop((voting, acting));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "nothing is sent before `send`"]
pub struct Action {
    proposal: Proposal,
    time: SystemTime,
    within: Option<Duration>,
}

impl Action {
    pub(crate) fn new(proposal: Proposal, time: SystemTime) -> Action {
        Action { proposal, time, within: None }
    }

    /// Sets the rule. Defaults to [`Rule::Majority`].
    pub fn rule(mut self, rule: Rule) -> Action {
        self.proposal.rule = rule;
        self
    }

    /// Limits the time of the vote. Defaults to the time that is left until the action, by
    /// the clock of this machine. For an action in the past that is none: the vote is most
    /// often [rejected](ActionResult::Rejected) as expired.
    pub fn within(mut self, time: Duration) -> Action {
        self.within = Some(time);
        self
    }

    /// Proposes the action.
    ///
    /// # Errors
    ///
    /// The pending result fails with the errors of [`Vote::send`](crate::Vote::send).
    pub fn send(self) -> Pending<ActionResult> {
        let Action { proposal, time, within } = self;
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let at = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let left = || time.duration_since(SystemTime::now()).unwrap_or_default();
        let within = within.unwrap_or_else(left);
        proposal.propose(within, Some(at), |outcome, missed| match outcome.result {
            VoteResult::Yes if missed => ActionResult::Missed,
            VoteResult::Yes => ActionResult::Accepted,
            _ => ActionResult::Rejected(outcome),
        })
    }
}

pub(crate) fn on_action<C: Message>(
    desk: Desk<Votes>,
    handler: impl Fn(C, Due) + Send + 'static,
) -> Result<Handling, Error> {
    vote::on_order(desk, move |command, at, missed| {
        let late = || SystemTime::now().duration_since(at).unwrap_or_default();
        handler(command, if missed { Due::Missed } else { Due::Now { late: late() } });
    })
}
