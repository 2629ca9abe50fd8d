//! Exchanges in a group with voters: whose majority is there, Form and Accept.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use spread::Name;

use super::standing::Unforced;
use super::voters::{Chain, Configured, Voter, Voters};
use crate::core::envelope::{Accept, Candidate, Form, Frame, Hello, Holding};
use crate::core::exchange::Exchange;
use crate::core::history::History;
use crate::core::roster::{Change, Departure, Incarnation, Member};
use crate::core::{Core, Event, Failure, Output, Phase};

/// How long a member waits in an exchange for a Form that stands, in waits for a Hello.
const PATIENCE: u32 = 3;
/// How often the time doubles for which Accepts are waited for.
const MAX_DOUBLINGS: u32 = 5;
/// How far the number of a forced Form is above the others: beyond those that a majority
/// elsewhere comes to meanwhile.
const FORCED: u64 = 1 << 20;

/// A Form that does not stand yet.
#[derive(Clone, Debug)]
pub(crate) struct Proposal {
    pub(crate) author: Name,
    pub(crate) form: Form,
    accepted: BTreeSet<Incarnation>,
}

impl Core {
    /// Returns what a Hello tells of this member's vote; `None` in a group without voters.
    pub(crate) fn candidate(&self) -> Option<Candidate> {
        let voting = self.voting.as_ref()?;
        Some(Candidate {
            configured: voting.configured.hash(),
            voter: voting.configured.own.clone().unwrap_or_default(),
            accepted: voting.accepted.max(voting.sent),
            votes: self.held_chain().is_some_and(|chain| self.own_vote(chain).is_some()),
        })
    }

    /// Returns when this member is to send a Form; `None` if it is not to. From the second Form
    /// of an exchange on each waits twice as long as the one before: a voter may accept later than
    /// the first of them waits, and its Accept counts for the last Form only.
    pub(crate) fn ballot_due(&self, exchange: &Exchange) -> Option<Duration> {
        let me = self.me?;
        let rank = exchange.rank(me)?;
        self.electorate(exchange)?;
        let first = !exchange.formed && exchange.proposal.is_none();
        if rank == 0 && first && self.have_all_said_hello(exchange) {
            return Some(exchange.began);
        }
        let turns = u32::try_from(rank).unwrap_or(u32::MAX).saturating_add(1);
        let doublings = exchange.proposals.saturating_sub(1).min(MAX_DOUBLINGS);
        let wait = self.config.exchange_wait.saturating_mul(1 << doublings);
        Some(exchange.since + wait.saturating_mul(turns))
    }

    /// Returns the voters of the Form that this member may send: those of the log that it has,
    /// or those that found the group, if a majority of them is there; and whether an operator
    /// has chosen them.
    pub(crate) fn electorate(&self, exchange: &Exchange) -> Option<(Chain, bool)> {
        let voting = self.voting.as_ref()?;
        if exchange.base().is_none() {
            return Some((Chain::new(exchange.founders(&voting.configured)?), false));
        }
        if self.is_divided(exchange) {
            return None;
        }
        let chain = self.held_chain()?;
        let may_form = self.may_have_a_majority(exchange);
        #[cfg(test)]
        let may_form = may_form || self.breaks(crate::core::Broken::FormsInMinorities);
        if may_form {
            return Some((chain.clone(), false));
        }
        let chosen = exchange.those_there(chain.last()?, self.forced_step());
        let has_newest = exchange.base() == self.held_history();
        let chosen = chosen.filter(|_| voting.force && has_newest);
        chosen.map(|voters| (Chain::new(voters), true))
    }

    /// Returns whether a majority of the voters by the log of this member has said Hello and may
    /// accept a Form with it, which may take them long.
    pub(super) fn may_have_a_majority(&self, exchange: &Exchange) -> bool {
        let (Some(chain), Some(log)) = (self.held_chain(), self.held_history()) else {
            return false;
        };
        // Otherwise nobody goes on with it.
        let is_forced = exchange.base().map(History::forced) == Some(log.forced());
        is_forced && chain.is_majority(|voter| self.may_follow(exchange, voter, log))
    }

    /// Returns whether this view has voters of groups that were founded separately. Then nothing
    /// forms.
    fn is_divided(&self, exchange: &Exchange) -> bool {
        #[cfg(test)]
        if self.breaks(crate::core::Broken::MixesGroups) {
            return false;
        }
        exchange.is_divided()
    }

