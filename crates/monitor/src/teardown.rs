//! Takes away what a container had on the host. The monitor does it at the container's end; whoever finds a container
//! whose monitor was killed does it in its place.

use std::path::{Path, PathBuf};

use hull_runtime::cgroup;
use hull_spec::container::LastExit;

use crate::error::{Result, io_at};

/// What is left on the host of a container whose init has ended.
#[derive(Debug)]
pub struct Remains<'a> {
    /// `DATA/containers/ID`.
    pub data: &'a Path,
    /// `RUN/containers/ID`.
    pub run: &'a Path,
    /// Its cgroups.
    pub cgroups: &'a [PathBuf],
    /// `DATA/names/NAME` of a container that is removed at its end.
    pub remove: Option<&'a Path>,
}

/// Removes the cgroups, writes down how the container ended, and removes the run folder. With `remove` the container
/// itself goes too: afterwards nobody finds it, and the result is the folder with its files, for [`purge`]. The caller
/// holds the container's lock.
///
/// # Errors
/// The first that cannot be removed or written; the rest is done all the same.
pub fn teardown(remains: &Remains<'_>, exit: &LastExit) -> Result<Option<PathBuf>> {
    let left = cgroup::remove(&all_cgroups(remains));
    let mut done = match left.into_iter().next() {
        Some((path, errno)) => Err(crate::error::at("remove cgroup", &path)(errno)),
        None => Ok(()),
    };
    let mut trash = None;
    let kept = remains.remove.is_some() && remains.run.join(RESTARTED).exists();
    if kept {
        // Its files were written without regard for a crash of the host (overlayfs, "Volatile mount"), which has not
        // come: the kernel may mount them again.
        let _ = std::fs::remove_dir_all(remains.data.join("work/work/incompat/volatile"));
    }
    if let Some(name) = remains.remove.filter(|_| !kept) {
        match hide_files(remains.data, name) {
            Ok(hidden) => trash = Some(hidden),
            Err(e) => done = done.and(Err(e)),
        }
    } else {
        done = done.and(write_json(&remains.data.join("exit.json"), exit));
        // Its last health is part of how it ended.
        if let Ok(health) = std::fs::read(remains.run.join(crate::HEALTH_FILE)) {
            let _ = std::fs::write(remains.data.join(crate::HEALTH_FILE), health);
        }
    }
    // Last: whoever finds no run folder takes the container for one that does not run.
    done.and(remove_run(remains.run)).map(|()| trash)
}

/// The cgroups that the container was started in, and those that it joined later.
pub(crate) fn all_cgroups(remains: &Remains<'_>) -> Vec<PathBuf> {
    let mut all = remains.cgroups.to_vec();
    // Mostly there is none.
    if let Ok(bytes) = std::fs::read(remains.run.join(JOINED)) {
        let joined: Vec<PathBuf> = serde_json::from_slice(&bytes).unwrap_or_default();
        all.extend(joined.into_iter().filter(|folder| !remains.cgroups.contains(folder)));
    }
    all
}

/// `RUN/containers/ID/cgroups.json`: cgroups that a running container joined for limits that it was given later.
const JOINED: &str = "cgroups.json";

/// `RUN/containers/ID/restarted`: the container is about to be started again by a command, so that it stays at its end
/// even if it was to be removed then.
const RESTARTED: &str = "restarted";

/// Keeps a running container from being removed at its end, or no longer.
///
/// # Errors
/// If that cannot be written down; it does not run any more then.
pub fn keep_at_end(run: &Path, keep: bool) -> Result<()> {
    let path = run.join(RESTARTED);
    let done = if keep {
        std::fs::write(&path, "")
    } else {
        gone(std::fs::remove_file(&path))
    };
    done.map_err(io_at("write", &path))
}

