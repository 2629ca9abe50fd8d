use spread_groups::registry::Found;
use spread_groups::{Error, Service};

use crate::support::*;

const NAME: &str = "calc";

fn service(zone: &str) -> Service {
    Service::new(NAME, "1.2.0").meta("zone", zone)
}

/// Waits until a member finds instances in just these zones.
fn finds(member: &Participant, zones: &[&str]) {
    eventually("the instances are found", || {
        let found = member.group.registry().find(NAME);
        let mut found: Vec<_> =
            found.iter().filter_map(|instance| instance.service.get("zone")).collect();
        found.sort_unstable();
        found == zones
    });
}

#[test]
fn two_instances_of_a_name_are_found_and_one_that_is_withdrawn_is_not() {
    let daemons = daemons();
    let [one, two, finder] = three_members(&daemons);
    let (_a, announced) = one.group.registry().announce(service("a")).unwrap();
    announced.wait().unwrap();
    let (b, announced) = two.group.registry().announce(service("b")).unwrap();
    announced.wait().unwrap();
    finds(&finder, &["a", "b"]);
    let found = finder.group.registry().find(NAME);
    let members: Vec<_> = found.iter().map(|instance| instance.member).collect();
    for member in [&one, &two] {
        assert!(members.contains(&member.group.incarnation()));
    }
    assert!(finder.group.registry().find("other").is_empty());
    drop(b);
    finds(&finder, &["a"]);
    let stats = finder.group.registry().stats();
    assert_eq!((stats.instances, stats.announced, stats.withdrawn), (1, 2, 1));
}

#[test]
fn an_instance_is_gone_at_the_view_in_which_its_member_departs() {
    let cluster = cluster();
    let [one, two, finder] = three_members(&cluster);
    let registries = [&one, &two].map(|member| member.group.registry());
    let [(_a, first), (_b, second)] =
        registries.map(|registry| registry.announce(service("a")).unwrap());
    first.wait().unwrap();
    second.wait().unwrap();
    finds(&finder, &["a", "a"]);
    let mut watching = finder.group.registry().watch(NAME);
    let next = |watching: &mut spread_groups::Watching| watching.next_timeout(LONG);
    for _ in 0..2 {
        assert!(matches!(next(&mut watching), Some(Found::Added(_))));
    }
    cluster.crash("d2").unwrap();
    let gone = next(&mut watching);
    let Some(Found::Removed(gone)) = gone else { panic!("{gone:?}") };
    assert_eq!(gone.member, two.group.incarnation());
    let error = finder.group.registry().ping(&gone, LONG).wait().unwrap_err();
    assert!(matches!(error, Error::NoResponders { .. }), "{error}");
    finds(&finder, &["a"]);
    assert_eq!(finder.group.registry().stats().departed, 1);
}

#[test]
fn a_member_that_comes_back_announces_its_instances_again() {
    let cluster = cluster();
    let [one, _two, finder] = three_members(&cluster);
    let (a, announced) = one.group.registry().announce(service("a")).unwrap();
    announced.wait().unwrap();
    finds(&finder, &["a"]);
    let mut watching = finder.group.registry().watch(NAME);
    assert!(matches!(watching.next(), Some(Found::Added(_))));
    for _ in 0..3 {
        let departed = finder.group.registry().stats().departed;
        cluster.disconnect(&name_of(&one.group, &finder.group)).unwrap();
        eventually("it is gone", || finder.group.registry().stats().departed > departed);
        finds(&finder, &["a"]);
    }
    drop(a);
    finds(&finder, &[]);
    cluster.disconnect(&name_of(&one.group, &finder.group)).unwrap();
    one.words.submit(&String::from("back")).wait().unwrap();
    finder.words.submit(&String::from("back")).wait().unwrap();
    finds(&finder, &[]);
}

#[test]
fn each_side_finds_its_own_instances_and_after_a_merge_all_find_all() {
    let cluster = cluster();
    let members = three_members(&cluster);
    let announced = members.each_ref().map(|member| {
        let daemon = name(&member.group);
        let zone = &daemon[daemon.len() - 2..];
        member.group.registry().announce(service(zone)).unwrap()
    });
    for member in &members {
        finds(member, &["d1", "d2", "d3"]);
    }
    cluster.partition(&[&["d1", "d2"], &["d3"]]).unwrap();
    let [one, two, lone] = &members;
    finds(one, &["d1", "d2"]);
    finds(two, &["d1", "d2"]);
    finds(lone, &["d3"]);
    cluster.merge().unwrap();
    for member in &members {
        finds(member, &["d1", "d2", "d3"]);
    }
    drop(announced);
}

#[test]
fn a_watch_ends_with_the_group_and_a_ping_is_answered() {
    let daemons = daemons();
    let [one, _two, finder] = three_members(&daemons);
    let (_a, announced) = one.group.registry().announce(service("a")).unwrap();
    announced.wait().unwrap();
    finds(&finder, &["a"]);
    let [instance] = &finder.group.registry().find(NAME)[..] else { panic!() };
    finder.group.registry().ping(instance, LONG).wait().unwrap();
    let watching = finder.group.registry().watch(NAME);
    finder.node.shutdown(LONG).unwrap();
    assert!(watching.count() <= 1);
}

#[test]
fn an_instance_is_withdrawn_also_while_as_many_operations_are_open_as_may_be() {
    let cluster = cluster();
    let [one, _two, finder] = three_members(&cluster);
    let (a, announced) = one.group.registry().announce(service("a")).unwrap();
    announced.wait().unwrap();
    finds(&finder, &["a"]);
    cluster.pause(&name(&one.group)).unwrap();
    let open: Vec<_> = (0..1_100).map(|_| one.words.submit(&String::from("x"))).collect();
    drop(a);
    cluster.resume(&name(&one.group)).unwrap();
    let results = open.into_iter().map(|pending| pending.wait());
    let full = results.filter(|result| matches!(result, Err(Error::Full))).count();
    assert_eq!(full, 1_100 - 1_024);
    finds(&finder, &[]);
}

#[test]
fn what_is_too_large_is_not_announced_and_observers_announce_nothing() {
    let daemons = daemons();
    let one = member(&daemons, "d1");
    let large = Service::new(NAME, "x".repeat(4096));
    let error = one.group.registry().announce(large).unwrap_err();
    assert!(matches!(error, Error::TooLarge { max: 4096, .. }), "{error}");
    one.group.ready().wait().unwrap();
    let node = node(&daemons, "d2");
    let observer = node.group(daemons.group()).unwrap().observer().join().unwrap();
    observer.wait_for_members(2, LONG).unwrap();
    let (_guard, announced) = observer.registry().announce(service("a")).unwrap();
    assert!(matches!(announced.wait(), Err(Error::Observer)));
}
