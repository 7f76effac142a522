//! The terminal's side of a process in a container: bytes to and from it, its size, signals, and the keys that leave.
//!
//! One thread polls everything. Nothing is read that cannot be passed on at once: a slow reader of our output slows the
//! container down and not our answer to a signal, and no byte is dropped. Standard input and output are the user's and
//! keep their flags (a non-blocking terminal would break the shell behind us): they are written in pieces that a poll
//! has said will not block.

mod remote;
mod session;
mod signals;

use std::os::fd::BorrowedFd;

use crate::detach_keys::Watch;
use crate::error::Result;
use crate::terminal::Raw;

pub(crate) use remote::Remote;

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The process ended with this code.
    Exited(i32),
    /// The other side closed the connection without saying how the process ended, or its end is for the caller to find.
    Closed,
    /// The user left.
    Detached,
    /// This signal ended us; the container goes on.
    Signalled(i32),
}

/// The user's side: standard input, output and error output.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Local<'a> {
    pub(crate) stdin: BorrowedFd<'a>,
    pub(crate) stdout: BorrowedFd<'a>,
    pub(crate) stderr: BorrowedFd<'a>,
}

/// What is attached, and how.
pub(crate) struct Options<'a> {
    /// Whether standard input is passed on.
    pub(crate) stdin: bool,
    /// Whether its output is shown.
    pub(crate) stdout: bool,
    /// Whether its error output is shown.
    pub(crate) stderr: bool,
    /// Whether the process has a terminal.
    pub(crate) tty: bool,
    /// The keys that leave.
    pub(crate) detach_keys: Vec<u8>,
    /// Called with each signal that the container should get, by number; `None` where none is passed on.
    pub(crate) forward: Option<&'a dyn Fn(i32)>,
}

/// Joins the user's terminal and the process until one of them ends it. With `raw`, the terminal's keys are the
/// process's.
///
/// # Errors
/// If the terminal cannot be set or the connection fails.
pub(crate) fn attach(remote: Remote, raw: Option<Raw>, options: Options<'_>) -> Result<Ending> {
    // A write to a closed pipe is an error here, not the end: the terminal has to be restored.
    hull_sys::signal::ignore(signals::PIPE);
    let forwarding = options.forward.is_some() && !options.tty;
    let signals = signals::Signals::take(options.tty, forwarding)?;
    if let Some(raw) = &raw {
        raw.enter()?;
    }
    let keys = if raw.is_some() {
        options.detach_keys.clone()
    } else {
        Vec::new()
    };
    let watch = Watch::new(keys);
    let local = Local {
        stdin: rustix::stdio::stdin(),
        stdout: rustix::stdio::stdout(),
        stderr: rustix::stdio::stderr(),
    };
    let mut session = session::Session::new(remote, local, &options, watch, signals, raw.as_ref())?;
    session.run()
}

/// The exit code that stands for a signal.
pub(crate) fn signal_code(signal: i32) -> u8 {
    u8::try_from(128 + (signal & 0x7f)).unwrap_or(255)
}
