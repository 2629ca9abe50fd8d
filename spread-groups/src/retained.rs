//! Topics that retain their last value.
//!
//! **Promises.** A subscriber first receives the last value that was published, once, and then
//! each later value in the order that all subscribers see; nothing is missing between. Each value
//! is published once, also if its publisher loses its connection meanwhile. A subscriber whose
//! queue is full misses values and sees a [gap](Item::Gap) in their place. A value stays until
//! the next one is published or it is [removed](RetainedTopic::remove).
//!
//! **Sends** one operation of the log for each publish or removal; values are replicated state.
//! This costs more than a message of a plain [topic](crate::topic), whose publisher need not be a
//! member. Subscriptions are announced as for a plain topic.
//!
//! **A roster change** has no effect on values. A node that reconnects and has missed values
//! receives a gap and the last value.
//!
//! **In a partition** a value reaches the publisher's side. **At a merge** the values of the side
//! that stands are retained; values that the others published since the partition are published
//! again, to all, after them: a value of the smaller side replaces one of the larger side, also a
//! newer one. Where that must not be, use a [map](crate::map) and
//! [`if_revision`](crate::Put::if_revision).
//!
//! A group retains at most 4,096 values of 32 MiB together. A value that does not fit is refused
//! with [`Error::NoRoom`] at the same place at all members.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::time::SystemTime;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use spread::Name;

use crate::codec::{self, Message, Postcard};
use crate::core::replica::{At, BadState};
use crate::core::roster::Change;
use crate::inbox::{Inbox, Published};
use crate::replicated::{Replicated, StateMachine, Watch};
#[cfg(doc)]
use crate::topic::Item;
use crate::topic::{QUEUE, Source, Subscribers, Subscription};
use crate::{Error, Pending};

/// Values that a group retains.
const MAX_TOPICS: usize = 4_096;
/// Their bytes.
const MAX_BYTES: usize = 32 << 20;

/// A topic that retains its last value, made by [`Topic::retain_last`](crate::Topic::retain_last).
///
/// ```
/// # let daemon = spread_daemon::Daemon::builder().start()?;
/// # let address = daemon.address();
/// use spread::Mailbox;
/// use spread_groups::{Item, Node};
///
/// let node = Node::connect(Mailbox::builder(address))?;
/// let shop = node.group("shop")?.join()?;
/// let prices = shop.topic::<String>("prices").retain_last();
/// prices.publish(&String::from("3.20")).wait()?;
/// prices.publish(&String::from("3.30")).wait()?;
/// let Some(Item::Message(price, _)) = prices.subscribe().next() else { panic!() };
/// assert_eq!(price, "3.30");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct RetainedTopic<T> {
    channel: u32,
    retained: Replicated<Retained>,
    source: Source,
    values: PhantomData<fn(T) -> T>,
}

impl<T> Clone for RetainedTopic<T> {
    fn clone(&self) -> RetainedTopic<T> {
        let RetainedTopic { channel, retained, source, .. } = self;
        let (retained, source) = (retained.clone(), source.clone());
        RetainedTopic { channel: *channel, retained, source, values: PhantomData }
    }
}

impl<T: Message> RetainedTopic<T> {
    pub(crate) fn new(name: &str, retained: Replicated<Retained>, source: &Source) -> Self {
        let channel = codec::channel::<T>("retained", name);
        RetainedTopic { channel, retained, source: source.of(channel), values: PhantomData }
    }

    /// Publishes a value, which replaces the retained one.
    ///
    /// # Errors
    ///
    /// The pending result fails with [`Error::NoRoom`] if the value does not fit, and with the
    /// errors of [`Replicated::submit`].
    pub fn publish(&self, value: &T) -> Pending<()> {
        let payload = match codec::encode(value) {
            Ok(payload) => payload.into(),
            Err(error) => return Pending::failed(error.into()),
        };
        let from = self.source.name().to_string();
        let publish = Step::Publish { channel: self.channel, from, payload };
        let accepted = |Done(accepted)| if accepted { Ok(()) } else { Err(Error::NoRoom) };
        self.retained.submit_and(&publish, accepted)
    }

