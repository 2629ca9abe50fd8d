//! The configuration of connections over TLS: authorities, own certificate, name of the daemon.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

/// How a client connects over TLS 1.3, for [`Builder::tls`](crate::Builder::tls): which
/// authorities it trusts, the name that it expects of the daemon, and its own certificate.
///
/// The daemon's certificate has to be signed by one of the authorities, and to be for the host in
/// the address that is connected to: its name, or its IP address.
///
/// ```no_run
/// use spread::{Mailbox, TlsConfig};
///
/// let tls = TlsConfig::from_file("ca.pem")?.certificate_files("alice.pem", "alice.key")?;
/// let mailbox = Mailbox::builder("4804@spread.example.org").tls(tls).connect()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct TlsConfig {
    roots: Arc<RootCertStore>,
    server_name: Option<ServerName<'static>>,
    client: Arc<ClientConfig>,
}

/// Why a [`TlsConfig`] cannot be made of what was given.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsConfigError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// A text is not PEM.
    #[error("{place} is not PEM: {reason}")]
    Pem {
        /// The file, or what was given.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no certificate in the PEM.
    #[error("{place} has no certificate")]
    NoCertificate {
        /// The file, or what was given.
        place: String,
    },
    /// There is no private key in the PEM.
    #[error("{place} has no private key")]
    NoKey {
        /// The file, or what was given.
        place: String,
    },
    /// The private key is encrypted.
    #[error("the private key of {place} is encrypted (openssl pkey -in KEY -out NEW decrypts it)")]
    EncryptedKey {
        /// The file, or what was given.
        place: String,
    },
    /// The private key is of a kind, or a size, that is not supported.
    #[error(
        "the private key of {place} cannot be used: it has to be RSA of 2048 to 4096 bits, ECDSA \
         with P-256 or P-384, or Ed25519"
    )]
    KeyKind {
        /// The file, or what was given.
        place: String,
    },
    /// The client's certificate is of X.509 version 1.
    #[error(
        "the certificate of {place} is of X.509 version 1, and TLS needs version 3: one with \
         extensions (openssl x509 -req -extfile FILE)"
    )]
    Version {
        /// The file, or what was given.
        place: String,
    },
    /// A certificate of an authority cannot be used.
    #[error("a certificate of {place} cannot be used")]
    Authority {
        /// The file, or what was given.
        place: String,
        /// The reason.
        source: io::Error,
    },
    /// The private key does not belong to the client's certificate, or one of them cannot be used.
    #[error("the certificate of {certificate} and the key of {key} cannot be used together")]
    Certificate {
        /// The file of the certificate, or what was given.
        certificate: String,
        /// The file of the key, or what was given.
        key: String,
        /// The reason.
        source: io::Error,
    },
    /// The name of the server is neither a DNS name nor an IP address.
    #[error("{name:?} is neither a DNS name nor an IP address")]
    Name {
        /// The name given.
        name: String,
    },
}

impl TlsConfig {
    /// Trusts daemons whose certificates are signed by one of the authorities whose certificates
    /// are in a PEM text.
    ///
    /// # Errors
    ///
    /// [`TlsConfigError::Pem`], [`TlsConfigError::NoCertificate`], [`TlsConfigError::Authority`].
    pub fn new(authorities: impl AsRef<[u8]>) -> Result<TlsConfig, TlsConfigError> {
        TlsConfig::trusting(authorities.as_ref(), "the PEM of the authorities")
    }

    /// As [`TlsConfig::new`], of a PEM file.
    ///
    /// # Errors
    ///
    /// [`TlsConfigError::Read`], and as for [`TlsConfig::new`].
    pub fn from_file(authorities: impl AsRef<Path>) -> Result<TlsConfig, TlsConfigError> {
        let path = authorities.as_ref();
        TlsConfig::trusting(&read(path)?, &path.display().to_string())
    }

