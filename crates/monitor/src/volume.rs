//! Volumes as containers use them: who does, who is last, and one file system for all where a volume is more than a
//! folder.
//!
//! ```text
//! DATA/volumes/NAME/users/ID   container ID uses the volume: true while there is such a container
//! RUN/volumes/NAME             locked while a container with the volume starts; the number of the device that was mounted
//! ```
//!
//! The folder `DATA/volumes/NAME` itself is locked, shared by who creates a container with the volume until that
//! container is on disk, exclusively by who removes the volume.

mod share;

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::error::{Error, Result, at, io_at};

pub use share::{Opened, VolumeMount, create, open};

/// How long somebody who removes a volume waits for those who only look at it.
const LOOK: Duration = Duration::from_millis(200);

/// Locks a volume's folder; `None` where it is held otherwise. `Error` where there is no such volume.
///
/// # Errors
/// If the folder is missing or cannot be locked.
pub fn lock(folder: &Path, exclusive: bool) -> Result<Option<File>> {
    let operation = match exclusive {
        true => FlockOperation::NonBlockingLockExclusive,
        false => FlockOperation::NonBlockingLockShared,
    };
    let started = Instant::now();
    loop {
        let file = File::open(folder).map_err(io_at("open", folder))?;
        match flock(&file, operation) {
            Ok(()) => {
                let there = fs::metadata(folder).ok().map(|m| (m.dev(), m.ino()));
                let ours = file.metadata().ok().map(|m| (m.dev(), m.ino()));
                if there == ours {
                    return Ok(Some(file));
                }
                // Removed, and perhaps made anew, between the two calls.
            }
            Err(Errno::WOULDBLOCK) if started.elapsed() < LOOK => std::thread::sleep(Duration::from_millis(1)),
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(errno) => return Err(at("lock", folder)(errno)),
        }
    }
}

/// The containers that are said to use the volume in `folder`; with `living` only those that there are. Others were
/// removed, or never came to be.
///
/// # Errors
/// If that cannot be read.
pub fn users(folder: &Path, living: bool) -> Result<Vec<String>> {
    let list = folder.join("users");
    let entries = match fs::read_dir(&list) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(io_at("read", &list)(e)),
    };
    let mut out = Vec::new();
    for entry in entries {
        let name = entry.map_err(io_at("read", &list))?.file_name();
        let Ok(id) = name.into_string() else { continue };
        if !living || exists(folder, &id) {
            out.push(id);
        }
    }
    out.sort_unstable();
    Ok(out)
}

/// Whether there is a container of this ID beside the volume in `folder`.
fn exists(folder: &Path, id: &str) -> bool {
    let data = folder.parent().and_then(Path::parent);
    data.is_some_and(|data| data.join("containers").join(id).join("config.json").exists())
}

/// What [`remove`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removal {
    /// The volume is gone; its files are here, for [`crate::purge`].
    Done(PathBuf),
    /// These containers use it.
    InUse(Vec<String>),
    /// There is none.
    Missing,
}

/// Takes a volume away, unless a container uses it. Nobody finds it then; its files are still to be removed.
///
/// # Errors
/// If it cannot be renamed; if something is mounted in it.
pub fn remove(folder: &Path) -> Result<Removal> {
    let lock = match lock(folder, true) {
        Ok(Some(lock)) => lock,
        // A container that uses it is being created.
        Ok(None) => return Ok(Removal::InUse(users(folder, false)?)),
        Err(Error::Path {
            errno: Errno::NOENT, ..
        }) => return Ok(Removal::Missing),
        Err(e) => return Err(e),
    };
    let users = users(folder, true)?;
    if !users.is_empty() {
        return Ok(Removal::InUse(users));
    }
    // What is mounted below would be emptied in its place.
    if is_mounted_on(folder) {
        return Err(at("remove", folder)(Errno::BUSY));
    }
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos());
    let trash = folder.with_file_name(format!(".removed-{}-{nanos}", std::process::id()));
    fs::rename(folder, &trash).map_err(io_at("remove", folder))?;
    drop(lock);
    Ok(Removal::Done(trash))
}

