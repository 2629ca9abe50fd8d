use std::time::Duration;

use spread::{Mailbox, Name, Service};
use spread_groups::{Change, Error, Event, Standing};

use crate::support::*;

#[test]
fn members_of_three_daemons_have_one_roster_by_seniority() {
    let daemons = daemons();
    let members: Vec<_> = ["d3", "d1", "d2"]
        .into_iter()
        .map(|daemon| {
            let member = member(&daemons, daemon);
            member.group.ready().wait().unwrap();
            member
        })
        .collect();
    let joined: Vec<_> = members.iter().map(|member| member.group.incarnation()).collect();
    for member in &members {
        let roster = member.group.wait_for_members(3, LONG).unwrap();
        let roster: Vec<_> = roster.iter().map(|member| member.incarnation).collect();
        assert_eq!(roster, joined, "the order of joining, not of daemons or names");
    }
}

#[test]
fn eight_nodes_join_at_once() {
    let daemons = daemons();
    let names = ["d1", "d2", "d3"].into_iter().cycle().take(8);
    let members: Vec<_> = names.map(|daemon| member(&daemons, daemon)).collect();
    for member in &members {
        member.group.ready().wait().unwrap();
        member.group.wait_for_members(8, LONG).unwrap();
    }
    let place = || {
        let status = members.iter().map(|member| member.group.status().wait().unwrap());
        let mut rosters: Vec<_> = status.map(|status| (status.place, status.roster)).collect();
        rosters.dedup();
        rosters.len() == 1
    };
    eventually("one roster at one place", place);
}

#[test]
fn a_plain_client_in_the_group_is_silent_and_only_the_first_exchange_waits_for_it() {
    let cluster = cluster();
    let plain = Mailbox::connect(cluster.address("d1").unwrap()).unwrap();
    plain.join("plant").unwrap();
    cluster.settle().unwrap();
    let first = member(&cluster, "d2");
    first.group.ready().wait().unwrap();
    let second = member(&cluster, "d3");
    second.group.ready().wait().unwrap();
    let status = first.group.status().wait().unwrap();
    assert_eq!((status.standing, status.roster.len()), (Standing::Ready, 2));
    assert_eq!(status.silent, [Name::from(plain.private_group())]);
}

#[test]
fn messages_of_others_in_the_group_have_no_effect() {
    let cluster = cluster();
    let member = member(&cluster, "d1");
    member.group.ready().wait().unwrap();
    let plain = Mailbox::connect(cluster.address("d1").unwrap()).unwrap();
    let forged =
        spread::SendOptions::new(Service::Agreed).message_type(spread_groups::MESSAGE_TYPE);
    for payload in [&b"\xff\xff"[..], b"", b"\x10\x63"] {
        plain.multicast(forged, "plant", payload).unwrap();
        plain.multicast(Service::Agreed, "plant", payload).unwrap();
    }
    cluster.settle().unwrap();
    assert_eq!(member.words.submit(&String::from("a")).wait().unwrap(), "1");
    let counters = member.group.status().wait().unwrap().counters;
    assert_eq!((counters.malformed, counters.unknown), (1, 2));
}

#[test]
fn a_member_that_leaves_or_crashes_is_gone_from_the_roster() {
    let cluster = cluster();
    let [stays, leaves, crashes] = ["d1", "d2", "d3"].map(|daemon| member(&cluster, daemon));
    stays.group.wait_for_members(3, LONG).unwrap();
    let events = stays.group.events();
    leaves.node.shutdown(LONG).unwrap();
    cluster.crash("d3").unwrap();
    eventually("one member", || stays.group.members().len() == 1);
    assert!(events.try_iter().any(|event| matches!(event, Event::Roster { .. })));
    drop(crashes);
}

#[test]
fn a_node_whose_connection_is_cut_comes_back_as_the_same_member() {
    let cluster = cluster();
    let [one, other] = ["d1", "d2"].map(|daemon| member(&cluster, daemon));
    one.group.ready().wait().unwrap();
    other.group.wait_for_members(2, LONG).unwrap();
    one.words.submit(&String::from("before")).wait().unwrap();
    cluster.disconnect(&name(&other.group)).unwrap();
    // Submitted while it is away, or not yet; executed once in any case.
    let pending = other.words.submit(&String::from("after"));
    assert_eq!(pending.wait().unwrap(), "1");
    let own = |group: &spread_groups::Group| {
        group.members().iter().any(|member| member.incarnation == other.group.incarnation())
    };
    eventually("the member is back", || own(&one.group));
    assert_eq!(one.words.submit(&String::from("after")).wait().unwrap(), "2");
}

