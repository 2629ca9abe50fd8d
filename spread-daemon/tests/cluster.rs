//! Several daemons in one process: what clients see when they part and merge.

mod support;

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use spread_daemon::{Cluster, ClusterError, StartError};
use spread_wire::handshake::Connect;
use spread_wire::{
    Cause, Delivery, Frame, GroupId, Groups, Limits, Multicast, Name, Request, Service, ServiceType,
};
use support::client::Client;
use support::transcript::{Side, Transcript};

fn three() -> Cluster {
    Cluster::builder().daemons(["d1", "d2", "d3"]).start().unwrap()
}

fn connect(cluster: &Cluster, daemon: &str, name: &str) -> Client {
    Client::connect(cluster.socket_addr(daemon).unwrap(), name)
}

/// Returns a member of `team` at each of the three daemons, which have seen each other.
fn team(cluster: &Cluster) -> [Client; 3] {
    let mut team: Vec<Client> = Vec::new();
    for (daemon, name) in [("d1", "ann"), ("d2", "bob"), ("d3", "cat")] {
        let mut client = connect(cluster, daemon, name);
        client.join("team");
        team.iter_mut().for_each(|c| assert_eq!(c.receive_view().1, Cause::Join));
        team.push(client);
    }
    team.try_into().unwrap_or_else(|_| panic!("three clients"))
}

/// Returns the next thing that a client is told, in words; views without their group.
fn told(client: &mut Client) -> String {
    let frame = client.receive().expect("the daemon has closed");
    let names = |names: Vec<Name>| {
        let names: Vec<_> =
            names.iter().map(|n| n.private_name().unwrap_or_default().to_owned()).collect();
        names.join(" ")
    };
    match Delivery::parse(&frame).unwrap() {
        Delivery::Regular(m) => String::from_utf8(m.body.to_vec()).unwrap(),
        Delivery::Transitional { .. } => "signal".to_owned(),
        Delivery::View { cause, members, body, .. } => {
            let mut sets: Vec<String> = body.vs_sets.iter().cloned().map(names).collect();
            sets.sort();
            let members = names(members.iter().collect());
            format!("{cause:?} {members} ({})", sets.join("|"))
        }
        other => format!("{other:?}"),
    }
}

fn send(client: &mut Client, service: Service, body: &str) {
    let groups = [Name::new("team").unwrap()];
    client.request(&Request::multicast(service, &groups, body.as_bytes()));
}

/// What a daemon told, without what differs from one cluster to another: views
/// carry the number under which the configuration in their id was first seen,
/// and their sets in the order of their names.
fn comparable(frame: &Frame, configurations: &mut Vec<(i32, i32)>) -> String {
    let mut id = |id: GroupId| {
        let configuration = (id.proc_id, id.time);
        let place = configurations.iter().position(|known| *known == configuration);
        let place = place.unwrap_or_else(|| {
            configurations.push(configuration);
            configurations.len() - 1
        });
        (place, id.index)
    };
    match Delivery::parse(frame).unwrap() {
        Delivery::View { group, cause, members, body } => {
            let own = body.vs_sets[body.my_vs_set].clone();
            let mut sets = body.vs_sets;
            sets.sort();
            format!("{group} {cause:?} {members:?} {:?} {sets:?} {own:?}", id(body.group_id))
        }
        Delivery::Transitional { group, group_id } => format!("{group} ends {:?}", id(group_id)),
        _ => format!("{:?}", frame.as_bytes()),
    }
}

