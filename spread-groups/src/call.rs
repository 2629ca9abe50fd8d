//! Calls and answers.
//!
//! **Promises.** Each server executes a call at most once. A call ends with a typed outcome: the
//! answer, the error of the handler, or the reason for which no answer comes. A call to a server
//! that leaves, crashes or is parted ends at that view, before any timeout; the server may have
//! executed it. Nothing is sent again.
//!
//! **Sends** one message to the private group of each server, and one back; the threads that call
//! and that answer send them, without waiting. The list of servers is replicated state: one
//! operation of the log when a service begins and one when it ends.
//!
//! **A roster change** ends the calls to the members that departed. A server that reconnects
//! announces its services again. A caller that loses its connection loses its answers.
//!
//! **In a partition** a call reaches the servers of the caller's side. **At a merge** all members
//! announce their services again, so that callers find the servers of both sides.
//!
//! Only members that take part in the replicated state know the servers. An observer finds none,
//! and its calls fail with [`Error::Observer`];
//! nor does a node that has reconnected and is not in the roster yet.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use spread::Name;

use crate::calls::{Begun, Outcome as Raw};
use crate::codec::{self, CodecError, Message};
use crate::core::Input;
use crate::core::envelope::{self, Frame, Reply, ReplyOutcome};
use crate::core::fragments;
use crate::core::roster::{Departure, Incarnation, Member};
use crate::node::{Commands, ConnectionId, Shared, Unsendable};
use crate::pending::Unsent;
use crate::replicated::Replicated;
use crate::services::{self, Services};
use crate::{Error, Pending, error};

/// Calls that wait for a handler. More are refused as busy.
const QUEUE: usize = 1024;

/// Which server a call goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum To {
    /// Any server; successive calls of one member go round.
    Any,
    /// The same for the same key, as long as the servers are the same.
    Key(u64),
    /// The [leader](crate::leader), if it serves.
    Leader,
    /// This member, if it serves.
    Member(Incarnation),
}

/// When a call to all servers ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Until {
    /// At the first answer.
    First,
    /// At the answers of more than half of the servers.
    Majority,
    /// At this number of answers.
    Count(usize),
    /// When every server has answered, or cannot any more.
    All,
}

/// The outcome of a call to all servers as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The required answers have come.
    Satisfied,
    /// The required answers cannot come any more.
    OutOfReach,
    /// Nobody serves it.
    NoResponders,
    /// The time is over.
    TimedOut,
    /// The connection was lost, and with it the answers.
    Disconnected,
}

/// The outcome of a call at one server.
#[derive(Debug)]
#[non_exhaustive]
pub enum Outcome<T> {
    /// It answered.
    Answered(T),
    /// Its handler returned this error, or panicked.
    Failed(String),
    /// 1,024 calls wait at the server; it was not executed.
    Busy,
    /// The server does not serve this any more; it was not executed.
    NotServed,
    /// Its answer cannot be decoded.
    Undecodable(CodecError),
    /// The server has departed; it may have executed the call.
    Departed(Departure),
    /// The server has not answered; it may still execute the call.
    Pending,
}

/// The answers to a call to all servers.
#[derive(Debug)]
pub struct Replies<T> {
    /// The outcome at each server, in the order in which they began to serve.
    pub each: Vec<(Incarnation, Outcome<T>)>,
    /// The outcome of the call as a whole.
    pub verdict: Verdict,
}

/// A call that is being made, by [`Group::call`](crate::Group::call).
///
/// ```
/// # let daemon = spread_daemon::Daemon::builder().start()?;
/// # let address = daemon.address();
/// use std::time::Duration;
///
/// use spread::Mailbox;
/// use spread_groups::Node;
///
/// let node = Node::connect(Mailbox::builder(address))?;
/// let plant = node.group("plant")?.join()?;
/// let (serving, begun) = plant.serve("upper", |text: String| Ok(text.to_uppercase()))?;
/// begun.wait()?;
/// let call = plant.call::<String, String>("upper", &String::from("abc"));
/// assert_eq!(call.within(Duration::from_secs(5)).send().wait()?, "ABC");
/// # drop(serving);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "nothing is sent before `send`"]
pub struct Call<T> {
    name: String,
    /// The names of the types of the question and the answer.
    types: [&'static str; 2],
    channel: u32,
    payload: Result<Bytes, CodecError>,
    to: To,
    within: Option<Duration>,
    commands: Commands,
    shared: Arc<Shared>,
    services: Replicated<Services>,
    answers: PhantomData<fn() -> T>,
}

impl<T: Message> Call<T> {
    pub(crate) fn new<Q: Message>(
        name: &str,
        question: &Q,
        commands: Commands,
        shared: Arc<Shared>,
        services: Replicated<Services>,
    ) -> Call<T> {
        Call {
            name: name.to_owned(),
            types: [Q::NAME, T::NAME],
            channel: channel::<Q, T>(name),
            payload: codec::encode(question),
            to: To::Any,
            within: None,
            commands,
            shared,
            services,
            answers: PhantomData,
        }
    }

