//! Functions that only Rust has.

use std::ffi::c_int;

use spread_core::Frames;
use spread_wire::limits::{MAX_BODY_AND_GROUPS, MAX_GROUPS};
use spread_wire::{ByteOrder, ErrorCode, FrameRef, Limits, Name, ServiceType};

use crate::table;
use crate::types::mailbox;
use crate::wait::code;

/// Whether [`SP_receive`](crate::SP_receive) would not wait.
pub fn message_ready(mbox: mailbox) -> bool {
    let session = table::get(mbox);
    session.and_then(|s| s.receive(|inbox, c| inbox.is_ready(c))).unwrap_or(true)
}

/// Sends messages that are encoded one after the other: as many as there is room for, but at
/// least one, for which it waits. Returns how many bytes they had.
///
/// # Errors
///
/// Those of [`SP_multicast`](crate::SP_multicast); `ILLEGAL_MESSAGE` if what comes first or
/// after another message is not a whole multicast.
pub fn multicast_frames(mbox: mailbox, frames: &mut [u8]) -> c_int {
    code(|| {
        let session = table::get(mbox)?;
        let (mut batch, mut ends) = (Frames::default(), vec![0]);
        while ends[ends.len() - 1] < frames.len().min(256 * 1024) {
            let at = ends[ends.len() - 1];
            ends.push(at + push(&mut batch, &frames[at..]).ok_or(ErrorCode::IllegalMessage)?);
        }
        if batch.is_empty() {
            return Err(ErrorCode::IllegalMessage);
        }
        let sent = session.connection().multicast_frames(&mut batch);
        let sent = sent.map_err(|_| ErrorCode::ConnectionClosed)?;
        c_int::try_from(ends[sent]).map_err(|_| ErrorCode::Bug)
    })
}

fn push(batch: &mut Frames, bytes: &[u8]) -> Option<usize> {
    let limits =
        Limits { groups: MAX_GROUPS, data: MAX_BODY_AND_GROUPS, total: MAX_BODY_AND_GROUPS };
    let frame = FrameRef::decode(bytes, limits).ok()??;
    let header = frame.header();
    let service_type = header.service_type;
    let is_multicast = service_type.service().is_some()
        && (ServiceType::REGULAR | ServiceType::SELF_DISCARD).contains(service_type);
    if header.order != ByteOrder::NATIVE || header.num_groups == 0 || !is_multicast {
        return None;
    }
    let groups: Vec<Name> = frame.groups().iter().collect();
    batch.push(service_type, &groups, header.hint.message_type(), frame.body());
    Some(header.frame_len())
}
