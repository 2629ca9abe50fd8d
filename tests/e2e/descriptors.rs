//! A mailbox is a descriptor among those of the process: how it is left.

use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use crate::support::{TestDaemon, block_on, on_each_transport};
use mio::{Interest, Poll, Token};
use spread::AsyncMailbox;

on_each_transport!(
    no_other_program_inherits_a_mailbox,
    whoever_waits_for_a_mailbox_leaves_it_blocking,
);

/// What fcntl(2) tells of a descriptor, -1 if it is not open.
fn fcntl(fd: RawFd, command: libc::c_int) -> libc::c_int {
    // SAFETY: commands that read flags take no pointer.
    unsafe { libc::fcntl(fd, command) }
}

fn no_other_program_inherits_a_mailbox(daemon: TestDaemon) {
    let alice = daemon.connect("ali");
    let flags = fcntl(alice.as_raw_fd(), libc::F_GETFD);
    assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
}

fn whoever_waits_for_a_mailbox_leaves_it_blocking(daemon: TestDaemon) {
    // On one that does not block, the C library tries again and again.
    let blocks = |fd| fcntl(fd, libc::F_GETFL) & libc::O_NONBLOCK == 0;
    let mut alice = daemon.connect("ali");
    let fd = alice.as_raw_fd();
    assert!(blocks(fd), "connected");
    assert_eq!(alice.try_receive().unwrap(), None);
    assert_eq!(alice.receive_timeout(Duration::from_millis(1)).unwrap(), None);
    assert!(blocks(fd), "received from");
    let poll = Poll::new().unwrap();
    poll.registry().register(&mut alice, Token(0), Interest::READABLE).unwrap();
    assert!(blocks(fd), "watched by mio");
    poll.registry().deregister(&mut alice).unwrap();

    block_on(async {
        let mut alice = AsyncMailbox::new(alice).unwrap();
        let nothing = tokio::time::timeout(Duration::from_millis(1), alice.receive()).await;
        assert!(nothing.is_err() && blocks(fd), "watched by tokio");
    });
}
