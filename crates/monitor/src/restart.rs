//! Whether and when a container that has ended is started again: Docker's restart policies.

use std::fs::File;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

use hull_runtime::cgroup;
use hull_spec::container::{LastExit, LiveState, Record, RestartPolicy};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::begin::{Failed, start};
use crate::error::{Result, io_at};
use crate::failure::{Failure, chain};
use crate::health::{self, Probe};
use crate::keep::Keep;
use crate::launch::Launch;
use crate::log::now;
use crate::supervise::{Ward, dismiss, reap};
use crate::teardown::{all_cgroups, write_json};

/// Docker's first delay, which doubles each time up to [`DELAY_MAX`].
const DELAY_MIN: Duration = Duration::from_millis(100);
const DELAY_MAX: Duration = Duration::from_secs(60);
/// A container that ran for longer starts with the first delay again.
const STEADY: Duration = Duration::from_secs(10);

/// The mark that a container is being stopped: then no restart follows.
const HALTED: &str = "halted";

/// Why a container is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halt {
    /// Somebody wants it not to run.
    Asked,
    /// The host is going down; at its next boot the container's policy holds.
    Shutdown,
}

/// Marks the container whose run folder is `run` as stopped by somebody, so that it is not started again, and wakes a
/// monitor that waits to do so. To be done before its process is signalled.
///
/// # Errors
/// If the mark cannot be made.
pub fn halt(run: &Path, why: Halt) -> Result<()> {
    let path = run.join(HALTED);
    let text = match why {
        Halt::Asked => "",
        Halt::Shutdown => "shutdown",
    };
    std::fs::write(&path, text).map_err(io_at("write", &path))?;
    let _ = crate::socket::connect(run);
    Ok(())
}

/// Takes the mark away: somebody wants the container to run.
pub(crate) fn unhalt(run: &Path) {
    let _ = std::fs::remove_file(run.join(HALTED));
}

/// Whether the container is being stopped, and why.
#[must_use]
pub fn halted(run: &Path) -> Option<Halt> {
    match std::fs::read(run.join(HALTED)).ok()?.as_slice() {
        b"shutdown" => Some(Halt::Shutdown),
        _ => Some(Halt::Asked),
    }
}

/// Whether the container is to be started again. Its policy may have been changed while it ran.
pub(crate) fn again(keep: &Keep, exit: &LastExit) -> bool {
    // What is removed at its end has no policy.
    if keep.auto_remove || halted(&keep.run).is_some() {
        return false;
    }
    let record = std::fs::read(keep.data.join("config.json")).ok();
    let record = record.and_then(|bytes| serde_json::from_slice::<Record>(&bytes).ok());
    record.is_some_and(|record| wanted(&record.host_config.restart_policy, exit))
}

/// Whether `policy` wants a container started again that has ended so.
#[must_use]
pub fn wanted(policy: &RestartPolicy, exit: &LastExit) -> bool {
    let limit = policy.maximum_retry_count;
    !exit.stopped
        && match policy.name.as_str() {
            "always" | "unless-stopped" => true,
            "on-failure" => exit.exit_code != 0 && (limit <= 0 || i64::from(exit.restarts) < limit),
            _ => false,
        }
}

/// The delay after one of `last`, for a container that ran for `ran`.
fn delay(last: Duration, ran: Duration) -> Duration {
    match last {
        Duration::ZERO => DELAY_MIN,
        _ if ran >= STEADY => DELAY_MIN,
        last => (last * 2).min(DELAY_MAX),
    }
}

/// What only the engine knows.
#[derive(Clone, Copy)]
pub struct Hooks<'a> {
    /// How a container is launched. Takes its ID and its lock.
    pub launch: &'a dyn Fn(&str, File) -> std::result::Result<Launch, String>,
    /// How a container's health is checked, if it is. Takes its ID.
    pub probe: &'a dyn Fn(&str) -> std::result::Result<Option<Probe>, String>,
}

/// Starts a container again that has ended, after its delay. `Err` holds what is left of it and how it ended where somebody
/// stopped it meanwhile, or its last start failed and the policy allows no further.
pub(crate) fn restart(mut ward: Ward, mut exit: LastExit, hooks: Hooks<'_>) -> Result<Ward, Box<(Ward, LastExit)>> {
    loop {
        ward.clear(&exit);
        ward.delay = delay(ward.delay, ward.began.elapsed());
        if let Some(halt) = interrupted(&ward.relay.listener, &ward.keep.run, ward.delay) {
            exit.stopped = halt == Halt::Asked;
            return Err(Box::new((ward, exit)));
        }
        let restarts = ward.keep.restarts.saturating_add(1);
        ward.began = Instant::now();
        match attempt(&ward, restarts, hooks) {
            Ok(next) => return Ok(next),
            Err(failure) => {
                ward.keep.restarts = restarts;
                exit = LastExit {
                    exit_code: failure.exit_code.unwrap_or(128),
                    error: failure.message,
                    started_at: exit.started_at,
                    finished_at: now(),
                    stopped: halted(&ward.keep.run) == Some(Halt::Asked),
                    restarts,
                    ..LastExit::default()
                };
                if !again(&ward.keep, &exit) {
                    return Err(Box::new((ward, exit)));
                }
            }
        }
    }
}

