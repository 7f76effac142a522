//! `stats`: what containers use at this moment.

use std::path::PathBuf;
use std::time::Instant;

use hull_runtime::cgroup::{self, Usage};
use hull_spec::container::{LiveState, Record};
use rustix::process::Pid;

use super::{find, status, top};
use crate::{Engine, Result};

/// What a container has used until a moment. All is 0 where it does not run.
#[derive(Clone, Debug)]
pub struct Sample {
    /// When it was looked at.
    pub at: Instant,
    /// The container's ID.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Tells this run of the container from another: counters start anew with each.
    pub run: Option<(i32, u64)>,
    /// CPU time in nanoseconds.
    pub cpu: u64,
    /// Bytes of memory, without what can be dropped at any time.
    pub memory: u64,
    /// Bytes of memory that it may use: its limit or the host's memory.
    pub memory_limit: u64,
    /// Bytes received by the interfaces of its own network.
    pub received: u64,
    /// Bytes sent by them.
    pub sent: u64,
    /// Bytes read from block devices.
    pub read: u64,
    /// Bytes written to them.
    pub written: u64,
    /// Processes and threads.
    pub tasks: u64,
}

impl Sample {
    /// The part of one CPU that it used since `before`, in percent; more than 100 where it used several.
    #[must_use]
    pub fn cpu_percent(&self, before: &Self) -> f64 {
        let passed = self.at.saturating_duration_since(before.at).as_nanos();
        if self.run.is_none() || self.run != before.run || passed == 0 {
            return 0.0;
        }
        self.cpu.saturating_sub(before.cpu) as f64 / passed as f64 * 100.0
    }

    /// The part of the memory that it may use, in percent.
    #[must_use]
    pub fn memory_percent(&self) -> f64 {
        if self.memory_limit == 0 {
            return 0.0;
        }
        self.memory as f64 / self.memory_limit as f64 * 100.0
    }
}

/// The containers that run, or all, by their IDs: newest first.
///
/// # Errors
/// If the folder of containers cannot be read.
pub fn ids(engine: &Engine, all: bool) -> Result<Vec<String>> {
    let ids = if all {
        find::ids(engine)?
    } else {
        // Only what runs, or did until a moment ago, has a folder there.
        find::ids_below(&engine.run.join("containers"))?
    };
    let mut out = Vec::new();
    for id in ids {
        if !all && status::sight(engine, &id).map_or(true, |look| look.live.is_none()) {
            continue;
        }
        if let Ok(record) = find::load(engine, &id) {
            out.push((record.created, id));
        }
    }
    out.sort_by(|a, b| b.cmp(a));
    Ok(out.into_iter().map(|(_, id)| id).collect())
}

/// What a container has used so far.
///
/// # Errors
/// No such container.
pub fn sample(engine: &Engine, name: &str) -> Result<Sample> {
    let record = find(engine, name)?;
    let live = status::derive(engine, &record)?.live;
    let mut out = Sample {
        at: Instant::now(),
        id: record.id.clone(),
        name: record.name.clone(),
        run: live.as_ref().map(|live| (live.pid, live.start_ticks)),
        cpu: 0,
        memory: 0,
        memory_limit: 0,
        received: 0,
        sent: 0,
        read: 0,
        written: 0,
        tasks: 0,
    };
    if let Some(live) = live {
        fill(&mut out, &record, &live);
    }
    Ok(out)
}

fn fill(out: &mut Sample, record: &Record, live: &LiveState) {
    let cgroups: Vec<PathBuf> = status::cgroups(live);
    let usage = cgroup::usage(&cgroups);
    out.at = Instant::now();
    // What no cgroup counts is added up over the processes: they may be a normal user's without cgroups, and cgroup v1
    // counts no blocks for a container without a limit of them.
    let missing = usage.cpu.is_none() || usage.memory.is_none() || usage.tasks.is_none() || usage.block.is_none();
    let counted = if missing { processes(live) } else { Usage::default() };
    out.cpu = usage.cpu.or(counted.cpu).unwrap_or(0);
    out.memory = usage.memory.or(counted.memory).unwrap_or(0);
    out.tasks = usage.tasks.or(counted.tasks).unwrap_or(0);
    (out.read, out.written) = usage.block.or(counted.block).unwrap_or((0, 0));
    let host = host_memory();
    out.memory_limit = usage.memory_limit.map_or(host, |limit| limit.min(host));
    if record.host_config.network_mode != "host" {
        (out.received, out.sent) = network(live.pid);
    }
}

