//! Files of a bounded size, as Docker names them: `PATH` is written, `PATH.1` was written before it, and so on.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::compress;
use super::plan::LogFile;
use crate::error::{Result, io_at};

#[derive(Debug)]
pub(super) struct Files {
    plan: LogFile,
    file: File,
    size: u64,
    /// Whether there is no file to write to: it was renamed, and its successor could not be made yet.
    absent: bool,
}

/// How far entries came.
pub(super) struct Put {
    /// Bytes that are in the file: whole entries.
    pub(super) written: usize,
    /// Why the rest is not.
    pub(super) error: Option<std::io::Error>,
}

impl Files {
    /// Opens the newest file, going on where it ended. Where it ends within an entry, of which its writer was killed,
    /// that one gets an end, so that the next entry is not taken for its continuation.
    pub(super) fn open(plan: &LogFile) -> Result<Self> {
        let failed = || io_at("open log", &plan.path);
        let file = append_to(&plan.path).map_err(failed())?;
        let mut size = file.metadata().map_err(failed())?.len();
        let mut last = [b'\n'];
        if size > 0 {
            file.read_exact_at(&mut last, size - 1).map_err(failed())?;
        }
        if last != [b'\n'] {
            (&file).write_all(b"\n").map_err(failed())?;
            size += 1;
        }
        Ok(Self {
            plan: plan.clone(),
            file,
            size,
            absent: false,
        })
    }

    /// As [`Files::open`]; a file that cannot be opened now is tried again with every entry.
    pub(super) fn resume(plan: &LogFile) -> Result<Self> {
        match Self::open(plan) {
            Ok(files) => Ok(files),
            Err(_) => Ok(Self {
                plan: plan.clone(),
                file: File::open("/dev/null").map_err(io_at("open", Path::new("/dev/null")))?,
                size: 0,
                absent: true,
            }),
        }
    }

    /// The file that is written and how long it is.
    pub(super) fn position(&self) -> (u64, u64) {
        use std::os::unix::fs::MetadataExt;
        self.file.metadata().map_or((0, 0), |m| (m.ino(), m.len()))
    }

    /// Takes back all that is behind the first `length` bytes.
    pub(super) fn shorten(&mut self, length: u64) {
        if self.file.set_len(length).is_ok() {
            self.size = length;
        }
    }

    /// Appends whole entries, going on in a new file wherever one would become too large.
    pub(super) fn put(&mut self, entries: &[u8]) -> Put {
        let mut written = 0;
        while written < entries.len() {
            match self.put_some(&entries[written..]) {
                Ok(n) => written += n,
                Err((n, error)) => {
                    written += n;
                    return Put {
                        written,
                        error: Some(error),
                    };
                }
            }
        }
        Put { written, error: None }
    }

    /// Appends what fits into the file, or makes room for it.
    fn put_some(&mut self, entries: &[u8]) -> Result<usize, (usize, std::io::Error)> {
        if self.absent {
            self.begin().map_err(|e| (0, e))?;
        }
        let room = self.plan.max_size.map_or(u64::MAX, |max| max.saturating_sub(self.size));
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        let fits = match entries.len() <= room {
            true => entries.len(),
            false => whole(&entries[..room]),
        };
        // An entry that is larger than a file has one to itself.
        let length = if fits == 0 && self.size == 0 {
            memchr::memchr(b'\n', entries).map_or(entries.len(), |at| at + 1)
        } else {
            fits
        };
        if length == 0 {
            return self.rotate().map(|()| 0).map_err(|e| (0, e));
        }
        self.append(&entries[..length])
    }

    fn append(&mut self, entries: &[u8]) -> Result<usize, (usize, std::io::Error)> {
        let mut written = 0;
        while written < entries.len() {
            match self.file.write(&entries[written..]) {
                Ok(0) => return Err(self.cut(entries, written, ErrorKind::WriteZero.into())),
                Ok(n) => written += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(self.cut(entries, written, e)),
            }
        }
        self.size += written as u64;
        Ok(written)
    }

    /// Takes back what was written of an entry whose rest cannot be: a half one would make the whole file unreadable for
    /// Docker's own tools.
    fn cut(&mut self, entries: &[u8], written: usize, error: std::io::Error) -> (usize, std::io::Error) {
        let kept = whole(&entries[..written]);
        let excess = (written - kept) as u64;
        if excess > 0
            && let Ok(metadata) = self.file.metadata()
        {
            let _ = self.file.set_len(metadata.len().saturating_sub(excess));
        }
        self.size += kept as u64;
        (kept, error)
    }

    fn rotate(&mut self) -> std::io::Result<()> {
        if self.plan.max_files <= 1 {
            self.file.set_len(0)?;
            self.size = 0;
            return Ok(());
        }
        let path = &self.plan.path;
        let suffix = self.plan.form.suffix();
        let newest = numbered(path, 1);
        let names = self.plan.compress.then(|| compress::lock_names(path));
        let oldest = self.plan.max_files - 1;
        // A number may stand for a file, a compressed one, or both, of which a kill left the first.
        for end in ["", suffix] {
            gone(std::fs::remove_file(with_suffix(&numbered(path, oldest), end)))?;
        }
        for n in (1..oldest).rev() {
            for end in ["", suffix] {
                let to = with_suffix(&numbered(path, n + 1), end);
                gone(std::fs::rename(with_suffix(&numbered(path, n), end), to))?;
            }
        }
        gone(std::fs::rename(path, &newest))?;
        self.absent = true;
        self.begin()?;
        if self.plan.compress
            && let Some(file) = compress::next(&self.plan.path, self.plan.max_files)
        {
            drop(names);
            compress::begin(file, &self.plan);
        }
        Ok(())
    }

    /// Goes on in a new file.
    fn begin(&mut self) -> std::io::Result<()> {
        self.file = append_to(&self.plan.path)?;
        self.size = self.file.metadata()?.len();
        self.absent = false;
        Ok(())
    }
}

/// The length of the whole entries at the beginning of `bytes`.
fn whole(bytes: &[u8]) -> usize {
    memchr::memrchr(b'\n', bytes).map_or(0, |at| at + 1)
}

fn gone(done: std::io::Result<()>) -> std::io::Result<()> {
    match done {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

pub(super) fn numbered(path: &Path, n: u32) -> PathBuf {
    with_suffix(path, &format!(".{n}"))
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn append_to(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)
}
