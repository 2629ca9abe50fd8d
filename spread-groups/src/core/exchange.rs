//! How the members of a view come to one roster and one log.
//!
//! A view names clients, and after a merge they come from different histories. So each
//! says Hello: which node it is and where its log stands. One of those whose log is to
//! stand, the *base*, answers with a Form, which carries the base's roster and names the
//! Hellos that count. The first valid Form in the order begins a branch; whoever does not
//! hold the base's state takes a snapshot of it. Any later view or signal voids an exchange
//! without a Form.
//!
//! The base is chosen from the Hellos alone. A history that is a prefix of another one
//! never wins against it: a client that lost the end of its deliveries is no side of its
//! own. Of histories that went apart, the one with most members behind it stands; among
//! equals, that with the smallest incarnation. In a [group with voters](super::voting) it is
//! one that a majority accepts, as far as possible that with the greatest label.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

use spread::Name;

use super::envelope::{ExchangeId, Hello, Holding};
use super::history::History;
use super::roster::{Incarnation, MAX_MEMBERS, Roster};
use super::voting::ballot::Proposal;
use super::voting::voters::Chain;

/// An exchange without a Form.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    pub(crate) id: ExchangeId,
    pub(crate) began: Duration,
    /// When it began, or something became of it last.
    pub(crate) since: Duration,
    /// Whether histories are told by their labels.
    by_label: bool,
    /// A Form that stands once a majority has accepted it.
    pub(crate) proposal: Option<Box<Proposal>>,
    /// How many there were since the last Hello.
    pub(crate) proposals: u32,
    /// Whether no Form has stood for so long that requests are told, if the group has no majority.
    pub(crate) waited: bool,
    /// Whether they were told.
    pub(crate) told: bool,
    /// In their order.
    hellos: Vec<(Name, Hello)>,
    /// Whether this member has sent a Form.
    pub(crate) formed: bool,
}

/// A history, and who holds it.
#[derive(Debug)]
struct Side<'a> {
    history: &'a History,
    members: usize,
    smallest: Incarnation,
}

impl Exchange {
    pub(crate) fn new(id: ExchangeId, began: Duration, by_label: bool) -> Exchange {
        Exchange {
            id,
            began,
            since: began,
            by_label,
            proposal: None,
            proposals: 0,
            waited: false,
            told: false,
            hellos: Vec::new(),
            formed: false,
        }
    }

    /// Takes note of a Hello; only the first of each client counts.
    pub(crate) fn hear(&mut self, from: Name, hello: Hello) {
        if !self.heard(from) {
            self.hellos.push((from, hello));
        }
    }

    pub(crate) fn heard(&self, from: Name) -> bool {
        self.hello(from).is_some()
    }

    pub(crate) fn hello(&self, from: Name) -> Option<&Hello> {
        self.hellos.iter().find(|(name, _)| *name == from).map(|(_, hello)| hello)
    }

    pub(crate) fn has(&self, incarnation: Incarnation) -> bool {
        self.hellos.iter().any(|(_, hello)| hello.incarnation == incarnation)
    }

    pub(crate) fn hellos(&self) -> impl Iterator<Item = &(Name, Hello)> {
        self.hellos.iter()
    }

