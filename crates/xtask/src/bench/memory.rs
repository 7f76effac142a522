//! Memory of processes, in bytes.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// hull's own processes of the host in `folder`: those of the program, or of what it becomes, whose environment or arguments
/// name the folder. A container's processes have an environment of their own.
pub(crate) fn own_processes(binary: &Path, folder: &Path) -> Vec<u32> {
    let needle = folder.as_os_str().as_encoded_bytes();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| {
            let names_it = ["environ", "cmdline"].iter().any(|file| {
                let text = std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
                text.windows(needle.len()).any(|window| window == needle)
            });
            let program = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
            let sealed = program.to_string_lossy().contains("hull");
            (sealed || program == binary) && names_it
        })
        .collect()
}

/// The proportional set size: what would be free if the process ended.
pub(crate) fn pss(pid: u32) -> Option<u64> {
    field(
        &std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?,
        "Pss:",
    )
}

/// The time of a processor that these processes have used, with their children that have ended.
pub(crate) fn cpu(pids: &[u32]) -> Duration {
    let ticks = |pid: &u32| cpu_ticks(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?);
    // The kernel tells it in hundredths of a second, whatever its own clock is.
    Duration::from_millis(pids.iter().filter_map(ticks).sum::<u64>() * 10)
}

/// utime, stime, cutime and cstime, which are the fields 14 to 17. The process's name may hold anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let fields = fields.split_whitespace().skip(11).take(4);
    fields.map(|field| field.parse::<u64>().ok()).sum()
}

/// The time that the machine's processors have been busy, all together.
pub(crate) fn busy() -> Result<Duration> {
    let text = std::fs::read_to_string("/proc/stat").context("read /proc/stat")?;
    let ticks = busy_ticks(&text).context("/proc/stat has no line `cpu`")?;
    Ok(Duration::from_millis(ticks * 10))
}

/// user, nice, system, irq and softirq; not idle, iowait, and what the machine below took.
fn busy_ticks(text: &str) -> Option<u64> {
    let numbers = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let numbers: Vec<u64> = numbers.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    let busy = [0, 1, 2, 5, 6];
    busy.iter().map(|at| numbers.get(*at).copied()).sum()
}

/// The time of a processor that so many processes of busybox take, each started, run and waited for.
pub(crate) fn cost(count: u32, words: &[&str]) -> Result<Duration> {
    let own = [std::process::id()];
    let before = cpu(&own);
    for _ in 0..count {
        let mut command = Command::new(hull_testkit::image::busybox_path());
        let status = command.args(words).status().context("run busybox")?;
        ensure!(status.success(), "busybox ended with {status}");
    }
    Ok(cpu(&own).saturating_sub(before))
}

/// Runs `command` and returns the most memory that it had resident at once. The kernel keeps the mark; it is read until
/// the process ends.
pub(crate) fn peak(command: &mut Command) -> Result<u64> {
    let mut child = command.spawn().context("start the command whose memory is measured")?;
    let mut peak = 0;
    let status = loop {
        if let Ok(status) = std::fs::read_to_string(format!("/proc/{}/status", child.id())) {
            peak = field(&status, "VmHWM:").unwrap_or(peak);
        }
        if let Some(status) = child.try_wait().context("wait for it")? {
            break status;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    ensure!(
        status.success(),
        "the command whose memory is measured ended with {status}"
    );
    Ok(peak)
}

/// A line such as `Pss:      123 kB`, in bytes.
fn field(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    value
        .trim()
        .strip_suffix(" kB")?
        .parse::<u64>()
        .ok()
        .map(|kb| kb * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernel_files() {
        assert_eq!(field("Rss:  9 kB\nPss:      123 kB\n", "Pss:"), Some(123 * 1024));
        assert_eq!(field("VmHWM: x kB", "VmHWM:"), None);
        assert!(pss(std::process::id()).unwrap() > 100_000);
        assert_eq!(busy_ticks("cpu  1 2 4 1000 1000 8 16 32 0 0\ncpu0 9 9\n"), Some(31));
        assert!(busy().unwrap() > Duration::ZERO);
        let stat = "42 (a) b) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765";
        assert_eq!(cpu_ticks(stat), Some(5 + 6 + 7 + 8));
        assert_eq!(cpu_ticks("42 (x"), None);
    }
}
