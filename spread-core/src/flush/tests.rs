//! One member's state machine, told by the test what comes.

use spread_wire::{ByteOrder, GroupId, Name, ServiceType};

use super::machine::{MAX_REPLIES, Machine, Refusal, Reply};
use super::packet::{CONFIRMED, FLUSH_OK, FLUSH_REQUEST, Message, NewView, Packet};

const FIFO: ServiceType = ServiceType::FIFO;

fn group() -> Name {
    Name::new("g").unwrap()
}

fn name(text: &str) -> Name {
    Name::new(format!("#{text}#d")).unwrap()
}

fn id(index: i32) -> GroupId {
    GroupId { proc_id: 1, time: 1, index }
}

fn view(index: i32, cause: ServiceType, members: &[&str], set: &[&str]) -> Packet {
    let names = |texts: &[&str]| texts.iter().map(|text| name(text)).collect::<Vec<_>>();
    let place = members.iter().position(|member| *member == "me").unwrap();
    let view = NewView {
        id: id(index),
        service_type: ServiceType::REG_MEMB | cause,
        members: names(members),
        index: place as i16,
        set: names(set),
    };
    Packet::View { group: group(), view }
}

fn joined(index: i32, members: &[&str], who: &str) -> Packet {
    view(index, ServiceType::CAUSED_BY_JOIN, members, &[who])
}

fn flush_ok(sender: &str, index: i32) -> Packet {
    Packet::FlushOk { group: group(), sender: name(sender), id: id(index) }
}

fn confirmed(sender: &str, index: i32) -> Packet {
    Packet::Confirmed { group: group(), sender: name(sender), id: id(index) }
}

fn data(sender: &str, view: Option<i32>, text: &str) -> Packet {
    let message = Message { body: text.into(), ..Message::about(name(sender), FIFO) };
    Packet::Data { group: group(), view: view.map(id), message }
}

/// What the application gets, in words.
fn told(machine: &mut Machine, packet: Packet) -> Vec<String> {
    machine.input(packet).unwrap();
    let mut told = Vec::new();
    while let Some(message) = machine.delivery().cloned() {
        machine.delivered();
        let kind = message.service_type;
        told.push(if kind == FLUSH_REQUEST {
            "flush".to_owned()
        } else if kind == ServiceType::TRANSITION {
            "signal".to_owned()
        } else if kind.contains(ServiceType::REG_MEMB) {
            let id = GroupId::decode(message.body.first_chunk().unwrap(), ByteOrder::NATIVE);
            let (_, names) = message.body.split_at(16);
            let names = names.as_chunks().0.iter().map(|field| Name::from_field(*field));
            let names: Vec<_> = names.map(|name| name.private_name().unwrap().to_owned()).collect();
            let is_network = kind.contains(ServiceType::CAUSED_BY_NETWORK);
            let cause = if is_network { "with" } else { "by" };
            format!("view {} {cause} {}", id.index, names.join(","))
        } else {
            String::from_utf8(message.body).unwrap()
        });
    }
    told
}

fn replies(machine: &mut Machine) -> Vec<(i16, i32)> {
    let mut replies = Vec::new();
    while let Some(Reply { message_type, id, .. }) = machine.reply() {
        machine.replied();
        replies.push((message_type, id.index));
    }
    replies
}

/// A client that is alone in the group, in view 1.
fn alone() -> Machine {
    let mut machine = Machine::new(name("me"));
    assert!(told(&mut machine, joined(1, &["me"], "me")).is_empty());
    assert_eq!(replies(&mut machine), [(FLUSH_OK, 1)]);
    assert_eq!(told(&mut machine, flush_ok("me", 1)), ["view 1 by me"]);
    assert_eq!(replies(&mut machine), [(CONFIRMED, 1)]);
    machine
}

