//! Reads the entries of one file, block by block.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::ops::ControlFlow;

use hull_monitor::LogForm;

use super::files::{Log, LogFile};
use super::{Filter, Told, json, local};
use crate::Result;

/// Bytes that are read at once.
const BLOCK: usize = 256 << 10;

/// The longest line that is read, in bytes. The monitor writes entries of 16 KiB, which JSON makes at most six times as
/// long.
const LINE_MAX: usize = 1 << 20;

/// A file that is read. An entry that is still being written stays for the next time.
pub(super) struct Scanner<'a> {
    log: &'a Log,
    pub(super) file: LogFile,
    reader: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    /// The part of the buffer that is not given yet.
    start: usize,
    end: usize,
    /// Whether the rest of a line is passed over: it was too long.
    skipping: bool,
    text: Vec<u8>,
    ending: json::Ending,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(log: &'a Log, file: LogFile) -> Result<Self> {
        Ok(Self {
            reader: log.reader(&file)?,
            log,
            file,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            skipping: false,
            text: Vec::new(),
            ending: json::Ending::default(),
        })
    }

    /// The same, of no more than was there when the file was opened: a container that writes faster than we read would have
    /// no end.
    pub(super) fn as_opened(log: &'a Log, file: LogFile) -> Result<Self> {
        let mut scanner = Self::new(log, file)?;
        if !scanner.file.compressed {
            let at = (&scanner.file.file).stream_position().map_err(|e| log.read_error(e))?;
            let left = scanner.file.size.saturating_sub(at);
            scanner.reader = Box::new(scanner.reader.take(left));
        }
        Ok(scanner)
    }

    /// Gives all whole entries to the filter.
    pub(super) fn drain<S: FnMut(Told<'_>) -> ControlFlow<()>>(
        &mut self,
        filter: &mut Filter<'_, S>,
    ) -> Result<ControlFlow<()>> {
        loop {
            if self.give(filter).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            if !self.fill(filter)? {
                return Ok(ControlFlow::Continue(()));
            }
        }
    }

    /// Says that nothing more will come: what is left is no entry.
    pub(super) fn finish<S: FnMut(Told<'_>) -> ControlFlow<()>>(&mut self, filter: &mut Filter<'_, S>) {
        if self.end > self.start {
            filter.flaws.damaged += 1;
            self.start = self.end;
        }
    }

    /// Reads more into the buffer. `false` where there is no more now.
    fn fill<S: FnMut(Told<'_>) -> ControlFlow<()>>(&mut self, filter: &mut Filter<'_, S>) -> Result<bool> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.end >= LINE_MAX {
            // No entry is so long.
            self.end = 0;
            if !self.skipping {
                filter.flaws.damaged += 1;
            }
            self.skipping = true;
        }
        if self.buffer.len() < self.end + BLOCK {
            self.buffer.resize(self.end + BLOCK, 0);
        }
        loop {
            match self.reader.read(&mut self.buffer[self.end..]) {
                Ok(0) => return Ok(false),
                Ok(n) => {
                    self.end += n;
                    return Ok(true);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                // What can still be read of a damaged file was.
                Err(_) if self.file.compressed => {
                    filter.flaws.damaged += 1;
                    self.reader = Box::new(std::io::empty());
                    return Ok(false);
                }
                Err(e) => return Err(self.log.read_error(e)),
            }
        }
    }

    /// Gives the whole entries of the buffer.
    fn give<S: FnMut(Told<'_>) -> ControlFlow<()>>(&mut self, filter: &mut Filter<'_, S>) -> ControlFlow<()> {
        let Self {
            buffer,
            start,
            end,
            skipping,
            text,
            ending,
            log,
            ..
        } = self;
        let bytes = &mut buffer[..*end];
        if *skipping {
            let Some(at) = memchr::memchr(b'\n', &bytes[*start..]) else {
                *start = *end;
                return ControlFlow::Continue(());
            };
            *start += at + 1;
            *skipping = false;
        }
        while *start < bytes.len() {
            let rest = &mut bytes[*start..];
            if log.form == LogForm::JsonFile {
                if let Some((entry, length)) = ending.entry(rest) {
                    *start += length;
                    filter.give(entry)?;
                    continue;
                }
                if let json::Found::Entry(entry, length) = json::usual(rest, text) {
                    *start += length;
                    ending.learn(&entry, &rest[..length]);
                    filter.give(entry)?;
                    continue;
                }
            }
            let Some(at) = memchr::memchr(b'\n', rest) else {
                break;
            };
            *start += at + 1;
            line(log.form, &rest[..=at], filter)?;
        }
        ControlFlow::Continue(())
    }

    /// Starts again where a file was cut short under us (`truncate -s0`, as people do to logs).
    pub(super) fn rewind_if_cut(&mut self) -> Result<()> {
        if self.file.compressed {
            return Ok(());
        }
        let mut file: &File = &self.file.file;
        let cut = || -> std::io::Result<bool> {
            let at = file.stream_position()?;
            Ok(file.metadata()?.len() < at)
        };
        if { cut }().map_err(|e| self.log.read_error(e))? {
            file.seek(SeekFrom::Start(0)).map_err(|e| self.log.read_error(e))?;
            self.start = 0;
            self.end = 0;
            self.skipping = false;
        }
        Ok(())
    }
}

/// Gives the entry of a line that is not of the usual shape.
fn line<S: FnMut(Told<'_>) -> ControlFlow<()>>(
    form: LogForm,
    line: &[u8],
    filter: &mut Filter<'_, S>,
) -> ControlFlow<()> {
    match form {
        LogForm::Local => match local::read(line) {
            Some(entry) => filter.give(entry),
            None => {
                filter.flaws.damaged += 1;
                ControlFlow::Continue(())
            }
        },
        LogForm::JsonFile => {
            let (whole, damaged) = json::Whole::read(line);
            filter.flaws.damaged += u64::from(damaged);
            match &whole {
                Some(whole) => filter.give(whole.entry()),
                None => ControlFlow::Continue(()),
            }
        }
    }
}

/// Counts the entries of a compressed file.
pub(super) fn count(log: &Log, file: &LogFile) -> Result<u64> {
    let mut scanner = Scanner::new(log, LogFile::copy(file).map_err(|e| log.read_error(e))?)?;
    let mut lines = 0;
    let request = super::LogsRequest::default();
    let attributes = Default::default();
    let mut sink = |_: Told<'_>| {
        lines += 1;
        ControlFlow::Continue(())
    };
    let _ = scanner.drain(&mut Filter::new(&request, &attributes, &mut sink))?;
    Ok(lines)
}
