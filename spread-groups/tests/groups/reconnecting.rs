use std::time::Duration;

use spread::{Mailbox, Message};
use spread_daemon::Daemon;
use spread_groups::{Node, Standing};

use crate::support::*;

#[test]
fn a_group_that_is_left_without_a_connection_is_not_joined_again() {
    let daemon = Daemon::builder().start().unwrap();
    let port = daemon.socket_addr().port();
    let node = Node::connect(Mailbox::builder(daemon.address())).unwrap();
    let [stays, goes] = ["stays", "goes"].map(|name| {
        let group = node.group(name).unwrap().join().unwrap();
        group.ready().wait().unwrap();
        group
    });
    daemon.stop();
    let standing = || stays.status().wait().unwrap().standing;
    eventually("the node has lost the daemon", || standing() != Standing::Ready);
    goes.leave();
    assert!(goes.ready().wait().is_err());
    let daemon = Daemon::builder().port(port).start().unwrap();
    eventually("the node is back", || standing() == Standing::Ready);
    for (group, members) in [("stays", 2), ("goes", 1)] {
        // Of its own, because the node says more to the group that it stays in.
        let mut watcher = Mailbox::connect(daemon.address()).unwrap();
        watcher.join(group).unwrap();
        // The member of the first group says something to the watcher in it.
        let view = loop {
            match watcher.receive_timeout(LONG).unwrap() {
                Some(Message::Membership(view)) if view.group == group => break view,
                Some(_) => {}
                None => panic!("no view of {group}"),
            }
        };
        assert_eq!(view.members.len(), members, "{group}");
    }
    node.shutdown(Duration::from_secs(5)).unwrap();
}
