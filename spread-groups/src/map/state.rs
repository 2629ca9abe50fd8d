//! The replicated state of all maps of a group.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Removal;
use crate::codec::{Message, Postcard};
use crate::core::history::Place;
use crate::core::replica::{At, BadState};
use crate::core::roster::Change;
use crate::machines::Present;
use crate::replicated::StateMachine;

/// Entries that all maps of a group have together.
pub(super) const MAX_ENTRIES: usize = 65_536;
/// Bytes of their keys and values.
pub(super) const MAX_BYTES: usize = 32 << 20;

/// All maps of a group, by their channels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Maps {
    maps: BTreeMap<u32, BTreeMap<String, Entry>>,
    entries: usize,
    bytes: usize,
    present: Present,
    /// What the last step changed.
    #[serde(skip)]
    recent: Recent,
}

/// Which put of a key: the place of its operation. Two puts have different ones, also those of
/// two sides of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Revision {
    branch: u64,
    index: u64,
}

impl From<Place> for Revision {
    fn from(Place { branch, index }: Place) -> Revision {
        Revision { branch, index }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) value: Vec<u8>,
    pub(super) revision: Revision,
    /// Milliseconds that it lives.
    pub(super) life: Option<u64>,
    /// The session with whose departure it goes.
    pub(super) owner: Option<u32>,
}

/// The changes of the last step, for watchers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Recent {
    /// Everything: the state was replaced.
    #[default]
    All,
    /// These keys, which were put or removed.
    These(Vec<(u32, String, Option<Removal>)>),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Step {
    Put { map: u32, key: String, value: Vec<u8>, when: When, life: Option<u64>, owned: bool },
    Remove { map: u32, key: String, when: When },
    Expire { map: u32, key: String, revision: Revision },
}

/// Under which condition a step has an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum When {
    Always,
    Absent,
    Revision(Revision),
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// The revision of the key before a removal, and after a put.
    Done(Option<Revision>),
    /// The condition does not hold; the revision of the key, if it is there.
    Conflict(Option<Revision>),
    Full,
}

impl Message for Step {
    const NAME: &'static str = "spread.groups.MapStep";
    type Codec = Postcard;
}

impl Message for Outcome {
    const NAME: &'static str = "spread.groups.MapOutcome";
    type Codec = Postcard;
}

impl When {
    fn holds(self, revision: Option<Revision>) -> bool {
        match self {
            When::Always => true,
            When::Absent => revision.is_none(),
            When::Revision(of) => revision == Some(of),
        }
    }
}

impl Maps {
    pub(super) fn entry(&self, map: u32, key: &str) -> Option<&Entry> {
        self.maps.get(&map)?.get(key)
    }

    /// Returns the entries of a map whose keys begin with `prefix`, by their keys.
    pub(super) fn entries<'a>(
        &'a self,
        map: u32,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a String, &'a Entry)> {
        let entries = self.maps.get(&map).into_iter();
        let from = move |map: &'a BTreeMap<String, Entry>| map.range(prefix.to_owned()..);
        entries.flat_map(from).take_while(move |(key, _)| key.starts_with(prefix))
    }

    /// Returns every entry with a limited life.
    pub(super) fn mortal(&self) -> impl Iterator<Item = (u32, &String, &Entry)> {
        let entries = self
            .maps
            .iter()
            .flat_map(|(map, entries)| entries.iter().map(move |(key, entry)| (*map, key, entry)));
        entries.filter(|(_, _, entry)| entry.life.is_some())
    }

    pub(super) fn recent(&self) -> &Recent {
        &self.recent
    }

    pub(super) fn senior(&self) -> Option<u32> {
        self.present.senior()
    }

    fn revision(&self, map: u32, key: &str) -> Option<Revision> {
        self.entry(map, key).map(|entry| entry.revision)
    }

    fn put(&mut self, map: u32, key: String, entry: Entry) -> Outcome {
        let former = self.entry(map, &key).map(|entry| key.len() + entry.value.len());
        let entries = self.entries + usize::from(former.is_none());
        let bytes = self.bytes - former.unwrap_or(0) + key.len() + entry.value.len();
        if entries > MAX_ENTRIES || bytes > MAX_BYTES {
            return Outcome::Full;
        }
        (self.entries, self.bytes) = (entries, bytes);
        let revision = entry.revision;
        self.changed(map, key.clone(), None);
        self.maps.entry(map).or_default().insert(key, entry);
        Outcome::Done(Some(revision))
    }

    fn remove(&mut self, map: u32, key: String, why: Removal) {
        let Some(entries) = self.maps.get_mut(&map) else {
            return;
        };
        if let Some(entry) = entries.remove(&key) {
            self.entries -= 1;
            self.bytes -= key.len() + entry.value.len();
            if entries.is_empty() {
                self.maps.remove(&map);
            }
            self.changed(map, key, Some(why));
        }
    }

    fn changed(&mut self, map: u32, key: String, removal: Option<Removal>) {
        if let Recent::These(keys) = &mut self.recent {
            keys.push((map, key, removal));
        }
    }
}

