//! The main job: groups, multicasts and views, from the safe crate down to the
//! daemon and back.

use std::io::IoSlice;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{
    Expect, PATIENCE, TestDaemon, Transport, builder, on_each_transport, unique, wait_readable,
};
use spread::{Cause, Error, Mailbox, Message, SelfLeave, SendOptions, Service};

on_each_transport!(
    a_member_receives_its_own_multicast,
    every_service_and_message_type_arrives_as_sent,
    a_message_to_several_groups_comes_once,
    a_private_message_reaches_one_client,
    a_self_discarding_message_is_kept_from_its_sender,
    anyone_can_send_to_a_group,
    members_see_joins_leaves_disconnects_and_crashes,
    all_members_see_the_same_view,
    one_who_joins_again_or_leaves_twice_changes_nothing,
    without_membership_one_is_listed_but_not_told,
    buffers_grow_for_a_large_message,
    buffers_grow_for_many_groups,
    buffers_grow_for_a_large_view,
    a_message_of_the_largest_size_arrives,
    an_empty_message_arrives,
    a_message_in_pieces_arrives_whole,
    a_message_in_pieces_that_is_too_long_is_refused,
    all_members_receive_in_the_same_order,
    a_receive_gives_up_after_its_timeout,
    a_message_ends_a_wait,
    the_descriptor_is_readable_as_long_as_there_is_a_message,
    the_daemon_makes_up_a_name_for_one_without,
    what_was_sent_before_a_disconnect_arrives,
    sending_and_receiving_go_on_side_by_side,
    a_flood_of_large_messages_does_not_stall,
);

fn a_member_receives_its_own_multicast(daemon: TestDaemon) {
    let mut alice = daemon.connect("ali");
    let group = unique("chat");
    alice.join(&group).unwrap();
    alice.multicast(Service::Agreed, &group, b"hello").unwrap();

    let view = alice.next_view();
    assert_eq!(view.group, *group);
    assert_eq!(view.members, [alice.me()]);
    assert_eq!(view.my_index, 0);
    assert_eq!(view.cause, Cause::Joined(alice.me()));

    let message = alice.next_regular();
    assert_eq!(message.sender(), alice.me());
    assert_eq!(message.groups(), [group.as_str()]);
    assert_eq!(message.service(), Service::Agreed);
    assert_eq!(message.message_type(), 0);
    assert_eq!(message.payload(), b"hello");
    assert!(!message.endian_mismatch());
}

fn every_service_and_message_type_arrives_as_sent(daemon: TestDaemon) {
    let (alice, mut bob) = (daemon.connect("ali"), daemon.connect("bob"));
    let group = unique("g");
    bob.join(&group).unwrap();
    bob.view_of(&group, 1);
    for service in Service::ALL {
        for message_type in [0, 1, -1, i16::MIN, i16::MAX] {
            let options = SendOptions::new(service).message_type(message_type);
            alice.multicast(options, &group, b"x").unwrap();
            let message = bob.next_regular();
            assert_eq!((message.service(), message.message_type()), (service, message_type));
        }
    }
}

fn a_message_to_several_groups_comes_once(daemon: TestDaemon) {
    let (mut alice, bob) = (daemon.connect("ali"), daemon.connect("bob"));
    let (g1, g2, nobody) = (unique("g"), unique("g"), unique("g"));
    alice.join(&g1).unwrap();
    alice.join(&g2).unwrap();
    alice.view_of(&g2, 1);
    let private = alice.private_group().to_string();
    bob.multicast(Service::Agreed, [&g1, &g2, &nobody, &private], b"once").unwrap();
    bob.multicast(Service::Agreed, &g1, b"then").unwrap();

    let message = alice.next_regular();
    assert_eq!(message.payload(), b"once");
    assert_eq!(message.groups(), [&g1, &g2, &nobody, &private].map(|g| g.as_str()));
    assert_eq!(alice.next_regular().payload(), b"then");
}

