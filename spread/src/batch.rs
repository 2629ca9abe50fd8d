//! Many messages with few system calls.

use spread_core::Frames;

use crate::multicast::GroupList;
use crate::{Error, SendOptions, ToGroups};

/// Messages that are sent together, in the order in which they were pushed.
///
/// A message alone costs a system call; a batch costs one for as many messages as
/// the socket has room for. The batch holds copies of the payloads, in memory that
/// it keeps for the next ones.
///
/// ```
/// # let daemon = spread_daemon::Daemon::builder().start()?;
/// # let mut mailbox = spread::Mailbox::connect(daemon.address())?;
/// use spread::{Batch, Service};
///
/// mailbox.join("lines")?;
/// let mut batch = Batch::new();
/// for line in ["one", "two", "three"] {
///     batch.push(Service::Agreed, "lines", line)?;
/// }
/// mailbox.multicast_batch(&mut batch)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Batch {
    frames: Frames,
}

impl Batch {
    /// A batch without messages.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Adds a message.
    ///
    /// # Errors
    ///
    /// Then the batch is as it was:
    ///
    /// - [`IllegalGroup`](Error::IllegalGroup) if a name is neither that of a group nor that of a
    ///   private group.
    /// - [`NoGroups`](Error::NoGroups) and [`TooManyGroups`](Error::TooManyGroups) if there are
    ///   not 1 to 43 groups.
    /// - [`MessageTooLong`](Error::MessageTooLong) if payload plus 32 bytes a group are more than
    ///   143,151 bytes.
    #[inline]
    pub fn push(
        &mut self,
        options: impl Into<SendOptions>,
        groups: impl ToGroups,
        payload: impl AsRef<[u8]>,
    ) -> Result<(), Error> {
        let (groups, body) = (GroupList::of(groups)?, payload.as_ref());
        groups.check_payload(body.len())?;
        let options = options.into();
        self.frames.push(options.service_type(), groups.names(), options.number(), body);
        Ok(())
    }

    /// The number of messages in it.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Takes all messages out.
    pub fn clear(&mut self) {
        self.frames.clear();
    }

    /// The messages as they go over the wire.
    pub(crate) fn frames(&mut self) -> &mut Frames {
        &mut self.frames
    }
}
