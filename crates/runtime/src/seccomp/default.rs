//! Docker's default profile, as a table that is joined with the system calls' numbers when hull is built.
//!
//! The facts are those of moby's `profiles/seccomp/default.json` (as of version 29); what differs:
//! - address families of `socket` are compared as the kernel takes them, as `int`: there, a caller passes `AF_ALG` with
//!   a bit above the 32nd set, and both gets past the comparison and gets the socket;
//! - `socketcall` does not make sockets by default ([`Socketcall`]);
//! - x32 is refused with `ENOSYS`, which is what the kernels of most distributions answer: they have it turned off.
//!
//! Making the filter takes microseconds, so it is made for each container from its capabilities.

use super::compile::{Calls, Verdict, compile};
use super::syscalls::{ARM_PRIVATE, SOCKETCALLS, TABLE};
use super::{Action, Comparison, Condition, ENOSYS, EPERM, Machine, X32_BIT};
use crate::capability::{Capability, Set};
use hull_sys::seccomp::Instruction;

/// What i386's `socketcall` may do. It takes its arguments through a pointer, which no filter can follow, so the address
/// families that `socket` is refused cannot be told from others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Socketcall {
    /// Everything but make sockets (`ENOSYS`: programs then use `socket`, if they know it). For images of 64-bit
    /// platforms.
    #[default]
    WithoutSocket,
    /// Everything, as Docker has it. For images whose own platform is 32-bit x86: their C library may know no other way.
    Whole,
}

/// How a call is treated: an index of [`CLASSES`].
type Class = u8;

const DENIED: Class = 0;
const ALLOWED: Class = 1;
const SOCKET: Class = 2;
const PERSONALITY: Class = 3;
const CLONE: Class = 4;
const CLONE3: Class = 5;
const SOCKETCALL: Class = 6;
/// From here on a class is allowed with any of [`GATES`].
const FIRST_GATE: Class = 7;

/// The capabilities of each gate, and the calls that any of them opens.
const GATES: [(&[Capability], &[&str]); 14] = [
    (&[Capability::DAC_READ_SEARCH], &["open_by_handle_at"]),
    (
        &[Capability::SYS_ADMIN],
        &[
            "fanotify_init",
            "fsconfig",
            "fsmount",
            "fsopen",
            "fspick",
            "lookup_dcookie",
            "lsm_get_self_attr",
            "lsm_list_modules",
            "lsm_set_self_attr",
            "mount",
            "mount_setattr",
            "move_mount",
            "open_tree",
            "quotactl",
            "quotactl_fd",
            "setdomainname",
            "sethostname",
            "setns",
            "umount",
            "umount2",
            "unshare",
        ],
    ),
    (&[Capability::SYS_ADMIN, Capability::BPF], &["bpf"]),
    (&[Capability::SYS_ADMIN, Capability::PERFMON], &["perf_event_open"]),
    (&[Capability::SYS_ADMIN, Capability::SYSLOG], &["syslog"]),
    (&[Capability::SYS_BOOT], &["reboot"]),
    (&[Capability::SYS_CHROOT], &["chroot"]),
    (
        &[Capability::SYS_MODULE],
        &["delete_module", "finit_module", "init_module"],
    ),
    (&[Capability::SYS_PACCT], &["acct"]),
    (&[Capability::SYS_PTRACE], &["kcmp", "pidfd_getfd", "process_madvise"]),
    (&[Capability::SYS_RAWIO], &["ioperm", "iopl"]),
    (
        &[Capability::SYS_TIME],
        &["clock_settime", "clock_settime64", "settimeofday", "stime"],
    ),
    (&[Capability::SYS_TTY_CONFIG], &["vhangup"]),
    (
        &[Capability::SYS_NICE],
        &["get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node"],
    ),
];

