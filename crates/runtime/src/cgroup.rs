//! Resource limits: planned as files to write, on cgroup v2, v1 and hybrid hosts.
//!
//! Layout on the host: `/sys/fs/cgroup/hull/ID` on v2. On v1 one such folder in each hierarchy that the container needs,
//! except for devices, where containers with the default devices are below `hull/default`, whose list their folders
//! inherit, so that nothing need be written for them.

mod device;
mod freezer;
mod plan;
mod update;
mod usage;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Error, Result};

pub use device::{DevicePolicy, DeviceRule, default_rules};
pub use freezer::{Freeze, freeze, frozen, thaw};
pub use plan::{Plan, Write, plan};
pub use update::{additions, update};
pub use usage::{Usage, usage};

/// Where the host's cgroups are mounted.
const ROOT: &str = "/sys/fs/cgroup";
/// Magic number of cgroup v2 (`statfs(2)`).
const CGROUP2_SUPER_MAGIC: u64 = 0x6367_7270;

/// How the host's cgroups are laid out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// cgroup v2: one hierarchy.
    Unified,
    /// cgroup v1, with or without an empty v2 beside it: the names of the hierarchies' folders.
    Legacy(Vec<String>),
    /// None mounted.
    Missing,
}

/// Limits of one container. `None`: the kernel's default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resources {
    /// Bytes of memory.
    pub memory: Option<i64>,
    /// Bytes of memory below which it is not reclaimed first.
    pub memory_reservation: Option<i64>,
    /// Bytes of memory and swap together; -1 for no limit.
    pub memory_swap: Option<i64>,
    /// 0 to 100 (v1).
    pub swappiness: Option<u64>,
    /// Whether the OOM killer is off (v1).
    pub oom_kill_disable: bool,
    /// Relative weight, 2 to 262144.
    pub cpu_shares: Option<u64>,
    /// Microseconds of CPU time a period.
    pub cpu_quota: Option<i64>,
    /// The period in microseconds.
    pub cpu_period: Option<u64>,
    /// Real-time microseconds a period (v1).
    pub cpu_realtime_runtime: Option<i64>,
    /// The real-time period in microseconds (v1).
    pub cpu_realtime_period: Option<u64>,
    /// CPUs, `0-3,5`.
    pub cpuset_cpus: Option<String>,
    /// Memory nodes, `0`.
    pub cpuset_mems: Option<String>,
    /// Processes; -1 for no limit.
    pub pids: Option<i64>,
    /// Relative I/O weight, 10 to 1000.
    pub io_weight: Option<u16>,
    /// Limits by device.
    pub io_throttle: Vec<Throttle>,
    /// Weights by device.
    pub io_device_weight: Vec<(u64, u64, u16)>,
    /// Devices.
    pub devices: DevicePolicy,
    /// Files of cgroup v2 to be written as they are.
    pub unified: BTreeMap<String, String>,
}

/// What an I/O limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThrottleKind {
    /// Bytes read a second.
    ReadBytes,
    /// Bytes written a second.
    WriteBytes,
    /// Reads a second.
    ReadOperations,
    /// Writes a second.
    WriteOperations,
}

/// An I/O limit of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throttle {
    /// What it counts.
    pub kind: ThrottleKind,
    /// Major number.
    pub major: u64,
    /// Minor number.
    pub minor: u64,
    /// How many a second.
    pub rate: u64,
}

/// Finds out how the host's cgroups are laid out.
#[must_use]
pub fn detect() -> Layout {
    match rustix::fs::statfs(ROOT) {
        Ok(stat) if stat.f_type as u64 == CGROUP2_SUPER_MAGIC => Layout::Unified,
        Ok(_) => {
            let names = std::fs::read_dir(ROOT)
                .into_iter()
                .flatten()
                .flatten()
                .filter_map(|entry| {
                    // Symbolic links (`cpu` to `cpu,cpuacct`) are other names of folders that are listed anyway.
                    let folder = entry.file_type().is_ok_and(|t| t.is_dir());
                    entry
                        .file_name()
                        .into_string()
                        .ok()
                        .filter(|name| folder && name != "unified")
                });
            let mut names: Vec<String> = names.collect();
            names.sort();
            if names.is_empty() {
                Layout::Missing
            } else {
                Layout::Legacy(names)
            }
        }
        Err(_) => Layout::Missing,
    }
}

