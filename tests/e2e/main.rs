//! The end-to-end suite: what a client does on a daemon, over the core of this project. With
//! `SPREAD_LIBRARY=sys` it goes over libspread: that of this project, or with the feature
//! `system` the one that is installed.

mod async_sessions;
mod asynchronous;
mod asynchronous_buffering;
mod asynchronous_sending;
mod authentication;
mod bad_input;
mod batches;
mod coalescing;
mod deadlines;
mod descriptors;
mod disconnecting;
mod end_to_end;
mod ending;
mod event_loops;
mod flush;
mod forks;
mod libspread;
mod membership;
mod receiving;
mod restarts;
mod session_attempts;
mod session_faults;
mod session_forms;
mod session_loops;
mod sessions;
#[path = "../support/mod.rs"]
mod support;
mod threads;
