//! The properties of extended virtual synchrony, as clients see them: what the models
//! judge by what each client was told.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use proptest::test_runner::{Config, RngSeed};
use spread_wire::{Cause, Delivery, Frame, GroupId, Name, Service};

const SEED: u64 = 4803;

/// A delivery to a client.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Told {
    Message { number: u32, groups: Vec<Name>, service: Service },
    View { group: Name, view: View },
    Signal { group: Name, id: GroupId },
    Left { group: Name },
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct View {
    pub(super) id: GroupId,
    pub(super) cause: Cause,
    pub(super) members: Vec<Name>,
    pub(super) vs_sets: Vec<Vec<Name>>,
    /// The set of those who came with the receiver, or the one that changed.
    pub(super) own: Vec<Name>,
}

/// A client from its connect to its end.
#[derive(Clone, Debug)]
pub(super) struct Life {
    pub(super) name: Name,
    pub(super) told: Vec<Told>,
    /// The numbers of the messages that it sent, with their groups.
    pub(super) sent: Vec<(u32, Vec<Name>)>,
    /// The groups that it has asked to join and not to leave.
    pub(super) wanted: BTreeSet<Name>,
    /// The messages that it sent to one of them.
    pub(super) due: Vec<u32>,
    /// Whether nothing cut its life short.
    pub(super) survives: bool,
}

impl Told {
    /// Returns what a frame tells, if it is not a daemon's last word; the body of a message
    /// begins with its number.
    pub(super) fn of(frame: &Frame) -> Told {
        match Delivery::parse(frame).unwrap() {
            Delivery::Regular(m) => Told::Message {
                number: u32::from_le_bytes(m.body[..4].try_into().unwrap()),
                groups: m.groups.iter().collect(),
                service: m.service,
            },
            Delivery::View { group, cause, members, body } => {
                let own = body.vs_sets[body.my_vs_set].clone();
                let members = members.iter().collect();
                let (id, vs_sets) = (body.group_id, body.vs_sets);
                Told::View { group, view: View { id, cause, members, vs_sets, own } }
            }
            Delivery::Transitional { group, group_id } => Told::Signal { group, id: group_id },
            Delivery::SelfLeave { group } => Told::Left { group },
            other => panic!("{other:?}"),
        }
    }
}

/// A stretch of a client's life in one view of a group.
#[derive(Debug)]
pub(super) struct Stay<'a> {
    pub(super) life: &'a Life,
    pub(super) group: Name,
    pub(super) view: &'a View,
    /// Messages to the group before the transitional signal, and after it.
    pub(super) before: Vec<u32>,
    pub(super) after: Vec<u32>,
    pub(super) signalled: bool,
    pub(super) next: Option<&'a View>,
}

/// Names a view. The id alone would not do: a group that was empty counts its
/// views anew.
type Key<'a> = (Name, GroupId, &'a [Name]);

impl<'a> Stay<'a> {
    fn key(&self) -> Key<'a> {
        (self.group, self.view.id, &self.view.members)
    }
}

/// Returns the views that cannot be told from later ones, because someone was in both.
fn ambiguous(lives: &[Life]) -> HashSet<Key<'_>> {
    let mut seen = HashSet::new();
    let stays = lives.iter().flat_map(Life::stays);
    let again = stays.filter(|stay| !seen.insert((stay.life.name, stay.key())));
    again.map(|stay| stay.key()).collect()
}

impl Life {
    pub(super) fn stays(&self) -> Vec<Stay<'_>> {
        let mut done = Vec::new();
        let mut open: BTreeMap<Name, Stay<'_>> = BTreeMap::new();
        for told in &self.told {
            match told {
                Told::View { group, view } => {
                    if let Some(mut stay) = open.remove(group) {
                        stay.next = Some(view);
                        done.push(stay);
                    }
                    let (before, after) = (Vec::new(), Vec::new());
                    let stay = Stay {
                        life: self,
                        group: *group,
                        view,
                        before,
                        after,
                        signalled: false,
                        next: None,
                    };
                    open.insert(*group, stay);
                }
                Told::Signal { group, id } => {
                    let stay = open.get_mut(group).expect("a signal outside the group");
                    assert_eq!(*id, stay.view.id, "a signal for another view");
                    assert!(!stay.signalled, "two signals in one view");
                    stay.signalled = true;
                }
                Told::Left { group } => {
                    done.extend(open.remove(group));
                }
                Told::Message { number, groups, .. } => {
                    let mut is_for_it = false;
                    for stay in groups.iter().collect::<BTreeSet<_>>() {
                        if let Some(stay) = open.get_mut(stay) {
                            is_for_it = true;
                            let part =
                                if stay.signalled { &mut stay.after } else { &mut stay.before };
                            part.push(*number);
                        }
                    }
                    assert!(is_for_it, "{}: a message for others", self.name);
                }
            }
        }
        done.extend(open.into_values());
        done
    }

    fn numbers(&self) -> Vec<u32> {
        let number = |told: &Told| match told {
            Told::Message { number, .. } => Some(*number),
            _ => None,
        };
        self.told.iter().filter_map(number).collect()
    }
}

/// Whether daemons may part, and come together again, before those of each part form a
/// configuration. Then they go from one view to the next by different ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detours {
    Impossible,
    Possible,
}

/// Checks all properties of what clients were told.
pub(super) fn check(lives: &[Life], detours: Detours) {
    check_integrity(lives);
    check_order(lives);
    check_views(lives);
    check_virtual_synchrony(lives, detours);
    check_safety(lives);
    check_self_delivery(lives);
}

