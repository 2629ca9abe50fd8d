//! The name of a user, as a certificate has it.

use rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// Returns the common name of a certificate's subject; without one, the first DNS name or e-mail
/// address that it is for. `None` if it has none of them, if it has several common names, or if the
/// name is empty or cannot be read.
pub(super) fn name(certificate: &CertificateDer<'_>) -> Option<String> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let certificate = certificate.tbs_certificate();
    let subject = certificate.subject();
    match subject.iter().filter(|attribute| attribute.oid == COMMON_NAME).count() {
        0 => {}
        1 => {
            let name = subject.common_name().ok()??;
            return Some(name.value().into_owned()).filter(|name| !name.is_empty());
        }
        _ => return None,
    }
    let (_, names) = certificate.get_extension::<SubjectAltName>().ok()??;
    let name = names.0.iter().find_map(|name| match name {
        GeneralName::DnsName(name) | GeneralName::Rfc822Name(name) => Some(name.to_string()),
        _ => None,
    });
    name.filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEQUENCE: u8 = 0x30;
    const SET: u8 = 0x31;
    const UTF8: u8 = 0x0c;

    /// Encodes a value in DER.
    fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let len = u8::try_from(content.len()).unwrap();
        let head = if len < 128 { vec![tag, len] } else { vec![tag, 0x81, len] };
        [head, content].concat()
    }

    /// A certificate whose subject has these common names, and that is for these other ones, each a
    /// tag and its bytes.
    fn certificate(names: &[(u8, &[u8])], others: &[(u8, &[u8])]) -> CertificateDer<'static> {
        let algorithm = der(SEQUENCE, &[&der(0x06, &[&[0x2b, 0x65, 0x70]])]);
        let time = der(0x17, &[b"260101000000Z"]);
        let attribute = |(tag, value): &(u8, &[u8])| {
            let oid = der(0x06, &[&[0x55, 4, 3]]);
            der(SET, &[&der(SEQUENCE, &[&oid, &der(*tag, &[value])])])
        };
        let subject = names.iter().flat_map(attribute).collect::<Vec<u8>>();
        let others =
            others.iter().flat_map(|(tag, value)| der(*tag, &[value])).collect::<Vec<u8>>();
        let others = der(0x04, &[&der(SEQUENCE, &[&others])]);
        let extension = der(SEQUENCE, &[&der(0x06, &[&[0x55, 29, 17]]), &others]);
        let signature = der(0x03, &[&[0; 5]]);
        let signed = der(
            SEQUENCE,
            &[
                &der(0xa0, &[&der(0x02, &[&[2]])]),
                &der(0x02, &[&[1]]),
                &algorithm,
                &der(SEQUENCE, &[]),
                &der(SEQUENCE, &[&time, &time]),
                &der(SEQUENCE, &[&subject]),
                &der(SEQUENCE, &[&algorithm, &signature]),
                &der(0xa3, &[&der(SEQUENCE, &[&extension])]),
            ],
        );
        der(SEQUENCE, &[&signed, &algorithm, &signature]).into()
    }

    fn user(names: &[(u8, &[u8])]) -> Option<String> {
        name(&certificate(names, &[]))
    }

    #[test]
    fn a_user_is_one_common_name_that_can_be_read() {
        assert_eq!(user(&[(UTF8, b"ann")]).as_deref(), Some("ann"));
        assert_eq!(user(&[]), None);
        assert_eq!(user(&[(UTF8, b"")]), None);
        assert_eq!(user(&[(UTF8, b"ann"), (UTF8, b"root")]), None);
        assert_eq!(user(&[(UTF8, b"\xff\xfe")]), None);
        // Not a text, but a number.
        assert_eq!(user(&[(0x02, b"\x01")]), None);
    }

    #[test]
    fn without_a_common_name_the_first_dns_name_or_address_is_the_user_unless_it_is_empty() {
        const EMAIL: u8 = 0x81;
        const DNS: u8 = 0x82;
        const URI: u8 = 0x86;
        let user = |others: &[(u8, &[u8])]| name(&certificate(&[], others));
        assert_eq!(user(&[(URI, b"x:y"), (DNS, b"a.b"), (EMAIL, b"c@d")]).as_deref(), Some("a.b"));
        assert_eq!(user(&[(EMAIL, b"c@d")]).as_deref(), Some("c@d"));
        assert_eq!(user(&[(DNS, b"")]), None);
        assert_eq!(user(&[(EMAIL, b""), (DNS, b"a.b")]), None);
        assert_eq!(user(&[(URI, b"x:y")]), None);
    }
}
