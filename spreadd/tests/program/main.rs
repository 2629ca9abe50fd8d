//! The program `spreadd`, as it is started, asked and stopped.

#[cfg(feature = "http")]
mod browser;
#[path = "../../../spread-daemon/tests/support/client.rs"]
#[allow(dead_code, reason = "these tests use a part of it")]
mod client;
mod configuration;
#[cfg(feature = "http")]
mod http;
mod inspection;
mod logging;
mod passwords;
mod reloading;
mod running;
mod socket_files;
mod starting;
mod support;
