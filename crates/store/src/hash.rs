//! Digests of bytes.

use hull_spec::{Algorithm, Digest};
use sha2::Digest as _;

/// A running hash of either algorithm.
#[derive(Clone)]
pub(crate) enum Hasher {
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
}

impl Hasher {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(sha2::Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(sha2::Sha512::new()),
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(h) => h.update(bytes),
            Self::Sha512(h) => h.update(bytes),
        }
    }

    pub(crate) fn finish(self) -> Digest {
        match self {
            Self::Sha256(h) => Digest::from_bytes(Algorithm::Sha256, &h.finalize()),
            Self::Sha512(h) => Digest::from_bytes(Algorithm::Sha512, &h.finalize()),
        }
    }
}

/// The digest of `bytes`.
#[must_use]
pub fn digest(algorithm: Algorithm, bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(bytes);
    hasher.finish()
}

/// The chain ID of `diff_id` on top of `parent`.
#[must_use]
pub fn chain_id(parent: Option<&Digest>, diff_id: &Digest) -> Digest {
    hull_spec::chain_id(parent, diff_id, |bytes| sha2::Sha256::digest(bytes).into())
}
