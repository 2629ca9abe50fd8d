use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use spread::Mailbox;
use spread_daemon::Cluster;
use spread_groups::{At, BadState, Error, Group, Node, Replicated, Standing, StateMachine};

use crate::support::*;

const MEGABYTE: usize = 1 << 20;
/// The private group of a newcomer.
const LATE: &str = "#late#d3";

fn word(number: usize) -> String {
    format!("{number}{}", "x".repeat(MEGABYTE))
}

/// Connects a newcomer, whose deliveries are delayed before it joins.
fn slow_newcomer(cluster: &Cluster, delay: Duration) -> Participant {
    let builder = Mailbox::builder(cluster.address("d3").unwrap()).private_name("late");
    let node = Node::connect(builder).unwrap();
    cluster.delay(LATE, delay).unwrap();
    join(node, "plant", |plant| plant)
}

fn standing(member: &Participant) -> Standing {
    member.group.status().wait().unwrap().standing
}

fn same(members: &[&Participant]) {
    eventually("one state", || {
        let mut states: Vec<_> =
            members.iter().map(|member| member.words.read(|words| words.0.clone())).collect();
        states.dedup();
        states.len() == 1
    });
}

fn the_next_member_gives_the_state_when_the_donor_is_killed() {
    let cluster = cluster();
    let [donor, next, _third] = three_members(&cluster);
    for number in 0..4 {
        next.words.submit(&word(number)).wait().unwrap();
    }
    let newcomer = slow_newcomer(&cluster, Duration::from_millis(10));
    eventually("the transfer has begun", || standing(&newcomer) == Standing::Behind);
    cluster.crash("d1").unwrap();
    assert_ne!(standing(&newcomer), Standing::Ready);
    next.words.submit(&String::from("meanwhile")).wait().unwrap();
    cluster.resume(LATE).unwrap();
    newcomer.group.ready().wait().unwrap();
    same(&[&next, &newcomer]);
    assert_eq!(newcomer.words.read(|words| words.0.len()), 5);
    drop(donor);
}

fn a_state_of_fifty_megabytes_comes_to_a_slow_newcomer_under_load() {
    let cluster = cluster();
    let one = member(&cluster, "d1");
    let pending: Vec<_> = (0..50).map(|number| one.words.submit(&word(number))).collect();
    pending.into_iter().for_each(|pending| assert!(pending.wait().is_ok()));
    let newcomer = slow_newcomer(&cluster, Duration::from_millis(1));
    eventually("the transfer has begun", || standing(&newcomer) == Standing::Behind);
    let mut meanwhile = 0;
    while standing(&newcomer) == Standing::Behind {
        assert_eq!(one.words.submit(&format!("meanwhile {meanwhile}")).wait().unwrap(), "1");
        meanwhile += 1;
    }
    newcomer.group.ready().wait().unwrap();
    assert!(meanwhile > 50, "{meanwhile} operations");
    same(&[&one, &newcomer]);
    assert_eq!(newcomer.words.read(|words| words.0.len()), 50 + meanwhile);
}

fn the_retry_of_a_session_that_has_expired_is_refused() {
    let cluster = cluster();
    let short_lived = Duration::from_millis(20);
    let one = join(node(&cluster, "d1"), "plant", |plant| plant.session_life(short_lived));
    one.group.ready().wait().unwrap();
    let away = member(&cluster, "d2");
    away.group.ready().wait().unwrap();
    one.group.wait_for_members(2, LONG).unwrap();
    // It is executed, and its submitter does not hear of it.
    cluster.pause(&name(&away.group)).unwrap();
    let pending = away.words.submit(&String::from("once"));
    eventually("it is executed", || one.words.read(|words| words.0.contains_key("once")));
    cluster.crash("d2").unwrap();
    let status = || one.group.status().wait().unwrap();
    eventually("the session has expired", || {
        let status = status();
        status.roster.len() == 1 && status.absent == 0
    });
    cluster.restart("d2").unwrap();
    let error = pending.wait().unwrap_err();
    assert!(matches!(error, Error::SessionExpired), "{error}");
    assert!(error.may_have_executed());
    assert_eq!(away.words.submit(&String::from("once")).wait().unwrap(), "2");
}

/// Texts that are encoded when [`GATE`] is opened, unless there are none.
#[derive(Clone)]
struct Texts(Arc<Vec<String>>);

/// Whether states are encoded, and how many are to be.
static GATE: (Mutex<(bool, usize)>, Condvar) = (Mutex::new((false, 0)), Condvar::new());

impl StateMachine for Texts {
    const NAME: &'static str = "test.Texts";
    type Op = String;
    type Out = String;

    fn apply(&mut self, _: At, op: String) -> String {
        Arc::make_mut(&mut self.0).push(op);
        self.0.len().to_string()
    }

    fn snapshot(&self) -> Vec<u8> {
        if !self.0.is_empty() {
            let (gate, changed) = &GATE;
            let mut waiting = gate.lock().unwrap();
            waiting.1 += 1;
            changed.notify_all();
            drop(changed.wait_while(waiting, |(is_open, _)| !*is_open).unwrap());
        }
        serde_json::to_vec(&*self.0).unwrap()
    }

    fn restore(state: &[u8]) -> Result<Texts, BadState> {
        serde_json::from_slice(state).map(|texts| Texts(Arc::new(texts))).map_err(|_| BadState)
    }
}

#[test]
fn operations_go_on_while_a_state_is_encoded() {
    let cluster = cluster();
    let join = |daemon| -> (Node, Group, Replicated<Texts>) {
        let node = node(&cluster, daemon);
        let mut plant = node.group("plant").unwrap();
        let texts = plant.replicate(Texts(Arc::default())).unwrap();
        let group = plant.join().unwrap();
        (node, group, texts)
    };
    let (_node, _group, texts) = join("d1");
    assert_eq!(texts.submit(&String::from("a")).wait().unwrap(), "1");
    let (_other, newcomer, given) = join("d2");
    let (gate, changed) = &GATE;
    drop(changed.wait_while(gate.lock().unwrap(), |(_, encoded)| *encoded == 0).unwrap());
    // The state that is encoded is the one before this.
    assert_eq!(texts.submit(&String::from("b")).wait().unwrap(), "2");
    gate.lock().unwrap().0 = true;
    changed.notify_all();
    newcomer.ready().wait().unwrap();
    eventually("the newcomer has both", || given.read(|texts| *texts.0 == ["a", "b"]));
}

#[test]
fn a_member_that_is_ready_shows_the_state() {
    let cluster = cluster();
    let one = member(&cluster, "d1");
    one.words.submit(&"x".repeat(MEGABYTE)).wait().unwrap();
    for _ in 0..20 {
        let newcomer = member(&cluster, "d2");
        newcomer.group.ready().wait().unwrap();
        assert_eq!(newcomer.words.read(|words| words.0.len()), 1);
    }
}

in_both_kinds_of_groups! {
    the_next_member_gives_the_state_when_the_donor_is_killed,
    a_state_of_fifty_megabytes_comes_to_a_slow_newcomer_under_load,
    the_retry_of_a_session_that_has_expired_is_refused,
}
