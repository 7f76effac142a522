//! `pause` and `resume`: the freezer.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::arguments::Arguments;
use super::state::{self, State, Status};
use super::{Caller, Failure, Global, Outcome};
use crate::cgroup;

pub(super) fn pause(_: &mut Caller<'_>, global: &Global, args: &Arguments) -> Outcome {
    change(global, &args.rest[0], true)
}

pub(super) fn resume(_: &mut Caller<'_>, global: &Global, args: &Arguments) -> Outcome {
    change(global, &args.rest[0], false)
}

fn change(global: &Global, id: &str, freeze: bool) -> Outcome {
    let state = State::load(global, id)?;
    match (state.status(&state::folder(global, id)?), freeze) {
        (Status::Running | Status::Created, true) | (Status::Paused, false) => {}
        (_, true) => return Err(Failure::new("container not running or created")),
        (_, false) => return Err(Failure::new("container not paused")),
    }
    set(&state.cgroups, freeze)?;
    Ok(0)
}

/// The file that freezes, and what is written to it for either.
fn freezer(cgroups: &[PathBuf]) -> Option<(PathBuf, [&'static str; 2])> {
    let v1 = cgroups
        .iter()
        .find(|cgroup| cgroup::controller_of(cgroup) == Some("freezer"));
    if let Some(cgroup) = v1 {
        return Some((cgroup.join("freezer.state"), ["THAWED", "FROZEN"]));
    }
    cgroups
        .iter()
        .find(|cgroup| cgroup::is_unified(cgroup))
        .map(|cgroup| (cgroup.join("cgroup.freeze"), ["0", "1"]))
}

/// Whether a container is frozen, or about to be.
pub(super) fn is_paused(cgroups: &[PathBuf]) -> bool {
    let Some((file, _)) = freezer(cgroups) else {
        return false;
    };
    std::fs::read_to_string(file).is_ok_and(|text| ["FROZEN", "FREEZING", "1"].contains(&text.trim()))
}

/// Freezes or thaws, and waits until it is so.
pub(super) fn set(cgroups: &[PathBuf], freeze: bool) -> Outcome<()> {
    let Some((file, words)) = freezer(cgroups) else {
        return Err(Failure::new("this host has no freezer cgroup"));
    };
    let word = words[usize::from(freeze)];
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        cgroup::put(&file, word).map_err(|e| Failure::new(format!("cannot write `{}`: {e}", file.display())))?;
        if reached(&file, word) {
            return Ok(());
        }
        if Instant::now() > deadline {
            let _ = cgroup::put(&file, words[0]);
            return Err(Failure::new("the container's processes do not freeze"));
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
