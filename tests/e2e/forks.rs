//! A child of fork(2) leaves the mailboxes of its parent alone.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::support::{
    Expect, TestDaemon, Transport, block_on, builder, connect_async, on_each_transport, unique,
    wait_readable,
};
use spread::{Backoff, Error, Interrupter, Mailbox, Message, Service, Session, SessionEvent};

on_each_transport!(
    a_child_is_refused_and_its_parent_goes_on,
    a_child_does_not_end_what_is_its_parents,
);

fn a_child_is_refused_and_its_parent_goes_on(daemon: TestDaemon) {
    let mut alice = daemon.connect("ali");
    let group = unique("g");
    alice.join(&group).unwrap();
    alice.view_of(&group, 1);
    alice.multicast(Service::Agreed, &group, b"before").unwrap();

    type Call = fn(&mut Mailbox) -> Result<(), Error>;
    let calls: [Call; 6] = [
        |mailbox| mailbox.receive().map(drop),
        |mailbox| mailbox.receive_timeout(Duration::ZERO).map(drop),
        |mailbox| mailbox.try_receive().map(drop),
        |mailbox| mailbox.multicast(Service::Agreed, "g", b"x"),
        |mailbox| mailbox.join("g"),
        |mailbox| mailbox.leave("g"),
    ];
    let refused = in_child(|| {
        calls.iter().filter(|call| matches!(call(&mut alice), Err(Error::Forked))).count()
    });
    assert_eq!(refused, calls.len());

    assert_eq!(alice.next_regular().payload(), b"before");
    alice.multicast(Service::Agreed, &group, b"after").unwrap();
    assert_eq!(alice.next_regular().payload(), b"after");
    alice.disconnect().unwrap();
}

fn a_child_does_not_end_what_is_its_parents(daemon: TestDaemon) {
    type End = fn(Mailbox) -> bool;
    let ends: [End; 4] = [
        |mailbox| matches!(mailbox.disconnect(), Err(Error::Forked)),
        |mailbox| {
            mailbox.kill();
            true
        },
        |mailbox| {
            mailbox.split().0.shut_down();
            true
        },
        |mailbox| {
            drop(mailbox);
            true
        },
    ];
    for end in ends {
        let mut alice = Some(daemon.connect("ali"));
        // The child takes its copy.
        assert_eq!(in_child(|| alice.take().is_some_and(end).into()), 1);
        let mut alice = alice.expect("the parent's mailbox");
        alice.multicast(Service::Agreed, alice.private_group(), b"still here").unwrap();
        assert_eq!(alice.next_regular().payload(), b"still here");
    }
}

#[test]
fn a_child_leaves_the_session_of_its_parent_alone() {
    let daemon = TestDaemon::start(Transport::Unix);
    let builder = builder(daemon.address()).private_name(unique("ali"));
    let mut alice = builder.session(Backoff::default()).unwrap();
    type Call = fn(&mut Session) -> Result<(), Error>;
    let calls: [Call; 6] = [
        |session| session.receive().map(drop),
        |session| session.receive_timeout(Duration::ZERO).map(drop),
        |session| session.try_receive().map(drop),
        |session| session.multicast(Service::Agreed, "g", b"x"),
        |session| session.join("g"),
        |session| session.leave("g"),
    ];
    let refused = in_child(|| {
        calls.iter().filter(|call| matches!(call(&mut alice), Err(Error::Forked))).count()
    });
    assert_eq!(refused, calls.len());

    type End = fn(Session) -> bool;
    let ends: [End; 3] = [
        |session| matches!(session.disconnect(), Err(Error::Forked)),
        |session| {
            session.split().0.shut_down();
            true
        },
        |session| {
            drop(session);
            true
        },
    ];
    for end in ends {
        let mut copy = Some(alice);
        assert_eq!(in_child(|| copy.take().is_some_and(end).into()), 1);
        alice = copy.expect("the parent's session");
        let me = alice.private_group().expect("a connection");
        alice.multicast(Service::Fifo, me, b"still here").unwrap();
        // Its descriptor has to tell that this has come, perhaps in parts.
        let event = loop {
            wait_readable(&alice);
            if let Some(event) = alice.try_receive().unwrap() {
                break event;
            }
        };
        assert!(matches!(event, SessionEvent::Message(_)), "{event:?}");
    }
}

