//! Mailboxes go on after the kernel had no memory, or no room.
//!
//! This program has a `send`, a `sendmsg` and a `recv` of its own in front of those of the C
//! library, and so decides which of them fail.
#![cfg(target_os = "linux")]

mod common;

use std::ffi::{CString, c_int, c_void};
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::*;
use libc::{msghdr, size_t, ssize_t};
use libspread::*;

/// The socket that lacks memory.
static SOCKET: AtomicI32 = AtomicI32::new(-1);
/// The error: `ENOBUFS`, or `EAGAIN` for want of room.
static ERROR: AtomicI32 = AtomicI32::new(libc::ENOBUFS);
/// How many sends go on before.
static SENT: AtomicUsize = AtomicUsize::new(0);
/// How many sends, and how many receives, fail for it.
static SENDS: AtomicUsize = AtomicUsize::new(0);
static RECEIVES: AtomicUsize = AtomicUsize::new(0);
/// One test at a time has the statics above.
static TURN: Mutex<()> = Mutex::new(());

fn take(left: &AtomicUsize) -> bool {
    let take = |left: usize| left.checked_sub(1);
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok()
}

fn send_fails(fd: c_int) -> bool {
    let goes_on = fd == SOCKET.load(Ordering::SeqCst) && take(&SENT);
    !goes_on && fails(fd, &SENDS)
}

fn fails(fd: c_int, left: &AtomicUsize) -> bool {
    if fd != SOCKET.load(Ordering::SeqCst) || !take(left) {
        return false;
    }
    // SAFETY: the pointer is to this thread's own errno.
    unsafe { *libc::__errno_location() = ERROR.load(Ordering::SeqCst) };
    true
}

/// # Safety
///
/// As for `send(2)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn send(fd: c_int, buf: *const c_void, len: size_t, flags: c_int) -> ssize_t {
    if send_fails(fd) {
        return -1;
    }
    let nowhere = std::ptr::null::<libc::sockaddr>();
    // SAFETY: as the caller promises.
    unsafe { libc::syscall(libc::SYS_sendto, fd, buf, len, flags, nowhere, 0) as ssize_t }
}

/// # Safety
///
/// As for `sendmsg(2)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t {
    if send_fails(fd) {
        return -1;
    }
    // SAFETY: as the caller promises.
    unsafe { libc::syscall(libc::SYS_sendmsg, fd, message, flags) as ssize_t }
}

/// # Safety
///
/// As for `recv(2)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn recv(fd: c_int, buf: *mut c_void, len: size_t, flags: c_int) -> ssize_t {
    if fails(fd, &RECEIVES) {
        return -1;
    }
    let nobody = std::ptr::null_mut::<libc::sockaddr>();
    // SAFETY: as the caller promises.
    unsafe { libc::syscall(libc::SYS_recvfrom, fd, buf, len, flags, nobody, nobody) as ssize_t }
}

/// From here on so many sends and receives of the mailbox fail.
fn lack_memory(mbox: mailbox, sends: usize, receives: usize) {
    SOCKET.store(mbox, Ordering::SeqCst);
    SENDS.store(sends, Ordering::SeqCst);
    RECEIVES.store(receives, Ordering::SeqCst);
}

/// All calls that were to fail have failed.
fn have_failed() -> bool {
    SENDS.load(Ordering::SeqCst) == 0 && RECEIVES.load(Ordering::SeqCst) == 0
}

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn spread_waits_for_memory() {
    let _turn = turn();
    let daemon = daemon();
    let client = Client::connect(&daemon.address, "").unwrap();
    let own = client.private_group.as_str();
    lack_memory(client.mbox, 3, 0);
    assert_eq!(client.join("memory"), 0);
    assert!(have_failed());
    lack_memory(client.mbox, 0, 3);
    assert_eq!(client.receive().service, REG_MEMB_MESS | CAUSED_BY_JOIN);
    assert!(have_failed());
    lack_memory(client.mbox, 3, 0);
    assert_eq!(client.multicast(FIFO_MESS, &[own], 1, &[7; 3000]), 3000);
    assert!(have_failed());
    lack_memory(client.mbox, 0, 3);
    assert_eq!(client.receive().body, [7; 3000]);
    lack_memory(client.mbox, 3, 0);
    assert_eq!(client.leave("memory"), 0);
    assert_eq!(client.receive().service, CAUSED_BY_LEAVE);
    assert!(have_failed());
    assert_eq!(client.disconnect(), 0);
}

