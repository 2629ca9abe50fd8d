//! A mesh: commands with arguments, to all members or to one.
//!
//! **Promises.** All commands of a group have one order, also those to single members; each member
//! handles its commands in this order. With [workers](MeshBuilder::workers) commands of different
//! senders may be handled at the same time. A command is delivered at most once, to the members
//! that are in the group at its place. If a handler panics, the mesh goes on, as a
//! [reactor] does.
//!
//! **Sends** one agreed message for each command. It goes to the whole group, also if it is for
//! one member; the others drop it. A ping sends one message and receives one, which the thread of
//! the other node answers.
//!
//! **A roster change** in which a member departs makes it unreachable: a command to it fails at
//! once, and its last pong is forgotten.
//!
//! **In a partition** commands reach the sender's side. **At a merge** nothing is sent again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use spread::Name;

use crate::codec::{Message, Postcard};
use crate::core::roster::Incarnation;
use crate::reactor::{self, Context, Control, Failure, Reactor, Running, Stats};
use crate::{Error, Group, Pending, ping};

/// The destination of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dest {
    /// All members, the sender included.
    All,
    /// This member.
    Member(Incarnation),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Command {
    to: Option<[u8; 16]>,
    command: String,
    args: Vec<String>,
}

impl Message for Command {
    const NAME: &'static str = "spread.groups.Command";
    type Codec = Postcard;
}

type Handler = Box<dyn Fn(&[String], &Context) + Send + Sync>;
type Otherwise = Box<dyn Fn(&str, &[String], &Context) + Send + Sync>;

/// The builder of a mesh, returned by [`Group::mesh`](crate::Group::mesh).
#[must_use = "nothing happens before `start`"]
pub struct MeshBuilder {
    group: Group,
    handlers: BTreeMap<String, Handler>,
    otherwise: Option<Otherwise>,
    reactor: Reactor,
}

impl MeshBuilder {
    pub(crate) fn new(group: &Group) -> MeshBuilder {
        MeshBuilder {
            group: group.clone(),
            handlers: BTreeMap::new(),
            otherwise: None,
            reactor: Reactor::new(group).of_topic(TOPIC.to_owned()),
        }
    }

    /// Handles a command. A later handler of the same command replaces an earlier one.
    pub fn on(
        mut self,
        command: impl Into<String>,
        handler: impl Fn(&[String], &Context) + Send + Sync + 'static,
    ) -> MeshBuilder {
        self.handlers.insert(command.into(), Box::new(handler));
        self
    }

    /// Handles all other commands.
    pub fn otherwise(
        mut self,
        handler: impl Fn(&str, &[String], &Context) + Send + Sync + 'static,
    ) -> MeshBuilder {
        self.otherwise = Some(Box::new(handler));
        self
    }

    /// Sets a handler for panics, undecodable messages and gaps.
    pub fn failures(mut self, handler: impl Fn(&Failure) + Send + Sync + 'static) -> MeshBuilder {
        self.reactor = self.reactor.failures(handler);
        self
    }

    /// Handles commands in this number of threads, at least 1. Commands of one sender keep their
    /// order.
    pub fn workers(mut self, threads: usize) -> MeshBuilder {
        self.reactor = self.reactor.keyed_workers(threads, |_, cx| cx.from());
        self
    }

    /// Starts the mesh, which handles the commands that are delivered from now on.
    ///
    /// # Errors
    ///
    /// [`Error::System`] if a thread cannot be started; [`Error::OwnThread`] on a thread of
    /// this crate.
    pub fn start(self) -> Result<Mesh, Error> {
        let MeshBuilder { group, handlers, otherwise, reactor } = self;
        let own = group.incarnation();
        let handle = move |Command { to, command, args }: Command, cx: &Context| {
            if to.is_some_and(|to| to != own.0) {
                return;
            }
            match (handlers.get(&command), &otherwise) {
                (Some(handler), _) => handler(&args, cx),
                (None, Some(otherwise)) => otherwise(&command, &args, cx),
                (None, None) => {}
            }
        };
        let running = Arc::new(reactor.on(handle).start()?);
        Ok(Mesh { group, running, pongs: Arc::default() })
    }
}

