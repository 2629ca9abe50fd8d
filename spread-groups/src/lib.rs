//! Coordination on the totally ordered groups of the Spread toolkit.
//!
//! A [`Node`] connects a program to groups, over the client [`spread`]. It reconnects by itself,
//! and keeps a roster of the members, which a view of clients is not. The patterns are built on
//! it:
//!
//! | pattern | what it is | in a partition |
//! |---|---|---|
//! | [`topic`] | publish and subscribe | each side by itself |
//! | [`retained`] | topics with a last value for late subscribers | each side by itself; at the merge the smaller side publishes again, over newer values |
//! | [`call`] | calls of one server or of all | within each side |
//! | [`replicated`] | the same state at all members; each operation once | both sides go on; at the merge the operations of the smaller are taken back, and executed again after those of the larger |
//! | [`leader`] | one leader in a view, its messages, and questions to it | one leader on each side: advisory; with voters one, with a fence |
//! | [`map`] | keys and values, with conditions, times to live and owners | as [`replicated`]: a put of the smaller side replaces the larger side's, unless it has a condition |
//! | [`lock`] | mutexes, read-write locks and semaphores, with queues | one holder on each side: advisory; with voters one, with a fence |
//! | [`barrier`] | members wait for each other | each side by itself |
//! | [`sequence`] | numbers, each given once | both sides give the same numbers: advisory; with voters none does twice |
//! | [`vote`] | all members decide on a topic, by majority or unanimously | the sides may decide differently |
//! | [`action`] | all members act at one time, if they agree | as the vote |
//! | [`work`] | queues of jobs, and workers | both sides do the jobs; the results of one stand |
//! | [`reactor`] | handlers by type, timers, keyed workers | each side by itself |
//! | [`mesh`] | commands to all members or to one, and pings | each side by itself |
//! | [`bridge`] | topics of one group in another | as topics |
//! | [`registry`] | service names and their instances | each side finds its own |
//!
//! Each module says what its pattern promises, what it sends, and what a roster change, a
//! partition and a merge do to it. The table is about groups without voters: there nothing is
//! unique across a partition, and no answer is final until the next merge. In a group with
//! [`voters`], which are new, operations are executed only on the side with a majority of them,
//! their answers are final, and leaders, locks and sequences are unique: a [`VotedGroup`]. The page
//! `guide` of the documentation says which is for what, and what can be lost; `guide::three_hosts`,
//! how three hosts with voters are run.
//!
//! Methods of a builder only set options; `send`, `start`, `run` or `join` does what was built. All
//! other methods do at once what they are named for. A result that takes time is a [`Pending`].
//!
//! # Names, types and codecs
//!
//! What programs share is found by its kind, its name, and the [names](Message::NAME) and codecs of
//! its types *together*. Programs that differ in one of these do not meet, and nobody is told: it
//! is another topic, map, service or queue. `topic::<String>("t")` and `topic::<Vec<u8>>("t")` are
//! two topics, and so are `topic::<dividere::Envelope>("t")` and `topic::<T>("t")` of a type with
//! the codec `Dividere`. `advisory_lock("l")` and `advisory_rw_lock("l")` are two locks; semaphores
//! of different permits and barriers of different parties are different, too.
//! [`Topic::subscribers`] and [`Group::servers`] tell whether anybody is at the other end.
//!
//! [`Item::Undecodable`], [`Outcome::Undecodable`], [`MapEvent::Undecodable`] and
//! [`Error::UndecodableAnswer`] come where all of these agree and the bytes are no value: the fields
//! of the type are not the same in both programs.
//!
//! # Words
//!
//! * *View*: who is connected to the group, as the daemons say. *Roster*: the members among these,
//!   by seniority, as the members agree in an *exchange* of messages after each view.
//! * *Form*: the message that ends an exchange. It has a number, states the roster, and begins a
//!   *branch* of the log. An operation that was sent under another Form has no effect, and is sent
//!   again by its submitter.
//! * *Log*: the operations and roster changes that all members execute, in one order. Each is an
//!   *entry*, and its *place* is its branch and its index in the log.
//! * *Session*: the number of a member in the log. It stays the same when the node reconnects within
//!   the [session life](GroupBuilder::session_life); the name of its connection does not.
//! * *The side that stands* at a merge: the one whose log most members have, which is the larger
//!   side, unless members of it were still receiving the state. Of sides with equally many it is
//!   the one of the member with the smallest [`Incarnation`], which is a random number. In a group
//!   with [`voters`] it is the one that a majority has committed.
//!
//! # What a member knows
//!
//! Reads ([`Map::get`], [`Registry::find`], [`Group::members`], [`Group::leadership`]) return what
//! this member knows, without asking another one. While it has no connection, or the daemons have
//! not noticed a loss, that is what it knew before; [`Status::standing`] is [`Standing::Out`]
//! without a connection. Between hosts the daemons decide how long a loss takes to be noticed: with
//! `spreadd` the `token` of Corosync, with Spread's own daemon the timeouts of its configuration. A
//! node notices that a daemon on its own host has ended at once, and that one on another host is
//! silent within the time of `spread::Builder::keepalive`, a minute by default. A daemon that hangs
//! on the node's own host is not noticed: nothing comes, and operations wait. After the member
//! has left the group [`Map::get`] fails with [`Error::Closed`]; [`Registry::find`] and
//! [`Group::members`] return what was there last, or nothing.
//!
//! There are no leases, and no heartbeats between members: a member is there while its daemon has
//! its connection. A process that hangs (`SIGSTOP`, a debugger, swapping) stays in the roster, with
//! its leadership, its locks and its keys, until its daemon disconnects it because more than about
//! 1,000 messages wait for it, or until one second after the next view that begins an exchange: a
//! join, a partition or a merge. In an idle group it stays. With [`voters`], a [`Fence`] protects
//! storage from it when it goes on.
//!
//! The module `coming_from` of the documentation maps the terms of etcd and ZooKeeper, dīvidere,
//! RIAPS, Quilt, NATS and JGroups to those of this crate.
//!
//! ```
//! # let daemon = spread_daemon::Daemon::builder().start()?;
//! # let address = daemon.address();
//! use spread::Mailbox;
//! use spread_groups::{At, BadState, Node, StateMachine};
//!
//! #[derive(Clone)]
//! struct Counter(u64);
//!
//! impl StateMachine for Counter {
//!     const NAME: &'static str = "example.Counter";
//!     type Op = String;
//!     type Out = String;
//!
//!     fn apply(&mut self, _: At, op: String) -> String {
//!         self.0 += op.len() as u64;
//!         self.0.to_string()
//!     }
//!
//!     fn snapshot(&self) -> Vec<u8> {
//!         self.0.to_be_bytes().to_vec()
//!     }
//!
//!     fn restore(state: &[u8]) -> Result<Counter, BadState> {
//!         let state = state.try_into().map_err(|_| BadState)?;
//!         Ok(Counter(u64::from_be_bytes(state)))
//!     }
//! }
//!
//! let node = Node::connect(Mailbox::builder(address))?;
//! let mut plant = node.group("plant")?;
//! let counter = plant.replicate(Counter(0))?;
//! let plant = plant.join()?;
//! assert_eq!(counter.submit(&String::from("abc")).wait()?, "3");
//! assert_eq!(counter.read(|counter| counter.0), 3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod audit;
mod calls;
pub mod codec;
mod core;
mod deadlines;
mod desk;
mod error;
mod feed;
mod fence;
mod group;
mod inbox;
mod machines;
mod node;
mod pending;
mod ping;
mod recent;
mod services;
mod ticket;

