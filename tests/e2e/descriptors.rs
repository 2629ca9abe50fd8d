//! A mailbox is a descriptor among those of the process: how it is left.

use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use crate::support::{TestDaemon, block_on, on_each_transport};
use mio::{Interest, Poll, Token};
use spread::AsyncMailbox;

on_each_transport!(
    no_other_program_inherits_a_mailbox,
    whoever_waits_for_a_mailbox_leaves_it_blocking,
    a_dead_daemon_is_noticed_within_a_minute_unless_told_otherwise,
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

fn a_dead_daemon_is_noticed_within_a_minute_unless_told_otherwise(daemon: TestDaemon) {
    let options = |builder: spread::Builder| {
        let mailbox = builder.connect().unwrap();
        let socket = socket2::SockRef::from(&mailbox);
        let times = socket.tcp_keepalive_time().and_then(|idle| {
            Ok((
                idle.as_secs(),
                socket.tcp_keepalive_interval()?.as_secs(),
                socket.tcp_keepalive_retries()?,
            ))
        });
        (socket.keepalive().unwrap(), times.ok())
    };
    let builder = || crate::support::builder(daemon.address());
    let is_tcp = daemon.address().contains('@');
    if !is_tcp {
        assert_eq!(options(builder()), (false, None));
        return;
    }
    assert_eq!(options(builder()), (true, Some((30, 6, 3))));
    let short = Duration::from_millis(4900);
    assert_eq!(options(builder().keepalive(short)), (true, Some((1, 1, 3))));
    assert!(!options(builder().keepalive(None)).0);
    for wrong in [Duration::ZERO, Duration::from_secs(3), Duration::MAX] {
        let error = builder().keepalive(wrong).connect().unwrap_err();
        assert!(matches!(error, spread::Error::IllegalKeepalive { time } if time == wrong));
    }
}
