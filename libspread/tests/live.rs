//! Against a daemon that is one: what comes out must be what went in.

mod common;

use std::time::{SystemTime, UNIX_EPOCH};

use common::*;
use libspread::*;

/// A private name that is no one else's.
fn name(prefix: char) -> String {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos();
    format!("{prefix}{:05x}{:04x}", nanos >> 4 & 0xfffff, std::process::id() & 0xffff)
}

/// A client in a group that is its own.
fn member(address: &str, prefix: char) -> (Client, String) {
    let client = Client::connect(address, &name(prefix)).expect("a session");
    let group = format!("group-{}", client.private_group.replace('#', "-"));
    assert_eq!(client.join(&group), 0);
    let view = client.receive();
    assert_eq!(view.service, REG_MEMB_MESS | CAUSED_BY_JOIN);
    assert_eq!((view.sender, view.mess_type), (group.clone(), 0));
    assert_eq!(view.groups, [client.private_group.as_str()]);
    (client, group)
}

#[test]
fn a_member_gets_views_and_messages() {
    let daemon = daemon();
    let address = &daemon.address;
    let (alice, group) = member(address, 'a');
    let bob = Client::connect(address, &name('b')).unwrap();
    assert_eq!(bob.join(&group), 0);
    assert_eq!(alice.receive().groups.len(), 2);
    assert_eq!(bob.receive().mess_type, 1);

    for service in [UNRELIABLE_MESS, RELIABLE_MESS, FIFO_MESS, CAUSAL_MESS, AGREED_MESS, SAFE_MESS]
    {
        assert_eq!(alice.multicast(service, &[&group], -3, b"hello"), 5);
        for client in [&alice, &bob] {
            let received = client.receive();
            assert_eq!((received.code, received.service), (5, service));
            assert_eq!(received.sender, alice.private_group);
            assert_eq!((received.mess_type, received.endian_mismatch), (-3, 0));
            assert_eq!(received.body, b"hello");
        }
    }

    let to_bob = [bob.private_group.as_str()];
    assert_eq!(alice.multicast(SAFE_MESS | SELF_DISCARD, &to_bob, 0, b"psst"), 4);
    assert_eq!(bob.receive().body, b"psst");

    assert_eq!(bob.leave(&group), 0);
    assert_eq!(bob.receive().service, CAUSED_BY_LEAVE);
    assert_eq!(alice.receive().service, REG_MEMB_MESS | CAUSED_BY_LEAVE);
}

#[test]
fn a_private_name_is_unique() {
    let daemon = daemon();
    let address = &daemon.address;
    let name = name('u');
    let _first = Client::connect(address, &name).unwrap();
    assert_eq!(Client::connect(address, &name).unwrap_err(), REJECT_NOT_UNIQUE);
}

#[test]
fn a_client_without_a_name_gets_one() {
    let daemon = daemon();
    let address = &daemon.address;
    let client = Client::connect(address, "").unwrap();
    assert!(client.private_group.starts_with("#r"));
}

#[test]
fn messages_up_to_the_limits_come_whole() {
    let daemon = daemon();
    let address = &daemon.address;
    let (client, group) = member(address, 'l');
    for groups in [1, 2, 43] {
        let mut names = vec!["elsewhere"; groups];
        names[0] = &group;
        for len in [0, 1, 1_000, 65_536, 143_151 - 32 * groups] {
            let body: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            assert_eq!(client.multicast(AGREED_MESS, &names, 0, &body), len as i32);
            let received = client.receive();
            assert_eq!(received.code, len as i32);
            assert_eq!(received.groups, names);
            assert!(received.body == body);
        }
    }
}

#[test]
fn a_burst_comes_whole_and_in_order() {
    let daemon = daemon();
    let address = &daemon.address;
    let (client, group) = member(address, 'f');
    for round in 0..10 {
        for i in 0..500 {
            let body = vec![i as u8; (i as usize * 37 + round) % 600];
            assert_eq!(client.multicast(AGREED_MESS, &[&group], i, &body), body.len() as i32);
        }
        for i in 0..500 {
            assert!(client.becomes_readable(PATIENCE));
            let received = client.receive();
            assert_eq!(
                (received.mess_type, received.code as usize),
                (i, (i as usize * 37 + round) % 600)
            );
        }
    }
    assert_eq!(client.poll(), 0);
}

#[test]
fn those_who_stay_see_how_others_go() {
    let daemon = daemon();
    let address = &daemon.address;
    let (alice, group) = member(address, 's');
    for disconnects in [true, false] {
        let bob = Client::connect(address, &name('t')).unwrap();
        assert_eq!(bob.join(&group), 0);
        assert_eq!(alice.receive().service, REG_MEMB_MESS | CAUSED_BY_JOIN);
        if disconnects {
            assert_eq!(bob.disconnect(), 0);
        } else {
            drop(bob);
        }
        let view = alice.receive();
        assert_eq!(view.service, REG_MEMB_MESS | CAUSED_BY_DISCONNECT);
        assert_eq!(view.groups, [alice.private_group.as_str()]);
    }
}