#[test]
fn a_shut_down_ends_what_is_under_way() {
    let daemons = daemons();
    let member = member(&daemons, "d1");
    member.group.ready().wait().unwrap();
    let mut subscription = member.group.topic::<String>("news").subscribe();
    member.node.shutdown(LONG).unwrap();
    assert!(subscription.next().is_none());
    let late = member.words.submit(&String::from("late")).wait();
    assert!(matches!(late, Err(Error::Closed { .. })), "{late:?}");
    assert!(matches!(member.group.ready().wait(), Err(Error::Closed { .. })));
}

#[test]
fn who_waits_for_members_is_told_when_the_member_leaves_and_when_the_time_is_over() {
    let daemons = daemons();
    let member = member(&daemons, "d1");
    member.group.ready().wait().unwrap();
    let late = member.group.wait_for_members(2, Duration::ZERO);
    assert!(matches!(late, Err(Error::TimedOut)), "{late:?}");
    let leader = member.group.leadership().current();
    std::thread::scope(|scope| {
        let members = scope.spawn(|| member.group.wait_for_members(2, LONG));
        let change = || member.group.leadership().wait_for_change(leader.as_ref(), LONG);
        let leader = scope.spawn(change);
        member.group.leave();
        let ended = members.join().unwrap();
        assert!(matches!(ended, Err(Error::Closed { .. })), "{ended:?}");
        let ended = leader.join().unwrap();
        assert!(matches!(ended, Err(Error::Closed { .. })), "{ended:?}");
    });
}

#[test]
fn a_group_can_be_joined_again_after_it_was_left() {
    let cluster = daemons();
    let node = node(&cluster, "d1");
    let group = node.group(cluster.group()).unwrap().join().unwrap();
    group.ready().wait().unwrap();
    let again = node.group(cluster.group()).unwrap().join();
    assert!(matches!(again, Err(Error::AlreadyJoined { .. })), "{again:?}");
    group.leave();
    let again = || node.group(cluster.group()).unwrap().join().ok();
    let deadline = std::time::Instant::now() + LONG;
    let group = loop {
        match again() {
            Some(group) => break group,
            None => assert!(std::time::Instant::now() < deadline),
        }
    };
    group.ready().wait().unwrap();
}

#[test]
fn a_daemon_that_is_not_there_is_an_error_at_once() {
    let builder = Mailbox::builder("1@127.0.0.1").timeout(Duration::from_secs(5));
    let error = spread_groups::Node::connect(builder).unwrap_err();
    assert!(matches!(error, Error::Connect(_)), "{error}");
}

#[test]
fn an_observer_is_ready_once_it_is_in_the_roster() {
    let cluster = cluster();
    let member = member(&cluster, "d1");
    member.group.ready().wait().unwrap();
    let node = node(&cluster, "d2");
    let observer = node.group(cluster.group()).unwrap().observer().join().unwrap();
    let events = observer.events();
    assert!(matches!(observer.ready().wait_timeout(LONG), Ok(Some(()))));
    let is_it = |of: &&spread_groups::Member| of.incarnation == observer.incarnation();
    assert!(observer.members().iter().find(is_it).expect("in the roster").observer);
    assert_eq!(observer.status().wait().unwrap().standing, Standing::Ready);
    let (serving, begun) = member.group.serve("upper", |text: String| Ok(text)).unwrap();
    begun.wait().unwrap();
    let text = String::from("x");
    let call = observer.call::<String, String>("upper", &text).send().wait();
    assert!(matches!(call, Err(Error::Observer)), "{call:?}");
    drop(serving);
    // It is not told that it is behind, and stays ready.
    let rosters = member.group.events();
    cluster.disconnect(&name_of(&observer, &member.group)).unwrap();
    let is_back = |event| match event {
        Event::Roster { changes, .. } => {
            changes.iter().any(|change| matches!(change, Change::Joined { observer: true, .. }))
        }
        _ => false,
    };
    while !is_back(rosters.recv_timeout(LONG).expect("it comes back")) {}
    let standing = || observer.status().wait().unwrap().standing;
    eventually("it is in the roster", || standing() == Standing::Ready);
    observer.leave();
    let standing = events.iter().filter(|event| matches!(event, Event::Ready | Event::Behind));
    assert_eq!(standing.collect::<Vec<_>>(), [Event::Ready]);
}