/// The application flushes the group for this view.
fn flushed(machine: &mut Machine, index: i32) {
    let reply = machine.may_flush(&group()).unwrap();
    assert_eq!((reply.message_type, reply.id), (FLUSH_OK, id(index)));
    machine.flush(&group());
}

#[test]
fn a_join_flushes_by_itself() {
    let mut machine = alone();
    assert_eq!(machine.may_send(&group(), FIFO, &[]), Ok(Some(id(1))));
    assert!(told(&mut machine, confirmed("me", 1)).is_empty());
    assert_eq!(machine.may_send(&group(), FIFO, &[name("me")]), Ok(None));
    assert_eq!(machine.may_join(&group()), Err(Refusal::Group));
}

#[test]
fn a_view_comes_when_all_have_flushed_and_messages_before_it() {
    let mut machine = alone();
    assert_eq!(machine.may_flush(&group()), Err(Refusal::State));
    assert_eq!(told(&mut machine, joined(2, &["me", "bob"], "bob")), ["flush"]);
    assert_eq!(machine.may_send(&group(), ServiceType::AGREED, &[]), Ok(None));
    assert_eq!(machine.may_send(&group(), FIFO, &[]), Ok(Some(id(1))));
    flushed(&mut machine, 2);
    assert_eq!(machine.may_flush(&group()), Err(Refusal::State));
    assert_eq!(machine.may_send(&group(), FIFO, &[]), Err(Refusal::State));
    assert_eq!(told(&mut machine, data("me", None, "mine")), ["mine"]);
    assert!(told(&mut machine, flush_ok("bob", 2)).is_empty());
    assert_eq!(told(&mut machine, flush_ok("me", 2)), ["view 2 by bob"]);
    assert_eq!(replies(&mut machine), [(CONFIRMED, 2)]);
    assert_eq!(machine.may_send(&group(), FIFO, &[name("eve")]), Err(Refusal::Receivers));
    assert_eq!(machine.may_send(&group(), FIFO, &[name("bob")]), Ok(Some(id(2))));
}

#[test]
fn a_message_that_overtakes_its_view_waits_for_it() {
    let mut machine = alone();
    told(&mut machine, joined(2, &["me", "bob"], "bob"));
    flushed(&mut machine, 2);
    told(&mut machine, flush_ok("bob", 2));
    assert!(told(&mut machine, data("bob", Some(2), "early")).is_empty());
    assert!(told(&mut machine, data("eve", Some(2), "stranger")).is_empty());
    assert_eq!(told(&mut machine, flush_ok("me", 2)), ["view 2 by bob", "early"]);
    assert!(told(&mut machine, data("eve", None, "stranger")).is_empty());
}

#[test]
fn a_flush_may_overtake_its_view() {
    let mut machine = alone();
    told(&mut machine, flush_ok("bob", 2));
    told(&mut machine, joined(2, &["me", "bob"], "bob"));
    flushed(&mut machine, 2);
    assert_eq!(told(&mut machine, flush_ok("me", 2)), ["view 2 by bob"]);
}

#[test]
fn a_view_that_somebody_left_without_a_flush_is_not_installed() {
    let mut machine = alone();
    told(&mut machine, joined(2, &["me", "bob"], "bob"));
    flushed(&mut machine, 2);
    told(&mut machine, flush_ok("me", 2));
    let left = view(3, ServiceType::CAUSED_BY_DISCONNECT, &["me"], &["bob"]);
    // Bob was never in a view of the application, so there is no signal.
    assert!(told(&mut machine, left).is_empty());
    assert_eq!(replies(&mut machine), [(FLUSH_OK, 3)]);
    assert_eq!(told(&mut machine, flush_ok("me", 3)), ["view 3 with me"]);
}

