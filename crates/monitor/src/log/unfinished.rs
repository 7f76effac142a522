//! How far the log has come, in a file that outlives the monitor: lines whose end has not come yet, and what has been
//! written of a pipe whose bytes are still in it.
//!
//! The file is `RUN/containers/ID/unfinished`, in memory where the run root is a tmpfs. It is written after each write to
//! the log, and says at which place of the log that was. The bytes leave the pipe after that. So whoever finds it knows
//! - by a log that has gone on since: that what is there more was not taken from the pipe. It is cut off, and read again.
//! - by bytes that are still at the front of the pipe though they are said to be in the log: that they are to be dropped.
//!
//! Where the log is another file by now, it is void.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use super::{LINE_MAX, Line, Moment, Parts};
use crate::error::{Result, io_at};

/// What the file begins with.
const MAGIC: u32 = 0x3246_5548;
/// How much is kept of the bytes that are to leave the pipe, to know them again.
const FRONT: usize = 64;
/// The magic number; the log's inode and length; whether entries wait for room on the disk; the stream that bytes are to
/// leave (its number and one) or 0; how many they are; how many are kept of them, and those.
const START: usize = 4 + 16 + 1 + 1 + 4 + 1 + FRONT;
/// Where the stream's number is.
const STREAM_AT: u64 = 4 + 16 + 1;

/// Per line: its length, its number among the parts of its text, the first part's time, the parts' ID.
const LINE_HEAD: usize = 4 + 4 + 8 + 16;
/// Then two lines' heads.
const HEAD: usize = START + 2 * LINE_HEAD;

/// Bytes that are in the log, and perhaps in their pipe still.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// 0 for standard output, 1 for standard error.
    pub(crate) stream: usize,
    pub(crate) length: usize,
    /// The first of them.
    pub(crate) front: Vec<u8>,
}

/// What an earlier monitor has left.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Found {
    pub(super) lines: [Line; 2],
    pub(super) taken: Option<Taken>,
    /// How long the log was when that was written; what is there more is to be read again.
    pub(super) length: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Unfinished {
    file: File,
    /// Whether the file says that there are none.
    empty: bool,
    buffer: Vec<u8>,
}

impl Unfinished {
    /// Opens the file and takes from it what was so at `position` of the log.
    pub(super) fn open(path: &Path, position: (u64, u64)) -> Result<(Self, Found)> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path).map_err(io_at("open", path))?;
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut &file, &mut bytes).map_err(io_at("read", path))?;
        let found = read(&bytes, position);
        let empty = bytes.is_empty();
        let opened = Self {
            file,
            empty,
            buffer: Vec::new(),
        };
        Ok((opened, found.unwrap_or_default()))
    }

    /// Writes down how far the log has come: where it ends, whether entries wait for room, what is unfinished, and what is
    /// about to leave its pipe. Without any of it there is nothing to write down.
    pub(super) fn save(&mut self, lines: &[Line; 2], place: impl FnOnce() -> Place, taken: Option<(usize, &[u8])>) {
        let none = lines.iter().all(|line| line.bytes.is_empty() && line.parts.is_none());
        if none && taken.is_none() && self.empty {
            return;
        }
        let Place {
            position: (inode, size),
            waiting,
        } = place();
        let (stream, bytes) = taken.map_or((0, &[][..]), |(stream, bytes)| (stream + 1, bytes));
        let front = &bytes[..bytes.len().min(FRONT)];
        let small = |n: usize| u8::try_from(n).unwrap_or(0);
        self.buffer.clear();
        self.buffer.extend_from_slice(&MAGIC.to_le_bytes());
        self.buffer.extend_from_slice(&inode.to_le_bytes());
        self.buffer.extend_from_slice(&size.to_le_bytes());
        self.buffer.push(u8::from(waiting));
        self.buffer.push(small(stream));
        self.buffer
            .extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(0).to_le_bytes());
        self.buffer.push(small(front.len()));
        self.buffer.extend_from_slice(front);
        self.buffer.resize(START, 0);
        for line in lines {
            let length = u32::try_from(line.bytes.len()).unwrap_or(0);
            let parts = line.parts.unwrap_or_default();
            self.buffer.extend_from_slice(&length.to_le_bytes());
            self.buffer.extend_from_slice(&parts.ordinal.to_le_bytes());
            self.buffer.extend_from_slice(&parts.time.nanos.to_le_bytes());
            self.buffer.extend_from_slice(&parts.id);
        }
        for line in lines {
            self.buffer.extend_from_slice(&line.bytes);
        }
        // What follows the lines is left from longer ones; nobody reads it.
        let written = self.file.write_all_at(&self.buffer, 0);
        self.empty = written.is_ok() && none && taken.is_none();
        if none && self.buffer.capacity() > 1 << 10 {
            self.buffer = Vec::new();
        }
    }

    /// The bytes have left their pipe.
    pub(super) fn left(&self) {
        let _ = self.file.write_all_at(&[0], STREAM_AT);
    }
}

/// Where the log ends, and whether there are entries that it has yet to get.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    pub(super) position: (u64, u64),
    pub(super) waiting: bool,
}

