//! Tokens that another server has signed (distribution's "Token Authentication Specification"; RFC 7515, 7517, 7519).

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature;
use serde::Deserialize;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};

use super::{Who, quoted};
use crate::Error;
use crate::serve::settings::TokenAuth;

mod der;

/// The most that is read of the file of keys.
const FILE_MAX: u64 = 4 << 20;
/// Clocks differ.
const LEEWAY: u64 = 60;
/// The longest token.
const TOKEN_MAX: usize = 64 << 10;

/// Whose tokens are believed.
#[derive(Debug)]
pub(super) struct Tokens {
    settings: TokenAuth,
    keys: Vec<Key>,
}

/// A public key.
#[derive(Debug)]
struct Key {
    id: Option<String>,
    public: Public,
}

#[derive(Debug, PartialEq, Eq)]
enum Public {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<WebKey>,
}

#[derive(Deserialize)]
struct WebKey {
    kty: String,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// Extensions that have to be understood: none is.
    crit: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Claims {
    iss: Option<String>,
    #[serde(default)]
    sub: String,
    aud: Option<Audience>,
    exp: Option<f64>,
    nbf: Option<f64>,
    #[serde(default)]
    access: Vec<Grant>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
struct Grant {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    #[serde(default)]
    actions: Option<Vec<String>>,
}

impl Tokens {
    pub(super) fn open(settings: &TokenAuth) -> Result<Self, Error> {
        let fail = |reason: String| Error::Config {
            path: settings.keys.clone(),
            reason,
        };
        let keys = read(&settings.keys).map_err(fail)?;
        if keys.is_empty() {
            return Err(fail("it holds no public key that can be used".to_owned()));
        }
        Ok(Self {
            settings: settings.clone(),
            keys,
        })
    }

    pub(super) fn challenge(&self) -> String {
        format!(
            "Bearer realm=\"{}\",service=\"{}\"",
            quoted(&self.settings.realm),
            quoted(&self.settings.service)
        )
    }

    /// Who bears this token, and what it allows.
    pub(super) fn check(&self, token: &str) -> Option<Who> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
        self.check_at(token, now)
    }

    fn check_at(&self, token: &str, now: u64) -> Option<Who> {
        if token.len() > TOKEN_MAX {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let header: Header = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
        if header.crit.is_some() {
            return None;
        }
        let named = |key: &&Key| header.kid.is_none() || key.id.is_none() || key.id == header.kid;
        let mut keys = self.keys.iter().filter(named);
        if !keys.any(|key| key.public.has_signed(&header.alg, signed.as_bytes(), &signature)) {
            return None;
        }
        let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
        let now = now as f64;
        let leeway = LEEWAY as f64;
        let for_us = match claims.aud? {
            Audience::One(name) => name == self.settings.service,
            Audience::Many(names) => names.contains(&self.settings.service),
        };
        let valid = claims.iss.as_deref() == Some(&self.settings.issuer)
            && for_us
            && claims.exp? > now - leeway
            && claims.nbf.is_none_or(|begin| begin < now + leeway);
        if !valid {
            return None;
        }
        let mut grants: HashMap<String, Vec<String>> = HashMap::new();
        for grant in claims.access {
            let words = grants.entry(format!("{}:{}", grant.kind, grant.name)).or_default();
            words.extend(grant.actions.unwrap_or_default());
        }
        Some(Who::Bearer(claims.sub, grants))
    }
}

impl Public {
    /// Whether the signature is this key's. The algorithm has to be one that the key is for: it is the key that decides
    /// (RFC 8725, 3.1).
    fn has_signed(&self, algorithm: &str, message: &[u8], given: &[u8]) -> bool {
        let plain = |algorithm: &'static dyn signature::VerificationAlgorithm, key: &[u8]| {
            signature::UnparsedPublicKey::new(algorithm, key)
                .verify(message, given)
                .is_ok()
        };
        match (self, algorithm) {
            (Self::Rsa { n, e }, name) => {
                let parameters = match name {
                    "RS256" => &signature::RSA_PKCS1_2048_8192_SHA256,
                    "RS384" => &signature::RSA_PKCS1_2048_8192_SHA384,
                    "RS512" => &signature::RSA_PKCS1_2048_8192_SHA512,
                    "PS256" => &signature::RSA_PSS_2048_8192_SHA256,
                    _ => return false,
                };
                signature::RsaPublicKeyComponents { n, e }
                    .verify(parameters, message, given)
                    .is_ok()
            }
            (Self::P256(point), "ES256") => plain(&signature::ECDSA_P256_SHA256_FIXED, point),
            (Self::P384(point), "ES384") => plain(&signature::ECDSA_P384_SHA384_FIXED, point),
            (Self::Ed25519(key), "EdDSA" | "Ed25519") => plain(&signature::ED25519, key),
            _ => false,
        }
    }
}

/// The keys of a file: a key set in JSON, or PEM.
fn read(path: &Path) -> Result<Vec<Key>, String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(FILE_MAX).read_to_end(&mut bytes))
        .map_err(|err| err.to_string())?;
    if bytes.trim_ascii_start().starts_with(b"{") {
        let set: KeySet = serde_json::from_slice(&bytes).map_err(|err| format!("no JSON Web Key Set: {err}"))?;
        return Ok(set.keys.into_iter().filter_map(WebKey::read).collect());
    }
    let mut keys = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(&bytes) {
        let certificate = certificate.map_err(|err| format!("no PEM: {err}"))?;
        let info = der::certificate_key(&certificate).ok_or("a certificate in it is malformed")?;
        keys.extend(der::public_key(info));
    }
    for info in SubjectPublicKeyInfoDer::pem_slice_iter(&bytes) {
        let info = info.map_err(|err| format!("no PEM: {err}"))?;
        keys.extend(der::public_key(&info));
    }
    Ok(keys.into_iter().map(|public| Key { id: None, public }).collect())
}

