//! Receiving without waiting, not even for the rest of a message.
//!
//! `SP_receive` waits for all of a message once it has seen a part of it. The `SP_poll` of
//! this project's library tells whether it would. Over the C library what comes in parts is
//! taken off the socket here, and read by [`spread_wire`]; the library receives messages
//! that are whole when they are first seen, of which it has taken nothing.

use std::ffi::c_int;
use std::io;

use spread_wire::{
    Begun, ByteOrder, ErrorCode, Frame, FrameError, HEADER_LEN, Limits, ServiceType,
};

use super::receive::ReceiveError;
use super::{Code, RawMailbox};
use crate::ProtocolError;
use crate::backend::{Buffers, Received};

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

    /// What the library knows of its own. `None` if it has read nothing of the next
    /// message, of which at least a part is in the socket.
    fn told_by_library(&self) -> Result<Option<Arrival>, ReceiveError> {
        if cfg!(not(feature = "system")) {
            // That of this project counts whole messages only.
            let arrival = if self.poll() == 0 { Arrival::Nothing } else { Arrival::Message };
            return Ok(Some(arrival));
        }
        // The library that is installed may be that of this project, which then holds a part
        // of what was in the socket, and counts it as well. The C library holds nothing, and
        // counts what is in the socket.
        self.poll();
        loop {
            let queued = self.queued()?;
            let counted = self.poll();
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

    fn poll(&self) -> c_int {
        // SAFETY: takes a number only.
        unsafe { spread_sys::SP_poll(self.mbox) }
    }

    /// Whether there is a message to be received, or the end. What there is of a message
    /// that is not whole goes to `begun`; the last of it stays in the socket.
    pub(super) fn has_message(&self, begun: &mut Begun) -> Result<bool, ReceiveError> {
        loop {
            match self.arrival(begun)? {
                Arrival::Message => return Ok(true),
                Arrival::Part(len) => self.take(len, begun)?,
                Arrival::Nothing => return Ok(false),
            }
        }
    }

    /// Receives the message that has begun, of which all the rest is there.
    pub(super) fn receive_begun(
        &self,
        begun: &mut Begun,
        buffers: &mut Buffers,
    ) -> Result<(), ReceiveError> {
        loop {
            if let Some(frame) = begun.take(Limits::FROM_DAEMON)? {
                fill(buffers, &frame);
                return Ok(());
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
            Err(error) => Err(ReceiveError::Io(error)),
        }
    }

    fn recv(&self, buffer: &mut [u8], flags: c_int) -> io::Result<usize> {
        // SAFETY: `buffer` is writable and has the length given.
        let len = unsafe { libc::recv(self.mbox, buffer.as_mut_ptr().cast(), buffer.len(), flags) };
        usize::try_from(len).map_err(|_| io::Error::last_os_error())
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

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// Fills the buffers of a caller with a message.
fn fill(buffers: &mut Buffers, frame: &Frame) {
    let header = frame.header();
    let flags = header.service_type;
    buffers.received = Received {
        service_type: frame.old_type().map_or(flags, |old| old | ServiceType::REJECT),
        sender: header.name,
        message_type: header.hint.message_type(),
        endian_mismatch: header.hint.sender_order() != ByteOrder::NATIVE,
        order: header.order,
    };
    let groups: Vec<_> = frame.groups().iter().map(|group| *group.as_field()).collect();
    buffers.set_groups(&groups);
    buffers.body.clear();
    buffers.body.extend_from_slice(frame.body());
}

impl From<FrameError> for ReceiveError {
    fn from(error: FrameError) -> ReceiveError {
        match ProtocolError::from(error) {
            ProtocolError::TooLong(len) => ReceiveError::TooLong(len),
            _ => Code::from(ErrorCode::IllegalMessage).into(),
        }
    }
}
