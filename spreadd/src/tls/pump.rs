//! The bytes of a client, between TLS and the daemon.

use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy, split};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;
use tokio_rustls::server::TlsStream;

/// How long a client may take to read what the daemon has sent it, once that has ended the
/// connection.
pub(super) const LINGER: Duration = Duration::from_secs(5);

/// Moves bytes both ways until both have come to their end, or the daemon has ended the connection
/// (`daemon` closes) and the client has read all or had its time.
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
    let is_well = {
        let requests = async {
            let is_well = tokio::select! {
                done = forward(&mut from_client, &mut to_daemon) => note("from a client", done),
                // There is nobody to be told any more.
                () = closed(daemon.clone()) => return true,
            };
            if !is_well {
                // To the daemon it is an end as every other.
                let _ = to_daemon.shutdown().await;
            }
            is_well
        };
        let answers = async {
            let late = async {
                closed(daemon.clone()).await;
                tokio::time::sleep(LINGER).await;
            };
            let is_well = tokio::select! {
                done = forward(&mut from_daemon, &mut to_client) => note("to a client", done),
                () = late => false,
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

/// Copies from one side to the other, and then ends that.
async fn forward(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    copy(from, to).await?;
    to.shutdown().await
}
