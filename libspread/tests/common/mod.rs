//! A client of the library, and daemons for it to talk to.

// Each test uses a part of it.
#![allow(dead_code)]

use std::ffi::{CString, c_char};
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::BytesMut;
use libspread::*;
use spread_wire::handshake::{Daemon, DaemonStep};
use spread_wire::{
    ByteOrder, Delivery, Frame, Groups, Limits, Name, PrivateGroup, PrivateName, Regular, Service,
};

/// How long anything may take before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const NAME_LEN: usize = MAX_GROUP_NAME as usize;

/// A daemon for tests that need a real one.
pub(crate) struct LiveDaemon {
    pub(crate) address: String,
    _embedded: Option<spread_daemon::Daemon>,
}

/// The daemon that `SPREAD_DAEMON` names, or else one of the test's own.
pub(crate) fn daemon() -> LiveDaemon {
    if let Ok(address) = std::env::var("SPREAD_DAEMON") {
        return LiveDaemon { address, _embedded: None };
    }
    let daemon = spread_daemon::Daemon::builder().start().expect("an embedded daemon");
    LiveDaemon { address: daemon.address(), _embedded: Some(daemon) }
}

/// Runs `body` in a thread of its own, and fails if it takes too long.
pub(crate) fn in_time<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    Background::start(body).finish()
}

/// Work in another thread.
pub(crate) struct Background<T> {
    result: mpsc::Receiver<T>,
    thread: JoinHandle<()>,
}

impl<T: Send + 'static> Background<T> {
    pub(crate) fn start(body: impl FnOnce() -> T + Send + 'static) -> Background<T> {
        let (done, result) = mpsc::channel();
        let thread = thread::spawn(move || {
            let _ = done.send(body());
        });
        Background { result, thread }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.thread.is_finished()
    }

    pub(crate) fn finish(self) -> T {
        match self.result.recv_timeout(PATIENCE) {
            Ok(result) => {
                self.thread.join().expect("the thread has sent its result");
                result
            }
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("it takes too long"),
            Err(mpsc::RecvTimeoutError::Disconnected) => match self.thread.join() {
                Err(panic) => std::panic::resume_unwind(panic),
                Ok(()) => panic!("the thread ended without a result"),
            },
        }
    }
}

/// A mailbox that is killed when it goes.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) mbox: mailbox,
    pub(crate) private_group: String,
}

impl Client {
    pub(crate) fn connect(address: &str, name: &str) -> Result<Client, i32> {
        Client::connect_in(address, name, sp_time { sec: PATIENCE.as_secs() as _, usec: 0 })
    }

    pub(crate) fn connect_in(address: &str, name: &str, time_out: sp_time) -> Result<Client, i32> {
        let (address, name) = (CString::new(address).unwrap(), CString::new(name).unwrap());
        let mut mbox = -77;
        let mut group = [0x55 as c_char; NAME_LEN];
        // SAFETY: the names end in a zero, the results have room.
        let code = unsafe {
            SP_connect_timeout(
                address.as_ptr(),
                name.as_ptr(),
                0,
                1,
                &mut mbox,
                group.as_mut_ptr(),
                time_out,
            )
        };
        if code == ACCEPT_SESSION {
            return Ok(Client { mbox, private_group: text(&group) });
        }
        assert_eq!(mbox, -77, "a failed connect must leave the results alone");
        assert_eq!(group, [0x55 as c_char; NAME_LEN]);
        Err(code)
    }

    pub(crate) fn join(&self, group: &str) -> i32 {
        let group = CString::new(group).unwrap();
        // SAFETY: the name ends in a zero.
        unsafe { SP_join(self.mbox, group.as_ptr()) }
    }

    pub(crate) fn leave(&self, group: &str) -> i32 {
        let group = CString::new(group).unwrap();
        // SAFETY: the name ends in a zero.
        unsafe { SP_leave(self.mbox, group.as_ptr()) }
    }

    pub(crate) fn multicast(
        &self,
        service_type: service,
        groups: &[&str],
        kind: i16,
        body: &[u8],
    ) -> i32 {
        multicast(self.mbox, service_type, groups, kind, body)
    }

    pub(crate) fn receive(&self) -> Received {
        receive(self.mbox, 0, 100, 200_000)
    }

    pub(crate) fn receive_into(&self, flags: service, max_groups: i32, max_len: i32) -> Received {
        receive(self.mbox, flags, max_groups, max_len)
    }

    pub(crate) fn poll(&self) -> i32 {
        // SAFETY: takes a number only.
        unsafe { SP_poll(self.mbox) }
    }

    /// Whether the descriptor becomes readable in time.
    pub(crate) fn becomes_readable(&self, patience: Duration) -> bool {
        self.is_ready(libc::POLLIN, patience)
    }

