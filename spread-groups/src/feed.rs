//! A bounded queue between the threads of nodes and one that follows groups, such as a
//! reactor's: messages of topics and changes of the roster, in their order.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use spread::Name;

use crate::core::envelope::Topic;
use crate::core::roster::{Change, Member};
use crate::{Error, Group, Pending, pending};

/// A message of a topic.
#[derive(Clone, Debug)]
pub(crate) struct Delivered {
    /// Its publisher.
    pub(crate) from: Name,
    pub(crate) received_at: SystemTime,
    pub(crate) topic: Topic,
}

/// What a group feeds.
#[derive(Debug)]
pub(crate) enum Told {
    Message(Delivered),
    Roster(Arc<[Member]>, Vec<Change>),
    /// So many messages were dropped here, or an unknown number was missed; and the roster,
    /// if its changes were dropped.
    Gap(Option<u64>, Option<Arc<[Member]>>),
}

/// What comes next.
#[derive(Debug)]
pub(crate) enum Next {
    /// Something of the group with this number.
    Told(usize, Told),
    /// The deadline has passed.
    Late,
    /// Nothing more comes: the member has left every group, or the feed was stopped.
    End,
}

/// Both ends of the queue.
#[derive(Clone, Debug)]
pub(crate) struct Feed(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    ready: Condvar,
}

#[derive(Debug)]
struct Queue {
    /// Messages and changes up to the limit, and gaps between them.
    waiting: VecDeque<(usize, Told)>,
    /// How many of them are no gaps.
    full: usize,
    limit: usize,
    /// Groups that may still tell something.
    open: usize,
    stopped: bool,
}

impl Feed {
    /// Returns a queue for so many messages and changes, of so many groups.
    pub(crate) fn new(limit: usize, groups: usize) -> Feed {
        let limit = limit.max(1);
        let waiting = VecDeque::new();
        let queue = Queue { waiting, full: 0, limit, open: groups, stopped: false };
        Feed(Arc::new(Shared { queue: Mutex::new(queue), ready: Condvar::new() }))
    }

