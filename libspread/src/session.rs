//! One session: its state, and what it sends.

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use spread_wire::limits::{MAX_BODY_AND_GROUPS, MAX_GROUPS, NAME_FIELD};
use spread_wire::{
    ByteOrder, ErrorCode, GroupName, HEADER_LEN, Header, Hint, Limits, Name, PrivateGroup,
    ServiceType,
};

use crate::fork;
use crate::receive::{Buffers, ReadAhead, Received};
use crate::socket::Stream;
use crate::types::mailbox;

const ACTIVE: u8 = 0;
const FAILED: u8 = 1;
const KILLED: u8 = 2;

/// Bytes of multicasts from which on the next ones are left for another call:
/// more than a socket usually takes at once.
const BATCH: usize = 256 * 1024;

/// How long a disconnect waits for the daemon at most.
const LINGER: Duration = Duration::from_secs(1);

/// A session with a daemon.
///
/// Its descriptor is open until the last handle on it is gone, so the number
/// of the mailbox belongs to it for as long as any thread works with it.
#[derive(Debug)]
pub(crate) struct Session {
    stream: Stream,
    private_group: Name,
    generation: u32,
    state: AtomicU8,
    sending: Mutex<()>,
    receiving: Mutex<ReadAhead>,
    /// See [`ReadAhead::held`].
    held: AtomicUsize,
}

impl Session {
    pub(crate) fn new(stream: Stream, private_group: PrivateGroup) -> Session {
        Session {
            stream,
            private_group: private_group.into(),
            generation: fork::generation(),
            state: AtomicU8::new(ACTIVE),
            sending: Mutex::new(()),
            receiving: Mutex::new(ReadAhead::default()),
            held: AtomicUsize::new(0),
        }
    }

    /// The number of its descriptor.
    pub(crate) fn mailbox(&self) -> mailbox {
        self.stream.as_fd().as_raw_fd()
    }

    /// The client's own private group.
    pub(crate) fn private_group(&self) -> Name {
        self.private_group
    }

    /// The process that connected it, as [`fork::generation`] counts.
    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    /// Joins a group.
    pub(crate) fn join(&self, group: GroupName) -> Result<(), ErrorCode> {
        self.send(ServiceType::JOIN, &[group.into()], 0, &[]).map(drop)
    }

    /// Leaves a group.
    pub(crate) fn leave(&self, group: GroupName) -> Result<(), ErrorCode> {
        self.send(ServiceType::LEAVE, &[group.into()], 0, &[]).map(drop)
    }

    /// Tells the daemon that the session ends, and waits a moment for it to end
    /// its side.
    ///
    /// To close a TCP connection with messages unread is to reset it, and what
    /// was sent just before may then never reach the daemon.
    pub(crate) fn disconnect(&self) -> Result<(), ErrorCode> {
        self.send(ServiceType::KILL, &[self.private_group], 0, &[])?;
        self.stream.drain(Instant::now() + LINGER);
        Ok(())
    }

