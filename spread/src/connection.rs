//! What the halves of a mailbox have in common: the connection.

mod receiving;

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

#[cfg(feature = "sys")]
use spread_core::flush::SUBGROUP;
use spread_core::{Closing, Frames, MEMORY_PAUSE, Ready, Traffic, wait};
use spread_wire::{Name, PrivateGroup, ServiceType};

use crate::backend::{Backend, Library};
use crate::interrupt::Wake;
use crate::multicast::GroupList;
use crate::tls::Link;
use crate::trace::{self, Event};
use crate::{Error, ProtocolError, SendOptions, Stats, closing};
pub(crate) use receiving::{Progress, Wait};

/// How long a disconnect waits for the daemon at most.
pub(crate) const LINGER: Duration = Duration::from_secs(1);

/// A connection to a daemon.
#[derive(Debug)]
pub(crate) struct Connection {
    core: Arc<spread_core::Connection>,
    backend: Backend,
    /// Of the process that connected it.
    generation: u32,
    /// Whether nothing is left for a drop to do but to close the socket.
    is_over: AtomicBool,
    /// Whether there is a receiver, and so perhaps a thread within a receive.
    has_receiver: AtomicBool,
    received: Traffic,
    /// What interrupts a receive, once somebody has asked for it.
    wake: OnceLock<Arc<Wake>>,
    /// See [`Builder::coalesce`](crate::Builder::coalesce).
    coalesce: Duration,
    /// What it goes over, if that is TLS.
    link: Option<Link>,
}

/// A message on its way to the daemon, within the limits of Spread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Send<'a> {
    pub(crate) service_type: ServiceType,
    pub(crate) groups: &'a [Name],
    pub(crate) number: i16,
    /// In pieces.
    pub(crate) payload: &'a [IoSlice<'a>],
}

