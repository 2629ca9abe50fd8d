//! What a daemon does that is a part of the test: it does not read, or says too much.

use std::time::Duration;

use crate::support::peer::{self, CLIENT, Peer};
use crate::support::{PATIENCE, Transport, builder, over_each_transport, poll};
use spread::flush::{Error, Event, Mailbox};
use spread::{ByteOrder, GroupId, Name, SendOptions, Service};
use spread_wire::{Cause as WireCause, Delivery, Groups, MembershipBody, Regular};

over_each_transport!(
    a_send_that_must_not_wait_sends_whole_messages_in_order,
    an_answer_goes_when_there_is_room,
    too_much_that_waits_for_a_flush_ends_the_connection,
    ever_more_groups_end_the_connection,
    answers_that_the_daemon_does_not_take_end_the_connection,
);

fn a_send_that_must_not_wait_sends_whole_messages_in_order(transport: Transport) {
    let (report, reported) = std::sync::mpsc::channel();
    let peer = Peer::start(transport, move |client| {
        client.wait()?;
        while let Ok(frame) = client.receive() {
            let _ = report.send(frame.body().to_vec());
        }
        Ok(())
    });
    let mut mailbox = Mailbox::connect(builder(peer.address())).unwrap();
    let own = mailbox.private_group();
    let body = |number: u8| vec![number; 50_000];
    let mut sent = 0;
    while mailbox.try_multicast(Service::Fifo, own, body(sent)).unwrap() {
        sent = sent.checked_add(1).expect("a socket that gets full");
    }
    assert!(sent > 0);
    peer.go_on();
    while !mailbox.try_send_rest().unwrap() {
        assert!(poll(&mailbox, libc::POLLOUT, PATIENCE));
    }
    mailbox.multicast(Service::Fifo, own, body(sent)).unwrap();
    for number in 0..=sent {
        assert_eq!(reported.recv_timeout(PATIENCE).unwrap(), body(number));
    }
}

/// The group `g` and its view of the client and these others, on the wire.
fn view_with(others: &[Name], group_id: GroupId) -> Vec<u8> {
    view_of(Name::new("g").unwrap(), others, group_id)
}

fn view_of(group: Name, others: &[Name], group_id: GroupId) -> Vec<u8> {
    let me = Name::new(CLIENT).unwrap();
    let members = [others, &[me]].concat();
    let (members, cause) = (Groups::from(&members[..]), WireCause::Join);
    let body = MembershipBody { group_id, vs_sets: vec![vec![me]], my_vs_set: 0 };
    peer::frame(&Delivery::View { group, cause, members, body }).to_vec()
}

/// A message of the layer in the group `g`, on the wire.
fn layer_message(sender: Name, message_type: i16, body: &[u8]) -> Vec<u8> {
    message_in(Name::new("g").unwrap(), sender, message_type, body)
}

fn message_in(group: Name, sender: Name, message_type: i16, body: &[u8]) -> Vec<u8> {
    peer::frame(&Delivery::Regular(Regular {
        sender,
        service: Service::Fifo,
        self_discard: false,
        message_type,
        sender_order: ByteOrder::NATIVE,
        groups: Groups::from(&[group][..]),
        body,
    }))
    .to_vec()
}

const VIEW: GroupId = GroupId { proc_id: 1, time: 2, index: 3 };
const FLUSH_OK: i16 = i16::MIN;
const CONFIRMED: i16 = i16::MIN + 1;
const IN_VIEW: i16 = i16::MIN + 2;

