//! Many clients at once.

mod support;

use spread_daemon::Daemon;
use spread_wire::handshake::Connect;
use spread_wire::{Cause, Delivery, Name, Request};
use support::client::Client;

/// Returns a client without membership messages.
fn quiet(daemon: &Daemon, name: &str) -> Client {
    let mut connect = Connect::new(Some(name.parse().unwrap()));
    connect.membership = false;
    Client::try_connect(daemon.socket_addr(), connect).unwrap()
}

/// Returns how many sessions this process has file descriptors for, both ends of each.
fn sessions(wanted: usize) -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find(|line| line.starts_with("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().nth(3)?.parse::<usize>().ok());
    wanted.min((soft.unwrap_or(1024).saturating_sub(100)) / 2)
}

#[test]
fn two_thousand_sessions_get_every_message() {
    const MESSAGES: usize = 50;
    let count = sessions(2000);
    let daemon = Daemon::builder().max_sessions(count + 1).start().unwrap();
    let group = [Name::new("crowd").unwrap()];
    let mut clients: Vec<Client> = (0..count)
        .map(|number| {
            let mut client = quiet(&daemon, &format!("c{number}"));
            client.request(&Request::Join(group[0]));
            client
        })
        .collect();
    clients.iter_mut().for_each(|client| assert!(client.receive_until_handled().is_empty()));
    let mut sender = quiet(&daemon, "sender");
    for number in 0..MESSAGES {
        sender.multicast("crowd", &number.to_le_bytes());
    }
    for client in &mut clients {
        for number in 0..MESSAGES {
            assert_eq!(client.receive_body(), number.to_le_bytes());
        }
    }
    let status = daemon.status().unwrap();
    assert_eq!((status.sessions.len(), status.members()), (count + 1, count));
    assert_eq!((status.totals.cut_off, status.queued_bytes), (0, 0));
}

#[test]
fn five_hundred_members_are_in_one_view() {
    const MEMBERS: usize = 500;
    let daemon = Daemon::builder().max_sessions(MEMBERS + 1).start().unwrap();
    // More than these need not hear of all views on the way.
    let mut watcher = Client::connect(daemon.socket_addr(), "a-watcher");
    watcher.join("crowd");
    let mut members: Vec<Client> = (1..MEMBERS)
        .map(|number| {
            let mut member = quiet(&daemon, &format!("m{number}"));
            member.request(&Request::Join(Name::new("crowd").unwrap()));
            assert_eq!(watcher.receive_view(), ("crowd".to_owned(), Cause::Join));
            member
        })
        .collect();
    watcher.multicast("crowd", b"to all of you");
    members.iter_mut().for_each(|m| assert_eq!(m.receive_body(), b"to all of you"));
    let last = members.pop().unwrap();
    watcher.receive_body();
    drop(last);
    let frame = watcher.receive().unwrap();
    let Delivery::View { members, cause, .. } = Delivery::parse(&frame).unwrap() else { panic!() };
    assert_eq!((members.len(), cause), (MEMBERS - 1, Cause::Disconnect));
}
