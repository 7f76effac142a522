//! bcrypt (Provos and Mazières, 1999), as `htpasswd -B` writes it: `$2y$COST$SALT HASH`.

use base64::Engine as _;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use blowfish::Blowfish;

/// bcrypt's own alphabet, without padding. Its last digits have bits to spare, which hashes in use set.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::BCRYPT,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

/// The longest part of a password that counts, with the zero byte at its end.
const PASSWORD_MAX: usize = 72;

/// A hash.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Hash {
    cost: u32,
    salt: [u8; 16],
    digest: [u8; 23],
}

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hash(cost {})", self.cost)
    }
}

impl Hash {
    /// Reads `$2y$05$..`. A cost beyond 16 would take minutes and is refused.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let rest = ["$2y$", "$2b$", "$2a$"].iter().find_map(|p| text.strip_prefix(p))?;
        let (cost, rest) = rest.split_once('$')?;
        let cost = cost.parse().ok().filter(|cost| cost_ok(*cost))?;
        if rest.len() != 53 || !rest.is_ascii() {
            return None;
        }
        let (salt, digest) = rest.split_at(22);
        Some(Self {
            cost,
            salt: BASE64.decode(salt).ok()?.try_into().ok()?,
            digest: BASE64.decode(digest).ok()?.try_into().ok()?,
        })
    }

    /// A hash that no password has, for whoever is not known: it takes as long as a known one's.
    pub(super) fn nobody(cost: u32) -> Self {
        Self {
            cost,
            salt: [0; 16],
            digest: [0; 23],
        }
    }

    pub(super) fn cost(&self) -> u32 {
        self.cost
    }

    /// Whether it is the password's.
    pub(super) fn is_of(&self, password: &str) -> bool {
        let mut key = password.as_bytes().to_vec();
        // A zero byte ends the password: one that holds another is none that could have been set.
        if key.contains(&0) {
            return false;
        }
        key.push(0);
        key.truncate(PASSWORD_MAX);
        let actual = digest(self.cost, &self.salt, &key);
        let difference = actual.iter().zip(&self.digest).fold(0, |sum, (a, b)| sum | (a ^ b));
        std::hint::black_box(difference) == 0
    }
}

fn cost_ok(cost: u32) -> bool {
    (4..=16).contains(&cost)
}

fn digest(cost: u32, salt: &[u8; 16], key: &[u8]) -> [u8; 23] {
    let mut state: Blowfish = Blowfish::bc_init_state();
    state.salted_expand_key(salt, key);
    for _ in 0..1_u32 << cost {
        state.bc_expand_key(key);
        state.bc_expand_key(salt);
    }
    let mut words = *b"OrpheanBeholderScryDoubt";
    for pair in words.chunks_exact_mut(8) {
        let word = |at: usize| u32::from_be_bytes([pair[at], pair[at + 1], pair[at + 2], pair[at + 3]]);
        let mut block = [word(0), word(4)];
        for _ in 0..64 {
            block = state.bc_encrypt(block);
        }
        pair[..4].copy_from_slice(&block[0].to_be_bytes());
        pair[4..].copy_from_slice(&block[1].to_be_bytes());
    }
    let mut out = [0; 23];
    out.copy_from_slice(&words[..23]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_hashes_are_those_of_their_passwords() {
        // From the test vectors of OpenBSD and of jBCrypt.
        for (password, hash) in [
            ("", "$2a$06$DCq7YPn5Rq63x1Lad4cll.TV4S6ytwfsfvkgY8jIucDrjc8deX1s."),
            ("a", "$2a$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe"),
            ("abc", "$2a$06$If6bvum7DFjUnE9p2uDeDu0YHzrHM6tf.iqN8.yx.jNN1ILEf7h0i"),
            ("U*U", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"),
        ] {
            let parsed = Hash::parse(hash).unwrap();
            assert!(parsed.is_of(password), "{password}");
            assert!(!parsed.is_of("another"), "{password}");
            assert!(!parsed.is_of(&format!("{password}\0")), "{password}");
        }
    }

    #[test]
    fn what_is_no_bcrypt_is_refused() {
        for text in [
            "",
            "plain",
            "$apr1$x$y",
            "{SHA}x",
            "$2y$05$short",
            "$2y$31$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
            "$2y$03$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
            "$2y$05$!CCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
        ] {
            assert!(Hash::parse(text).is_none(), "{text}");
        }
    }
}
