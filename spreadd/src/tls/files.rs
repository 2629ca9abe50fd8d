//! The files of certificates and keys.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use x509_cert::Certificate;
use x509_cert::der::Decode;

use super::TlsOptions;
use super::verifier::OneName;
use crate::files::read;
use crate::plan::Outcome;

/// What the files are for.
pub(super) struct Loaded {
    pub(super) config: Arc<ServerConfig>,
    /// When the daemon's certificate expires, if that can be read.
    pub(super) expiry: Option<SystemTime>,
}

/// Reads the files; `None` without a certificate, which is without TLS.
///
/// # Errors
///
/// A text that names the file and what is wrong with it.
pub(super) fn load(options: &TlsOptions) -> Outcome<Option<Loaded>> {
    let (Some(certificate), Some(key)) = (&options.cert, &options.key) else {
        return Ok(None);
    };
    let chain = certificates(certificate)?;
    let expiry = chain.first().and_then(|certificate| {
        let validity = *Certificate::from_der(certificate).ok()?.tbs_certificate().validity();
        Some(UNIX_EPOCH + validity.not_after.to_unix_duration())
    });
    let private_key = private_key(key)?;
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?;
    let builder = match &options.client_ca {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let mut roots = RootCertStore::empty();
            for authority in certificates(file)? {
                let added = roots.add(authority);
                added.map_err(|e| format!("a certificate in {}: {e}", file.display()))?;
            }
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            let verifier = verifier.map_err(|e| format!("{}: {e}", file.display()))?;
            builder.with_client_cert_verifier(Arc::new(OneName(verifier)))
        }
    };
    let config = builder.with_single_cert(chain, private_key);
    let mut config = config.map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => format!(
            "the key in {} does not belong to the certificate in {}",
            key.display(),
            certificate.display()
        ),
        error => format!("{} and {}: {error}", certificate.display(), key.display()),
    })?;
    // Each connect shows its certificate, which may have expired, or its authority have gone.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Some(Loaded { config: Arc::new(config), expiry }))
}

/// Returns a remark on a certificate that no client will accept at this time.
pub(super) fn validity_warning(options: &TlsOptions) -> Option<String> {
    // A clock before 1970 is as good as one that shows it.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let file = options.cert.as_ref()?;
    // What cannot be read has been an error of `load`.
    let chain = certificates(file).ok()?;
    let certificate = Certificate::from_der(chain.first()?).ok()?;
    let validity = *certificate.tbs_certificate().validity();
    let file = file.display();
    if now > validity.not_after.to_unix_duration() {
        return Some(format!(
            "the certificate in {file} expired at {}: clients refuse it",
            validity.not_after
        ));
    }
    (now < validity.not_before.to_unix_duration()).then(|| {
        let begin = validity.not_before;
        format!("the certificate in {file} is not valid before {begin}: clients refuse it")
    })
}

/// Returns the certificates in a file, at least one.
fn certificates(file: &Path) -> Outcome<Vec<CertificateDer<'static>>> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(file)?).collect();
    let found = found.map_err(|e| not_pem(file, &e))?;
    if found.is_empty() {
        return Err(format!("there is no certificate in {}", file.display()).into());
    }
    Ok(found)
}

fn private_key(file: &Path) -> Outcome<PrivateKeyDer<'static>> {
    let key = PrivateKeyDer::from_pem_slice(&read(file)?);
    Ok(key.map_err(|error| match error {
        pem::Error::NoItemsFound => {
            format!("there is no private key in {}, or it is encrypted", file.display())
        }
        error => not_pem(file, &error),
    })?)
}

fn not_pem(file: &Path, error: &pem::Error) -> String {
    format!("{} is not PEM: {error}", file.display())
}
