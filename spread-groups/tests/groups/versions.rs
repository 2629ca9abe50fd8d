//! Members that speak several versions of the protocol.

use spread_groups::{Error, JoinFailed, Refusal};

use crate::support::*;

/// Joins as a member that speaks versions up to this one.
fn speaks(daemons: &impl Daemons, daemon: &str, version: u32) -> Participant {
    let node = node(daemons, daemon);
    let mut plant = node.group(daemons.group()).unwrap().protocol(version);
    let words = plant.replicate(Words::default()).unwrap();
    let group = plant.join().unwrap();
    Participant::new(node, group, words)
}

fn version(member: &Participant) -> u32 {
    member.group.status().wait().unwrap().protocol
}

#[test]
fn a_group_switches_at_one_place_when_its_last_older_member_goes_and_admits_none_any_more() {
    let daemons = daemons();
    let older = speaks(&daemons, "d1", 1);
    older.group.ready().wait().unwrap();
    let newer = ["d2", "d3"].map(|daemon| speaks(&daemons, daemon, 2));
    for member in &newer {
        member.group.wait_for_members(3, LONG).unwrap();
        member.group.ready().wait().unwrap();
        assert_eq!(version(member), 1);
    }
    let pending: Vec<_> =
        (0..60).map(|number| newer[number % 2].words.submit(&number.to_string())).collect();
    older.node.shutdown(LONG).unwrap();
    for pending in pending {
        assert_eq!(pending.wait().unwrap(), "1");
    }
    eventually("they are alone", || newer.iter().all(|member| member.group.members().len() == 2));
    for member in &newer {
        let status = member.group.status().wait().unwrap();
        assert_eq!((status.protocol, status.roster.len()), (2, 2));
    }
    let late = speaks(&daemons, "d1", 1);
    let refused = late.group.ready().wait().unwrap_err();
    let outdated = JoinFailed::Refused(Refusal::Outdated);
    assert!(matches!(refused, Error::JoinFailed { why, .. } if why == outdated), "{refused}");
    let third = speaks(&daemons, "d1", 2);
    third.group.ready().wait().unwrap();
    let words = newer[0].words.read(|words| words.0.clone());
    assert_eq!(third.words.read(|words| words.0.clone()), words);
}

#[test]
fn after_a_merge_the_version_is_that_of_the_larger_side() {
    // Versions by daemons, of which d3 is alone; what its side and the other one speak then.
    for (speak, alone, larger) in [([1, 2, 2], 2, 1), ([2, 2, 1], 1, 2)] {
        let cluster = cluster();
        let names = ["d1", "d2", "d3"];
        // The older one is there first.
        let mut order = [0, 1, 2];
        order.sort_by_key(|number| speak[*number]);
        let mut members = [None, None, None];
        for number in order {
            let member = speaks(&cluster, names[number], speak[number]);
            member.group.ready().wait().unwrap();
            members[number] = Some(member);
        }
        let [one, two, lone] = members.map(Option::unwrap);
        for member in [&one, &two, &lone] {
            member.group.wait_for_members(3, LONG).unwrap();
            assert_eq!(version(member), 1);
        }
        cluster.partition(&[&["d1", "d2"], &["d3"]]).unwrap();
        eventually("the sides have formed", || {
            let members = [&one, &two, &lone].map(|member| member.group.members().len());
            members == [2, 2, 1]
        });
        assert_eq!((version(&lone), version(&one), version(&two)), (alone, larger, larger));
        one.words.submit(&String::from("larger")).wait().unwrap();
        lone.words.submit(&String::from("smaller")).wait().unwrap();
        cluster.merge().unwrap();
        if larger == 1 {
            for member in [&one, &two, &lone] {
                member.group.wait_for_members(3, LONG).unwrap();
                assert_eq!(version(member), 1);
            }
            eventually("what was taken back is executed again", || {
                [&one, &two, &lone].iter().all(|of| of.words.read(|words| words.0.len() == 2))
            });
        } else {
            let ended = lone.group.wait_for_members(3, LONG).unwrap_err();
            let outdated = JoinFailed::Refused(Refusal::Outdated);
            assert!(matches!(ended, Error::JoinFailed { why, .. } if why == outdated), "{ended}");
            assert_eq!(two.words.submit(&String::from("larger")).wait().unwrap(), "2");
            assert_eq!((version(&one), version(&two)), (2, 2), "it is never lowered");
        }
    }
}
