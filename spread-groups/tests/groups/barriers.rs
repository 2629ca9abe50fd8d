use spread_groups::{Error, Parties, Pending};

use crate::support::*;

fn arrive(member: &Participant, parties: Parties) -> Pending<()> {
    member.group.barrier("started", parties).arrive()
}

#[test]
fn a_name_that_is_too_long_is_refused_and_will_not_do_later() {
    let cluster = daemons();
    let member = member(&cluster, "d1");
    let name = "x".repeat(256);
    let refused = [
        member.group.advisory_lock(&name).lock().wait().map(drop),
        member.group.barrier(&name, Parties::AllMembers).arrive().wait(),
        member.group.advisory_sequence(&name).next().wait().map(drop),
    ];
    for refused in refused {
        let error = refused.unwrap_err();
        assert!(matches!(error, Error::NameTooLong { len: 256, max: 255 }), "{error}");
        assert!(!error.is_retryable());
    }
}

/// Returns whether an arrival of the member still waits when what it submits behind it is
/// executed.
fn waits(member: &Participant, pending: &mut Pending<()>) -> bool {
    executed(member);
    matches!(pending.wait_timeout(std::time::Duration::ZERO), Ok(None))
}

fn members_wait_for_each_other_again_and_again() {
    let cluster = daemons();
    let [one, two, three] = three_members(&cluster);
    for parties in [Parties::AllMembers, Parties::Exactly(3)] {
        for _ in 0..20 {
            let mut first = arrive(&one, parties);
            let second = arrive(&two, parties);
            executed(&two);
            assert!(waits(&one, &mut first));
            arrive(&three, parties).wait().unwrap();
            first.wait().unwrap();
            second.wait().unwrap();
        }
    }
}

fn a_barrier_of_all_members_opens_without_one_that_is_killed() {
    let cluster = cluster();
    let [one, two, killed] = three_members(&cluster);
    let mut first = arrive(&one, Parties::AllMembers);
    let second = arrive(&two, Parties::AllMembers);
    executed(&two);
    assert!(waits(&one, &mut first));
    cluster.crash("d3").unwrap();
    first.wait().unwrap();
    second.wait().unwrap();
    drop(killed);
}

fn a_barrier_of_an_exact_number_is_broken_by_one_that_is_killed() {
    let cluster = cluster();
    let [one, two, killed] = three_members(&cluster);
    let first = arrive(&one, Parties::Exactly(3));
    let mut second = arrive(&two, Parties::Exactly(3));
    executed(&one);
    assert!(waits(&two, &mut second));
    cluster.crash("d3").unwrap();
    for broken in [first, second] {
        let error = broken.wait().unwrap_err();
        assert!(matches!(error, Error::BarrierBroken), "{error}");
    }
    drop(killed);
    let first = arrive(&one, Parties::Exactly(2));
    arrive(&two, Parties::Exactly(2)).wait().unwrap();
    first.wait().unwrap();
}

#[test]
fn a_member_that_joins_after_the_first_arrival_is_not_waited_for() {
    let cluster = daemons();
    let [one, two] = ["d1", "d2"].map(|daemon| member(&cluster, daemon));
    one.group.ready().wait().unwrap();
    two.group.ready().wait().unwrap();
    one.group.wait_for_members(2, LONG).unwrap();
    let first = arrive(&one, Parties::AllMembers);
    executed(&one);
    let late = member(&cluster, "d3");
    late.group.ready().wait().unwrap();
    let mut next = arrive(&late, Parties::AllMembers);
    assert!(waits(&late, &mut next));
    arrive(&two, Parties::AllMembers).wait().unwrap();
    first.wait().unwrap();
    assert!(waits(&late, &mut next), "it waits for the others in the next generation");
    let first = arrive(&one, Parties::AllMembers);
    arrive(&two, Parties::AllMembers).wait().unwrap();
    first.wait().unwrap();
    next.wait().unwrap();
}

#[test]
fn a_barrier_is_broken_for_a_member_that_loses_its_connection() {
    let cluster = cluster();
    let [one, two, three] = three_members(&cluster);
    let first = arrive(&one, Parties::AllMembers);
    executed(&one);
    let cut = arrive(&two, Parties::AllMembers);
    executed(&two);
    cluster.disconnect(&name(&two.group)).unwrap();
    let error = cut.wait().unwrap_err();
    assert!(matches!(error, Error::BarrierBroken), "{error}");
    arrive(&three, Parties::AllMembers).wait().unwrap();
    first.wait().unwrap();
}

#[test]
fn after_a_merge_the_arrivals_of_the_smaller_side_count_on_the_other() {
    let cluster = cluster();
    let [one, two, lone] = three_members(&cluster);
    cluster.partition(&[&["d1", "d2"], &["d3"]]).unwrap();
    eventually("the sides have formed", || {
        one.group.members().len() == 2 && lone.group.members().len() == 1
    });
    let other = arrive(&lone, Parties::Exactly(2));
    executed(&lone);
    executed(&two);
    cluster.merge().unwrap();
    eventually("one roster", || {
        [&one, &two, &lone].iter().all(|member| member.group.members().len() == 3)
    });
    arrive(&one, Parties::Exactly(2)).wait().unwrap();
    other.wait().unwrap();
}

#[test]
fn a_member_that_leaves_does_not_wait_any_more() {
    let cluster = daemons();
    let [one, _two, _three] = three_members(&cluster);
    let pending = arrive(&one, Parties::AllMembers);
    one.group.leave();
    assert!(matches!(pending.wait(), Err(Error::Closed { .. })));
}

in_both_kinds_of_groups! {
    members_wait_for_each_other_again_and_again,
    a_barrier_of_all_members_opens_without_one_that_is_killed,
    a_barrier_of_an_exact_number_is_broken_by_one_that_is_killed,
}
