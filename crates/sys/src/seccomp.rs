//! Installing seccomp filters, by seccomp(2).

use std::os::fd::{FromRawFd, OwnedFd};

use rustix::io::{Errno, Result};

use crate::clone::last_errno;

/// One instruction of classic BPF (kernel: `struct sock_filter`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions skipped where a condition holds.
    pub jt: u8,
    /// Instructions skipped where it does not.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// Most instructions of one filter (kernel: `BPF_MAXINSNS`).
pub const MAX_INSTRUCTIONS: usize = 4096;

/// How a filter is installed. The default is none of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// For all threads of the process instead of the calling one.
    pub all_threads: bool,
    /// Write what is not allowed to the audit log.
    pub log: bool,
    /// Leave speculative store bypass alone: kernels before 5.16 turn it off for a filtered process, at some cost.
    pub allow_speculation: bool,
}

impl Flags {
    fn bits(self) -> libc::c_ulong {
        let bit = |set: bool, flag: libc::c_ulong| if set { flag } else { 0 };
        bit(self.all_threads, libc::SECCOMP_FILTER_FLAG_TSYNC)
            | bit(self.log, libc::SECCOMP_FILTER_FLAG_LOG)
            | bit(self.allow_speculation, libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW)
    }
}

#[repr(C)]
struct Program {
    length: libc::c_ushort,
    instructions: *const Instruction,
}

/// Puts a filter before every later system call of the calling thread (of all threads, with that flag), and of all
/// that it forks or executes. It cannot be taken away again.
///
/// # Errors
/// `EACCES` with neither CAP_SYS_ADMIN nor no-new-privileges; `EINVAL` for a program that the kernel refuses, or a flag
/// that it does not know; `ENOMEM` where all filters of the thread together would exceed 32768 instructions; `E2BIG`
/// for more than [`MAX_INSTRUCTIONS`]; `ESRCH` where a thread could not be brought along.
pub fn install(filter: &[Instruction], flags: Flags) -> Result<()> {
    set_filter(filter, flags.bits()).map(|_| ())
}

/// As [`install`], with a descriptor (close-on-exec) that is told of every call whose action is `USER_NOTIF`.
///
/// # Errors
/// As [`install`]; `EBUSY` where a filter of the thread has a listener already.
pub fn install_with_listener(filter: &[Instruction], flags: Flags) -> Result<OwnedFd> {
    let fd = set_filter(filter, flags.bits() | libc::SECCOMP_FILTER_FLAG_NEW_LISTENER)?;
    let fd = i32::try_from(fd).map_err(|_| Errno::BADF)?;
    // SAFETY: with NEW_LISTENER a success returns a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn set_filter(filter: &[Instruction], flags: libc::c_ulong) -> Result<libc::c_long> {
    if filter.len() > MAX_INSTRUCTIONS {
        return Err(Errno::TOOBIG);
    }
    let program = Program {
        length: filter.len() as libc::c_ushort,
        instructions: filter.as_ptr(),
    };
    // SAFETY: `program` has the layout of `struct sock_fprog` and points to `length` instructions with the layout of
    // `struct sock_filter`, alive through the call; the kernel copies and checks them before it uses them.
    let done = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::c_ulong::from(libc::SECCOMP_SET_MODE_FILTER),
            flags,
            &raw const program,
        )
    };
    match done {
        0.. if flags & libc::SECCOMP_FILTER_FLAG_NEW_LISTENER != 0 => Ok(done),
        0 => Ok(0),
        // With TSYNC the kernel returns the ID of a thread that has a filter of its own.
        1.. => Err(Errno::SRCH),
        _ => Err(last_errno()),
    }
}

/// Whether this kernel knows an action (`SECCOMP_RET_*` without data).
///
/// # Errors
/// `ENOSYS` without seccomp.
pub fn knows_action(action: u32) -> Result<bool> {
    // SAFETY: SECCOMP_GET_ACTION_AVAIL reads one u32.
    let done = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::c_ulong::from(libc::SECCOMP_GET_ACTION_AVAIL),
            0 as libc::c_ulong,
            &raw const action,
        )
    };
    match done {
        0 => Ok(true),
        _ if last_errno() == Errno::OPNOTSUPP => Ok(false),
        _ => Err(last_errno()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RET: u16 = 0x06;
    const LD_ABS: u16 = 0x20;
    const JEQ: u16 = 0x15;

    fn insn(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {
        Instruction { code, jt, jf, k }
    }

    /// Runs `f` in a thread of its own: a filter stays with its thread.
    fn in_thread<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
        std::thread::spawn(f).join().unwrap()
    }

    #[test]
    fn a_filter_acts_on_its_thread_only() {
        let getppid = libc::SYS_getppid as u32;
        let refused = in_thread(move || {
            crate::prctl::no_new_privileges().unwrap();
            let filter = [
                insn(LD_ABS, 0, 0, 0),
                insn(JEQ, 0, 1, getppid),
                insn(RET, 0, 0, 0x0005_0000 | 77),
                insn(RET, 0, 0, 0x7fff_0000),
            ];
            install(&filter, Flags::default()).unwrap();
            // SAFETY: getppid takes nothing.
            let done = unsafe { libc::syscall(libc::SYS_getppid) };
            (done, last_errno().raw_os_error())
        });
        assert_eq!(refused, (-1, 77));
        // SAFETY: getppid takes nothing.
        assert!(unsafe { libc::syscall(libc::SYS_getppid) } >= 0);
    }

    #[test]
    fn the_kernel_refuses_a_broken_program() {
        let errors = in_thread(|| {
            crate::prctl::no_new_privileges().unwrap();
            let endless = [insn(JEQ, 9, 9, 0)];
            let long = vec![insn(RET, 0, 0, 0x7fff_0000); MAX_INSTRUCTIONS + 1];
            [
                install(&endless, Flags::default()),
                install(&[], Flags::default()),
                install(&long, Flags::default()),
                install(&long[..MAX_INSTRUCTIONS], Flags::default()),
            ]
        });
        assert_eq!(
            errors,
            [Err(Errno::INVAL), Err(Errno::INVAL), Err(Errno::TOOBIG), Ok(())]
        );
    }

    #[test]
    fn actions_are_known_or_not() {
        assert_eq!(knows_action(libc::SECCOMP_RET_ERRNO), Ok(true));
        assert_eq!(knows_action(libc::SECCOMP_RET_KILL_PROCESS), Ok(true));
        assert_eq!(knows_action(0x1234_0000), Ok(false));
    }
}
