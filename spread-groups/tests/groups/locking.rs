use std::time::Duration;

use spread_groups::{Error, Pending};

use crate::support::*;

const LOCK: &str = "boiler";

fn lock(member: &Participant) -> Pending<spread_groups::Guard> {
    member.group.advisory_lock(LOCK).lock()
}

/// Returns whether a request of the member still waits when what it submits behind it is
/// executed.
fn waits(member: &Participant, pending: &mut Pending<spread_groups::Guard>) -> bool {
    executed(member);
    matches!(pending.wait_timeout(Duration::ZERO), Ok(None))
}

fn a_lock_has_one_holder_and_then_the_next() {
    let cluster = daemons();
    let [one, two, _three] = three_members(&cluster);
    let guard = lock(&one).wait().unwrap();
    let mut second = lock(&two);
    assert!(waits(&two, &mut second));
    assert!(!guard.is_lost());
    drop(guard);
    assert!(!second.wait().unwrap().is_lost());
}

fn the_lock_of_a_holder_that_crashes_goes_to_the_next() {
    let cluster = cluster();
    let [one, two, _three] = three_members(&cluster);
    let guard = lock(&one).wait().unwrap();
    let second = lock(&two);
    sent(&two, &cluster);
    cluster.disconnect(&name(&one.group)).unwrap();
    drop(second.wait().unwrap());
    eventually("the former holder is told", || guard.is_lost());
}

fn a_guard_is_lost_with_the_connection_though_nobody_tells_its_node() {
    let cluster = cluster();
    let member = member(&cluster, "d1");
    member.group.ready().wait().unwrap();
    let guard = lock(&member).wait().unwrap();
    let mut lost = guard.lost();
    assert!(matches!(lost.wait_timeout(Duration::ZERO), Ok(None)));
    // There is no daemon to come back to.
    cluster.crash("d1").unwrap();
    assert!(matches!(lost.wait_timeout(LONG), Ok(Some(()))));
    assert!(guard.is_lost());
    guard.lost().wait().unwrap();
}

fn a_guard_is_lost_when_the_member_leaves() {
    let cluster = daemons();
    let member = member(&cluster, "d1");
    let guard = lock(&member).wait().unwrap();
    member.group.leave();
    guard.lost().wait().unwrap();
}

fn a_request_that_was_dropped_holds_up_nobody() {
    let cluster = cluster();
    let [one, two, three] = three_members(&cluster);
    let guard = lock(&one).wait().unwrap();
    drop(lock(&two));
    sent(&two, &cluster);
    let third = lock(&three);
    drop(guard);
    drop(third.wait().unwrap());
}

#[test]
fn after_a_merge_the_holder_of_the_larger_side_remains() {
    let cluster = cluster();
    let [one, two, lone] = three_members(&cluster);
    cluster.partition(&[&["d1", "d2"], &["d3"]]).unwrap();
    eventually("the sides have formed", || {
        one.group.members().len() == 2 && lone.group.members().len() == 1
    });
    let guard = lock(&two).wait().unwrap();
    let other = lock(&lone).wait().unwrap();
    cluster.merge().unwrap();
    eventually("the other holder is told", || other.is_lost());
    assert!(!guard.is_lost());
    let mut again = lock(&lone);
    assert!(waits(&lone, &mut again));
    drop(other);
    drop(guard);
    drop(again.wait().unwrap());
}

fn a_guard_is_lost_with_the_group() {
    let cluster = cluster();
    let [one, two, _three] = three_members(&cluster);
    let guard = lock(&one).wait().unwrap();
    let waiting = lock(&two);
    sent(&two, &cluster);
    two.node.shutdown(LONG).unwrap();
    assert!(matches!(waiting.wait(), Err(Error::Closed { .. })));
    one.node.shutdown(LONG).unwrap();
    eventually("the guard is lost", || guard.is_lost());
}

fn a_request_that_was_given_up_is_withdrawn_before_it_is_granted() {
    let cluster = daemons();
    let [one, two, three] = three_members(&cluster);
    let guard = lock(&one).wait().unwrap();
    let mut late = lock(&two);
    assert!(waits(&two, &mut late));
    let third = lock(&three);
    executed(&three);
    drop(late);
    // Neither the given up nor a departed one is granted: the guard goes to the third.
    drop(guard);
    drop(third.wait().unwrap());
}

