//! The user's terminal: its size, and raw mode that ends however this process ends.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hull_sys::clone::{Fork, exit_now, fork};
use rustix::io::Errno;
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};

/// SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGTTIN, SIGTTOU.
const FROM_TERMINAL: [i32; 7] = [1, 2, 3, 15, 20, 21, 22];

/// Whether standard input is a terminal.
pub(crate) fn stdin_is_terminal() -> bool {
    isatty(rustix::stdio::stdin())
}

/// Whether standard error is a terminal.
pub(crate) fn stderr_is_terminal() -> bool {
    isatty(rustix::stdio::stderr())
}

/// Whether standard output is a terminal.
pub(crate) fn stdout_is_terminal() -> bool {
    isatty(rustix::stdio::stdout())
}

/// Rows and columns of the terminal that standard output, or else standard input, is on; zeros where neither is.
pub(crate) fn size() -> [u16; 2] {
    [rustix::stdio::stdout(), rustix::stdio::stdin()]
        .into_iter()
        .find_map(|fd| tcgetwinsize(fd).ok())
        .map_or([0, 0], |size| [size.ws_row, size.ws_col])
}

/// Raw mode of the terminal on standard input: prepared, entered, and ended when this is dropped.
///
/// The terminal is also restored when this process is killed by a signal that cannot be caught, or by a panic that
/// aborts: a child of ours waits on a pipe whose other end only we hold, and restores the terminal when the pipe closes
/// without the word that we did.
#[derive(Debug)]
pub(crate) struct Raw {
    original: Termios,
    raw: Termios,
    watchdog: Option<OwnedFd>,
}

impl Raw {
    /// Prepares raw mode where it is `wanted` and standard input is a terminal. The child is forked here, while this
    /// process has no descriptor and no namespace of a container. Without one (the process limit is reached) it works,
    /// too.
    pub(crate) fn prepare(wanted: bool) -> Option<Self> {
        if !wanted {
            return None;
        }
        Self::prepare_screen("")
    }

    /// [`Raw::prepare`] for one that draws on the whole screen: `leave` is written to standard output, too, where this
    /// process ends without restoring the terminal.
    pub(crate) fn prepare_screen(leave: &'static str) -> Option<Self> {
        if !stdin_is_terminal() {
            return None;
        }
        let original = tcgetattr(rustix::stdio::stdin()).ok()?;
        let mut raw = original.clone();
        raw.make_raw();
        Some(Self {
            watchdog: watchdog(rustix::stdio::stdin(), &original, leave).ok(),
            original,
            raw,
        })
    }

    /// Sets raw mode; again, where a shell that stopped us has set its own.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn enter(&self) -> Result<(), Errno> {
        tcsetattr(rustix::stdio::stdin(), OptionalActions::Drain, &self.raw)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // The terminal may be gone, and then there is nothing to restore.
        let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Drain, &self.original);
        if let Some(watchdog) = &self.watchdog {
            let _ = rustix::io::write(watchdog, b"restored");
        }
    }
}

/// While this lives the terminal does not show what is typed. A kill restores it as it does raw mode.
#[derive(Debug)]
pub(crate) struct Silence {
    original: Termios,
    watchdog: Option<OwnedFd>,
}

impl Silence {
    /// Begins where standard input is a terminal.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn begin() -> Result<Self, Errno> {
        let original = tcgetattr(rustix::stdio::stdin())?;
        let watchdog = watchdog(rustix::stdio::stdin(), &original, "").ok();
        let mut silent = original.clone();
        silent.local_modes.remove(rustix::termios::LocalModes::ECHO);
        tcsetattr(rustix::stdio::stdin(), OptionalActions::Drain, &silent)?;
        Ok(Self { original, watchdog })
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Drain, &self.original);
        if let Some(watchdog) = &self.watchdog {
            let _ = rustix::io::write(watchdog, b"restored");
        }
    }
}

/// Starts the child that outlives us by an instant. Returns the end of the pipe that keeps it waiting.
fn watchdog(terminal: BorrowedFd<'_>, original: &Termios, leave: &str) -> Result<OwnedFd, Errno> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    match fork()? {
        Fork::Parent(_) => Ok(write),
        Fork::Child => {
            drop(write);
            wait_and_restore(&read, terminal, original, leave)
        }
    }
}

/// The child's whole life. It has its own session, so that neither the terminal's keys nor a signal to our process
/// group reaches it; a terminal may be set from outside its session.
fn wait_and_restore(pipe: &OwnedFd, terminal: BorrowedFd<'_>, original: &Termios, leave: &str) -> ! {
    for signal in FROM_TERMINAL {
        hull_sys::signal::ignore(signal);
    }
    let _ = rustix::process::setsid();
    let _ = rustix::thread::set_name(c"hull-terminal");
    let mut buffer = [0u8; 8];
    let restored = loop {
        match rustix::io::read(pipe.as_fd(), &mut buffer) {
            Ok(n) => break n > 0,
            Err(Errno::INTR) => {}
            Err(_) => break false,
        }
    };
    if !restored {
        let _ = tcsetattr(terminal, OptionalActions::Now, original);
        let _ = rustix::io::write(rustix::stdio::stdout(), leave.as_bytes());
    }
    exit_now(0)
}
