//! Connections that the program has accepted for a daemon.

use std::any::Any;
use std::fmt;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;

/// A connection of a client that the program has accepted itself, over a transport that the daemon
/// does not know, such as TLS: one end of a socket pair, whose other end the program moves the
/// client's bytes to and from.
#[derive(Debug)]
#[must_use = "the connection closes unless it is admitted"]
pub struct Incoming {
    pub(crate) stream: UnixStream,
    pub(crate) origin: Origin,
}

/// Where a connection comes from.
#[derive(Debug, Default)]
pub(crate) struct Origin {
    /// The address of the client; `None` for the unix socket.
    pub(crate) address: Option<SocketAddr>,
    /// The name of the transport, if it is none of the daemon's own.
    pub(crate) transport: Option<&'static str>,
    /// The user that the transport has authenticated.
    pub(crate) user: Option<String>,
    /// Dropped when the connection has ended.
    pub(crate) guard: Option<Guard>,
}

/// A value of the program's.
pub(crate) struct Guard(#[expect(dead_code, reason = "it is only dropped")] Box<dyn Any + Send>);

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guard")
    }
}

impl Incoming {
    /// Makes a connection of a stream whose other end speaks the protocol of a client. Without an
    /// address and a user it is as one of the daemon's unix socket.
    pub fn new(stream: UnixStream) -> Incoming {
        Incoming { stream, origin: Origin::default() }
    }

    /// Sets the address that the client comes from: for address lists, the access policy, the log
    /// and the status.
    pub fn address(mut self, address: impl Into<SocketAddr>) -> Incoming {
        self.origin.address = Some(address.into());
        self
    }

    /// Sets the name of the transport, which the log and the status show, such as `tls`. Default:
    /// `unix`.
    pub fn transport(mut self, name: &'static str) -> Incoming {
        self.origin.transport = Some(name);
        self
    }

    /// Sets the user that the client has shown to be, which the access policy gets.
    ///
    /// Such a client need not give a password: instead of
    /// [`Method::Password`](crate::Method::Password) it passes with
    /// [`Method::Anyone`](crate::Method::Anyone). If it gives a password, that must be right, and
    /// the user stays the one set here. All other methods hold for it, too.
    pub fn user(mut self, user: impl Into<String>) -> Incoming {
        self.origin.user = Some(user.into());
        self
    }

    /// Sets a value that is dropped when the daemon has ended the connection, in the daemon's own
    /// thread. The end of the stream alone does not tell of it while there is something to be read.
    pub fn guard(mut self, guard: impl Send + 'static) -> Incoming {
        self.origin.guard = Some(Guard(Box::new(guard)));
        self
    }
}
