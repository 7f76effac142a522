//! The log of a container: its output is cut into lines as Docker does it, and each goes to files, to another program
//! (the journal, a syslog server), or to both.
//!
//! What has been read is handed on before more is read, so that a killed monitor loses nothing but what it was about to
//! write. The only thing that waits is a line whose end has not come yet, and that is kept in a file of its own.

mod compress;
mod journald;
mod json;
mod local;
mod moment;
mod plan;
mod rotate;
mod syslog;
mod target;
mod unfinished;

use std::os::fd::RawFd;

use rustix::event::Timespec;
use rustix::fd::BorrowedFd;
use serde::{Deserialize, Serialize};

pub use compress::Origin;
pub(crate) use moment::Moment;
pub use plan::{JournaldPlan, LogFile, LogForm, LogPlan, LogTarget, SyslogAddress, SyslogFormat, SyslogPlan};

use crate::error::Result;
use rotate::Files;
use target::{Target, Waiting};
use unfinished::Unfinished;

/// Docker splits lines that are longer.
const LINE_MAX: usize = 16 << 10;

/// Entries that are made before they are written, in bytes, at the most. Mostly all that was read at once is written at
/// once: the kernel then takes memory for it in larger pieces.
const BATCH: usize = 1 << 20;

/// Entries that wait for room on a full disk, in bytes, where the container may wait.
const HELD_MAX: usize = 64 << 10;

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

/// What becomes one entry.
#[derive(Debug)]
struct Piece<'a> {
    stream: Stream,
    /// With the line feed, where the line ends here.
    text: &'a [u8],
    time: Moment,
    /// Which part of a line it is, where that was split, and whether it is its last.
    part: Option<(Parts, bool)>,
}

impl<'a> Piece<'a> {
    fn whole(stream: Stream, text: &'a [u8], time: Moment) -> Self {
        Self {
            stream,
            text,
            time,
            part: None,
        }
    }
}

/// The parts of a line that was split.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Parts {
    /// When the first was written: all of them say so.
    time: Moment,
    /// The number of the last one that was made, from 1.
    ordinal: u32,
    /// What they have in common.
    id: [u8; 16],
}

/// A line whose end has not come yet.
#[derive(Debug, Default, PartialEq, Eq)]
struct Line {
    bytes: Vec<u8>,
    /// What came before, where it was split already.
    parts: Option<Parts>,
}

#[derive(Debug)]
enum Encoder {
    Json(json::Encoder),
    Local(local::Encoder),
}

/// The files of a log and what is on its way to them.
#[derive(Debug)]
struct Writer {
    encoder: Encoder,
    files: Files,
    /// Entries that are not in a file yet.
    pending: Vec<u8>,
    /// Entries that may wait while they cannot be written, in bytes.
    held_max: usize,
    /// Entries that were lost because they could not be written.
    lost: u64,
}

/// A log that is being written.
#[derive(Debug)]
pub(crate) struct Log {
    writer: Option<Writer>,
    target: Option<Target>,
    lines: [Line; 2],
    unfinished: Option<Unfinished>,
    /// Whether the container never waits for whoever takes its output.
    lossy: bool,
}

/// What a log has not handed on yet, on the way to another program image of the monitor.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Held {
    entries: Vec<u8>,
    lost: u64,
    waiting: Option<Waiting>,
}

impl Held {
    /// The descriptor that must be kept open.
    pub(crate) fn descriptor(&self) -> Option<RawFd> {
        self.waiting.as_ref().and_then(|waiting| waiting.socket)
    }
}

impl Log {
    /// Opens the log, going on where it ended, within a line where another monitor of this run was killed there.
    ///
    /// # Errors
    /// If its files cannot be opened or its target cannot be reached.
    pub(crate) fn open(plan: &LogPlan) -> Result<Self> {
        let files = plan.file.as_ref().map(Files::open).transpose()?;
        let target = plan.target.as_ref().map(|target| Target::open(target, plan.buffer));
        Self::new(plan, files, target.transpose()?)
    }

    /// Opens the log of a container that runs already. What cannot be reached now is looked for again later.
    ///
    /// # Errors
    /// If not even that can be done.
    pub(crate) fn resume(plan: &LogPlan, held: Held) -> Result<Self> {
        let files = plan.file.as_ref().map(Files::resume).transpose()?;
        let waiting = held.waiting.unwrap_or_default();
        let target = plan
            .target
            .as_ref()
            .map(|target| Target::resume(target, plan.buffer, waiting));
        let mut log = Self::new(plan, files, target)?;
        if let Some(writer) = &mut log.writer {
            writer.pending = held.entries;
            writer.lost = held.lost;
        }
        Ok(log)
    }