/// Calls that every container may make. ptrace and process_vm_* are among them because hull needs Linux 5.15: before 4.8
/// they were a way around the filter.
#[rustfmt::skip]
const ALLOWED_CALLS: &[&str] = &[
    "_llseek", "_newselect", "accept", "accept4", "access", "adjtimex", "alarm", "arch_prctl",
    "arm_fadvise64_64", "arm_sync_file_range", "bind", "breakpoint", "brk", "cacheflush", "cachestat",
    "capget", "capset", "chdir", "chmod", "chown", "chown32", "clock_adjtime", "clock_adjtime64",
    "clock_getres", "clock_getres_time64", "clock_gettime", "clock_gettime64", "clock_nanosleep",
    "clock_nanosleep_time64", "close", "close_range", "connect", "copy_file_range", "creat", "dup",
    "dup2", "dup3", "epoll_create", "epoll_create1", "epoll_ctl", "epoll_ctl_old", "epoll_pwait",
    "epoll_pwait2", "epoll_wait", "epoll_wait_old", "eventfd", "eventfd2", "execve", "execveat", "exit",
    "exit_group", "faccessat", "faccessat2", "fadvise64", "fadvise64_64", "fallocate", "fanotify_mark",
    "fchdir", "fchmod", "fchmodat", "fchmodat2", "fchown", "fchown32", "fchownat", "fcntl", "fcntl64",
    "fdatasync", "fgetxattr", "flistxattr", "flock", "fork", "fremovexattr", "fsetxattr", "fstat",
    "fstat64", "fstatat64", "fstatfs", "fstatfs64", "fsync", "ftruncate", "ftruncate64", "futex",
    "futex_requeue", "futex_time64", "futex_wait", "futex_waitv", "futex_wake", "futimesat",
    "get_robust_list", "get_thread_area", "getcpu", "getcwd", "getdents", "getdents64", "getegid",
    "getegid32", "geteuid", "geteuid32", "getgid", "getgid32", "getgroups", "getgroups32", "getitimer",
    "getpeername", "getpgid", "getpgrp", "getpid", "getppid", "getpriority", "getrandom", "getresgid",
    "getresgid32", "getresuid", "getresuid32", "getrlimit", "getrusage", "getsid", "getsockname",
    "getsockopt", "gettid", "gettimeofday", "getuid", "getuid32", "getxattr", "getxattrat",
    "inotify_add_watch", "inotify_init", "inotify_init1", "inotify_rm_watch", "io_cancel", "io_destroy",
    "io_getevents", "io_pgetevents", "io_pgetevents_time64", "io_setup", "io_submit", "ioctl",
    "ioprio_get", "ioprio_set", "ipc", "kill", "landlock_add_rule", "landlock_create_ruleset",
    "landlock_restrict_self", "lchown", "lchown32", "lgetxattr", "link", "linkat", "listen", "listmount",
    "listxattr", "listxattrat", "llistxattr", "lremovexattr", "lseek", "lsetxattr", "lstat", "lstat64",
    "madvise", "map_shadow_stack", "membarrier", "memfd_create", "memfd_secret", "mincore", "mkdir",
    "mkdirat", "mknod", "mknodat", "mlock", "mlock2", "mlockall", "mmap", "mmap2", "modify_ldt",
    "mprotect", "mq_getsetattr", "mq_notify", "mq_open", "mq_timedreceive", "mq_timedreceive_time64",
    "mq_timedsend", "mq_timedsend_time64", "mq_unlink", "mremap", "mseal", "msgctl", "msgget", "msgrcv",
    "msgsnd", "msync", "munlock", "munlockall", "munmap", "name_to_handle_at", "nanosleep", "newfstatat",
    "open", "openat", "openat2", "pause", "pidfd_open", "pidfd_send_signal", "pipe", "pipe2",
    "pkey_alloc", "pkey_free", "pkey_mprotect", "poll", "ppoll", "ppoll_time64", "prctl", "pread64",
    "preadv", "preadv2", "prlimit64", "process_mrelease", "process_vm_readv", "process_vm_writev",
    "pselect6", "pselect6_time64", "ptrace", "pwrite64", "pwritev", "pwritev2", "read", "readahead",
    "readlink", "readlinkat", "readv", "recv", "recvfrom", "recvmmsg", "recvmmsg_time64", "recvmsg",
    "remap_file_pages", "removexattr", "removexattrat", "rename", "renameat", "renameat2",
    "restart_syscall", "rmdir", "rseq", "rt_sigaction", "rt_sigpending", "rt_sigprocmask",
    "rt_sigqueueinfo", "rt_sigreturn", "rt_sigsuspend", "rt_sigtimedwait", "rt_sigtimedwait_time64",
    "rt_tgsigqueueinfo", "sched_get_priority_max", "sched_get_priority_min", "sched_getaffinity",
    "sched_getattr", "sched_getparam", "sched_getscheduler", "sched_rr_get_interval",
    "sched_rr_get_interval_time64", "sched_setaffinity", "sched_setattr", "sched_setparam",
    "sched_setscheduler", "sched_yield", "seccomp", "select", "semctl", "semget", "semop", "semtimedop",
    "semtimedop_time64", "send", "sendfile", "sendfile64", "sendmmsg", "sendmsg", "sendto",
    "set_robust_list", "set_thread_area", "set_tid_address", "set_tls", "setfsgid", "setfsgid32",
    "setfsuid", "setfsuid32", "setgid", "setgid32", "setgroups", "setgroups32", "setitimer", "setpgid",
    "setpriority", "setregid", "setregid32", "setresgid", "setresgid32", "setresuid", "setresuid32",
    "setreuid", "setreuid32", "setrlimit", "setsid", "setsockopt", "setuid", "setuid32", "setxattr",
    "setxattrat", "shmat", "shmctl", "shmdt", "shmget", "shutdown", "sigaltstack", "signalfd",
    "signalfd4", "sigprocmask", "sigreturn", "socketpair", "splice", "stat", "stat64", "statfs",
    "statfs64", "statmount", "statx", "symlink", "symlinkat", "sync", "sync_file_range",
    "sync_file_range2", "syncfs", "sysinfo", "tee", "tgkill", "time", "timer_create", "timer_delete",
    "timer_getoverrun", "timer_gettime", "timer_gettime64", "timer_settime", "timer_settime64",
    "timerfd_create", "timerfd_gettime", "timerfd_gettime64", "timerfd_settime", "timerfd_settime64",
    "times", "tkill", "truncate", "truncate64", "ugetrlimit", "umask", "uname", "unlink", "unlinkat",
    "uretprobe", "utime", "utimensat", "utimensat_time64", "utimes", "vfork", "vmsplice", "wait4",
    "waitid", "waitpid", "write", "writev",
];

