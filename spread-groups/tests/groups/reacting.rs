use std::collections::{BTreeMap, HashSet};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use spread_groups::reactor::Failure;
use spread_groups::{Departure, Error, Json, Message, Postcard, Reactor};

use crate::support::*;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Msg01 {
    key: u32,
    number: u32,
}

impl Message for Msg01 {
    const NAME: &'static str = "test.Msg01";
    type Codec = Postcard;
}

/// What calls itself as the other type does.
#[derive(Serialize, Deserialize)]
struct Impostor(u32);

impl Message for Impostor {
    const NAME: &'static str = "test.Msg01";
    type Codec = Json;
}

fn next<T>(heard: &Receiver<T>) -> T {
    heard.recv_timeout(LONG).unwrap()
}

/// A handler that sends what it is told.
fn tell<T: Send + 'static>(heard: &Sender<String>, say: fn(T) -> String) -> impl Fn(T) + use<T> {
    let heard = heard.clone();
    move |told| heard.send(say(told)).unwrap()
}

#[test]
fn types_are_told_apart_and_membership_changes_stand_among_messages() {
    let cluster = cluster();
    let [one, two, three] = three_members(&cluster);
    let (heard, hears) = channel();
    let numbers = tell(&heard, |Msg01 { number, .. }| format!("number {number}"));
    let texts = tell(&heard, |text: String| text);
    let names = tell(&heard, |name: String| format!("a {name}"));
    let changes = heard.clone();
    let membership = move |change: &spread_groups::reactor::Membership| {
        let departed = change.departed.iter().map(|(_, cause)| *cause);
        let departed: Vec<_> = departed.collect();
        let joined = change.joined.len();
        changes.send(format!("{} of {departed:?} {joined}", change.members.len())).unwrap();
    };
    let reactor = Reactor::new(&one.group)
        .on(move |message: Msg01, _| numbers(message))
        .on(move |text: String, _| texts(text))
        .otherwise(move |message, _| names(message.name().to_owned()))
        .membership(membership)
        .start()
        .unwrap();
    assert_eq!(next(&hears), "3 of [] 3");
    two.group.post(&String::from("text")).unwrap();
    two.group.post(&Msg01 { key: 0, number: 7 }).unwrap();
    two.group.post(&vec![1, 2]).unwrap();
    assert_eq!([(); 3].map(|()| next(&hears)), ["text", "number 7", "a bytes"]);
    cluster.disconnect(&name(&three.group)).unwrap();
    let crashed = Some(Departure::Crashed);
    let gone = next(&hears);
    let back = format!("3 of {:?} 1", [crashed; 0]);
    if gone != format!("3 of {:?} 1", [crashed]) {
        assert_eq!(gone, format!("2 of {:?} 0", [crashed]));
        assert_eq!(next(&hears), back);
    }
    one.group.post(&String::from("last")).unwrap();
    assert_eq!(next(&hears), "last");
    let stats = reactor.stop().unwrap();
    assert_eq!((stats.handled, stats.unknown), (3, 1));
}

#[test]
fn keyed_workers_keep_the_order_of_each_key() {
    const KEYS: u32 = 8;
    const EACH: u32 = 100;
    let daemons = daemons();
    let [one, two, three] = three_members(&daemons);
    let orders = Arc::new(Mutex::new(BTreeMap::<u32, Vec<u32>>::new()));
    let threads = Arc::new(Mutex::new(BTreeMap::<u32, HashSet<ThreadId>>::new()));
    let (in_order, by_thread) = (orders.clone(), threads.clone());
    let handle = move |Msg01 { key, number }: Msg01, _: &_| {
        by_thread.lock().unwrap().entry(key).or_default().insert(std::thread::current().id());
        std::thread::yield_now();
        in_order.lock().unwrap().entry(key).or_default().push(number);
    };
    let reactor = Reactor::new(&one.group)
        .on(handle)
        .keyed_workers(4, |message, _| message.decode::<Msg01>().map(|message| message.key).ok())
        .start()
        .unwrap();
    for number in 0..EACH {
        for key in 0..KEYS {
            // Each key has one publisher, so that its order is known.
            let member = if key % 2 == 0 { &two } else { &three };
            member.group.post(&Msg01 { key, number }).unwrap();
        }
    }
    eventually("all are handled", || reactor.stats().handled == u64::from(KEYS * EACH));
    for order in orders.lock().unwrap().values() {
        assert_eq!(*order, (0..EACH).collect::<Vec<_>>());
    }
    let threads = threads.lock().unwrap();
    assert!(threads.values().all(|threads| threads.len() == 1));
    let all: HashSet<_> = threads.values().flatten().collect();
    assert!(all.len() > 1, "one thread does all the work");
}

