//! A profile as data: what was asked for, before any machine, kernel or capability is known.

use hull_sys::seccomp::Flags;

use super::Machine;
use crate::capability;

/// What happens to a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is made.
    Allow,
    /// It is made, and written to the audit log.
    Log,
    /// It fails with this errno.
    Errno(u16),
    /// A tracer is told, with this number; it fails with `ENOSYS` where there is none.
    Trace(u16),
    /// The thread gets SIGSYS.
    Trap,
    /// The thread dies.
    KillThread,
    /// The process dies.
    KillProcess,
}

impl Action {
    /// The kernel's `SECCOMP_RET_*`, with its data.
    pub(super) const fn code(self) -> u32 {
        match self {
            Self::KillProcess => 0x8000_0000,
            Self::KillThread => 0x0000_0000,
            Self::Trap => 0x0003_0000,
            Self::Errno(errno) => 0x0005_0000 | errno as u32,
            Self::Trace(data) => 0x7ff0_0000 | data as u32,
            Self::Log => 0x7ffc_0000,
            Self::Allow => 0x7fff_0000,
        }
    }

    /// Whether the call may be made. A tracer counts: it is to see calls that are newer than the profile too.
    pub(super) fn is_permissive(self) -> bool {
        matches!(self, Self::Allow | Self::Log | Self::Trace(_))
    }
}

/// How an argument is compared, unsigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `argument != value`.
    NotEqual,
    /// `argument < value`.
    Less,
    /// `argument <= value`.
    LessOrEqual,
    /// `argument == value`.
    Equal,
    /// `argument >= value`.
    GreaterOrEqual,
    /// `argument > value`.
    Greater,
    /// `argument & mask == value`.
    Masked(u64),
}

/// A test of one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Which argument, 0 to 5.
    pub argument: u8,
    /// How it is compared.
    pub comparison: Comparison,
    /// With what.
    pub value: u64,
    /// The kernel takes the argument as an `int`: only its low 32 bits count, whatever is above. Without this a caller
    /// changes a verdict by setting bits that the kernel then drops. Profiles of users cannot say so.
    pub int: bool,
}

/// Where a rule applies, or does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Native machines, by Docker's names; none for all.
    pub machines: Vec<String>,
    /// Capabilities, all of which (to include), or any of which (to exclude) the container has.
    pub capabilities: capability::Set,
    /// The kernel's least version.
    pub kernel: Option<(u32, u32)>,
}

/// What happens to some system calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Their names.
    pub names: Vec<String>,
    /// What happens.
    pub action: Action,
    /// All of which must hold.
    pub conditions: Vec<Condition>,
    /// Where the rule applies.
    pub includes: Limits,
    /// Where it does not.
    pub excludes: Limits,
}

/// A seccomp profile.
///
/// Of a call's rules, the first without conditions decides; then the first whose conditions hold; then the default. A
/// rule whose action is the default's is no rule. This is what libseccomp and runc make of the same profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// What happens to calls without a rule.
    pub default: Action,
    /// The machines whose programs may run; the native one always.
    pub machines: Vec<Machine>,
    /// The rules.
    pub rules: Vec<Rule>,
    /// How the filter is installed.
    pub flags: Flags,
}
