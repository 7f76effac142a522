//! A detached process's keeper: a child of the command that starts the process, tells the command whether it runs, and
//! stays to tell how it ended. Nothing depends on it: when it is killed, only that end is not told.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use hull_engine::container::ExecProcess;
use hull_sys::clone::{Child, Fork, exit_now, fork};
use rustix::fs::{Mode, OFlags};
use rustix::io::retry_on_intr;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{WaitId, WaitIdOptions};

use crate::error::{FAILED, Outcome, Result};

/// What the keeper says once the process runs.
const RUNS: &[u8] = b"r";

/// Has a keeper `start` the process and returns once it runs. A keeper that cannot start it fails as the command would.
pub(super) fn leave(start: impl FnOnce() -> Result<ExecProcess>) -> Outcome {
    let (heard, told) = pipe_with(PipeFlags::CLOEXEC)?;
    // Not to be found any more once the keeper is in the container's mounts.
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    match fork()? {
        Fork::Parent(keeper) => {
            drop(told);
            Ok(wait(&keeper, &heard))
        }
        Fork::Child => {
            drop(heard);
            let _ = rustix::process::setsid();
            let process = start()?;
            keep(&process, &told, &null)
        }
    }
}

/// The command's exit code: the keeper's own where that could not start the process.
fn wait(keeper: &Child, heard: &OwnedFd) -> u8 {
    let mut said = [0];
    if retry_on_intr(|| rustix::io::read(heard, &mut said)) == Ok(RUNS.len()) {
        return 0;
    }
    let ended = retry_on_intr(|| rustix::process::waitid(WaitId::PidFd(keeper.pidfd.as_fd()), WaitIdOptions::EXITED));
    let code = ended.ok().flatten().and_then(|status| status.exit_status());
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(FAILED)
}

/// Lets go of all that is the command's, and waits for the process.
fn keep(process: &ExecProcess, told: &OwnedFd, null: &OwnedFd) -> ! {
    let _ = hull_sys::prctl::set_name(c"hull-exec");
    let _ = rustix::stdio::dup2_stdin(null);
    let _ = rustix::stdio::dup2_stdout(null);
    let _ = rustix::stdio::dup2_stderr(null);
    let _ = rustix::io::write(told, RUNS);
    let mut needed = vec![0, 1, 2, process.pidfd.as_raw_fd()];
    needed.extend(process.told.descriptor());
    hull_sys::exec::close_all_but(&mut needed);
    hull_sys::memory::settle();
    process.told.ended(process.wait());
    exit_now(0)
}
