//! The thread that moves the bytes of all connections over TLS.

use std::future::pending;
use std::io;
use std::net::TcpStream as StdTcpStream;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::net::{Shutdown, shutdown, sockopt};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use spread_os::PerProcess;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::link::Failure;

/// How long the rest of what was sent may take, once nobody has the mailbox any more.
const LINGER: Duration = Duration::from_secs(5);

/// Bytes that are moved at a time: two records of TLS.
const PIECE: usize = 32 * 1024;

static RUNTIME: PerProcess<Mutex<Option<Handle>>> = PerProcess::new();

/// A connection that is to be encrypted.
pub(super) struct Ends {
    pub(super) tcp: OwnedFd,
    pub(super) plain: StdUnixStream,
    pub(super) config: Arc<ClientConfig>,
    pub(super) name: ServerName<'static>,
    pub(super) failure: Arc<Failure>,
    /// Ends when nobody has the mailbox any more.
    pub(super) ended: oneshot::Receiver<()>,
}

/// Starts to move bytes, without waiting for the handshake.
pub(super) fn start(ends: Ends) -> io::Result<()> {
    runtime()?.spawn(run(ends));
    Ok(())
}

/// The runtime of this process, in a thread that ends with the process.
fn runtime() -> io::Result<Handle> {
    let slot = RUNTIME.get(Mutex::default);
    let mut handle = slot.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = &*handle {
        return Ok(handle.clone());
    }
    let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
    let new = runtime.handle().clone();
    let run = move || runtime.block_on(pending::<()>());
    thread::Builder::new().name("spread-tls".to_owned()).spawn(run)?;
    Ok(handle.insert(new).clone())
}

/// Serves a connection. The mailbox learns of its end when the plain socket closes, which is
/// after an error has been noted.
async fn run(ends: Ends) {
    let Ends { tcp, plain, config, name, failure, mut ended } = ends;
    // In the child of a fork there may be a copy of the socket, so its drop does not end it.
    let fail = |plain: BorrowedFd<'_>, error| {
        failure.note(error, true);
        let _ = shutdown(plain, Shutdown::Both);
    };
    let (tcp, pumped) = match streams(tcp, &plain) {
        Ok(streams) => streams,
        Err(error) => return fail(plain.as_fd(), error),
    };
    drop(plain);
    let shaken = tokio::select! {
        shaken = TlsConnector::from(config).connect(name, tcp) => shaken,
        _ = &mut ended => return,
    };
    let tls = match shaken {
        Ok(tls) => tls,
        Err(error) => return fail(pumped.as_fd(), error),
    };
    let until = async {
        // It ends by the drop of the other side.
        let _ = ended.await;
        tokio::time::sleep(LINGER).await;
    };
    let (tls, is_well) = exchange(tls, pumped, &failure, until).await;
    let tcp = tls.get_ref().0;
    match is_well {
        // As above: the daemon is to see the end although there may be a copy.
        true => drop(shutdown(tcp, Shutdown::Write)),
        false => reset(tcp),
    }
}

fn streams(tcp: OwnedFd, plain: &StdUnixStream) -> io::Result<(TcpStream, UnixStream)> {
    let plain = plain.try_clone()?;
    plain.set_nonblocking(true)?;
    let tcp = StdTcpStream::from(tcp);
    tcp.set_nonblocking(true)?;
    Ok((TcpStream::from_std(tcp)?, UnixStream::from_std(plain)?))
}

/// Moves bytes both ways until the daemon has ended the connection, or until the time is over;
/// returns whether it has, without an error.
///
/// An end of what is sent is passed on to the daemon. After an error of what is sent, what has come
/// can still be received. What the daemon has not read when it ends the connection, it never reads.
async fn exchange(
    tls: TlsStream<TcpStream>,
    plain: UnixStream,
    failure: &Failure,
    until: impl Future<Output = ()>,
) -> (TlsStream<TcpStream>, bool) {
    let (mut from_daemon, mut to_daemon) = split(tls);
    let (mut from_mailbox, mut to_mailbox) = plain.into_split();
    let is_well = {
        let mut sends = pin!(async {
            let sent = forward(&mut from_mailbox, &mut to_daemon).await;
            let failed = sent.map_err(|error| failure.note(error, false));
            if failed.is_err() {
                // Further sends of the mailbox fail; otherwise they would wait for room.
                let _ = shutdown(from_mailbox.as_ref().as_fd(), Shutdown::Read);
            }
            failed.is_ok()
        });
        let mut receives = pin!(async {
            let received = forward(&mut from_daemon, &mut to_mailbox).await;
            received.map_err(|error| failure.note(error, false)).is_ok()
        });
        let both = async {
            tokio::select! {
                is_received = &mut receives => is_received,
                is_sent = &mut sends => receives.await && is_sent,
            }
        };
        tokio::select! {
            is_well = both => is_well,
            () = until => false,
        }
    };
    // Further sends fail, although there may be a copy of the socket in the child of a fork.
    let _ = shutdown(from_mailbox.as_ref().as_fd(), Shutdown::Read);
    (from_daemon.unsplit(to_daemon), is_well)
}

/// Copies from one side to the other, and then ends that.
async fn forward(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let len = from.read(&mut piece).await?;
        if len == 0 {
            return to.shutdown().await;
        }
        to.write_all(&piece[..len]).await?;
        to.flush().await?;
    }
}

/// Makes the drop of a socket a reset, so that the daemon does not take it for an orderly end. It
/// fails only on a connection that is gone.
fn reset(tcp: &TcpStream) {
    let _ = sockopt::set_socket_linger(tcp, Some(Duration::ZERO));
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read};
    use std::net::TcpListener;

    use rustls::RootCertStore;
    use rustls::crypto::ring::default_provider;

    use super::*;

    fn config() -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        Arc::new(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
    }

    #[test]
    fn a_failed_handshake_ends_the_connection_although_a_child_has_a_copy_of_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let tcp = StdTcpStream::connect(listener.local_addr().unwrap()).unwrap();
        drop(listener.accept().unwrap());
        let (mut ours, plain) = StdUnixStream::pair().unwrap();
        let copy = plain.try_clone().unwrap();
        let failure = Arc::<Failure>::default();
        let (_end, ended) = oneshot::channel();
        let ends = Ends {
            tcp: tcp.into(),
            plain,
            config: config(),
            name: ServerName::try_from("localhost").unwrap(),
            failure: Arc::clone(&failure),
            ended,
        };
        start(ends).unwrap();
        ours.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let read = ours.read(&mut [0; 8]);
        assert!(!matches!(&read, Err(e) if e.kind() == ErrorKind::WouldBlock), "{read:?}");
        // What was noted is there when the end is.
        assert!(failure.get().is_some_and(|(_, in_handshake)| in_handshake));
        drop(copy);
    }

    #[test]
    fn each_that_asks_is_told_why_a_connection_ended() {
        let failure = Failure::default();
        assert!(failure.get().is_none());
        failure.note(ErrorKind::BrokenPipe.into(), false);
        failure.note(io::Error::other(rustls::Error::DecryptError), false);
        failure.note(ErrorKind::ConnectionReset.into(), false);
        for _ in 0..2 {
            let (error, _) = failure.get().unwrap();
            let of_tls = error.get_ref().and_then(|error| error.downcast_ref());
            assert_eq!(of_tls, Some(&rustls::Error::DecryptError));
        }
    }
}
