//! `process` of a config, also given alone to `exec`.

use oci_spec::runtime::{PosixRlimitType, Spec};

use super::{Host, invalid};
use crate::capability::{Capability, Set};
use crate::container::{Capabilities, Filter, Limit, Process, User};
use crate::error::{Error, Result};
use crate::seccomp;

/// Understands a process; `user_namespace` says whether its container has one of its own.
///
/// # Errors
/// If it is malformed, or asks for what hull does not do.
pub(crate) fn process(
    spec: &oci_spec::runtime::Process,
    user_namespace: bool,
    warnings: &mut Vec<String>,
) -> Result<Process> {
    let user = spec.user();
    if user.username().as_ref().is_some_and(|name| !name.is_empty()) {
        return Err(Error::Unsupported(
            "`process.user.username` is Windows': give a `uid`".to_owned(),
        ));
    }
    let cwd = spec
        .cwd()
        .to_str()
        .ok_or_else(|| invalid("`process.cwd` is not UTF-8"))?;
    if !cwd.starts_with('/') {
        return Err(invalid(format!("`process.cwd` `{cwd}` is not an absolute path")));
    }
    let args = spec.args().clone().unwrap_or_default();
    if args.is_empty() {
        return Err(invalid("`process.args` names no program"));
    }
    let size = spec.console_size().map(|size| {
        let cells = |n: u64| u16::try_from(n).unwrap_or(u16::MAX);
        (cells(size.height()), cells(size.width()))
    });
    Ok(Process {
        args,
        env: spec.env().clone().unwrap_or_default(),
        cwd: cwd.to_owned(),
        create_cwd: true,
        set_home: true,
        user: User::Ids {
            uid: user.uid(),
            gid: user.gid(),
            groups: user.additional_gids().clone().unwrap_or_default(),
        },
        terminal: spec.terminal().unwrap_or(false),
        console_size: size,
        capabilities: capabilities(spec, user_namespace, warnings),
        no_new_privileges: spec.no_new_privileges().unwrap_or(false),
        limits: limits(spec)?,
        oom_score_adj: spec.oom_score_adj(),
        umask: user.umask().map(|mask| mask & 0o777),
        apparmor: spec.apparmor_profile().clone().filter(|profile| !profile.is_empty()),
        selinux: spec.selinux_label().clone().filter(|label| !label.is_empty()),
        seccomp: None,
        init: false,
        preserve_fds: 0,
    })
}

/// The sets of a config, without what this process cannot give: the spec has that warned of and left out.
fn capabilities(spec: &oci_spec::runtime::Process, user_namespace: bool, warnings: &mut Vec<String>) -> Capabilities {
    let Some(sets) = spec.capabilities() else {
        return Capabilities::default();
    };
    // In a user namespace of its own the container can have all.
    let available = if user_namespace { Set::ALL } else { available() };
    let mut missing = Set::EMPTY;
    let mut bits = |set: &Option<oci_spec::runtime::Capabilities>| {
        let set: Set = set
            .iter()
            .flatten()
            .filter_map(|c| Capability::parse(&c.to_string()))
            .collect();
        missing = missing.union(set.difference(available));
        set.intersection(available).bits()
    };
    let capabilities = Capabilities {
        bounding: bits(sets.bounding()),
        effective: bits(sets.effective()),
        permitted: bits(sets.permitted()),
        inheritable: bits(sets.inheritable()),
        ambient: bits(sets.ambient()),
    };
    warnings.extend(
        missing
            .iter()
            .map(|c| format!("capability {} is not available here and is left out", c.name())),
    );
    capabilities
}

/// What this process can give.
fn available() -> Set {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bits = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    bits.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok())
        .map_or(Set::EMPTY, Set::from_bits)
}

/// One set for bounding, effective and permitted, of names as `exec --cap` gives them in addition.
pub(crate) fn resolve_capabilities(base: Capabilities, names: &[String]) -> Result<Capabilities> {
    let mut more = Set::EMPTY;
    for name in names {
        more.insert(Capability::parse(name).ok_or_else(|| invalid(format!("unknown capability `{name}`")))?);
    }
    let more = more.intersection(available()).bits();
    Ok(Capabilities {
        bounding: base.bounding | more,
        effective: base.effective | more,
        permitted: base.permitted | more,
        // As runc does: what is added is kept through an exec only where something was inheritable before.
        ambient: base.ambient | if base.inheritable == 0 { 0 } else { more },
        inheritable: base.inheritable | if base.inheritable == 0 { 0 } else { more },
    })
}

fn limits(spec: &oci_spec::runtime::Process) -> Result<Vec<Limit>> {
    let mut limits: Vec<Limit> = Vec::new();
    for limit in spec.rlimits().iter().flatten() {
        let resource = resource_number(limit.typ());
        if limits.iter().any(|known| known.resource == resource) {
            return Err(invalid(format!("resource limit {:?} is given twice", limit.typ())));
        }
        limits.push(Limit {
            resource,
            soft: limit.soft(),
            hard: limit.hard(),
        });
    }
    Ok(limits)
}

/// The kernel's numbers (`include/uapi/asm-generic/resource.h`), the same on all machines that hull runs on.
fn resource_number(limit: PosixRlimitType) -> u32 {
    match limit {
        PosixRlimitType::RlimitCpu => 0,
        PosixRlimitType::RlimitFsize => 1,
        PosixRlimitType::RlimitData => 2,
        PosixRlimitType::RlimitStack => 3,
        PosixRlimitType::RlimitCore => 4,
        PosixRlimitType::RlimitRss => 5,
        PosixRlimitType::RlimitNproc => 6,
        PosixRlimitType::RlimitNofile => 7,
        PosixRlimitType::RlimitMemlock => 8,
        PosixRlimitType::RlimitAs => 9,
        PosixRlimitType::RlimitLocks => 10,
        PosixRlimitType::RlimitSigpending => 11,
        PosixRlimitType::RlimitMsgqueue => 12,
        PosixRlimitType::RlimitNice => 13,
        PosixRlimitType::RlimitRtprio => 14,
        PosixRlimitType::RlimitRttime => 15,
    }
}

/// Compiles `linux.seccomp`.
///
/// # Errors
/// If it is malformed, or asks for what hull does not do.
pub(crate) fn seccomp(spec: &Spec, bounding: u64, host: &Host) -> Result<Option<Filter>> {
    let Some(seccomp) = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref()) else {
        return Ok(None);
    };
    let refused = |e: seccomp::Error| {
        let source = std::error::Error::source(&e)
            .map(|s| format!(": {s}"))
            .unwrap_or_default();
        match e.kind() {
            hull_spec::ErrorKind::Unsupported => Error::Unsupported(format!("{e}{source}")),
            _ => Error::Invalid(format!("{e}{source}")),
        }
    };
    let json = serde_json::to_vec(seccomp).map_err(|e| invalid(format!("`linux.seccomp`: {e}")))?;
    let machine = seccomp::Machine::NATIVE;
    let Some(profile) = seccomp::Profile::parse(&json, machine).map_err(refused)? else {
        return Ok(None);
    };
    let host = seccomp::Host {
        machine,
        kernel: host.kernel,
        capabilities: Set::from_bits(bounding),
    };
    let filter = profile.compile(&host).map_err(refused)?;
    // Names that no machine has are passed over, as runc does: profiles name calls of all times and machines.
    Ok(Some(Filter {
        instructions: filter.instructions.into(),
        flags: filter.flags,
    }))
}