#[test]
fn views_that_come_together_come_one_after_another() {
    let mut machine = alone();
    told(&mut machine, joined(2, &["me", "bob"], "bob"));
    assert!(told(&mut machine, joined(3, &["me", "bob", "eve"], "eve")).is_empty());
    flushed(&mut machine, 2);
    told(&mut machine, flush_ok("me", 2));
    assert_eq!(told(&mut machine, flush_ok("bob", 2)), ["view 2 by bob", "flush"]);
    assert!(replies(&mut machine).is_empty(), "the next view is on its way");
    let left = view(4, ServiceType::CAUSED_BY_LEAVE, &["me", "eve"], &["bob"]);
    assert_eq!(told(&mut machine, left), ["signal"]);
    flushed(&mut machine, 4);
    told(&mut machine, flush_ok("me", 4));
    assert_eq!(told(&mut machine, flush_ok("eve", 4)), ["view 4 with me"]);
}

#[test]
fn who_leaves_does_not_flush() {
    let mut machine = alone();
    told(&mut machine, joined(2, &["me", "bob"], "bob"));
    assert_eq!(machine.may_leave(&group()), Ok(()));
    machine.leave(&group());
    assert_eq!(machine.may_flush(&group()), Err(Refusal::Group));
    assert_eq!(machine.may_leave(&group()), Err(Refusal::Group));
    machine.input(Packet::SelfLeave { group: group() }).unwrap();
    assert!(machine.delivery().unwrap().service_type.is_self_leave());
    assert_eq!(machine.may_join(&group()), Ok(()));
}

#[test]
fn one_client_is_reached_in_no_view() {
    let mut machine = Machine::new(name("me"));
    let private = Packet::Data {
        group: name("me"),
        view: None,
        message: Message { body: b"x".to_vec(), ..Message::about(name("bob"), FIFO) },
    };
    assert_eq!(told(&mut machine, private), ["x"]);
    assert!(told(&mut machine, data("bob", None, "to a group")).is_empty());
    assert_eq!(machine.may_send(&name("bob"), FIFO, &[name("bob")]), Ok(None));
    assert_eq!(machine.may_send(&name("bob"), FIFO, &[name("me")]), Err(Refusal::Receivers));
}

#[test]
fn what_waits_for_a_view_is_bounded() {
    let mut machine = alone();
    told(&mut machine, joined(2, &["me", "bob"], "bob"));
    flushed(&mut machine, 2);
    let large = "x".repeat(1 << 20);
    let sent = (0..1000).take_while(|_| machine.input(data("bob", Some(2), &large)).is_ok());
    assert_eq!(sent.count(), 63);
}

#[test]
fn a_flood_of_flushes_pushes_out_none_of_others() {
    let mut machine = alone();
    told(&mut machine, flush_ok("bob", 2));
    for index in 100..10_000 {
        told(&mut machine, flush_ok("eve", index));
    }
    for stranger in 0..8_000 {
        told(&mut machine, flush_ok(&format!("eve{stranger}"), 2));
    }
    told(&mut machine, joined(2, &["me", "bob"], "bob"));
    flushed(&mut machine, 2);
    assert_eq!(told(&mut machine, flush_ok("me", 2)), ["view 2 by bob"]);
    // The first of many more are forgotten.
    told(&mut machine, flush_ok("bob", 3));
    for stranger in 0..20_000 {
        told(&mut machine, flush_ok(&format!("e{stranger}"), 3));
    }
    told(&mut machine, joined(3, &["me", "bob", "e19999"], "e19999"));
    flushed(&mut machine, 3);
    assert!(told(&mut machine, flush_ok("me", 3)).is_empty());
    assert_eq!(told(&mut machine, flush_ok("bob", 3))[..1], ["view 3 by e19999"]);
}

