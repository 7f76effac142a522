//! Copies a folder of an image into a new volume.
//!
//! The image was made by a stranger: it is looked at through a read-only overlay that is mounted nowhere, each name
//! is opened beneath the descriptor of its folder, and no symbolic link is followed.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Timestamps};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
};

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOFOLLOW);

/// Copies what is at `path` in the stack of `lower` layers (topmost first) into the folder `to`. Nothing where the image
/// has no folder there.
pub(super) fn from_image(lower: &[PathBuf], path: &str, to: &Path, user_xattr: bool) -> io::Result<()> {
    let root = view(lower, user_xattr)?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let from = match rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve) {
        Ok(from) => from,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        Err(e) => return Err(e.into()),
    };
    let to = rustix::fs::open(to, FOLDER, Mode::empty())?;
    folder(&from, &to)
}

/// The image's file tree, read-only. A single layer is its own view: overlayfs wants two.
fn view(lower: &[PathBuf], user_xattr: bool) -> io::Result<OwnedFd> {
    if let [one] = lower {
        return Ok(rustix::fs::open(
            one,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?);
    }
    let fs = fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for layer in lower {
        fsconfig_set_string(fs.as_fd(), c"lowerdir+", layer)?;
    }
    if user_xattr {
        fsconfig_set_flag(fs.as_fd(), c"userxattr")?;
    }
    fsconfig_create(fs.as_fd())?;
    Ok(fsmount(
        fs.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::MOUNT_ATTR_RDONLY,
    )?)
}

fn folder(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    // A list of folders still to be copied, so that a deep tree does not use up the stack.
    let mut todo = vec![(
        rustix::io::fcntl_dupfd_cloexec(from, 3)?,
        rustix::io::fcntl_dupfd_cloexec(to, 3)?,
    )];
    while let Some((from, to)) = todo.pop() {
        for entry in Dir::read_from(&from)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let stat = rustix::fs::statat(&from, name, AtFlags::SYMLINK_NOFOLLOW)?;
            let kind = FileType::from_raw_mode(stat.st_mode);
            match kind {
                FileType::Directory => {
                    rustix::fs::mkdirat(&to, name, Mode::RWXU)?;
                    todo.push((
                        rustix::fs::openat(&from, name, FOLDER, Mode::empty())?,
                        rustix::fs::openat(&to, name, FOLDER, Mode::empty())?,
                    ));
                    continue;
                }
                FileType::Symlink => {
                    let target = rustix::fs::readlinkat(&from, name, Vec::new())?;
                    rustix::fs::symlinkat(target, &to, name)?;
                    let (uid, gid) = owner(&stat);
                    rustix::fs::chownat(&to, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
                }
                FileType::RegularFile => {
                    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
                    let source = rustix::fs::openat(&from, name, flags, Mode::empty())?;
                    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
                    let copy = rustix::fs::openat(&to, name, flags, Mode::RUSR | Mode::WUSR)?;
                    let copy = std::fs::File::from(copy);
                    io::copy(
                        &mut std::fs::File::from(rustix::io::fcntl_dupfd_cloexec(&source, 3)?),
                        &mut &copy,
                    )?;
                    finish(&source, &copy, &stat)?;
                }
                // Devices stay behind, as in Docker.
                _ => {}
            }
        }
        let stat = rustix::fs::fstat(&from)?;
        finish(&from, &to, &stat)?;
    }
    Ok(())
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
