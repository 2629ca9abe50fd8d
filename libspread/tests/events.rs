//! The event loop. It is one for all of the process, so the tests run one at a
//! time.

mod common;

use std::ffi::{c_int, c_void};
use std::io::{PipeReader, PipeWriter, Write, pipe};
use std::os::fd::AsRawFd;
use std::ptr::null_mut;
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::*;
use libspread::*;

/// What was called back, by its code.
static CALLED: Mutex<Vec<c_int>> = Mutex::new(Vec::new());

fn called() -> MutexGuard<'static, Vec<c_int>> {
    CALLED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Holds off the other tests, and begins anew.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: always safe.
    assert_eq!(unsafe { E_init() }, 0);
    called().clear();
    alone
}

unsafe extern "C" fn note(code: c_int, _: *mut c_void) {
    called().push(code);
}

unsafe extern "C" fn note_and_exit(code: c_int, _: *mut c_void) {
    called().push(code);
    // SAFETY: always safe.
    unsafe { E_exit_events() };
}

/// Takes the byte that made the descriptor ready.
unsafe extern "C" fn take(fd: c_int, code: c_int, _: *mut c_void) {
    called().push(code);
    let mut byte = 0u8;
    // SAFETY: there is room for the byte.
    assert_eq!(unsafe { libc::read(fd, (&raw mut byte).cast(), 1) }, 1);
}

unsafe extern "C" fn leave(_: c_int, code: c_int, _: *mut c_void) {
    called().push(code);
}

unsafe extern "C" fn leave_and_exit(_: c_int, code: c_int, _: *mut c_void) {
    called().push(code);
    // SAFETY: always safe.
    unsafe { E_exit_events() };
}

/// As [`take`], and exits when so many have been called back.
unsafe extern "C" fn take_and_exit_after_six(fd: c_int, code: c_int, data: *mut c_void) {
    // SAFETY: the caller of this calls that with the same.
    unsafe { take(fd, code, data) };
    if called().len() == 6 {
        // SAFETY: always safe.
        unsafe { E_exit_events() };
    }
}

/// Detaches the descriptor that `data` points at.
unsafe extern "C" fn detach_other(fd: c_int, code: c_int, data: *mut c_void) {
    // SAFETY: the test attached it with an int that lives.
    unsafe {
        take(fd, code, null_mut());
        E_detach_fd(data.cast::<c_int>().read(), READ_FD);
    }
}

fn millis(millis: i32) -> sp_time {
    sp_time { sec: 0, usec: (millis * 1000).into() }
}

fn queue(function: unsafe extern "C" fn(c_int, *mut c_void), code: c_int, after: sp_time) {
    // SAFETY: the functions here take any data.
    assert_eq!(unsafe { E_queue(Some(function), code, null_mut(), after) }, 0);
}

type FdFunction = unsafe extern "C" fn(c_int, c_int, *mut c_void);

fn attach(end: &impl AsRawFd, function: FdFunction, code: c_int, priority: c_int) -> c_int {
    let fd = end.as_raw_fd();
    // SAFETY: the functions here take any data.
    unsafe { E_attach_fd(fd, READ_FD, Some(function), code, null_mut(), priority) }
}

/// Runs the loop until something exits it; returns what was called back.
fn run() -> Vec<c_int> {
    in_time(|| {
        // SAFETY: the callbacks are those of the test.
        unsafe { E_handle_events() }
    });
    std::mem::take(&mut *called())
}

/// A pipe with so many bytes in it.
fn ready(bytes: usize) -> (PipeReader, PipeWriter) {
    let (read_end, mut write_end) = pipe().unwrap();
    write_end.write_all(&vec![0; bytes]).unwrap();
    (read_end, write_end)
}

#[test]
fn timers_are_called_in_the_order_of_their_times() {
    let _alone = alone();
    // All but the last are overdue, by more than a busy machine delays a call.
    let ago = |sec: i32| sp_time { sec: (-sec).into(), usec: 0 };
    queue(note_and_exit, 4, millis(5));
    queue(note, 3, millis(0));
    queue(note, 1, ago(200));
    queue(note, 2, ago(100));
    queue(note, 0, ago(300));
    assert_eq!(run(), [0, 1, 2, 3, 4]);
}

#[test]
fn a_call_that_is_queued_again_moves() {
    let _alone = alone();
    queue(note, 1, millis(0));
    queue(note, 2, millis(5));
    queue(note, 1, millis(10));
    queue(note_and_exit, 3, millis(15));
    assert_eq!(run(), [2, 1, 3]);
}

#[test]
fn a_call_can_be_taken_out_of_the_queue() {
    let _alone = alone();
    queue(note, 1, millis(0));
    queue(note_and_exit, 2, millis(5));
    // SAFETY: the functions here take any data.
    unsafe {
        assert_eq!(E_in_queue(Some(note), 1, null_mut()), 1);
        assert_eq!(E_dequeue(Some(note), 1, null_mut()), 0);
        assert_eq!(E_dequeue(Some(note), 1, null_mut()), -1);
        assert_eq!(E_in_queue(Some(note), 1, null_mut()), 0);
        assert_eq!(E_in_queue(None, 1, null_mut()), 0);
        assert_eq!(E_queue(None, 1, null_mut(), millis(0)), -1);
    }
    assert_eq!(run(), [2]);
}

