//! Which cgroups a container gets and what is written to them, as data.

use std::path::{Path, PathBuf};

use super::{DevicePolicy, Layout, ROOT, Resources, ThrottleKind, controller_of};
use crate::error::{Error, Result};

/// The cgroups of one container.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The folders, to be made and joined in this order.
    pub folders: Vec<PathBuf>,
    /// What is written, in order.
    pub writes: Vec<Write>,
    /// The devices.
    pub devices: DevicePolicy,
}

impl Plan {
    /// Whether it is a cgroup of v2, which a process can be born in.
    #[must_use]
    pub fn is_unified(&self) -> bool {
        self.folders.first().is_some_and(|folder| super::is_unified(folder))
    }
}

/// One value for one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The file.
    pub file: PathBuf,
    /// The value.
    pub value: String,
}

/// The hierarchies that every container has on v1: to count, to freeze, to guard devices.
const ALWAYS: [&str; 5] = ["memory", "cpuacct", "pids", "devices", "freezer"];

/// Plans the cgroups `parent/name` (`parent` without a leading slash, `hull` by default) for `resources`.
///
/// # Errors
/// A limit that this layout cannot hold.
pub fn plan(layout: &Layout, parent: &str, name: &str, resources: &Resources) -> Result<Plan> {
    let mut plan = Plan {
        devices: resources.devices.clone(),
        ..Plan::default()
    };
    match layout {
        Layout::Missing => {
            if *resources
                != (Resources {
                    devices: resources.devices.clone(),
                    ..Resources::default()
                })
            {
                return Err(Error::Unsupported(
                    "this host has no cgroups mounted at /sys/fs/cgroup, so no resource can be limited".to_owned(),
                ));
            }
        }
        Layout::Unified => unified(&mut plan, &Path::new(ROOT).join(parent).join(name), resources)?,
        Layout::Legacy(hierarchies) => legacy(&mut plan, hierarchies, parent, name, resources)?,
    }
    Ok(plan)
}

fn unified(plan: &mut Plan, folder: &Path, r: &Resources) -> Result<()> {
    plan.folders.push(folder.to_owned());
    let mut put = |file: &str, value: String| {
        plan.writes.push(Write {
            file: folder.join(file),
            value,
        });
    };
    let limit = |n: i64| if n < 0 { "max".to_owned() } else { n.to_string() };
    if let Some(memory) = r.memory {
        put("memory.max", limit(memory));
    }
    if let Some(total) = r.memory_swap {
        let swap = match (total, r.memory) {
            (-1, _) => -1,
            (total, Some(memory)) if total >= memory => total - memory,
            _ => {
                return Err(Error::Invalid(
                    "the limit of memory and swap is below that of memory".to_owned(),
                ));
            }
        };
        put("memory.swap.max", limit(swap));
    }
    if let Some(low) = r.memory_reservation {
        put("memory.low", limit(low));
    }
    if let Some(shares) = r.cpu_shares {
        put("cpu.weight", weight_of_shares(shares).to_string());
    }
    if r.cpu_quota.is_some() || r.cpu_period.is_some() {
        let quota = r
            .cpu_quota
            .filter(|q| *q > 0)
            .map_or_else(|| "max".to_owned(), |q| q.to_string());
        put("cpu.max", format!("{quota} {}", r.cpu_period.unwrap_or(100_000)));
    }
    if r.cpu_realtime_runtime.is_some() || r.cpu_realtime_period.is_some() {
        return Err(Error::Unsupported(
            "cgroup v2 has no limit of real-time scheduling".to_owned(),
        ));
    }
    if let Some(cpus) = &r.cpuset_cpus {
        put("cpuset.cpus", cpus.clone());
    }
    if let Some(mems) = &r.cpuset_mems {
        put("cpuset.mems", mems.clone());
    }
    if let Some(pids) = r.pids {
        put("pids.max", limit(if pids == 0 { -1 } else { pids }));
    }
    if let Some(weight) = r.io_weight {
        put("io.weight", format!("default {}", io_weight(weight)));
    }
    for (major, minor, weight) in &r.io_device_weight {
        put("io.weight", format!("{major}:{minor} {}", io_weight(*weight)));
    }
    for throttle in &r.io_throttle {
        let key = match throttle.kind {
            ThrottleKind::ReadBytes => "rbps",
            ThrottleKind::WriteBytes => "wbps",
            ThrottleKind::ReadOperations => "riops",
            ThrottleKind::WriteOperations => "wiops",
        };
        put(
            "io.max",
            format!("{}:{} {key}={}", throttle.major, throttle.minor, throttle.rate),
        );
    }
    for (file, value) in &r.unified {
        if file.contains('/') || file.starts_with("cgroup.") {
            return Err(Error::Invalid(format!("`{file}` is no file of a cgroup's controller")));
        }
        put(file, value.clone());
    }
    Ok(())
}