    /// Waits for what comes next until the deadline.
    pub(crate) fn next(&self, deadline: Option<Instant>) -> Next {
        let mut queue = self.lock();
        loop {
            if queue.stopped {
                return Next::End;
            }
            if let Some((group, told)) = queue.waiting.pop_front() {
                queue.full -= usize::from(!matches!(told, Told::Gap(..)));
                return Next::Told(group, told);
            }
            if queue.open == 0 {
                return Next::End;
            }
            queue = match deadline.map(|at| at.saturating_duration_since(Instant::now())) {
                Some(left) if left.is_zero() => return Next::Late,
                Some(left) => {
                    let waited = self.0.ready.wait_timeout(queue, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.0.ready.wait(queue).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Ends it, whatever still waits.
    pub(crate) fn stop(&self) {
        let mut queue = self.lock();
        queue.stopped = true;
        queue.waiting.clear();
        drop(queue);
        self.0.ready.notify_all();
    }

    /// Returns whether the other one is the same.
    pub(crate) fn is(&self, other: &Feed) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Returns whether it was stopped.
    pub(crate) fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    /// Returns whether somebody still reads.
    fn push(&self, group: usize, told: Told) -> bool {
        let mut queue = self.lock();
        if queue.stopped {
            return false;
        }
        queue.push(group, told);
        drop(queue);
        self.0.ready.notify_one();
        true
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn push(&mut self, group: usize, told: Told) {
        let gap = match told {
            Told::Gap(dropped, roster) => (dropped, roster),
            told if self.full < self.limit => {
                self.full += 1;
                return self.waiting.push_back((group, told));
            }
            Told::Message(_) => (Some(1), None),
            Told::Roster(roster, _) => (Some(0), Some(roster)),
        };
        let (more, latest) = gap;
        // Between two gaps of a group something of it waits, so that gaps are bounded, too.
        match self.waiting.iter_mut().rev().find(|(of, _)| *of == group) {
            Some((_, Told::Gap(dropped, roster))) => {
                *dropped = dropped.zip(more).map(|(dropped, more)| dropped + more);
                *roster = latest.or(roster.take());
            }
            _ => self.waiting.push_back((group, Told::Gap(more, latest))),
        }
    }
}

/// Has groups tell a feed what comes from here on: the messages of a topic and changes of the
/// roster, or the messages of all topics.
///
/// # Errors
///
/// [`Error::OwnThread`] on a thread of this crate.
pub(crate) fn attach(feed: &Feed, groups: &[Group], channel: Option<u32>) -> Result<(), Error> {
    pending::refuse_own_threads()?;
    let attached = groups.iter().enumerate().map(|(number, group)| {
        let (complete, pending) = Pending::new();
        let tap = Tap { feed: feed.clone(), group: number, channel };
        let (commands, shared) = group.parts();
        let shared = shared.clone();
        commands.push(move |runner| {
            if let Some(hosted) = runner.part(&shared) {
                hosted.tap(tap);
            }
            complete(Ok(()));
        });
        pending
    });
    let attached: Vec<Pending<()>> = attached.collect();
    for attached in attached {
        match attached.wait() {
            // A node that has ended has nothing to tell, which the feed knows.
            Ok(()) | Err(Error::Closed { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// One group's end of a feed.
#[derive(Debug)]
pub(crate) struct Tap {
    pub(crate) feed: Feed,
    /// The number of the group in the feed.
    pub(crate) group: usize,
    /// The topic whose messages are wanted; without one those of all topics, and no changes
    /// of the roster.
    pub(crate) channel: Option<u32>,
}

impl Tap {
    /// Hands over a message, if it is wanted; returns whether somebody still reads.
    pub(crate) fn deliver(&self, delivered: &Delivered) -> bool {
        if self.channel.is_some_and(|channel| channel != delivered.topic.channel) {
            return !self.feed.is_stopped();
        }
        self.feed.push(self.group, Told::Message(delivered.clone()))
    }

    /// Hands over a change of the roster, if it is wanted; returns whether somebody still
    /// reads.
    pub(crate) fn roster(&self, members: &Arc<[Member]>, changes: &[Change]) -> bool {
        if self.channel.is_none() {
            return !self.feed.is_stopped();
        }
        self.feed.push(self.group, Told::Roster(members.clone(), changes.to_vec()))
    }

    /// Takes note that messages may be missing here, because the connection was lost.
    pub(crate) fn miss(&self) {
        self.feed.push(self.group, Told::Gap(None, None));
    }
}

/// Nothing more comes of the group.
impl Drop for Tap {
    fn drop(&mut self) {
        let mut queue = self.feed.lock();
        queue.open = queue.open.saturating_sub(1);
        drop(queue);
        self.feed.0.ready.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn message(text: &'static str) -> Told {
        let topic = Topic {
            message: 1,
            sent_at: 0,
            channel: 7,
            hops: 0,
            publisher: None,
            payload: Bytes::from_static(text.as_bytes()),
        };
        let from = Name::new("#a#d").unwrap();
        Told::Message(Delivered { from, received_at: SystemTime::UNIX_EPOCH, topic })
    }

    fn roster() -> Told {
        Told::Roster(Arc::new([]), Vec::new())
    }

    fn next(feed: &Feed) -> String {
        match feed.next(Some(Instant::now())) {
            Next::Told(group, Told::Message(message)) => {
                format!("{group}{}", String::from_utf8_lossy(&message.topic.payload))
            }
            Next::Told(group, Told::Roster(..)) => format!("{group} roster"),
            Next::Told(group, Told::Gap(dropped, roster)) => {
                format!("{group} gap {dropped:?} {}", roster.is_some())
            }
            Next::Late => String::from("late"),
            Next::End => String::from("end"),
        }
    }

    #[test]
    fn what_does_not_fit_is_a_gap_of_its_group() {
        let feed = Feed::new(2, 2);
        for text in ["a", "b"] {
            assert!(feed.push(0, message(text)));
        }
        for told in [message("c"), roster(), message("d")] {
            assert!(feed.push(1, told));
        }
        feed.push(0, message("e"));
        assert_eq!((next(&feed), next(&feed)), ("0a".into(), "0b".into()));
        feed.push(1, message("f"));
        assert_eq!(next(&feed), "1 gap Some(2) true");
        assert_eq!(next(&feed), "0 gap Some(1) false");
        assert_eq!((next(&feed), next(&feed)), ("1f".into(), "late".into()));
    }

    #[test]
    fn gaps_are_bounded_whatever_happens() {
        let feed = Feed::new(4, 2);
        for round in 0..1000 {
            let group = round % 2;
            feed.push(group, message("a"));
            feed.push(group, Told::Gap(None, None));
            feed.push(1 - group, roster());
        }
        assert!(feed.lock().waiting.len() <= 4 + 4 + 2);
    }

    #[test]
    fn it_ends_with_its_last_group_after_what_was_told() {
        let feed = Feed::new(2, 2);
        let tap = |group| Tap { feed: feed.clone(), group, channel: None };
        let (one, other) = (tap(0), tap(1));
        feed.push(0, message("a"));
        drop(one);
        assert_eq!((next(&feed), next(&feed)), ("0a".into(), "late".into()));
        drop(other);
        assert_eq!(next(&feed), "end");
    }

    #[test]
    fn a_feed_that_was_stopped_takes_nothing() {
        let feed = Feed::new(2, 1);
        feed.push(0, message("a"));
        feed.stop();
        assert!(!feed.push(0, message("b")));
        assert_eq!(next(&feed), "end");
    }
}
