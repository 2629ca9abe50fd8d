//! Messages of the leader to all members, and questions to the leader.

use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::SystemTime;

use bytes::Bytes;
use spread::Name;

use super::Term;
use super::state::{Answer, Leaders, Order, Outcome, Step};
use crate::codec::{self, Message};
use crate::core::roster::Incarnation;
use crate::inbox::{Inbox, Published};
use crate::replicated::{Replicated, Watch};
use crate::topic::{QUEUE, Source, Subscribers, Subscription};
use crate::{Error, Pending, call, error, ticket};

/// Bytes of a question or an answer.
const MAX_MESSAGE: usize = 1 << 20;
/// Questions that wait for a handler. More are refused as busy.
const WAITING: usize = 1024;

/// A topic on which only the leader publishes, made by
/// [`Group::leader_topic`](crate::Group::leader_topic).
///
/// ```
/// # let daemon = spread_daemon::Daemon::builder().start()?;
/// # let address = daemon.address();
/// use spread::Mailbox;
/// use spread_groups::{Item, Node};
///
/// let node = Node::connect(Mailbox::builder(address))?;
/// let plant = node.group("plant")?.join()?;
/// let orders = plant.leader_topic::<String>("orders");
/// let mut subscription = orders.subscribe();
/// let term = plant.leadership().term().wait()?;
/// orders.publish(&term, &String::from("heat")).wait()?;
/// assert!(matches!(subscription.next(), Some(Item::Message(order, _)) if order == "heat"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct LeaderTopic<T> {
    channel: u32,
    leaders: Replicated<Leaders>,
    source: Source,
    values: PhantomData<fn(T) -> T>,
}

impl<T> Clone for LeaderTopic<T> {
    fn clone(&self) -> LeaderTopic<T> {
        let LeaderTopic { channel, leaders, source, .. } = self;
        let (leaders, source) = (leaders.clone(), source.clone());
        LeaderTopic { channel: *channel, leaders, source, values: PhantomData }
    }
}

impl<T: Message> LeaderTopic<T> {
    pub(crate) fn new(name: &str, leaders: Replicated<Leaders>, source: &Source) -> Self {
        let channel = codec::channel::<T>("leader", name);
        LeaderTopic { channel, leaders, source: source.of(channel), values: PhantomData }
    }

    /// Publishes a value in a term of this member. If that is not the term at the place of the
    /// message, all subscribers ignore it.
    ///
    /// # Errors
    ///
    /// The pending result fails with [`Error::Deposed`] if it was ignored, and with the errors
    /// of [`Replicated::submit`].
    pub fn publish(&self, term: &Term, value: &T) -> Pending<()> {
        let payload = match codec::encode(value) {
            Ok(payload) => payload.into(),
            Err(error) => return Pending::failed(error.into()),
        };
        let (channel, from) = (self.channel, self.source.name().to_string());
        self.leaders.submit_and(&Step::Order { term: term.id, channel, from, payload }, accepted)
    }

    /// Subscribes to the messages that the leader publishes from now on; up to 1,024 are queued. A
    /// member whose state was replaced may have missed some, and sees a [gap](crate::Item::Gap).
    pub fn subscribe(&self) -> Subscription<T> {
        let inbox = Inbox::new(QUEUE);
        let (channel, near) = (self.channel, inbox.clone());
        let (mut is_first, mut begun) = (true, false);
        self.leaders.watch(move |leaders| {
            if near.is_closed() {
                return Watch::Ends;
            }
            match leaders.recent() {
                _ if is_first => {}
                Some(recent) => {
                    let order = recent.order.as_ref().filter(|order| order.channel == channel);
                    if let Some(order) = order.and_then(published) {
                        near.push(order);
                    }
                }
                None if begun => near.miss(),
                None => {}
            }
            // Before there was any state there is nothing to miss.
            begun |= leaders.term().is_some();
            is_first = false;
            Watch::GoesOn
        });
        self.source.subscribe(inbox)
    }

    /// Returns the subscribers.
    pub fn subscribers(&self) -> Subscribers {
        self.source.subscribers()
    }
}

fn published(order: &Order) -> Option<Published> {
    // A step with another name is refused.
    let from = Name::new(&order.from).ok()?;
    let payload = Bytes::copy_from_slice(&order.payload);
    Some(Published { from, sent_at: order.sent_at, received_at: SystemTime::now(), payload })
}

fn accepted(outcome: Outcome) -> Result<(), Error> {
    match outcome {
        Outcome::Done | Outcome::Leads(_) => Ok(()),
        Outcome::Full => Err(Error::NoRoom),
        Outcome::Deposed => Err(Error::Deposed),
    }
}