    /// Removes the retained value, so that another topic can have its room; returns whether there
    /// was one. Later subscribers begin with the next value that is published. Present
    /// subscribers receive nothing for it.
    ///
    /// # Errors
    ///
    /// The pending result fails with the errors of [`Replicated::submit`].
    pub fn remove(&self) -> Pending<bool> {
        self.retained.submit_and(&Step::Remove(self.channel), |Done(removed)| Ok(removed))
    }

    /// Returns the value that is retained, as this member knows it. Without a connection that is
    /// the value that was known last.
    ///
    /// # Errors
    ///
    /// [`Error::Codec`] if it cannot be decoded; the reason for which the member has left the
    /// group, such as [`Error::Closed`].
    pub fn last(&self) -> Result<Option<T>, Error> {
        self.retained.check_open()?;
        let payload = self
            .retained
            .look(|retained| retained.topics.get(&self.channel).map(|value| value.payload.clone()));
        Ok(payload.map(|payload| codec::decode(&payload)).transpose()?)
    }

    /// Subscribes: first the retained value, then each value that is published; up to 1,024
    /// are queued.
    pub fn subscribe(&self) -> Subscription<T> {
        self.subscribe_with(QUEUE)
    }

    /// Subscribes with a queue for this number of messages, at least 1.
    pub fn subscribe_with(&self, queue: usize) -> Subscription<T> {
        let inbox = Inbox::new(queue);
        let (channel, near) = (self.channel, inbox.clone());
        let mut last = None;
        let mut begun = false;
        self.retained.watch(move |retained| {
            if near.is_closed() {
                return Watch::Ends;
            }
            let value = retained.topics.get(&channel);
            let is_new = match retained.recent {
                Recent::All => value.is_some_and(|value| last != Some(value.place)),
                Recent::One(of) => of == channel || !begun,
                Recent::Nothing => !begun,
            };
            if let Some(value) = value.filter(|_| is_new) {
                if begun && retained.recent == Recent::All && last.is_some() {
                    // There may have been others between.
                    near.miss();
                }
                last = Some(value.place);
                near.push(value.published());
            }
            begun = true;
            Watch::GoesOn
        });
        self.source.subscribe(inbox)
    }

    /// Returns the subscribers.
    pub fn subscribers(&self) -> Subscribers {
        self.source.subscribers()
    }
}