fn an_answer_goes_when_there_is_room(transport: Transport) {
    let (report, reported) = std::sync::mpsc::channel();
    let peer = Peer::start(transport, move |client| {
        client.wait()?;
        client.send(&view_with(&[], VIEW))?;
        client.wait()?;
        let id = VIEW.encode(ByteOrder::NATIVE);
        while client.receive()?.header().hint.message_type() != FLUSH_OK {}
        client.send(&layer_message(Name::new(CLIENT).unwrap(), FLUSH_OK, &id))?;
        // Another member may not have the view yet, and get the message before it.
        let [confirmed, message] = [client.receive()?, client.receive()?];
        assert_eq!(confirmed.header().hint.message_type(), CONFIRMED);
        let in_view = [b"x\x07\0", &id[..]].concat();
        assert_eq!([confirmed.body(), message.body()], [&id[..], &in_view]);
        assert_eq!(message.header().hint.message_type(), IN_VIEW);
        report.send(()).unwrap();
        Ok(())
    });
    let mut mailbox = Mailbox::connect(builder(peer.address())).unwrap();
    let own = mailbox.private_group();
    for len in [50_000, 0] {
        while mailbox.try_multicast(Service::Fifo, own, vec![0; len]).unwrap() {}
    }
    peer.go_on();
    assert!(poll(&mailbox, libc::POLLIN, PATIENCE));
    assert!(mailbox.receive_timeout(Duration::from_millis(1)).unwrap().is_none());
    assert!(mailbox.try_receive().unwrap().is_none());
    // TCP moves on what has been sent, so that there may be room again.
    if let Transport::Unix = transport {
        assert!(!mailbox.try_send_rest().unwrap());
    }
    mailbox.interrupter().unwrap().interrupt();
    assert!(matches!(mailbox.receive(), Err(Error::Spread(spread::Error::Interrupted))));
    peer.go_on();
    let Some(Event::View(view)) = mailbox.receive_timeout(PATIENCE).unwrap() else { panic!() };
    assert_eq!((view.id, view.members.len()), (VIEW, 1));
    let options = SendOptions::new(Service::Fifo).message_type(i16::from_ne_bytes([7, 0]));
    mailbox.multicast(options, "g", "x").unwrap();
    reported.recv_timeout(PATIENCE).unwrap();
}

fn too_much_that_waits_for_a_flush_ends_the_connection(transport: Transport) {
    let peer = Peer::start(transport, |client| {
        let bob = Name::new("#bob#peer").unwrap();
        client.send(&view_with(&[bob], VIEW))?;
        // Bob never flushes, and sends in the view that is to come.
        let body = [&[0; 100_002][..], &VIEW.encode(ByteOrder::NATIVE)].concat();
        let message = layer_message(bob, IN_VIEW, &body);
        (0..1000).try_for_each(|_| client.send(&message))
    });
    let mut mailbox = Mailbox::connect(builder(peer.address())).unwrap();
    let error = mailbox.receive_timeout(PATIENCE).unwrap_err();
    assert!(matches!(error, Error::Overrun) && error.is_closed(), "{error}");
    let after = mailbox.receive();
    assert!(matches!(after, Err(Error::Spread(spread::Error::ShutDown))), "{after:?}");
}

/// Announces groups, one after the other, with a view and what `then` says, until the client ends
/// the connection.
fn announce(client: &mut peer::Client, others: &[Name], then: impl Fn(Name) -> Vec<u8>) {
    for number in 0_u32.. {
        let group = Name::new(format!("g{number}")).unwrap();
        if client.send(&[view_of(group, others, VIEW), then(group)].concat()).is_err() {
            return;
        }
    }
}

fn ever_more_groups_end_the_connection(transport: Transport) {
    let peer = Peer::start(transport, |client| {
        let bob = Name::new("#bob#peer").unwrap();
        let body = [&[0; 130_002][..], &VIEW.encode(ByteOrder::NATIVE)].concat();
        // In each group less than may wait there.
        announce(client, &[bob], |group| message_in(group, bob, IN_VIEW, &body).repeat(20));
        Ok(())
    });
    let mut mailbox = Mailbox::connect(builder(peer.address())).unwrap();
    let error = mailbox.receive_timeout(3 * PATIENCE).unwrap_err();
    assert!(matches!(error, Error::Overrun) && error.is_closed(), "{error}");
    let after = mailbox.receive();
    assert!(matches!(after, Err(Error::Spread(spread::Error::ShutDown))), "{after:?}");
}

fn answers_that_the_daemon_does_not_take_end_the_connection(transport: Transport) {
    let peer = Peer::start(transport, |client| {
        announce(client, &[], |group| peer::frame(&Delivery::SelfLeave { group }).to_vec());
        Ok(())
    });
    let mut mailbox = Mailbox::connect(builder(peer.address())).unwrap();
    let error = loop {
        match mailbox.receive_timeout(PATIENCE) {
            Ok(Some(Event::SelfLeave { .. })) => {}
            Ok(other) => panic!("{other:?}"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Overrun) && error.is_closed(), "{error}");
}
