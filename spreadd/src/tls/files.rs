//! The files of certificates and keys.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::{Certificate, Version};

use super::TlsOptions;
use super::verifier::OneName;
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
    let own = chain.first().and_then(|certificate| Certificate::from_der(certificate).ok());
    let own = own.as_ref().map(Certificate::tbs_certificate);
    if own.is_some_and(|own| own.version() == Version::V1) {
        return Err(format!(
            "the certificate in {} is of X.509 version 1, and TLS needs version 3: one with \
             extensions (openssl x509 -req -extfile FILE)",
            certificate.display()
        )
        .into());
    }
    let expiry = own.map(|own| UNIX_EPOCH + own.validity().not_after.to_unix_duration());
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
        rustls::Error::General(_) => format!(
            "the private key in {} cannot be used: it has to be RSA of 2048 to 4096 bits, ECDSA with \
             P-256 or P-384, or Ed25519",
            key.display()
        ),
        error => format!("{} and {}: {error}", certificate.display(), key.display()),
    })?;
    // Each connect shows its certificate, which may have expired, or its authority have gone.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Some(Loaded { config: Arc::new(config), expiry }))
}

/// Returns remarks on a certificate that no client will accept at this time, or at any.
pub(super) fn warnings(options: &TlsOptions) -> Vec<String> {
    let own = || -> Option<(&Path, Certificate)> {
        let file = options.cert.as_deref()?;
        // What cannot be read has been an error of `load`.
        let chain = certificates(file).ok()?;
        Some((file, Certificate::from_der(chain.first()?).ok()?))
    };
    let Some((file, certificate)) = own() else { return Vec::new() };
    let remarks = [validity_remark(&certificate), name_remark(&certificate)];
    let place = |remark: String| format!("the certificate in {} {remark}", file.display());
    remarks.into_iter().flatten().map(place).collect()
}

fn validity_remark(certificate: &Certificate) -> Option<String> {
    // A clock before 1970 is as good as one that shows it.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let validity = certificate.tbs_certificate().validity();
    if now > validity.not_after.to_unix_duration() {
        return Some(format!("expired at {}: clients refuse it", validity.not_after));
    }
    (now < validity.not_before.to_unix_duration())
        .then(|| format!("is not valid before {}: clients refuse it", validity.not_before))
}

fn name_remark(certificate: &Certificate) -> Option<String> {
    let names = certificate.tbs_certificate().get_extension::<SubjectAltName>();
    let names = names.ok().flatten().map(|(_, names)| names.0).unwrap_or_default();
    let is_host =
        |name: &GeneralName| matches!(name, GeneralName::DnsName(_) | GeneralName::IpAddress(_));
    (!names.iter().any(is_host)).then(|| {
        "is for no host, neither a DNS name nor an IP address (subjectAltName): clients refuse it"
            .to_owned()
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
    let text = read(file)?;
    let key = PrivateKeyDer::from_pem_slice(&text);
    Ok(key.map_err(|error| match error {
        _ if is_encrypted(&text) => format!(
            "the private key in {} is encrypted (openssl pkey -in KEY -out NEW decrypts it)",
            file.display()
        ),
        pem::Error::NoItemsFound => format!("there is no private key in {}", file.display()),
        error => not_pem(file, &error),
    })?)
}

/// Returns whether a PEM text has an encrypted key, in the form of PKCS #8 or of RFC 1421.
fn is_encrypted(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----")
        || text.contains("Proc-Type: 4,ENCRYPTED")
}

fn read(file: &Path) -> Outcome<Vec<u8>> {
    Ok(fs::read(file).map_err(|e| format!("cannot read {}: {e}", file.display()))?)
}

fn not_pem(file: &Path, error: &pem::Error) -> String {
    format!("{} is not PEM: {error}", file.display())
}
