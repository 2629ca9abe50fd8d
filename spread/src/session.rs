//! Staying connected: sessions, which reconnect when a connection is lost.

#[cfg(feature = "tokio")]
mod asynchronous;
mod attempt;
mod backoff;
mod blocking;
mod common;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod descriptor;
mod options;
mod receiver;
mod sender;
mod state;
#[cfg_attr(not(any(target_os = "linux", target_os = "android")), path = "session/no_watch.rs")]
mod watch;

use std::time::Instant;

use spread_wire::PrivateGroup;

use crate::{Error, Message, Stats};

#[cfg(feature = "tokio")]
pub use asynchronous::{AsyncSession, AsyncSessionReceiver, AsyncSessionSender};
pub use backoff::Backoff;
pub use blocking::Session;
pub use options::SessionOptions;
pub use receiver::SessionReceiver;
pub use sender::SessionSender;

/// What a session receives.
#[derive(Debug)]
#[non_exhaustive]
pub enum SessionEvent {
    /// A message.
    Message(Message),
    /// The connection is lost. This client is in no group any more, and messages that were
    /// sent last may not have been delivered.
    ///
    /// Everything that is received on the old connection comes before it. So it is here that a
    /// program can account for what it sent: see [`Session`](Session#what-a-loss-takes).
    #[non_exhaustive]
    Lost {
        /// Why.
        error: Error,
        /// The number of multicasts that had returned an error because this connection had
        /// ended, when the loss was noticed. The daemon got none of them whole, and delivers
        /// none.
        ///
        /// It is not the number of messages lost, and most often 0: a receive notices the end
        /// first, and sends fail after that. Those are in [`SessionStats::unsent`] only. Nor are
        /// messages counted that were sent without an error and that the daemon had not read,
        /// or those of a [`Batch`](crate::Batch), some of which may have gone.
        unsent: u64,
    },
    /// An attempt to connect failed, and another one follows.
    #[non_exhaustive]
    Retrying {
        /// Why.
        error: Error,
        /// The number of the attempt that failed, from 1 after a loss.
        attempt: u32,
        /// When the next attempt begins.
        next: Instant,
    },
    /// There is a connection again, and the groups are being joined: their views follow.
    /// Messages and views in between were missed.
    #[non_exhaustive]
    Restored {
        /// The name of this client. It may change with the daemon.
        private_group: PrivateGroup,
        /// The number of attempts that it took.
        attempts: u32,
    },
}

/// What has happened to a session so far; returned by [`Session::stats`].
///
/// ```
/// # let daemon = spread_daemon::Daemon::builder().start()?;
/// use spread::{Backoff, Mailbox, Service};
///
/// let mut session = Mailbox::builder(daemon.address()).session(Backoff::default())?;
/// session.multicast(Service::Agreed, "chat", b"hello")?;
/// let stats = session.stats();
/// println!("{} reconnects, {} messages not sent", stats.reconnects, stats.unsent);
/// assert_eq!((stats.traffic.messages_sent, stats.traffic.bytes_queued), (1, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionStats {
    /// How often a lost connection was restored.
    pub reconnects: u64,
    /// Attempts to connect, with the first and with those that succeeded.
    pub attempts: u64,
    /// Messages whose multicast failed for want of a connection.
    pub unsent: u64,
    /// What has gone over all connections of the session together, joins of its groups
    /// included; [`bytes_queued`](Stats::bytes_queued) is that of the present one.
    pub traffic: Stats,
}
