//! What the end-to-end tests share: a daemon, names that are free, and receives
//! that fail instead of hanging.
//!
//! Each test starts a daemon of its own in the process. With `SPREAD_DAEMON`
//! set, as in `SPREAD_DAEMON=4803@localhost`, all of them use that one. With the feature `tls` and
//! `SPREAD_TRANSPORT=tls`, TCP is TLS, to a `spreadd` for each test; see `ci/tls.sh`.

#![allow(dead_code, unused_imports, unused_macros, reason = "each test program uses some of it")]

pub(crate) mod peer;
pub(crate) mod place;
pub(crate) mod program;
#[cfg(feature = "tls")]
pub(crate) mod tls;

use std::env::VarError;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use socket2::SockRef;
use spread::{AsyncMailbox, Builder, Library, Mailbox, Message, Name, RegularMessage, View};
use spread_daemon::Daemon;

/// The library that the tests use: that of `SPREAD_LIBRARY`, `native` or `sys`, or else the core.
pub(crate) fn library() -> Library {
    match std::env::var("SPREAD_LIBRARY").as_deref() {
        Ok("native") | Err(VarError::NotPresent) => Library::Native,
        Ok("sys") => Library::Sys,
        other => panic!("SPREAD_LIBRARY is neither native nor sys: {other:?}"),
    }
}

/// Whether mailboxes go through the C library that is installed.
pub(crate) fn is_installed_library() -> bool {
    cfg!(feature = "system") && library() == Library::Sys
}

/// Begins a connection over that library.
pub(crate) fn builder(address: impl Into<String>) -> Builder {
    let address = address.into();
    #[cfg(feature = "tls")]
    if let Some(config) = tls::trusted_at(&address) {
        return Mailbox::builder(address).library(library()).tls(config);
    }
    Mailbox::builder(address).library(library())
}

/// Long enough for a busy machine; no test that passes waits for so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// How clients reach the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Unix,
}

/// Makes of `fn name(TestDaemon)` a test for each transport.
macro_rules! on_each_transport {
    ($($name:ident),+ $(,)?) => {
        mod tcp {
            $(#[test] fn $name() {
                super::$name(crate::support::TestDaemon::start(crate::support::Transport::Tcp));
            })+
        }
        mod unix {
            $(#[test] fn $name() {
                super::$name(crate::support::TestDaemon::start(crate::support::Transport::Unix));
            })+
        }
    };
}
pub(crate) use on_each_transport;

