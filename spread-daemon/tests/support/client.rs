//! A client made of a bare socket, which can do what no library would.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use bytes::BytesMut;
use spread_wire::handshake::{self, ClientStep, Connect};
use spread_wire::{ByteOrder, Cause, Delivery, Frame, Limits, Name, PrivateName, Request, Service};

/// After this long, what a test waits for is not going to happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A connection to a daemon.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    /// The private group, once there is a session.
    pub(crate) private_group: Name,
    input: BytesMut,
}

/// Returns the bytes that ask for a session with membership messages.
pub(crate) fn connect_request(name: &str) -> Vec<u8> {
    Connect::new(Some(PrivateName::new(name).unwrap())).encode()
}

impl Client {
    /// Connects, and sends nothing.
    pub(crate) fn bare(daemon: SocketAddr) -> Client {
        Client::of(TcpStream::connect(daemon).unwrap())
    }

    /// Takes a connection, and sends nothing.
    pub(crate) fn of(stream: TcpStream) -> Client {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream, private_group: Name::EMPTY, input: BytesMut::new() }
    }

    /// Connects under a name, and gets membership messages.
    pub(crate) fn connect(daemon: SocketAddr, name: &str) -> Client {
        Client::try_connect(daemon, Connect::new(Some(PrivateName::new(name).unwrap()))).unwrap()
    }

    /// Connects as asked, or tells how the daemon rejected it.
    pub(crate) fn try_connect(
        daemon: SocketAddr,
        connect: Connect,
    ) -> Result<Client, handshake::ClientError> {
        Client::try_authenticate(daemon, connect, &["NULL"], &[])
    }

    /// Connects with the given methods; `secret` is sent for those of them that
    /// want to hear something, and one byte of an answer awaited.
    pub(crate) fn try_authenticate(
        daemon: SocketAddr,
        connect: Connect,
        methods: &[&str],
        secret: &[u8],
    ) -> Result<Client, handshake::ClientError> {
        let mut client = Client::bare(daemon);
        let mut handshake = handshake::Client::new(connect, methods);
        loop {
            match handshake.next_step() {
                ClientStep::Send(bytes) => client.send(&bytes),
                ClientStep::Receive(len) => handshake.handle(&client.receive_up_to(len))?,
                ClientStep::Authenticate => {
                    client.send(secret);
                    if !secret.is_empty() {
                        client.receive_up_to(1);
                    }
                    handshake.authenticated();
                }
                ClientStep::Done(accepted) => {
                    client.private_group = accepted.private_group.into();
                    return Ok(client);
                }
            }
        }
    }

    /// Sends bytes; a daemon that has closed already does not hear them.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        match self.stream.write_all(bytes) {
            Err(e) if !is_closed(&e) => panic!("cannot send: {e}"),
            _ => {}
        }
    }

    /// Sends a request.
    pub(crate) fn request(&mut self, request: &Request<'_>) {
        let bytes = self.encode(request);
        self.send(&bytes);
    }

    /// Returns the bytes of a request.
    pub(crate) fn encode(&self, request: &Request<'_>) -> BytesMut {
        let mut bytes = BytesMut::new();
        request.encode(self.private_group, ByteOrder::NATIVE, &mut bytes);
        bytes
    }

    /// Joins a group and takes the view in which it has.
    pub(crate) fn join(&mut self, group: &str) {
        self.request(&Request::Join(Name::new(group).unwrap()));
        assert_eq!(self.receive_view(), (group.to_owned(), Cause::Join));
    }

    /// Sends an agreed message to a group.
    pub(crate) fn multicast(&mut self, group: &str, body: &[u8]) {
        let groups = [Name::new(group).unwrap()];
        self.request(&Request::multicast(Service::Agreed, &groups, body));
    }

    /// Receives as many bytes, or what there was before the end.
    pub(crate) fn receive_up_to(&mut self, len: usize) -> Vec<u8> {
        while self.input.len() < len && self.receive_more() {}
        let len = len.min(self.input.len());
        self.input.split_to(len).to_vec()
    }

    /// Receives the next frame; `None` at the end.
    pub(crate) fn receive(&mut self) -> Option<Frame> {
        loop {
            let frame = Frame::decode(&mut self.input, Limits::FROM_DAEMON).unwrap();
            if frame.is_some() || !self.receive_more() {
                return frame;
            }
        }
    }

    /// Receives a message and returns its body.
    pub(crate) fn receive_body(&mut self) -> Vec<u8> {
        let frame = self.receive().expect("the daemon has closed");
        match Delivery::parse(&frame).unwrap() {
            Delivery::Regular(regular) => regular.body.to_vec(),
            other => panic!("not a message of an application: {other:?}"),
        }
    }

    /// Receives a view and returns the group and the cause.
    pub(crate) fn receive_view(&mut self) -> (String, Cause) {
        let frame = self.receive().expect("the daemon has closed");
        match Delivery::parse(&frame).unwrap() {
            Delivery::View { group, cause, .. } => (group.to_string(), cause),
            other => panic!("not a view: {other:?}"),
        }
    }

    /// Sends a message to the client itself, which comes after all that its last
    /// request brings; returns what came before it.
    pub(crate) fn receive_until_handled(&mut self) -> Vec<Frame> {
        let own = [self.private_group];
        self.request(&Request::multicast(Service::Agreed, &own, b"done so far"));
        let mut told = Vec::new();
        loop {
            let frame = self.receive().expect("the daemon has closed");
            match Delivery::parse(&frame) {
                Ok(Delivery::Regular(m)) if m.body == b"done so far" => return told,
                _ => told.push(frame),
            }
        }
    }

    /// Returns whether something has come that was not received yet.
    pub(crate) fn has_input(&self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false).unwrap();
        !self.input.is_empty() || peeked.is_ok()
    }

    /// Waits until the daemon has closed; what it sent before is lost.
    pub(crate) fn wait_for_close(&mut self) {
        while self.receive_more() {
            self.input.clear();
        }
    }

    /// Closes the sending side.
    pub(crate) fn finish(&mut self) {
        // It may fail only because the daemon has closed already.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Returns whether anything came before the end.
    fn receive_more(&mut self) -> bool {
        let mut buffer = [0; 65536];
        match self.stream.read(&mut buffer) {
            Ok(len) => {
                self.input.extend_from_slice(&buffer[..len]);
                len > 0
            }
            Err(e) if is_closed(&e) => false,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => self.receive_more(),
            Err(e) => panic!("cannot receive: {e}"),
        }
    }
}

fn is_closed(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}
