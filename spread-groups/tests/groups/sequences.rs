use std::collections::BTreeSet;

use crate::support::*;

const NAME: &str = "orders";

fn members_that_take_numbers_at_once_get_each_once() {
    let cluster = daemons();
    let members = three_members(&cluster);
    let pending: Vec<_> = (0..90)
        .map(|n| members[n % 3].group.advisory_sequence(NAME).next_block(1 + n as u64 % 5))
        .collect();
    let blocks = pending.into_iter().map(|pending| pending.wait().unwrap());
    let numbers: Vec<u64> = blocks.flatten().collect();
    let different: BTreeSet<u64> = numbers.iter().copied().collect();
    assert_eq!(different.len(), numbers.len());
    assert_eq!(different, (1..=270).collect());
    assert_eq!(members[0].group.advisory_sequence(NAME).next().wait().unwrap(), 271);
}

#[test]
fn a_sequence_that_was_removed_begins_anew_for_all() {
    let cluster = daemons();
    let [one, two, _three] = three_members(&cluster);
    let orders = |member: &Participant| member.group.advisory_sequence(NAME);
    assert_eq!(orders(&one).next_block(9).wait().unwrap(), 1..10);
    assert!(orders(&two).remove().wait().unwrap());
    assert!(!orders(&one).remove().wait().unwrap());
    assert_eq!(orders(&one).next().wait().unwrap(), 1);
}

#[test]
fn numbers_of_the_smaller_side_repeat_after_a_merge() {
    let cluster = cluster();
    let [one, two, lone] = three_members(&cluster);
    let next = |member: &Participant| member.group.advisory_sequence(NAME).next().wait().unwrap();
    assert_eq!(next(&one), 1);
    cluster.partition(&[&["d1", "d2"], &["d3"]]).unwrap();
    eventually("the sides have formed", || {
        one.group.members().len() == 2 && lone.group.members().len() == 1
    });
    assert_eq!((next(&one), next(&two)), (2, 3));
    assert_eq!(next(&lone), 2);
    cluster.merge().unwrap();
    eventually("one roster", || lone.group.members().len() == 3);
    // Behind the request of the smaller side, which is executed again.
    assert_eq!((next(&lone), next(&one)), (5, 6));
}

in_both_kinds_of_groups! {
    members_that_take_numbers_at_once_get_each_once,
}
