//! One process, as /proc tells it, and what is needed of the host to show it.

use std::collections::BTreeMap;
use std::fs::read_to_string;
use std::path::Path;

/// Clock ticks a second: what the kernel shows to programs on every architecture that hull runs on.
pub(super) const TICKS: u64 = 100;

/// A process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) comm: String,
    pub(super) state: char,
    pub(super) parent: i32,
    pub(super) group: i32,
    pub(super) session: i32,
    pub(super) terminal: i32,
    /// The foreground group of its terminal.
    pub(super) foreground: i32,
    /// CPU time in ticks.
    pub(super) ticks: u64,
    pub(super) priority: i64,
    pub(super) nice: i64,
    pub(super) threads: u64,
    /// When it started, in ticks since boot.
    pub(super) started: u64,
    /// Bytes.
    pub(super) virtual_size: u64,
    /// KiB.
    pub(super) resident: u64,
    pub(super) processor: i64,
    /// Effective user and group.
    pub(super) user: u32,
    pub(super) group_id: u32,
    /// Whether it has locked memory.
    pub(super) locked: bool,
    pub(super) args: Vec<String>,
}

impl Process {
    /// Reads a process; `None` where it has ended.
    pub(super) fn read(proc: &Path, pid: i32) -> Option<Self> {
        let folder = proc.join(pid.to_string());
        let stat = std::fs::read(folder.join("stat")).ok()?;
        let mut out = Self::of_stat(pid, &String::from_utf8_lossy(&stat))?;
        // Its name may hold anything, also line ends, which this file escapes.
        let status = std::fs::read(folder.join("status")).ok()?;
        let status = String::from_utf8_lossy(&status).into_owned();
        let number = |key: &str, at: usize| {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            line.split_ascii_whitespace().nth(at)?.parse::<u64>().ok()
        };
        let id = |key: &str| number(key, 1).and_then(|id| u32::try_from(id).ok()).unwrap_or_default();
        (out.user, out.group_id) = (id("Uid:"), id("Gid:"));
        out.resident = number("VmRSS:", 0).unwrap_or(0);
        out.locked = number("VmLck:", 0).is_some_and(|locked| locked > 0);
        let args = std::fs::read(folder.join("cmdline")).unwrap_or_default();
        let args = args.strip_suffix(b"\0").unwrap_or(&args);
        if !args.is_empty() {
            out.args = args.split(|b| *b == 0).map(printable).collect();
        }
        Some(out)
    }

    /// What the stat file says: its fields are counted from the last parenthesis, which ends the name.
    fn of_stat(pid: i32, stat: &str) -> Option<Self> {
        let (before, after) = stat.rsplit_once(')')?;
        let comm = before.split_once('(')?.1;
        let fields: Vec<&str> = after.split_ascii_whitespace().collect();
        // `proc(5)` counts from 1, and the name is field 2.
        let field = |number: usize| fields.get(number - 3).copied().unwrap_or_default();
        let signed = |number| field(number).parse::<i64>().unwrap_or_default();
        let unsigned = |number| field(number).parse::<u64>().unwrap_or_default();
        let small = |number| i32::try_from(signed(number)).unwrap_or_default();
        Some(Self {
            pid,
            comm: printable(comm.as_bytes()),
            state: field(3).chars().next()?,
            parent: small(4),
            group: small(5),
            session: small(6),
            terminal: small(7),
            foreground: small(8),
            ticks: unsigned(14).saturating_add(unsigned(15)),
            priority: signed(18),
            nice: signed(19),
            threads: unsigned(20),
            started: unsigned(22),
            virtual_size: unsigned(23),
            processor: signed(39),
            ..Self::default()
        })
    }

    /// Its command line; its name in brackets where it has none.
    pub(super) fn command_line(&self) -> String {
        let dead = if self.state == 'Z' { " <defunct>" } else { "" };
        if self.args.is_empty() {
            format!("[{}]{dead}", self.comm)
        } else {
            self.args.join(" ")
        }
    }

    /// Its name.
    pub(super) fn name(&self) -> String {
        let dead = if self.state == 'Z' { " <defunct>" } else { "" };
        format!("{}{dead}", self.comm)
    }
}

/// A text of a stranger's, without what would act on a terminal.
fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

/// What is needed of the host.
#[derive(Clone, Debug)]
pub(super) struct Host {
    /// Now, in ticks since boot.
    pub(super) uptime: u64,
    /// Now.
    pub(super) now: jiff::Timestamp,
    pub(super) zone: jiff::tz::TimeZone,
    /// KiB of memory.
    pub(super) memory: u64,
    users: BTreeMap<u32, String>,
    groups: BTreeMap<u32, String>,
}

