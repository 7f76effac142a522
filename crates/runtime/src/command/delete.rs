//! `delete`: nothing of the container is left.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::event::{PollFd, PollFlags};
use rustix::process::Signal;

use super::arguments::{Arguments, Flag};
use super::state::{self, State, Status};
use super::{Caller, Failure, Global, Outcome};
use crate::{bundle, cgroup};

pub(super) const FLAGS: &[Flag] = &[Flag::switch(&["force", "f"])];

pub(super) fn command(caller: &mut Caller<'_>, global: &Global, args: &Arguments) -> Outcome {
    let (id, force) = (&args.rest[0], args.has("force"));
    let folder = state::folder(global, id)?;
    let state = match State::load(global, id) {
        Ok(state) => state,
        Err(failure) if !folder.exists() => return if force { Ok(0) } else { Err(failure) },
        Err(failure) => {
            // Its making was cut short before there was a state: the folder is all there is.
            if !force {
                return Err(failure);
            }
            return remove_folder(&folder).map(|()| 0);
        }
    };
    let status = state.status(&folder);
    if !force && !matches!(status, Status::Stopped | Status::Created) {
        return Err(Failure::new(format!(
            "cannot delete container {id} that is not stopped: {status}"
        )));
    }
    remove(caller, global, &folder, &state, true)?;
    Ok(0)
}

/// Ends what is left of a container and removes it. Its poststop hooks run if it ever was.
pub(super) fn remove(
    caller: &mut Caller<'_>,
    global: &Global,
    folder: &Path,
    state: &State,
    hooks: bool,
) -> Outcome<()> {
    end(state)?;
    let left = cgroup::remove(&state.cgroups);
    if let Some((path, errno)) = left.first() {
        return Err(Failure::new(format!(
            "cannot remove cgroup `{}`: {errno}",
            path.display()
        )));
    }
    remove_folder(folder)?;
    if hooks {
        let mut gone = state.clone();
        gone.pid = 0;
        let report = gone.for_hooks(Status::Stopped);
        for hook in &state.hooks.poststop {
            // One that fails does not keep the others from running.
            if let Err(e) = bundle::run_hooks("poststop", std::slice::from_ref(hook), &report) {
                global.warn(caller, &e.to_string());
            }
        }
    }
    Ok(())
}

fn end(state: &State) -> Outcome<()> {
    if let Ok(pidfd) = state.pidfd() {
        let _ = rustix::process::pidfd_send_signal(&pidfd, Signal::KILL);
        // On cgroup v1 a frozen process takes no signal, not even this one.
        let _ = crate::cgroup::thaw(&state.cgroups);
        let mut fds = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
        let timeout = rustix::event::Timespec { tv_sec: 10, tv_nsec: 0 };
        let ended = rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, Some(&timeout)));
        if !matches!(ended, Ok(1)) {
            return Err(Failure::new(format!("the container's init {} does not die", state.pid)));
        }
    }
    // Without a PID namespace of its own the others of it live on.
    if !state.own_pids {
        cgroup::kill(&state.cgroups);
    }
    Ok(())
}

fn remove_folder(folder: &Path) -> Outcome<()> {
    std::fs::remove_dir_all(folder).map_err(|e| Failure::new(format!("cannot remove `{}`: {e}", folder.display())))
}
