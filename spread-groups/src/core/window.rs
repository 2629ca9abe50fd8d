//! Backpressure on what a member sends to its group: a window of own messages that have
//! not come back yet.

use std::collections::VecDeque;

/// Messages to the group that are on their way, the oldest first.
#[derive(Debug)]
pub(crate) struct Window {
    messages: usize,
    bytes: usize,
    under_way: VecDeque<usize>,
    under_way_bytes: usize,
}

impl Window {
    /// Returns an open window for so many messages, and bytes.
    pub(crate) fn new(messages: usize, bytes: usize) -> Window {
        Window { messages, bytes, under_way: VecDeque::new(), under_way_bytes: 0 }
    }

    /// Returns whether one more message may go.
    pub(crate) fn is_open(&self) -> bool {
        self.under_way.len() < self.messages && self.under_way_bytes < self.bytes
    }

    pub(crate) fn sent(&mut self, len: usize) {
        self.under_way.push_back(len);
        self.under_way_bytes += len;
    }

    /// Takes note that the oldest message has come back.
    pub(crate) fn came_back(&mut self) {
        self.under_way_bytes -= self.under_way.pop_front().unwrap_or_default();
    }

    /// Forgets what is under way, as on a new connection.
    pub(crate) fn clear(&mut self) {
        self.under_way.clear();
        self.under_way_bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use spread::{GroupId, Name};

    use super::super::config::Config;
    use super::super::envelope::Topic;
    use super::super::roster::Incarnation;
    use super::super::{Core, Input, Output, View};
    use super::*;

    #[test]
    fn messages_and_bytes_close_it_until_they_have_come_back() {
        let mut window = Window::new(2, 10);
        window.sent(1);
        assert!(window.is_open());
        window.sent(1);
        assert!(!window.is_open(), "two messages");
        window.came_back();
        window.sent(9);
        assert!(!window.is_open(), "ten bytes");
        window.came_back();
        assert!(window.is_open());
    }

    /// A daemon keeps about a thousand messages for a client, and cuts it off then.
    #[test]
    fn a_publisher_has_no_more_under_way_than_the_window_however_fast_it_is() {
        const MESSAGES: usize = 1000;
        let (me, group) = (Name::new("#a#d").unwrap(), Name::new("plant").unwrap());
        let config = Config::new(group, Incarnation([1; 16]));
        let (most, _) = config.window;
        let mut core = Core::new(config);
        let frame = || {
            let (message, sent_at, channel, hops, publisher) = (0, 0, 7, 0, None);
            let payload = Bytes::from_static(b"x");
            let topic = Topic { message, sent_at, channel, hops, publisher, payload };
            let mut bytes = bytes::BytesMut::new();
            topic.to_frame().write(&mut bytes);
            bytes.freeze()
        };
        let frames = std::iter::repeat_with(frame).take(MESSAGES).collect();
        let view = View { id: GroupId::default(), members: vec![me], departure: None };
        let (mut under_way, mut published, mut peak) = (VecDeque::new(), 0, 0);
        for input in [Input::Connected(me), Input::Publish { frames }, Input::View(view)] {
            core.input(Duration::ZERO, input);
        }
        loop {
            while let Some(output) = core.output() {
                match output {
                    Output::Send { bytes, .. } => under_way.push_back(bytes),
                    Output::Topic { .. } => published += 1,
                    _ => {}
                }
            }
            peak = peak.max(under_way.len());
            let Some(bytes) = under_way.pop_front() else { break };
            core.input(Duration::ZERO, Input::Message { from: me, bytes });
        }
        assert_eq!((published, peak), (MESSAGES, most));
    }
}
