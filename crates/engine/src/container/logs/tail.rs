//! The last lines of a log, found from its end.

use std::io::{Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use super::files::{Log, LogFile};
use super::scan;
use crate::Result;

/// Bytes that are read at once, backwards.
const BLOCK: usize = 64 << 10;

/// Leaves only the last `lines` lines of `files` (oldest first) to be read: drops the files before them and seeks the
/// first one that is left. A line that is still being written is not counted. The result is how many entries of the first
/// file are to be passed over all the same: a compressed file has no end to begin at.
pub(super) fn seek(log: &Log, files: &mut Vec<LogFile>, lines: u64) -> Result<u64> {
    let mut left = lines;
    for at in (0..files.len()).rev() {
        if files[at].compressed {
            let entries = scan::count(log, &files[at])?;
            if let Some(skip) = entries.checked_sub(left) {
                files.drain(..at);
                return Ok(skip);
            }
            left -= entries;
            continue;
        }
        let offset = start(&files[at], &mut left).map_err(|e| log.read_error(e))?;
        if let Some(offset) = offset {
            files[at]
                .file
                .seek(SeekFrom::Start(offset))
                .map_err(|e| log.read_error(e))?;
            files.drain(..at);
            return Ok(0);
        }
    }
    Ok(0)
}

/// Where the last `left` lines of a file begin; `None` where it has fewer, which are taken off `left`.
fn start(file: &LogFile, left: &mut u64) -> std::io::Result<Option<u64>> {
    let mut end = file.size;
    let mut block = vec![0; BLOCK];
    // The line feed that ends the last whole line begins no line that is wanted.
    let mut met_last = false;
    while end > 0 {
        let size = BLOCK.min(usize::try_from(end).unwrap_or(BLOCK));
        let from = end - size as u64;
        file.file.read_exact_at(&mut block[..size], from)?;
        for at in memchr::memrchr_iter(b'\n', &block[..size]) {
            if met_last {
                *left -= 1;
            }
            met_last = true;
            if *left == 0 {
                return Ok(Some(from + at as u64 + 1));
            }
        }
        end = from;
    }
    if met_last {
        *left -= 1;
    }
    Ok((*left == 0).then_some(0))
}
#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Write};

    use super::*;

    fn log_of(contents: &[&str]) -> (tempfile::TempDir, Log, Vec<LogFile>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x-json.log");
        let log = Log::new(path.clone(), hull_monitor::LogForm::JsonFile);
        for (at, content) in contents.iter().rev().enumerate() {
            let name = match at {
                0 => path.clone(),
                n => dir.path().join(format!("x-json.log.{n}")),
            };
            let mut file = File::create(name).unwrap();
            file.write_all(content.as_bytes()).unwrap();
        }
        let files = log.open().unwrap();
        (dir, log, files)
    }

    #[test]
    fn the_last_lines_are_found() {
        let long = format!("{}\n", "x".repeat(3 * BLOCK));
        for (contents, lines, expected) in [
            (&["a\nb\nc\n"][..], 0, ""),
            (&["a\nb\nc\n"][..], 1, "c\n"),
            (&["a\nb\nc\n"][..], 3, "a\nb\nc\n"),
            (&["a\nb\nc\n"][..], 9, "a\nb\nc\n"),
            (&["a\nb\n", "c\nd\n"][..], 1, "d\n"),
            (&["a\nb\n", "c\nd\n"][..], 2, "c\nd\n"),
            (&["a\nb\n", "c\nd\n"][..], 3, "b\nc\nd\n"),
            (&["a\nb\n", ""][..], 1, "b\n"),
            (&["a\n", "b\nhalf"][..], 1, "b\nhalf"),
            (&["a\n", "half"][..], 1, "a\nhalf"),
            (&["\n\n\n"][..], 2, "\n\n"),
            (&[][..], 2, ""),
            (&["a\n", long.as_str(), "b\n"][..], 2, &format!("{long}b\n")),
        ] {
            let (_dir, log, mut files) = log_of(contents);
            seek(&log, &mut files, lines).unwrap();
            let mut text = String::new();
            for mut file in files {
                file.file.read_to_string(&mut text).unwrap();
            }
            assert_eq!(text, expected, "{lines} of {contents:.20?}");
        }
    }
}
