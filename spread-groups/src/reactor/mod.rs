//! A reactor: handlers by message type, changes of membership, and timers, in one thread or with
//! workers.
//!
//! **Promises.** Messages of all types come in the one order of the group, and changes of
//! membership at their places among them. [`Message::NAME`] tells the types apart. With
//! [workers](Reactor::keyed_workers), messages of one key keep their order. A message is delivered
//! at most once. If the queue is full, messages are dropped; the reactor sees a
//! [gap](Failure::Gap), as it does when the connection is lost.
//!
//! If a handler panics, the reactor goes on: it counts the panic and calls
//! [`Reactor::failures`]. State that the handler shares with other threads is not checked. A
//! handler may block; messages are queued meanwhile.
//!
//! **Sends** one agreed message for each [`Group::post`]. Handlers and timers send nothing.
//!
//! **A roster change** calls [`Reactor::membership`]; it has no effect on messages.
//!
//! **In a partition** a message reaches the publisher's side. **At a merge** nothing is sent
//! again, and [`Reactor::membership`] is told that the members of the other side have joined.

mod engine;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use spread::Name;

use crate::codec::{self, Codec, CodecError, Message, Prost};
use crate::core::roster::{Departure, Member};
use crate::feed::Feed;
use crate::{Error, Group};
use engine::{Engine, Handlers};

/// The topic of [`Group::post`].
const TOPIC: &str = "reactor";
/// Messages and changes that wait for a reactor.
const QUEUE: usize = 1024;
/// The shortest period of a timer.
const MIN_PERIOD: Duration = Duration::from_millis(1);

/// The longest period of a timer.
const MAX_PERIOD: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A value with the name of its type, so that types share a topic.
#[derive(Clone, PartialEq, ::prost::Message)]
pub(crate) struct Post {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) codec: String,
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) payload: Bytes,
}

impl Message for Post {
    const NAME: &'static str = "spread.groups.Post";
    type Codec = Prost;
}

/// Publishes a value to the reactors that listen to a topic.
pub(crate) fn post<T: Message>(group: &Group, topic: &str, value: &T) -> Result<(), Error> {
    let payload = codec::encode(value)?;
    let codec = <T::Codec as Codec<T>>::NAME;
    let post = Post { name: T::NAME.to_owned(), codec: codec.to_owned(), payload };
    group.topic::<Post>(topic).publish(&post)
}

/// Publishes a value to the reactors of a group.
pub(crate) fn post_to_reactors<T: Message>(group: &Group, value: &T) -> Result<(), Error> {
    post(group, TOPIC, value)
}

/// A message of a type that [`Reactor::otherwise`] or a key looks at undecoded.
#[derive(Clone, Copy, Debug)]
pub struct Posted<'a> {
    post: &'a Post,
}

impl<'a> Posted<'a> {
    /// Returns the name of its type.
    pub fn name(&self) -> &'a str {
        &self.post.name
    }

    /// Returns its encoded value.
    pub fn payload(&self) -> &'a [u8] {
        &self.post.payload
    }

    /// Decodes it, if it is of this type.
    ///
    /// # Errors
    ///
    /// [`CodecError`] if it is of another type or encoding, or cannot be decoded.
    pub fn decode<T: Message>(&self) -> Result<T, CodecError> {
        self.post.decode()
    }
}

impl Post {
    fn decode<T: Message>(&self) -> Result<T, CodecError> {
        let codec = <T::Codec as Codec<T>>::NAME;
        if self.name != T::NAME || self.codec != codec {
            let reason = format!("{} as {} is no {}", self.name, self.codec, T::NAME);
            return Err(CodecError::new(codec, reason));
        }
        codec::decode(&self.payload)
    }
}

/// The context of a message.
#[derive(Clone, Debug)]
pub struct Context {
    group: Group,
    from: Name,
    sent_at: SystemTime,
    received_at: SystemTime,
    control: Control,
}

impl Context {
    /// Returns the group in which the message came.
    pub fn group(&self) -> &Group {
        &self.group
    }

    /// Returns the private group of the publisher.
    pub fn from(&self) -> Name {
        self.from
    }

    /// Returns when it was published, by the publisher's clock.
    pub fn sent_at(&self) -> SystemTime {
        self.sent_at
    }