/// The last value of each topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Retained {
    topics: BTreeMap<u32, Value>,
    bytes: usize,
    /// What the last step changed.
    #[serde(skip)]
    recent: Recent,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Value {
    /// The branch and the index at which it was published.
    place: (u64, u64),
    /// Milliseconds since 1970.
    sent_at: u64,
    from: String,
    payload: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Recent {
    /// The state was replaced.
    #[default]
    All,
    /// A value of this topic was published.
    One(u32),
    Nothing,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Step {
    Publish {
        channel: u32,
        from: String,
        payload: Vec<u8>,
    },
    /// Removes the value of a topic.
    Remove(u32),
}

/// Whether a step had an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Done(bool);

impl Message for Step {
    const NAME: &'static str = "spread.groups.RetainedStep";
    type Codec = Postcard;
}

impl Message for Done {
    const NAME: &'static str = "spread.groups.RetainedDone";
    type Codec = Postcard;
}

impl Value {
    fn published(&self) -> Published {
        let payload = Bytes::copy_from_slice(&self.payload);
        let from = Name::new(&self.from).expect("what is applied has a name");
        let received_at = SystemTime::now();
        Published { from, sent_at: self.sent_at, received_at, payload }
    }
}

impl StateMachine for Retained {
    const NAME: &'static str = "spread.groups.Retained";
    type Op = Step;
    type Out = Done;

    fn apply(&mut self, at: At, step: Step) -> Done {
        self.recent = Recent::Nothing;
        let (channel, from, payload) = match step {
            Step::Publish { channel, from, payload } => (channel, from, payload),
            Step::Remove(channel) => {
                let removed = self.topics.remove(&channel);
                self.bytes -= removed.as_ref().map_or(0, |value| value.payload.len());
                return Done(removed.is_some());
            }
        };
        let former = self.topics.get(&channel).map(|value| value.payload.len());
        let topics = self.topics.len() + usize::from(former.is_none());
        let bytes = self.bytes - former.unwrap_or(0) + payload.len();
        if topics > MAX_TOPICS || bytes > MAX_BYTES || Name::new(&from).is_err() {
            return Done(false);
        }
        self.bytes = bytes;
        self.recent = Recent::One(channel);
        let place = (at.place.branch, at.place.index);
        self.topics.insert(channel, Value { place, sent_at: at.time, from, payload });
        Done(true)
    }

    fn follow(&mut self, _: At, _: &Change) {
        self.recent = Recent::Nothing;
    }

    fn snapshot(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("numbers and texts can be encoded")
    }

    fn restore(state: &[u8]) -> Result<Retained, BadState> {
        let retained: Retained = postcard::from_bytes(state).map_err(|_| BadState)?;
        let named = |value: &Value| Name::new(&value.from).is_ok();
        if retained.topics.values().all(named) { Ok(retained) } else { Err(BadState) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::history::Place;

    fn publish(retained: &mut Retained, index: u64, channel: u32, len: usize) -> bool {
        let at = At { place: Place { branch: 1, index }, epoch: 1, time: index, session: 1 };
        let publish = Step::Publish { channel, from: "#a#d".into(), payload: vec![0; len] };
        retained.apply(at, publish).0
    }

    #[test]
    fn the_last_value_of_each_topic_is_retained() {
        let mut retained = Retained::default();
        for (index, channel, len) in [(1, 7, 1), (2, 8, 2), (3, 7, 3)] {
            assert!(publish(&mut retained, index, channel, len));
        }
        assert_eq!(retained.recent, Recent::One(7));
        let copy = Retained::restore(&retained.snapshot()).unwrap();
        assert_eq!(copy.recent, Recent::All);
        let lens: Vec<usize> = copy.topics.values().map(|value| value.payload.len()).collect();
        assert_eq!((lens, copy.bytes), (vec![3, 2], 5));
    }

    #[test]
    fn what_does_not_fit_is_refused_and_the_former_value_stays() {
        let mut retained = Retained::default();
        assert!(publish(&mut retained, 1, 7, MAX_BYTES));
        assert!(!publish(&mut retained, 2, 8, 1));
        assert!(!publish(&mut retained, 3, 7, MAX_BYTES + 1));
        assert!(publish(&mut retained, 4, 7, 1));
        for channel in 0..MAX_TOPICS as u32 - 1 {
            assert!(publish(&mut retained, 5, 100 + channel, 0));
        }
        assert!(!publish(&mut retained, 6, 8, 0));
        let at = At { place: Place { branch: 1, index: 7 }, epoch: 1, time: 7, session: 1 };
        assert_eq!(retained.apply(at, Step::Remove(7)), Done(true));
        assert_eq!(retained.apply(at, Step::Remove(7)), Done(false));
        assert_eq!((retained.bytes, retained.recent), (0, Recent::Nothing));
        assert!(publish(&mut retained, 8, 8, MAX_BYTES));
    }

    #[test]
    fn a_state_with_names_that_are_none_is_none() {
        let mut retained = Retained::default();
        publish(&mut retained, 1, 7, 1);
        retained.topics.get_mut(&7).unwrap().from = "x".repeat(99);
        assert!(Retained::restore(&retained.snapshot()).is_err());
        let at = At { place: Place::default(), epoch: 1, time: 0, session: 1 };
        let unnamed = Step::Publish { channel: 7, from: "x".repeat(99), payload: vec![] };
        assert!(!retained.apply(at, unnamed).0);
    }
}
