//! Views at bad times: joins and partitions that meet, ghosts, and connections that are lost
//! half-way.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread;

use spread::{Cause, Mailbox, Message, Name};
use spread_groups::{Event, Item, Member, Node, Place, Standing};

use crate::support::*;

/// Waits until all have the same words, each of them so often.
fn agree(members: &[&Participant], words: usize, times: u64) {
    eventually("one state", || {
        let states = members.iter().map(|member| member.words.read(|words| words.0.clone()));
        let states: Vec<_> = states.collect();
        states.iter().all(|state| state.len() == words && *state == states[0])
    });
    assert!(members[0].words.read(|words| words.0.values().all(|of| *of == times)));
}

#[test]
fn nodes_that_join_while_one_publishes_have_equal_rosters_at_equal_places() {
    let daemons = daemons();
    let publisher = member(&daemons, "d1");
    publisher.group.ready().wait().unwrap();
    let topic = publisher.group.topic::<String>("news");
    let mut heard = topic.subscribe_with(100_000);
    drop(publisher.group.status().wait().unwrap());
    let done = AtomicBool::new(false);
    let (members, published) = thread::scope(|scope| {
        let publishes = scope.spawn(|| {
            let mut published = 0;
            while !done.load(Ordering::Relaxed) {
                match topic.publish(&published.to_string()) {
                    Ok(()) => published += 1,
                    Err(error) => assert!(error.is_retryable(), "{error}"),
                }
                let _ = publisher.words.submit(&published.to_string()).wait().unwrap();
            }
            published
        });
        let names = ["d1", "d2", "d3"].into_iter().cycle().take(7);
        let members: Vec<_> = names.map(|daemon| member(&daemons, daemon)).collect();
        let mut rosters = HashMap::<Place, Vec<Member>>::new();
        let mut all = false;
        while !all {
            all = true;
            for member in members.iter().chain([&publisher]) {
                let status = member.group.status().wait().unwrap();
                all &= status.standing == Standing::Ready && status.roster.len() == 8;
                if status.standing == Standing::Ready {
                    let known = rosters.entry(status.place).or_insert(status.roster.clone());
                    assert_eq!(*known, status.roster, "at {:?}", status.place);
                }
            }
        }
        done.store(true, Ordering::Relaxed);
        (members, publishes.join().unwrap())
    });
    let texts = heard.by_ref().take(published).map(|item| match item {
        Item::Message(text, _) => text,
        other => panic!("{other:?}"),
    });
    assert_eq!(
        texts.collect::<Vec<_>>(),
        (0..published).map(|n| n.to_string()).collect::<Vec<_>>()
    );
    let members: Vec<_> = members.iter().chain([&publisher]).collect();
    agree(&members, published, 1);
}

#[test]
fn a_join_that_is_under_way_when_its_daemon_parts_first_shows_in_a_network_view() {
    let cluster = cluster();
    let mut watcher = Mailbox::connect(Daemons::address(&cluster, "d1")).unwrap();
    watcher.join("plant").unwrap();
    let [one, two] = ["d1", "d2"].map(|daemon| member(&cluster, daemon));
    for member in [&one, &two] {
        member.group.wait_for_members(2, LONG).unwrap();
    }
    one.words.submit(&String::from("before")).wait().unwrap();
    ["d1", "d2"].into_iter().for_each(|daemon| cluster.hold("d3", daemon).unwrap());
    let joiner = member(&cluster, "d3");
    // Its own daemon has let it in, and no other one knows.
    let standing = || joiner.group.status().wait().unwrap().standing;
    eventually("it joins", || standing() != Standing::Out);
    cluster.partition(&[&["d1", "d2"], &["d3"]]).unwrap();
    ["d1", "d2"].into_iter().for_each(|daemon| cluster.release("d3", daemon).unwrap());
    one.words.submit(&String::from("apart")).wait().unwrap();
    cluster.merge().unwrap();
    joiner.group.ready().wait().unwrap();
    one.group.wait_for_members(3, LONG).unwrap();
    let words = ["before", "apart"].map(String::from);
    eventually("the joiner has the state", || {
        joiner.words.read(|state| words.iter().all(|word| state.0.contains_key(word)))
    });
    agree(&[&one, &two, &joiner], 2, 1);
    let joined = Name::new(name_of(&joiner.group, &one.group)).unwrap();
    let shown = std::iter::repeat_with(|| watcher.receive_timeout(LONG).unwrap().unwrap());
    let first = shown.into_iter().find_map(|message| match message {
        Message::Membership(view) if view.members.contains(&joined) => Some(view.cause),
        _ => None,
    });
    assert!(matches!(first, Some(Cause::Network { .. })), "{first:?}");
}

