//! The library that is installed.

#![allow(
    missing_docs,
    non_camel_case_types,
    unreachable_pub,
    clippy::all,
    reason = "made by bindgen from the header that is installed"
)]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
