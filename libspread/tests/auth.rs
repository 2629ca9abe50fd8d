//! Authentication, with methods of the application. The methods are those of
//! all of the process, so the tests run one at a time.

mod common;

use std::ffi::{CStr, c_int, c_void};
use std::io::{Read, Write};
use std::ptr::{null, null_mut};
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::*;
use libspread::*;

const ACCEPTED: &[u8] = b"\x01\x05\x00\x01\x0b#alice#fake";

/// Holds off the other tests, and sets the usual method again in the end.
struct Alone(#[allow(dead_code)] MutexGuard<'static, ()>);

fn alone() -> Alone {
    static ALONE: Mutex<()> = Mutex::new(());
    Alone(ALONE.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Drop for Alone {
    fn drop(&mut self) {
        assert_eq!(set(c"NULL", Some(agree), null_mut()), 1);
    }
}

unsafe extern "C" fn agree(_: c_int, _: *mut c_void) -> c_int {
    1
}

unsafe extern "C" fn give_up(_: c_int, _: *mut c_void) -> c_int {
    0
}

/// Sends the password that `data` points at, as the method PWORD does, and takes
/// the answer with plain reads: on a descriptor that does not block they fail.
unsafe extern "C" fn send_password(fd: c_int, data: *mut c_void) -> c_int {
    // SAFETY: the tests set it with 40 bytes of text; the answer has room.
    unsafe {
        if libc::write(fd, data, 40) != 40 {
            return 0;
        }
        let mut answer = 0u8;
        let count = libc::read(fd, (&raw mut answer).cast(), 1);
        c_int::from(count == 1 && answer == 1)
    }
}

type Function = unsafe extern "C" fn(c_int, *mut c_void) -> c_int;

fn set(name: &CStr, function: Option<Function>, data: *mut c_void) -> i32 {
    // SAFETY: the name ends in a zero; what the functions take is never freed.
    unsafe { SP_set_auth_method(name.as_ptr(), function, data) }
}

fn set_all(methods: &[(&CStr, Function)]) -> i32 {
    let mut names: Vec<_> = methods.iter().map(|m| m.0.as_ptr()).collect();
    let mut functions: Vec<_> = methods.iter().map(|m| Some(m.1)).collect();
    let mut data = vec![null_mut(); methods.len()];
    let count = methods.len() as i32;
    // SAFETY: all arrays are as long as told.
    unsafe {
        SP_set_auth_methods(count, names.as_mut_ptr(), functions.as_mut_ptr(), data.as_mut_ptr())
    }
}

fn password() -> &'static mut [u8; 40] {
    let mut sent = [0; 40];
    sent[..5].copy_from_slice(b"alice");
    sent[32..38].copy_from_slice(b"secret");
    Box::leak(Box::new(sent))
}

/// A daemon that permits PWORD and IP, and asks for a password if PWORD is chosen.
fn guarded_daemon(pause: bool) -> FakeDaemon {
    FakeDaemon::raw(Kind::Tcp, move |mut stream| {
        let mut request = [0; 10];
        stream.read_exact(&mut request).unwrap();
        stream.write_all(b"\x09PWORD IP ").unwrap();
        let mut choice = [0; 90];
        if stream.read_exact(&mut choice).is_err() {
            return;
        }
        if choice.starts_with(b"PWORD\0") {
            let mut sent = [0; 40];
            if stream.read_exact(&mut sent).is_err() {
                return;
            }
            if pause {
                // Lets the client find nothing to read at first.
                let mut nothing = [libc::pollfd { fd: -1, events: 0, revents: 0 }];
                // SAFETY: there is the one entry announced.
                unsafe { libc::poll(nothing.as_mut_ptr(), 1, 20) };
            }
            let right = sent[..6] == *b"alice\0" && sent[32..] == *b"secret\0\0";
            stream.write_all(&[u8::from(right)]).unwrap();
            if !right {
                return;
            }
        }
        stream.write_all(ACCEPTED).unwrap();
        stream.wait_for_end();
    })
}

#[test]
fn a_password_opens_a_session_and_the_descriptor_blocks() {
    let _alone = alone();
    assert_eq!(set(c"PWORD", Some(send_password), password().as_mut_ptr().cast()), 1);
    let daemon = guarded_daemon(true);
    assert_eq!(daemon.client().private_group, "#alice#fake");
}

#[test]
fn a_wrong_password_does_not() {
    let _alone = alone();
    let wrong = password();
    wrong[32] = b'?';
    assert_eq!(set(c"PWORD", Some(send_password), wrong.as_mut_ptr().cast()), 1);
    let daemon = guarded_daemon(false);
    assert_eq!(Client::connect(&daemon.address, "alice").unwrap_err(), REJECT_AUTH);
}

#[test]
fn several_methods_are_gone_through_in_turn() {
    let _alone = alone();
    assert_eq!(set_all(&[(c"IP", agree), (c"IP", agree)]), 1);
    assert_eq!(guarded_daemon(false).client().private_group, "#alice#fake");
    assert_eq!(set_all(&[(c"IP", agree), (c"IP", give_up)]), 1);
    let daemon = guarded_daemon(false);
    assert_eq!(Client::connect(&daemon.address, "alice").unwrap_err(), REJECT_AUTH);
}

#[test]
fn a_method_that_the_daemon_does_not_permit_is_not_tried() {
    let _alone = alone();
    assert_eq!(set(c"SECRET", Some(agree), null_mut()), 1);
    let daemon = guarded_daemon(false);
    assert_eq!(Client::connect(&daemon.address, "alice").unwrap_err(), REJECT_AUTH);
}

#[test]
fn a_method_of_the_application_without_an_exchange_is_as_good_as_none() {
    let _alone = alone();
    let daemon = daemon();
    assert_eq!(set(c"NULL", Some(agree), null_mut()), 1);
    Client::connect(&daemon.address, "").expect("a session");
    assert_eq!(set(c"NULL", Some(give_up), null_mut()), 1);
    assert_eq!(Client::connect(&daemon.address, "").unwrap_err(), REJECT_AUTH);
}

#[test]
fn without_a_method_the_daemon_rejects() {
    let _alone = alone();
    let daemon = daemon();
    assert_eq!(set_all(&[]), 1);
    assert_eq!(Client::connect(&daemon.address, "").unwrap_err(), REJECT_AUTH);
}

#[test]
fn what_is_no_method_is_refused_and_changes_nothing() {
    let _alone = alone();
    let daemon = daemon();
    assert_eq!(set(c"NULL", None, null_mut()), 0);
    assert_eq!(set(c"a-name-of-thirty-bytes-is-long", Some(give_up), null_mut()), 0);
    assert_eq!(set(c"\xff", Some(give_up), null_mut()), 0);
    assert_eq!(set_all(&[(c"IP", give_up as Function); 4]), 0);
    assert_eq!(set_all(&[(c"IP", give_up), (c"a-name-of-thirty-bytes-is-long", give_up)]), 0);
    // SAFETY: null is allowed, and so is a number that is none.
    unsafe {
        assert_eq!(SP_set_auth_methods(1, null_mut(), null_mut(), null_mut()), 0);
        assert_eq!(SP_set_auth_methods(-1, null_mut(), null_mut(), null_mut()), 0);
        assert_eq!(SP_set_auth_method(null(), None, null_mut()), 0);
    }
    Client::connect(&daemon.address, "").expect("a session");
}
