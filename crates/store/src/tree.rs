//! Removing directory trees that strangers made.
//!
//! Depth costs neither stack nor descriptors: below a certain depth a directory is moved up to the top of the tree
//! first and removed from there. Nothing is named by a long path, and no link is followed.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::Store;
use crate::error::{At, Error, Result};

const DEPTH: usize = 32;

/// Removes the tree at `path`, however deep it is and whatever its directories' modes are, without following a link.
/// A tree that is not there is fine, and so is another process that removes it too.
///
/// # Errors
/// If something in it cannot be removed.
pub fn remove(path: &Path) -> Result<()> {
    remove_at(rustix::fs::CWD, path)
}

/// Removes the tree `path`, relative to `dir`.
pub(crate) fn remove_at(dir: BorrowedFd<'_>, path: &Path) -> Result<()> {
    match unlink_tree(dir, path) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno).at("remove", path),
    }
}

/// Takes a tree out of sight at once, then removes it. What a kill leaves of it lies in `trash`, for the next writer.
pub(crate) fn discard(store: &Store, path: &Path) -> Result<()> {
    match bin(store, path)? {
        Some(binned) => remove(&binned),
        None => Ok(()),
    }
}

/// Moves a tree to the trash. `None` if it is not there.
pub(crate) fn bin(store: &Store, path: &Path) -> Result<Option<PathBuf>> {
    let name = path.file_name().unwrap_or(OsStr::new("tree")).to_string_lossy();
    for attempt in 0u32.. {
        let target = store
            .dir("trash")
            .join(format!("{name}.{}.{attempt}", std::process::id()));
        let flags = rustix::fs::RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(rustix::fs::CWD, path, rustix::fs::CWD, &target, flags) {
            Ok(()) => return Ok(Some(target)),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno).at("move to the trash", path),
        }
    }
    Err(Error::Io {
        act: "move to the trash",
        path: path.to_owned(),
        source: std::io::ErrorKind::AlreadyExists.into(),
    })
}

/// A directory whose content is being removed.
struct Level {
    dir: Dir,
    name: CString,
}

fn unlink_tree(parent: BorrowedFd<'_>, path: &Path) -> rustix::io::Result<()> {
    match rustix::fs::unlinkat(parent, path, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => {}
        done => return done,
    }
    let top = open(parent, path)?;
    // Another process may be removing the tree too, and move what is deep in it up to its top: look until all is gone.
    loop {
        while !is_empty(&top)? {
            empty(&top)?;
        }
        match rustix::fs::unlinkat(parent, path, AtFlags::REMOVEDIR) {
            Err(Errno::NOTEMPTY) => {}
            done => return done,
        }
    }
}

/// Removes all that is in `top`, but for what is found too deep, which is moved up into `top`.
fn empty(top: &OwnedFd) -> rustix::io::Result<()> {
    let mut moved = 0u64;
    let mut stack = vec![Level {
        dir: Dir::read_from(top)?,
        name: CString::default(),
    }];
    loop {
        let depth = stack.len();
        let Some(level) = stack.last_mut() else { return Ok(()) };
        let Some(entry) = level.dir.next() else {
            let Some(done) = stack.pop() else { return Ok(()) };
            if let Some(above) = stack.last() {
                match rustix::fs::unlinkat(above.dir.fd()?, &done.name, AtFlags::REMOVEDIR) {
                    // Something appeared or was skipped while its directory was read: the next look finds it.
                    Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY) => {}
                    Err(errno) => return Err(errno),
                }
            }
            continue;
        };
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let dir = level.dir.fd()?;
        if entry.file_type() != FileType::Directory {
            match unlink(dir, name) {
                Ok(()) | Err(Errno::NOENT) => continue,
                Err(Errno::ISDIR) => {}
                Err(errno) => return Err(errno),
            }
        }
        if depth >= DEPTH {
            moved += 1;
            raise(dir, name, top, moved)?;
            continue;
        }
        match open(dir, name) {
            Ok(below) => stack.push(Level {
                dir: Dir::new(below)?,
                name: name.to_owned(),
            }),
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
}

fn is_empty(dir: &OwnedFd) -> rustix::io::Result<bool> {
    for entry in Dir::read_from(dir)? {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Opens a directory for reading, making it readable first if need be.
fn open<P: rustix::path::Arg + Copy>(parent: BorrowedFd<'_>, name: P) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(parent, name, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            // Only its own owner comes here: root is not asked. There is no link in its place: it said `ACCESS`.
            rustix::fs::chmodat(parent, name, Mode::RWXU, AtFlags::empty())?;
            rustix::fs::openat(parent, name, flags, Mode::empty())
        }
        Ok(dir) => {
            // What is in it can be removed only if it may be written.
            if rustix::fs::accessat(
                dir.as_fd(),
                c".",
                rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK,
                AtFlags::EACCESS,
            )
            .is_err()
            {
                rustix::fs::fchmod(&dir, Mode::RWXU)?;
            }
            Ok(dir)
        }
        opened => opened,
    }
}

fn unlink(dir: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<()> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        // POSIX's word for a directory.
        Err(Errno::PERM) if is_directory(dir, name) => Err(Errno::ISDIR),
        done => done,
    }
}

fn is_directory(dir: BorrowedFd<'_>, name: &CStr) -> bool {
    rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// Moves a directory up into `top`, under a name that is free there.
fn raise(dir: BorrowedFd<'_>, name: &CStr, top: &OwnedFd, number: u64) -> rustix::io::Result<()> {
    for attempt in 0u32.. {
        let target = format!(".deep-{}-{number}-{attempt}", std::process::id());
        let flags = rustix::fs::RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(dir, name, top, OsStr::from_bytes(target.as_bytes()), flags) {
            Err(Errno::EXIST) => {}
            Err(Errno::ACCESS) => {
                rustix::fs::chmodat(dir, name, Mode::RWXU, AtFlags::empty())?;
            }
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::EXIST)
}
