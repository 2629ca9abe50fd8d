//! Publish and subscribe.
//!
//! **Promises.** All subscribers in one view receive the same messages in the same order; all
//! topics of a group share this order. A message is delivered at most once. A message is lost if
//! its publisher loses its connection before the daemon has it. A subscriber whose queue is full
//! misses messages, as does one whose node loses its connection; both see a [gap](Item::Gap) in
//! their place. A subscriber does not receive what was published before it subscribed, unless
//! the topic [retains its last value](Topic::retain_last).
//!
//! **Sends** one agreed message for each publish, and one operation of the log when the first
//! subscription of a member begins and when its last one ends. From these all members know the
//! [subscribers](Topic::subscribers).
//!
//! **Backpressure.** A member has at most 256 messages or 1 MiB under way to a group that it has not
//! received back; what is published beyond that waits, up to 4 MiB, and then
//! [`publish`](Topic::publish) fails with [`Error::Full`]. A slow subscriber holds up nobody and
//! loses nothing but its own messages, because the node receives beside it. A member whose process
//! does not run while a thousand messages come is cut off by its daemon all the same; it connects
//! again, and its subscribers get a [gap](Item::Gap) of unknown length.
//!
//! **A roster change** delays no message: messages are delivered during exchanges, and a node
//! publishes before it is in the roster. A member that departs is no subscriber any more; a node
//! that reconnects announces its subscriptions again.
//!
//! **In a partition** a message reaches the publisher's side. **At a merge** nothing is sent
//! again: the other side never receives it.

use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use futures_core::Stream;
use spread::Name;

use crate::codec::{self, CodecError, Message};
use crate::core::{self, Input, fragments};
use crate::inbox::{Inbox, Next, Published, Reader};
use crate::node::{Commands, Shared, unix_time};
use crate::replicated::Replicated;
use crate::retained::{Retained, RetainedTopic};
use crate::services::{self, Services};
use crate::{Error, Pending};

/// Messages that wait for a subscriber.
pub(crate) const QUEUE: usize = 1024;

/// A topic of a group, made by [`Group::topic`](crate::Group::topic).
///
/// ```
/// # let daemon = spread_daemon::Daemon::builder().start()?;
/// # let address = daemon.address();
/// use spread::Mailbox;
/// use spread_groups::{Item, Node};
///
/// let node = Node::connect(Mailbox::builder(address))?;
/// let shop = node.group("shop")?.join()?;
/// shop.ready().wait()?;
/// let news = shop.topic::<String>("news");
/// let mut subscription = news.subscribe();
/// news.publish(&String::from("it rains"))?;
/// let Some(Item::Message(text, meta)) = subscription.next() else { panic!() };
/// println!("{}: {text}", meta.from);
/// # assert_eq!(text, "it rains");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Topic<T> {
    name: String,
    source: Source,
    retained: Replicated<Retained>,
    values: PhantomData<fn(T) -> T>,
}

impl<T> Clone for Topic<T> {
    fn clone(&self) -> Topic<T> {
        let Topic { name, source, retained, .. } = self;
        let (name, source, retained) = (name.clone(), source.clone(), retained.clone());
        Topic { name, source, retained, values: PhantomData }
    }
}

/// An item of a subscription.
#[derive(Debug)]
pub enum Item<T> {
    /// A message.
    Message(T, Meta),
    /// This number of messages were dropped, because the subscriber did not keep up; `None` if
    /// an unknown number is missing, because the node lost its connection.
    Gap(Option<u64>),
    /// A message that cannot be decoded.
    Undecodable(CodecError, Meta),
}

/// Metadata of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Meta {
    /// The private group of its publisher.
    pub from: Name,
    /// When it was published, by the publisher's clock.
    pub sent_at: SystemTime,
    /// When it was received, by the clock of this machine.
    pub received_at: SystemTime,
}

impl Meta {
    /// Returns the time between sending and receiving, by the clocks of both machines; zero if
    /// these say that the message was received before it was sent.
    pub fn age(&self) -> Duration {
        self.received_at.duration_since(self.sent_at).unwrap_or_default()
    }
}

impl<T: Message> Topic<T> {
    pub(crate) fn new(name: &str, source: Source, retained: Replicated<Retained>) -> Topic<T> {
        let source = source.of(codec::channel::<T>("topic", name));
        Topic { name: name.to_owned(), source, retained, values: PhantomData }
    }

    /// Returns the topic of this name that retains its last value for late subscribers. It is
    /// another topic: neither receives the messages of the other.
    pub fn retain_last(&self) -> RetainedTopic<T> {
        RetainedTopic::new(&self.name, self.retained.clone(), &self.source)
    }

    /// Publishes a value. Returns as soon as the message is queued; without a connection it waits
    /// for the next one. A member that leaves sends the queue first; without a connection the
    /// queue is dropped.
    ///
    /// # Errors
    ///
    /// [`Error::Codec`]; [`Error::TooLarge`] if it takes more than 128 KiB; [`Error::Full`]
    /// if 4 MiB of messages wait to be sent; [`Error::Closed`] if the member has left the
    /// group.
    pub fn publish(&self, value: &T) -> Result<(), Error> {
        let payload = codec::encode(value)?;
        let max = fragments::FRAGMENT;
        if payload.len() > max {
            return Err(Error::TooLarge { len: payload.len(), max });
        }
        let Source { channel, commands, shared, .. } = &self.source;
        let topic = core::envelope::Topic {
            message: shared.next_message(),
            sent_at: unix_time(),
            channel: *channel,
            hops: 0,
            publisher: None,
            payload,
        };
        publish(commands, shared, &topic)
    }

    /// Subscribes to the messages that are delivered from now on; up to 1,024 are queued.
    pub fn subscribe(&self) -> Subscription<T> {
        self.subscribe_with(QUEUE)
    }

