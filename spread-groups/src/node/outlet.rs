//! What a node sends, from any thread and without waiting.
//!
//! Messages are gathered, and go out with one call: those of the node's thread at the end of its
//! turn, those of other threads at once. What the daemon takes no more of is sent by a thread of
//! its own, which waits. A connection whose outbox is full is given up; joins and leaves are not,
//! and wait there in any case. Calls have room of their own, and are refused if there is none.
//!
//! Connections are numbered, and each message says which one it is for: on the next one it is
//! dropped.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use spread::{Batch, Error, GroupName, Name, SendOptions, Service, SessionSender};

use crate::core::envelope::MESSAGE_TYPE;

/// Bytes of messages that wait to be sent, and bytes of calls besides.
const OUTBOX: usize = 16 << 20;

/// Bytes that a message takes beside its payload, about.
const OVERHEAD: usize = 128;

/// Messages that are sent together.
const BATCH: usize = 64;

/// The number of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ConnectionId(u64);

/// What the thread that waits has to do.
#[derive(Debug)]
enum Request {
    Join(Name),
    Leave(Name),
    /// Messages that there was no room for, and the rest of the one before them.
    Send(Batch, Vec<Arc<Room>>),
}

/// Bytes of messages that are taken until these have been sent, or dropped.
#[derive(Debug)]
pub(crate) struct Room {
    bytes: usize,
    taken: Arc<AtomicUsize>,
}

