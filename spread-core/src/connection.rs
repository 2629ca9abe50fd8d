//! A connection to a daemon: its state, and what it sends.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use spread_wire::limits::{MAX_BODY_AND_GROUPS, MAX_GROUPS, NAME_FIELD};
use spread_wire::{GroupName, Header, Name, PrivateGroup, ServiceType};

use crate::Error;
use crate::error::is_resource;
use crate::frames::{Frames, header};
use crate::poll::{Ready, wait};
use crate::sending::{Sending, Sent};
use crate::state::{End, State};
use crate::stream::{Mode, Stream};
use crate::traffic::Traffic;
use crate::turns::{Turn, Turns};

/// A session with a daemon. Its socket closes when it is dropped; see
/// [`try_close`](Connection::try_close) for an end that loses nothing.
///
/// The descriptor ([`AsFd`]) is readable whenever a whole message can be received, though an
/// [`Inbox`](crate::Inbox) reads ahead.
#[derive(Debug)]
pub struct Connection {
    pub(crate) stream: Stream,
    /// Whether [`shut_down`](Connection::shut_down) has ended both sides.
    pub(crate) is_shut_down: AtomicBool,
    private_group: PrivateGroup,
    state: State,
    pub(crate) turns: Turns,
    pub(crate) traffic: Traffic,
}

impl Connection {
    /// A connection over a socket on which a handshake has been done.
    pub fn on_socket(socket: OwnedFd, private_group: PrivateGroup) -> Connection {
        // A library that waits for the socket knows best what is well for it.
        Connection::new(Stream::new(socket, false), private_group)
    }

    pub(crate) fn new(stream: Stream, private_group: PrivateGroup) -> Connection {
        let (state, turns) = (State::default(), Turns::default());
        let (is_shut_down, traffic) = Default::default();
        Connection { stream, is_shut_down, private_group, state, turns, traffic }
    }

