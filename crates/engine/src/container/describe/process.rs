//! The container's process and those that `exec` adds: environment, identity, privileges.

use hull_runtime::capability::{self, Set};
use hull_runtime::container::{Capabilities, Filter, Limit, Process, User};
use hull_runtime::seccomp::{self, Host, Machine, Profile, Socketcall};
use hull_spec::container::{HostConfig, Record, Ulimit};

use crate::container::merge;
use crate::{Error, Result};

/// Docker's search path where an image names none.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The names of `--ulimit` and the kernel's numbers (`getrlimit(2)`).
const LIMITS: [(&str, u32); 16] = [
    ("cpu", 0),
    ("fsize", 1),
    ("data", 2),
    ("stack", 3),
    ("core", 4),
    ("rss", 5),
    ("nproc", 6),
    ("nofile", 7),
    ("memlock", 8),
    ("as", 9),
    ("locks", 10),
    ("sigpending", 11),
    ("msgqueue", 12),
    ("nice", 13),
    ("rtprio", 14),
    ("rttime", 15),
];

/// Options of `--security-opt`, read.
#[derive(Default)]
struct Security {
    no_new_privileges: bool,
    seccomp: Option<String>,
    apparmor: Option<String>,
}

/// Refuses what is malformed.
pub(super) fn check(record: &Record) -> Result<()> {
    let security = security(&record.host_config)?;
    let capabilities = bounding(&record.host_config)?;
    // The built-in profile is known to be sound.
    if security.seccomp.is_some() {
        filter(record, &security, capabilities)?;
    }
    limits(&record.host_config.ulimits).map(drop)
}

/// The container's first process.
pub(super) fn init(record: &Record) -> Result<Process> {
    let host = &record.host_config;
    let security = security(host)?;
    let bounding = bounding(host)?;
    let config = &record.config;
    let mut process = common(record, &security, bounding, config.tty)?;
    process.args = merge::arguments(config);
    process.cwd.clone_from(&config.working_dir);
    process.create_cwd = true;
    process.user = user(&config.user, host);
    process.limits = limits(&host.ulimits)?;
    process.init = host.init == Some(true);
    process.oom_score_adj = Some(host.oom_score_adj).filter(|score| *score != 0);
    Ok(process)
}

/// What an `exec` asks for.
pub(crate) struct Exec<'a> {
    /// Program and arguments.
    pub(crate) cmd: &'a [String],
    /// More variables.
    pub(crate) env: &'a [String],
    /// Another user.
    pub(crate) user: Option<&'a str>,
    /// Another working directory.
    pub(crate) cwd: Option<&'a str>,
    /// Whether it has a terminal.
    pub(crate) tty: bool,
    /// All capabilities.
    pub(crate) privileged: bool,
}

/// A further process of a running container.
pub(crate) fn exec(record: &Record, asked: &Exec<'_>) -> Result<Process> {
    let mut host = record.host_config.clone();
    host.privileged |= asked.privileged;
    let mut security = security(&host)?;
    if asked.privileged {
        security.seccomp = Some("unconfined".to_owned());
    }
    let bounding = bounding(&host)?;
    let config = &record.config;
    let mut process = common(record, &security, bounding, asked.tty)?;
    process.args = asked.cmd.to_vec();
    replace_or_append(&mut process.env, asked.env);
    process.cwd = asked.cwd.unwrap_or(&config.working_dir).to_owned();
    process.user = user(asked.user.unwrap_or(&config.user), &host);
    process.oom_score_adj = Some(host.oom_score_adj).filter(|s| *s != 0);
    Ok(process)
}

fn common(record: &Record, security: &Security, bounding: Set, tty: bool) -> Result<Process> {
    let config = &record.config;
    let mut env = Vec::with_capacity(config.env.len() + 4);
    env.push(PATH.to_owned());
    env.push(format!("HOSTNAME={}", config.hostname));
    if tty {
        env.push("TERM=xterm".to_owned());
    }
    replace_or_append(&mut env, &config.env);
    let bits = bounding.bits();
    Ok(Process {
        env,
        set_home: true,
        terminal: tty,
        capabilities: Capabilities {
            bounding: bits,
            effective: bits,
            permitted: bits,
            inheritable: 0,
            ambient: 0,
        },
        no_new_privileges: security.no_new_privileges,
        apparmor: security.apparmor.clone(),
        seccomp: filter(record, security, bounding)?,
        ..Process::default()
    })
}