    /// Shows the daemon a certificate: a PEM text with the client's certificate and those between
    /// it and the authority, and another one, or the same, with its private key.
    ///
    /// # Errors
    ///
    /// [`TlsConfigError::Pem`], [`TlsConfigError::NoCertificate`], [`TlsConfigError::NoKey`],
    /// [`TlsConfigError::EncryptedKey`], [`TlsConfigError::KeyKind`], [`TlsConfigError::Version`],
    /// [`TlsConfigError::Certificate`].
    pub fn certificate(
        self,
        certificate: impl AsRef<[u8]>,
        key: impl AsRef<[u8]>,
    ) -> Result<TlsConfig, TlsConfigError> {
        let (certificate, key) = (certificate.as_ref(), key.as_ref());
        self.showing((certificate, "the PEM of the certificate"), (key, "the PEM of the key"))
    }

    /// As [`TlsConfig::certificate`], of PEM files. They are read once: a session connects again
    /// with the certificate that they had.
    ///
    /// # Errors
    ///
    /// [`TlsConfigError::Read`], and as for [`TlsConfig::certificate`].
    pub fn certificate_files(
        self,
        certificate: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<TlsConfig, TlsConfigError> {
        let name = |path: &Path| path.display().to_string();
        let (certificate, key) = (certificate.as_ref(), key.as_ref());
        let (shown, secret) = (read(certificate)?, read(key)?);
        self.showing((&shown, &name(certificate)), (&secret, &name(key)))
    }

    /// Sets the DNS name or IP address that the daemon's certificate is to be for. Defaults to the
    /// host in the address that is connected to.
    ///
    /// # Errors
    ///
    /// [`TlsConfigError::Name`].
    pub fn server_name(self, name: &str) -> Result<TlsConfig, TlsConfigError> {
        Ok(TlsConfig { server_name: Some(parse_name(name)?), ..self })
    }

    /// Returns the name to expect of the daemon at a host.
    pub(crate) fn name_for(&self, host: &str) -> Result<ServerName<'static>, TlsConfigError> {
        match &self.server_name {
            Some(name) => Ok(name.clone()),
            // The scope of an IPv6 address is this host's.
            None => parse_name(host.split('%').next().unwrap_or(host)),
        }
    }

    pub(super) fn client(&self) -> &Arc<ClientConfig> {
        &self.client
    }

    fn trusting(pem: &[u8], place: &str) -> Result<TlsConfig, TlsConfigError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(pem, place)? {
            roots.add(certificate).map_err(|error| TlsConfigError::Authority {
                place: place.to_owned(),
                source: io::Error::other(error),
            })?;
        }
        let roots = Arc::new(roots);
        let client = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("the provider has TLS 1.3")
            .with_root_certificates(Arc::clone(&roots))
            .with_no_client_auth();
        Ok(TlsConfig { roots, server_name: None, client: without_resumption(client) })
    }

    fn showing(
        self,
        (certificate, certificate_place): (&[u8], &str),
        (key, key_place): (&[u8], &str),
    ) -> Result<TlsConfig, TlsConfigError> {
        let chain = certificates(certificate, certificate_place)?;
        if chain.first().is_some_and(|certificate| is_version_1(certificate)) {
            return Err(TlsConfigError::Version { place: certificate_place.to_owned() });
        }
        let key = private_key(key, key_place)?;
        let client = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("the provider has TLS 1.3")
            .with_root_certificates(Arc::clone(&self.roots))
            .with_client_auth_cert(chain, key)
            .map_err(|error| match error {
                rustls::Error::General(_) => {
                    TlsConfigError::KeyKind { place: key_place.to_owned() }
                }
                error => TlsConfigError::Certificate {
                    certificate: certificate_place.to_owned(),
                    key: key_place.to_owned(),
                    source: io::Error::other(error),
                },
            })?;
        Ok(TlsConfig { client: without_resumption(client), ..self })
    }
}