    /// Chooses the server. Defaults to [`To::Any`].
    pub fn to(mut self, to: To) -> Call<T> {
        self.to = to;
        self
    }

    /// Limits the time. Defaults to none: the call ends when the server answers or departs.
    pub fn within(mut self, time: Duration) -> Call<T> {
        self.within = Some(time);
        self
    }

    /// Calls one server.
    ///
    /// # Errors
    ///
    /// The pending result fails with [`Error::NoResponders`] at once if there is no server, or
    /// the chosen one does not serve; with [`Error::Codec`], [`Error::TooLarge`] (more than
    /// 128 KiB), [`Error::Full`] (1,024 calls are under way, or 16 MiB of calls wait to be sent),
    /// [`Error::NotConnected`], [`Error::Observer`] or [`Error::Closed`] (the member has left the
    /// group) if it was not sent; with [`Error::Busy`] if 1,024 calls wait at the server; with
    /// [`Error::Failed`] if its handler returned an error or panicked; with
    /// [`Error::UndecodableAnswer`], [`Error::ServerDeparted`], [`Error::TimedOut`] or
    /// [`Error::Disconnected`] if it may have been executed.
    pub fn send(mut self) -> Pending<T> {
        let (complete, pending) = Pending::new();
        let (name, types, to) = (std::mem::take(&mut self.name), self.types, self.to);
        self.begin(false, Until::First, move |replies| {
            let nobody = || {
                let service = described(&name, types);
                let what = match to {
                    To::Any | To::Key(_) => format!("no member serves {service}"),
                    To::Leader => format!("the leader does not serve {service}"),
                    To::Member(_) => format!("the chosen member does not serve {service}"),
                };
                Error::NoResponders { what }
            };
            complete(replies.and_then(|replies| one(replies, nobody)));
        });
        pending
    }

    /// Calls all servers.
    ///
    /// # Errors
    ///
    /// The pending result fails with [`Error::Codec`], [`Error::TooLarge`], [`Error::Full`],
    /// [`Error::NotConnected`], [`Error::Observer`] or [`Error::Closed`] if nothing was sent.
    /// [`Replies`] has the outcome at each server.
    pub fn send_to_all(self, until: Until) -> Pending<Replies<T>> {
        let (complete, pending) = Pending::new();
        self.begin(true, until, complete);
        pending
    }

