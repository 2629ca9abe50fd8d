//! Mailboxes that end: killed, forked, or never there.
//!
//! The tests speak of descriptor numbers after their end, so they run one at a
//! time.

mod common;

use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};

use common::*;
use libspread::*;
use spread_wire::ByteOrder;

fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_open(fd: i32) -> bool {
    // SAFETY: takes numbers only.
    unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
}

fn kill(mbox: mailbox) {
    // SAFETY: takes a number only.
    unsafe { SP_kill(mbox) }
}

#[test]
fn a_number_that_is_no_mailbox_is_left_alone() {
    let _alone = alone();
    for number in [-1, 0, 1, 2, 300, 1 << 20, i32::MIN, i32::MAX] {
        let was_open = is_open(number);
        // SAFETY: takes a number only.
        unsafe {
            assert_eq!(SP_disconnect(number), ILLEGAL_SESSION);
            assert_eq!(SP_poll(number), ILLEGAL_SESSION);
        }
        kill(number);
        assert_eq!(multicast(number, SAFE_MESS, &["g"], 0, b""), ILLEGAL_SESSION);
        assert_eq!(receive(number, 0, 1, 1).code, ILLEGAL_SESSION);
        assert_eq!(is_open(number), was_open, "{number}");
    }
}

#[test]
fn a_killed_mailbox_is_closed_and_none_any_more() {
    let _alone = alone();
    for kind in KINDS {
        let daemon = FakeDaemon::start(kind, |mut stream| stream.wait_for_end());
        let client = daemon.client();
        let mbox = client.mbox;
        assert!(is_open(mbox));
        drop(client);
        assert!(!is_open(mbox));
        daemon.finish();
        assert_eq!(receive(mbox, 0, 1, 1).code, ILLEGAL_SESSION);
    }
}

#[test]
fn a_descriptor_does_not_survive_exec() {
    let _alone = alone();
    let daemon = FakeDaemon::start(Kind::Tcp, |mut stream| stream.wait_for_end());
    let client = daemon.client();
    // SAFETY: takes numbers only.
    let flags = unsafe { libc::fcntl(client.mbox, libc::F_GETFD) };
    assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
}

#[test]
fn a_kill_wakes_those_who_receive() {
    let _alone = alone();
    for kind in KINDS {
        for half_sent in [0, 20, 60] {
            let daemon = FakeDaemon::start(kind, move |mut stream| {
                let message = regular(ByteOrder::NATIVE, &["g"], b"x");
                stream.write_all(&message[..half_sent]).unwrap();
                stream.wait_for_end();
            });
            let client = daemon.client();
            assert!(half_sent == 0 || client.becomes_readable(PATIENCE));
            let mbox = client.mbox;
            let receivers = [(); 3].map(|()| {
                let (started, has_started) = mpsc::channel();
                let receiver = Background::start(move || {
                    started.send(()).unwrap();
                    receive(mbox, 0, 10, 10).code
                });
                has_started.recv().unwrap();
                receiver
            });
            kill(mbox);
            for receiver in receivers {
                assert!(matches!(receiver.finish(), CONNECTION_CLOSED | ILLEGAL_SESSION));
            }
            assert!(!is_open(mbox));
            std::mem::forget(client);
        }
    }
}

#[test]
fn a_kill_wakes_those_who_send() {
    let _alone = alone();
    for kind in KINDS {
        let (killed, is_killed) = mpsc::channel::<()>();
        // The daemon does not read, so that senders must wait.
        let daemon = FakeDaemon::start(kind, move |_stream| is_killed.recv().unwrap());
        let client = daemon.client();
        let mbox = client.mbox;
        let sender = Background::start(move || {
            loop {
                match multicast(mbox, FIFO_MESS, &["g"], 0, &[0; 100_000]) {
                    100_000 => {}
                    code => return code,
                }
            }
        });
        while client.is_writable() {
            std::thread::yield_now();
        }
        assert!(!sender.is_done());
        kill(mbox);
        assert!(matches!(sender.finish(), CONNECTION_CLOSED | ILLEGAL_SESSION));
        killed.send(()).unwrap();
        std::mem::forget(client);
    }
}

#[test]
fn a_number_is_not_used_again_while_someone_is_in() {
    let _alone = alone();
    for _ in 0..50 {
        let first_daemon = FakeDaemon::start(Kind::Tcp, |mut stream| {
            let message = regular(ByteOrder::NATIVE, &["g"], b"x");
            stream.write_all(&message[..60]).unwrap();
            stream.wait_for_end();
        });
        let second_daemon = FakeDaemon::start(Kind::Tcp, |mut s| s.wait_for_end());
        let first = first_daemon.client();
        assert!(first.becomes_readable(PATIENCE));
        let mbox = first.mbox;
        let receiver = Background::start(move || receive(mbox, 0, 1, 1).code);
        // The receiver is in once it has taken the half message.
        while first.is_readable() {
            std::thread::yield_now();
        }
        drop(first);
        let second = second_daemon.client();
        assert_eq!(receiver.finish(), ILLEGAL_SESSION);
        assert_eq!(second.poll(), 0);
        assert_eq!(second.join("g"), 0);
    }
}

