//! Bridges: the messages of one group in another group.
//!
//! **Promises.** A bridge publishes all messages of topics of one group in the other, in their
//! order, with their publishers and times. A message is delivered at most once in each group,
//! also where bridges form a ring, stand in parallel, or connect daemons that do not know each
//! other: it keeps its number, and members drop a copy of any of the last 16,384 messages. The
//! first copy in the order of a group counts, the same one for all its members. A message crosses
//! at most [`BridgeBuilder::max_hops`] bridges.
//!
//! Operations, calls and locks do not cross a bridge. So retained values, which are operations,
//! do not either.
//!
//! **Sends** one agreed message in the other group for each message that the bridge has not seen
//! there.
//!
//! **A roster change** has no effect on a bridge. Of two bridges between the same groups, one
//! continues without a gap when the other is gone.
//!
//! **In a partition** the bridges of each side go on. **At a merge** nothing is sent again. A
//! bridge that loses a connection misses the messages until it has reconnected;
//! [`Stats::lost`] counts such gaps.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::core::envelope::Topic;
use crate::feed::{self, Delivered, Feed, Next, Told};
use crate::recent::Recent;
use crate::{Error, Group, topic};

/// Messages that wait for a bridge.
const QUEUE: usize = 4096;
/// Messages of each group that a bridge remembers.
const SEEN: usize = 16_384;
/// Bridges that a message crosses.
const MAX_HOPS: u32 = 8;

/// The builder of a bridge, returned by [`Bridge::between`].
#[derive(Debug)]
#[must_use = "nothing happens before `start`"]
pub struct BridgeBuilder {
    groups: [Group; 2],
    max_hops: u32,
}

impl BridgeBuilder {
    /// Limits the bridges that a message has crossed when it leaves this one. Defaults to 8; with
    /// 0 nothing crosses this bridge. Where there are several ways to a group, the limit has to
    /// allow for the longest one: the copy that comes first is the one that is forwarded.
    pub fn max_hops(mut self, hops: u32) -> BridgeBuilder {
        self.max_hops = hops;
        self
    }

    /// Starts the bridge with the messages that are delivered from now on.
    ///
    /// # Errors
    ///
    /// [`Error::System`] if no thread can be started; [`Error::OwnThread`] on a thread of this
    /// crate.
    pub fn start(self) -> Result<Bridge, Error> {
        let BridgeBuilder { groups, max_hops } = self;
        let (feed, counted) = (Feed::new(QUEUE, 2), Arc::new(Counted::default()));
        feed::attach(&feed, &groups, None)?;
        let relay = Relay::new(max_hops);
        let (near, counts) = (feed.clone(), counted.clone());
        let thread = std::thread::Builder::new().name(String::from("spread-groups-bridge"));
        let started = thread.spawn(move || run(&near, &groups, relay, &counts));
        let bridge = Bridge { feed, counted };
        started.map_err(|error| Error::System(Arc::new(error)))?;
        Ok(bridge)
    }
}

/// A bridge between two groups, which ends when this is dropped.
///
/// ```
/// # let daemon = spread_daemon::Daemon::builder().start()?;
/// # let other_daemon = spread_daemon::Daemon::builder().start()?;
/// # let (address, other_address) = (daemon.address(), other_daemon.address());
/// use spread::Mailbox;
/// use spread_groups::{Bridge, Item, Node};
///
/// let [here, there] = [Node::connect(Mailbox::builder(address))?,
///     Node::connect(Mailbox::builder(other_address))?];
/// let plant = here.group("plant")?.join()?;
/// let office = there.group("office")?.join()?;
/// let bridge = Bridge::between(&plant, &office).max_hops(4).start()?;
/// let mut heard = office.topic::<String>("news").subscribe();
/// plant.topic("news").publish(&String::from("it rains"))?;
/// assert!(matches!(heard.next(), Some(Item::Message(text, _)) if text == "it rains"));
/// # drop(bridge);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping it ends the bridge"]
pub struct Bridge {
    feed: Feed,
    counted: Arc<Counted>,
}

/// Counters of a bridge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Messages that were published in the other group.
    pub forwarded: u64,
    /// Messages that the other group had already.
    pub copies: u64,
    /// Messages that had crossed the maximum of bridges, or have no number.
    pub expired: u64,
    /// Messages that were dropped, because the bridge or the other group did not keep up.
    pub dropped: u64,
    /// Lost connections, each with an unknown number of missed messages.
    pub lost: u64,
}

#[derive(Debug, Default)]
struct Counted {
    forwarded: AtomicU64,
    copies: AtomicU64,
    expired: AtomicU64,
    dropped: AtomicU64,
    lost: AtomicU64,
}

impl Bridge {
    /// Returns the builder of a bridge between two groups, of one node or of two.
    pub fn between(one: &Group, other: &Group) -> BridgeBuilder {
        BridgeBuilder { groups: [one.clone(), other.clone()], max_hops: MAX_HOPS }
    }

    /// Returns the counters.
    pub fn stats(&self) -> Stats {
        let Counted { forwarded, copies, expired, dropped, lost } = &*self.counted;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            forwarded: read(forwarded),
            copies: read(copies),
            expired: read(expired),
            dropped: read(dropped),
            lost: read(lost),
        }
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.feed.stop();
    }
}

/// The decision on a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It is published in the other group, having crossed so many bridges.
    Forward(u32),
    Copy,
    Expired,
}

/// Decides what crosses a bridge.
#[derive(Debug)]
struct Relay {
    max_hops: u32,
    /// What is known to be in each group.
    seen: [Recent; 2],
}

