//! The bytes of a client, between TLS and the daemon.

use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;
use tokio_rustls::server::TlsStream;

/// How long a client may take to read what the daemon has sent it, and to close, once the daemon
/// has ended the connection.
pub(super) const LINGER: Duration = Duration::from_secs(5);

/// Bytes that are moved at a time: two records of TLS.
const PIECE: usize = 32 * 1024;

/// Moves bytes both ways until both have come to their end, or the daemon has ended the connection
/// (`daemon` closes) and the client has closed it, too, or had its time.
///
/// An end of one side is passed on to the other one. After an error the client's connection is
/// reset, so that it is not taken for an orderly end.
pub(super) async fn exchange(
    tls: TlsStream<TcpStream>,
    plain: UnixStream,
    daemon: watch::Receiver<()>,
) {
    let (mut from_client, mut to_client) = split(tls);
    let (mut from_daemon, mut to_daemon) = plain.into_split();
    let late = || {
        let daemon = daemon.clone();
        async move {
            closed(daemon).await;
            tokio::time::sleep(LINGER).await;
        }
    };
    let is_well = {
        let requests = async {
            let is_well = tokio::select! {
                done = send(&mut from_client, &mut to_daemon) => note("from a client", done),
                () = closed(daemon.clone()) => true,
            };
            // An error is an end like any other to the daemon, which may have closed before.
            let _ = to_daemon.shutdown().await;
            if is_well {
                tokio::select! {
                    () = discard(&mut from_client) => {}
                    () = late() => {}
                }
            }
            is_well
        };
        let answers = async {
            let is_well = tokio::select! {
                done = receive(&mut from_daemon, &mut to_client) => note("to a client", done),
                () = late() => false,
            };
            if !is_well {
                // The daemon learns at once that it cannot send any more.
                let plain = from_daemon.as_ref().as_fd();
                let _ = SockRef::from(&plain).shutdown(Shutdown::Read);
            }
            is_well
        };
        let (requests, answers) = tokio::join!(requests, answers);
        requests && answers
    };
    let tls = from_client.unsplit(to_client);
    if !is_well {
        // It fails only on a connection that is gone.
        let _ = SockRef::from(tls.get_ref().0).set_linger(Some(Duration::ZERO));
    }
}

/// Returns when the daemon has ended the connection.
async fn closed(mut daemon: watch::Receiver<()>) {
    // Nothing is ever sent.
    while daemon.changed().await.is_ok() {}
}

/// Logs an error; returns whether there is none.
fn note(way: &str, done: io::Result<()>) -> bool {
    if let Err(error) = &done {
        tracing::debug!(%error, "a TLS connection failed {way}");
    }
    done.is_ok()
}

/// Copies from a client to the daemon, until the client ends or the daemon takes no more. Only the
/// client fails.
async fn send(
    client: &mut (impl AsyncRead + Unpin),
    daemon: &mut OwnedWriteHalf,
) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let len = client.read(&mut piece).await?;
        if len == 0 || daemon.write_all(&piece[..len]).await.is_err() {
            return Ok(());
        }
    }
}

/// Reads what a client sends after the daemon has ended the connection. If some of it were left
/// unread, TCP would reset the connection, and discard what it has not sent yet.
async fn discard(client: &mut (impl AsyncRead + Unpin)) {
    let mut piece = vec![0; PIECE];
    while matches!(client.read(&mut piece).await, Ok(1..)) {}
}

/// Copies from the daemon to a client, and then ends that.
async fn receive(
    daemon: &mut OwnedReadHalf,
    client: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let len = match daemon.read(&mut piece).await {
            // The daemon has closed before it had read everything; what it has sent came before.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => 0,
            read => read?,
        };
        if len == 0 {
            return client.shutdown().await;
        }
        client.write_all(&piece[..len]).await?;
        client.flush().await?;
    }
}
