//! Health checks: Docker's `HEALTHCHECK`, and what happens to a container that fails it.
//!
//! A check is a process of the container. A worker starts it, waits for it, ends it when its time is up and tells what it
//! found through a pipe, so that the monitor goes on with its own work meanwhile. Worker and check are gone with the
//! monitor, and with the container.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hull_runtime::container::Process;
use hull_runtime::exec::{Io, Target, exec};
use hull_runtime::{Stdio, cgroup};
use hull_spec::container::{Health, HealthResult, Healthcheck, LastExit};
use hull_sys::clone::{Child, Fork, exit_now, fork};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use crate::event;
use crate::failure::chain;
use crate::log::now;
use crate::relay::Outcome;
use crate::restart::{Halt, Hooks, halt};
use crate::supervise::{Ward, reap};
use crate::teardown::write_json;

/// `RUN/containers/ID/health.json` of a running container, `DATA/containers/ID/health.json` of one that has ended.
pub const FILE: &str = "health.json";

/// What is kept of a check's output, as Docker does.
const OUTPUT_MAX: usize = 4096;
/// How many results are kept.
const RESULTS: usize = 5;
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: u32 = 3;

/// How a container's health is checked.
#[derive(Debug)]
pub struct Probe {
    /// When, and how often it may fail.
    pub check: Healthcheck,
    /// What runs in the container.
    pub process: Process,
    /// What happens to an unhealthy container: `kill`, `stop`, `restart` or nothing.
    pub on_failure: String,
    /// The signal that stops it.
    pub stop_signal: i32,
    /// How long that may take before it is killed; for ever where there is none.
    pub stop_timeout: Option<Duration>,
}

/// Looks after a container until its process has ended: how it ended, and whether it is to be started again whatever its
/// policy says.
pub(crate) fn attend(ward: &mut Ward, hooks: Hooks<'_>) -> (LastExit, bool) {
    let mut watch = Watch::begin(ward, hooks);
    let relayed = loop {
        let due = watch.as_ref().and_then(Watch::due);
        match (ward.run(due), &mut watch) {
            (Ok(Outcome::Due), Some(watch)) => watch.act(ward),
            (Ok(Outcome::Probed), Some(watch)) => watch.hear(ward),
            (ended, _) => break ended.map(drop),
        }
    };
    let revive = watch.is_some_and(|watch| watch.finish(ward));
    let exit = ward.ended(relayed);
    let revive = revive && !exit.stopped;
    (exit, revive)
}

/// A container whose health is watched.
struct Watch {
    probe: Probe,
    health: Health,
    /// When the next check is due; none while one runs.
    next: Option<Instant>,
    running: Option<Running>,
    /// When a container that was told to stop is killed.
    kill: Option<Instant>,
    revive: bool,
}

/// A check that runs.
struct Running {
    worker: Child,
    start: String,
}

impl Watch {
    /// `None` where the container has no health check.
    fn begin(ward: &Ward, hooks: Hooks<'_>) -> Option<Self> {
        // What cannot be found out now is no reason to leave the container alone.
        let probe = (hooks.probe)(&ward.keep.id).ok().flatten()?;
        // One that was adopted keeps its health.
        let found = std::fs::read(ward.keep.run.join(FILE)).ok();
        let health = found.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let is_new = health.is_none();
        let mut watch = Self {
            probe,
            health: health.unwrap_or_else(|| Health {
                status: "starting".to_owned(),
                ..Health::default()
            }),
            next: None,
            running: None,
            kill: None,
            revive: false,
        };
        watch.next = Some(ward.began.max(Instant::now() - watch.interval(ward)) + watch.interval(ward));
        if is_new {
            watch.write(ward);
        }
        Some(watch)
    }

    fn due(&self) -> Option<Instant> {
        self.next.into_iter().chain(self.kill).min()
    }

    /// Whether failures do not count yet.
    fn starts(&self, ward: &Ward) -> bool {
        self.health.status == "starting" && ward.began.elapsed() < nanos(self.probe.check.start_period, Duration::ZERO)
    }

    fn interval(&self, ward: &Ward) -> Duration {
        if self.starts(ward) {
            nanos(self.probe.check.start_interval, START_INTERVAL)
        } else {
            nanos(self.probe.check.interval, INTERVAL)
        }
    }

