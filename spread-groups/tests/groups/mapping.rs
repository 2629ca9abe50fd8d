use std::time::{Duration, Instant};

use spread_groups::{Error, Event, Map, MapEvent, MapWatch, Revision};

use crate::support::*;

const LIFE: Duration = Duration::from_millis(50);

fn map(member: &Participant) -> Map<String> {
    member.group.map("limits")
}

fn text(text: &str) -> String {
    text.to_owned()
}

fn put(member: &Participant, key: &str, value: &str) -> Revision {
    map(member).put(key, &text(value)).send().wait().unwrap()
}

/// Returns the next event, as a text.
fn next(watch: &mut MapWatch<String>) -> String {
    match watch.next_timeout(LONG) {
        Some(MapEvent::Put { key, value, .. }) => format!("{key}={}", value.value),
        Some(MapEvent::Removed { key, why }) => format!("{key} {why:?}"),
        other => format!("{other:?}"),
    }
}

fn has(member: &Participant, key: &str) -> bool {
    map(member).get(key).unwrap().is_some()
}

#[test]
fn one_of_those_who_put_a_key_if_it_is_absent_succeeds() {
    let cluster = daemons();
    let members = three_members(&cluster);
    let pending: Vec<_> = members
        .iter()
        .map(|member| map(member).put("owner", &text("me")).if_absent().send())
        .collect();
    let outcomes: Vec<_> = pending.into_iter().map(spread_groups::Pending::wait).collect();
    let revision = outcomes.iter().find_map(|outcome| outcome.as_ref().ok()).unwrap();
    let conflict = |outcome: &Result<Revision, Error>| matches!(outcome, Err(Error::Conflict { revision: Some(of), .. }) if of == revision);
    assert_eq!(outcomes.iter().filter(|outcome| conflict(outcome)).count(), 2, "{outcomes:?}");
    let second = map(&members[0]).put("owner", &text("you")).if_revision(*revision);
    let second = second.send().wait().unwrap();
    assert_ne!(second, *revision);
    let stale = map(&members[1]).remove("owner").if_revision(*revision).send().wait();
    assert!(matches!(stale, Err(Error::Conflict { .. })), "{stale:?}");
    assert!(map(&members[2]).remove("owner").if_revision(second).send().wait().unwrap());
    assert!(!map(&members[2]).remove("owner").send().wait().unwrap());
}

#[test]
fn a_watch_shows_what_is_there_and_then_every_change() {
    let cluster = daemons();
    let [one, other] = ["d1", "d2"].map(|daemon| member(&cluster, daemon));
    put(&one, "a/1", "x");
    put(&one, "b", "y");
    other.group.ready().wait().unwrap();
    let mut watch = map(&other).watch("a/");
    put(&one, "a/2", "z");
    put(&one, "c", "z");
    map(&one).remove("a/1").send().wait().unwrap();
    put(&other, "a/1", "w");
    let events = [(); 4].map(|()| next(&mut watch));
    assert_eq!(events, ["a/1=x", "a/2=z", "a/1 Removed", "a/1=w"]);
    let keys: Vec<_> = map(&other).entries("a/").unwrap().into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["a/1", "a/2"]);
    other.group.leave();
    assert!(watch.next().is_none());
}

#[test]
fn a_watch_that_is_read_too_slowly_begins_anew_after_a_gap() {
    let cluster = daemons();
    let member = member(&cluster, "d1");
    let mut watch = map(&member).watch("");
    member.group.ready().wait().unwrap();
    let pending: Vec<_> =
        (0..1_000).map(|n| map(&member).put("k", &n.to_string()).send()).collect();
    pending.into_iter().for_each(|pending| assert!(pending.wait().is_ok()));
    let pending: Vec<_> =
        (1_000..1_100).map(|n| map(&member).put("k", &n.to_string()).send()).collect();
    pending.into_iter().for_each(|pending| assert!(pending.wait().is_ok()));
    let events: Vec<String> = (0..1_026).map(|_| next(&mut watch)).collect();
    assert_eq!(events[..2], ["k=0", "k=1"]);
    assert_eq!(events[1_023..], ["k=1023", "Some(Gap)", "k=1099"]);
    put(&member, "k", "last");
    assert_eq!(next(&mut watch), "k=last");
}

