//! Receiving, and waiting for it.

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Instant;

use spread_wire::limits::NAME_FIELD;
use spread_wire::{ErrorCode, Limits, Name, ServiceType};

use super::socket::poll;
use super::{Code, RawMailbox, Result, check};

/// What `SP_receive` tells about a message besides its groups and its body.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) service_type: ServiceType,
    pub(crate) sender: Name,
    pub(crate) message_type: i16,
    pub(crate) endian_mismatch: bool,
}

/// What is told about a message, and memory for its groups and its body, kept from one
/// to the next.
#[derive(Debug)]
pub(crate) struct Buffers {
    pub(super) received: Received,
    pub(super) groups: Vec<[u8; NAME_FIELD]>,
    pub(super) num_groups: usize,
    pub(super) body: Vec<u8>,
}

/// What a wait ended with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Readable {
    pub(crate) mailbox: bool,
    pub(crate) wake: bool,
}

/// Why nothing was received.
#[derive(Debug)]
pub(crate) enum ReceiveError {
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

impl RawMailbox {
    /// Waits for a message, and lets `buffers` grow until it fits.
    #[inline]
    pub(crate) fn receive(&self, buffers: &mut Buffers) -> Result<(), ReceiveError> {
        loop {
            // In: no flags; a left-over DROP_RECV would cut messages short.
            let mut service_type: spread_sys::service = 0;
            let mut sender = [0; NAME_FIELD];
            let mut num_groups: c_int = 0;
            let mut message_type: i16 = 0;
            let mut endian_mismatch: c_int = 0;
            // SAFETY: every pointer is to memory that is writable and lives
            // through the call; `groups` has room for as many names, and `body`
            // for as many bytes, as the two lengths say.
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
                    // SAFETY: the library has written `len` bytes, and they are
                    // within the capacity.
                    unsafe { buffers.body.set_len(len) };
                    buffers.num_groups = count;
                    buffers.received = Received {
                        service_type: ServiceType::from_bits_retain(service_type as u32),
                        sender: Name::from_field(sender),
                        message_type,
                        endian_mismatch: endian_mismatch != 0,
                    };
                    return Ok(());
                }
                Err(code) => buffers.grow(code, num_groups, endian_mismatch)?,
            }
        }
    }

    /// Waits until the descriptor is readable or its peer is gone, or until
    /// `wake` is readable; says which. Neither: the deadline has passed. Without
    /// a deadline it waits without end.
    pub(crate) fn wait_readable(
        &self,
        wake: Option<BorrowedFd<'_>>,
        deadline: Option<Instant>,
    ) -> io::Result<Readable> {
        let wake = wake.map_or(-1, |fd| fd.as_raw_fd());
        let [mailbox, wake] = poll([(self.mbox, libc::POLLIN), (wake, libc::POLLIN)], deadline)?;
        Ok(Readable { mailbox, wake })
    }

    pub(super) fn recv(&self, buffer: &mut [u8], flags: c_int) -> io::Result<usize> {
        // SAFETY: `buffer` is writable and has the length given.
        let len = unsafe { libc::recv(self.mbox, buffer.as_mut_ptr().cast(), buffer.len(), flags) };
        usize::try_from(len).map_err(|_| io::Error::last_os_error())
    }
}

impl Buffers {
    pub(crate) fn new(groups: usize, body: usize) -> Buffers {
        let received = Received {
            service_type: ServiceType::empty(),
            sender: Name::EMPTY,
            message_type: 0,
            endian_mismatch: false,
        };
        Buffers {
            received,
            groups: vec![[0; NAME_FIELD]; groups],
            num_groups: 0,
            body: Vec::with_capacity(body),
        }
    }

    /// The last message: what is told about it, its groups and its body.
    pub(crate) fn parts(&mut self) -> (&Received, &[[u8; NAME_FIELD]], &mut Vec<u8>) {
        (&self.received, &self.groups[..self.num_groups], &mut self.body)
    }

    /// Bytes of the last message's body.
    pub(crate) fn body_len(&self) -> usize {
        self.body.len()
    }

    /// Makes room for what `SP_receive` said it needs, if that is what the code means.
    #[cold]
    fn grow(
        &mut self,
        code: Code,
        num_groups: c_int,
        endian_mismatch: c_int,
    ) -> Result<(), ReceiveError> {
        let short = [ErrorCode::GroupsTooShort, ErrorCode::BufferTooShort];
        if !code.known().is_some_and(|known| short.contains(&known)) {
            return Err(ReceiveError::Code(code));
        }
        // Both sizes are told with either code, as a negative number; zero means that
        // this one would do.
        let needed = |n: c_int| usize::try_from(n.unsigned_abs()).unwrap_or(usize::MAX);
        let groups = if num_groups < 0 { needed(num_groups) } else { 0 };
        let body = if endian_mismatch < 0 { needed(endian_mismatch) } else { 0 };
        let Limits { groups: max_groups, data: max_body, .. } = Limits::FROM_DAEMON;
        if groups > max_groups || body > max_body {
            return Err(ReceiveError::TooLong(groups.saturating_mul(NAME_FIELD).max(body)));
        }
        if groups <= self.groups.len() && body <= self.body.capacity() {
            // Nothing to grow: asking again would go on for ever.
            return Err(Code::from(ErrorCode::Bug).into());
        }
        if groups > self.groups.len() {
            self.groups.resize(groups, [0; NAME_FIELD]);
        }
        self.body.clear();
        self.body.reserve(body);
        Ok(())
    }
}
