//! As many mailboxes as a process can have.

mod support;

use spread::{Error, Mailbox, Service};
use spread_daemon::Daemon;
use support::{Expect, builder, is_installed_library};

/// Mailboxes that the C library has room for.
const QUOTA: usize = 1024;

/// Has the process open as many descriptors as it may; returns how many.
fn descriptors() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit is readable and writable through both calls.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        limit.rlim_cur = limit.rlim_max.min(10_000);
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
    }
    usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX)
}

#[test]
fn one_mailbox_too_many_is_told_as_such_and_the_others_go_on() {
    // Both ends of each are in this process.
    if descriptors() < 2 * QUOTA + 100 {
        eprintln!("not tested: there are too few descriptors");
        return;
    }
    let daemon = Daemon::builder().max_sessions(2 * QUOTA).start().unwrap();
    let connect = || builder(daemon.address()).connect();
    let mut mailboxes: Vec<Mailbox> = (0..QUOTA).map(|_| connect().unwrap()).collect();
    match connect() {
        Ok(another) if !is_installed_library() => mailboxes.push(another),
        Err(Error::TooManySessions) if is_installed_library() => {}
        other => panic!("{other:?}"),
    }
    let last = mailboxes.pop().unwrap();
    last.disconnect().unwrap();
    mailboxes.push(connect().unwrap());
    for mailbox in &mut mailboxes {
        mailbox.multicast(Service::Fifo, mailbox.private_group(), b"here").unwrap();
        assert_eq!(mailbox.next_regular().payload(), b"here");
    }
}
