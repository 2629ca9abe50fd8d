//! Receiving without waiting, not even for the rest of a message.
//!
//! `SP_receive` waits for all of a message once it has seen a part of it. The bundled
//! library tells whether it would, and so does its `SP_poll` where it is the one that is
//! installed. Over the C library what comes in parts is taken off the socket here, and
//! read by [`spread_wire`]; the library receives messages that are whole when they are
//! first seen, of which it has taken nothing.

use std::ffi::c_int;
use std::io;

use spread_wire::limits::NAME_FIELD;
use spread_wire::{
    Begun, ByteOrder, ErrorCode, Frame, FrameError, HEADER_LEN, Limits, Name, ServiceType,
    native_body,
};

use super::socket::is_transient;
use super::{Buffers, Code, RawMailbox, ReceiveError, Received};

/// Bytes that are taken off the socket at once.
const CHUNK: usize = 16 * 1024;

/// What is there to be received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arrival {
    /// A whole message, or the end: a receive does not wait.
    Message,
    /// So many bytes of a message that is not whole, in the socket.
    Part(usize),
    /// Nothing that makes the descriptor readable.
    Nothing,
}

impl RawMailbox {
    /// What is there to be received, after what is in `begun`; leaves it there.
    fn arrival(&self, begun: &Begun) -> Result<Arrival, ReceiveError> {
        if begun.is_empty()
            && let Some(arrival) = self.told_by_library()?
        {
            return Ok(arrival);
        }
        let mut next = [0; HEADER_LEN];
        let count = loop {
            match self.recv(&mut next, libc::MSG_PEEK | libc::MSG_DONTWAIT) {
                // The end, which is for the receive to tell.
                Ok(0) => return Ok(Arrival::Message),
                Ok(count) => break count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_transient(&error) => return Ok(Arrival::Nothing),
                // As is the error.
                Err(_) => return Ok(Arrival::Message),
            }
        };
        let Some(lacking) = begun.lacks(&next[..count], Limits::FROM_DAEMON)? else {
            return Ok(Arrival::Part(count));
        };
        let queued = self.queued()?.max(count);
        Ok(if queued >= lacking { Arrival::Message } else { Arrival::Part(queued) })
    }

    /// Whether a receive would wait, as far as that can be told without a look at what is
    /// in the socket: for a large queue that takes long.
    pub(crate) fn would_wait(&self) -> Result<bool, ReceiveError> {
        match spread_sys::message_ready(self.mbox) {
            Some(ready) => Ok(!ready),
            // While there is a message the queue is not empty, whoever reads ahead.
            None => Ok(self.queued()? == 0),
        }
    }

