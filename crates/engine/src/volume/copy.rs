//! Copies a folder of an image into a new volume.
//!
//! The image was made by a stranger: it is looked at through a read-only overlay that is mounted nowhere, each name
//! is opened beneath the descriptor of its folder, and no symbolic link is followed.

use std::collections::HashMap;
use std::ffi::{CStr, OsStr};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use hull_spec::Digest;
use hull_store::{Access, snapshot};
use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, ResolveFlags, Timestamps};
use rustix::io::Errno;

use crate::{Engine, Error, Result};

/// Bytes that are read of a file of the image's.
const FILE_MAX: u64 = 1 << 20;

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOFOLLOW);

/// Where the files of a new volume are, on the host.
#[derive(Debug)]
pub(crate) enum Target<'a> {
    /// A folder of the volume's own, `DATA/volumes/NAME`, with `_data` in it.
    Own(&'a Path),
    /// A folder anywhere, or the root of a mount.
    Other(OwnedFd),
}

/// Copies what the image has at `path` into a volume that is still empty: files with their owners, modes, times and
/// attributes, and the folder's own. `beneath` is the part of the volume that is meant, or empty.
///
/// A copy that was killed half-way leaves a mark in a volume of our own, and the next one goes on with it.
pub(crate) fn copy_up(engine: &Engine, layers: &[Digest], path: &str, to: &Target<'_>, beneath: &str) -> Result<()> {
    let shown = match to {
        Target::Own(folder) => folder.join("_data"),
        Target::Other(_) => PathBuf::from(path),
    };
    let at = |source: io::Error| Error::Write {
        path: shown.clone(),
        source,
    };
    let (root, mark) = match to {
        Target::Own(folder) => {
            let data = rustix::fs::open(folder.join("_data"), FOLDER, Mode::empty());
            (data.map_err(|e| at(e.into()))?, Some(folder.join("copying")))
        }
        Target::Other(root) => {
            let root = rustix::fs::openat(root, ".", FOLDER, Mode::empty());
            (root.map_err(|e| at(e.into()))?, None)
        }
    };
    let to = match open_beneath(&root, beneath) {
        Ok(to) => to,
        // There is nothing to copy to, or it leads out of the volume: the start tells.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::XDEV | Errno::LOOP) => return Ok(()),
        Err(errno) => return Err(at(errno.into())),
    };
    // One copy at a time; who waits finds the volume filled.
    let lock = rustix::io::retry_on_intr(|| rustix::fs::flock(&root, FlockOperation::LockExclusive));
    lock.map_err(|e| at(e.into()))?;
    let half = mark.as_ref().is_some_and(|mark| mark.exists());
    if !half && !is_empty(&to).map_err(at)? {
        return Ok(());
    }
    let store = engine.store(Access::Read)?;
    let lower = snapshot::lower(store, layers);
    let Some(from) = image_folder(&lower, path, engine.rootless).map_err(at)? else {
        return Ok(());
    };
    if let Some(mark) = &mark {
        std::fs::write(mark, "").map_err(at)?;
    }
    folder(&from, &to).map_err(at)?;
    if let Some(mark) = &mark {
        std::fs::remove_file(mark).map_err(at)?;
    }
    Ok(())
}

/// Copies all files of an image, given by its layers (topmost first), into a folder.
///
/// # Errors
/// What cannot be read or written.
pub(crate) fn copy_image(lower: &[PathBuf], to: &Path, user_xattr: bool) -> io::Result<()> {
    let Some(from) = image_folder(lower, "/", user_xattr)? else {
        return Ok(());
    };
    let to = rustix::fs::open(to, FOLDER, Mode::empty())?;
    folder(&from, &to)
}

fn open_beneath(root: &OwnedFd, path: &str) -> rustix::io::Result<OwnedFd> {
    let path = if path.is_empty() { "." } else { path };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)
}

