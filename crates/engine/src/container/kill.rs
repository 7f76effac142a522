//! `kill` and what `stop` shares with it: signals to a container's init.

use std::os::fd::OwnedFd;
use std::time::Duration;

use hull_monitor::Halt;
use hull_spec::container::{LiveState, Record, Status};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Pid;

use super::{find, pause, status};
use crate::{Engine, Error, Result, event};

/// Sends a signal, by name or number; `KILL` where it is empty.
///
/// # Errors
/// [`Error::NotRunning`], an invalid signal.
pub fn kill(engine: &Engine, name: &str, signal: &str) -> Result<()> {
    let record = find(engine, name)?;
    let signal = parse(if signal.is_empty() { "KILL" } else { signal })?;
    let look = status::derive(engine, &record)?;
    let Some(live) = look.live else {
        return Err(Error::NotRunning { id: record.id });
    };
    let own = record.config.stop_signal.as_deref().filter(|s| !s.is_empty());
    // A signal that is meant to end it, not to be heard.
    if signal == KILL || parse(own.unwrap_or("TERM"))? == signal {
        halt(engine, &record, Halt::Asked)?;
        if look.status == Status::Restarting {
            return Ok(());
        }
    }
    send(engine, &record, &live, signal)
}

const KILL: i32 = 9;

/// Tells a container's monitor that somebody wants it to end: it is not to be started again.
pub(crate) fn halt(engine: &Engine, record: &Record, why: Halt) -> Result<()> {
    let host = &record.host_config;
    let restarts = !matches!(host.restart_policy.name.as_str(), "" | "no") || host.health_on_failure == "restart";
    // What is removed at its end is not started again.
    if host.auto_remove || !restarts {
        return Ok(());
    }
    Ok(hull_monitor::halt(&engine.container_run(&record.id), why)?)
}

/// A signal for the init of a running container.
pub(crate) fn send(engine: &Engine, record: &Record, live: &LiveState, signal: i32) -> Result<()> {
    let gone = || Error::NotRunning { id: record.id.clone() };
    let init = open(live).ok_or_else(gone)?;
    hull_sys::signal::send(&init, signal).map_err(|errno| match errno {
        rustix::io::Errno::SRCH => gone(),
        errno => Error::Signal {
            id: record.id.clone(),
            signal,
            source: errno.into(),
        },
    })?;
    event::container(engine, record, "kill", &[("signal", &signal.to_string())]);
    // A paused container goes on where the signal may be one to end by: Docker's rule.
    let own = record.config.stop_signal.as_deref().filter(|s| !s.is_empty());
    if signal == KILL || own.is_none_or(|own| parse(own).is_ok_and(|own| own == signal)) {
        pause::thaw(engine, record, live)?;
    }
    Ok(())
}

/// The init of a running container as a descriptor; `None` where it has ended. The start time is looked at after the
/// descriptor is open, so that it is of this very process.
pub(crate) fn open(live: &LiveState) -> Option<OwnedFd> {
    let pidfd = hull_runtime::exec::open_process(Pid::from_raw(live.pid)?).ok()?;
    status::alive(live.pid, live.start_ticks).then_some(pidfd)
}

/// Whether the process has ended, or does so within `patience`.
pub(crate) fn has_ended(init: &OwnedFd, patience: Duration) -> bool {
    let mut fds = [PollFd::new(init, PollFlags::IN)];
    let timeout = Timespec::try_from(patience).ok();
    poll(&mut fds, timeout.as_ref()).is_ok_and(|n| n > 0)
}

/// A signal's number from `KILL`, `SIGKILL`, `9`, `RTMIN+3`.
///
/// # Errors
/// What is no signal.
pub fn parse(text: &str) -> Result<i32> {
    let invalid = || Error::Invalid(format!("invalid signal: {text}"));
    if let Ok(number) = text.parse::<i32>() {
        return if (1..=64).contains(&number) {
            Ok(number)
        } else {
            Err(invalid())
        };
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM",
        "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF",
        "WINCH", "IO", "PWR", "SYS",
    ];
    if let Some(at) = NAMES.iter().position(|n| *n == name) {
        return i32::try_from(at + 1).map_err(|_| invalid());
    }
    let real_time = match name {
        "IOT" => Some(6),
        "POLL" => Some(29),
        "RTMIN" => Some(34),
        "RTMAX" => Some(64),
        _ => {
            let offset = |prefix: &str| name.strip_prefix(prefix).and_then(|n| n.parse::<i32>().ok());
            offset("RTMIN+")
                .map(|n| 34 + n)
                .or_else(|| offset("RTMAX-").map(|n| 64 - n))
        }
    };
    real_time.filter(|n| (1..=64).contains(n)).ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for (text, number) in [
            ("KILL", 9),
            ("sigterm", 15),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
            ("9", 9),
            ("64", 64),
            ("SYS", 31),
        ] {
            assert_eq!(parse(text).unwrap(), number, "{text}");
        }
        for bad in ["", "0", "65", "-1", "NOPE", "RTMIN+99", "SIG"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