/// The topic of commands.
const TOPIC: &str = "mesh";

/// The last answer of a member to a ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pong {
    /// The member's private group.
    pub name: Name,
    /// The round trip time.
    pub round_trip: Duration,
    /// The time at which it was received.
    pub at: SystemTime,
}

/// Commands to the members of a group, and handlers for theirs; made by
/// [`Group::mesh`](crate::Group::mesh). Clones are handles of the same mesh; the handlers
/// end when the last one is dropped.
///
/// ```
/// # let daemon = spread_daemon::Daemon::builder().start()?;
/// # let address = daemon.address();
/// use std::sync::mpsc::channel;
///
/// use spread::Mailbox;
/// use spread_groups::{Dest, Node};
///
/// let node = Node::connect(Mailbox::builder(address))?;
/// let plant = node.group("plant")?.join()?;
/// let (heard, hears) = channel();
/// let mesh = plant.mesh().on("say", move |args, _| heard.send(args.join(" ")).unwrap()).start()?;
/// mesh.send(Dest::All, "say", ["good", "morning"])?;
/// assert_eq!(hears.recv()?, "good morning");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "dropping it ends the mesh"]
pub struct Mesh {
    group: Group,
    running: Arc<Running>,
    pongs: Arc<Mutex<BTreeMap<Incarnation, Pong>>>,
}

impl Mesh {
    /// Sends a command. Returns as soon as the message is queued.
    ///
    /// # Errors
    ///
    /// [`Error::NoResponders`] if the member is not in the roster; [`Error::TooLarge`] if the
    /// command takes more than 128 KiB; [`Error::Full`] if 4 MiB of messages wait to be sent.
    pub fn send<A: Into<String>>(
        &self,
        to: Dest,
        command: &str,
        args: impl IntoIterator<Item = A>,
    ) -> Result<(), Error> {
        let to = match to {
            Dest::All => None,
            Dest::Member(member) => {
                let members = self.group.members();
                if !members.iter().any(|of| of.incarnation == member) {
                    return Err(ping::absent());
                }
                Some(member.0)
            }
        };
        let args = args.into_iter().map(Into::into).collect();
        reactor::post(&self.group, TOPIC, &Command { to, command: command.to_owned(), args })
    }

    /// Asks a member's node for an answer, and measures the round trip time. The last
    /// answer of each member is [kept](Mesh::last_pong).
    ///
    /// # Errors
    ///
    /// The pending result fails with [`Error::NoResponders`] if it is not in the roster; with
    /// [`Error::ServerDeparted`] if it departs before it answers; with [`Error::TimedOut`],
    /// [`Error::Disconnected`], [`Error::NotConnected`], [`Error::Full`] (1,024 calls are under
    /// way, or 16 MiB of calls wait to be sent) or [`Error::Closed`].
    pub fn ping(&self, member: Incarnation, within: Duration) -> Pending<Duration> {
        let (group, pongs) = (self.group.clone(), self.pongs.clone());
        ping::ping(&self.group, member, within, move |round_trip| {
            let members = group.members();
            let member_of = |of: Incarnation| members.iter().find(|m| m.incarnation == of);
            let mut pongs = pongs.lock().unwrap_or_else(PoisonError::into_inner);
            pongs.retain(|of, _| member_of(*of).is_some());
            if let Some(name) = member_of(member).map(|member| member.name) {
                pongs.insert(member, Pong { name, round_trip, at: SystemTime::now() });
            }
        })
    }

    /// Returns the last answer of a member that is in the roster.
    pub fn last_pong(&self, member: Incarnation) -> Option<Pong> {
        let is_there = self.group.members().iter().any(|of| of.incarnation == member);
        let pongs = self.pongs.lock().unwrap_or_else(PoisonError::into_inner);
        pongs.get(&member).filter(|_| is_there).copied()
    }

    /// Returns counters of the handlers; commands for other members count as handled.
    pub fn stats(&self) -> Stats {
        self.running.stats()
    }

    /// Returns a handle that stops the handlers, also for clones.
    pub fn control(&self) -> Control {
        self.running.control()
    }
}
