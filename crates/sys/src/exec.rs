//! Replacing a process by a program of a container without letting the container reach our own binary.
//!
//! Between the moment when a process of ours enters a container and its `execve`, its `/proc/PID/exe` is hull itself.
//! A container whose program is `/proc/self/exe`, or a script that names it as its interpreter, would run hull inside
//! and could open that file for writing once it is no longer busy (CVE-2019-5736). So the last step before the
//! container's program is always a program of a few instructions in a sealed memory file: it is what `/proc/self/exe`
//! then refers to, it holds nothing of ours, and it cannot be written.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::{Errno, Result};

use crate::clone::last_errno;

/// Exit code of the launcher when it could not even report why the program did not start.
pub const LAUNCH_FAILED: i32 = 127;

/// The launcher: an ELF executable whose one segment is this file's bytes.
///
/// It is started with `argv = [program, argument 0, argument 1, ..]`. It marks the descriptor whose number is its last
/// four bytes to be closed on exec, calls `execve(argv[0], &argv[1], envp)` and, if that returns, writes the 32-bit errno to the
/// descriptor and exits with 127.
#[cfg(target_arch = "x86_64")]
mod launcher {
    use std::arch::global_asm;

    global_asm!(
        ".pushsection .rodata.hull_launcher, \"a\", @progbits",
        ".balign 8",
        ".globl hull_launcher_start",
        ".hidden hull_launcher_start",
        "hull_launcher_start:",
        // ELF header.
        ".byte 0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0",
        ".short 2, 62",                                // ET_EXEC, EM_X86_64
        ".long 1",                                     // EV_CURRENT
        ".quad 0x400000 + (2f - hull_launcher_start)", // entry
        ".quad 64, 0",                                 // program headers, section headers
        ".long 0",
        ".short 64, 56, 2, 64, 0, 0",
        // PT_LOAD, read and execute, the whole file.
        ".long 1, 5",
        ".quad 0, 0x400000, 0x400000",
        ".quad hull_launcher_end - hull_launcher_start",
        ".quad hull_launcher_end - hull_launcher_start",
        ".quad 0x1000",
        // PT_GNU_STACK, not executable.
        ".long 0x6474e551, 6",
        ".quad 0, 0, 0, 0, 0, 16",
        "2:",
        "mov r12, [rsp]",             // argc
        "lea rbx, [rsp + 8]",         // argv
        "lea r13, [rbx + r12*8 + 8]", // envp
        "mov eax, 72",                // fcntl(fd, F_SETFD, FD_CLOEXEC)
        "mov edi, [rip + 3f]",
        "mov esi, 2",
        "mov edx, 1",
        "syscall",
        "test eax, eax", // started by the container itself, as its /proc/self/exe: there is nothing to do here
        "js 4f",
        "mov eax, 59", // execve
        "mov rdi, [rbx]",
        "lea rsi, [rbx + 8]",
        "mov rdx, r13",
        "syscall",
        "neg eax",
        "push rax",
        "mov eax, 1", // write(fd, &errno, 4)
        "mov edi, [rip + 3f]",
        "mov rsi, rsp",
        "mov edx, 4",
        "syscall",
        "4:",
        "mov eax, 231", // exit_group(127)
        "mov edi, 127",
        "syscall",
        "ud2",
        ".balign 4",
        "3:",
        ".long 3",
        ".globl hull_launcher_end",
        ".hidden hull_launcher_end",
        "hull_launcher_end:",
        ".popsection",
    );
}

#[cfg(target_arch = "aarch64")]
mod launcher {
    use std::arch::global_asm;

