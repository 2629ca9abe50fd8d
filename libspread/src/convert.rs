//! Takes C's arguments apart, and makes C's results.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::io::IoSlice;
use std::slice;
use std::time::{Duration, Instant};

use spread_core::Address;
use spread_wire::{ErrorCode, GroupName, Name, PrivateGroup, ServiceType};

use crate::receive::{Outcome, Piece, Received};
use crate::types::{MAX_GROUP_NAME, scat_element, scatter, service, sp_time};

/// [`MAX_GROUP_NAME`], for arrays.
pub(crate) const NAME_LEN: usize = MAX_GROUP_NAME as usize;

/// When a time-out is over; `None` if it never is.
pub(crate) fn deadline(time_out: sp_time) -> Result<Option<Instant>, ErrorCode> {
    let sp_time { sec, usec } = time_out;
    let signs_differ = sec.signum() * usec.signum() < 0;
    if signs_differ || !(-999_999..=999_999).contains(&usec) {
        return Err(ErrorCode::IllegalTime);
    }
    if (sec, usec) == (0, 0) {
        return Ok(None);
    }
    // A time that is over: the connect fails at once.
    let (sec, usec) = (sec.max(0) as u64, usec.max(0) as u64);
    let time_out = Duration::from_secs(sec) + Duration::from_micros(usec);
    // A time beyond what the clock can tell is none.
    Ok(Instant::now().checked_add(time_out))
}

/// The bits of a service type.
pub(crate) fn flags_of(service_type: service) -> ServiceType {
    ServiceType::from_bits_retain(service_type as u32)
}

/// Checks where a message goes: to a group or to one client.
pub(crate) fn destination(name: &[u8]) -> Result<Name, ErrorCode> {
    let group = GroupName::new(name).map(Name::from);
    group.or_else(|_| PrivateGroup::new(name).map(Name::from)).map_err(|_| ErrorCode::IllegalGroup)
}

/// The code, `num_groups` and `endian_mismatch` that tell what was received.
#[inline]
pub(crate) fn results_of(received: &Received) -> (c_int, c_int, c_int) {
    let count = |n: usize| c_int::try_from(n).unwrap_or(c_int::MAX);
    match received.outcome {
        Outcome::TooShort { groups, data_len } => {
            let code = match groups {
                Some(_) => ErrorCode::GroupsTooShort,
                None => ErrorCode::BufferTooShort,
            };
            (code.code(), -count(groups.unwrap_or(0)), -count(data_len.unwrap_or(0)))
        }
        Outcome::Delivered { groups, groups_cut, data_len, data_cut, foreign_sender } => {
            let code = if data_cut { ErrorCode::BufferTooShort.code() } else { count(data_len) };
            let groups = if groups_cut { -count(groups) } else { count(groups) };
            (code, groups, c_int::from(foreign_sender))
        }
        Outcome::Illegal => (ErrorCode::IllegalMessage.code(), 0, 0),
    }
}

/// The text of a code: that of the original, since programs compare and log it.
pub(crate) fn meaning(error: c_int) -> &'static CStr {
    match ErrorCode::from_code(error) {
        Some(ErrorCode::IllegalSpread) => c"Illegal spread name provided.",
        Some(ErrorCode::CouldNotConnect) => c"Could not connect.",
        Some(ErrorCode::RejectQuota) => c"Connection rejected, too many users.",
        Some(ErrorCode::RejectNoName) => c"Connection rejected, no name was supplied.",
        Some(ErrorCode::RejectIllegalName) => c"Connection rejected, illegal name.",
        Some(ErrorCode::RejectNotUnique) => c"Connection rejected, name not unique.",
        Some(ErrorCode::RejectVersion) => {
            c"Connection rejected, client library incompatible with daemon."
        }
        Some(ErrorCode::ConnectionClosed) => c"Connection closed by Spread.",
        Some(ErrorCode::RejectAuth) => c"Connection rejected, authentication failed.",
        Some(ErrorCode::IllegalSession) => c"Illegal session was supplied.",
        Some(ErrorCode::IllegalService) => c"Illegal service request.",
        Some(ErrorCode::IllegalMessage) => c"Illegal message.",
        Some(ErrorCode::IllegalGroup) => c"Illegal group.",
        Some(ErrorCode::BufferTooShort) => c"Buffer too short.",
        Some(ErrorCode::GroupsTooShort) => c"Groups list too short.",
        Some(ErrorCode::MessageTooLong) => c"Message (body + group names) too large.",
        Some(ErrorCode::NetErrorOnSession) => c"Network socket error. SP_kill() the mailbox.",
        Some(ErrorCode::Bug) => c"Internal Spread bug detected.",
        Some(ErrorCode::IllegalTime) => c"Illegal time.",
        None => c"Unrecognized error.",
    }
}

