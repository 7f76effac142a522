//! Seccomp: which system calls a container may make.
//!
//! Profile (Docker's JSON, OCI's, or the built-in default) -> what each call's number means on each machine -> classic
//! BPF. The program is a binary search over runs of numbers that mean the same, so a call costs about log2(runs) steps,
//! and every instruction up to the verdict is one that the kernel's own emulator understands: it decides the calls that
//! are allowed whatever their arguments once, when the filter is installed, and never runs it for them (Linux 5.11).
//!
//! What is never left open: another machine's calls (x32, i386, arm), numbers beyond those that the profile knows
//! (`ENOSYS`, so that programs fall back as on an older kernel), and the high halves of arguments.

mod compile;
mod default;
mod parse;
mod profile;
mod resolve;
mod syscalls;
#[cfg(test)]
mod tests;

use hull_sys::seccomp::Instruction;

pub use default::{Socketcall, default_filter};
pub use profile::{Action, Comparison, Condition, Limits, Profile, Rule};
pub use resolve::Host;

/// A machine as seccomp tells them apart: an instruction set and the width of its calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Machine {
    /// x86-64.
    X86_64,
    /// x86-64 with 32-bit pointers.
    X32,
    /// 32-bit x86, also on x86-64 by `int 0x80`.
    I386,
    /// 64-bit ARM.
    Aarch64,
    /// 32-bit ARM.
    Arm,
}

impl Machine {
    /// The machine that hull is built for.
    #[cfg(target_arch = "x86_64")]
    pub const NATIVE: Self = Self::X86_64;
    /// The machine that hull is built for.
    #[cfg(target_arch = "aarch64")]
    pub const NATIVE: Self = Self::Aarch64;

    /// All machines whose programs the kernel of this one may run, itself first.
    fn family(self) -> &'static [Self] {
        match self {
            Self::X86_64 | Self::X32 | Self::I386 => &[Self::X86_64, Self::X32, Self::I386],
            Self::Aarch64 | Self::Arm => &[Self::Aarch64, Self::Arm],
        }
    }

    /// The kernel's `AUDIT_ARCH_*` of it. x32 shares x86-64's, and is told by a bit of the number.
    const fn audit(self) -> u32 {
        match self {
            Self::X86_64 | Self::X32 => 0xc000_003e,
            Self::I386 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
            Self::Arm => 0x4000_0028,
        }
    }

    /// Whether arguments have 64 bits.
    const fn is_wide(self) -> bool {
        matches!(self, Self::X86_64 | Self::X32 | Self::Aarch64)
    }

    /// Docker's name in `includes.arches`.
    fn docker_name(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::X32 => "x32",
            Self::I386 => "x86",
            Self::Aarch64 => "arm64",
            Self::Arm => "arm",
        }
    }
}

/// The bit that tells x32's calls from x86-64's.
const X32_BIT: u32 = 0x4000_0000;

/// `ENOSYS`.
const ENOSYS: u16 = 38;
/// `EPERM`.
const EPERM: u16 = 1;

/// A program that is ready to be installed, and how.
#[derive(Clone, Debug)]
pub struct Filter {
    /// The program.
    pub instructions: Vec<Instruction>,
    /// How the profile wants it installed.
    pub flags: hull_sys::seccomp::Flags,
    /// Names in the profile that no machine has: rules for them do nothing.
    pub unknown: Vec<String>,
}

/// What is wrong with a profile.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not the JSON that it should be.
    #[error("decoding seccomp profile failed")]
    Decode(#[source] serde_json::Error),
    /// An action that does not exist.
    #[error("unknown seccomp action `{0}`")]
    UnknownAction(String),
    /// An action that hull cannot take.
    #[error("seccomp action `{0}` is not supported: hull runs no seccomp agent")]
    Notify(String),
    /// A comparison that does not exist.
    #[error("unknown seccomp comparison `{0}`")]
    UnknownComparison(String),
    /// A machine that does not exist.
    #[error("unknown seccomp architecture `{0}`")]
    UnknownArchitecture(String),
    /// A flag that does not exist or has no use here.
    #[error("seccomp flag `{0}` is not supported")]
    UnknownFlag(String),
    /// A system call has six arguments.
    #[error("seccomp rule for `{call}` compares argument {index}, but there are only 0 to 5")]
    Argument {
        /// The first call of the rule.
        call: String,
        /// The index given.
        index: u64,
    },
    /// An errno is at most 4095.
    #[error("seccomp errno {0} is out of range")]
    Errno(u64),
    /// Two fields that exclude each other are both given.
    #[error("both `{0}` and `{1}` are specified in the seccomp profile, use either `{0}` or `{1}`")]
    Both(&'static str, &'static str),
    /// A field that must be there is not.
    #[error("seccomp profile lacks `{0}`")]
    Missing(&'static str),
    /// A version that is no `major.minor`.
    #[error("seccomp `minKernel` `{0}` is not of the form `major.minor`")]
    KernelVersion(String),
    /// A capability that does not exist.
    #[error("seccomp rule names the unknown capability `{0}`")]
    Capability(String),
    /// The program is longer than the kernel takes.
    #[error("seccomp profile needs {0} instructions, but the kernel takes at most 4096")]
    TooLong(usize),
}

impl Error {
    /// The kind of failure.
    #[must_use]
    pub fn kind(&self) -> hull_spec::ErrorKind {
        match self {
            Self::Notify(_) | Self::UnknownFlag(_) => hull_spec::ErrorKind::Unsupported,
            _ => hull_spec::ErrorKind::Invalid,
        }
    }
}

/// The running kernel's `major.minor`.
#[must_use]
pub fn kernel_version() -> (u32, u32) {
    let name = rustix::system::uname();
    name.release().to_str().ok().and_then(parse::kernel).unwrap_or((0, 0))
}
