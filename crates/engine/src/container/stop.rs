//! `stop`: a polite signal, then the impolite one.

use std::os::fd::AsFd;
use std::time::Duration;

use hull_monitor::Halt;
use hull_spec::container::{LiveState, Record};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{find, kill, lock, recover, status};
use crate::{Engine, Result, event};

/// Docker's default until the kill, in seconds.
pub(crate) const TIMEOUT: i64 = 10;
const KILL: i32 = 9;
/// How often a container that is to die is looked at for whether somebody has frozen it.
const THAW: Duration = Duration::from_millis(50);

/// Stops a container: `signal` (else its own, else TERM), then after `timeout` seconds (else its own, else 10; -1: never)
/// KILL. Returns when it has ended and its traces are gone. One that does not run is left alone.
///
/// # Errors
/// No such container, an invalid signal, what the kernel refuses.
pub fn stop(engine: &Engine, name: &str, signal: Option<&str>, timeout: Option<i64>) -> Result<()> {
    let record = find(engine, name)?;
    let signal = match signal.filter(|s| !s.is_empty()) {
        Some(signal) => kill::parse(signal)?,
        None => own_signal(&record)?,
    };
    stop_by(engine, &record, (signal, timeout), Halt::Asked)
}

/// Stops a container as it wants to be, for a reason.
pub(crate) fn stop_for(engine: &Engine, record: Record, why: Halt) -> Result<()> {
    stop_by(engine, &record, (own_signal(&record)?, None), why)
}

fn stop_by(engine: &Engine, record: &Record, (signal, timeout): (i32, Option<i64>), why: Halt) -> Result<()> {
    let Some(live) = status::derive(engine, record)?.live else {
        if recover::one(engine, record)? {
            recover::free_addresses(engine, None);
        }
        return Ok(());
    };
    kill::halt(engine, record, why)?;
    let seconds = timeout.or(record.config.stop_timeout).unwrap_or(TIMEOUT);
    end(engine, record, &live, signal, seconds)?;
    event::container(engine, record, "stop", &[]);
    Ok(())
}

/// The signal that a container wants to be stopped by.
pub(crate) fn own_signal(record: &Record) -> Result<i32> {
    let own = record.config.stop_signal.as_deref().filter(|s| !s.is_empty());
    kill::parse(own.unwrap_or("TERM"))
}

/// Ends a running container and waits until its monitor, or we in its place, has cleaned up.
pub(crate) fn end(engine: &Engine, record: &Record, live: &LiveState, signal: i32, seconds: i64) -> Result<()> {
    if let Some(init) = kill::open(live) {
        let ended = match kill::send(engine, record, live, signal) {
            Ok(()) => {
                super::pause::thaw(engine, record, live)?;
                let patience = (seconds >= 0).then(|| Duration::from_secs(seconds.unsigned_abs()));
                has_ended(&init, patience)
            }
            Err(e) if e.kind() == hull_spec::ErrorKind::Conflict => true,
            Err(e) => return Err(e),
        };
        if !ended {
            match kill::send(engine, record, live, KILL) {
                Err(e) if e.kind() != hull_spec::ErrorKind::Conflict => return Err(e),
                _ => {}
            }
            // Another command may be pausing it: a frozen process dies when it goes on, and not before.
            while !has_ended(&init, Some(THAW)) {
                super::pause::thaw(engine, record, live)?;
            }
        }
    }
    lock::wait_while(engine, &record.id, || {
        // Another command may have started it again, and then nobody gives the lock back.
        let look = status::sight(engine, &record.id)?;
        let other = look
            .live
            .is_some_and(|now| (now.pid, now.start_ticks) != (live.pid, live.start_ticks));
        Ok(!other)
    })?;
    if find::exists(engine, &record.id) && recover::one(engine, record)? {
        recover::free_addresses(engine, None);
    }
    Ok(())
}

/// Waits for the end of a process, at most for `patience`.
fn has_ended(init: &impl AsFd, patience: Option<Duration>) -> bool {
    let deadline = patience.map(|p| std::time::Instant::now() + p);
    loop {
        let left = deadline.map(|d| d.saturating_duration_since(std::time::Instant::now()));
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        let mut fds = [PollFd::new(init, PollFlags::IN)];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) => return false,
            Ok(_) => return true,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}
