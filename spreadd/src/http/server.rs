//! Connections: how many there may be, and what they may take.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use super::routes::{Body, Routes};

/// Connections that may be open. One more, and the oldest is closed: so nobody is kept out by
/// those who only hold connections.
pub(super) const MAX_CONNECTIONS: usize = 64;

/// Headers of a request, and bytes of its head.
const MAX_HEADERS: usize = 64;
const MAX_HEAD: usize = 16 * 1024;

/// How long a connection may take for the head of a request, which includes the time before
/// it, or take nothing of an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long to wait before a connection is accepted after none could be.
const RETRY: Duration = Duration::from_millis(100);

/// Serves the connections of a listener.
pub(super) async fn accept(listener: StdListener, routes: Arc<Routes>) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "cannot serve by HTTP"),
    };
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection for HTTP");
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        open.retain(|connection| !connection.is_finished());
        if open.len() >= MAX_CONNECTIONS
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
        }
        open.push_back(tokio::spawn(serve(stream, peer, Arc::clone(&routes))).abort_handle());
    }
}

/// Serves a connection to its end. The bodies of requests are never read: hyper drops what has
/// come of one, or closes the connection behind the answer.
async fn serve(stream: TcpStream, peer: SocketAddr, routes: Arc<Routes>) {
    // These fail only if the client is gone: then its next read does, too. An answer is written at
    // once, so there is nothing to gather; the timeout is for one that the client does not read.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(PATIENCE));
    let answer = |request: Request<Incoming>| {
        let routes = Arc::clone(&routes);
        async move { Ok::<Response<Body>, Infallible>(routes.answer(&request, peer).await) }
    };
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD)
        .half_close(false)
        .serve_connection(TokioIo::new(stream), service_fn(answer))
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection for HTTP has failed");
    }
}
