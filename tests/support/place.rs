//! Places where daemons come and go, and what sessions hear of it.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use spread::{AsyncSession, Backoff, Error, Message, Session, SessionEvent, SessionOptions, View};
use spread_daemon::{Builder as DaemonBuilder, Daemon, StartError};

use super::{PATIENCE, Transport, builder};

/// For tests in which the daemon is soon back.
pub(crate) const SOON: Backoff = Backoff::new(Duration::from_millis(5), Duration::from_millis(40));

/// For tests in which nothing is to happen by itself.
pub(crate) const NEVER: Backoff =
    Backoff::new(Duration::from_secs(3600), Duration::from_secs(3600));

/// Whether this is the error of a session that has ended.
pub(crate) fn has_ended<T>(result: Result<T, Error>) -> bool {
    matches!(result, Err(Error::ShutDown))
}

/// Whether this is the error of a session without a connection.
pub(crate) fn is_not_connected<T>(result: Result<T, Error>) -> bool {
    matches!(result, Err(Error::ConnectionClosed { .. }))
}

/// Ports of which the system gives none to an outgoing connection, so that one is still free when its
/// daemon starts again.
const PORTS: Range<u16> = 20_000..32_000;

/// Where a daemon was started and can be started again.
pub(crate) struct Place {
    transport: Transport,
    pub(crate) port: u16,
    pub(crate) address: String,
}

impl Place {
    pub(crate) fn start(transport: Transport) -> (Place, Daemon) {
        static TRIED: AtomicU32 = AtomicU32::new(0);
        let next = || std::process::id().wrapping_add(TRIED.fetch_add(1, Ordering::Relaxed));
        let ports = std::iter::repeat_with(|| PORTS.start + (next() % PORTS.len() as u32) as u16);
        let mut daemons = ports.map(|port| Place::daemon(transport, port, Daemon::builder()));
        let taken = |daemon: &Result<_, _>| matches!(daemon, Err(StartError::PortTaken { .. }));
        let daemon = daemons.find(|daemon| !taken(daemon)).unwrap().unwrap();
        let address = match transport {
            Transport::Tcp => daemon.address(),
            Transport::Unix => daemon.unix_address().unwrap(),
        };
        (Place { transport, port: daemon.socket_addr().port(), address }, daemon)
    }

    pub(crate) fn start_again(&self) -> Daemon {
        self.start_other(Daemon::builder())
    }

    /// Starts another kind of daemon.
    pub(crate) fn start_other(&self, builder: DaemonBuilder) -> Daemon {
        Place::daemon(self.transport, self.port, builder).unwrap()
    }

    fn daemon(
        transport: Transport,
        port: u16,
        builder: DaemonBuilder,
    ) -> Result<Daemon, StartError> {
        let builder = builder.port(port);
        match transport {
            Transport::Tcp => builder.start(),
            Transport::Unix => builder.unix_dir("/tmp").start(),
        }
    }

    pub(crate) fn session(&self, name: &str, options: impl Into<SessionOptions>) -> Session {
        builder(&self.address).private_name(name).session(options).unwrap()
    }

    pub(crate) async fn session_async(
        &self,
        name: &str,
        options: impl Into<SessionOptions>,
    ) -> AsyncSession {
        let builder = builder(&self.address).private_name(name);
        AsyncSession::connect(builder, options).await.unwrap()
    }
}

/// News of a session, one after the other.
pub(crate) trait News {
    fn next_event(&mut self) -> SessionEvent;

    /// The messages that were not sent on the connection that is lost.
    fn lost(&mut self) -> u64 {
        match self.next_event() {
            SessionEvent::Lost { error, unsent, .. } if error.is_closed() => unsent,
            other => panic!("not lost: {other:?}"),
        }
    }

    /// Waits until the session is connected again; returns its name, and the attempts that
    /// failed before.
    fn restored(&mut self) -> (String, u32) {
        let mut failed = 0;
        loop {
            match self.next_event() {
                SessionEvent::Retrying { attempt, .. } => {
                    failed += 1;
                    assert_eq!(attempt, failed);
                }
                SessionEvent::Restored { private_group, attempts, .. } => {
                    assert_eq!(attempts, failed + 1);
                    return (private_group.to_string(), failed);
                }
                other => panic!("not restored: {other:?}"),
            }
        }
    }

    fn next_view(&mut self) -> View {
        match self.next_event() {
            SessionEvent::Message(Message::Membership(view)) => view,
            other => panic!("not a view: {other:?}"),
        }
    }

    fn next_payload(&mut self) -> Vec<u8> {
        match self.next_event() {
            SessionEvent::Message(Message::Regular(message)) => message.payload().to_vec(),
            other => panic!("not a regular message: {other:?}"),
        }
    }
}

impl News for Session {
    fn next_event(&mut self) -> SessionEvent {
        self.receive_timeout(PATIENCE).unwrap().expect("an event in time")
    }
}

impl News for spread::SessionReceiver {
    fn next_event(&mut self) -> SessionEvent {
        self.receive_timeout(PATIENCE).unwrap().expect("an event in time")
    }
}