impl Room {
    /// Takes so many of at most [`OUTBOX`] bytes. One that is `alone_any` has room for more if
    /// nothing else is there.
    fn take(taken: &Arc<AtomicUsize>, bytes: usize, alone_any: bool) -> Option<Room> {
        let before = taken.fetch_add(bytes, Ordering::Relaxed);
        let room = Room { bytes, taken: taken.clone() };
        (before + bytes <= OUTBOX || (alone_any && before == 0)).then_some(room)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A message cannot be encoded, and is sent to nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unsendable;

/// Sends for a node. No method waits for the daemon.
#[derive(Clone, Debug)]
pub(crate) struct Outlet(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    sender: SessionSender,
    /// Held only for sends that do not wait.
    queue: Mutex<Queue>,
    waiting: Waiting,
}

#[derive(Debug)]
struct Queue {
    /// The present connection, or the next one.
    connection: ConnectionId,
    batch: Batch,
    /// At least the bytes of that, without those of calls.
    batch_bytes: usize,
    /// What the calls in it have taken.
    calls: Vec<Arc<Room>>,
    /// The bytes that wait for the connection, and those of calls.
    bytes: Arc<AtomicUsize>,
    call_bytes: Arc<AtomicUsize>,
    /// `None` once the node has ended.
    outbox: Option<Sender<(ConnectionId, Request)>>,
}

/// What the thread that waits has not done.
#[derive(Debug, Default)]
struct Waiting {
    /// The present connection, or the next one; locked while something is sent on it.
    connection: Mutex<ConnectionId>,
    /// Requests. Nothing may overtake them.
    requests: AtomicUsize,
}

impl Queue {
    fn new(connection: ConnectionId, outbox: Option<Sender<(ConnectionId, Request)>>) -> Queue {
        Queue {
            connection,
            batch: Batch::new(),
            batch_bytes: 0,
            calls: Vec::new(),
            bytes: Arc::default(),
            call_bytes: Arc::default(),
            outbox,
        }
    }
}

impl Outlet {
    /// Starts the thread that waits, which ends with [`Outlet::close`].
    pub(super) fn start(sender: SessionSender) -> Result<Outlet, Error> {
        let (outbox, requests) = channel();
        let queue = Queue::new(ConnectionId::default(), Some(outbox));
        let waiting = Waiting::default();
        let outlet = Outlet(Arc::new(Shared { sender, queue: Mutex::new(queue), waiting }));
        let shared = outlet.0.clone();
        let thread = thread::Builder::new().name(String::from("spread-groups-send"));
        thread.spawn(move || shared.run(&requests)).map_err(Error::Io)?;
        Ok(outlet)
    }

    /// Drops what belongs to the connection that is lost; returns the number of the next one.
    ///
    /// It comes before there is a next one, and waits until nothing is being sent on the lost one:
    /// its socket is shut down, so that sends fail at once.
    pub(super) fn lost(&self) -> ConnectionId {
        let next = self.0.waiting.next_connection();
        let mut queue = self.lock();
        // What the thread has still to drop takes no room of the next one.
        *queue = Queue::new(next, queue.outbox.take());
        next
    }

    pub(super) fn join(&self, group: Name) {
        self.change(Request::Join(group));
    }

    pub(super) fn leave(&self, group: Name) {
        self.change(Request::Leave(group));
    }

    fn change(&self, request: Request) {
        let mut queue = self.lock();
        self.0.flush(&mut queue);
        self.0.leave_to_thread(&queue, request);
    }

    /// Queues a message, which is sent by [`Outlet::flush`] at the latest. One for another
    /// connection is dropped.
    ///
    /// # Errors
    ///
    /// [`Unsendable`].
    pub(super) fn push(
        &self,
        connection: ConnectionId,
        to: Name,
        payload: &[u8],
    ) -> Result<(), Unsendable> {
        self.0.push(&mut self.lock(), connection, to, payload, None)
    }

    /// Sends what there is to send. If 16 MiB wait, the connection is given up, and what there was
    /// to send is dropped.
    pub(super) fn flush(&self) {
        self.0.flush(&mut self.lock());
    }

    /// Sends a message, behind what there is to send. One for another connection is dropped.
    ///
    /// # Errors
    ///
    /// [`Unsendable`].
    pub(crate) fn send(
        &self,
        connection: ConnectionId,
        to: Name,
        payload: &[u8],
    ) -> Result<(), Unsendable> {
        let mut queue = self.lock();
        let sent = self.0.push(&mut queue, connection, to, payload, None);
        self.0.flush(&mut queue);
        sent
    }

    /// Takes room for a call with a payload of so many bytes to so many receivers; `None` if
    /// 16 MiB of calls wait. A call that is alone has room, whatever its size.
    pub(crate) fn take_room(&self, receivers: usize, payload: usize) -> Option<Arc<Room>> {
        let taken = self.lock().call_bytes.clone();
        Room::take(&taken, receivers * (payload + OVERHEAD), true).map(Arc::new)
    }

    /// Sends a call to each of these, as [`Outlet::send`] does.
    ///
    /// # Errors
    ///
    /// [`Unsendable`].
    pub(crate) fn call(
        &self,
        connection: ConnectionId,
        to: impl IntoIterator<Item = Name>,
        payload: &[u8],
        room: &Arc<Room>,
    ) -> Result<(), Unsendable> {
        let mut queue = self.lock();
        let mut to = to.into_iter();
        let push = |to| self.0.push(&mut queue, connection, to, payload, Some(room));
        let sent = to.try_for_each(push);
        self.0.flush(&mut queue);
        sent
    }

    /// Ends the session, and with it the thread that waits.
    pub(super) fn close(&self) {
        self.lock().outbox = None;
        self.0.sender.shut_down();
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn push(
        &self,
        queue: &mut Queue,
        of: ConnectionId,
        to: Name,
        payload: &[u8],
        room: Option<&Arc<Room>>,
    ) -> Result<(), Unsendable> {
        if of != queue.connection {
            return Ok(());
        }
        let options = SendOptions::new(Service::Agreed).message_type(MESSAGE_TYPE);
        if let Err(error) = queue.batch.push(options, to, payload) {
            // Nothing that this crate sends is too large. A new connection would not help.
            debug_assert!(false, "a message cannot be encoded: {error}");
            return Err(Unsendable);
        }
        match room {
            Some(room) => queue.calls.push(room.clone()),
            None => queue.batch_bytes += payload.len() + OVERHEAD,
        }
        if queue.batch.len() >= BATCH {
            self.flush(queue);
        }
        Ok(())
    }

    fn flush(&self, queue: &mut Queue) {
        if queue.batch.is_empty() {
            return;
        }
        if self.waiting.requests.load(Ordering::Acquire) == 0 {
            let sent = self.sender.try_multicast_batch(&mut queue.batch);
            if sent.is_ok() && queue.batch.is_empty() && matches!(self.sender.try_flush(), Ok(true))
            {
                queue.batch_bytes = 0;
                return queue.calls.clear();
            }
            // That the connection has ended is for the receive to tell.
        }
        let rest = std::mem::take(&mut queue.batch);
        let bytes = std::mem::take(&mut queue.batch_bytes);
        let mut rooms = std::mem::take(&mut queue.calls);
        if queue.outbox.is_none() {
            return;
        }
        match Room::take(&queue.bytes, bytes, false) {
            Some(room) => rooms.push(Arc::new(room)),
            // There is no next one as long as the queue is locked.
            None => return self.sender.reconnect(),
        }
        self.leave_to_thread(queue, Request::Send(rest, rooms));
    }

    fn leave_to_thread(&self, queue: &Queue, request: Request) {
        if let Some(outbox) = &queue.outbox {
            self.waiting.requests.fetch_add(1, Ordering::Release);
            drop(outbox.send((queue.connection, request)));
        }
    }

    /// Does what is requested, until the outlet is closed. A send fails if there is no connection,
    /// which the receiver tells.
    fn run(&self, requests: &Receiver<(ConnectionId, Request)>) {
        crate::pending::mark_own_thread();
        let sender = &self.sender;
        for (connection, request) in requests {
            match request {
                Request::Join(group) if is_in(sender, group) => {}
                Request::Join(group) => self.change(|| sender.join(group.as_bytes())),
                Request::Leave(group) => self.change(|| sender.leave(group.as_bytes())),
                Request::Send(mut rest, rooms) => {
                    self.waiting.on(connection, || {
                        let sent = sender.flush();
                        self.or_reconnect(sent.and_then(|()| sender.multicast_batch(&mut rest)));
                    });
                    drop(rooms);
                }
            }
            self.waiting.requests.fetch_sub(1, Ordering::Release);
        }
    }

    /// Changes the membership; gives up the connection on which that fails.
    fn change(&self, change: impl FnOnce() -> Result<(), Error>) {
        let connection = *self.waiting.connection();
        let changed = change();
        self.waiting.on(connection, || self.or_reconnect(changed));
    }

    fn or_reconnect(&self, done: Result<(), Error>) {
        if done.is_err_and(|error| !error.is_closed()) {
            self.sender.reconnect();
        }
    }
}

impl Waiting {
    /// Does something on a connection, unless it is lost. As long as that lasts, there is no
    /// next one.
    fn on(&self, connection: ConnectionId, act: impl FnOnce()) {
        let present = self.connection();
        if *present == connection {
            act();
        }
    }

    fn next_connection(&self) -> ConnectionId {
        let mut present = self.connection();
        *present = ConnectionId(present.0 + 1);
        *present
    }

    fn connection(&self) -> MutexGuard<'_, ConnectionId> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns whether the session joins the group by itself.
fn is_in(sender: &SessionSender, group: Name) -> bool {
    sender.groups().into_iter().map(GroupName::into).any(|of: Name| of == group)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_for_a_lost_connection_is_not_sent_on_the_next_one() {
        let waiting = Waiting::default();
        let lost = ConnectionId::default();
        let (begun, begins) = channel();
        let (told, next) = channel();
        thread::scope(|scope| {
            let waiting = &waiting;
            let sending = scope.spawn(move || {
                waiting.on(lost, || {
                    begun.send(()).unwrap();
                    let next = next.recv_timeout(Duration::from_millis(100));
                    assert!(next.is_err(), "there is a next connection while this is sent");
                });
            });
            begins.recv().unwrap();
            assert_ne!(waiting.next_connection(), lost);
            let _ = told.send(());
            sending.join().unwrap();
        });
        waiting.on(lost, || panic!("sent on the next connection"));
        let mut sent = false;
        let present = *waiting.connection();
        waiting.on(present, || sent = true);
        assert!(sent);
    }

    #[test]
    fn room_is_taken_until_it_is_dropped() {
        let taken = Arc::default();
        let half = Room::take(&taken, OUTBOX / 2, false).unwrap();
        let rest = Room::take(&taken, OUTBOX / 2, false).unwrap();
        assert!(Room::take(&taken, 1, true).is_none());
        drop(half);
        assert!(Room::take(&taken, OUTBOX / 2, false).is_some());
        assert!(Room::take(&taken, OUTBOX, true).is_none(), "it is not alone");
        drop(rest);
        assert!(Room::take(&taken, OUTBOX + 1, false).is_none());
        assert!(Room::take(&taken, OUTBOX + 1, true).is_some(), "it is alone");
        assert_eq!(taken.load(Ordering::Relaxed), 0);
    }
}