/// Whether the host has cgroup v2 alone. It does not change while a process of ours lives.
fn host_is_unified() -> bool {
    static UNIFIED: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *UNIFIED.get_or_init(|| detect() == Layout::Unified)
}

/// Whether the folder of a cgroup is one of cgroup v2: on a hybrid host the only ones are below `unified`.
pub(crate) fn is_unified(cgroup: &Path) -> bool {
    host_is_unified() || controller_of(cgroup) == Some("unified")
}

/// The hierarchy's name of a v1 cgroup: the first part below the mount.
pub(crate) fn controller_of(cgroup: &Path) -> Option<&str> {
    cgroup.strip_prefix(ROOT).ok()?.iter().next()?.to_str()
}

/// Makes the cgroups of `plan` and writes their limits. What was made is removed again if anything fails.
///
/// # Errors
/// A folder that cannot be made, a value that the kernel refuses.
pub fn create(plan: &Plan) -> Result<()> {
    let mut made = Vec::new();
    let done = plan.folders.iter().try_for_each(|folder| {
        make(folder)?;
        made.push(folder.clone());
        Ok(())
    });
    let done = done.and_then(|()| plan.writes.iter().try_for_each(write));
    let done = done.and_then(|()| device::restrict(plan));
    if done.is_err() {
        remove(&made);
    }
    done
}

fn make(folder: &Path) -> Result<()> {
    let act = "make cgroup";
    let mode = Mode::from_raw_mode(0o755);
    match rustix::fs::mkdir(folder, mode) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(Errno::NOENT) => {
            let parent = folder.parent().unwrap_or(Path::new(ROOT));
            if parent == Path::new(ROOT) || !parent.starts_with(ROOT) {
                return Err(Error::Path {
                    act,
                    path: folder.to_owned(),
                    errno: Errno::NOENT,
                });
            }
            if parent.ends_with("default") && controller_of(parent) == Some("devices") {
                device::make_default_parent(parent)?;
            } else {
                make(parent)?;
                plan::prepare_parent(parent)?;
            }
            match rustix::fs::mkdir(folder, mode) {
                Ok(()) | Err(Errno::EXIST) => Ok(()),
                Err(errno) => Err(Error::Path {
                    act,
                    path: folder.to_owned(),
                    errno,
                }),
            }
        }
        Err(errno) => Err(Error::Path {
            act,
            path: folder.to_owned(),
            errno,
        }),
    }
}

fn write(write: &Write) -> Result<()> {
    let done = put(&write.file, &write.value).or_else(|errno| {
        // Another command may have made the parent a moment ago and not filled it yet.
        let parent = write
            .file
            .parent()
            .and_then(Path::parent)
            .filter(|p| p.starts_with(ROOT) && *p != Path::new(ROOT));
        if parent.is_some_and(|parent| plan::prepare_parent(parent).is_ok()) {
            return put(&write.file, &write.value);
        }
        Err(errno)
    });
    done.map_err(|errno| Error::Cgroup {
        path: write.file.clone(),
        value: write.value.clone(),
        errno,
    })
}

/// Writes one value into one file of a cgroup.
pub(crate) fn put(file: &Path, value: &str) -> rustix::io::Result<()> {
    let fd = rustix::fs::open(file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&fd, value.as_bytes()).map(drop)
}

/// The file through which the calling, single-threaded process moves itself into `cgroup`. On v1 it is `tasks`: a
/// thread that moves itself through it takes no lock on the whole machine, as `cgroup.procs` does.
#[must_use]
pub fn entry_file(cgroup: &Path) -> PathBuf {
    cgroup.join(if is_unified(cgroup) { "cgroup.procs" } else { "tasks" })
}

/// Moves the calling, single-threaded process into `cgroups`.
///
/// # Errors
/// The first that does not take it.
pub fn enter(cgroups: &[PathBuf]) -> Result<()> {
    enter_process(cgroups, 0)
}

