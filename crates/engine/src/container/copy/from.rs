//! Out of a container.

use std::ffi::CString;
use std::fs;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

use hull_spec::container::Record;
use hull_store::place::{Content, Owner, Place, Target};
use hull_store::tar::Writer;
use hull_store::walk::{Found, Options, Start, walk};
use rustix::fs::{FileType, Mode, OFlags};

use super::path::{Side, plan};
use super::{CopyOptions, CopyProgress, cannot_stat, check_output, local, lost, path, stat};
use crate::container::find;
use crate::container::tree::{Part, Tree};
use crate::{Engine, Error, Result, event};

/// Copies `source` of a container to `to` on this host. Returns where that is. `skipped` is told of sockets.
///
/// # Errors
/// In Docker's words where it has some.
pub fn copy_from(
    engine: &Engine,
    name: &str,
    (source, to): (&str, &str),
    options: CopyOptions,
    progress: &CopyProgress,
    skipped: &mut dyn FnMut(&[u8]),
) -> Result<String> {
    let to = local(to)?;
    check_output(&to)?;
    let (own, record) = named(engine, name)?;
    let tree = Tree::open(engine, &record, Part::Mounts)?;
    let from = Source::find(&tree, &record, source, options.follow)?;
    let there = destination(&to)?;
    let plan = plan(&from.side, &there)?;
    let folder = rustix::fs::open(
        plan.folder.as_str(),
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|errno| Error::Write {
        path: plan.folder.clone().into(),
        source: errno.into(),
    })?;
    let target = Target {
        root: folder.as_fd(),
        below: b"",
        shown: plan.folder.as_bytes(),
        links: false,
        owner: Owner::Caller,
        ownership: engine.store(hull_store::Access::Read)?.ownership(),
    };
    let mut place = Place::new(target, &progress.bytes)?;
    walk(&from.start(plan.name.as_bytes()), Options::default(), |found| {
        match found {
            Found::Entry(entry, file) => {
                progress.entry(entry);
                place.entry(entry, file.map_or(Content::Nothing, Content::File))?;
            }
            Found::Socket(path) => skipped(path),
        }
        Ok::<(), Error>(())
    })?;
    place.finish()?;
    progress.end();
    event::container(engine, &own, "archive-path", &[]);
    Ok(to)
}

/// Writes an archive of `source` of a container to `out`.
///
/// # Errors
/// In Docker's words where it has some.
pub fn stream_from(
    engine: &Engine,
    name: &str,
    source: &str,
    options: CopyOptions,
    out: impl Write,
    skipped: &mut dyn FnMut(&[u8]),
) -> Result<()> {
    let (own, record) = named(engine, name)?;
    let tree = Tree::open(engine, &record, Part::Mounts)?;
    let from = Source::find(&tree, &record, source, options.follow)?;
    // The archive that Docker writes does not know that a link was followed.
    let top = path::base(&from.side.path);
    let mut writer = Writer::new(out);
    crate::container::export::pack(&tree, &from.start(top.as_bytes()), &mut writer, skipped)?;
    writer.finish().map_err(Error::Archive)?;
    event::container(engine, &own, "archive-path", &[]);
    Ok(())
}

/// The container, and again as messages call it: by the name that it was asked for.
pub(super) fn named(engine: &Engine, name: &str) -> Result<(Record, Record)> {
    let record = find(engine, name)?;
    let called = Record {
        name: name.to_owned(),
        ..record.clone()
    };
    Ok((record, called))
}

/// What is copied.
struct Source {
    side: Side,
    /// The folder that it is in, and its name there.
    folder: OwnedFd,
    name: CString,
}

impl Source {
    fn find(tree: &Tree, record: &Record, given: &str, follow: bool) -> Result<Self> {
        if given.is_empty() {
            return Err(Error::Invalid("bad parameter: path cannot be empty".to_owned()));
        }
        let mut asked = given.to_owned();
        let mut name = None;
        if follow && let Some(target) = stat(tree, record, given)?.target {
            (asked, name) = path::rebase(given, &target);
        }
        let found = stat(tree, record, &asked)?;
        let absolute = path::keep_end(&asked, path::clean(&format!("/{asked}")));
        let side = Side {
            path: absolute.clone(),
            exists: true,
            folder: found.kind == FileType::Directory,
            name,
        };
        // A folder is opened itself: a link with a slash behind it means what it leads to.
        let (folder, name) = if side.folder {
            (absolute.clone(), ".".to_owned())
        } else {
            path::split(&absolute)
        };
        let opened = tree.find(&folder, OFlags::RDONLY | OFlags::DIRECTORY);
        Ok(Self {
            folder: opened.map_err(|errno| lost(record, &asked, &absolute, errno))?,
            name: CString::new(name).map_err(|_| Error::Invalid("a path holds a NUL byte".to_owned()))?,
            side,
        })
    }

    /// Where the walk begins, with the top's name in the entries.
    fn start<'a>(&'a self, path: &'a [u8]) -> Start<'a> {
        Start {
            dir: self.folder.as_fd(),
            name: &self.name,
            path,
        }
    }
}

/// Looks at a destination on this host: a link leads on, also to what is not there yet.
fn destination(given: &str) -> Result<Side> {
    let mut at = given.to_owned();
    for _ in 0..=10 {
        let meta = match fs::symlink_metadata(&at) {
            Ok(meta) => meta,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let (folder, _) = path::split(&at);
                let parent = fs::metadata(&folder).map_err(|e| cannot_stat(&folder, &e))?;
                if !parent.is_dir() {
                    return Err(Error::Invalid("not a directory".to_owned()));
                }
                return Ok(Side {
                    path: at,
                    ..Side::default()
                });
            }
            Err(e) => return Err(cannot_stat(&at, &e)),
        };
        if !meta.is_symlink() {
            return Ok(Side {
                path: at,
                exists: true,
                folder: meta.is_dir(),
                name: None,
            });
        }
        let target = fs::read_link(&at).map_err(|e| cannot_stat(&at, &e))?;
        let Some(target) = target.to_str() else {
            return Err(Error::Invalid(format!("the link {at} leads to no UTF-8 path")));
        };
        at = if target.starts_with('/') {
            target.to_owned()
        } else {
            path::clean(&format!("{}/{target}", path::split(&at).0))
        };
    }
    Err(Error::Invalid(format!("too many symlinks in {given}")))
}
