//! The event loop and everything that reads or writes a socket.
//!
//! The layers, each of which uses only those below it:
//!
//! | file | what it is |
//! |---|---|
//! | [`event_loop`] | the loop: the only user of the poller |
//! | [`server`] | connections in their phases: handshake, session, inspection |
//! | [`report`] | what the server tells of itself |
//! | [`sessions`] | what clients with a session ask, and flow control |
//! | [`connections`] | all connections, and how messages get into their queues |
//! | [`connection`], [`listeners`] | one connection; the listeners |
//! | [`hosts`] | the daemons of other hosts |
//! | [`queue`], [`gate`], [`batch`], [`memory`], [`stream`], [`incoming`], [`listener`], [`peers`] | their parts |
//!
//! [`control`] reaches the loop from other threads, [`verifier`] checks passwords in one of them, in
//! the order of [`turns`], and [`wait`] chooses between sleeping and busy polling.

pub(crate) mod batch;
pub(crate) mod connection;
pub(crate) mod connections;
pub(crate) mod control;
pub(crate) mod event_loop;
pub(crate) mod gate;
pub(crate) mod hosts;
pub(crate) mod identity;
pub(crate) mod incoming;
pub(crate) mod listener;
pub(crate) mod listeners;
pub(crate) mod memory;
pub(crate) mod peers;
pub(crate) mod queue;
pub(crate) mod report;
pub(crate) mod server;
pub(crate) mod sessions;
pub(crate) mod socket_file;
pub(crate) mod stream;
pub(crate) mod turns;
pub(crate) mod verifier;
pub(crate) mod wait;
