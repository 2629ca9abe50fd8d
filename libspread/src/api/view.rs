//! What the body of a membership message says.
//!
//! The functions whose body is one piece are not told its length. They check
//! what it says against the limits of the protocol, and otherwise trust it, as
//! they must. Those whose body is a scatter read nothing beyond its pieces.

use std::ffi::{c_char, c_int, c_uint};
use std::slice;

use spread_wire::limits::NAME_FIELD;
use spread_wire::{ErrorCode, ServiceType};

use crate::convert::{NAME_LEN, flags_of};
use crate::membership::Body;
use crate::types::{membership_info, scatter, service, vs_set_info};
use crate::wait::code;

/// Tells which view a membership message is about; returns 1. See
/// `SP_get_memb_info(3)`.
///
/// `changed_member` is who joined, left or disconnected, and empty after a
/// network change. A transitional message has no more than the id. The answer to
/// a leave has no body: of such a `service_type` `memb_mess` is not read, and all
/// of `memb_info` is zero.
///
/// # Errors
///
/// `ILLEGAL_MESSAGE`: `service_type` is not that of a membership message, a
/// pointer is null, or the body is none.
///
/// # Safety
///
/// `memb_mess` is null or the body, whole and as it was received along with
/// `service_type`; `memb_info` is null or can be written through.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C" fn SP_get_memb_info(
    memb_mess: *const c_char,
    service_type: service,
    memb_info: *mut membership_info,
) -> c_int {
    // SAFETY: as the caller promises.
    code(|| unsafe { write_info(|| Body::from_one(memb_mess), service_type, memb_info) })
}

/// As [`SP_get_memb_info`], of a body that lies in several pieces.
///
/// # Errors
///
/// As for [`SP_get_memb_info`], also if the pieces are too short for the body.
///
/// # Safety
///
/// `memb_mess_scat` is null or a scatter with pieces that are null or as long as
/// told; `memb_info` is null or can be written through.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C" fn SP_scat_get_memb_info(
    memb_mess_scat: *const scatter,
    service_type: service,
    memb_info: *mut membership_info,
) -> c_int {
    // SAFETY: as the caller promises.
    code(|| unsafe { write_info(|| Body::from_pieces(memb_mess_scat), service_type, memb_info) })
}

/// Tells where the body of a view has its sets of members that came together;
/// returns their number. `my_vs_set_index` is the place of the receiver's own
/// set among them. See `SP_get_vs_sets_info(3)`.
///
/// # Errors
///
/// - `BUFFER_TOO_SHORT`: there are more than `num_vs_sets`; nothing is written.
/// - `ILLEGAL_MESSAGE`: a pointer is null, or the body is none.
///
/// # Safety
///
/// `memb_mess` is null or the body of a view, whole and as it was received;
/// `vs_sets` is null or has room for `num_vs_sets`; `my_vs_set_index` is null or
/// can be written through.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C" fn SP_get_vs_sets_info(
    memb_mess: *const c_char,
    vs_sets: *mut vs_set_info,
    num_vs_sets: c_int,
    my_vs_set_index: *mut c_uint,
) -> c_int {
    code(|| {
        // SAFETY: as the caller promises.
        unsafe { write_sets(&Body::from_one(memb_mess)?, vs_sets, num_vs_sets, my_vs_set_index) }
    })
}

/// As [`SP_get_vs_sets_info`], of a body that lies in several pieces.
///
/// # Errors
///
/// As for [`SP_get_vs_sets_info`]; `ILLEGAL_MESSAGE` also if the pieces are too
/// short for the body.
///
/// # Safety
///
/// `memb_mess_scat` is null or a scatter with pieces that are null or as long as
/// told; for the rest see [`SP_get_vs_sets_info`].
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C" fn SP_scat_get_vs_sets_info(
    memb_mess_scat: *const scatter,
    vs_sets: *mut vs_set_info,
    num_vs_sets: c_int,
    my_vs_set_index: *mut c_uint,
) -> c_int {
    code(|| {
        // SAFETY: as the caller promises.
        unsafe {
            let body = Body::from_pieces(memb_mess_scat)?;
            write_sets(&body, vs_sets, num_vs_sets, my_vs_set_index)
        }
    })
}

/// Copies the names of the members of a set; returns their number. See
/// `SP_get_vs_set_members(3)`.
///
/// # Errors
///
/// - `BUFFER_TOO_SHORT`: there are more than `member_names_count`; nothing is
///   written.
/// - `ILLEGAL_MESSAGE`: a pointer is null, or the set not in a body.
///
/// # Safety
///
/// `memb_mess` is null or the body of a view, whole and as it was received;
/// `vs_set` is null or one that [`SP_get_memb_info`] or [`SP_get_vs_sets_info`]
/// told of this body; `member_names` is null or has room for
/// `member_names_count` names.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C" fn SP_get_vs_set_members(
    memb_mess: *const c_char,
    vs_set: *const vs_set_info,
    member_names: *mut [c_char; NAME_LEN],
    member_names_count: c_int,
) -> c_int {
    code(|| {
        // SAFETY: as the caller promises.
        unsafe {
            write_members(&Body::from_one(memb_mess)?, vs_set, member_names, member_names_count)
        }
    })
}

