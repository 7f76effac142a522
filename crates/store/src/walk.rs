//! Walking a file tree that others may be changing, and that may have been made to hurt whoever walks it.
//!
//! Each name is looked at below the descriptor of its directory and opened without following a link; what counts is what
//! was opened. What vanishes meanwhile is left out. Depth costs neither stack nor descriptors. Where a tree may hold
//! devices, it has to be seen through a mount with `nodev`: opening one may do things.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, SeekFrom, Stat};
use rustix::io::Errno;

use crate::Ownership;
use crate::error::{At, Error, Result};
use crate::ingest::is_portable;
use crate::tar::{Entry, Extent, Kind, Time};

/// Directories that are kept open: those deepest in the tree.
const OPEN: usize = 48;
/// The longest path, in bytes: nobody could name what is deeper (`PATH_MAX`).
const PATH_MAX: usize = 4096;
/// How often a name is looked at anew that is another thing each time.
const TRIES: usize = 16;
const XATTRS_MAX: usize = 64 << 10;

/// Where a walk begins.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// The directory that it is in.
    pub dir: BorrowedFd<'a>,
    /// Its name there; `.` for the directory itself.
    pub name: &'a CStr,
    /// What it is called in the entries; what is in it is called `path/NAME`, or just `NAME` where this is empty.
    pub path: &'a [u8],
}

/// How a tree is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// It is the writable layer of an overlay: its marks become whiteouts (OCI image spec, layer.md).
    pub layer: Option<Ownership>,
    /// Entries say where files have holes.
    pub sparse: bool,
    /// Times are whole seconds, as in Docker's archives.
    pub seconds: bool,
}

/// What is found.
#[derive(Debug)]
pub enum Found<'a> {
    /// An entry, and its file, open for reading, where it is a regular one.
    Entry(&'a Entry, Option<BorrowedFd<'a>>),
    /// A socket, which no archive can hold: its path.
    Socket(&'a [u8]),
}

/// Walks everything from `start` on, each directory before what is in it, names in order. Where `start.path` is empty the
/// top itself is left out.
///
/// # Errors
/// [`Error::Io`] with the path below `start` that cannot be read; what `each` returns.
pub fn walk<E>(start: &Start<'_>, options: Options, mut each: impl FnMut(Found<'_>) -> Result<(), E>) -> Result<(), E>
where
    E: From<Error>,
{
    let mut walker = Walker {
        options,
        path: start.path.to_vec(),
        links: HashMap::new(),
        entry: Entry::default(),
    };
    let mut stack = Vec::new();
    match walker.look(start.dir, start.name, &mut each)? {
        Seen::Directory(level) => stack.push(level),
        Seen::Other => {}
        Seen::Nothing => return Err(Error::from_errno("read", &walker.path, Errno::NOENT).into()),
    }
    while let Some(level) = stack.last_mut() {
        walker.path.truncate(level.length);
        let Some(name) = level.names.pop() else {
            let done = stack.pop();
            if let (Some(done), Some(above)) = (done, stack.last_mut()) {
                above.reopen(&done).at("go back to the directory of", walker.shown())?;
            }
            continue;
        };
        if !walker.path.is_empty() && !walker.path.ends_with(b"/") {
            walker.path.push(b'/');
        }
        walker.path.extend_from_slice(name.to_bytes());
        if walker.path.len() > PATH_MAX + start.path.len() {
            return Err(Error::from_errno("read", &walker.path, Errno::NAMETOOLONG).into());
        }
        let Some(dir) = &level.dir else {
            return Err(Error::from_errno("read", &walker.path, Errno::BADF).into());
        };
        if let Seen::Directory(below) = walker.look(dir.as_fd(), &name, &mut each)? {
            stack.push(below);
            let count = stack.len();
            if let Some(far) = count.checked_sub(OPEN + 1) {
                stack[far].dir = None;
            }
        }
    }
    Ok(())
}

