//! Filters in this machine's kernel. A filter stays with the thread that installs it and its children, so each test has
//! a thread of its own. Calls by other machines' numbers are made by a small program of a few instructions.

#![cfg(target_arch = "x86_64")]

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use super::*;

/// How a program calls the kernel.
#[derive(Clone, Copy, Debug)]
enum Gate {
    /// `syscall`.
    Syscall,
    /// `int 0x80`: i386's numbers.
    Interrupt,
}

/// Where the program is loaded: below 4 GiB, so that i386's calls reach its data.
const BASE: u32 = 0x40_0000;
/// Where in it the three words for `socketcall` stand.
const WORDS: u32 = 0xe0;

/// A program that makes one system call and exits with its errno, or with 200 where it succeeded.
fn program(gate: Gate, number: u32, args: [u32; 3], words: [u32; 3]) -> Vec<u8> {
    let mut code = Vec::new();
    let mut load = |opcode: u8, value: u32| {
        code.push(opcode);
        code.extend(value.to_le_bytes());
    };
    load(0xb8, number); // mov eax
    match gate {
        Gate::Syscall => {
            load(0xbf, args[0]); // mov edi
            load(0xbe, args[1]); // mov esi
            load(0xba, args[2]); // mov edx
            code.extend([0x0f, 0x05]);
        }
        Gate::Interrupt => {
            load(0xbb, args[0]); // mov ebx
            load(0xb9, args[1]); // mov ecx
            load(0xba, args[2]); // mov edx
            code.extend([0xcd, 0x80]);
        }
    }
    code.extend([
        0x85, 0xc0, // test eax, eax
        0x78, 0x05, // js +5
        0xb8, 0x38, 0xff, 0xff, 0xff, // mov eax, -200
        0xf7, 0xd8, // neg eax
        0x89, 0xc7, // mov edi, eax
        0xb8, 0x3c, 0x00, 0x00, 0x00, // mov eax, SYS_exit
        0x0f, 0x05,
    ]);
    let mut file = Vec::new();
    file.extend(*b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    file.extend([2, 0, 62, 0, 1, 0, 0, 0]); // executable, x86-64, version
    file.extend(u64::from(BASE + 0x78).to_le_bytes()); // entry
    file.extend(0x40u64.to_le_bytes()); // program headers
    file.extend(0u64.to_le_bytes()); // sections
    file.extend([0, 0, 0, 0, 0x40, 0, 0x38, 0, 1, 0, 0x40, 0, 0, 0, 0, 0]);
    file.extend([1, 0, 0, 0, 5, 0, 0, 0]); // load, read and execute
    for n in [0, u64::from(BASE), u64::from(BASE), 0x100, 0x100, 0x1000] {
        file.extend(n.to_le_bytes());
    }
    file.extend(code);
    file.resize(WORDS as usize, 0);
    file.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    file.resize(0x100, 0);
    file
}

/// The errno of a call under the filter; 200 where it succeeded.
fn errno(filter: &[Instruction], gate: Gate, number: u32, args: [u32; 3], words: [u32; 3]) -> i32 {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("call");
    let mut file = std::fs::File::create(&path).unwrap();
    file.write_all(&program(gate, number, args, words)).unwrap();
    file.set_permissions(std::fs::Permissions::from_mode(0o755)).unwrap();
    drop(file);
    let filter = filter.to_vec();
    let status = std::thread::spawn(move || {
        hull_sys::prctl::no_new_privileges().unwrap();
        hull_sys::seccomp::install(&filter, hull_sys::seccomp::Flags::default()).unwrap();
        loop {
            match Command::new(&path).status() {
                // Another test's child may hold the file open for writing until it executes something.
                Err(e) if e.kind() == std::io::ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
                done => return done.unwrap(),
            }
        }
    })
    .join()
    .unwrap();
    status.code().unwrap_or_else(|| -status.signal().unwrap())
}

fn nr(machine: Machine, name: &str) -> u32 {
    number(name, machine).unwrap()
}

const SUCCESS: i32 = 200;
const NOWHERE: [u32; 3] = [0; 3];

#[test]
fn default_filter_in_the_kernel() {
    let filter = default_filter(Machine::NATIVE, Set::DEFAULT, Socketcall::WithoutSocket);
    for (name, args, expected) in [
        ("getpid", NOWHERE, SUCCESS),
        ("socket", [1, 1, 0], SUCCESS),
        ("socket", [38, 5, 0], 1),
        ("socket", [40, 1, 0], 1),
        ("keyctl", [0, 0xffff_fffd, 0], 1),
        ("unshare", [0x1000_0000, 0, 0], 1),
        ("mount", NOWHERE, 1),
        ("clone", [0x1000_0000 | 17, 0, 0], 1),
        ("clone3", NOWHERE, 38),
        ("io_uring_setup", NOWHERE, 1),
        ("personality", [0xffff_ffff, 0, 0], SUCCESS),
        ("personality", [0x4_0000, 0, 0], 1),
    ] {
        let done = errno(&filter, Gate::Syscall, nr(Machine::X86_64, name), args, NOWHERE);
        assert_eq!(done, expected, "{name} {args:x?}");
    }
    // Newer than the profile, and x32, which is refused before the kernel is asked whether it has it.
    assert_eq!(errno(&filter, Gate::Syscall, 470, NOWHERE, NOWHERE), 38);
    assert_eq!(errno(&filter, Gate::Syscall, X32_BIT | 39, NOWHERE, NOWHERE), 38);
}

/// Whether this kernel takes `int 0x80`; a kernel without it kills the caller.
fn has_i386() -> bool {
    let allow = [Instruction {
        code: 6,
        jt: 0,
        jf: 0,
        k: ALLOW,
    }];
    errno(&allow, Gate::Interrupt, nr(Machine::I386, "getpid"), NOWHERE, NOWHERE) == SUCCESS
}

#[test]
fn default_filter_for_i386_in_the_kernel() {
    let interrupt = |socketcall, name, args, words| {
        let filter = default_filter(Machine::NATIVE, Set::DEFAULT, socketcall);
        errno(&filter, Gate::Interrupt, nr(Machine::I386, name), args, words)
    };
    if !has_i386() {
        // Then there is nothing to filter, whatever the filter says.
        assert!(interrupt(Socketcall::Whole, "getpid", NOWHERE, NOWHERE) < 0);
        return;
    }
    let strict = Socketcall::WithoutSocket;
    let words = BASE + WORDS;
    assert_eq!(interrupt(strict, "getpid", NOWHERE, NOWHERE), SUCCESS);
    assert_eq!(interrupt(strict, "socket", [38, 5, 0], NOWHERE), 1);
    assert_eq!(interrupt(strict, "socket", [1, 1, 0], NOWHERE), SUCCESS);
    assert_eq!(interrupt(strict, "keyctl", NOWHERE, NOWHERE), 1);
    assert_eq!(interrupt(strict, "clone", [0x1000_0000 | 17, 0, 0], NOWHERE), 1);
    assert_eq!(interrupt(strict, "socketcall", [1, words, 0], [38, 5, 0]), 38);
    assert_eq!(interrupt(strict, "socketcall", [1, words, 0], [1, 1, 0]), 38);
    // listen(-1, 0): EBADF comes from the kernel's own code.
    assert_eq!(interrupt(strict, "socketcall", [4, words, 0], [u32::MAX, 0, 0]), 9);
    assert_eq!(
        interrupt(Socketcall::Whole, "socketcall", [1, words, 0], [1, 1, 0]),
        SUCCESS
    );
}

#[test]
fn the_kernel_takes_every_default_filter() {
    for capabilities in [Set::EMPTY, Set::DEFAULT, Set::ALL] {
        let filter = default_filter(Machine::NATIVE, capabilities, Socketcall::default());
        assert_eq!(
            errno(&filter, Gate::Syscall, nr(Machine::X86_64, "getpid"), NOWHERE, NOWHERE),
            SUCCESS
        );
    }
}

#[test]
fn actions_in_the_kernel() {
    for (action, expected) in [
        (Action::Errno(77), 77),
        (Action::Trap, -31),
        (Action::KillProcess, -31),
        (Action::KillThread, -31),
        (Action::Log, SUCCESS),
        (Action::Trace(1), 38),
    ] {
        let profile = Profile {
            default: Action::Allow,
            machines: vec![Machine::I386],
            rules: vec![Rule {
                names: vec!["getppid".into()],
                action,
                conditions: Vec::new(),
                includes: Limits::default(),
                excludes: Limits::default(),
            }],
            flags: hull_sys::seccomp::Flags::default(),
        };
        let filter = profile.compile(&HOST).unwrap().instructions;
        let done = errno(&filter, Gate::Syscall, nr(Machine::X86_64, "getppid"), NOWHERE, NOWHERE);
        assert_eq!(done, expected, "{action:?}");
    }
}
