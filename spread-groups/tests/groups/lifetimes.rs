//! Beginnings and ends of members and of what they serve, and the longest and shortest times.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use spread_groups::{At, BadState, Error, Group, Item, Node, Reactor, StateMachine};

use crate::support::*;

#[test]
fn the_shortest_and_the_longest_times_do_no_harm() {
    let cluster = cluster();
    let stays = node(&cluster, "d1");
    let mut plant = stays.group("plant").unwrap().session_life(Duration::ZERO);
    plant = plant.audit_every(Duration::ZERO);
    let words = plant.replicate(Words::default()).unwrap();
    let senior = plant.join().unwrap();
    senior.ready().wait().unwrap();
    let patient = node(&cluster, "d2");
    let mut plant = patient.group("plant").unwrap().session_life(Duration::MAX);
    plant = plant.audit_every(Duration::MAX);
    let others_words = plant.replicate(Words::default()).unwrap();
    let other = plant.join().unwrap();
    other.ready().wait().unwrap();
    let reactor = Reactor::new(&other).every(Duration::MAX, |_| panic!("in a year")).start();
    let answers = |text: String| Ok(text);
    let (_serving, begun) = other.serve::<String, String>("echo", answers).unwrap();
    begun.wait().unwrap();
    // Now the senior member knows the service, too.
    words.submit(&String::from("a")).wait().unwrap();
    let question = String::from("a");
    for within in [Duration::MAX, Duration::from_secs(u64::MAX / 2)] {
        let call = senior.call::<String, String>("echo", &question).within(within).send();
        assert_eq!(call.wait().unwrap(), "a");
    }
    let late = senior.call::<String, String>("echo", &question).within(Duration::ZERO).send();
    assert!(matches!(late.wait(), Err(Error::TimedOut)));
    assert!(matches!(senior.wait_for_members(2, Duration::MAX), Ok(members) if members.len() == 2));
    // Its session expires at the senior, which waits for its operation to come back.
    cluster.disconnect(&name(&other)).unwrap();
    let outcome = others_words.submit(&question).wait();
    assert!(matches!(outcome, Ok(_) | Err(Error::SessionExpired)), "{outcome:?}");
    words.submit(&String::from("b")).wait().unwrap();
    // The one whose sessions live for a year is the senior one now.
    stays.shutdown(LONG).unwrap();
    others_words.submit(&String::from("c")).wait().unwrap();
    assert_eq!(reactor.unwrap().stop().unwrap().panicked, 0);
    patient.shutdown(Duration::MAX).unwrap();
}

/// Waits for a node's groups in a thread in which that is not possible.
#[derive(Clone)]
struct Waits(Arc<Mutex<Option<Node>>>);

impl StateMachine for Waits {
    const NAME: &'static str = "test.Waits";
    type Op = ();
    type Out = String;

    fn apply(&mut self, _: At, (): ()) -> String {
        let node = self.0.lock().unwrap().take().expect("applied once");
        let joined = node.group("other").unwrap().join().map(drop);
        let ended = node.shutdown(LONG);
        format!("{joined:?} {ended:?}")
    }

    fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }

    fn restore(_: &[u8]) -> Result<Waits, BadState> {
        Ok(Waits(NODE.clone()))
    }
}

static NODE: std::sync::LazyLock<Arc<Mutex<Option<Node>>>> = std::sync::LazyLock::new(Arc::default);

#[test]
fn threads_of_this_crate_neither_join_nor_shut_down() {
    let cluster = daemons();
    let applies = node(&cluster, "d1");
    *NODE.lock().unwrap() = Some(node(&cluster, "d2"));
    let mut plant = applies.group(cluster.group()).unwrap();
    let waits = plant.replicate(Waits(NODE.clone())).unwrap();
    let _plant = plant.join().unwrap();
    assert_eq!(waits.submit(&()).wait().unwrap(), "Err(OwnThread) Err(OwnThread)");
    let other = applies.group("other").unwrap().join().unwrap();
    other.ready().wait().unwrap();
    assert_eq!(other.members().len(), 1, "the other node has not joined");
}

/// Applies nothing until its gate is opened, and panics where it is told to.
#[derive(Clone)]
struct Gated(Arc<Gate>);

#[derive(Default)]
struct Gate {
    /// Operations that have come to the gate.
    come: AtomicUsize,
    is_open: AtomicBool,
}

/// By their numbers, which are the states of the machines.
static GATES: Mutex<Vec<Weak<Gate>>> = Mutex::new(Vec::new());

fn gate() -> Arc<Gate> {
    let gate = Arc::default();
    GATES.lock().unwrap().push(Arc::downgrade(&gate));
    gate
}

