//! The page, the status and the metrics of the daemon by HTTP, in a thread of its own.

mod accept;
mod guard;
mod latest;
mod routes;
mod server;
mod token;

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use spread_daemon::{AdminHandle, StartError};
use tokio::runtime;
use tokio::sync::oneshot;

use crate::options::Run;
use crate::plan::Outcome;
pub(crate) use guard::HostName;
use routes::Routes;
use token::Token;

/// Threads that wait for answers of the daemon's loop.
const WAITING_THREADS: usize = 4;

/// The plan of what is served by HTTP.
pub(crate) struct HttpPlan {
    address: SocketAddr,
    /// The names that requests may have for the server, beside those that it always has.
    names: Vec<HostName>,
    /// Whoever presents it may kick clients.
    token: Option<Token>,
}

impl HttpPlan {
    /// Returns the plan by the options, with the token that is read, if there is to be one.
    pub(crate) fn of(run: &Run) -> Outcome<Option<HttpPlan>> {
        let token = run.http_token_file.as_deref().map(Token::load).transpose()?;
        Ok(run.http.map(|address| HttpPlan { address, names: run.http_host.clone(), token }))
    }

    /// Returns the address to listen at.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Listens at the address. Connections wait until [`Http::serve`].
    ///
    /// # Errors
    ///
    /// [`StartError::PortTaken`], or [`StartError::Io`] if the address is not one of this host.
    pub(crate) fn listen(self) -> Result<Http, StartError> {
        let address = self.address;
        let failed = |source| StartError::Io { what: format!("listen at {address}"), source };
        let listener = TcpListener::bind(address).map_err(|error| match error.kind() {
            ErrorKind::AddrInUse => StartError::PortTaken { address },
            _ => failed(error),
        })?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        if !address.ip().is_loopback() {
            let token = if self.token.is_some() { ", and the token is not encrypted" } else { "" };
            tracing::warn!(%address, "other hosts can read the status by HTTP{token}");
        }
        Ok(Http { listener, address, names: self.names, token: self.token })
    }
}

/// A listener for HTTP.
pub(crate) struct Http {
    listener: TcpListener,
    address: SocketAddr,
    names: Vec<HostName>,
    token: Option<Token>,
}

impl Http {
    /// Serves in a thread of its own what a daemon tells.
    pub(crate) fn serve(self, daemon: AdminHandle) -> Outcome<HttpServer> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .max_blocking_threads(WAITING_THREADS)
            .build()?;
        let routes = Arc::new(Routes::new(daemon, self.names, self.token));
        let (stop, stopped) = oneshot::channel();
        let served = Arc::clone(&routes);
        let listener = self.listener;
        let run = move || {
            let accepting = runtime.spawn(server::accept(listener, served));
            // Either way it is to end.
            let _ = runtime.block_on(stopped);
            accepting.abort();
            runtime.shutdown_background();
        };
        let thread = thread::Builder::new().name("spreadd-http".to_owned()).spawn(run)?;
        Ok(HttpServer { address: self.address, routes, stop, thread })
    }
}

/// A server that runs.
pub(crate) struct HttpServer {
    address: SocketAddr,
    routes: Arc<Routes>,
    /// Dropping it ends the server.
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl HttpServer {
    /// Returns the address that it listens at, with the actual port.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn reloader(&self) -> HttpReloader {
        HttpReloader(Arc::clone(&self.routes))
    }

    /// Ends the server and its connections, and waits for its thread.
    pub(crate) fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the thread for HTTP had panicked");
        }
    }
}

/// Changes what a server that runs is told by its plan.
pub(crate) struct HttpReloader(Arc<Routes>);

impl HttpReloader {
    /// Takes over the token of a plan.
    pub(crate) fn reload(&self, plan: HttpPlan) {
        self.0.set_token(plan.token);
    }
}