/// Parses the address of a daemon. As with the original, which reads the port by `sscanf`,
/// the port may have a sign and blanks around it.
pub(crate) fn address(text: &[u8]) -> Result<Address, ErrorCode> {
    let text = str::from_utf8(text).map_err(|_| ErrorCode::IllegalSpread)?.trim();
    let text = text.strip_prefix('+').unwrap_or(text);
    let parsed = match text.split_once('@') {
        Some((port, host)) => Address::parse(&format!("{}@{host}", port.trim_end())),
        None => Address::parse(text),
    };
    parsed.map_err(|_| ErrorCode::IllegalSpread)
}

/// The bytes of a C string; none for null.
///
/// # Safety
///
/// `text` is null or ends in a zero, and stays as it is while the result is
/// used.
pub(crate) unsafe fn c_bytes<'a>(text: *const c_char) -> &'a [u8] {
    if text.is_null() {
        return &[];
    }
    // SAFETY: it ends in a zero.
    unsafe { CStr::from_ptr(text) }.to_bytes()
}

/// The body of a message to send.
///
/// # Safety
///
/// `mess` is null or `mess_len` bytes, and stays as it is while the result is
/// used.
pub(crate) unsafe fn body<'a>(
    mess: *const c_char,
    mess_len: c_int,
) -> Result<IoSlice<'a>, ErrorCode> {
    let len = usize::try_from(mess_len).map_err(|_| ErrorCode::IllegalMessage)?;
    // SAFETY: as the caller promises.
    unsafe { piece(&scat_element { buf: mess.cast_mut(), len }) }.map(IoSlice::new)
}

/// The pieces of a message that has some, without the empty ones.
///
/// # Safety
///
/// `scat` is null or a scatter with pieces that are null or as long as told, and
/// stay as they are while the result is used.
pub(crate) unsafe fn pieces<'a>(scat: *const scatter) -> Result<Vec<IoSlice<'a>>, ErrorCode> {
    // SAFETY: as the caller promises.
    let elements = unsafe { elements(scat)? };
    elements
        .iter()
        .filter(|element| element.len > 0)
        // SAFETY: as the caller promises.
        .map(|element| unsafe { piece(element) }.map(IoSlice::new))
        .collect()
}

/// The pieces of a message to receive, which need not hold anything yet, without
/// the empty ones.
///
/// # Safety
///
/// `scat` is null or a scatter with pieces that are null or can be written
/// through for as long as told; no two of them overlap, and no one else uses them
/// along with the result.
pub(crate) unsafe fn room_in_pieces<'a>(scat: *const scatter) -> Result<Vec<Piece<'a>>, ErrorCode> {
    // SAFETY: as the caller promises.
    let elements = unsafe { elements(scat)? };
    let filled = elements.iter().filter(|element| element.len > 0);
    filled
        .map(|element| {
            check(element)?;
            // SAFETY: it is not null, so it can be written through for its length.
            Ok(unsafe { slice::from_raw_parts_mut(element.buf.cast(), element.len) })
        })
        .collect()
}

/// The elements of a scatter that count.
///
/// # Safety
///
/// `scat` is null or a scatter, which stays as it is while the result is used.
pub(crate) unsafe fn elements<'a>(scat: *const scatter) -> Result<&'a [scat_element], ErrorCode> {
    // SAFETY: it is null or a scatter.
    let scat = unsafe { scat.as_ref() }.ok_or(ErrorCode::IllegalMessage)?;
    scat.elements.get(..scat.num_elements).ok_or(ErrorCode::IllegalMessage)
}

/// The bytes of an element.
///
/// # Safety
///
/// The piece is null or as long as told, and stays as it is while the result is
/// used.
pub(crate) unsafe fn piece<'a>(element: &scat_element) -> Result<&'a [u8], ErrorCode> {
    if element.len == 0 {
        return Ok(&[]);
    }
    check(element)?;
    // SAFETY: it is not null, so it is so many bytes.
    Ok(unsafe { slice::from_raw_parts(element.buf.cast_const().cast(), element.len) })
}

/// Checks that a piece with a length can be one: nothing in memory is longer than
/// half of it.
fn check(element: &scat_element) -> Result<(), ErrorCode> {
    if element.buf.is_null() || isize::try_from(element.len).is_err() {
        return Err(ErrorCode::IllegalMessage);
    }
    Ok(())
}

