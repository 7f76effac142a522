//! Owners, modes, extended attributes and times.
//!
//! Their order matters: a new owner clears the set-ID bits and file capabilities, a change of anything touches times.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::{AtFlags, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::{Act, Error, Extract, Made, Ownership, Refusal, Result};
use crate::ingest::spool::Record;
use crate::tar::{Entry, Kind, Time};

const OWNER: &str = "change the owner of";
const MODE: &str = "change the mode of";
const TIMES: &str = "set the times of";

type Owner = (u32, u32);

impl Extract<'_> {
    /// The entry's owner as it can be given here.
    pub(super) fn owner(&self, entry: &Entry) -> Made<Owner> {
        self.give(entry.uid, entry.gid)
    }

    fn give(&self, uid: u32, gid: u32) -> Made<Owner> {
        self.owners
            .give(uid, gid)
            .map_err(|(what, id)| Refusal::Unmapped(what, id))
    }

    /// Everything about a file that was just made and is still open.
    pub(super) fn finish_file(&self, file: &OwnedFd, entry: &Entry, owner: Owner) -> Made {
        let changed = owner != self.owners.default;
        if changed {
            rustix::fs::fchown(file, Some(Uid::from_raw(owner.0)), Some(Gid::from_raw(owner.1))).act(OWNER)?;
        }
        for (name, value) in &entry.xattrs {
            self.xattr(name, |name| {
                rustix::fs::fsetxattr(file, name, value, XattrFlags::empty())
            })?;
        }
        if entry.mode & (self.umask | 0o7000) != 0 || entry.xattrs.iter().any(|(n, _)| is_acl(n)) {
            rustix::fs::fchmod(file, Mode::from_raw_mode(entry.mode)).act(MODE)?;
        }
        rustix::fs::futimens(file, &times(entry.mtime)).act(TIMES)
    }

    /// Everything about a link or a device in the present directory.
    pub(super) fn finish_name(&self, name: &[u8], entry: &Entry) -> Made {
        let owner = self.owner(entry)?;
        let dir = self.dir();
        if owner != self.owners.default {
            let (user, group) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
            rustix::fs::chownat(dir, name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW).act(OWNER)?;
        }
        if !entry.xattrs.is_empty() {
            // There is no `setxattrat` before Linux 6.13. The directory's own link in /proc cannot be exchanged, and
            // the last part of the path is not followed.
            let mut path = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()));
            path.push(std::ffi::OsStr::from_bytes(name));
            for (name, value) in &entry.xattrs {
                self.xattr(name, |name| {
                    rustix::fs::lsetxattr(&path, name, value, XattrFlags::empty())
                })?;
            }
        }
        if entry.kind != Kind::Symlink && entry.mode & (self.umask | 0o7000) != 0 {
            rustix::fs::chmodat(dir, name, Mode::from_raw_mode(entry.mode), AtFlags::empty()).act(MODE)?;
        }
        rustix::fs::utimensat(dir, name, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW).act(TIMES)
    }

    /// Sets an attribute of those that an image may set. What the file system cannot hold is left out, as in Docker.
    fn xattr(&self, name: &[u8], set: impl FnOnce(&[u8]) -> Result<(), Errno>) -> Made {
        if !is_portable(name) {
            return Ok(());
        }
        match set(name) {
            Err(Errno::NOTSUP) => Ok(()),
            Err(Errno::PERM) if self.ownership == Ownership::UserNamespace => Ok(()),
            Err(Errno::INVAL | Errno::RANGE | Errno::TOOBIG) => Err(Refusal::Archive(format!(
                "its extended attribute `{}` is malformed",
                String::from_utf8_lossy(name)
            ))),
            set => set.act("set an extended attribute of"),
        }
    }

    /// The top directory's attributes where no entry gives them.
    pub(super) fn root_defaults(&mut self, entry: &mut Entry) -> Made {
        *entry = Entry {
            mode: 0o755,
            kind: Kind::Directory,
            ..Entry::default()
        };
        self.defer(b"", entry)
    }

    /// Keeps a directory's attributes for the end.
    pub(super) fn defer(&mut self, path: &[u8], entry: &Entry) -> Made {
        self.owner(entry)?;
        self.directories
            .push(self.root.as_fd(), path, entry)
            .map_err(|error| Refusal::Act("keep the attributes of", super::errno(&error)))
    }

    /// Gives the directories their attributes, now that nothing in them changes any more.
    pub(super) fn finish(&mut self) -> Result<()> {
        let directories = std::mem::take(&mut self.directories);
        directories
            .drain(|record| match self.finish_directory(record) {
                Ok(()) => Ok(()),
                Err(refusal) => Err(Failure::Entry(self.error(refusal, &record.path))),
            })
            .map_err(|failure| match failure {
                Failure::Entry(error) => error,
                Failure::Spool(error) => self.error(Refusal::Act("read the attributes of", super::errno(&error)), b"."),
            })
    }

    fn finish_directory(&self, record: &Record) -> Made {
        let path = if record.path.is_empty() { b"." } else { &record.path[..] };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let opened = rustix::io::retry_on_intr(|| rustix::fs::openat2(&self.root, path, flags, Mode::empty(), resolve));
        let dir = match opened {
            // A later entry replaced it or one above it.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
            opened => opened.act("open")?,
        };
        let owner = self.give(record.uid, record.gid)?;
        if owner != self.owners.default {
            rustix::fs::fchown(&dir, Some(Uid::from_raw(owner.0)), Some(Gid::from_raw(owner.1))).act(OWNER)?;
        }
        for (name, value) in &record.xattrs {
            self.xattr(name, |name| {
                rustix::fs::fsetxattr(&dir, name, value, XattrFlags::empty())
            })?;
        }
        rustix::fs::fchmod(&dir, Mode::from_raw_mode(record.mode)).act(MODE)?;
        rustix::fs::futimens(&dir, &times(record.mtime)).act(TIMES)
    }
}

enum Failure {
    Entry(Error),
    Spool(std::io::Error),
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Spool(error)
    }
}

/// Which attributes an image may set. Not those that steer overlayfs (a `redirect` would let a layer pull in what it
/// does not hold), the trusted ones in general, or the host's own labels and measurements.
pub(crate) fn is_portable(name: &[u8]) -> bool {
    if name.starts_with(b"user.overlay.") {
        return false;
    }
    name.starts_with(b"user.") || name == b"security.capability" || is_acl(name)
}

fn is_acl(name: &[u8]) -> bool {
    name.starts_with(b"system.posix_acl_")
}

fn times(mtime: Time) -> Timestamps {
    let time = Timespec {
        tv_sec: mtime.seconds,
        tv_nsec: i64::from(mtime.nanos) as _,
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_sets_no_attribute_of_the_hosts() {
        for (name, allowed) in [
            ("user.mime", true),
            ("security.capability", true),
            ("system.posix_acl_access", true),
            ("user.overlay.opaque", false),
            ("user.overlay.redirect", false),
            ("trusted.overlay.redirect", false),
            ("trusted.anything", false),
            ("security.selinux", false),
            ("security.ima", false),
            ("nonsense", false),
        ] {
            assert_eq!(is_portable(name.as_bytes()), allowed, "{name}");
        }
    }
}