impl StateMachine for Maps {
    const NAME: &'static str = "spread.groups.Maps";
    type Op = Step;
    type Out = Outcome;

    fn apply(&mut self, at: At, step: Step) -> Outcome {
        self.recent = Recent::These(Vec::new());
        match step {
            Step::Put { map, key, value, when, life, owned } => {
                let revision = self.revision(map, &key);
                if !when.holds(revision) {
                    return Outcome::Conflict(revision);
                }
                let owner = owned.then_some(at.session);
                let entry = Entry { value, revision: at.place.into(), life, owner };
                self.put(map, key, entry)
            }
            Step::Remove { map, key, when } => {
                let revision = self.revision(map, &key);
                if !when.holds(revision) {
                    return Outcome::Conflict(revision);
                }
                self.remove(map, key, Removal::Removed);
                Outcome::Done(revision)
            }
            Step::Expire { map, key, revision } => {
                if self.revision(map, &key) == Some(revision) {
                    self.remove(map, key, Removal::Expired);
                }
                Outcome::Done(None)
            }
        }
    }

    fn follow(&mut self, _: At, change: &Change) {
        self.recent = Recent::These(Vec::new());
        self.present.follow(change);
        if let Change::Departed { session, .. } = change {
            let owned = self.maps.iter().flat_map(|(map, entries)| {
                let owned = entries.iter().filter(|(_, entry)| entry.owner == Some(*session));
                owned.map(|(key, _)| (*map, key.clone()))
            });
            let owned: Vec<(u32, String)> = owned.collect();
            owned.into_iter().for_each(|(map, key)| self.remove(map, key, Removal::OwnerDeparted));
        }
    }

    fn snapshot(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("numbers and texts can be encoded")
    }