/// Calls whose arguments decide.
const SPECIAL: [(&str, Class); 5] = [
    ("clone", CLONE),
    ("clone3", CLONE3),
    ("personality", PERSONALITY),
    ("socket", SOCKET),
    ("socketcall", SOCKETCALL),
];

const WIDTH: usize = 480;

/// Each number's class.
struct Classes {
    of: [Class; WIDTH],
    /// ARM's own numbers that are allowed, as distances from [`ARM_PRIVATE`]; `u32::MAX` for none.
    private: [u32; 4],
    /// The highest number that the profile names, below ARM's own.
    newest: usize,
}

static X86_64: Classes = classify(Machine::X86_64);
static I386: Classes = classify(Machine::I386);
static AARCH64: Classes = classify(Machine::Aarch64);
static ARM: Classes = classify(Machine::Arm);

const fn classify(machine: Machine) -> Classes {
    let mut classes = Classes {
        of: [DENIED; WIDTH],
        private: [u32::MAX; 4],
        newest: 0,
    };
    classes.add(machine, ALLOWED_CALLS, ALLOWED);
    let mut i = 0;
    while i < GATES.len() {
        classes.add(machine, GATES[i].1, FIRST_GATE + i as Class);
        i += 1;
    }
    i = 0;
    while i < SPECIAL.len() {
        classes.add(machine, &[SPECIAL[i].0], SPECIAL[i].1);
        i += 1;
    }
    classes
}

impl Classes {
    /// Gives the calls of these names, which are in order, a class. A name that no machine has does not build.
    const fn add(&mut self, machine: Machine, names: &[&str], class: Class) {
        let mut row = 0;
        let mut private = 0;
        let mut i = 0;
        while i < names.len() {
            while !equal(TABLE[row].0, names[i]) {
                row += 1;
            }
            let number = TABLE[row].1[machine as usize];
            if number >= ARM_PRIVATE as i32 {
                assert!(class == ALLOWED);
                self.private[private] = number as u32 - ARM_PRIVATE;
                private += 1;
            } else if number >= 0 {
                let number = number as usize;
                self.of[number] = class;
                if number > self.newest {
                    self.newest = number;
                }
            }
            i += 1;
        }
    }
}

const fn equal(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}

const fn condition(comparison: Comparison, value: u64) -> Condition {
    Condition {
        argument: 0,
        comparison,
        value,
        int: true,
    }
}

const AF_ALG: u64 = 38;
const AF_VSOCK: u64 = 40;

static FAMILIES: [Condition; 3] = [
    condition(Comparison::Less, AF_ALG),
    condition(Comparison::Equal, AF_ALG + 1),
    condition(Comparison::Greater, AF_VSOCK),
];

/// Linux, with and without UNAME26 (0x20000) and 32-bit (0x8), and the question which it is.
static PERSONALITIES: [Condition; 5] = [
    condition(Comparison::Equal, 0),
    condition(Comparison::Equal, 8),
    condition(Comparison::Equal, 0x20000),
    condition(Comparison::Equal, 0x20008),
    condition(Comparison::Equal, 0xffff_ffff),
];

