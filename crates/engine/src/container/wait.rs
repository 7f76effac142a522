//! `wait`: until a container has ended.

use std::time::Duration;

use hull_spec::container::{LastExit, LiveState, Record, Status};

use super::{find, lock, recover, status};
use crate::{Engine, Error, Result};

/// Waits for the end of the container's process and gives its exit code: of the one that runs now, also where another
/// command starts the container again at once, or removes it. One that does not run has that of its last end, and one that
/// never ran 0, as with Docker.
///
/// # Errors
/// No such container; one that was removed at an end that its monitor did not see leaves no exit code
/// ([`Error::NoSuchContainer`]).
pub fn wait(engine: &Engine, name: &str) -> Result<i32> {
    let record = find(engine, name)?;
    if !matches!(record.host_config.restart_policy.name.as_str(), "" | "no") {
        return next_end(engine, &record);
    }
    loop {
        if let Some(code) = lock::wait(engine, &record.id)? {
            return Ok(code);
        }
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
    // How it had last ended when it was first seen to run. Times say nothing: a clock may jump.
    let which = |exit: &Option<LastExit>| {
        exit.as_ref()
            .map(|exit| (exit.started_at.clone(), exit.finished_at.clone()))
    };
    let mut before = None;
    loop {
        let look = status::derive(engine, record)?;
        let of_this_run = |live: &LiveState| {
            let exit = look.exit.as_ref()?;
            (look.status != Status::Restarting && exit.started_at == live.started_at).then_some(exit.exit_code)
        };
        match (&look.live, &before) {
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
            (Some(_), Some(before)) if which(&look.exit) != *before => {
                return Ok(look.exit.map_or(0, |exit| exit.exit_code));
            }
            (Some(live), _) if let Some(code) = of_this_run(live) => return Ok(code),
            (Some(live), _) if look.status != Status::Restarting => {
                wait_for(live.pid);
                before.get_or_insert_with(|| which(&look.exit));
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
