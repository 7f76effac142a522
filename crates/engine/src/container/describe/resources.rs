//! Resource limits, from Docker's words to cgroups'.

use std::collections::BTreeSet;

use hull_runtime::cgroup::{Resources, Throttle, ThrottleKind};
use hull_spec::container::{HostConfig, ThrottleDevice};

use crate::{Error, Result};

/// Docker's least memory limit: below it not even a shell starts.
const MEMORY_MIN: i64 = 6 << 20;

/// The limits of a container.
pub(in crate::container) fn of(host: &HostConfig) -> Result<Resources> {
    check(host)?;
    let given = |n: i64| Some(n).filter(|n| *n != 0);
    let positive = |n: i64| u64::try_from(n).ok().filter(|n| *n > 0);
    let text = |t: &String| Some(t.clone()).filter(|t| !t.is_empty());
    let (quota, period) = if host.nano_cpus > 0 {
        (Some(host.nano_cpus / 10_000), Some(100_000))
    } else {
        (given(host.cpu_quota), positive(host.cpu_period))
    };
    let memory = given(host.memory);
    // As much swap as memory unless told otherwise, as Docker has it.
    let memory_swap = given(host.memory_swap).or_else(|| memory.map(|m| m.saturating_mul(2)));
    let mut io_throttle = Vec::new();
    for (list, kind) in [
        (&host.blkio_device_read_bps, ThrottleKind::ReadBytes),
        (&host.blkio_device_write_bps, ThrottleKind::WriteBytes),
        (&host.blkio_device_read_iops, ThrottleKind::ReadOperations),
        (&host.blkio_device_write_iops, ThrottleKind::WriteOperations),
    ] {
        for ThrottleDevice { path, rate } in list {
            let (major, minor) = numbers(path)?;
            io_throttle.push(Throttle {
                kind,
                major,
                minor,
                rate: *rate,
            });
        }
    }
    let mut io_device_weight = Vec::new();
    for device in &host.blkio_weight_device {
        let (major, minor) = numbers(&device.path)?;
        io_device_weight.push((major, minor, device.weight));
    }
    Ok(Resources {
        memory,
        memory_reservation: given(host.memory_reservation),
        memory_swap: memory_swap.filter(|_| memory.is_some() && swap_is_counted()),
        swappiness: host.memory_swappiness.and_then(|n| u64::try_from(n).ok()),
        oom_kill_disable: host.oom_kill_disable == Some(true),
        cpu_shares: positive(host.cpu_shares),
        cpu_quota: quota,
        cpu_period: period,
        cpu_realtime_runtime: given(host.cpu_realtime_runtime),
        cpu_realtime_period: positive(host.cpu_realtime_period),
        cpuset_cpus: text(&host.cpuset_cpus),
        cpuset_mems: text(&host.cpuset_mems),
        pids: host.pids_limit.filter(|n| *n != 0),
        io_weight: Some(host.blkio_weight).filter(|w| *w != 0),
        io_throttle,
        io_device_weight,
        ..Resources::default()
    })
}