#[test]
fn clients_see_what_those_of_a_real_cluster_saw() {
    let cluster = three();
    let transcript = Transcript::load("cluster");
    let mut clients: HashMap<String, Client> = HashMap::new();
    let mut requests: HashMap<String, VecDeque<Frame>> = HashMap::new();
    let mut got: HashMap<String, Vec<Frame>> = HashMap::new();
    for call in &transcript.calls {
        let who = call.who.clone();
        match call.call.as_str() {
            "connect" => {
                let recorded = transcript.connections.iter().find(|c| c.client == who).unwrap();
                let asked = decode(&recorded.frames_of(Side::Client), Limits::FROM_CLIENT);
                let daemon = asked[0].header().name.daemon().unwrap().to_owned();
                clients.insert(who.clone(), connect(&cluster, &daemon, &who));
                requests.insert(who, asked.into());
            }
            "join" | "mcast" | "disconnect" => {
                let request = requests.get_mut(&who).unwrap().pop_front().unwrap();
                let client = clients.get_mut(&who).unwrap();
                client.send(request.as_bytes());
                let told = got.entry(who).or_default();
                if request.header().service_type.contains(ServiceType::KILL) {
                    told.extend(std::iter::from_fn(|| client.receive()));
                } else {
                    told.extend(client.receive_until_handled());
                }
            }
            "partition {d1,d2} | {d3}" => cluster.partition(&[&["d1", "d2"], &["d3"]]).unwrap(),
            "merge" => cluster.merge().unwrap(),
            "daemon d2 killed" => cluster.crash("d2").unwrap(),
            "recv" => {}
            other => assert!(other.starts_with("ip "), "what is {other}?"),
        }
    }
    drop(cluster);
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for recorded in &transcript.connections {
        let who = &recorded.client;
        let mut frames = got.remove(who).unwrap();
        frames.extend(std::iter::from_fn(|| clients.get_mut(who).unwrap().receive()));
        let frames: Vec<_> = frames.iter().map(|frame| comparable(frame, &mut ours)).collect();
        let expected = decode(&recorded.frames_of(Side::Daemon), Limits::FROM_DAEMON);
        let expected: Vec<_> = expected.iter().map(|f| comparable(f, &mut theirs)).collect();
        assert_eq!(frames, expected, "what {who} was told");
    }
}

fn decode(bytes: &[u8], limits: Limits) -> Vec<Frame> {
    let mut bytes = BytesMut::from(bytes);
    std::iter::from_fn(|| Frame::decode(&mut bytes, limits).unwrap()).collect()
}

#[test]
fn who_sees_whom_can_change_in_any_way_at_once() {
    let cluster = three();
    let [mut ann, mut bob, mut cat] = team(&cluster);
    cluster.partition(&[&["d1", "d2"]]).unwrap();
    for client in [&mut ann, &mut bob] {
        assert_eq!([told(client), told(client)], ["signal", "Network ann bob (ann bob)"]);
    }
    assert_eq!([told(&mut cat), told(&mut cat)], ["signal", "Network cat (cat)"]);

    cluster.partition(&[&["d2", "d3"], &["d1"]]).unwrap();
    assert_eq!([told(&mut ann), told(&mut ann)], ["signal", "Network ann (ann)"]);
    assert_eq!([told(&mut bob), told(&mut bob)], ["signal", "Network bob cat (bob|cat)"]);
    assert_eq!(told(&mut cat), "Network bob cat (bob|cat)");
}

#[test]
fn a_group_on_one_side_does_not_hear_of_a_partition() {
    let cluster = three();
    let [_ann, _bob, mut cat] = team(&cluster);
    let mut dan = connect(&cluster, "d3", "dan");
    dan.join("apart");
    cluster.partition(&[&["d3"]]).unwrap();
    cluster.merge().unwrap();
    dan.multicast("apart", b"nothing happened");
    assert_eq!(told(&mut dan), "nothing happened");
    assert_eq!(told(&mut cat), "signal");
}

/// Returns the id of the next view, which must be one.
fn view_id(client: &mut Client) -> GroupId {
    let frame = client.receive().expect("the daemon has closed");
    match Delivery::parse(&frame).unwrap() {
        Delivery::View { body, .. } => body.group_id,
        other => panic!("not a view: {other:?}"),
    }
}

#[test]
fn a_group_that_does_not_change_keeps_its_configuration_and_counts_on() {
    let cluster = three();
    let mut ann = connect(&cluster, "d1", "ann");
    ann.request(&Request::Join(Name::new("solo").unwrap()));
    let first = view_id(&mut ann);
    cluster.partition(&[&["d3"]]).unwrap();
    let mut bob = connect(&cluster, "d2", "bob");
    bob.join("solo");
    assert_eq!(view_id(&mut ann), GroupId { index: 2, ..first });
    cluster.merge().unwrap();
    let mut cat = connect(&cluster, "d3", "cat");
    cat.join("solo");
    assert_eq!(view_id(&mut ann), GroupId { index: 3, ..first });
}

#[test]
fn a_private_message_does_not_cross_a_partition() {
    let cluster = three();
    let [mut ann, _bob, mut cat] = team(&cluster);
    cluster.partition(&[&["d3"]]).unwrap();
    let to_cat = [cat.private_group];
    ann.request(&Request::multicast(Service::Agreed, &to_cat, b"into the void"));
    cluster.merge().unwrap();
    ann.request(&Request::multicast(Service::Agreed, &to_cat, b"here"));
    let told: Vec<String> = (0..4).map(|_| told(&mut cat)).collect();
    assert_eq!(told, ["signal", "Network cat (cat)", "Network ann bob cat (ann bob|cat)", "here"]);
}

