//! The last stage: entries become files, in overlayfs' own form.
//!
//! Everything is done relative to a descriptor of the layer's top or of one directory in it, reached through
//! `openat2` without leaving the top; nothing follows a link in the last part of a name. New names are made with
//! `O_EXCL` and their like, so that nothing is written through what an earlier entry has left there: what is in the
//! way is removed first (the last entry of a name wins, as in Docker).

use std::io::BufRead;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::LayerSpec;
use super::owner::Owners;
use super::path::{self, Name};
use super::queue::{Inlet, is_closed};
use super::spool::Spool;
use crate::error::{At, Error, Result};
use crate::tar::{Entry, Fault, Kind, Reader};
use crate::{Ownership, Store, tree};

mod attributes;
mod file;

pub(crate) use attributes::is_portable;

/// What may follow the archive's end; GNU tar pads to ten kilobytes.
const TRAILING_MAX: u64 = 16 << 20;

/// Why one entry could not be made; its name is added by who knows it.
enum Refusal {
    /// The archive is at fault.
    Archive(String),
    /// The system is.
    Act(&'static str, Errno),
    /// The owner cannot be expressed here.
    Unmapped(&'static str, u32),
    /// The input stopped.
    Fault(Fault),
}

type Made<T = ()> = Result<T, Refusal>;

/// Names the act of a failed system call.
trait Act<T> {
    fn act(self, act: &'static str) -> Made<T>;
}

impl<T> Act<T> for Result<T, Errno> {
    fn act(self, act: &'static str) -> Made<T> {
        self.map_err(|errno| match errno {
            Errno::NAMETOOLONG => Refusal::Archive("its name is too long for the file system".to_owned()),
            Errno::LOOP | Errno::NOTDIR => {
                Refusal::Archive("a file or a link is where its path needs a directory".to_owned())
            }
            Errno::ILSEQ => Refusal::Archive("its name cannot be stored by the file system".to_owned()),
            errno => Refusal::Act(act, errno),
        })
    }
}

/// One layer's top directory and what is known about it.
pub(super) struct Extract<'s> {
    spec: &'s LayerSpec,
    root: OwnedFd,
    ownership: Ownership,
    owners: Owners,
    umask: u32,
    entries_max: u64,
    /// Whether layers lie below this one.
    upper: bool,
    /// The directory that was used last.
    parent: Option<(Vec<u8>, OwnedFd)>,
    directories: Spool,
    bytes: u64,
}

impl<'s> Extract<'s> {
    pub(super) fn new(store: &Store, spec: &'s LayerSpec, root: &Path) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        Ok(Self {
            spec,
            root: rustix::fs::open(root, flags, Mode::empty()).at("open", root)?,
            ownership: store.ownership(),
            owners: Owners::new(store.ownership())?,
            umask: umask()?,
            entries_max: store.limits().entries,
            upper: spec.chain_id != spec.diff_id,
            parent: None,
            directories: Spool::default(),
            bytes: 0,
        })
    }

    /// Makes everything that the archive holds. `None` if an earlier stage broke off.
    pub(super) fn run(mut self, input: Inlet) -> Result<Option<u64>> {
        let mut reader = Reader::new(input);
        let mut entry = Entry::default();
        self.root_defaults(&mut entry)
            .map_err(|refusal| self.error(refusal, b"."))?;
        let mut clean = Vec::new();
        let mut count = 0;
        loop {
            match reader.next(&mut entry) {
                Ok(true) => {}
                Ok(false) => break,
                // The reader's complaint is about what comes after the last entry; that one says where to look.
                Err(fault) => return self.fault(fault, &entry.path),
            }
            count += 1;
            if count > self.entries_max {
                return Err(Error::TooLarge {
                    blob: self.spec.descriptor.digest.clone(),
                    limit: self.entries_max,
                    unit: "entries",
                });
            }
            match self.entry(&entry, &mut clean, &mut reader) {
                Ok(()) => {}
                Err(Refusal::Fault(fault)) => return self.fault(fault, &entry.path),
                Err(refusal) => return Err(self.error(refusal, &entry.path)),
            }
        }
        if let Err(fault) = drain(reader.into_rest()) {
            return self.fault(fault, b"");
        }
        self.finish()?;
        Ok(Some(self.bytes))
    }