    /// Takes the connection over in the child of a fork: with the same socket, and with
    /// locks that no thread of the parent holds.
    ///
    /// The connection has failed in the child if another thread of the parent was within a
    /// send at the fork.
    pub fn in_child(&self) -> Connection {
        let state = self.state.clone();
        let sending = match self.turns.try_take() {
            Some(mut sending) => std::mem::take(&mut *sending),
            None => {
                let _ = state.end_as(End::Failed);
                Sending::default()
            }
        };
        let (stream, private_group) = (self.stream.clone(), self.private_group);
        let (turns, traffic) = (Turns::new(sending), Traffic::default());
        let is_shut_down = AtomicBool::new(self.is_shut_down.load(Ordering::Acquire));
        Connection { stream, is_shut_down, private_group, state, turns, traffic }
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
    /// [`Error::Closed`], [`Error::Resource`], [`Error::Failed`], [`Error::ShutDown`].
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
    /// `spread_wire`'s `MAX_GROUPS` groups, and at most `MAX_BODY_AND_GROUPS` bytes of body and groups,
    /// at 32 a group. The real daemon does not survive a longer message, so it is for the
    /// caller to refuse one with an error of its own.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`], [`Error::Resource`], [`Error::Failed`], [`Error::ShutDown`].
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

    /// Sends a message, as [`try_send`](Connection::try_send) demands it, and waits for room and
    /// for other threads until the deadline. One that has passed is no wait.
    ///
    /// # Errors
    ///
    /// As for [`multicast`](Connection::multicast); [`Error::TimedOut`] if nothing has been sent
    /// by then, and [`Error::PartlySent`] if a part of the message has.
    ///
    /// # Panics
    ///
    /// As for [`multicast`](Connection::multicast).
    pub fn send_deadline(
        &self,
        service_type: ServiceType,
        groups: &[Name],
        message_type: i16,
        body: &[IoSlice<'_>],
        deadline: Instant,
    ) -> Result<(), Error> {
        match self.send(service_type, groups, message_type, body, Mode::Until(deadline))? {
            Sent::All => Ok(()),
            Sent::Nothing => Err(Error::TimedOut),
            Sent::Begun => Err(self.end_as(End::CutShort, Error::PartlySent)),
        }
    }

    /// Calls `send`, which sends one message of `frame_len` bytes over the socket by other
    /// means, with the right to send; before, sends the rest of what has begun.
    ///
    /// # Errors
    ///
    /// As for [`multicast`](Connection::multicast), without having called `send`.
    pub fn send_with<T, E>(
        &self,
        frame_len: usize,
        send: impl FnOnce() -> Result<T, E>,
    ) -> Result<Result<T, E>, Error> {
        let mut sending = self.sending()?;
        sending.flush(&self.stream, Mode::Wait).map_err(|e| self.failed(e))?;
        let sent = send();
        if sent.is_ok() {
            self.traffic.add(1, frame_len);
        }
        Ok(sent)
    }

    /// How much has been sent.
    pub fn sent(&self) -> &Traffic {
        &self.traffic
    }

    /// How many bytes the connection keeps to be sent: buffered messages, and the rest of one
    /// that has begun. While a thread is sending, as many as there were before.
    pub fn kept(&self) -> usize {
        self.turns.kept()
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
            sending.flush(&self.stream, Mode::Wait).map_err(|e| self.failed(e))?;
            let (count, bytes, state) =
                sending.frames(&self.stream, self.private_group.into(), frames);
            self.traffic.add(count, bytes);
            match state {
                Ok(Sent::Nothing) if !frames.is_empty() => {
                    let room = wait(self.stream.as_fd(), Ready::ToWrite, None);
                    room.map_err(|e| self.failed(e))?;
                }
                Err(error) if count == 0 || !is_resource(&error) => return Err(self.failed(error)),
                // Nothing can go between the parts of a message.
                Ok(Sent::Begun) | Err(_) => {
                    let rest = sending.flush(&self.stream, Mode::Wait);
                    rest.map_err(|e| self.failed(e))?;
                    return Ok(count);
                }
                Ok(Sent::All | Sent::Nothing) => return Ok(count),
            }
        }
    }

    /// As [`multicast_frames`](Connection::multicast_frames), without waiting: none of the
    /// messages is sent if there is no room, or if another thread is sending.
    ///
    /// # Errors
    ///
    /// As for [`multicast`](Connection::multicast); [`Error::Resource`] may come after some of
    /// the messages, which have been removed, and the connection keeps the rest of the one that
    /// has begun.
    pub fn try_multicast_frames(&self, frames: &mut Frames) -> Result<(usize, Sent), Error> {
        self.check()?;
        let Some(sending) = self.turns.try_take() else {
            return Ok((0, Sent::Nothing));
        };
        self.check()?;
        self.try_frames(sending, frames)
    }

    /// As [`try_multicast_frames`](Connection::try_multicast_frames), but waits for another
    /// thread that is sending: if nothing is sent, there was no room.
    ///
    /// # Errors
    ///
    /// As for [`multicast`](Connection::multicast).
    pub fn try_multicast_frames_in_turn(
        &self,
        frames: &mut Frames,
    ) -> Result<(usize, Sent), Error> {
        self.try_frames(self.sending()?, frames)
    }

    fn try_frames(
        &self,
        mut sending: Turn<'_>,
        frames: &mut Frames,
    ) -> Result<(usize, Sent), Error> {
        let (count, bytes, state) = sending.frames(&self.stream, self.private_group.into(), frames);
        self.traffic.add(count, bytes);
        state.map(|state| (count, state)).map_err(|e| self.failed(e))
    }

    /// Sends the rest of the message that has begun and what is buffered, as far as there is
    /// room; says whether all of it has gone. If not, the descriptor polls writable once there is
    /// room again. Waits for another thread that is sending, also if that one waits for room.
    ///
    /// # Errors
    ///
    /// As for [`multicast`](Connection::multicast). After [`Error::Resource`], part of it may
    /// have gone, and the connection keeps the rest. No event tells when there is memory again:
    /// call it again after [`MEMORY_PAUSE`](crate::MEMORY_PAUSE) or longer.
    pub fn try_flush(&self) -> Result<bool, Error> {
        let mut sending = self.sending()?;
        sending.flush(&self.stream, Mode::Try).map_err(|e| self.failed(e))
    }

    /// Sends the rest of the message that has begun and what is buffered; waits while there is no
    /// room.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`], [`Error::Failed`], [`Error::ShutDown`]; [`Error::Resource`] only if there
    /// is no memory even to wait: the connection keeps the rest.
    pub fn flush(&self) -> Result<(), Error> {
        let mut sending = self.sending()?;
        let flushed = sending.flush(&self.stream, Mode::Wait);
        flushed.map(drop).map_err(|e| self.failed(e))
    }

    /// Ends the connection at once, both ways: calls that wait return
    /// [`Error::ShutDown`].
    pub fn shut_down(&self) {
        self.end();
        self.is_shut_down.store(true, Ordering::Release);
        self.stream.shut_down();
    }

    /// Notes that the connection is not to be used any more, and leaves the socket alone:
    /// further calls return [`Error::ShutDown`], unless it has failed before.
    pub fn end(&self) {
        self.state.shut_down();
    }

    /// Whether calls may still succeed.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`], [`Error::ShutDown`].
    #[inline]
    pub fn check(&self) -> Result<(), Error> {
        self.state.check()
    }

    /// Whether something may still be received: also what came before a send failed.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`], [`Error::ShutDown`].
    #[inline]
    pub fn check_receive(&self) -> Result<(), Error> {
        self.state.check_receive()
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
        let header = self.header(service_type, groups, message_type, data_len);
        let mut sending = match mode {
            Mode::Until(deadline) => self.sending_by(deadline)?,
            _ => self.sending()?,
        };
        let sent = sending.message(&self.stream, &header, groups, body, mode);
        let sent = sent.map_err(|e| self.failed(e))?;
        if sent != Sent::Nothing {
            self.traffic.add(1, header.frame_len());
        }
        Ok(sent)
    }

    /// The header of a message, whose limits the caller has checked.
    #[inline]
    pub(crate) fn header(
        &self,
        service_type: ServiceType,
        groups: &[Name],
        message_type: i16,
        data_len: usize,
    ) -> Header {
        assert!(
            groups.len() <= MAX_GROUPS
                && groups.len() * NAME_FIELD + data_len <= MAX_BODY_AND_GROUPS,
            "the caller checks the limits of a message"
        );
        header(self.private_group.into(), service_type, groups.len(), message_type, data_len)
    }

    /// The right to send.
    #[inline]
    pub(crate) fn sending(&self) -> Result<Turn<'_>, Error> {
        self.check()?;
        let sending = self.turns.take();
        self.check()?;
        Ok(sending)
    }

