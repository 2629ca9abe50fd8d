use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use spread_groups::{Error, Event, OperationId, Parties};

use crate::support::*;

fn word(text: impl ToString) -> String {
    text.to_string()
}

/// Waits until these members have one state, and returns it.
fn agreed(members: &[&Participant]) -> BTreeMap<String, u64> {
    let states = || members.iter().map(|member| member.words.read(|words| words.0.clone()));
    eventually("one state", || {
        let mut states: Vec<_> = states().collect();
        states.dedup();
        states.len() == 1
    });
    states().next().unwrap()
}

#[test]
fn operations_of_all_members_are_executed_once_at_all_members() {
    let cluster = daemons();
    let members = ["d1", "d2", "d3"].map(|daemon| member(&cluster, daemon));
    let pending: Vec<_> = (0..300).map(|n| members[n % 3].words.submit(&word(n))).collect();
    for pending in pending {
        assert_eq!(pending.wait().unwrap(), "1");
    }
    let state = agreed(&members.each_ref());
    assert_eq!(state.len(), 300);
    assert!(state.values().all(|times| *times == 1));
}

fn a_member_that_joins_under_load_misses_nothing_and_gets_nothing_twice() {
    let cluster = daemons();
    let first = member(&cluster, "d1");
    first.group.ready().wait().unwrap();
    let mut pending: Vec<_> = (0..200).map(|n| first.words.submit(&word(n))).collect();
    let second = member(&cluster, "d2");
    pending.extend((200..400).map(|n| first.words.submit(&word(n))));
    second.group.ready().wait().unwrap();
    pending.extend((400..500).map(|n| second.words.submit(&word(n))));
    for pending in pending {
        assert_eq!(pending.wait().unwrap(), "1");
    }
    assert_eq!(agreed(&[&first, &second]).len(), 500);
}

#[test]
fn a_merge_takes_back_what_the_smaller_side_did_and_does_it_again() {
    let cluster = cluster();
    // All of them have the state: the side with most members that have it stands.
    let [one, two, lone] = three_members(&cluster);
    let events = lone.group.events();
    cluster.partition(&[&["d1", "d2"], &["d3"]]).unwrap();
    eventually("the sides have formed", || {
        one.group.members().len() == 2 && lone.group.members().len() == 1
    });
    assert_eq!(one.words.submit(&word("larger")).wait().unwrap(), "1");
    let smaller = lone.words.submit(&word("smaller"));
    let id = smaller.operation().unwrap();
    assert_eq!(smaller.wait().unwrap(), "1");
    cluster.merge().unwrap();
    let rewound = events.iter().find_map(|event| match event {
        Event::Rewound(rewound) => Some(rewound),
        _ => None,
    });
    assert_eq!(rewound.unwrap().operations, [id]);
    eventually("it is submitted again", || {
        let has = |member: &Participant| member.words.read(|words| words.0.contains_key("smaller"));
        [&one, &two, &lone].into_iter().all(has)
    });
    let state = agreed(&[&one, &two, &lone]);
    assert_eq!(state, BTreeMap::from([(word("larger"), 1), (word("smaller"), 1)]));
}

#[test]
fn a_large_operation_is_executed_as_a_whole() {
    let cluster = daemons();
    let [one, other] = ["d1", "d2"].map(|daemon| member(&cluster, daemon));
    other.group.ready().wait().unwrap();
    let large = "x".repeat(10 << 20);
    assert_eq!(one.words.submit(&large).wait().unwrap(), "1");
    assert_eq!(other.words.submit(&large).wait().unwrap(), "2");
}

#[test]
fn a_state_of_some_megabytes_is_given_to_a_newcomer() {
    let cluster = daemons();
    let one = member(&cluster, "d1");
    for number in 0..8 {
        one.words.submit(&format!("{number}{}", "x".repeat(1 << 20))).wait().unwrap();
    }
    let other = member(&cluster, "d2");
    other.group.ready().wait().unwrap();
    assert_eq!(agreed(&[&one, &other]).len(), 8);
}

