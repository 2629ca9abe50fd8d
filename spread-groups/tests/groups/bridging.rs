use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use spread_groups::bridge::Stats;
use spread_groups::{Bridge, Group, Item, Node, Subscription};

use crate::support::*;

const TOPIC: &str = "news";

/// Joins a group of this test.
fn join(node: &Node, daemons: &impl Daemons, group: &str) -> Group {
    let group = node.group(&format!("{}-{group}", daemons.group())).unwrap().join().unwrap();
    group.ready().wait().unwrap();
    group
}

fn subscribe(group: &Group) -> Subscription<String> {
    let subscription = group.topic(TOPIC).subscribe();
    // It is there before anything is published.
    drop(group.status().wait().unwrap());
    subscription
}

fn publish(group: &Group, text: &str) {
    group.topic(TOPIC).publish(&String::from(text)).unwrap();
}

fn next(subscription: &mut Subscription<String>) -> String {
    match subscription.next_timeout(LONG) {
        Some(Item::Message(text, _)) => text,
        other => panic!("{other:?}"),
    }
}

/// Returns what comes up to the end of all, which is the last to be published.
fn up_to(subscription: &mut Subscription<String>, end: &str) -> Vec<String> {
    std::iter::repeat_with(|| next(subscription)).take_while(|text| text != end).collect()
}

#[test]
fn bridges_in_a_ring_deliver_each_message_once_to_each_group() {
    const GROUPS: [&str; 3] = ["plant", "office", "store"];
    let cluster = daemons();
    let nodes = ["d1", "d2", "d3"].map(|daemon| node(&cluster, daemon));
    let groups = [0, 1, 2].map(|at| join(&nodes[at], &cluster, GROUPS[at]));
    // The bridges have nodes of their own, and lie twice between the first two.
    let bridges = [(0, 1), (1, 2), (2, 0), (0, 1)].map(|(one, other)| {
        let node = node(&cluster, "d2");
        let ends = [one, other].map(|at: usize| join(&node, &cluster, GROUPS[at]));
        let bridge = Bridge::between(&ends[0], &ends[1]).max_hops(4).start().unwrap();
        (node, bridge)
    });
    let mut heard = groups.each_ref().map(subscribe);
    for number in 0..50 {
        for (group, name) in groups.iter().zip(GROUPS) {
            publish(group, &format!("{name} {number}"));
        }
    }
    // Every message of a group is published there once, and in each group they keep the
    // order in which their own group has them.
    for heard in &mut heard {
        let all: Vec<String> = (0..150).map(|_| next(heard)).collect();
        for name in GROUPS {
            let of_it = all.iter().filter(|text| text.starts_with(name));
            let of_it: BTreeSet<&String> = of_it.collect();
            assert_eq!(of_it.len(), 50, "of {name}");
        }
    }
    // All bridges have taken all messages of both ends, so that no copy is under way.
    for (_, bridge) in &bridges {
        let deadline = Instant::now() + LONG;
        let taken = |stats: &Stats| stats.forwarded + stats.copies;
        while taken(&bridge.stats()) < 300 {
            assert!(Instant::now() < deadline, "{:?}", bridge.stats());
            std::thread::sleep(Duration::from_millis(1));
        }
        let stats = bridge.stats();
        assert_eq!((taken(&stats), stats.dropped, stats.expired, stats.lost), (300, 0, 0, 0));
    }
    publish(&groups[0], "end");
    for heard in &mut heard {
        assert!(up_to(heard, "end").is_empty(), "a copy was delivered");
    }
}

#[test]
fn a_bridge_joins_daemons_that_know_nothing_of_each_other() {
    let clusters = [daemons(), daemons()];
    let [here, there] = clusters.each_ref().map(|cluster| node(cluster, "d1"));
    let [plant, office] = [join(&here, &clusters[0], "plant"), join(&there, &clusters[1], "plant")];
    let far = node(&clusters[1], "d3");
    let mut heard = subscribe(&join(&far, &clusters[1], "plant"));
    let mut near = subscribe(&plant);
    let bridge = Bridge::between(&plant, &office).start().unwrap();
    publish(&plant, "from here");
    let Some(Item::Message(text, meta)) = heard.next_timeout(LONG) else { panic!() };
    assert_eq!(text, "from here");
    assert_eq!(meta.from.to_string(), name(&plant), "its publisher, not the bridge");
    publish(&office, "from there");
    assert_eq!([next(&mut near), next(&mut near)], ["from here", "from there"]);
    assert_eq!(next(&mut heard), "from there");
    drop(bridge);
    publish(&plant, "alone");
    publish(&office, "alone");
    assert_eq!([next(&mut near), next(&mut heard)], ["alone", "alone"]);
}

#[test]
fn of_two_bridges_one_may_crash() {
    let cluster = cluster();
    let [here, there] = ["d1", "d1"].map(|daemon| node(&cluster, daemon));
    let [plant, office] = [join(&here, &cluster, "plant"), join(&there, &cluster, "office")];
    let mut heard = subscribe(&office);
    let bridges = ["d2", "d3"].map(|daemon| {
        let node = node(&cluster, daemon);
        let ends = ["plant", "office"].map(|group| join(&node, &cluster, group));
        let bridge = Bridge::between(&ends[0], &ends[1]).start().unwrap();
        (node, bridge)
    });
    for number in 0..100 {
        publish(&plant, &number.to_string());
        if number == 50 {
            cluster.crash("d2").unwrap();
        }
    }
    let numbers: Vec<String> = (0..100).map(|_| next(&mut heard)).collect();
    assert_eq!(numbers, (0..100).map(|number| number.to_string()).collect::<Vec<_>>());
    publish(&plant, "end");
    assert!(up_to(&mut heard, "end").is_empty());
    drop(bridges);
}

#[test]
fn what_has_crossed_enough_bridges_goes_no_further() {
    let cluster = daemons();
    let node = node(&cluster, "d1");
    let groups = ["a", "b", "c"].map(|group| join(&node, &cluster, group));
    let mut heard = groups.each_ref().map(subscribe);
    let bridges =
        [0, 1].map(|at| Bridge::between(&groups[at], &groups[at + 1]).max_hops(1).start().unwrap());
    publish(&groups[0], "from a");
    assert_eq!(next(&mut heard[1]), "from a");
    eventually("it is taken", || bridges[1].stats().expired == 1);
    publish(&groups[2], "from c");
    assert_eq!(next(&mut heard[2]), "from c");
}