#[test]
fn what_is_held_is_lost_to_those_who_part_and_kept_by_those_who_stay() {
    let cluster = three();
    let [mut ann, mut bob, mut cat] = team(&cluster);
    cluster.hold("d1", "d3").unwrap();
    send(&mut ann, Service::Agreed, "on its way");
    assert_eq!((told(&mut ann), told(&mut bob)), ("on its way".into(), "on its way".into()));
    // It is behind the other in the order, so cat does not get it yet.
    send(&mut cat, Service::Agreed, "my own");
    assert_eq!((told(&mut ann), told(&mut bob)), ("my own".into(), "my own".into()));
    cluster.partition(&[&["d3"]]).unwrap();
    let expected = ["signal", "my own", "Network cat (cat)"];
    assert_eq!([told(&mut cat), told(&mut cat), told(&mut cat)], expected);
    assert_eq!([told(&mut bob), told(&mut bob)], ["signal", "Network ann bob (ann bob)"]);
}

#[test]
fn a_safe_message_waits_until_all_daemons_have_it() {
    let cluster = three();
    let [mut ann, mut bob, mut cat] = team(&cluster);
    cluster.hold("d1", "d3").unwrap();
    send(&mut ann, Service::Safe, "safe");
    send(&mut bob, Service::Agreed, "behind it");
    cluster.release("d1", "d3").unwrap();
    for client in [&mut ann, &mut bob, &mut cat] {
        assert_eq!([told(client), told(client)], ["safe", "behind it"]);
    }

    cluster.hold("d1", "d3").unwrap();
    send(&mut ann, Service::Safe, "in doubt");
    cluster.partition(&[&["d3"]]).unwrap();
    for client in [&mut ann, &mut bob] {
        let expected = ["signal", "in doubt", "Network ann bob (ann bob)"];
        assert_eq!([told(client), told(client), told(client)], expected);
    }
    assert_eq!([told(&mut cat), told(&mut cat)], ["signal", "Network cat (cat)"]);
}

#[test]
fn those_who_stay_together_tell_each_other_what_one_of_them_has() {
    let cluster = three();
    let [mut ann, mut bob, mut cat] = team(&cluster);
    cluster.hold("d1", "d3").unwrap();
    send(&mut ann, Service::Agreed, "bob has it");
    cluster.partition(&[&["d2", "d3"]]).unwrap();
    for client in [&mut bob, &mut cat] {
        let expected = ["bob has it", "signal", "Network bob cat (bob cat)"];
        assert_eq!([told(client), told(client), told(client)], expected);
    }
    assert_eq!(told(&mut ann), "bob has it");
}

#[test]
fn a_join_after_the_signal_is_told_as_a_view_that_is_about_to_end() {
    let cluster = three();
    let [mut ann, mut bob, _cat] = team(&cluster);
    cluster.hold("d1", "d3").unwrap();
    send(&mut ann, Service::Safe, "in doubt");
    let mut amy = connect(&cluster, "d1", "amy");
    amy.request(&Request::Join(Name::new("team").unwrap()));
    cluster.partition(&[&["d3"]]).unwrap();
    let rest = [
        "Network amy ann bob cat (amy|ann bob|cat)",
        "signal",
        "Network amy ann bob (amy ann bob)",
    ];
    for client in [&mut ann, &mut bob] {
        assert_eq!([told(client), told(client)], ["signal", "in doubt"]);
        assert_eq!([told(client), told(client), told(client)], rest);
    }
    assert_eq!([told(&mut amy), told(&mut amy), told(&mut amy)], rest);
}

#[test]
fn a_crash_ends_sessions_and_a_restart_takes_new_ones_at_the_same_address() {
    let cluster = three();
    let [mut ann, mut bob, mut cat] = team(&cluster);
    let address = cluster.address("d2").unwrap();
    cluster.crash("d2").unwrap();
    bob.wait_for_close();
    for client in [&mut ann, &mut cat] {
        assert_eq!([told(client), told(client)], ["signal", "Network ann cat (ann cat)"]);
    }
    let refused = std::net::TcpStream::connect(cluster.socket_addr("d2").unwrap());
    assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);

    cluster.restart("d2").unwrap();
    assert_eq!(cluster.address("d2").unwrap(), address);
    let mut bob = connect(&cluster, "d2", "bob");
    bob.join("team");
    for client in [&mut ann, &mut cat] {
        assert_eq!(told(client), "Join ann bob cat (bob)");
    }
    send(&mut bob, Service::Safe, "again");
    assert_eq!(told(&mut cat), "again");
}

