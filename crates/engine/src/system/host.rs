//! What the kernel and the distribution say of themselves. What they do not say is empty or off: this is for people.

use std::fs;
use std::path::Path;

/// The kernel's release, `6.12.0`.
pub(super) fn kernel_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// The machine, `x86_64`.
pub(super) fn machine() -> String {
    rustix::system::uname().machine().to_string_lossy().into_owned()
}

/// The host's name.
pub(super) fn name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The distribution's name and version, from os-release.
pub(super) fn distribution() -> (String, String) {
    let text = ["/etc/os-release", "/usr/lib/os-release"]
        .iter()
        .find_map(|path| fs::read_to_string(path).ok())
        .unwrap_or_default();
    let get = |key: &str| {
        text.lines()
            .filter_map(|line| line.split_once('='))
            .find(|(name, _)| *name == key)
            .map(|(_, value)| value.trim_matches(['"', '\'']).to_owned())
    };
    let name = get("PRETTY_NAME")
        .or_else(|| get("NAME"))
        .unwrap_or_else(|| "Linux".to_owned());
    (name, get("VERSION_ID").unwrap_or_default())
}

/// CPUs that this process may use.
pub(super) fn cpus() -> u32 {
    rustix::thread::sched_getaffinity(None).map_or(1, |set| set.count())
}

/// Bytes of memory.
pub(super) fn memory() -> u64 {
    fs::read_to_string("/proc/meminfo")
        .unwrap_or_default()
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok())
        .unwrap_or_default()
        * 1024
}

/// Whether a kernel setting is 1.
pub(super) fn is_on(path: &str) -> bool {
    fs::read_to_string(path).is_ok_and(|text| text.trim() == "1")
}

/// The file system that `path`, or the nearest folder above it that exists, is on, in Docker's words.
pub(super) fn filesystem(path: &Path) -> &'static str {
    let kind = path
        .ancestors()
        .find_map(|dir| rustix::fs::statfs(dir).ok())
        .map(|s| s.f_type);
    match kind {
        Some(0xEF53) => "extfs",
        Some(0x5846_5342) => "xfs",
        Some(0x9123_683E) => "btrfs",
        Some(0x0102_1994) => "tmpfs",
        Some(0x794c_7630) => "overlayfs",
        Some(0x2FC1_2FC1) => "zfs",
        Some(0xF2F5_2010) => "f2fs",
        Some(0xCA45_1A4E) => "bcachefs",
        Some(0x6969) => "nfs",
        Some(0x6573_5546) => "fuse",
        _ => "<unknown>",
    }
}

/// What the cgroups of this host can limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cgroups {
    pub(super) v2: bool,
    pub(super) memory: bool,
    pub(super) swap: bool,
    pub(super) cpu: bool,
    pub(super) cpuset: bool,
    pub(super) pids: bool,
}

pub(super) fn cgroups() -> Cgroups {
    let root = Path::new("/sys/fs/cgroup");
    if let Ok(controllers) = fs::read_to_string(root.join("cgroup.controllers")) {
        let has = |name: &str| controllers.split_ascii_whitespace().any(|c| c == name);
        return Cgroups {
            v2: true,
            memory: has("memory"),
            // The root group has no such file.
            swap: has("memory") && below(root).any(|dir| dir.join("memory.swap.max").exists()),
            cpu: has("cpu"),
            cpuset: has("cpuset"),
            pids: has("pids"),
        };
    }
    let mounted = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let memory = root.join("memory");
    v1(&mounted, memory.join("memory.memsw.limit_in_bytes").exists())
}

fn below(dir: &Path) -> impl Iterator<Item = std::path::PathBuf> {
    fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
}

/// The controllers of version 1 that hierarchies are mounted for, from `/proc/self/cgroup`.
fn v1(text: &str, swap: bool) -> Cgroups {
    let has = |name: &str| {
        text.lines()
            .filter_map(|line| line.split(':').nth(1))
            .flat_map(|controllers| controllers.split(','))
            .any(|controller| controller == name)
    };
    Cgroups {
        v2: false,
        memory: has("memory"),
        swap: has("memory") && swap,
        cpu: has("cpu"),
        cpuset: has("cpuset"),
        pids: has("pids"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_1_hierarchies_are_read() {
        let text = "4:memory:/x\n3:cpu,cpuacct:/\n1:name=systemd:/\n0::/\n";
        let all = v1(text, true);
        assert!(all.memory && all.swap && all.cpu && !all.cpuset && !all.pids && !all.v2);
        assert_eq!(v1("", true), Cgroups::default());
    }

    #[test]
    fn this_host_is_seen() {
        assert!(cpus() > 0 && memory() > 1 << 20);
        assert!(!kernel_release().is_empty() && !distribution().0.is_empty());
        assert_eq!(filesystem(Path::new("/proc/self/nothing/here")), "<unknown>");
    }
}