/// Nothing is delivered twice, and nothing that was not sent.
fn check_integrity(lives: &[Life]) {
    let sent = || lives.iter().flat_map(|life| &life.sent);
    let sent: HashMap<u32, &Vec<Name>> = sent().map(|(number, groups)| (*number, groups)).collect();
    for life in lives {
        let mut seen = BTreeSet::new();
        for told in &life.told {
            if let Told::Message { number, groups, .. } = told {
                assert!(seen.insert(*number), "{} got {number} twice", life.name);
                assert_eq!(sent.get(number), Some(&groups), "{number} is not what was sent");
            }
        }
    }
}

/// Any two clients get what both get in the same order.
fn check_order(lives: &[Life]) {
    let all: Vec<(Vec<u32>, HashSet<u32>)> =
        lives.iter().map(|life| (life.numbers(), life.numbers().into_iter().collect())).collect();
    for (place, (one, in_one)) in all.iter().enumerate() {
        for (other, in_other) in &all[place + 1..] {
            let left = one.iter().filter(|number| in_other.contains(number));
            let right = other.iter().filter(|number| in_one.contains(number));
            assert!(left.eq(right), "two orders");
        }
    }
}

/// A view is the same for all who get it, has its receivers in it, and follows
/// from the one before.
fn check_views(lives: &[Life]) {
    let ambiguous = ambiguous(lives);
    let mut known: HashMap<Key<'_>, &View> = HashMap::new();
    for life in lives {
        for stay in life.stays() {
            let view = stay.view;
            assert!(view.members.contains(&life.name), "a view without its receiver");
            if !ambiguous.contains(&stay.key()) {
                let first = known.entry(stay.key()).or_insert(view);
                assert_eq!((first.cause, &first.vs_sets), (view.cause, &view.vs_sets));
            }
            if view.cause == Cause::Network {
                assert!(view.own.contains(&life.name), "someone else's set");
                let mut together: Vec<Name> = view.vs_sets.concat();
                together.sort();
                let mut members = view.members.clone();
                members.sort();
                assert_eq!(together, members, "the sets are not the members");
            }
            let Some(next) = stay.next else {
                continue;
            };
            let before: BTreeSet<_> = view.members.iter().collect();
            let after: BTreeSet<_> = next.members.iter().collect();
            let lost = before.difference(&after).count();
            let won = after.difference(&before).count();
            match next.cause {
                Cause::Join => assert_eq!((lost, won), (0, 1)),
                Cause::Leave | Cause::Disconnect => assert_eq!((lost, won), (1, 0)),
                Cause::Network => assert!(stay.signalled || lost == 0, "no signal"),
            }
            assert!(!stay.signalled || next.cause == Cause::Network, "a signal without a change");
        }
    }
}

/// Those who go from one view to the next together get the same messages between
/// them, and the signal at the same place.
fn check_virtual_synchrony(lives: &[Life], detours: Detours) {
    let ambiguous = ambiguous(lives);
    let mut moves: HashMap<(Key<'_>, GroupId), Vec<Stay<'_>>> = HashMap::new();
    for stay in lives.iter().flat_map(Life::stays) {
        if let Some(next) = stay.next.filter(|_| !ambiguous.contains(&stay.key())) {
            moves.entry((stay.key(), next.id)).or_default().push(stay);
        }
    }
    let told = |stay: &Stay<'_>| (stay.signalled, stay.before.clone(), stay.after.clone());
    for stays in moves.values() {
        for (place, stay) in stays.iter().enumerate() {
            let next = stay.next.unwrap();
            for other in &stays[..place] {
                let are_together =
                    next.cause != Cause::Network || next.own.contains(&other.life.name);
                let have_parted = detours == Detours::Possible && stay.signalled && other.signalled;
                assert!(are_together || have_parted, "who came together is told apart");
                let (name, other_name) = (stay.life.name, other.life.name);
                if are_together {
                    assert_eq!(told(stay), told(other), "{name} and {other_name}");
                }
            }
        }
    }
}

/// A safe message that comes before the signal comes to every member of the view
/// that is not cut short, be it after the signal.
fn check_safety(lives: &[Life]) {
    let ambiguous = ambiguous(lives);
    // What those who were not cut short got in a view.
    let mut got: HashMap<Key<'_>, Vec<(Name, HashSet<u32>)>> = HashMap::new();
    for stay in lives.iter().filter(|life| life.survives).flat_map(Life::stays) {
        let numbers = stay.before.iter().chain(&stay.after).copied().collect();
        got.entry(stay.key()).or_default().push((stay.life.name, numbers));
    }
    for life in lives {
        let safe: BTreeSet<u32> = life
            .told
            .iter()
            .filter_map(|told| match told {
                Told::Message { number, service: Service::Safe, .. } => Some(*number),
                _ => None,
            })
            .collect();
        for stay in life.stays().iter().filter(|stay| !ambiguous.contains(&stay.key())) {
            for number in stay.before.iter().filter(|number| safe.contains(number)) {
                for (name, numbers) in got.get(&stay.key()).into_iter().flatten() {
                    assert!(numbers.contains(number), "{name} misses the safe message {number}");
                }
            }
        }
    }
}

/// A client gets what it sends to a group that it has asked to join before.
fn check_self_delivery(lives: &[Life]) {
    for life in lives.iter().filter(|life| life.survives) {
        let got: HashSet<u32> = life.numbers().into_iter().collect();
        for number in &life.due {
            assert!(got.contains(number), "{} misses its own {number}", life.name);
        }
    }
}

/// Returns how many schedules are played, unless `PROPTEST_CASES` is set, and with which
/// seed, unless `PROPTEST_RNG_SEED` is.
pub(super) fn config(schedules: u32) -> Config {
    let mut config = Config::default();
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = schedules;
    }
    if matches!(config.rng_seed, RngSeed::Random) {
        config.rng_seed = RngSeed::Fixed(SEED);
    }
    config.failure_persistence = None;
    config
}
