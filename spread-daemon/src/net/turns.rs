//! A queue that gives each peer address its turn, so that an address with many items does not
//! delay the others.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr};

/// Whose turn it is: an IPv4 address, the first 64 bits of an IPv6 address, which one host chooses
/// the others of, or `None` for all clients of the unix socket.
pub(crate) type Source = Option<IpAddr>;

/// Returns the source of a client at an address.
pub(crate) fn source(address: Option<IpAddr>) -> Source {
    address.map(|address| match address.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
        v4 => v4,
    })
}

/// A queue for each source. The sources take turns, each with its oldest item.
#[derive(Debug)]
pub(crate) struct Turns<T> {
    /// None of them is empty; the first is the next.
    queues: VecDeque<(Source, VecDeque<T>)>,
    room: usize,
}

impl<T> Turns<T> {
    /// Returns an empty queue with room for as many items.
    pub(crate) fn new(room: usize) -> Turns<T> {
        Turns { queues: VecDeque::new(), room }
    }

    pub(crate) fn len(&self) -> usize {
        self.queues.iter().map(|(_, queue)| queue.len()).sum()
    }

    /// Returns the source that has the most items, and their number.
    pub(crate) fn longest(&self) -> Option<(Source, usize)> {
        let lengths = self.queues.iter().map(|(source, queue)| (*source, queue.len()));
        lengths.max_by_key(|(_, len)| *len)
    }

    /// Adds an item. Without room for it the newest item of the longest queue is taken out and
    /// returned; or the item itself, if its own queue would then be as long.
    pub(crate) fn push(&mut self, source: Source, item: T) -> Option<T> {
        let own = self.queues.iter().position(|(of, _)| *of == source);
        let mut lost = None;
        if self.len() >= self.room {
            let own_len = own.map_or(0, |own| self.queues[own].1.len());
            let longer = self.queues.iter_mut().max_by_key(|(_, queue)| queue.len());
            match longer.filter(|(_, queue)| queue.len() > own_len + 1) {
                Some((_, queue)) => lost = queue.pop_back(),
                None => return Some(item),
            }
        }
        match own {
            Some(own) => self.queues[own].1.push_back(item),
            None => self.queues.push_back((source, VecDeque::from([item]))),
        }
        lost
    }

    /// Takes the next item out; its source has its next turn after the others.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let (source, mut queue) = self.queues.pop_front()?;
        let item = queue.pop_front();
        if !queue.is_empty() {
            self.queues.push_back((source, queue));
        }
        item
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        self.queues.iter_mut().for_each(|(_, queue)| queue.retain(&mut keep));
        self.queues.retain(|(_, queue)| !queue.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Source {
        source(Some(text.parse().unwrap()))
    }

    fn drain(turns: &mut Turns<u32>) -> Vec<u32> {
        std::iter::from_fn(|| turns.pop()).collect()
    }

    #[test]
    fn sources_take_turns_and_each_keeps_its_order() {
        let mut turns = Turns::new(100);
        for item in 0..4 {
            assert_eq!(turns.push(host("192.0.2.1"), item), None);
        }
        turns.push(host("192.0.2.2"), 10);
        turns.push(host("192.0.2.2"), 11);
        turns.push(None, 20);
        assert_eq!((turns.len(), turns.longest()), (7, Some((host("192.0.2.1"), 4))));
        assert_eq!(drain(&mut turns), [0, 10, 20, 1, 11, 2, 3]);
        assert_eq!((turns.len(), turns.longest()), (0, None));
    }

    #[test]
    fn a_longest_queue_loses_its_newest_item_when_there_is_no_room() {
        let (many, few) = (host("192.0.2.1"), host("192.0.2.2"));
        let mut turns = Turns::new(3);
        for item in 0..3 {
            assert_eq!(turns.push(many, item), None);
        }
        assert_eq!(turns.push(many, 3), Some(3));
        assert_eq!(turns.push(few, 10), Some(2));
        // With it the two queues would only change places.
        assert_eq!(turns.push(few, 11), Some(11));
        assert_eq!(drain(&mut turns), [0, 10, 1]);
    }

    #[test]
    fn a_full_queue_of_lone_items_takes_no_other() {
        let mut turns = Turns::new(2);
        turns.push(host("192.0.2.1"), 1);
        turns.push(host("192.0.2.2"), 2);
        assert_eq!(turns.push(host("192.0.2.3"), 3), Some(3));
        turns.retain(|item| *item != 1);
        assert_eq!(turns.push(host("192.0.2.3"), 3), None);
        assert_eq!(drain(&mut turns), [2, 3]);
    }

    #[test]
    fn addresses_that_one_host_can_have_are_one_source() {
        assert_eq!(host("2001:db8::1"), host("2001:db8::ffff:1"));
        assert_ne!(host("2001:db8::1"), host("2001:db8:0:1::1"));
        assert_eq!(host("::ffff:192.0.2.1"), host("192.0.2.1"));
        assert_eq!(source(None), None);
    }
}