#[test]
fn a_value_expires_at_all_members_also_after_the_senior_one_is_gone() {
    let cluster = daemons();
    let [senior, one, other] = three_members(&cluster);
    let mut watches = [&one, &other].map(|member| map(member).watch(""));
    let began = Instant::now();
    let put = |key, life| map(&one).put(key, &text("x")).ttl(life).send();
    let pending = [put("short", LIFE), put("long", LIFE * 8)];
    pending.into_iter().for_each(|pending| assert!(pending.wait().is_ok()));
    for watch in &mut watches {
        let events = [(); 3].map(|()| next(watch));
        assert_eq!(events, ["short=x", "long=x", "short Expired"]);
    }
    assert!(began.elapsed() >= LIFE);
    drop(senior);
    for watch in &mut watches {
        assert_eq!(next(watch), "long Expired");
    }
    assert!(began.elapsed() >= LIFE * 8);
}

#[test]
fn a_value_that_is_put_again_in_time_does_not_expire() {
    let cluster = daemons();
    let member = member(&cluster, "d1");
    member.group.ready().wait().unwrap();
    let mut watch = map(&member).watch("");
    let put = |value| map(&member).put("k", &text(value));
    let pending = [put("1").ttl(LIFE), put("2").ttl(LIFE), put("3").ttl(LIFE), put("4")];
    let pending = pending.map(spread_groups::Put::send);
    pending.into_iter().for_each(|pending| assert!(pending.wait().is_ok()));
    map(&member).put("other", &text("x")).ttl(2 * LIFE).send().wait().unwrap();
    let events: Vec<String> = (0..6).map(|_| next(&mut watch)).collect();
    // Behind the times of all values before.
    assert_eq!(events.last().unwrap(), "other Expired", "{events:?}");
    assert!(has(&member, "k"));
}

#[test]
fn what_is_owned_is_gone_with_its_owner() {
    let cluster = cluster();
    let [one, owner, other] = three_members(&cluster);
    map(&owner).put("here", &text("x")).owned().send().wait().unwrap();
    put(&owner, "stays", "x");
    eventually("the others know", || has(&one, "stays") && has(&other, "stays"));
    let mut watch = map(&one).watch("here");
    assert_eq!(next(&mut watch), "here=x");
    cluster.disconnect(&name(&owner.group)).unwrap();
    assert_eq!(next(&mut watch), "here OwnerDeparted");
    eventually("the other one knows", || !has(&other, "here"));
    assert!(has(&other, "stays"));
}

#[test]
fn a_merge_begins_the_watch_of_the_smaller_side_anew() {
    let cluster = cluster();
    let [one, two, lone] = three_members(&cluster);
    put(&one, "k", "before");
    eventually("the lone one knows", || has(&lone, "k"));
    let mut watch = map(&lone).watch("");
    assert_eq!(next(&mut watch), "k=before");
    cluster.partition(&[&["d1", "d2"], &["d3"]]).unwrap();
    eventually("the sides have formed", || {
        two.group.members().len() == 2 && lone.group.members().len() == 1
    });
    put(&lone, "own", "x");
    assert_eq!(next(&mut watch), "own=x");
    let taken = put(&one, "k", "larger");
    cluster.merge().unwrap();
    assert_eq!([(); 2].map(|()| next(&mut watch)), ["Some(Gap)", "k=larger"]);
    assert_eq!(next(&mut watch), "own=x", "submitted again");
    assert_eq!(map(&lone).get("k").unwrap().unwrap().revision, taken);
}

