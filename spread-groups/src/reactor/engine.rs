//! The thread of a reactor, and its workers.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use super::{
    Context, Control, Failure, Follow, Key, Membership, Post, Posted, Reactor, Stats, Tick,
};
use crate::codec::{self, CodecError};
use crate::core::roster::{Change, Member};
use crate::feed::{self, Delivered, Feed, Next, Told};
use crate::{Error, Group};

/// Messages that wait for a worker.
const WORKER_QUEUE: usize = 64;

type Handler = Box<dyn Fn(&Post, &Context) -> Result<(), CodecError> + Send + Sync>;
type Otherwise = Box<dyn Fn(Posted<'_>, &Context) + Send + Sync>;
type Failures = Box<dyn Fn(&Failure) + Send + Sync>;

/// What is called for messages, by whichever thread.
#[derive(Default)]
pub(super) struct Handlers {
    by_name: BTreeMap<&'static str, Handler>,
    otherwise: Option<Otherwise>,
    failures: Option<Failures>,
    counted: Counted,
}

#[derive(Default)]
struct Counted {
    handled: AtomicU64,
    unknown: AtomicU64,
    undecodable: AtomicU64,
    panicked: AtomicU64,
    dropped: AtomicU64,
    lost: AtomicU64,
}

fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

impl Handlers {
    pub(super) fn on(
        &mut self,
        name: &'static str,
        handler: impl Fn(&Post, &Context) -> Result<(), CodecError> + Send + Sync + 'static,
    ) {
        self.by_name.insert(name, Box::new(handler));
    }

    pub(super) fn otherwise(
        &mut self,
        handler: impl Fn(Posted<'_>, &Context) + Send + Sync + 'static,
    ) {
        self.otherwise = Some(Box::new(handler));
    }

    pub(super) fn failures(&mut self, handler: impl Fn(&Failure) + Send + Sync + 'static) {
        self.failures = Some(Box::new(handler));
    }

    pub(super) fn stats(&self) -> Stats {
        let Counted { handled, unknown, undecodable, panicked, dropped, lost } = &self.counted;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            handled: read(handled),
            unknown: read(unknown),
            undecodable: read(undecodable),
            panicked: read(panicked),
            dropped: read(dropped),
            lost: read(lost),
        }
    }

    fn handle(&self, post: &Post, cx: &Context) {
        let Some(handler) = self.by_name.get(post.name.as_str()) else {
            add(&self.counted.unknown, 1);
            if let Some(otherwise) = &self.otherwise {
                self.call(&post.name, || otherwise(Posted { post }, cx));
            }
            return;
        };
        match self.call(&post.name, || handler(post, cx)) {
            Some(Ok(())) => add(&self.counted.handled, 1),
            Some(Err(error)) => self.undecodable(&post.name, error),
            None => {}
        }
    }

    fn undecodable(&self, name: &str, error: CodecError) {
        add(&self.counted.undecodable, 1);
        self.tell(&Failure::Undecodable(name.to_owned(), error));
    }

    /// Calls what the application gave; `None` if it panics, which is told.
    fn call<T>(&self, what: &str, call: impl FnOnce() -> T) -> Option<T> {
        // What it shares with others is its own to check.
        let called = catch_unwind(AssertUnwindSafe(call)).ok();
        if called.is_none() {
            add(&self.counted.panicked, 1);
            self.tell(&Failure::Panicked(what.to_owned()));
        }
        called
    }

    fn tell(&self, failure: &Failure) {
        if let Some(failures) = &self.failures
            && catch_unwind(AssertUnwindSafe(|| failures(failure))).is_err()
        {
            add(&self.counted.panicked, 1);
        }
    }
}

impl std::fmt::Debug for Handlers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handlers").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// A message for a worker.
type Job = (Post, Context);

struct Worker {
    jobs: SyncSender<Job>,
    thread: JoinHandle<()>,
}

struct Timer {
    due: Instant,
    period: Duration,
    tick: Tick,
}

/// A reactor that has been started.
pub(super) struct Engine {
    feed: Feed,
    handlers: Arc<Handlers>,
    /// Each with its members as they were last told.
    groups: Vec<(Group, Arc<[Member]>)>,
    membership: Option<Follow>,
    timers: Vec<Timer>,
    workers: Option<(Vec<Worker>, Key)>,
}

impl Engine {
    pub(super) fn start(reactor: Reactor) -> Result<Engine, Error> {
        let Reactor { groups, topic, queue, handlers, membership, ticks, workers } = reactor;
        let (feed, handlers) = (Feed::new(queue, groups.len()), Arc::new(handlers));
        let start = |(threads, key)| {
            let start = |_| Worker::start(feed.clone(), handlers.clone());
            let workers = (0..threads).map(start).collect::<Result<Vec<_>, _>>()?;
            Ok::<_, Error>((workers, key))
        };
        let workers = workers.map(start).transpose()?;
        let channel = Some(codec::channel::<Post>("topic", &topic));
        feed::attach(&feed, &groups, channel)?;
        let now = Instant::now();
        let timer = |(period, tick)| Timer { due: now + period, period, tick };
        let timers = ticks.into_iter().map(timer).collect();
        let groups = groups.into_iter().map(|group| (group, Arc::default())).collect();
        Ok(Engine { feed, handlers, groups, membership, timers, workers })
    }

    pub(super) fn handlers(&self) -> Arc<Handlers> {
        self.handlers.clone()
    }

    pub(super) fn feed(&self) -> Feed {
        self.feed.clone()
    }

    pub(super) fn run(mut self) -> Stats {
        let former = RUNS.replace(Some(self.feed.clone()));
        loop {
            self.tick();
            let deadline = self.timers.iter().map(|timer| timer.due).min();
            match self.feed.next(deadline) {
                Next::Told(group, Told::Message(message)) => self.message(group, message),
                Next::Told(group, Told::Roster(members, changes)) => {
                    self.changed(group, members, &changes);
                }
                Next::Told(group, Told::Gap(dropped, members)) => {
                    self.gap(group, dropped);
                    if let Some(members) = members {
                        self.changed(group, members, &[]);
                    }
                }
                Next::Late => {}
                Next::End => break,
            }
        }
        for Worker { jobs, thread } in self.workers.into_iter().flat_map(|(workers, _)| workers) {
            drop(jobs);
            // Its panic is one of this crate's own.
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
        RUNS.set(former);
        self.handlers.stats()
    }

    fn tick(&mut self) {
        let control = Control { feed: self.feed.clone() };
        for Timer { due, period, tick } in &mut self.timers {
            let now = Instant::now();
            if *due <= now {
                self.handlers.call("a timer", || tick(&control));
                let next = *due + *period;
                *due = if next <= now { now + *period } else { next };
            }
        }
    }

    fn message(&mut self, group: usize, message: Delivered) {
        let Delivered { from, received_at, topic } = message;
        let sent_at = SystemTime::UNIX_EPOCH + Duration::from_millis(topic.sent_at);
        let post = match codec::decode::<Post>(&topic.payload) {
            Ok(post) => post,
            Err(error) => return self.handlers.undecodable("", error),
        };
        let (group, control) = (self.groups[group].0.clone(), Control { feed: self.feed.clone() });
        let cx = Context { group, from, sent_at, received_at, control };
        let Some((workers, key)) = &self.workers else {
            return self.handlers.handle(&post, &cx);
        };
        let key = self.handlers.call("a key", || key(Posted { post: &post }, &cx));
        if let Some(key) = key {
            let worker = &workers[key as usize % workers.len()];
            // A worker ends after its jobs only.
            worker.jobs.send((post, cx)).expect("the worker is there");
        }
    }

    fn changed(&mut self, group: usize, members: Arc<[Member]>, changes: &[Change]) {
        let (group, known) = &mut self.groups[group];
        let former = std::mem::replace(known, members.clone());
        let (joined, departed) = difference(&former, &members, changes);
        if joined.is_empty() && departed.is_empty() {
            return;
        }
        if let Some(handler) = &mut self.membership {
            let group = group.parts().1.group;
            let change = Membership { group, members, joined, departed };
            self.handlers.call("membership", || handler(&change));
        }
    }

    fn gap(&self, group: usize, dropped: Option<u64>) {
        let counted = &self.handlers.counted;
        match dropped {
            Some(0) => return,
            Some(dropped) => add(&counted.dropped, dropped),
            None => add(&counted.lost, 1),
        }
        let group = self.groups[group].0.parts().1.group;
        self.handlers.tell(&Failure::Gap(group, dropped));
    }
}

type Departed = Vec<(Member, Option<crate::Departure>)>;

/// Returns who is new and who is gone.
fn difference(former: &[Member], now: &[Member], changes: &[Change]) -> (Vec<Member>, Departed) {
    // With another private group it is another connection.
    let in_it = |members: &[Member], member: &Member| {
        members.iter().any(|of| of.incarnation == member.incarnation && of.name == member.name)
    };
    let cause = |member: &Member| {
        changes.iter().find_map(|change| match change {
            Change::Departed { session, cause } if *session == member.session => Some(*cause),
            _ => None,
        })
    };
    let joined = now.iter().filter(|member| !in_it(former, member)).cloned().collect();
    let departed = former.iter().filter(|member| !in_it(now, member));
    (joined, departed.map(|member| (member.clone(), cause(member))).collect())
}

impl Worker {
    fn start(feed: Feed, handlers: Arc<Handlers>) -> Result<Worker, Error> {
        let (jobs, queue) = sync_channel(WORKER_QUEUE);
        let thread = thread::Builder::new().name(String::from("spread-groups-worker"));
        let thread = thread.spawn(move || work(&queue, feed, &handlers));
        Ok(Worker { jobs, thread: thread.map_err(|error| Error::System(Arc::new(error)))? })
    }
}

fn work(queue: &Receiver<Job>, feed: Feed, handlers: &Handlers) {
    RUNS.set(Some(feed.clone()));
    for (post, cx) in queue {
        if feed.is_stopped() {
            add(&handlers.counted.dropped, 1);
        } else {
            handlers.handle(&post, &cx);
        }
    }
}

thread_local! {
    /// The reactor that this thread works for.
    static RUNS: Cell<Option<Feed>> = const { Cell::new(None) };
}

/// Returns whether this thread works for a reactor.
pub(super) fn runs(feed: &Feed) -> bool {
    let runs = RUNS.take();
    let it = runs.as_ref().is_some_and(|of| of.is(feed));
    RUNS.set(runs);
    it
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use spread::Name;

    use super::*;
    use crate::{Departure, Incarnation};

    fn member(session: u32, name: &str) -> Member {
        Member {
            voter: None,
            session,
            incarnation: Incarnation([session as u8; 16]),
            name: Name::new(name).unwrap(),
            metadata: Bytes::new(),
            observer: false,
            protocol: 1,
            holds: true,
            attempts: 0,
        }
    }

    #[test]
    fn a_member_that_reconnected_has_departed_and_joined() {
        let (a, b, c) = (member(1, "#a#d"), member(2, "#b#d"), member(3, "#c#d"));
        let again = member(2, "#bb#d");
        let changes = [Change::Departed { session: 2, cause: Departure::Crashed }];
        let (joined, departed) =
            difference(&[a.clone(), b.clone()], &[a.clone(), c.clone(), again.clone()], &changes);
        assert_eq!(joined, [c, again]);
        assert_eq!(departed, [(b, Some(Departure::Crashed))]);
        assert_eq!(difference(&[], std::slice::from_ref(&a), &[]).0, [a]);
    }

    #[test]
    fn a_panic_of_the_handler_of_failures_is_counted() {
        let mut handlers = Handlers::default();
        handlers.failures(|_| panic!("as it was told to"));
        assert!(handlers.call("x", || panic!("as it was told to")).is_none_or(|(): ()| false));
        assert_eq!(handlers.stats().panicked, 2);
    }
}
