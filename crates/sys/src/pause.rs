//! The program that holds a pod's namespaces: an ELF executable of a few hundred bytes that does nothing.
//!
//! As process 1 it has its children's zombies reaped by the kernel (an ignored SIGCHLD), also those that become its
//! children because their parents ended. It ends with 0 at SIGTERM or SIGINT, which as process 1 it would otherwise not
//! even see: blocked, they wait until it asks for them.

#[cfg(target_arch = "x86_64")]
mod program {
    use std::arch::global_asm;

    global_asm!(
        ".pushsection .rodata.hull_pause, \"a\", @progbits",
        ".balign 8",
        ".globl hull_pause_start",
        ".hidden hull_pause_start",
        "hull_pause_start:",
        // ELF header.
        ".byte 0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0",
        ".short 2, 62",                             // ET_EXEC, EM_X86_64
        ".long 1",                                  // EV_CURRENT
        ".quad 0x400000 + (2f - hull_pause_start)", // entry
        ".quad 64, 0",                              // program headers, section headers
        ".long 0",
        ".short 64, 56, 2, 64, 0, 0",
        // PT_LOAD, read and execute, the whole file.
        ".long 1, 5",
        ".quad 0, 0x400000, 0x400000",
        ".quad hull_pause_end - hull_pause_start",
        ".quad hull_pause_end - hull_pause_start",
        ".quad 0x1000",
        // PT_GNU_STACK, not executable.
        ".long 0x6474e551, 6",
        ".quad 0, 0, 0, 0, 0, 16",
        "2:",
        "push 0", // struct sigaction: mask, restorer, flags, SIG_IGN
        "push 0",
        "push 0",
        "push 1",
        "mov eax, 13", // rt_sigaction(SIGCHLD, ..)
        "mov edi, 17",
        "mov rsi, rsp",
        "xor edx, edx",
        "mov r10d, 8",
        "syscall",
        "push 0x4002", // SIGINT, SIGTERM
        "mov eax, 14", // rt_sigprocmask(SIG_BLOCK, ..)
        "xor edi, edi",
        "mov rsi, rsp",
        "xor edx, edx",
        "mov r10d, 8",
        "syscall",
        "3:",
        "mov eax, 128", // rt_sigtimedwait, for ever
        "mov rdi, rsp",
        "xor esi, esi",
        "xor edx, edx",
        "mov r10d, 8",
        "syscall",
        "test eax, eax", // stopped and continued
        "js 3b",
        "mov eax, 231", // exit_group(0)
        "xor edi, edi",
        "syscall",
        "ud2",
        ".globl hull_pause_end",
        ".hidden hull_pause_end",
        "hull_pause_end:",
        ".popsection",
    );
}

#[cfg(target_arch = "aarch64")]
mod program {
    use std::arch::global_asm;

    global_asm!(
        ".pushsection .rodata.hull_pause, \"a\", @progbits",
        ".balign 8",
        ".globl hull_pause_start",
        ".hidden hull_pause_start",
        "hull_pause_start:",
        ".byte 0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0",
        ".short 2, 183", // ET_EXEC, EM_AARCH64
        ".long 1",
        ".quad 0x400000 + (2f - hull_pause_start)",
        ".quad 64, 0",
        ".long 0",
        ".short 64, 56, 2, 64, 0, 0",
        ".long 1, 5",
        ".quad 0, 0x400000, 0x400000",
        ".quad hull_pause_end - hull_pause_start",
        ".quad hull_pause_end - hull_pause_start",
        ".quad 0x10000",
        ".long 0x6474e551, 6",
        ".quad 0, 0, 0, 0, 0, 16",
        "2:",
        "sub sp, sp, #48",
        "mov x0, #1", // struct sigaction: SIG_IGN, flags, restorer, mask
        "stp x0, xzr, [sp]",
        "stp xzr, xzr, [sp, #16]",
        "mov x8, #134", // rt_sigaction(SIGCHLD, ..)
        "mov x0, #17",
        "mov x1, sp",
        "mov x2, #0",
        "mov x3, #8",
        "svc #0",
        "mov x0, #0x4002", // SIGINT, SIGTERM
        "str x0, [sp, #32]",
        "mov x8, #135", // rt_sigprocmask(SIG_BLOCK, ..)
        "mov x0, #0",
        "add x1, sp, #32",
        "mov x2, #0",
        "mov x3, #8",
        "svc #0",
        "3:",
        "mov x8, #137", // rt_sigtimedwait, for ever
        "add x0, sp, #32",
        "mov x1, #0",
        "mov x2, #0",
        "mov x3, #8",
        "svc #0",
        "tbnz w0, #31, 3b",
        "mov x8, #94", // exit_group(0)
        "mov x0, #0",
        "svc #0",
        "brk #0",
        ".globl hull_pause_end",
        ".hidden hull_pause_end",
        "hull_pause_end:",
        ".popsection",
    );
}

unsafe extern "C" {
    static hull_pause_start: u8;
    static hull_pause_end: u8;
}

/// The executable's bytes.
#[must_use]
pub fn program() -> &'static [u8] {
    // SAFETY: the two symbols bound one object in read-only data, defined above.
    unsafe {
        let start = &raw const hull_pause_start;
        let end = &raw const hull_pause_end;
        std::slice::from_raw_parts(start, end.offset_from(start).unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::ExitStatusExt;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn it_waits_is_small_and_ends_when_asked() {
        assert!((200..1024).contains(&program().len()), "{}", program().len());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pause");
        std::fs::write(&path, program()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut child = std::process::Command::new(&path).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let status = || std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let deadline = Instant::now() + Duration::from_secs(10);
        // It has come to its wait when it ignores its children's ends (bit 16) and sleeps.
        let waits = || {
            let status = status();
            let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name).map(str::trim));
            let ignored = field("SigIgn:").and_then(|mask| u64::from_str_radix(mask, 16).ok());
            ignored.is_some_and(|mask| mask & 1 << 16 != 0) && field("State:").is_some_and(|s| s.starts_with('S'))
        };
        while !waits() {
            assert!(Instant::now() < deadline, "{}", status());
            std::thread::yield_now();
        }
        let kilobytes: u64 = status()
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok())
            .unwrap();
        assert!(kilobytes < 100, "{kilobytes} kB");
        assert!(child.try_wait().unwrap().is_none());
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(pid).unwrap(),
            rustix::process::Signal::TERM,
        )
        .unwrap();
        let ended = child.wait().unwrap();
        assert_eq!((ended.code(), ended.signal()), (Some(0), None));
    }
}
