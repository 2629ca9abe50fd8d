//! The options of TLS.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;

/// Options of connections over TLS.
#[derive(Clone, Debug, Args)]
pub(crate) struct TlsOptions {
    /// Serve clients over TLS, too, at --tls-port, with the certificate in this PEM file and
    /// those between it and its authority. SIGHUP reads this and the other files of TLS again
    #[arg(long = "tls-cert", id = "tls-cert", value_name = "FILE", requires = "tls-key")]
    pub(crate) cert: Option<PathBuf>,

    /// The private key of --tls-cert, in a PEM file
    #[arg(long = "tls-key", id = "tls-key", value_name = "FILE", requires = "tls-cert")]
    pub(crate) key: Option<PathBuf>,

    /// Demand a certificate of clients over TLS that one of the authorities in this PEM file has
    /// signed. The common name of its subject, or without one its first DNS name or e-mail address,
    /// is the user's name, and no password is asked for
    #[arg(
        long = "tls-client-ca",
        id = "tls-client-ca",
        value_name = "FILE",
        requires = "tls-cert"
    )]
    pub(crate) client_ca: Option<PathBuf>,

    /// Demand a password of clients with a certificate, too; the user is then that of the password.
    /// It takes --passwords, or PWORD as a required method
    #[arg(long = "tls-passwords", id = "tls-passwords", requires = "tls-client-ca")]
    pub(crate) passwords: bool,

    /// TCP port for TLS; 0 is a free one [default: 4804]
    #[arg(long = "tls-port", id = "tls-port", value_name = "PORT", requires = "tls-cert")]
    pub(crate) port: Option<u16>,

    /// Address to listen at for TLS; can be given several times [default: those without TLS]
    #[arg(long = "tls-bind", id = "tls-bind", value_name = "IP", requires = "tls-cert")]
    pub(crate) bind: Vec<IpAddr>,
}