/// As [`on_each_transport`], of `fn name(Transport)`, which brings its own daemons.
macro_rules! over_each_transport {
    ($($name:ident),+ $(,)?) => {
        mod over_tcp {
            $(#[test] fn $name() { super::$name(crate::support::Transport::Tcp); })+
        }
        mod over_unix {
            $(#[test] fn $name() { super::$name(crate::support::Transport::Unix); })+
        }
    };
}
pub(crate) use over_each_transport;

/// The daemon that a test talks to.
pub(crate) struct TestDaemon {
    address: String,
    embedded: Option<Daemon>,
    #[cfg(feature = "tls")]
    over_tls: Option<Mutex<tls::Shared>>,
}

impl TestDaemon {
    pub(crate) fn start(transport: Transport) -> TestDaemon {
        if let Ok(address) = std::env::var("SPREAD_DAEMON") {
            return TestDaemon {
                address,
                embedded: None,
                #[cfg(feature = "tls")]
                over_tls: None,
            };
        }
        #[cfg(feature = "tls")]
        if transport == Transport::Tcp && std::env::var("SPREAD_TRANSPORT").as_deref() == Ok("tls")
        {
            let daemon = tls::Shared::start();
            let address = daemon.address().to_owned();
            return TestDaemon { address, embedded: None, over_tls: Some(Mutex::new(daemon)) };
        }
        TestDaemon::embedded(transport)
    }

    pub(crate) fn embedded(transport: Transport) -> TestDaemon {
        // The file of a process that was killed may be in the way.
        let builder = Daemon::builder().unix_dir("/tmp");
        let daemon = builder.start().expect("an embedded daemon");
        let address = match transport {
            Transport::Tcp => daemon.address(),
            Transport::Unix => daemon.unix_address().expect("a unix socket"),
        };
        TestDaemon {
            address,
            embedded: Some(daemon),
            #[cfg(feature = "tls")]
            over_tls: None,
        }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Connects under a name that begins with `name`.
    pub(crate) fn connect(&self, name: &str) -> Mailbox {
        builder(&self.address)
            .private_name(unique(name))
            .connect()
            .unwrap_or_else(|error| panic!("cannot connect {name}: {error}"))
    }
}

/// A name that no other test has: at most 10 bytes, if `name` has at most 3.
pub(crate) fn unique(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{name}{}{}", base36(std::process::id(), 4), base36(next, 2))
}

fn base36(mut number: u32, digits: usize) -> String {
    let mut text = Vec::new();
    for _ in 0..digits {
        text.push(char::from_digit(number % 36, 36).unwrap_or('?'));
        number /= 36;
    }
    text.into_iter().rev().collect()
}

/// Receiving with a deadline, and of the kind that is expected.
pub(crate) trait Expect {
    fn next(&mut self) -> Message;
    fn next_regular(&mut self) -> RegularMessage;
    fn next_view(&mut self) -> View;
    /// Receives views of `group` up to the one with so many members.
    fn view_of(&mut self, group: &str, members: usize) -> View;
    fn me(&self) -> Name;
}

impl Expect for Mailbox {
    fn next(&mut self) -> Message {
        match self.receive_timeout(PATIENCE) {
            Ok(Some(message)) => message,
            Ok(None) => panic!("{}: no message within {PATIENCE:?}", self.private_group()),
            Err(error) => panic!("{}: {error}", self.private_group()),
        }
    }

    fn next_regular(&mut self) -> RegularMessage {
        match self.next() {
            Message::Regular(message) => message,
            other => panic!("{}: not a regular message: {other:?}", self.private_group()),
        }
    }

    fn next_view(&mut self) -> View {
        match self.next() {
            Message::Membership(view) => view,
            other => panic!("{}: not a view: {other:?}", self.private_group()),
        }
    }

    fn view_of(&mut self, group: &str, members: usize) -> View {
        loop {
            let view = self.next_view();
            if view.group == group && view.members.len() == members {
                return view;
            }
        }
    }

    fn me(&self) -> Name {
        self.private_group().into()
    }
}

/// The texts of an error and of its sources.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(Some(error), |error| error.source());
    sources.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Waits with poll(2) for one of `events`, as long as `timeout`; says whether it
/// came.
pub(crate) fn poll(fd: &impl AsRawFd, events: i16, timeout: Duration) -> bool {
    let mut fd = libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 };
    let millis = timeout.as_millis().try_into().unwrap_or(i32::MAX);
    // SAFETY: one pollfd that lives through the call.
    match unsafe { libc::poll(&mut fd, 1, millis) } {
        -1 => panic!("poll: {}", io::Error::last_os_error()),
        count => count > 0,
    }
}

/// Has a TCP socket take only so many bytes of memory for what has not been read.
pub(crate) fn set_receive_buffer(fd: &impl AsRawFd, len: libc::c_int) {
    // SAFETY: the option is one int, which lives through the call.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUF,
            (&raw const len).cast(),
            size_of_val(&len) as libc::socklen_t,
        )
    };
    assert_eq!(result, 0, "SO_RCVBUF: {}", io::Error::last_os_error());
}

/// Waits until the descriptor is readable.
pub(crate) fn wait_readable(fd: &impl AsRawFd) {
    assert!(poll(fd, libc::POLLIN, PATIENCE), "not readable within {PATIENCE:?}");
}

/// Waits until the descriptor has room.
pub(crate) fn wait_writable(fd: &impl AsRawFd) {
    assert!(poll(fd, libc::POLLOUT, PATIENCE), "not writable within {PATIENCE:?}");
}

/// Waits until the descriptor has no more room: whoever writes now, waits.
pub(crate) fn wait_full(fd: &impl AsRawFd) {
    let begin = Instant::now();
    while poll(fd, libc::POLLOUT, Duration::ZERO) {
        assert!(begin.elapsed() < PATIENCE, "room for more after {PATIENCE:?}");
        std::thread::yield_now();
    }
}

/// Waits until so many bytes have come.
pub(crate) fn wait_queued(fd: &impl AsFd, len: usize) {
    let mut come = vec![MaybeUninit::uninit(); len];
    let begin = Instant::now();
    while SockRef::from(fd).peek(&mut come).unwrap() < len {
        assert!(begin.elapsed() < PATIENCE, "fewer than {len} bytes after {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Runs a test in a runtime with one thread, in which nothing may block; it fails
/// if the test takes too long.
pub(crate) fn block_on<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let test = async { tokio::time::timeout(2 * PATIENCE, test).await };
    runtime.block_on(test).expect("a test that comes to its end")
}

/// A client of the runtime that this is called in.
pub(crate) async fn connect_async(address: &str) -> AsyncMailbox {
    AsyncMailbox::connect(builder(address).private_name(unique("a"))).await.unwrap()
}