impl<'a> Send<'a> {
    pub(crate) fn multicast(
        options: SendOptions,
        groups: &'a GroupList,
        payload: &'a [IoSlice<'a>],
    ) -> Send<'a> {
        let (service_type, number) = (options.service_type(), options.number());
        Send { service_type, groups: groups.names(), number, payload }
    }

    pub(crate) fn join(group: &'a Name) -> Send<'a> {
        let groups = std::slice::from_ref(group);
        Send { service_type: ServiceType::JOIN, groups, number: 0, payload: &[] }
    }

    pub(crate) fn leave(group: &'a Name) -> Send<'a> {
        Send { service_type: ServiceType::LEAVE, ..Send::join(group) }
    }
}

impl Connection {
    pub(crate) fn new(
        core: spread_core::Connection,
        backend: Backend,
        coalesce: Duration,
    ) -> Connection {
        Connection {
            core: Arc::new(core),
            backend,
            generation: spread_os::generation(),
            is_over: AtomicBool::new(false),
            has_receiver: AtomicBool::new(true),
            received: Traffic::default(),
            wake: OnceLock::new(),
            coalesce,
            link: None,
        }
    }

    /// Goes over TLS, if there is a link.
    pub(crate) fn over(mut self, link: Option<Link>) -> Connection {
        self.link = link;
        self
    }

    /// Lets the interrupters of `wake` end its receives, too.
    pub(crate) fn woken_by(self, wake: Arc<Wake>) -> Connection {
        // A connection that is new has none.
        let _ = self.wake.set(wake);
        self
    }

    pub(crate) fn core(&self) -> &spread_core::Connection {
        &self.core
    }

    #[cfg(feature = "sys")]
    pub(crate) fn backend(&self) -> &Backend {
        &self.backend
    }

    pub(crate) fn library(&self) -> Library {
        self.backend.library()
    }

    /// For the only receiver of the connection.
    pub(crate) fn progress(&self) -> Progress {
        Progress::new(self.backend.inbox())
    }

    pub(crate) fn private_group(&self) -> PrivateGroup {
        self.core.private_group()
    }

    /// This client's name in views.
    pub(crate) fn me(&self) -> Name {
        self.private_group().into()
    }

    /// Sends what has been checked, and waits for room.
    #[inline]
    pub(crate) fn multicast(
        &self,
        options: SendOptions,
        groups: &GroupList,
        payload: &[IoSlice<'_>],
    ) -> Result<(), Error> {
        self.usable()?;
        match &self.backend {
            Backend::Native => {
                let (service_type, number) = (options.service_type(), options.number());
                let sent = self.core.multicast(service_type, groups.names(), number, payload);
                sent.map_err(|error| self.send_failed(error))
            }
            #[cfg(feature = "sys")]
            Backend::Sys(raw) => {
                let sent = raw.send(&self.core, &Send::multicast(options, groups, payload));
                sent.map_err(|error| self.send_failed(error))
            }
        }
    }

    /// As [`multicast`](Connection::multicast), and for joins and leaves.
    pub(crate) fn send(&self, send: &Send<'_>) -> Result<(), Error> {
        self.usable()?;
        // Our libspread refuses the flag of messages to a subgroup.
        #[cfg(feature = "sys")]
        if let Backend::Sys(raw) = &self.backend
            && !send.service_type.contains(SUBGROUP)
        {
            return raw.send(&self.core, send).map_err(|error| self.send_failed(error));
        }
        let Send { service_type, groups, number, payload } = *send;
        let sent = self.core.multicast(service_type, groups, number, payload);
        sent.map_err(|error| self.send_failed(error))
    }

    /// As [`send`](Connection::send), but waits until the deadline at most.
    ///
    /// It goes through the core over libspread, too, whose calls wait without end.
    pub(crate) fn send_deadline(&self, send: &Send<'_>, deadline: Instant) -> Result<(), Error> {
        self.usable()?;
        let Send { service_type, groups, number, payload } = *send;
        let sent = self.core.send_deadline(service_type, groups, number, payload, deadline);
        sent.map_err(|error| self.send_failed(error))
    }

    /// Sends all messages of a batch.
    pub(crate) fn multicast_frames(&self, frames: &mut Frames) -> Result<(), Error> {
        while !frames.is_empty() {
            self.usable()?;
            match &self.backend {
                Backend::Native => {
                    let sent = self.core.multicast_frames(frames);
                    sent.map_err(|error| self.send_failed(error))?;
                }
                #[cfg(feature = "sys")]
                Backend::Sys(raw) => {
                    let sent = raw.send_first(&self.core, frames);
                    sent.map_err(|error| self.send_failed(error))?;
                }
            }
        }
        Ok(())
    }

    /// Sends the first messages of a batch without waiting; returns their number. It goes
    /// through the core over libspread, too, whose calls wait.
    pub(crate) fn try_multicast_frames(&self, frames: &mut Frames) -> Result<usize, Error> {
        self.usable()?;
        let sent = self.core.try_multicast_frames(frames);
        sent.map(|(count, _)| count).map_err(|error| self.send_failed(error))
    }

    /// Sends the rest of a message that has begun; waits for room.
    pub(crate) fn flush(&self) -> Result<(), Error> {
        self.usable()?;
        self.core.flush().map_err(|error| self.send_failed(error))
    }

    /// Sends the rest of a message that has begun, as far as there is room; says whether that
    /// is all. Waits for a thread that is sending.
    pub(crate) fn try_flush(&self) -> Result<bool, Error> {
        self.usable()?;
        self.core.try_flush().map_err(|error| self.send_failed(error))
    }

    /// Tells of a send that failed, but not of a want of memory: the send is repeated, many
    /// times perhaps.
    #[cold]
    pub(crate) fn send_failed(&self, error: impl Into<Error>) -> Error {
        let error = self.explain(error.into());
        if !matches!(error, Error::Resource(_)) {
            self.tell(Event::Failed { what: "send", error: &error });
        }
        error
    }

    /// Adds what TLS says of the end of a connection, if it was not an orderly one.
    #[cold]
    fn explain(&self, error: Error) -> Error {
        let Error::ConnectionClosed { .. } = error else { return error };
        match self.link.as_ref().and_then(Link::failure) {
            Some(failure) => Error::ConnectionClosed { source: Some(failure) },
            None => error,
        }
    }

    /// Returns what an end means that the socket says was an orderly one.
    pub(crate) fn ended(&self) -> Result<(), Error> {
        match self.link.as_ref().and_then(Link::failure) {
            None => Ok(()),
            Some(failure) => Err(Error::ConnectionClosed { source: Some(failure) }),
        }
    }

    /// Tells a subscriber of `tracing` of an event.
    #[cold]
    pub(crate) fn tell(&self, event: Event<'_>) {
        trace::event(self.private_group(), event);
    }

    /// What interrupts the receives of this connection.
    pub(crate) fn wake(&self) -> Result<&Wake, Error> {
        if let Some(wake) = self.wake.get() {
            return Ok(wake);
        }
        let wake = Arc::new(Wake::new().map_err(Error::Resource)?);
        Ok(self.wake.get_or_init(|| wake))
    }

    /// Notes that the daemon broke the protocol: nothing more can be received.
    #[cold]
    pub(crate) fn broken(&self, error: ProtocolError) -> Error {
        self.core.set_failed();
        Error::Protocol(error)
    }

    /// Whether this process has connected it, and not its parent.
    pub(crate) fn is_ours(&self) -> bool {
        self.generation == spread_os::generation()
    }

    #[inline]
    pub(crate) fn usable(&self) -> Result<(), Error> {
        if !self.is_ours() {
            return Err(Error::Forked);
        }
        self.core.check().map_err(|error| self.explain(error.into()))
    }

    #[inline]
    fn receivable(&self) -> Result<(), Error> {
        if !self.is_ours() {
            return Err(Error::Forked);
        }
        self.core.check_receive().map_err(|error| self.explain(error.into()))
    }

    /// Ends the connection both ways, which wakes the threads that wait in it.
    pub(crate) fn shut_down(&self) {
        if self.is_ours() {
            self.core.shut_down();
            self.tell(Event::ShutDown);
        }
    }

    /// Ends the connection for all handles, and waits until the daemon has taken everything.
    /// The receiver is the caller's, or there is none.
    pub(crate) fn disconnect(&self) -> Result<(), Error> {
        self.check_open()?;
        self.is_over.store(true, Ordering::Relaxed);
        let ended = self.end(Instant::now() + LINGER);
        // Other handles keep the descriptor.
        self.core.shut_down();
        self.tell_disconnected(&ended);
        ended
    }

    /// Fails if the connection has ended, also if no call has noticed it: what was sent last may
    /// not have been read then.
    pub(crate) fn check_open(&self) -> Result<(), Error> {
        self.usable()?;
        if !self.core.is_ended_by_peer().map_err(Error::Resource)? {
            return Ok(());
        }
        self.is_over.store(true, Ordering::Relaxed);
        self.core.set_failed();
        let ended = Err(self.explain(Error::closed()));
        self.tell_disconnected(&ended);
        ended
    }

    fn tell_disconnected(&self, ended: &Result<(), Error>) {
        self.tell(match ended {
            Ok(()) => Event::Disconnected,
            Err(error) => Event::Failed { what: "disconnect", error },
        });
    }

    fn end(&self, deadline: Instant) -> Result<(), Error> {
        if !self.core.end_sending(deadline) {
            return Err(Error::DisconnectTimeout);
        }
        loop {
            let (ready, until) = match self.core.try_close() {
                Ok(Closing::Done) => return self.ended(),
                Ok(Closing::ShutDown) => return Err(Error::ShutDown),
                Ok(Closing::Again) => (Ready::ToRead, Instant::now()),
                Ok(Closing::Wait(ready)) => (ready, deadline),
                Ok(Closing::Pause) => (Ready::Ended, deadline.min(Instant::now() + MEMORY_PAUSE)),
                Err(error) => return Err(not_closed(error)),
            };
            wait(self.as_fd(), ready, Some(until)).map_err(Error::Resource)?;
            if Instant::now() >= deadline {
                return Err(Error::DisconnectTimeout);
            }
        }
    }

    /// Fails as long as there is a receiver, of which the caller is not the owner.
    pub(crate) fn check_receiver(&self) -> Result<(), Error> {
        match self.has_receiver.load(Ordering::Acquire) {
            true => Err(Error::ReceiverExists),
            false => Ok(()),
        }
    }

    /// Notes that nobody will receive any more.
    pub(crate) fn drop_receiver(&self) {
        self.has_receiver.store(false, Ordering::Release);
    }

    /// What has gone over the connection so far.
    pub(crate) fn stats(&self) -> Stats {
        let sent = self.core.sent();
        Stats {
            messages_sent: sent.messages(),
            bytes_sent: sent.bytes(),
            messages_received: self.received.messages(),
            bytes_received: self.received.bytes(),
            bytes_queued: self.core.kept() as u64,
        }
    }

    /// Counts a message that was received; for its receiver.
    #[inline]
    pub(crate) fn count_received(&self, frame_len: usize) {
        self.received.add(1, frame_len);
    }

    /// Closes the socket without a word, when it is dropped.
    pub(crate) fn kill(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Ends the connection once a disconnect has done what it can.
    #[cfg(feature = "tokio")]
    pub(crate) fn closed(&self, ended: &Result<(), Error>) {
        self.is_over.store(true, Ordering::Relaxed);
        self.core.shut_down();
        self.tell_disconnected(ended);
    }
}

/// Why a connection could not be ended in an orderly way: most often it had ended before.
pub(crate) fn not_closed(error: io::Error) -> Error {
    match spread_core::is_resource(&error) {
        true => Error::Resource(error),
        false => Error::ConnectionClosed { source: Some(error) },
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // In the child of a fork, or after a kill, the socket is closed and that is all.
        if self.is_ours() && !*self.is_over.get_mut() {
            self.tell(Event::Dropped);
            closing::close(Arc::clone(&self.core));
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.core.as_fd()
    }
}

impl AsRawFd for Connection {
    fn as_raw_fd(&self) -> RawFd {
        self.core.as_raw_fd()
    }
}

#[cfg(all(test, feature = "tracing"))]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn a_send_that_lacks_memory_is_not_told() {
        let (socket, _peer) = UnixStream::pair().unwrap();
        let me = PrivateGroup::new("#me#peer").unwrap();
        let core = spread_core::Connection::on_socket(socket.into(), me);
        let connection = Connection::new(core, Backend::Native, Duration::ZERO);
        let told = Arc::new(AtomicUsize::new(0));
        let telling = Arc::clone(&told);
        let write = move || {
            telling.fetch_add(1, Ordering::Relaxed);
            io::sink()
        };
        let subscriber =
            tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_writer(write);
        tracing::subscriber::with_default(subscriber.finish(), || {
            connection.send_failed(Error::Resource(io::ErrorKind::OutOfMemory.into()));
            assert_eq!(told.load(Ordering::Relaxed), 0);
            connection.send_failed(Error::closed());
            assert_eq!(told.load(Ordering::Relaxed), 1);
        });
    }
}
