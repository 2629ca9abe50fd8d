//! Many messages with few system calls.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, BytesMut};
use spread_wire::{ByteOrder, Frame, Limits, Name};

use crate::connection::{Connection, session_error};
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
/// while !batch.is_empty() {
///     // A program that also receives would do so in between.
///     mailbox.multicast_batch(&mut batch)?;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// As they go over the wire, but for the name of the sender.
    frames: BytesMut,
    /// The bytes of each.
    lens: VecDeque<usize>,
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
    /// Those of [`Sender::multicast`](crate::Sender::multicast) that come before
    /// anything is sent; then the batch is as it was.
    pub fn push(
        &mut self,
        options: impl Into<SendOptions>,
        groups: impl ToGroups,
        payload: impl AsRef<[u8]>,
    ) -> Result<(), Error> {
        let (groups, body) = (GroupList::of(groups)?, payload.as_ref());
        groups.check_payload(body.len())?;
        let request = options.into().request(groups.names(), body);
        let before = self.frames.len();
        request.encode(Name::EMPTY, ByteOrder::NATIVE, &mut self.frames);
        self.lens.push_back(self.frames.len() - before);
        Ok(())
    }

    /// The number of messages in it.
    pub fn len(&self) -> usize {
        self.lens.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lens.is_empty()
    }

    /// Takes all messages out.
    pub fn clear(&mut self) {
        self.frames.clear();
        self.lens.clear();
    }

    /// Takes out the messages in the first `sent` bytes; returns their number.
    fn advance(&mut self, mut sent: usize) -> usize {
        let before = self.lens.len();
        self.frames.advance(sent);
        while let Some(len) = self.lens.front()
            && let Some(rest) = sent.checked_sub(*len)
        {
            sent = rest;
            self.lens.pop_front();
        }
        before - self.lens.len()
    }

    /// Takes out the first message.
    fn pop(&mut self) -> Option<Frame> {
        let frame = Frame::decode(&mut self.frames, Limits::FROM_CLIENT).ok()??;
        self.lens.pop_front();
        Some(frame)
    }
}

impl Connection {
    pub(crate) fn multicast_batch(&self, batch: &mut Batch) -> Result<usize, Error> {
        if batch.is_empty() {
            return Ok(0);
        }
        self.usable()?;
        match self.raw.multicast_frames(&mut batch.frames) {
            Some(Ok(sent)) => Ok(batch.advance(sent)),
            Some(Err(code)) => Err(session_error("SP_multigroup_multicast", code)),
            None => self.multicast_each(batch),
        }
    }

    /// The C library sends a message at a time.
    fn multicast_each(&self, batch: &mut Batch) -> Result<usize, Error> {
        let mut sent = 0;
        while (sent == 0 || self.raw.is_writable().map_err(Error::Io)?)
            && let Some(frame) = batch.pop()
        {
            let groups: Vec<Name> = frame.groups().iter().collect();
            let header = frame.header();
            let (service_type, message_type) = (header.service_type, header.hint.message_type());
            self.raw
                .multicast(service_type, &groups, message_type, &[IoSlice::new(frame.body())])
                .map_err(|code| session_error("SP_multigroup_multicast", code))?;
            sent += 1;
        }
        Ok(sent)
    }
}