fn a_private_message_reaches_one_client(daemon: TestDaemon) {
    let (mut alice, mut bob) = (daemon.connect("ali"), daemon.connect("bob"));
    alice.multicast(Service::Fifo, bob.private_group(), b"psst").unwrap();
    let message = bob.next_regular();
    assert_eq!(message.groups(), [bob.me()]);
    bob.multicast(Service::Fifo, message.sender(), b"yes?").unwrap();
    assert_eq!(alice.next_regular().payload(), b"yes?");
}

fn a_self_discarding_message_is_kept_from_its_sender(daemon: TestDaemon) {
    let (mut alice, mut bob) = (daemon.connect("ali"), daemon.connect("bob"));
    let group = unique("g");
    alice.join(&group).unwrap();
    alice.view_of(&group, 1);
    bob.join(&group).unwrap();
    alice.view_of(&group, 2);
    bob.view_of(&group, 2);
    let options = SendOptions::new(Service::Agreed).self_discard(true);
    alice.multicast(options, &group, b"to the others").unwrap();
    alice.multicast(Service::Agreed, &group, b"to all").unwrap();

    assert!(bob.next_regular().is_self_discard());
    assert_eq!(bob.next_regular().payload(), b"to all");
    assert_eq!(alice.next_regular().payload(), b"to all");
}

fn anyone_can_send_to_a_group(daemon: TestDaemon) {
    let (mut alice, mut bob) = (daemon.connect("ali"), daemon.connect("bob"));
    let group = unique("open");
    alice.join(&group).unwrap();
    alice.view_of(&group, 1);
    bob.multicast(Service::Agreed, &group, b"from outside").unwrap();
    bob.multicast(Service::Agreed, bob.private_group(), b"to me").unwrap();
    assert_eq!(alice.next_regular().sender(), bob.me());
    assert_eq!(bob.next_regular().payload(), b"to me");
}

fn members_see_joins_leaves_disconnects_and_crashes(daemon: TestDaemon) {
    let mut alice = daemon.connect("ali");
    let (mut bob, carol, dave) =
        (daemon.connect("bob"), daemon.connect("car"), daemon.connect("dav"));
    let group = unique("g");
    alice.join(&group).unwrap();
    let first = alice.view_of(&group, 1);
    for (count, member) in [&bob, &carol, &dave].into_iter().enumerate() {
        member.join(&group).unwrap();
        let view = alice.next_view();
        assert_eq!(view.members.len(), count + 2);
        assert_eq!(view.cause, Cause::Joined(member.me()));
        assert_eq!(view.members[view.my_index], alice.me());
        assert_ne!(view.id, first.id);
    }

    bob.leave(&group).unwrap();
    assert_eq!(alice.next_view().cause, Cause::Left(bob.me()));
    loop {
        match bob.next() {
            Message::SelfLeave(SelfLeave { group: left, .. }) => break assert_eq!(left, *group),
            Message::Membership(_) => {}
            other => panic!("{other:?}"),
        }
    }

    let (carol_was, dave_was) = (carol.me(), dave.me());
    carol.disconnect().unwrap();
    assert_eq!(alice.next_view().cause, Cause::Disconnected(carol_was));
    dave.kill();
    let last = alice.next_view();
    assert_eq!(last.cause, Cause::Disconnected(dave_was));
    assert_eq!(last.members, [alice.me()]);
}

fn all_members_see_the_same_view(daemon: TestDaemon) {
    let group = unique("g");
    let mut members = ["zed", "$x", "Bob", "amy"].map(|name| daemon.connect(name));
    for member in &members {
        member.join(&group).unwrap();
    }
    let views = members.each_mut().map(|member| member.view_of(&group, 4));
    for (view, member) in views.iter().zip(&members) {
        assert_eq!(view.id, views[0].id);
        assert_eq!(view.members, views[0].members);
        assert_eq!(view.members[view.my_index], member.me());
    }
    let mut sorted = views[0].members.clone();
    sorted.sort();
    assert_eq!(views[0].members, sorted, "members of one daemon come in the order of their names");
}

