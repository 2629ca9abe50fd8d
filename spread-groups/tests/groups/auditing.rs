use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use spread_groups::{At, BadState, Error, Event, Group, Node, Replicated, StateMachine};

use crate::support::*;

/// Adds up numbers, and for texts what is not the same everywhere.
#[derive(Clone)]
struct Sum(u64);

/// What is not the same everywhere, and a counter of what all members have executed of it: one for
/// each test.
static UNLIKE: [(&str, AtomicU64); 3] = [
    ("asked for", AtomicU64::new(0)),
    ("from time to time", AtomicU64::new(0)),
    ("with voters", AtomicU64::new(0)),
];

impl StateMachine for Sum {
    const NAME: &'static str = "test.Sum";
    type Op = String;
    type Out = String;

    fn apply(&mut self, _: At, op: String) -> String {
        self.0 += op.parse::<u64>().unwrap_or_else(|_| {
            // One of three members is different.
            let (_, executed) = UNLIKE.iter().find(|(text, _)| *text == op).unwrap();
            u64::from(executed.fetch_add(1, Ordering::SeqCst) % 3 == 1)
        });
        self.0.to_string()
    }

    fn snapshot(&self) -> Vec<u8> {
        self.0.to_be_bytes().to_vec()
    }

    fn restore(state: &[u8]) -> Result<Sum, BadState> {
        state.try_into().map(|state| Sum(u64::from_be_bytes(state))).map_err(|_| BadState)
    }

    fn digest(&self) -> Option<u64> {
        Some(self.0)
    }
}

struct Adds {
    _node: Node,
    group: Group,
    sum: Replicated<Sum>,
}

#[derive(Clone, Copy)]
enum Audits {
    AskedFor,
    Every(Duration),
    WithVoters,
}

fn adds(cluster: &impl Daemons, daemon: &str, audits: Audits) -> Adds {
    let node = node(cluster, daemon);
    let mut plant = node.group("plant").unwrap();
    let sum = plant.replicate(Sum(0)).unwrap();
    let group = match audits {
        Audits::AskedFor => plant.join().unwrap(),
        Audits::Every(interval) => plant.audit_every(interval).join().unwrap(),
        Audits::WithVoters => {
            let plant = plant.voters(["d1"]).votes_as(daemon).join().unwrap();
            plant.ready().wait().unwrap();
            // The first one is a voter.
            assert!(plant.set_voter(daemon, plant.incarnation(), 1).wait().unwrap());
            plant.into()
        }
    };
    group.ready().wait().unwrap();
    Adds { _node: node, group, sum }
}

fn of_three(cluster: &impl Daemons, audits: Audits) -> [Adds; 3] {
    let members = ["d1", "d2", "d3"].map(|daemon| adds(cluster, daemon, audits));
    for member in &members {
        member.group.wait_for_members(3, LONG).unwrap();
    }
    members
}

/// Waits until one of the members has diverged and left, and looks at what it is told.
fn one_diverges(members: &[Adds; 3], operation: &str, audit: impl Fn()) {
    let events = members.each_ref().map(|member| member.group.events());
    members[0].sum.submit(&operation.to_owned()).wait().unwrap();
    audit();
    let left = || members.iter().filter(|member| has_left(member)).count();
    eventually("one has left", || left() == 1);
    for (member, events) in members.iter().zip(events) {
        let told = || events.try_iter().any(|event| matches!(event, Event::Diverged { .. }));
        assert_eq!(told(), has_left(member));
        if has_left(member) {
            let error = member.sum.submit(&String::from("1")).wait().unwrap_err();
            assert!(matches!(error, Error::Diverged | Error::Closed { .. }), "{error}");
        } else {
            member.group.wait_for_members(2, LONG).unwrap();
            assert!(member.sum.submit(&String::from("1")).wait().is_ok());
        }
    }
}

fn has_left(member: &Adds) -> bool {
    matches!(member.group.ready().wait(), Err(Error::Diverged))
}

fn at_the_audit(audits: Audits, operation: &str) {
    let cluster = cluster();
    let members = of_three(&cluster, audits);
    members[1].sum.submit(&String::from("5")).wait().unwrap();
    members[2].group.audit().wait().unwrap();
    one_diverges(&members, operation, || members[2].group.audit().wait().unwrap());
}

#[test]
fn a_member_whose_state_is_another_one_leaves_at_the_audit() {
    at_the_audit(Audits::AskedFor, "asked for");
}

#[test]
fn a_member_of_a_group_with_voters_leaves_at_the_audit_too() {
    at_the_audit(Audits::WithVoters, "with voters");
}

#[test]
fn audits_are_made_from_time_to_time() {
    let cluster = daemons();
    let members = of_three(&cluster, Audits::Every(Duration::from_millis(10)));
    one_diverges(&members, "from time to time", || {});
}