#[test]
fn the_most_urgent_descriptors_come_first() {
    let _alone = alone();
    let ends: Vec<_> = (0..4).map(|_| ready(1)).collect();
    assert_eq!(attach(&ends[0].0, take, 10, MEDIUM_PRIORITY), 0);
    assert_eq!(attach(&ends[1].0, take, 20, HIGH_PRIORITY), 0);
    assert_eq!(attach(&ends[2].0, take, 21, HIGH_PRIORITY), 0);
    queue(note_and_exit, 99, millis(0));
    // All of the highest priority, then those below, and timers once these are done.
    assert_eq!(run(), [20, 21, 10, 99]);
}

#[test]
fn descriptors_of_low_priority_take_turns() {
    let _alone = alone();
    let ends: Vec<_> = (0..3).map(|_| ready(2)).collect();
    for (code, (end, _)) in ends.iter().enumerate() {
        assert_eq!(attach(end, take_and_exit_after_six, code as c_int, LOW_PRIORITY), 0);
    }
    assert_eq!(run(), [0, 1, 2, 0, 1, 2]);
}

#[test]
fn descriptors_below_the_threshold_wait() {
    let _alone = alone();
    let (low, medium) = (ready(1), ready(1));
    attach(&low.0, take, 0, LOW_PRIORITY);
    attach(&medium.0, take, 1, MEDIUM_PRIORITY);
    // SAFETY: always safe.
    unsafe { assert_eq!(E_set_active_threshold(MEDIUM_PRIORITY), MEDIUM_PRIORITY) };
    queue(note_and_exit, 9, millis(5));
    assert_eq!(run(), [1, 9]);
    // SAFETY: always safe.
    unsafe {
        assert_eq!(E_set_active_threshold(3), -1);
        assert_eq!(E_set_active_threshold(LOW_PRIORITY), LOW_PRIORITY);
    }
    queue(note_and_exit, 9, millis(5));
    assert_eq!(run(), [0, 9]);
}

#[test]
fn an_inactive_descriptor_is_kept_but_not_called() {
    let _alone = alone();
    let (end, _write_end) = ready(1);
    attach(&end, take, 0, MEDIUM_PRIORITY);
    let fd = end.as_raw_fd();
    // SAFETY: always safe.
    unsafe {
        assert_eq!(E_num_active(MEDIUM_PRIORITY), 1);
        assert_eq!(E_deactivate_fd(fd, READ_FD), 0);
        assert_eq!((E_num_active(MEDIUM_PRIORITY), E_num_active(7)), (0, -1));
        assert_eq!(E_deactivate_fd(fd, WRITE_FD), -1);
    }
    queue(note_and_exit, 9, millis(0));
    assert_eq!(run(), [9]);
    // SAFETY: always safe.
    unsafe { assert_eq!(E_activate_fd(fd, READ_FD), 0) };
    queue(note_and_exit, 9, millis(0));
    assert_eq!(run(), [0, 9]);
}

#[test]
fn a_callback_takes_the_place_of_another() {
    let _alone = alone();
    let (end, _write_end) = ready(1);
    assert_eq!(attach(&end, leave, 1, LOW_PRIORITY), 0);
    assert_eq!(attach(&end, leave_and_exit, 2, LOW_PRIORITY), 1);
    assert_eq!(run(), [2]);
    let fd = end.as_raw_fd();
    // SAFETY: always safe.
    unsafe {
        assert_eq!(E_detach_fd_priority(fd, READ_FD, HIGH_PRIORITY), -1);
        assert_eq!(E_detach_fd(fd, READ_FD), 0);
        assert_eq!(E_detach_fd(fd, READ_FD), -1);
    }
}

#[test]
fn what_a_callback_detaches_is_not_called() {
    let _alone = alone();
    let (first, second) = (ready(1), ready(1));
    let mut other = second.0.as_raw_fd();
    let (fd, data) = (first.0.as_raw_fd(), (&raw mut other).cast());
    // SAFETY: the int lives until the loop has ended.
    unsafe { E_attach_fd(fd, READ_FD, Some(detach_other), 1, data, HIGH_PRIORITY) };
    attach(&second.0, take, 2, HIGH_PRIORITY);
    queue(note_and_exit, 9, millis(0));
    assert_eq!(run(), [1, 9]);
}

