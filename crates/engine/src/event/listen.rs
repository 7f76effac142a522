//! `events`: what has happened, and what happens.

use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use hull_monitor::event::{folder, make_folder};
use hull_spec::event::Event;
use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;

use super::filter;
use super::tail::Tail;
use crate::filter::Filters;
use crate::{Engine, Error, Result};

/// Which events are asked for.
#[derive(Clone, Debug, Default)]
pub struct EventsRequest {
    /// From when on. Without it and without `until`, only what is still to come.
    pub since: Option<Timestamp>,
    /// Until when; for ever without it.
    pub until: Option<Timestamp>,
    /// Which of them.
    pub filters: Filters,
}

/// Gives `take` the events that are asked for, in the order of the log, as they come. Returns at `until`, or when `take`
/// has enough.
///
/// # Errors
/// A filter that does not exist; the log cannot be read or watched.
pub fn listen(engine: &Engine, request: &EventsRequest, take: &mut dyn FnMut(&Event) -> ControlFlow<()>) -> Result<()> {
    filter::check(&request.filters)?;
    let nanos = |moment: Option<Timestamp>| moment.map(|moment| moment.as_nanosecond());
    let (since, until) = (nanos(request.since), nanos(request.until));
    let mut take = |event: Event| {
        let time = i128::from(event.time_nano);
        let asked = since.is_none_or(|since| time >= since) && until.is_none_or(|until| time <= until);
        if asked && filter::matches(&request.filters, &event) {
            take(&event)
        } else {
            ControlFlow::Continue(())
        }
    };
    let over = |moment: Timestamp| moment <= Timestamp::now();
    // Watched before it is read, so that nothing comes between.
    let watch = if request.until.is_some_and(over) {
        None
    } else {
        Some(Watch::new(engine)?)
    };
    let mut tail = Tail::open(&engine.data, since.is_none() && until.is_none())?;
    loop {
        // Whether it is time is asked before the log is read: what was written until then is in it.
        let last = request.until.is_some_and(over);
        if tail.read(&engine.data, &mut take)?.is_break() || last {
            return Ok(());
        }
        if let Some(watch) = &watch {
            watch.wait(request.until)?;
        }
    }
}

/// Waits for the log to grow.
struct Watch {
    inotify: OwnedFd,
    folder: PathBuf,
}

impl Watch {
    fn new(engine: &Engine) -> Result<Self> {
        let folder = folder(&engine.data);
        let made = std::fs::create_dir_all(&engine.data).and_then(|()| make_folder(&engine.data));
        made.map_err(|source| Error::Write {
            path: folder.clone(),
            source,
        })?;
        let watch = |source: Errno| Error::Watch {
            path: folder.clone(),
            source: source.into(),
        };
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(watch)?;
        let flags = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO;
        inotify::add_watch(&inotify, &folder, flags).map_err(watch)?;
        Ok(Self { inotify, folder })
    }

    fn wait(&self, until: Option<Timestamp>) -> Result<()> {
        let watch = |source: Errno| Error::Watch {
            path: self.folder.clone(),
            source: source.into(),
        };
        let left = until.map(|until| until.duration_since(Timestamp::now()).unsigned_abs());
        // Beyond what the kernel can count is for ever.
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut [PollFd::new(&self.inotify, PollFlags::IN)], timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(watch(e)),
        }
        // What the kernel tells does not matter: all files are looked at anew.
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut told = inotify::Reader::new(&self.inotify, &mut buffer);
        loop {
            match told.next() {
                Ok(_) => {}
                Err(Errno::WOULDBLOCK | Errno::INTR) => return Ok(()),
                Err(e) => return Err(watch(e)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use hull_monitor::event::{append, now};
    use hull_spec::event::Kind;

    use super::*;

    fn engine(data: &std::path::Path) -> Engine {
        Engine::open(&crate::Settings {
            root: data.join("data"),
            run_root: data.join("run"),
            ..crate::Settings::rootful()
        })
    }

    fn tell(engine: &Engine, action: &str, at: i64) {
        append(&engine.data, &Event::new(Kind::Container, action, "c", at));
    }

    #[test]
    fn what_has_happened_is_told_between_two_moments() {
        let data = tempfile::tempdir().unwrap();
        let engine = engine(data.path());
        std::fs::create_dir_all(&engine.data).unwrap();
        for at in 1..=5 {
            tell(&engine, "start", at * 1_000_000_000);
        }
        let check = |since: Option<i64>, until: i64, enough: usize, expected: &[i64]| {
            let request = EventsRequest {
                since: since.map(|s| Timestamp::from_second(s).unwrap()),
                until: Some(Timestamp::from_second(until).unwrap()),
                filters: Filters::new(),
            };
            let mut out = Vec::new();
            listen(&engine, &request, &mut |event| {
                out.push(event.time);
                if out.len() == enough {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            })
            .unwrap();
            assert_eq!(out, expected);
        };
        check(None, 3, 9, &[1, 2, 3]);
        check(Some(2), 4, 9, &[2, 3, 4]);
        check(Some(2), 4, 2, &[2, 3]);
        check(Some(6), 9, 9, &[]);
    }

    #[test]
    fn what_happens_is_told_as_it_comes() {
        let data = tempfile::tempdir().unwrap();
        // Nothing was ever done here: there is no folder yet.
        let place = data.path().to_owned();
        let (send, receive) = std::sync::mpsc::channel();
        let listener = std::thread::spawn(move || {
            listen(&engine(&place), &EventsRequest::default(), &mut |event| {
                send.send(event.action.clone()).unwrap();
                if event.action == "die" {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            })
        });
        let engine = engine(data.path());
        let first = std::iter::repeat_with(|| {
            // Until it listens.
            tell(&engine, "start", now());
            receive.recv_timeout(std::time::Duration::from_millis(20)).ok()
        });
        assert_eq!(first.take(1000).flatten().next().unwrap(), "start");
        tell(&engine, "die", now());
        listener.join().unwrap().unwrap();
        assert_eq!(receive.iter().last().unwrap(), "die");
    }

    #[test]
    fn it_ends_when_the_time_has_come() {
        let data = tempfile::tempdir().unwrap();
        let request = EventsRequest {
            until: Timestamp::now().checked_add(jiff::SignedDuration::from_millis(30)).ok(),
            ..EventsRequest::default()
        };
        listen(&engine(data.path()), &request, &mut |_| ControlFlow::Continue(())).unwrap();
        assert!(Timestamp::now() >= request.until.unwrap());
    }
}