    global_asm!(
        ".pushsection .rodata.hull_launcher, \"a\", @progbits",
        ".balign 8",
        ".globl hull_launcher_start",
        ".hidden hull_launcher_start",
        "hull_launcher_start:",
        ".byte 0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0",
        ".short 2, 183", // ET_EXEC, EM_AARCH64
        ".long 1",
        ".quad 0x400000 + (2f - hull_launcher_start)",
        ".quad 64, 0",
        ".long 0",
        ".short 64, 56, 2, 64, 0, 0",
        ".long 1, 5",
        ".quad 0, 0x400000, 0x400000",
        ".quad hull_launcher_end - hull_launcher_start",
        ".quad hull_launcher_end - hull_launcher_start",
        ".quad 0x10000",
        ".long 0x6474e551, 6",
        ".quad 0, 0, 0, 0, 0, 16",
        "2:",
        "ldr x19, [sp]",
        "add x20, sp, #8",
        "add x21, x20, x19, lsl #3",
        "add x21, x21, #8",
        "mov x8, #25", // fcntl(fd, F_SETFD, FD_CLOEXEC)
        "ldr w0, 3f",
        "mov x1, #2",
        "mov x2, #1",
        "svc #0",
        "tbnz w0, #31, 4f",
        "mov x8, #221", // execve
        "ldr x0, [x20]",
        "add x1, x20, #8",
        "mov x2, x21",
        "svc #0",
        "neg w0, w0",
        "str x0, [sp, #-16]!",
        "mov x8, #64", // write(fd, &errno, 4)
        "ldr w0, 3f",
        "mov x1, sp",
        "mov x2, #4",
        "svc #0",
        "4:",
        "mov x8, #94", // exit_group(127)
        "mov x0, #127",
        "svc #0",
        "brk #0",
        "3:",
        ".long 3",
        ".globl hull_launcher_end",
        ".hidden hull_launcher_end",
        "hull_launcher_end:",
        ".popsection",
    );
}

unsafe extern "C" {
    static hull_launcher_start: u8;
    static hull_launcher_end: u8;
}

/// The launcher in a memory file that nobody can change.
#[derive(Debug)]
pub struct Launcher(OwnedFd);

impl Launcher {
    /// Writes and seals the launcher; it reports an errno on descriptor `error_fd`, which is closed when the program
    /// starts.
    ///
    /// # Errors
    /// `EACCES` where the sysctl `vm.memfd_noexec` is 2; `EMFILE`, `ENOMEM`.
    pub fn new(error_fd: i32) -> Result<Self> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        // MFD_EXEC is Linux 6.3; earlier kernels make every memory file executable.
        let fd = rustix::fs::memfd_create(c"hull-launcher", flags | MemfdFlags::EXEC).or_else(|errno| match errno {
            Errno::INVAL => rustix::fs::memfd_create(c"hull-launcher", flags),
            errno => Err(errno),
        })?;
        // SAFETY: the two symbols bound one object in read-only data, defined above.
        let code = unsafe {
            let start = &raw const hull_launcher_start;
            let end = &raw const hull_launcher_end;
            std::slice::from_raw_parts(start, end.offset_from(start).unsigned_abs())
        };
        let mut code = code.to_vec();
        let place = code.len() - 4;
        code[place..].copy_from_slice(&error_fd.to_ne_bytes());
        let mut rest = code.as_slice();
        while !rest.is_empty() {
            let n = rustix::io::write(&fd, rest)?;
            rest = &rest[n..];
        }
        rustix::fs::fcntl_add_seals(
            &fd,
            SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL,
        )?;
        Ok(Self(fd))
    }

    /// Replaces this process: the launcher first, then `program` with `arguments` and `environment`.
    /// The caller has put the error pipe at the launcher's descriptor, open across exec, and marked all else to be closed.
    /// Returns only if the launcher itself could not be started.
    #[must_use]
    pub fn exec(&self, program: &CStr, arguments: &[CString], environment: &[CString]) -> Errno {
        let mut argv: Vec<*const libc::c_char> = Vec::with_capacity(arguments.len() + 2);
        argv.push(program.as_ptr());
        argv.extend(arguments.iter().map(|a| a.as_ptr()));
        argv.push(std::ptr::null());
        exec_fd(&self.0, &argv, environment)
    }
}

