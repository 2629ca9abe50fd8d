//! A bounded queue between a thread of this crate and a subscriber.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use spread::Name;

/// Which part of a queue a reader takes at once.
const TAKEN: usize = 16;

/// A message of a topic.
#[derive(Clone, Debug)]
pub(crate) struct Published {
    pub(crate) from: Name,
    pub(crate) sent_at: u64,
    pub(crate) received_at: SystemTime,
    pub(crate) payload: Bytes,
}

/// What a subscriber gets next.
#[derive(Debug)]
pub(crate) enum Next<T = Published> {
    Message(T),
    /// So many messages were dropped here, or an unknown number was missed.
    Gap(Option<u64>),
    /// The member has left the group.
    End,
}

/// Both ends of the queue.
#[derive(Debug)]
pub(crate) struct Inbox<T = Published>(Arc<Shared<T>>);

impl<T> Clone for Inbox<T> {
    fn clone(&self) -> Inbox<T> {
        Inbox(self.0.clone())
    }
}

#[derive(Debug)]
struct Shared<T> {
    queue: Mutex<Queue<T>>,
    ready: Condvar,
}

#[derive(Debug)]
struct Queue<T> {
    /// Messages and gaps, the last of which may be one beyond the limit.
    waiting: VecDeque<Next<T>>,
    limit: usize,
    closed: bool,
    /// Threads that wait for the next message.
    threads: usize,
    waker: Option<Waker>,
}

impl<T> Inbox<T> {
    /// Returns a queue for so many messages.
    pub(crate) fn new(limit: usize) -> Inbox<T> {
        let limit = limit.max(1);
        let queue =
            Queue { waiting: VecDeque::new(), limit, closed: false, threads: 0, waker: None };
        Inbox(Arc::new(Shared { queue: Mutex::new(queue), ready: Condvar::new() }))
    }

    /// Appends a message, or drops it if there is no room; returns whether the subscriber is
    /// still there.
    pub(crate) fn push(&self, message: T) -> bool {
        let mut queue = self.lock();
        if queue.closed {
            return false;
        }
        queue.push(message);
        self.wake(queue);
        true
    }

    /// Appends messages as [`Inbox::push`] does, and wakes the subscriber once.
    pub(crate) fn push_all(&self, messages: &[T]) -> bool
    where
        T: Clone,
    {
        let mut queue = self.lock();
        if queue.closed {
            return false;
        }
        messages.iter().for_each(|message| queue.push(message.clone()));
        self.wake(queue);
        true
    }

    /// Appends a message if there is room; returns whether there was.
    pub(crate) fn offer(&self, message: T) -> bool {
        let mut queue = self.lock();
        if queue.waiting.len() >= queue.limit {
            return false;
        }
        queue.waiting.push_back(Next::Message(message));
        self.wake(queue);
        true
    }