    fn begin(
        self,
        all: bool,
        until: Until,
        complete: impl FnOnce(Result<Replies<T>, Error>) + Send + 'static,
    ) {
        let Call { channel, payload, to, within, commands, shared, services, .. } = self;
        let payload = match payload {
            Ok(payload) if payload.len() > fragments::FRAGMENT => {
                let (len, max) = (payload.len(), fragments::FRAGMENT);
                return complete(Err(Error::TooLarge { len, max }));
            }
            Ok(payload) => payload,
            Err(error) => return complete(Err(error.into())),
        };
        if shared.is_observer() {
            return complete(Err(Error::Observer));
        }
        let mut servers = serving(channel, &shared, &services);
        if !all {
            let at = |number: u64| (!servers.is_empty()).then(|| number as usize % servers.len());
            let chosen = match to {
                To::Any => at(shared.next_call()),
                To::Key(key) => at(key),
                To::Member(of) => servers.iter().position(|member| member.incarnation == of),
                To::Leader => {
                    let leader = crate::leader::leader(&shared.roster());
                    servers.iter().position(|member| Some(member) == leader.as_ref())
                }
            };
            servers = chosen.map(|at| servers.swap_remove(at)).into_iter().collect();
        }
        let complete = Box::new(move |ended: Result<Ended, Error>| {
            complete(ended.map(|(each, verdict)| {
                let each = each.into_iter().map(|(who, raw)| (who, outcome(raw))).collect();
                Replies { each, verdict }
            }));
        });
        let question = Question { channel, payload, until, within, complete };
        ask(&commands, &shared, &servers, question);
    }
}

/// Calls some servers, from this thread.
pub(crate) fn ask(
    commands: &Commands,
    shared: &Arc<Shared>,
    servers: &[Member],
    question: Question,
) {
    let Question { channel, payload, until, within, complete } = question;
    if shared.has_ended() {
        return complete(Err(Error::Closed { may_have_executed: false }));
    }
    let Some(room) = shared.outlet.take_room(servers.len(), payload.len()) else {
        return complete(Err(Error::Full));
    };
    let deadline = within.and_then(|within| shared.now().checked_add(within));
    let begun = shared.calls(|calls| match calls.admit(servers) {
        Err(error) => Err((error, complete)),
        Ok(()) => {
            let done = Box::new(|each, verdict| complete(Ok((each, verdict))));
            Ok(calls.begin(servers, until, deadline, done))
        }
    });
    let Begun { number, connection, is_due_first } = match begun {
        Ok(begun) => begun,
        Err((error, complete)) => return complete(Err(error)),
    };
    if is_due_first {
        // The node's thread is to wait no longer than that.
        commands.push(|_| {});
    }
    if let Some(connection) = connection {
        let group = shared.group;
        let call = envelope::Call { group, channel, number, payload };
        let to = servers.iter().map(|server| server.name);
        let sent = shared.outlet.call(connection, to, &Frame::Call(call).encode(), &room);
        count_unsendable(commands, shared, sent);
    }
}

/// Takes note of a message of this thread that could not be encoded.
fn count_unsendable(commands: &Commands, shared: &Arc<Shared>, sent: Result<(), Unsendable>) {
    if sent.is_err() {
        let shared = shared.clone();
        commands.push(move |runner| {
            if let Some(hosted) = runner.part(&shared) {
                hosted.count_unsendable();
            }
        });
    }
}

fn outcome<T: Message>(raw: Raw) -> Outcome<T> {
    match raw {
        Raw::Answered(bytes) => {
            codec::decode(&bytes).map_or_else(Outcome::Undecodable, Outcome::Answered)
        }
        Raw::Failed(why) => Outcome::Failed(why),
        Raw::Busy => Outcome::Busy,
        Raw::NotServed => Outcome::NotServed,
        Raw::Departed(cause) => Outcome::Departed(cause),
        Raw::Pending => Outcome::Pending,
    }
}

/// A call as the node makes it.
pub(crate) struct Question {
    pub(crate) channel: u32,
    pub(crate) payload: Bytes,
    pub(crate) until: Until,
    pub(crate) within: Option<Duration>,
    pub(crate) complete: Box<dyn FnOnce(Result<Ended, Error>) + Send>,
}

/// The servers' parts, and the whole.
type Ended = (Vec<(Incarnation, Raw)>, Verdict);

/// Returns the result of a call to one server.
fn one<T>(mut replies: Replies<T>, nobody: impl FnOnce() -> Error) -> Result<T, Error> {
    match (replies.verdict, replies.each.pop().map(|(_, outcome)| outcome)) {
        (Verdict::TimedOut, _) => Err(Error::TimedOut),
        (Verdict::Disconnected, _) => Err(Error::Disconnected),
        (_, Some(Outcome::Answered(answer))) => Ok(answer),
        (_, Some(Outcome::Failed(why))) => Err(Error::Failed(why)),
        (_, Some(Outcome::Busy)) => Err(Error::Busy),
        (_, Some(Outcome::Undecodable(error))) => Err(Error::UndecodableAnswer(error)),
        (_, Some(Outcome::Departed(cause))) => Err(Error::ServerDeparted(cause)),
        (_, Some(Outcome::NotServed | Outcome::Pending) | None) => Err(nobody()),
    }
}

/// The servers of calls of a name and its types, returned by
/// [`Group::servers`](crate::Group::servers).
///
/// ```
/// # let daemon = spread_daemon::Daemon::builder().start()?;
/// # let address = daemon.address();
/// use spread::Mailbox;
/// use spread_groups::Node;
///
/// let node = Node::connect(Mailbox::builder(address))?;
/// let plant = node.group("plant")?.join()?;
/// let (serving, _) = plant.serve("upper", |text: String| Ok(text.to_uppercase()))?;
/// plant.servers::<String, String>("upper").at_least(1).wait()?;
/// let call = plant.call::<String, String>("upper", &String::from("abc"));
/// assert_eq!(call.send().wait()?, "ABC");
/// # drop(serving);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Servers {
    channel: u32,
    shared: Arc<Shared>,
    services: Replicated<Services>,
}

impl Servers {
    pub(crate) fn new<Q: Message, A: Message>(
        name: &str,
        shared: Arc<Shared>,
        services: Replicated<Services>,
    ) -> Servers {
        Servers { channel: channel::<Q, A>(name), shared, services }
    }

    /// Returns the servers in the order in which they began, as this member knows them.
    pub fn members(&self) -> Vec<Member> {
        serving(self.channel, &self.shared, &self.services)
    }

    /// Returns the number of servers, as this member knows them.
    pub fn count(&self) -> usize {
        self.members().len()
    }

    /// Ends when there are this many servers. A call that this member sends from then on goes
    /// to them, as long as they stay.
    ///
    /// # Errors
    ///
    /// The pending result fails with [`Error::Closed`] if the member leaves the group before.
    pub fn at_least(&self, count: usize) -> Pending<()> {
        services::at_least(&self.services, self.channel, count)
    }
}

