//! A client for the [Spread toolkit]: reliable, totally ordered multicast in
//! named groups, with membership.
//!
//! Programs connect to a Spread daemon and join groups. Every member of a group
//! receives the same messages and the same joins, leaves, crashes and
//! partitions, all of them in the same order: so that each can keep a copy of
//! the same state by doing the same to it.
//!
//! ```no_run
//! use spread::{Mailbox, Message, Service};
//!
//! fn main() -> Result<(), spread::Error> {
//!     let mut mailbox = Mailbox::builder("4803@localhost").private_name("alice").connect()?;
//!     mailbox.join("chat")?;
//!     mailbox.multicast(Service::Agreed, "chat", b"hello")?;
//!     loop {
//!         match mailbox.receive()? {
//!             Message::Regular(m) => println!("{} to {:?}: {:?}", m.sender(), m.groups(), m.payload()),
//!             Message::Membership(view) => println!("{view}"),
//!             other => println!("{other:?}"),
//!         }
//!     }
//! }
//! ```
//!
//! # Spread in ten minutes
//!
//! **Daemons and clients.** One daemon runs on each host, or on some; together
//! they form a cluster. A program is a client of one of them: it connects by TCP
//! (`4803@host1`) or, on the daemon's own host, by a unix socket (`4803`). For a
//! test or a single host there is the crate `spread-daemon`, which the examples
//! here embed.
//!
//! **Groups.** A group is there as long as it has members; its name is 1 to 31
//! bytes of printable ASCII except space, `!`, `"` and `#`. Anyone can multicast to a group, member or not; all its
//! members receive the message, the sender as well if it is a member.
//!
//! ```
//! # let daemon = spread_daemon::Daemon::builder().start()?;
//! # let address = daemon.address();
//! use spread::{Mailbox, Message, Service};
//!
//! let mut alice = Mailbox::builder(&address).private_name("alice").connect()?;
//! let bob = Mailbox::builder(&address).private_name("bob").connect()?;
//! alice.join("news")?;
//! let Message::Membership(_) = alice.receive()? else { panic!("a view comes first") };
//! bob.multicast(Service::Agreed, "news", b"it rains")?;
//! let Message::Regular(news) = alice.receive()? else { panic!() };
//! assert_eq!(news.payload(), b"it rains");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! **Names.** A client has a private name of 1 to 10 bytes, unique at its daemon,
//! and with it a private group, `#name#daemon`. That is how it is named as the
//! sender of a message and as a member of a group, and a message to it reaches
//! this client alone:
//!
//! ```
//! # let daemon = spread_daemon::Daemon::builder().start()?;
//! # use spread::{Mailbox, Message, Service};
//! # let mut alice = Mailbox::builder(daemon.address()).private_name("alice").connect()?;
//! # let mut bob = Mailbox::builder(daemon.address()).private_name("bob").connect()?;
//! alice.multicast(Service::Fifo, "#bob#localhost", b"psst")?;
//! let Message::Regular(question) = bob.receive()? else { panic!() };
//! bob.multicast(Service::Fifo, question.sender(), b"yes?")?;
//! # let Message::Regular(answer) = alice.receive()? else { panic!() };
//! # assert_eq!(answer.sender(), "#bob#localhost");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! **Services.** A message is sent with one of six guarantees:
//!
//! | service | what is guaranteed while daemons do not part |
//! |---|---|
//! | [`Unreliable`](Service::Unreliable) | nothing |
//! | [`Reliable`](Service::Reliable) | it arrives |
//! | [`Fifo`](Service::Fifo) | and after all that its sender sent before |
//! | [`Causal`](Service::Causal) | and after all that its sender had received before |
//! | [`Agreed`](Service::Agreed) | and at the same place of one order for all members of all groups |
//! | [`Safe`](Service::Safe) | and only when every daemon has it |
//!
//! Most programs want agreed: if all members begin with the same state and do the
//! same with each message, their states stay the same.
//!
//! **Views.** Whenever the members of a group change, each of them receives a
//! [`View`] at the same place among the agreed and safe messages: who the members
//! are now, in an order that is the same for all, and why. So all know at the same
//! point who is there, and agree without a word on who is to do what:
//!
//! ```
//! # let daemon = spread_daemon::Daemon::builder().start()?;
//! # use spread::{Cause, Mailbox, Message};
//! # let mut mailbox = Mailbox::connect(daemon.address())?;
//! mailbox.join("workers")?;
//! if let Message::Membership(view) = mailbox.receive()? {
//!     assert_eq!(view.cause, Cause::Joined(mailbox.private_group().into()));
//!     if view.am_first() {
//!         println!("I do what is to be done once");
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! **Partitions.** When the network parts the daemons, each side goes on by
//! itself. A member of a group with members on both sides receives first a
//! [`Transitional`] signal: from here on, messages of the old view may not have
//! reached those on the other side. Then comes a view with
//! [`Cause::Network`], of those who are left. When the daemons find each other
//! again, another such view lists all, and its `vs_sets` tell who comes from which
//! side: those in one set have seen the same messages, the others may not have.
//! What to do about it, for example which side's state wins, is for the
//! application to say.
//!
//! **Slow receivers.** The daemon keeps about a thousand messages for a client that
//! does not read, and then cuts it off. Read what comes, in a thread of its own if
//! need be.
//!
//! # Ways to receive
//!
//! | | |
//! |---|---|
//! | [`receive`](Receiver::receive), [`messages`](Receiver::messages) | wait |
//! | [`receive_timeout`](Receiver::receive_timeout), [`receive_deadline`](Receiver::receive_deadline) | wait, but not for ever |
//! | [`try_receive`](Receiver::try_receive) | do not wait: for event loops |
//! | [`receive_into`](Receiver::receive_into), [`try_receive_into`](Receiver::try_receive_into) | as above, and use the same memory again |
//! | [`split`](Mailbox::split), [`Interrupter`] | a thread that receives while others send |
//! | feature `mio` | [`Mailbox`] is an event source |
//! | feature `tokio` | `AsyncMailbox`, a `Stream` and a `Sink` |
//! | [`Session`] | connects again when the connection is lost, and says so |
//!
//! # Features
//!
//! - `sys` (default): `Builder::library` can choose `Library::Sys`, a libspread: that of this
//!   project, in Rust, unless `system` says otherwise. Nothing needs to be installed.
//! - `system`: `Library::Sys` is the libspread that is installed; see `spread-sys`. Mailboxes
//!   that did not choose it are as they are without.
//! - `mio`, `tokio`: as above.
//!
//! # What is not in a type
//!
//! - A mailbox belongs to the process that connected it. In the child of a fork it
//!   fails with [`Error::Forked`].
//! - Spread's own C library (`Library::Sys` with the feature `system`) sets SIGPIPE to be
//!   ignored when it first connects; otherwise signals are left alone.
//!
//! [Spread toolkit]: https://www.spread.org

