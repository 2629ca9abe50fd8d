//! Connections over TLS.
//!
//! TLS is between two sockets: the TCP connection, and one end of a socket pair whose other end
//! is the mailbox's. One thread of the process moves the bytes of all such connections. So a
//! mailbox is the same over TLS as without: a descriptor that can be polled.

mod config;
mod error;
mod link;
mod pump;

pub use config::{TlsConfig, TlsConfigError};
pub use error::TlsError;
pub(crate) use link::{Enter, Link};