impl Host {
    pub(super) fn read() -> Self {
        let uptime = read_to_string("/proc/uptime").unwrap_or_default();
        let uptime: f64 = uptime.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0.0);
        let memory = read_to_string("/proc/meminfo").unwrap_or_default();
        Self {
            uptime: (uptime.max(0.0) * TICKS as f64) as u64,
            now: jiff::Timestamp::now(),
            zone: jiff::tz::TimeZone::system(),
            memory: memory
                .lines()
                .find_map(|line| line.strip_prefix("MemTotal:")?.trim().split(' ').next()?.parse().ok())
                .unwrap_or(0),
            users: names("/etc/passwd"),
            groups: names("/etc/group"),
        }
    }

    /// Seconds that a process has lived.
    pub(super) fn age(&self, process: &Process) -> u64 {
        self.uptime.saturating_sub(process.started) / TICKS
    }

    /// When a process started, by this host's clock.
    pub(super) fn start(&self, process: &Process) -> jiff::civil::DateTime {
        let age = i64::try_from(self.age(process)).unwrap_or(0);
        self.zone.to_datetime(self.now - jiff::SignedDuration::from_secs(age))
    }

    pub(super) fn user(&self, id: u32) -> String {
        self.users.get(&id).cloned().unwrap_or_else(|| id.to_string())
    }

    pub(super) fn group(&self, id: u32) -> String {
        self.groups.get(&id).cloned().unwrap_or_else(|| id.to_string())
    }
}

/// The names of `/etc/passwd` or `/etc/group` by number; the first of a number counts.
fn names(path: &str) -> BTreeMap<u32, String> {
    let mut out = BTreeMap::new();
    for line in read_to_string(path).unwrap_or_default().lines() {
        let mut parts = line.split(':');
        if let (Some(name), Some(id)) = (parts.next(), parts.nth(1).and_then(|id| id.parse().ok())) {
            out.entry(id).or_insert_with(|| name.to_owned());
        }
    }
    out
}

/// The processes of a container that has no cgroups, which a normal user may have: those in its PID namespace, or its
/// init and what descends from it where that is the host's.
pub(super) fn of_container(init: i32) -> Vec<i32> {
    let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let theirs = namespace(&init.to_string());
    let own = theirs.is_some() && theirs != namespace("self");
    let mut parents = BTreeMap::new();
    let mut out = vec![init];
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        if own {
            if pid != init && namespace(&pid.to_string()) == theirs {
                out.push(pid);
            }
        } else if let Some(process) = read_to_string(entry.path().join("stat"))
            .ok()
            .and_then(|stat| Process::of_stat(pid, &stat))
        {
            parents.insert(pid, process.parent);
        }
    }
    let mut at = 0;
    while let Some(&parent) = out.get(at) {
        out.extend(parents.iter().filter(|(_, p)| **p == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    out.sort_unstable();
    out.dedup();
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_names_do_no_harm() {
        // Fields from the third on.
        let mut fields = vec!["0"; 50];
        for (number, value) in [
            (3, "S"),
            (4, "7"),
            (6, "9"),
            (14, "150"),
            (15, "50"),
            (19, "-5"),
            (20, "3"),
            (22, "12345"),
            (23, "1048576"),
            (39, "1"),
        ] {
            fields[number - 3] = value;
        }
        let stat = format!("42 (a) R 1 (\u{1b}[2J) {}\n", fields.join(" "));
        let process = Process::of_stat(42, &stat).unwrap();
        assert_eq!(process.comm, "a) R 1 (?[2J");
        assert_eq!((process.state, process.parent, process.session), ('S', 7, 9));
        assert_eq!((process.ticks, process.nice, process.threads), (200, -5, 3));
        assert_eq!(
            (process.started, process.virtual_size, process.processor),
            (12345, 1_048_576, 1)
        );
        assert_eq!(process.command_line(), "[a) R 1 (?[2J]");
        assert!(Process::of_stat(1, "").is_none() && Process::of_stat(1, "1 (x").is_none());
    }

    #[test]
    fn a_living_process_is_read() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let process = loop {
            // Until the exec it is a copy of us.
            let process = Process::read(Path::new("/proc"), pid).unwrap();
            if process.comm == "sleep" && !process.args.is_empty() {
                break process;
            }
        };
        assert_eq!(process.command_line(), "sleep 1000");
        assert_eq!(process.parent, i32::try_from(std::process::id()).unwrap());
        assert!(Host::read().age(&process) < 60);
        let ours = of_container(i32::try_from(std::process::id()).unwrap());
        assert!(ours.contains(&pid), "{ours:?}");
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(Process::read(Path::new("/proc"), pid).is_none());
    }
}
