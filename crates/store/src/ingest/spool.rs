//! What is done to directories only when everything in them is in place: owner, mode, attributes and times.
//!
//! Kept as bytes, one record after the other, in memory while they are few and in a file without a name when they are
//! many: an archive of millions of directories must not take memory for each.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Write};
use std::os::fd::BorrowedFd;

use rustix::fs::{Mode, OFlags};

use crate::tar::{Entry, Time};

const MEMORY: usize = 1 << 20;

#[derive(Default)]
pub(crate) struct Spool {
    bytes: Vec<u8>,
    file: Option<File>,
}

/// One directory's record.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// Cleaned; empty for the top.
    pub(crate) path: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Time,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Spool {
    /// Adds a directory. `dir` is on the file system that a large spool goes to.
    pub(crate) fn push(&mut self, dir: BorrowedFd<'_>, path: &[u8], entry: &Entry) -> io::Result<()> {
        for number in [entry.mode, entry.uid, entry.gid, entry.mtime.nanos] {
            self.bytes.extend_from_slice(&number.to_le_bytes());
        }
        self.bytes.extend_from_slice(&entry.mtime.seconds.to_le_bytes());
        self.text(path);
        self.number(entry.xattrs.len());
        for (name, value) in &entry.xattrs {
            self.text(name);
            self.text(value);
        }
        if self.bytes.len() > MEMORY {
            if self.file.is_none() {
                let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
                self.file = Some(rustix::fs::openat(dir, ".", flags, Mode::RUSR | Mode::WUSR)?.into());
            }
            if let Some(file) = &mut self.file {
                file.write_all(&self.bytes)?;
            }
            self.bytes.clear();
        }
        Ok(())
    }

    /// Calls `each` for every record, in the order in which they came.
    pub(crate) fn drain<E: From<io::Error>>(mut self, mut each: impl FnMut(&Record) -> Result<(), E>) -> Result<(), E> {
        let mut input: Box<dyn Read> = match self.file.take() {
            None => Box::new(io::empty()),
            Some(mut file) => {
                file.rewind()?;
                Box::new(BufReader::with_capacity(1 << 16, file))
            }
        };
        let mut input = input.by_ref().chain(&self.bytes[..]);
        let mut record = Record::default();
        while read(&mut input, &mut record)? {
            each(&record)?;
        }
        Ok(())
    }

    /// Lengths are bounded by an extended header's: a mebibyte.
    fn number(&mut self, number: usize) {
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(&number.to_le_bytes());
    }

    fn text(&mut self, text: &[u8]) {
        self.number(text.len());
        self.bytes.extend_from_slice(text);
    }
}

fn read(input: &mut dyn Read, record: &mut Record) -> io::Result<bool> {
    let mut first = [0; 1];
    if input.read(&mut first)? == 0 {
        return Ok(false);
    }
    let mut rest = [0; 3];
    input.read_exact(&mut rest)?;
    record.mode = u32::from_le_bytes([first[0], rest[0], rest[1], rest[2]]);
    record.uid = number(input)?;
    record.gid = number(input)?;
    record.mtime.nanos = number(input)?;
    let mut seconds = [0; 8];
    input.read_exact(&mut seconds)?;
    record.mtime.seconds = i64::from_le_bytes(seconds);
    record.path = text(input)?;
    let count = number(input)?;
    record.xattrs.clear();
    for _ in 0..count {
        record.xattrs.push((text(input)?, text(input)?));
    }
    Ok(true)
}

fn number(input: &mut dyn Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    input.read_exact(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

fn text(input: &mut dyn Read) -> io::Result<Vec<u8>> {
    let length = number(input)?;
    let mut out = Vec::new();
    input.take(u64::from(length)).read_to_end(&mut out)?;
    if out.len() != length as usize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn many_records_come_back_in_order_from_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let dir = File::open(dir.path()).unwrap();
        let mut spool = Spool::default();
        let entry = |n: u32| Entry {
            mode: n % 4096,
            uid: n,
            gid: n + 1,
            mtime: Time {
                seconds: -i64::from(n),
                nanos: n,
            },
            xattrs: vec![(b"user.n".to_vec(), n.to_le_bytes().to_vec())],
            ..Entry::default()
        };
        for n in 0..50_000 {
            spool.push(dir.as_fd(), n.to_string().as_bytes(), &entry(n)).unwrap();
        }
        assert!(spool.file.is_some() && spool.bytes.len() <= MEMORY);
        let mut next = 0;
        spool
            .drain(|record| {
                let expected = entry(next);
                assert_eq!(record.path, next.to_string().as_bytes());
                assert_eq!(
                    (record.mode, record.uid, record.gid),
                    (expected.mode, expected.uid, expected.gid)
                );
                assert_eq!((record.mtime, &record.xattrs), (expected.mtime, &expected.xattrs));
                next += 1;
                Ok::<(), io::Error>(())
            })
            .unwrap();
        assert_eq!(next, 50_000);
    }
}