pub mod action;
pub mod barrier;
pub mod bridge;
pub mod call;
pub mod leader;
pub mod lock;
pub mod map;
pub mod mesh;
pub mod reactor;
pub mod registry;
pub mod replicated;
pub mod retained;
pub mod sequence;
pub mod topic;
pub mod vote;
mod voted;
pub mod voters;
pub mod work;

#[cfg(any(doc, doctest))]
pub mod coming_from;

#[cfg(any(doc, doctest))]
#[doc = include_str!("../docs/tiers.md")]
pub mod guide {
    #[doc = include_str!("../docs/three-hosts.md")]
    pub mod three_hosts {}
}

/// The programs in the readme are tested as they stand there.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(test)]
mod simulation;

pub use action::{Action, ActionResult, Due};
pub use barrier::{Barrier, Parties};
pub use bridge::Bridge;
pub use call::{Call, Outcome, Replies, Servers, Serving, To, Until, Verdict};
#[cfg(feature = "json")]
pub use codec::Json;
#[cfg(feature = "dividere")]
pub use codec::dividere::{self, Dividere};
pub use codec::{Codec, CodecError, Message, Postcard, Prost, Raw};
pub use core::envelope::MESSAGE_TYPE;
pub use core::history::Place;
pub use core::replica::{At, BadState};
pub use core::requests::{OperationId, Rewound};
pub use core::roster::{Change, Departure, Incarnation, Member, Refusal};
pub use core::status::{Counters, Standing, Status};
pub use core::{Event, JoinFailed};
pub use error::Error;
pub use fence::{Fence, ParseFenceError};
pub use group::Group;
pub use leader::{FencedLeadership, FencedTerm, LeaderServing, LeaderTopic, Leadership, Term};
pub use lock::{
    AdvisoryLock, AdvisoryRwLock, AdvisorySemaphore, FencedGuard, Guard, Mutex, RwLock, Semaphore,
};
pub use map::{Map, MapEvent, MapWatch, Put, Removal, Remove, Revision, Versioned};
pub use mesh::{Dest, Mesh};
pub use node::{GroupBuilder, Node, WithVoters, WithoutVoters};
pub use pending::Pending;
pub use reactor::Reactor;
pub use registry::{Announced, Found, Instance, Registry, Service, Watching};
pub use replicated::{Replicated, StateMachine};
pub use retained::RetainedTopic;
pub use sequence::{AdvisorySequence, Sequence};
pub use topic::{Item, Meta, Subscribers, Subscription, Topic};
pub use vote::{Asked, Ballot, Handling, Rule, Vote, VoteOutcome, VoteResult};
pub use voted::VotedGroup;
pub use work::{Attempt, GivenUpJob, Submission, Work, WorkStatus, Working};
