//! The TLS side of one connection, as its mailbox knows it.

use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::pki_types::ServerName;
use tokio::sync::oneshot;

use super::pump;
use super::{TlsConfig, TlsError};

/// The TLS side of a connection. When it is dropped, a handshake under way ends at once, and a
/// connection after a while in which the rest goes out.
#[derive(Debug)]
pub(crate) struct Link {
    failure: Arc<Failure>,
    /// `None` only during the drop.
    end: Option<oneshot::Sender<()>>,
    /// Of the process that connected it.
    generation: u32,
}

/// How a connected socket becomes the mailbox's end of a [`Link`].
pub(crate) type Enter = Box<dyn FnOnce(OwnedFd) -> io::Result<OwnedFd> + Send>;

/// An end of the connection without that of TLS.
const CUT: &str = "the connection ended without close_notify of TLS";

/// What ended the connection, if that was an error.
#[derive(Debug, Default)]
pub(super) struct Failure(Mutex<Option<Failed>>);

#[derive(Debug)]
struct Failed {
    error: io::Error,
    in_handshake: bool,
}

impl Failure {
    /// Notes an error. What TLS says is more than what the socket says.
    pub(super) fn note(&self, error: io::Error, in_handshake: bool) {
        // The text of rustls is for programmers.
        let is_cut = !in_handshake && error.kind() == ErrorKind::UnexpectedEof;
        let error = if is_cut { io::Error::new(error.kind(), CUT) } else { error };
        let mut failed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_of_tls = |e: &io::Error| e.get_ref().is_some_and(|e| e.is::<rustls::Error>());
        if failed.is_none() || is_of_tls(&error) {
            *failed = Some(Failed { error, in_handshake });
        }
    }

    /// Returns the error, and whether it came in the handshake, to each that asks.
    pub(super) fn get(&self) -> Option<(io::Error, bool)> {
        let failed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failed.as_ref().map(|failed| (copy(&failed.error), failed.in_handshake))
    }
}

impl Link {
    /// Makes a link to the daemon of a name, and the function by which a connected socket becomes
    /// the mailbox's end of it.
    pub(crate) fn new(config: &TlsConfig, name: ServerName<'static>) -> (Link, Enter) {
        let (end, ended) = oneshot::channel();
        let failure = Arc::<Failure>::default();
        let generation = spread_os::generation();
        let link = Link { failure: Arc::clone(&failure), end: Some(end), generation };
        let config = Arc::clone(config.client());
        let enter = Box::new(move |tcp| {
            let (ours, pumps) = UnixStream::pair()?;
            pump::start(pump::Ends { tcp, plain: pumps, config, name, failure, ended })?;
            Ok(ours.into())
        });
        (link, enter)
    }

    /// Returns what TLS says of a connect that failed; `None` if it says nothing.
    pub(crate) fn connect_failed(&self) -> Option<TlsError> {
        let (error, in_handshake) = self.failure.get()?;
        TlsError::of(error, in_handshake)
    }

    /// Returns the error that ended the connection.
    pub(crate) fn failure(&self) -> Option<io::Error> {
        self.failure.get().map(|(error, _)| error)
    }
}

/// Copies an error of TLS or of a socket.
fn copy(error: &io::Error) -> io::Error {
    let of_tls = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    match (of_tls, error.raw_os_error()) {
        (Some(of_tls), _) => io::Error::new(error.kind(), of_tls.clone()),
        (None, Some(number)) => io::Error::from_raw_os_error(number),
        (None, None) => io::Error::new(error.kind(), error.to_string()),
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let end = self.end.take();
        // In the child of a fork the thread that waits for it is not there, and its locks may be
        // held for ever.
        if spread_os::generation() != self.generation {
            std::mem::forget(end);
        }
    }
}