    /// Subscribes with a queue for this number of messages, at least 1.
    pub fn subscribe_with(&self, queue: usize) -> Subscription<T> {
        self.source.subscribe(Inbox::new(queue))
    }

    /// Returns the subscribers.
    pub fn subscribers(&self) -> Subscribers {
        self.source.subscribers()
    }
}

/// The subscribers of a topic, returned by [`Topic::subscribers`]: members, each counted once,
/// without observers.
///
/// ```
/// # let daemon = spread_daemon::Daemon::builder().start()?;
/// # let address = daemon.address();
/// use spread::Mailbox;
/// use spread_groups::Node;
///
/// let node = Node::connect(Mailbox::builder(address))?;
/// let shop = node.group("shop")?.join()?;
/// let news = shop.topic::<String>("news");
/// let subscription = news.subscribe();
/// news.subscribers().at_least(1).wait()?;
/// news.publish(&String::from("it rains"))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Subscribers {
    channel: u32,
    services: Replicated<Services>,
}

impl Subscribers {
    /// Returns the number of subscribers, as this member knows them.
    pub fn count(&self) -> usize {
        self.services.look(|services| services.servers(self.channel).len())
    }

    /// Ends when there are this many subscribers. Messages that this member publishes from then
    /// on reach them, as long as they stay.
    ///
    /// # Errors
    ///
    /// The pending result fails with [`Error::Closed`] if the member leaves the group before.
    pub fn at_least(&self, count: usize) -> Pending<()> {
        services::at_least(&self.services, self.channel, count)
    }
}

/// A channel on which something is published, and the part in a group that it is for.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    channel: u32,
    commands: Commands,
    shared: Arc<Shared>,
    services: Replicated<Services>,
}

impl Source {
    pub(crate) fn new(
        commands: Commands,
        shared: Arc<Shared>,
        services: Replicated<Services>,
    ) -> Source {
        Source { channel: 0, commands, shared, services }
    }

    /// Returns the same for another channel.
    pub(crate) fn of(&self, channel: u32) -> Source {
        Source { channel, ..self.clone() }
    }

    /// Returns the private group of this node.
    pub(crate) fn name(&self) -> Name {
        self.shared.name()
    }

    /// Makes the near end of a queue a subscription, and announces it.
    pub(crate) fn subscribe<T: Message>(&self, inbox: Inbox) -> Subscription<T> {
        let (shared, channel) = (self.shared.clone(), self.channel);
        let mut near = Near(Some(inbox.clone()));
        self.commands.push(move |runner| {
            if let Some(hosted) = runner.part(&shared)
                && let Some(inbox) = near.0.take()
            {
                hosted.subscribe(channel, inbox);
            }
            runner.input_to(&shared, Input::Tick);
        });
        Subscription { reader: Reader::new(inbox), source: self.clone(), values: PhantomData }
    }

    pub(crate) fn subscribers(&self) -> Subscribers {
        Subscribers { channel: self.channel, services: self.services.clone() }
    }
}

/// The near end of a queue, which is closed unless a group takes it.
struct Near(Option<Inbox>);

impl Drop for Near {
    fn drop(&mut self) {
        if let Some(inbox) = &self.0 {
            inbox.close();
        }
    }
}

/// The messages of a topic: an [`Iterator`] that waits, and a [`Stream`]. It ends when the
/// member leaves the group.
#[derive(Debug)]
pub struct Subscription<T> {
    reader: Reader,
    source: Source,
    values: PhantomData<fn() -> T>,
}

impl<T: Message> Subscription<T> {
    /// Waits for the next item; `None` after `timeout`, or when the member has left the group.
    pub fn next_timeout(&mut self, timeout: Duration) -> Option<Item<T>> {
        let next = self.reader.next(Instant::now().checked_add(timeout))?;
        item(next)
    }
}

impl<T: Message> Iterator for Subscription<T> {
    type Item = Item<T>;

    fn next(&mut self) -> Option<Item<T>> {
        item(self.reader.next(None)?)
    }
}

impl<T: Message> Stream for Subscription<T> {
    type Item = Item<T>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Item<T>>> {
        self.reader.poll_next(cx).map(item)
    }
}

impl<T> Drop for Subscription<T> {
    fn drop(&mut self) {
        self.reader.inbox().close();
        let (shared, channel) = (self.source.shared.clone(), self.source.channel);
        self.source.commands.push(move |runner| {
            if let Some(hosted) = runner.part(&shared) {
                hosted.unsubscribe(channel);
            }
            runner.input_to(&shared, Input::Tick);
        });
    }
}

/// Queues a message, and tells the node's thread if it does not know that one waits.
///
/// # Errors
///
/// [`Error::Full`], [`Error::Closed`].
pub(crate) fn publish(
    commands: &Commands,
    shared: &Arc<Shared>,
    topic: &core::envelope::Topic,
) -> Result<(), Error> {
    if shared.publish(topic)? {
        let shared = shared.clone();
        commands.push(move |runner| runner.publish(&shared));
    }
    Ok(())
}

fn item<T: Message>(next: Next) -> Option<Item<T>> {
    let Published { from, sent_at, received_at, payload } = match next {
        Next::Message(published) => published,
        Next::Gap(dropped) => return Some(Item::Gap(dropped)),
        Next::End => return None,
    };
    let sent_at = SystemTime::UNIX_EPOCH + Duration::from_millis(sent_at);
    let meta = Meta { from, sent_at, received_at };
    Some(match decode(&payload) {
        Ok(value) => Item::Message(value, meta),
        Err(error) => Item::Undecodable(error, meta),
    })
}

fn decode<T: Message>(payload: &Bytes) -> Result<T, CodecError> {
    codec::decode(payload)
}
