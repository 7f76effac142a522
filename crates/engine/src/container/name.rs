//! Names and IDs for containers that were given none.

/// What a ship or her weather may be.
const ADJECTIVES: [&str; 64] = [
    "able",
    "agile",
    "amber",
    "ample",
    "azure",
    "balmy",
    "bold",
    "brave",
    "breezy",
    "bright",
    "brisk",
    "buoyant",
    "calm",
    "candid",
    "clear",
    "coastal",
    "coral",
    "crisp",
    "daring",
    "dashing",
    "deft",
    "distant",
    "eastern",
    "fair",
    "faithful",
    "fleet",
    "frosty",
    "gallant",
    "gentle",
    "gleaming",
    "golden",
    "hardy",
    "hasty",
    "homeward",
    "humble",
    "keen",
    "lively",
    "loyal",
    "lunar",
    "mellow",
    "merry",
    "misty",
    "nimble",
    "northern",
    "patient",
    "placid",
    "plucky",
    "polar",
    "proud",
    "quiet",
    "ready",
    "roving",
    "salty",
    "seaworthy",
    "serene",
    "silver",
    "snug",
    "steady",
    "stormy",
    "sturdy",
    "swift",
    "tidal",
    "trim",
    "upright",
];

/// Navigators, shipwrights, oceanographers and makers of charts, clocks and instruments.
const SURNAMES: [&str; 64] = [
    "amundsen",
    "ballard",
    "baret",
    "beaufort",
    "bering",
    "bowditch",
    "brunel",
    "cabral",
    "carson",
    "cartier",
    "challis",
    "cousteau",
    "darwin",
    "davis",
    "drake",
    "earle",
    "ekman",
    "ericson",
    "fitzroy",
    "forbes",
    "froude",
    "fulton",
    "gama",
    "gilbert",
    "harrison",
    "henry",
    "heyerdahl",
    "humboldt",
    "hyatt",
    "ibnmajid",
    "kelvin",
    "krusenstern",
    "lamarr",
    "maury",
    "mercator",
    "mitchell",
    "munk",
    "nansen",
    "nobile",
    "ortelius",
    "piccard",
    "polo",
    "purdie",
    "pytheas",
    "ross",
    "rosenberg",
    "sacagawea",
    "scoresby",
    "shackleton",
    "slocum",
    "stommel",
    "sverdrup",
    "symonds",
    "tasman",
    "tereshkova",
    "tharp",
    "thomson",
    "tupaia",
    "vancouver",
    "verne",
    "wegener",
    "weddell",
    "wyville",
    "zheng",
];

/// A name such as `steady_nansen`, chosen by `random`: one of 4,096, or of a million with the digits that `attempt`
/// adds when names were taken.
#[must_use]
pub fn random(random: [u8; 4], attempt: u32) -> String {
    let pick = |words: &[&'static str; 64], byte: u8| words[usize::from(byte & 63)];
    let mut name = format!("{}_{}", pick(&ADJECTIVES, random[0]), pick(&SURNAMES, random[1]));
    if attempt > 0 {
        let digits = u16::from_le_bytes([random[2], random[3]]) % 10_u16.pow(attempt.min(4));
        name.push_str(&digits.to_string());
    }
    name
}

/// A container's ID of 32 random bytes: 64 hexadecimal digits.
#[must_use]
pub fn id(random: [u8; 32]) -> String {
    let mut out = String::with_capacity(64);
    for byte in random {
        for nibble in [byte >> 4, byte & 15] {
            out.push(char::from(b"0123456789abcdef"[usize::from(nibble)]));
        }
    }
    out
}

/// `N` random bytes from the kernel.
///
/// # Panics
/// If the kernel has no random numbers, which Linux 3.17 and later do not do once they have booted.
#[must_use]
pub fn entropy<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        match rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty()) {
            Ok(n) => filled += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => panic!("getrandom failed: {e}"),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::container::{is_id, is_name};

    #[test]
    fn every_name_is_a_valid_one() {
        for word in 0..64 {
            let name = random([word, word, 0, 0], 0);
            assert!(is_name(&name), "{name}");
        }
        assert_eq!(ADJECTIVES.iter().collect::<BTreeSet<_>>().len(), 64);
        assert_eq!(SURNAMES.iter().collect::<BTreeSet<_>>().len(), 64);
    }

    #[test]
    fn a_later_attempt_adds_digits() {
        assert_eq!(random([0, 0, 0, 0], 0), "able_amundsen");
        assert_eq!(random([64, 64, 7, 0], 1), "able_amundsen7");
        assert_eq!(random([0, 0, 0xff, 0xff], 9), "able_amundsen5535");
    }

    #[test]
    fn an_id_is_random_and_valid() {
        let (a, b) = (id(entropy()), id(entropy()));
        assert!(is_id(&a) && is_id(&b) && a != b);
    }
}
