//! Signal masks and dispositions.

use std::os::fd::{FromRawFd, OwnedFd};

use rustix::io::Result;

use crate::clone::last_errno;

/// Blocks `signals` (numbers) in the calling thread, in addition to what is blocked.
///
/// # Errors
/// `EINVAL` for a number that is no signal.
pub fn block(signals: &[i32]) -> Result<()> {
    let set = set_of(signals)?;
    // SAFETY: `set` is initialised; the old mask is not asked for.
    let errno = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
    if errno == 0 {
        Ok(())
    } else {
        Err(rustix::io::Errno::from_raw_os_error(errno))
    }
}

/// Gives every signal its default action and unblocks all: a program of a container starts so.
pub fn reset_all() {
    for signal in 1..=64 {
        // SAFETY: SIG_DFL is a valid disposition. The call fails for SIGKILL, SIGSTOP and the two that the C library
        // keeps for itself, which is as wanted.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: `set` is filled by sigemptyset before it is read.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
    }
}

/// Ignores one signal.
pub fn ignore(signal: i32) {
    // SAFETY: SIG_IGN is a valid disposition.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Gives one signal its default action.
pub fn default(signal: i32) {
    // SAFETY: SIG_DFL is a valid disposition.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

/// A descriptor that becomes readable when one of `signals` is pending; they should be blocked. Non-blocking, closed
/// on exec.
///
/// # Errors
/// `EINVAL`, `EMFILE`, `ENOMEM`.
pub fn descriptor(signals: &[i32]) -> Result<OwnedFd> {
    let set = set_of(signals)?;
    // SAFETY: `set` is initialised; -1 asks for a new descriptor, which nobody else owns.
    unsafe {
        match libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
            -1 => Err(last_errno()),
            fd => Ok(OwnedFd::from_raw_fd(fd)),
        }
    }
}

/// Sends any signal to a child that is not reaped, so that its number is its own. One that has ended needs none.
pub fn pass_on(child: rustix::process::Pid, signal: i32) {
    // SAFETY: kill touches no memory.
    unsafe { libc::kill(child.as_raw_nonzero().get(), signal) };
}

/// Takes one signal's number from a [`descriptor`]; `None` where none is pending.
///
/// # Errors
/// The kernel's from `read`.
pub fn take(descriptor: &OwnedFd) -> Result<Option<i32>> {
    let mut buffer = [0u8; size_of::<libc::signalfd_siginfo>()];
    match rustix::io::read(descriptor, &mut buffer) {
        Ok(n) if n == buffer.len() => Ok(Some(i32::from_ne_bytes([buffer[0], buffer[1], buffer[2], buffer[3]]))),
        Ok(_) | Err(rustix::io::Errno::AGAIN) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn set_of(signals: &[i32]) -> Result<libc::sigset_t> {
    // SAFETY: an all-zero sigset_t is a valid value, and sigemptyset makes it the empty set.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    for &signal in signals {
        // SAFETY: `set` is a valid set.
        if unsafe { libc::sigaddset(&raw mut set, signal) } < 0 {
            return Err(last_errno());
        }
    }
    Ok(set)
}

/// Sends any signal, real-time ones too, to the process behind `pidfd` (`pidfd_send_signal(2)`).
///
/// # Errors
/// `ESRCH` where it has ended, `EPERM`, `EINVAL`.
pub fn send(pidfd: &OwnedFd, signal: i32) -> Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: a null siginfo asks for the same as kill(2); no memory is touched.
    let done = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if done < 0 { Err(last_errno()) } else { Ok(()) }
}