impl StateMachine for Gated {
    const NAME: &'static str = "test.Gated";
    type Op = String;
    type Out = ();

    fn apply(&mut self, _: At, op: String) {
        self.0.come.fetch_add(1, Ordering::Relaxed);
        eventually("the gate is opened", || self.0.is_open.load(Ordering::Relaxed));
        assert_ne!(op, "panic", "as it was told to");
    }

    fn snapshot(&self) -> Vec<u8> {
        let gates = GATES.lock().unwrap();
        let number = gates.iter().position(|gate| gate.as_ptr() == Arc::as_ptr(&self.0)).unwrap();
        vec![u8::try_from(number).unwrap()]
    }

    fn restore(state: &[u8]) -> Result<Gated, BadState> {
        let gates = GATES.lock().unwrap();
        let gate = gates.get(usize::from(state[0])).and_then(Weak::upgrade);
        gate.map(Gated).ok_or(BadState)
    }
}

/// Joins as soon as the former part is over.
fn join_again(node: &Node, name: &str) -> Group {
    let group = Mutex::new(None);
    eventually("the group can be joined again", || {
        let joined = node.group(name).unwrap().join();
        assert!(matches!(joined, Ok(_) | Err(Error::AlreadyJoined { .. })), "{joined:?}");
        *group.lock().unwrap() = joined.ok();
        group.lock().unwrap().is_some()
    });
    group.into_inner().unwrap().unwrap()
}

#[test]
fn what_is_left_of_a_former_part_has_no_effect_on_the_new_one() {
    for op in ["panic", "apply"] {
        let cluster = daemons();
        let node = node(&cluster, "d1");
        let gate = gate();
        let mut plant = node.group(cluster.group()).unwrap();
        let gated = plant.replicate(Gated(gate.clone())).unwrap();
        let former = plant.join().unwrap();
        former.ready().wait().unwrap();
        let under_way = [op, "never"].map(|op| gated.submit(&String::from(op)));
        eventually("it is applied", || gate.come.load(Ordering::Relaxed) == 1);
        former.leave();
        for under_way in under_way {
            let ended = under_way.wait().unwrap_err();
            assert!(matches!(ended, Error::Closed { may_have_executed: true }), "{ended:?}");
        }
        let new = join_again(&node, cluster.group());
        new.ready().wait().unwrap();
        // The thread that applies ends, and with it what it has of the machine.
        gate.is_open.store(true, Ordering::Relaxed);
        drop(gated);
        eventually("the thread has ended", || Arc::strong_count(&gate) == 1);
        assert_eq!(gate.come.load(Ordering::Relaxed), 1, "what waited is not applied");
        former.leave();
        let news = former.topic::<String>("news");
        assert!(matches!(news.publish(&String::from("late")), Err(Error::Closed { .. })));
        assert!(news.subscribe().next().is_none());
        assert!(matches!(former.status().wait(), Err(Error::Closed { .. })));
        assert!(matches!(former.ready().wait(), Err(Error::Closed { .. })));
        let late = former.map::<String>("map").put("a", &String::new()).send().wait().unwrap_err();
        assert!(matches!(late, Error::Closed { may_have_executed: false }), "{late:?}");
        new.ready().wait().unwrap();
        new.map::<String>("map").put("a", &String::new()).send().wait().unwrap();
    }
}

#[test]
fn a_call_of_a_group_that_was_left_is_closed() {
    let cluster = daemons();
    let [serves, leaves, _other] = three_members(&cluster);
    let echo = |text: String| Ok(text);
    let (_serving, begun) = serves.group.serve::<String, String>("echo", echo).unwrap();
    begun.wait().unwrap();
    let call = || leaves.group.call::<String, String>("echo", &String::from("a")).send();
    eventually("the server is known", || matches!(call().wait(), Ok(text) if text == "a"));
    leaves.group.leave();
    let ended = call().wait().unwrap_err();
    assert!(matches!(ended, Error::Closed { may_have_executed: false }), "{ended:?}");
    assert!(matches!(
        leaves.group.serve::<String, String>("echo", echo).unwrap().1.wait(),
        Err(Error::Closed { .. })
    ));
}

#[test]
fn what_comes_after_a_shut_down_was_not_executed() {
    let cluster = daemons();
    let member = member(&cluster, "d1");
    member.group.ready().wait().unwrap();
    member.node.shutdown(LONG).unwrap();
    let submitted = member.words.submit(&String::from("late")).wait().unwrap_err();
    let called = member.group.call::<String, String>("echo", &String::from("late")).send();
    for error in [submitted, called.wait().unwrap_err()] {
        assert!(!error.may_have_executed(), "{error:?}");
    }
    let (_serving, begun) = member.group.serve("echo", |text: String| Ok(text)).unwrap();
    assert!(matches!(begun.wait(), Err(Error::Closed { may_have_executed: false })));
}

