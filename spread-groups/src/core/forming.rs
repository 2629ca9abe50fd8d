//! From a view to a Form: the core's part in [exchanges](super::exchange).

use std::time::Duration;

use bytes::Bytes;
use spread::Name;

use super::envelope::{ExchangeId, Form, Frame, Hello, Holding};
use super::exchange::Exchange;
use super::history::History;
use super::replica::Body;
use super::roster::{self, Applicant, Change, Departure, Roster, Standing};
use super::voting::voters::Chain;
use super::{Core, Event, Failure, Formed, Holdings, JoinFailed, Output, Phase, View};

impl Core {
    /// Takes a view. The members of one view have all come from their former views in the
    /// same way, so that each of them begins an exchange here, or none does.
    pub(super) fn see(&mut self, now: Duration, view: View) {
        self.discard_fragments();
        let gone = self.view.members.iter().filter(|name| !view.members.contains(name));
        let gone = gone.filter_map(|name| self.roster.by_name(*name));
        let gone: Vec<u32> = gone.map(|member| member.session).collect();
        let departure = view.departure;
        self.silent.retain(|name| view.members.contains(name));
        self.view = view;
        match (&self.phase, departure) {
            (Phase::Formed(_), Some(cause)) if !self.loses_quorum(&gone) => {
                let mut changes = Vec::new();
                for session in gone {
                    self.roster.depart(session, cause, &mut changes);
                }
                self.settle(now, changes);
            }
            _ => {
                if let Some(cause) = departure {
                    self.gone.extend(gone.into_iter().map(|session| (session, cause)));
                }
                self.exchange(now, 0);
            }
        }
    }

    pub(super) fn signal(&mut self, now: Duration) {
        #[cfg(test)]
        if self.breaks(super::Broken::CountsAfterSignal) {
            return;
        }
        self.discard_fragments();
        if !matches!(self.phase, Phase::Out) {
            self.phase = Phase::Transitional;
        }
        self.is_without_form(now);
    }

    /// Ends the transfers of the state.
    pub(super) fn void(&mut self) {
        self.donations.clear();
        self.newcomer = None;
    }

    fn discard_fragments(&mut self) {
        #[cfg(test)]
        if self.breaks(super::Broken::KeepsFragments) {
            return;
        }
        self.assembler.clear();
        self.requests.send_fragments_again();
    }

    /// Begins an exchange in the present view.
    fn exchange(&mut self, now: Duration, attempt: u32) {
        // Markers that are under way do not count any more.
        self.donations.marked.clear();
        self.is_without_form(now);
        #[cfg(test)]
        self.number_early();
        self.counters.exchanges += 1;
        let id = ExchangeId { view: self.view.id, attempt };
        let by_label = self.voting.is_some();
        #[cfg(test)]
        let by_label = by_label && !self.breaks(super::Broken::TakesTheLargestSide);
        self.phase = Phase::Exchanging(Exchange::new(id, now, by_label));
        let voting = self.voting.is_some();
        self.voting.iter_mut().for_each(|voting| voting.force = false);
        let (history, holding) = match &self.holdings {
            // In a group with voters a log is told by its label.
            Holdings::Kept { roster, .. } if voting => (&roster.history, Holding::Current),
            Holdings::Current => (&self.roster.history, Holding::Current),
            Holdings::Kept { roster, former: false, .. } => (&roster.history, Holding::Current),
            Holdings::Kept { roster, former: true, .. } => (&roster.history, Holding::Former),
            Holdings::Nothing => (&self.roster.history, Holding::Nothing),
        };
        let incarnation = self.config.incarnation;
        let seniority = self.roster.members().iter().position(|m| m.incarnation == incarnation);
        let hello = Hello {
            exchange: id,
            incarnation,
            history: history.clone(),
            holding,
            seniority: seniority.map_or(0, |at| at as u32 + 1),
            returning: self.session.is_some(),
            observer: self.config.observer,
            protocol: self.config.protocol,
            metadata: self.config.metadata.clone(),
            candidate: self.candidate(),
        };
        self.multicast(Frame::Hello(hello).encode());
    }

    pub(super) fn hello(&mut self, now: Duration, from: Name, hello: Hello) {
        if hello.candidate.is_some() != self.voting.is_some() {
            return self.other_kind(&hello);
        }
        let is_member = self.view.members.contains(&from);
        match &mut self.phase {
            Phase::Exchanging(exchange) if is_member && hello.exchange == exchange.id => {
                exchange.hear(from, hello);
                exchange.proposals = 0;
            }
            Phase::Formed(formed) if is_member && hello.exchange == formed.id => {
                self.late_hello(now, from, &hello);
            }
            _ => self.counters.stale += 1,
        }
    }

