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

/// The time of a processor that these processes have used, without their children. What has ended counts nothing.
pub(crate) fn cpu(pids: &[u32]) -> Duration {
    let nanos = |pid: &u32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    };
    Duration::from_nanos(pids.iter().filter_map(nanos).sum())
}

/// The time that the machine's processors have been busy, all together.
pub(crate) fn busy() -> Result<Duration> {
    let text = std::fs::read_to_string("/proc/stat").context("read /proc/stat")?;
    let ticks = busy_ticks(&text).context("/proc/stat has no line `cpu`")?;
    // The kernel tells it in hundredths of a second, whatever its own clock is.
    Ok(Duration::from_millis(ticks * 10))
}

/// user, nice, system, irq and softirq; not idle, iowait, and what the machine below took.
fn busy_ticks(text: &str) -> Option<u64> {
    let numbers = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let numbers: Vec<u64> = numbers.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    let busy = [0, 1, 2, 5, 6];
    busy.iter().map(|at| numbers.get(*at).copied()).sum()
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
        assert!(busy().unwrap() > Duration::ZERO && cpu(&[std::process::id()]) > Duration::ZERO);
    }
}
