//! The thread that accepts clients over TLS.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener as StdTcpListener};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustls::{CertificateError, OtherError, ServerConfig};
use socket2::{SockRef, TcpKeepalive};
use spread_daemon::{AdmitHandle, Incoming, StartError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::runtime::{self, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{pump, user};
use crate::plan::Outcome;

/// How long a client may take for the TLS handshake; that of Spread has its own time after it.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Connections in the TLS handshake. One more, and the oldest is closed.
const PENDING: usize = 256;

/// Connections beside those with a session: those in one of the handshakes, and those that still
/// read what was sent to them last.
pub(super) const BESIDE_SESSIONS: usize = 2048;

/// How long to wait before a connection is accepted after none could be.
const RETRY: Duration = Duration::from_millis(100);

/// After this long in silence a client's host is probed, as the daemon does it.
const IDLE: Duration = Duration::from_secs(60);

/// Sockets that listen for TLS.
#[derive(Debug)]
pub(super) struct Listeners {
    sockets: Vec<StdTcpListener>,
}

impl Listeners {
    /// Listens at addresses; port 0 is a free one, the same for all.
    pub(super) fn bind(addresses: &[IpAddr], port: u16) -> Outcome<Listeners> {
        let mut sockets: Vec<StdTcpListener> = Vec::new();
        let mut first: Option<SocketAddr> = None;
        for ip in addresses {
            let at = SocketAddr::new(*ip, first.map_or(port, |first| first.port()));
            let listen = || {
                let socket = StdTcpListener::bind(at)?;
                socket.set_nonblocking(true)?;
                do_not_pace(SockRef::from(&socket), at.ip());
                Ok((socket.local_addr()?, socket))
            };
            let (address, socket) = listen().map_err(|error: io::Error| match error.kind() {
                io::ErrorKind::AddrInUse => StartError::PortTaken { address: at },
                _ => StartError::Io { what: format!("listen for TLS at {at}"), source: error },
            })?;
            first.get_or_insert(address);
            sockets.push(socket);
        }
        first.ok_or("there is no address to listen at for TLS")?;
        Ok(Listeners { sockets })
    }

    /// Returns their addresses, with the actual port.
    pub(super) fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.sockets.iter().map(StdTcpListener::local_addr).collect()
    }
}

/// What clients over TLS may do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Sessions that may be open.
    pub(super) sessions: usize,
    /// Whether a client with a certificate is asked for its password as well.
    pub(super) asks_passwords: bool,
}

/// The thread that serves clients over TLS.
#[derive(Debug)]
pub(super) struct Server {
    certificates: Certificates,
    stop: Stopper,
    thread: JoinHandle<()>,
}

/// How far the end of the program has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Running,
    /// The daemon has ended. Clients still read what it has sent them.
    Finishing,
    Ended,
}

/// Ends the waiting for clients.
#[derive(Clone, Debug)]
pub(super) struct Stopper(watch::Sender<Stage>);

impl Stopper {
    fn finish(&self) {
        self.0.send_modify(|stage| *stage = (*stage).max(Stage::Finishing));
    }

    /// Handles a signal that ends the program, at once or gently: [`Server::finish`] does not wait
    /// for clients after one of the former, and no longer if one of either comes.
    pub(super) fn signal(&self, at_once: bool) {
        self.0.send_modify(|stage| {
            if at_once || *stage == Stage::Finishing {
                *stage = Stage::Ended;
            }
        });
    }
}

/// The certificates of new connections.
#[derive(Clone, Debug)]
pub(super) struct Certificates(Arc<Mutex<Arc<ServerConfig>>>);