fn one_who_joins_again_or_leaves_twice_changes_nothing(daemon: TestDaemon) {
    let mut alice = daemon.connect("ali");
    let group = unique("g");
    alice.leave(&group).unwrap();
    alice.join(&group).unwrap();
    alice.join(&group).unwrap();
    alice.multicast(Service::Agreed, &group, b"mark").unwrap();
    assert_eq!(alice.next_view().members.len(), 1);
    assert_eq!(alice.next_regular().payload(), b"mark");
    alice.leave(&group).unwrap();
    alice.leave(&group).unwrap();
    alice.multicast(Service::Agreed, alice.private_group(), b"mark").unwrap();
    assert!(matches!(alice.next(), Message::SelfLeave(_)));
    assert_eq!(alice.next_regular().payload(), b"mark");
}

fn without_membership_one_is_listed_but_not_told(daemon: TestDaemon) {
    let mut alice = daemon.connect("ali");
    let mut quiet =
        builder(daemon.address()).private_name(unique("qui")).membership(false).connect().unwrap();
    let group = unique("g");
    quiet.join(&group).unwrap();
    alice.join(&group).unwrap();
    let view = alice.view_of(&group, 2);
    assert!(view.members.contains(&quiet.me()));
    alice.multicast(Service::Agreed, &group, b"first").unwrap();
    assert_eq!(quiet.next_regular().payload(), b"first");
}

fn buffers_grow_for_a_large_message(daemon: TestDaemon) {
    let mut alice = daemon.connect("ali");
    let group = unique("g");
    alice.join(&group).unwrap();
    alice.view_of(&group, 1);
    for len in [8 * 1024, 8 * 1024 + 1, 65_536, 100, 120_000, 1] {
        let body: Vec<u8> = (0..len).map(|i| (i * 7) as u8).collect();
        alice.multicast(Service::Agreed, &group, &body).unwrap();
        assert_eq!(alice.next_regular().into_payload(), body, "{len} bytes");
    }
}

fn buffers_grow_for_many_groups(daemon: TestDaemon) {
    let mut alice = daemon.connect("ali");
    let groups: Vec<String> = (0..spread::MAX_GROUPS).map(|i| unique(&format!("g{i}-"))).collect();
    alice.join(&groups[42]).unwrap();
    alice.view_of(&groups[42], 1);
    alice.multicast(Service::Agreed, &groups, b"many").unwrap();
    let message = alice.next_regular();
    let received: Vec<String> = message.groups().iter().map(|g| g.to_string()).collect();
    assert_eq!(received, groups);
}

fn buffers_grow_for_a_large_view(daemon: TestDaemon) {
    let group = unique("g");
    let mut members: Vec<Mailbox> = (0..70).map(|_| daemon.connect("m")).collect();
    for member in &members {
        member.join(&group).unwrap();
    }
    let view = members[0].view_of(&group, 70);
    for member in &members {
        assert!(view.members.contains(&member.me()));
    }
}

fn a_message_of_the_largest_size_arrives(daemon: TestDaemon) {
    let mut alice = daemon.connect("ali");
    let group = unique("g");
    alice.join(&group).unwrap();
    alice.view_of(&group, 1);
    let body = vec![b'x'; spread::MAX_BODY_AND_GROUPS - 32];
    alice.multicast(Service::Agreed, &group, &body).unwrap();
    assert_eq!(alice.next_regular().into_payload(), body);
}

fn an_empty_message_arrives(daemon: TestDaemon) {
    let mut alice = daemon.connect("ali");
    alice.multicast(Service::Safe, alice.private_group(), b"").unwrap();
    assert_eq!(alice.next_regular().payload(), b"");
}