    fn restore(state: &[u8]) -> Result<Maps, BadState> {
        postcard::from_bytes(state).map_err(|_| BadState)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::history::Place;
    use crate::core::roster::{Departure, Incarnation};

    const MAP: u32 = 7;

    fn revision(index: u64) -> Revision {
        Revision { branch: 1, index }
    }

    fn at(index: u64, session: u32) -> At {
        At { place: Place { branch: 1, index }, epoch: 1, time: 0, session }
    }

    fn put(key: &str, value: &[u8], when: When) -> Step {
        let (key, value) = (key.to_owned(), value.to_vec());
        Step::Put { map: MAP, key, value, when, life: None, owned: false }
    }

    fn keys(maps: &Maps, prefix: &str) -> Vec<String> {
        maps.entries(MAP, prefix).map(|(key, _)| key.clone()).collect()
    }

    #[test]
    fn a_condition_decides_at_its_place() {
        let mut maps = Maps::default();
        assert_eq!(
            maps.apply(at(1, 1), put("k", b"a", When::Absent)),
            Outcome::Done(Some(revision(1)))
        );
        let late = maps.apply(at(2, 2), put("k", b"b", When::Absent));
        assert_eq!(late, Outcome::Conflict(Some(revision(1))));
        let set = maps.apply(at(3, 2), put("k", b"b", When::Revision(revision(1))));
        assert_eq!(set, Outcome::Done(Some(revision(3))));
        let stale = Step::Remove { map: MAP, key: "k".into(), when: When::Revision(revision(1)) };
        assert_eq!(maps.apply(at(4, 1), stale), Outcome::Conflict(Some(revision(3))));
        let remove = Step::Remove { map: MAP, key: "k".into(), when: When::Always };
        assert_eq!(maps.apply(at(5, 1), remove.clone()), Outcome::Done(Some(revision(3))));
        assert_eq!(maps.apply(at(6, 1), remove), Outcome::Done(None));
        let gone = maps.apply(at(7, 1), put("k", b"c", When::Revision(revision(3))));
        assert_eq!(gone, Outcome::Conflict(None));
    }

    #[test]
    fn a_revision_of_another_branch_is_another_one() {
        let mut maps = Maps::default();
        maps.apply(at(5, 1), put("k", b"a", When::Always));
        let other = Revision { branch: 2, index: 5 };
        let set = maps.apply(at(6, 2), put("k", b"b", When::Revision(other)));
        assert_eq!(set, Outcome::Conflict(Some(revision(5))));
        let expire = Step::Expire { map: MAP, key: "k".into(), revision: other };
        maps.apply(at(7, 1), expire);
        assert_eq!(keys(&maps, ""), ["k"]);
    }

    #[test]
    fn keys_are_found_by_their_prefix_in_their_order() {
        let mut maps = Maps::default();
        for (index, key) in (1..).zip(["b/1", "a/2", "a/1", "a", "ab"]) {
            maps.apply(at(index, 1), put(key, b"", When::Always));
        }
        assert_eq!(keys(&maps, "a/"), ["a/1", "a/2"]);
        assert_eq!(keys(&maps, ""), ["a", "a/1", "a/2", "ab", "b/1"]);
        assert!(keys(&maps, "c").is_empty() && maps.entries(8, "").next().is_none());
    }

    #[test]
    fn an_expiry_does_not_end_a_value_that_was_put_again() {
        let mut maps = Maps::default();
        maps.apply(at(1, 1), put("k", b"a", When::Always));
        maps.apply(at(2, 1), put("k", b"b", When::Always));
        let expire = |revision| Step::Expire { map: MAP, key: "k".into(), revision };
        maps.apply(at(3, 1), expire(revision(1)));
        assert_eq!(keys(&maps, ""), ["k"]);
        maps.apply(at(4, 1), expire(revision(2)));
        let removed = Recent::These(vec![(MAP, "k".into(), Some(Removal::Expired))]);
        assert_eq!((keys(&maps, ""), maps.recent()), (vec![], &removed));
    }

    #[test]
    fn what_is_owned_goes_with_its_owner() {
        let mut maps = Maps::default();
        let owned = |key: &str| {
            let (key, value) = (key.to_owned(), vec![1]);
            Step::Put { map: MAP, key, value, when: When::Always, life: None, owned: true }
        };
        maps.apply(at(1, 1), owned("mine"));
        maps.apply(at(2, 2), owned("theirs"));
        maps.apply(at(3, 1), put("nobody's", b"", When::Always));
        maps.apply(at(4, 1), owned("given"));
        maps.apply(at(5, 1), put("given", b"", When::Always));
        let cause = Departure::Crashed;
        maps.follow(at(6, 0), &Change::Departed { session: 1, cause });
        assert_eq!(keys(&maps, ""), ["given", "nobody's", "theirs"]);
    }

    #[test]
    fn what_does_not_fit_is_refused_and_a_smaller_value_makes_room() {
        let mut maps = Maps::default();
        let half = vec![0; MAX_BYTES / 2];
        maps.apply(at(1, 1), put("a", &half, When::Always));
        assert_eq!(maps.apply(at(2, 1), put("b", &half, When::Always)), Outcome::Full);
        assert_eq!(
            maps.apply(at(3, 1), put("a", b"", When::Always)),
            Outcome::Done(Some(revision(3)))
        );
        assert_eq!(
            maps.apply(at(4, 1), put("b", &half, When::Always)),
            Outcome::Done(Some(revision(4)))
        );
        let mut maps = Maps { entries: MAX_ENTRIES, ..Maps::default() };
        assert_eq!(maps.apply(at(1, 1), put("a", b"", When::Always)), Outcome::Full);
    }

    fn steps() -> impl Strategy<Value = Vec<(u32, Step)>> {
        let when = prop_oneof![
            Just(When::Always),
            Just(When::Absent),
            (1..40_u64).prop_map(|index| When::Revision(revision(index)))
        ];
        let key = || prop_oneof![Just("a"), Just("b/1"), Just("b/2")].prop_map(String::from);
        let put = (0..2_u32, key(), 0..9_usize, when.clone(), any::<bool>()).prop_map(
            |(map, key, len, when, owned)| {
                let value = vec![0; len];
                Step::Put { map, key, value, when, life: Some(5), owned }
            },
        );
        let remove =
            (0..2_u32, key(), when).prop_map(|(map, key, when)| Step::Remove { map, key, when });
        let expire = (0..2_u32, key(), 1..40_u64).prop_map(|(map, key, index)| Step::Expire {
            map,
            key,
            revision: revision(index),
        });
        prop::collection::vec((1..4_u32, prop_oneof![put, remove, expire]), 0..40)
    }

    proptest! {
        /// What is counted is what is there, and a copy of the state goes on alike.
        #[test]
        fn the_counts_are_right_and_a_copy_goes_on_alike(steps in steps(), cut in 0..40_usize) {
            let mut maps = Maps::default();
            for session in 1..4 {
                let incarnation = Incarnation([session as u8; 16]);
                let (resumed, observer) = (false, false);
                maps.follow(at(0, 0), &Change::Joined { session, incarnation, resumed, observer });
            }
            let mut copy = None;
            for ((session, step), index) in steps.into_iter().zip(1_u64..) {
                if index == cut as u64 {
                    copy = Some(Maps::restore(&maps.snapshot()).unwrap());
                    let cause = Departure::Left;
                    let departed = Change::Departed { session: 1, cause };
                    maps.follow(at(0, 0), &departed);
                    copy.as_mut().unwrap().follow(at(0, 0), &departed);
                }
                let outcome = maps.apply(at(index, session), step.clone());
                if let Some(copy) = &mut copy {
                    prop_assert_eq!(copy.apply(at(index, session), step), outcome);
                    prop_assert_eq!(&*copy, &maps);
                }
            }
            let all = maps.maps.values().flatten();
            let bytes = all.clone().map(|(key, entry)| key.len() + entry.value.len()).sum::<usize>();
            prop_assert_eq!((maps.entries, maps.bytes), (all.count(), bytes));
        }
    }
}
