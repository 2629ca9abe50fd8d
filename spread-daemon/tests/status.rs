//! What a daemon tells of itself, and the end of sessions that someone asks for.

mod support;

use std::time::{Duration, Instant};

use spread_daemon::{CutOffReason, Daemon, Health, SlowReceivers, Status, ViewCause};
use spread_wire::Cause;
use support::client::{Client, DEADLINE};

/// Returns the first status that is as wanted.
fn status(daemon: &Daemon, mut is_wanted: impl FnMut(&Status) -> bool) -> Status {
    let start = Instant::now();
    loop {
        let status = daemon.status().unwrap();
        if is_wanted(&status) {
            return status;
        }
        assert!(start.elapsed() < DEADLINE, "{status}");
        std::thread::yield_now();
    }
}

#[test]
fn a_daemon_with_all_its_sessions_is_full_until_one_ends() {
    let daemon = Daemon::builder().max_sessions(1).start().unwrap();
    let health = || daemon.admin_handle().health().unwrap();
    assert!(health().is_ready());
    let client = Client::connect(daemon.socket_addr(), "me");
    assert_eq!(health(), Health::Full(1));
    assert!(!health().is_ready());
    assert_eq!(health().to_string(), "full: all 1 sessions are open");
    drop(client);
    status(&daemon, |status| status.counts.sessions == 0);
    assert_eq!(health(), Health::Healthy);
}

#[test]
fn it_names_the_groups_of_sessions_and_the_members_of_groups() {
    let daemon = Daemon::builder().start().unwrap();
    let mut ann = Client::connect(daemon.socket_addr(), "ann");
    let mut bob = Client::connect(daemon.socket_addr(), "bob");
    ann.join("beta");
    ann.join("alpha");
    bob.join("beta");
    ann.multicast("#ann#localhost", b"to myself");
    let status = daemon.status().unwrap();
    let [first, second] = &status.sessions[..] else { panic!("{status}") };
    assert_eq!((&*first.private_group, first.groups), ("#ann#localhost", 2));
    assert_eq!(first.group_names, ["alpha", "beta"]);
    assert_eq!(
        (&*second.private_group, &second.group_names[..]),
        ("#bob#localhost", &["beta".to_owned()][..])
    );
    let beta = &status.groups[1];
    assert_eq!((&*beta.name, beta.members), ("beta", 2));
    assert_eq!(beta.member_names, ["#ann#localhost", "#bob#localhost"]);
    // Two views of its own, and the one with bob.
    let counted = |s: &Status| (s.sessions[0].received, s.sessions[0].delivered) == (3, 4);
    self::status(&daemon, counted);
}

#[test]
fn rates_are_those_of_the_last_second_and_minute() {
    let daemon = Daemon::builder().start().unwrap();
    let mut client = Client::connect(daemon.socket_addr(), "me");
    client.join("group");
    let told = status(&daemon, |status| {
        client.multicast("group", &[7; 1000]);
        client.receive_body();
        status.last_second.received > 0.0
    });
    let Status { last_second, last_minute, .. } = told;
    assert!(last_second.received_bytes >= 1000.0 * last_second.received * 0.9, "{last_second:?}");
    assert!(last_second.delivered > 0.0 && last_second.delivered_bytes > 1000.0);
    assert!(last_minute.received > 0.0);
    let quiet = status(&daemon, |status| status.last_second.received == 0.0);
    assert!(quiet.last_minute.received > 0.0, "{quiet}");
}

#[test]
fn it_tells_who_is_throttled_and_by_whom() {
    let daemon = Daemon::builder()
        .slow_receivers(SlowReceivers::Backpressure)
        .max_session_messages(10)
        .start()
        .unwrap();
    let mut slow = Client::connect(daemon.socket_addr(), "slow");
    slow.join("group");
    let mut sender = Client::connect(daemon.socket_addr(), "sender");
    let sending = std::thread::spawn(move || {
        (0..1000).for_each(|_| sender.multicast("group", &[7; 50_000]));
        sender
    });
    let by_slow = |name: &Option<String>| name.as_deref() == Some("#slow#localhost");
    let told = status(&daemon, |status| status.sessions.iter().any(|s| by_slow(&s.throttled_by)));
    let throttled = &told.sessions[0];
    assert_eq!(throttled.private_group, "#sender#localhost");
    assert!(throttled.throttled > 0 && told.totals.throttled > 0, "{told}");
    assert_eq!(told.limits.session_messages, 10);
    (0..1000).for_each(|_| drop(slow.receive_body()));
    drop(sending.join().unwrap());
    let told = status(&daemon, |status| status.sessions.len() == 1);
    assert_eq!(told.sessions[0].throttled_by, None);
}

#[test]
fn who_was_cut_off_is_named_with_the_reason() {
    let daemon = Daemon::builder().max_session_messages(10).start().unwrap();
    let mut wrong = Client::connect(daemon.socket_addr(), "wrong");
    wrong.send(&[0xff; 200]);
    wrong.wait_for_close();
    let mut slow = Client::connect(daemon.socket_addr(), "slow");
    slow.join("group");
    let mut sender = Client::connect(daemon.socket_addr(), "sender");
    let told = status(&daemon, |status| {
        sender.multicast("group", &[7; 50_000]);
        status.cut_offs.len() == 2
    });
    let [last, first] = &told.cut_offs[..] else { unreachable!() };
    assert_eq!((&*first.private_group, first.reason), ("#wrong#localhost", CutOffReason::Protocol));
    assert_eq!((&*last.private_group, last.reason), ("#slow#localhost", CutOffReason::QueueFull));
    assert_eq!(last.address, "127.0.0.1");
    assert!(last.detail.contains("10 messages"), "{}", last.detail);
    assert_eq!((told.totals.cut_off, told.totals.protocol_errors), (1, 1));
}

