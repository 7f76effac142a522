//! Putting entries into a tree that is in use, with Docker's rules: `cp`'s second half.
//!
//! The entries may come from a stranger's archive and the tree may be a running container's, whose processes change it
//! meanwhile. Every directory is opened beneath the tree's own descriptor (`openat2`), no link in the last part of a name
//! is followed, and new names are made with `O_EXCL` and its like: however names are exchanged, nothing outside of the
//! tree is read or written (CVE-2018-15664, CVE-2026-41568, CVE-2026-42306).

use std::ffi::OsStr;
use std::io::BufRead;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::io::Errno;

use crate::Ownership;
use crate::error::{At, Error, Result};
use crate::ingest::owner::Owners;
use crate::ingest::path::{clean, split};
use crate::ingest::spool::{Record, Spool};
use crate::tar::{Entry, Kind};

mod attributes;
mod data;

/// How often a name is made anew that somebody else makes at the same time.
const TRIES: usize = 16;

/// The tree, and where in it.
#[derive(Clone, Copy, Debug)]
pub struct Target<'t> {
    /// The tree's root: a container's, or the directory itself.
    pub root: BorrowedFd<'t>,
    /// The directory that entries go into, from the root, without a leading slash; empty for the root itself.
    pub below: &'t [u8],
    /// What messages call that directory.
    pub shown: &'t [u8],
    /// Whether symbolic links in directories are followed, as the container would follow them. Else they are refused.
    pub links: bool,
    /// Who owns what is made.
    pub owner: Owner,
    /// How owners can be given here.
    pub ownership: Ownership,
}

/// Who owns what is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Whoever the entries name.
    Entries,
    /// This process's user.
    Caller,
    /// This user and group.
    Fixed(u32, u32),
}

/// An entry's data.
pub enum Content<'d> {
    /// None.
    Nothing,
    /// A file's.
    File(BorrowedFd<'d>),
    /// What comes from an archive.
    Stream(&'d mut dyn BufRead),
}

/// Puts entries into a tree.
pub struct Place<'t> {
    target: Target<'t>,
    owners: Owners,
    /// The directory that was used last: its path below the target's, and it.
    parent: Option<(Vec<u8>, OwnedFd)>,
    directories: Spool,
    copier: data::Copier<'t>,
}

impl<'t> Place<'t> {
    /// `copied` counts bytes of files' data while they are written.
    ///
    /// # Errors
    /// If this user namespace's IDs cannot be read.
    pub fn new(target: Target<'t>, copied: &'t AtomicU64) -> Result<Self> {
        Ok(Self {
            owners: Owners::new(target.ownership)?,
            target,
            parent: None,
            directories: Spool::default(),
            copier: data::Copier::new(copied),
        })
    }

    /// Makes one entry.
    ///
    /// # Errors
    /// [`Error::Overwrite`]; an entry that leads out of the target; what the system says.
    pub fn entry(&mut self, entry: &Entry, content: Content<'_>) -> Result<()> {
        let mut path = Vec::new();
        clean(&entry.path, &mut path).map_err(|reason| refuse(entry, reason))?;
        if path.is_empty() {
            // The directory that is there keeps what it is.
            return match entry.kind {
                Kind::Directory => Ok(()),
                _ => Err(refuse(entry, "it is no directory and has no name")),
            };
        }
        let (parent, name) = split(&path);
        self.enter(parent)?;
        match entry.kind {
            Kind::Directory => self.directory(&path, name, entry),
            Kind::Regular => {
                let mut content = content;
                let file = self.make(&path, name, |dir| {
                    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    rustix::fs::openat(dir, name, flags, Mode::RUSR | Mode::WUSR)
                })?;
                self.copier
                    .copy(&mut content, &file, entry)
                    .map_err(|error| error.within(entry, &self.shown(&path)))?;
                self.finish_file(&path, &file, entry)
            }
            Kind::HardLink => self.link(&path, name, entry),
            Kind::Symlink => {
                self.make(&path, name, |dir| rustix::fs::symlinkat(&entry.link[..], dir, name))?;
                self.finish_name(&path, name, entry)
            }
            Kind::Char | Kind::Block | Kind::Fifo => self.node(&path, name, entry),
        }
    }

    /// Gives the directories their times, now that nothing in them changes any more.
    ///
    /// # Errors
    /// What the system says.
    pub fn finish(mut self) -> Result<()> {
        let directories = std::mem::take(&mut self.directories);
        directories
            .drain(|record| self.finish_directory(record).map_err(Late::Entry))
            .map_err(|late| match late {
                Late::Entry(error) => error,
                Late::Spool(source) => Error::Io {
                    act: "read the attributes of what is in",
                    path: self.shown(b""),
                    source,
                },
            })
    }

