//! Whole messages off a stream.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use crate::limits::NAME_FIELD;
use crate::{HEADER_LEN, Header, Limits, Name, ServiceType};

/// Why a stream cannot go on: what stands in it is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The bits that mark the byte order are neither all set nor all clear.
    #[error("the byte order is not marked as Spread marks it")]
    ByteOrder,
    /// A negative number of groups, or too many.
    #[error("{count} groups announced, the limit is {max}")]
    Groups {
        /// The number in the header.
        count: i32,
        /// The most that is taken.
        max: usize,
    },
    /// A negative length of the body, or too great a one.
    #[error("a body of {len} bytes announced, the limit is {max}")]
    Data {
        /// The number in the header.
        len: i32,
        /// The most that is taken.
        max: usize,
    },
    /// Groups and body are too long together.
    #[error("{len} bytes of groups and body announced, the limit is {max}")]
    Total {
        /// Bytes of groups and body.
        len: usize,
        /// The most that is taken.
        max: usize,
    },
}

/// One message, as it came off a stream: a [`Header`] and what belongs to it.
///
/// A frame shares the memory it was decoded from, and cloning it shares it
/// again. [`Request::parse`](crate::Request::parse) and
/// [`Delivery::parse`](crate::Delivery::parse) say what it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    header: Header,
    bytes: Bytes,
}

impl Frame {
    /// Takes the next frame off the front of `stream`.
    ///
    /// Returns `Ok(None)`, and leaves the stream alone, as long as the frame is
    /// not all there. A header is checked as soon as it is there.
    ///
    /// # Errors
    ///
    /// [`FrameError`] if there is no valid header; the stream cannot be read
    /// further.
    pub fn decode(stream: &mut BytesMut, limits: Limits) -> Result<Option<Frame>, FrameError> {
        let Some(FrameRef { header, bytes }) = FrameRef::decode(stream, limits)? else {
            return Ok(None);
        };
        let len = bytes.len();
        Ok(Some(Frame { header, bytes: stream.split_to(len).freeze() }))
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The type that a rejected message had when it was sent.
    pub fn old_type(&self) -> Option<ServiceType> {
        FrameRef::from(self).old_type()
    }

    /// The names that follow the header.
    pub fn groups(&self) -> Groups<'_> {
        FrameRef::from(self).groups()
    }

    /// What follows the names.
    pub fn body(&self) -> &[u8] {
        FrameRef::from(self).body()
    }

    /// The frame's bytes, as they came.
    pub fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The frame's bytes, as they came.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }
}

/// A [`Frame`] in memory that belongs to someone else, where it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameRef<'a> {
    header: Header,
    bytes: &'a [u8],
}

impl<'a> FrameRef<'a> {
    /// The frame at the front of `stream`; `Ok(None)` as long as it is not all
    /// there. A header is checked as soon as it is there.
    ///
    /// # Errors
    ///
    /// [`FrameError`] if there is no valid header; the stream cannot be read
    /// further.
    pub fn decode(stream: &'a [u8], limits: Limits) -> Result<Option<FrameRef<'a>>, FrameError> {
        let Some(head) = stream.first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let header = Header::decode(head, limits)?;
        let bytes = stream.get(..header.frame_len());
        Ok(bytes.map(|bytes| FrameRef { header, bytes }))
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The type that a rejected message had when it was sent.
    pub fn old_type(&self) -> Option<ServiceType> {
        let bytes = self.bytes.get(HEADER_LEN..HEADER_LEN + self.header.old_type_len())?;
        Some(self.header.old_type(bytes.try_into().ok()?))
    }

    /// The names that follow the header.
    pub fn groups(&self) -> Groups<'a> {
        let start = HEADER_LEN + self.header.old_type_len();
        Groups::from_fields(&self.bytes[start..start + self.header.num_groups * NAME_FIELD])
    }

    /// What follows the names.
    pub fn body(&self) -> &'a [u8] {
        &self.bytes[self.bytes.len() - self.header.data_len..]
    }

    /// The frame's bytes, as they came.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

impl<'a> From<&'a Frame> for FrameRef<'a> {
    fn from(frame: &'a Frame) -> FrameRef<'a> {
        FrameRef { header: frame.header, bytes: &frame.bytes }
    }
}

/// A list of names, off the wire or to be put on it.
#[derive(Clone, Copy)]
pub struct Groups<'a>(Repr<'a>);

#[derive(Clone, Copy)]
enum Repr<'a> {
    Fields(&'a [[u8; NAME_FIELD]]),
    Names(&'a [Name]),
}

impl<'a> Groups<'a> {
    /// No names.
    pub const NONE: Groups<'static> = Groups(Repr::Names(&[]));

    /// The names in a run of 32-byte fields; bytes beyond the last whole field
    /// are left out.
    pub fn from_fields(fields: &'a [u8]) -> Groups<'a> {
        Groups(Repr::Fields(fields.as_chunks().0))
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        match self.0 {
            Repr::Fields(fields) => fields.len(),
            Repr::Names(names) => names.len(),
        }
    }

    /// Whether there is no name.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name at a place, from 0.
    pub fn get(&self, index: usize) -> Option<Name> {
        match self.0 {
            Repr::Fields(fields) => fields.get(index).map(|field| Name::from_field(*field)),
            Repr::Names(names) => names.get(index).copied(),
        }
    }

    /// The names, in the order in which they stand.
    pub fn iter(self) -> impl ExactSizeIterator<Item = Name> + Clone + use<'a> {
        (0..self.len()).map(move |index| self.get(index).unwrap_or(Name::EMPTY))
    }

    /// Appends the names to `out`, 32 bytes each.
    #[inline]
    pub(crate) fn encode(self, out: &mut impl BufMut) {
        match self.0 {
            Repr::Fields(fields) => out.put_slice(fields.as_flattened()),
            Repr::Names(names) => names.iter().for_each(|name| out.put_slice(name.as_field())),
        }
    }
}

impl<'a> From<&'a [Name]> for Groups<'a> {
    fn from(names: &'a [Name]) -> Groups<'a> {
        Groups(Repr::Names(names))
    }
}

impl<'a, const N: usize> From<&'a [Name; N]> for Groups<'a> {
    fn from(names: &'a [Name; N]) -> Groups<'a> {
        Groups(Repr::Names(names))
    }
}

impl PartialEq for Groups<'_> {
    fn eq(&self, other: &Groups<'_>) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Groups<'_> {}

impl fmt::Debug for Groups<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
