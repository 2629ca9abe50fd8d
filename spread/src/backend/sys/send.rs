//! Joining, leaving and sending.

use std::ffi::{c_char, c_int};
use std::io::IoSlice;
use std::ptr;

use spread_core::{Connection as Core, Frames};
use spread_wire::limits::{MAX_BODY_AND_GROUPS, MAX_GROUPS, NAME_FIELD};
use spread_wire::{ErrorCode, HEADER_LEN, Name, ServiceType};

use super::{Code, RawMailbox, check};
use crate::Error;
use crate::connection::Send;

/// Pieces that one message can be sent in.
const MAX_PIECES: usize = spread_sys::MAX_CLIENT_SCATTER_ELEMENTS as usize;

impl RawMailbox {
    /// Sends what is within the limits of Spread. The core's right to send is held meanwhile,
    /// because some sends go through the core, over the same socket.
    pub(crate) fn send(&self, core: &Core, send: &Send<'_>) -> Result<(), Error> {
        let len: usize = send.payload.iter().map(|piece| piece.len()).sum();
        let frame_len = HEADER_LEN + send.groups.len() * NAME_FIELD + len;
        let (call, result) = match send.service_type {
            ServiceType::JOIN => ("SP_join", core.send_with(frame_len, || self.join(send.groups))),
            ServiceType::LEAVE => {
                ("SP_leave", core.send_with(frame_len, || self.leave(send.groups)))
            }
            _ => {
                let multicast = || self.multicast(send);
                ("SP_multigroup_multicast", core.send_with(frame_len, multicast))
            }
        };
        result?.map(drop).map_err(|code| code.of_send(call, core))
    }

    fn join(&self, groups: &[Name]) -> Result<usize, Code> {
        let group = terminated(groups[0]);
        // SAFETY: the name is terminated.
        check(unsafe { spread_sys::SP_join(self.mbox, group.as_ptr()) })
    }

    fn leave(&self, groups: &[Name]) -> Result<usize, Code> {
        let group = terminated(groups[0]);
        // SAFETY: the name is terminated.
        check(unsafe { spread_sys::SP_leave(self.mbox, group.as_ptr()) })
    }

    /// Sends the payload, piece by piece one message.
    fn multicast(&self, send: &Send<'_>) -> Result<usize, Code> {
        let Send { service_type, groups, number, payload } = *send;
        let pieces = payload.iter().filter(|piece| !piece.is_empty()).count();
        if pieces > MAX_PIECES {
            let whole: Vec<u8> = payload.iter().flat_map(|piece| piece.iter().copied()).collect();
            self.call_multicast(service_type, groups, number, &[IoSlice::new(&whole)])
        } else {
            self.call_multicast(service_type, groups, number, payload)
        }
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

    /// Sends the first message, and removes it.
    pub(crate) fn send_first(&self, core: &Core, frames: &mut Frames) -> Result<(), Error> {
        let Some(frame) = frames.first() else { return Ok(()) };
        let groups: Vec<Name> = frame.groups().iter().collect();
        let header = frame.header();
        let send = Send {
            service_type: header.service_type,
            groups: &groups,
            number: header.hint.message_type(),
            payload: &[IoSlice::new(frame.body())],
        };
        self.send(core, &send)?;
        frames.remove_first();
        Ok(())
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