#[test]
fn plain_clients_with_and_without_membership_messages_are_silent() {
    let daemons = daemons();
    let plain = [true, false].map(|membership| {
        let builder = Mailbox::builder(daemons.address("d1")).membership(membership);
        let mailbox = builder.connect().unwrap();
        mailbox.join(daemons.group()).unwrap();
        mailbox
    });
    let [one, two] = ["d2", "d3"].map(|daemon| member(&daemons, daemon));
    for member in [&one, &two] {
        member.group.wait_for_members(2, LONG).unwrap();
        member.group.ready().wait().unwrap();
    }
    let mut silent = plain.each_ref().map(|mailbox| Name::from(mailbox.private_group()));
    silent.sort();
    eventually("both are silent", || {
        let mut found = two.group.status().wait().unwrap().silent;
        found.sort();
        found == silent
    });
    assert_eq!(one.words.submit(&String::from("a")).wait().unwrap(), "1");
    // They are not waited for when another one joins and when one leaves.
    let late = member(&daemons, "d1");
    late.group.ready().wait().unwrap();
    drop(plain);
    eventually("nobody is silent", || one.group.status().wait().unwrap().silent.is_empty());
    agree(&[&one, &two, &late], 1, 1);
}

#[test]
fn views_that_come_during_exchanges_void_them_and_nothing_is_lost_or_done_twice() {
    const PARTS: [&[&[&str]]; 4] = [
        &[&["d1"], &["d2", "d3"]],
        &[&["d1", "d2"], &["d3"]],
        &[&["d1", "d3"], &["d2"]],
        &[&["d1"], &["d2"], &["d3"]],
    ];
    let cluster = cluster();
    let members = three_members(&cluster);
    let mut pending = Vec::new();
    for (round, parts) in PARTS.iter().cycle().take(24).enumerate() {
        for (member, number) in members.iter().zip(0..) {
            pending.push(member.words.submit(&format!("{round} {number}")));
        }
        // Held messages keep the exchange from ending before the next view.
        cluster.hold("d1", "d2").unwrap();
        cluster.hold("d3", "d1").unwrap();
        cluster.partition(parts).unwrap();
        cluster.merge().unwrap();
        if round % 2 == 0 {
            eventually("an exchange began", || {
                members[1].group.status().wait().unwrap().standing == Standing::Exchanging
            });
        }
        cluster.partition(PARTS[(round + 1) % PARTS.len()]).unwrap();
        if round % 3 == 0 {
            cluster.release("d1", "d2").unwrap();
            let roster = members[2].group.events();
            cluster.merge().unwrap();
            cluster.release("d3", "d1").unwrap();
            // After a Form, and on with the next view.
            roster.iter().find(|event| matches!(event, Event::Roster { .. })).unwrap();
        }
        cluster.release("d1", "d2").unwrap();
        cluster.release("d3", "d1").unwrap();
        cluster.merge().unwrap();
    }
    pending.into_iter().for_each(|pending| drop(pending.wait().unwrap()));
    for member in &members {
        member.group.wait_for_members(3, LONG).unwrap();
    }
    // What a merge takes back is done again.
    agree(&members.each_ref(), 24 * 3, 1);
}

/// Copies what comes, until an end is closed.
fn copy(mut from: TcpStream, mut to: TcpStream) -> io::Result<()> {
    let mut bytes = [0; 4096];
    loop {
        match from.read(&mut bytes)? {
            0 => return Ok(()),
            read => to.write_all(&bytes[..read])?,
        }
    }
}

#[test]
fn a_member_that_comes_back_at_another_daemon_while_its_ghost_lives_goes_on() {
    let cluster = cluster();
    let [one, two] = ["d2", "d3"].map(|daemon| member(&cluster, daemon));
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let through = proxy.local_addr().unwrap();
    let daemon = cluster.socket_addr("d1").unwrap();
    let (give, ends) = channel();
    let relay = thread::spawn(move || {
        let (near, _) = proxy.accept().unwrap();
        let far = TcpStream::connect(daemon).unwrap();
        give.send((near.try_clone().unwrap(), far.try_clone().unwrap())).unwrap();
        let back = (far.try_clone().unwrap(), near.try_clone().unwrap());
        let backwards = thread::spawn(move || copy(back.0, back.1));
        // The proxy ends with its first connection, so that the next goes elsewhere.
        drop(proxy);
        let _ = copy(near, far);
        backwards
    });
    let builder = Mailbox::builder(format!("{}@{}", through.port(), through.ip()))
        .or_address(Daemons::address(&cluster, "d2"));
    let node = Node::connect(builder).unwrap();
    let mut plant = node.group("plant").unwrap();
    let words = plant.replicate(Words::default()).unwrap();
    let group = plant.join().unwrap();
    group.ready().wait().unwrap();
    let ghost = name(&group);
    assert!(ghost.ends_with("#d1"), "{ghost}");
    words.submit(&String::from("before")).wait().unwrap();
    let (near, far) = ends.recv().unwrap();
    // The node's connection ends; the daemon's does not.
    near.shutdown(std::net::Shutdown::Both).unwrap();
    let back = || {
        let members = one.group.members();
        let own = members.iter().find(|member| member.incarnation == group.incarnation());
        own.is_some_and(|own| own.name.to_string().ends_with("#d2"))
    };
    eventually("it is back", back);
    let status = one.group.status().wait().unwrap();
    assert_eq!(status.silent, [Name::new(&ghost).unwrap()], "its ghost takes no part");
    assert_eq!(status.roster.len(), 3);
    assert_eq!(words.submit(&String::from("after")).wait().unwrap(), "1");
    cluster.disconnect(&ghost).unwrap();
    eventually("the ghost is gone", || one.group.status().wait().unwrap().silent.is_empty());
    assert!(back(), "the member stays when its ghost goes");
    let member = Participant::new(node, group, words);
    agree(&[&one, &two, &member], 2, 1);
    drop(far);
    drop(relay.join().unwrap());
}

