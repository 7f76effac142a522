//! Copying a file's data: by reference where the file system can (`FICLONE`), else in the kernel, else through a buffer.
//! Holes stay holes.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::Content;
use crate::error::Error;
use crate::tar::Entry;

const BUFFER: usize = 1 << 20;
/// What one call of the kernel copies: small enough that progress is seen and signals are heard.
const CHUNK: usize = 64 << 20;

pub(super) struct Copier<'c> {
    copied: &'c AtomicU64,
    buffer: Vec<u8>,
    /// Whether the last file could be cloned, or copied by the kernel: the next one is like it.
    clones: bool,
    kernel: bool,
}

/// What went wrong.
pub(super) enum Failure {
    Read(io::Error),
    Write(Errno),
}

impl Failure {
    pub(super) fn within(self, entry: &Entry, path: &Path) -> Error {
        match self {
            // The archive's own fault has its own words.
            Self::Read(error) if error.kind() == io::ErrorKind::InvalidData => super::refuse(entry, &error.to_string()),
            Self::Read(source) => Error::Io {
                act: "read the content of",
                path: path.to_owned(),
                source,
            },
            Self::Write(errno) => Error::Io {
                act: "write",
                path: path.to_owned(),
                source: errno.into(),
            },
        }
    }
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::Write(errno)
    }
}

impl<'c> Copier<'c> {
    pub(super) fn new(copied: &'c AtomicU64) -> Self {
        Self {
            copied,
            buffer: Vec::new(),
            clones: true,
            kernel: true,
        }
    }

    /// Fills the new file `to`.
    pub(super) fn copy(&mut self, content: &mut Content<'_>, to: &OwnedFd, entry: &Entry) -> Result<(), Failure> {
        match content {
            Content::Nothing => Ok(()),
            Content::File(from) => self.file(*from, to, entry.size),
            Content::Stream(stream) => self.stream(*stream, to, entry),
        }
    }

    fn stream(&self, stream: &mut dyn io::BufRead, to: &OwnedFd, entry: &Entry) -> Result<(), Failure> {
        let whole = [crate::tar::Extent {
            offset: 0,
            length: entry.size,
        }];
        let extents = entry.sparse.as_deref().unwrap_or(&whole);
        if entry.sparse.is_some() {
            rustix::fs::ftruncate(to, entry.size)?;
        }
        for extent in extents {
            let (mut at, end) = (extent.offset, extent.offset + extent.length);
            while at < end {
                let bytes = stream.fill_buf().map_err(Failure::Read)?;
                if bytes.is_empty() {
                    return Err(Failure::Read(io::ErrorKind::UnexpectedEof.into()));
                }
                let take = usize::try_from(end - at).unwrap_or(usize::MAX).min(bytes.len());
                let count = rustix::io::retry_on_intr(|| rustix::io::pwrite(to, &bytes[..take], at))?;
                stream.consume(count);
                at += count as u64;
                self.copied.fetch_add(count as u64, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    fn file(&mut self, from: BorrowedFd<'_>, to: &OwnedFd, size: u64) -> Result<(), Failure> {
        if size == 0 {
            return Ok(());
        }
        if self.clones {
            match rustix::fs::ioctl_ficlone(to, from) {
                Ok(()) => {
                    // It may have grown since it was looked at.
                    rustix::fs::ftruncate(to, size)?;
                    self.copied.fetch_add(size, Ordering::Relaxed);
                    return Ok(());
                }
                Err(_) => self.clones = false,
            }
        }
        let mut at = 0;
        while at < size {
            // A file system that knows of no holes says that all is data.
            let start = match rustix::fs::seek(from, SeekFrom::Data(at)) {
                Ok(start) => start.min(size),
                Err(Errno::NXIO) => size,
                Err(_) => at,
            };
            self.copied.fetch_add(start - at, Ordering::Relaxed);
            if start >= size {
                break;
            }
            let end = match rustix::fs::seek(from, SeekFrom::Hole(start)) {
                Ok(end) if end > start => end.min(size),
                _ => size,
            };
            if !self.stretch(from, to, start, end)? {
                break;
            }
            at = end;
        }
        // A hole at the end, or a file that was cut while it was read.
        rustix::fs::ftruncate(to, size)?;
        Ok(())
    }

    /// Copies bytes `start..end`. Returns whether there were as many.
    fn stretch(&mut self, from: BorrowedFd<'_>, to: &OwnedFd, start: u64, end: u64) -> Result<bool, Failure> {
        let mut at = start;
        while at < end {
            let want = usize::try_from(end - at).unwrap_or(usize::MAX);
            let count = if self.kernel {
                let (mut read, mut write) = (at, at);
                match rustix::fs::copy_file_range(from, Some(&mut read), to, Some(&mut write), want.min(CHUNK)) {
                    Err(Errno::NOSPC) => return Err(Errno::NOSPC.into()),
                    Err(Errno::INTR) => continue,
                    // Some file systems say zero where they cannot.
                    Err(_) | Ok(0) => {
                        self.kernel = false;
                        continue;
                    }
                    Ok(count) => count,
                }
            } else {
                self.buffer.resize(BUFFER, 0);
                let buffer = &mut self.buffer[..want.min(BUFFER)];
                let count = rustix::io::retry_on_intr(|| rustix::io::pread(from, &mut *buffer, at))
                    .map_err(|errno| Failure::Read(errno.into()))?;
                let mut done = 0;
                while done < count {
                    done +=
                        rustix::io::retry_on_intr(|| rustix::io::pwrite(to, &buffer[done..count], at + done as u64))?;
                }
                count
            };
            if count == 0 {
                return Ok(false);
            }
            at += count as u64;
            self.copied.fetch_add(count as u64, Ordering::Relaxed);
        }
        Ok(true)
    }
}
