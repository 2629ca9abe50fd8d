//! The client-daemon protocol of the [Spread toolkit], without I/O.
//!
//! A program talks to a Spread daemon over one stream: a [handshake], then
//! [frames](Frame) both ways. This crate turns bytes into typed values and
//! back, for both ends and for both byte orders. It opens no socket, reads no
//! clock and has no policy: the library and the daemon are built on it, and
//! agree because of it.
//!
//! ```
//! use bytes::BytesMut;
//! use spread_wire::{ByteOrder, Frame, Limits, Name, Request, Service};
//!
//! // A client asks the daemon to multicast …
//! let groups = [Name::new("chat")?];
//! let mut stream = BytesMut::new();
//! Request::multicast(Service::Agreed, &groups, b"hello")
//!     .encode(Name::new("#alice#localhost")?, ByteOrder::NATIVE, &mut stream);
//!
//! // … and the daemon reads the request off its stream.
//! let frame = Frame::decode(&mut stream, Limits::FROM_CLIENT)?.expect("a whole frame");
//! let Request::Multicast(m) = Request::parse(&frame)? else { panic!() };
//! assert_eq!(m.service, Service::Agreed);
//! assert_eq!(m.groups.iter().next(), Some(groups[0]));
//! assert_eq!(m.body, b"hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [Spread toolkit]: https://www.spread.org

#![forbid(unsafe_code)]

mod begun;
mod code;
mod delivery;
mod frame;
pub mod handshake;
mod header;
pub mod limits;
mod membership;
mod name;
mod order;
mod request;
mod service;

pub use begun::Begun;
pub use code::ErrorCode;
pub use delivery::{Delivery, DeliveryError, Regular, Reject};
pub use frame::{Frame, FrameError, FrameRef, Groups};
pub use header::{HEADER_LEN, Header, Hint};
pub use limits::Limits;
pub use membership::{Cause, GroupId, MembershipBody, MembershipError, native_body};
pub use name::{GroupName, Name, NameError, PrivateGroup, PrivateName};
pub use order::ByteOrder;
pub use request::{Multicast, Request, RequestError};
pub use service::{Service, ServiceType};

/// The port of a Spread daemon unless its configuration says otherwise
/// (`DEFAULT_SPREAD_PORT`).
pub const DEFAULT_PORT: u16 = 4803;
