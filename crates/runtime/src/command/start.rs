//! `start`: the waiting init becomes the program.

use std::path::Path;

use rustix::net::{RecvFlags, SendFlags};

use super::arguments::Arguments;
use super::state::{self, State, Status};
use super::{Caller, Failure, Global, Outcome};
use crate::bundle;

pub(super) fn command(caller: &mut Caller<'_>, global: &Global, args: &Arguments) -> Outcome {
    let id = &args.rest[0];
    let state = State::load(global, id)?;
    let folder = state::folder(global, id)?;
    match state.status(&folder) {
        Status::Created => start(caller, global, &folder, &state).map(|()| 0),
        Status::Stopped => Err(Failure::new("cannot start a container that has stopped")),
        Status::Running | Status::Paused => Err(Failure::new("cannot start an already running container")),
        Status::Creating => Err(Failure::new("cannot start a container that is still being created")),
    }
}

/// Tells a waiting init to go on, and waits until its program runs.
pub(super) fn start(caller: &mut Caller<'_>, global: &Global, folder: &Path, state: &State) -> Outcome<()> {
    let lost = |e: rustix::io::Errno| Failure::new(format!("cannot reach the container's init: {e}"));
    let socket = state::connect(folder).map_err(lost)?;
    rustix::net::send(&socket, b"S", SendFlags::NOSIGNAL).map_err(lost)?;
    let mut buffer = vec![0u8; 8192];
    let heard = rustix::io::retry_on_intr(|| rustix::net::recv(&socket, &mut buffer[..], RecvFlags::empty()));
    match heard {
        // The exec, or the end, of init closed it; what the program does is its own.
        Ok((0, _)) | Err(rustix::io::Errno::CONNRESET) => {}
        Ok((n, _)) => return Err(Failure::new(String::from_utf8_lossy(&buffer[..n]).into_owned())),
        Err(e) => return Err(lost(e)),
    }
    let report = state.for_hooks(Status::Running);
    // The program runs already: the spec has their failures told, and nothing stopped for them.
    if let Err(e) = bundle::run_hooks("poststart", &state.hooks.poststart, &report) {
        global.warn(caller, &e.to_string());
    }
    Ok(())
}