    /// Returns when it was received, by the clock of this machine.
    pub fn received_at(&self) -> SystemTime {
        self.received_at
    }

    /// Stops the reactor.
    pub fn stop(&self) {
        self.control.stop();
    }
}

/// A handle that stops a reactor, from any thread.
#[derive(Clone, Debug)]
pub struct Control {
    feed: Feed,
}

impl Control {
    /// Stops the reactor: queued messages are dropped, and running handlers finish.
    pub fn stop(&self) {
        self.feed.stop();
    }
}

/// A change of the membership of a group. The first one has all members.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Membership {
    /// The group.
    pub group: Name,
    /// The members, by seniority.
    pub members: Arc<[Member]>,
    /// New members. A node that reconnected has departed and joined.
    pub joined: Vec<Member>,
    /// Members that departed, with the cause where it is known.
    pub departed: Vec<(Member, Option<Departure>)>,
}

/// A failure in a reactor, which goes on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Failure {
    /// The handler of this type panicked, or the one that is named here.
    Panicked(String),
    /// A message of this type cannot be decoded.
    Undecodable(String, CodecError),
    /// This number of messages of a group were dropped, because the handlers did not keep up;
    /// `None` if an unknown number is missing, because the connection was lost.
    Gap(Name, Option<u64>),
}

/// Counters of a reactor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Messages that a handler of their type has handled.
    pub handled: u64,
    /// Messages without a handler of their type.
    pub unknown: u64,
    /// Messages that could not be decoded.
    pub undecodable: u64,
    /// Panics of all handlers.
    pub panicked: u64,
    /// Messages that were dropped.
    pub dropped: u64,
    /// Gaps of unknown size.
    pub lost: u64,
}

/// The builder of a reactor.
///
/// ```
/// # let daemon = spread_daemon::Daemon::builder().start()?;
/// # let address = daemon.address();
/// use spread::Mailbox;
/// use spread_groups::{Node, Reactor};
///
/// let node = Node::connect(Mailbox::builder(address))?;
/// let plant = node.group("plant")?.join()?;
/// let reactor = Reactor::new(&plant)
///     .on(|text: String, cx| {
///         println!("{}: {text}", cx.from());
///         cx.stop();
///     })
///     .otherwise(|message, _| println!("a {}", message.name()))
///     .start()?;
/// plant.post(&vec![1, 2, 3])?;
/// plant.post(&String::from("hello"))?;
/// let stats = reactor.join()?;
/// assert_eq!((stats.handled, stats.unknown), (1, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "nothing happens before `run` or `start`"]
pub struct Reactor {
    groups: Vec<Group>,
    topic: String,
    queue: usize,
    handlers: Handlers,
    membership: Option<Follow>,
    ticks: Vec<(Duration, Tick)>,
    workers: Option<(usize, Key)>,
}

