//! Making processes.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::{Errno, Result};
use rustix::process::Pid;

/// Which side of a fork this is.
#[derive(Debug)]
pub enum Fork<T> {
    /// The new process.
    Child,
    /// The old one, with what it got of the new one.
    Parent(T),
}

/// A new process: its number and a descriptor that refers to it and to no later process of that number.
#[derive(Debug)]
pub struct Child {
    /// The process ID in the caller's PID namespace.
    pub pid: Pid,
    /// The process, closed on exec.
    pub pidfd: OwnedFd,
}

/// What `clone3` is asked for.
#[derive(Debug, Default)]
pub struct Request<'fd> {
    /// `CLONE_NEW*` bits of the namespaces that the child gets anew.
    pub namespaces: u64,
    /// The cgroup (v2) that the child starts in (`CLONE_INTO_CGROUP`, Linux 5.7).
    pub cgroup: Option<BorrowedFd<'fd>>,
    /// Make the child a sibling: its parent is the caller's parent.
    pub sibling: bool,
}

/// Not from libc, whose constant is too narrow for it.
const CLONE_INTO_CGROUP: u64 = 1 << 33;

#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

unsafe extern "C" {
    /// glibc (2.32): nonzero while the process has only ever had one thread.
    static __libc_single_threaded: libc::c_char;
}

/// Whether the process has one thread. The child of a fork may then do anything its parent could: no lock is held by a
/// thread that the child does not have.
#[must_use]
pub fn single_threaded() -> bool {
    // SAFETY: glibc defines the symbol as a `char` and only ever writes it from within pthread_create and the joins
    // that make it true again; a racing writer would have to be another thread, and then either value is a fair answer.
    if unsafe { std::ptr::read_volatile(&raw const __libc_single_threaded) != 0 } {
        return true;
    }
    // The flag stays down after the last thread was joined, so count. A thread that was just joined may still be listed
    // for a moment.
    for _ in 0..100 {
        match std::fs::read_dir("/proc/self/task").map(Iterator::count) {
            Ok(1) => return true,
            Ok(_) => std::thread::yield_now(),
            Err(_) => return false,
        }
    }
    false
}

/// Forks with `clone3(2)`. The child runs on a copy of the caller's stack and memory, as after `fork(2)`.
///
/// # Errors
/// `EDEADLK` where the process has several threads: in the child their locks would stay held for ever. Otherwise the
/// kernel's: `EPERM` (no right to a namespace), `ENOSPC` (too many namespaces), `EAGAIN` (process limit), `ENOSYS`.
pub fn clone3(request: &Request<'_>) -> Result<Fork<Child>> {
    if !single_threaded() {
        return Err(Errno::DEADLK);
    }
    let mut pidfd: libc::c_int = -1;
    let mut args = CloneArgs {
        flags: request.namespaces | libc::CLONE_PIDFD as u64,
        pidfd: std::ptr::from_mut(&mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    if request.sibling {
        args.flags |= libc::CLONE_PARENT as u64;
        args.exit_signal = 0;
    }
    if let Some(cgroup) = request.cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: `args` is a valid clone_args of the size given; without CLONE_VM and with no stack the child gets a copy
    // of this address space and returns here on the same (copied) stack, exactly as fork does. The check above makes
    // sure that no other thread's locks are copied in a held state.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) };
    match pid {
        -1 => Err(last_errno()),
        0 => Ok(Fork::Child),
        pid => {
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::RANGE)?;
            // SAFETY: with CLONE_PIDFD the kernel has stored a new descriptor that nobody else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Fork::Parent(Child { pid, pidfd }))
        }
    }
}

/// Forks into the same namespaces.
///
/// # Errors
/// As [`clone3`].
pub fn fork() -> Result<Fork<Child>> {
    clone3(&Request::default())
}

/// Which side of a plain fork this is.
#[derive(Debug)]
pub enum Plain {
    /// The new process.
    Child,
    /// The old one, with the number of the new one.
    Parent(Pid),
}

/// Forks with `fork(2)`, for a process whose system call filter has no `clone3`.
///
/// # Errors
/// As [`clone3`].
pub fn fork_plain() -> Result<Plain> {
    if !single_threaded() {
        return Err(Errno::DEADLK);
    }
    // SAFETY: the process has one thread, so the child may do whatever its parent could.
    match unsafe { libc::fork() } {
        -1 => Err(last_errno()),
        0 => Ok(Plain::Child),
        pid => Pid::from_raw(pid).map(Plain::Parent).ok_or(Errno::RANGE),
    }
}

/// Ends the process at once: no destructor, no exit handler, no flush. The way out of a forked child.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit takes any value and does not return.
    unsafe { libc::_exit(code) }
}

/// Moves the calling thread into the namespaces of the process behind `pidfd` (`setns(2)` with a pidfd, Linux 5.8).
///
/// # Errors
/// The kernel's: `EINVAL` (multithreaded for user namespaces, or the same user namespace), `EPERM`, `ESRCH`.
pub fn join_namespaces(pidfd: BorrowedFd<'_>, namespaces: u64) -> Result<()> {
    let flags = libc::c_int::try_from(namespaces).map_err(|_| Errno::INVAL)?;
    // SAFETY: setns takes a descriptor and flags and touches no memory of ours.
    match unsafe { libc::setns(pidfd.as_raw_fd(), flags) } {
        0 => Ok(()),
        _ => Err(last_errno()),
    }
}

/// The namespace that the user or PID namespace behind `namespace` is in (`NS_GET_PARENT`, `ioctl_nsfs(2)`).
///
/// # Errors
/// `EPERM` where it is out of the caller's sight.
pub fn parent_namespace(namespace: BorrowedFd<'_>) -> Result<OwnedFd> {
    const NS_GET_PARENT: libc::c_ulong = 0xb702;
    // SAFETY: the call takes no argument and returns a new descriptor.
    match unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_PARENT as _) } {
        -1 => Err(last_errno()),
        // SAFETY: nobody else owns it.
        fd => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
    }
}

/// Gives the calling thread new namespaces (`unshare(2)`), `CLONE_NEW*` bits.
///
/// # Errors
/// As the kernel's `unshare`.
pub fn unshare(namespaces: u64) -> Result<()> {
    let flags = libc::c_int::try_from(namespaces).map_err(|_| Errno::INVAL)?;
    // SAFETY: only CLONE_NEW* bits are meant; CLONE_FILES, CLONE_FS and CLONE_SYSVSEM affect no memory either, and
    // CLONE_VM is refused by the kernel for a process with several threads.
    match unsafe { libc::unshare(flags) } {
        0 => Ok(()),
        _ => Err(last_errno()),
    }
}

/// `errno` of the C library's last failure.
pub(crate) fn last_errno() -> Errno {
    Errno::from_raw_os_error(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_threads_is_not_forked() {
        // The test harness itself runs tests on threads.
        std::thread::spawn(|| assert_eq!(fork().unwrap_err(), Errno::DEADLK))
            .join()
            .unwrap();
    }
}
