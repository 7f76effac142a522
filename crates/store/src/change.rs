//! What a writable layer changes of the layers below it: `diff`'s lines, by Docker's rules.
//!
//! Both sides are looked at below directory descriptors, without a mount and without following a link, so that it works
//! while the container runs. A file that was only opened for writing or given the mode that it had is no change; a
//! directory counts by its mode and owner, and by what changed in it, not by its time.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::Ownership;
use crate::error::{At, Error, Result};

/// What happened to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It is another than it was, or something in it is.
    Modified,
    /// It is new.
    Added,
    /// It is gone.
    Deleted,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What happened.
    pub kind: Kind,
    /// To which absolute path.
    pub path: Vec<u8>,
}

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Levels that keep their descriptors: each has one a layer.
const DEPTH_MAX: usize = 1000;

/// All changes that the layer `upper` makes of `lower` (topmost first): a directory before what is in it, names in order,
/// what is deleted last.
///
/// # Errors
/// If something cannot be read.
pub fn changes(upper: &Path, lower: &[PathBuf], ownership: Ownership) -> Result<Vec<Change>> {
    let open = |path: &Path| rustix::fs::open(path, DIRECTORY, Mode::empty()).at("open", path);
    let top = Level {
        new: open(upper)?,
        old: lower.iter().map(|layer| open(layer)).collect::<Result<_>>()?,
    };
    let mut compare = Compare {
        ownership,
        path: Vec::new(),
        out: Vec::new(),
    };
    compare.directory(top, 0)?;
    Ok(compare.out)
}

/// A directory of the upper layer, and those that it is merged with, topmost first.
struct Level {
    new: OwnedFd,
    old: Vec<OwnedFd>,
}

struct Compare {
    ownership: Ownership,
    path: Vec<u8>,
    out: Vec<Change>,
}

/// What is at a name below.
struct Old {
    stat: Stat,
    /// Of a directory: it, and those that it is merged with.
    merged: Vec<OwnedFd>,
    /// Of a file: the layer's directory that it is in.
    layer: Option<usize>,
}

impl Compare {
    fn shown(&self) -> PathBuf {
        use std::os::unix::ffi::OsStrExt;
        std::ffi::OsStr::from_bytes(&self.path).into()
    }

    /// Compares what is in a directory. Deep trees are refused rather than recursed into without end.
    fn directory(&mut self, level: Level, depth: usize) -> Result<()> {
        if depth > DEPTH_MAX {
            return Err(Error::from_errno("compare", &self.path, Errno::NAMETOOLONG));
        }
        let length = self.path.len();
        let names = self.names(&level.new)?;
        let mut gone = Vec::new();
        for name in &names {
            self.path.truncate(length);
            self.path.push(b'/');
            self.path.extend_from_slice(name.to_bytes());
            let stat = match rustix::fs::statat(&level.new, name, AtFlags::SYMLINK_NOFOLLOW) {
                // It vanished while this looked.
                Err(Errno::NOENT) => continue,
                found => found.at("examine", self.shown())?,
            };
            let old = self.old(&level.old, name)?;
            if is_whiteout(&stat) {
                if old.is_some() {
                    gone.push(self.path.clone());
                }
                continue;
            }
            self.compare(&level, name, &stat, old, depth)?;
        }
        self.path.truncate(length);
        if self.is_opaque(level.new.as_fd())? {
            self.hidden(&level, &names, &mut gone)?;
        }
        gone.sort_unstable();
        let deleted = |path| Change {
            kind: Kind::Deleted,
            path,
        };
        self.out.extend(gone.into_iter().map(deleted));
        Ok(())
    }

    /// What an opaque directory hides of those below it.
    fn hidden(&mut self, level: &Level, names: &[CString], gone: &mut Vec<Vec<u8>>) -> Result<()> {
        let mut below: Vec<CString> = Vec::new();
        for old in &level.old {
            below.extend(self.names(old)?);
        }
        below.sort_unstable();
        below.dedup();
        for name in below {
            // One that has the same name was compared with it; a whiteout beside it was seen, too.
            if names.binary_search(&name).is_err() && self.old(&level.old, &name)?.is_some() {
                gone.push([&self.path[..], b"/", name.to_bytes()].concat());
            }
        }
        Ok(())
    }