    /// Returns whether all members of the view know, at this place of the order, that a Form must
    /// not stand: there are voters of two groups, or somebody has said Hello, of whom its author did
    /// not know yet, who has a state where it founds the group, or has a later forced Form, or a
    /// newer log where the Form is forced.
    fn is_void(&self, form: &Form) -> bool {
        let Phase::Exchanging(exchange) = &self.phase else {
            return true;
        };
        let forced = |history: &History| history.forced();
        let base = form.base.as_ref().map(|base| &base.history);
        let (known, newest) = (base.map(forced), exchange.base());
        // What an operator forces is the newest log of those here.
        let is_old = |base| newest.is_some_and(|newest| newest.is_beyond(base));
        let is_overtaken = form.forced && base.is_some_and(is_old);
        self.is_divided(exchange) || known < newest.map(forced) || is_overtaken
    }

    /// Takes note that this member sends a Form.
    pub(crate) fn sends(&mut self, form: &Form) {
        self.voting.iter_mut().for_each(|voting| voting.sent = voting.sent.max(form.epoch));
    }

    fn may_follow(&self, exchange: &Exchange, voter: Incarnation, log: &History) -> bool {
        #[cfg(test)]
        if self.breaks(crate::core::Broken::CountsNames)
            && let Some(chain) = self.held_chain()
        {
            return exchange.hellos().any(|(_, hello)| hello.voter_in(chain) == Some(voter));
        }
        #[cfg(test)]
        if self.breaks(crate::core::Broken::TakesTheLargestSide) {
            return exchange.has(voter);
        }
        exchange.may_follow(voter, log)
    }

    /// Returns the number of the Form that this member may send.
    pub(crate) fn ballot(&self, exchange: &Exchange, forced: bool) -> u64 {
        #[cfg(test)]
        if self.breaks(crate::core::Broken::NumbersAboveTheBase) {
            return exchange.base().map_or(0, History::epoch) + 1;
        }
        let pending = exchange.proposal.as_ref().map_or(0, |proposal| proposal.form.epoch);
        let above = exchange.next_epoch().max(pending.saturating_add(1));
        above.saturating_add(if forced { self.forced_step() } else { 0 })
    }

    /// Returns how far a primary that is forced here is above the others. The incarnation makes two
    /// of two sides differ, most likely.
    fn forced_step(&self) -> u64 {
        let [one, other, ..] = self.config.incarnation.0;
        FORCED + u64::from(u16::from_be_bytes([one, other]))
    }

    /// Takes a Form, which stands if a majority accepts it.
    pub(crate) fn propose(&mut self, now: Duration, author: Name, form: Form) {
        let Phase::Exchanging(exchange) = &mut self.phase else {
            return;
        };
        if exchange.proposal.as_ref().is_some_and(|known| known.form.epoch >= form.epoch) {
            return self.counters.stale += 1;
        }
        let (id, number) = (exchange.id, form.epoch);
        exchange.since = now;
        exchange.proposals = exchange.proposals.saturating_add(1);
        let proposal = Proposal { author, form: form.clone(), accepted: BTreeSet::new() };
        exchange.proposal = Some(Box::new(proposal));
        if self.accepts(&form)
            && let Some(voting) = &mut self.voting
        {
            voting.accepted = number;
            #[cfg(test)]
            self.take_number(form.base.as_ref().map(|base| &base.history), number);
            self.multicast(Frame::Accept(Accept { exchange: id, number }).encode());
        }
        #[cfg(test)]
        if self.breaks(crate::core::Broken::StandsAtTheForm) {
            self.stand(now, author, form);
        }
    }

    /// Takes note of the number that the log of this member takes already, if that is the base.
    #[cfg(test)]
    fn take_number(&mut self, base: Option<&History>, number: u64) {
        let takes = self.breaks(crate::core::Broken::TakesTheNumberAtTheForm);
        if takes && base.is_some() && self.held_history() == base {
            self.voting.iter_mut().for_each(|voting| voting.early_number = Some(number));
        }
    }

    /// Gives the log of this member its number, before the next Hello tells it.
    #[cfg(test)]
    pub(crate) fn number_early(&mut self) {
        let number = self.voting.as_mut().and_then(|voting| voting.early_number.take());
        let history = match &mut self.holdings {
            crate::core::Holdings::Kept { roster, .. } => &mut roster.history,
            _ => &mut self.roster.history,
        };
        number.into_iter().for_each(|number| history.renumber(number));
    }

