//! The expiry of map entries: each member measures the time, and the senior one submits the
//! operation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::state::{Maps, Recent, Revision, Step};
use crate::replicated::{Replicated, Watch};

/// The time after which the senior member submits an expiry again that had no effect.
const AGAIN: Duration = Duration::from_secs(1);

/// Which entry.
type Id = (u32, String);

/// When the entries of this member's state are due, by its own clock.
#[derive(Debug, Default)]
struct Due {
    by_entry: BTreeMap<Id, (Revision, Instant)>,
    by_time: BTreeSet<(Instant, Id)>,
    /// For when the timer is armed.
    armed: Option<Instant>,
}

impl Due {
    fn remove(&mut self, id: &Id) {
        if let Some((_, due)) = self.by_entry.remove(id) {
            self.by_time.remove(&(due, id.clone()));
        }
    }

    /// Sets the time of a revision; `None` if it is beyond what an `Instant` can be.
    fn set(&mut self, id: Id, revision: Revision, due: Option<Instant>) {
        self.remove(&id);
        if let Some(due) = due {
            self.by_time.insert((due, id.clone()));
            self.by_entry.insert(id, (revision, due));
        }
    }

    /// Takes note of what the last step has changed.
    fn follow(&mut self, maps: &Maps, now: Instant) {
        let due = |life: u64| now.checked_add(Duration::from_millis(life));
        match maps.recent() {
            // What was known before keeps its time.
            Recent::All => {
                let former = std::mem::take(&mut self.by_entry);
                self.by_time.clear();
                for (map, key, entry) in maps.mortal() {
                    let id = (map, key.clone());
                    let known = former.get(&id).filter(|(of, _)| *of == entry.revision);
                    let due = known.map(|(_, due)| *due).or(entry.life.and_then(due));
                    self.set(id, entry.revision, due);
                }
            }
            Recent::These(keys) => {
                for (map, key, _) in keys {
                    let entry = maps.entry(*map, key);
                    let life = entry.and_then(|entry| Some((entry.revision, entry.life?)));
                    let id = (*map, key.clone());
                    match life {
                        Some((revision, life)) => self.set(id, revision, due(life)),
                        None => self.remove(&id),
                    }
                }
            }
        }
    }

    /// Returns the entries that are due, which are due again later.
    fn take(&mut self, now: Instant) -> Vec<(Id, Revision)> {
        let due = self.by_time.iter().take_while(|(due, _)| *due <= now);
        let due: Vec<Id> = due.map(|(_, id)| id.clone()).collect();
        let mut taken = Vec::new();
        for id in due {
            if let Some((revision, _)) = self.by_entry.get(&id).copied() {
                self.set(id.clone(), revision, now.checked_add(AGAIN));
                taken.push((id, revision));
            }
        }
        taken
    }

    /// Returns after which time the timer has to be armed, if none is for so early.
    fn arm(&mut self, now: Instant) -> Option<Duration> {
        let first = self.by_time.first()?.0;
        if self.armed.is_some_and(|armed| armed <= first) {
            return None;
        }
        self.armed = Some(first);
        Some(first.saturating_duration_since(now))
    }
}

/// Begins to keep the time, until the member leaves the group.
pub(crate) fn keep_time(maps: &Replicated<Maps>) {
    let due = Arc::new(Mutex::new(Due::default()));
    let handle = maps.clone();
    maps.watch(move |maps| {
        let now = Instant::now();
        lock(&due).follow(maps, now);
        arm(&handle, &due, now);
        Watch::GoesOn
    });
}

fn arm(maps: &Replicated<Maps>, due: &Arc<Mutex<Due>>, now: Instant) {
    let Some(delay) = lock(due).arm(now) else {
        return;
    };
    let (handle, due) = (maps.clone(), due.clone());
    maps.after(delay, move |is_ready| {
        let now = Instant::now();
        let mut kept = lock(&due);
        kept.armed = None;
        let taken = kept.take(now);
        drop(kept);
        let senior = handle.look(Maps::senior);
        if let Some(senior) = senior.filter(|_| is_ready) {
            for ((map, key), revision) in taken {
                handle.submit_as(senior, &Step::Expire { map, key, revision });
            }
        }
        arm(&handle, &due, now);
    });
}

fn lock(due: &Mutex<Due>) -> std::sync::MutexGuard<'_, Due> {
    due.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::state::When;
    use super::*;
    use crate::core::history::Place;
    use crate::core::replica::At;
    use crate::replicated::StateMachine as _;

    fn revision(index: u64) -> Revision {
        Place { branch: 1, index }.into()
    }

    fn put(maps: &mut Maps, index: u64, key: &str, life: Option<u64>) {
        let at = At { place: Place { branch: 1, index }, epoch: 1, time: 0, session: 1 };
        let (key, value, when) = (key.to_owned(), vec![], When::Always);
        maps.apply(at, Step::Put { map: 7, key, value, when, life, owned: false });
    }

    #[test]
    fn an_entry_is_due_after_its_life_and_again_until_it_is_gone() {
        let (mut maps, mut due, now) = (Maps::default(), Due::default(), Instant::now());
        let at = |millis| now + Duration::from_millis(millis);
        put(&mut maps, 1, "long", Some(500));
        due.follow(&maps, now);
        assert_eq!(due.arm(now), Some(Duration::from_millis(500)));
        put(&mut maps, 2, "short", Some(100));
        due.follow(&maps, now);
        assert_eq!(due.arm(now), Some(Duration::from_millis(100)));
        assert_eq!(due.arm(now), None, "it is armed");
        assert_eq!(due.take(at(99)), []);
        assert_eq!(due.take(at(100)), [((7, "short".into()), revision(2))]);
        assert_eq!(due.take(at(500)), [((7, "long".into()), revision(1))]);
        assert_eq!(due.take(at(1_100)), [((7, "short".into()), revision(2))], "nobody has said so");
    }

    #[test]
    fn another_value_has_its_own_time_or_none() {
        let (mut maps, mut due, now) = (Maps::default(), Due::default(), Instant::now());
        let at = |millis| now + Duration::from_millis(millis);
        for (index, life) in [(1, Some(100)), (2, Some(300))] {
            put(&mut maps, index, "k", life);
            due.follow(&maps, now);
        }
        assert_eq!(due.take(at(200)), []);
        put(&mut maps, 3, "k", None);
        due.follow(&maps, now);
        assert_eq!(due.take(at(900)), []);
        put(&mut maps, 4, "k", Some(u64::MAX));
        due.follow(&maps, now);
        assert_eq!(due.by_time.len(), due.by_entry.len());
    }

    #[test]
    fn a_state_that_was_given_keeps_the_times_that_are_known() {
        let (mut maps, mut due, now) = (Maps::default(), Due::default(), Instant::now());
        put(&mut maps, 1, "known", Some(100));
        due.follow(&maps, now);
        put(&mut maps, 2, "new", Some(100));
        let given = Maps::restore(&maps.snapshot()).unwrap();
        let later = now + Duration::from_millis(50);
        due.follow(&given, later);
        assert_eq!(
            due.take(now + Duration::from_millis(100)),
            [((7, "known".into()), revision(1))]
        );
        assert_eq!(
            due.take(later + Duration::from_millis(100)),
            [((7, "new".into()), revision(2))]
        );
    }
}