impl Certificates {
    fn get(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.lock())
    }

    /// Takes other certificates for new connections.
    pub(super) fn set(&self, config: Arc<ServerConfig>) {
        *self.lock() = config;
    }

    fn lock(&self) -> MutexGuard<'_, Arc<ServerConfig>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Server {
    /// Serves clients in a thread of its own.
    pub(super) fn start(
        listeners: Listeners,
        config: Arc<ServerConfig>,
        limits: Limits,
        daemon: AdmitHandle,
    ) -> io::Result<Server> {
        let runtime = runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let certificates = Certificates(Arc::new(Mutex::new(config)));
        let (stop, stage) = watch::channel(Stage::Running);
        let state = Arc::new(State {
            certificates: certificates.clone(),
            limits,
            daemon,
            connections: Arc::new(Semaphore::new(limits.connections())),
            pending: Mutex::default(),
        });
        let sockets = {
            let _context = runtime.enter();
            let sockets = listeners.sockets.into_iter().map(TcpListener::from_std);
            sockets.collect::<io::Result<Vec<_>>>()?
        };
        let run = move || serve(&runtime, sockets, &state, stage);
        let thread = thread::Builder::new().name("spreadd-tls".to_owned()).spawn(run)?;
        Ok(Server { certificates, stop: Stopper(stop), thread })
    }

    /// Returns what changes the certificates.
    pub(super) fn certificates(&self) -> Certificates {
        self.certificates.clone()
    }

    /// Returns what ends the waiting for clients.
    pub(super) fn stopper(&self) -> Stopper {
        self.stop.clone()
    }

    /// Ends it: accepts nothing more, and waits for clients that read what the daemon has sent them
    /// last, as long as they may take for that, unless a [`Stopper`] ends it. The daemon has ended.
    pub(super) fn finish(self) {
        self.stop.finish();
        if self.thread.join().is_err() {
            tracing::error!("the thread for TLS panicked");
        }
    }
}

impl Limits {
    /// Connections that may be there.
    pub(super) fn connections(self) -> usize {
        self.sessions.saturating_add(BESIDE_SESSIONS).min(Semaphore::MAX_PERMITS)
    }
}

/// Accepts until it is stopped, and then waits for the connections.
fn serve(
    runtime: &Runtime,
    sockets: Vec<TcpListener>,
    state: &Arc<State>,
    mut stage: watch::Receiver<Stage>,
) {
    runtime.block_on(async {
        let accepts: Vec<_> = sockets
            .into_iter()
            .map(|socket| tokio::spawn(accept(socket, Arc::clone(state))))
            .collect();
        // It fails only if nobody can stop it any more.
        let _ = stage.wait_for(|stage| *stage >= Stage::Finishing).await;
        accepts.iter().for_each(|accept| accept.abort());
        state.pending().drain(..).for_each(|handshake| handshake.abort());
        let all = u32::try_from(state.limits.connections()).unwrap_or(u32::MAX);
        // Each has its time since the daemon has ended; the time is for what is left of it.
        let closed = timeout(2 * pump::LINGER, state.connections.acquire_many(all));
        tokio::select! {
            _ = closed => {}
            _ = stage.wait_for(|stage| *stage == Stage::Ended) => {}
        }
    });
}

/// What all connections have in common.
#[derive(Debug)]
struct State {
    certificates: Certificates,
    limits: Limits,
    daemon: AdmitHandle,
    connections: Arc<Semaphore>,
    /// Connections in the TLS handshake, the oldest first, and some that are not any more.
    pending: Mutex<VecDeque<AbortHandle>>,
}

impl State {
    fn pending(&self) -> MutexGuard<'_, VecDeque<AbortHandle>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins with a connection. The one that has been in the handshake for longest is closed if
    /// there are too many.
    fn begin(self: &Arc<State>, tcp: TcpStream, peer: SocketAddr, place: OwnedSemaphorePermit) {
        let mut pending = self.pending();
        if pending.len() >= PENDING {
            pending.retain(|handshake| !handshake.is_finished());
        }
        if pending.len() >= PENDING
            && let Some(oldest) = pending.pop_front()
        {
            tracing::debug!("closed: others need the room of a connection in the TLS handshake");
            oldest.abort();
        }
        let handshake = tokio::spawn(shake_hands(Arc::clone(self), tcp, peer, place));
        pending.push_back(handshake.abort_handle());
    }
}

async fn accept(socket: TcpListener, state: Arc<State>) {
    // The semaphore is never closed.
    while let Ok(place) = Arc::clone(&state.connections).acquire_owned().await {
        match socket.accept().await {
            Ok((tcp, peer)) => {
                prepare(&tcp, peer.ip());
                state.begin(tcp, peer, place);
            }
            Err(error) => {
                tracing::error!(%error, "cannot accept a connection for TLS");
                sleep(RETRY).await;
            }
        }
    }
}

/// Sets what the daemon sets on the connections that it accepts itself. It fails only on one that
/// is gone already.
fn prepare(tcp: &TcpStream, peer: IpAddr) {
    let socket = SockRef::from(tcp);
    do_not_pace(SockRef::from(tcp), peer);
    let _ = socket.set_tcp_nodelay(true);
    let keepalive = TcpKeepalive::new().with_time(IDLE).with_interval(IDLE / 4).with_retries(4);
    let _ = socket.set_tcp_keepalive(&keepalive);
}

