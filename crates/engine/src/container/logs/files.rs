//! The files of a log, while another process writes and rotates them.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use hull_monitor::{LogForm, Origin};

use crate::{Error, Result};

/// How often a walk is done again because the files were rotated meanwhile.
const WALKS_MAX: u32 = 1000;

/// Where a container's log is.
#[derive(Debug)]
pub(super) struct Log {
    /// The newest file.
    path: PathBuf,
    pub(super) form: LogForm,
}

/// A file's place: 0 is the newest.
type Number = u32;

/// An open file of a log.
#[derive(Debug)]
pub(super) struct LogFile {
    pub(super) file: File,
    pub(super) compressed: bool,
    /// Its size when it was opened.
    pub(super) size: u64,
    identity: Identity,
}

/// What a file is known by while it is rotated and compressed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Identity {
    /// A file that is or was written; whoever compares must hold it open, so that its inode is not another's.
    Plain(u64),
    /// A compressed one.
    Compressed { inode: u64, origin: Option<Origin> },
}

/// Several files, oldest first, each with its name's number at that time.
pub(super) struct Walk {
    pub(super) files: Vec<LogFile>,
    /// Whether the file that was asked for was met; true where none was asked for.
    pub(super) met: bool,
}

impl Log {
    pub(super) fn new(path: PathBuf, form: LogForm) -> Self {
        Self { path, form }
    }

    pub(super) fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    pub(super) fn read_error(&self, source: std::io::Error) -> Error {
        Error::Read {
            path: self.path.clone(),
            source,
        }
    }

    /// Opens all files, oldest first.
    pub(super) fn open(&self) -> Result<Vec<LogFile>> {
        self.open_after(None).map(|walk| walk.files)
    }

    /// Opens the files that are newer than `last`, oldest first; all, where that is gone.
    ///
    /// While this looks, files may get another number, be compressed, or go. What was found is believed only if it is
    /// found again just so.
    pub(super) fn open_after(&self, last: Option<&LogFile>) -> Result<Walk> {
        for _ in 0..WALKS_MAX {
            let names = self.names()?;
            let mut walk = Walk {
                files: Vec::new(),
                met: last.is_none(),
            };
            let mut whole = true;
            // From the newest on.
            for (_, name, compressed) in &names {
                let Some(file) = self.open_one(name, *compressed)? else {
                    whole = false;
                    break;
                };
                if last.is_some_and(|last| last.is_same(&file)) {
                    walk.met = true;
                    break;
                }
                walk.files.push(file);
            }
            if whole && self.names()?.iter().map(|n| &n.1).eq(names.iter().map(|n| &n.1)) && self.stands(&walk)? {
                walk.files.reverse();
                return Ok(walk);
            }
        }
        Err(self.read_error(ErrorKind::ResourceBusy.into()))
    }

    /// Whether the newest file is still the newest: if not, all have moved.
    fn stands(&self, walk: &Walk) -> Result<bool> {
        let now = match std::fs::metadata(&self.path) {
            Ok(metadata) => Some(metadata.ino()),
            Err(e) if e.kind() == ErrorKind::NotFound => None,
            Err(e) => return Err(self.read_error(e)),
        };
        Ok(match walk.files.first().map(|file| file.identity) {
            Some(Identity::Plain(inode)) => now == Some(inode),
            _ => true,
        })
    }

    /// The files that there are, newest first. Of a number that has both, the one that is not compressed.
    fn names(&self) -> Result<Vec<(Number, PathBuf, bool)>> {
        let folder = self.folder();
        let failed = |e| self.read_error(e);
        let base = self.path.file_name().unwrap_or_default().as_bytes();
        let mut found = Vec::new();
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(found),
            Err(e) => return Err(failed(e)),
        };
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            if let Some((number, compressed)) = number(name.as_bytes(), base, self.form.suffix()) {
                found.push((number, folder.join(name), compressed));
            }
        }
        found.sort_unstable_by_key(|(number, _, compressed)| (*number, *compressed));
        found.dedup_by_key(|(number, ..)| *number);
        Ok(found)
    }

    fn open_one(&self, path: &Path, compressed: bool) -> Result<Option<LogFile>> {
        let failed = |source| Error::Read {
            path: path.to_owned(),
            source,
        };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(failed(e)),
        };
        let metadata = file.metadata().map_err(failed)?;
        let inode = metadata.ino();
        let identity = match compressed {
            false => Identity::Plain(inode),
            true => Identity::Compressed {
                inode,
                origin: Origin::read(self.form, &mut File::open(path).map_err(failed)?),
            },
        };
        Ok(Some(LogFile {
            file,
            compressed,
            size: metadata.len(),
            identity,
        }))
    }

    /// The contents of a file, decompressed.
    pub(super) fn reader(&self, file: &LogFile) -> Result<Box<dyn Read + Send>> {
        let raw = file.file.try_clone().map_err(|e| self.read_error(e))?;
        Ok(match (file.compressed, self.form) {
            (false, _) => Box::new(raw),
            (true, LogForm::JsonFile) => Box::new(flate2::read::MultiGzDecoder::new(BufReader::with_capacity(
                64 << 10,
                raw,
            ))),
            (true, LogForm::Local) => Box::new(zstd::stream::read::Decoder::new(raw).map_err(|e| self.read_error(e))?),
        })
    }
}

impl LogFile {
    /// The same file from its beginning, to be read on its own.
    pub(super) fn copy(&self) -> std::io::Result<Self> {
        use std::os::fd::AsRawFd;
        // Another name of the same descriptor would share its position.
        let file = File::open(format!("/proc/self/fd/{}", self.file.as_raw_fd()))?;
        Ok(Self {
            file,
            compressed: self.compressed,
            size: self.size,
            identity: self.identity,
        })
    }

    /// Whether `other` has the same contents: is the same file, or was made from it.
    fn is_same(&self, other: &Self) -> bool {
        match (self.identity, other.identity) {
            (Identity::Plain(a), Identity::Plain(b)) => a == b,
            (Identity::Compressed { inode: a, .. }, Identity::Compressed { inode: b, .. }) => a == b,
            (Identity::Plain(_), Identity::Compressed { origin, .. }) => {
                origin.is_some() && origin == Origin::of(&self.file).ok()
            }
            (Identity::Compressed { origin, .. }, Identity::Plain(_)) => {
                origin.is_some() && origin == Origin::of(&other.file).ok()
            }
        }
    }
}

/// The number of a file of the log `base`, and whether it is compressed.
fn number(name: &[u8], base: &[u8], suffix: &str) -> Option<(Number, bool)> {
    let rest = name.strip_prefix(base)?;
    if rest.is_empty() {
        return Some((0, false));
    }
    let rest = rest.strip_prefix(b".")?;
    let bare = rest.strip_suffix(suffix.as_bytes());
    let digits = std::str::from_utf8(bare.unwrap_or(rest)).ok()?;
    if digits.starts_with('0') || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((digits.parse().ok()?, bare.is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_the_log_have_numbers() {
        for (name, expected) in [
            ("x-json.log", Some((0, false))),
            ("x-json.log.1", Some((1, false))),
            ("x-json.log.12.gz", Some((12, true))),
            ("x-json.log.1.gz.tmp", None),
            ("x-json.log.0", None),
            ("x-json.log.", None),
            ("x-json.log.+1", None),
            ("x-json.logs", None),
            ("x-local.log", None),
            ("config.json", None),
        ] {
            assert_eq!(number(name.as_bytes(), b"x-json.log", ".gz"), expected, "{name}");
        }
    }
}