    fn compare(&mut self, level: &Level, name: &CStr, stat: &Stat, old: Option<Old>, depth: usize) -> Result<()> {
        let before = self.out.len();
        let kind = match &old {
            None => Some(Kind::Added),
            Some(old) if differs(stat, &old.stat) || self.other_capability(level, name, stat, old)? => {
                Some(Kind::Modified)
            }
            Some(_) => None,
        };
        if let Some(kind) = kind {
            let path = self.path.clone();
            self.out.push(Change { kind, path });
        }
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Ok(());
        }
        let new = match rustix::fs::openat(&level.new, name, DIRECTORY, Mode::empty()) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
            opened => opened.at("open", self.shown())?,
        };
        let old = old.map(|old| old.merged).unwrap_or_default();
        let length = self.path.len();
        self.directory(Level { new, old }, depth + 1)?;
        self.path.truncate(length);
        if kind.is_none() && self.out.len() > before {
            let path = self.path.clone();
            self.out.insert(
                before,
                Change {
                    kind: Kind::Modified,
                    path,
                },
            );
        }
        Ok(())
    }

    /// Finds a name in the layers below, as overlayfs would.
    fn old(&self, layers: &[OwnedFd], name: &CStr) -> Result<Option<Old>> {
        let mut found: Option<Old> = None;
        for (at, layer) in layers.iter().enumerate() {
            let stat = match rustix::fs::statat(layer, name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                stat => stat.at("examine", self.shown())?,
            };
            let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            if is_whiteout(&stat) || (found.is_some() && !is_directory) {
                break;
            }
            let old = found.get_or_insert(Old {
                stat,
                merged: Vec::new(),
                layer: Some(at),
            });
            if !is_directory {
                break;
            }
            let dir = rustix::fs::openat(layer, name, DIRECTORY, Mode::empty()).at("open", self.shown())?;
            let opaque = self.is_opaque(dir.as_fd())?;
            old.merged.push(dir);
            if opaque {
                break;
            }
        }
        Ok(found)
    }

    /// Whether a file has other capabilities than it had; all else of it is the same.
    fn other_capability(&self, level: &Level, name: &CStr, stat: &Stat, old: &Old) -> Result<bool> {
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(false);
        }
        let Some(layer) = old.layer.and_then(|at| level.old.get(at)) else {
            return Ok(false);
        };
        Ok(self.capability(level.new.as_fd(), name)? != self.capability(layer.as_fd(), name)?)
    }

    fn capability(&self, dir: BorrowedFd<'_>, name: &CStr) -> Result<Vec<u8>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(dir, name, flags, Mode::empty()) {
            // Gone, or something else by now.
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO | Errno::ACCESS) => return Ok(Vec::new()),
            opened => opened.at("open", self.shown())?,
        };
        let mut value = vec![0; 256];
        match rustix::fs::fgetxattr(&file, "security.capability", &mut value[..]) {
            Ok(length) => value.truncate(length),
            Err(_) => value.clear(),
        }
        Ok(value)
    }

    fn names(&self, dir: &OwnedFd) -> Result<Vec<CString>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(dir).at("list", self.shown())? {
            let entry = entry.at("list", self.shown())?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                names.push(entry.file_name().to_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn is_opaque(&self, dir: BorrowedFd<'_>) -> Result<bool> {
        let mut value = [0u8; 4];
        match rustix::fs::fgetxattr(dir, self.ownership.opaque_xattr(), &mut value[..]) {
            Ok(length) => Ok(&value[..length] == b"y"),
            Err(Errno::NODATA | Errno::NOTSUP | Errno::RANGE | Errno::PERM) => Ok(false),
            Err(errno) => Err(errno).at("read the extended attributes of", self.shown()),
        }
    }
}

fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// Whether Docker calls this a change.
fn differs(new: &Stat, old: &Stat) -> bool {
    if (new.st_mode, new.st_uid, new.st_gid, new.st_rdev) != (old.st_mode, old.st_uid, old.st_gid, old.st_rdev) {
        return true;
    }
    // An archive may have cut a time to seconds.
    let same_time = new.st_mtime == old.st_mtime
        && (new.st_mtime_nsec == old.st_mtime_nsec || new.st_mtime_nsec == 0 || old.st_mtime_nsec == 0);
    FileType::from_raw_mode(new.st_mode) != FileType::Directory && (!same_time || new.st_size != old.st_size)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn lines(upper: &Path, lower: &[PathBuf]) -> Vec<String> {
        let changes = changes(upper, lower, Ownership::Host).unwrap();
        let line = |change: Change| {
            let letter = match change.kind {
                Kind::Modified => 'C',
                Kind::Added => 'A',
                Kind::Deleted => 'D',
            };
            format!("{letter} {}", String::from_utf8(change.path).unwrap())
        };
        changes.into_iter().map(line).collect()
    }

    fn put(path: PathBuf, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn like(from: &Path, to: &Path) {
        let time = fs::metadata(from).unwrap().modified().unwrap();
        fs::File::options()
            .write(true)
            .open(to)
            .unwrap()
            .set_modified(time)
            .unwrap();
    }

    #[test]
    fn changes_are_told_apart() {
        let temp = tempfile::tempdir().unwrap();
        let dir = |name: &str| temp.path().join(name);
        put(dir("low/etc/passwd"), "old");
        put(dir("low/etc/same"), "same");
        put(dir("low/keep/deep/file"), "");
        put(dir("mid/etc/shadow"), "old");
        put(dir("up/etc/passwd"), "longer");
        put(dir("up/etc/same"), "same");
        put(dir("up/etc/shadow"), "new");
        put(dir("up/etc/new/file"), "");
        put(dir("up/a.txt"), "");
        put(dir("up/keep/deep/new"), "");
        fs::create_dir_all(dir("up/keep/untouched")).unwrap();
        fs::create_dir_all(dir("low/keep/untouched")).unwrap();
        like(&dir("low/etc/same"), &dir("up/etc/same"));
        let expected = [
            "A /a.txt",
            "C /etc",
            "A /etc/new",
            "A /etc/new/file",
            "C /etc/passwd",
            "C /etc/shadow",
            "C /keep",
            "C /keep/deep",
            "A /keep/deep/new",
        ];
        assert_eq!(lines(&dir("up"), &[dir("mid"), dir("low")]), expected);
    }

    #[test]
    fn a_changed_kind_is_a_change() {
        let temp = tempfile::tempdir().unwrap();
        let dir = |name: &str| temp.path().join(name);
        put(dir("low/was-dir/file"), "");
        put(dir("low/was-file"), "");
        put(dir("up/was-dir"), "");
        put(dir("up/was-file/in"), "");
        let expected = ["C /was-dir", "C /was-file", "A /was-file/in"];
        assert_eq!(lines(&dir("up"), &[dir("low")]), expected);
    }

    #[test]
    fn privileged_overlays_marks_are_deletions() {
        if !hull_testkit::require_root() {
            return;
        }
        let temp = tempfile::tempdir().unwrap();
        let dir = |name: &str| temp.path().join(name);
        let whiteout = |path: PathBuf| {
            rustix::fs::mknodat(rustix::fs::CWD, path, FileType::CharacterDevice, Mode::empty(), 0).unwrap();
        };
        put(dir("low/d/a"), "");
        put(dir("low/d/b"), "");
        put(dir("low/d/again"), "");
        put(dir("mid/d/c"), "");
        whiteout(dir("mid/d/b"));
        put(dir("low/gone"), "");
        put(dir("up/d/new"), "");
        put(dir("up/d/again"), "longer");
        whiteout(dir("up/gone"));
        whiteout(dir("up/never-was"));
        let opaque = fs::File::open(dir("up/d")).unwrap();
        rustix::fs::fsetxattr(&opaque, "trusted.overlay.opaque", b"y", rustix::fs::XattrFlags::empty()).unwrap();
        let expected = ["C /d", "C /d/again", "A /d/new", "D /d/a", "D /d/c", "D /gone"];
        assert_eq!(lines(&dir("up"), &[dir("mid"), dir("low")]), expected);
    }
}
