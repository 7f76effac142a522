//! What the tests of hull's crates share: root checks, images made from the host's packages, registries to pull from.
//!
//! Development only; nothing that ships depends on it.

/// Returns when the test runs as root. Otherwise the test is skipped, loudly, or, where `HULL_TEST_PRIVILEGED=1`
/// promises root, fails.
///
/// # Panics
/// If root was promised and is not there.
#[must_use]
pub fn require_root() -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    let promised = std::env::var_os("HULL_TEST_PRIVILEGED").is_some_and(|v| v == "1");
    assert!(!promised, "HULL_TEST_PRIVILEGED=1 is set, but the tests do not run as root");
    false
}