type Follow = Box<dyn FnMut(&Membership) + Send>;
type Tick = Box<dyn FnMut(&Control) + Send>;
type Key = Box<dyn Fn(Posted<'_>, &Context) -> u64 + Send>;

impl Reactor {
    /// Returns the builder of a reactor of a group.
    pub fn new(group: &Group) -> Reactor {
        Reactor {
            groups: vec![group.clone()],
            topic: TOPIC.to_owned(),
            queue: QUEUE,
            handlers: Handlers::default(),
            membership: None,
            ticks: Vec::new(),
            workers: None,
        }
    }

    /// Adds a group, whose messages and membership come to the same handlers. Between groups
    /// there is no order.
    pub fn and(mut self, group: &Group) -> Reactor {
        self.groups.push(group.clone());
        self
    }

    /// Listens to another topic than that of [`Group::post`].
    pub(crate) fn of_topic(mut self, topic: String) -> Reactor {
        self.topic = topic;
        self
    }

    /// Limits the messages and changes that wait. Defaults to 1,024.
    pub fn queue(mut self, messages: usize) -> Reactor {
        self.queue = messages;
        self
    }

    /// Handles messages of a type. A later handler of the same type replaces an earlier one.
    pub fn on<T: Message>(
        mut self,
        handler: impl Fn(T, &Context) + Send + Sync + 'static,
    ) -> Reactor {
        self.handlers.on(T::NAME, move |post, cx| {
            handler(post.decode::<T>()?, cx);
            Ok(())
        });
        self
    }

    /// Handles messages of all other types.
    pub fn otherwise(
        mut self,
        handler: impl Fn(Posted<'_>, &Context) + Send + Sync + 'static,
    ) -> Reactor {
        self.handlers.otherwise(handler);
        self
    }

    /// Handles changes of membership, in the reactor's own thread: with workers, messages that
    /// came before may still be in their handlers.
    pub fn membership(mut self, handler: impl FnMut(&Membership) + Send + 'static) -> Reactor {
        self.membership = Some(Box::new(handler));
        self
    }

    /// Handles failures: panics, undecodable messages and gaps.
    pub fn failures(mut self, handler: impl Fn(&Failure) + Send + Sync + 'static) -> Reactor {
        self.handlers.failures(handler);
        self
    }

    /// Calls `tick` with this period, 1 ms to a year, in the reactor's own thread. Calls that are
    /// overdue by more than a period are skipped.
    pub fn every(
        mut self,
        period: Duration,
        tick: impl FnMut(&Control) + Send + 'static,
    ) -> Reactor {
        self.ticks.push((period.clamp(MIN_PERIOD, MAX_PERIOD), Box::new(tick)));
        self
    }

    /// Handles messages in this number of threads, at least 1. Messages with equal keys are
    /// handled by one thread in their order. 64 messages wait for each thread; the reactor waits
    /// for a thread that has more.
    pub fn keyed_workers<K: Hash>(
        mut self,
        threads: usize,
        key: impl Fn(Posted<'_>, &Context) -> K + Send + 'static,
    ) -> Reactor {
        let hash = move |posted: Posted<'_>, cx: &Context| {
            let mut hasher = DefaultHasher::new();
            key(posted, cx).hash(&mut hasher);
            hasher.finish()
        };
        self.workers = Some((threads.max(1), Box::new(hash)));
        self
    }

    /// Runs the reactor in this thread, until it is stopped or the member has left the
    /// groups.
    ///
    /// # Errors
    ///
    /// [`Error::System`] if no worker can be started; [`Error::OwnThread`] on a thread of
    /// this crate.
    pub fn run(self) -> Result<Stats, Error> {
        Ok(Engine::start(self)?.run())
    }

    /// Starts the reactor in a thread, with the messages that are delivered from now on.
    ///
    /// # Errors
    ///
    /// [`Error::System`] if a thread cannot be started; [`Error::OwnThread`] on a thread of
    /// this crate.
    pub fn start(self) -> Result<Running, Error> {
        let engine = Engine::start(self)?;
        let (handlers, feed) = (engine.handlers(), engine.feed());
        let control = Control { feed };
        let thread = std::thread::Builder::new().name(String::from("spread-groups-reactor"));
        // What taps the groups is dropped with the engine if this fails.
        let thread = thread.spawn(move || engine.run());
        let thread = thread.map_err(|error| Error::System(Arc::new(error)));
        if thread.is_err() {
            control.stop();
        }
        Ok(Running { control, handlers, thread: Some(thread?) })
    }
}

impl std::fmt::Debug for Reactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reactor").field("groups", &self.groups).finish_non_exhaustive()
    }
}

/// A reactor that runs in a thread, made by [`Reactor::start`]. Dropping it stops the
/// reactor without waiting.
#[derive(Debug)]
#[must_use = "dropping it stops the reactor"]
pub struct Running {
    control: Control,
    handlers: Arc<Handlers>,
    thread: Option<JoinHandle<Stats>>,
}

impl Running {
    /// Returns a handle that stops it.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Returns the counters.
    pub fn stats(&self) -> Stats {
        self.handlers.stats()
    }

    /// Stops it, and waits for the handlers that run.
    ///
    /// # Errors
    ///
    /// [`Error::OwnThread`] in one of its handlers; it stops all the same.
    pub fn stop(self) -> Result<Stats, Error> {
        self.control.stop();
        self.join()
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    ///
    /// [`Error::OwnThread`] in one of its handlers, which ends it.
    pub fn join(mut self) -> Result<Stats, Error> {
        if engine::runs(&self.control.feed) {
            return Err(Error::OwnThread);
        }
        let thread = self.thread.take().expect("taken here only");
        // Its panic is one of this crate's own.
        Ok(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.control.stop();
        }
    }
}