/// A directory whose content is being walked.
struct Level {
    dir: Option<OwnedFd>,
    /// Device and inode, by which it is known when it is opened again.
    id: (u64, u64),
    /// What is still to be looked at, the last first.
    names: Vec<CString>,
    /// Bytes of its path.
    length: usize,
}

impl Level {
    /// Opens a directory again that was closed, from one in it.
    fn reopen(&mut self, below: &Level) -> rustix::io::Result<()> {
        let (None, Some(below)) = (&self.dir, &below.dir) else {
            return Ok(());
        };
        let dir = rustix::fs::openat(below, c"..", DIRECTORY, Mode::empty())?;
        let stat = rustix::fs::fstat(&dir)?;
        if (stat.st_dev, stat.st_ino) != self.id {
            // It was moved while it was read.
            return Err(Errno::STALE);
        }
        self.dir = Some(dir);
        Ok(())
    }
}

enum Seen {
    Directory(Level),
    Other,
    Nothing,
}

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// A pipe does not keep us waiting, and a terminal does not become ours.
const FILE: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

struct Walker {
    options: Options,
    path: Vec<u8>,
    /// The first name of each file that has several.
    links: HashMap<(u64, u64), Vec<u8>>,
    entry: Entry,
}

impl Walker {
    fn shown(&self) -> PathBuf {
        shown(&self.path)
    }

