//! Following a log: woken by the file system, across rotations, until the container stops.

use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::time::Duration;

use hull_spec::container::Status;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use super::files::Log;
use super::scan::Scanner;
use super::{Filter, Told};
use crate::container::status;
use crate::{Engine, Error, Result};

/// How long nothing is heard before the container is looked at anyway: the one end that wakes nobody is that of a
/// monitor which is killed.
const PATIENCE: Duration = Duration::from_secs(1);

/// Waits for a log to grow.
pub(super) struct Follower {
    inotify: OwnedFd,
    id: String,
}

impl Follower {
    pub(super) fn new(engine: &Engine, id: &str, log: &Log) -> Result<Self> {
        let watch = |source: rustix::io::Errno| Error::Watch {
            path: log.folder().to_owned(),
            source: source.into(),
        };
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(watch)?;
        // The folder tells of lines, of rotations and of `exit.json`.
        let flags = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::DELETE_SELF;
        inotify::add_watch(&inotify, log.folder(), flags).map_err(watch)?;
        // The lock's closing tells that the monitor has ended. It may be gone already, or not be written to.
        let lock = engine.container_run(id).join("lock");
        let _ = inotify::add_watch(&inotify, lock, WatchFlags::CLOSE_WRITE | WatchFlags::DELETE_SELF);
        Ok(Self {
            inotify,
            id: id.to_owned(),
        })
    }

    /// Reads on from `current` (the newest file as far as it was read) until the container has stopped and its log
    /// is read to the end, or the filter has enough.
    pub(super) fn run<'a, S: FnMut(Told<'_>) -> ControlFlow<()>>(
        self,
        engine: &Engine,
        log: &'a Log,
        mut current: Option<Scanner<'a>>,
        filter: &mut Filter<'_, S>,
    ) -> Result<()> {
        loop {
            // The container is looked at before its log is read: what it wrote before it stopped is read after.
            let running = is_running(engine, &self.id)?;
            if catch_up(log, &mut current, filter)?.is_break() {
                return Ok(());
            }
            if !running || self.past(filter) || (filter.sink)(Told::Pause).is_break() {
                return Ok(());
            }
            self.wait(log)?;
        }
    }

    /// Whether the last moment that is asked for lies behind us.
    fn past<S>(&self, filter: &Filter<'_, S>) -> bool {
        filter.request.until.is_some_and(|until| until < jiff::Timestamp::now())
    }

    fn wait(&self, log: &Log) -> Result<()> {
        let watch = |source: rustix::io::Errno| Error::Watch {
            path: log.folder().to_owned(),
            source: source.into(),
        };
        let patience = PATIENCE.try_into().map_err(|_| watch(rustix::io::Errno::INVAL))?;
        match poll(&mut [PollFd::new(&self.inotify, PollFlags::IN)], Some(&patience)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(watch(e)),
        }
        // What the events say does not matter: everything is looked at anew.
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&self.inotify, &mut buffer);
        loop {
            match events.next() {
                Ok(_) => {}
                Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => return Ok(()),
                Err(e) => return Err(watch(e)),
            }
        }
    }
}

/// Reads what is new: the rest of the current file, and then the files that came after it.
fn catch_up<'a, S: FnMut(Told<'_>) -> ControlFlow<()>>(
    log: &'a Log,
    current: &mut Option<Scanner<'a>>,
    filter: &mut Filter<'_, S>,
) -> Result<ControlFlow<()>> {
    // The newer files are opened first: what is written to the current one after it was rotated away does not exist.
    let newer = log.open_after(current.as_ref().map(|scanner| &scanner.file))?;
    filter.flaws.overtaken |= !newer.met;
    if let Some(scanner) = current {
        if newer.files.is_empty() {
            scanner.rewind_if_cut()?;
        }
        if scanner.drain(filter)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        if !newer.files.is_empty() {
            scanner.finish(filter);
        }
    }
    for file in newer.files {
        if let Some(scanner) = current {
            scanner.finish(filter);
        }
        let mut scanner = Scanner::new(log, file)?;
        if scanner.drain(filter)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        *current = Some(scanner);
    }
    Ok(ControlFlow::Continue(()))
}

fn is_running(engine: &Engine, id: &str) -> Result<bool> {
    let look = status::sight(engine, id)?;
    Ok(matches!(
        look.status,
        Status::Running | Status::Paused | Status::Restarting
    ))
}
