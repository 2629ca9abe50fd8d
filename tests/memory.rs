//! What a client does when the kernel has no memory for what it sends.
//!
//! This program has a `send` and a `sendmsg` of its own in front of those of the C library, and
//! so decides which of them fail, and how much the others take.
#![cfg(target_os = "linux")]

mod support;

use std::io::IoSlice;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{FutureExt, SinkExt};
use libc::{c_int, c_void, msghdr, size_t, ssize_t};
use spread::{AsyncMailbox, Batch, Error, Library, Mailbox, Outgoing, Service};
use spread_daemon::Daemon;
use support::{Expect, PATIENCE, block_on};

/// The inode of the socket that lacks memory: libspread has a descriptor of its own for it.
static SOCKET: AtomicU64 = AtomicU64::new(0);
/// Bytes that it takes before.
static TAKES: AtomicUsize = AtomicUsize::new(0);
/// How many sends fail then.
static FAILS: AtomicUsize = AtomicUsize::new(0);
/// One test at a time has the statics above.
static TURN: Mutex<()> = Mutex::new(());

/// How many bytes a send may take; `None` if it fails.
fn allowed(fd: c_int, len: usize) -> Option<usize> {
    if FAILS.load(Ordering::SeqCst) == 0 || inode(fd) != SOCKET.load(Ordering::SeqCst) {
        return Some(len);
    }
    let takes = TAKES.load(Ordering::SeqCst).min(len);
    if takes > 0 || len == 0 {
        TAKES.fetch_sub(takes, Ordering::SeqCst);
        return Some(takes);
    }
    FAILS.fetch_sub(1, Ordering::SeqCst);
    // SAFETY: the pointer is to this thread's own errno.
    unsafe { *libc::__errno_location() = libc::ENOBUFS };
    None
}

fn inode(fd: c_int) -> u64 {
    // SAFETY: zeros are a `stat`, which is writable through the call.
    unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        assert_eq!(libc::fstat(fd, &mut stat), 0, "fstat");
        stat.st_ino
    }
}

/// # Safety
///
/// As for `send(2)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn send(fd: c_int, buf: *const c_void, len: size_t, flags: c_int) -> ssize_t {
    let Some(len) = allowed(fd, len) else { return -1 };
    let nowhere = std::ptr::null::<libc::sockaddr>();
    // SAFETY: the buffer has at least `len` bytes, as the caller promises.
    unsafe { libc::syscall(libc::SYS_sendto, fd, buf, len, flags, nowhere, 0) as ssize_t }
}

/// # Safety
///
/// As for `sendmsg(2)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t {
    // SAFETY: the caller promises that the message and its pieces can be read; an `IoSlice` is
    // an `iovec`.
    let pieces = unsafe {
        let message = &*message;
        std::slice::from_raw_parts(message.msg_iov.cast::<IoSlice<'_>>(), message.msg_iovlen as _)
    };
    let whole = pieces.iter().map(|piece| piece.len()).sum();
    match allowed(fd, whole) {
        None => -1,
        // SAFETY: as the caller promises.
        Some(len) if len == whole => unsafe {
            libc::syscall(libc::SYS_sendmsg, fd, message, flags) as ssize_t
        },
        Some(len) => {
            let bytes: Vec<u8> = pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
            let nowhere = std::ptr::null::<libc::sockaddr>();
            // SAFETY: there are more than `len` bytes.
            unsafe {
                libc::syscall(libc::SYS_sendto, fd, bytes.as_ptr(), len, flags, nowhere, 0)
                    as ssize_t
            }
        }
    }
}

/// From here on the socket takes so many bytes, and then so many sends fail.
fn lack_memory(socket: RawFd, takes: usize, fails: usize) {
    SOCKET.store(inode(socket), Ordering::SeqCst);
    TAKES.store(takes, Ordering::SeqCst);
    FAILS.store(fails, Ordering::SeqCst);
}

/// All sends that were to fail have failed.
fn have_failed() -> bool {
    FAILS.load(Ordering::SeqCst) == 0
}