#[test]
fn a_descriptor_closed_by_hand_does_not_close_its_successor() {
    let _alone = alone();
    let first_daemon = FakeDaemon::start(Kind::Tcp, |mut s| s.wait_for_end());
    let second_daemon = FakeDaemon::start(Kind::Tcp, |mut s| s.wait_for_end());
    let first = first_daemon.client();
    let mbox = first.mbox;
    // SAFETY: takes a number only. What it closes is the library's, which is
    // what the test is about.
    unsafe { libc::close(mbox) };
    std::mem::forget(first);
    first_daemon.finish();

    // Takes all lower numbers, so that the next one is the same again.
    let mut taken = Vec::new();
    while taken.last() != Some(&mbox) {
        // SAFETY: takes a number only.
        taken.push(unsafe { libc::dup(2) });
    }
    // SAFETY: all were opened above.
    unsafe { libc::close(mbox) };
    let second = second_daemon.client();
    assert_eq!(second.mbox, mbox);
    assert_eq!(second.join("g"), 0);
    drop(second);
    assert!(!is_open(mbox));
    for fd in &taken[..taken.len() - 1] {
        // SAFETY: as above.
        unsafe { libc::close(*fd) };
    }
}

#[test]
fn a_forked_child_uses_the_mailbox_and_its_kill_harms_nothing() {
    let _alone = alone();
    let daemon = FakeDaemon::start(Kind::Tcp, |mut stream| stream.wait_for_end());
    let client = daemon.client();
    // SAFETY: the child calls nothing but the library, which takes locks that
    // no other thread holds, and ends without destructors.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let is_used = client.poll() == 0 && client.join("g") == 0;
        kill(client.mbox);
        let is_ended = !is_open(client.mbox) && client.poll() == ILLEGAL_SESSION;
        // SAFETY: ends the child.
        unsafe { libc::_exit(if is_used && is_ended { 0 } else { 1 }) };
    }
    assert!(child > 0);
    let mut status = -1;
    // SAFETY: waits for the child above, and writes an int.
    unsafe { libc::waitpid(child, &mut status, 0) };
    assert_eq!(status, 0);
    assert_eq!(client.join("g"), 0, "the parent's session goes on");
}

#[test]
fn a_kill_ends_one_who_receives_and_ten_who_send() {
    let _alone = alone();
    let daemon = daemon();
    for _ in 0..5 {
        let client = Client::connect(&daemon.address, "").unwrap();
        let (mbox, own) = (client.mbox, client.private_group.clone());
        let (arrived, has_arrived) = mpsc::channel();
        let receiver = Background::start(move || {
            loop {
                match receive(mbox, 0, 10, 2000).code {
                    1000 => drop(arrived.send(())),
                    code => return code,
                }
            }
        });
        let senders = [(); 10].map(|()| {
            let own = own.clone();
            Background::start(move || {
                loop {
                    match multicast(mbox, FIFO_MESS, &[&own], 0, &[7; 1000]) {
                        1000 => {}
                        code => return code,
                    }
                }
            })
        });
        (0..100).for_each(|_| has_arrived.recv_timeout(PATIENCE).unwrap());
        kill(mbox);
        for code in [receiver].into_iter().chain(senders).map(Background::finish) {
            assert!(matches!(code, CONNECTION_CLOSED | ILLEGAL_SESSION | NET_ERROR_ON_SESSION));
        }
        assert!(!is_open(mbox));
        std::mem::forget(client);
    }
}

#[test]
fn the_disposition_of_a_broken_pipe_is_left_alone() {
    let _alone = alone();
    /// How SIGPIPE is handled, after it has been set to the default.
    fn disposition(set: bool) -> libc::sighandler_t {
        // SAFETY: all zeros is the default without flags.
        let (mut now, default): (libc::sigaction, libc::sigaction) =
            unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        let new = if set { &raw const default } else { std::ptr::null() };
        // SAFETY: what is given is whole, what is asked for has room.
        unsafe { libc::sigaction(libc::SIGPIPE, new, &mut now) };
        now.sa_sigaction
    }
    let before = disposition(true);
    let daemon = FakeDaemon::start(Kind::Unix, |_| {});
    let client = daemon.client();
    daemon.finish();
    // With the default a signal would end the process.
    while client.multicast(FIFO_MESS, &["g"], 0, b"x") == 1 {}
    assert_eq!(disposition(false), libc::SIG_DFL);
    // SAFETY: what the runtime of Rust had set.
    unsafe { libc::signal(libc::SIGPIPE, before) };
}
