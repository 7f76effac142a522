//! `logs`: what a container wrote, from its json-file log.
//!
//! The log is `ID-json.log`, and below it the files that were rotated away: `.1` is the newest of them. The files are
//! opened before the first is read, so that a rotation meanwhile neither loses nor repeats a line.

mod entry;
mod follow;
mod tail;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use hull_spec::container::Record;
use jiff::Timestamp;

use super::{find, status};
use crate::{Engine, Error, Result};

pub use entry::{Entry, Stream};

/// The longest line of a log that is read, in bytes. The monitor writes entries of 16 KiB, which JSON makes at most six
/// times as long.
const LINE_MAX: u64 = 1 << 20;

/// What of a log is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogsRequest {
    /// Go on until the container stops.
    pub follow: bool,
    /// Only so many of the last entries.
    pub tail: Option<u64>,
    /// Only entries from this moment on.
    pub since: Option<Timestamp>,
    /// Only entries up to this moment.
    pub until: Option<Timestamp>,
    /// Whether standard output is wanted.
    pub stdout: bool,
    /// Whether standard error is wanted.
    pub stderr: bool,
}

impl Default for LogsRequest {
    fn default() -> Self {
        Self {
            follow: false,
            tail: None,
            since: None,
            until: None,
            stdout: true,
            stderr: true,
        }
    }
}

/// Gives the entries of a container's log to `sink`, oldest first, until there are no more or `sink` returns `false`.
///
/// # Errors
/// If there is no such container, its log driver keeps nothing that can be read, or the log cannot be read.
pub fn logs(engine: &Engine, name: &str, request: &LogsRequest, sink: &mut dyn FnMut(&Entry) -> bool) -> Result<()> {
    let record = find(engine, name)?;
    if !matches!(record.host_config.log_config.driver.as_str(), "" | "json-file") {
        return Err(Error::LogDriver {
            driver: record.host_config.log_config.driver.clone(),
        });
    }
    let log = Log::new(engine, &record);
    // A container that never ran has nothing to follow, and Docker does not wait for it to start.
    let follower = match request.follow && status::derive(engine, &record)?.live.is_some() {
        // The watch begins before the files are opened: what is written in between wakes it.
        true => Some(follow::Follower::new(engine, &log)?),
        false => None,
    };
    let mut filter = Filter { request, sink };
    let mut files = log.open()?;
    if let Some(lines) = request.tail {
        tail::seek(&log, &mut files, lines)?;
    } else if let Some(since) = request.since {
        files.retain(|file| !file.is_older(since));
    }
    let mut current = None;
    for file in files {
        let mut reader = LineReader::new(file);
        if reader.drain(&log, &mut filter)?.is_break() {
            return Ok(());
        }
        current = Some(reader);
    }
    match follower {
        Some(follower) => follower.run(engine, &log, current, &mut filter),
        None => Ok(()),
    }
}

/// Where a container's log is.
#[derive(Debug)]
struct Log {
    id: String,
    dir: PathBuf,
    file: String,
}

impl Log {
    fn new(engine: &Engine, record: &Record) -> Self {
        Self {
            id: record.id.clone(),
            dir: engine.container_dir(&record.id),
            file: format!("{}-json.log", record.id),
        }
    }

    fn path(&self, rotation: u32) -> PathBuf {
        match rotation {
            0 => self.dir.join(&self.file),
            n => self.dir.join(format!("{}.{n}", self.file)),
        }
    }

    fn read_error(&self, source: std::io::Error) -> Error {
        Error::Read {
            path: self.path(0),
            source,
        }
    }

    /// Opens the file of one rotation; `None` where there is none.
    fn open_one(&self, rotation: u32) -> Result<Option<LogFile>> {
        let path = self.path(rotation);
        let read = |source| Error::Read {
            path: path.clone(),
            source,
        };
        match File::open(&path) {
            Ok(file) => Ok(Some(LogFile {
                inode: file.metadata().map_err(read)?.ino(),
                file,
            })),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(read(e)),
        }
    }

    /// Opens all files of the log, oldest first.
    fn open(&self) -> Result<Vec<LogFile>> {
        self.open_after(None)
    }

