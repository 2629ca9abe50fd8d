//! What has gone over a connection.

/// How much a connection has sent and received so far; returned by
/// [`Mailbox::stats`](crate::Mailbox::stats).
///
/// ```
/// # let daemon = spread_daemon::Daemon::builder().start()?;
/// use spread::{Mailbox, Service};
///
/// let mut mailbox = Mailbox::connect(daemon.address())?;
/// mailbox.multicast(Service::Fifo, mailbox.private_group(), b"note")?;
/// mailbox.receive()?;
/// let stats = mailbox.stats();
/// assert_eq!((stats.messages_sent, stats.messages_received), (1, 1));
/// assert_eq!(stats.bytes_sent, 48 + 32 + 4);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Messages sent, joins and leaves included; a message counts when it has begun.
    pub messages_sent: u64,
    /// Their bytes: payloads, 48 bytes for each header and 32 for each group.
    pub bytes_sent: u64,
    /// Messages received, views included.
    pub messages_received: u64,
    /// Their bytes: payloads or bodies, 48 bytes for each header and 32 for each group or member.
    pub bytes_received: u64,
    /// Bytes that wait to be sent at present, of the bytes sent: buffered messages, and the rest
    /// of one that has begun. While another thread or task is sending, as many as there were
    /// before.
    pub bytes_queued: u64,
}

impl Stats {
    /// Adds what went over an earlier connection, of which nothing waits any more.
    pub(crate) fn after(self, earlier: Stats) -> Stats {
        Stats {
            messages_sent: self.messages_sent.wrapping_add(earlier.messages_sent),
            bytes_sent: self.bytes_sent.wrapping_add(earlier.bytes_sent),
            messages_received: self.messages_received.wrapping_add(earlier.messages_received),
            bytes_received: self.bytes_received.wrapping_add(earlier.bytes_received),
            bytes_queued: self.bytes_queued,
        }
    }
}
