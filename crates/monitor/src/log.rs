//! The log of a container: its output is cut into lines as Docker does it, and each goes to files, to another program
//! (the journal, a syslog server), or to both.
//!
//! What has been looked at is handed on before it leaves its pipe, and how far that has come is kept in a file
//! ([`unfinished`]), as is a line whose end has not come yet: a killed monitor loses nothing and repeats nothing.

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
pub(crate) use unfinished::Taken;
use unfinished::{Found, Place, Unfinished};

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
    /// What an earlier monitor had written of what may still be in a pipe.
    taken: Option<Taken>,
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
    /// Opens the log of a container that is being started, going on where it ended.
    ///
    /// # Errors
    /// If its files cannot be opened or its target cannot be reached.
    pub(crate) fn open(plan: &LogPlan) -> Result<Self> {
        let files = plan.file.as_ref().map(Files::open).transpose()?;
        let target = plan.target.as_ref().map(|target| Target::open(target, plan.buffer));
        if let Some(path) = &plan.unfinished {
            // What an earlier run has left is of no use to this one.
            let _ = std::fs::remove_file(path);
        }
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
        let mut writer = match (&plan.file, files) {
            (Some(file), Some(files)) => Some(Writer::new(file, files, plan.buffer.unwrap_or(HELD_MAX))),
            _ => None,
        };
        let mut found = Found::default();
        let unfinished = match &plan.unfinished {
            Some(path) if writer.is_some() || target.is_some() => {
                let position = writer.as_ref().map_or((0, 0), |w| w.files.position());
                let (file, left) = Unfinished::open(path, position)?;
                found = left;
                Some(file)
            }
            _ => None,
        };
        if let (Some(writer), Some(length)) = (&mut writer, found.length) {
            writer.files.shorten(length);
        }
        let mut log = Self {
            writer,
            target,
            lines: found.lines,
            unfinished,
            taken: found.taken,
            lossy: plan.buffer.is_some(),
        };
        if log.taken.is_none() {
            // Where it begins, so that what comes behind that is known.
            log.note(Some((0, &[])));
        }
        Ok(log)
    }

    /// Whether anything becomes of what is written, and how far that has come is kept.
    pub(crate) fn is_kept(&self) -> bool {
        self.unfinished.is_some()
    }

    /// What an earlier monitor had written before it was killed, and had perhaps not taken from its pipe.
    pub(crate) fn take_over(&mut self) -> Option<Taken> {
        self.taken.take()
    }

    /// [`Log::write`], of bytes that are in their pipe still and leave it next.
    pub(crate) fn write_ahead(&mut self, stream: Stream, bytes: &[u8]) {
        self.split(stream, bytes);
        self.flush(Some((stream as usize, bytes)));
    }

    /// What was written ahead has left its pipe.
    pub(crate) fn left(&self) {
        if let Some(unfinished) = &self.unfinished {
            unfinished.left();
        }
    }

    /// Takes bytes of a stream. Whole lines are handed on; the rest waits for its end.
    pub(crate) fn write(&mut self, stream: Stream, bytes: &[u8]) {
        if self.writer.is_none() && self.target.is_none() {
            return;
        }
        self.split(stream, bytes);
        self.flush(None);
    }

    fn split(&mut self, stream: Stream, mut bytes: &[u8]) {
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
        self.flush(None);
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

    fn flush(&mut self, taken: Option<(usize, &[u8])>) {
        if let Some(writer) = &mut self.writer {
            writer.flush();
        }
        if let Some(target) = &mut self.target {
            target.pump();
        }
        self.note(taken);
    }

    /// Writes down how far it has come.
    fn note(&mut self, taken: Option<(usize, &[u8])>) {
        if let Some(unfinished) = &mut self.unfinished {
            let writer = self.writer.as_ref();
            let place = || {
                writer.map_or_else(Place::default, |w| Place {
                    position: w.files.position(),
                    waiting: !w.pending.is_empty(),
                })
            };
            unfinished.save(&self.lines, place, taken);
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