    /// Opens the files that are newer than the one with this inode, oldest first; all, where it is gone.
    ///
    /// A rotation renames from the oldest to the newest, so a walk from the newest to the oldest may meet a file twice,
    /// under two names, and never misses one: the second meeting is left out. A walk in which the newest has changed
    /// is done again.
    fn open_after(&self, inode: Option<u64>) -> Result<Vec<LogFile>> {
        loop {
            let mut files: Vec<LogFile> = Vec::new();
            for rotation in 0.. {
                match self.open_one(rotation)? {
                    Some(file) if Some(file.inode) == inode => break,
                    Some(file) if files.iter().any(|f| f.inode == file.inode) => {}
                    Some(file) => files.push(file),
                    // Between two renames of a rotation there may be no newest file.
                    None if rotation == 0 => {}
                    None => break,
                }
            }
            let newest = self.open_one(0)?.map(|file| file.inode);
            let seen = files.first().map(|file| file.inode);
            if newest.is_none() || newest == seen || newest == inode {
                files.reverse();
                return Ok(files);
            }
        }
    }
}

/// An open file of a log.
#[derive(Debug)]
struct LogFile {
    file: File,
    inode: u64,
}

impl LogFile {
    /// Whether nothing was written to it since `moment`.
    fn is_older(&self, moment: Timestamp) -> bool {
        self.file.metadata().is_ok_and(|m| {
            let nanos = i32::try_from(m.mtime_nsec()).unwrap_or(0);
            Timestamp::new(m.mtime(), nanos).is_ok_and(|written| written < moment)
        })
    }
}

/// Reads whole lines of one file; a line that is still being written stays for the next time.
#[derive(Debug)]
struct LineReader {
    inode: u64,
    file: BufReader<File>,
    line: Vec<u8>,
}

impl LineReader {
    fn new(file: LogFile) -> Self {
        Self {
            inode: file.inode,
            file: BufReader::with_capacity(64 << 10, file.file),
            line: Vec::new(),
        }
    }

    /// Gives all whole lines to the filter.
    fn drain(&mut self, log: &Log, filter: &mut Filter<'_>) -> Result<std::ops::ControlFlow<()>> {
        loop {
            let room = LINE_MAX.saturating_sub(self.line.len() as u64);
            (&mut self.file)
                .take(room)
                .read_until(b'\n', &mut self.line)
                .map_err(|e| log.read_error(e))?;
            if self.line.last() != Some(&b'\n') {
                if self.line.len() as u64 >= LINE_MAX {
                    // No entry is so long: what is left of it is skipped as a line of its own.
                    self.line.clear();
                    continue;
                }
                return Ok(std::ops::ControlFlow::Continue(()));
            }
            if let Some(entry) = Entry::read(&self.line)
                && filter.give(&entry).is_break()
            {
                return Ok(std::ops::ControlFlow::Break(()));
            }
            self.line.clear();
        }
    }

    /// Starts again where a file was cut short under us (`truncate -s0`, as people do to logs).
    fn rewind_if_cut(&mut self) -> std::io::Result<()> {
        let at = self.file.stream_position()?;
        if self.file.get_ref().metadata()?.len() < at {
            self.file.seek(SeekFrom::Start(0))?;
            self.line.clear();
        }
        Ok(())
    }
}

/// Passes on what is wanted.
struct Filter<'a> {
    request: &'a LogsRequest,
    sink: &'a mut dyn FnMut(&Entry) -> bool,
}

impl Filter<'_> {
    fn give(&mut self, entry: &Entry) -> std::ops::ControlFlow<()> {
        use std::ops::ControlFlow::{Break, Continue};
        let wanted = match entry.stream {
            Stream::Stdout => self.request.stdout,
            Stream::Stderr => self.request.stderr,
        };
        if !wanted {
            return Continue(());
        }
        if self.request.since.is_some() || self.request.until.is_some() {
            let Some(time) = crate::elapsed::moment(&entry.time) else {
                return Continue(());
            };
            if self.request.since.is_some_and(|since| time < since) {
                return Continue(());
            }
            if self.request.until.is_some_and(|until| time > until) {
                return Break(());
            }
        }
        if (self.sink)(entry) { Continue(()) } else { Break(()) }
    }
}
