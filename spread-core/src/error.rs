//! Why there is no connection, or no more of it.

use std::io;

use rustix::io::Errno;
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
    /// The daemon does not permit the methods that the client wanted to use, or rejected the
    /// client after their exchange.
    #[error("the daemon did not accept the authentication")]
    NotAuthorized {
        /// The methods that the client wanted to use.
        wanted: Vec<String>,
        /// The methods that the daemon permits; `None` if it is not known.
        offered: Option<Vec<String>>,
    },
    /// An authentication method gave up.
    #[error("authentication by {method} failed")]
    Authentication {
        /// The method.
        method: String,
        /// The methods that the daemon permits; `None` if it is not known.
        offered: Option<Vec<String>>,
        /// What it returned.
        source: io::Error,
    },
    /// This process or this host lacks what a connection takes, such as descriptors.
    #[error("a resource of this host is exhausted")]
    Local(#[source] io::Error),
}

/// Why a [`Connection`](crate::Connection) does not send or receive.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The daemon closed the connection, or the network failed: then the error of the system.
    #[error("the connection to the daemon is closed")]
    Closed(#[source] Option<io::Error>),
    /// The daemon sent what is no message.
    #[error("the daemon broke the protocol")]
    Protocol(#[source] FrameError),
    /// The system lacks memory or descriptors for the call. The connection goes on: no part of
    /// the message of this call has been sent, what the connection keeps of earlier ones is
    /// still to be sent, and nothing that was received is lost.
    #[error("a resource of this host is exhausted")]
    Resource(#[source] io::Error),
    /// The deadline passed before any part of the message had been sent.
    #[error("the deadline passed before the message was sent")]
    TimedOut,
    /// The deadline passed when a part of the message had been sent. Nothing can follow half a
    /// message, so the connection has failed.
    #[error("the deadline passed in the middle of a message")]
    PartlySent,
    /// An earlier send ended in the middle of a message, with [`PartlySent`](Error::PartlySent):
    /// so the connection has failed.
    #[error("the deadline of an earlier send passed in the middle of its message")]
    CutShort,
    /// The connection failed in an earlier call.
    #[error("the connection has failed before")]
    Failed,
    /// This side has ended the connection.
    #[error("the connection was shut down")]
    ShutDown,
}

impl Error {
    /// What a failed call of the system on the stream means.
    #[cold]
    pub(crate) fn of_stream(error: io::Error) -> Error {
        match error.kind() {
            _ if is_resource(&error) => Error::Resource(error),
            // The stream has come to its end.
            io::ErrorKind::UnexpectedEof => Error::Closed(None),
            _ => Error::Closed(Some(error)),
        }
    }
}

/// Whether a call failed for want of what this process or this host has too little of:
/// descriptors or memory (`EMFILE`, `ENFILE`, `ENOBUFS`, `ENOMEM`). It says nothing of the peer.
pub fn is_resource(error: &io::Error) -> bool {
    let resources = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    resources.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
