//! The log of a container in Docker's `json-file` form: one JSON object a line,
//! `{"log":"text\n","stream":"stdout","time":"2026-01-02T03:04:05.000000006Z"}`, in files of a bounded size.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::{Result, io_at};
use crate::launch::LogPlan;

/// Docker splits lines that are longer.
const LINE_MAX: usize = 16 << 10;

/// Where the bytes came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// A log that is being written.
#[derive(Debug)]
pub(crate) struct Log {
    file: Option<Rotating>,
    /// The beginning of a line whose end has not come yet, of each stream.
    partial: [Vec<u8>; 2],
    /// Entries that are not in the file yet.
    pending: Vec<u8>,
    /// Entries that were lost because the disk was full.
    lost: u64,
}

#[derive(Debug)]
struct Rotating {
    path: PathBuf,
    file: File,
    size: u64,
    max_size: Option<u64>,
    max_files: u32,
}

impl Log {
    /// Opens the log, going on where it ended.
    pub(crate) fn open(plan: &LogPlan) -> Result<Self> {
        let file = match plan {
            LogPlan::None => None,
            LogPlan::JsonFile {
                path,
                max_size,
                max_files,
            } => {
                let file = append_to(path).map_err(io_at("open log", path))?;
                let size = file.metadata().map_err(io_at("open log", path))?.len();
                Some(Rotating {
                    path: path.clone(),
                    file,
                    size,
                    max_size: *max_size,
                    max_files: *max_files,
                })
            }
        };
        Ok(Self {
            file,
            partial: [Vec::new(), Vec::new()],
            pending: Vec::new(),
            lost: 0,
        })
    }

    /// Takes bytes of a stream. Whole lines go to the file; the rest waits for its end.
    pub(crate) fn write(&mut self, stream: Stream, mut bytes: &[u8]) {
        if self.file.is_none() {
            return;
        }
        let time = now();
        while !bytes.is_empty() {
            let partial = &mut self.partial[stream as usize];
            let room = LINE_MAX - partial.len();
            let line_end = bytes.iter().take(room).position(|&b| b == b'\n').map(|at| at + 1);
            let take = line_end.unwrap_or(bytes.len().min(room));
            let (head, tail) = bytes.split_at(take);
            bytes = tail;
            if line_end.is_none() && partial.len() + head.len() < LINE_MAX {
                partial.extend_from_slice(head);
                break;
            }
            let mut line = std::mem::take(partial);
            let whole: &[u8] = if line.is_empty() {
                head
            } else {
                line.extend_from_slice(head);
                &line
            };
            entry(&mut self.pending, whole, stream, &time);
            line.clear();
            self.partial[stream as usize] = line;
        }
        self.flush();
    }

    /// Writes what waits for the end of its line: there will be none.
    pub(crate) fn finish(&mut self) {
        if self.file.is_none() {
            return;
        }
        let time = now();
        for stream in [Stream::Stdout, Stream::Stderr] {
            let line = std::mem::take(&mut self.partial[stream as usize]);
            if !line.is_empty() {
                entry(&mut self.pending, &line, stream, &time);
            }
        }
        self.flush();
    }

    /// Puts the pending entries into the file, a whole number of them.
    fn flush(&mut self) {
        let Some(file) = &mut self.file else { return };
        if self.pending.is_empty() {
            return;
        }
        if file.put(&self.pending).is_err() {
            // A full disk must not stop the container; that lines are missing is said once there is room.
            self.lost += 1;
        } else if self.lost > 0 {
            let note = format!(
                "hull: {} writes to this log were lost: no space or an error on the disk\n",
                self.lost
            );
            let mut text = Vec::new();
            entry(&mut text, note.as_bytes(), Stream::Stderr, &now());
            if file.put(&text).is_ok() {
                self.lost = 0;
            }
        }
        self.pending.clear();
        // One burst must not keep its memory for ever.
        if self.pending.capacity() > 256 << 10 {
            self.pending = Vec::new();
        }
    }
}

