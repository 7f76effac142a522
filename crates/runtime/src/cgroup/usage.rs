//! What a container has used, as its cgroups count it.

use std::fs::read_to_string;
use std::path::{Path, PathBuf};

use super::{controller_of, is_unified};

/// What a container has used. `None`: nothing counts it on this host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time in nanoseconds.
    pub cpu: Option<u64>,
    /// Bytes of memory, without the pages of files that can be dropped at any time: Docker's count.
    pub memory: Option<u64>,
    /// The limit of memory in bytes, where there is one below the host's own.
    pub memory_limit: Option<u64>,
    /// Processes and threads.
    pub tasks: Option<u64>,
    /// Bytes read from and written to block devices.
    pub block: Option<(u64, u64)>,
}

/// Reads what the container of these cgroups has used so far.
#[must_use]
pub fn usage(cgroups: &[PathBuf]) -> Usage {
    match cgroups.first().filter(|cgroup| is_unified(cgroup)) {
        Some(cgroup) => unified(cgroup),
        None => legacy(cgroups),
    }
}

fn unified(cgroup: &Path) -> Usage {
    let read = |file: &str| read_to_string(cgroup.join(file)).ok();
    let number = |file: &str| read(file).and_then(|text| text.trim().parse().ok());
    Usage {
        cpu: read("cpu.stat")
            .and_then(|text| keyed(&text, "usage_usec"))
            .map(|n| n.saturating_mul(1000)),
        memory: number("memory.current").map(|used| without_cache(used, read("memory.stat"), "inactive_file")),
        memory_limit: number("memory.max"),
        tasks: number("pids.current"),
        block: read("io.stat").map(|text| io_stat(&text)),
    }
}

fn legacy(cgroups: &[PathBuf]) -> Usage {
    let read = |controller: &str, file: &str| {
        let folder = cgroups.iter().find(|cgroup| {
            controller_of(cgroup).is_some_and(|hierarchy| hierarchy.split(',').any(|name| name == controller))
        })?;
        read_to_string(folder.join(format!("{controller}.{file}"))).ok()
    };
    let number = |controller: &str, file: &str| read(controller, file).and_then(|text| text.trim().parse().ok());
    let block = read("blkio", "throttle.io_service_bytes_recursive")
        .or_else(|| read("blkio", "throttle.io_service_bytes"))
        .map(|text| service_bytes(&text));
    Usage {
        cpu: number("cpuacct", "usage"),
        memory: number("memory", "usage_in_bytes")
            .map(|used| without_cache(used, read("memory", "stat"), "total_inactive_file")),
        // Without a limit it is the largest number of whole pages.
        memory_limit: number("memory", "limit_in_bytes").filter(|limit| *limit < 1 << 62),
        tasks: number("pids", "current"),
        block,
    }
}

/// The number of a line `key number`.
fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

fn without_cache(used: u64, stat: Option<String>, key: &str) -> u64 {
    let cache = stat.and_then(|text| keyed(&text, key)).unwrap_or(0);
    used.checked_sub(cache).unwrap_or(used)
}

/// `8:0 rbytes=1 wbytes=2 rios=3 ..`, a line a device.
fn io_stat(text: &str) -> (u64, u64) {
    let sum = |key: &str| {
        text.split_whitespace()
            .filter_map(|word| word.strip_prefix(key)?.parse::<u64>().ok())
            .fold(0, u64::saturating_add)
    };
    (sum("rbytes="), sum("wbytes="))
}

/// `8:0 Read 1`, a line a device and kind.
fn service_bytes(text: &str) -> (u64, u64) {
    let sum = |kind: &str| {
        text.lines()
            .filter_map(|line| {
                let mut words = line.split(' ').skip(1);
                (words.next()? == kind).then(|| words.next()?.parse::<u64>().ok())?
            })
            .fold(0, u64::saturating_add)
    };
    (sum("Read"), sum("Write"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_in_each_layouts_form() {
        let io = "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n8:16 rbytes=5 wbytes=0 rios=1 wios=0\n253:0\n";
        assert_eq!(io_stat(io), (15, 20));
        let v1 = "8:0 Read 7\n8:0 Write 8\n8:0 Sync 15\n8:0 Total 15\n8:16 Read 1\nTotal 16\n";
        assert_eq!(service_bytes(v1), (8, 8));
        assert_eq!((io_stat(""), service_bytes("Total 0\n")), ((0, 0), (0, 0)));
        let stat = "anon 5\ninactive_file 30\ntotal_inactive_file 40\ninactive_file_x 9\n";
        assert_eq!(keyed(stat, "inactive_file"), Some(30));
        assert_eq!(without_cache(100, Some(stat.to_owned()), "total_inactive_file"), 60);
        assert_eq!(
            without_cache(10, Some(stat.to_owned()), "inactive_file"),
            10,
            "never below nothing"
        );
        assert_eq!(without_cache(10, None, "inactive_file"), 10);
    }
}