/// Refuses limits that cannot be, in Docker's words.
pub(in crate::container) fn check(host: &HostConfig) -> Result<()> {
    let refuse = |text: &str| Err(Error::Invalid(text.to_owned()));
    if host.memory != 0 && host.memory < MEMORY_MIN {
        return refuse("Minimum memory limit allowed is 6MB");
    }
    if host.memory_swap > 0 && host.memory == 0 {
        return refuse("You should always set the Memory limit when using Memoryswap limit, see usage");
    }
    if host.memory_swap > 0 && host.memory_swap < host.memory {
        return refuse("Minimum memoryswap limit should be larger than memory limit, see usage");
    }
    if host.memory_reservation > 0 && host.memory > 0 && host.memory < host.memory_reservation {
        return refuse("Minimum memory limit can not be less than memory reservation limit, see usage");
    }
    if host.nano_cpus > 0 && host.cpu_period > 0 {
        return refuse("Conflicting options: Nano CPUs and CPU Period cannot both be set");
    }
    if host.nano_cpus > 0 && host.cpu_quota > 0 {
        return refuse("Conflicting options: Nano CPUs and CPU Quota cannot both be set");
    }
    if host.cpu_period != 0 && !(1_000..=1_000_000).contains(&host.cpu_period) {
        return refuse("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)");
    }
    if host.cpu_quota > 0 && host.cpu_quota < 1_000 {
        return refuse("CPU cfs quota can not be less than 1ms (i.e. 1000)");
    }
    if host.nano_cpus < 0 || (host.nano_cpus > 0 && host.nano_cpus > host_cpus()) {
        let cpus = host_cpus() / 1_000_000_000;
        return Err(Error::Invalid(format!(
            "Range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available"
        )));
    }
    available("CPUs", &host.cpuset_cpus, "/sys/devices/system/cpu/online")?;
    available("memory nodes", &host.cpuset_mems, "/sys/devices/system/node/has_memory")?;
    if host.blkio_weight != 0 && !(10..=1000).contains(&host.blkio_weight) {
        return refuse("Range of blkio weight is from 10 to 1000");
    }
    if host.oom_score_adj < -1000 || host.oom_score_adj > 1000 {
        return Err(Error::Invalid(format!(
            "Invalid value {}, range for oom score adj is [-1000, 1000]",
            host.oom_score_adj
        )));
    }
    Ok(())
}

/// Refuses a list of processors or memory nodes that is malformed or names what the host has not. A host that does not
/// tell what it has leaves that to the kernel.
fn available(what: &str, asked: &str, file: &str) -> Result<()> {
    if asked.is_empty() {
        return Ok(());
    }
    let word = if what == "CPUs" { "cpus" } else { "mems" };
    let numbers = list(asked).ok_or_else(|| {
        Error::Invalid(format!(
            "Invalid value {asked} for cpuset {word}: invalid format: {asked}"
        ))
    })?;
    let text = std::fs::read_to_string(file).unwrap_or_default();
    match list(text.trim()) {
        Some(there) if !numbers.is_subset(&there) => Err(Error::Invalid(format!(
            "Requested {what} are not available - requested {asked}, available: {}",
            text.trim()
        ))),
        _ => Ok(()),
    }
}

/// Reads `0-3,5`.
fn list(text: &str) -> Option<BTreeSet<u32>> {
    const MOST: u32 = 8192;
    let mut out = BTreeSet::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.parse::<u32>().ok().filter(|n| *n < MOST);
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return None;
        }
        out.extend(first..=last);
    }
    Some(out)
}

/// All processors of the host in billionths, whatever this process itself is bound to.
fn host_cpus() -> i64 {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    let last = text
        .trim()
        .rsplit([',', '-'])
        .next()
        .and_then(|n| n.parse::<i64>().ok())
        .unwrap_or(0);
    (last + 1).saturating_mul(1_000_000_000)
}

/// Whether this host counts swap: a v1 kernel may be booted without.
fn swap_is_counted() -> bool {
    let v1 = std::path::Path::new("/sys/fs/cgroup/memory");
    !v1.exists() || v1.join("memory.memsw.limit_in_bytes").exists()
}

fn numbers(path: &str) -> Result<(u64, u64)> {
    let stat = rustix::fs::stat(path)
        .map_err(|errno| Error::Invalid(format!("cannot use device `{path}`: {}", hull_runtime::describe(errno))))?;
    Ok((
        u64::from(rustix::fs::major(stat.st_rdev)),
        u64::from(rustix::fs::minor(stat.st_rdev)),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_processors_are_read() {
        let check = |text: &str, expected: Option<&[u32]>| {
            assert_eq!(
                list(text),
                expected.map(|all| all.iter().copied().collect()),
                "{text:?}"
            );
        };
        check("0", Some(&[0]));
        check("0-2,5", Some(&[0, 1, 2, 5]));
        check("1,1", Some(&[1]));
        for bad in ["", "a", "1-", "-1", "2-1", "0,,1", "0-99999999", "1 ,2"] {
            check(bad, None);
        }
        assert!(available("CPUs", "0", "/no/such/file").is_ok());
        let error = available("CPUs", "0-x", "/no/such/file").unwrap_err();
        assert_eq!(
            error.to_string(),
            "Invalid value 0-x for cpuset cpus: invalid format: 0-x"
        );
    }
}
