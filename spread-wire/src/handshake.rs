//! How a client and a daemon get to know each other, as state machines.
//!
//! | step | from | bytes |
//! |---|---|---|
//! | 1 | client | version (3), flags, length of name, private name |
//! | 2 | daemon | length, list of permitted authentication methods |
//! | 3 | client | three names of 30 bytes: the methods it chose |
//! | 4 | both | the exchange of each method, in turn |
//! | 5 | daemon | 1, version (3), length, private group |
//!
//! In step 2 and 5 a negative first byte is an [`ErrorCode`] instead: the
//! daemon rejects the client and closes. Clients below 3.15 send and get two
//! bytes of version, and those below 3.16 skip steps 2 to 4.
//!
//! [`Client`] and [`Daemon`] hold no socket: the caller hands them what has
//! arrived and sends what they return.

mod client;
mod daemon;

pub use client::{Accepted, Client, ClientError, ClientStep, Connect};
pub use daemon::{ConnectRequest, Daemon, DaemonStep};

use std::fmt;

use crate::ErrorCode;

/// Bytes of the name of an authentication method.
pub const AUTH_NAME: usize = 30;

/// Methods that can be chosen in one connect.
pub const AUTH_METHODS: usize = 3;

/// Bytes of the client's choice of methods.
pub const AUTH_CHOICE: usize = AUTH_NAME * AUTH_METHODS;

/// The method that exchanges nothing.
pub const AUTH_NULL: &str = "NULL";

/// The method that exchanges nothing, but judges the address of the client.
pub const AUTH_IP: &str = "IP";

/// A version of the protocol, as clients and daemons tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// `major` of `major.minor.patch`.
    pub major: u8,
    /// `minor` of `major.minor.patch`.
    pub minor: u8,
    /// `patch` of `major.minor.patch`; 0 for those that do not tell it.
    pub patch: u8,
}

impl Version {
    /// The version that this crate speaks.
    pub const CURRENT: Version = Version { major: 5, minor: 0, patch: 1 };

    const OLDEST: Version = Version { major: 3, minor: 1, patch: 0 };
    const WITH_PATCH: Version = Version { major: 3, minor: 15, patch: 0 };
    const WITH_AUTH: Version = Version { major: 3, minor: 16, patch: 0 };

    /// Bytes that the version takes in a request and an answer.
    fn len(self) -> usize {
        if self >= Version::WITH_PATCH { 3 } else { 2 }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// The first byte of an answer that accepts.
const ACCEPT: u8 = 1;

/// What a negative first byte says; `Ok(byte)` if it is not negative.
fn rejection(byte: u8) -> Result<u8, Option<ErrorCode>> {
    if byte < 0x80 { Ok(byte) } else { Err(ErrorCode::from_code(byte as i8 as i32)) }
}
