//! Connections that were dropped before the daemon had taken all that was sent.
//!
//! To close a TCP connection with messages unread is to reset it, and what was sent last may
//! then never reach the daemon. So a drop, which does not wait, hands a connection that has
//! not ended to a thread: the only one of its kind, which ends when it has nothing to do.

use std::io;
use std::mem;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use spread_core::{Closing, Connection, MEMORY_PAUSE, Ready, wait_slice};
use spread_os::PerProcess;

use crate::connection::LINGER;
use crate::interrupt::Wake;

/// How many connections wait for their end; beyond that they are closed at once.
const MOST: usize = 256;

static WAITING: PerProcess<Mutex<Waiting>> = PerProcess::new();

#[derive(Debug, Default)]
struct Waiting {
    /// New ones, for the thread to take over.
    new: Vec<Item>,
    /// All, with those that the thread has.
    count: usize,
    /// Whether somebody starts the thread, or has started it.
    is_starting: bool,
    /// Wakes the thread, if there is one.
    wake: Option<Arc<Wake>>,
}

#[derive(Debug)]
struct Item {
    connection: Arc<Connection>,
    /// When the daemon is not waited for any longer.
    until: Instant,
}

/// Ends a connection without waiting: lets a thread see to what is left to be done.
pub(crate) fn close(connection: Arc<Connection>) {
    if matches!(connection.try_close(), Ok(Closing::Done | Closing::ShutDown) | Err(_)) {
        return;
    }
    let item = Item { connection, until: Instant::now() + LINGER };
    let mut waiting = lock();
    if waiting.count == MOST {
        return;
    }
    waiting.count += 1;
    waiting.new.push(item);
    if let Some(wake) = &waiting.wake {
        wake.wake();
        return;
    }
    if mem::replace(&mut waiting.is_starting, true) {
        return;
    }
    drop(waiting);
    if start().is_err() {
        // Without a descriptor or a thread, all that can be done has been done.
        *lock() = Waiting::default();
    }
}

/// Starts the thread.
fn start() -> io::Result<()> {
    let wake = Arc::new(Wake::new()?);
    lock().wake = Some(Arc::clone(&wake));
    thread::Builder::new().name("spread-closing".to_owned()).spawn(move || run(&wake)).map(drop)
}

fn lock() -> MutexGuard<'static, Waiting> {
    WAITING.get(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

/// Closes connections until there are none.
fn run(wake: &Wake) {
    let mut items: Vec<Item> = Vec::new();
    loop {
        let now = Instant::now();
        let mut next = None;
        let mut fds = vec![(wake.as_fd(), Ready::ToRead)];
        let mut readiness = Vec::new();
        let before = items.len();
        items.retain(|item| match item.connection.try_close() {
            Ok(Closing::Wait(ready)) if now < item.until => {
                readiness.push(ready);
                true
            }
            Ok(Closing::Again) if now < item.until => {
                readiness.push(Ready::ToRead);
                next = Some(now);
                true
            }
            Ok(Closing::Pause) if now < item.until => {
                readiness.push(Ready::Ended);
                next = next.or(Some(now + MEMORY_PAUSE));
                true
            }
            _ => false,
        });
        {
            let mut waiting = lock();
            waiting.count -= before - items.len();
            if !waiting.new.is_empty() {
                items.append(&mut waiting.new);
                continue;
            }
            if items.is_empty() {
                *waiting = Waiting::default();
                return;
            }
        }
        fds.extend(
            items.iter().zip(readiness).map(|(item, ready)| (item.connection.as_fd(), ready)),
        );
        let until = items.iter().map(|item| item.until).chain(next).min();
        if wait_slice(&fds, until).is_err() {
            // For want of memory: what is left to be done is left undone.
            lock().count -= items.len();
            items.clear();
        }
        wake.take();
    }
}
