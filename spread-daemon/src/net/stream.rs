//! The two kinds of stream that clients come by, as one type.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};

use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token, event};

/// A non-blocking stream to a client.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Returns the client's address; `None` for the unix socket.
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        match self {
            // One that has no address any more is gone, and not of the unix socket.
            Stream::Tcp(stream) => {
                Some(stream.peer_addr().unwrap_or((Ipv4Addr::UNSPECIFIED, 0).into()))
            }
            Stream::Unix(_) => None,
        }
    }

    /// Returns the name of its transport.
    pub(crate) fn transport(&self) -> &'static str {
        match self {
            Stream::Tcp(_) => "tcp",
            Stream::Unix(_) => "unix",
        }
    }

    /// Returns the daemon's address and the client's; `None` for the unix socket, and
    /// once the connection is gone.
    pub(crate) fn addresses(&self) -> Option<(SocketAddr, SocketAddr)> {
        match self {
            Stream::Tcp(stream) => stream.local_addr().ok().zip(stream.peer_addr().ok()),
            Stream::Unix(_) => None,
        }
    }

    /// Closes the sending side.
    pub(crate) fn finish(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buf),
            Stream::Unix(stream) => stream.read(buf),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(buf),
            Stream::Unix(stream) => stream.write(buf),
        }
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write_vectored(bufs),
            Stream::Unix(stream) => stream.write_vectored(bufs),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl event::Source for Stream {
    fn register(&mut self, on: &Registry, token: Token, what: Interest) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.register(on, token, what),
            Stream::Unix(stream) => stream.register(on, token, what),
        }
    }

    fn reregister(&mut self, on: &Registry, token: Token, what: Interest) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.reregister(on, token, what),
            Stream::Unix(stream) => stream.reregister(on, token, what),
        }
    }

    fn deregister(&mut self, on: &Registry) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.deregister(on),
            Stream::Unix(stream) => stream.deregister(on),
        }
    }
}
