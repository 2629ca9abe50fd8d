//! Authentication, access and flow control, as values without I/O.
//!
//! A value takes what came from a client and returns what is to be done; the event
//! loop's room does it.
//!
//! | file | what it decides |
//! |---|---|
//! | [`handshake`] | the next step of a connection until it has a session |
//! | [`authentication`], [`addresses`], [`login`], `passwords` | which methods a client must pass |
//! | [`access`] | whether a client may do what it asks |
//! | [`flow_control`] | whether a receiver gets one more message, and who waits for it |

pub(crate) mod access;
pub(crate) mod addresses;
pub(crate) mod authentication;
pub(crate) mod flow_control;
pub(crate) mod handshake;
pub(crate) mod login;
#[cfg(feature = "passwords")]
pub(crate) mod passwords;