fn serving(channel: u32, shared: &Shared, services: &Replicated<Services>) -> Vec<Member> {
    let roster = shared.roster();
    let sessions = services.look(|services| services.servers(channel).to_vec());
    let member = |session: u32| roster.iter().find(|member| member.session == session);
    sessions.into_iter().filter_map(member).cloned().collect()
}

/// Returns the name of a service and its types, for an error.
pub(crate) fn service<Q: Message, A: Message>(name: &str) -> String {
    described(name, [Q::NAME, A::NAME])
}

fn described(name: &str, [question, answer]: [&str; 2]) -> String {
    format!("{name:?} with questions of type {question} and answers of type {answer}")
}

/// Returns the channel of a service.
pub(crate) fn channel<Q: Message, A: Message>(name: &str) -> u32 {
    codec::channel::<A>("answer", name) ^ codec::channel::<Q>("question", name)
}

/// A service, which ends when this is dropped; made by
/// [`Group::serve`](crate::Group::serve).
#[derive(Debug)]
#[must_use = "dropping it ends the service"]
pub struct Serving {
    channel: u32,
    number: u64,
    commands: Commands,
    shared: Arc<Shared>,
}

impl Drop for Serving {
    /// A later service of the same name goes on.
    fn drop(&mut self) {
        let (shared, channel, number) = (self.shared.clone(), self.channel, self.number);
        self.commands.push(move |runner| {
            if let Some(hosted) = runner.part(&shared) {
                hosted.end_service(channel, number);
            }
            runner.input_to(&shared, Input::Tick);
        });
    }
}

/// Returns a number for a service that no other one of this process has.
pub(crate) fn next_serving() -> u64 {
    static SERVINGS: AtomicU64 = AtomicU64::new(0);
    SERVINGS.fetch_add(1, Ordering::Relaxed)
}

/// A question that waits for a handler.
pub(crate) struct Asked {
    pub(crate) from: Name,
    /// That of the answer, too.
    pub(crate) connection: ConnectionId,
    pub(crate) number: u64,
    pub(crate) payload: Bytes,
}

/// The services of a member in a group, by their channels, with their numbers.
pub(crate) type Handlers = BTreeMap<u32, (u64, SyncSender<Asked>)>;

/// Begins to serve: a thread runs the handler until the service ends.
pub(crate) fn serve<Q: Message, A: Message>(
    name: &str,
    commands: Commands,
    shared: Arc<Shared>,
    handler: impl Fn(Q) -> Result<A, String> + Send + 'static,
) -> Result<(Serving, Pending<()>), Error> {
    let (channel, number) = (channel::<Q, A>(name), next_serving());
    let (questions, queue) = sync_channel(QUEUE);
    let near = (commands.clone(), shared.clone());
    let thread = thread::Builder::new().name(String::from("spread-groups-serve"));
    thread
        .spawn(move || answer(&queue, &near.0, &near.1, handler))
        .map_err(|error| Error::System(Arc::new(error)))?;
    let (completion, begun) = Pending::of_bytes(|_| Ok(()));
    let (completion, near) = (Unsent::new(completion), shared.clone());
    commands.push(move |runner| {
        if let Some(hosted) = runner.part(&near) {
            hosted.begin_service(channel, (number, questions), completion.into_inner());
        }
        runner.input_to(&near, Input::Tick);
    });
    Ok((Serving { channel, number, commands, shared }, begun))
}

fn answer<Q: Message, A: Message>(
    queue: &Receiver<Asked>,
    commands: &Commands,
    shared: &Arc<Shared>,
    handler: impl Fn(Q) -> Result<A, String>,
) {
    for Asked { from, connection, number, payload } in queue {
        // A handler is called again after a panic; it has to check state that it shares.
        let answer = catch_unwind(AssertUnwindSafe(|| {
            let question = codec::decode(&payload).map_err(|error| error.to_string())?;
            let answer = codec::encode(&handler(question)?).map_err(|error| error.to_string())?;
            if answer.len() > fragments::FRAGMENT {
                return Err(format!("an answer of {} bytes is too large", answer.len()));
            }
            Ok(answer)
        }));
        let (outcome, payload) = match answer.unwrap_or_else(|panic| Err(error::panicked(&*panic)))
        {
            Ok(answer) => (ReplyOutcome::Answered, answer),
            Err(why) => (ReplyOutcome::Failed, Bytes::from(error::reason(&why))),
        };
        let reply = Reply { group: shared.group, number, outcome, payload };
        let sent = shared.outlet.send(connection, from, &Frame::Reply(reply).encode());
        count_unsendable(commands, shared, sent);
    }
}