#[test]
fn each_pending_result_of_an_operation_has_an_id_of_its_own() {
    let cluster = daemons();
    let Participant { node: _node, group, words, .. } = member(&cluster, "d1");
    group.ready().wait().unwrap();
    let text = word("a");
    let ids = [
        words.submit(&text).operation(),
        group.map::<String>("m").put("k", &text).send().operation(),
        group.map::<String>("m").remove("k").send().operation(),
        group.topic::<String>("t").retain_last().publish(&text).operation(),
        group.advisory_sequence("s").next().operation(),
        group.advisory_lock("l").lock().operation(),
        group.barrier("b", Parties::AllMembers).arrive().operation(),
        group.to_leader::<_, String>("q", &text).operation(),
        group.vote(&text).send().operation(),
        group.action(&text, SystemTime::now() + LONG).send().operation(),
        group.work::<String, String>("w").job(&text).send().operation(),
    ];
    let different: BTreeSet<OperationId> = ids.iter().flatten().copied().collect();
    assert_eq!(different.len(), ids.len());
    assert_eq!(group.call::<String, String>("c", &text).send().operation(), None);
    assert_eq!(group.ready().operation(), None);
}

#[test]
fn a_read_blocks_no_operation_and_sees_one_state() {
    let cluster = daemons();
    let member = member(&cluster, "d1");
    member.words.submit(&word("before")).wait().unwrap();
    member.words.read(|words| {
        // Both are executed here while this reads.
        assert_eq!(member.words.submit(&word("during")).wait().unwrap(), "1");
        assert_eq!(member.words.submit(&word("during")).wait().unwrap(), "2");
        assert_eq!(member.words.read(|words| words.0.len()), 2, "a later read sees them");
        assert_eq!(words.0, BTreeMap::from([(word("before"), 1)]));
    });
}

#[test]
fn a_machine_is_added_once() {
    let cluster = daemons();
    let node = node(&cluster, "d1");
    let mut plant = node.group(cluster.group()).unwrap();
    let words = plant.replicate(Words::default()).unwrap();
    let again = plant.replicate(Words(BTreeMap::from([(word("other"), 1)])));
    assert!(matches!(again, Err(Error::AlreadyReplicated { name: "test.Words" })), "{again:?}");
    let _plant = plant.join().unwrap();
    assert_eq!(words.submit(&word("a")).wait().unwrap(), "1");
    assert_eq!(words.read(|words| words.0.len()), 1, "it is the first one that is used");
}

#[test]
fn a_machine_that_panics_takes_the_member_out_of_the_group() {
    let cluster = daemons();
    let member = member(&cluster, "d1");
    member.group.ready().wait().unwrap();
    let events = member.group.events();
    let error = member.words.submit(&word("panic")).wait().unwrap_err();
    assert!(matches!(error, Error::Poisoned), "{error}");
    assert!(error.may_have_executed());
    assert!(matches!(member.group.ready().wait(), Err(Error::Poisoned)));
    // The last event, and then no more.
    assert_eq!(events.iter().last(), Some(Event::Poisoned));
    let waits = member.group.wait_for_members(2, LONG);
    assert!(matches!(waits, Err(Error::Poisoned)), "{waits:?}");
}

#[test]
fn a_payload_beyond_the_limit_is_refused() {
    let cluster = daemons();
    let member = member(&cluster, "d1");
    let error = member.words.submit(&"x".repeat((64 << 20) + 1)).wait().unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
}

#[test]
fn an_observer_submits_nothing() {
    let cluster = cluster();
    let holder = member(&cluster, "d1");
    holder.group.ready().wait().unwrap();
    let node = node(&cluster, "d2");
    let mut plant = node.group("plant").unwrap().observer();
    let words = plant.replicate(Words::default()).unwrap();
    let plant = plant.join().unwrap();
    plant.wait_for_members(2, LONG).unwrap();
    assert!(matches!(words.submit(&word("a")).wait(), Err(Error::Observer)));
}

in_both_kinds_of_groups! {
    a_member_that_joins_under_load_misses_nothing_and_gets_nothing_twice,
}