impl Ward {
    /// Takes away what the container's last process had, and writes down that the next is waited for.
    fn clear(&mut self, exit: &LastExit) {
        dismiss(std::mem::take(&mut self.relay.clients), exit);
        let _ = self.keep.release();
        self.keep.network = None;
        self.reserved.clear();
        // What cannot be removed now is the next start's to complain of.
        let _ = cgroup::remove(&all_cgroups(&self.keep.remains()));
        let _ = std::fs::remove_file(self.keep.run.join(health::FILE));
        let _ = write_json(&self.keep.data.join("exit.json"), exit);
        self.keep.tell_end(exit, false);
        let path = self.keep.run.join("state.json");
        let state = std::fs::read(&path).ok();
        if let Some(mut state) = state.and_then(|bytes| serde_json::from_slice::<LiveState>(&bytes).ok()) {
            state.restarting = true;
            state.restarts = self.keep.restarts;
            state.networks.clear();
            state.ports.clear();
            let _ = write_json(&path, &state);
        }
    }
}

/// Waits for `patience`, or until somebody has stopped the container: whoever does so connects to its socket.
fn interrupted(listener: &UnixListener, run: &Path, patience: Duration) -> Option<Halt> {
    let due = Instant::now() + patience;
    loop {
        if let Some(halt) = halted(run) {
            return Some(halt);
        }
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        let mut fds = [PollFd::new(listener, PollFlags::IN)];
        let _ = poll(&mut fds, Timespec::try_from(left).ok().as_ref());
        // There is nothing to attach to.
        while listener.accept().is_ok() {}
    }
}

fn attempt(ward: &Ward, restarts: u32, hooks: Hooks<'_>) -> std::result::Result<Ward, Failure> {
    let internal = |message: String| Failure {
        message,
        kind: hull_spec::ErrorKind::Internal,
        exit_code: None,
    };
    let lock = ward.lock.try_clone().map_err(|e| internal(e.to_string()))?;
    let listener = ward.relay.listener.try_clone().map_err(|e| internal(e.to_string()))?;
    let mut launch = (hooks.launch)(&ward.keep.id, lock).map_err(internal)?;
    launch.restarts = restarts;
    match start(&mut launch, Some(listener)) {
        Ok(begun) => {
            let mut next = Ward::new(launch, begun).ok_or_else(|| internal("the container has no streams".into()))?;
            next.delay = ward.delay;
            next.keep.tell_start(false);
            hull_sys::memory::settle();
            Ok(next)
        }
        Err(failed) => Err(take_back(&launch, *failed)),
    }
}

/// Takes back what a failed start has made, but for what the next one needs.
fn take_back(launch: &Launch, failed: Failed) -> Failure {
    if let Some(starting) = &failed.begun.starting {
        let _ = rustix::process::pidfd_send_signal(&starting.child.pidfd, rustix::process::Signal::KILL);
        reap(&starting.child.pidfd);
    }
    if let Some(network) = &failed.begun.network {
        let _ = hull_network::endpoint::release(&network.settings, &network.plan);
    }
    let _ = cgroup::remove(&launch.cgroups.folders);
    let mut failure = Failure::of(&failed.error);
    failure.message = chain(&failed.error);
    failure
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_say_when_to_start_again() {
        let check = |name: &str, limit: i64, exit_code: i32, restarts: u32, expected: bool| {
            let policy = RestartPolicy {
                name: name.to_owned(),
                maximum_retry_count: limit,
            };
            let exit = LastExit {
                exit_code,
                restarts,
                ..LastExit::default()
            };
            assert_eq!(
                wanted(&policy, &exit),
                expected,
                "{name}:{limit} after {exit_code}, {restarts} restarts"
            );
        };
        check("", 0, 1, 0, false);
        check("no", 0, 1, 0, false);
        check("always", 0, 0, 9, true);
        check("unless-stopped", 0, 0, 9, true);
        check("on-failure", 0, 0, 0, false);
        check("on-failure", 0, 1, 1000, true);
        check("on-failure", 3, 1, 2, true);
        check("on-failure", 3, 1, 3, false);
    }

    #[test]
    fn delays_double_until_a_container_is_steady() {
        let mut last = Duration::ZERO;
        let mut seen = Vec::new();
        for _ in 0..12 {
            last = delay(last, Duration::from_secs(1));
            seen.push(last.as_millis());
        }
        assert_eq!(
            seen,
            [
                100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000, 60_000
            ]
        );
        assert_eq!(delay(last, STEADY), DELAY_MIN);
    }

    #[test]
    fn a_halt_ends_the_wait() {
        let run = tempfile::tempdir().unwrap();
        let listener = crate::socket::listen(run.path()).unwrap();
        assert_eq!(halted(run.path()), None);
        let path = run.path().to_owned();
        let stopper = std::thread::spawn(move || halt(&path, Halt::Shutdown).unwrap());
        let started = Instant::now();
        let halt = interrupted(&listener, run.path(), Duration::from_secs(60));
        assert_eq!(halt, Some(Halt::Shutdown));
        assert!(started.elapsed() < Duration::from_secs(30));
        stopper.join().unwrap();
        unhalt(run.path());
        assert_eq!(interrupted(&listener, run.path(), Duration::from_millis(1)), None);
    }
}