/// Moves the single-threaded process `pid` into `cgroups`; 0 is the calling one.
///
/// # Errors
/// As [`enter`].
pub fn enter_process(cgroups: &[PathBuf], pid: i32) -> Result<()> {
    cgroups.iter().try_for_each(|cgroup| {
        let file = entry_file(cgroup);
        put(&file, &pid.to_string()).map_err(|errno| Error::Cgroup {
            path: file.clone(),
            value: pid.to_string(),
            errno,
        })
    })
}

/// The cgroups `parent/name` that exist, for a container of which nothing else is known.
#[must_use]
pub fn find(parent: &str, name: &str) -> Vec<PathBuf> {
    let bases: Vec<PathBuf> = match detect() {
        Layout::Missing => Vec::new(),
        Layout::Unified => vec![Path::new(ROOT).join(parent)],
        Layout::Legacy(hierarchies) => {
            let below = hierarchies.iter().map(|h| Path::new(ROOT).join(h).join(parent));
            below.flat_map(|base| [base.clone(), base.join("default")]).collect()
        }
    };
    bases
        .into_iter()
        .map(|base| base.join(name))
        .filter(|folder| folder.is_dir())
        .collect()
}

/// Whether the OOM killer has struck in these cgroups.
#[must_use]
pub fn oom_killed(cgroups: &[PathBuf]) -> bool {
    cgroups.iter().any(|cgroup| {
        let file = match controller_of(cgroup) {
            Some("memory") => "memory.oom_control",
            _ if is_unified(cgroup) => "memory.events",
            _ => return false,
        };
        let text = std::fs::read_to_string(cgroup.join(file)).unwrap_or_default();
        text.lines()
            .any(|line| line.strip_prefix("oom_kill ").is_some_and(|n| n.trim() != "0"))
    })
}

/// The processes in a container's cgroups, one hierarchy asked.
#[must_use]
pub fn processes(cgroups: &[PathBuf]) -> Vec<i32> {
    let Some(first) = cgroups.first() else {
        return Vec::new();
    };
    let text = std::fs::read_to_string(first.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// The processes in a container's cgroups and in those that it made below them, one hierarchy asked, in order.
#[must_use]
pub fn members(cgroups: &[PathBuf]) -> Vec<i32> {
    let mut out = Vec::new();
    let mut todo: Vec<PathBuf> = cgroups.first().into_iter().cloned().collect();
    while let Some(folder) = todo.pop() {
        out.extend(processes(std::slice::from_ref(&folder)));
        let below = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        todo.extend(
            below
                .filter(|entry| entry.file_type().is_ok_and(|t| t.is_dir()))
                .map(|entry| entry.path()),
        );
    }
    out.sort_unstable();
    out
}

/// Kills what is left in these cgroups.
pub fn kill(cgroups: &[PathBuf]) {
    let Some(first) = cgroups.first() else { return };
    if put(&first.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    // Until a pass finds nobody: a process may fork between the reading and the killing.
    for _ in 0..100 {
        let pids = processes(cgroups);
        if pids.is_empty() {
            return;
        }
        for pid in pids.into_iter().filter_map(rustix::process::Pid::from_raw) {
            // Gone already is as good.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        // On v1 a frozen process dies when it is thawed, and not before.
        if frozen(cgroups) != Freeze::Thawed {
            let _ = thaw(cgroups);
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// Removes the cgroups; what is still in them is killed. Returns those that could not be removed.
pub fn remove(cgroups: &[PathBuf]) -> Vec<(PathBuf, Errno)> {
    let mut left = Vec::new();
    for cgroup in cgroups {
        let mut tries = 0;
        loop {
            match rustix::fs::rmdir(cgroup) {
                Ok(()) | Err(Errno::NOENT) => break,
                // A process that was just reaped may still be on its way out.
                Err(Errno::BUSY) if tries < 200 => {
                    if tries == 2 {
                        kill(cgroups);
                    }
                    remove_children(cgroup);
                    tries += 1;
                    std::thread::sleep(std::time::Duration::from_micros(if tries < 5 { 50 } else { 1000 }));
                }
                Err(errno) => {
                    left.push((cgroup.clone(), errno));
                    break;
                }
            }
        }
    }
    left
}

/// Removes the cgroups that the container made inside of its own.
fn remove_children(cgroup: &Path) {
    for entry in std::fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            remove_children(&entry.path());
            let _ = rustix::fs::rmdir(entry.path());
        }
    }
}
