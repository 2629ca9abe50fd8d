//! TLS for clients, at a port of its own.
//!
//! TLS is between two sockets: the TCP connection of a client, and one end of a socket pair whose
//! other end the daemon has admitted as a connection. One thread moves the bytes of all of them,
//! so the daemon knows nothing of TLS, and its loop does none of its work.

mod files;
mod options;
mod pump;
mod server;
mod user;
mod verifier;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::ServerConfig;
use spread_daemon::{AdmitHandle, Authentication};

use crate::plan::Outcome;
use crate::secrets::readable_by_all;
pub(crate) use options::TlsOptions;
use server::{BESIDE_SESSIONS, Certificates, Limits, Listeners, Server};

/// The port unless an option says otherwise.
const PORT: u16 = 4804;

/// What is offered over TLS; nothing without a certificate.
pub(crate) struct Plan(Option<Offer>);

struct Offer {
    config: Arc<ServerConfig>,
    /// When the certificate expires, if that can be read.
    expiry: Option<SystemTime>,
    addresses: Vec<IpAddr>,
    port: u16,
    asks_passwords: bool,
}

impl Plan {
    /// Reads the files. It is offered at the addresses without TLS, unless there are others.
    ///
    /// # Errors
    ///
    /// A text that names the file and what is wrong with it, or says that passwords are asked for
    /// that clients need not give.
    pub(crate) fn new(
        options: &TlsOptions,
        plain: &[IpAddr],
        clients: &Authentication,
    ) -> Outcome<Plan> {
        if options.passwords && !clients.demands_password() {
            return Err("--tls-passwords without a password that every client has to give: \
                        with --passwords, or RequiredAuthMethods = PWORD"
                .into());
        }
        let addresses = if options.bind.is_empty() { plain } else { &options.bind };
        let offer = |files::Loaded { config, expiry }| Offer {
            config,
            expiry,
            addresses: addresses.to_vec(),
            port: options.port.unwrap_or(PORT),
            asks_passwords: options.passwords,
        };
        Ok(Plan(files::load(options)?.map(offer)))
    }

    /// Returns remarks on clients that anyone may be, on a key that anyone can read, and on a
    /// certificate that no client accepts.
    pub(crate) fn warnings(
        options: &TlsOptions,
        plan: &Plan,
        clients: &Authentication,
    ) -> Vec<String> {
        let Some(offer) = &plan.0 else { return Vec::new() };
        let is_reachable = offer.addresses.iter().any(|ip| !ip.is_loopback());
        let admits_anyone = options.client_ca.is_none() && clients.admits_anyone();
        let open = (is_reachable && admits_anyone).then(|| {
            "other hosts can connect over TLS, and neither a certificate nor a password is asked for"
                .to_owned()
        });
        let invalid = files::warnings(options);
        let key = options.key.as_ref();
        let key = key.and_then(|key| readable_by_all("the private key", key));
        open.into_iter().chain(key).chain(invalid).collect()
    }

    /// Returns how many file descriptors it takes: so many for each session beside the daemon's
    /// own, and so many in any case.
    pub(crate) fn descriptors(&self) -> (u64, u64) {
        // The client's connection, and the other end of the pair.
        let beside = u64::try_from(BESIDE_SESSIONS).unwrap_or(u64::MAX);
        if self.0.is_some() { (2, 2 * beside) } else { (0, 0) }
    }

    /// Listens.
    pub(crate) fn bind(self) -> Outcome<Bound> {
        let bind = |offer: Offer| {
            let listeners = Listeners::bind(&offer.addresses, offer.port)?;
            Outcome::Ok((listeners, offer))
        };
        Ok(Bound(self.0.map(bind).transpose()?))
    }
}

/// Sockets that listen.
pub(crate) struct Bound(Option<(Listeners, Offer)>);

impl Bound {
    /// Serves the clients of a daemon.
    pub(crate) fn start(self, sessions: usize, daemon: AdmitHandle) -> Outcome<Running> {
        let start = |(listeners, offer): (Listeners, Offer)| {
            let limits = Limits { sessions, asks_passwords: offer.asks_passwords };
            let addresses = listeners.addresses()?;
            tell_expiry(&daemon, offer.expiry);
            let server = Server::start(listeners, offer.config, limits, daemon.clone())?;
            Outcome::Ok(Served { addresses, server, daemon })
        };
        Ok(Running(self.0.map(start).transpose()?))
    }
}

/// Tells the daemon when a certificate expires, for its metrics.
fn tell_expiry(daemon: &AdmitHandle, expiry: Option<SystemTime>) {
    expiry.into_iter().for_each(|expiry| daemon.certificate_expires(expiry));
}

/// TLS that is served, if it is.
pub(crate) struct Running(Option<Served>);

struct Served {
    addresses: Vec<SocketAddr>,
    server: Server,
    daemon: AdmitHandle,
}

impl Running {
    /// Returns the addresses at which it is served.
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        self.0.as_ref().map_or(&[], |served| &served.addresses)
    }

    /// Returns what changes the certificates.
    pub(crate) fn reload(&self) -> Reload {
        let certificates = |served: &Served| (served.server.certificates(), served.daemon.clone());
        Reload(self.0.as_ref().map(certificates))
    }

    /// Returns what ends the waiting of [`finish`](Running::finish).
    pub(crate) fn stopper(&self) -> Stopper {
        Stopper(self.0.as_ref().map(|served| served.server.stopper()))
    }

    /// Ends it, when the daemon has ended. Waits for clients that read what it has sent them last,
    /// unless a signal says otherwise.
    pub(crate) fn finish(self) {
        if let Some(served) = self.0 {
            served.server.finish();
        }
    }
}

/// Passes on the signals that end the program.
pub(crate) struct Stopper(Option<server::Stopper>);

impl Stopper {
    /// Handles a signal that ends the program at once, or gently.
    pub(crate) fn signal(&self, at_once: bool) {
        if let Some(stopper) = &self.0 {
            stopper.signal(at_once);
        }
    }
}

/// Changes the certificates.
pub(crate) struct Reload(Option<(Certificates, AdmitHandle)>);

impl Reload {
    /// Takes over the certificates of a plan for new connections.
    pub(crate) fn take(&self, plan: Plan) {
        if let (Some((certificates, daemon)), Some(offer)) = (&self.0, plan.0) {
            certificates.set(offer.config);
            tell_expiry(daemon, offer.expiry);
        }
    }
}
