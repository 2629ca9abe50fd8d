//! One connection to a daemon of the [Spread toolkit], as a Rust value.
//!
//! This is what the clients of this project are made of: the crate `spread` is the API
//! that programs use, and `libspread` the C interface. Both are thin layers over it.
//!
//! ```
//! # let daemon = spread_daemon::Daemon::builder().start()?;
//! use std::io::IoSlice;
//!
//! use spread_core::{Address, Connect, Inbox, Request};
//! use spread_wire::{Name, ServiceType};
//!
//! let address = Address::parse(&daemon.address())?;
//! let connection = Connect::new(address, Request::new(None)).wait()?;
//! let me = [Name::from(connection.private_group())];
//! connection.multicast(ServiceType::FIFO, &me, 7, &[IoSlice::new(b"note")])?;
//!
//! let mut inbox = Inbox::default();
//! let message = inbox.wait_message(&connection)?;
//! assert_eq!(message.body(), b"note");
//! inbox.consume();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - [`Address`] says where a daemon listens, and [`Connect`] opens a [`Connection`].
//! - A [`Connection`] sends; several threads may share it.
//! - An [`Inbox`] holds what has been received ahead; one receiver owns it.
//! - [`flush`] is the layer of Flush Spread, as a state machine.
//!
//! Everything that can wait has two forms. The blocking form (`wait` in its name, or a send
//! without `try`) waits in the kernel, whatever is set on the descriptor. The non-blocking
//! form (`try_…`, [`Connect::step`]) returns at once and says what to wait for, so that
//! an event loop, a runtime or a C library can do the waiting.
//!
//! The crate knows neither signals nor forks. The only thread that it starts looks a host
//! name up, because a look-up cannot be interrupted.
//!
//! [Spread toolkit]: https://www.spread.org

#![forbid(unsafe_code)]

mod address;
mod buffering;
mod closing;
mod connect;
mod connection;
mod error;
pub mod flush;
mod frames;
mod inbox;
mod keepalive;
mod outbox;
mod poll;
mod resolve;
mod sending;
mod state;
mod stream;
mod traffic;
mod turns;

pub use address::{Address, AddressError, DEFAULT_PORT};
pub use closing::Closing;
pub use connect::{AuthExchange, AuthStep, Connect, Method, Progress};
pub use connection::Connection;
pub use error::{ConnectError, Error, is_resource};
pub use frames::Frames;
pub use inbox::{Inbox, Incoming};
pub use keepalive::Keepalive;
pub use outbox::{BUFFER, Buffered};
pub use poll::{Ready, wait, wait_any, wait_slice};
pub use resolve::resolve;
pub use sending::Sent;
pub use spread_wire::handshake::Connect as Request;
pub use stream::MEMORY_PAUSE;
pub use traffic::Traffic;