#[test]
fn only_the_last_cut_offs_are_remembered() {
    let daemon = Daemon::builder().start().unwrap();
    let count = Status::MAX_CUT_OFFS + 3;
    for number in 0..count {
        let _client = Client::connect(daemon.socket_addr(), &format!("c{number}"));
        assert!(daemon.kick(&format!("c{number}")).is_some());
    }
    let status = daemon.status().unwrap();
    assert_eq!((status.cut_offs.len(), status.totals.kicked), (Status::MAX_CUT_OFFS, count as u64));
    assert_eq!(status.cut_offs[0].private_group, format!("#c{}#localhost", count - 1));
}

#[test]
fn a_client_that_is_kicked_leaves_its_groups_and_may_come_back() {
    let daemon = Daemon::builder().start().unwrap();
    let mut ann = Client::connect(daemon.socket_addr(), "ann");
    let mut bob = Client::connect(daemon.socket_addr(), "bob");
    ann.join("group");
    bob.join("group");
    assert_eq!(ann.receive_view(), ("group".to_owned(), Cause::Join));
    for (number, name) in ["bob", "#bob#localhost"].into_iter().enumerate() {
        assert_eq!(daemon.kick(name).as_deref(), Some("#bob#localhost"));
        bob.wait_for_close();
        assert_eq!(ann.receive_view(), ("group".to_owned(), Cause::Disconnect));
        assert_eq!(daemon.status().unwrap().totals.kicked, number as u64 + 1);
        bob = Client::connect(daemon.socket_addr(), "bob");
        bob.join("group");
        assert_eq!(ann.receive_view(), ("group".to_owned(), Cause::Join));
    }
    for nobody in ["eve", "", "#bob#elsewhere", "group", &"x".repeat(100)] {
        assert_eq!(daemon.kick(nobody), None, "{nobody}");
    }
    ann.multicast("group", b"still here");
    assert_eq!(ann.receive_body(), b"still here");
}

#[test]
fn a_status_lists_no_more_names_than_it_may_and_counts_all() {
    let daemon = Daemon::builder().max_session_groups(20_000).start().unwrap();
    let mut connect = spread_wire::handshake::Connect::new(Some("me".parse().unwrap()));
    connect.membership = false;
    let mut client = Client::try_connect(daemon.socket_addr(), connect).unwrap();
    let groups = Status::MAX_NAMES + 10;
    for number in 0..groups {
        let name = format!("g{number:05}");
        client.request(&spread_wire::Request::Join(spread_wire::Name::new(name).unwrap()));
    }
    client.receive_until_handled();
    let start = Instant::now();
    let status = daemon.status().unwrap();
    assert!(start.elapsed() < Duration::from_secs(5));
    let session = &status.sessions[0];
    assert_eq!((session.groups, session.group_names.len()), (groups, Status::MAX_NAMES));
    assert_eq!((status.counts.groups, status.members()), (groups, groups));
    assert_eq!((status.groups.len(), &*status.groups[0].name), (Status::MAX_NAMES, "g00000"));
    assert_eq!(status.groups[Status::MAX_NAMES - 1].name, "g09999");
    let names: usize = status.groups.iter().map(|group| group.member_names.len()).sum();
    assert_eq!(names, Status::MAX_NAMES);
}

#[test]
fn views_are_told_with_their_cause_and_without_a_member_that_asks() {
    let daemon = Daemon::builder().start().unwrap();
    let mut ann = Client::connect(daemon.socket_addr(), "ann");
    let mut bob = Client::connect(daemon.socket_addr(), "bob");
    ann.join("town");
    bob.join("town");
    bob.request(&spread_wire::Request::Leave(spread_wire::Name::new("town").unwrap()));
    assert_eq!(ann.receive_view(), ("town".to_owned(), Cause::Join));
    assert_eq!(ann.receive_view(), ("town".to_owned(), Cause::Leave));
    drop(ann);
    let told = status(&daemon, |status| status.totals.views == 4);
    let views: Vec<_> = told.views.iter().rev().map(|v| (v.number, v.cause, v.members)).collect();
    let causes = [ViewCause::Join, ViewCause::Join, ViewCause::Leave, ViewCause::Disconnect];
    let expected = (1..).zip(causes).zip([1, 2, 1, 0]);
    assert_eq!(views, expected.map(|((number, cause), n)| (number, cause, n)).collect::<Vec<_>>());
    assert_eq!(told.views[0].member.as_deref(), Some("#ann#localhost"));
    assert!(told.views.iter().all(|view| view.group == "town"), "{:?}", told.views);
}

#[test]
fn its_numbers_are_those_of_the_status_without_the_lists() {
    let daemon = Daemon::builder().start().unwrap();
    let _ann = Client::connect(daemon.socket_addr(), "ann");
    let whole = status(&daemon, |status| status.counts.sessions == 1);
    let numbers = daemon.admin_handle().numbers().unwrap();
    assert_eq!((numbers.counts, numbers.totals), (whole.counts, whole.totals));
    assert_eq!((numbers.started, numbers.limits), (whole.started, whole.limits));
    assert_eq!((numbers.sessions.len(), whole.sessions.len()), (0, 1));
}