fn a_message_in_pieces_arrives_whole(daemon: TestDaemon) {
    let mut alice = daemon.connect("ali");
    let to = alice.private_group();
    let piece = |n: usize| vec![n as u8; n % 4 * 10];
    // Every fourth piece is empty; at once the library takes a hundred.
    for count in [0, 1, 2, 5, 100, 101, 133, 134, 500] {
        let pieces: Vec<Vec<u8>> = (0..count).map(piece).collect();
        let slices: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        alice.multicast_vectored(Service::Agreed, to, &slices).unwrap();
        assert_eq!(alice.next_regular().payload(), pieces.concat(), "{count} pieces");
    }
}

fn a_message_in_pieces_that_is_too_long_is_refused(daemon: TestDaemon) {
    let mut alice = daemon.connect("ali");
    let to = alice.private_group();
    let piece = vec![0; 50_000];
    for count in [3, 200, 50_000] {
        let pieces = vec![IoSlice::new(&piece); count];
        let error = alice.multicast_vectored(Service::Agreed, to, &pieces).unwrap_err();
        assert!(matches!(error, Error::MessageTooLong { .. }), "{error:?}");
    }
    alice.multicast(Service::Agreed, to, b"fine").unwrap();
    assert_eq!(alice.next_regular().payload(), b"fine");
}

fn all_members_receive_in_the_same_order(daemon: TestDaemon) {
    const EACH: usize = 200;
    let group = unique("g");
    let mut members = ["ali", "bob", "car"].map(|name| daemon.connect(name));
    for member in &mut members {
        member.join(&group).unwrap();
    }
    for member in &mut members {
        member.view_of(&group, 3);
    }
    let received: Vec<Vec<String>> = thread::scope(|scope| {
        let threads: Vec<_> = members
            .each_mut()
            .into_iter()
            .map(|member| {
                let group = &group;
                scope.spawn(move || {
                    let mut received = Vec::new();
                    for n in 0..EACH {
                        let body = format!("{} {n}", member.private_group());
                        member.multicast(Service::Agreed, group, body).unwrap();
                        while let Some(message) = member.try_receive().unwrap() {
                            received.push(message);
                        }
                    }
                    while received.len() < 3 * EACH {
                        received.push(member.next());
                    }
                    received
                })
            })
            .collect();
        let texts = |message: &Message| match message {
            Message::Regular(m) => String::from_utf8_lossy(m.payload()).into_owned(),
            other => panic!("{other:?}"),
        };
        threads.into_iter().map(|t| t.join().unwrap().iter().map(texts).collect()).collect()
    });
    assert_eq!(received[0].len(), 3 * EACH);
    assert_eq!(received[0], received[1]);
    assert_eq!(received[0], received[2]);
}

fn a_receive_gives_up_after_its_timeout(daemon: TestDaemon) {
    let mut alice = daemon.connect("ali");
    assert!(alice.try_receive().unwrap().is_none());
    let begin = Instant::now();
    let timeout = Duration::from_millis(30);
    assert!(alice.receive_timeout(timeout).unwrap().is_none());
    assert!(begin.elapsed() >= timeout);
}

fn a_message_ends_a_wait(daemon: TestDaemon) {
    let (alice, mut bob) = (daemon.connect("ali"), daemon.connect("bob"));
    let to = bob.private_group();
    thread::scope(|scope| {
        let waiting = scope.spawn(move || bob.receive().unwrap());
        alice.multicast(Service::Fifo, to, b"wake up").unwrap();
        let Message::Regular(message) = waiting.join().unwrap() else { panic!() };
        assert_eq!(message.payload(), b"wake up");
    });
}

fn the_descriptor_is_readable_as_long_as_there_is_a_message(daemon: TestDaemon) {
    const COUNT: usize = 300;
    let (alice, mut bob) = (daemon.connect("ali"), daemon.connect("bob"));
    for n in 0..COUNT {
        let body = vec![0; [1, 100, 3000, 50_000][n % 4]];
        alice.multicast(Service::Fifo, bob.private_group(), body).unwrap();
        if n % 50 == 49 {
            // One message at a time, and none left behind.
            for _ in 0..50 {
                wait_readable(&bob);
                bob.next_regular();
            }
            assert!(bob.try_receive().unwrap().is_none());
        }
    }
}

