//! Terminals and signals of processes in the foreground.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hull_sys::clone::Child;
use hull_sys::signal;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use rustix::process::{Signal, WaitId, WaitIdOptions};
use rustix::termios::{OptionalActions, Termios};

use super::{Caller, Failure, Outcome};

/// Connects to the socket that takes the terminal, if one is named, and checks that it makes sense.
pub(super) fn socket(path: Option<&str>, terminal: bool, detach: bool) -> Outcome<Option<OwnedFd>> {
    let path = path.filter(|path| !path.is_empty());
    match path {
        None if terminal && detach => Err(Failure::new(
            "cannot allocate tty if the runtime will detach without setting console socket",
        )),
        None => Ok(None),
        Some(_) if !terminal || !detach => Err(Failure::new(
            "cannot use console socket if the runtime will not detach or allocate tty",
        )),
        Some(path) => {
            let failed = |e: Errno| Failure::new(format!("cannot connect to console socket `{path}`: {e}"));
            let address = SocketAddrUnix::new(path).map_err(failed)?;
            let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
            let socket = socket.map_err(failed)?;
            rustix::net::connect(&socket, &address).map_err(failed)?;
            Ok(Some(socket))
        }
    }
}

/// Sends the terminal's master, as runc does: with a name for it.
pub(super) fn send(socket: &OwnedFd, master: &OwnedFd) -> Outcome<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [master.as_fd()];
    control.push(SendAncillaryMessage::ScmRights(&fds));
    rustix::net::sendmsg(socket, &[IoSlice::new(b"/dev/ptmx")], &mut control, SendFlags::NOSIGNAL)
        .map(drop)
        .map_err(|e| Failure::new(format!("cannot send the terminal: {e}")))
}

/// Signals that are passed on to the process.
const FORWARDED: [(i32, Signal); 8] = [
    (1, Signal::HUP),
    (2, Signal::INT),
    (3, Signal::QUIT),
    (10, Signal::USR1),
    (12, Signal::USR2),
    (15, Signal::TERM),
    (18, Signal::CONT),
    (28, Signal::WINCH),
];

/// The forwarded signals, held back from this process.
pub(super) struct Signals(OwnedFd);

impl Signals {
    pub(super) fn take() -> Outcome<Self> {
        let numbers = FORWARDED.map(|(number, _)| number);
        let failed = |e| Failure::new(format!("cannot take signals: {e}"));
        signal::block(&numbers).map_err(failed)?;
        signal::descriptor(&numbers).map(Self).map_err(failed)
    }
}

/// The caller's terminal in raw mode, for as long as this lives.
struct Raw<'a> {
    terminal: BorrowedFd<'a>,
    before: Termios,
}

impl<'a> Raw<'a> {
    fn enter(terminal: BorrowedFd<'a>) -> Option<Self> {
        let before = rustix::termios::tcgetattr(terminal).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        rustix::termios::tcsetattr(terminal, OptionalActions::Flush, &raw).ok()?;
        Some(Self { terminal, before })
    }
}

impl Drop for Raw<'_> {
    fn drop(&mut self) {
        let _ = rustix::termios::tcsetattr(self.terminal, OptionalActions::Flush, &self.before);
    }
}

/// Stays with a process until it ends: passes signals on, and bytes where it has a terminal. Returns its exit code.
pub(super) fn attend(caller: &Caller<'_>, signals: &Signals, child: &Child, master: Option<&OwnedFd>) -> Outcome {
    let raw = master.and_then(|_| Raw::enter(caller.stdin));
    if let Some(master) = master {
        resize(caller, master);
    }
    let lost = |e: Errno| Failure::new(format!("cannot wait for the process: {e}"));
    let mut input = master.is_some();
    let mut output = master.is_some();
    loop {
        let mut fds = vec![
            PollFd::from_borrowed_fd(child.pidfd.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(signals.0.as_fd(), PollFlags::IN),
        ];
        if let (Some(master), true) = (master, output) {
            fds.push(PollFd::from_borrowed_fd(master.as_fd(), PollFlags::IN));
            if input {
                fds.push(PollFd::from_borrowed_fd(caller.stdin, PollFlags::IN));
            }
        }
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, None)).map_err(lost)?;
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let is_ready = |at: usize| ready.get(at).copied().unwrap_or(false);
        while let Ok(Some(number)) = signal::take(&signals.0) {
            if let (28, Some(master)) = (number, master) {
                resize(caller, master);
            } else if let Some((_, signal)) = FORWARDED.iter().find(|(known, _)| *known == number) {
                // It may just have ended.
                let _ = rustix::process::pidfd_send_signal(&child.pidfd, *signal);
            }
        }
        if let Some(master) = master {
            if is_ready(2) {
                output = copy(master.as_fd(), caller.stdout);
            }
            if is_ready(3) {
                input = copy(caller.stdin, master.as_fd());
            }
        }
        // What the terminal still holds is read before the end counts.
        if is_ready(0) && (!output || !is_ready(2)) {
            break;
        }
    }
    drop(raw);
    exit_code(child)
}

/// The terminal gets the size of the caller's.
fn resize(caller: &Caller<'_>, master: &OwnedFd) {
    if let Ok(size) = rustix::termios::tcgetwinsize(caller.stdin) {
        let _ = rustix::termios::tcsetwinsize(master, size);
    }
}

/// Copies what is there. False at the end, which a terminal tells by `EIO`.
fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> bool {
    let mut buffer = [0u8; 8192];
    let read = match rustix::io::retry_on_intr(|| rustix::io::read(from, &mut buffer)) {
        Ok(read) if read > 0 => read,
        _ => return false,
    };
    let mut rest = &buffer[..read];
    while !rest.is_empty() {
        match rustix::io::retry_on_intr(|| rustix::io::write(to, rest)) {
            Ok(written) => rest = &rest[written..],
            Err(_) => return false,
        }
    }
    true
}

/// Waits for a child; 128 and the number for a signal.
pub(super) fn exit_code(child: &Child) -> Outcome {
    let lost = |e: Errno| Failure::new(format!("cannot wait for the process: {e}"));
    let status = rustix::io::retry_on_intr(|| {
        rustix::process::waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED)
    });
    let Some(status) = status.map_err(lost)? else {
        return Err(lost(Errno::CHILD));
    };
    let code = status
        .exit_status()
        .or_else(|| status.terminating_signal().map(|signal| 128 + signal));
    Ok(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(255))
}