#[test]
fn strangers_neither_flush_nor_confirm() {
    let mut machine = alone();
    told(&mut machine, joined(2, &["me", "bob"], "bob"));
    flushed(&mut machine, 2);
    told(&mut machine, flush_ok("me", 2));
    told(&mut machine, confirmed("eve", 2));
    assert!(told(&mut machine, flush_ok("eve", 2)).is_empty());
    assert_eq!(told(&mut machine, flush_ok("bob", 2)), ["view 2 by bob"]);
    for sender in ["eve", "me"] {
        told(&mut machine, confirmed(sender, 2));
    }
    assert_eq!(machine.may_send(&group(), FIFO, &[]), Ok(Some(id(2))), "bob may not have it");
    told(&mut machine, confirmed("bob", 2));
    assert_eq!(machine.may_send(&group(), FIFO, &[]), Ok(None));
}

#[test]
fn views_that_nobody_flushes_for_are_bounded() {
    let mut machine = alone();
    let crowd: Vec<_> = (0..1000).map(|member| format!("m{member}")).collect();
    let mut with_me: Vec<_> = crowd.iter().map(String::as_str).chain(["me"]).collect();
    // A member joins and leaves, and others never flush the group.
    let comes_and_goes = (0..10_000).step_by(2).take_while(|index| {
        with_me.push("eve");
        let came = machine.input(joined(index + 2, &with_me, "eve")).is_ok();
        with_me.pop();
        let left = view(index + 3, ServiceType::CAUSED_BY_LEAVE, &with_me, &["eve"]);
        came && machine.input(left).is_ok()
    });
    // Each time the view without it stays, with 1,001 names in three lists.
    let len = 1024 + (3 * 1001 + 1) * 32;
    assert_eq!(comes_and_goes.count(), ((64 << 20) - 3 * 32) / len);
}

/// The first view of a group, with a crowd that never flushes it.
fn announced(number: usize, crowd: &[Name]) -> Packet {
    let group = Name::new(format!("g{number}")).unwrap();
    let view = NewView {
        id: id(1),
        service_type: ServiceType::REG_MEMB | ServiceType::CAUSED_BY_JOIN,
        members: crowd.to_vec(),
        index: 0,
        set: vec![name("me")],
    };
    Packet::View { group, view }
}

#[test]
fn what_all_groups_take_is_bounded() {
    let mut machine = Machine::new(name("me"));
    let large = vec![0; 1 << 20];
    // Each group keeps less than it may.
    let sent = (0..1000).take_while(|number| {
        let group = Name::new(format!("g{}", number / 50)).unwrap();
        if number % 50 == 0 {
            machine.input(announced(number / 50, &[name("me"), name("bob")])).unwrap();
        }
        let message = Message { body: large.clone(), ..Message::about(name("bob"), FIFO) };
        machine.input(Packet::Data { group, view: Some(id(1)), message }).is_ok()
    });
    assert_eq!(sent.count(), 255);
}

#[test]
fn groups_that_are_left_make_room_for_others() {
    let mut machine = Machine::new(name("me"));
    let others = (0..100).map(|member| name(&member.to_string()));
    let crowd: Vec<_> = [name("me")].into_iter().chain(others).collect();
    // They would take more than 256 MiB together.
    for number in 0..20_000 {
        let group = Name::new(format!("g{number}")).unwrap();
        machine.input(announced(number, &crowd)).unwrap();
        // Flushes that come before their view are kept, and counted.
        for member in 0..3 {
            let sender = name(&member.to_string());
            machine.input(Packet::FlushOk { group, sender, id: id(2) }).unwrap();
        }
        machine.input(Packet::SelfLeave { group }).unwrap();
        machine.delivered();
        machine.replied();
    }
}

#[test]
fn replies_that_nobody_sends_are_bounded() {
    let mut machine = Machine::new(name("me"));
    let come_and_go = |number: &usize| {
        let is_taken = machine.input(announced(*number, &[name("me")])).is_ok();
        let group = Name::new(format!("g{number}")).unwrap();
        machine.input(Packet::SelfLeave { group }).unwrap();
        machine.delivered();
        is_taken
    };
    assert_eq!((0..2 * MAX_REPLIES).take_while(come_and_go).count(), MAX_REPLIES);
}
