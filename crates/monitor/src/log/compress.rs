//! Compresses files that are not written any more, in a process of its own, so that the container does not wait for it.
//! There is one such process a log at a time; it goes on as long as there is something to compress, and what is rotated
//! away meanwhile faster than it compresses stays as it is until then.
//!
//! A compressed file appears when it is whole, and only then goes the old one: a kill in between leaves both. It begins
//! with what it was made from, so that who follows a log knows it again: in gzip in the header's extra field, where Docker
//! has its own data, in zstd in a frame that decoders skip.
//!
//! The log's folder is locked while files get other names, here and in a rotation; a file is locked while it is being
//! compressed.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hull_sys::clone::{Fork, exit_now, fork};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{WaitId, WaitIdOptions, waitid};
use serde::{Deserialize, Serialize};

use super::plan::{LogFile, LogForm};
use super::rotate::{numbered, with_suffix};

/// How long a rotation waits for another process that gives files other names, which takes it microseconds.
const PATIENCE: Duration = Duration::from_secs(1);

/// Fast: a container that writes at full speed makes a new file several times a second.
const ZSTD_LEVEL: i32 = 1;

/// The magic number of the first kind of frame that zstd's decoders skip (RFC 8878).
const SKIPPABLE: u32 = 0x184d_2a50;

/// What a compressed file was made from. Nothing else has these three at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The inode of the file.
    pub inode: u64,
    /// Its length in bytes.
    pub size: u64,
    /// When it was last written, in nanoseconds since 1970.
    pub modified: i128,
}

impl Origin {
    /// What `file` is the origin of, once nothing is written to it any more.
    ///
    /// # Errors
    /// If its state cannot be read.
    pub fn of(file: &File) -> std::io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            inode: metadata.ino(),
            size: metadata.len(),
            modified: i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec()),
        })
    }

    /// Reads the origin from the beginning of a compressed file. `None` for a file that is not of our making, such as
    /// one of Docker's.
    pub fn read(form: LogForm, file: &mut impl Read) -> Option<Self> {
        match form {
            LogForm::JsonFile => {
                let mut head = [0; 12];
                file.read_exact(&mut head).ok()?;
                let extra = head[..4] == [0x1f, 0x8b, 8, 4];
                let length = usize::from(u16::from_le_bytes([head[10], head[11]]));
                let mut text = vec![0; if extra { length } else { return None }];
                file.read_exact(&mut text).ok()?;
                serde_json::from_slice(&text).ok()
            }
            LogForm::Local => {
                let mut head = [0; 8];
                file.read_exact(&mut head).ok()?;
                let (magic, length) = head.split_at(4);
                let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
                if magic != SKIPPABLE.to_le_bytes() || length > 4096 {
                    return None;
                }
                let mut text = vec![0; length];
                file.read_exact(&mut text).ok()?;
                serde_json::from_slice(&text).ok()
            }
        }
    }
}

/// Locks the folder of the log `path`, so that nobody else gives its files other names. A process that was stopped while
/// it had the lock is not waited for: it finds out.
pub(super) fn lock_names(path: &Path) -> Option<File> {
    let folder = File::open(path.parent()?).ok()?;
    let end = Instant::now() + PATIENCE;
    while flock(&folder, FlockOperation::NonBlockingLockExclusive).is_err() {
        if Instant::now() > end {
            return None;
        }
        std::thread::sleep(Duration::from_micros(100));
    }
    Some(folder)
}

/// A rotated file that is to be compressed, locked: the newest of those below `files`. `None` where there is none, or
/// where one is being compressed already. The names are locked.
pub(super) fn next(path: &Path, files: u32) -> Option<File> {
    let mut found = None;
    for n in 1..files {
        let Ok(file) = File::open(numbered(path, n)) else {
            continue;
        };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return None;
        }
        found.get_or_insert(file);
    }
    found
}

/// Begins to compress rotated files of the log `path`, `file` first. Where that fails, they stay as they are, which is as
/// good but larger.
pub(super) fn begin(file: File, plan: &LogFile) {
    match fork() {
        // A child of a child, whose end nobody need wait for.
        Ok(Fork::Child) => {
            hull_sys::exec::close_all_but(&mut [file.as_raw_fd()]);
            if matches!(fork(), Ok(Fork::Child)) {
                let _ = rustix::process::setpriority_process(None, 10);
                work(file, plan);
            }
            exit_now(0)
        }
        Ok(Fork::Parent(child)) => {
            use std::os::fd::AsFd;
            let ended = WaitIdOptions::EXITED;
            let _ = rustix::io::retry_on_intr(|| waitid(WaitId::PidFd(child.pidfd.as_fd()), ended));
        }
        // Several threads, or no process to be had.
        Err(_) => work(file, plan),
    }
}

/// Compresses one file after the other.
fn work(file: File, plan: &LogFile) {
    let temporary = with_suffix(&plan.path, &format!("{}.tmp", plan.form.suffix()));
    let mut current = file;
    loop {
        let written = write(&current, &temporary, plan.form);
        let Some(names) = lock_names(&plan.path) else { return };
        let replaced = written.and_then(|()| replace(&current, &temporary, plan));
        if replaced.is_err() {
            let _ = std::fs::remove_file(&temporary);
            return;
        }
        drop(current);
        let Some(next) = next(&plan.path, plan.max_files) else {
            return;
        };
        current = next;
        drop(names);
    }
}

/// Puts a compressed file into the place of what it was made from, under whatever name that has now. A file that was
/// rotated away altogether has none.
fn replace(file: &File, temporary: &Path, plan: &LogFile) -> std::io::Result<()> {
    let inode = file.metadata()?.ino();
    let is_it = |path: &PathBuf| std::fs::metadata(path).is_ok_and(|found| found.ino() == inode);
    let Some(path) = (1..plan.max_files).map(|n| numbered(&plan.path, n)).find(is_it) else {
        return std::fs::remove_file(temporary);
    };
    std::fs::rename(temporary, with_suffix(&path, plan.form.suffix()))?;
    std::fs::remove_file(path)
}

fn write(file: &File, to: &Path, form: LogForm) -> std::io::Result<()> {
    let origin = serde_json::to_vec(&Origin::of(file)?)?;
    let mut from = BufReader::with_capacity(256 << 10, file);
    let out = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o640)
        .open(to)?;
    let mut out = BufWriter::with_capacity(64 << 10, out);
    match form {
        LogForm::JsonFile => {
            let header = flate2::GzBuilder::new().extra(origin);
            let mut encoder = header.write(&mut out, flate2::Compression::fast());
            std::io::copy(&mut from, &mut encoder)?;
            encoder.finish()?;
        }
        LogForm::Local => {
            out.write_all(&SKIPPABLE.to_le_bytes())?;
            out.write_all(&u32::try_from(origin.len()).unwrap_or(0).to_le_bytes())?;
            out.write_all(&origin)?;
            zstd::stream::copy_encode(&mut from, &mut out, ZSTD_LEVEL)?;
        }
    }
    out.flush()
}