/// Replaces this process by the program behind `fd` (`execveat` with an empty path).
/// Returns only on failure.
#[must_use]
pub fn execve_fd(fd: BorrowedFd<'_>, arguments: &[CString], environment: &[CString]) -> Errno {
    let mut argv: Vec<*const libc::c_char> = arguments.iter().map(|a| a.as_ptr()).collect();
    argv.push(std::ptr::null());
    exec_fd(&fd, &argv, environment)
}

fn exec_fd(fd: &impl AsRawFd, argv: &[*const libc::c_char], environment: &[CString]) -> Errno {
    let mut envp: Vec<*const libc::c_char> = environment.iter().map(|e| e.as_ptr()).collect();
    envp.push(std::ptr::null());
    // SAFETY: argv and envp are null-terminated arrays of C strings that outlive the call.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            fd.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
    }
    last_errno()
}

/// Replaces this process by the program at `path` (`execve(2)`). Returns only on failure.
#[must_use]
pub fn execve(path: &CStr, arguments: &[CString], environment: &[CString]) -> Errno {
    let pointers = |texts: &[CString]| -> Vec<*const libc::c_char> {
        texts
            .iter()
            .map(|t| t.as_ptr())
            .chain(std::iter::once(std::ptr::null()))
            .collect()
    };
    let (argv, envp) = (pointers(arguments), pointers(environment));
    // SAFETY: a C string and two null-terminated arrays of C strings, all of which outlive the call.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    last_errno()
}

/// Writes an errno as the launcher does to descriptor `fd`, which was inherited by number.
pub fn report_errno(fd: i32, errno: Errno) {
    let bytes = errno.raw_os_error().to_ne_bytes();
    // SAFETY: writes four bytes of a local; a descriptor that is not open gives EBADF.
    unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
}

/// Closes a descriptor that was inherited by number.
pub fn close(fd: i32) {
    // SAFETY: the caller was handed the number at its exec, and nothing else in the process owns it.
    unsafe { libc::close(fd) };
}

/// Puts `fd` at number `target`, open across exec, closing what was there.
///
/// # Errors
/// `EBADF`, `EINTR`, `EIO`.
pub fn place_fd(fd: BorrowedFd<'_>, target: i32) -> Result<()> {
    // SAFETY: dup2 of an open descriptor; whoever owned `target` gives it up by calling this in the last steps before
    // an exec, and nothing of ours uses it afterwards.
    let done = unsafe {
        if fd.as_raw_fd() == target {
            libc::fcntl(target, libc::F_SETFD, 0)
        } else {
            libc::dup2(fd.as_raw_fd(), target)
        }
    };
    if done < 0 { Err(last_errno()) } else { Ok(()) }
}

/// Lets descriptor `fd` live on over the next exec, or not.
///
/// # Errors
/// `EBADF`.
pub fn keep_on_exec(fd: i32, keep: bool) -> Result<()> {
    // SAFETY: only the close-on-exec flag changes.
    let done = unsafe { libc::fcntl(fd, libc::F_SETFD, if keep { 0 } else { libc::FD_CLOEXEC }) };
    if done < 0 { Err(last_errno()) } else { Ok(()) }
}

