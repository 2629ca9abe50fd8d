//! Maps: keys and values, the same at all members.
//!
//! **Promises.** Each put and each removal is executed once, at one place of the order, where its
//! condition is judged: if several members put a key [if it is absent](Put::if_absent), one of
//! them succeeds. The [revision](Revision) of a key is the place of the operation that put it.
//! Reads return the state of this member, which may be behind the others.
//!
//! A value [with a time to live](Put::ttl) is removed by an operation of the senior member, which
//! measures the time from its own delivery of the put; clocks of two machines are not compared.
//! Until the place of that operation every read and every condition sees the value. So a value
//! lives at least for this time, and longer by the time that the operation takes, exchanges
//! included. If the senior member joined after the put, it counts the whole time from the moment
//! at which it received the state.
//!
//! **Sends** one operation for each put, removal and expiry. Reads and watches send nothing.
//!
//! **A roster change** in which a member departs removes the keys that it [owns](Put::owned), at
//! the same place for all. A node that reconnects has departed, and has to put them again.
//!
//! **In a partition** both sides go on; each removes the keys that members of the other side own.
//! **At a merge** the map of the side that stands remains. The operations of the other side are
//! submitted again, *after* those of the side that stands, and their conditions are judged anew. So a
//! put without a condition of the smaller side replaces what the larger side has put meanwhile, also
//! if it is the older one; with [`if_revision`](Put::if_revision) or [`if_absent`](Put::if_absent)
//! it has no effect where the larger side has changed the key, though it succeeded before.
//!
//! **With [voters](crate::voters)** an answer is final, and puts and removals are linearizable, and
//! so is a [`read_confirmed`](crate::VotedGroup::read_confirmed). In a minority a read returns the
//! state as it was.
//!
//! All maps of a group have at most 65,536 entries, and 32 MiB of keys and values. An entry that
//! does not fit is refused with [`Error::NoRoom`] at the same place at all members.

mod expiry;
mod state;
mod watch;

use std::marker::PhantomData;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(crate) use expiry::keep_time;
pub(crate) use state::Maps;
pub use state::Revision;
pub use watch::{MapEvent, MapWatch};

use crate::codec::{self, CodecError, Message};
use crate::replicated::Replicated;
use crate::{Error, Pending};
use state::{Entry, Outcome, Step, When};

/// A map of a group, made by [`Group::map`](crate::Group::map).
///
/// ```
/// # let daemon = spread_daemon::Daemon::builder().start()?;
/// # let address = daemon.address();
/// use serde::{Deserialize, Serialize};
/// use spread::Mailbox;
/// use spread_groups::{Message, Node, Postcard};
///
/// #[derive(Serialize, Deserialize)]
/// struct Limit {
///     celsius: f64,
///     set_by: String,
/// }
///
/// impl Message for Limit {
///     const NAME: &'static str = "plant.Limit";
///     type Codec = Postcard;
/// }
///
/// let node = Node::connect(Mailbox::builder(address))?;
/// let plant = node.group("plant")?.join()?;
/// let limits = plant.map::<Limit>("limits");
/// let limit = |celsius| Limit { celsius, set_by: "anna".to_owned() };
/// let first = limits.put("boiler/max", &limit(80.0)).if_absent().send().wait()?;
/// limits.put("boiler/max", &limit(90.0)).if_revision(first).send().wait()?;
/// assert_eq!(limits.get("boiler/max")?.unwrap().value.celsius, 90.0);
/// assert_eq!(limits.entries("boiler/")?.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Map<V> {
    map: u32,
    maps: Replicated<Maps>,
    values: PhantomData<fn(V) -> V>,
}

impl<V> Clone for Map<V> {
    fn clone(&self) -> Map<V> {
        Map { map: self.map, maps: self.maps.clone(), values: PhantomData }
    }
}

/// A value and its revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Versioned<V> {
    /// The value.
    pub value: V,
    /// Identifies the put of the key.
    pub revision: Revision,
}

/// Why a key was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Removal {
    /// A member removed it.
    Removed,
    /// Its time to live has passed.
    Expired,
    /// Its owner has departed from the roster.
    OwnerDeparted,
}

impl<V: Message> Map<V> {
    pub(crate) fn new(name: &str, maps: Replicated<Maps>) -> Map<V> {
        Map { map: codec::channel::<V>("map", name), maps, values: PhantomData }
    }

    /// Returns the value of a key as this member knows it. Without a connection that is the value
    /// that was known last.
    ///
    /// # Errors
    ///
    /// [`Error::Codec`] if the value cannot be decoded; the reason for which the member has left
    /// the group, such as [`Error::Closed`].
    pub fn get(&self, key: &str) -> Result<Option<Versioned<V>>, Error> {
        self.maps.check_open()?;
        let entry = self.maps.look(|maps| maps.entry(self.map, key).cloned());
        Ok(entry.as_ref().map(versioned).transpose()?)
    }

