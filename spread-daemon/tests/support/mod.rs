//! What the tests of the daemon share: recorded conversations, and a client
//! made of a bare socket.

#![allow(dead_code, reason = "each test uses a part of it")]

pub(crate) mod client;
#[path = "../../../tests/support/transcript.rs"]
pub(crate) mod transcript;