impl Rotating {
    /// Appends whole entries, going on in a new file wherever one would become too large.
    fn put(&mut self, mut entries: &[u8]) -> std::io::Result<()> {
        while !entries.is_empty() {
            let room = self.max_size.map_or(u64::MAX, |max| max.saturating_sub(self.size));
            let room = usize::try_from(room).unwrap_or(usize::MAX);
            let end_of_entry = |bytes: &[u8]| bytes.iter().position(|&b| b == b'\n').map_or(bytes.len(), |at| at + 1);
            let fits = match entries.len() <= room {
                true => entries.len(),
                false => entries[..room].iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1),
            };
            // An entry that is larger than a file has one to itself.
            let length = if fits == 0 && self.size == 0 {
                end_of_entry(entries)
            } else {
                fits
            };
            if length == 0 {
                self.rotate()?;
                continue;
            }
            let (head, tail) = entries.split_at(length);
            self.append(head)?;
            entries = tail;
        }
        Ok(())
    }

    fn append(&mut self, entries: &[u8]) -> std::io::Result<()> {
        match self.file.write_all(entries) {
            Ok(()) => {
                self.size += entries.len() as u64;
                Ok(())
            }
            Err(e) => {
                // Half an entry would make the whole file unreadable for Docker's own tools.
                let _ = self.file.set_len(self.size);
                Err(e)
            }
        }
    }

    fn rotate(&mut self) -> std::io::Result<()> {
        if self.max_files <= 1 {
            self.file.set_len(0)?;
            self.size = 0;
            return Ok(());
        }
        for n in (1..self.max_files - 1).rev() {
            match std::fs::rename(numbered(&self.path, n), numbered(&self.path, n + 1)) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        std::fs::rename(&self.path, numbered(&self.path, 1))?;
        self.file = append_to(&self.path)?;
        self.size = 0;
        Ok(())
    }
}

fn numbered(path: &Path, n: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{n}"));
    name.into()
}