/// Writes down cgroups that a running container is about to join, so that they are removed with it whoever is killed.
///
/// # Errors
/// If that cannot be written.
pub fn note_cgroups(run: &Path, cgroups: &[PathBuf]) -> Result<()> {
    let path = run.join(JOINED);
    let mut all: Vec<PathBuf> = std::fs::read(&path)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    all.extend(
        cgroups
            .iter()
            .filter(|folder| !all.contains(folder))
            .cloned()
            .collect::<Vec<_>>(),
    );
    write_json(&path, &all)
}

/// Replaces what is known of a running container.
///
/// # Errors
/// If it cannot be written.
pub fn write_state(run: &Path, live: &hull_spec::container::LiveState) -> Result<()> {
    write_json(&run.join("state.json"), live)
}

/// Removes a container's folder and name.
///
/// # Errors
/// If something cannot be removed.
pub fn remove_files(data: &Path, name: &Path) -> Result<()> {
    purge(&hide_files(data, name)?)
}

/// Takes a container's name away and gives its folder one that nobody looks for, so that nobody finds half of it.
fn hide_files(data: &Path, name: &Path) -> Result<PathBuf> {
    let id = data.file_name().unwrap_or_default();
    let mut hidden = std::ffi::OsString::from(".removed-");
    hidden.push(id);
    let trash = data.with_file_name(hidden);
    match std::fs::rename(data, &trash) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(io_at("remove", data)(e)),
        _ => {}
    }
    if unlink(name, id)? {
        return Ok(trash);
    }
    // It was renamed since we were told its name.
    let record = std::fs::read(trash.join("config.json")).ok();
    let record = record.and_then(|bytes| serde_json::from_slice::<hull_spec::container::Record>(&bytes).ok());
    if let Some(record) = record {
        unlink(&name.with_file_name(&record.name), id)?;
    }
    Ok(trash)
}

/// Removes a name's link if it leads to container `id`: it may have been given away since. Returns whether it did.
fn unlink(name: &Path, id: &std::ffi::OsStr) -> Result<bool> {
    if !std::fs::read_link(name).is_ok_and(|target| target.as_os_str() == id) {
        return Ok(false);
    }
    gone(std::fs::remove_file(name)).map_err(io_at("remove", name))?;
    Ok(true)
}

/// Removes the files of a container that is gone. What a kill leaves of them is swept by a later command.
///
/// # Errors
/// If something cannot be removed.
pub fn purge(trash: &Path) -> Result<()> {
    gone(std::fs::remove_dir_all(trash)).map_err(io_at("remove", trash))
}

/// Removes `RUN/containers/ID`, whose lock the caller holds. The lock goes last: while there is anything else, nobody takes
/// the container for one that is not looked after. Whoever makes the next lock in that folder at that moment keeps it.
///
/// # Errors
/// If something cannot be removed.
pub fn remove_run(run: &Path) -> Result<()> {
    let failed = io_at("remove", run);
    let lock = run.join("lock");
    let entries = match std::fs::read_dir(run) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed(e)),
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if path == lock {
            continue;
        }
        let folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let removed = if folder {
            std::fs::remove_dir_all(&path)
        } else {
            std::fs::remove_file(&path)
        };
        gone(removed).map_err(io_at("remove", &path))?;
    }
    gone(std::fs::remove_file(&lock)).map_err(io_at("remove", &lock))?;
    match std::fs::remove_dir(run) {
        Err(e) if e.kind() == std::io::ErrorKind::DirectoryNotEmpty => Ok(()),
        removed => gone(removed).map_err(failed),
    }
}

fn gone(done: std::io::Result<()>) -> std::io::Result<()> {
    match done {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Writes a file whole or not at all.
pub(crate) fn write_json<T: serde::Serialize>(path: &Path, value: &T) -> Result<()> {
    let text = serde_json::to_vec(value).map_err(|_| crate::error::at("write", path)(rustix::io::Errno::INVAL))?;
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let temporary = PathBuf::from(name);
    std::fs::write(&temporary, text).map_err(io_at("write", &temporary))?;
    std::fs::rename(&temporary, path).map_err(io_at("write", path))
}