#[test]
fn a_member_that_reads_nothing_in_a_flood_is_cut_off_and_comes_back() {
    let cluster = cluster();
    let [one, two, slow] = three_members(&cluster);
    slow.words.submit(&String::from("before")).wait().unwrap();
    let mut subscription = slow.group.topic::<String>("flood").subscribe();
    drop(slow.group.status().wait().unwrap());
    let events = one.group.events();
    cluster.pause(&name(&slow.group)).unwrap();
    let topic = two.group.topic::<String>("flood");
    let flood = || {
        let crashed = events.try_iter().any(|event| match event {
            Event::Roster { members, .. } => members.len() == 2,
            _ => false,
        });
        if let Err(error) = topic.publish(&String::from("x")) {
            assert!(error.is_retryable(), "{error}");
        }
        crashed
    };
    eventually("it is cut off", flood);
    assert_eq!(two.words.submit(&String::from("meanwhile")).wait().unwrap(), "1");
    let gap = subscription.find(|item| matches!(item, Item::Gap(None)));
    assert!(gap.is_some());
    slow.group.ready().wait().unwrap();
    assert_eq!(slow.words.submit(&String::from("after")).wait().unwrap(), "1");
    agree(&[&one, &two, &slow], 3, 1);
    let place = |member: &Participant| member.group.status().wait().unwrap().place;
    eventually("equal places", || place(&one) == place(&two) && place(&two) == place(&slow));
}

#[test]
fn a_large_operation_whose_sender_is_cut_half_way_is_executed_when_it_is_sent_again() {
    let cluster = cluster();
    let [one, two, three] = three_members(&cluster);
    let mut watcher = Mailbox::connect(Daemons::address(&cluster, "d1")).unwrap();
    watcher.join("plant").unwrap();
    cluster.settle().unwrap();
    let large = "x".repeat(10 << 20);
    let mut submitted = Vec::new();
    // First the sender is cut off between two fragments, then another member.
    for cut in [&one, &two] {
        submitted.push(one.words.submit(&large));
        let is_fragment = |message: &Message| match message {
            Message::Regular(message) => message.payload().len() > 100_000,
            _ => false,
        };
        let mut fragments = 0;
        while fragments < 5 {
            let message = watcher.receive_timeout(LONG).unwrap().unwrap();
            fragments += usize::from(is_fragment(&message));
        }
        cluster.disconnect(&name(&cut.group)).unwrap();
    }
    let answers: Vec<_> = submitted.into_iter().map(|pending| pending.wait().unwrap()).collect();
    assert_eq!(answers, ["1", "2"]);
    let times = |member: &Participant| member.words.read(|words| words.0.get(&large).copied());
    for member in [&one, &two, &three] {
        eventually("it is executed everywhere", || times(member) == Some(2));
    }
}

#[test]
fn a_large_operation_of_a_sender_that_is_killed_half_way_is_executed_by_nobody() {
    let cluster = cluster();
    let [one, two, killed] = three_members(&cluster);
    let mut watcher = Mailbox::connect(Daemons::address(&cluster, "d1")).unwrap();
    watcher.join("plant").unwrap();
    cluster.settle().unwrap();
    let large = killed.words.submit(&"x".repeat(10 << 20));
    loop {
        let message = watcher.receive_timeout(LONG).unwrap().unwrap();
        if matches!(&message, Message::Regular(message) if message.payload().len() > 100_000) {
            break;
        }
    }
    cluster.crash("d3").unwrap();
    eventually("it is gone", || one.group.members().len() == 2);
    assert_eq!(two.words.submit(&String::from("a")).wait().unwrap(), "1");
    agree(&[&one, &two], 1, 1);
    drop((killed, large));
}
