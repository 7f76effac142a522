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
    let left = cgroup::remove(remains.cgroups);
    let mut done = match left.into_iter().next() {
        Some((path, errno)) => Err(crate::error::at("remove cgroup", &path)(errno)),
        None => Ok(()),
    };
    let mut trash = None;
    if let Some(name) = remains.remove {
        match hide_files(remains.data, name) {
            Ok(hidden) => trash = Some(hidden),
            Err(e) => done = done.and(Err(e)),
        }
    } else {
        done = done.and(write_json(&remains.data.join("exit.json"), exit));
    }
    // Last: whoever finds no run folder takes the container for one that does not run.
    done.and(remove_run(remains.run)).map(|()| trash)
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
    // Only the link that is ours: the name may have been given away since.
    if std::fs::read_link(name).is_ok_and(|target| target.as_os_str() == id) {
        match std::fs::remove_file(name) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(io_at("remove", name)(e)),
            _ => {}
        }
    }
    Ok(trash)
}

/// Removes the files of a container that is gone. What a kill leaves of them is swept by a later command.
///
/// # Errors
/// If something cannot be removed.
pub fn purge(trash: &Path) -> Result<()> {
    gone(std::fs::remove_dir_all(trash)).map_err(io_at("remove", trash))
}

pub(crate) fn remove_run(run: &Path) -> Result<()> {
    gone(std::fs::remove_dir_all(run)).map_err(io_at("remove", run))
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