    pub(crate) fn is_readable(&self) -> bool {
        self.is_ready(libc::POLLIN, Duration::ZERO)
    }

    pub(crate) fn is_writable(&self) -> bool {
        self.is_ready(libc::POLLOUT, Duration::ZERO)
    }

    fn is_ready(&self, events: i16, patience: Duration) -> bool {
        let mut poll = libc::pollfd { fd: self.mbox, events, revents: 0 };
        // SAFETY: there is the one descriptor announced.
        unsafe { libc::poll(&mut poll, 1, patience.as_millis() as i32) == 1 }
    }

    pub(crate) fn disconnect(self) -> i32 {
        // SAFETY: takes a number only.
        let code = unsafe { SP_disconnect(self.mbox) };
        std::mem::forget(self);
        code
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // SAFETY: takes a number only.
        unsafe { SP_kill(self.mbox) }
    }
}

pub(crate) fn multicast(
    mbox: mailbox,
    service_type: service,
    groups: &[&str],
    kind: i16,
    body: &[u8],
) -> i32 {
    let mut fields = vec![[0 as c_char; NAME_LEN]; groups.len()];
    for (field, group) in fields.iter_mut().zip(groups) {
        for (to, from) in field.iter_mut().zip(group.bytes()) {
            *to = from as c_char;
        }
    }
    let (count, len) = (groups.len() as i32, body.len() as i32);
    let body = body.as_ptr().cast();
    // SAFETY: groups and body are as long as told.
    unsafe { SP_multigroup_multicast(mbox, service_type, count, fields.as_ptr(), kind, len, body) }
}

/// All that a receive tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) code: i32,
    pub(crate) service: service,
    pub(crate) sender: String,
    pub(crate) num_groups: i32,
    pub(crate) groups: Vec<String>,
    pub(crate) mess_type: i16,
    pub(crate) endian_mismatch: i32,
    pub(crate) body: Vec<u8>,
}

const UNTOUCHED: u8 = 0xaa;

pub(crate) fn receive(mbox: mailbox, flags: service, max_groups: i32, max_len: i32) -> Received {
    let mut service = flags;
    let mut sender = [0; NAME_LEN];
    let (mut num_groups, mut mess_type, mut endian_mismatch) = (0, 0, 0);
    // One more of each, to see that nothing is written beyond.
    let mut groups = vec![[UNTOUCHED as c_char; NAME_LEN]; max_groups as usize + 1];
    let mut body = vec![UNTOUCHED; max_len as usize + 1];
    // SAFETY: the results have room, the arrays as much as told.
    let code = unsafe {
        SP_receive(
            mbox,
            &mut service,
            sender.as_mut_ptr(),
            max_groups,
            &mut num_groups,
            groups.as_mut_ptr(),
            &mut mess_type,
            &mut endian_mismatch,
            max_len,
            body.as_mut_ptr().cast(),
        )
    };
    assert_eq!(groups.pop(), Some([UNTOUCHED as c_char; NAME_LEN]));
    assert_eq!(body.pop(), Some(UNTOUCHED));
    groups.truncate(num_groups.unsigned_abs() as usize);
    body.truncate(match code {
        BUFFER_TOO_SHORT => max_len as usize,
        code => code.max(0) as usize,
    });
    let groups = groups.iter().map(text).collect();
    let sender = text(&sender);
    Received { code, service, sender, num_groups, groups, mess_type, endian_mismatch, body }
}

fn text(field: &[c_char; NAME_LEN]) -> String {
    field.iter().take_while(|&&c| c != 0).map(|&c| char::from(c as u8)).collect()
}

/// The kinds of sockets that a daemon listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Tcp,
    Unix,
}

pub(crate) const KINDS: [Kind; 2] = [Kind::Tcp, Kind::Unix];

/// A daemon with one client, that does what a test tells it.
pub(crate) struct FakeDaemon {
    pub(crate) address: String,
    socket_file: Option<String>,
    /// Held for as long as the number is in use for a socket file.
    _port: Option<TcpListener>,
    script: Option<Background<()>>,
}

impl FakeDaemon {
    /// A daemon that hands over the stream as soon as a client connects.
    pub(crate) fn raw(
        kind: Kind,
        script: impl FnOnce(Box<dyn Peer>) + Send + 'static,
    ) -> FakeDaemon {
        // The number of a port that is ours, for either kind.
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = tcp.local_addr().expect("a bound port").port();
        match kind {
            Kind::Tcp => FakeDaemon {
                address: format!("{port}@127.0.0.1"),
                socket_file: None,
                _port: None,
                script: Some(Background::start(move || {
                    let (stream, _) = tcp.accept().expect("a client");
                    stream.set_nodelay(true).expect("a TCP socket");
                    script(Box::new(stream));
                })),
            },
            Kind::Unix => {
                let path = format!("/tmp/{port}");
                // The number is free, so the file is of a process that was killed.
                if UnixStream::connect(&path).is_err() {
                    let _ = fs::remove_file(&path);
                }
                let unix = UnixListener::bind(&path).expect("a free socket file");
                FakeDaemon {
                    address: port.to_string(),
                    socket_file: Some(path),
                    _port: Some(tcp),
                    script: Some(Background::start(move || {
                        let (stream, _) = unix.accept().expect("a client");
                        script(Box::new(stream));
                    })),
                }
            }
        }
    }

