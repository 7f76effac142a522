//! What a test may ask of the machine it runs on.
//!
//! `HULL_TEST_PRIVILEGED=1` promises a machine that has everything: there, a missing thing fails the test. Elsewhere the
//! test is skipped and leaves a line that `cargo xtask test` counts and prints.

use std::io::Write;
use std::path::PathBuf;

/// The file to which skipped tests append a line, named by `HULL_TEST_SKIPS`.
const SKIPS: &str = "HULL_TEST_SKIPS";

/// Returns true when the test runs as root, and `HULL_TEST_PRIVILEGED=0` does not say that this root may do nothing.
/// Otherwise the test is skipped, loudly, or, where `HULL_TEST_PRIVILEGED=1`
/// promises root, fails.
///
/// # Panics
/// If root was promised and is not there.
#[must_use]
pub fn require_root() -> bool {
    if std::env::var_os("HULL_TEST_PRIVILEGED").is_some_and(|v| v == "0") {
        return skip("no privileges are to be used");
    }
    rustix::process::geteuid().is_root() || skip("the tests do not run as root")
}

/// The path of `name` on PATH or in the administrator's folders, for a test that needs it.
///
/// # Panics
/// If a complete machine was promised and the program is missing.
#[must_use]
pub fn require_program(name: &str) -> Option<PathBuf> {
    let found = find_program(name);
    if found.is_none() {
        skip(&format!("{name} is not installed"));
    }
    found
}

/// Looks for `name` on PATH, then where Debian keeps what only the administrator runs.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Counts one skipped test and returns false.
fn skip(reason: &str) -> bool {
    let promised = std::env::var_os("HULL_TEST_PRIVILEGED").is_some_and(|v| v == "1");
    assert!(!promised, "HULL_TEST_PRIVILEGED=1 is set, but {reason}");
    let thread = std::thread::current();
    let line = format!("{}: {reason}\n", thread.name().unwrap_or("a test"));
    let told = std::env::var_os(SKIPS)
        .and_then(|file| std::fs::File::options().append(true).create(true).open(file).ok())
        .is_some_and(|mut file| file.write_all(line.as_bytes()).is_ok());
    if !told {
        let _ = std::io::stderr().write_all(format!("skipped {line}").as_bytes());
    }
    false
}