    /// Returns the entries whose keys begin with `prefix`, in the order of their keys, as this
    /// member knows them at one place. With an empty prefix it returns all entries.
    ///
    /// # Errors
    ///
    /// [`Error::Codec`] if a value cannot be decoded; the reason for which the member has left the
    /// group, such as [`Error::Closed`].
    pub fn entries(&self, prefix: &str) -> Result<Vec<(String, Versioned<V>)>, Error> {
        self.maps.check_open()?;
        let entries = self.maps.look(|maps| {
            let entries = maps.entries(self.map, prefix);
            entries.map(|(key, entry)| (key.clone(), entry.clone())).collect::<Vec<_>>()
        });
        entries.into_iter().map(|(key, entry)| Ok((key, versioned(&entry)?))).collect()
    }

    /// Returns a put of a value, by default without a condition.
    pub fn put(&self, key: &str, value: &V) -> Put<V> {
        let (map, key) = (self.clone(), key.to_owned());
        let value = codec::encode(value);
        Put { map, key, value, when: When::Always, life: None, owned: false }
    }

    /// Returns a removal of a key, by default without a condition.
    pub fn remove(&self, key: &str) -> Remove<V> {
        Remove { map: self.clone(), key: key.to_owned(), when: When::Always }
    }

    /// Watches the keys that begin with `prefix`: first the values that are there, then the
    /// changes in their order, of which 1,024 may wait. See [`MapEvent::Gap`] for more.
    pub fn watch(&self, prefix: &str) -> MapWatch<V> {
        MapWatch::new(self.map, prefix, self.maps.clone())
    }
}

fn versioned<V: Message>(entry: &Entry) -> Result<Versioned<V>, CodecError> {
    Ok(Versioned { value: codec::decode(&entry.value)?, revision: entry.revision })
}

/// A put to be sent, made by [`Map::put`].
#[must_use = "nothing is sent before `send`"]
#[derive(Debug)]
pub struct Put<V> {
    map: Map<V>,
    key: String,
    value: Result<bytes::Bytes, CodecError>,
    when: When,
    life: Option<u64>,
    owned: bool,
}

impl<V: Message> Put<V> {
    /// Sets the condition that the key has this revision.
    pub fn if_revision(mut self, revision: Revision) -> Put<V> {
        self.when = When::Revision(revision);
        self
    }

    /// Sets the condition that the key is absent.
    pub fn if_absent(mut self) -> Put<V> {
        self.when = When::Absent;
        self
    }

    /// Sets the time to live of the value, to the millisecond; see [the module](crate::map).
    /// Another put of the key replaces value and time.
    pub fn ttl(mut self, life: Duration) -> Put<V> {
        self.life = Some(u64::try_from(life.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// Removes the key when this member departs from the roster, unless it is put again
    /// before.
    pub fn owned(mut self) -> Put<V> {
        self.owned = true;
        self
    }

    /// Sends the put; returns the revision of the new value.
    ///
    /// # Errors
    ///
    /// The pending result fails with [`Error::Conflict`] if the condition does not hold, with
    /// [`Error::NoRoom`] if the value does not fit, and with the errors of
    /// [`Replicated::submit`].
    pub fn send(self) -> Pending<Revision> {
        let Put { map: Map { map, maps, .. }, key, value, when, life, owned } = self;
        let value = match value {
            Ok(value) => value.into(),
            Err(error) => return Pending::failed(error.into()),
        };
        let step = Step::Put { map, key, value, when, life, owned };
        maps.submit_and(&step, move |outcome| match outcome {
            Outcome::Done(Some(revision)) => Ok(revision),
            outcome => Err(failed(when, outcome)),
        })
    }
}

/// A removal to be sent, made by [`Map::remove`].
#[must_use = "nothing is sent before `send`"]
#[derive(Debug)]
pub struct Remove<V> {
    map: Map<V>,
    key: String,
    when: When,
}

impl<V: Message> Remove<V> {
    /// Sets the condition that the key has this revision.
    pub fn if_revision(mut self, revision: Revision) -> Remove<V> {
        self.when = When::Revision(revision);
        self
    }

    /// Sends the removal; returns whether the key was there.
    ///
    /// # Errors
    ///
    /// The pending result fails with [`Error::Conflict`] if the condition does not hold, and
    /// with the errors of [`Replicated::submit`].
    pub fn send(self) -> Pending<bool> {
        let Remove { map: Map { map, maps, .. }, key, when } = self;
        maps.submit_and(&Step::Remove { map, key, when }, move |outcome| match outcome {
            Outcome::Done(revision) => Ok(revision.is_some()),
            outcome => Err(failed(when, outcome)),
        })
    }
}

/// Returns why a step had no effect.
fn failed(when: When, outcome: Outcome) -> Error {
    let expected = match when {
        When::Revision(of) => Some(of),
        When::Always | When::Absent => None,
    };
    match outcome {
        Outcome::Conflict(revision) => Error::Conflict { expected, revision },
        // A put without a revision is not one of this version.
        Outcome::Done(_) => Error::Unreadable,
        Outcome::Full => Error::NoRoom,
    }
}