    /// What another program image of this monitor goes on with, beside what is in the files.
    pub(crate) fn held(&self) -> Held {
        let writer = self.writer.as_ref();
        Held {
            entries: writer.map(|writer| writer.pending.clone()).unwrap_or_default(),
            lost: writer.map_or(0, |writer| writer.lost),
            waiting: self.target.as_ref().map(Target::waiting),
        }
    }

    fn new(plan: &LogPlan, files: Option<Files>, target: Option<Target>) -> Result<Self> {
        let writer = match (&plan.file, files) {
            (Some(file), Some(files)) => Some(Writer::new(file, files, plan.buffer.unwrap_or(HELD_MAX))),
            _ => None,
        };
        let mut lines = Default::default();
        let unfinished = match &plan.unfinished {
            Some(path) if writer.is_some() || target.is_some() => {
                let position = writer.as_ref().map_or((0, 0), |w| w.files.position());
                let (file, found) = Unfinished::open(path, position)?;
                lines = found;
                Some(file)
            }
            _ => None,
        };
        Ok(Self {
            writer,
            target,
            lines,
            unfinished,
            lossy: plan.buffer.is_some(),
        })
    }

    /// Takes bytes of a stream. Whole lines are handed on; the rest waits for its end.
    pub(crate) fn write(&mut self, stream: Stream, mut bytes: &[u8]) {
        if self.writer.is_none() && self.target.is_none() {
            return;
        }
        let now = Moment::now();
        while !bytes.is_empty() {
            bytes = self.write_lines(stream, bytes, now);
            let line = &mut self.lines[stream as usize];
            let room = LINE_MAX - line.bytes.len();
            let window = &bytes[..bytes.len().min(room)];
            let end = memchr::memchr(b'\n', window).map(|at| at + 1);
            let (head, tail) = bytes.split_at(end.unwrap_or(window.len()));
            bytes = tail;
            if end.is_none() && head.len() < room {
                line.bytes.extend_from_slice(head);
                break;
            }
            if line.bytes.is_empty() && line.parts.is_none() && end.is_some() {
                self.emit(&Piece::whole(stream, head, now));
            } else {
                line.bytes.extend_from_slice(head);
                self.emit_line(stream, end.is_some(), now);
            }
        }
        self.flush();
    }