    /// Appends a message, beyond the limit if it has to be.
    pub(crate) fn append(&self, message: T) {
        let mut queue = self.lock();
        queue.waiting.push_back(Next::Message(message));
        self.wake(queue);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Takes note that messages may be missing here, because the connection was lost.
    pub(crate) fn miss(&self) {
        let mut queue = self.lock();
        match queue.waiting.back_mut() {
            Some(Next::Gap(dropped)) => *dropped = None,
            _ => queue.waiting.push_back(Next::Gap(None)),
        }
        self.wake(queue);
    }

    pub(crate) fn close(&self) {
        let mut queue = self.lock();
        queue.closed = true;
        self.wake(queue);
    }

    fn wake(&self, mut queue: MutexGuard<'_, Queue<T>>) {
        let (waker, threads) = (queue.waker.take(), queue.threads);
        drop(queue);
        if threads > 0 {
            self.0.ready.notify_one();
        }
        waker.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, Queue<T>> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Queue<T> {
    fn push(&mut self, message: T) {
        if self.waiting.len() < self.limit {
            return self.waiting.push_back(Next::Message(message));
        }
        match self.waiting.back_mut() {
            Some(Next::Gap(Some(dropped))) => *dropped += 1,
            Some(Next::Gap(None)) => {}
            _ => self.waiting.push_back(Next::Gap(Some(1))),
        }
    }

    /// Returns what is next, and takes some of what is behind it.
    fn next(&mut self, taken: &mut VecDeque<Next<T>>) -> Option<Next<T>> {
        let Some(next) = self.waiting.pop_front() else {
            return self.closed.then_some(Next::End);
        };
        let more = (self.limit / TAKEN).min(self.waiting.len());
        taken.extend(self.waiting.drain(..more));
        Some(next)
    }
}

/// The far end of a queue.
#[derive(Debug)]
pub(crate) struct Reader<T = Published> {
    inbox: Inbox<T>,
    /// What has been taken out of the queue, so that its lock is taken once for many messages.
    taken: VecDeque<Next<T>>,
}

impl<T> Reader<T> {
    pub(crate) fn new(inbox: Inbox<T>) -> Reader<T> {
        Reader { inbox, taken: VecDeque::new() }
    }

    pub(crate) fn inbox(&self) -> &Inbox<T> {
        &self.inbox
    }

    /// Waits for the next until the deadline.
    pub(crate) fn next(&mut self, deadline: Option<Instant>) -> Option<Next<T>> {
        if let Some(next) = self.taken.pop_front() {
            return Some(next);
        }
        let mut queue = self.inbox.lock();
        loop {
            if let Some(next) = queue.next(&mut self.taken) {
                return Some(next);
            }
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return None;
            }
            queue.threads += 1;
            let ready = &self.inbox.0.ready;
            queue = match left {
                Some(left) => {
                    let waited = ready.wait_timeout(queue, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => ready.wait(queue).unwrap_or_else(PoisonError::into_inner),
            };
            queue.threads -= 1;
        }
    }

    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next<T>> {
        if let Some(next) = self.taken.pop_front() {
            return Poll::Ready(next);
        }
        let mut queue = self.inbox.lock();
        match queue.next(&mut self.taken) {
            Some(next) => Poll::Ready(next),
            None => {
                queue.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &'static str) -> Published {
        let from = Name::new("#a#d").unwrap();
        let payload = Bytes::from_static(text.as_bytes());
        Published { from, sent_at: 0, received_at: SystemTime::UNIX_EPOCH, payload }
    }

    fn queue(limit: usize) -> (Inbox, Reader) {
        let inbox = Inbox::new(limit);
        (inbox.clone(), Reader::new(inbox))
    }

    fn next(reader: &mut Reader) -> String {
        match reader.next(Some(Instant::now())) {
            None => String::from("nothing"),
            Some(Next::Message(message)) => String::from_utf8(message.payload.to_vec()).unwrap(),
            Some(Next::Gap(Some(dropped))) => format!("gap of {dropped}"),
            Some(Next::Gap(None)) => String::from("gap"),
            Some(Next::End) => String::from("end"),
        }
    }

    #[test]
    fn what_does_not_fit_is_a_gap_in_its_place() {
        let (inbox, mut reader) = queue(2);
        ["a", "b", "c", "d"].into_iter().for_each(|text| assert!(inbox.push(message(text))));
        assert_eq!((next(&mut reader), next(&mut reader)), ("a".into(), "b".into()));
        assert_eq!(next(&mut reader), "gap of 2");
        inbox.push(message("e"));
        assert_eq!((next(&mut reader), next(&mut reader)), ("e".into(), "nothing".into()));
    }

    #[test]
    fn what_was_missed_is_a_gap_of_unknown_size() {
        let (inbox, mut reader) = queue(2);
        inbox.push(message("a"));
        inbox.miss();
        inbox.miss();
        inbox.push(message("b"));
        assert_eq!((next(&mut reader), next(&mut reader)), ("a".into(), "gap".into()));
        inbox.push(message("c"));
        assert_eq!((next(&mut reader), next(&mut reader)), ("c".into(), "nothing".into()));
    }

    #[test]
    fn what_was_published_before_the_end_comes_before_it() {
        let (inbox, mut reader) = queue(2);
        inbox.push(message("a"));
        inbox.close();
        assert!(!inbox.push(message("b")));
        assert_eq!(
            (next(&mut reader), next(&mut reader), next(&mut reader)),
            ("a".into(), "end".into(), "end".into())
        );
    }

    #[test]
    fn what_is_taken_together_comes_in_its_order() {
        let (inbox, mut reader) = queue(64);
        assert!(inbox.push_all(&["a", "b", "c", "d", "e", "f", "g"].map(message)));
        let read: String = (0..6).map(|_| next(&mut reader)).collect();
        assert_eq!(read, "abcdef");
        inbox.push(message("h"));
        inbox.close();
        let read: Vec<String> = (0..4).map(|_| next(&mut reader)).collect();
        assert_eq!(read, ["g", "h", "end", "end"]);
    }

    #[test]
    fn a_reader_keeps_a_small_part_of_the_limit_beside_the_queue() {
        let (inbox, mut reader) = queue(32);
        assert!(inbox.push_all(&vec![message("a"); 32]));
        assert_eq!(next(&mut reader), "a");
        assert_eq!(reader.taken.len(), 32 / TAKEN);
        assert!(inbox.push_all(&vec![message("a"); 32]));
        let gap = 32 - 1 - 32 / TAKEN;
        let read: Vec<String> = (0..35).map(|_| next(&mut reader)).collect();
        assert_eq!(read.last(), Some(&format!("gap of {}", 32 - (1 + 32 / TAKEN))));
        assert_eq!(gap, 29);
    }
}
