//! [Corosync]'s closed process groups: messages to all members of a group in one order,
//! with the changes of the members at their place in it.
//!
//! The library `libcpg.so.4` is opened when a group is joined. So nothing of Corosync is
//! needed to build a program, and a host without it gets an [`Error`] that says so.
//!
//! ```no_run
//! use spread_corosync::{Event, Group, Sent};
//!
//! let mut group = Group::join("greetings")?;
//! assert_eq!(group.multicast(b"hello")?, Sent::Yes);
//! loop {
//!     // A program with a poller waits here until `group` is readable.
//!     match group.dispatch()? {
//!         Some(Event::Message { from, bytes }) => println!("{from:?}: {} bytes", bytes.len()),
//!         Some(Event::Members { members, .. }) => println!("{} members", members.len()),
//!         Some(Event::Ring(ring)) => println!("ring {}.{}", ring.node, ring.seq),
//!         None => {}
//!     }
//! }
//! # #[allow(unreachable_code)]
//! # Ok::<(), spread_corosync::Error>(())
//! ```
//!
//! # What CPG promises
//!
//! All members get the same messages in the same order, their own included. A change of
//! the members stands at its place in that order; if hosts come or go, the ring follows
//! at once. When hosts part, messages under way may reach one side only. When they come
//! together, a newcomer may lack messages that were sent before, and any that goes with
//! the rest of one that began before.
//!
//! A process that does not dispatch makes Corosync's memory grow.
//!
//! [Corosync]: https://corosync.github.io/corosync/

mod error;
mod group;
mod library;

pub use error::Error;
pub use group::{Event, Group, MAX_GROUP_NAME, MAX_MESSAGE, Member, Ring, Sent};