fn is_resource<T: std::fmt::Debug>(result: Result<T, Error>) -> bool {
    matches!(&result, Err(error @ Error::Resource(_)) if !error.is_closed())
}

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A sender over each library, and a receiver that its messages go to.
fn on_each_library(test: impl Fn(Mailbox, Mailbox)) {
    let _turn = turn();
    for library in [Library::Native, Library::Sys] {
        let daemon = Daemon::builder().start().unwrap();
        let alice = Mailbox::builder(daemon.address()).library(library).connect().unwrap();
        let bob = Mailbox::connect(daemon.address()).unwrap();
        test(alice, bob);
        assert!(have_failed(), "{library:?}");
    }
}

/// The first bytes of the next messages.
fn received<const N: usize>(mailbox: &mut Mailbox) -> [u8; N] {
    [(); N].map(|()| mailbox.next_regular().payload()[0])
}

fn batch(to: &Mailbox, numbers: std::ops::Range<u8>, len: usize) -> Batch {
    let mut batch = Batch::new();
    for number in numbers {
        batch.push(Service::Fifo, to.private_group(), vec![number; len]).unwrap();
    }
    batch
}

#[test]
fn what_is_buffered_is_sent_when_there_is_memory_again() {
    on_each_library(|alice, mut bob| {
        let socket = alice.as_raw_fd();
        block_on(async {
            let alice = AsyncMailbox::new(alice).unwrap();
            lack_memory(socket, 50, 4);
            for number in 0..3 {
                let (to, payload) = (bob.private_group(), [number; 100]);
                alice.multicast_buffered(Service::Fifo, to, payload).await.unwrap();
            }
            // The mailbox is left alone: it is for its task to send them.
            let received = tokio::task::spawn_blocking(move || received::<3>(&mut bob));
            assert_eq!(received.await.unwrap(), [0, 1, 2]);
            drop(alice);
        });
    });
}

#[test]
fn a_flush_and_a_receive_go_on_without_memory() {
    on_each_library(|alice, mut bob| {
        let socket = alice.as_raw_fd();
        block_on(async {
            let mut alice = AsyncMailbox::new(alice).unwrap();
            lack_memory(socket, 50, 4);
            alice.multicast_buffered(Service::Fifo, bob.private_group(), [7; 100]).await.unwrap();
            assert!(alice.try_receive().unwrap().is_none());
            assert!(alice.receive().now_or_never().is_none());
            assert!(!have_failed());
            alice.flush().await.unwrap();
            assert_eq!(received(&mut bob), [7]);
        });
    });
}

#[test]
fn a_full_buffer_waits_for_memory() {
    on_each_library(|alice, mut bob| {
        let (socket, to) = (alice.as_raw_fd(), bob.private_group());
        block_on(async {
            let mut alice = AsyncMailbox::new(alice).unwrap();
            let receiving = tokio::task::spawn_blocking(move || received::<20>(&mut bob));
            lack_memory(socket, 1000, 3);
            for number in 0..10 {
                let message = Outgoing::new(Service::Fifo, to, vec![number; 100_000]).unwrap();
                alice.feed(message).await.unwrap();
            }
            lack_memory(socket, 1000, 3);
            for number in 10..20 {
                let payload = vec![number; 100_000];
                alice.multicast_buffered(Service::Fifo, to, payload).await.unwrap();
            }
            alice.flush().await.unwrap();
            assert_eq!(receiving.await.unwrap(), std::array::from_fn(|number| number as u8));
        });
    });
}

#[test]
fn an_async_multicast_that_lacks_memory_has_sent_nothing_or_goes_on() {
    on_each_library(|alice, mut bob| {
        let (socket, to) = (alice.as_raw_fd(), bob.private_group());
        block_on(async {
            let alice = AsyncMailbox::new(alice).unwrap();
            lack_memory(socket, 0, 1);
            assert!(is_resource(alice.multicast(Service::Fifo, to, [0; 3000]).await));
            lack_memory(socket, 100, 3);
            alice.multicast(Service::Fifo, to, [1; 3000]).await.unwrap();
            assert!(have_failed());
            lack_memory(socket, 100, 1);
            let mut batch = batch(&bob, 2..5, 100);
            assert!(is_resource(alice.multicast_batch(&mut batch).await));
            assert_eq!(batch.len(), 2, "the first one has begun");
            alice.multicast_batch(&mut batch).await.unwrap();
            assert_eq!(received(&mut bob), [1, 2, 3, 4]);
        });
    });
}