fn read(bytes: &[u8], position: (u64, u64)) -> Option<Found> {
    let mut rest = bytes;
    let mut number = |length: usize| -> Option<u64> {
        let (head, tail) = rest.split_at_checked(length)?;
        rest = tail;
        let mut all = [0; 8];
        all[..length].copy_from_slice(head);
        Some(u64::from_le_bytes(all))
    };
    if number(4)? != u64::from(MAGIC) || number(8)? != position.0 {
        return None;
    }
    let length = number(8)?;
    let waiting = number(1)? != 0;
    // A log that was cut short is another one. What has come in from memory was taken long ago.
    if length > position.1 || (length < position.1 && waiting) {
        return None;
    }
    let stream = usize::try_from(number(1)?).ok()?;
    let taken = usize::try_from(number(4)?).ok()?;
    let kept = usize::try_from(number(1)?).ok().filter(|n| *n <= FRONT)?;
    let mut rest = bytes.get(START..)?;
    let mut number = |length: usize| -> Option<u64> {
        let (head, tail) = rest.split_at_checked(length)?;
        rest = tail;
        let mut all = [0; 8];
        all[..length].copy_from_slice(head);
        Some(u64::from_le_bytes(all))
    };
    let mut lines: [Line; 2] = Default::default();
    let mut lengths = [0; 2];
    for (line, length) in lines.iter_mut().zip(&mut lengths) {
        *length = usize::try_from(number(4)?).ok().filter(|n| *n <= LINE_MAX)?;
        let ordinal = u32::try_from(number(4)?).ok()?;
        let time = Moment {
            nanos: number(8)?.cast_signed(),
        };
        let (one, two) = (number(8)?, number(8)?);
        let mut id = [0; 16];
        id[..8].copy_from_slice(&one.to_le_bytes());
        id[8..].copy_from_slice(&two.to_le_bytes());
        line.parts = (ordinal > 0).then_some(Parts { time, ordinal, id });
    }
    let mut rest = bytes.get(HEAD..)?;
    for (line, length) in lines.iter_mut().zip(lengths) {
        let (head, tail) = rest.split_at_checked(length)?;
        line.bytes = head.to_vec();
        rest = tail;
    }
    // Where the log has gone on, the bytes of that time have left.
    let still = length == position.1 && (1..=2).contains(&stream) && taken > 0;
    Some(Found {
        lines,
        taken: still.then(|| Taken {
            stream: stream - 1,
            length: taken,
            front: bytes[START - FRONT..START - FRONT + kept].to_vec(),
        }),
        length: (length < position.1).then_some(length),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(position: (u64, u64)) -> impl FnOnce() -> Place {
        move || Place {
            position,
            waiting: false,
        }
    }

    #[test]
    fn lines_come_back_at_their_place_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("unfinished");
        let open = |position| Unfinished::open(&path, position).unwrap();
        let (mut file, found) = open((1, 2));
        assert_eq!(found, Found::default());
        let mut lines: [Line; 2] = Default::default();
        file.save(&lines, || panic!("nothing to write"), None);
        lines[0].bytes = vec![b'x'; LINE_MAX];
        file.save(&lines, at((1, 2)), None);
        lines[0].bytes = b"half\0".to_vec();
        lines[1] = Line {
            bytes: b"other".to_vec(),
            parts: Some(Parts {
                time: Moment { nanos: -5 },
                ordinal: 3,
                id: [7; 16],
            }),
        };
        file.save(&lines, at((1, 9)), None);
        assert_eq!(open((1, 9)).1.lines, lines);
        assert_eq!(open((1, 2)).1, Found::default());
        assert_eq!(open((2, 9)).1, Found::default());
        // The log has gone on, but not the file.
        let found = open((1, 12)).1;
        assert_eq!((found.lines, found.length), (lines, Some(9)));
        file.save(&Default::default(), at((1, 9)), None);
        assert_eq!(open((1, 9)).1, Found::default());
        for length in 0..HEAD + 12 {
            let mut bytes = vec![0xff; length];
            bytes[..length.min(20)].fill(0);
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(open((0, 0)).1, Found::default(), "{length} bytes of nonsense");
        }
    }

    #[test]
    fn what_is_about_to_leave_is_known_until_it_has_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("unfinished");
        let open = |position| Unfinished::open(&path, position).unwrap().1;
        let (mut file, _) = Unfinished::open(&path, (1, 0)).unwrap();
        let lines = Default::default();
        let long = [b'y'; 1000];
        for bytes in [&b"a\n"[..], &long] {
            file.save(&lines, at((1, 50)), Some((1, bytes)));
            let taken = Taken {
                stream: 1,
                length: bytes.len(),
                front: bytes[..bytes.len().min(FRONT)].to_vec(),
            };
            assert_eq!(open((1, 50)).taken, Some(taken));
            // More is in the log: these are gone, and the rest comes again.
            assert_eq!((open((1, 60)).taken, open((1, 60)).length), (None, Some(50)));
            file.left();
            assert_eq!(open((1, 50)).taken, None);
        }
        let waiting = || Place {
            position: (1, 50),
            waiting: true,
        };
        file.save(&lines, waiting, Some((0, b"x\n")));
        assert_eq!(open((1, 60)), Found::default());
    }
}
