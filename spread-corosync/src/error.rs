//! Why a group cannot be joined or used.

use crate::MAX_GROUP_NAME;

/// Why a group cannot be joined or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The library cannot be opened: most often, Corosync is not installed.
    #[error("cannot open {name}, the library of Corosync; on Debian it is in the package libcpg4")]
    Library {
        /// The file that was looked for.
        name: String,
        /// The cause.
        source: libloading::Error,
    },
    /// The library lacks a function, so that it is not the one that its name tells.
    #[error("{name} has no function {symbol}")]
    Symbol {
        /// The file.
        name: String,
        /// The function.
        symbol: &'static str,
        /// The cause.
        source: libloading::Error,
    },
    /// The name of a group has 1 to 128 bytes.
    #[error("a group name of {len} bytes: it has 1 to {MAX_GROUP_NAME}")]
    GroupName {
        /// Bytes of the name.
        len: usize,
    },
    /// The service does not run, or has just ended.
    #[error("corosync does not run on this host ({function}: error {code})")]
    NotRunning {
        /// The function that failed.
        function: &'static str,
        /// Its error code, `cs_error_t`.
        code: u32,
    },
    /// Corosync does not let this user in.
    #[error(
        "corosync refuses this user ({function}: error {code}): name it in the configuration as \
         uidgid {{ uid: USER }}, or in a file of /etc/corosync/uidgid.d"
    )]
    Access {
        /// The function that failed.
        function: &'static str,
        /// Its error code, `cs_error_t`.
        code: u32,
    },
    /// A message is longer than 1,047,552 bytes.
    #[error("a message of {len} bytes is too long for corosync")]
    TooLong {
        /// Bytes of the message.
        len: usize,
    },
    /// Corosync has failed in another way.
    #[error("corosync fails: {function} returns error {code}")]
    Failed {
        /// The function that failed.
        function: &'static str,
        /// Its error code, `cs_error_t`.
        code: u32,
    },
}

/// Error codes of Corosync, `cs_error_t`.
pub(crate) mod code {
    pub(crate) const OK: u32 = 1;
    pub(crate) const LIBRARY: u32 = 2;
    pub(crate) const INIT: u32 = 4;
    pub(crate) const TRY_AGAIN: u32 = 6;
    pub(crate) const BAD_HANDLE: u32 = 9;
    pub(crate) const ACCESS: u32 = 11;
    pub(crate) const NOT_EXIST: u32 = 12;
    pub(crate) const TOO_BIG: u32 = 26;
    pub(crate) const SECURITY: u32 = 100;
}

impl Error {
    /// Returns the error that a function's code tells.
    pub(crate) fn of(function: &'static str, code: u32) -> Error {
        match code {
            code::ACCESS | code::SECURITY => Error::Access { function, code },
            // A client whose service has gone gets the second and third of these.
            code::NOT_EXIST | code::LIBRARY | code::BAD_HANDLE | code::INIT => {
                Error::NotRunning { function, code }
            }
            _ => Error::Failed { function, code },
        }
    }
}