    /// Returns the history that is to stand, in a group with voters the one with the greatest
    /// label; `None` if nobody holds any.
    pub(crate) fn base(&self) -> Option<&History> {
        if self.by_label {
            let claims = self.claims().map(|(_, hello)| &hello.history);
            return claims.max_by_key(|history| history.label());
        }
        let sides = self.sides();
        let stands = |side: &&Side<'_>| {
            let longer = |other: &Side<'_>| {
                other.history != side.history && side.history.is_prefix_of(other.history)
            };
            !sides.iter().any(longer)
        };
        let weight = |side: &Side<'_>| {
            let behind = sides.iter().filter(|other| other.history.is_prefix_of(side.history));
            behind.map(|other| other.members).sum::<usize>()
        };
        let best = sides.iter().filter(stands);
        let best = best.max_by_key(|side| (weight(side), Reverse(side.smallest)));
        best.map(|side| side.history)
    }

    /// Returns whether voters are here of groups that were founded separately: each may have
    /// committed what no label of the other covers.
    pub(crate) fn is_divided(&self) -> bool {
        let mut groups = self.voters_groups();
        groups.next().is_some_and(|first| groups.any(|other| other != first))
    }

    /// Returns by which founding each voter that is here votes.
    fn voters_groups(&self) -> impl Iterator<Item = u64> {
        let voters = self.hellos.iter().map(|(_, hello)| hello).filter(|hello| hello.votes());
        voters.map(|hello| hello.history.founded())
    }

    /// Returns the histories that are held, each with those who hold it.
    fn sides(&self) -> Vec<Side<'_>> {
        let mut sides: Vec<Side<'_>> = Vec::new();
        for (_, Hello { history, incarnation, .. }) in self.claims() {
            match sides.iter_mut().find(|side| side.history == history) {
                Some(side) => {
                    side.members += 1;
                    side.smallest = side.smallest.min(*incarnation);
                }
                None => sides.push(Side { history, members: 1, smallest: *incarnation }),
            }
        }
        sides
    }

    /// Returns the Hellos of those with state. What a merge has taken back counts only if
    /// nobody has anything else. Where voters are, no log of another group counts.
    fn claims(&self) -> impl Iterator<Item = &(Name, Hello)> {
        let best = self.hellos.iter().map(|(_, hello)| hello.holding).max();
        let best = best.filter(|best| *best != Holding::Nothing);
        let group = self.voters_groups().next().filter(|_| self.by_label);
        self.hellos.iter().filter(move |(_, hello)| {
            Some(hello.holding) == best && group.is_none_or(|g| g == hello.history.founded())
        })
    }

    /// Returns the turn in which a client sends the Form, the first being 0; `None` if it may not.
    /// Clients that hold the base's state may. In a group with voters all may that hold a state with
    /// the last forced Form, because the log with the greatest label may wait for voters that are
    /// gone. If nobody holds a state, all may that are no observers, and with voters those that are
    /// configured as such. The logs take turns, and so do the clients that hold the same log.
    pub(crate) fn rank(&self, client: Name) -> Option<usize> {
        let authors = self.authors();
        let at = authors.iter().position(|(name, _)| *name == client)?;
        let (ahead, own) = (&authors[..at], authors.get(at)?.1.history.label());
        let labels: BTreeSet<_> = ahead.iter().map(|(_, hello)| hello.history.label()).collect();
        let equal = ahead.iter().filter(|(_, hello)| hello.history.label() == own).count();
        Some(equal + labels.iter().filter(|label| **label != own).count())
    }

    fn authors(&self) -> Vec<&(Name, Hello)> {
        let founds = |hello: &Hello| {
            let candidate = hello.candidate.as_ref();
            !hello.observer && candidate.is_none_or(|candidate| !candidate.voter.is_empty())
        };
        let mut authors: Vec<&(Name, Hello)> = match self.base() {
            None => self.hellos.iter().filter(|(_, hello)| founds(hello)).collect(),
            Some(base) if self.by_label => {
                let has = |hello: &Hello| hello.history.forced() == base.forced();
                self.claims().filter(|(_, hello)| has(hello)).collect()
            }
            Some(base) => self.hellos.iter().filter(|(_, hello)| hello.has(base)).collect(),
        };
        if self.by_label {
            authors.sort_by_key(|(_, hello)| Reverse(hello.history.label()));
        }
        authors
    }

    /// Returns whether this incarnation has said Hello and its log, if it has one, is not beyond this
    /// one: it may accept a Form with this log as the base.
    pub(crate) fn may_follow(&self, incarnation: Incarnation, log: &History) -> bool {
        let follows =
            |hello: &Hello| hello.holding == Holding::Nothing || !hello.history.is_beyond(log);
        self.hellos.iter().any(|(_, hello)| hello.incarnation == incarnation && follows(hello))
    }

    /// Returns the clients that have said Hello in the order in which they are admitted to
    /// the base's roster: first its members, by seniority; then those of other sides, each
    /// side by the seniority that it had there; then the others as they came. They are no more than
    /// a roster has; voters are always among them, since others cannot accept. Who is left out is
    /// late.
    pub(crate) fn order(&self, base: &Roster, voters: &Chain) -> Vec<Name> {
        let known = |name: Name, hello: &Hello| {
            let members = base.members().iter();
            members.clone().position(|m| m.name == name && m.incarnation == hello.incarnation)
        };
        let rank = |(name, hello): &(Name, Hello)| match known(*name, hello) {
            Some(at) => (0, 0, at),
            None if hello.seniority > 0 => {
                (1, hello.history.place().branch, hello.seniority as usize)
            }
            None => (2, 0, 0),
        };
        let mut hellos: Vec<&(Name, Hello)> = self.hellos.iter().collect();
        hellos.sort_by_key(|hello| rank(hello));
        let votes = |hello: &Hello| voters.has(hello.incarnation);
        let voting = hellos.iter().filter(|(_, hello)| votes(hello)).count();
        let mut others = 0..MAX_MEMBERS.saturating_sub(voting);
        hellos.retain(|(_, hello)| votes(hello) || others.next().is_some());
        hellos.into_iter().map(|(name, _)| *name).collect()
    }

    /// Returns the number of the next Form: above all that those who said Hello know of.
    pub(crate) fn next_epoch(&self) -> u64 {
        let numbers =
            self.hellos.iter().map(|(_, hello)| hello.history.epoch().max(hello.accepted()));
        let known = numbers.max();
        known.unwrap_or_default().saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use spread::GroupId;

    use super::*;
    use crate::core::voting::voters::{Voter, Voters};

    fn exchange(hellos: &[(u8, &History, bool)]) -> Exchange {
        let id = ExchangeId { view: GroupId::default(), attempt: 0 };
        let mut exchange = Exchange::new(id, Duration::ZERO, false);
        for (number, history, holds) in hellos {
            let hello = hello(id, *number, history, *holds);
            exchange.hear(name(*number), hello);
        }
        exchange
    }

    fn hello(exchange: ExchangeId, number: u8, history: &History, holds: bool) -> Hello {
        Hello {
            exchange,
            incarnation: Incarnation([number; 16]),
            history: history.clone(),
            holding: if holds { Holding::Current } else { Holding::Nothing },
            seniority: 0,
            returning: false,
            observer: false,
            protocol: 0,
            metadata: Bytes::new(),
            candidate: None,
        }
    }

    fn authors(exchange: &Exchange) -> Vec<Name> {
        exchange.authors().into_iter().map(|(name, _)| *name).collect()
    }

    #[test]
    fn a_form_counts_no_more_than_a_roster_has_and_all_voters() {
        let mut exchange = exchange(&[]);
        let mut voters = BTreeMap::new();
        for number in 0..2 * MAX_MEMBERS {
            let mut incarnation = Incarnation([0; 16]);
            incarnation.0[..8].copy_from_slice(&number.to_be_bytes());
            let hello = Hello { incarnation, ..hello(exchange.id, 0, &History::default(), false) };
            exchange.hear(Name::new(format!("#c{number}#d")).unwrap(), hello);
            if number % 100 == 99 {
                voters.insert(number.to_string(), Voter { incarnation, weight: 1 });
            }
        }
        let voters = Chain::new(Voters::new(voters, 1));
        let order = exchange.order(&Roster::default(), &voters);
        let last: Vec<Name> = exchange.hellos.iter().map(|(name, _)| *name).collect();
        assert_eq!(order.len(), MAX_MEMBERS);
        assert_eq!(order[..253], last[..253]);
        assert_eq!(order[253..], [last[299], last[399], last[499]]);
    }

    fn name(number: u8) -> Name {
        Name::new(format!("#c{number}#d")).unwrap()
    }

    fn after(from: &History, branch: u64, entries: u64) -> History {
        let mut history = from.clone();
        history.begin(branch, history.epoch() + 1);
        (0..entries).for_each(|entry| {
            history.count(entry);
        });
        history
    }

    #[test]
    fn a_prefix_never_wins_however_many_have_it() {
        let low = after(&History::default(), 1, 3);
        let high = after(&low, 2, 1);
        let exchange = exchange(&[(1, &low, true), (2, &low, true), (3, &high, true)]);
        assert_eq!(exchange.base(), Some(&high));
        assert_eq!(authors(&exchange), [name(3)]);
    }

    #[test]
    fn of_sides_the_larger_stands_and_then_that_of_the_smallest_incarnation() {
        let common = after(&History::default(), 1, 3);
        let (one, other) = (after(&common, 2, 1), after(&common, 3, 9));
        let three = exchange(&[(1, &one, true), (3, &other, true), (2, &other, true)]);
        assert_eq!(three.base(), Some(&other));
        assert_eq!(authors(&three), [name(3), name(2)]);
        let two = exchange(&[(2, &other, true), (1, &one, true)]);
        assert_eq!(two.base(), Some(&one));
    }

    #[test]
    fn who_holds_no_state_is_neither_base_nor_author() {
        let one = after(&History::default(), 1, 3);
        let (none, more) = (History::default(), after(&History::default(), 2, 9));
        let exchange = exchange(&[(1, &none, false), (2, &more, false), (3, &one, true)]);
        assert_eq!(exchange.base(), Some(&one));
        assert_eq!(authors(&exchange), [name(3)]);
    }

    #[test]
    fn a_group_that_nobody_knows_is_founded_by_the_first() {
        let none = History::default();
        let exchange = exchange(&[(2, &none, false), (1, &none, false)]);
        assert_eq!(exchange.base(), None);
        assert_eq!(authors(&exchange), [name(2), name(1)]);
        assert_eq!(exchange.next_epoch(), 1);
    }
}