    /// Returns whether this member is a voter that accepts a Form.
    fn accepts(&self, form: &Form) -> bool {
        let Some(voting) = self.voting.as_ref().filter(|_| !self.is_void(form)) else {
            return false;
        };
        let covers = match (self.held_history(), &form.base) {
            (Some(own), Some(base)) => !own.is_beyond(&base.history),
            (own, _) => own.is_none(),
        };
        let above = form.epoch > voting.accepted;
        #[cfg(test)]
        let (covers, above) = match self.config.broken {
            Some(crate::core::Broken::NumbersAboveTheBase) => (covers, true),
            Some(crate::core::Broken::TakesTheLargestSide) => (true, above),
            _ => (covers, above),
        };
        let said = self.me.is_some_and(|me| form.said.contains(&me));
        above && covers && said && self.own_vote(&form.voters).is_some()
    }

    /// Returns the voter that this member is.
    pub(crate) fn own_vote(&self, chain: &Chain) -> Option<Incarnation> {
        #[cfg(test)]
        if self.breaks(crate::core::Broken::CountsNames) {
            let own = self.voting.as_ref()?.configured.own.as_ref()?;
            return Some(chain.last()?.get(own)?.incarnation);
        }
        Some(self.config.incarnation).filter(|own| chain.has(*own))
    }

    /// Takes the Accept of a voter. Where they are a majority, the Form stands.
    pub(crate) fn accepted(&mut self, now: Duration, from: Name, accept: Accept) {
        let Phase::Exchanging(exchange) = &mut self.phase else {
            return self.counters.stale += 1;
        };
        let said = exchange.hello(from).cloned();
        let (true, Some(hello), Some(proposal)) =
            (accept.exchange == exchange.id, said, &mut exchange.proposal)
        else {
            return self.counters.stale += 1;
        };
        let form = &proposal.form;
        if accept.number != form.epoch || !form.said.contains(&from) {
            return self.counters.stale += 1;
        }
        let voter = hello.incarnation;
        #[cfg(test)]
        let voter = match self.config.broken {
            Some(crate::core::Broken::CountsNames) => hello.voter_in(&form.voters).unwrap_or(voter),
            _ => voter,
        };
        proposal.accepted.insert(voter);
        let stands = form.voters.is_majority(|voter| proposal.accepted.contains(&voter));
        #[cfg(test)]
        let stands = stands || self.config.broken == Some(crate::core::Broken::FormsInMinorities);
        let (author, form) = (proposal.author, proposal.form.clone());
        // Somebody may have said Hello since.
        if stands && !self.is_void(&form) {
            self.stand(now, author, form);
        }
    }

    /// Returns when those who wait are told that there is no majority; `None` if it has been time.
    pub(crate) fn patience(&self) -> Option<Duration> {
        let voting = self.voting.as_ref()?;
        let exchange = match &self.phase {
            Phase::Exchanging(exchange) => Some(exchange.began).filter(|_| !exchange.waited),
            Phase::Out | Phase::Transitional => None,
            Phase::Formed(_) | Phase::Closed => return None,
        };
        let without = voting.without.filter(|_| !voting.given_up);
        let since = exchange.into_iter().chain(without).min()?;
        Some(since + self.config.exchange_wait.saturating_mul(PATIENCE))
    }

    /// Ends the requests of a member that has been without a Form for too long: because of a view
    /// without a majority, or of a connection that is lost or comes to nothing. A member that waits
    /// for the group to be founded may hear later that there is one.
    pub(crate) fn give_up(&mut self, now: Duration) {
        if self.voting.is_none() || matches!(self.phase, Phase::Formed(_) | Phase::Closed) {
            return;
        }
        let patience = self.config.exchange_wait.saturating_mul(PATIENCE);
        if let Phase::Exchanging(exchange) = &mut self.phase {
            exchange.waited |= exchange.began + patience <= now;
        }
        let is_stopped = self.is_without_quorum();
        if let Some(voting) = self.voting.as_mut().filter(|voting| !voting.given_up) {
            let is_late = voting.without.is_some_and(|since| since + patience <= now);
            if is_late || is_stopped {
                voting.given_up = true;
                for (id, may_have_executed) in self.requests.lose_patience() {
                    let failure = Failure::NoQuorum { may_have_executed };
                    self.out(Output::Done(id, Err(failure)));
                }
            }
        }
        if let Phase::Exchanging(exchange) = &mut self.phase
            && is_stopped
            && !std::mem::replace(&mut exchange.told, true)
        {
            self.tell_who_is_here();
        }
    }

