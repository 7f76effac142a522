//! Lines whose end has not come yet, in a file that outlives the monitor.
//!
//! The file is `RUN/containers/ID/unfinished`, in memory where the run root is a tmpfs. It is written whenever what has
//! been read ends within a line, and says at which place of the log that was: a log that has gone on since makes it void.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use super::{LINE_MAX, Line, Moment, Parts};
use crate::error::{Result, io_at};

/// Per line: its length, its number among the parts of its text, the first part's time, the parts' ID.
const LINE_HEAD: usize = 4 + 4 + 8 + 16;
/// The log's inode and length, then two lines' heads.
const HEAD: usize = 16 + 2 * LINE_HEAD;

#[derive(Debug)]
pub(super) struct Unfinished {
    file: File,
    /// Whether the file says that there are none.
    empty: bool,
    buffer: Vec<u8>,
}

impl Unfinished {
    /// Opens the file and takes from it what was unfinished at `position` of the log.
    pub(super) fn open(path: &Path, position: (u64, u64)) -> Result<(Self, [Line; 2])> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path).map_err(io_at("open", path))?;
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut &file, &mut bytes).map_err(io_at("read", path))?;
        let lines = read(&bytes, position);
        let empty = bytes.is_empty();
        let opened = Self {
            file,
            empty,
            buffer: Vec::new(),
        };
        Ok((opened, lines.unwrap_or_default()))
    }

    /// Writes down what is unfinished.
    pub(super) fn save(&mut self, lines: &[Line; 2], position: impl FnOnce() -> (u64, u64)) {
        let none = lines.iter().all(|line| line.bytes.is_empty() && line.parts.is_none());
        if none && self.empty {
            return;
        }
        let (inode, size) = position();
        self.buffer.clear();
        self.buffer.extend_from_slice(&inode.to_le_bytes());
        self.buffer.extend_from_slice(&size.to_le_bytes());
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
        self.empty = self.file.write_all_at(&self.buffer, 0).is_ok() && none;
        if none && self.buffer.capacity() > 1 << 10 {
            self.buffer = Vec::new();
        }
    }
}

fn read(bytes: &[u8], position: (u64, u64)) -> Option<[Line; 2]> {
    let mut rest = bytes;
    let mut number = |length: usize| -> Option<u64> {
        let (head, tail) = rest.split_at_checked(length)?;
        rest = tail;
        let mut all = [0; 8];
        all[..length].copy_from_slice(head);
        Some(u64::from_le_bytes(all))
    };
    if (number(8)?, number(8)?) != position {
        return None;
    }
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
    Some(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_back_at_their_place_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("unfinished");
        let open = |position| Unfinished::open(&path, position).unwrap();
        let (mut file, lines) = open((1, 2));
        assert_eq!(lines, <[Line; 2]>::default());
        let mut lines: [Line; 2] = Default::default();
        file.save(&lines, || panic!("nothing to write"));
        lines[0].bytes = vec![b'x'; LINE_MAX];
        file.save(&lines, || (1, 2));
        lines[0].bytes = b"half\0".to_vec();
        lines[1] = Line {
            bytes: b"other".to_vec(),
            parts: Some(Parts {
                time: Moment { nanos: -5 },
                ordinal: 3,
                id: [7; 16],
            }),
        };
        file.save(&lines, || (1, 9));
        assert_eq!(open((1, 9)).1, lines);
        assert_eq!(open((1, 2)).1, <[Line; 2]>::default());
        assert_eq!(open((2, 9)).1, <[Line; 2]>::default());
        file.save(&Default::default(), || (1, 9));
        assert_eq!(open((1, 9)).1, <[Line; 2]>::default());
        for length in 0..HEAD + 12 {
            let mut bytes = vec![0xff; length];
            bytes[..length.min(16)].fill(0);
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(open((0, 0)).1, <[Line; 2]>::default(), "{length} bytes of nonsense");
        }
    }
}
