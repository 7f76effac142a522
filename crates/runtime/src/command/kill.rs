//! `kill`: a signal for init, or for all of the container.

use rustix::process::{Pid, Signal};

use super::arguments::{Arguments, Flag};
use super::state::{self, State, Status};
use super::{Caller, Failure, Global, Outcome};
use crate::cgroup;

pub(super) const FLAGS: &[Flag] = &[Flag::switch(&["all", "a"])];

pub(super) fn command(_: &mut Caller<'_>, global: &Global, args: &Arguments) -> Outcome {
    let state = State::load(global, &args.rest[0])?;
    let folder = state::folder(global, &args.rest[0])?;
    let number = number(args.rest.get(1).map_or("SIGTERM", String::as_str))?;
    // The real-time signals have no names, and are as good as the others.
    let signal = Signal::from_named_raw(number);
    if args.has("all") || (number == 9 && !state.own_pids) {
        if number == 9 {
            cgroup::kill(&state.cgroups);
            return Ok(0);
        }
        let signal = signal.ok_or_else(|| Failure::new(format!("signal {number} cannot be sent to all")))?;
        for pid in cgroup::processes(&state.cgroups).into_iter().filter_map(Pid::from_raw) {
            // One that has just ended needs no signal.
            let _ = rustix::process::kill_process(pid, signal);
        }
        return Ok(0);
    }
    if matches!(state.status(&folder), Status::Stopped | Status::Creating) {
        return Err(Failure::new("container not running"));
    }
    let signal = signal.ok_or_else(|| Failure::new(format!("signal {number} is not supported")))?;
    let pidfd = state.pidfd()?;
    rustix::process::pidfd_send_signal(&pidfd, signal)
        .map_err(|e| Failure::new(format!("cannot send signal {number}: {e}")))?;
    Ok(0)
}

/// Names without `SIG`, at their numbers on x86-64 and arm64.
const NAMES: [&str; 32] = [
    "", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM",
    "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH",
    "IO", "PWR", "SYS",
];

/// The number of a signal, by number or by name in any case, with or without `SIG`.
fn number(text: &str) -> Outcome<i32> {
    let unknown = || Failure::new(format!("unknown signal `{text}`"));
    if let Ok(number) = text.parse::<i32>() {
        return if (1..=64).contains(&number) {
            Ok(number)
        } else {
            Err(unknown())
        };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let position = NAMES
        .iter()
        .position(|known| !known.is_empty() && *known == name)
        .ok_or_else(unknown)?;
    i32::try_from(position).map_err(|_| unknown())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals() {
        for (text, expected) in [
            ("9", 9),
            ("KILL", 9),
            ("SIGTERM", 15),
            ("sigusr1", 10),
            ("Winch", 28),
            ("64", 64),
        ] {
            assert_eq!(number(text).unwrap(), expected, "{text}");
        }
        for text in ["", "SIG", "0", "65", "-1", "NOPE"] {
            assert!(number(text).is_err(), "{text}");
        }
    }
}
