//! What a client does on a daemon, end to end.

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
mod membership;
mod receiving;
mod restarts;
mod session_attempts;
mod session_faults;
mod session_forms;
mod session_loops;
mod sessions;
mod threads;
