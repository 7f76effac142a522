//! A new monitor for a container whose own was killed.
//!
//! The container's output is in pipes that its processes can read themselves: whichever process still holds one leads to
//! it. Its standard input and a terminal went with the monitor, as nobody else held them.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::Path;

use hull_runtime::cgroup;
use hull_spec::container::LiveState;
use hull_sys::clone::{Fork, exit_now, fork};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};

use crate::begin::start_ticks;
use crate::error::{Error, Result, at};
use crate::keep::Keep;
use crate::relay::Input;
use crate::resident::{Handoff, execute};
use crate::socket;
use crate::supervise::leave;
use crate::teardown::write_json;

/// Gives the running container of `keep` a monitor, which takes `lock` over. `program` is what this program takes to be one.
/// Returns when it is there.
///
/// # Errors
/// If the container has ended meanwhile, or no process can be made.
pub fn adopt(keep: Keep, lock: File, live: &LiveState, program: &[OsString]) -> Result<()> {
    let errno = |errno| Error::System {
        act: "start a monitor",
        errno,
    };
    let (ready, here) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(errno)?;
    match fork().map_err(errno)? {
        Fork::Child => {
            leave(vec![lock.as_raw_fd(), here.as_raw_fd()]);
            if let Ok((handoff, _held)) = prepare(keep, &lock, live) {
                execute(&handoff, program);
            }
            exit_now(1)
        }
        Fork::Parent(monitor) => {
            drop(here);
            // Closed by the exec, or by the end of a monitor that could not be.
            let mut byte = [0];
            let _ = rustix::io::retry_on_intr(|| rustix::io::read(&ready, &mut byte));
            drop(monitor);
            Ok(())
        }
    }
}

/// What the monitor is handed, and what keeps those descriptors open.
fn prepare(mut keep: Keep, lock: &File, live: &LiveState) -> Result<(Handoff, Vec<OwnedFd>)> {
    let gone = || Error::System {
        act: "find the container's process",
        errno: Errno::SRCH,
    };
    let pid = Pid::from_raw(live.pid).ok_or_else(gone)?;
    let init = rustix::process::pidfd_open(pid, PidfdFlags::empty()).map_err(|_| gone())?;
    // Looked at after the descriptor is open: it cannot turn into another process any more.
    if start_ticks(live.pid)? != live.start_ticks {
        return Err(gone());
    }
    let outputs = live.streams.map(|inode| open_stream(inode, live, &keep.cgroups));
    let reserved = keep
        .network
        .as_ref()
        .map(|place| hull_network::endpoint::reserve(&place.plan));
    let reserved = reserved.unwrap_or_default();
    let path = keep.run.join("attach.sock");
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(crate::error::io_at("remove", &path)(e)),
        _ => {}
    }
    let listener = socket::listen(&keep.run)?;
    let state = LiveState {
        monitor_pid: rustix::process::getpid().as_raw_pid(),
        ..live.clone()
    };
    write_json(&keep.run.join("state.json"), &state)?;
    // A terminal's master is gone for good.
    keep.terminal = false;
    let number = |fd: &OwnedFd| fd.as_raw_fd();
    let handoff = Handoff {
        lock: lock.as_raw_fd(),
        init: number(&init),
        stdin: None,
        outputs: outputs.each_ref().map(|output| output.as_ref().map(number)),
        listener: Some(listener.as_raw_fd()),
        reserved: reserved.iter().map(number).collect::<Vec<RawFd>>(),
        clients: Vec::new(),
        input: Input::default(),
        log: crate::log::Held::default(),
        exit: None,
        age: age(live),
        delay: 0,
        keep,
    };
    let mut held = vec![init, OwnedFd::from(listener)];
    held.extend(reserved);
    held.extend(outputs.into_iter().flatten());
    Ok((handoff, held))
}

/// Opens the reading end of a pipe of the container's that one of its processes holds.
fn open_stream(inode: u64, live: &LiveState, cgroups: &[std::path::PathBuf]) -> Option<OwnedFd> {
    if inode == 0 {
        return None;
    }
    let link = format!("pipe:[{inode}]");
    let holders = std::iter::once(live.pid).chain(cgroup::processes(cgroups));
    for pid in holders {
        let folder = format!("/proc/{pid}/fd");
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            if !std::fs::read_link(entry.path()).is_ok_and(|target| target == Path::new(&link)) {
                continue;
            }
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let opened = rustix::fs::open(entry.path(), flags, Mode::empty()).map_err(at("open", &entry.path()));
            // The process may have put something else there since.
            if let Ok(opened) = opened
                && rustix::fs::fstat(opened.as_fd()).is_ok_and(|stat| stat.st_ino == inode)
            {
                return Some(opened);
            }
        }
    }
    None
}

/// For how long the container runs, in milliseconds: by the time since the host's boot, as the clock may have jumped.
fn age(live: &LiveState) -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let now = u64::try_from(now.tv_sec).unwrap_or_default() * 1000
        + u64::try_from(now.tv_nsec).unwrap_or_default() / 1_000_000;
    now.saturating_sub(live.start_ticks * TICK)
}

/// Milliseconds of one of the ticks in which the kernel tells the times of processes, on every architecture of ours.
const TICK: u64 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_containers_age_is_not_the_clocks() {
        let child = std::process::Command::new("sleep").arg("1000").spawn();
        let mut child = child.unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        for started_at in ["1999-01-01T00:00:00Z", "2099-01-01T00:00:00Z", ""] {
            let live = LiveState {
                pid,
                start_ticks: start_ticks(pid).unwrap(),
                started_at: started_at.to_owned(),
                ..LiveState::default()
            };
            let age = age(&live);
            assert!(age < 60_000, "{started_at}: {age} ms");
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