    /// What the library knows of its own. `None` if it has read nothing of the next
    /// message, of which at least a part is in the socket.
    fn told_by_library(&self) -> Result<Option<Arrival>, ReceiveError> {
        if let Some(ready) = spread_sys::message_ready(self.mbox) {
            return Ok(Some(if ready { Arrival::Message } else { Arrival::Nothing }));
        }
        // The library that is installed may be that of this project, which reads ahead and
        // counts, besides what is in the socket, what it holds of whole messages. The
        // C library counts what is in the socket.
        loop {
            let queued = self.queued()?;
            // SAFETY: takes a number only.
            let counted = unsafe { spread_sys::SP_poll(self.mbox) };
            if self.queued()? != queued {
                continue;
            }
            match usize::try_from(counted) {
                Ok(0) => match self.recv(&mut [0], libc::MSG_PEEK | libc::MSG_DONTWAIT) {
                    // It has come just now, and may be the rest of what the library holds.
                    Ok(1..) => {}
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) if is_transient(&error) => return Ok(Some(Arrival::Nothing)),
                    // The end or an error, which is for the receive to tell.
                    _ => return Ok(Some(Arrival::Message)),
                },
                Ok(counted) if counted == queued => return Ok(None),
                _ => return Ok(Some(Arrival::Message)),
            }
        }
    }

    /// Whether there is a message to be received, or the end. What there is of a message
    /// that is not whole goes to `begun`; the last of it stays in the socket.
    pub(crate) fn has_message(&self, begun: &mut Begun) -> Result<bool, ReceiveError> {
        loop {
            match self.arrival(begun)? {
                Arrival::Message => return Ok(true),
                Arrival::Part(len) => self.take(len, begun)?,
                Arrival::Nothing => return Ok(false),
            }
        }
    }

    /// Receives the message that has begun, of which all the rest is there.
    pub(crate) fn receive_begun(
        &self,
        begun: &mut Begun,
        me: Name,
        buffers: &mut Buffers,
    ) -> Result<(), ReceiveError> {
        loop {
            if let Some(frame) = begun.take(Limits::FROM_DAEMON)? {
                return buffers.fill(&frame, me);
            }
            let lacking = begun.lacks(&[], Limits::FROM_DAEMON)?;
            self.take(lacking.unwrap_or_else(|| HEADER_LEN - begun.len()), begun)?;
        }
    }

    /// Takes up to `most` bytes, at least one, off the socket, without waiting.
    fn take(&self, most: usize, begun: &mut Begun) -> Result<(), ReceiveError> {
        let mut chunk = [0; CHUNK];
        match self.recv(&mut chunk[..most.min(CHUNK)], libc::MSG_DONTWAIT) {
            Ok(0) => Err(Code::from(ErrorCode::ConnectionClosed).into()),
            Ok(count) => {
                begun.extend(&chunk[..count]);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(_) => Err(Code::from(ErrorCode::ConnectionClosed).into()),
        }
    }

    fn queued(&self) -> Result<usize, ReceiveError> {
        let mut queued: c_int = 0;
        // SAFETY: FIONREAD writes one int.
        match unsafe { libc::ioctl(self.mbox, libc::FIONREAD, &mut queued) } {
            0 => Ok(usize::try_from(queued).unwrap_or(0)),
            _ => Err(ReceiveError::Io(io::Error::last_os_error())),
        }
    }
}

impl Buffers {
    /// Fills them as `SP_receive` does for the client `me`.
    fn fill(&mut self, frame: &Frame, me: Name) -> Result<(), ReceiveError> {
        let header = frame.header();
        let body = native_body(header, frame.body());
        let body = body.map_err(|_| Code::from(ErrorCode::IllegalMessage))?;
        self.body.clear();
        self.body.extend_from_slice(&body);
        let groups = frame.groups();
        self.num_groups = groups.len();
        if self.groups.len() < groups.len() {
            self.groups.resize(groups.len(), [0; NAME_FIELD]);
        }
        for (field, group) in self.groups.iter_mut().zip(groups.iter()) {
            *field = *group.as_field();
        }

        let (flags, hint) = (header.service_type, header.hint);
        let is_membership = !flags.is_regular() && !flags.is_reject();
        let place = || groups.iter().position(|name| name == me);
        self.received = Received {
            service_type: frame.old_type().map_or(flags, |old| old | ServiceType::REJECT),
            sender: header.name,
            message_type: match is_membership {
                // The receiver's place among the members.
                true => place().and_then(|place| place.try_into().ok()).unwrap_or(-1),
                false => hint.message_type(),
            },
            endian_mismatch: !is_membership && hint.sender_order() != ByteOrder::NATIVE,
        };
        Ok(())
    }
}

impl From<FrameError> for ReceiveError {
    fn from(error: FrameError) -> ReceiveError {
        let len = |len: i32| usize::try_from(len).ok();
        let too_long = match error {
            FrameError::Groups { count, .. } => len(count).map(|n| n.saturating_mul(NAME_FIELD)),
            FrameError::Data { len: data, .. } => len(data),
            FrameError::Total { len, .. } => Some(len),
            _ => None,
        };
        match too_long {
            Some(len) => ReceiveError::TooLong(len),
            None => Code::from(ErrorCode::IllegalMessage).into(),
        }
    }
}
