//! Groups with voters: what a majority has is committed, and nothing else is applied.
//!
//! It is the view change of Viewstamped Replication, with the order of a view in the place
//! of a primary. The numbers of Forms are its view numbers. A log is told by its *label*: the
//! number of the Form under which it was written, and its length. In front of both stands the number
//! of the last Form that an operator has forced: without it nobody goes on where it is known.
//!
//! 1. With its Hello a voter ends what it was in: it logs and acknowledges nothing more there.
//!    The Hello tells the label of its log, and the highest number that it has accepted.
//! 2. A member sends a Form with its log as the *base*, if by that log a majority of the voters
//!    said Hello whose own logs are not beyond it. Those with the greatest label are first. Others
//!    follow, because only some members may have logged a change of the voters after which those
//!    here are no majority; it cannot have been committed then. The Form's number is above all numbers
//!    of the Hellos.
//! 3. A voter accepts a Form only if its number is above all that it has accepted, if the Form
//!    counts its Hello, and if its own log is not beyond the base. It says so with Accept.
//! 4. The Form stands where the Accepts of a majority have been delivered before any signal.
//!    From here on logs have its number. Any view or signal before voids it; numbers that
//!    were accepted stay so.
//! 5. Under a Form that stands each operation gets the next index. Voters that have the log
//!    say up to which index, with Acknowledge. What a majority has acknowledged under the Form
//!    that stands is committed, and all before it; then it is applied and answered.
//!
//! Why nothing that is committed gets lost: a majority has acknowledged it under a number, and
//! a majority accepts each later Form, so there is a voter in both. It has acknowledged
//! before it accepted, since it acknowledges nothing under a lower number later, and not
//! between its Hello and its Accept. So the label in its Hello covers what it acknowledged, and
//! the base is not less. Where the voters were changed in between, those before the change and
//! those after it have each committed it by a majority, and a base without it is less than the
//! logs of the former. Two logs with one number begin alike and have the order of one view,
//! because a majority accepts a number once; so the longer has all that the shorter has.
//!
//! The number of a log must not change before the majority has accepted, not even that of the
//! base. A voter that took the number of a Form that it alone has seen could carry a log that
//! nobody else has, under a number that others form with another log; with the greater label
//! of the two it would undo what they have committed. The simulation shows it
//! (`a_log_takes_a_number_where_a_majority_has_accepted_it`).
//!
//! | module | what it is |
//! |---|---|
//! | [`voters`] | who votes: majorities, and changes of them as operations of the log |
//! | [`log`] | what is logged and not committed; acknowledgements |
//! | [`standing`] | what a member is told |
//! | `ballot` | the exchange: whose majority is there, Form, Accept |
//! | `commit` | Acknowledge, and what is committed; voters that are replaced |

pub(crate) mod log;
pub(crate) mod standing;
pub(crate) mod voters;

pub(crate) mod ballot;
mod commit;

use std::time::Duration;

use super::history::History;
#[cfg(test)]
use super::roster::Incarnation;
use super::{Core, Holdings};
use log::{Acknowledged, Tail};
use voters::{Chain, Configured, VoterChange};

/// What a member knows of the voters of its group.
#[derive(Debug)]
pub(crate) struct Voting {
    configured: Configured,
    /// The highest number of a Form that this member has accepted, or that stood.
    accepted: u64,
    /// The highest number of a Form that this member has sent. It may stand for others only, and
    /// must not be given to another one.
    sent: u64,
    /// The voters by the log of the Form that stands, or stood last.
    pub(crate) chain: Chain,
    /// What this member has logged and not applied.
    pub(crate) tail: Tail,
    /// Under the Form that stands.
    acknowledged: Acknowledged,
    /// The index that this member has acknowledged under it.
    own: u64,
    /// Whether that is on its way.
    under_way: bool,
    /// The index up to which the log is known to be committed under it.
    committed: u64,
    /// Whether this member was ever told of a Form that stood.
    stood: bool,
    /// The last change of the voters that this member has submitted.
    proposed: Option<VoterChange>,
    /// Since when no Form stands here; `None` under one, and before the first.
    without: Option<Duration>,
    /// Whether those who wait were told of that.
    pub(super) given_up: bool,
    /// On which side the application was told that this member is.
    told: Option<standing::Side>,
    /// Whether an operator wants a Form of those who are there, in this exchange.
    pub(crate) force: bool,
    /// Why what an operator wanted last was refused.
    unforced: Option<standing::Unforced>,
    /// The number that the log takes without a majority.
    #[cfg(test)]
    early_number: Option<u64>,
}

impl Voting {
    pub(crate) fn new(configured: Configured) -> Voting {
        Voting {
            configured,
            accepted: 0,
            sent: 0,
            chain: Chain::default(),
            tail: Tail::default(),
            acknowledged: Acknowledged::default(),
            own: 0,
            under_way: false,
            committed: 0,
            stood: false,
            proposed: None,
            without: None,
            given_up: false,
            told: None,
            force: false,
            unforced: None,
            #[cfg(test)]
            early_number: None,
        }
    }

    /// Begins to log under a Form. Whatever becomes of its log, later ones have greater numbers.
    pub(crate) fn begin(&mut self, chain: Chain, number: u64) {
        self.chain = chain;
        self.accepted = self.accepted.max(number);
        self.acknowledged.clear();
        (self.own, self.under_way, self.committed) = (0, false, 0);
        (self.stood, self.proposed) = (true, None);
        (self.without, self.given_up) = (None, false);
        #[cfg(test)]
        {
            self.early_number = None;
        }
    }
}

impl Core {
    /// Returns where the log is that this member has.
    fn held_history(&self) -> Option<&History> {
        match &self.holdings {
            Holdings::Current => Some(&self.roster.history),
            Holdings::Kept { roster, .. } => Some(&roster.history),
            Holdings::Nothing => None,
        }
    }

    /// Returns the voters by the log that this member has.
    fn held_chain(&self) -> Option<&Chain> {
        match &self.holdings {
            Holdings::Current => self.voting.as_ref().map(|voting| &voting.chain),
            Holdings::Kept { voters, .. } => Some(voters),
            Holdings::Nothing => None,
        }
    }

    /// Returns the log that this member has, and the voters by it.
    #[cfg(test)]
    pub(crate) fn held_log(&self) -> Option<(&History, &Chain)> {
        Some((self.held_history()?, self.held_chain()?))
    }

    /// Returns which founding the log goes back to that this member has, and whether it votes by that
    /// log.
    #[cfg(test)]
    pub(crate) fn held_group(&self) -> Option<(u64, bool)> {
        let votes = self.held_chain().is_some_and(|chain| self.own_vote(chain).is_some());
        Some((self.held_history()?.founded(), votes))
    }

    #[cfg(test)]
    pub(crate) fn incarnation(&self) -> Incarnation {
        self.config.incarnation
    }

    /// Returns whether this member is an incarnation.
    #[cfg(test)]
    pub(crate) fn is(&self, incarnation: Incarnation) -> bool {
        self.config.incarnation == incarnation
    }
}
