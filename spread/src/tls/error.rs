//! Why a connection over TLS did not come about.

use std::io;

use rustls::{AlertDescription, CertificateError};

/// Why TLS with a daemon failed; the source of [`Error::Tls`](crate::Error::Tls).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The daemon's certificate is not signed by an authority of the
    /// [`TlsConfig`](crate::TlsConfig), or is otherwise not valid.
    #[error("its certificate is not trusted")]
    Untrusted(#[source] io::Error),
    /// The daemon's certificate is for other hosts.
    #[error("its certificate is for another name")]
    WrongName(#[source] io::Error),
    /// The daemon's certificate has expired, or is not valid yet.
    #[error("its certificate is not valid at this time")]
    Expired(#[source] io::Error),
    /// The daemon wants a certificate of its clients, and this one has none: see
    /// [`TlsConfig::certificate`](crate::TlsConfig::certificate).
    #[error("it wants a certificate of its clients")]
    CertificateRequired,
    /// The daemon does not accept the certificate of this client.
    #[error("it does not accept the certificate of this client")]
    CertificateRefused(#[source] io::Error),
    /// What answers is not TLS.
    #[error("what it answers is not TLS (is this the port for TLS?)")]
    NotTls(#[source] io::Error),
    /// The connection ended during the TLS handshake: the daemon stops, or what listens there
    /// does not speak TLS, such as the port of the daemon for plain connections.
    #[error("it closed the connection during the TLS handshake (is this the port for TLS?)")]
    Closed(#[source] io::Error),
    /// TLS goes to `PORT@HOST`, and the address is a unix socket.
    #[error("TLS needs an address of the form PORT@HOST")]
    NoHost,
    /// The host in the address is no name that a certificate can be for.
    #[error("the host is no name that a certificate can be for")]
    Name(#[source] crate::TlsConfigError),
    /// The library of the mailbox is not [`Library::Native`](crate::Library::Native).
    #[error("TLS needs Library::Native")]
    Library,
    /// TLS failed for another reason.
    #[error("the TLS handshake failed")]
    Other(#[source] io::Error),
}

impl TlsError {
    /// Returns what a failed connection means; `None` if TLS is not the reason.
    pub(super) fn of(error: io::Error, in_handshake: bool) -> Option<TlsError> {
        use AlertDescription as Alert;
        let tls = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
        let Some(tls) = tls else {
            return in_handshake.then_some(TlsError::Closed(error));
        };
        Some(match tls {
            rustls::Error::InvalidCertificate(reason) => match reason {
                CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. } => TlsError::WrongName(error),
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. } => TlsError::Expired(error),
                _ => TlsError::Untrusted(error),
            },
            rustls::Error::InvalidMessage(_) if in_handshake => TlsError::NotTls(error),
            rustls::Error::AlertReceived(alert) => match alert {
                Alert::CertificateRequired => TlsError::CertificateRequired,
                Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::UnknownCA
                | Alert::AccessDenied
                | Alert::DecryptError => TlsError::CertificateRefused(error),
                _ => TlsError::Other(error),
            },
            _ => TlsError::Other(error),
        })
    }

    /// Whether the same may succeed another time, or at another daemon.
    pub(crate) fn is_retryable(&self) -> bool {
        match self {
            TlsError::Untrusted(_)
            | TlsError::WrongName(_)
            | TlsError::Expired(_)
            | TlsError::NotTls(_)
            | TlsError::Closed(_)
            | TlsError::Other(_) => true,
            TlsError::CertificateRequired
            | TlsError::CertificateRefused(_)
            | TlsError::NoHost
            | TlsError::Name(_)
            | TlsError::Library => false,
        }
    }
}
