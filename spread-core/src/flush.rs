//! Flush Spread: view synchrony over Spread.
//!
//! A message is delivered in the view it was sent in. Before a view is installed, the
//! application is asked to flush the group; from its flush until the new view it does not
//! send there. When all members of the new view have flushed, everything that was sent in
//! the former one has come.
//!
//! [`Machine`] decides, without I/O. It takes what Spread delivers, and says what to deliver to
//! the application and what to send. Its messages are those of the library of Flush Spread, so
//! that programs over both can be members of one group.
//!
//! Whoever drives it checks what the application sends ([`Machine::may_send`]), and hands it to
//! the connection before the machine takes anything else: a message must not follow the flush
//! that it should precede.

mod group;
mod machine;
mod packet;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

pub use group::Overrun;
pub use machine::{MAX_REPLIES, Machine, Refusal, Reply};
pub use packet::{
    FLUSH_REQUEST, MIN_MESSAGE_TYPE, Message, NewView, Packet, Received, SUBGROUP, trailer,
};