    /// How messages name what is at `path`.
    fn shown(&self, path: &[u8]) -> PathBuf {
        let mut shown = PathBuf::from(OsStr::from_bytes(self.target.shown));
        shown.push(OsStr::from_bytes(path));
        shown
    }

    fn dir(&self) -> Result<BorrowedFd<'_>> {
        match &self.parent {
            Some((_, dir)) => Ok(dir.as_fd()),
            None => Err(Error::from_errno("open", self.target.shown, Errno::BADF)),
        }
    }

    /// Makes the directory `path` the present one, and makes it at all if it is missing.
    fn enter(&mut self, path: &[u8]) -> Result<()> {
        if self.parent.as_ref().is_some_and(|(present, _)| present == path) {
            return Ok(());
        }
        let dir = match self.open(path) {
            Err(Errno::NOENT) => self.make_directories(path)?,
            opened => opened.at("open", self.shown(path))?,
        };
        self.parent = Some((path.to_owned(), dir));
        Ok(())
    }

    /// Opens a directory.
    fn open(&self, path: &[u8]) -> rustix::io::Result<OwnedFd> {
        let whole = match (self.target.below, path) {
            (b"", b"") => b".".to_vec(),
            (b"", path) => path.to_vec(),
            (below, b"") => below.to_vec(),
            (below, path) => [below, b"/", path].concat(),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = if self.target.links {
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS
        } else {
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS
        };
        loop {
            match rustix::fs::openat2(self.target.root, &whole[..], flags, Mode::empty(), resolve) {
                // A rename somewhere on the machine, while `..` was followed.
                Err(Errno::AGAIN | Errno::INTR) => {}
                opened => return opened,
            }
        }
    }

    /// Makes a directory that no entry has described, and those above it.
    fn make_directories(&self, path: &[u8]) -> Result<OwnedFd> {
        let mut dir = self.open(b"").at("open", self.shown(b""))?;
        let mut at = 0;
        for part in path.split(|&b| b == b'/') {
            at += part.len();
            let here = &path[..at];
            dir = match self.open(here) {
                Err(Errno::NOENT) => {
                    match rustix::fs::mkdirat(&dir, part, Mode::from_raw_mode(0o755)) {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(errno) => return Err(errno).at("create", self.shown(here)),
                    }
                    let made = self.open(here).at("open", self.shown(here))?;
                    if let Owner::Fixed(uid, gid) = self.target.owner {
                        chown(&made, (uid, gid)).at("change the owner of", self.shown(here))?;
                    }
                    rustix::fs::fchmod(&made, Mode::from_raw_mode(0o755)).at("change the mode of", self.shown(here))?;
                    made
                }
                opened => opened.at("open", self.shown(here))?,
            };
            at += 1;
        }
        Ok(dir)
    }

    fn directory(&mut self, path: &[u8], name: &[u8], entry: &Entry) -> Result<()> {
        let mut made = Err(Errno::EXIST);
        for _ in 0..TRIES {
            made = rustix::fs::mkdirat(self.dir()?, name, Mode::RWXU);
            if made != Err(Errno::EXIST) {
                break;
            }
            match self.kind(name) {
                Some(FileType::Directory) => return self.defer(path, entry),
                Some(_) => return Err(self.overwrite(path, false)),
                None => {}
            }
        }
        made.at("create", self.shown(path))?;
        self.defer(path, entry)
    }

    /// Makes a new name, in place of what has it.
    fn make<T>(
        &mut self,
        path: &[u8],
        name: &[u8],
        make: impl Fn(BorrowedFd<'_>) -> rustix::io::Result<T>,
    ) -> Result<T> {
        for _ in 0..TRIES {
            match make(self.dir()?) {
                Err(Errno::EXIST) => {}
                made => return made.at("create", self.shown(path)),
            }
            match self.kind(name) {
                Some(FileType::Directory) => return Err(self.overwrite(path, true)),
                Some(_) => match rustix::fs::unlinkat(self.dir()?, name, AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT | Errno::ISDIR) => {}
                    Err(errno) => return Err(errno).at("replace", self.shown(path)),
                },
                None => {}
            }
        }
        Err(Errno::EXIST).at("create", self.shown(path))
    }

    fn kind(&self, name: &[u8]) -> Option<FileType> {
        let stat = rustix::fs::statat(self.dir().ok()?, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some(FileType::from_raw_mode(stat.st_mode))
    }

    fn overwrite(&self, path: &[u8], directory: bool) -> Error {
        Error::Overwrite {
            path: self.shown(path),
            directory,
            with: PathBuf::from(OsStr::from_bytes(self.target.shown)),
        }
    }

    fn node(&mut self, path: &[u8], name: &[u8], entry: &Entry) -> Result<()> {
        let kind = match entry.kind {
            Kind::Char => FileType::CharacterDevice,
            Kind::Block => FileType::BlockDevice,
            _ => FileType::Fifo,
        };
        let (device, mode) = (
            rustix::fs::makedev(entry.device.0, entry.device.1),
            Mode::from_raw_mode(entry.mode & 0o777),
        );
        let made = self.make(path, name, |dir| rustix::fs::mknodat(dir, name, kind, mode, device));
        match made {
            // A user namespace makes no devices: left out, as in Docker.
            Err(Error::Io { source, .. })
                if kind != FileType::Fifo
                    && self.target.ownership == Ownership::UserNamespace
                    && source.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                Ok(())
            }
            made => {
                made?;
                self.finish_name(path, name, entry)
            }
        }
    }

    /// A hard link to what an earlier entry has made, or to what is there.
    fn link(&mut self, path: &[u8], name: &[u8], entry: &Entry) -> Result<()> {
        let mut target = Vec::new();
        clean(&entry.link, &mut target).map_err(|reason| refuse(entry, reason))?;
        let (parent, last) = split(&target);
        if last.is_empty() {
            return Err(refuse(entry, "it is a hard link to a directory"));
        }
        let from = self.open(parent).at("find the target of", self.shown(path))?;
        let old =
            rustix::fs::statat(&from, last, AtFlags::SYMLINK_NOFOLLOW).at("find the target of", self.shown(path))?;
        if FileType::from_raw_mode(old.st_mode) == FileType::Directory {
            return Err(refuse(entry, "it is a hard link to a directory"));
        }
        let there = rustix::fs::statat(self.dir()?, name, AtFlags::SYMLINK_NOFOLLOW);
        if there.is_ok_and(|there| (there.st_dev, there.st_ino) == (old.st_dev, old.st_ino)) {
            return Ok(());
        }
        self.make(path, name, |dir| {
            rustix::fs::linkat(&from, last, dir, name, AtFlags::empty())
        })
    }

    fn defer(&mut self, path: &[u8], entry: &Entry) -> Result<()> {
        self.owner(path, entry.uid, entry.gid)?;
        // Where a large list of them goes: into the file system that is filled anyway.
        let dir = self.open(b"").at("open", self.shown(b""))?;
        self.directories
            .push(dir.as_fd(), path, entry)
            .at("keep the attributes of", self.shown(path))
    }

    /// The owner that an entry gets; none where it is whoever makes it.
    fn owner(&self, path: &[u8], uid: u32, gid: u32) -> Result<Option<(u32, u32)>> {
        let (uid, gid) = match self.target.owner {
            Owner::Caller => return Ok(None),
            Owner::Fixed(uid, gid) => (uid, gid),
            Owner::Entries => (uid, gid),
        };
        self.owners
            .give(uid, gid)
            .map(Some)
            .map_err(|(what, id)| Error::Unpack {
                entry: String::from_utf8_lossy(path).into_owned(),
                reason: format!("it belongs to {what} {id}, which is not mapped in this user namespace"),
            })
    }

    fn finish_directory(&self, record: &Record) -> Result<()> {
        let shown = || self.shown(&record.path);
        let (parent, name) = split(&record.path);
        let opened = self.open(parent).and_then(|dir| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(dir, name, flags, Mode::empty())
        });
        let dir = match opened {
            // Somebody has replaced it.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
            opened => opened.at("open", shown())?,
        };
        if let Some(owner) = self.owner(&record.path, record.uid, record.gid)? {
            chown(&dir, owner).at("change the owner of", shown())?;
        }
        self.set_xattrs(&record.path, &dir, &record.xattrs)?;
        rustix::fs::fchmod(&dir, Mode::from_raw_mode(record.mode)).at("change the mode of", shown())?;
        rustix::fs::futimens(&dir, &attributes::times(record.mtime)).at("set the times of", shown())
    }
}

/// Gives a file to a user and a group.
fn chown(file: &OwnedFd, (uid, gid): (u32, u32)) -> rustix::io::Result<()> {
    rustix::fs::fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
}

/// What failed at the end.
enum Late {
    Entry(Error),
    Spool(std::io::Error),
}

impl From<std::io::Error> for Late {
    fn from(error: std::io::Error) -> Self {
        Self::Spool(error)
    }
}

fn refuse(entry: &Entry, reason: &str) -> Error {
    Error::Unpack {
        entry: String::from_utf8_lossy(&entry.path[..entry.path.len().min(4096)]).into_owned(),
        reason: reason.to_owned(),
    }
}

impl std::fmt::Debug for Content<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Nothing => "Nothing",
            Self::File(_) => "File",
            Self::Stream(_) => "Stream",
        })
    }
}

impl std::fmt::Debug for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Place({:?})", self.target)
    }
}

#[cfg(test)]
mod tests;
