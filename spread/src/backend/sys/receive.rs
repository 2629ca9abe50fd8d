//! Receiving.

use std::ffi::c_int;
use std::io;

use spread_wire::limits::NAME_FIELD;
use spread_wire::{Begun, ByteOrder, ErrorCode, Limits, Name, ServiceType};

use super::{Code, RawMailbox, check};
use crate::backend::{Backend, Buffers, Mode, Received};
use crate::connection::Connection;
use crate::{Error, Message, ProtocolError};

/// What a receiver keeps between two messages.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    /// The beginning of the next message, if it has been taken off the socket.
    begun: Begun,
    /// For messages that are not received into the buffers of a caller.
    buffers: Option<Buffers>,
}

/// Why nothing was received.
#[derive(Debug)]
pub(super) enum ReceiveError {
    Code(Code),
    /// The message has more bytes than any that a daemon sends.
    TooLong(usize),
    Io(io::Error),
}

impl From<Code> for ReceiveError {
    fn from(code: Code) -> ReceiveError {
        ReceiveError::Code(code)
    }
}

impl Inbox {
    pub(crate) fn can_wait(&self) -> bool {
        self.begun.is_empty()
    }

    pub(crate) fn is_ready(&mut self, connection: &Connection) -> Result<bool, Error> {
        let ready = raw(connection).has_message(&mut self.begun);
        ready.map_err(|error| failed(connection, error))
    }

    pub(crate) fn receive(
        &mut self,
        connection: &Connection,
        mode: Mode,
    ) -> Result<Option<Message>, Error> {
        let mut buffers = self.buffers.take().unwrap_or_else(|| Buffers::new(64, 8 * 1024));
        let received = self.receive_into(connection, mode, &mut buffers);
        let message = received.and_then(|received| {
            let parse = || {
                let (received, groups, body) = buffers.parts();
                Message::parse(received, groups, body, connection.me())
            };
            received.then(parse).transpose().map_err(|error| connection.broken(error))
        });
        self.buffers = Some(buffers);
        message
    }

    pub(crate) fn receive_into(
        &mut self,
        connection: &Connection,
        mode: Mode,
        buffers: &mut Buffers,
    ) -> Result<bool, Error> {
        if mode == Mode::Try && !self.is_ready(connection)? {
            return Ok(false);
        }
        let raw = raw(connection);
        let received = if self.begun.is_empty() {
            raw.receive(buffers)
        } else {
            raw.receive_begun(&mut self.begun, buffers)
        };
        received.map_err(|error| failed(connection, error))?;
        connection.count_received(buffers.frame_len());
        Ok(true)
    }
}

/// The mailbox of a connection whose inbox is of this kind.
fn raw(connection: &Connection) -> &RawMailbox {
    match connection.backend() {
        Backend::Sys(raw) => raw,
        Backend::Native => unreachable!("a connection makes an inbox of its own kind"),
    }
}

/// What went wrong in a receive. None can follow, because the library may be within a message,
/// unless memory was lacking before it was called.
#[cold]
fn failed(connection: &Connection, error: ReceiveError) -> Error {
    let core = connection.core();
    let error = match error {
        ReceiveError::TooLong(len) => Error::Protocol(ProtocolError::TooLong(len)),
        ReceiveError::Code(code) => match code.known() {
            Some(ErrorCode::IllegalMessage) => Error::Protocol(ProtocolError::Header),
            _ => code.of_session("SP_receive", core),
        },
        // The library has not been asked, so it is not within a message.
        ReceiveError::Io(error) if spread_core::is_resource(&error) => {
            return Error::Resource(error);
        }
        ReceiveError::Io(error) => Error::ConnectionClosed { source: Some(error) },
    };
    core.set_failed();
    error
}

impl RawMailbox {
    /// Waits for a message, and lets `buffers` grow until it fits.
    #[inline]
    fn receive(&self, buffers: &mut Buffers) -> Result<(), ReceiveError> {
        loop {
            // In: no flags; a left-over DROP_RECV would cut messages short.
            let mut service_type: spread_sys::service = 0;
            let mut sender = [0; NAME_FIELD];
            let mut num_groups: c_int = 0;
            let mut message_type: i16 = 0;
            let mut endian_mismatch: c_int = 0;
            // SAFETY: every pointer is to memory that is writable and lives through the
            // call; `groups` has room for as many names, and `body` for as many bytes, as
            // the two lengths say.
            let result = unsafe {
                spread_sys::SP_receive(
                    self.mbox,
                    &mut service_type,
                    sender.as_mut_ptr().cast(),
                    buffers.groups.len() as c_int,
                    &mut num_groups,
                    buffers.groups.as_mut_ptr().cast(),
                    &mut message_type,
                    &mut endian_mismatch,
                    buffers.body.capacity() as c_int,
                    buffers.body.as_mut_ptr().cast(),
                )
            };
            match check(result) {
                Ok(len) => {
                    let count = usize::try_from(num_groups).unwrap_or(usize::MAX);
                    if len > buffers.body.capacity() || count > buffers.groups.len() {
                        return Err(Code::from(ErrorCode::Bug).into());
                    }
                    // SAFETY: the library has written `len` bytes, and they are within the
                    // capacity.
                    unsafe { buffers.body.set_len(len) };
                    buffers.num_groups = count;
                    buffers.received = Received {
                        service_type: ServiceType::from_bits_retain(service_type as u32),
                        sender: Name::from_field(sender),
                        message_type,
                        endian_mismatch: endian_mismatch != 0,
                        // The library has turned the integers of a membership body already.
                        order: ByteOrder::NATIVE,
                    };
                    return Ok(());
                }
                Err(code) => grow(buffers, code, num_groups, endian_mismatch)?,
            }
        }
    }
}

/// Makes room for what `SP_receive` said it needs, if that is what the code means.
#[cold]
fn grow(
    buffers: &mut Buffers,
    code: Code,
    num_groups: c_int,
    endian_mismatch: c_int,
) -> Result<(), ReceiveError> {
    let short = [ErrorCode::GroupsTooShort, ErrorCode::BufferTooShort];
    if !code.known().is_some_and(|known| short.contains(&known)) {
        return Err(ReceiveError::Code(code));
    }
    // Both sizes are told with either code, as a negative number; zero means that this one
    // would do.
    let needed = |n: c_int| usize::try_from(n.unsigned_abs()).unwrap_or(usize::MAX);
    let groups = if num_groups < 0 { needed(num_groups) } else { 0 };
    let body = if endian_mismatch < 0 { needed(endian_mismatch) } else { 0 };
    let Limits { groups: max_groups, data: max_body, .. } = Limits::FROM_DAEMON;
    if groups > max_groups || body > max_body {
        return Err(ReceiveError::TooLong(groups.saturating_mul(NAME_FIELD).max(body)));
    }
    if groups <= buffers.groups.len() && body <= buffers.body.capacity() {
        // Nothing to grow: asking again would go on for ever.
        return Err(Code::from(ErrorCode::Bug).into());
    }
    if groups > buffers.groups.len() {
        buffers.groups.resize(groups, [0; NAME_FIELD]);
    }
    buffers.body.clear();
    buffers.body.reserve(body);
    Ok(())
}