#[test]
fn handlers_that_panic_and_messages_that_cannot_be_read_are_told_and_it_goes_on() {
    let daemons = daemons();
    let one = member(&daemons, "d1");
    one.group.ready().wait().unwrap();
    for workers in [0, 2] {
        let (heard, hears) = channel();
        let told = heard.clone();
        let mut reactor = Reactor::new(&one.group)
            .on(move |Msg01 { number, .. }, _| {
                assert_ne!(number, 1, "as it was told to");
                heard.send(number.to_string()).unwrap();
            })
            .failures(move |failure| {
                let failure = match failure {
                    Failure::Panicked(what) => format!("{what} panicked"),
                    Failure::Undecodable(what, _) => format!("{what} is undecodable"),
                    other => panic!("{other:?}"),
                };
                told.send(failure).unwrap();
            });
        if workers > 0 {
            reactor = reactor.keyed_workers(workers, |_, _| 0);
        }
        let reactor = reactor.start().unwrap();
        one.group.post(&Msg01 { key: 0, number: 1 }).unwrap();
        one.group.post(&Impostor(7)).unwrap();
        one.group.post(&Msg01 { key: 0, number: 2 }).unwrap();
        let heard = [(); 3].map(|()| next(&hears));
        assert_eq!(heard, ["test.Msg01 panicked", "test.Msg01 is undecodable", "2"]);
        let stats = reactor.stop().unwrap();
        assert_eq!((stats.handled, stats.undecodable, stats.panicked), (1, 1, 1));
    }
}

/// Returns how long a handler is blocked at least: for as many seconds as
/// `SPREAD_BLOCKED_SECONDS` says.
fn blocked() -> Duration {
    let seconds = std::env::var("SPREAD_BLOCKED_SECONDS");
    Duration::from_secs(seconds.map_or(0, |text| text.parse().expect("a number")))
}

#[test]
fn a_handler_that_blocks_in_a_flood_gets_a_gap_and_its_node_is_not_cut_off() {
    const FLOOD: u32 = 5_000;
    let daemons = daemons();
    let [one, two, _three] = three_members(&daemons);
    let before = name(&one.group);
    let (release, held) = channel::<()>();
    let held = Mutex::new(held);
    let (heard, hears) = channel();
    let reactor = Reactor::new(&one.group)
        .queue(10)
        .on(move |Msg01 { number, .. }, _| {
            if number == 0 {
                held.lock().unwrap().recv().unwrap_err();
            }
        })
        .failures(move |failure| heard.send(failure.clone()).unwrap())
        .start()
        .unwrap();
    let (mut number, until) = (0, Instant::now() + blocked());
    while number < FLOOD || Instant::now() < until {
        match two.group.post(&Msg01 { key: 0, number }) {
            Ok(()) => number += 1,
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
    }
    // Behind the flood in the order, and its own node answers meanwhile.
    assert_eq!(two.words.submit(&String::from("a")).wait().unwrap(), "1");
    assert_eq!(one.words.submit(&String::from("a")).wait().unwrap(), "2");
    assert_eq!(name_of(&one.group, &two.group), before, "it is still the same connection");
    drop(release);
    assert!(matches!(next(&hears), Failure::Gap(_, Some(_))));
    eventually("the rest is handled", || {
        let stats = reactor.stats();
        stats.handled + stats.dropped == u64::from(number)
    });
    // Whatever did not wait in the queue, or was handled before the handler was blocked.
    assert!(reactor.stats().dropped > u64::from(number) - 30);
}

#[test]
fn timers_go_on_and_stop_the_reactor_in_the_thread_that_runs_it() {
    let daemons = daemons();
    let one = member(&daemons, "d1");
    let mut ticks = 0;
    let (ticked, hears) = channel();
    let stats = Reactor::new(&one.group)
        .every(Duration::from_millis(1), move |_| ticked.send(()).unwrap())
        .every(Duration::from_millis(2), move |control| {
            ticks += 1;
            assert_ne!(ticks, 2, "as it was told to");
            if ticks == 5 {
                control.stop();
            }
        })
        .run()
        .unwrap();
    assert_eq!(stats.panicked, 1);
    assert!(hears.try_iter().count() >= 4);
}

#[test]
fn a_reactor_ends_when_its_member_has_left_all_groups() {
    let daemons = daemons();
    let [one, two, _three] = three_members(&daemons);
    let reactor = Reactor::new(&one.group).and(&two.group).start().unwrap();
    one.node.shutdown(LONG).unwrap();
    two.node.shutdown(LONG).unwrap();
    reactor.join().unwrap();
    let late = Reactor::new(&one.group).run().unwrap();
    assert_eq!(late.handled, 0);
}

#[test]
fn a_handler_does_not_wait_for_itself() {
    let daemons = daemons();
    let one = member(&daemons, "d1");
    one.group.ready().wait().unwrap();
    let (give, given) = channel::<spread_groups::reactor::Running>();
    let (heard, hears) = channel();
    let given = Mutex::new(given);
    let reactor = Reactor::new(&one.group)
        .on(move |_: String, _| {
            let own = given.lock().unwrap().recv().unwrap();
            heard.send(own.stop()).unwrap();
        })
        .start()
        .unwrap();
    give.send(reactor).unwrap();
    one.group.post(&String::from("stop")).unwrap();
    let stopped = next(&hears);
    assert!(matches!(stopped, Err(Error::OwnThread)), "{stopped:?}");
}