#[test]
fn a_daemon_comes_back_into_the_part_that_it_crashed_in() {
    let cluster = three();
    let [mut ann, _bob, _cat] = team(&cluster);
    cluster.crash("d2").unwrap();
    cluster.partition(&[&["d1"], &["d2", "d3"]]).unwrap();
    cluster.restart("d2").unwrap();
    let mut bob = connect(&cluster, "d2", "bob");
    bob.request(&Request::Join(Name::new("team").unwrap()));
    assert_eq!(told(&mut bob), "Join bob cat (bob)");
    let told: Vec<String> = (0..4).map(|_| told(&mut ann)).collect();
    assert_eq!(told, ["signal", "Network ann cat (ann cat)", "signal", "Network ann (ann)"]);
}

#[test]
fn a_client_that_is_paused_gets_everything_when_it_is_resumed() {
    let cluster = three();
    let [mut ann, mut bob, _cat] = team(&cluster);
    cluster.pause("#bob#d2").unwrap();
    send(&mut ann, Service::Agreed, "one");
    send(&mut ann, Service::Agreed, "two");
    assert_eq!((told(&mut ann), told(&mut ann)), ("one".into(), "two".into()));
    assert!(!bob.has_input());
    cluster.resume("#bob#d2").unwrap();
    assert_eq!((told(&mut bob), told(&mut bob)), ("one".into(), "two".into()));
}

#[test]
fn a_client_that_is_paused_too_long_is_cut_off() {
    let cluster = Cluster::builder().daemons(["d1", "d2"]).max_session_messages(5).start().unwrap();
    let mut ann = connect(&cluster, "d1", "ann");
    ann.join("team");
    let mut bob = connect(&cluster, "d2", "bob");
    bob.join("team");
    assert_eq!(told(&mut ann), "Join ann bob (bob)");
    cluster.pause("#bob#d2").unwrap();
    for number in 0..6 {
        send(&mut ann, Service::Agreed, &number.to_string());
    }
    let told: Vec<String> = (0..7).map(|_| told(&mut ann)).collect();
    assert_eq!(told, ["0", "1", "2", "3", "4", "5", "Disconnect ann (bob)"]);
    bob.wait_for_close();
}

#[test]
fn a_delayed_client_gets_its_messages_later() {
    const DELAY: Duration = Duration::from_millis(200);
    let cluster = three();
    let [mut ann, mut bob, _cat] = team(&cluster);
    cluster.delay("#bob#d2", DELAY).unwrap();
    let start = Instant::now();
    send(&mut ann, Service::Agreed, "late");
    assert_eq!(told(&mut bob), "late");
    assert!(start.elapsed() >= DELAY);
    assert_eq!(told(&mut ann), "late");
}

#[test]
fn each_daemon_has_names_and_addresses_of_its_own() {
    let cluster = three();
    let ann = connect(&cluster, "d1", "ann");
    let other = connect(&cluster, "d2", "ann");
    assert_eq!((ann.private_group, other.private_group), named("#ann#d1", "#ann#d2"));
    let again = Connect::new(Some("ann".parse().unwrap()));
    assert!(Client::try_connect(cluster.socket_addr("d1").unwrap(), again).is_err());
}

fn named(one: &str, two: &str) -> (Name, Name) {
    (Name::new(one).unwrap(), Name::new(two).unwrap())
}

#[test]
fn what_cannot_be_done_is_told_apart() {
    let cluster = three();
    let is_unknown =
        |result| matches!(result, Err(ClusterError::NoSuchDaemon { name }) if name == "d4");
    assert!(is_unknown(cluster.partition(&[&["d1", "d4"]])));
    assert!(is_unknown(cluster.crash("d4")));
    assert!(is_unknown(cluster.hold("d1", "d4")));
    assert!(is_unknown(cluster.address("d4").map(drop)));
    let twice = cluster.partition(&[&["d1", "d2"], &["d2"]]);
    assert!(matches!(twice, Err(ClusterError::NamedTwice { name }) if name == "d2"));
    assert!(matches!(cluster.restart("d1"), Err(ClusterError::Up { .. })));
    cluster.crash("d1").unwrap();
    assert!(matches!(cluster.crash("d1"), Err(ClusterError::Down { .. })));
    assert!(matches!(cluster.pause("#nobody#d1"), Err(ClusterError::NoSuchClient { .. })));
    for names in [vec![], vec!["d1", "d1"], vec!["x"; 129]] {
        let start = Cluster::builder().daemons(names).start();
        assert!(matches!(start, Err(StartError::Daemons { .. })));
    }
    let illegal = Cluster::builder().daemons(["fine", "not fine"]).start();
    assert!(matches!(illegal, Err(StartError::IllegalName { name, .. }) if name == "not fine"));
}

