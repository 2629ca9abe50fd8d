//! Every handle ends when its member has left the group, also one that is used only then.

use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Mutex, PoisonError};
use std::thread;

use spread_groups::{
    At, BadState, Error, Group, Parties, Pending, Replicated, Service, StateMachine,
};

use crate::support::*;

/// Waits until a pending result fails because the member has left.
fn closed<T: Send + Debug + 'static>(what: &str, mut pending: Pending<T>) {
    match pending.wait_timeout(LONG) {
        Err(Error::Closed { .. }) => {}
        other => panic!("{what}: {other:?}"),
    }
}

/// Waits for the end of an iterator.
fn ends<T: Send + 'static>(what: &str, iterator: impl Iterator<Item = T> + Send + 'static) {
    let (ended, end) = channel();
    thread::spawn(move || {
        iterator.for_each(drop);
        ended.send(())
    });
    end.recv_timeout(LONG).unwrap_or_else(|_| panic!("{what} goes on"));
}

fn everything_ends(member: &Participant) {
    let group: &Group = &member.group;
    let text = String::from("late");
    closed("submit", member.words.submit(&text));
    closed("ready", group.ready());
    closed("audit", group.audit());
    closed("term", group.leadership().term());
    closed("to_leader", group.to_leader::<_, String>("who", &text));
    closed("arrive", group.barrier("b", Parties::AllMembers).arrive());
    closed("lock", group.advisory_lock("l").lock());
    closed("read", group.advisory_rw_lock("l").read());
    closed("acquire", group.advisory_semaphore("l", 1).acquire());
    closed("next", group.advisory_sequence("s").next());
    closed("the removal of a sequence", group.advisory_sequence("s").remove());
    closed("put", group.map::<String>("m").put("k", &text).send());
    closed("remove", group.map::<String>("m").remove("k").send());
    closed("retained", group.topic::<String>("t").retain_last().publish(&text));
    closed("the removal of a value", group.topic::<String>("t").retain_last().remove());
    closed("vote", group.vote(&text).send());
    closed("action", group.action(&text, std::time::SystemTime::now() + LONG).send());
    closed("job", group.work::<String, String>("w").job(&text).send());
    let (_announced, announced) = group.registry().announce(Service::new("s", "1")).unwrap();
    closed("announce", announced);
    let topic = group.topic::<String>("t");
    closed("subscribers", topic.subscribers().at_least(9));
    closed("servers", group.servers::<String, String>("s").at_least(9));
    ends("a subscription", topic.subscribe());
    ends("a retained subscription", topic.retain_last().subscribe());
    ends("a leader's subscription", group.leader_topic::<String>("t").subscribe());
    ends("the watch of a map", group.map::<String>("m").watch(""));
    ends("the watch of a name", group.registry().watch("s"));
    ends("the events", group.events().into_iter());
    let refused = group.on_vote(|_: String, _| spread_groups::Ballot::Yes);
    assert!(matches!(refused, Err(Error::Closed { .. })), "{refused:?}");
    assert!(group.on_vote_result(|_: String, _| ()).is_err());
    assert!(group.on_action(|_: String, _| ()).is_err());
    let worker = group.work::<String, String>("w").worker(1, |job: String, _: &_| Ok(job));
    assert!(matches!(worker, Err(Error::Closed { .. })), "{worker:?}");
}

#[test]
fn what_is_begun_after_a_member_has_left_ends() {
    let daemons = daemons();
    let member = member(&daemons, "d1");
    member.group.ready().wait().unwrap();
    member.group.leave();
    eventually("it has left", || member.group.ready().wait().is_err());
    eventually("its workers are refused", || {
        member.group.on_vote_result(|_: String, _| ()).is_err()
    });
    everything_ends(&member);
}

#[test]
fn what_is_begun_after_a_node_was_shut_down_ends() {
    let daemons = daemons();
    let Participant { node, group, words, .. } = member(&daemons, "d1");
    group.ready().wait().unwrap();
    node.shutdown(LONG).unwrap();
    let other = member(&daemons, "d2");
    eventually("its handlers are refused", || group.on_vote_result(|_: String, _| ()).is_err());
    everything_ends(&Participant::new(other.node, group, words));
}

/// Held while a [`Gate`] applies nothing.
static GATE: Mutex<()> = Mutex::new(());

/// Whether it waits for that.
static WAITS: AtomicBool = AtomicBool::new(false);

/// Applies an operation once the gate is open.
#[derive(Clone)]
struct Gate;

impl StateMachine for Gate {
    const NAME: &'static str = "test.Gate";
    type Op = String;
    type Out = String;

    fn apply(&mut self, _: At, op: String) -> String {
        WAITS.store(true, Ordering::SeqCst);
        drop(GATE.lock().unwrap_or_else(PoisonError::into_inner));
        op
    }

    fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }

    fn restore(_: &[u8]) -> Result<Gate, BadState> {
        Ok(Gate)
    }
}

#[test]
fn a_worker_that_begins_while_the_node_ends_waits_for_nothing() {
    let daemons = daemons();
    let node = node(&daemons, "d1");
    let mut plant = node.group(daemons.group()).unwrap();
    let gate: Replicated<Gate> = plant.replicate(Gate).unwrap();
    let group = plant.join().unwrap();
    group.ready().wait().unwrap();
    // The thread that applies outlives that of the node.
    let closed_gate = GATE.lock().unwrap();
    let held = gate.submit(&String::from("held"));
    eventually("it is being applied", || WAITS.load(Ordering::SeqCst));
    node.shutdown(LONG).unwrap();
    let (begun, begins) = channel();
    thread::spawn(move || {
        let work = group.work::<String, String>("w");
        begun.send(work.worker(1, |job: String, _: &_| Ok(job)).map(drop))
    });
    begins.recv_timeout(LONG).expect("it is begun or refused").ok();
    drop(closed_gate);
    closed("the operation", held);
}