    fn entry(&mut self, entry: &Entry, clean: &mut Vec<u8>, reader: &mut Reader<Inlet>) -> Made {
        let refuse = |reason: &str| Refusal::Archive(reason.to_owned());
        path::clean(&entry.path, clean).map_err(refuse)?;
        match path::name(clean).map_err(refuse)? {
            Name::Root if entry.kind == Kind::Directory => self.defer(b"", entry),
            Name::Root => Err(refuse("something else than a directory stands for the layer itself")),
            Name::Aufs => Ok(()),
            Name::Opaque { parent: b"" } => self.opaque_root(),
            Name::Opaque { parent } => {
                self.enter(parent)?;
                self.opaque(self.dir())
            }
            Name::Whiteout { parent, name } => {
                self.enter(parent)?;
                self.whiteout(name)
            }
            Name::Plain { parent, name } => {
                self.enter(parent)?;
                match entry.kind {
                    Kind::Directory => {
                        self.directory(name)?;
                        self.defer(clean, entry)
                    }
                    Kind::Regular => self.regular(name, entry, reader),
                    Kind::HardLink => self.link(name, entry),
                    Kind::Symlink => self.symlink(name, entry),
                    Kind::Char | Kind::Block | Kind::Fifo => self.node(name, entry),
                }
            }
        }
    }

