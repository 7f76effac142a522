//! Into a container.

use std::ffi::CString;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsFd, OwnedFd};

use hull_spec::container::Record;
use hull_store::place::{Content, Owner, Place, Target};
use hull_store::tar::{Entry, Fault, Reader};
use hull_store::unpack;
use hull_store::walk::{Found, Options, Start, walk};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, StatVfsMountFlags, StatxFlags};

use super::from::named;
use super::path::{Plan, Side, plan};
use super::{CopyOptions, CopyProgress, cannot_stat, check_kind, local, lost, path, stat};
use crate::container::tree::{Part, Tree};
use crate::{Engine, Error, Result, event};

/// Copies `source` of this host to `to` in a container. Returns where that is. `skipped` is told of sockets.
///
/// # Errors
/// In Docker's words where it has some.
pub fn copy_into(
    engine: &Engine,
    name: &str,
    (source, to): (&str, &str),
    options: CopyOptions,
    progress: &CopyProgress,
    skipped: &mut (dyn FnMut(&[u8]) + Send),
) -> Result<String> {
    let source = local(source)?;
    let (own, record) = named(engine, name)?;
    let tree = Tree::open(engine, &record, Part::Mounts)?;
    let there = destination(&tree, &record, to)?;
    let from = Local::find(&source, options.follow)?;
    let plan = plan(&from.side, &there)?;
    let folder = Folder::open(&tree, &record, &plan.folder)?;
    let owner = owner(&tree, &record, options)?;
    let shown = there.path.clone();
    folder.place(engine, &tree, owner, progress, |place| {
        walk(&from.start(&plan), Options::default(), |found| {
            match found {
                Found::Entry(entry, file) => {
                    progress.entry(entry);
                    put(&tree, place, entry, file.map_or(Content::Nothing, Content::File))?;
                }
                Found::Socket(path) => skipped(path),
            }
            Ok::<(), Error>(())
        })
    })?;
    progress.end();
    event::container(engine, &own, "extract-to-dir", &[]);
    Ok(shown)
}

/// Unpacks the archive `input`, compressed or not, into the folder `to` of a container. Returns where that is.
///
/// # Errors
/// In Docker's words where it has some.
pub fn stream_into(
    engine: &Engine,
    name: &str,
    to: &str,
    options: CopyOptions,
    input: impl Read + Send,
    progress: &CopyProgress,
) -> Result<String> {
    let (own, record) = named(engine, name)?;
    let tree = Tree::open(engine, &record, Part::Mounts)?;
    let there = destination(&tree, &record, to)?;
    if !there.folder {
        return Err(Error::Invalid(format!(
            "destination \"{name}:{to}\" must be a directory"
        )));
    }
    let folder = Folder::open(&tree, &record, &there.path)?;
    let owner = owner(&tree, &record, options)?;
    folder.place(engine, &tree, owner, progress, |place| {
        let input = unpack::decompressed(BufReader::with_capacity(1 << 20, input))?;
        let mut reader = Reader::new(BufReader::with_capacity(1 << 20, input));
        let mut entry = Entry::default();
        while reader.next(&mut entry).map_err(|fault| broken(fault, &entry))? {
            progress.entry(&entry);
            put(&tree, place, &entry, Content::Stream(&mut reader))?;
        }
        // What follows belongs to whoever writes it: he must not find a pipe closed.
        drain(reader.into_rest());
        Ok(())
    })?;
    progress.end();
    event::container(engine, &own, "extract-to-dir", &[]);
    Ok(there.path)
}

fn drain(mut rest: impl BufRead) {
    while let Ok(bytes) = rest.fill_buf() {
        let count = bytes.len();
        if count == 0 {
            return;
        }
        rest.consume(count);
    }
}

fn broken(fault: Fault, last: &Entry) -> Error {
    match fault {
        Fault::Input(source) => Error::Archive(source),
        Fault::Malformed(reason) => Error::Store(hull_store::Error::Unpack {
            entry: String::from_utf8_lossy(&last.path).into_owned(),
            reason: reason.to_owned(),
        }),
    }
}

/// Puts one entry into place, with its owner as it is given there.
fn put(tree: &Tree, place: &mut Place<'_>, entry: &Entry, content: Content<'_>) -> Result<()> {
    if !tree.is_mapped() {
        return Ok(place.entry(entry, content)?);
    }
    let mut mapped = entry.clone();
    (mapped.uid, mapped.gid) = tree.outside(entry.uid, entry.gid)?;
    Ok(place.entry(&mapped, content)?)
}

/// Who owns what is copied.
fn owner(tree: &Tree, record: &Record, options: CopyOptions) -> Result<Owner> {
    if !options.archive || record.config.user.is_empty() {
        return Ok(Owner::Entries);
    }
    let read = |path: &str| {
        let mut text = String::new();
        if let Ok(file) = tree.find(path, OFlags::RDONLY | OFlags::NONBLOCK) {
            let _ = fs::File::from(file).take(4 << 20).read_to_string(&mut text);
        }
        text
    };
    let user = &record.config.user;
    let identity = hull_runtime::identity::resolve(user, &[], &read("/etc/passwd"), &read("/etc/group"))?;
    let (uid, gid) = tree.outside(identity.uid, identity.gid)?;
    Ok(Owner::Fixed(uid, gid))
}