fn legacy(plan: &mut Plan, hierarchies: &[String], parent: &str, name: &str, r: &Resources) -> Result<()> {
    let wanted = |controller: &str| -> bool {
        match controller {
            "cpu" => {
                r.cpu_shares.is_some()
                    || r.cpu_quota.is_some()
                    || r.cpu_period.is_some()
                    || r.cpu_realtime_runtime.is_some()
                    || r.cpu_realtime_period.is_some()
            }
            "cpuset" => r.cpuset_cpus.is_some() || r.cpuset_mems.is_some(),
            "blkio" => r.io_weight.is_some() || !r.io_throttle.is_empty() || !r.io_device_weight.is_empty(),
            other => ALWAYS.contains(&other),
        }
    };
    for hierarchy in hierarchies {
        if !hierarchy.split(',').any(wanted) {
            continue;
        }
        let base = Path::new(ROOT).join(hierarchy).join(parent);
        // The default device list stands in a parent's files once, and is inherited.
        let default_devices = hierarchy == "devices" && plan.devices == DevicePolicy::Default;
        plan.folders.push(if default_devices {
            base.join("default").join(name)
        } else {
            base.join(name)
        });
    }
    plan.writes = legacy_values(r)
        .into_iter()
        .map(|(controller, file, value)| {
            let hierarchy =
                |f: &&PathBuf| controller_of(f).is_some_and(|h| h.split(',').any(|name| name == controller));
            let folder = plan.folders.iter().find(hierarchy).ok_or_else(|| {
                Error::Unsupported(format!(
                    "this host's kernel or set-up lacks the `{controller}` cgroup controller"
                ))
            })?;
            Ok(Write {
                file: folder.join(format!("{controller}.{file}")),
                value,
            })
        })
        .collect::<Result<_>>()?;
    Ok(())
}

/// What v1 is told, in order: controller, the rest of the file's name, value.
fn legacy_values(r: &Resources) -> Vec<(&'static str, &'static str, String)> {
    let text = |value: Option<&dyn ToString>| value.map(ToString::to_string);
    let number = |value: &Option<i64>| text(value.as_ref().map(|v| v as &dyn ToString));
    let count = |value: &Option<u64>| text(value.as_ref().map(|v| v as &dyn ToString));
    // Both must be filled before a process can enter; what is not asked for is the parent's.
    let cpuset = |own: &Option<String>, file: &str| {
        let inherited = || {
            let parent = Path::new(ROOT).join("cpuset").join(file);
            std::fs::read_to_string(parent).unwrap_or_default().trim().to_owned()
        };
        let asked = r.cpuset_cpus.is_some() || r.cpuset_mems.is_some();
        asked.then(|| own.clone().unwrap_or_else(inherited))
    };
    let pids = r
        .pids
        .map(|pids| if pids <= 0 { "max".to_owned() } else { pids.to_string() });
    let mut out: Vec<(&'static str, &'static str, Option<String>)> = vec![
        ("memory", "limit_in_bytes", number(&r.memory)),
        ("memory", "memsw.limit_in_bytes", number(&r.memory_swap)),
        ("memory", "soft_limit_in_bytes", number(&r.memory_reservation)),
        ("memory", "swappiness", count(&r.swappiness)),
        ("memory", "oom_control", r.oom_kill_disable.then(|| "1".to_owned())),
        ("cpu", "shares", count(&r.cpu_shares)),
        ("cpu", "cfs_period_us", count(&r.cpu_period)),
        ("cpu", "cfs_quota_us", number(&r.cpu_quota)),
        ("cpu", "rt_period_us", count(&r.cpu_realtime_period)),
        ("cpu", "rt_runtime_us", number(&r.cpu_realtime_runtime)),
        ("cpuset", "cpus", cpuset(&r.cpuset_cpus, "cpuset.cpus")),
        ("cpuset", "mems", cpuset(&r.cpuset_mems, "cpuset.mems")),
        ("pids", "max", pids),
        ("blkio", "weight", r.io_weight.map(|w| w.to_string())),
    ];
    for (major, minor, weight) in &r.io_device_weight {
        out.push(("blkio", "weight_device", Some(format!("{major}:{minor} {weight}"))));
    }
    for throttle in &r.io_throttle {
        let file = match throttle.kind {
            ThrottleKind::ReadBytes => "throttle.read_bps_device",
            ThrottleKind::WriteBytes => "throttle.write_bps_device",
            ThrottleKind::ReadOperations => "throttle.read_iops_device",
            ThrottleKind::WriteOperations => "throttle.write_iops_device",
        };
        out.push((
            "blkio",
            file,
            Some(format!("{}:{} {}", throttle.major, throttle.minor, throttle.rate)),
        ));
    }
    out.into_iter()
        .filter_map(|(controller, file, value)| Some((controller, file, value?)))
        .collect()
}

