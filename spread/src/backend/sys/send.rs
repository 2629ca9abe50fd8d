//! Joining, leaving and sending.

use std::ffi::{c_char, c_int};
use std::io::IoSlice;
use std::os::fd::BorrowedFd;
use std::ptr;
use std::time::Instant;

use spread_core::{Frames, Ready, wait};
use spread_wire::limits::{MAX_BODY_AND_GROUPS, MAX_GROUPS, NAME_FIELD};
use spread_wire::{ErrorCode, Name, ServiceType};

use super::{Code, RawMailbox, check};
use crate::Error;

/// Pieces that one message can be sent in.
const MAX_PIECES: usize = spread_sys::MAX_CLIENT_SCATTER_ELEMENTS as usize;

impl RawMailbox {
    pub(crate) fn join(&self, group: Name) -> Result<(), Error> {
        let group = terminated(group);
        // SAFETY: the name is terminated.
        let result = check(unsafe { spread_sys::SP_join(self.mbox, group.as_ptr()) });
        result.map(drop).map_err(|code| code.of_session("SP_join"))
    }

    pub(crate) fn leave(&self, group: Name) -> Result<(), Error> {
        let group = terminated(group);
        // SAFETY: the name is terminated.
        let result = check(unsafe { spread_sys::SP_leave(self.mbox, group.as_ptr()) });
        result.map(drop).map_err(|code| code.of_session("SP_leave"))
    }

    /// Sends `body`, piece by piece one message, to `groups`, all within the limits of
    /// Spread.
    pub(crate) fn multicast(
        &self,
        service_type: ServiceType,
        groups: &[Name],
        message_type: i16,
        body: &[IoSlice<'_>],
    ) -> Result<(), Error> {
        let pieces = body.iter().filter(|piece| !piece.is_empty()).count();
        let sent = if pieces > MAX_PIECES {
            let whole: Vec<u8> = body.iter().flat_map(|piece| piece.iter().copied()).collect();
            self.call_multicast(service_type, groups, message_type, &[IoSlice::new(&whole)])
        } else {
            self.call_multicast(service_type, groups, message_type, body)
        };
        sent.map(drop).map_err(|code| code.of_session("SP_multigroup_multicast"))
    }

    fn call_multicast(
        &self,
        service_type: ServiceType,
        groups: &[Name],
        message_type: i16,
        body: &[IoSlice<'_>],
    ) -> Result<usize, Code> {
        let len: usize = body.iter().map(|piece| piece.len()).sum();
        if groups.len() > MAX_GROUPS || len > MAX_BODY_AND_GROUPS {
            return Err(ErrorCode::MessageTooLong.into());
        }
        let mut fields = [[0; NAME_FIELD]; MAX_GROUPS];
        for (field, group) in fields.iter_mut().zip(groups) {
            *field = terminated(*group);
        }
        let (count, groups) = (groups.len() as c_int, fields.as_ptr());
        let flags = service_type.bits() as c_int;
        if let [body] = body {
            // SAFETY: `fields` holds at least as many terminated names as told, `body` has
            // the length given, and the library keeps neither.
            return check(unsafe {
                spread_sys::SP_multigroup_multicast(
                    self.mbox,
                    flags,
                    count,
                    groups,
                    message_type,
                    body.len() as c_int,
                    body.as_ptr().cast(),
                )
            });
        }
        let scatter = scatter(body);
        // SAFETY: as above; `scatter` holds the pieces of `body`, which the library only
        // reads.
        check(unsafe {
            spread_sys::SP_multigroup_scat_multicast(
                self.mbox,
                flags,
                count,
                groups,
                message_type,
                &scatter,
            )
        })
    }

    /// Sends the first messages, one by one as long as there is room, and removes them;
    /// returns their number.
    pub(crate) fn multicast_frames(
        &self,
        fd: BorrowedFd<'_>,
        frames: &mut Frames,
    ) -> Result<usize, Error> {
        let mut sent = 0;
        while (sent == 0 || wait(fd, Ready::ToWrite, Some(Instant::now())).map_err(Error::Io)?)
            && let Some(frame) = frames.first()
        {
            let groups: Vec<Name> = frame.groups().iter().collect();
            let header = frame.header();
            let (service_type, number) = (header.service_type, header.hint.message_type());
            let body = [IoSlice::new(frame.body())];
            let result = self.multicast(service_type, &groups, number, &body);
            frames.remove_first();
            result?;
            sent += 1;
        }
        Ok(sent)
    }
}

/// The pieces that are not empty: the C library takes an empty one for the end of the
/// connection. The caller has seen to it that there are not too many.
fn scatter(pieces: &[IoSlice<'_>]) -> spread_sys::scatter {
    let none = spread_sys::scat_element { buf: ptr::null_mut(), len: 0 };
    let mut scatter = spread_sys::scatter { num_elements: 0, elements: [none; MAX_PIECES] };
    let pieces = pieces.iter().filter(|piece| !piece.is_empty());
    for (element, piece) in scatter.elements.iter_mut().zip(pieces) {
        *element =
            spread_sys::scat_element { buf: piece.as_ptr().cast_mut().cast(), len: piece.len() };
        scatter.num_elements += 1;
    }
    scatter
}

/// The name as a C string in a field, with nothing behind it.
fn terminated(name: Name) -> [c_char; NAME_FIELD] {
    let mut field = [0; NAME_FIELD];
    for (c, &byte) in field.iter_mut().zip(name.as_bytes()) {
        *c = byte as c_char;
    }
    field
}