    /// A daemon that hands over the stream after the handshake, which makes
    /// its client `#alice#fake`.
    pub(crate) fn start(
        kind: Kind,
        script: impl FnOnce(Box<dyn Peer>) + Send + 'static,
    ) -> FakeDaemon {
        FakeDaemon::raw(kind, |mut stream| {
            stream.accept();
            script(stream);
        })
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.address, "alice").expect("a session")
    }

    /// Waits until the script has ended, and fails if it has.
    pub(crate) fn finish(mut self) {
        self.script.take().expect("finished once").finish();
    }
}

impl Drop for FakeDaemon {
    fn drop(&mut self) {
        if let Some(path) = &self.socket_file {
            let _ = fs::remove_file(path);
        }
        if let Some(script) = self.script.take()
            && !thread::panicking()
        {
            script.finish();
        }
    }
}

/// The daemon's end of a stream.
pub(crate) trait Peer: Read + Write + Send {
    /// Sends no more.
    fn end(&self);

    /// Does the handshake.
    fn accept(&mut self) {
        let mut daemon = Daemon::new(&["NULL"]);
        let mut input = BytesMut::new();
        loop {
            match daemon.handle(&mut input) {
                DaemonStep::Receive => {
                    let mut byte = [0];
                    self.read_exact(&mut byte).expect("the client's part of the handshake");
                    input.extend_from_slice(&byte);
                }
                DaemonStep::Greet(_) => {
                    let answer = daemon.greet();
                    self.write_all(&answer).expect("the client listens");
                }
                DaemonStep::Authenticate(_) => {
                    let name = PrivateName::new("alice").unwrap();
                    let answer = daemon.accept(PrivateGroup::of(name, "fake").unwrap());
                    self.write_all(&answer).expect("the client listens");
                }
                DaemonStep::Done => return,
                DaemonStep::Reject(code) => panic!("the client is rejected: {code}"),
            }
        }
    }

    /// Reads the next frame; `None` at the end.
    fn frame(&mut self, input: &mut BytesMut) -> Option<Frame> {
        loop {
            if let Some(frame) = Frame::decode(input, Limits::FROM_CLIENT).expect("a frame") {
                return Some(frame);
            }
            let mut bytes = [0; 4096];
            match self.read(&mut bytes).unwrap_or(0) {
                0 => return None,
                count => input.extend_from_slice(&bytes[..count]),
            }
        }
    }

    /// Reads until the client closes.
    fn wait_for_end(&mut self) {
        let _ = io::copy(&mut self.as_read(), &mut io::sink());
    }

    fn as_read(&mut self) -> &mut dyn Read;
}

impl Peer for TcpStream {
    fn end(&self) {
        let _ = self.shutdown(Shutdown::Write);
    }

    fn as_read(&mut self) -> &mut dyn Read {
        self
    }
}

impl Peer for UnixStream {
    fn end(&self) {
        let _ = self.shutdown(Shutdown::Write);
    }

    fn as_read(&mut self) -> &mut dyn Read {
        self
    }
}

/// A message as a daemon delivers it, sent by `#bob#fake` to `groups`.
pub(crate) fn regular(order: ByteOrder, groups: &[&str], body: &[u8]) -> Vec<u8> {
    let names: Vec<Name> = groups.iter().map(|g| Name::new(g).unwrap()).collect();
    encode(
        order,
        &Delivery::Regular(Regular {
            sender: Name::new("#bob#fake").unwrap(),
            service: Service::Agreed,
            self_discard: false,
            message_type: 7,
            sender_order: order,
            groups: Groups::from(&names[..]),
            body,
        }),
    )
}

pub(crate) fn encode(order: ByteOrder, delivery: &Delivery<'_>) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    delivery.encode(order, &mut bytes);
    bytes.to_vec()
}

/// Has a TCP socket take only so many bytes of memory for what has not been read.
pub(crate) fn set_receive_buffer(mbox: mailbox, len: libc::c_int) {
    // SAFETY: the option is one int, which lives through the call.
    let result = unsafe {
        libc::setsockopt(
            mbox,
            libc::SOL_SOCKET,
            libc::SO_RCVBUF,
            (&raw const len).cast(),
            size_of_val(&len) as libc::socklen_t,
        )
    };
    assert_eq!(result, 0, "SO_RCVBUF: {}", io::Error::last_os_error());
}