/// Removes a volume that a container had for itself, now that the container is gone. One that another container has taken
/// over meanwhile stays.
///
/// # Errors
/// If it cannot be removed.
pub fn discard(folder: &Path, run: &Path) -> Result<bool> {
    match remove(folder)? {
        Removal::Done(trash) => {
            if let Some(name) = folder.file_name() {
                let _ = fs::remove_file(run.join("volumes").join(name));
            }
            crate::purge(&trash)?;
            Ok(true)
        }
        Removal::InUse(_) | Removal::Missing => Ok(false),
    }
}

/// Gives up the volumes of container `id`, which is gone: it is no user any more of those in `uses`, and those in `own`
/// are removed unless others use them. What stays in `own` has been removed.
///
/// # Errors
/// The first that cannot be removed. The others are, all the same.
pub fn release(id: &str, uses: &[PathBuf], own: &mut Vec<PathBuf>, run: &Path) -> Result<()> {
    for folder in uses {
        // A leftover would mean nothing.
        let _ = fs::remove_file(folder.join("users").join(id));
    }
    let mut done = Ok(());
    own.retain(|folder| {
        let gone = discard(folder, run);
        let removed = matches!(gone, Ok(true));
        done = std::mem::replace(&mut done, Ok(())).and(gone.map(drop));
        removed
    });
    done
}

/// Whether anything is mounted on the folder or below it.
fn is_mounted_on(folder: &Path) -> bool {
    let Ok(mounts) = fs::read_to_string("/proc/self/mountinfo") else {
        return false;
    };
    let folder = folder.display().to_string();
    mounts.lines().any(|line| {
        let place = line.split(' ').nth(4).unwrap_or_default();
        // Volumes' names need no escape there; a data root with a space in its path does.
        let place = place.replace("\\040", " ").replace("\\134", "\\");
        place
            .strip_prefix(folder.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(data: &Path) -> PathBuf {
        let folder = data.join("volumes/vol");
        fs::create_dir_all(folder.join("users")).unwrap();
        fs::create_dir_all(folder.join("_data")).unwrap();
        folder
    }

    #[test]
    fn only_living_containers_keep_a_volume() {
        let data = tempfile::tempdir().unwrap();
        let folder = volume(data.path());
        fs::write(folder.join("users/gone"), "").unwrap();
        fs::write(folder.join("users/there"), "").unwrap();
        fs::create_dir_all(data.path().join("containers/there")).unwrap();
        fs::write(data.path().join("containers/there/config.json"), "{}").unwrap();
        assert_eq!(users(&folder, true).unwrap(), ["there"]);
        assert_eq!(users(&folder, false).unwrap(), ["gone", "there"]);
        assert_eq!(remove(&folder).unwrap(), Removal::InUse(vec!["there".to_owned()]));
        assert!(folder.is_dir());
        fs::remove_dir_all(data.path().join("containers/there")).unwrap();
        let Removal::Done(trash) = remove(&folder).unwrap() else {
            panic!("it is in nobody's way")
        };
        assert!(!folder.exists() && trash.join("_data").is_dir());
        assert_eq!(remove(&folder).unwrap(), Removal::Missing);
    }

    #[test]
    fn a_creation_under_way_keeps_a_volume() {
        let data = tempfile::tempdir().unwrap();
        let folder = volume(data.path());
        let creating = lock(&folder, false).unwrap().unwrap();
        fs::write(folder.join("users/coming"), "").unwrap();
        assert_eq!(remove(&folder).unwrap(), Removal::InUse(vec!["coming".to_owned()]));
        // A second creation does not wait for the first.
        assert!(lock(&folder, false).unwrap().is_some());
        drop(creating);
        assert!(matches!(remove(&folder).unwrap(), Removal::Done(_)));
    }

    #[test]
    fn one_removal_wins() {
        let data = tempfile::tempdir().unwrap();
        let folder = volume(data.path());
        let won: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| matches!(remove(&folder), Ok(Removal::Done(_)))))
                .collect();
            threads.into_iter().map(|t| usize::from(t.join().unwrap())).sum()
        });
        assert_eq!(won, 1);
    }
}
