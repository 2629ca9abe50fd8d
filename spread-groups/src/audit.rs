//! Audits: whether the members have the same state.
//!
//! **Promises.** An audit is an operation. At its place each member takes the
//! [digests](crate::StateMachine::digest) of its state machines and reports them. The digest of
//! more than half of the members stands; if all have reported and there is no such majority, the
//! most frequent digest, and of equally frequent ones that of the senior member. A member with
//! another digest has diverged, and leaves the group. A member that has no state yet at the place
//! of an audit reports nothing.
//!
//! **Sends** one operation for the audit and one for the report of each member.
//!
//! **A roster change** removes the report of a member that departs; nobody waits for it. The next
//! audit replaces an undecided one.
//!
//! **In a partition** each side audits its own members. **At a merge** the audit of the side that
//! stands remains.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::codec::{Message, Postcard};
use crate::core::Event;
use crate::core::history::{Place, mix};
use crate::core::replica::{At, BadState};
use crate::core::roster::{Change, Incarnation};
use crate::machines::Present;
use crate::replicated::{Replicated, StateMachine, Watch};

/// Takes the digest of a state machine as it is now.
pub(crate) type Digest = Arc<dyn Fn() -> Option<u64> + Send + Sync>;

/// The last audit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Audits {
    present: Present,
    audit: Option<Audit>,
    /// Whether the last step has begun it.
    #[serde(skip)]
    begins: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Audit {
    /// The branch and the index.
    place: (u64, u64),
    /// Of the members at its place that are still there, by seniority.
    members: Vec<u32>,
    /// By their sessions.
    reports: BTreeMap<u32, Report>,
    /// The digest that stands.
    verdict: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Report {
    member: [u8; 16],
    digest: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Step {
    Begin,
    Report { place: (u64, u64), member: [u8; 16], digest: u64 },
}

impl Message for Step {
    const NAME: &'static str = "spread.groups.AuditStep";
    type Codec = Postcard;
}

impl Audit {
    fn judge(&mut self) {
        if self.verdict.is_some() {
            return;
        }
        let digests = self.members.iter().filter_map(|member| self.reports.get(member));
        let mut counts: Vec<(u64, usize)> = Vec::new();
        for Report { digest, .. } in digests {
            match counts.iter_mut().find(|(of, _)| of == digest) {
                Some((_, count)) => *count += 1,
                None => counts.push((*digest, 1)),
            }
        }
        let are_all = counts.iter().map(|(_, count)| count).sum::<usize>() == self.members.len();
        // The first of equals is that of the most senior.
        let most = counts.into_iter().rev().max_by_key(|(_, count)| *count);
        let stands = most.filter(|(_, count)| are_all || 2 * count > self.members.len());
        self.verdict = stands.map(|(digest, _)| digest);
    }

    fn has_diverged(&self, member: Incarnation) -> bool {
        let mut reports = self.reports.values();
        let report = reports.find(|report| report.member == member.0);
        matches!((self.verdict, report), (Some(digest), Some(own)) if own.digest != digest)
    }
}

impl StateMachine for Audits {
    const NAME: &'static str = "spread.groups.Audits";
    type Op = Step;
    type Out = ();

    fn apply(&mut self, at: At, step: Step) {
        self.begins = matches!(step, Step::Begin);
        match (step, &mut self.audit) {
            (Step::Begin, audit) => {
                let members = self.present.sessions().to_vec();
                let place = (at.place.branch, at.place.index);
                *audit = Some(Audit { place, members, reports: BTreeMap::new(), verdict: None });
            }
            (Step::Report { place, member, digest }, Some(audit))
                if audit.place == place && audit.members.contains(&at.session) =>
            {
                audit.reports.insert(at.session, Report { member, digest });
                audit.judge();
            }
            (Step::Report { .. }, _) => {}
        }
    }

    fn follow(&mut self, _: At, change: &Change) {
        self.begins = false;
        self.present.follow(change);
        if let (Change::Departed { session, .. }, Some(audit)) = (change, &mut self.audit) {
            audit.members.retain(|member| member != session);
            audit.reports.remove(session);
            audit.judge();
        }
    }

    fn snapshot(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("numbers can be encoded")
    }

    fn restore(state: &[u8]) -> Result<Audits, BadState> {
        postcard::from_bytes(state).map_err(|_| BadState)
    }
}

/// Begins to take part in audits, until the member leaves the group.
pub(crate) fn take_part(
    audits: &Replicated<Audits>,
    digests: BTreeMap<u32, Digest>,
    own: Incarnation,
) {
    let handle = audits.clone();
    audits.watch(move |audits| {
        let Some(audit) = &audits.audit else {
            return Watch::GoesOn;
        };
        if audit.has_diverged(own) {
            let (branch, index) = audit.place;
            let place = Place { branch, index };
            handle.leave_with(Error::Diverged, Event::Diverged { place });
            return Watch::Ends;
        }
        if audits.begins {
            // No other entry is applied meanwhile: the machines are at the place of the audit.
            let digests =
                digests.iter().filter_map(|(channel, digest)| Some((*channel, digest()?)));
            let digest = digests.fold(0, |all, (channel, own)| mix(mix(all, channel.into()), own));
            let place = audit.place;
            handle.submit_when_room(&Step::Report { place, member: own.0, digest }, drop);
        }
        Watch::GoesOn
    });
}

/// Begins an audit whenever so much time has gone since the last one.
pub(crate) fn every(audits: &Replicated<Audits>, interval: Duration) {
    let (handle, last) = (audits.clone(), Arc::new(AtomicU64::new(0)));
    arm(handle.clone(), interval, last.clone());
    audits.watch(move |audits| {
        if audits.begins {
            arm(handle.clone(), interval, last.clone());
        }
        Watch::GoesOn
    });
}

/// Arms the timer anew; one that was armed before has no effect any more.
fn arm(audits: Replicated<Audits>, interval: Duration, last: Arc<AtomicU64>) {
    let number = last.fetch_add(1, Ordering::Relaxed) + 1;
    audits.clone().after(interval, move |is_ready| {
        if last.load(Ordering::Relaxed) != number {
            return;
        }
        let senior = audits.look(|audits| audits.present.senior());
        if let Some(senior) = senior.filter(|_| is_ready) {
            audits.submit_as(senior, &Step::Begin);
        }
        arm(audits, interval, last);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::roster::Departure;

    const NOBODY: [u32; 0] = [];

    fn at(index: u64, session: u32) -> At {
        At { place: Place { branch: 1, index }, epoch: 1, time: 0, session }
    }

    fn member(session: u32) -> Incarnation {
        Incarnation([session as u8; 16])
    }

    /// Returns an audit of so many members, at the place 9.
    fn of(members: u32) -> Audits {
        let mut audits = Audits::default();
        for session in 1..=members {
            let (incarnation, resumed, observer) = (member(session), false, false);
            audits.follow(at(0, 0), &Change::Joined { session, incarnation, resumed, observer });
        }
        audits.apply(at(9, 1), Step::Begin);
        assert!(audits.begins);
        audits
    }

    /// The member reports; returns who has diverged.
    fn report(audits: &mut Audits, session: u32, digest: u64) -> Vec<u32> {
        let report = Step::Report { place: (1, 9), member: member(session).0, digest };
        audits.apply(at(10, session), report);
        diverged(audits)
    }

    fn diverged(audits: &Audits) -> Vec<u32> {
        let audit = audits.audit.as_ref().unwrap();
        (1..10).filter(|session| audit.has_diverged(member(*session))).collect()
    }

    #[test]
    fn a_member_that_differs_from_the_majority_has_diverged_even_if_it_reports_late() {
        let mut audits = of(3);
        assert_eq!(report(&mut audits, 1, 7), NOBODY);
        assert_eq!(report(&mut audits, 3, 7), NOBODY);
        assert_eq!(report(&mut audits, 2, 8), [2]);
        let mut audits = of(3);
        report(&mut audits, 1, 8);
        report(&mut audits, 2, 7);
        assert_eq!(report(&mut audits, 3, 7), [1], "the senior one");
    }

    #[test]
    fn without_a_majority_the_most_stand_and_of_equals_those_of_the_senior() {
        let mut audits = of(2);
        assert_eq!(report(&mut audits, 2, 8), NOBODY);
        assert_eq!(report(&mut audits, 1, 7), [2]);
        let mut audits = of(5);
        for (session, digest) in [(5, 9), (4, 9), (3, 8), (2, 8)] {
            assert_eq!(report(&mut audits, session, digest), NOBODY);
        }
        assert_eq!(report(&mut audits, 1, 7), [1, 4, 5]);
    }

    #[test]
    fn nobody_waits_for_one_that_departs_and_the_next_audit_begins_anew() {
        let mut audits = of(4);
        report(&mut audits, 2, 7);
        assert_eq!(report(&mut audits, 3, 7), NOBODY);
        report(&mut audits, 4, 8);
        let cause = Departure::Crashed;
        audits.follow(at(11, 0), &Change::Departed { session: 1, cause });
        assert_eq!(diverged(&audits), [4]);
        audits.apply(at(12, 2), Step::Begin);
        assert_eq!(report(&mut audits, 4, 8), NOBODY, "a report of the former one");
        assert!(audits.audit.as_ref().unwrap().reports.is_empty());
        assert_eq!(Audits::restore(&audits.snapshot()).unwrap().audit, audits.audit);
    }
}