#[test]
fn arguments_out_of_range_are_refused() {
    let _alone = alone();
    // SAFETY: nothing is attached.
    unsafe {
        assert_eq!(E_attach_fd(-1, READ_FD, Some(take), 0, null_mut(), 0), -1);
        assert_eq!(E_attach_fd(0, 3, Some(take), 0, null_mut(), 0), -1);
        assert_eq!(E_attach_fd(0, READ_FD, Some(take), 0, null_mut(), 3), -1);
        assert_eq!(E_attach_fd(0, READ_FD, None, 0, null_mut(), 0), -1);
        assert_eq!(E_detach_fd(0, -1), -1);
        assert_eq!(E_activate_fd(0, 3), -1);
    }
}

#[test]
fn a_descriptor_that_is_hung_up_or_closed_is_told() {
    let _alone = alone();
    let (end, write_end) = ready(0);
    drop(write_end);
    attach(&end, leave_and_exit, 1, LOW_PRIORITY);
    assert_eq!(run(), [1]);
    drop(end);
    assert_eq!(run(), [1]);
}

#[test]
fn a_descriptor_above_those_of_select_works() {
    let _alone = alone();
    let (end, _write_end) = ready(1);
    // SAFETY: takes numbers only; fails if the system allows fewer descriptors.
    let high = unsafe { libc::fcntl(end.as_raw_fd(), libc::F_DUPFD, 1030) };
    if high >= 0 {
        // SAFETY: it was just opened, and is no one else's.
        let high = unsafe { <std::os::fd::OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(high) };
        assert_eq!(attach(&high, leave_and_exit, 1, LOW_PRIORITY), 0);
        assert_eq!(run(), [1]);
    }
}

#[test]
fn a_signal_handler_ends_a_loop_that_waits() {
    extern "C" fn handler(_: c_int) {
        // SAFETY: always safe.
        unsafe { E_exit_events_async_safe() };
    }
    let _alone = alone();
    for _ in 0..100 {
        let (started, has_started) = std::sync::mpsc::channel();
        let looping = Background::start(move || {
            // SAFETY: the handler does what handlers may; the thread is this one.
            let thread = unsafe {
                libc::signal(libc::SIGUSR2, handler as *const () as libc::sighandler_t);
                libc::pthread_self()
            };
            queue(tell, 0, millis(0));
            *STARTED.lock().unwrap() = Some((started, thread));
            // SAFETY: the callback is the one above.
            unsafe { E_handle_events() };
        });
        let thread = has_started.recv_timeout(PATIENCE).unwrap();
        // SAFETY: the thread is joined below only.
        unsafe { libc::pthread_kill(thread, libc::SIGUSR2) };
        looping.finish();
    }
}

type Started = (std::sync::mpsc::Sender<libc::pthread_t>, libc::pthread_t);

static STARTED: Mutex<Option<Started>> = Mutex::new(None);

/// Tells that the loop goes.
unsafe extern "C" fn tell(_: c_int, _: *mut c_void) {
    let (started, thread) = STARTED.lock().unwrap().take().unwrap();
    started.send(thread).unwrap();
}

#[test]
fn times_are_added_and_compared() {
    let t = |sec: i32, usec: i32| sp_time { sec: sec.into(), usec: usec.into() };
    let parts = |t: sp_time| (t.sec as i32, t.usec as i32);
    // SAFETY: always safe.
    unsafe {
        assert_eq!(parts(E_add_time(t(1, 600_000), t(0, 600_000))), (2, 200_000));
        assert_eq!(parts(E_sub_time(t(1, 0), t(0, 1))), (0, 999_999));
        assert_eq!(parts(E_sub_time(t(0, 0), t(1, 1))), (-1, -1));
        assert_eq!(parts(E_neg_time(t(1, 2))), (-1, -2));
        assert_eq!(E_compare_time(t(1, 0), t(0, 999_999)), 1);
        assert_eq!(E_compare_time(t(1, 0), t(1, 1)), -1);
        assert_eq!(E_compare_time(t(1, 1), t(1, 1)), 0);
        let before = E_get_time_monotonic();
        E_delay(millis(2));
        let passed = E_sub_time(E_get_time_monotonic(), before);
        assert!(E_compare_time(passed, millis(2)) >= 0, "{passed:?}");
        assert!(E_get_time().sec > 1_700_000_000);
    }
}

#[test]
fn messages_are_received_in_a_loop() {
    unsafe extern "C" fn receive_one(mbox: c_int, code: c_int, _: *mut c_void) {
        let received = receive(mbox, 0, 10, 100);
        called().push(received.mess_type.into());
        if c_int::from(received.mess_type) == code {
            // SAFETY: always safe.
            unsafe { E_exit_events() };
        }
    }
    let _alone = alone();
    let daemon = daemon();
    let client = Client::connect(&daemon.address, "").unwrap();
    let own = client.private_group.clone();
    for i in 0..50 {
        assert_eq!(client.multicast(FIFO_MESS, &[&own], i, b"x"), 1);
    }
    // SAFETY: the callback takes any data.
    unsafe { E_attach_fd(client.mbox, READ_FD, Some(receive_one), 49, null_mut(), LOW_PRIORITY) };
    assert_eq!(run(), (0..50).collect::<Vec<_>>());
}
