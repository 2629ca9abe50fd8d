//! The name of a user, as a certificate has it.

use rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// Returns the common name of a certificate's subject; without one, the first DNS name or e-mail
/// address that it is for. `None` if it has none of them.
pub(super) fn name(certificate: &CertificateDer<'_>) -> Option<String> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let certificate = certificate.tbs_certificate();
    if let Some(name) = certificate.subject().common_name().ok()? {
        return Some(name.value().into_owned()).filter(|name| !name.is_empty());
    }
    let (_, names) = certificate.get_extension::<SubjectAltName>().ok()??;
    names.0.iter().find_map(|name| match name {
        GeneralName::DnsName(name) | GeneralName::Rfc822Name(name) => Some(name.to_string()),
        _ => None,
    })
}