/// Takes descriptor `fd`, which this process was started with. What it opens itself is closed on exec from the start, so
/// one that is not was handed over, and as taking it marks it, nobody can take it twice.
///
/// # Errors
/// `EBADF` where it is not open, or is not one that was handed over.
pub fn inherited(fd: i32) -> Result<OwnedFd> {
    // SAFETY: reads a flag of whatever the number refers to.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
    if flags < 0 || flags & libc::FD_CLOEXEC != 0 || fd <= 2 {
        return Err(Errno::BADF);
    }
    keep_on_exec(fd, false)?;
    // SAFETY: it is open, and by the convention above nothing in this process owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Marks every descriptor from `first` on to be closed by the next exec (`close_range(2)`, Linux 5.11), so that none
/// leaks into a container (CVE-2024-21626).
///
/// # Errors
/// `EINVAL` before Linux 5.11.
pub fn close_on_exec_from(first: u32) -> Result<()> {
    // SAFETY: only the close-on-exec flags of descriptors change.
    let done = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    if done < 0 { Err(last_errno()) } else { Ok(()) }
}

/// Closes every descriptor from 3 on but `keep`, and makes 0, 1 and 2 the null device. For a forked child that goes on
/// with a few descriptors of its parent: whatever else owns one of the closed ones must not be used or dropped any more.
pub fn close_all_but(keep: &mut [i32]) {
    keep.sort_unstable();
    let mut from = 3u32;
    let close = |first: u32, last: u32| {
        if first <= last {
            // SAFETY: the caller gives up everything that owns these descriptors.
            unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        }
    };
    for &fd in keep.iter() {
        let Ok(fd) = u32::try_from(fd) else { continue };
        if fd >= from {
            if fd > 0 {
                close(from, fd - 1);
            }
            from = fd + 1;
        }
    }
    close(from, libc::c_uint::MAX);
    if let Ok(null) = rustix::fs::open("/dev/null", rustix::fs::OFlags::RDWR, rustix::fs::Mode::empty()) {
        for target in 0..3 {
            let _ = place_fd(null.as_fd(), target);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_launcher_is_sealed_and_small() {
        let launcher = Launcher::new(3).unwrap();
        let size = rustix::fs::fstat(&launcher.0).unwrap().st_size;
        assert!((200..1024).contains(&size), "{size}");
        assert_eq!(rustix::io::write(&launcher.0, b"x").unwrap_err(), Errno::PERM);
        assert_eq!(rustix::fs::ftruncate(&launcher.0, 0).unwrap_err(), Errno::PERM);
    }

    #[test]
    fn an_inherited_descriptor_is_taken_once() {
        let ours = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(inherited(ours.as_raw_fd()).unwrap_err(), Errno::BADF);
        let fd = std::os::fd::IntoRawFd::into_raw_fd(ours);
        keep_on_exec(fd, true).unwrap();
        let _taken = inherited(fd).unwrap();
        assert_eq!(inherited(fd).unwrap_err(), Errno::BADF);
        assert_eq!(inherited(1).unwrap_err(), Errno::BADF);
    }

    /// Runs the launcher by a command of std, which forks and execs safely from a threaded test. It is reached as
    /// /proc/PID/fd/N, so that its own argv[0] is the program.
    fn launch(error_fd: i32, program: &str, args: &[&str]) -> std::process::Output {
        use std::os::unix::process::CommandExt;
        let launcher = Launcher::new(error_fd).unwrap();
        let path = format!("/proc/{}/fd/{}", std::process::id(), launcher.0.as_raw_fd());
        std::process::Command::new(&path)
            .arg0(program)
            .args(args)
            .output()
            .unwrap()
    }

    #[test]
    fn the_launcher_starts_programs_and_reports_failures() {
        let ok = launch(2, "/bin/echo", &["name", "one", "two"]);
        assert_eq!(
            (ok.status.code(), ok.stdout.as_slice()),
            (Some(0), b"one two\n".as_slice())
        );
        let missing = launch(2, "/no/such", &["x"]);
        assert_eq!(missing.status.code(), Some(LAUNCH_FAILED));
        assert_eq!(missing.stderr, libc::ENOENT.to_ne_bytes());
    }

    #[test]
    fn the_launcher_does_nothing_for_a_container_that_starts_it_again() {
        // Its error descriptor is closed by then.
        let again = launch(77, "/bin/echo", &["name", "one"]);
        assert_eq!(
            (again.status.code(), again.stdout.as_slice()),
            (Some(LAUNCH_FAILED), b"".as_slice())
        );
    }
}