    /// Takes the Hello of a member that is configured for a group with voters and this one for
    /// one without, or the reverse: they do not know each other, and who comes last leaves.
    fn other_kind(&mut self, hello: &Hello) {
        self.counters.foreign += 1;
        let is_new = matches!(self.holdings, Holdings::Nothing) && self.session.is_none();
        if is_new && hello.holding != Holding::Nothing {
            self.fail(JoinFailed::OtherVoters);
        }
    }

    /// Returns when this member is to send a Form; `None` if it is not to.
    pub(super) fn form_due(&self, exchange: &Exchange) -> Option<Duration> {
        if self.voting.is_some() {
            return self.ballot_due(exchange);
        }
        let me = self.me?;
        if exchange.formed {
            return None;
        }
        let rank = exchange.rank(me)?;
        if rank == 0 && self.have_all_said_hello(exchange) {
            return Some(exchange.began);
        }
        let turns = u32::try_from(rank).unwrap_or(u32::MAX).saturating_add(1);
        Some(exchange.began + self.config.exchange_wait.saturating_mul(turns))
    }

    /// Returns whether nobody is waited for any more.
    pub(super) fn have_all_said_hello(&self, exchange: &Exchange) -> bool {
        let heard = |name: &Name| {
            let has_come_back = |name| {
                let member = self.roster.by_name(name);
                member.is_some_and(|member| exchange.has(member.incarnation))
            };
            exchange.heard(*name) || self.silent.contains(name) || has_come_back(*name)
        };
        self.view.members.iter().all(heard)
    }

    /// Sends a Form if it is time.
    pub(super) fn form(&mut self, now: Duration) {
        let Phase::Exchanging(exchange) = &self.phase else {
            return;
        };
        if self.form_due(exchange).is_none_or(|due| due > now) {
            return;
        }
        let base = exchange.base().map(|_| self.held_roster().clone());
        let (voters, forced) = self.electorate(exchange).unwrap_or_default();
        let order = exchange.order(base.as_ref().unwrap_or(&Roster::default()), &voters);
        let epoch = match self.voting {
            Some(_) => self.ballot(exchange, forced),
            None => exchange.next_epoch(),
        };
        let form = Form {
            exchange: exchange.id,
            epoch,
            voters,
            forced,
            base,
            said: order,
            departed: self.gone.iter().map(|(session, cause)| (*session, *cause)).collect(),
        };
        if let Phase::Exchanging(exchange) = &mut self.phase {
            (exchange.formed, exchange.since) = (true, now);
        }
        self.sends(&form);
        self.multicast(Frame::Form(form).encode());
    }

    /// Returns the roster at the place of the state that this member holds.
    fn held_roster(&self) -> &Roster {
        match &self.holdings {
            Holdings::Kept { roster, .. } => roster,
            Holdings::Current | Holdings::Nothing => &self.roster,
        }
    }

    /// Takes a Form of an exchange. The first one stands; in a group with voters, the one that
    /// a majority accepts.
    pub(super) fn formed(&mut self, now: Duration, from: Name, form: Form) {
        let Phase::Exchanging(exchange) = &self.phase else {
            return self.counters.stale += 1;
        };
        let (true, Some(_)) = (form.exchange == exchange.id, exchange.hello(from)) else {
            return self.counters.stale += 1;
        };
        if form.epoch <= form.base.as_ref().map_or(0, |base| base.history.epoch()) {
            return self.counters.malformed += 1;
        }
        match self.voting {
            Some(_) => self.propose(now, from, form),
            None => self.stand(now, from, form),
        }
    }