#[test]
fn a_revision_of_one_side_of_a_partition_is_none_of_the_other() {
    let cluster = cluster();
    let [one, two, lone] = three_members(&cluster);
    cluster.partition(&[&["d1", "d2"], &["d3"]]).unwrap();
    eventually("the sides have formed", || {
        two.group.members().len() == 2 && lone.group.members().len() == 1
    });
    let place = |member: &Participant| member.group.status().wait().unwrap().place;
    // Both sides put it at the same index.
    while place(&lone).index < place(&one).index {
        put(&lone, "other", "x");
    }
    while place(&one).index < place(&lone).index {
        put(&one, "other", "x");
    }
    let first = |member: &Participant| {
        let put = map(member).put("k", &name(&member.group)).if_absent();
        put.send().wait().unwrap()
    };
    let (theirs, stands) = (first(&lone), first(&one));
    assert_eq!(place(&lone).index, place(&one).index);
    cluster.merge().unwrap();
    eventually("the lone one follows", || {
        let k = map(&lone).get("k").unwrap();
        k.is_some_and(|k| k.value == name(&one.group))
    });
    let put = |revision| map(&lone).put("k", &text("set")).if_revision(revision).send().wait();
    let refused = put(theirs);
    assert!(matches!(refused, Err(Error::Conflict { revision: Some(of), .. }) if of == stands));
    put(stands).unwrap();
}

#[test]
fn what_does_not_fit_is_refused() {
    let cluster = daemons();
    let member = member(&cluster, "d1");
    let bytes = member.group.map::<Vec<u8>>("bytes");
    bytes.put("a", &vec![0; 20 << 20]).send().wait().unwrap();
    let refused = bytes.put("b", &vec![0; 20 << 20]).send().wait();
    assert!(matches!(refused, Err(Error::NoRoom)), "{refused:?}");
    let mut watch = bytes.watch("");
    assert!(matches!(watch.next(), Some(MapEvent::Put { key, .. }) if key == "a"));
    assert!(watch.next_timeout(Duration::ZERO).is_none());
}

#[test]
fn after_a_merge_an_older_put_of_the_smaller_side_replaces_a_newer_one_unless_it_had_a_condition() {
    let cluster = cluster();
    let [one, two, lone] = three_members(&cluster);
    let known = put(&one, "checked", "known");
    eventually("the lone one knows", || has(&lone, "checked"));
    let events = lone.group.events();
    cluster.partition(&[&["d1", "d2"], &["d3"]]).unwrap();
    eventually("the sides have formed", || {
        two.group.members().len() == 2 && lone.group.members().len() == 1
    });
    for (member, value) in [(&lone, "older"), (&one, "newer")] {
        put(member, "k", value);
        let checked = map(member).put("checked", &text(value)).if_revision(known);
        checked.send().wait().unwrap();
    }
    cluster.merge().unwrap();
    let is_rewound = |event: &Event| matches!(event, Event::Rewound(_));
    while !is_rewound(&events.recv_timeout(LONG).expect("it is told of the rewinding")) {}
    // The answer comes behind those of what is submitted again.
    put(&lone, "behind", "x");
    let value = |key| map(&lone).get(key).unwrap().unwrap().value;
    assert_eq!([value("k"), value("checked")], ["older", "newer"]);
}

#[test]
fn a_conflict_tells_what_the_condition_was() {
    let cluster = daemons();
    let member = member(&cluster, "d1");
    let first = put(&member, "k", "1");
    put(&member, "k", "2");
    let put = |key| map(&member).put(key, &text("x"));
    for (put, why) in [
        (put("k").if_absent(), "the key is there"),
        (put("k").if_revision(first), "the key has another revision"),
        (put("other").if_revision(first), "the key is absent"),
    ] {
        assert_eq!(put.send().wait().unwrap_err().to_string(), why);
    }
    let removal = map(&member).remove("k").if_revision(first).send().wait().unwrap_err();
    assert_eq!(removal.to_string(), "the key has another revision");
}

#[test]
fn a_member_that_has_left_reads_no_more() {
    let cluster = daemons();
    let member = member(&cluster, "d1");
    put(&member, "k", "x");
    let map = map(&member);
    let retained = member.group.topic::<String>("t").retain_last();
    member.node.shutdown(LONG).unwrap();
    assert!(matches!(map.get("k"), Err(Error::Closed { .. })));
    assert!(matches!(map.entries(""), Err(Error::Closed { .. })));
    assert!(matches!(retained.last(), Err(Error::Closed { .. })));
}