impl Relay {
    fn new(max_hops: u32) -> Relay {
        Relay { max_hops, seen: [Recent::new(SEEN), Recent::new(SEEN)] }
    }

    /// Takes a message of one of the groups.
    fn take(&mut self, group: usize, message: u64, hops: u32) -> Verdict {
        if message == 0 || hops >= self.max_hops {
            return Verdict::Expired;
        }
        self.seen[group].insert(message);
        match self.seen[1 - group].insert(message) {
            true => Verdict::Forward(hops + 1),
            false => Verdict::Copy,
        }
    }
}

fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

fn run(feed: &Feed, groups: &[Group; 2], mut relay: Relay, counted: &Counted) {
    loop {
        let (group, message) = match feed.next(None) {
            Next::Told(group, Told::Message(message)) => (group, message),
            Next::Told(_, Told::Gap(Some(dropped), _)) => {
                add(&counted.dropped, dropped);
                continue;
            }
            Next::Told(_, Told::Gap(None, _)) => {
                add(&counted.lost, 1);
                continue;
            }
            Next::Told(_, Told::Roster(..)) | Next::Late => continue,
            Next::End => return,
        };
        let Delivered { from, topic, .. } = message;
        match relay.take(group, topic.message, topic.hops) {
            Verdict::Forward(hops) => {
                let topic = Topic { hops, publisher: Some(from), ..topic };
                let sent = publish(&groups[1 - group], topic);
                add(if sent { &counted.forwarded } else { &counted.dropped }, 1);
            }
            Verdict::Copy => add(&counted.copies, 1),
            Verdict::Expired => add(&counted.expired, 1),
        }
    }
}

/// Publishes a message as it is; returns whether there is room.
fn publish(group: &Group, topic: Topic) -> bool {
    let (commands, shared) = group.parts();
    topic::publish(commands, shared, &topic).is_ok()
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    /// Groups with bridges between them: each a queue of messages as the group orders them,
    /// and what its members were delivered.
    struct Net {
        ends: Vec<(usize, usize)>,
        relays: Vec<Relay>,
        /// For each bridge and side, what has not been taken.
        waiting: Vec<[VecDeque<(u64, u32)>; 2]>,
        delivered: Vec<Recent>,
        deliveries: Vec<Vec<u64>>,
    }

    impl Net {
        fn new(groups: usize, ends: Vec<(usize, usize)>, max_hops: u32) -> Net {
            Net {
                relays: ends.iter().map(|_| Relay::new(max_hops)).collect(),
                waiting: ends.iter().map(|_| Default::default()).collect(),
                ends,
                delivered: vec![Recent::new(SEEN); groups],
                deliveries: vec![Vec::new(); groups],
            }
        }

        fn publish(&mut self, group: usize, message: u64, hops: u32) {
            if !self.delivered[group].insert(message) {
                return;
            }
            self.deliveries[group].push(message);
            for (waiting, ends) in self.waiting.iter_mut().zip(&self.ends) {
                for side in 0..2 {
                    if [ends.0, ends.1][side] == group {
                        waiting[side].push_back((message, hops));
                    }
                }
            }
        }

        /// Has a bridge take the next message of a side.
        fn step(&mut self, bridge: usize, side: usize) -> bool {
            let Some((message, hops)) = self.waiting[bridge][side].pop_front() else {
                return false;
            };
            let verdict = self.relays[bridge].take(side, message, hops);
            if let Verdict::Forward(hops) = verdict {
                let ends = self.ends[bridge];
                self.publish([ends.1, ends.0][side], message, hops);
            }
            true
        }
    }

    #[test]
    fn a_message_crosses_as_many_bridges_as_it_may() {
        let chain = vec![(0, 1), (1, 2), (2, 3)];
        let mut net = Net::new(4, chain, 2);
        net.publish(0, 7, 0);
        while (0..3).any(|bridge| net.step(bridge, 0) || net.step(bridge, 1)) {}
        assert_eq!(net.deliveries, [vec![7], vec![7], vec![7], vec![]]);
    }

    #[test]
    fn a_message_without_a_number_crosses_none() {
        assert_eq!(Relay::new(9).take(0, 0, 0), Verdict::Expired);
    }

    proptest! {
        /// Whatever the bridges and their speed, each group that a message can come to is
        /// delivered it once.
        #[test]
        fn every_message_comes_once_to_every_group(
            ring in 2..6usize,
            chords in prop::collection::vec((0..6usize, 0..6usize), 0..4),
            published in prop::collection::vec(0..6usize, 1..8),
            steps in prop::collection::vec((0..16usize, 0..2usize), 0..200),
        ) {
            let chords = chords.into_iter().map(|(one, other)| (one % ring, other % ring));
            let ends = (0..ring).map(|at| (at, (at + 1) % ring)).chain(chords);
            let ends: Vec<_> = ends.filter(|(one, other)| one != other).collect();
            let bridges = ends.len();
            let mut net = Net::new(ring, ends, 64);
            for (group, message) in published.iter().zip(1..) {
                net.publish(group % ring, message, 0);
            }
            for (bridge, side) in steps {
                net.step(bridge % bridges, side);
            }
            let mut rounds = 0;
            while (0..bridges).any(|bridge| net.step(bridge, 0) || net.step(bridge, 1)) {
                rounds += 1;
                prop_assert!(rounds < 10_000, "it does not end");
            }
            for deliveries in &mut net.deliveries {
                deliveries.sort_unstable();
                prop_assert_eq!(deliveries.len(), published.len());
                deliveries.dedup();
                prop_assert_eq!(deliveries.len(), published.len());
            }
        }
    }
}