fn a_grant_that_arrives_after_the_request_was_given_up_is_released() {
    let cluster = cluster();
    let [one, two, _three] = three_members(&cluster);
    cluster.pause(&name(&two.group)).unwrap();
    let granted = lock(&two);
    // Behind it in the order, and executed by others.
    drop(two.words.submit(&String::from("granted")));
    eventually("it is granted", || one.words.read(|words| words.0.contains_key("granted")));
    // It is granted at the other members, and not heard of here.
    drop(granted);
    drop(lock(&one).wait().unwrap());
    cluster.resume(&name(&two.group)).unwrap();
    drop(lock(&two).wait().unwrap());
}

fn a_waiter_that_has_left_is_passed_over() {
    let cluster = daemons();
    let [one, leaves, three] = three_members(&cluster);
    let guard = lock(&one).wait().unwrap();
    let left = lock(&leaves);
    executed(&leaves);
    let third = lock(&three);
    executed(&three);
    leaves.group.leave();
    assert!(matches!(left.wait(), Err(Error::Closed { .. })));
    one.group.wait_for_members(2, LONG).unwrap();
    drop(guard);
    drop(third.wait().unwrap());
}

fn a_lock_is_released_also_by_a_member_with_too_much_under_way() {
    let cluster = cluster();
    let [one, two, _three] = three_members(&cluster);
    let guard = lock(&one).wait().unwrap();
    let next = lock(&two);
    let own = name(&one.group);
    cluster.pause(&own).unwrap();
    let open: Vec<_> = (0..1_024).map(|n| one.words.submit(&n.to_string())).collect();
    drop(guard);
    let refused = one.words.submit(&String::from("one more")).wait();
    assert!(matches!(refused, Err(Error::Full)), "{refused:?}");
    cluster.resume(&own).unwrap();
    drop(next.wait().unwrap());
    drop(open);
}

fn readers_share_a_lock_and_a_writer_is_not_passed() {
    let cluster = daemons();
    let [one, two, writer] = three_members(&cluster);
    let rw = |member: &Participant| member.group.advisory_rw_lock(LOCK);
    let first = rw(&one).read().wait().unwrap();
    let second = rw(&two).read().wait().unwrap();
    let mut write = rw(&writer).write();
    assert!(waits(&writer, &mut write));
    let mut late = rw(&one).read();
    assert!(waits(&one, &mut late), "it does not pass the writer");
    drop((first, second));
    let written = write.wait().unwrap();
    assert!(waits(&one, &mut late));
    drop(written);
    drop(late.wait().unwrap());
    drop(lock(&one).wait().unwrap());
}

fn a_semaphore_has_so_many_holders() {
    let cluster = daemons();
    let [one, two, three] = three_members(&cluster);
    let acquire = |member: &Participant| member.group.advisory_semaphore(LOCK, 2).acquire();
    let first = acquire(&one).wait().unwrap();
    let _second = acquire(&two).wait().unwrap();
    let mut third = acquire(&three);
    assert!(waits(&three, &mut third));
    drop(first);
    drop(third.wait().unwrap());
}

in_both_kinds_of_groups! {
    a_lock_has_one_holder_and_then_the_next,
    the_lock_of_a_holder_that_crashes_goes_to_the_next,
    a_guard_is_lost_with_the_connection_though_nobody_tells_its_node,
    a_guard_is_lost_when_the_member_leaves,
    a_request_that_was_dropped_holds_up_nobody,
    a_guard_is_lost_with_the_group,
    a_request_that_was_given_up_is_withdrawn_before_it_is_granted,
    a_grant_that_arrives_after_the_request_was_given_up_is_released,
    a_waiter_that_has_left_is_passed_over,
    a_lock_is_released_also_by_a_member_with_too_much_under_way,
    readers_share_a_lock_and_a_writer_is_not_passed,
    a_semaphore_has_so_many_holders,
}
