//! Other limits for cgroups that have processes in them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::{DevicePolicy, Plan, Write, create, processes, put};
use crate::error::{Error, Result};

/// How long the processes of a container may take to be moved, while they fork or end.
const PATIENCE: Duration = Duration::from_secs(5);

/// Writes the limits of `plan` for a container that is in `cgroups`, and makes it join hierarchies that it has no limit in
/// so far, which only v1 has. Its devices stay as they are. Returns all cgroups that it is in then.
///
/// What the kernel refuses leaves the limits before it as they came out: the caller tells what was asked for.
///
/// # Errors
/// The first value that is refused; a process that cannot be moved.
pub fn update(plan: &Plan, cgroups: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let new = additions(plan, cgroups);
    create(&Plan {
        folders: new.clone(),
        writes: Vec::new(),
        devices: DevicePolicy::All,
    })?;
    let done = write_all(&plan.writes).and_then(|()| new.iter().try_for_each(|folder| join(cgroups, folder)));
    if let Err(error) = done {
        // Nobody may be left in a cgroup that nobody knows of.
        for folder in &new {
            leave(folder);
        }
        super::remove(&new);
        return Err(error);
    }
    Ok(cgroups.iter().cloned().chain(new).collect())
}

/// The cgroups that a container that is in `cgroups` joins for the limits of `plan`.
#[must_use]
pub fn additions(plan: &Plan, cgroups: &[PathBuf]) -> Vec<PathBuf> {
    let written = |folder: &Path| plan.writes.iter().any(|write| write.file.starts_with(folder));
    plan.folders
        .iter()
        .filter(|folder| written(folder) && !cgroups.contains(folder))
        .cloned()
        .collect()
}

/// Some limits depend on each other (memory with and without swap): what is refused at first is tried again after the
/// others.
fn write_all(writes: &[Write]) -> Result<()> {
    let refused: Vec<&Write> = writes
        .iter()
        .filter(|write| put(&write.file, &write.value).is_err())
        .collect();
    refused.into_iter().try_for_each(|write| {
        put(&write.file, &write.value).map_err(|errno| Error::Cgroup {
            path: write.file.clone(),
            value: write.value.clone(),
            errno,
        })
    })
}

/// Moves the processes of `cgroups` to `folder`, until none is left that is not there: they may fork meanwhile.
fn join(cgroups: &[PathBuf], folder: &Path) -> Result<()> {
    let file = folder.join("cgroup.procs");
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let there = processes(&[folder.to_owned()]);
        let missing: Vec<i32> = processes(cgroups)
            .into_iter()
            .filter(|pid| !there.contains(pid))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let mut moved = false;
        for pid in missing {
            match put(&file, &pid.to_string()) {
                Ok(()) => moved = true,
                // It has just ended.
                Err(Errno::SRCH) => {}
                // So has the whole container.
                Err(Errno::NOENT | Errno::NODEV) if processes(cgroups).is_empty() => return Ok(()),
                Err(errno) => {
                    return Err(Error::Cgroup {
                        path: file,
                        value: pid.to_string(),
                        errno,
                    });
                }
            }
        }
        // All that are left are on their way out.
        if !moved {
            return Ok(());
        }
        // One that is ending stays where it is, although the kernel takes the move.
        std::thread::sleep(Duration::from_micros(200));
    }
    Err(Error::Unsupported(format!(
        "its processes fork faster than they can be moved to `{}`",
        folder.display()
    )))
}

/// Moves the processes of a new cgroup back to the hierarchy's root.
fn leave(folder: &Path) {
    let root: PathBuf = folder.components().take(5).collect();
    for pid in processes(&[folder.to_owned()]) {
        let _ = put(&root.join("cgroup.procs"), &pid.to_string());
    }
}
