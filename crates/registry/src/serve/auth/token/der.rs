//! As much of DER as it takes to find the public key in a certificate (RFC 5280, 4.1).

use super::Public;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OBJECT: u8 = 0x06;
/// The certificate's version, which first versions leave out.
const VERSION: u8 = 0xa0;

const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

/// Values that follow each other.
#[derive(Clone, Copy)]
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The next value, which has to have this tag.
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (found, value, _) = self.any()?;
        (found == tag).then_some(value)
    }

    /// The next value: its tag, its content, and all of it.
    fn any(&mut self) -> Option<(u8, &'a [u8], &'a [u8])> {
        let start = self.0;
        let (&tag, rest) = start.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x83 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (bytes.iter().fold(0, |sum, b| sum << 8 | usize::from(*b)), rest)
            }
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, value, &start[..start.len() - rest.len()]))
    }
}

/// The `SubjectPublicKeyInfo` of a certificate.
pub(super) fn certificate_key(der: &[u8]) -> Option<&[u8]> {
    let mut certificate = Reader(Reader(der).take(SEQUENCE)?);
    let mut fields = Reader(certificate.take(SEQUENCE)?);
    let (tag, ..) = Reader(fields.0).any()?;
    if tag == VERSION {
        fields.any()?;
    }
    fields.take(INTEGER)?;
    // Signature algorithm, issuer, validity, subject.
    for _ in 0..4 {
        fields.take(SEQUENCE)?;
    }
    let (tag, _, all) = fields.any()?;
    (tag == SEQUENCE).then_some(all)
}

/// The key of a `SubjectPublicKeyInfo`, if it is of a kind that is known here.
pub(super) fn public_key(der: &[u8]) -> Option<Public> {
    let mut info = Reader(Reader(der).take(SEQUENCE)?);
    let mut algorithm = Reader(info.take(SEQUENCE)?);
    let kind = algorithm.take(OBJECT)?;
    // The first byte tells how many bits of the last are not used: none, in keys.
    let (0, key) = info
        .take(BIT_STRING)?
        .split_first()
        .map(|(unused, key)| (*unused, key))?
    else {
        return None;
    };
    match kind {
        RSA => {
            let mut key = Reader(Reader(key).take(SEQUENCE)?);
            let positive = |bytes: &[u8]| bytes.strip_prefix(&[0]).unwrap_or(bytes).to_vec();
            Some(Public::Rsa {
                n: positive(key.take(INTEGER)?),
                e: positive(key.take(INTEGER)?),
            })
        }
        EC => match algorithm.take(OBJECT)? {
            P256 if key.len() == 65 => Some(Public::P256(key.to_vec())),
            P384 if key.len() == 97 => Some(Public::P384(key.to_vec())),
            _ => None,
        },
        ED25519 if key.len() == 32 => Some(Public::Ed25519(key.to_vec())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;

    use super::*;

    /// `openssl ecparam -name prime256v1 -genkey | openssl req -x509 -new -subj /CN=x -days 1`
    const CERTIFICATE: &str = include_str!("p256.pem");
    const PUBLIC: &str = include_str!("p256.pub.pem");

    fn der(pem: &str) -> Vec<u8> {
        let text: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        base64::engine::general_purpose::STANDARD.decode(text).unwrap()
    }

    #[test]
    fn a_certificates_key_is_found() {
        let certificate = der(CERTIFICATE);
        let info = certificate_key(&certificate).unwrap();
        assert_eq!(info, der(PUBLIC));
        assert!(matches!(public_key(info), Some(Public::P256(_))));
    }

    #[test]
    fn cut_and_spoilt_certificates_are_refused() {
        let certificate = der(CERTIFICATE);
        for end in 0..certificate.len() {
            assert!(certificate_key(&certificate[..end]).is_none());
        }
        for at in 0..certificate.len() {
            let mut spoilt = certificate.clone();
            spoilt[at] ^= 0xff;
            // It must not panic; a spoilt key may still be found.
            let _ = certificate_key(&spoilt).and_then(public_key);
        }
    }
}
