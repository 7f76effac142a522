//! Content digests, `sha256:HEX` or `sha512:HEX` (OCI image spec, descriptor.md, "Digests").

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Error;

/// A hash function that digests may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// SHA-256, 64 hexadecimal digits.
    Sha256,
    /// SHA-512, 128 hexadecimal digits.
    Sha512,
}

impl Algorithm {
    /// The name before the colon.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    fn hex_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

/// A checked digest. Its text holds no separator of paths, so it is safe as a file name.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    algorithm: Algorithm,
    text: Box<str>,
}

impl Digest {
    /// A SHA-256 digest from its 32 bytes.
    #[must_use]
    pub fn sha256(bytes: &[u8; 32]) -> Self {
        Self::from_bytes(Algorithm::Sha256, bytes)
    }

    /// A digest from the raw output of `algorithm`.
    ///
    /// # Panics
    /// If `bytes` has not the algorithm's length.
    #[must_use]
    pub fn from_bytes(algorithm: Algorithm, bytes: &[u8]) -> Self {
        assert_eq!(
            bytes.len() * 2,
            algorithm.hex_len(),
            "a digest has its algorithm's length"
        );
        let mut text = String::with_capacity(7 + bytes.len() * 2);
        text.push_str(algorithm.name());
        text.push(':');
        for byte in bytes {
            for nibble in [byte >> 4, byte & 15] {
                text.push(char::from(b"0123456789abcdef"[usize::from(nibble)]));
            }
        }
        Self {
            algorithm,
            text: text.into(),
        }
    }

    /// The hash function.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The hexadecimal digits after the colon.
    #[must_use]
    pub fn hex(&self) -> &str {
        &self.text[self.algorithm.name().len() + 1..]
    }

    /// The first twelve hexadecimal digits, as people read them.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.hex()[..12]
    }

    /// The whole text, `algorithm:hex`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let err = |reason| Error::Digest {
            digest: text.chars().take(200).collect(),
            reason,
        };
        let (name, hex) = text
            .split_once(':')
            .ok_or_else(|| err("no colon after the algorithm"))?;
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            _ => return Err(err("the algorithm is neither sha256 nor sha512")),
        };
        if hex.len() != algorithm.hex_len() {
            return Err(err("the hexadecimal part has the wrong length"));
        }
        if !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(err("only lower-case hexadecimal digits may follow the colon"));
        }
        Ok(Self {
            algorithm,
            text: text.into(),
        })
    }
}

/// The chain ID of a stack of layers given by diff IDs, lowest first (OCI image spec, config.md, "Layer ChainID").
/// `hash` is SHA-256; it is passed in because this crate computes nothing.
pub fn chain_id(parent: Option<&Digest>, diff_id: &Digest, hash: impl FnOnce(&[u8]) -> [u8; 32]) -> Digest {
    match parent {
        None => diff_id.clone(),
        Some(parent) => Digest::sha256(&hash(format!("{parent} {diff_id}").as_bytes())),
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_checked_when_parsed() {
        let good = format!("sha256:{}", "ab".repeat(32));
        let digest: Digest = good.parse().unwrap();
        assert_eq!((digest.as_str(), digest.short()), (good.as_str(), "abababababab"));
        for bad in [
            "".to_owned(),
            "sha256".to_owned(),
            "sha256:".to_owned(),
            format!("md5:{}", "a".repeat(32)),
            format!("sha256:{}", "a".repeat(63)),
            format!("sha256:{}", "A".repeat(64)),
            format!("sha256:../{}", "a".repeat(61)),
            format!("sha512:{}", "a".repeat(64)),
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }

    #[test]
    fn bytes_and_text_agree() {
        let digest = Digest::sha256(&[0x0f; 32]);
        assert_eq!(digest.hex(), "0f".repeat(32));
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
    }
}