fn fl_connect(address: &str) -> mailbox {
    let address = CString::new(address).unwrap();
    let (mut mbox, mut own) = (-1, [0; NAME_LEN]);
    // SAFETY: the names end in a zero, the results have room.
    let code =
        unsafe { FL_connect(address.as_ptr(), c"".as_ptr(), 0, &mut mbox, own.as_mut_ptr()) };
    assert_eq!(code, ACCEPT_SESSION);
    mbox
}

/// The type of the next message, or an error.
fn fl_receive(mbox: mailbox, flags: service) -> Result<service, c_int> {
    let (mut service, mut count, mut kind, mut mismatch) = (flags, 0, 0, 0);
    let (mut sender, mut groups, mut body) = ([0; NAME_LEN], [[0; NAME_LEN]; 2], [0u8; 100]);
    // SAFETY: the results have room, the arrays as much as told.
    let code = unsafe {
        FL_receive(
            mbox,
            &mut service,
            sender.as_mut_ptr(),
            2,
            &mut count,
            groups.as_mut_ptr(),
            &mut kind,
            &mut mismatch,
            100,
            body.as_mut_ptr().cast(),
            std::ptr::null_mut(),
        )
    };
    if code < 0 { Err(code) } else { Ok(service) }
}

#[test]
fn flush_spread_waits_for_memory() {
    let _turn = turn();
    let daemon = daemon();
    let client = Client::connect(&daemon.address, "").unwrap();
    let group = c"fl-memory";
    let mbox = fl_connect(&daemon.address);
    lack_memory(mbox, 3, 0);
    // SAFETY: the name ends in a zero.
    assert_eq!(unsafe { FL_join(mbox, group.as_ptr()) }, 0);
    assert!(have_failed());
    // The receive sends a flush, too.
    lack_memory(mbox, 3, 3);
    assert_eq!(fl_receive(mbox, 0), Ok(REG_MEMB_MESS | CAUSED_BY_JOIN));
    assert!(have_failed());
    lack_memory(mbox, 3, 3);
    // SAFETY: the name ends in a zero, the body is as long as told.
    let code = unsafe { FL_multicast(mbox, FIFO_MESS, group.as_ptr(), 1, 3, c"abc".as_ptr()) };
    assert_eq!(code, 3);
    assert_eq!(fl_receive(mbox, 0), Ok(FIFO_MESS));
    assert!(have_failed());

    // Another client comes, so that the group has to be flushed.
    assert_eq!(client.join("fl-memory"), 0);
    assert_eq!(fl_receive(mbox, 0), Ok(FLUSH_REQ_MESS as service));
    lack_memory(mbox, 3, 0);
    // SAFETY: the name ends in a zero.
    assert_eq!(unsafe { FL_flush(mbox, group.as_ptr()) }, 0);
    assert!(have_failed());
    lack_memory(mbox, 3, 0);
    // SAFETY: the name ends in a zero.
    assert_eq!(unsafe { FL_leave(mbox, group.as_ptr()) }, 0);
    assert_eq!(fl_receive(mbox, 0), Ok(CAUSED_BY_LEAVE));
    assert!(have_failed());
    // SAFETY: takes a number only.
    assert_eq!(unsafe { FL_disconnect(mbox) }, 0);
}

#[test]
fn a_receive_waits_for_room_for_what_the_layer_answers() {
    let _turn = turn();
    let daemon = daemon();
    for error in [libc::EAGAIN, libc::ENOBUFS] {
        for flags in [0, DONT_BLOCK as service] {
            let mbox = fl_connect(&daemon.address);
            // SAFETY: the name ends in a zero.
            assert_eq!(unsafe { FL_join(mbox, c"fl-room".as_ptr()) }, 0);
            // The flush has room, the confirmation of the view has not.
            lack_memory(mbox, 3, 0);
            SENT.store(1, Ordering::SeqCst);
            ERROR.store(error, Ordering::SeqCst);
            let view = loop {
                match fl_receive(mbox, flags) {
                    Err(WOULD_BLOCK) if flags != 0 => {}
                    result => break result,
                }
            };
            assert_eq!(view, Ok(REG_MEMB_MESS | CAUSED_BY_JOIN));
            assert_eq!(have_failed(), flags == 0);
            lack_memory(mbox, 0, 0);
            ERROR.store(libc::ENOBUFS, Ordering::SeqCst);
            // SAFETY: takes a number only.
            assert_eq!(unsafe { FL_disconnect(mbox) }, 0);
        }
    }
}