fn is_empty(folder: &OwnedFd) -> io::Result<bool> {
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        if entry.file_name() != c"." && entry.file_name() != c".." {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The folder at `path` in the stack of `lower` layers (topmost first); `None` where the image has no folder there.
fn image_folder(lower: &[PathBuf], path: &str, user_xattr: bool) -> io::Result<Option<OwnedFd>> {
    let root = view(lower, user_xattr)?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve) {
        Ok(from) => Ok(Some(from)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// A text file of the image; empty where it has none.
///
/// # Errors
/// If the image's layers cannot be read.
pub(crate) fn image_file(engine: &Engine, layers: &[Digest], path: &str) -> Result<String> {
    let store = engine.store(Access::Read)?;
    let lower = snapshot::lower(store, layers);
    let at = |source| Error::Read {
        path: path.into(),
        source,
    };
    let root = view(&lower, engine.rootless).map_err(at)?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    // A pipe in the file's place must not keep us.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = match rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve) {
        Ok(file) => std::fs::File::from(file),
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(String::new()),
        Err(e) => return Err(at(e.into())),
    };
    let mut bytes = Vec::new();
    file.take(FILE_MAX).read_to_end(&mut bytes).map_err(at)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The image's file tree, read-only.
fn view(lower: &[PathBuf], user_xattr: bool) -> io::Result<OwnedFd> {
    hull_runtime::mount::layers(lower, user_xattr).map_err(io::Error::other)
}

/// What is copied of files with several names: where the first of them is in the copy, by the image's file.
type Links = HashMap<(u64, u64), (PathBuf, u64)>;

fn folder(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    let mut links = Links::new();
    // A list of folders still to be copied, so that a deep tree does not use up the stack.
    let mut todo = vec![(
        rustix::io::fcntl_dupfd_cloexec(from, 3)?,
        rustix::io::fcntl_dupfd_cloexec(to, 3)?,
        PathBuf::new(),
    )];
    while let Some((from, into, path)) = todo.pop() {
        for entry in Dir::read_from(&from)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let stat = rustix::fs::statat(&from, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                match rustix::fs::mkdirat(&into, name, Mode::RWXU) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(e) => return Err(e.into()),
                }
                todo.push((
                    rustix::fs::openat(&from, name, FOLDER, Mode::empty())?,
                    rustix::fs::openat(&into, name, FOLDER, Mode::empty())?,
                    path.join(OsStr::from_bytes(name.to_bytes())),
                ));
                continue;
            }
            // Left by a copy that was killed: its end may be missing.
            match rustix::fs::unlinkat(&into, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(e) => return Err(e.into()),
            }
            let path = path.join(OsStr::from_bytes(name.to_bytes()));
            let place = Place {
                root: to,
                folder: &into,
                path,
            };
            file(&from, name, &stat, &place, &mut links)?;
        }
        let stat = rustix::fs::fstat(&from)?;
        finish(&from, &into, &stat)?;
    }
    Ok(())
}

/// Where a copy goes.
struct Place<'a> {
    /// The root of what is copied to.
    root: &'a OwnedFd,
    folder: &'a OwnedFd,
    /// From the root.
    path: PathBuf,
}

fn file(from: &OwnedFd, name: &CStr, stat: &rustix::fs::Stat, to: &Place<'_>, links: &mut Links) -> io::Result<()> {
    let (uid, gid) = owner(stat);
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(from, name, Vec::new())?;
            rustix::fs::symlinkat(target, to.folder, name)?;
            rustix::fs::chownat(to.folder, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        FileType::Fifo => {
            rustix::fs::mknodat(to.folder, name, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let source = rustix::fs::openat(from, name, flags, Mode::empty())?;
            let copy = rustix::fs::openat(to.folder, name, flags, Mode::empty())?;
            finish(&source, &copy, stat)?;
        }
        FileType::RegularFile => {
            let key = (stat.st_dev, stat.st_ino);
            if stat.st_nlink > 1
                && let Some((first, inode)) = links.get(&key)
                && link(to, first, *inode, name)?
            {
                return Ok(());
            }
            let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let source = rustix::fs::openat(from, name, flags, Mode::empty())?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let copy = rustix::fs::openat(to.folder, name, flags, Mode::RUSR | Mode::WUSR)?;
            let copy = std::fs::File::from(copy);
            let mut source = std::fs::File::from(source);
            io::copy(&mut source, &mut &copy)?;
            finish(&source, &copy, stat)?;
            if stat.st_nlink > 1 {
                links.insert(key, (to.path.clone(), rustix::fs::fstat(&copy)?.st_ino));
            }
        }
        // Devices and sockets stay behind: who runs in the container need not be let at the host's devices by a volume.
        _ => {}
    }
    Ok(())
}

/// Gives the file at `first` in the copy, if it still is file `inode`, another name. A container that has the volume
/// already may have put anything on the way: nothing outside of the copy is ever linked.
fn link(to: &Place<'_>, first: &Path, inode: u64, name: &CStr) -> io::Result<bool> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let Ok(file) = rustix::fs::openat2(to.root, first, flags, Mode::empty(), resolve) else {
        return Ok(false);
    };
    if rustix::fs::fstat(&file)?.st_ino != inode {
        return Ok(false);
    }
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    match rustix::fs::linkat(rustix::fs::CWD, path, to.folder, name, AtFlags::SYMLINK_FOLLOW) {
        Ok(()) => Ok(true),
        Err(Errno::MLINK | Errno::PERM | Errno::XDEV) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

fn owner(stat: &rustix::fs::Stat) -> (Option<rustix::fs::Uid>, Option<rustix::fs::Gid>) {
    (
        Some(rustix::fs::Uid::from_raw(stat.st_uid)),
        Some(rustix::fs::Gid::from_raw(stat.st_gid)),
    )
}

/// Owner, attributes, mode and times of a file or folder.
fn finish(from: &impl AsFd, to: &impl AsFd, stat: &rustix::fs::Stat) -> io::Result<()> {
    let (uid, gid) = owner(stat);
    rustix::fs::fchown(to, uid, gid)?;
    attributes(from, to)?;
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    let time = |sec, nsec| rustix::fs::Timespec {
        tv_sec: sec,
        tv_nsec: nsec as _,
    };
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    };
    rustix::fs::futimens(to, &times)?;
    Ok(())
}

fn attributes(from: &impl AsFd, to: &impl AsFd) -> io::Result<()> {
    let mut names = vec![0u8; 64 << 10];
    let length = match rustix::fs::flistxattr(from, &mut names[..]) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(e) => return Err(e.into()),
    };
    for name in names[..length].split(|b| *b == 0).filter(|n| !n.is_empty()) {
        // Overlay's own marks mean nothing outside of it.
        if name.starts_with(b"trusted.") || name.starts_with(b"user.overlay.") {
            continue;
        }
        let mut value = vec![0u8; 64 << 10];
        let length = rustix::fs::fgetxattr(from, name, &mut value[..])?;
        match rustix::fs::fsetxattr(to, name, &value[..length], rustix::fs::XattrFlags::empty()) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::PERM) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}