    /// Does what is due.
    fn act(&mut self, ward: &mut Ward) {
        let now = Instant::now();
        if self.kill.is_some_and(|due| due <= now) {
            self.kill = None;
            let _ = pidfd_send_signal(&ward.relay.init, Signal::KILL);
        }
        if self.next.is_some_and(|due| due <= now) {
            // A paused container is not asked.
            if cgroup::frozen(&ward.keep.cgroups) != cgroup::Freeze::Thawed {
                self.next = Some(now + self.interval(ward));
                return;
            }
            self.next = None;
            if let Err(error) = self.start(ward) {
                let time = crate::log::now();
                self.note(ward, (-1, error), time);
            }
        }
    }

    fn start(&mut self, ward: &mut Ward) -> Result<(), String> {
        let text = |errno: rustix::io::Errno| format!("cannot start a health check: {errno}");
        let (result, told) = pipe_with(PipeFlags::CLOEXEC).map_err(text)?;
        let timeout = nanos(self.probe.check.timeout, TIMEOUT);
        match fork().map_err(text)? {
            Fork::Child => {
                drop(result);
                let (code, output) = work(ward, &self.probe.process, timeout);
                let mut message = code.to_le_bytes().to_vec();
                message.extend(output);
                let _ = File::from(told).write_all(&message);
                exit_now(0)
            }
            Fork::Parent(worker) => {
                ward.relay.probe = Some(result);
                self.running = Some(Running { worker, start: now() });
                Ok(())
            }
        }
    }

    /// Takes what the running check has found.
    fn hear(&mut self, ward: &mut Ward) {
        let (Some(running), Some(result)) = (self.running.take(), ward.relay.probe.take()) else {
            return;
        };
        let mut message = Vec::new();
        // The worker writes at once all that it has to say, and ends.
        let _ = File::from(result).take(OUTPUT_MAX as u64 + 4).read_to_end(&mut message);
        reap(&running.worker.pidfd);
        let found = match message.split_first_chunk::<4>() {
            Some((code, output)) => (i32::from_le_bytes(*code), String::from_utf8_lossy(output).into_owned()),
            None => (-1, "the health check was killed".to_owned()),
        };
        self.note(ward, found, running.start);
    }

    /// Counts a result, writes it down, and does what follows from it.
    fn note(&mut self, ward: &mut Ward, (exit_code, output): (i32, String), start: String) {
        let starts = self.starts(ward);
        let before = self.health.status.clone();
        count(&mut self.health, &self.probe.check, exit_code, starts);
        self.health.log.push(HealthResult {
            start,
            end: now(),
            exit_code,
            output,
        });
        let extra = self.health.log.len().saturating_sub(RESULTS);
        self.health.log.drain(..extra);
        self.write(ward);
        self.next = Some(Instant::now() + self.interval(ward));
        if before != self.health.status {
            if let Some(subject) = &ward.keep.subject {
                let event = subject.event(&format!("health_status: {}", self.health.status));
                event::append(event::data_root(&ward.keep.data), &event);
            }
            if self.health.status == "unhealthy" {
                self.punish(ward);
            }
        }
    }

    fn punish(&mut self, ward: &Ward) {
        match self.probe.on_failure.as_str() {
            "kill" => {
                let _ = pidfd_send_signal(&ward.relay.init, Signal::KILL);
            }
            "stop" => {
                let _ = halt(&ward.keep.run, Halt::Asked);
                self.stop(ward);
            }
            "restart" => {
                self.revive = true;
                self.stop(ward);
            }
            _ => {}
        }
    }

    fn stop(&mut self, ward: &Ward) {
        let _ = hull_sys::signal::send(&ward.relay.init, self.probe.stop_signal);
        self.kill = self.probe.stop_timeout.map(|timeout| Instant::now() + timeout);
        self.next = None;
    }

    fn write(&self, ward: &Ward) {
        // On a full disk the last health stands.
        let _ = write_json(&ward.keep.run.join(FILE), &self.health);
    }

    /// Ends a check that still runs: its container is gone.
    fn finish(self, ward: &mut Ward) -> bool {
        ward.relay.probe = None;
        if let Some(running) = &self.running {
            let _ = pidfd_send_signal(&running.worker.pidfd, Signal::KILL);
            reap(&running.worker.pidfd);
        }
        self.revive
    }
}

/// Docker's rules: failures count once the start period is over or a check has succeeded.
fn count(health: &mut Health, check: &Healthcheck, exit_code: i32, starts: bool) {
    if exit_code == 0 {
        health.failing_streak = 0;
        "healthy".clone_into(&mut health.status);
        return;
    }
    if starts {
        return;
    }
    health.failing_streak = health.failing_streak.saturating_add(1);
    let retries = u32::try_from(check.retries).ok().filter(|n| *n > 0).unwrap_or(RETRIES);
    if health.failing_streak >= retries {
        "unhealthy".clone_into(&mut health.status);
    }
}