impl fmt::Debug for TlsConfig {
    /// Without keys and certificates.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConfig")
            .field("authorities", &self.roots.len())
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

/// The daemon checks the certificate at each connect, so there is nothing to be resumed.
fn without_resumption(mut client: ClientConfig) -> Arc<ClientConfig> {
    client.resumption = Resumption::disabled();
    Arc::new(client)
}

fn parse_name(name: &str) -> Result<ServerName<'static>, TlsConfigError> {
    let parsed = ServerName::try_from(name.to_owned());
    parsed.map_err(|_| TlsConfigError::Name { name: name.to_owned() })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsConfigError> {
    fs::read(path).map_err(|source| TlsConfigError::Read { path: path.to_owned(), source })
}

/// Returns the certificates in a PEM text, at least one.
fn certificates(text: &[u8], place: &str) -> Result<Vec<CertificateDer<'static>>, TlsConfigError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match found {
        Ok(found) if found.is_empty() => {
            Err(TlsConfigError::NoCertificate { place: place.to_owned() })
        }
        found => found.map_err(|error| not_pem(place, &error)),
    }
}

fn private_key(text: &[u8], place: &str) -> Result<PrivateKeyDer<'static>, TlsConfigError> {
    PrivateKeyDer::from_pem_slice(text).map_err(|error| match error {
        _ if is_encrypted(text) => TlsConfigError::EncryptedKey { place: place.to_owned() },
        pem::Error::NoItemsFound => TlsConfigError::NoKey { place: place.to_owned() },
        error => not_pem(place, &error),
    })
}

/// Returns whether a PEM text has an encrypted key, in the form of PKCS #8 or of RFC 1421.
fn is_encrypted(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----")
        || text.contains("Proc-Type: 4,ENCRYPTED")
}

/// Returns whether a certificate is of X.509 version 1: its signed part does not begin with a
/// version, which has the tag 0xa0.
fn is_version_1(certificate: &[u8]) -> bool {
    // What is behind the tag and the length of a value in DER.
    let content = |der: &'_ [u8]| -> Option<usize> {
        let length = usize::from(*der.get(1)?);
        Some(if length < 0x80 { 2 } else { 2 + (length & 0x7f) })
    };
    let signed = content(certificate).and_then(|at| certificate.get(at..));
    let first = signed.and_then(|signed| signed.get(content(signed)?));
    first.is_some_and(|tag| *tag != 0xa0)
}

fn not_pem(place: &str, error: &pem::Error) -> TlsConfigError {
    TlsConfigError::Pem { place: place.to_owned(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_is_named_in_the_error() {
        let error = TlsConfig::new("").unwrap_err();
        assert_eq!(error.to_string(), "the PEM of the authorities has no certificate");
        let begun = "-----BEGIN CERTIFICATE-----\nAAAA\n";
        assert!(matches!(TlsConfig::new(begun), Err(TlsConfigError::Pem { .. })));
        let empty = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
        assert!(matches!(TlsConfig::new(empty), Err(TlsConfigError::Authority { .. })));
        let error = TlsConfig::from_file("/nowhere/ca.pem").unwrap_err();
        assert_eq!(error.to_string(), "cannot read /nowhere/ca.pem");
    }

    #[test]
    fn an_encrypted_key_is_told_in_both_of_its_forms() {
        for text in [
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n",
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n\
             MAA=\n-----END RSA PRIVATE KEY-----\n",
        ] {
            let error = private_key(text.as_bytes(), "the file").unwrap_err();
            assert!(matches!(error, TlsConfigError::EncryptedKey { .. }), "{error}");
        }
        let none = private_key(b"", "the file").unwrap_err();
        assert!(matches!(none, TlsConfigError::NoKey { .. }), "{none}");
    }

    #[test]
    fn a_certificate_without_a_version_is_of_version_1() {
        let certificate = |first: &[u8]| [&[0x30, 0x82, 0, 9, 0x30, 3][..], first].concat();
        assert!(is_version_1(&certificate(&[0x02, 1, 5])));
        assert!(!is_version_1(&certificate(&[0xa0, 3, 2, 1, 2])));
        for short in 0..6 {
            assert!(!is_version_1(&certificate(&[])[..short]));
        }
    }

    #[test]
    fn a_host_is_a_name_or_an_address_without_its_scope() {
        assert!(matches!(parse_name("a.example.org"), Ok(ServerName::DnsName(_))));
        let scoped = "fe80::1%eth0".split('%').next().unwrap();
        assert!(matches!(parse_name(scoped), Ok(ServerName::IpAddress(_))));
        assert!(matches!(parse_name("a b"), Err(TlsConfigError::Name { .. })));
    }
}