    /// Looks at one name and hands it out. It is looked at again where it has become something else in between.
    fn look<E: From<Error>>(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &CStr,
        each: &mut impl FnMut(Found<'_>) -> Result<(), E>,
    ) -> Result<Seen, E> {
        for _ in 0..TRIES {
            let stat = match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => return Ok(Seen::Nothing),
                found => found.at("examine", self.shown())?,
            };
            let kind = FileType::from_raw_mode(stat.st_mode);
            match kind {
                FileType::Directory => {
                    let dir = match rustix::fs::openat(dir, name, DIRECTORY, Mode::empty()) {
                        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                        opened => opened.at("open", self.shown())?,
                    };
                    return self.directory(dir, each).map(Seen::Directory);
                }
                FileType::RegularFile => {
                    let file = match rustix::fs::openat(dir, name, FILE, Mode::empty()) {
                        Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => continue,
                        opened => opened.at("open", self.shown())?,
                    };
                    let stat = rustix::fs::fstat(&file).at("examine", self.shown())?;
                    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                        continue;
                    }
                    self.regular(&file, &stat, each)?;
                    return Ok(Seen::Other);
                }
                FileType::Symlink => {
                    let target = match rustix::fs::readlinkat(dir, name, Vec::new()) {
                        Err(Errno::NOENT | Errno::INVAL) => continue,
                        read => read.at("read the link", self.shown())?,
                    };
                    self.describe(&stat, Kind::Symlink);
                    self.entry.link.extend_from_slice(target.to_bytes());
                    self.named(&stat, each)?;
                }
                FileType::Socket => each(Found::Socket(&self.path))?,
                FileType::CharacterDevice if self.options.layer.is_some() && stat.st_rdev == 0 => {
                    self.whiteout(&stat, name, each)?;
                }
                FileType::CharacterDevice | FileType::BlockDevice | FileType::Fifo => {
                    self.describe(
                        &stat,
                        match kind {
                            FileType::CharacterDevice => Kind::Char,
                            FileType::BlockDevice => Kind::Block,
                            _ => Kind::Fifo,
                        },
                    );
                    if kind != FileType::Fifo {
                        self.entry.device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
                    }
                    self.named(&stat, each)?;
                }
                FileType::Unknown => return Err(Error::from_errno("examine", &self.path, Errno::INVAL).into()),
            }
            return Ok(Seen::Other);
        }
        Err(Error::from_errno("read", &self.path, Errno::AGAIN).into())
    }

    fn directory<E: From<Error>>(
        &mut self,
        dir: OwnedFd,
        each: &mut impl FnMut(Found<'_>) -> Result<(), E>,
    ) -> Result<Level, E> {
        let stat = rustix::fs::fstat(&dir).at("examine", self.shown())?;
        self.describe(&stat, Kind::Directory);
        let opaque = self.attributes(dir.as_fd())?;
        let length = self.path.len();
        if length > 0 {
            self.reserved()?;
            each(Found::Entry(&self.entry, None))?;
        }
        if opaque {
            let path = [&self.path[..], b"/.wh..wh..opq"].concat();
            self.mark(&stat, path, each)?;
        }
        let mut names = Vec::new();
        for found in Dir::read_from(&dir).at("list", self.shown())? {
            let found = found.at("list", self.shown())?;
            if !matches!(found.file_name().to_bytes(), b"." | b"..") {
                names.push(found.file_name().to_owned());
            }
        }
        names.sort_unstable_by(|a, b| b.cmp(a));
        Ok(Level {
            dir: Some(dir),
            id: (stat.st_dev, stat.st_ino),
            names,
            length,
        })
    }

    fn regular<E: From<Error>>(
        &mut self,
        file: &OwnedFd,
        stat: &Stat,
        each: &mut impl FnMut(Found<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.describe(stat, Kind::Regular);
        if self.is_link(stat) {
            return self.named(stat, each);
        }
        self.attributes(file.as_fd())?;
        self.entry.size = u64::try_from(stat.st_size).unwrap_or(0);
        // Blocks are of 512 bytes whatever the file system's are.
        let holes = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512) < self.entry.size;
        if self.options.sparse && holes {
            self.entry.sparse = extents(file.as_fd(), self.entry.size).at("find the holes of", self.shown())?;
        }
        self.reserved()?;
        each(Found::Entry(&self.entry, Some(file.as_fd())))
    }

    /// Hands out what has a name and no data; as a hard link where it is another name of what came before.
    fn named<E: From<Error>>(
        &mut self,
        stat: &Stat,
        each: &mut impl FnMut(Found<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.is_link(stat);
        self.reserved()?;
        each(Found::Entry(&self.entry, None))
    }

    /// Makes the entry a hard link if it is another name of an earlier one.
    fn is_link(&mut self, stat: &Stat) -> bool {
        if stat.st_nlink < 2 {
            return false;
        }
        if self.entry.kind == Kind::HardLink {
            return true;
        }
        match self.links.entry((stat.st_dev, stat.st_ino)) {
            std::collections::hash_map::Entry::Occupied(first) if *first.get() != self.path => {
                self.entry.kind = Kind::HardLink;
                self.entry.link.clone_from(first.get());
                true
            }
            std::collections::hash_map::Entry::Occupied(_) => false,
            std::collections::hash_map::Entry::Vacant(new) => {
                new.insert(self.path.clone());
                false
            }
        }
    }

    /// What overlayfs has put for something deleted.
    fn whiteout<E: From<Error>>(
        &mut self,
        stat: &Stat,
        name: &CStr,
        each: &mut impl FnMut(Found<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let parent = self.path.len() - name.to_bytes().len();
        let path = [&self.path[..parent], b".wh.", name.to_bytes()].concat();
        self.mark(stat, path, each)
    }

    fn mark<E: From<Error>>(
        &mut self,
        stat: &Stat,
        path: Vec<u8>,
        each: &mut impl FnMut(Found<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mtime = self.time(stat);
        each(Found::Entry(
            &Entry {
                path,
                mtime,
                ..Entry::default()
            },
            None,
        ))
    }

    /// In a layer, names that begin with `.wh.` mean something else: a file that has one cannot be in it.
    fn reserved(&self) -> Result<()> {
        let last = self.path.rsplit(|&b| b == b'/').next().unwrap_or_default();
        if self.options.layer.is_some() && last.starts_with(b".wh.") {
            return Err(Error::Reserved { path: self.shown() });
        }
        Ok(())
    }

    fn time(&self, stat: &Stat) -> Time {
        Time {
            seconds: stat.st_mtime,
            nanos: if self.options.seconds {
                0
            } else {
                u32::try_from(stat.st_mtime_nsec).unwrap_or(0)
            },
        }
    }

    /// What `stat` says of an entry.
    fn describe(&mut self, stat: &Stat, kind: Kind) {
        let mtime = self.time(stat);
        let entry = &mut self.entry;
        entry.path.clone_from(&self.path);
        entry.link.clear();
        entry.kind = kind;
        entry.mode = stat.st_mode & 0o7777;
        (entry.uid, entry.gid) = (stat.st_uid, stat.st_gid);
        entry.mtime = mtime;
        entry.size = 0;
        entry.device = (0, 0);
        entry.xattrs.clear();
        entry.sparse = None;
    }

    /// Adds the extended attributes that an archive may hold. Returns whether the directory is opaque.
    fn attributes(&mut self, file: BorrowedFd<'_>) -> Result<bool> {
        const ACT: &str = "read the extended attributes of";
        let mut list = vec![0u8; 1024];
        let length = loop {
            match rustix::fs::flistxattr(file, &mut list[..]) {
                Ok(0) | Err(Errno::NOTSUP | Errno::NOSYS) => return Ok(false),
                Err(Errno::RANGE) if list.len() < XATTRS_MAX => list.resize(XATTRS_MAX, 0),
                listed => break listed.at(ACT, self.shown())?,
            }
        };
        let mut opaque = false;
        for name in list[..length].split(|&b| b == 0).filter(|n| !n.is_empty()) {
            let mark = self.options.layer.and_then(|ownership| mark(name, ownership));
            // A PAX record's key ends at its first `=`.
            if mark.is_none() && (!is_portable(name) || name.contains(&b'=')) {
                continue;
            }
            let mut value = vec![0; XATTRS_MAX];
            match rustix::fs::fgetxattr(file, name, &mut value[..]) {
                Ok(length) => value.truncate(length),
                Err(Errno::NODATA) => continue,
                Err(errno) => return Err(errno).at(ACT, self.shown()),
            }
            match mark {
                Some("opaque") => opaque |= value == b"y",
                Some("redirect" | "metacopy") => return Err(Error::Redirected { path: self.shown() }),
                Some(_) => {}
                None => self.entry.xattrs.push((name.to_vec(), value)),
            }
        }
        self.entry.xattrs.sort_unstable();
        Ok(opaque)
    }
}

/// The part of an attribute's name that overlayfs uses for itself.
fn mark(name: &[u8], ownership: Ownership) -> Option<&str> {
    let prefix: &[u8] = match ownership {
        Ownership::Host => b"trusted.overlay.",
        Ownership::UserNamespace => b"user.overlay.",
    };
    std::str::from_utf8(name.strip_prefix(prefix)?).ok()
}

/// Where a file has data; none where it is all data, or has more stretches than a reader takes.
fn extents(file: BorrowedFd<'_>, size: u64) -> rustix::io::Result<Option<Vec<Extent>>> {
    const MAX: usize = 1 << 16;
    let mut out = Vec::new();
    let mut at = 0;
    while at < size {
        let start = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            // Nothing but a hole up to the end.
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL) => return Ok(None),
            found => found?,
        };
        if start >= size {
            break;
        }
        let end = rustix::fs::seek(file, SeekFrom::Hole(start))?.min(size);
        if end <= start || out.len() == MAX {
            return Ok(None);
        }
        out.push(Extent {
            offset: start,
            length: end - start,
        });
        at = end;
    }
    let whole = matches!(out[..], [only] if only.length == size);
    Ok((!whole).then_some(out))
}

fn shown(path: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::OsStr::from_bytes(path).into()
}

#[cfg(test)]
mod tests;
