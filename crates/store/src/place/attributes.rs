//! Owners, modes, extended attributes and times. A new owner clears the set-ID bits and capabilities, so it comes first.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::{Place, chown};
use crate::Ownership;
use crate::error::{At, Result};
use crate::ingest::is_portable;
use crate::tar::{Entry, Kind, Time};

impl Place<'_> {
    pub(super) fn finish_file(&self, path: &[u8], file: &OwnedFd, entry: &Entry) -> Result<()> {
        let shown = || self.shown(path);
        if let Some(owner) = self.owner(path, entry.uid, entry.gid)? {
            chown(file, owner).at("change the owner of", shown())?;
        }
        self.set_xattrs(path, file, &entry.xattrs)?;
        rustix::fs::fchmod(file, Mode::from_raw_mode(entry.mode)).at("change the mode of", shown())?;
        rustix::fs::futimens(file, &times(entry.mtime)).at("set the times of", shown())
    }

    /// The same for what cannot be opened: links, devices and pipes. Never followed.
    pub(super) fn finish_name(&self, path: &[u8], name: &[u8], entry: &Entry) -> Result<()> {
        let shown = || self.shown(path);
        let dir = self.dir()?;
        if let Some((uid, gid)) = self.owner(path, entry.uid, entry.gid)? {
            let (user, group) = (Uid::from_raw(uid), Gid::from_raw(gid));
            rustix::fs::chownat(dir, name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)
                .at("change the owner of", shown())?;
        }
        if entry.kind != Kind::Symlink {
            // `chmodat` would follow a link that has come in its place meanwhile; this descriptor cannot.
            let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::CLOEXEC;
            let node = rustix::fs::openat(dir, name, flags, Mode::empty()).at("open", shown())?;
            let stat = rustix::fs::fstat(&node).at("examine", shown())?;
            if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::Symlink {
                let own = PathBuf::from(format!("/proc/self/fd/{}", node.as_raw_fd()));
                rustix::fs::chmod(&own, Mode::from_raw_mode(entry.mode)).at("change the mode of", shown())?;
            }
        }
        rustix::fs::utimensat(dir, name, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW).at("set the times of", shown())
    }

    /// Sets the attributes that mean the same everywhere. What the file system cannot hold is left out, as in Docker.
    pub(super) fn set_xattrs(&self, path: &[u8], file: &OwnedFd, xattrs: &[(Vec<u8>, Vec<u8>)]) -> Result<()> {
        for (name, value) in xattrs.iter().filter(|(name, _)| is_portable(name)) {
            match rustix::fs::fsetxattr(file, std::ffi::OsStr::from_bytes(name), value, XattrFlags::empty()) {
                Ok(()) | Err(Errno::NOTSUP) => {}
                Err(Errno::PERM) if self.target.ownership == Ownership::UserNamespace => {}
                Err(errno) => return Err(errno).at("set an extended attribute of", self.shown(path)),
            }
        }
        Ok(())
    }
}

pub(super) fn times(mtime: Time) -> Timestamps {
    let time = Timespec {
        tv_sec: mtime.seconds,
        tv_nsec: i64::from(mtime.nanos) as _,
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}
