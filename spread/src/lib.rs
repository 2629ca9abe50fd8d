//! A client for the [Spread toolkit]: reliable, totally ordered multicast in
//! named groups, with membership.
//!
//! Programs connect to a Spread daemon and join groups. Every member of a group
//! receives the same messages and the same joins, leaves, crashes and
//! partitions, all of them in the same order. So each can keep a copy of the same
//! state by applying the same events to it.
//!
//! ```no_run
//! use spread::{Mailbox, Message, Service};
//!
//! fn main() -> Result<(), spread::Error> {
//!     let mut mailbox = Mailbox::builder("4803@localhost").private_name("alice").connect()?;
//!     mailbox.join("chat")?;
//!     mailbox.multicast(Service::Agreed, "chat", "hello")?;
//!     for message in mailbox.messages().take(2) {
//!         match message? {
//!             Message::Membership(view) => println!("{view}"),
//!             Message::Regular(m) => println!("{}: {}", m.sender(), m.payload().escape_ascii()),
//!             other => println!("{other:?}"),
//!         }
//!     }
//!     mailbox.disconnect()
//! }
//! ```
//!
//! ```text
//! chat: #alice#localhost joined; members: #alice#localhost (view 7f000001.6a2f0a51.1)
//! #alice#localhost: hello
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
//! bytes of printable ASCII except space, `!`, `"` and `#`. Anyone can multicast to a group,
//! member or not; all its members receive the message, the sender as well if it is a member.
//! A message to a group without members, or to the private group of a client that has gone, is
//! delivered to no one, and no error says so. Joining a group again changes nothing: no view
//! comes, and no error.
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
//! | service | what is guaranteed while no partition happens |
//! |---|---|
//! | [`Unreliable`](Service::Unreliable) | nothing |
//! | [`Reliable`](Service::Reliable) | it arrives |
//! | [`Fifo`](Service::Fifo) | it arrives after all that its sender sent before |
//! | [`Causal`](Service::Causal) | also after all that its sender had received before |
//! | [`Agreed`](Service::Agreed) | also: all members of all groups get these messages in one common order |
//! | [`Safe`](Service::Safe) | also only when every daemon has it |
//!
//! Most programs want agreed: if all members begin with the same state and do the
//! same with each message, their states stay the same.
//!
//! **Views.** Whenever the members of a group change, each of them receives a
//! [`View`] at the same place among the agreed and safe messages: who the members
//! are now, in an order that is the same for all, and why they have changed. So all
//! know at the same point who is there, and agree on who is to do what without another message:
//!
//! ```
//! # let daemon = spread_daemon::Daemon::builder().start()?;
//! # use spread::{Cause, Mailbox, Message};
//! # let mut mailbox = Mailbox::connect(daemon.address())?;
//! mailbox.join("workers")?;
//! if let Message::Membership(view) = mailbox.receive()? {
//!     assert_eq!(view.cause, Cause::Joined(mailbox.private_group().into()));
//!     if view.am_first() {
//!         println!("I do what is to be done once about this view");
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
//! again, another such view lists all, without a signal before it, because nobody is lost. Its
//! `vs_sets` tell who comes from which
//! side: those in one set have seen the same messages, the others may not have.
//! What to do about it, for example which side's state wins, is for the
//! application to decide.
//!
//! **Slow receivers.** The daemon keeps about a thousand messages for a client that
//! does not read, and then cuts it off: sends and receives fail with
//! [`Error::ConnectionClosed`]. That also happens to a program that sends to its own group and
//! does not read what comes back. Receive between sends, or in another thread, for which
//! [`split`](Mailbox::split) makes two halves.
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
//! | [`Session`], with `tokio` also `AsyncSession` | reconnects when the connection is lost |
//!
//! # View synchrony
//!
//! A message may be delivered in a later view than the one in which it was sent. Where that is
//! too weak, [`flush::Mailbox`] is Flush Spread: before a view changes, all members flush the
//! group, and a message is delivered in the view in which it was sent.
//!
//! # The end
//!
//! Dropping a mailbox does not wait, so what was sent last may be lost.
//! [`disconnect`](Mailbox::disconnect) waits until the daemon has it, and says so. After
//! [`split`](Mailbox::split), call `disconnect` on the receiver; if it waits in a thread, an
//! [`Interrupter`] ends the wait. Sessions are ended in the same way.
//!
//! | `disconnect` returns | |
//! |---|---|
//! | `Ok` | the daemon has read everything that was sent |
//! | [`ConnectionClosed`](Error::ConnectionClosed) | the daemon or the network had ended the connection before, whether a call has told of it or not; a session has none |
//! | [`ShutDown`](Error::ShutDown) | this program had ended it, by a `shut_down` or another `disconnect`; a session had ended |
//! | [`DisconnectTimeout`](Error::DisconnectTimeout) | the daemon did not end it within a second |
//!
//! After an error the connection has ended as well, and some of what was sent last may not have
//! been read.
//!
//! ```
//! # let daemon = spread_daemon::Daemon::builder().start()?;
//! # let mailbox = spread::Mailbox::connect(daemon.address())?;
//! use spread::{Error, Service};
//!
//! let (sender, mut receiver) = mailbox.split();
//! let interrupter = receiver.interrupter()?;
//! let receiving = std::thread::spawn(move || {
//!     for message in receiver.messages() {
//!         match message {
//!             Ok(message) => println!("{message:?}"),
//!             Err(Error::Interrupted) => break,
//!             Err(error) => return Err(error),
//!         }
//!     }
//!     receiver.disconnect()
//! });
//! sender.multicast(Service::Agreed, "chat", b"bye")?;
//! interrupter.interrupt();
//! receiving.join().unwrap()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Staying connected
//!
//! A [`Session`] is a mailbox that connects again when its connection is lost, to the first of
//! its daemons that answers, and joins its groups again. What was sent to the groups meanwhile
//! is missed for good. So a session does not hide the loss: what it receives are
//! [events](SessionEvent), which are messages or tell of the connection.
//!
//! ```
//! # let daemon = spread_daemon::Daemon::builder().start()?;
//! # let (address, port) = (daemon.address(), daemon.socket_addr().port());
//! use std::time::Duration;
//!
//! use spread::{Backoff, Mailbox, SessionEvent};
//!
//! let backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1));
//! let mut session = Mailbox::builder(address).private_name("alice").session(backoff)?;
//! session.join("chat")?;
//! # let mut daemon = daemon;
//! # let mut restarts = 0;
//! loop {
//!     match session.receive()? {
//!         // Its view says who is in the group.
//!         SessionEvent::Message(message) => println!("{message:?}"),
//!         // From here on the state of this member may be out of date.
//!         SessionEvent::Lost { error, .. } => println!("alone: {error}"),
//!         SessionEvent::Retrying { error, attempt, .. } => println!("{attempt}: {error}"),
//!         // Views of all groups follow: ask another member for what was missed.
//!         SessionEvent::Restored { private_group, .. } => {
//!             println!("back as {private_group}");
//! #           break;
//!         }
//!         _ => {}
//!     }
//! #   restarts += 1;
//! #   if restarts == 1 {
//! #       daemon.stop();
//! #       daemon = spread_daemon::Daemon::builder().port(port).start()?;
//! #   }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`SessionOptions`] say how often to try, and after which errors. A session splits into a
//! [`SessionSender`], which can be cloned, and a [`SessionReceiver`], which on Linux is a descriptor
//! that stays the same across connections, for event loops.
//!
//! # Other async runtimes
//!
//! Mailboxes, their receivers and, on Linux, sessions are descriptors
//! ([`AsFd`](std::os::fd::AsFd)) that are readable while something can be received, and [`try_receive`](Receiver::try_receive)
//! does not wait. A runtime or an event loop that watches descriptors can drive them: wait until
//! the descriptor is readable, then call `try_receive` until it returns `None`, which also
//! serves edge-triggered pollers. [`try_multicast_batch`](Sender::try_multicast_batch) sends
//! without waiting. The last message may then have gone in part, whose rest
//! [`try_flush`](Sender::try_flush) sends:
//!
//! ```
//! # let daemon = spread_daemon::Daemon::builder().start()?;
//! # let mailbox = spread::Mailbox::connect(daemon.address())?;
//! # let mut batch = spread::Batch::new();
//! # batch.push(spread::Service::Fifo, "g", b"x")?;
//! # let wait_until_writable = || Ok::<(), spread::Error>(());
//! while !batch.is_empty() || !mailbox.try_flush()? {
//!     if mailbox.try_multicast_batch(&mut batch)? == 0 {
//!         wait_until_writable()?;
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//!
//! - `sys` (default): `Builder::library` can choose `Library::Sys`, a libspread: that of this
//!   project, in Rust, unless `system` says otherwise. Nothing needs to be installed.
//! - `system`: `Library::Sys` is the libspread that is installed; see `spread-sys`. It changes
//!   nothing for mailboxes that did not choose `Library::Sys`.
//! - `mio`, `tokio`: see [ways to receive](#ways-to-receive).
//! - `tls`: `Builder::tls`, connections over TLS 1.3 to a daemon that offers it, such as `spreadd`.
//! - `serde`: `Serialize` and `Deserialize` for names, views, their causes and ids.
//! - `tracing`: events of the crate `tracing`, at the level `debug`: the beginning and the end of
//!   a connection, and connects, sends and receives that fail. A send that lacks memory is no
//!   event, because it may be tried again many times.
//!
//! # Processes, signals, libspread
//!
//! - A mailbox belongs to the process that connected it. In the child of a fork it
//!   fails with [`Error::Forked`].
//! - Spread's own C library (`Library::Sys` with the feature `system`) sets SIGPIPE to be
//!   ignored when it first connects; otherwise signals are left alone.
//! - Over Spread's own C library a send that fails ends the mailbox, and what had come before and
//!   was not received is lost. In all other cases it can still be received.
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
mod failures;
pub mod flush;
mod interrupt;
mod mailbox;
mod message;
mod multicast;
mod receive;
mod send;
mod session;
mod stats;
mod texts;
#[cfg_attr(not(feature = "tls"), path = "no_tls.rs")]
mod tls;
mod trace;
mod views;