/// Fills what a new parent needs before it can hold containers.
pub(super) fn prepare_parent(parent: &Path) -> Result<()> {
    let write = |path: PathBuf, value: &str| {
        super::put(&path, value).map_err(|errno| Error::Cgroup {
            path,
            value: value.to_owned(),
            errno,
        })
    };
    match controller_of(parent) {
        Some("cpuset") => {
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let inherited = parent
                    .parent()
                    .map(|p| std::fs::read_to_string(p.join(file)).unwrap_or_default());
                write(parent.join(file), inherited.unwrap_or_default().trim())?;
            }
            Ok(())
        }
        Some(first) if super::is_unified(parent) => {
            // Children get the controllers that their parent hands down; from the root on.
            let mut at = PathBuf::from(ROOT);
            let below = parent.strip_prefix(ROOT).unwrap_or(Path::new(first));
            for part in std::iter::once(std::ffi::OsStr::new("")).chain(below.iter()) {
                if !part.is_empty() {
                    at.push(part);
                }
                let available = std::fs::read_to_string(at.join("cgroup.controllers")).unwrap_or_default();
                for name in available.split_whitespace() {
                    if matches!(
                        name,
                        "cpu" | "cpuset" | "io" | "memory" | "pids" | "hugetlb" | "rdma" | "misc"
                    ) {
                        // A controller that another cgroup holds back stays off; a limit that needs it then fails
                        // with its file's name.
                        let _ = super::put(&at.join("cgroup.subtree_control"), &format!("+{name}"));
                    }
                }
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// v1's shares (2 to 262144, 1024 by default) as v2's weight (1 to 10000, 100 by default): runc's and crun's rule since
/// 2025 keeps 1024 at 100 (kubernetes/kubernetes 131216).
fn weight_of_shares(shares: u64) -> u64 {
    if shares <= 2 {
        return 1;
    }
    if shares >= 262_144 {
        return 10_000;
    }
    let log = (shares as f64).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    10f64.powf(exponent).ceil() as u64
}

/// Docker's weight (10 to 1000) as v2's (1 to 10000).
fn io_weight(weight: u16) -> u64 {
    1 + u64::from(weight.saturating_sub(10)) * 9999 / 990
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_share_is_the_default_weight() {
        for (shares, weight) in [(2, 1), (1024, 100), (262_144, 10_000), (512, 60)] {
            let got = weight_of_shares(shares);
            assert!(got.abs_diff(weight) <= 1, "{shares}: {got}");
        }
    }

    #[test]
    fn the_default_container_has_nothing_to_write() {
        let names = [
            "blkio",
            "cpu,cpuacct",
            "cpuset",
            "devices",
            "freezer",
            "memory",
            "pids",
            "systemd",
        ];
        let layout = Layout::Legacy(names.map(str::to_owned).to_vec());
        let plan = plan(&layout, "hull", "x", &Resources::default()).unwrap();
        let folders: Vec<_> = plan
            .folders
            .iter()
            .map(|f| f.strip_prefix(ROOT).unwrap().display().to_string())
            .collect();
        assert_eq!(
            folders,
            [
                "cpu,cpuacct/hull/x",
                "devices/hull/default/x",
                "freezer/hull/x",
                "memory/hull/x",
                "pids/hull/x"
            ]
        );
        assert_eq!(plan.writes, []);
    }

    #[test]
    fn limits_are_written_in_each_layout_s_words() {
        let resources = Resources {
            memory: Some(64 << 20),
            memory_swap: Some(96 << 20),
            cpu_quota: Some(50_000),
            cpu_period: Some(100_000),
            pids: Some(10),
            cpuset_cpus: Some("0".to_owned()),
            ..Resources::default()
        };
        let show = |layout: &Layout| {
            let plan = plan(layout, "hull", "x", &resources).unwrap();
            let lines = plan
                .writes
                .iter()
                .map(|w| format!("{}={}", w.file.strip_prefix(ROOT).unwrap().display(), w.value));
            lines
                .filter(|l| !l.contains("cpuset.mems"))
                .collect::<Vec<_>>()
                .join("\n")
        };
        insta::assert_snapshot!(show(&Layout::Unified), @r"
        hull/x/memory.max=67108864
        hull/x/memory.swap.max=33554432
        hull/x/cpu.max=50000 100000
        hull/x/cpuset.cpus=0
        hull/x/pids.max=10
        ");
        let names = ["cpu", "cpuset", "memory", "pids"].map(str::to_owned).to_vec();
        insta::assert_snapshot!(show(&Layout::Legacy(names)), @r"
        memory/hull/x/memory.limit_in_bytes=67108864
        memory/hull/x/memory.memsw.limit_in_bytes=100663296
        cpu/hull/x/cpu.cfs_period_us=100000
        cpu/hull/x/cpu.cfs_quota_us=50000
        cpuset/hull/x/cpuset.cpus=0
        pids/hull/x/pids.max=10
        ");
    }

    #[test]
    fn a_missing_controller_is_named() {
        let resources = Resources {
            pids: Some(1),
            ..Resources::default()
        };
        let error = plan(&Layout::Legacy(vec!["memory".to_owned()]), "hull", "x", &resources).unwrap_err();
        assert!(error.to_string().contains("`pids`"), "{error}");
    }
}
