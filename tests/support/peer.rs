//! A daemon whose every byte is up to the test: for what a real one does only
//! when its network or its host is in trouble.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};

use bytes::BytesMut;
use spread_wire::handshake::{Daemon as Handshake, DaemonStep};
use spread_wire::{
    ByteOrder, Delivery, Frame, Groups, Limits, Name, PrivateGroup, Regular, Service,
};

use super::{PATIENCE, Transport};

/// The private group of the client of every peer.
pub(crate) const CLIENT: &str = "#me#peer";

/// Accepts one client and talks to it in a thread of its own. The connection ends
/// when the peer is dropped, if not before.
pub(crate) struct Peer {
    address: String,
    socket_file: Option<PathBuf>,
    /// Held for as long as the number is in use for a unix socket.
    _port: Option<TcpListener>,
    steps: Option<Sender<()>>,
    accepted: Receiver<UnixStream>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Peer {
    /// Does the handshake, and then what `talk` says. In the end the peer reads,
    /// for nothing, until the client is gone.
    pub(crate) fn start(
        transport: Transport,
        talk: impl FnOnce(&mut Client) -> io::Result<()> + Send + 'static,
    ) -> Peer {
        Peer::rude(transport, |client| {
            client.shake_hands()?;
            talk(client)
        })
    }

    /// As [`start`](Self::start), but leaves the handshake to `talk`.
    pub(crate) fn rude(
        transport: Transport,
        talk: impl FnOnce(&mut Client) -> io::Result<()> + Send + 'static,
    ) -> Peer {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        let (steps, next_step) = mpsc::channel();
        let (accept, accepted) = mpsc::channel();
        let serve = move |stream: UnixStream| {
            let _ = accept.send(stream.try_clone()?);
            let mut client = Client { stream, next_step, received: BytesMut::new() };
            let talked = talk(&mut client);
            let drained = talked.and_then(|()| io::copy(&mut client.stream, &mut io::sink()));
            // There is another handle, with which it would stay open.
            client.stream.shutdown(Shutdown::Both)?;
            drained.map(drop)
        };
        match transport {
            Transport::Tcp => Peer {
                address: format!("{port}@127.0.0.1"),
                socket_file: None,
                _port: None,
                steps: Some(steps),
                accepted,
                thread: Some(thread::spawn(move || serve(accept_tcp(&tcp)?))),
            },
            Transport::Unix => {
                let path = Path::new("/tmp").join(port.to_string());
                // The number is free, so the file is of a process that was killed.
                if UnixStream::connect(&path).is_err() {
                    let _ = std::fs::remove_file(&path);
                }
                let unix = UnixListener::bind(&path).unwrap();
                Peer {
                    address: port.to_string(),
                    socket_file: Some(path),
                    _port: Some(tcp),
                    steps: Some(steps),
                    accepted,
                    thread: Some(thread::spawn(move || serve(unix.accept()?.0))),
                }
            }
        }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Ends one [`Client::wait`].
    pub(crate) fn go_on(&self) {
        self.steps.as_ref().unwrap().send(()).expect("a peer that waits");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.steps = None;
        // In case that nobody has connected.
        match &self.socket_file {
            Some(path) => drop(UnixStream::connect(path)),
            None => {
                drop(self.address.split_once('@').map(|(port, host)| {
                    TcpStream::connect((host, port.parse().unwrap_or_default()))
                }))
            }
        }
        if let Ok(stream) = self.accepted.recv() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // What the thread says is of no interest: its client may be gone first.
        let _ = self.thread.take().map(JoinHandle::join);
        if let Some(path) = &self.socket_file {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// A socket is a socket once it is connected, whatever its family.
fn accept_tcp(listener: &TcpListener) -> io::Result<UnixStream> {
    let stream = listener.accept()?.0;
    stream.set_nodelay(true)?;
    Ok(UnixStream::from(OwnedFd::from(stream)))
}

/// The client of a peer.
pub(crate) struct Client {
    stream: UnixStream,
    next_step: Receiver<()>,
    received: BytesMut,
}

impl AsRawFd for Client {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

impl Client {
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends the last byte as urgent data (`MSG_OOB`).
    pub(crate) fn send_urgently(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (last, rest) = bytes.split_last().expect("some bytes");
        self.send(rest)?;
        let sent = socket2::SockRef::from(&self.stream).send_out_of_band(&[*last])?;
        assert_eq!(sent, 1);
        Ok(())
    }

    /// Waits for some bytes, and drops them.
    pub(crate) fn read_some(&mut self) -> io::Result<()> {
        self.stream.read(&mut [0; 256]).map(drop)
    }

    /// Ends a TCP connection with a reset.
    pub(crate) fn reset(&mut self) -> io::Result<()> {
        // There is another handle, with which a close would do nothing. To connect to no
        // address ends the connection that there is.
        // SAFETY: zeros are an address, of no family, and it lives through the call.
        let nowhere: libc::sockaddr = unsafe { std::mem::zeroed() };
        let len = size_of_val(&nowhere) as libc::socklen_t;
        // SAFETY: as above; the descriptor is open.
        match unsafe { libc::connect(self.stream.as_raw_fd(), &nowhere, len) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Sends no more.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    /// The next frame from the client.
    pub(crate) fn receive(&mut self) -> io::Result<Frame> {
        loop {
            match Frame::decode(&mut self.received, Limits::FROM_CLIENT) {
                Ok(Some(frame)) => return Ok(frame),
                Ok(None) => self.read_more()?,
                Err(error) => return Err(io::Error::other(error)),
            }
        }
    }

    /// What comes from the client until it ends: whole frames, in the end, too.
    pub(crate) fn receive_all(&mut self) -> io::Result<Vec<Frame>> {
        let mut frames = Vec::new();
        loop {
            match self.receive() {
                Ok(frame) => frames.push(frame),
                Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error),
                Err(_) if self.received.is_empty() => return Ok(frames),
                Err(_) => return Err(io::Error::other("an end within a frame")),
            }
        }
    }

    /// Waits for the test to say [`Peer::go_on`]. If the test hangs meanwhile, it
    /// had better fail: so this goes on after a while.
    pub(crate) fn wait(&self) -> io::Result<()> {
        match self.next_step.recv_timeout(PATIENCE) {
            Ok(()) | Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn shake_hands(&mut self) -> io::Result<()> {
        shake_hands(&mut self.stream, &mut self.received)
    }

    fn read_more(&mut self) -> io::Result<()> {
        read_more(&mut self.stream, &mut self.received)
    }
}

/// Does a daemon's part of a handshake.
pub(crate) fn shake_hands(
    stream: &mut (impl Read + Write),
    received: &mut BytesMut,
) -> io::Result<()> {
    let mut handshake = Handshake::new(&["NULL"]);
    loop {
        match handshake.handle(received) {
            DaemonStep::Greet(_) => stream.write_all(&handshake.greet())?,
            DaemonStep::Authenticate(_) => {
                let me = PrivateGroup::new(CLIENT).map_err(io::Error::other)?;
                stream.write_all(&handshake.accept(me))?;
            }
            DaemonStep::Done => return Ok(()),
            DaemonStep::Reject(code) => return Err(io::Error::other(code)),
            DaemonStep::Receive => read_more(stream, received)?,
        }
    }
}

fn read_more(stream: &mut impl Read, received: &mut BytesMut) -> io::Result<()> {
    let mut chunk = [0; 64 * 1024];
    let len = loop {
        match stream.read(&mut chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => break read?,
        }
    };
    if len == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    received.extend_from_slice(&chunk[..len]);
    Ok(())
}

/// A regular message to the client, on the wire.
pub(crate) fn message(payload: &[u8]) -> BytesMut {
    message_to(&[Name::new(CLIENT).unwrap()], payload)
}

/// A regular message to these groups, on the wire.
pub(crate) fn message_to(groups: &[Name], payload: &[u8]) -> BytesMut {
    frame(&Delivery::Regular(Regular {
        sender: Name::new("#bob#peer").unwrap(),
        service: Service::Fifo,
        self_discard: false,
        message_type: 0,
        sender_order: ByteOrder::NATIVE,
        groups: Groups::from(groups),
        body: payload,
    }))
}

/// Any message to the client, on the wire.
pub(crate) fn frame(delivery: &Delivery<'_>) -> BytesMut {
    frame_of(delivery, ByteOrder::NATIVE)
}

/// Any message from a daemon of the given byte order, on the wire.
pub(crate) fn frame_of(delivery: &Delivery<'_>, order: ByteOrder) -> BytesMut {
    let mut bytes = BytesMut::new();
    delivery.encode(order, &mut bytes);
    bytes
}