#[cfg(feature = "tokio")]
pub use asynchronous::{AsyncMailbox, AsyncReceiver, AsyncSender};
pub use auth::{AuthExchange, AuthStep, Authenticator, UserPassword};
pub use backend::Library;
pub use batch::Batch;
pub use builder::Builder;
#[doc(no_inline)]
pub use bytes::Bytes;
pub use error::{Error, ProtocolError};
pub use failures::ConnectFailures;
pub use interrupt::Interrupter;
pub use mailbox::Mailbox;
pub use message::{Cause, Message, RegularMessage, RejectedMessage, SelfLeave, Transitional, View};
#[doc(hidden)]
pub use multicast::GroupList;
#[cfg(feature = "tokio")]
pub use multicast::Outgoing;
pub use multicast::{SendOptions, ToGroup, ToGroups};
pub use receive::{MessageBuffer, MessageRef, Receiver, RegularRef};
pub use send::Sender;
#[cfg(feature = "tokio")]
pub use session::{AsyncSession, AsyncSessionReceiver, AsyncSessionSender};
pub use session::{
    Backoff, Session, SessionEvent, SessionOptions, SessionReceiver, SessionSender, SessionStats,
};
pub use spread_core::AddressError;
pub use spread_wire::limits::{MAX_BODY_AND_GROUPS, MAX_GROUP_NAME, MAX_GROUPS, MAX_PRIVATE_NAME};
pub use spread_wire::{
    ByteOrder, DeliveryError, GroupId, GroupName, MembershipError, Name, NameError, PrivateGroup,
    PrivateName, Service, ServiceType,
};
pub use stats::Stats;
#[cfg(feature = "tls")]
pub use tls::{TlsConfig, TlsConfigError, TlsError};
pub use views::Views;

/// Returns the version of Spread that this client implements, `(major, minor, patch)`:
/// `Some((5, 0, 1))`.
///
/// With the feature `sys` it is what `SP_version(3)` of the libspread behind
/// [`Library::Sys`](Library) returns, which another one that is installed may answer otherwise;
/// `None` if that call fails. Mailboxes that do not go through `Library::Sys` speak the protocol of
/// 5.0.1 in any case.
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
#[cfg(all(doctest, feature = "tokio"))]
#[doc = include_str!("../../README.md")]
struct Readme;
