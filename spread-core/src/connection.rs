//! A connection to a daemon: its state, and what it sends.

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use spread_wire::limits::{MAX_BODY_AND_GROUPS, MAX_GROUPS, NAME_FIELD};
use spread_wire::{GroupName, Name, PrivateGroup, ServiceType};

use crate::Error;
use crate::frames::{Frames, header};
use crate::poll::{Ready, wait};
use crate::sending::{Sending, Sent};
use crate::stream::{Mode, Stream};

const ACTIVE: u8 = 0;
const FAILED: u8 = 1;
const SHUT_DOWN: u8 = 2;

/// A session with a daemon. Its socket closes when it is dropped; see
/// [`try_close`](Connection::try_close) for an end that loses nothing.
///
/// The descriptor ([`AsFd`]) is readable whenever a whole message can be received, though an
/// [`Inbox`](crate::Inbox) reads ahead.
#[derive(Debug)]
pub struct Connection {
    pub(crate) stream: Stream,
    private_group: PrivateGroup,
    state: AtomicU8,
    sending: Mutex<Sending>,
}

impl Connection {
    /// A connection over a socket on which a handshake has been done.
    pub fn on_socket(socket: OwnedFd, private_group: PrivateGroup) -> Connection {
        // A library that waits for the socket knows best what is well for it.
        Connection::new(Stream::new(socket, false), private_group)
    }

    pub(crate) fn new(stream: Stream, private_group: PrivateGroup) -> Connection {
        let state = AtomicU8::new(ACTIVE);
        Connection { stream, private_group, state, sending: Mutex::default() }
    }

    /// Takes the connection over in the child of a fork: with the same socket, and with
    /// locks that no thread of the parent holds.
    ///
    /// The connection has failed in the child if another thread of the parent was within a
    /// send at the fork.
    pub fn in_child(&self) -> Connection {
        let state = AtomicU8::new(self.state.load(Ordering::Acquire));
        let sending = match self.sending.try_lock() {
            Ok(mut sending) => std::mem::take(&mut *sending),
            Err(_) => {
                state.store(FAILED, Ordering::Release);
                Sending::default()
            }
        };
        let (stream, private_group) = (self.stream.clone(), self.private_group);
        Connection { stream, private_group, state, sending: Mutex::new(sending) }
    }

    /// The client's own private group.
    pub fn private_group(&self) -> PrivateGroup {
        self.private_group
    }

    /// The socket.
    pub fn socket(&self) -> &Arc<OwnedFd> {
        self.stream.fd()
    }

    /// Joins a group; waits for room.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`], [`Error::Failed`], [`Error::ShutDown`].
    pub fn join(&self, group: GroupName) -> Result<(), Error> {
        self.send(ServiceType::JOIN, &[group.into()], 0, &[], Mode::Wait).map(drop)
    }

    /// Leaves a group; waits for room.
    ///
    /// # Errors
    ///
    /// As for [`join`](Connection::join).
    pub fn leave(&self, group: GroupName) -> Result<(), Error> {
        self.send(ServiceType::LEAVE, &[group.into()], 0, &[], Mode::Wait).map(drop)
    }

