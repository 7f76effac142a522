//! Profiles as JSON: Docker's, which `--security-opt seccomp=FILE` names, and OCI's `linux.seccomp`.
//!
//! Docker's is OCI's with `archMap` beside `architectures`, and `name`, `includes` and `excludes` in each rule; so one
//! reader does for both. Unknown fields are ignored, as Docker does: profiles carry comments.

use serde::Deserialize;

use super::{Action, Comparison, Condition, EPERM, Error, Limits, Machine, Profile, Rule};
use crate::capability::{self, Capability};
use hull_sys::seccomp::Flags;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    default_action: String,
    default_errno_ret: Option<u64>,
    architectures: Option<Vec<String>>,
    arch_map: Option<Vec<ArchitectureMap>>,
    flags: Option<Vec<String>>,
    listener_path: Option<String>,
    syscalls: Option<Vec<Call>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchitectureMap {
    architecture: String,
    sub_architectures: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Call {
    name: Option<String>,
    names: Option<Vec<String>>,
    action: String,
    errno_ret: Option<u64>,
    args: Option<Vec<Argument>>,
    includes: Option<Filter>,
    excludes: Option<Filter>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    index: u64,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter {
    caps: Option<Vec<String>>,
    arches: Option<Vec<String>>,
    min_kernel: Option<String>,
}

impl Profile {
    /// Reads a profile in Docker's or OCI's JSON; `machine` chooses from `archMap`. `None` where it has neither a default
    /// action nor rules: Docker takes that for no seccomp at all.
    ///
    /// # Errors
    /// If it is not such JSON, or asks for what does not exist or is not supported.
    pub fn parse(json: &[u8], machine: Machine) -> Result<Option<Self>, Error> {
        let document: Document = serde_json::from_slice(json).map_err(Error::Decode)?;
        document.read(machine)
    }
}

impl Document {
    fn read(self, machine: Machine) -> Result<Option<Profile>, Error> {
        let calls = self.syscalls.unwrap_or_default();
        if self.default_action.is_empty() {
            if calls.is_empty() {
                return Ok(None);
            }
            return Err(Error::Missing("defaultAction"));
        }
        if self.listener_path.is_some_and(|path| !path.is_empty()) {
            return Err(Error::Notify("SCMP_ACT_NOTIFY".into()));
        }
        let map = self.arch_map.unwrap_or_default();
        let listed = self.architectures.unwrap_or_default();
        if !map.is_empty() && !listed.is_empty() {
            return Err(Error::Both("architectures", "archMap"));
        }
        let mut machines = listed
            .iter()
            .filter_map(|name| architecture(name).transpose())
            .collect::<Result<Vec<_>, _>>()?;
        for entry in map {
            if architecture(&entry.architecture)? == Some(machine) {
                machines.push(machine);
                for name in entry.sub_architectures.unwrap_or_default() {
                    machines.extend(architecture(&name)?);
                }
                break;
            }
        }
        Ok(Some(Profile {
            default: action(&self.default_action, self.default_errno_ret)?,
            machines,
            rules: calls.into_iter().map(Call::read).collect::<Result<_, _>>()?,
            flags: flags(&self.flags.unwrap_or_default())?,
        }))
    }
}

impl Call {
    fn read(self) -> Result<Rule, Error> {
        let mut names = self.names.unwrap_or_default();
        if let Some(name) = self.name.filter(|name| !name.is_empty()) {
            if !names.is_empty() {
                return Err(Error::Both("name", "names"));
            }
            names.push(name);
        }
        let conditions = self
            .args
            .unwrap_or_default()
            .into_iter()
            .map(|argument| argument.read(names.first().map_or("", String::as_str)))
            .collect::<Result<_, _>>()?;
        Ok(Rule {
            action: action(&self.action, self.errno_ret)?,
            conditions,
            includes: self.includes.map_or(Ok(Limits::default()), Filter::read)?,
            excludes: self.excludes.map_or(Ok(Limits::default()), Filter::read)?,
            names,
        })
    }
}

impl Argument {
    fn read(self, call: &str) -> Result<Condition, Error> {
        let argument = u8::try_from(self.index)
            .ok()
            .filter(|index| *index < 6)
            .ok_or_else(|| Error::Argument {
                call: call.to_owned(),
                index: self.index,
            })?;
        let (comparison, value) = match self.op.as_str() {
            "SCMP_CMP_NE" => (Comparison::NotEqual, self.value),
            "SCMP_CMP_LT" => (Comparison::Less, self.value),
            "SCMP_CMP_LE" => (Comparison::LessOrEqual, self.value),
            "SCMP_CMP_EQ" => (Comparison::Equal, self.value),
            "SCMP_CMP_GE" => (Comparison::GreaterOrEqual, self.value),
            "SCMP_CMP_GT" => (Comparison::Greater, self.value),
            "SCMP_CMP_MASKED_EQ" => (Comparison::Masked(self.value), self.value_two),
            _ => return Err(Error::UnknownComparison(self.op)),
        };
        Ok(Condition {
            argument,
            comparison,
            value,
            int: false,
        })
    }
}

impl Filter {
    fn read(self) -> Result<Limits, Error> {
        let mut capabilities = capability::Set::EMPTY;
        for name in self.caps.unwrap_or_default() {
            capabilities.insert(Capability::parse(&name).ok_or(Error::Capability(name))?);
        }
        let kernel = match self.min_kernel {
            Some(version) => Some(kernel(&version).ok_or(Error::KernelVersion(version))?),
            None => None,
        };
        Ok(Limits {
            machines: self.arches.unwrap_or_default(),
            capabilities,
            kernel,
        })
    }
}

/// `major.minor`, with anything that is no digit after it.
pub(super) fn kernel(version: &str) -> Option<(u32, u32)> {
    let (major, rest) = version.split_once('.')?;
    let minor = &rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())];
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn action(name: &str, data: Option<u64>) -> Result<Action, Error> {
    let number = || match data {
        None => Ok(EPERM),
        Some(number) if number <= 4095 => Ok(number as u16),
        Some(number) => Err(Error::Errno(number)),
    };
    Ok(match name {
        "SCMP_ACT_ALLOW" => Action::Allow,
        "SCMP_ACT_LOG" => Action::Log,
        "SCMP_ACT_ERRNO" => Action::Errno(number()?),
        "SCMP_ACT_TRACE" => Action::Trace(number()?),
        "SCMP_ACT_TRAP" => Action::Trap,
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Action::KillThread,
        "SCMP_ACT_KILL_PROCESS" => Action::KillProcess,
        "SCMP_ACT_NOTIFY" => return Err(Error::Notify(name.to_owned())),
        _ => return Err(Error::UnknownAction(name.to_owned())),
    })
}

/// A machine that hull's hosts can run; `None` for one that libseccomp knows but no such host runs.
fn architecture(name: &str) -> Result<Option<Machine>, Error> {
    const OTHERS: [&str; 20] = [
        "LOONGARCH64",
        "M68K",
        "MIPS",
        "MIPS64",
        "MIPS64N32",
        "MIPSEL",
        "MIPSEL64",
        "MIPSEL64N32",
        "PARISC",
        "PARISC64",
        "PPC",
        "PPC64",
        "PPC64LE",
        "RISCV64",
        "S390",
        "S390X",
        "SH",
        "SHEB",
        "NATIVE",
        "ARMEB",
    ];
    let bare = name
        .strip_prefix("SCMP_ARCH_")
        .ok_or_else(|| Error::UnknownArchitecture(name.to_owned()))?;
    Ok(match bare {
        "X86_64" => Some(Machine::X86_64),
        "X86" => Some(Machine::I386),
        "X32" => Some(Machine::X32),
        "AARCH64" => Some(Machine::Aarch64),
        "ARM" => Some(Machine::Arm),
        _ if OTHERS.contains(&bare) => None,
        _ => return Err(Error::UnknownArchitecture(name.to_owned())),
    })
}

fn flags(names: &[String]) -> Result<Flags, Error> {
    let mut flags = Flags::default();
    for name in names {
        match name.as_str() {
            "SECCOMP_FILTER_FLAG_TSYNC" => flags.all_threads = true,
            "SECCOMP_FILTER_FLAG_LOG" => flags.log = true,
            "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => flags.allow_speculation = true,
            _ => return Err(Error::UnknownFlag(name.clone())),
        }
    }
    Ok(flags)
}