/// An array to receive into, which need not hold anything yet.
///
/// # Safety
///
/// `array` is null or can be written through for `len` elements; `T` is made
/// of `MaybeUninit`, and no one else uses the array along with the result.
pub(crate) unsafe fn room<'a, T>(array: *mut c_void, len: c_int) -> &'a mut [T] {
    match usize::try_from(len) {
        Ok(len) if !array.is_null() => {
            // SAFETY: it is not null, so there is room for so many.
            unsafe { slice::from_raw_parts_mut(array.cast(), len) }
        }
        _ => &mut [],
    }
}

/// Writes a name and a zero behind it, and leaves alone what follows: there are programs
/// that have less room than they should.
///
/// # Safety
///
/// `to` can be written through for as many bytes.
pub(crate) unsafe fn write_text(to: *mut c_char, name: Name) {
    let text = name.as_bytes();
    // SAFETY: there is room for the text and a zero, and they do not overlap.
    unsafe {
        to.cast::<u8>().copy_from_nonoverlapping(text.as_ptr(), text.len());
        to.add(text.len()).write(0);
    }
}

/// Writes a name the way `strncpy` would: padded with zeros, and terminated.
///
/// # Safety
///
/// `to` can be written through for [`MAX_GROUP_NAME`] bytes.
pub(crate) unsafe fn write_name(to: *mut c_char, name: Name) {
    // SAFETY: there is room for all of the field, and bytes need no alignment.
    unsafe { to.cast::<[u8; NAME_LEN]>().write(padded(name)) };
}

/// The name with zeros behind it, whatever stood there. A word at a time, because every
/// message that is received has one.
#[inline]
fn padded(name: Name) -> [u8; NAME_LEN] {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    let mut field = *name.as_field();
    field[NAME_LEN - 1] = 0;
    let mut ended = false;
    for bytes in field.as_chunks_mut().0 {
        let word = u64::from_le_bytes(*bytes);
        // The lowest bit that is set is the highest one of the first zero byte.
        let zeros = word.wrapping_sub(ONES) & !word & (ONES << 7);
        let before = zeros ^ zeros.wrapping_sub(1);
        *bytes = if ended { [0; 8] } else { (word & before).to_le_bytes() };
        ended |= zeros != 0;
    }
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_meaning_of_its_own() {
        let mut texts: Vec<_> = ErrorCode::ALL.iter().map(|e| meaning(e.code())).collect();
        texts.push(meaning(0));
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), ErrorCode::ALL.len() + 1);
    }

    #[test]
    fn a_port_may_have_a_sign_and_blanks_around_it() {
        for text in ["4803@h", " 4803@h\r\n", "4803 @h", "+4803@h", "4803\t@h"] {
            assert_eq!(address(text.as_bytes()), address(b"4803@h"), "{text:?}");
        }
        for text in ["++4803@h", "-4803@h", "4803@", "4803@@h", "48 03@h"] {
            assert_eq!(address(text.as_bytes()), Err(ErrorCode::IllegalSpread), "{text:?}");
        }
        assert!(address(b"").is_ok() && address(b"\xff").is_err());
    }

    #[test]
    fn a_message_goes_to_a_group_or_to_one_client() {
        for name in ["g", "~$", "#alice#localhost"] {
            assert!(destination(name.as_bytes()).is_ok_and(|n| n == name));
        }
        for name in ["", "#g", "two words", "#a#", "#elevenchars#d"] {
            assert_eq!(destination(name.as_bytes()), Err(ErrorCode::IllegalGroup));
        }
    }

    #[test]
    fn a_name_is_padded_with_zeros_whatever_stands_behind_its_end() {
        for fill in [0x01, 0x24, 0x7f, 0x80, 0x81, 0xff] {
            for len in 0..=NAME_LEN {
                for behind in [0x00, 0x01, 0x80, 0xff] {
                    let mut field = [behind; NAME_LEN];
                    field[..len].fill(fill);
                    if let Some(end) = field.get_mut(len) {
                        *end = 0;
                    }
                    let mut expected = [0; NAME_LEN];
                    expected[..len.min(NAME_LEN - 1)].fill(fill);
                    assert_eq!(padded(Name::from_field(field)), expected, "{len} of {fill:#x}");
                }
            }
        }
    }

    #[test]
    fn a_null_array_has_no_room() {
        // SAFETY: null is allowed.
        let array: &mut [u8] = unsafe { room(std::ptr::null_mut(), 10) };
        assert!(array.is_empty());
    }

    #[test]
    fn a_time_too_long_for_the_clock_is_none() {
        let forever = sp_time { sec: std::ffi::c_long::MAX, usec: 999_999 };
        assert!(deadline(forever).is_ok());
    }
}