/// No new namespace: none of NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET.
static NO_NAMESPACE: [Condition; 1] = [condition(Comparison::Masked(0x7e02_0000), 0)];

/// `socketcall(SYS_SOCKET, ..)`.
static NEW_SOCKET: [Condition; 1] = [condition(Comparison::Equal, SOCKETCALLS[0].1 as u64)];

const ALLOW: u32 = Action::Allow.code();
const REFUSE: u32 = Action::Errno(EPERM).code();
const UNKNOWN: u32 = Action::Errno(ENOSYS).code();

/// The default filter of a container with these capabilities (its bounding set).
#[must_use]
pub fn default_filter(machine: Machine, capabilities: Set, socketcall: Socketcall) -> Vec<Instruction> {
    let calls = |machine, classes| calls(machine, classes, capabilities, socketcall);
    let machines = match machine {
        Machine::X86_64 | Machine::X32 | Machine::I386 => {
            let mut native = calls(Machine::X86_64, &X86_64);
            native.runs.push((X32_BIT, UNKNOWN_AT));
            [native, calls(Machine::I386, &I386)]
        }
        Machine::Aarch64 | Machine::Arm => [calls(Machine::Aarch64, &AARCH64), calls(Machine::Arm, &ARM)],
    };
    // The table is fixed, and a test compiles it with all capabilities and none: it is never too long.
    compile(&machines, Action::KillProcess.code()).unwrap_or_default()
}

// Where verdicts stand in `Calls::verdicts`.
const ALLOW_AT: usize = 0;
const REFUSE_AT: usize = 1;
const UNKNOWN_AT: usize = 2;
const SOCKET_AT: usize = 3;
const PERSONALITY_AT: usize = 4;
const CLONE_AT: usize = 5;
const SOCKETCALL_AT: usize = 6;

fn calls(machine: Machine, classes: &Classes, capabilities: Set, socketcall: Socketcall) -> Calls<'static> {
    let any = |conditions: &'static [Condition]| conditions.chunks(1).map(|one| (one, ALLOW)).collect();
    let mut calls = Calls {
        audit: machine.audit(),
        wide: machine.is_wide(),
        runs: Vec::with_capacity(160),
        verdicts: vec![
            Verdict::Return(ALLOW),
            Verdict::Return(REFUSE),
            Verdict::Return(UNKNOWN),
            Verdict::Check(any(&FAMILIES), REFUSE),
            Verdict::Check(any(&PERSONALITIES), REFUSE),
            Verdict::Check(vec![(&NO_NAMESPACE, ALLOW)], REFUSE),
            Verdict::Check(vec![(&NEW_SOCKET, UNKNOWN)], ALLOW),
        ],
    };
    let admin = capabilities.contains(Capability::SYS_ADMIN);
    let mut verdicts = [REFUSE_AT; FIRST_GATE as usize + GATES.len()];
    verdicts[ALLOWED as usize] = ALLOW_AT;
    verdicts[SOCKET as usize] = SOCKET_AT;
    verdicts[PERSONALITY as usize] = PERSONALITY_AT;
    verdicts[CLONE as usize] = if admin { ALLOW_AT } else { CLONE_AT };
    verdicts[CLONE3 as usize] = if admin { ALLOW_AT } else { UNKNOWN_AT };
    verdicts[SOCKETCALL as usize] = match socketcall {
        Socketcall::WithoutSocket => SOCKETCALL_AT,
        Socketcall::Whole => ALLOW_AT,
    };
    for (gate, (any, _)) in GATES.iter().enumerate() {
        if any.iter().any(|capability| capabilities.contains(*capability)) {
            verdicts[FIRST_GATE as usize + gate] = ALLOW_AT;
        }
    }
    for (number, class) in classes.of[..=classes.newest].iter().enumerate() {
        calls.push(number as u32, verdicts[usize::from(*class)]);
    }
    calls.push(classes.newest as u32 + 1, UNKNOWN_AT);
    if machine == Machine::Arm {
        calls.push(ARM_PRIVATE, REFUSE_AT);
        let mut private: Vec<u32> = classes
            .private
            .iter()
            .filter(|n| **n != u32::MAX)
            .map(|n| ARM_PRIVATE + n)
            .collect();
        private.sort_unstable();
        let mut next = 0;
        for number in private {
            if number > next {
                calls.push(next.max(ARM_PRIVATE), REFUSE_AT);
            }
            calls.push(number, ALLOW_AT);
            next = number + 1;
        }
        calls.push(next, REFUSE_AT);
    }
    calls
}