/// Looks at a destination in the container: a link leads on, also to what is not there yet.
fn destination(tree: &Tree, record: &Record, to: &str) -> Result<Side> {
    let mut side = Side {
        path: to.to_owned(),
        ..Side::default()
    };
    let Ok(mut found) = stat(tree, record, to) else {
        return Ok(side);
    };
    if let Some(target) = found.target {
        side.path.clone_from(&target);
        match stat(tree, record, &target) {
            Ok(there) => found = there,
            Err(_) => return Ok(side),
        }
    }
    check_kind(found.kind).map_err(|why| {
        Error::Invalid(format!(
            "destination \"{}:{to}\" must be a directory or a regular file: {why}",
            record.name
        ))
    })?;
    side.exists = true;
    side.folder = found.kind == FileType::Directory;
    Ok(side)
}

/// The folder in the container that entries go into.
struct Folder {
    /// From the root, without a leading slash.
    below: String,
    shown: String,
}

impl Folder {
    fn open(tree: &Tree, record: &Record, path: &str) -> Result<Self> {
        let shown = path::clean(&format!("/{path}"));
        let failed = |errno| lost(record, path, &shown, errno);
        let opened = tree.find(&shown, OFlags::PATH).map_err(failed)?;
        let stat = rustix::fs::fstat(&opened).map_err(failed)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Err(Error::Invalid("extraction point is not a directory".to_owned()));
        }
        let flags = rustix::fs::fstatvfs(&opened).map_err(failed)?.f_flag;
        if flags.contains(StatVfsMountFlags::RDONLY) {
            let mount = |fd: &dyn AsFd| {
                rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).map(|stat| stat.stx_mnt_id)
            };
            let own = mount(&opened).map_err(failed)? == mount(&tree.root()).map_err(failed)?;
            let what = if own { "container rootfs" } else { "mounted volume" };
            return Err(Error::Invalid(format!("{what} is marked read-only")));
        }
        Ok(Self {
            below: shown.trim_start_matches('/').to_owned(),
            shown,
        })
    }

    /// Runs `fill` with this folder to put entries into.
    fn place(
        &self,
        engine: &Engine,
        tree: &Tree,
        owner: Owner,
        progress: &CopyProgress,
        fill: impl FnOnce(&mut Place<'_>) -> Result<()> + Send,
    ) -> Result<()> {
        let target = Target {
            root: tree.root(),
            below: self.below.as_bytes(),
            shown: self.shown.as_bytes(),
            links: true,
            owner,
            ownership: engine.store(hull_store::Access::Read)?.ownership(),
        };
        let act = || {
            let mut place = Place::new(target, &progress.bytes)?;
            fill(&mut place)?;
            Ok(place.finish()?)
        };
        if tree.is_mapped() {
            let (uid, gid) = tree.outside(0, 0)?;
            return hull_runtime::mount::view::acting_as(uid, gid, act);
        }
        act()
    }
}

/// What is copied from this host.
struct Local {
    side: Side,
    folder: OwnedFd,
    name: CString,
}

impl Local {
    fn find(given: &str, follow: bool) -> Result<Self> {
        let resolve = |path: &str| -> Result<String> {
            match fs::canonicalize(path) {
                Ok(found) => Ok(found.to_string_lossy().into_owned()),
                Err(e) if e.kind() == std::io::ErrorKind::NotADirectory => {
                    Err(Error::Invalid("not a directory".to_owned()))
                }
                Err(e) => Err(cannot_stat(&broken_at(path), &e)),
            }
        };
        let (path, name) = if follow {
            path::rebase(given, &resolve(given)?)
        } else if path::asserts_folder(given) {
            // A slash behind a link means what it leads to, under the link's name.
            path::rebase(given, &resolve(given)?)
        } else {
            let (folder, base) = path::split(given);
            (path::clean(&format!("{}/{base}", resolve(&folder)?)), None)
        };
        let meta = fs::symlink_metadata(&path).map_err(|e| cannot_stat(&path, &e))?;
        if path::asserts_folder(&path) && !meta.is_dir() {
            return Err(Error::Invalid("not a directory".to_owned()));
        }
        let (folder, own) = if meta.is_dir() {
            (path.clone(), ".".to_owned())
        } else {
            path::split(&path)
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(folder.as_str(), flags, Mode::empty());
        Ok(Self {
            folder: opened.map_err(|errno| Error::Read {
                path: folder.into(),
                source: errno.into(),
            })?,
            name: CString::new(own).map_err(|_| Error::Invalid("a path holds a NUL byte".to_owned()))?,
            side: Side {
                path,
                exists: true,
                folder: meta.is_dir(),
                name,
            },
        })
    }

    fn start<'a>(&'a self, plan: &'a Plan) -> Start<'a> {
        Start {
            dir: self.folder.as_fd(),
            name: &self.name,
            path: plan.name.as_bytes(),
        }
    }
}

/// What of a path is missing: where a link leads, if it is one.
fn broken_at(path: &str) -> String {
    match fs::read_link(path) {
        Ok(target) if target.is_absolute() => target.to_string_lossy().into_owned(),
        Ok(target) => path::clean(&format!("{}/{}", path::split(path).0, target.to_string_lossy())),
        Err(_) => path.to_owned(),
    }
}
