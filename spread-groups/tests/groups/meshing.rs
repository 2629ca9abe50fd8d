use std::sync::mpsc::{Receiver, channel};

use spread_groups::{Dest, Error, Mesh};

use crate::support::*;

/// Begins to handle commands; what was heard comes out of the receiver.
fn mesh(member: &Participant) -> (Mesh, Receiver<String>) {
    let (heard, hears) = channel();
    let others = heard.clone();
    let mesh = member.group.mesh().on("say", move |args, _| {
        assert_ne!(args, ["panic"], "as it was told to");
        heard.send(args.join(" ")).unwrap();
    });
    let mesh = mesh.otherwise(move |command, args, _| {
        others.send(format!("{command}? {}", args.len())).unwrap();
    });
    (mesh.start().unwrap(), hears)
}

fn next(hears: &Receiver<String>) -> String {
    hears.recv_timeout(LONG).unwrap()
}

#[test]
fn commands_for_all_and_for_one_stand_in_one_order() {
    let daemons = daemons();
    let members = three_members(&daemons);
    let meshes = members.each_ref().map(mesh);
    let second = Dest::Member(members[1].group.incarnation());
    for number in 0..50 {
        for (mesh, _) in &meshes {
            mesh.send(Dest::All, "say", ["all".to_owned(), number.to_string()]).unwrap();
            mesh.send(second, "say", ["second".to_owned(), number.to_string()]).unwrap();
        }
    }
    meshes[0].0.send(Dest::All, "end", [""; 0]).unwrap();
    let heard = meshes.each_ref().map(|(_, hears)| {
        let heard = std::iter::repeat_with(|| next(hears));
        heard.take_while(|heard| heard != "end? 0").collect::<Vec<_>>()
    });
    let for_all = |heard: &[String]| {
        heard.iter().filter(|heard| heard.starts_with("all")).cloned().collect::<Vec<_>>()
    };
    // What the others send may come after the end, which is nobody's last.
    assert_eq!(heard[0], for_all(&heard[1]));
    assert_eq!(heard[0], heard[2]);
    assert!(heard[1].len() > heard[0].len());
}

#[test]
fn a_command_to_one_that_is_gone_is_an_error_at_once_and_a_panic_ends_nothing() {
    let cluster = daemons();
    let [one, two, _three] = three_members(&cluster);
    let (mesh, hears) = mesh(&one);
    let gone = two.group.incarnation();
    two.node.shutdown(LONG).unwrap();
    eventually("it is gone", || one.group.members().len() == 2);
    let error = mesh.send(Dest::Member(gone), "say", ["x"]).unwrap_err();
    assert!(matches!(error, Error::NoResponders { .. }), "{error}");
    let error = mesh.ping(gone, LONG).wait().unwrap_err();
    assert!(matches!(error, Error::NoResponders { .. }), "{error}");
    mesh.send(Dest::All, "say", ["panic"]).unwrap();
    mesh.send(Dest::Member(one.group.incarnation()), "say", ["on"]).unwrap();
    assert_eq!(next(&hears), "on");
    assert_eq!(mesh.stats().panicked, 1);
}

#[test]
fn pings_are_answered_and_the_last_answer_is_kept_as_long_as_the_member_is_there() {
    let cluster = cluster();
    let [one, two, three] = three_members(&cluster);
    let (mesh, _hears) = mesh(&one);
    let (second, third) = (two.group.incarnation(), three.group.incarnation());
    assert_eq!(mesh.last_pong(second), None);
    for member in [second, third, one.group.incarnation()] {
        let round_trip = mesh.ping(member, LONG).wait().unwrap();
        let pong = mesh.last_pong(member).unwrap();
        assert_eq!(pong.round_trip, round_trip);
    }
    assert_eq!(mesh.last_pong(second).unwrap().name.to_string(), name(&two.group));
    // A member that does not answer is found out at the view.
    cluster.pause(&name(&two.group)).unwrap();
    let unanswered = mesh.ping(second, LONG);
    sent(&one, &cluster);
    cluster.crash("d2").unwrap();
    let error = unanswered.wait().unwrap_err();
    assert!(matches!(error, Error::ServerDeparted(_)), "{error}");
    eventually("it is gone", || one.group.members().len() == 2);
    assert_eq!(mesh.last_pong(second), None);
    assert!(mesh.last_pong(third).is_some());
}

#[test]
fn workers_keep_the_order_of_each_sender() {
    let daemons = daemons();
    let [one, two, three] = three_members(&daemons);
    let (heard, hears) = channel();
    let _mesh = one
        .group
        .mesh()
        .on("say", move |args, cx| heard.send((cx.from(), args[0].clone())).unwrap())
        .workers(3)
        .start()
        .unwrap();
    let senders = [&two, &three].map(|member| mesh(member).0);
    for number in 0..100 {
        for sender in &senders {
            sender.send(Dest::All, "say", [number.to_string()]).unwrap();
        }
    }
    let all: Vec<_> = (0..200).map(|_| hears.recv_timeout(LONG).unwrap()).collect();
    for sender in [&two, &three].map(|member| name(&member.group)) {
        let numbers = all.iter().filter(|(from, _)| *from == sender);
        let numbers: Vec<u32> = numbers.map(|(_, number)| number.parse().unwrap()).collect();
        assert_eq!(numbers, (0..100).collect::<Vec<_>>());
    }
}
