//! Members over the daemons' own state machine, in memory and in virtual time.
//!
//! A client is apart from its daemon: what the daemon delivers waits in its inbox, and what
//! it sends waits in its outbox, so that it can be slow, and can lose the ends of both when
//! it is cut off. Its session may stay in the views as a ghost while it has connected anew.
//! The replica of a client is apart from its core as well, and answers late.
//!
//! `PROPTEST_CASES` sets how many schedules there are and `PROPTEST_RNG_SEED` which; without
//! them the test does the same every time.

mod client;
mod linearizable;
mod objects;
mod objects_machine;
mod properties;
mod schedule;
mod tally;
mod versions;
mod voting;
mod world;
