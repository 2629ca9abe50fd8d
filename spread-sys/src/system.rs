//! The library that is installed.

#![allow(
    missing_docs,
    non_camel_case_types,
    unreachable_pub,
    clippy::all,
    reason = "made by bindgen from the header that is installed"
)]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));

/// Sends several messages with one call: the C library cannot, `None`.
pub fn multicast_frames(_mbox: mailbox, _frames: &mut [u8]) -> Option<std::ffi::c_int> {
    None
}

/// Whether `SP_receive` would not wait: the C library cannot tell, `None`.
pub fn message_ready(_mbox: mailbox) -> Option<std::ffi::c_int> {
    None
}