#![deny(unsafe_code)]

#[cfg(feature = "tokio")]
mod asynchronous;
mod auth;
mod backend;
mod batch;
mod builder;
mod closing;
mod connection;
mod error;
#[cfg(feature = "mio")]
mod event;
mod interrupt;
mod mailbox;
mod membership;
mod message;
mod multicast;
mod receive;
mod send;
mod session;

#[cfg(feature = "tokio")]
pub use asynchronous::{AsyncMailbox, AsyncReceiver, AsyncSender};
pub use auth::{AuthStep, Authenticator, Exchange, UserPassword};
pub use backend::Library;
pub use batch::Batch;
pub use builder::Builder;
pub use error::{Error, ProtocolError};
pub use interrupt::Interrupter;
pub use mailbox::Mailbox;
pub use membership::Membership;
pub use message::{Cause, Message, RegularMessage, RejectedMessage, SelfLeave, Transitional, View};
#[doc(hidden)]
pub use multicast::GroupList;
#[cfg(feature = "tokio")]
pub use multicast::Outgoing;
pub use multicast::{SendOptions, ToGroups};
pub use receive::{MessageBuffer, MessageRef, Receiver, RegularRef};
pub use send::Sender;
pub use session::{Backoff, Session, SessionEvent};
pub use spread_core::AddressError;
pub use spread_wire::limits::{MAX_BODY_AND_GROUPS, MAX_GROUP_NAME, MAX_GROUPS, MAX_PRIVATE_NAME};
pub use spread_wire::{
    ByteOrder, GroupId, GroupName, Name, NameError, PrivateGroup, PrivateName, Service, ServiceType,
};

/// The version of libspread that [`Library::Sys`] is, `(major, minor, patch)`, as
/// `SP_version(3)` tells it; `None` if it does not. Without the feature `sys`, the version
/// of the protocol.
pub fn library_version() -> Option<(u32, u32, u32)> {
    #[cfg(feature = "sys")]
    return backend::sys::version();
    #[cfg(not(feature = "sys"))]
    {
        let version = spread_wire::handshake::Version::CURRENT;
        Some((version.major.into(), version.minor.into(), version.patch.into()))
    }
}

/// The port of a Spread daemon unless its configuration says otherwise
/// (`DEFAULT_SPREAD_PORT`).
pub const DEFAULT_SPREAD_PORT: u16 = spread_wire::DEFAULT_PORT;

/// The programs in the README are tested as they stand there.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