fn nanos(nanos: i64, default: Duration) -> Duration {
    match u64::try_from(nanos) {
        Ok(n) if n > 0 => Duration::from_nanos(n),
        _ => default,
    }
}

/// The worker: runs the check in the container and gives its exit code and output.
fn work(ward: &Ward, process: &Process, timeout: Duration) -> (i32, Vec<u8>) {
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    let failed = |text: String| (-1, text.into_bytes());
    let (output, written) = match pipe_with(PipeFlags::CLOEXEC) {
        Ok(ends) => ends,
        Err(errno) => return failed(errno.to_string()),
    };
    let stdio = (|| {
        Ok::<_, std::io::Error>(Stdio {
            stdin: File::open("/dev/null")?.into(),
            stdout: written.try_clone()?,
            stderr: written,
        })
    })();
    let stdio = match stdio {
        Ok(stdio) => stdio,
        Err(e) => return failed(e.to_string()),
    };
    let Some(pid) = Pid::from_raw(ward.keep.pid) else {
        return failed("the container has no process".to_owned());
    };
    let cgroups: &[PathBuf] = &ward.keep.cgroups;
    let target = Target {
        pid,
        pidfd: ward.relay.init.as_fd(),
        cgroups,
    };
    match exec(&target, process, Io::Given(stdio)) {
        Ok(joined) => follow(&joined.child.pidfd, output, timeout),
        Err(e) => failed(chain(&e)),
    }
}

/// Waits for the check's end and takes its output meanwhile.
fn follow(check: &OwnedFd, output: OwnedFd, timeout: Duration) -> (i32, Vec<u8>) {
    let due = Instant::now() + timeout;
    let mut output = File::from(output);
    let _ = rustix::io::ioctl_fionbio(&output, true);
    let mut taken = Vec::new();
    let mut open = true;
    loop {
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let _ = pidfd_send_signal(check, Signal::KILL);
            let said = String::from_utf8_lossy(&taken).into_owned();
            return (
                -1,
                cut(format!("Health check exceeded timeout ({timeout:?}): {said}").into_bytes()),
            );
        }
        let mut fds = vec![PollFd::new(check, PollFlags::IN)];
        if open {
            fds.push(PollFd::new(&output, PollFlags::IN));
        }
        let _ = poll(&mut fds, Timespec::try_from(left).ok().as_ref());
        let ended = !fds[0].revents().is_empty();
        drop(fds);
        open = open && drain(&mut output, &mut taken);
        if ended {
            let status = rustix::io::retry_on_intr(|| waitid(WaitId::PidFd(check.as_fd()), WaitIdOptions::EXITED));
            let code = match status {
                Ok(Some(status)) => status.exit_status().or(status.terminating_signal().map(|s| 128 + s)),
                _ => None,
            };
            return (code.unwrap_or(-1), cut(taken));
        }
    }
}

/// Reads what there is. The result is `false` once there will be no more.
fn drain(output: &mut File, taken: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 4096];
    loop {
        match output.read(&mut buffer) {
            Ok(0) => return false,
            Ok(n) => {
                let room = (OUTPUT_MAX + 1).saturating_sub(taken.len());
                taken.extend(&buffer[..n.min(room)]);
            }
            Err(e) => return e.kind() == std::io::ErrorKind::WouldBlock,
        }
    }
}

/// At most as much output as is kept, with a sign of what is not.
fn cut(mut output: Vec<u8>) -> Vec<u8> {
    if output.len() > OUTPUT_MAX {
        output.truncate(OUTPUT_MAX - 3);
        output.extend(b"...");
    }
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_count_as_dockers() {
        let check = Healthcheck {
            retries: 2,
            ..Healthcheck::default()
        };
        let mut health = Health {
            status: "starting".to_owned(),
            ..Health::default()
        };
        for (exit_code, starts, status, streak) in [
            (1, true, "starting", 0),
            (1, false, "starting", 1),
            (1, false, "unhealthy", 2),
            (0, false, "healthy", 0),
            (-1, false, "healthy", 1),
            (2, false, "unhealthy", 2),
            (0, false, "healthy", 0),
        ] {
            count(&mut health, &check, exit_code, starts);
            assert_eq!((health.status.as_str(), health.failing_streak), (status, streak));
        }
    }

    #[test]
    fn output_is_cut() {
        assert_eq!(cut(b"short".to_vec()), b"short");
        let long = cut(vec![b'x'; OUTPUT_MAX + 1]);
        assert_eq!((long.len(), &long[OUTPUT_MAX - 4..]), (OUTPUT_MAX, &b"x..."[..]));
    }
}