/// Sums over the processes of a container. Those that have ended and were waited for are counted with their parents.
fn processes(live: &LiveState) -> Usage {
    let (mut cpu, mut memory, mut tasks, mut read, mut written) = (0u64, 0u64, 0u64, 0u64, 0u64);
    for pid in top::pids(live) {
        let file = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
        let keyed = |text: &str, key: &str| -> u64 {
            let line = text.lines().find_map(|line| line.strip_prefix(key));
            line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok())
                .unwrap_or(0)
        };
        let stat = file("stat");
        let fields: Vec<&str> = stat
            .rsplit_once(')')
            .map(|(_, fields)| fields.split_ascii_whitespace().collect())
            .unwrap_or_default();
        // Own and waited-for children's CPU time: fields 14 to 17.
        let ticks = fields.get(11..15).unwrap_or_default().iter();
        let ticks = ticks.filter_map(|n| n.parse::<u64>().ok()).fold(0, u64::saturating_add);
        cpu = cpu.saturating_add(ticks.saturating_mul(10_000_000));
        let status = file("status");
        memory += keyed(&status, "RssAnon:").saturating_mul(1024);
        tasks += keyed(&status, "Threads:");
        let io = file("io");
        read += keyed(&io, "read_bytes:");
        written += keyed(&io, "write_bytes:");
    }
    Usage {
        cpu: Some(cpu),
        memory: Some(memory),
        memory_limit: None,
        tasks: Some(tasks),
        block: Some((read, written)),
    }
}

fn host_memory() -> u64 {
    let info = rustix::system::sysinfo();
    (info.totalram as u64).saturating_mul(u64::from(info.mem_unit.max(1)))
}

/// Bytes received and sent by all interfaces of a process's network, but for the loopback.
fn network(pid: i32) -> (u64, u64) {
    if Pid::from_raw(pid).is_none() {
        return (0, 0);
    }
    device_bytes(&std::fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default())
}

/// `  eth0: RECEIVED packets .. SENT packets ..`, 16 numbers, the first and the ninth of which are bytes.
fn device_bytes(text: &str) -> (u64, u64) {
    let mut out = (0u64, 0u64);
    for line in text.lines() {
        let Some((name, numbers)) = line.split_once(':') else {
            continue;
        };
        if name.trim() == "lo" {
            continue;
        }
        let numbers: Vec<u64> = numbers
            .split_ascii_whitespace()
            .filter_map(|n| n.parse().ok())
            .collect();
        if let (Some(received), Some(sent)) = (numbers.first(), numbers.get(8)) {
            out = (out.0.saturating_add(*received), out.1.saturating_add(*sent));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn interfaces_are_summed_without_the_loopback() {
        let text = "Inter-|   Receive                                                |  Transmit\n \
                    face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs\n    \
                    lo: 1000 1 0 0 0 0 0 0 1000 1 0 0 0 0 0 0\n  eth0:     486       5    0    0    0     0          0         0        70       1    0    0    0     0       0          0\n  \
                    eth1:14 1 0 0 0 0 0 0 30 1 0 0 0 0 0 0\n";
        assert_eq!(device_bytes(text), (500, 100));
        assert_eq!(device_bytes(""), (0, 0));
    }

    #[test]
    fn percentages_are_of_one_run_and_one_cpu() {
        let now = Instant::now();
        let sample = |milliseconds: u64, run: Option<(i32, u64)>, cpu: u64| Sample {
            at: now + Duration::from_millis(milliseconds),
            id: String::new(),
            name: String::new(),
            run,
            cpu,
            memory: 25,
            memory_limit: 200,
            received: 0,
            sent: 0,
            read: 0,
            written: 0,
            tasks: 0,
        };
        let first = sample(0, Some((5, 1)), 1_000_000_000);
        assert_eq!(sample(1000, Some((5, 1)), 2_500_000_000).cpu_percent(&first), 150.0);
        assert_eq!(sample(1000, Some((5, 2)), 2_500_000_000).cpu_percent(&first), 0.0);
        assert_eq!(sample(1000, Some((5, 1)), 0).cpu_percent(&first), 0.0);
        assert_eq!(sample(0, Some((5, 1)), 2_000_000_000).cpu_percent(&first), 0.0);
        assert_eq!(sample(1000, None, 0).cpu_percent(&sample(0, None, 0)), 0.0);
        assert_eq!(first.memory_percent(), 12.5);
    }
}
