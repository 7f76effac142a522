//! `cp`: files between a container and this host, and archives in and out.
//!
//! Where both sides are trees, no archive is made in between: entries go from a walk ([`hull_store::walk`]) straight into
//! place ([`hull_store::place`]). On the container's side every path is resolved below its root's descriptor.

mod from;
mod into;
mod path;

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use hull_spec::container::Record;
use hull_store::tar::{self, Entry};
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;

pub use from::{copy_from, stream_from};
pub use into::{copy_into, stream_into};

use super::tree::Tree;
use crate::{Error, Result};

/// How files are copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopyOptions {
    /// Give them to the container's user, where it has one, rather than to the numbers that they have.
    pub archive: bool,
    /// Copy what a symbolic link leads to.
    pub follow: bool,
}

/// What is told while files are copied.
#[derive(Debug, Default)]
pub struct CopyProgress {
    /// Bytes so far, counted as an archive would have them.
    pub bytes: AtomicU64,
}

impl CopyProgress {
    /// Counts an entry's headers and padding; its data is counted as it is copied.
    fn entry(&self, entry: &Entry) {
        let mut plain = entry.clone();
        // As Docker's archive has it.
        plain.mtime.nanos = 0;
        plain.sparse = None;
        let overhead = tar::size(&plain)
            - if entry.kind == tar::Kind::Regular {
                entry.size
            } else {
                0
            };
        self.bytes.fetch_add(overhead, Ordering::Relaxed);
    }

    /// Counts an archive's end.
    fn end(&self) {
        self.bytes.fetch_add(1024, Ordering::Relaxed);
    }
}

/// A path in the container that was looked at.
struct Stat {
    kind: FileType,
    /// Where a symbolic link leads, absolute.
    target: Option<String>,
}

/// Looks at a path, not following its last part.
fn stat(tree: &Tree, record: &Record, path: &str) -> Result<Stat> {
    let look = |path: &str| -> rustix::io::Result<(FileType, Option<String>)> {
        let fd = tree.find(path, OFlags::PATH | OFlags::NOFOLLOW)?;
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode);
        let target = match kind {
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&fd, c"", Vec::new())?;
                Some(target.to_string_lossy().into_owned())
            }
            _ => None,
        };
        Ok((kind, target))
    };
    let absolute = path::keep_end(path, path::clean(&format!("/{path}")));
    let (kind, mut target) = look(&absolute).map_err(|errno| lost(record, path, &absolute, errno))?;
    let mut at = absolute;
    let mut links = 0;
    let mut reached = None;
    while let Some(text) = target {
        at = if text.starts_with('/') {
            path::clean(&text)
        } else {
            path::clean(&format!("{}/{text}", path::split(&at).0))
        };
        links += 1;
        reached = Some(at.clone());
        target = match look(&at) {
            Ok((_, target)) if links < 40 => target,
            // A broken link leads as far as it can be followed.
            _ => None,
        };
    }
    Ok(Stat { kind, target: reached })
}

/// Docker's words for a path that cannot be used.
fn lost(record: &Record, path: &str, absolute: &str, errno: Errno) -> Error {
    match errno {
        Errno::NOENT => Error::NoSuchFile {
            path: path.to_owned(),
            container: record.name.clone(),
        },
        errno => Error::Invalid(format!("lstat {absolute}: {}", hull_runtime::describe(errno))),
    }
}

/// Refuses what neither a file nor a folder can be written to.
fn check_kind(kind: FileType) -> std::result::Result<(), &'static str> {
    match kind {
        FileType::CharacterDevice | FileType::BlockDevice => Err("got a device"),
        FileType::Fifo | FileType::Socket | FileType::Unknown => Err("got an irregular file"),
        _ => Ok(()),
    }
}

/// Refuses an output file whose folder is missing, or that is a device.
///
/// # Errors
/// In Docker's words.
pub fn check_output(path: &str) -> Result<()> {
    let invalid = |why: String| Err(Error::Invalid(format!("invalid output path: {why}")));
    let (folder, _) = path::split(&path::clean(path));
    if folder != "." && !Path::new(&folder).exists() {
        return invalid(format!("directory \"{folder}\" does not exist"));
    }
    let Ok(meta) = fs::metadata(path) else { return Ok(()) };
    let kind = meta.file_type();
    let why = if kind.is_char_device() || kind.is_block_device() {
        "got a device"
    } else if kind.is_file() || kind.is_dir() {
        return Ok(());
    } else {
        "got an irregular file"
    };
    invalid(format!("\"{path}\" must be a directory or a regular file: {why}"))
}

/// A path of this host, absolute, with the end that it was given.
fn local(path: &str) -> Result<String> {
    let absolute = std::path::absolute(path).map_err(|source| Error::Read {
        path: path.into(),
        source,
    })?;
    let Some(text) = absolute.to_str() else {
        return Err(Error::Invalid(format!("the path {} is not UTF-8", absolute.display())));
    };
    Ok(path::keep_end(path, path::clean(text)))
}

/// Go's words for a file of this host that cannot be looked at.
fn cannot_stat(path: &str, error: &std::io::Error) -> Error {
    let reason = Errno::from_io_error(error).map_or_else(|| error.to_string(), hull_runtime::describe);
    Error::Invalid(format!("lstat {path}: {reason}"))
}
