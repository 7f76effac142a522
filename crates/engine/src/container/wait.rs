//! `wait`: until a container has ended.

use super::{find, lock, recover, status};
use crate::{Engine, Error, Result};

/// Waits until the container does not run and gives its exit code. One that never ran has 0, as with Docker.
///
/// # Errors
/// No such container; one that was removed at its end leaves no exit code ([`Error::NoSuchContainer`]).
pub fn wait(engine: &Engine, name: &str) -> Result<i32> {
    let record = find(engine, name)?;
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