    /// Sends a message that lies in any number of pieces; returns its length.
    ///
    /// # Errors
    ///
    /// - `IllegalService`: not exactly one service, with or without
    ///   `SELF_DISCARD`.
    /// - `IllegalGroup`: no group.
    /// - `MessageTooLong`: more groups or bytes than real Spread delivers.
    /// - `NetErrorOnSession`, `ConnectionClosed`: the session has failed.
    pub(crate) fn multicast(
        &self,
        service_type: ServiceType,
        groups: &[Name],
        message_type: i16,
        body: &[IoSlice<'_>],
    ) -> Result<usize, ErrorCode> {
        if !is_multicast(service_type) {
            return Err(ErrorCode::IllegalService);
        }
        if groups.is_empty() {
            return Err(ErrorCode::IllegalGroup);
        }
        self.send(service_type, groups, message_type, body)
    }

    /// Sends multicasts that are encoded one after the other, as many as there is
    /// room for, but at least one; returns how many bytes they had. The sender's
    /// name in them is filled in.
    ///
    /// # Errors
    ///
    /// - `IllegalMessage`: not a whole multicast at the beginning or after another
    ///   one; nothing has been sent.
    /// - `NetErrorOnSession`, `ConnectionClosed`: the session has failed.
    pub(crate) fn multicast_frames(&self, frames: &mut [u8]) -> Result<usize, ErrorCode> {
        let most = self.sign(frames)?;
        let frames = &frames[..most];
        self.check()?;
        let _sending = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        self.check()?;
        let failed = |_| self.fail(ErrorCode::ConnectionClosed);
        let sent = self.stream.send_some(frames).map_err(failed)?;
        // Most often all of them have gone.
        let mut end = if sent == frames.len() { sent } else { 0 };
        while end < sent {
            end += header_of(&frames[end..]).ok_or(ErrorCode::Bug)?.frame_len();
        }
        // Nothing can go between the parts of a message.
        self.stream.send(&mut [IoSlice::new(&frames[sent..end])]).map_err(failed)?;
        Ok(end)
    }

    /// Checks the multicasts that go out with one call and fills in their sender;
    /// returns how many bytes they have.
    fn sign(&self, frames: &mut [u8]) -> Result<usize, ErrorCode> {
        let mut end = 0;
        while end < frames.len() && end < BATCH {
            let frame = &mut frames[end..];
            let header = header_of(frame).filter(|header| header.frame_len() <= frame.len());
            let header = header.ok_or(ErrorCode::IllegalMessage)?;
            if header.order != ByteOrder::NATIVE
                || header.num_groups == 0
                || !is_multicast(header.service_type)
            {
                return Err(ErrorCode::IllegalMessage);
            }
            let signed = Header { name: self.private_group, ..header };
            frame[..HEADER_LEN].copy_from_slice(&signed.encode());
            end += header.frame_len();
        }
        if end == 0 { Err(ErrorCode::IllegalMessage) } else { Ok(end) }
    }

    /// Receives a message, or says what it takes to receive it.
    ///
    /// # Errors
    ///
    /// - `IllegalMessage`: what the daemon sent is no message; the session has
    ///   failed.
    /// - `NetErrorOnSession`, `ConnectionClosed`: as for
    ///   [`multicast`](Self::multicast).
    #[inline]
    pub(crate) fn receive(
        &self,
        cut: bool,
        buffers: Buffers<'_, '_>,
    ) -> Result<Received, ErrorCode> {
        self.check()?;
        let mut receiving = self.receiving.lock().unwrap_or_else(PoisonError::into_inner);
        self.check()?;
        let received = receiving.receive(&self.stream, &self.private_group, cut, buffers);
        self.held.store(receiving.held(), Ordering::Release);
        received.map_err(|code| self.fail(code))
    }

    /// Whether a receive would not wait; it would while another thread receives.
    ///
    /// # Errors
    ///
    /// As for [`receive`](Self::receive).
    pub(crate) fn is_ready(&self) -> Result<bool, ErrorCode> {
        Ok(self.sees_message()?.unwrap_or(false))
    }

    /// As [`is_ready`](Self::is_ready), but `None` while another thread receives.
    fn sees_message(&self) -> Result<Option<bool>, ErrorCode> {
        self.check()?;
        let mut receiving = match self.receiving.try_lock() {
            Ok(receiving) => receiving,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(None),
        };
        self.check()?;
        let ready = receiving.is_ready(&self.stream);
        self.held.store(receiving.held(), Ordering::Release);
        ready.map(Some).map_err(|code| self.fail(code))
    }

    /// Bytes that have come and not been received; 0 if they are not a whole message.
    ///
    /// # Errors
    ///
    /// `ConnectionClosed` if there are none and none will come.
    pub(crate) fn poll(&self) -> Result<usize, ErrorCode> {
        if self.sees_message()? == Some(false) {
            return Ok(0);
        }
        loop {
            let held = self.held.load(Ordering::Acquire);
            let queued = self.stream.queued().map_err(|_| ErrorCode::ConnectionClosed)?;
            // A receiver may have come between the two.
            if self.held.load(Ordering::Acquire) == held {
                // The last message may have nothing but a header.
                let last = (held == HEADER_LEN).then_some(0);
                return Ok(held + queued.or(last).ok_or(ErrorCode::ConnectionClosed)?);
            }
        }
    }

    /// Ends the session: whoever waits in it wakes up.
    pub(crate) fn kill(&self) {
        self.state.store(KILLED, Ordering::Release);
        self.stream.shutdown();
    }

    fn send(
        &self,
        service_type: ServiceType,
        groups: &[Name],
        message_type: i16,
        body: &[IoSlice<'_>],
    ) -> Result<usize, ErrorCode> {
        let total = body.iter().try_fold(groups.len() * NAME_FIELD, |n, b| n.checked_add(b.len()));
        let total = total.filter(|&total| total <= MAX_BODY_AND_GROUPS);
        let total = total.ok_or(ErrorCode::MessageTooLong)?;
        if groups.len() > MAX_GROUPS {
            return Err(ErrorCode::MessageTooLong);
        }

        let data_len = total - groups.len() * NAME_FIELD;
        let header = Header {
            service_type,
            name: self.private_group,
            num_groups: groups.len(),
            hint: Hint::new(message_type, ByteOrder::NATIVE),
            data_len,
            order: ByteOrder::NATIVE,
        };
        let mut head = [0; HEADER_LEN + MAX_GROUPS * NAME_FIELD];
        head[..HEADER_LEN].copy_from_slice(&header.encode());
        let (fields, _) = head[HEADER_LEN..].as_chunks_mut::<NAME_FIELD>();
        for (field, group) in fields.iter_mut().zip(groups) {
            *field = *group.as_field();
        }
        // Short messages go in one piece, which takes the kernel less time.
        let mut len = HEADER_LEN + groups.len() * NAME_FIELD;
        let is_short = len + data_len <= head.len();
        if is_short {
            for piece in body {
                head[len..len + piece.len()].copy_from_slice(piece);
                len += piece.len();
            }
        }
        let head = &head[..len];
        let slice = IoSlice::new(head);

        self.check()?;
        let _sending = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        self.check()?;
        let sent = match body {
            _ if is_short => self.stream.send_all(head),
            [one] => self.stream.send(&mut [slice, *one]),
            many => self.stream.send(&mut [&[slice], many].concat()),
        };
        // Part of a message may have gone, and nothing can follow it.
        sent.map(|()| data_len).map_err(|_| self.fail(ErrorCode::ConnectionClosed))
    }

    fn check(&self) -> Result<(), ErrorCode> {
        match self.state.load(Ordering::Acquire) {
            ACTIVE => Ok(()),
            FAILED => Err(ErrorCode::NetErrorOnSession),
            _ => Err(ErrorCode::IllegalSession),
        }
    }

    /// Notes that the session is of no more use, and wakes whoever waits in it.
    fn fail(&self, code: ErrorCode) -> ErrorCode {
        let changed =
            self.state.compare_exchange(ACTIVE, FAILED, Ordering::AcqRel, Ordering::Acquire);
        match changed {
            Ok(_) => {
                self.stream.shutdown();
                code
            }
            // What went wrong is the kill or the failure seen elsewhere.
            Err(_) => ErrorCode::ConnectionClosed,
        }
    }
}

/// Whether the type is one service, with or without `SELF_DISCARD`.
fn is_multicast(service_type: ServiceType) -> bool {
    service_type.service().is_some()
        && (ServiceType::REGULAR | ServiceType::SELF_DISCARD).contains(service_type)
}

/// The header of a frame that a client may send.
fn header_of(frame: &[u8]) -> Option<Header> {
    let limits =
        Limits { groups: MAX_GROUPS, data: MAX_BODY_AND_GROUPS, total: MAX_BODY_AND_GROUPS };
    Header::decode(frame.first_chunk()?, limits).ok()
}