    /// Begins a branch at the place where a Form stands.
    pub(super) fn stand(&mut self, now: Duration, from: Name, form: Form) {
        let Phase::Exchanging(exchange) = &self.phase else {
            return;
        };
        let Some(author) = exchange.hello(from) else {
            return;
        };
        let is_new = matches!(self.holdings, Holdings::Nothing) && self.session.is_none();
        if is_new && !form.forced && !self.is_configured_for(exchange, &form) {
            return self.fail(JoinFailed::OtherVoters);
        }
        let base = form.base.as_ref().map(|base| base.history.clone());
        let applicant = |name: &Name| {
            let hello = exchange.hello(*name)?;
            let holds = base.as_ref().map_or(!hello.observer, |base| hello.has(base));
            Some(Applicant { holds, ..hello.applicant(*name) })
        };
        let said: Vec<Applicant> = form.said.iter().filter_map(applicant).collect();
        let unsaid = exchange.hellos().filter(|(name, _)| !form.said.contains(name));
        let unsaid: Vec<(Name, Hello)> = unsaid.cloned().collect();

        let incarnation = author.incarnation;
        let content = Frame::Form(form.clone()).encode();
        let mut roster = form.base.unwrap_or_default();
        let branch = roster::branch(&roster.history, &content, from, incarnation);
        if form.forced {
            roster.history.force(branch, form.epoch);
        } else {
            roster.history.begin(branch, form.epoch);
        }
        let answers = self.answers.take().unwrap_or_else(|| self.roster.history.clone());
        if self.voting.is_none() || self.me.is_some_and(|me| form.said.contains(&me)) {
            self.take_back(&answers, &roster.history);
        } else {
            // Its own Hello, when it comes, may end this Form.
            self.answers = Some(answers);
        }
        self.send_again();
        let follows = base.as_ref() == Some(&self.roster.history);
        let founds = base.is_none() && said.iter().any(|a| Some(a.name) == self.me && a.holds);
        self.take_over(now, base.as_ref(), founds);
        if let Some(voting) = &mut self.voting {
            voting.begin(form.voters.clone(), form.epoch);
        }
        roster.set_holders(|_| false);
        self.roster = roster;
        self.phase = Phase::Formed(Formed { id: form.exchange, base });

        let mut changes = Vec::new();
        self.keep_or_depart(&said, &form.departed, &mut changes);
        for applicant in &said {
            match self.roster.by_name(applicant.name).map(|member| member.session) {
                Some(session) => {
                    let member = self.roster.member_mut(session);
                    member.into_iter().for_each(|member| member.holds = applicant.holds);
                    if Some(applicant.name) == self.me {
                        self.session = Some(session);
                    }
                }
                None => self.admit(applicant, &mut changes),
            }
        }
        self.gone.clear();
        let absent: Vec<u32> = self.roster.absent().collect();
        self.absent_since.retain(|session, _| absent.contains(session));
        absent.into_iter().for_each(|session| {
            self.absent_since.entry(session).or_insert(now);
        });
        self.keep_transfers(follows);
        self.settle(now, changes);
        self.take_early_state();
        self.resume_transfer();
        let silent = |name: &Name| {
            self.roster.by_name(*name).is_none() && unsaid.iter().all(|(said, _)| said != name)
        };
        self.silent = self.view.members.iter().copied().filter(silent).collect();
        for (name, hello) in unsaid {
            if matches!(&self.phase, Phase::Formed(formed) if formed.id == form.exchange) {
                self.late_hello(now, name, &hello);
            }
        }
    }

    /// Opens operations again that were answered in a history, and are not in the one that stands.
    /// What a majority has committed is never taken back, unless a primary was forced or this member
    /// comes from another group, of which no voter is here.
    fn take_back(&mut self, answers: &History, stands: &History) {
        let line = |history: &History| (history.founded(), history.forced());
        if self.voting.is_some() && line(answers) == line(stands) {
            return;
        }
        let common = answers.common(stands);
        #[cfg(test)]
        let common =
            if self.breaks(super::Broken::ForgetsWhatIsTakenBack) { u64::MAX } else { common };
        let rewound = self.requests.rewind(common);
        if !rewound.operations.is_empty() || !rewound.complete {
            self.out(Output::Event(Event::Rewound(rewound)));
        }
    }

    fn send_again(&mut self) {
        #[cfg(test)]
        if self.breaks(super::Broken::NeverSendsAgain) {
            return;
        }
        self.requests.send_again();
    }

    /// Goes on with the state of the history that stands, if this member has it.
    fn take_over(&mut self, now: Duration, base: Option<&History>, founds: bool) {
        let has = |history: &History| base == Some(history);
        let keeps = match &self.holdings {
            #[cfg(test)]
            Holdings::Current if self.breaks(super::Broken::KeepsOtherState) => true,
            Holdings::Current => has(&self.roster.history),
            Holdings::Kept { roster, .. } => has(&roster.history),
            Holdings::Nothing => false,
        };
        (self.progress, self.overflows) = (now, 0);
        if keeps {
            self.holdings = Holdings::Current;
            return self.requests.follow();
        }
        if founds {
            self.voting.iter_mut().for_each(|voting| voting.tail.clear());
            return self.restore(Bytes::new());
        }
        // Until the state of the others has come, the former one is better than none.
        self.holdings = match std::mem::replace(&mut self.holdings, Holdings::Nothing) {
            Holdings::Current => {
                let voters = self.voting.as_ref().map(|voting| voting.chain.clone());
                Holdings::Kept {
                    roster: Box::new(self.roster.clone()),
                    former: base.is_some(),
                    voters: voters.unwrap_or_default(),
                }
            }
            Holdings::Kept { roster, former, voters } => {
                Holdings::Kept { roster, former: former || base.is_some(), voters }
            }
            Holdings::Nothing => Holdings::Nothing,
        };
    }