    /// Takes note that no Form stands here. While the group is not founded that is waited for, as
    /// long as there is a connection.
    pub(crate) fn is_without_form(&mut self, now: Duration) {
        let Some(voting) = &mut self.voting else {
            return;
        };
        if voting.stood || self.me.is_none() {
            voting.without.get_or_insert(now);
        } else if voting.without.take().is_some() {
            voting.given_up = false;
        }
    }

    /// Tells the application who of the roster is on this side. The roster itself changes where
    /// there is a majority only.
    fn tell_who_is_here(&mut self) {
        let (members, gone): (Vec<Member>, Vec<Member>) = self
            .roster
            .members()
            .iter()
            .cloned()
            .partition(|member| self.view.members.contains(&member.name));
        let departed = gone.iter().map(|Member { session, .. }| {
            let cause = self.gone.get(session).copied().unwrap_or(Departure::Parted);
            Change::Departed { session: *session, cause }
        });
        let changes = departed.collect();
        self.out(Output::Event(Event::Roster { members, changes }));
    }

    /// Returns whether a group that there was has no majority here. A group that is yet to be
    /// founded is waited for.
    pub(crate) fn is_without_quorum(&self) -> bool {
        let Phase::Exchanging(exchange) = &self.phase else {
            return false;
        };
        let stood = self.voting.as_ref().is_some_and(|voting| voting.stood);
        exchange.waited && (stood || exchange.base().is_some())
    }

    /// Returns whether a late Hello tells what the Form that stands did not know: a higher number,
    /// or a voter of a group that was founded separately.
    pub(crate) fn overlooks(&self, hello: &Hello) -> bool {
        let history = &self.roster.history;
        let divides = hello.votes() && hello.history.founded() != history.founded();
        #[cfg(test)]
        let divides = divides && !self.breaks(crate::core::Broken::MixesGroups);
        self.voting.is_some() && (divides || hello.accepted() > history.epoch())
    }

    /// Raises the number that the next Form is above to that of a late Hello, so that who is late
    /// again does not hold up the others again.
    pub(crate) fn learn_number(&mut self, hello: &Hello) {
        if let Some(voting) = &mut self.voting {
            voting.accepted = voting.accepted.max(hello.accepted());
        }
    }

    /// Returns whether this member is configured with the voters of the group that it comes to: the
    /// present ones, or those that one of these is configured with.
    pub(crate) fn is_configured_for(&self, exchange: &Exchange, form: &Form) -> bool {
        let (Some(voting), Some(present)) = (&self.voting, form.voters.last()) else {
            return true;
        };
        let own = voting.configured.hash();
        let as_a_voter = exchange.hellos().any(|(_, hello)| {
            let configured = hello.candidate.as_ref().map(|candidate| candidate.configured);
            form.voters.has(hello.incarnation) && configured == Some(own)
        });
        // Their weights may have been changed.
        as_a_voter || present.iter().map(|(name, _)| name).eq(voting.configured.voters.keys())
    }

    /// Returns whether the voters in the roster are no majority without these sessions.
    pub(crate) fn loses_quorum(&self, gone: &[u32]) -> bool {
        let Some(voting) = &self.voting else {
            return false;
        };
        let stays = |voter: Incarnation| {
            let member = self.roster.by_incarnation(voter);
            member.is_some_and(|member| !gone.contains(&member.session))
        };
        !voting.chain.is_majority(stays)
    }

    /// Forms the group with those who are there, whatever became of the others, if this member
    /// has the log that is to stand.
    pub(crate) fn force_primary(&mut self) {
        let refusal = self.refuses_to_force();
        if let Some(voting) = &mut self.voting {
            (voting.force, voting.unforced) = (refusal.is_none(), refusal);
        }
    }

    fn refuses_to_force(&self) -> Option<Unforced> {
        let Phase::Exchanging(exchange) = &self.phase else {
            return Some(Unforced::NotStopped);
        };
        if exchange.waited && exchange.base().is_none() {
            return Some(Unforced::NoState);
        }
        if !self.is_without_quorum() {
            return Some(Unforced::NotStopped);
        }
        if self.is_divided(exchange) {
            return Some(Unforced::OtherGroup);
        }
        if self.may_have_a_majority(exchange) {
            return Some(Unforced::NotStopped);
        }
        if exchange.base() != self.held_history() {
            return Some(Unforced::OtherLog);
        }
        let voters = self.held_chain().and_then(Chain::last);
        let there = voters.and_then(|voters| exchange.those_there(voters, 1));
        there.is_none().then_some(Unforced::NoVoter)
    }

