//! A daemon for the clients of the [Spread toolkit].
//!
//! It speaks the client-daemon protocol of Spread 5.0.1, so every client of
//! Spread works with it: groups with totally ordered messages, views, private
//! groups. It needs no installation and no configuration, starts in a moment and
//! lives inside a program or a test as well as beside them. It serves a single host, or
//! with Corosync several; it does not speak to Spread's own daemons.
//!
//! ```
//! use spread_daemon::Daemon;
//!
//! let daemon = Daemon::builder().start()?;
//! println!("clients connect to {}", daemon.address());
//! # Ok::<(), spread_daemon::StartError>(())
//! // The daemon stops here, and its clients are disconnected.
//! ```
//!
//! | to … | see |
//! |---|---|
//! | test how a program lives through partitions and crashes | [`Cluster`] |
//! | authenticate clients by password or address | [`Authentication`] |
//! | decide what each client may do | [`AccessPolicy`] |
//! | have daemons on several hosts | `Corosync` (feature `corosync`) |
//! | see sessions, groups, views, queues and rates | [`Status`] |
//! | ask and kick from other threads | [`AdminHandle`] |
//! | change settings while it runs | [`ReloadHandle`] |
//! | accept clients over a transport of the program's own | [`AdmitHandle`] |
//! | choose the slow-consumer policy | [`SlowReceivers`] |
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `corosync` | `Corosync` and `Builder::corosync`: daemons of several hosts |
//! | `passwords` | `Method::Password` and `Passwords`: authentication by user and password |
//!
//! Log lines go through [`tracing`]. The program `spreadd` is a crate of its own.
//!
//! [Spread toolkit]: https://www.spread.org

#![forbid(unsafe_code)]

mod admin;
mod builder;
mod cluster;
#[cfg(feature = "corosync")]
mod corosync;
mod daemon;
mod emulation;
mod error;
mod net;
mod session;
mod settings;
#[cfg(feature = "simulation")]
#[doc(hidden)]
pub mod simulation;

pub use admin::health::Health;
pub use admin::status::{
    Counts, CutOff, CutOffReason, GroupStatus, History, HostsStatus, Limits, Rates, SessionStatus,
    Status, Totals, ViewCause, ViewStatus,
};
pub use builder::{Builder, Sockets};
#[cfg(feature = "corosync")]
pub use corosync::Corosync;
pub use daemon::{AdminHandle, AdmitHandle, Daemon, ReloadHandle, StopHandle};
pub use emulation::{Cluster, ClusterBuilder};
pub use error::{ClusterError, StartError};
pub use net::incoming::Incoming;
pub use session::access::{Access, AccessPolicy, ClientInfo, Sending};
pub use session::addresses::{AddressList, AddressListError};
pub use session::authentication::{Authentication, Method};
pub use session::flow_control::SlowReceivers;
#[cfg(feature = "passwords")]
pub use session::passwords::{PasswordError, Passwords};
/// The types of the protocol that an [`AccessPolicy`] gets.
pub use spread_wire::{Groups, Name, PrivateGroup, Service};