/// Sets variables over those of `env`: a known one keeps its place, a name without a value takes it away.
fn replace_or_append(env: &mut Vec<String>, more: &[String]) {
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    for entry in more {
        let at = env.iter().position(|known| name(known) == name(entry));
        match (at, entry.contains('=')) {
            (Some(at), true) => env[at].clone_from(entry),
            (Some(at), false) => drop(env.remove(at)),
            (None, true) => env.push(entry.clone()),
            (None, false) => {}
        }
    }
}

fn user(user: &str, host: &HostConfig) -> User {
    User::Named {
        user: user.to_owned(),
        groups: host.group_add.clone().unwrap_or_default(),
    }
}

/// The capabilities that the container can ever have.
fn bounding(host: &HostConfig) -> Result<Set> {
    let available = hull_sys::prctl::bounding_set();
    let (add, drop) = (
        host.cap_add.as_deref().unwrap_or_default(),
        host.cap_drop.as_deref().unwrap_or_default(),
    );
    let resolve = |add, drop| capability::resolve(add, drop, host.privileged, Set::from_bits(available));
    resolve(add, &[]).map_err(|e| Error::Invalid(format!("invalid CapAdd: {e}")))?;
    resolve(add, drop).map_err(|e| Error::Invalid(format!("invalid CapDrop: {e}")))
}

fn security(host: &HostConfig) -> Result<Security> {
    let mut out = Security::default();
    for option in host.security_opt.iter().flatten() {
        let (key, value) = option.split_once(['=', ':']).unwrap_or((option, ""));
        match (key, value) {
            ("no-new-privileges", "" | "true") => out.no_new_privileges = true,
            ("no-new-privileges", "false") => out.no_new_privileges = false,
            ("seccomp", value) if !value.is_empty() => out.seccomp = Some(value.to_owned()),
            // On a host without AppArmor there is nothing to confine with; Docker takes the name all the same.
            ("apparmor", "unconfined") => {}
            ("apparmor", profile) if !profile.is_empty() => {
                if !std::path::Path::new("/sys/kernel/security/apparmor").exists() {
                    return Err(Error::Unsupported(format!(
                        "cannot confine with AppArmor profile `{profile}`: AppArmor is not enabled on this host"
                    )));
                }
                out.apparmor = Some(profile.to_owned());
            }
            ("label", "disable") | ("systempaths", "unconfined") => {}
            ("label", _) => {
                return Err(Error::Unsupported(
                    "SELinux labels are not there yet: only `label=disable`".to_owned(),
                ));
            }
            _ => return Err(Error::Invalid(format!("invalid --security-opt 2: {option:?}"))),
        }
    }
    Ok(out)
}

/// The compiled system call filter; `None` where the container is unconfined.
fn filter(record: &Record, security: &Security, bounding: Set) -> Result<Option<Filter>> {
    if record.host_config.privileged && security.seccomp.is_none() {
        return Ok(None);
    }
    match security.seccomp.as_deref() {
        Some("unconfined") => Ok(None),
        None | Some("builtin") => {
            // A C library of 32-bit x86 may know no other way to make a socket than the one that cannot be filtered.
            let calls = if record.platform == "linux/386" {
                Socketcall::Whole
            } else {
                Socketcall::WithoutSocket
            };
            let instructions = seccomp::default_filter(Machine::NATIVE, bounding, calls);
            Ok(Some(Filter {
                instructions: instructions.into(),
                flags: hull_sys::seccomp::Flags::default(),
            }))
        }
        Some(json) => {
            let bad = |e: seccomp::Error| Error::Invalid(format!("seccomp profile: {e}"));
            let Some(profile) = Profile::parse(json.as_bytes(), Machine::NATIVE).map_err(bad)? else {
                return Ok(None);
            };
            let host = Host {
                machine: Machine::NATIVE,
                kernel: seccomp::kernel_version(),
                capabilities: bounding,
            };
            let compiled = profile.compile(&host).map_err(bad)?;
            Ok(Some(Filter {
                instructions: compiled.instructions.into(),
                flags: compiled.flags,
            }))
        }
    }
}

fn limits(ulimits: &[Ulimit]) -> Result<Vec<Limit>> {
    let convert = |limit: &Ulimit| {
        let number = LIMITS
            .iter()
            .find(|(name, _)| *name == limit.name)
            .map(|(_, number)| *number);
        let resource = number.ok_or_else(|| Error::Invalid(format!("invalid ulimit type: {}", limit.name)))?;
        let value = |n: i64| u64::try_from(n).unwrap_or(u64::MAX);
        Ok(Limit {
            resource,
            soft: value(limit.soft),
            hard: value(limit.hard),
        })
    };
    ulimits.iter().map(convert).collect()
}