    /// Returns what became of a primary that was to be forced; `None` if that is not known yet.
    pub(crate) fn forced(&self) -> Option<Result<(), Unforced>> {
        let voting = self.voting.as_ref()?;
        match (&self.phase, voting.unforced) {
            (_, Some(why)) => Some(Err(why)),
            // Somebody may have said Hello since, with a later log or of another group.
            (Phase::Exchanging(_), None) if voting.force => {
                self.refuses_to_force().filter(|why| *why != Unforced::NotStopped).map(Err)
            }
            (Phase::Formed(_), None) if voting.force => Some(Ok(())),
            _ => Some(Err(Unforced::Interrupted)),
        }
    }
}

impl Exchange {
    /// Returns the voters that found the group, if all of them are there, without a state and
    /// with one configuration.
    fn founders(&self, configured: &Configured) -> Option<Voters> {
        let founder = |(name, weight): (&String, &u32)| {
            let incarnation = self.founder(configured, name)?;
            Some((name.clone(), Voter { incarnation, weight: *weight }))
        };
        let founders = configured.voters.iter().map(founder).collect::<Option<BTreeMap<_, _>>>();
        founders.map(|by_name| Voters::new(by_name, 1))
    }

    /// Returns the node that goes by the name of a voter, if it is one that can found the group: the
    /// only one of the name, without a state and with the same configuration.
    pub(super) fn founder(&self, configured: &Configured, name: &str) -> Option<Incarnation> {
        let mut all = self.hellos().filter(|(_, hello)| hello.is_voter(name));
        let ((_, hello), None) = (all.next()?, all.next()) else {
            return None;
        };
        let same = hello.candidate.as_ref()?.configured == configured.hash();
        let empty = hello.holding == Holding::Nothing && !hello.observer;
        (same && empty).then_some(hello.incarnation)
    }

    /// Returns the voters that are there, and in the place of those who are not the nodes
    /// that go by their names; `None` if there are none. Their version is so far above the others'
    /// that no change for the voters of another side fits.
    fn those_there(&self, voters: &Voters, step: u64) -> Option<Voters> {
        let there = |(name, voter): (&str, Voter)| {
            let known = self.has(voter.incarnation).then_some(voter.incarnation);
            let may = |hello: &Hello| hello.is_voter(name) && !hello.observer;
            let other = || {
                let mut all = self.hellos().filter(|(_, hello)| !voters.has(hello.incarnation));
                all.find(|(_, hello)| may(hello))
            };
            let incarnation = known.or_else(|| other().map(|(_, hello)| hello.incarnation))?;
            Some((name.to_owned(), Voter { incarnation, ..voter }))
        };
        let by_name: BTreeMap<_, _> = voters.iter().filter_map(there).collect();
        let version = voters.version.saturating_add(step);
        (!by_name.is_empty()).then(|| Voters::new(by_name, version))
    }

    /// Returns whether a majority of the voters is there, if any node of the name counts.
    pub(super) fn has_named_majority(&self, chain: &Chain) -> bool {
        let Some(voters) = chain.last() else {
            return false;
        };
        let is_there = |incarnation: Incarnation| {
            let name = voters.iter().find(|(_, voter)| voter.incarnation == incarnation);
            name.is_some_and(|(name, _)| self.hellos().any(|(_, hello)| hello.is_voter(name)))
        };
        voters.is_majority(is_there)
    }
}

impl Hello {
    /// Returns the highest number that its sender has accepted or given, or that stood for it.
    pub(crate) fn accepted(&self) -> u64 {
        self.candidate.as_ref().map_or(0, |candidate| candidate.accepted)
    }

    fn is_voter(&self, name: &str) -> bool {
        self.candidate.as_ref().is_some_and(|candidate| candidate.voter == name)
    }

    #[cfg(test)]
    fn voter_in(&self, chain: &Chain) -> Option<Incarnation> {
        Some(chain.last()?.get(&self.candidate.as_ref()?.voter)?.incarnation)
    }
}