#[test]
fn a_service_goes_on_when_the_one_before_it_is_dropped() {
    let cluster = daemons();
    let [caller, serves, _other] = three_members(&cluster);
    let serve = |group: &Group, answer: &'static str| {
        let (serving, begun) =
            group.serve("answer", move |_: String| Ok(String::from(answer))).unwrap();
        begun.wait().unwrap();
        serving
    };
    let ask = || caller.group.call::<String, String>("answer", &String::new()).send().wait();
    let first = serve(&serves.group, "first");
    eventually("it is known", || matches!(ask(), Ok(text) if text == "first"));
    let second = serve(&serves.group, "second");
    drop(first);
    // What the drop has submitted is executed before this.
    executed(&serves);
    executed(&caller);
    assert_eq!(ask().unwrap(), "second");
    drop(second);
    eventually("it has ended", || matches!(ask(), Err(Error::NoResponders { .. })));

    let serve = |answer: &'static str| {
        let handler = move |_: String| Ok(String::from(answer));
        caller.group.serve_as_leader("answer", handler).unwrap()
    };
    let ask = || serves.group.to_leader::<String, String>("answer", &String::new()).wait();
    let first = serve("first");
    assert_eq!(ask().unwrap(), "first");
    let second = serve("second");
    drop(first);
    assert_eq!(ask().unwrap(), "second");
    drop(second);
    assert!(matches!(ask(), Err(Error::NoResponders { .. })));
}

#[test]
fn a_service_is_announced_when_there_is_room() {
    let cluster = daemons();
    let node = node(&cluster, "d1");
    let gate = gate();
    let mut plant = node.group(cluster.group()).unwrap();
    let gated = plant.replicate(Gated(gate.clone())).unwrap();
    let group = plant.join().unwrap();
    group.ready().wait().unwrap();
    let open: Vec<_> = (0..1024).map(|_| gated.submit(&String::from("apply"))).collect();
    assert!(matches!(gated.submit(&String::from("apply")).wait(), Err(Error::Full)));
    let (serving, begun) = group.serve("echo", |text: String| Ok(text)).unwrap();
    gate.is_open.store(true, Ordering::Relaxed);
    begun.wait().unwrap();
    assert_eq!(group.servers::<String, String>("echo").count(), 1);
    drop(serving);
    eventually("it has ended", || group.servers::<String, String>("echo").count() == 0);
    open.into_iter().for_each(|open| open.wait().unwrap());
}

#[test]
fn a_lock_is_released_when_there_is_room() {
    let cluster = daemons();
    let node = node(&cluster, "d1");
    let gate = gate();
    let mut plant = node.group(cluster.group()).unwrap();
    let gated = plant.replicate(Gated(gate.clone())).unwrap();
    let group = plant.join().unwrap();
    let lock = group.advisory_lock("boiler");
    let guard = lock.lock().wait().unwrap();
    let open: Vec<_> = (0..1024).map(|_| gated.submit(&String::from("apply"))).collect();
    assert!(matches!(lock.lock().wait(), Err(Error::Full)));
    drop(guard);
    gate.is_open.store(true, Ordering::Relaxed);
    open.into_iter().for_each(|open| open.wait().unwrap());
    drop(lock.lock().wait().unwrap());
}

#[test]
fn what_was_published_is_sent_before_the_member_leaves() {
    const MESSAGES: usize = 2000;
    let cluster = cluster();
    let [stays, leaves, shuts_down] = three_members(&cluster);
    let news = stays.group.topic::<String>("news");
    let mut subscription = news.subscribe_with(2 * MESSAGES);
    news.subscribers().at_least(1).wait().unwrap();
    let publish = |group: &Group| {
        let news = group.topic::<String>("news");
        (0..MESSAGES).for_each(|_| news.publish(&"x".repeat(1000)).unwrap());
        news
    };
    let late = [publish(&leaves.group), publish(&shuts_down.group)];
    leaves.group.leave();
    shuts_down.node.shutdown(LONG).unwrap();
    for late in late {
        assert!(matches!(late.publish(&String::new()), Err(Error::Closed { .. })));
    }
    for number in 0..2 * MESSAGES {
        let next = subscription.next_timeout(LONG);
        assert!(matches!(next, Some(Item::Message(..))), "{next:?} after {number}");
    }
}
