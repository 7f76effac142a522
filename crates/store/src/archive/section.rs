//! A stretch of a file, read without moving the file's own position, so that many readers share it.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use crate::error::{At, Result};
use crate::hash::Hasher;

/// A stretch of a file.
#[derive(Clone, Debug)]
pub struct Section {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Section {
    pub(super) fn new(file: Arc<File>, at: u64, length: u64) -> Self {
        Self {
            file,
            at,
            end: at.saturating_add(length),
        }
    }

    /// A whole file.
    pub(crate) fn of(file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self::new(Arc::new(file), 0, length))
    }

    /// Bytes that were not read yet.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.end - self.at
    }

    /// Whether everything was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.at == self.end
    }

    /// Goes on behind the next `count` bytes, or at the end if there are fewer.
    #[must_use]
    pub fn skip(mut self, count: u64) -> Self {
        self.at = self.at.saturating_add(count).min(self.end);
        self
    }

    /// Where it lies: for whoever copies it by the kernel.
    #[must_use]
    pub fn parts(&self) -> (&File, u64) {
        (&self.file, self.at)
    }

    /// All of its bytes; the caller has looked at its length.
    pub(super) fn whole(mut self, place: &str) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        self.read_to_end(&mut out).at("read", place)?;
        Ok(out)
    }

    /// The first bytes, at most as many as `into` has. Returns how many there are.
    pub(super) fn peek(&self, into: &mut [u8]) -> io::Result<usize> {
        let mut copy = self.clone();
        let mut filled = 0;
        while filled < into.len() {
            match copy.read(&mut into[filled..])? {
                0 => break,
                count => filled += count,
            }
        }
        Ok(filled)
    }

    /// Its digest.
    pub(super) fn digest(&self) -> io::Result<hull_spec::Digest> {
        let mut hasher = Hasher::new(hull_spec::Algorithm::Sha256);
        let mut copy = self.clone();
        let mut buffer = vec![0; 256 << 10];
        loop {
            match copy.read(&mut buffer)? {
                0 => return Ok(hasher.finish()),
                count => hasher.update(&buffer[..count]),
            }
        }
    }
}

impl Read for Section {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let want = usize::try_from(self.len()).unwrap_or(usize::MAX).min(out.len());
        if want == 0 {
            return Ok(0);
        }
        let count = rustix::io::retry_on_intr(|| rustix::io::pread(&*self.file, &mut out[..want], self.at))?;
        if count == 0 {
            // It was cut since it was looked at.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += count as u64;
        Ok(count)
    }
}
