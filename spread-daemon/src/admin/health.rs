//! Whether a daemon takes clients.

use std::fmt;

/// Whether a daemon takes clients, and if not, why. [`Display`](fmt::Display) gives it in words.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// It takes clients.
    Healthy,
    /// All permitted sessions (the number) are open; new clients are rejected.
    Full(usize),
    /// It [drains](crate::StopHandle::drain): it takes no new clients, and ends when the others have
    /// read what is queued for them.
    Draining,
    /// It is one of several hosts, and in no configuration with them, for this reason.
    NoConfiguration(String),
}

impl Health {
    /// Returns whether the daemon takes clients.
    pub fn is_ready(&self) -> bool {
        *self == Health::Healthy
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Health::Healthy => f.write_str("healthy"),
            Health::Full(sessions) => write!(f, "full: all {sessions} sessions are open"),
            Health::Draining => f.write_str("draining: no new clients are taken"),
            Health::NoConfiguration(reason) => write!(f, "in no configuration: {reason}"),
        }
    }
}
