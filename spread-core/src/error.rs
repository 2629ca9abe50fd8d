//! Why there is no connection, or no more of it.

use std::io;

use spread_wire::FrameError;
use spread_wire::handshake::ClientError;

/// Why a [`Connect`](crate::Connect) failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The host has no address.
    #[error("cannot find the host")]
    UnknownHost(#[source] io::Error),
    /// No address of the host, or not the path, could be connected to: the error of the
    /// last one that was tried.
    #[error("cannot reach the daemon")]
    Unreachable(#[source] io::Error),
    /// The deadline passed before there was a session.
    #[error("the daemon did not answer in time")]
    TimedOut,
    /// The daemon closed, or the network failed, during the handshake.
    #[error("the connection ended during the handshake")]
    Closed(#[source] io::Error),
    /// The daemon rejected the client, or the peer is not a Spread daemon.
    #[error(transparent)]
    Handshake(#[from] ClientError),
    /// An authentication method gave up.
    #[error("authentication by {method} failed")]
    Authentication {
        /// The method.
        method: String,
        /// What it returned.
        source: io::Error,
    },
    /// This process or this host lacks what a connection takes, such as descriptors.
    #[error("a resource of this host is exhausted")]
    Local(#[source] io::Error),
}

/// Why a [`Connection`](crate::Connection) does not send or receive any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The daemon closed the connection, or the network failed.
    #[error("the daemon closed the connection")]
    Closed,
    /// The daemon sent what is no message.
    #[error("the daemon broke the protocol: {0}")]
    Protocol(FrameError),
    /// The connection failed in an earlier call.
    #[error("the connection has failed before")]
    Failed,
    /// This side has ended the connection.
    #[error("the connection was shut down")]
    ShutDown,
}
