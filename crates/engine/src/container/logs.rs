//! `logs`: what a container wrote, from its log's files.
//!
//! The newest file is `ID-json.log` or `ID-local.log`; what was rotated away from it ends with `.1`, `.2` and so on, and
//! may be compressed. All files are opened before the first is read, so that a rotation meanwhile neither loses nor
//! repeats a line. Nothing is read whole: a log of many gigabytes costs as much memory as one of a few lines.

mod entry;
mod files;
mod follow;
mod json;
mod local;
mod scan;
mod tail;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use jiff::Timestamp;

use super::{describe, find, status};
use crate::{Engine, Error, Result};

pub use entry::{Entry, Stream, Time};
use files::Log;
use scan::Scanner;

/// What of a log is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogsRequest {
    /// Go on until the container stops.
    pub follow: bool,
    /// Only so many of the last entries.
    pub tail: Option<u64>,
    /// Only entries from this moment on.
    pub since: Option<Timestamp>,
    /// Only entries up to this moment.
    pub until: Option<Timestamp>,
    /// Whether standard output is wanted.
    pub stdout: bool,
    /// Whether standard error is wanted.
    pub stderr: bool,
}

impl Default for LogsRequest {
    fn default() -> Self {
        Self {
            follow: false,
            tail: None,
            since: None,
            until: None,
            stdout: true,
            stderr: true,
        }
    }
}

/// What was wrong with a log that was read all the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flaws {
    /// Places where there was something else than an entry: it was passed over.
    pub damaged: u64,
    /// Whether files were rotated away before they were followed to their end.
    pub overtaken: bool,
}

/// What [`logs`] tells of.
#[derive(Clone, Copy, Debug)]
pub enum Told<'a> {
    /// An entry.
    Entry(&'a Entry<'a>),
    /// All that there was is told, and more is waited for.
    Pause,
}

/// Gives the entries of a container's log to `sink`, oldest first, until there are no more or `sink` breaks.
///
/// # Errors
/// If there is no such container, its log driver keeps nothing that can be read, or the log cannot be read.
pub fn logs<S>(engine: &Engine, name: &str, request: &LogsRequest, sink: &mut S) -> Result<Flaws>
where
    S: FnMut(Told<'_>) -> ControlFlow<()>,
{
    let record = find(engine, name)?;
    let Some((path, form)) = describe::readable_log(engine, &record)? else {
        return Err(Error::LogDriver {
            driver: describe::log_wish(engine, &record)?.0,
        });
    };
    let log = Log::new(path, form);
    // A container that never ran has nothing to follow, and Docker does not wait for it to start.
    let follower = match request.follow && status::derive(engine, &record)?.live.is_some() {
        // The watch begins before the files are opened: what is written in between wakes it.
        true => Some(follow::Follower::new(engine, &record.id, &log)?),
        false => None,
    };
    let attributes = match form {
        hull_monitor::LogForm::JsonFile => BTreeMap::new(),
        hull_monitor::LogForm::Local => describe::log_attributes(engine, &record)?,
    };
    let mut filter = Filter::new(request, &attributes, sink);
    let mut files = log.open()?;
    let skip = match request.tail {
        Some(lines) => tail::seek(&log, &mut files, lines)?,
        None => 0,
    };
    filter.skip = skip;
    let mut current = None;
    for file in files {
        if let Some(scanner) = &mut current {
            Scanner::finish(scanner, &mut filter);
        }
        let mut scanner = match follower {
            Some(_) => Scanner::new(&log, file)?,
            None => Scanner::as_opened(&log, file)?,
        };
        if scanner.drain(&mut filter)?.is_break() {
            return Ok(filter.flaws);
        }
        current = Some(scanner);
    }
    if let Some(follower) = follower {
        follower.run(engine, &log, current, &mut filter)?;
    }
    Ok(filter.flaws)
}

/// Passes on what is wanted.
struct Filter<'a, S> {
    request: &'a LogsRequest,
    /// Bounds in nanoseconds since 1970.
    since: Option<i64>,
    until: Option<i64>,
    /// What every entry has.
    attributes: &'a BTreeMap<String, String>,
    /// Entries that are still to be passed over.
    skip: u64,
    flaws: Flaws,
    sink: &'a mut S,
}

impl<'a, S: FnMut(Told<'_>) -> ControlFlow<()>> Filter<'a, S> {
    fn new(request: &'a LogsRequest, attributes: &'a BTreeMap<String, String>, sink: &'a mut S) -> Self {
        let nanos = |time: Timestamp| i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX);
        Self {
            request,
            since: request.since.map(nanos),
            until: request.until.map(nanos),
            attributes,
            skip: 0,
            flaws: Flaws::default(),
            sink,
        }
    }

    #[inline]
    fn give(&mut self, entry: Entry<'_>) -> ControlFlow<()> {
        if self.skip > 0 {
            self.skip -= 1;
            return ControlFlow::Continue(());
        }
        let wanted = match entry.stream {
            Stream::Stdout => self.request.stdout,
            Stream::Stderr => self.request.stderr,
        };
        if !wanted {
            return ControlFlow::Continue(());
        }
        // A clock may have jumped, so that what comes behind an entry of the future may be of the past.
        if self.since.is_some() || self.until.is_some() {
            let Some(time) = entry.time.nanos() else {
                return ControlFlow::Continue(());
            };
            if self.since.is_some_and(|since| time < since) || self.until.is_some_and(|until| time > until) {
                return ControlFlow::Continue(());
            }
        }
        if self.attributes.is_empty() {
            return (self.sink)(Told::Entry(&entry));
        }
        (self.sink)(Told::Entry(&Entry {
            attributes: entry::Attributes::Read(self.attributes),
            ..entry
        }))
    }
}
