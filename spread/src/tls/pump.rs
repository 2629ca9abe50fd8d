//! The thread that moves the bytes of all connections over TLS.

use std::future::pending;
use std::io;
use std::net::TcpStream as StdTcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::net::{Shutdown, shutdown, sockopt};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use spread_os::PerProcess;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy, split};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::link::Failure;

/// How long the rest of what was sent may take, once nobody has the mailbox any more.
const LINGER: Duration = Duration::from_secs(5);

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
    let (tcp, plain) = match streams(tcp, plain) {
        Ok(streams) => streams,
        Err(error) => return failure.note(error, true),
    };
    let shaken = tokio::select! {
        shaken = TlsConnector::from(config).connect(name, tcp) => shaken,
        _ = &mut ended => return,
    };
    let tls = match shaken {
        Ok(tls) => tls,
        Err(error) => return failure.note(error, true),
    };
    let until = async {
        // It ends by the drop of the other side.
        let _ = ended.await;
        tokio::time::sleep(LINGER).await;
    };
    let (tls, is_well) = exchange(tls, plain, &failure, until).await;
    if !is_well {
        reset(tls.get_ref().0);
    }
}

fn streams(tcp: OwnedFd, plain: StdUnixStream) -> io::Result<(TcpStream, UnixStream)> {
    plain.set_nonblocking(true)?;
    let tcp = StdTcpStream::from(tcp);
    tcp.set_nonblocking(true)?;
    Ok((TcpStream::from_std(tcp)?, UnixStream::from_std(plain)?))
}

/// Moves bytes both ways until both have come to their end, or until the time is over; returns
/// whether they have, without an error.
///
/// An end of one side is passed on to the other one. After an error of what is sent, what has come
/// can still be received.
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
                is_received = &mut receives => is_received && sends.await,
                is_sent = &mut sends => receives.await && is_sent,
            }
        };
        tokio::select! {
            is_well = both => is_well,
            () = until => false,
        }
    };
    (from_daemon.unsplit(to_daemon), is_well)
}

/// Copies from one side to the other, and then ends that.
async fn forward(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    copy(from, to).await?;
    to.shutdown().await
}

/// Makes the drop of a socket a reset, so that the daemon does not take it for an orderly end. It
/// fails only on a connection that is gone.
fn reset(tcp: &TcpStream) {
    let _ = sockopt::set_socket_linger(tcp, Some(Duration::ZERO));
}