    /// Sends a message that lies in any number of pieces; waits for room.
    ///
    /// The service type is one service, with or without `SELF_DISCARD`; there are 1 to
    /// [`MAX_GROUPS`] groups, and at most [`MAX_BODY_AND_GROUPS`] bytes of body and groups,
    /// at 32 a group. The real daemon does not survive a longer message, so it is for the
    /// caller to refuse one with an error of its own.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`], [`Error::Failed`], [`Error::ShutDown`].
    ///
    /// # Panics
    ///
    /// If the caller has not kept to the limits.
    #[inline]
    pub fn multicast(
        &self,
        service_type: ServiceType,
        groups: &[Name],
        message_type: i16,
        body: &[IoSlice<'_>],
    ) -> Result<(), Error> {
        self.send(service_type, groups, message_type, body, Mode::Wait).map(drop)
    }

    /// Sends a message as far as there is room: a join, a leave, a disconnect or a
    /// multicast, as [`multicast`](Connection::multicast) demands it.
    ///
    /// # Errors
    ///
    /// As for [`multicast`](Connection::multicast).
    ///
    /// # Panics
    ///
    /// As for [`multicast`](Connection::multicast).
    pub fn try_send(
        &self,
        service_type: ServiceType,
        groups: &[Name],
        message_type: i16,
        body: &[IoSlice<'_>],
    ) -> Result<Sent, Error> {
        self.send(service_type, groups, message_type, body, Mode::Try)
    }

    /// Sends the first messages of a batch, as many as there is room for, but at least one,
    /// for which it waits; removes them and returns their number.
    ///
    /// # Errors
    ///
    /// As for [`multicast`](Connection::multicast).
    pub fn multicast_frames(&self, frames: &mut Frames) -> Result<usize, Error> {
        let mut sending = self.sending()?;
        loop {
            sending.flush(&self.stream, Mode::Wait).map_err(|_| self.fail(Error::Closed))?;
            let sent = sending.frames(&self.stream, self.private_group.into(), frames);
            let (count, state) = sent.map_err(|_| self.fail(Error::Closed))?;
            match state {
                Sent::Nothing if !frames.is_empty() => {
                    let room = wait(self.stream.as_fd(), Ready::ToWrite, None);
                    room.map_err(|_| self.fail(Error::Closed))?;
                }
                // Nothing can go between the parts of a message.
                Sent::Begun => {
                    let rest = sending.flush(&self.stream, Mode::Wait);
                    rest.map_err(|_| self.fail(Error::Closed))?;
                    return Ok(count);
                }
                Sent::All | Sent::Nothing => return Ok(count),
            }
        }
    }

    /// As [`multicast_frames`](Connection::multicast_frames), without waiting.
    ///
    /// # Errors
    ///
    /// As for [`multicast`](Connection::multicast).
    pub fn try_multicast_frames(&self, frames: &mut Frames) -> Result<(usize, Sent), Error> {
        let mut sending = self.sending()?;
        let sent = sending.frames(&self.stream, self.private_group.into(), frames);
        sent.map_err(|_| self.fail(Error::Closed))
    }

    /// Sends the rest of the message that has begun, as far as there is room; says whether
    /// all of it has gone.
    ///
    /// # Errors
    ///
    /// As for [`multicast`](Connection::multicast).
    pub fn try_flush(&self) -> Result<bool, Error> {
        let mut sending = self.sending()?;
        sending.flush(&self.stream, Mode::Try).map_err(|_| self.fail(Error::Closed))
    }

    /// Ends the connection at once, both ways: calls that wait return
    /// [`Error::ShutDown`].
    pub fn shut_down(&self) {
        self.end();
        self.stream.shut_down();
    }

    /// Notes that the connection is not to be used any more, and leaves the socket alone:
    /// further calls return [`Error::ShutDown`].
    pub fn end(&self) {
        self.state.store(SHUT_DOWN, Ordering::Release);
    }

    /// Whether calls may still succeed.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`], [`Error::ShutDown`].
    #[inline]
    pub fn check(&self) -> Result<(), Error> {
        match self.state.load(Ordering::Acquire) {
            ACTIVE => Ok(()),
            FAILED => Err(Error::Failed),
            _ => Err(Error::ShutDown),
        }
    }

    #[inline]
    fn send(
        &self,
        service_type: ServiceType,
        groups: &[Name],
        message_type: i16,
        body: &[IoSlice<'_>],
        mode: Mode,
    ) -> Result<Sent, Error> {
        let data_len = body.iter().map(|piece| piece.len()).sum::<usize>();
        assert!(
            groups.len() <= MAX_GROUPS
                && groups.len() * NAME_FIELD + data_len <= MAX_BODY_AND_GROUPS,
            "the caller checks the limits of a message"
        );
        let name = self.private_group.into();
        let header = header(name, service_type, groups.len(), message_type, data_len);
        let mut sending = self.sending()?;
        let sent = sending.message(&self.stream, &header, groups, body, mode);
        // A part of the message may have gone, and nothing can follow it.
        sent.map_err(|_| self.fail(Error::Closed))
    }

    /// The right to send.
    pub(crate) fn lock_sending(&self) -> MutexGuard<'_, Sending> {
        self.sending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    fn sending(&self) -> Result<MutexGuard<'_, Sending>, Error> {
        self.check()?;
        let sending = self.lock_sending();
        self.check()?;
        Ok(sending)
    }

    /// Marks the connection as failed, and wakes the threads that wait in it.
    #[cold]
    pub(crate) fn fail(&self, error: Error) -> Error {
        match self.state.compare_exchange(ACTIVE, FAILED, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {
                self.stream.shut_down();
                error
            }
            Err(SHUT_DOWN) => Error::ShutDown,
            Err(_) => Error::Failed,
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl AsRawFd for Connection {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}