    /// The directory that [`Self::enter`] has entered.
    fn dir(&self) -> BorrowedFd<'_> {
        match &self.parent {
            Some((path, dir)) if !path.is_empty() => dir.as_fd(),
            _ => self.root.as_fd(),
        }
    }

    /// Makes `path` the present directory, and makes it at all if no entry did.
    fn enter(&mut self, path: &[u8]) -> Made {
        if path.is_empty() {
            self.parent = None;
            return Ok(());
        }
        if self.parent.as_ref().is_some_and(|(present, _)| present == path) {
            return Ok(());
        }
        let dir = match self.find(path) {
            Ok(dir) => dir,
            Err(Errno::NOENT | Errno::NOTDIR) => self.make(path)?,
            Err(errno) => return Err(errno).act("open the directory of"),
        };
        self.parent = Some((path.to_owned(), dir));
        Ok(())
    }

    /// Opens a directory of this layer. A symbolic link on the way that this layer itself has made is followed as the
    /// container will follow it: all that it passes is of this layer, and this layer lies over the ones below.
    fn find(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let open = |resolve| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::io::retry_on_intr(|| rustix::fs::openat2(&self.root, path, flags, Mode::empty(), resolve))
        };
        match open(ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS) {
            Err(Errno::LOOP) => open(ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS),
            found => found,
        }
    }

    /// Makes a directory that no entry has described, and those above it.
    fn make(&self, path: &[u8]) -> Made<OwnedFd> {
        const ACT: &str = "create the directory of";
        let mut start = self.root.try_clone().map_err(|e| Refusal::Act(ACT, errno(&e)))?;
        let mut at = 0;
        for part in path.split(|&b| b == b'/') {
            at += part.len();
            start = match self.find(&path[..at]) {
                Ok(dir) => dir,
                Err(Errno::NOENT | Errno::NOTDIR) => self.implicit(&start, part)?,
                Err(errno) => return Err(errno).act(ACT),
            };
            at += 1;
        }
        Ok(start)
    }

    /// Makes one directory that no entry has described.
    fn implicit(&self, parent: &OwnedFd, name: &[u8]) -> Made<OwnedFd> {
        const ACT: &str = "create the directory of";
        let mode = Mode::from_raw_mode(0o755);
        let mut hides = false;
        match rustix::fs::mkdirat(parent, name, mode) {
            Err(Errno::EXIST) => {
                let there = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).act(ACT)?;
                if FileType::from_raw_mode(there.st_mode) == FileType::Symlink {
                    // To something that this layer does not have: what it means in the container is up to the layers
                    // below, and overlayfs would show nothing of this entry there.
                    let reason = "its path goes through a symbolic link that leads out of the layer";
                    return Err(Refusal::Archive(reason.to_owned()));
                }
                if !is_whiteout(&there) {
                    return Err(Errno::NOTDIR).act(ACT);
                }
                hides = true;
                rustix::fs::unlinkat(parent, name, AtFlags::empty()).act(ACT)?;
                rustix::fs::mkdirat(parent, name, mode).act(ACT)?;
            }
            made => made.act(ACT)?,
        }
        if 0o755 & self.umask != 0 {
            rustix::fs::chmodat(parent, name, mode, AtFlags::empty()).act(ACT)?;
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(parent, name, flags, Mode::empty()).act(ACT)?;
        if hides {
            self.opaque(dir.as_fd())?;
        }
        Ok(dir)
    }

    /// Makes a new name with `make`, and removes what is in its way.
    fn replacing<T>(&mut self, name: &[u8], act: &'static str, make: impl Fn(&Self) -> Result<T, Errno>) -> Made<T> {
        match make(self) {
            Err(Errno::EXIST) => {
                self.clear(name)?;
                make(self).act(act)
            }
            made => made.act(act),
        }
    }

    /// Removes a name, with all below it.
    fn clear(&mut self, name: &[u8]) -> Made {
        const ACT: &str = "replace";
        match rustix::fs::unlinkat(self.dir(), name, AtFlags::empty()) {
            Ok(()) => {}
            Err(Errno::ISDIR | Errno::PERM) => {
                let below = Path::new(std::ffi::OsStr::from_bytes(name));
                tree::remove_at(self.dir(), below).map_err(|e| Refusal::Act(ACT, errno_of(&e)))?;
            }
            Err(errno) => return Err(errno).act(ACT),
        }
        // The descriptor that is kept may lead through what is gone now; find it again.
        if let Some((path, _)) = self.parent.take() {
            self.enter(&path)?;
        }
        Ok(())
    }

    fn directory(&mut self, name: &[u8]) -> Made {
        const ACT: &str = "create the directory";
        // Nobody else looks in before it has its own mode, and nothing in it inherits its group.
        let make = |this: &Self| rustix::fs::mkdirat(this.dir(), name, Mode::RWXU);
        match make(self) {
            Err(Errno::EXIST) => {}
            made => return made.act(ACT),
        }
        let there = rustix::fs::statat(self.dir(), name, AtFlags::SYMLINK_NOFOLLOW).act(ACT)?;
        if FileType::from_raw_mode(there.st_mode) == FileType::Directory {
            return Ok(());
        }
        self.clear(name)?;
        make(self).act(ACT)?;
        if is_whiteout(&there) {
            // The layer hides what was there and puts a new directory in its place: it must not show the old one's
            // content.
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let dir = rustix::fs::openat(self.dir(), name, flags, Mode::empty()).act(ACT)?;
            self.opaque(dir.as_fd())?;
        }
        Ok(())
    }

    fn whiteout(&self, name: &[u8]) -> Made {
        const ACT: &str = "create the whiteout";
        match rustix::fs::mknodat(self.dir(), name, FileType::CharacterDevice, Mode::empty(), 0) {
            // It hides what lies below, never what this layer itself has: a file does that anyway, a directory has to
            // become opaque to do it.
            Err(Errno::EXIST) => {
                let there = rustix::fs::statat(self.dir(), name, AtFlags::SYMLINK_NOFOLLOW).act(ACT)?;
                if FileType::from_raw_mode(there.st_mode) == FileType::Directory {
                    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    let dir = rustix::fs::openat(self.dir(), name, flags, Mode::empty()).act(ACT)?;
                    self.opaque(dir.as_fd())?;
                }
                Ok(())
            }
            made => made.act(ACT),
        }
    }

    fn opaque(&self, dir: BorrowedFd<'_>) -> Made {
        const ACT: &str = "mark as opaque";
        // The kept descriptors are `O_PATH`, which takes no attributes.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(dir, ".", flags, Mode::empty()).act(ACT)?;
        rustix::fs::fsetxattr(
            &dir,
            self.ownership.opaque_xattr(),
            b"y",
            rustix::fs::XattrFlags::empty(),
        )
        .act(ACT)
    }

    /// An opaque top would hide the whole image below, which overlayfs has no mark for.
    fn opaque_root(&self) -> Made {
        if self.upper {
            return Err(Refusal::Archive("it hides all the layers below it".to_owned()));
        }
        Ok(())
    }

    fn link(&mut self, name: &[u8], entry: &Entry) -> Made {
        let refuse = |reason: &str| Refusal::Archive(format!("{reason} `{}`", String::from_utf8_lossy(&entry.link)));
        let mut target = Vec::new();
        path::clean(&entry.link, &mut target).map_err(|_| refuse("it is a hard link out of the layer, to"))?;
        let Ok(Name::Plain { parent, name: last }) = path::name(&target) else {
            return Err(refuse("it is a hard link to something that is no file,"));
        };
        let dir = match parent {
            b"" => self.root.try_clone().map_err(|e| Refusal::Act("link", errno(&e)))?,
            parent => match self.find(parent) {
                Err(Errno::NOENT) => return Err(refuse("it is a hard link to what this layer does not have,")),
                found => found.act("link")?,
            },
        };
        match rustix::fs::linkat(&dir, last, self.dir(), name, AtFlags::empty()) {
            Err(Errno::EXIST) => {}
            Err(Errno::NOENT) => return Err(refuse("it is a hard link to what this layer does not have,")),
            Err(Errno::PERM) => return Err(refuse("it is a hard link to a directory,")),
            made => return made.act("link"),
        }
        let at = |dir: BorrowedFd<'_>, name: &[u8]| rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
        let old = match at(dir.as_fd(), last) {
            Err(Errno::NOENT) => return Err(refuse("it is a hard link to what this layer does not have,")),
            found => found.act("link")?,
        };
        let new = at(self.dir(), name).act("link")?;
        if (old.st_dev, old.st_ino) == (new.st_dev, new.st_ino) {
            return Ok(());
        }
        if FileType::from_raw_mode(old.st_mode) == FileType::Directory {
            return Err(refuse("it is a hard link to a directory,"));
        }
        self.clear(name)?;
        match rustix::fs::linkat(&dir, last, self.dir(), name, AtFlags::empty()) {
            // What was in the way had the target in it.
            Err(Errno::NOENT) => Err(refuse("it is a hard link that replaces its own target,")),
            made => made.act("link"),
        }
    }

    /// The error for an entry that could not be made.
    fn error(&self, refusal: Refusal, entry: &[u8]) -> Error {
        let blob = self.spec.descriptor.digest.clone();
        let entry = String::from_utf8_lossy(&entry[..entry.len().min(4096)]).into_owned();
        match refusal {
            Refusal::Archive(reason) => Error::Archive { blob, entry, reason },
            Refusal::Act(act, errno) => Error::Entry {
                blob,
                entry,
                act,
                source: errno.into(),
            },
            Refusal::Unmapped(what, id) => Error::Unmapped { blob, entry, what, id },
            Refusal::Fault(Fault::Malformed(reason)) => Error::Archive {
                blob,
                entry,
                reason: reason.to_owned(),
            },
            Refusal::Fault(Fault::Input(source)) => Error::Entry {
                blob,
                entry,
                act: "read",
                source,
            },
        }
    }

    fn fault(&self, fault: Fault, entry: &[u8]) -> Result<Option<u64>> {
        match fault {
            Fault::Input(error) if is_closed(&error) => Ok(None),
            fault => Err(self.error(Refusal::Fault(fault), entry)),
        }
    }
}

/// Reads what follows the archive: it is part of the diff ID, and of nothing else.
fn drain(mut rest: Inlet) -> Result<(), Fault> {
    let mut total = 0u64;
    loop {
        let count = rest.fill_buf()?.len();
        if count == 0 {
            return Ok(());
        }
        total += count as u64;
        if total > TRAILING_MAX {
            return Err(Fault::Malformed("too much follows the archive's end"));
        }
        rest.consume(count);
    }
}

fn is_whiteout(stat: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// This process's mask, without changing it.
fn umask() -> Result<u32> {
    let path = "/proc/self/status";
    let status = std::fs::read_to_string(path).at("read", path)?;
    let mask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    // A kernel that does not tell is treated as if it masked everything: then every mode is set explicitly.
    Ok(mask
        .and_then(|m| u32::from_str_radix(m.trim(), 8).ok())
        .unwrap_or(0o777))
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

fn errno_of(error: &Error) -> Errno {
    match error {
        Error::Io { source, .. } => errno(source),
        _ => Errno::IO,
    }
}