/// Sends a question to the leader.
pub(crate) fn ask<Q: Message, A: Message>(
    name: &str,
    question: &Q,
    leaders: &Replicated<Leaders>,
) -> Pending<A> {
    let payload: Vec<u8> = match codec::encode(question) {
        Ok(payload) if payload.len() > MAX_MESSAGE => {
            let (len, max) = (payload.len(), MAX_MESSAGE);
            return Pending::failed(Error::TooLarge { len, max });
        }
        Ok(payload) => payload.into(),
        Err(error) => return Pending::failed(error.into()),
    };
    let ticket = match crate::machines::random() {
        Ok(ticket) => ticket,
        Err(error) => return Pending::failed(error),
    };
    let step = Step::Ask { ticket, channel: call::channel::<Q, A>(name), payload };
    let (complete, pending) = Pending::new();
    let refused = |outcome| {
        accepted(outcome).map_err(|error| match error {
            // There is none at its place.
            Error::Deposed => no_responders("nobody leads".to_owned()),
            error => error,
        })
    };
    let name = name.to_owned();
    let id = ticket::request(leaders, ticket, &step, refused, move |end| {
        complete(match end {
            Ok(bytes) => codec::decode::<A>(&bytes).map_err(Error::UndecodableAnswer),
            Err(Error::NoResponders { .. }) => {
                let service = call::service::<Q, A>(&name);
                Err(no_responders(format!("the leader does not serve {service}")))
            }
            Err(error) => Err(error),
        });
    });
    pending.of_operation(id)
}

fn no_responders(what: String) -> Error {
    Error::NoResponders { what }
}

/// A question that waits for a handler.
type Asked = (u128, Vec<u8>);

/// The handlers of a member for questions to the leader, by their channels, with their
/// numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct LeaderHandlers(Arc<Mutex<Handlers>>);

type Handlers = BTreeMap<u32, (u64, SyncSender<Asked>)>;

impl LeaderHandlers {
    fn lock(&self) -> MutexGuard<'_, Handlers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hands questions to the handlers of this member while it leads, until it leaves the group.
pub(crate) fn hand_over(leaders: &Replicated<Leaders>, handlers: LeaderHandlers, own: Incarnation) {
    let near = leaders.clone();
    let mut handed: BTreeSet<u128> = BTreeSet::new();
    leaders.watch(move |leaders| {
        let is_news = leaders.recent().is_none_or(|recent| recent.asked.is_some());
        if !is_news {
            return Watch::GoesOn;
        }
        let asked: Vec<_> = leaders.asked(own).collect();
        handed.retain(|ticket| asked.iter().any(|(of, _)| of == ticket));
        for (ticket, question) in asked {
            if !handed.insert(ticket) {
                continue;
            }
            let handlers = handlers.lock();
            let handler = handlers.get(&question.channel);
            let refused = match handler.map(|(_, h)| h.try_send((ticket, question.payload.clone())))
            {
                Some(Ok(())) => continue,
                Some(Err(TrySendError::Full(_))) => Answer::Busy,
                Some(Err(TrySendError::Disconnected(_))) | None => Answer::NotServed,
            };
            near.submit_when_room(&Step::Answer { ticket, answer: refused }, drop);
        }
        Watch::GoesOn
    });
}

/// A service for questions to the leader, which ends when this is dropped; made by
/// [`Group::serve_as_leader`](crate::Group::serve_as_leader).
#[derive(Debug)]
#[must_use = "dropping it ends the service"]
pub struct LeaderServing {
    channel: u32,
    number: u64,
    handlers: LeaderHandlers,
}

impl Drop for LeaderServing {
    /// A later service of the same name goes on.
    fn drop(&mut self) {
        let mut handlers = self.handlers.lock();
        if handlers.get(&self.channel).is_some_and(|(number, _)| *number == self.number) {
            handlers.remove(&self.channel);
        }
    }
}

/// Begins to answer: a thread runs the handler until the service ends.
pub(crate) fn serve<Q: Message, A: Message>(
    name: &str,
    leaders: Replicated<Leaders>,
    handlers: LeaderHandlers,
    handler: impl Fn(Q) -> Result<A, String> + Send + 'static,
) -> Result<LeaderServing, Error> {
    let (channel, number) = (call::channel::<Q, A>(name), call::next_serving());
    let (questions, queue) = sync_channel(WAITING);
    let thread = thread::Builder::new().name(String::from("spread-groups-leader"));
    thread
        .spawn(move || answer(&queue, &leaders, handler))
        .map_err(|error| Error::System(Arc::new(error)))?;
    handlers.lock().insert(channel, (number, questions));
    Ok(LeaderServing { channel, number, handlers })
}

fn answer<Q: Message, A: Message>(
    queue: &Receiver<Asked>,
    leaders: &Replicated<Leaders>,
    handler: impl Fn(Q) -> Result<A, String>,
) {
    for (ticket, payload) in queue {
        // A handler is called again after a panic; it has to check state that it shares.
        let answer = catch_unwind(AssertUnwindSafe(|| {
            let question = codec::decode(&payload).map_err(|error| error.to_string())?;
            let answer = codec::encode(&handler(question)?).map_err(|error| error.to_string())?;
            if answer.len() > MAX_MESSAGE {
                return Err(format!("an answer of {} bytes is too large", answer.len()));
            }
            Ok(answer)
        }));
        let answer = match answer.unwrap_or_else(|panic| Err(error::panicked(&*panic))) {
            Ok(answer) => Answer::Done(answer.into()),
            Err(why) => Answer::Failed(error::reason(&why)),
        };
        leaders.submit_when_room(&Step::Answer { ticket, answer }, drop);
    }
}