/// Sets a congestion control without pacing for connections from the host itself.
fn do_not_pace(socket: SockRef<'_>, peer: IpAddr) {
    #[cfg(target_os = "linux")]
    if peer.is_loopback() {
        // Linux has reno always and for everybody; where it has not, it is slower.
        let _ = socket.set_tcp_congestion(b"reno");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (socket, peer);
}

/// Does the TLS handshake, within its time, and serves the client in a task of its own.
async fn shake_hands(
    state: Arc<State>,
    tcp: TcpStream,
    peer: SocketAddr,
    place: OwnedSemaphorePermit,
) {
    let acceptor = TlsAcceptor::from(state.certificates.get());
    match timeout(HANDSHAKE, acceptor.accept(tcp).into_fallible()).await {
        Ok(Ok(tls)) => {
            tokio::spawn(async move {
                serve_client(&state, tls, peer).await;
                drop(place);
            });
        }
        Ok(Err((error, tcp))) => {
            match blame(&error) {
                Blame::Client => {
                    state.daemon.count_rejected();
                    tracing::warn!(address = %peer, "rejected a client: {}", told(&error));
                }
                Blame::Protocol => {
                    state.daemon.count_rejected();
                    tracing::debug!(address = %peer, "rejected a client: {}", told(&error));
                }
                Blame::None => {
                    tracing::debug!(address = %peer, %error, "a TLS handshake failed");
                }
            }
            // A client that stays longer has been logged and counted.
            let _ = timeout(HANDSHAKE, end(tcp)).await;
        }
        Err(_) => {
            state.daemon.count_rejected();
            tracing::warn!(address = %peer, "rejected a client: its TLS handshake takes too long");
        }
    }
}

/// Why a TLS handshake failed.
enum Blame {
    /// The daemon rejects the client, for example because of its certificate.
    Client,
    /// The client does not speak TLS.
    Protocol,
    /// The client has given up: its connection was lost, or it does not accept the daemon's
    /// certificate.
    None,
}

/// Returns why a handshake failed with this error.
fn blame(error: &io::Error) -> Blame {
    match error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()) {
        None | Some(rustls::Error::AlertReceived(_)) => Blame::None,
        Some(rustls::Error::InvalidMessage(_)) => Blame::Protocol,
        Some(_) => Blame::Client,
    }
}

/// Returns why a handshake failed, as the log says it.
fn told(error: &io::Error) -> String {
    match error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(reason)))) => {
            reason.to_string()
        }
        _ => error.to_string(),
    }
}

/// Ends a connection behind an alert, which the client might not get if something of its own were
/// left unread.
async fn end(mut tcp: TcpStream) {
    let mut unread = [0; 1024];
    let _ = tcp.shutdown().await;
    while matches!(tcp.read(&mut unread).await, Ok(1..)) {}
}

/// Gives a client to the daemon, and moves its bytes.
async fn serve_client(state: &State, tls: TlsStream<TcpStream>, address: SocketAddr) {
    let certificate = tls.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let user = certificate.map(user::name);
    let (daemons, plain) = match pair() {
        Ok(pair) => pair,
        Err(error) => return tracing::error!(%error, "cannot serve a client over TLS"),
    };
    let (guard, daemon) = watch::channel(());
    let mut incoming = Incoming::new(daemons).address(address).transport("tls").guard(guard);
    match user {
        None => {}
        // The verifier has refused it before.
        Some(None) => {
            state.daemon.count_rejected();
            return tracing::warn!(
                %address,
                "rejected a client: its certificate has no name, or several"
            );
        }
        Some(Some(user)) => {
            tracing::info!(%address, user, "a client has shown its certificate");
            if !state.limits.asks_passwords {
                incoming = incoming.user(user);
            }
        }
    }
    state.daemon.admit(incoming);
    pump::exchange(tls, plain, daemon).await;
}

/// Makes a socket pair: the daemon's end and this one.
fn pair() -> io::Result<(StdUnixStream, UnixStream)> {
    let (daemons, ours) = StdUnixStream::pair()?;
    ours.set_nonblocking(true)?;
    Ok((daemons, UnixStream::from_std(ours)?))
}
