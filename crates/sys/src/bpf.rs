//! BPF programs of cgroups (v2): the device filter (`BPF_PROG_TYPE_CGROUP_DEVICE`, Linux 4.15).

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Result;

use crate::clone::last_errno;

/// One eBPF instruction (kernel: `struct bpf_insn`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u8,
    /// Destination register in the low nibble, source register in the high one.
    pub registers: u8,
    /// Jump distance or memory offset.
    pub offset: i16,
    /// Immediate value.
    pub immediate: i32,
}

const PROG_LOAD: libc::c_long = 5;
const PROG_ATTACH: libc::c_long = 8;
const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
const F_ALLOW_MULTI: u32 = 2;

/// Loads a device filter and attaches it to `cgroup`, beside those of its ancestors, all of which must agree.
///
/// # Errors
/// The kernel's: `EPERM`, `EINVAL` (the verifier refused it), `ENOSYS`.
pub fn attach_device_filter(cgroup: BorrowedFd<'_>, program: &[Instruction]) -> Result<()> {
    #[repr(C)]
    #[derive(Default)]
    struct Load {
        prog_type: u32,
        insn_cnt: u32,
        insns: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log_buf: u64,
        kern_version: u32,
        prog_flags: u32,
        prog_name: [u8; 16],
    }
    #[repr(C)]
    struct Attach {
        target_fd: u32,
        attach_bpf_fd: u32,
        attach_type: u32,
        attach_flags: u32,
    }
    let load = Load {
        prog_type: PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: u32::try_from(program.len()).map_err(|_| rustix::io::Errno::TOOBIG)?,
        insns: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        prog_name: *b"hull_devices\0\0\0\0",
        ..Load::default()
    };
    // SAFETY: `load` is a prefix of union bpf_attr of the size given, whose pointers refer to `program` and to a
    // constant C string for the length of the call; the kernel only reads them. The new descriptor is ours alone.
    let program = unsafe {
        match libc::syscall(libc::SYS_bpf, PROG_LOAD, &raw const load, size_of::<Load>()) {
            -1 => return Err(last_errno()),
            fd => OwnedFd::from_raw_fd(fd as i32),
        }
    };
    let attach = Attach {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_bpf_fd: program.as_raw_fd() as u32,
        attach_type: ATTACH_CGROUP_DEVICE,
        attach_flags: F_ALLOW_MULTI,
    };
    // SAFETY: `attach` is a prefix of union bpf_attr of the size given and is only read.
    let done = unsafe { libc::syscall(libc::SYS_bpf, PROG_ATTACH, &raw const attach, size_of::<Attach>()) };
    if done < 0 { Err(last_errno()) } else { Ok(()) }
}