fn the_daemon_makes_up_a_name_for_one_without(daemon: TestDaemon) {
    let (one, two) = (
        builder(daemon.address()).connect().unwrap(),
        builder(daemon.address()).connect().unwrap(),
    );
    assert_ne!(one.private_group(), two.private_group());
}

fn what_was_sent_before_a_disconnect_arrives(daemon: TestDaemon) {
    let mut alice = daemon.connect("ali");
    let group = unique("g");
    alice.join(&group).unwrap();
    alice.view_of(&group, 1);
    for round in 0..10 {
        let bob = daemon.connect("bob");
        bob.join(&group).unwrap();
        for n in 0..20 {
            bob.multicast(Service::Agreed, &group, format!("{round} {n}")).unwrap();
        }
        // Bob has not read its own copies.
        bob.disconnect().unwrap();
        assert!(matches!(alice.next_view().cause, Cause::Joined(_)));
        for n in 0..20 {
            assert_eq!(alice.next_regular().payload(), format!("{round} {n}").as_bytes());
        }
        assert!(matches!(alice.next_view().cause, Cause::Disconnected(_)));
    }
}

fn sending_and_receiving_go_on_side_by_side(daemon: TestDaemon) {
    // Fewer than the daemon keeps for a client that is slow to read.
    const COUNT: usize = 200;
    let (alice, mut bob) = (daemon.connect("ali"), daemon.connect("bob"));
    let to = bob.private_group();
    thread::scope(|scope| {
        for sender in 0..4u8 {
            let alice = &alice;
            scope.spawn(move || {
                for n in 0..COUNT {
                    let body = [&[sender][..], &(n as u32).to_le_bytes()].concat();
                    alice.multicast(Service::Fifo, to, body).unwrap();
                }
            });
        }
        let mut next = [0u32; 4];
        for _ in 0..4 * COUNT {
            let message = bob.next_regular();
            let (sender, n) = message.payload().split_first().unwrap();
            let n = u32::from_le_bytes(n.try_into().unwrap());
            assert_eq!(n, next[usize::from(*sender)], "each sender's messages come in order");
            next[usize::from(*sender)] += 1;
        }
    });
}

#[test]
fn a_host_with_a_long_name_is_found() {
    // The C library takes no name as long as this one of 127.0.0.1.
    let daemon = TestDaemon::embedded(Transport::Tcp);
    let (port, _) = daemon.address().split_once('@').unwrap();
    let host = format!("{:0>200}.0.0.1", "177");
    let mut alice = builder(format!("{port}@{host}")).connect().unwrap();
    alice.multicast(Service::Fifo, alice.private_group(), b"here").unwrap();
    assert_eq!(alice.next_regular().payload(), b"here");
}

/// The client is in a send for most of the time, while there is more and more to
/// receive.
fn a_flood_of_large_messages_does_not_stall(daemon: TestDaemon) {
    const MESSAGES: usize = 3000;
    const WINDOW: usize = 200;
    let mut alice = daemon.connect("ali");
    let group = unique("g");
    alice.join(&group).unwrap();
    alice.view_of(&group, 1);
    let (done, all_came) = mpsc::channel();
    let flood = thread::spawn(move || {
        let body = vec![b'x'; 16 * 1024];
        let mut sent = 0;
        for received in 0..MESSAGES {
            while sent < MESSAGES && sent < received + WINDOW {
                alice.multicast(Service::Agreed, &group, &body).unwrap();
                sent += 1;
            }
            assert_eq!(alice.next_regular().payload(), body);
        }
        done.send(()).unwrap();
    });
    all_came.recv_timeout(PATIENCE).expect("all messages");
    flood.join().unwrap();
}