    /// Makes entries of the whole lines at the beginning of `bytes`, where all of them go to the files and to nobody else,
    /// and gives what is left.
    fn write_lines<'a>(&mut self, stream: Stream, mut bytes: &'a [u8], now: Moment) -> &'a [u8] {
        let line = &self.lines[stream as usize];
        let Some(writer) = &mut self.writer else { return bytes };
        if self.target.is_some() || !line.bytes.is_empty() || line.parts.is_some() {
            return bytes;
        }
        loop {
            let taken = writer.lines(stream, &bytes[..bytes.len().min(BATCH / 4)], now);
            if taken == 0 {
                return bytes;
            }
            bytes = &bytes[taken..];
            if writer.pending.len() >= BATCH {
                writer.flush();
            }
        }
    }

    /// Hands on what waits for the end of its line: there will be none. Waits for a slow target, but not for ever.
    pub(crate) fn finish(&mut self) {
        let now = Moment::now();
        for stream in [Stream::Stdout, Stream::Stderr] {
            if !self.lines[stream as usize].bytes.is_empty() {
                self.emit_line(stream, false, now);
            }
            self.lines[stream as usize].parts = None;
        }
        self.flush();
        if let Some(target) = &mut self.target {
            target.drain();
        }
    }

    /// Whether the container's output must wait for the log.
    pub(crate) fn is_congested(&self) -> bool {
        self.target.as_ref().is_some_and(Target::is_congested)
    }

    /// Whether output is rather lost than waited for, by clients too.
    pub(crate) fn is_lossy(&self) -> bool {
        self.lossy
    }

    /// What the log waits to write to.
    pub(crate) fn waits_for(&self) -> Option<BorrowedFd<'_>> {
        self.target.as_ref().and_then(Target::waits_for)
    }

    /// How long until [`Log::pump`] has something to do though nothing was heard.
    pub(crate) fn patience(&self) -> Option<Timespec> {
        self.target.as_ref().and_then(Target::patience)
    }

    /// Gives memory back that only a burst of output needed.
    pub(crate) fn rest(&mut self) {
        if let Some(writer) = &mut self.writer {
            writer.pending.shrink_to_fit();
        }
        for line in &mut self.lines {
            line.bytes.shrink_to_fit();
        }
    }

    /// Hands on what waits, as far as it is taken.
    pub(crate) fn pump(&mut self) {
        if let Some(target) = &mut self.target {
            target.pump();
        }
    }

    /// Makes an entry of what there is of a line: it ends there, or is split.
    fn emit_line(&mut self, stream: Stream, ends: bool, now: Moment) {
        let line = &mut self.lines[stream as usize];
        let mut bytes = std::mem::take(&mut line.bytes);
        let part = match (&mut line.parts, ends) {
            (None, true) => None,
            (parts, _) => {
                let parts = parts.get_or_insert_with(|| Parts {
                    time: now,
                    ordinal: 0,
                    id: random(),
                });
                parts.ordinal += 1;
                Some((*parts, ends))
            }
        };
        if ends {
            line.parts = None;
        }
        self.emit(&Piece {
            stream,
            text: &bytes,
            time: part.map_or(now, |(parts, _)| parts.time),
            part,
        });
        bytes.clear();
        self.lines[stream as usize].bytes = bytes;
    }

    #[inline]
    fn emit(&mut self, piece: &Piece<'_>) {
        if let Some(writer) = &mut self.writer {
            writer.entry(piece);
            if writer.pending.len() >= BATCH {
                writer.flush();
            }
        }
        if let Some(target) = &mut self.target {
            target.send(piece);
        }
    }

    fn flush(&mut self) {
        if let Some(writer) = &mut self.writer {
            writer.flush();
        }
        if let Some(target) = &mut self.target {
            target.pump();
        }
        if let Some(unfinished) = &mut self.unfinished {
            let writer = self.writer.as_ref();
            unfinished.save(&self.lines, || writer.map_or((0, 0), |w| w.files.position()));
        }
    }
}

impl Writer {
    fn new(plan: &LogFile, files: Files, held_max: usize) -> Self {
        let encoder = match plan.form {
            LogForm::JsonFile => Encoder::Json(json::Encoder::new(&plan.attributes)),
            LogForm::Local => Encoder::Local(local::Encoder::default()),
        };
        Self {
            encoder,
            files,
            pending: Vec::new(),
            held_max,
            lost: 0,
        }
    }

    #[inline]
    fn entry(&mut self, piece: &Piece<'_>) {
        match &mut self.encoder {
            Encoder::Json(encoder) => encoder.entry(&mut self.pending, piece),
            Encoder::Local(encoder) => encoder.entry(&mut self.pending, piece),
        }
    }

    /// Takes whole lines and tells how many bytes those are.
    fn lines(&mut self, stream: Stream, text: &[u8], time: Moment) -> usize {
        match &mut self.encoder {
            Encoder::Json(encoder) => encoder.lines(&mut self.pending, stream, text, time),
            Encoder::Local(encoder) => encoder.lines(&mut self.pending, stream, text, time),
        }
    }

    /// Puts the pending entries into the files, a whole number of them. A full disk does not stop the container: entries
    /// wait for room as long as that costs little, and that some were lost is said once there is room.
    fn flush(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let put = self.files.put(&self.pending);
        self.pending.drain(..put.written);
        if put.error.is_some() {
            if self.pending.len() > self.held_max {
                let kept = memchr::memrchr(b'\n', &self.pending[..self.held_max]).map_or(0, |at| at + 1);
                self.lost += memchr::memchr_iter(b'\n', &self.pending[kept..]).count() as u64;
                self.pending.truncate(kept);
            }
        } else if self.lost > 0 {
            let note = format!(
                "hull: {} entries of this log were lost: no space or an error on the disk\n",
                self.lost
            );
            self.lost = 0;
            self.entry(&Piece::whole(Stream::Stderr, note.as_bytes(), Moment::now()));
            let put = self.files.put(&self.pending);
            self.pending.drain(..put.written);
        }
    }
}

fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::INSECURE);
    bytes
}

/// Two digits a byte.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The time as Docker writes it: RFC 3339 in UTC with nanoseconds.
pub(crate) fn now() -> String {
    let now = jiff::Timestamp::now();
    format!("{now:.9}")
}

#[cfg(test)]
mod tests;
