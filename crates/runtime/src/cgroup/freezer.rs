//! The freezer: all processes of a container stand still, and go on.
//!
//! Whether a container is paused is what its cgroup says, and nobody's word besides: a command that is killed half-way
//! leaves a container that is seen as what it is.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{ROOT, controller_of, is_unified, put};
use crate::error::{Error, Result};

/// How long processes may take to freeze: one that waits for a slow disk in the kernel does not stop at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// How far the processes of a container are frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freeze {
    /// They run.
    Thawed,
    /// Some do not stand still yet; whoever asked for it may have been killed meanwhile.
    Freezing,
    /// All stand still.
    Frozen,
}

/// The file that freezes, and what is written to it to thaw and to freeze.
fn freezer(cgroups: &[PathBuf]) -> Option<(PathBuf, [&'static str; 2])> {
    // A hierarchy that is mounted in another place is known by its file.
    let elsewhere = |cgroup: &Path| !cgroup.starts_with(ROOT) && cgroup.join("freezer.state").exists();
    let v1 = cgroups
        .iter()
        .find(|cgroup| controller_of(cgroup) == Some("freezer") || elsewhere(cgroup));
    if let Some(cgroup) = v1 {
        return Some((cgroup.join("freezer.state"), ["THAWED", "FROZEN"]));
    }
    cgroups
        .iter()
        .find(|cgroup| is_unified(cgroup))
        .map(|cgroup| (cgroup.join("cgroup.freeze"), ["0", "1"]))
}

/// How far the container of these cgroups is frozen. One without a freezer runs.
#[must_use]
pub fn frozen(cgroups: &[PathBuf]) -> Freeze {
    let Some((file, _)) = freezer(cgroups) else {
        return Freeze::Thawed;
    };
    // A word. Lists ask for many.
    let mut buffer = [0; 32];
    let read = std::fs::File::open(&file).and_then(|mut file| file.read(&mut buffer));
    let text = std::str::from_utf8(&buffer[..read.unwrap_or(0)]).unwrap_or_default();
    match text.trim() {
        "FROZEN" => Freeze::Frozen,
        "FREEZING" => Freeze::Freezing,
        "1" if reached(&file, "1") => Freeze::Frozen,
        "1" => Freeze::Freezing,
        _ => Freeze::Thawed,
    }
}

/// Freezes, and waits until it is so. Processes that do not stand still in time run on.
///
/// # Errors
/// [`Error::Unsupported`] where the host gave the container no freezer; what the kernel refuses: `ENOENT` and `ENODEV`
/// where the container has just ended.
pub fn freeze(cgroups: &[PathBuf]) -> Result<()> {
    change(cgroups, true)
}

/// Thaws, and waits until it is so.
///
/// # Errors
/// As [`freeze`].
pub fn thaw(cgroups: &[PathBuf]) -> Result<()> {
    change(cgroups, false)
}

fn change(cgroups: &[PathBuf], freeze: bool) -> Result<()> {
    let Some((file, words)) = freezer(cgroups) else {
        return Err(Error::Unsupported(
            "it has no freezer cgroup: this host mounts neither cgroup v2 nor the v1 hierarchy `freezer`, or lets us \
             make no cgroup there"
                .to_owned(),
        ));
    };
    let word = words[usize::from(freeze)];
    let write = |word: &str| {
        put(&file, word).map_err(|errno| Error::Cgroup {
            path: file.clone(),
            value: word.to_owned(),
            errno,
        })
    };
    let deadline = Instant::now() + PATIENCE;
    loop {
        write(word)?;
        if reached(&file, word) {
            return Ok(());
        }
        if Instant::now() > deadline {
            let _ = write(words[0]);
            return Err(Error::Unsupported(format!(
                "its processes do not freeze within {} seconds",
                PATIENCE.as_secs()
            )));
        }
        // Neither kernel tells: v1 has no event, and writing again is what makes it look at new processes.
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn reached(file: &Path, word: &str) -> bool {
    if file.ends_with("cgroup.freeze") {
        let events = std::fs::read_to_string(file.with_file_name("cgroup.events")).unwrap_or_default();
        return events.lines().any(|line| line.strip_prefix("frozen ") == Some(word));
    }
    std::fs::read_to_string(file).is_ok_and(|text| text.trim() == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_without_a_freezer_is_told_so() {
        let cgroups = [PathBuf::from("/sys/fs/cgroup/memory/hull/x")];
        if is_unified(&cgroups[0]) {
            return;
        }
        assert_eq!(frozen(&cgroups), Freeze::Thawed);
        let error = freeze(&cgroups).unwrap_err();
        assert!(
            matches!(&error, Error::Unsupported(text) if text.contains("freezer")),
            "{error}"
        );
        let gone = [PathBuf::from("/sys/fs/cgroup/freezer/hull/no-such-container")];
        assert_eq!(frozen(&gone), Freeze::Thawed);
        assert!(matches!(
            thaw(&gone),
            Err(Error::Cgroup {
                errno: rustix::io::Errno::NOENT,
                ..
            })
        ));
    }
}
