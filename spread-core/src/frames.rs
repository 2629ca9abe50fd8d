//! Multicasts that are encoded one after the other, to be sent with few system calls.

use std::collections::VecDeque;

use spread_wire::limits::NAME_FIELD;
use spread_wire::{ByteOrder, FrameRef, HEADER_LEN, Header, Hint, Limits, Name, ServiceType};

/// Where the sender's name stands in a frame.
const NAME_AT: usize = 4;

/// Multicasts in the order in which they are sent, as they go over the wire. Their sender is
/// filled in when they are sent.
///
/// The memory is kept for the next ones.
#[derive(Clone, Debug, Default)]
pub struct Frames {
    bytes: Vec<u8>,
    /// Where the first frame begins.
    start: usize,
    /// Bytes of each frame.
    lens: VecDeque<usize>,
}

impl Frames {
    /// Appends a multicast.
    ///
    /// The caller has checked what [`Connection::multicast`](crate::Connection::multicast)
    /// asks its callers to check.
    #[inline]
    pub fn push(
        &mut self,
        service_type: ServiceType,
        groups: &[Name],
        message_type: i16,
        body: &[u8],
    ) {
        let header = header(Name::EMPTY, service_type, groups.len(), message_type, body.len());
        self.bytes.reserve(header.frame_len());
        encode_head(&header, groups, &mut self.bytes);
        self.bytes.extend_from_slice(body);
        self.lens.push_back(header.frame_len());
    }

    /// The number of multicasts.
    pub fn len(&self) -> usize {
        self.lens.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lens.is_empty()
    }

    /// Removes all multicasts.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.lens.clear();
        self.start = 0;
    }

    /// The first multicast.
    pub fn first(&self) -> Option<FrameRef<'_>> {
        FrameRef::decode(&self.bytes[self.start..], Limits::FROM_CLIENT).ok()?
    }

    /// Removes the first multicast.
    pub fn remove_first(&mut self) {
        if let Some(&len) = self.lens.front() {
            self.advance(len);
        }
    }

    /// Fills in the sender of the first frames, up to `most` bytes and one frame more;
    /// returns their bytes.
    pub(crate) fn sign(&mut self, sender: Name, most: usize) -> &[u8] {
        let mut end = self.start;
        for len in &self.lens {
            self.bytes[end + NAME_AT..][..NAME_FIELD].copy_from_slice(sender.as_field());
            end += len;
            if end - self.start >= most {
                break;
            }
        }
        &self.bytes[self.start..end]
    }

    /// How many bytes it takes to go on from `sent` to the end of a frame.
    pub(crate) fn rest(&self, sent: usize) -> &[u8] {
        let mut end = 0;
        for len in &self.lens {
            if end >= sent {
                break;
            }
            end += len;
        }
        &self.bytes[self.start..][sent..end]
    }

    /// Removes the frames that lie in the first `sent` bytes; returns their number.
    pub(crate) fn advance(&mut self, sent: usize) -> usize {
        let before = self.len();
        if self.start + sent == self.bytes.len() {
            self.clear();
            return before;
        }
        let mut left = sent;
        while let Some(&len) = self.lens.front()
            && len <= left
        {
            left -= len;
            self.start += len;
            self.lens.pop_front();
        }
        // As many bytes as move have gone before, so moving them is cheap.
        if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        before - self.len()
    }
}

/// The header of a message from this host.
#[inline]
pub(crate) fn header(
    name: Name,
    service_type: ServiceType,
    num_groups: usize,
    message_type: i16,
    data_len: usize,
) -> Header {
    let order = ByteOrder::NATIVE;
    Header { service_type, name, num_groups, hint: Hint::new(message_type, order), data_len, order }
}

/// Appends what comes before the body.
#[inline]
pub(crate) fn encode_head(header: &Header, groups: &[Name], out: &mut Vec<u8>) {
    debug_assert_eq!(header.num_groups, groups.len());
    out.reserve(HEADER_LEN + groups.len() * NAME_FIELD);
    out.extend_from_slice(&header.encode());
    for group in groups {
        out.extend_from_slice(group.as_field());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(bodies: &[&str]) -> Frames {
        let mut frames = Frames::default();
        let group = [Name::new("g").unwrap()];
        for body in bodies {
            frames.push(ServiceType::AGREED, &group, 1, body.as_bytes());
        }
        frames
    }

    fn bodies(frames: &Frames) -> Vec<String> {
        let mut rest = frames.clone();
        let mut bodies = Vec::new();
        while let Some(frame) = rest.first() {
            bodies.push(String::from_utf8(frame.body().to_vec()).unwrap());
            rest.remove_first();
        }
        bodies
    }

    #[test]
    fn frames_come_in_the_order_in_which_they_were_pushed() {
        let frames = frames(&["one", "", "three"]);
        assert_eq!(
            (frames.len(), bodies(&frames)),
            (3, vec!["one".into(), "".into(), "three".into()])
        );
    }

    #[test]
    fn what_was_sent_is_removed_up_to_the_end_of_a_frame() {
        let mut frames = frames(&["one", "two", "three"]);
        let sender = Name::new("#me#host").unwrap();
        let first = HEADER_LEN + NAME_FIELD + 3;
        assert_eq!(frames.sign(sender, 1).len(), first);
        let all = frames.sign(sender, usize::MAX).len();
        assert_eq!(frames.first().unwrap().header().name, sender);
        assert_eq!(frames.rest(0), b"");
        assert_eq!(frames.rest(first - 2), b"ne");
        assert_eq!(frames.rest(first), b"");
        assert_eq!(frames.rest(all - 1), b"e");
        assert_eq!(frames.advance(first), 1);
        assert_eq!(bodies(&frames), ["two", "three"]);
        assert_eq!(frames.advance(all - first), 2);
        assert!(frames.is_empty() && frames.first().is_none());
    }
}