#[test]
fn a_partition_comes_after_all_that_a_paused_sender_had_sent() {
    const MESSAGES: u32 = 2000;
    let cluster =
        Cluster::builder().daemons(["d1", "d2"]).max_session_messages(20).start().unwrap();
    let mut ann = connect(&cluster, "d1", "ann");
    ann.join("team");
    let mut bob = connect(&cluster, "d2", "bob");
    bob.join("team");
    assert_eq!(ann.receive_view().1, Cause::Join);
    // Long ones, so that they do not all fit into a socket that nobody reads.
    let mut messages = Vec::new();
    for number in 0..MESSAGES {
        let groups = [Name::new("team").unwrap()];
        let mut body = vec![0; 3000];
        body[..4].copy_from_slice(&number.to_le_bytes());
        messages.extend_from_slice(&ann.encode(&Request::Multicast(Multicast {
            service: Service::Agreed,
            self_discard: true,
            message_type: 0,
            groups: Groups::from(&groups[..]),
            body: &body,
        })));
    }
    // As much as the system takes is sent before the partition.
    ann.stream.set_nonblocking(true).unwrap();
    let mut sent = 0;
    while sent < messages.len() {
        match std::io::Write::write(&mut ann.stream, &messages[sent..]) {
            Ok(len) => sent += len,
            Err(_) => break,
        }
    }
    ann.stream.set_nonblocking(false).unwrap();
    cluster.partition(&[&["d1"], &["d2"]]).unwrap();
    let whole = sent / (messages.len() / MESSAGES as usize);
    assert!(whole > 20, "{whole} messages were sent");
    for number in 0..whole as u32 {
        let body = bob.receive_body();
        assert_eq!(body[..4], number.to_le_bytes());
    }
    assert_eq!(told(&mut bob), "signal");
    assert_eq!(told(&mut bob), "Network bob (bob)");
}

#[test]
fn when_a_cluster_has_settled_everything_has_come() {
    let cluster = three();
    let [mut ann, mut bob, mut cat] = team(&cluster);
    for number in 0..100 {
        send(&mut ann, Service::Agreed, &number.to_string());
    }
    cluster.settle().unwrap();
    for client in [&mut ann, &mut bob, &mut cat] {
        for number in 0..100 {
            assert_eq!(told(client), number.to_string());
        }
    }
}

#[test]
fn a_cluster_settles_only_when_a_slow_client_has_taken_its_messages() {
    const MESSAGES: usize = 100;
    let cluster = three();
    let mut ann = connect(&cluster, "d1", "ann");
    let mut bob = connect(&cluster, "d2", "bob");
    bob.join("team");
    // More than the sockets hold.
    let body = "x".repeat(140_000);
    (0..MESSAGES).for_each(|_| send(&mut ann, Service::Agreed, &body));
    std::thread::scope(|scope| {
        let settling = scope.spawn(|| cluster.settle());
        for number in 0..MESSAGES {
            if number == MESSAGES / 4 {
                assert!(!settling.is_finished(), "three quarters do not fit into a socket");
            }
            assert_eq!(told(&mut bob).len(), body.len());
        }
        settling.join().unwrap().unwrap();
    });
}

#[test]
fn a_severed_client_is_told_nothing_and_nothing_of_it_comes_until_it_is_disconnected() {
    let cluster = three();
    let [mut ann, mut bob, mut cat] = team(&cluster);
    cluster.sever("#bob#d2").unwrap();
    send(&mut bob, Service::Agreed, "lost");
    send(&mut ann, Service::Agreed, "one");
    bob.finish();
    cluster.settle().unwrap();
    send(&mut ann, Service::Agreed, "two");
    for client in [&mut ann, &mut cat] {
        assert_eq!([told(client), told(client)], ["one", "two"]);
    }
    cluster.settle().unwrap();
    assert!(!bob.has_input());
    cluster.disconnect("#bob#d2").unwrap();
    assert_eq!(told(&mut ann), "Disconnect ann cat (bob)");
    assert!(bob.receive().is_none());
    let gone = cluster.disconnect("#bob#d2").unwrap_err();
    assert!(matches!(gone, ClusterError::NoSuchClient { .. }));
}
