//! What a client does on a daemon, end to end.

mod asynchronous;
mod asynchronous_sending;
mod authentication;
mod bad_input;
mod batches;
mod coalescing;
mod descriptors;
mod end_to_end;
mod ending;
mod event_loops;
mod forks;
mod membership;
mod receiving;
mod sessions;
mod threads;
