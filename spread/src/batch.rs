//! Many messages with few system calls.

#[cfg(feature = "tokio")]
use std::io;
use std::io::IoSlice;

use spread_wire::{ByteOrder, FrameRef, Limits, Name};
#[cfg(feature = "tokio")]
use spread_wire::{HEADER_LEN, Header};

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
    frames: Vec<u8>,
    /// Where the first of them begins.
    start: usize,
    /// How many there are.
    len: usize,
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
    #[inline]
    pub fn push(
        &mut self,
        options: impl Into<SendOptions>,
        groups: impl ToGroups,
        payload: impl AsRef<[u8]>,
    ) -> Result<(), Error> {
        let (groups, body) = (GroupList::of(groups)?, payload.as_ref());
        groups.check_payload(body.len())?;
        self.add(options.into(), &groups, body);
        Ok(())
    }

    /// Adds what has been checked.
    fn add(&mut self, options: SendOptions, groups: &GroupList, body: &[u8]) {
        let request = options.request(groups.names(), body);
        request.encode_head(Name::EMPTY, ByteOrder::NATIVE, &mut self.frames);
        self.frames.extend_from_slice(body);
        self.len += 1;
    }

    /// The number of messages in it.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes all messages out.
    pub fn clear(&mut self) {
        self.frames.clear();
        self.start = 0;
        self.len = 0;
    }

    /// Takes out the messages in the first `sent` bytes; returns their number.
    fn advance(&mut self, sent: usize) -> usize {
        let before = self.len;
        let end = self.start + sent;
        // Most often all of them have gone.
        if end >= self.frames.len() {
            self.clear();
            return before;
        }
        while self.start < end
            && let Some(frame) = self.first()
        {
            self.start += frame.as_bytes().len();
            self.len -= 1;
        }
        // As many bytes as move have gone before, so that this is cheap.
        if self.start > self.frames.len() / 2 {
            self.frames.drain(..self.start);
            self.start = 0;
        }
        before - self.len
    }

    /// Fills in the sender of the first messages; returns how many bytes they have, about
    /// as many as a socket takes.
    #[cfg(feature = "tokio")]
    fn sign(&mut self, sender: Name) -> usize {
        const MOST: usize = 256 * 1024;
        let frames = &mut self.frames[self.start..];
        let mut end = 0;
        while end < MOST
            && let Ok(Some(frame)) = FrameRef::decode(&frames[end..], Limits::FROM_CLIENT)
        {
            let (header, len) = (*frame.header(), frame.as_bytes().len());
            let header = Header { name: sender, ..header }.encode();
            frames[end..end + HEADER_LEN].copy_from_slice(&header);
            end += len;
        }
        end
    }

    /// What follows the first `sent` bytes up to the end of a message.
    #[cfg(feature = "tokio")]
    fn rest_of_message(&self, sent: usize) -> &[u8] {
        let frames = &self.frames[self.start..];
        let mut end = if sent == frames.len() { sent } else { 0 };
        while end < sent
            && let Ok(Some(frame)) = FrameRef::decode(&frames[end..], Limits::FROM_CLIENT)
        {
            end += frame.as_bytes().len();
        }
        &frames[sent..end]
    }

    /// The first message.
    fn first(&self) -> Option<FrameRef<'_>> {
        FrameRef::decode(&self.frames[self.start..], Limits::FROM_CLIENT).ok()?
    }
}

impl Connection {
    pub(crate) fn multicast_batch(&self, batch: &mut Batch) -> Result<usize, Error> {
        if batch.is_empty() {
            return Ok(0);
        }
        self.usable()?;
        match self.raw.multicast_frames(&mut batch.frames[batch.start..]) {
            Some(Ok(sent)) => Ok(batch.advance(sent)),
            Some(Err(code)) => Err(session_error("SP_multigroup_multicast", code)),
            None => self.multicast_each(batch),
        }
    }

    /// Sends the first messages as far as there is room, without waiting; takes them out
    /// of the batch and returns their number, and whether all of the last one has gone.
    /// The rest is for [`RawMailbox::flush`](crate::sys::RawMailbox::flush).
    ///
    /// # Errors
    ///
    /// `WouldBlock` if there is no room.
    #[cfg(feature = "tokio")]
    pub(crate) fn start_batch(&self, batch: &mut Batch) -> io::Result<(usize, bool)> {
        let most = batch.sign(self.private_group().into());
        let sent = self.raw.send_some(&[IoSlice::new(&batch.frames[batch.start..][..most])])?;
        let rest = batch.rest_of_message(sent);
        self.raw.send_later(rest);
        let (end, is_whole) = (sent + rest.len(), rest.is_empty());
        Ok((batch.advance(end), is_whole))
    }

    /// The C library sends a message at a time.
    fn multicast_each(&self, batch: &mut Batch) -> Result<usize, Error> {
        let mut sent = 0;
        while (sent == 0 || self.raw.is_writable().map_err(Error::Io)?)
            && let Some(frame) = batch.first()
        {
            let groups: Vec<Name> = frame.groups().iter().collect();
            let header = frame.header();
            let (service_type, message_type) = (header.service_type, header.hint.message_type());
            let body = [IoSlice::new(frame.body())];
            let result = self.raw.multicast(service_type, &groups, message_type, &body);
            let len = frame.as_bytes().len();
            batch.advance(len);
            result.map_err(|code| session_error("SP_multigroup_multicast", code))?;
            sent += 1;
        }
        Ok(sent)
    }
}
