//! `wait`: until a container has ended.

use std::time::Duration;

use hull_spec::container::{Record, Status};

use super::{find, lock, recover, status};
use crate::{Engine, Error, Result, elapsed};

/// Waits until the container does not run and gives its exit code. One that never ran has 0, as with Docker.
///
/// # Errors
/// No such container; one that was removed at its end leaves no exit code ([`Error::NoSuchContainer`]).
pub fn wait(engine: &Engine, name: &str) -> Result<i32> {
    let record = find(engine, name)?;
    if !matches!(record.host_config.restart_policy.name.as_str(), "" | "no") {
        return next_end(engine, &record);
    }
    loop {
        lock::wait(engine, &record.id)?;
        let look = status::derive(engine, &record)?;
        if look.monitored {
            continue;
        }
        match look.live {
            // Without a monitor its init is all there is to wait for.
            Some(live) => wait_for(live.pid),
            None => break,
        }
    }
    if recover::one(engine, &record)? {
        recover::free_addresses(engine, None);
    }
    if !find::exists(engine, &record.id) {
        return Err(Error::NoSuchContainer { name: name.to_owned() });
    }
    Ok(status::derive(engine, &record)?.exit.map_or(0, |exit| exit.exit_code))
}

/// Waits for the next end of the process of a container that may be started again.
fn next_end(engine: &Engine, record: &Record) -> Result<i32> {
    let mut seen: Option<String> = None;
    loop {
        let look = status::derive(engine, record)?;
        let ended = |since: &str| {
            let exit = look.exit.as_ref()?;
            (elapsed::moment(&exit.started_at) >= elapsed::moment(since)).then_some(exit.exit_code)
        };
        match (&look.live, &seen) {
            (None, _) => {
                if recover::one(engine, record)? {
                    recover::free_addresses(engine, None);
                }
                if !find::exists(engine, &record.id) {
                    let name = record.name.clone();
                    return Err(Error::NoSuchContainer { name });
                }
                return Ok(status::derive(engine, record)?.exit.map_or(0, |exit| exit.exit_code));
            }
            (Some(_), Some(since)) if let Some(code) = ended(since) => return Ok(code),
            (Some(live), _) if look.status != Status::Restarting => {
                wait_for(live.pid);
                seen.get_or_insert_with(|| live.started_at.clone());
            }
            // A process that has yet to start has yet to end.
            (Some(_), _) => {}
        }
        // Its monitor is about to write down what has happened.
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until process `pid` has ended.
fn wait_for(pid: i32) {
    let Some(pid) = rustix::process::Pid::from_raw(pid) else {
        return;
    };
    if let Ok(pidfd) = hull_runtime::exec::open_process(pid) {
        let mut fds = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
        let _ = rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, None));
    }
}