#[test]
fn a_try_tells_of_a_want_of_memory_and_not_of_room() {
    on_each_library(|alice, mut bob| {
        let socket = alice.as_raw_fd();
        let mut batch = batch(&bob, 0..5, 100);
        // No event follows a try without an error that has left something.
        lack_memory(socket, 200, 1);
        assert!(is_resource(alice.try_multicast_batch(&mut batch)));
        assert_eq!(batch.len(), 3, "two have gone, or begun");
        lack_memory(socket, 20, 2);
        assert!(is_resource(alice.try_flush()));
        assert!(is_resource(alice.try_flush()));
        assert!(alice.try_flush().unwrap());
        assert_eq!(alice.try_multicast_batch(&mut batch).unwrap(), 3);
        assert_eq!(received(&mut bob), [0, 1, 2, 3, 4]);
    });
}

#[test]
fn what_has_begun_is_waited_for() {
    on_each_library(|alice, mut bob| {
        let (socket, to) = (alice.as_raw_fd(), bob.private_group());
        let mut batch = batch(&bob, 0..5, 100);
        lack_memory(socket, 200, 1);
        assert!(is_resource(alice.try_multicast_batch(&mut batch)));
        lack_memory(socket, 20, 3);
        alice.multicast_timeout(Service::Fifo, to, [9; 10], PATIENCE).unwrap();
        alice.multicast_batch(&mut batch).unwrap();
        assert_eq!(received(&mut bob), [0, 1, 9, 2, 3, 4]);

        // A time that passes before the message itself begins.
        lack_memory(socket, 50, 1);
        alice.try_multicast_batch(&mut self::batch(&bob, 5..6, 100)).unwrap_err();
        lack_memory(socket, 0, 100);
        let soon = Duration::from_millis(25);
        let error = alice.multicast_timeout(Service::Fifo, to, b"", soon).unwrap_err();
        assert!(matches!(error, Error::TimedOut), "{error:?}");
        lack_memory(socket, 0, 0);
        alice.multicast(Service::Fifo, to, [6]).unwrap();
        assert_eq!(received(&mut bob), [5, 6]);
    });
}

/// The C library that may be installed ends the connection.
#[cfg(not(feature = "system"))]
#[test]
fn a_send_that_has_begun_goes_on() {
    on_each_library(|alice, mut bob| {
        lack_memory(alice.as_raw_fd(), 100, 3);
        alice.multicast(Service::Fifo, bob.private_group(), [9; 3000]).unwrap();
        assert!(have_failed());
        lack_memory(alice.as_raw_fd(), 200, 3);
        alice.multicast_batch(&mut batch(&bob, 0..5, 100)).unwrap();
        assert_eq!(received(&mut bob), [9, 0, 1, 2, 3, 4]);
    });
}

#[test]
fn an_end_waits_for_memory() {
    on_each_library(|alice, mut bob| {
        lack_memory(alice.as_raw_fd(), 50, 1);
        alice.try_multicast_batch(&mut batch(&bob, 0..1, 100)).unwrap_err();
        lack_memory(alice.as_raw_fd(), 50, 3);
        alice.disconnect().unwrap();
        assert_eq!(received(&mut bob), [0]);
    });
    on_each_library(|alice, mut bob| {
        lack_memory(alice.as_raw_fd(), 50, 1);
        alice.try_multicast_batch(&mut batch(&bob, 0..1, 100)).unwrap_err();
        lack_memory(alice.as_raw_fd(), 50, 3);
        drop(alice);
        assert_eq!(received(&mut bob), [0]);
    });
    on_each_library(|alice, mut bob| {
        let (socket, to) = (alice.as_raw_fd(), bob.private_group());
        block_on(async {
            let alice = AsyncMailbox::new(alice).unwrap();
            alice.multicast_buffered(Service::Fifo, to, [0; 100]).await.unwrap();
            lack_memory(socket, 50, 3);
            alice.disconnect().await.unwrap();
            assert_eq!(received(&mut bob), [0]);
        });
    });
}