#[test]
fn dropping_an_async_mailbox_in_a_child_leaves_the_runtime_of_its_parent_alone() {
    let daemon = TestDaemon::start(Transport::Unix);
    block_on(async {
        let alice = connect_async(daemon.address()).await;
        let bob = connect_async(daemon.address()).await;
        let mut alice = Some(alice);
        let dropped = in_child(|| alice.take().map(drop).is_some().into());
        assert_eq!(dropped, 1);
        let mut alice = alice.expect("the parent's mailbox");
        // The runtime has to be told that this has come.
        let nothing = tokio::time::timeout(Duration::from_millis(1), alice.receive()).await;
        assert!(nothing.is_err(), "{nothing:?}");
        let me = alice.private_group();
        let (answer, sent) =
            tokio::join!(alice.receive(), bob.multicast(Service::Fifo, me, b"still here"),);
        sent.unwrap();
        let Message::Regular(message) = answer.unwrap() else { panic!("not a message") };
        assert_eq!(message.payload(), b"still here");
    });
}

#[test]
fn a_child_is_refused_an_async_send_and_leaves_what_is_buffered_to_its_parent() {
    let daemon = TestDaemon::start(Transport::Unix);
    block_on(async {
        let mut alice = connect_async(daemon.address()).await;
        let me = alice.private_group();
        alice.multicast_buffered(Service::Fifo, me, b"buffered").await.unwrap();
        let refused = in_child(|| {
            let mut context = Context::from_waker(Waker::noop());
            let mut send = pin!(alice.multicast_buffered(Service::Fifo, me, b"x"));
            let send = send.as_mut().poll(&mut context);
            let flush = pin!(alice.flush()).poll(&mut context);
            [send, flush].iter().filter(|p| matches!(p, Poll::Ready(Err(Error::Forked)))).count()
        });
        assert_eq!(refused, 2);
        alice.multicast(Service::Fifo, me, b"plain").await.unwrap();
        for expected in [&b"buffered"[..], b"plain"] {
            let Message::Regular(message) = alice.receive().await.unwrap() else {
                panic!("not a message")
            };
            assert_eq!(message.payload(), expected);
        }
    });
}

#[test]
fn an_interrupt_after_the_end_of_its_mailbox_raises_no_signal() {
    let daemon = TestDaemon::start(Transport::Unix);
    let alice = daemon.connect("ali");
    let interrupter = alice.interrupter().unwrap();
    alice.kill();
    let alive = in_child(|| {
        // SAFETY: the default action needs no handler. It ends the child.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        interrupter.interrupt();
        1
    });
    assert_eq!(alive, 1);
}

#[test]
fn a_child_interrupts_no_receive_of_its_parent() {
    let daemon = TestDaemon::start(Transport::Unix);
    let mut alice = daemon.connect("ali");
    let mut bob = builder(daemon.address()).session(Backoff::default()).unwrap();
    let interrupters = [alice.interrupter().unwrap(), bob.interrupter().unwrap()];
    let count = || interrupters.iter().map(Interrupter::interrupt).count();
    assert_eq!(in_child(count), 2);
    assert!(alice.receive_timeout(Duration::from_millis(10)).unwrap().is_none());
    assert!(bob.receive_timeout(Duration::from_millis(10)).unwrap().is_none());
}

/// Has a child of this process call `count`; returns what it counted.
///
/// Other threads may have held locks at the fork, which nobody releases in the
/// child: so it does nothing else. (Those of the allocator are fit for a fork.)
fn in_child(count: impl FnOnce() -> usize) -> usize {
    // SAFETY: the child calls `count`, which takes no lock of this program's; it
    // ends without running anything of the parent's.
    let child = unsafe { libc::fork() };
    match child {
        -1 => panic!("fork: {}", io::Error::last_os_error()),
        0 => {
            // SAFETY: neither takes a pointer. The alarm ends a child that hangs.
            unsafe {
                libc::alarm(20);
                libc::_exit(count() as i32)
            }
        }
        _ => {}
    }
    let mut status = 0;
    loop {
        // SAFETY: `status` is writable through the call.
        match unsafe { libc::waitpid(child, &mut status, 0) } {
            -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            -1 => panic!("waitpid: {}", io::Error::last_os_error()),
            _ => break,
        }
    }
    assert!(libc::WIFEXITED(status), "the child was killed: {status:#x}");
    libc::WEXITSTATUS(status) as usize
}
