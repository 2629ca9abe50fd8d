//! A session that is opened step by step, for what a client is not told: the version of the
//! daemon, and which authentication it permits.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use spread::{AuthExchange, AuthStep, Authenticator, UserPassword};
use spread_core::Address;
use spread_wire::handshake::{Client, ClientError, ClientStep, Connect, Version};

use crate::admin::is_timeout;

/// How a server for TLS begins its answer to what is not TLS: by an alert.
const TLS_ALERT: [u8; 2] = [0x15, 3];

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// Where a daemon was reached, and how long that took.
pub(super) struct Reached {
    stream: Box<dyn Stream>,
    pub(super) at: String,
    pub(super) after: Duration,
}

/// Connects to the first address of the host that answers.
pub(super) fn reach(address: &Address, timeout: Duration) -> io::Result<Reached> {
    let begin = Instant::now();
    // Zero is no timeout to the standard library.
    let longest = timeout.max(Duration::from_millis(1));
    let timeout = Some(longest);
    let (stream, at): (Box<dyn Stream>, String) = match address {
        Address::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(timeout)?;
            stream.set_write_timeout(timeout)?;
            (Box::new(stream), path.display().to_string())
        }
        Address::Tcp { port, host } => {
            let mut last = io::Error::other("the host has no address");
            let mut addresses = (host.as_str(), *port).to_socket_addrs()?;
            let stream = addresses.find_map(|address| {
                let stream = TcpStream::connect_timeout(&address, longest);
                stream.map_err(|error| last = error).ok()
            });
            let stream = stream.ok_or(last)?;
            stream.set_read_timeout(timeout)?;
            stream.set_write_timeout(timeout)?;
            let at = stream.peer_addr()?.to_string();
            (Box::new(stream), at)
        }
    };
    Ok(Reached { stream, at, after: begin.elapsed() })
}

/// What a handshake came to.
pub(super) enum Greeting {
    Accepted(Version),
    /// It speaks Spread's protocol, and says no.
    Rejected {
        why: String,
        permitted: Vec<String>,
    },
    /// It speaks TLS.
    Tls,
    /// It is no Spread daemon.
    Other(String),
    /// It takes connections, and says nothing.
    Silent,
}

/// Opens a session, which ends when this returns.
pub(super) fn greet(mut reached: Reached, password: Option<UserPassword>) -> Greeting {
    let method = password.as_ref().map_or("NULL", |password| password.method());
    let mut client = Client::new(Connect::new(None), &[method]);
    loop {
        let step = match client.next_step() {
            ClientStep::Done(accepted) => return Greeting::Accepted(accepted.version),
            ClientStep::Send(bytes) => reached.stream.write_all(&bytes).map_err(Why::Io),
            ClientStep::Authenticate => {
                let exchange = password.as_ref().map(|password| password.begin());
                exchange
                    .map_or(Ok(()), |exchange| authenticate(&mut *reached.stream, exchange))
                    .map(|()| client.authenticated())
                    .map_err(Why::Io)
            }
            ClientStep::Receive(wanted) => receive(&mut *reached.stream, &client, wanted)
                .and_then(|bytes| client.handle(&bytes).map_err(Why::Protocol)),
        };
        if let Err(why) = step {
            let permitted: Vec<String> =
                client.permitted().into_iter().flatten().map(str::to_owned).collect();
            return match why {
                Why::Protocol(ClientError::Protocol(reason)) => Greeting::Other(reason.to_owned()),
                Why::Protocol(ClientError::OtherProtocol { begin })
                    if begin.starts_with(&TLS_ALERT) =>
                {
                    Greeting::Tls
                }
                Why::Protocol(error @ ClientError::OtherProtocol { .. }) => {
                    Greeting::Other(error.to_string())
                }
                Why::Protocol(ClientError::MethodNotPermitted { method, .. }) => {
                    Greeting::Rejected { why: format!("{method} is not permitted"), permitted }
                }
                Why::Protocol(error) => Greeting::Rejected { why: error.to_string(), permitted },
                // Whoever has told its methods is a daemon.
                Why::Io(error) if is_timeout(&error) => Greeting::Silent,
                Why::Io(error) if permitted.is_empty() => Greeting::Other(error.to_string()),
                Why::Io(error) => Greeting::Rejected { why: error.to_string(), permitted },
            };
        }
    }
}

enum Why {
    Io(io::Error),
    Protocol(ClientError),
}

/// Receives what a step asks for, or less if the daemon ends it or it is none.
fn receive(stream: &mut dyn Stream, client: &Client, wanted: usize) -> Result<Vec<u8>, Why> {
    let mut bytes = Vec::with_capacity(wanted);
    while bytes.len() < wanted {
        let mut piece = vec![0; wanted - bytes.len()];
        match stream.read(&mut piece) {
            Ok(0) if bytes.is_empty() => return Err(Why::Io(io::ErrorKind::UnexpectedEof.into())),
            Ok(0) => break,
            Ok(len) => bytes.extend_from_slice(&piece[..len]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Why::Io(error)),
        }
        client.check(&bytes).map_err(Why::Protocol)?;
    }
    Ok(bytes)
}

fn authenticate(stream: &mut dyn Stream, mut exchange: Box<dyn AuthExchange>) -> io::Result<()> {
    let mut received = Vec::new();
    loop {
        match exchange.next(&received)? {
            AuthStep::Send(bytes) => {
                received.clear();
                stream.write_all(&bytes)?;
            }
            AuthStep::Receive(len) => {
                received.resize(len, 0);
                stream.read_exact(&mut received)?;
            }
            _ => return Ok(()),
        }
    }
}