/// As [`SP_get_vs_set_members`], of a body that lies in several pieces.
///
/// # Errors
///
/// As for [`SP_get_vs_set_members`]; `ILLEGAL_MESSAGE` also if the set is not
/// within the pieces.
///
/// # Safety
///
/// `memb_mess_scat` is null or a scatter with pieces that are null or as long as
/// told; `vs_set` is null or any; for the rest see [`SP_get_vs_set_members`].
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C" fn SP_scat_get_vs_set_members(
    memb_mess_scat: *const scatter,
    vs_set: *const vs_set_info,
    member_names: *mut [c_char; NAME_LEN],
    member_names_count: c_int,
) -> c_int {
    code(|| {
        // SAFETY: as the caller promises.
        unsafe {
            let body = Body::from_pieces(memb_mess_scat)?;
            write_members(&body, vs_set, member_names, member_names_count)
        }
    })
}

/// # Safety
///
/// `to` is null or can be written through.
unsafe fn write_info<'a>(
    body: impl FnOnce() -> Result<Body<'a>, ErrorCode>,
    service_type: service,
    to: *mut membership_info,
) -> Result<c_int, ErrorCode> {
    let service_type = flags_of(service_type);
    if !service_type.is_membership() || to.is_null() {
        return Err(ErrorCode::IllegalMessage);
    }
    let mut info = membership_info::default();
    if !service_type.is_self_leave() {
        let body = body()?;
        info.gid = body.group_id()?;
        if service_type.contains(ServiceType::REG_MEMB) {
            info.num_vs_sets = body.num_sets()?;
            info.my_vs_set = body.set(body.own_set()?)?;
            if !service_type.contains(ServiceType::CAUSED_BY_NETWORK) {
                info.changed_member = terminated(body.first_member()?).map(|b| b as c_char);
            }
        }
    }
    // SAFETY: not null, so it can be written through.
    unsafe { to.write(info) };
    Ok(1)
}

/// # Safety
///
/// `to` is null or has room for `room`; `own` is null or can be written through.
unsafe fn write_sets(
    body: &Body<'_>,
    to: *mut vs_set_info,
    room: c_int,
    own: *mut c_uint,
) -> Result<c_int, ErrorCode> {
    if own.is_null() {
        return Err(ErrorCode::IllegalMessage);
    }
    let count = fit(body.num_sets()?, room)?;
    let (sets, index) = body.sets()?;
    if to.is_null() {
        return Err(ErrorCode::IllegalMessage);
    }
    // SAFETY: neither is null, and there is room for as many sets.
    unsafe {
        slice::from_raw_parts_mut(to, sets.len()).copy_from_slice(&sets);
        own.write(index as c_uint);
    }
    Ok(count)
}

/// # Safety
///
/// `vs_set` is null or can be read; `to` is null or has room for `room` names.
unsafe fn write_members(
    body: &Body<'_>,
    vs_set: *const vs_set_info,
    to: *mut [c_char; NAME_LEN],
    room: c_int,
) -> Result<c_int, ErrorCode> {
    // SAFETY: it is null or can be read.
    let set = unsafe { vs_set.as_ref() }.ok_or(ErrorCode::IllegalMessage)?;
    let count = fit(set.num_members, room)?;
    if count == 0 {
        return Ok(0);
    }
    let mut names = vec![[0; NAME_FIELD]; body.members(set)?];
    body.read(set.members_offset as usize, names.as_flattened_mut())?;
    if to.is_null() {
        return Err(ErrorCode::IllegalMessage);
    }
    for (index, name) in names.into_iter().enumerate() {
        // SAFETY: not null, and with room for as many names.
        unsafe { to.cast::<[u8; NAME_FIELD]>().add(index).write(terminated(name)) };
    }
    Ok(count)
}

/// The count of what has to be written, if there is room for it.
fn fit(count: u32, room: c_int) -> Result<c_int, ErrorCode> {
    match c_int::try_from(count) {
        Ok(count) if count <= room => Ok(count),
        _ => Err(ErrorCode::BufferTooShort),
    }
}

/// A name that ends, whatever was sent.
fn terminated(mut name: [u8; NAME_FIELD]) -> [u8; NAME_FIELD] {
    name[NAME_FIELD - 1] = 0;
    name
}
