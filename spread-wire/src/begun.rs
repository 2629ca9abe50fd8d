//! A message that is taken off its stream before all of it has come.

use bytes::BytesMut;

use crate::{Frame, FrameError, HEADER_LEN, Header, Limits};

/// The beginning of a message, off a stream that cannot hold all of it.
///
/// The window of TCP counts the memory of its segments, not their bytes, and who
/// writes to a unix socket is told to go on only once its buffer is three quarters
/// empty. So a large message may never be whole in its socket. A receiver that does
/// not want to wait for it takes what has come, but leaves the rest where it is as
/// soon as it is all there: then its descriptor is readable for as long as it has a
/// whole message to receive.
///
/// ```
/// use spread_wire::{Begun, ByteOrder, Limits, Name, Request, Service};
///
/// let mut stream = bytes::BytesMut::new();
/// Request::multicast(Service::Agreed, &[Name::new("chat")?], b"hello")
///     .encode(Name::new("#alice#localhost")?, ByteOrder::NATIVE, &mut stream);
/// let (first, rest) = stream.split_at(20);
///
/// let mut begun = Begun::default();
/// assert_eq!(begun.lacks(first, Limits::FROM_CLIENT)?, None, "not even a header");
/// begun.extend(first);
/// assert_eq!(begun.lacks(rest, Limits::FROM_CLIENT)?, Some(rest.len()));
/// begun.extend(rest);
/// let frame = begun.take(Limits::FROM_CLIENT)?.expect("a whole message");
/// assert_eq!(frame.body(), b"hello");
/// assert!(begun.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct Begun(BytesMut);

impl Begun {
    /// Whether nothing has been taken.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes that have been taken.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// How many more bytes the message has, if `next` are the first of them; `None`
    /// as long as its header is not all there.
    ///
    /// # Errors
    ///
    /// [`FrameError`] if the header is wrong.
    pub fn lacks(&self, next: &[u8], limits: Limits) -> Result<Option<usize>, FrameError> {
        let mut head = [0; HEADER_LEN];
        let taken = self.len().min(HEADER_LEN);
        head[..taken].copy_from_slice(&self.0[..taken]);
        let Some(next) = next.get(..HEADER_LEN - taken) else {
            return Ok(None);
        };
        head[taken..].copy_from_slice(next);
        let header = Header::decode(&head, limits)?;
        Ok(Some(header.frame_len().saturating_sub(self.len())))
    }

    /// Notes what has been taken off the stream.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// The message, once it is whole.
    ///
    /// # Errors
    ///
    /// [`FrameError`] if its header is wrong.
    pub fn take(&mut self, limits: Limits) -> Result<Option<Frame>, FrameError> {
        Frame::decode(&mut self.0, limits)
    }
}