    /// Takes those out of the base's roster that have said no Hello.
    fn keep_or_depart(
        &mut self,
        said: &[Applicant],
        departed: &[(u32, Departure)],
        changes: &mut Vec<Change>,
    ) {
        for member in self.roster.members().to_vec() {
            let said = || said.iter().filter(|a| a.incarnation == member.incarnation);
            if said().any(|applicant| applicant.name == member.name) {
                continue;
            }
            let known = departed.iter().find(|(session, _)| *session == member.session);
            let has_come_back = said().next().map(|_| Departure::Crashed);
            let cause = known.map(|(_, cause)| *cause).or(has_come_back);
            self.roster.depart(member.session, cause.unwrap_or(Departure::Parted), changes);
        }
    }

    /// Admits a client to the roster.
    fn admit(&mut self, applicant: &Applicant, changes: &mut Vec<Change>) {
        let nobody = Chain::default();
        let voters = self.voting.as_ref().map_or(&nobody, |voting| &voting.chain);
        let standing = self.roster.admit(applicant, voters, changes);
        if Some(applicant.name) != self.me {
            return;
        }
        match standing {
            Ok(standing) => {
                self.session = self.roster.by_name(applicant.name).map(|member| member.session);
                if standing == Standing::Expired {
                    let index = self.roster.history.place().index;
                    let (waiting, others) = self.requests.expire(index);
                    for id in waiting {
                        self.out(Output::Done(id, Err(Failure::SessionExpired)));
                    }
                    if !others.is_empty() {
                        self.out(Output::Event(Event::Lost(others)));
                    }
                }
            }
            Err(refusal) => self.fail(JoinFailed::Refused(refusal)),
        }
    }

    /// Takes a Hello that comes after the Form.
    fn late_hello(&mut self, now: Duration, from: Name, hello: &Hello) {
        let Phase::Formed(formed) = &self.phase else {
            return;
        };
        let member = self.roster.by_name(from);
        if member.is_some_and(|member| member.incarnation == hello.incarnation) {
            return;
        }
        // Whatever comes of it, it is waited for from now on.
        self.silent.remove(&from);
        let base = formed.base.clone();
        if self.overlooks(hello) {
            self.learn_number(hello);
            return self.exchange_again(now);
        }
        if Some(from) == self.me
            && let Some(answers) = self.answers.take()
        {
            let stands = self.roster.history.clone();
            self.take_back(&answers, &stands);
            if matches!(self.holdings, Holdings::Current) {
                self.requests.follow();
            }
            self.send_again();
        }
        let holds = match &base {
            Some(base) => hello.has(base),
            // What it has was of another group.
            None if self.voting.is_some() => false,
            None if hello.holding == Holding::Nothing => false,
            None => {
                // The group was founded although someone has its state, who was only slow.
                // What was counted meanwhile is submitted again.
                if matches!(self.holdings, Holdings::Current) {
                    self.holdings = Holdings::Nothing;
                }
                return self.exchange_again(now);
            }
        };
        let mut changes = Vec::new();
        self.admit(&Applicant { holds, ..hello.applicant(from) }, &mut changes);
        self.settle(now, changes);
    }

    /// Begins another exchange in the same view, as all members do at this place.
    fn exchange_again(&mut self, now: Duration) {
        if let Phase::Formed(formed) = &self.phase {
            self.exchange(now, formed.id.attempt + 1);
        }
    }

    /// Counts changes of the roster, and does what follows from them.
    pub(super) fn settle(&mut self, now: Duration, changes: Vec<Change>) {
        let members = self.roster.members().to_vec();
        self.out(Output::Event(Event::Roster { members, changes: changes.clone() }));
        for change in changes {
            match change {
                Change::Departed { session, .. } => {
                    self.absent_since.insert(session, now);
                    self.donations.end(session);
                }
                Change::Joined { session, .. } | Change::Expired { session } => {
                    self.absent_since.remove(&session);
                }
            }
            self.count(now, Body::Roster(change));
        }
        if matches!(self.phase, Phase::Closed) {
            return;
        }
        let lost = self.roster.holders().next().is_none();
        if lost && self.roster.wanting().next().is_some() {
            return self.exchange_again(now);
        }
        self.offer();
    }
}