    fn sending_by(&self, deadline: Instant) -> Result<Turn<'_>, Error> {
        self.check()?;
        let sending = self.turns.take_by(deadline).ok_or(Error::TimedOut)?;
        self.check()?;
        Ok(sending)
    }

    /// Notes that the connection has failed, as by something received from it, and wakes the
    /// threads that wait in it: further calls return [`Error::Failed`].
    pub fn set_failed(&self) {
        self.fail(Error::Failed);
    }

    /// Notes that a send has failed by other means than this connection's: nothing more can be
    /// sent, and what has come can still be received.
    pub fn set_cut(&self) {
        self.end_as(End::Cut, Error::Failed);
    }

    /// What a failed send means for the connection: only a want of memory leaves it as it was.
    /// What has come can still be received.
    #[cold]
    pub(crate) fn failed(&self, error: io::Error) -> Error {
        match Error::of_stream(error) {
            Error::Resource(error) => Error::Resource(error),
            error => self.end_as(End::Cut, error),
        }
    }

    /// What a failed receive means for the connection: only a want of memory leaves it as it
    /// was.
    #[cold]
    pub(crate) fn receive_failed(&self, error: io::Error) -> Error {
        match Error::of_stream(error) {
            Error::Resource(error) => Error::Resource(error),
            error => self.fail(error),
        }
    }

    /// Marks the connection as failed, and wakes the threads that wait in it.
    #[cold]
    pub(crate) fn fail(&self, error: Error) -> Error {
        self.end_as(End::Failed, error)
    }

    fn end_as(&self, end: End, error: Error) -> Error {
        match self.state.end_as(end) {
            Ok(()) => {
                self.stream.shut_down();
                error
            }
            Err(before) => before,
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

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn a_batch_in_its_turn_waits_for_another_thread_and_not_for_room() {
        let (socket, _peer) = UnixStream::pair().unwrap();
        let me = PrivateGroup::new("#me#peer").unwrap();
        let connection = Connection::on_socket(socket.into(), me);
        let mut frames = Frames::default();
        let group = Name::new("g").unwrap();
        frames.push(ServiceType::regular(spread_wire::Service::Fifo, false), &[group], 0, b"x");
        let ((taken, is_taken), (go_on, goes_on)) = (mpsc::channel(), mpsc::channel::<()>());
        thread::scope(|scope| {
            let connection = &connection;
            scope.spawn(move || {
                let send = || taken.send(()).map(|()| goes_on.recv());
                connection.send_with(0, send).unwrap().unwrap().unwrap();
            });
            is_taken.recv().unwrap();
            assert_eq!(connection.try_multicast_frames(&mut frames).unwrap(), (0, Sent::Nothing));
            go_on.send(()).unwrap();
            let sent = connection.try_multicast_frames_in_turn(&mut frames).unwrap();
            assert_eq!(sent, (1, Sent::All));
        });
    }
}