fn append_to(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

/// The time as Docker writes it: RFC 3339 in UTC with nanoseconds.
pub(crate) fn now() -> String {
    let now = jiff::Timestamp::now();
    format!("{now:.9}")
}

/// Appends one entry, escaped as Go's encoder does it (`<`, `>`, `&`, U+2028 and U+2029 too; what is no UTF-8 becomes
/// U+FFFD), so that a file of ours and one of Docker's cannot be told apart.
fn entry(out: &mut Vec<u8>, line: &[u8], stream: Stream, time: &str) {
    out.extend_from_slice(b"{\"log\":\"");
    for chunk in line.utf8_chunks() {
        escape(out, chunk.valid());
        for _ in chunk.invalid() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
    out.extend_from_slice(b"\",\"stream\":\"");
    out.extend_from_slice(stream.name().as_bytes());
    out.extend_from_slice(b"\",\"time\":\"");
    out.extend_from_slice(time.as_bytes());
    out.extend_from_slice(b"\"}\n");
}

fn escape(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut from = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        let plain = byte >= 0x20 && !matches!(byte, b'"' | b'\\' | b'<' | b'>' | b'&' | 0xe2 | 0x7f);
        if plain {
            continue;
        }
        let short: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0xe2 => match bytes.get(at..at + 3) {
                Some([_, 0x80, 0xa8]) => b"\\u2028",
                Some([_, 0x80, 0xa9]) => b"\\u2029",
                _ => continue,
            },
            0x7f => continue,
            _ => b"",
        };
        out.extend_from_slice(&bytes[from..at]);
        if short.is_empty() {
            let hex = |n: u8| b"0123456789abcdef"[usize::from(n)];
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', hex(byte >> 4), hex(byte & 15)]);
            from = at + 1;
        } else {
            out.extend_from_slice(short);
            from = at + if byte == 0xe2 { 3 } else { 1 };
        }
    }
    out.extend_from_slice(&bytes[from..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(folder: &Path, max_size: Option<u64>, max_files: u32) -> (LogPlan, PathBuf) {
        let path = folder.join("x-json.log");
        (
            LogPlan::JsonFile {
                path: path.clone(),
                max_size,
                max_files,
            },
            path,
        )
    }

    fn texts(path: &Path) -> Vec<(String, String)> {
        let text = std::fs::read_to_string(path).unwrap();
        let parse = |line: &str| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(value["time"].as_str().unwrap().ends_with('Z'));
            (
                value["stream"].as_str().unwrap().to_owned(),
                value["log"].as_str().unwrap().to_owned(),
            )
        };
        text.lines().map(parse).collect()
    }

    #[test]
    fn lines_are_kept_whole_and_streams_apart() {
        let folder = tempfile::tempdir().unwrap();
        let (plan, path) = plan(folder.path(), None, 3);
        let mut log = Log::open(&plan).unwrap();
        log.write(Stream::Stdout, b"one\ntw");
        log.write(Stream::Stderr, b"err\n");
        log.write(Stream::Stdout, b"o\n\xff<\"\\\x01\xe2\x80\xa8end");
        log.finish();
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(
            texts(&path),
            [
                pair("stdout", "one\n"),
                pair("stderr", "err\n"),
                pair("stdout", "two\n"),
                pair("stdout", "\u{fffd}<\"\\\u{1}\u{2028}end")
            ]
        );
        let raw = std::fs::read_to_string(&path).unwrap();
        assert!(
            raw.contains(r#"{"log":"\ufffd\u003c\"\\\u0001\u2028end","stream":"stdout","time":"2"#),
            "{raw}"
        );
    }

    #[test]
    fn long_lines_are_split_and_nothing_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let (plan, path) = plan(folder.path(), None, 3);
        let mut log = Log::open(&plan).unwrap();
        let text = "x".repeat(40_000) + "\n";
        for chunk in text.as_bytes().chunks(777) {
            log.write(Stream::Stdout, chunk);
        }
        log.finish();
        let parts = texts(&path);
        assert_eq!(
            parts.iter().map(|(_, t)| t.len()).collect::<Vec<_>>(),
            [LINE_MAX, LINE_MAX, 40_001 - 2 * LINE_MAX]
        );
        assert_eq!(parts.concat_text(), text);
    }

    trait Concat {
        fn concat_text(&self) -> String;
    }

    impl Concat for Vec<(String, String)> {
        fn concat_text(&self) -> String {
            self.iter().map(|(_, t)| t.as_str()).collect()
        }
    }

    #[test]
    fn one_burst_is_spread_over_files_of_the_right_size() {
        let folder = tempfile::tempdir().unwrap();
        let (plan, path) = plan(folder.path(), Some(1000), 4);
        let mut log = Log::open(&plan).unwrap();
        let long = "x".repeat(2000);
        let text: String = (0..40).map(|n| format!("line {n}\n")).collect::<String>() + &long + "\nlast\n";
        log.write(Stream::Stdout, text.as_bytes());
        let mut all = Vec::new();
        for file in [numbered(&path, 3), numbered(&path, 2), numbered(&path, 1), path.clone()] {
            let lines = texts(&file);
            assert!(std::fs::metadata(&file).unwrap().len() <= 1000 || lines.len() == 1);
            all.extend(lines);
        }
        let kept = all.concat_text();
        assert!(text.ends_with(&kept) && kept.contains(&long), "{kept}");
    }

    #[test]
    fn rotation_keeps_the_newest_and_loses_no_line_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let (plan, path) = plan(folder.path(), Some(1000), 3);
        let mut log = Log::open(&plan).unwrap();
        for n in 0..100 {
            log.write(Stream::Stdout, format!("line {n}\n").as_bytes());
        }
        let mut all = Vec::new();
        for file in [numbered(&path, 2), numbered(&path, 1), path.clone()] {
            assert!(std::fs::metadata(&file).unwrap().len() <= 1000);
            all.extend(texts(&file));
        }
        assert!(!numbered(&path, 3).exists());
        let first = 100 - all.len();
        assert!(all.len() > 20);
        for (n, (_, text)) in all.iter().enumerate() {
            assert_eq!(*text, format!("line {}\n", first + n));
        }
    }
}
