//! Changes of whom a mount's source belongs to, `U`, and of its SELinux label, `z`.
//!
//! The files may be a container's work: each is reached from the descriptor of its folder, and no link is followed.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use crate::{Error, Result};

/// Folders of the host that are never given away, Podman's.
const KEPT: [&str; 20] = [
    "/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/media", "/mnt", "/opt", "/proc", "/root",
    "/run", "/sbin", "/srv", "/sys", "/tmp", "/usr", "/var",
];

/// The label of files that all containers may use.
const SHARED_LABEL: &[u8] = b"system_u:object_r:container_file_t:s0\0";

/// Gives everything at `path` to a user and a group.
///
/// # Errors
/// A folder that the host needs; what cannot be changed.
pub(crate) fn give(path: &Path, owner: [u32; 2]) -> Result<()> {
    refuse_system(path, "chowning")?;
    let (uid, gid) = (Uid::from_raw(owner[0]), Gid::from_raw(owner[1]));
    each(path, &mut |folder, name, stat| {
        if (stat.st_uid, stat.st_gid) == (owner[0], owner[1]) {
            return Ok(());
        }
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
        rustix::fs::chownat(folder, name, Some(uid), Some(gid), flags)
    })
}

/// Gives everything at `path` the label that containers share. Nothing where SELinux is off.
///
/// # Errors
/// A folder that the host needs; what cannot be changed.
pub(crate) fn relabel(path: &Path) -> Result<()> {
    if !Path::new("/sys/fs/selinux/enforce").exists() {
        return Ok(());
    }
    label(path)
}

fn label(path: &Path) -> Result<()> {
    refuse_system(path, "relabeling")?;
    each(path, &mut |folder, name, stat| {
        let mut path = format!("/proc/self/fd/{}", folder.as_raw_fd()).into_bytes();
        if !name.is_empty() {
            path.push(b'/');
            path.extend(name.to_bytes());
        }
        let flags = rustix::fs::XattrFlags::empty();
        let set = if name.is_empty() {
            rustix::fs::setxattr(&path[..], c"security.selinux", SHARED_LABEL, flags)
        } else {
            rustix::fs::lsetxattr(&path[..], c"security.selinux", SHARED_LABEL, flags)
        };
        match set {
            // A file system without labels has one for all of its files.
            Err(Errno::OPNOTSUPP) => Ok(()),
            // Links need none, and may not have one without the policy.
            Err(Errno::PERM) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => Ok(()),
            set => set,
        }
    })
}

fn refuse_system(path: &Path, act: &str) -> Result<()> {
    let real = std::fs::canonicalize(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })?;
    if KEPT.iter().any(|kept| real == Path::new(kept)) {
        return Err(Error::Invalid(format!(
            "{act} host path \"{}\" is not allowed",
            real.display()
        )));
    }
    Ok(())
}

type Act<'a> = &'a mut dyn FnMut(&OwnedFd, &CStr, &rustix::fs::Stat) -> rustix::io::Result<()>;

/// Calls `act` for all files at and below `path`, with their folder and name; of `path` itself with an empty name.
fn each(path: &Path, act: Act<'_>) -> Result<()> {
    walk(path, act).map_err(|errno| Error::Write {
        path: path.to_owned(),
        source: errno.into(),
    })
}

fn walk(path: &Path, act: Act<'_>) -> rustix::io::Result<()> {
    let top = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let stat = rustix::fs::fstat(&top)?;
    act(&top, c"", &stat)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Ok(());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut todo = vec![rustix::fs::openat(&top, ".", flags, Mode::empty())?];
    while let Some(folder) = todo.pop() {
        for entry in Dir::read_from(&folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let done = rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW).and_then(|stat| {
                act(&folder, name, &stat)?;
                if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                    todo.push(rustix::fs::openat(&folder, name, flags, Mode::empty())?);
                }
                Ok(())
            });
            match done {
                // Removed or swapped meanwhile.
                Ok(()) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(e) => return Err(e),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    #[test]
    fn what_the_host_needs_is_kept() {
        for path in ["/", "/etc", "/usr/", "/usr/../etc", "/proc"] {
            let error = give(Path::new(path), [1, 1]).unwrap_err().to_string();
            assert!(error.contains("is not allowed"), "{path}: {error}");
        }
    }

    #[test]
    fn privileged_a_tree_is_given_away_and_nothing_beside_it() {
        if !hull_testkit::require_root() {
            return;
        }
        let place = tempfile::tempdir().unwrap();
        let tree = place.path().join("tree");
        std::fs::create_dir_all(tree.join("a/b")).unwrap();
        std::fs::write(tree.join("a/b/file"), "").unwrap();
        std::fs::write(place.path().join("beside"), "").unwrap();
        symlink("../beside", tree.join("link")).unwrap();
        symlink(place.path(), tree.join("a/out")).unwrap();
        give(&tree, [1234, 5678]).unwrap();
        let owner = |path: &str| {
            let meta = std::fs::symlink_metadata(place.path().join(path)).unwrap();
            (meta.uid(), meta.gid())
        };
        for path in ["tree", "tree/a", "tree/a/b", "tree/a/b/file", "tree/link", "tree/a/out"] {
            assert_eq!(owner(path), (1234, 5678), "{path}");
        }
        assert_eq!(owner("beside"), (0, 0));
        assert_eq!(owner(""), (0, 0));
        // A single file, too.
        give(&place.path().join("beside"), [7, 8]).unwrap();
        assert_eq!(owner("beside"), (7, 8));
    }

    #[test]
    fn privileged_a_tree_is_labelled() {
        if !hull_testkit::require_root() {
            return;
        }
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir(place.path().join("a")).unwrap();
        std::fs::write(place.path().join("a/file"), "").unwrap();
        label(place.path()).unwrap();
        for path in ["", "a", "a/file"] {
            let mut value = [0u8; 100];
            let length = rustix::fs::getxattr(place.path().join(path), c"security.selinux", &mut value[..]).unwrap();
            assert_eq!(&value[..length], SHARED_LABEL, "{path}");
        }
    }
}