impl WebKey {
    /// `None` for a key of a kind that is not known here: sets hold keys for other purposes too.
    fn read(self) -> Option<Key> {
        let bytes = |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_deref()?.trim_end_matches('=')).ok();
        let point = |size: usize| {
            let (x, y) = (bytes(&self.x)?, bytes(&self.y)?);
            (x.len() == size && y.len() == size).then(|| [&[4_u8][..], &x, &y].concat())
        };
        let public = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => Public::Rsa {
                n: bytes(&self.n)?,
                e: bytes(&self.e)?,
            },
            ("EC", Some("P-256")) => Public::P256(point(32)?),
            ("EC", Some("P-384")) => Public::P384(point(48)?),
            ("OKP", Some("Ed25519")) => Public::Ed25519(bytes(&self.x)?),
            _ => return None,
        };
        Some(Key { id: self.kid, public })
    }
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn sign(key: &EcdsaKeyPair, header: &str, claims: &str) -> String {
        let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = key.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn claims(change: impl FnOnce(&mut serde_json::Value)) -> String {
        let mut claims = serde_json::json!({
            "iss": "issuer", "sub": "ann", "aud": "service", "exp": NOW + 300, "nbf": NOW - 10,
            "access": [{"type": "repository", "name": "a/b", "actions": ["pull", "push"]}],
        });
        change(&mut claims);
        claims.to_string()
    }

    fn pair() -> EcdsaKeyPair {
        let rng = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &rng).unwrap();
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &rng).unwrap()
    }

    fn tokens(dir: &Path, key: &EcdsaKeyPair) -> Tokens {
        let point = key.public_key().as_ref();
        let set = serde_json::json!({"keys": [
            {"kty": "oct", "k": "AA"},
            {"kty": "EC", "kid": "one", "crv": "P-256",
             "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..])},
        ]});
        let path = dir.join("keys");
        std::fs::write(&path, set.to_string()).unwrap();
        Tokens::open(&TokenAuth {
            realm: "https://auth.lan/token".to_owned(),
            service: "service".to_owned(),
            issuer: "issuer".to_owned(),
            keys: path,
        })
        .unwrap()
    }

    #[test]
    fn only_valid_tokens_of_known_keys_are_believed() {
        let dir = tempfile::tempdir().unwrap();
        let key = pair();
        let tokens = tokens(dir.path(), &key);
        let good = r#"{"alg":"ES256","kid":"one"}"#;
        let check = |token: &str, expected: bool| {
            assert_eq!(tokens.check_at(token, NOW).is_some(), expected, "{token}");
        };
        let token = sign(&key, good, &claims(|_| ()));
        check(&token, true);
        match tokens.check_at(&token, NOW) {
            Some(Who::Bearer(name, grants)) => {
                assert_eq!(
                    (name.as_str(), grants["repository:a/b"].join(",").as_str()),
                    ("ann", "pull,push")
                );
            }
            found => panic!("{found:?}"),
        }
        check(&sign(&key, r#"{"alg":"ES256"}"#, &claims(|_| ())), true);
        check(&sign(&key, r#"{"alg":"none"}"#, &claims(|_| ())), false);
        check(&sign(&key, r#"{"alg":"HS256"}"#, &claims(|_| ())), false);
        check(&sign(&key, r#"{"alg":"RS256"}"#, &claims(|_| ())), false);
        check(&sign(&key, r#"{"alg":"ES256","kid":"two"}"#, &claims(|_| ())), false);
        check(&sign(&key, r#"{"alg":"ES256","crit":["x"]}"#, &claims(|_| ())), false);
        check(&sign(&pair(), good, &claims(|_| ())), false);
        check(&sign(&key, good, &claims(|c| c["exp"] = (NOW - 61).into())), false);
        check(&sign(&key, good, &claims(|c| c["nbf"] = (NOW + 61).into())), false);
        check(&sign(&key, good, &claims(|c| c["iss"] = "other".into())), false);
        check(&sign(&key, good, &claims(|c| c["aud"] = "other".into())), false);
        check(
            &sign(&key, good, &claims(|c| c["aud"] = serde_json::json!(["x", "service"]))),
            true,
        );
        check(
            &sign(
                &key,
                good,
                &claims(|c| {
                    c.as_object_mut().unwrap().remove("exp");
                }),
            ),
            false,
        );
        let (head, rest) = token.split_once('.').unwrap();
        let (_, signature) = rest.split_once('.').unwrap();
        let forged = URL_SAFE_NO_PAD.encode(claims(|c| c["sub"] = "eve".into()));
        check(&format!("{head}.{forged}.{signature}"), false);
        check("", false);
        check("a.b.c", false);
        check(&format!("{head}.{forged}."), false);
        check(&"a".repeat(TOKEN_MAX + 1), false);
    }

    #[test]
    fn keys_of_other_kinds_are_read() {
        let rng = SystemRandom::new();
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&rng).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
        let key = WebKey {
            kty: "OKP".to_owned(),
            kid: None,
            crv: Some("Ed25519".to_owned()),
            n: None,
            e: None,
            x: Some(URL_SAFE_NO_PAD.encode(pair.public_key())),
            y: None,
        };
        let key = key.read().unwrap();
        assert!(key.public.has_signed("EdDSA", b"m", pair.sign(b"m").as_ref()));
        assert!(!key.public.has_signed("EdDSA", b"n", pair.sign(b"m").as_ref()));
        assert!(!key.public.has_signed("ES256", b"m", pair.sign(b"m").as_ref()));
    }
}
