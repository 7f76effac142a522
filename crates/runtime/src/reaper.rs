//! `--init`: a small process 1 that passes signals on to the program, its child, and reaps what is orphaned.
//!
//! It is hull itself, executed from a read-only copy of the mount that its file is on: through `/proc/1/exe` a container
//! reaches a file that it can read and never write (CVE-2019-5736).

use std::ffi::{CString, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;

use hull_sys::clone::{Plain, fork_plain};
use hull_sys::mount::{Attributes, Change, set_attributes};
use hull_sys::{exec, signal};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};
use rustix::process::{Pid, WaitOptions};

use crate::error::{During, Result};

/// The name under which the executable is this.
pub const NAME: &str = "hull-init";

const SIGCHLD: i32 = 17;
/// Signals that tell of a fault of this very process, and those that cannot be caught.
const NOT_PASSED_ON: [i32; 8] = [4, 5, 7, 8, 9, 11, 19, 31];

/// Our own executable on a mount of its own that is read-only.
pub(crate) fn sealed_executable() -> Result<OwnedFd> {
    let act = || "seal the executable of --init".to_owned();
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let copy = open_tree(rustix::fs::CWD, c"/proc/self/exe", flags).during(act)?;
    let change = Change {
        set: Attributes::RDONLY,
        ..Change::default()
    };
    set_attributes(&copy, c"", &change).during(act)?;
    Ok(copy)
}

/// The arguments with which the executable becomes process 1 for `program`.
pub(crate) fn arguments(error_fd: i32, program: &CString, arguments: &[CString]) -> Vec<CString> {
    let text = |text: &str| CString::new(text).unwrap_or_default();
    let mut out = vec![text(NAME), text(&error_fd.to_string()), program.clone()];
    out.extend(arguments.iter().cloned());
    out
}

/// Runs as process 1: `args` are the error descriptor's number, the program's path and its arguments, its name first.
/// `environment` is what the program gets. Returns the exit code.
pub fn main(args: Vec<OsString>, environment: impl Iterator<Item = (OsString, OsString)>) -> u8 {
    let mut args = args
        .into_iter()
        .map(|arg| CString::new(arg.into_vec()).unwrap_or_default());
    let error_fd = args.next().and_then(|n| n.to_str().ok()?.parse::<i32>().ok());
    let (Some(error_fd), Some(program)) = (error_fd, args.next()) else {
        return 125;
    };
    let arguments: Vec<CString> = args.collect();
    let environment: Vec<CString> = environment
        .filter_map(|(name, value)| CString::new([name.into_vec(), value.into_vec()].join(&b'=')).ok())
        .collect();
    let all: Vec<i32> = (1..=64)
        .filter(|s| !matches!(s, 32 | 33) && !NOT_PASSED_ON.contains(s))
        .collect();
    let Ok(signals) = signal::block(&all).and_then(|()| signal::descriptor(&all)) else {
        return 125;
    };
    // Before the program runs, so that one which ends at once is not missed.
    let _ = exec::close_on_exec_from(3);
    match fork_plain() {
        Ok(Plain::Child) => {
            signal::reset_all();
            // A group of its own, in the foreground of the terminal if there is one.
            let _ = rustix::process::setpgid(None, None);
            signal::ignore(22);
            let _ = rustix::termios::tcsetpgrp(rustix::stdio::stdin(), rustix::process::getpid());
            signal::default(22);
            let errno = exec::execve(&program, &arguments, &environment);
            exec::report_errno(error_fd, errno);
            127
        }
        Ok(Plain::Parent(child)) => {
            exec::close(error_fd);
            look_after(child, &signals)
        }
        Err(_) => 125,
    }
}

fn look_after(child: Pid, signals: &OwnedFd) -> u8 {
    loop {
        let mut fds = [rustix::event::PollFd::new(signals, rustix::event::PollFlags::IN)];
        let _ = rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, None));
        while let Ok(Some(number)) = signal::take(signals) {
            if number != SIGCHLD {
                signal::pass_on(child, number);
            }
        }
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == child => {
                    let code = status
                        .exit_status()
                        .or_else(|| status.terminating_signal().map(|s| 128 + s));
                    return code.and_then(|c| u8::try_from(c).ok()).unwrap_or(255);
                }
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) | Err(_) => break,
            }
        }
    }
}
