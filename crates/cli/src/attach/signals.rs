//! The signals that a session answers to.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

pub(super) const HUP: i32 = 1;
pub(super) const INT: i32 = 2;
pub(super) const QUIT: i32 = 3;
pub(super) const USR1: i32 = 10;
pub(super) const USR2: i32 = 12;
pub(super) const PIPE: i32 = 13;
pub(super) const ALRM: i32 = 14;
pub(super) const TERM: i32 = 15;
pub(super) const CONT: i32 = 18;
pub(super) const WINCH: i32 = 28;

/// Signals that are passed on where there is no terminal to do it. The keys of a terminal that stop a process
/// (SIGTSTP) stop this client, as they stop any other program.
const FORWARDED: [i32; 7] = [HUP, INT, QUIT, USR1, USR2, ALRM, TERM];
/// Signals that end a session with a terminal, which must be restored first.
const ENDING: [i32; 4] = [HUP, INT, QUIT, TERM];

/// What a signal asks a session to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// The terminal has another size.
    Resize,
    /// We were stopped and go on: the terminal has to be set anew.
    Resume,
    /// The container should get it.
    Forward(i32),
    /// We should end.
    End(i32),
}

/// Signals, blocked and read from a descriptor. They are never given back: a session is the last that a command does.
#[derive(Debug)]
pub(super) struct Signals {
    descriptor: OwnedFd,
    forwarding: bool,
}

impl Signals {
    /// Takes the signals that matter. Without a terminal and without forwarding, all keep their default action.
    pub(super) fn take(tty: bool, forwarding: bool) -> Result<Self, Errno> {
        let mut wanted = Vec::new();
        if tty {
            wanted.extend([WINCH, CONT]);
            wanted.extend(ENDING);
        } else if forwarding {
            wanted.extend(FORWARDED);
        }
        hull_sys::signal::block(&wanted)?;
        Ok(Self {
            descriptor: hull_sys::signal::descriptor(&wanted)?,
            forwarding,
        })
    }

    /// The next pending one.
    pub(super) fn next(&self) -> Result<Option<Ask>, Errno> {
        let Some(signal) = hull_sys::signal::take(&self.descriptor)? else {
            return Ok(None);
        };
        Ok(Some(match signal {
            WINCH => Ask::Resize,
            CONT => Ask::Resume,
            signal if self.forwarding => Ask::Forward(signal),
            signal => Ask::End(signal),
        }))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
