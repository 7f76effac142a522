//! What a container is doing, from the traces that it leaves and not from what anyone wrote down last.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use hull_runtime::cgroup::{Freeze, frozen};
use hull_spec::container::{Health, LastExit, LiveState, Record, Status};
use serde::de::DeserializeOwned;

use super::reader::{self, Place, Reader};
use crate::{Engine, Error, Result, elapsed};

/// The exit code of a container whose end nobody saw, because its monitor was killed or the host went down: Docker's
/// word for it.
pub(crate) const UNSEEN: i32 = 255;

/// A container seen at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// What it is doing.
    pub status: Status,
    /// The running container's state. `None` where it does not run, or is only just being started.
    pub live: Option<LiveState>,
    /// How it last ended, if it ever did.
    pub exit: Option<LastExit>,
    /// Whether a monitor holds its lock. A container can run without: then its monitor was killed.
    pub monitored: bool,
    /// What its health checks have found, where it has some; [`sight`] does not look.
    pub health: Option<Health>,
}

/// Looks at a container: its lock, then its processes, then how it last ended.
///
/// # Errors
/// If one of its files is there and cannot be read.
pub fn derive(engine: &Engine, record: &Record) -> Result<Look> {
    let mut look = sight(engine, &record.id)?;
    look.health = health(engine, record, &look)?;
    Ok(look)
}

/// [`derive`] by the ID alone.
pub(crate) fn sight(engine: &Engine, id: &str) -> Result<Look> {
    look(engine, &mut Reader::new(engine), id)
}

/// [`sight`], by the files that `files` reads.
pub(crate) fn look(engine: &Engine, files: &mut Reader<'_>, id: &str) -> Result<Look> {
    // The lock is looked at before the state: a monitor that ends meanwhile has written `exit.json` by then.
    let monitored = files.is_locked(id)?;
    let live = files.live(id)?;
    if let Some(live) = live {
        let alive = alive(live.pid, live.start_ticks);
        // The lock may also be held by a command that starts or removes the container after its monitor was killed:
        // then the state is a leftover.
        if alive || (monitored && exists(live.monitor_pid)) {
            let status = match alive {
                true if is_frozen(&live) => Status::Paused,
                true => Status::Running,
                false if live.restarting => Status::Restarting,
                // Its process has ended and its monitor is about to say so.
                false => Status::Running,
            };
            let exit = files.exit(id)?;
            return Ok(Look {
                status,
                live: Some(live),
                exit,
                monitored,
                health: None,
            });
        }
        let exit = end(engine, id, Some(&live))?;
        return Ok(at_rest_as(Some(exit), monitored));
    }
    let exit = files.exit(id)?;
    let exit = match exit {
        // Being started, it is not running yet, and whatever ended before is no longer its state.
        None if !monitored && files.has(Place::Data, id, WORK) => Some(end(engine, id, None)?),
        // The host went down while it ran.
        Some(exit) if !monitored && !exit.started_again.is_empty() => Some(end(engine, id, None)?),
        exit => exit,
    };
    Ok(at_rest_as(exit, monitored))
}

/// [`sight`] of a container that had no folder in the run root a moment ago, so that there is no lock and no state to
/// look at. `None` where that is not enough to tell: it was started and nobody wrote down how it ended, or it was started
/// for the first time since.
///
/// # Errors
/// As [`sight`].
pub(crate) fn at_rest(files: &mut Reader<'_>, id: &str) -> Result<Option<Look>> {
    let exit = files.exit(id)?;
    let unseen = match &exit {
        None => files.has(Place::Data, id, WORK),
        Some(exit) => !exit.started_again.is_empty(),
    };
    Ok((!unseen).then(|| at_rest_as(exit, false)))
}

/// A container that does not run and has ended in this way.
fn at_rest_as(exit: Option<LastExit>, monitored: bool) -> Look {
    Look {
        status: ended(exit.as_ref()),
        live: None,
        exit,
        monitored,
        health: None,
    }
}

/// What the health checks of a container have found; `None` where it has none.
///
/// # Errors
/// If it is there and cannot be read.
pub(crate) fn health(engine: &Engine, record: &Record, look: &Look) -> Result<Option<Health>> {
    let test = record.config.healthcheck.as_ref().and_then(|check| check.test.first());
    if test.is_none_or(|kind| kind == "NONE") {
        return Ok(None);
    }
    let starting = || Health {
        status: "starting".to_owned(),
        ..Health::default()
    };
    let folder = match look.live {
        Some(_) => engine.container_run(&record.id),
        None if look.exit.is_none() => return Ok(None),
        None => engine.container_dir(&record.id),
    };
    Ok(Some(
        read(&folder.join(hull_monitor::HEALTH_FILE))?.unwrap_or_else(starting),
    ))
}

/// Whether a running container is paused: what its cgroup says, however the command ended that paused it.
fn is_frozen(live: &LiveState) -> bool {
    frozen(&cgroups(live)) != Freeze::Thawed
}

/// The cgroups of a running container.
pub(crate) fn cgroups(live: &LiveState) -> Vec<PathBuf> {
    live.cgroups.iter().map(PathBuf::from).collect()
}

/// The status of a container that does not run. One whose start failed has an exit code and an error but has never run:
/// Docker calls it created.
fn ended(exit: Option<&LastExit>) -> Status {
    match exit {
        Some(exit) if elapsed::moment(&exit.started_at).is_some() || exit.error.is_empty() => Status::Exited,
        _ => Status::Created,
    }
}

/// How a container ended that runs no more: as its monitor wrote it, or, where that was killed first, unseen.
fn end(engine: &Engine, id: &str, live: Option<&LiveState>) -> Result<LastExit> {
    let dir = engine.container_dir(id);
    let written: Option<LastExit> = read(&dir.join("exit.json"))?;
    let started_at = match (live, &written) {
        (Some(live), _) => live.started_at.clone(),
        (None, Some(exit)) => exit.started_again.clone(),
        (None, None) => String::new(),
    };
    // The two are compared as they stand: which is the later cannot be told, as the clock may have jumped.
    let of_this_run = |exit: &LastExit| match live {
        Some(live) => exit.started_at == live.started_at,
        None => exit.started_again.is_empty(),
    };
    if let Some(exit) = written.filter(of_this_run) {
        return Ok(exit);
    }
    // The last thing that is known of it is when it last wrote to its log or its files.
    let log = |form: &str| dir.join(format!("{id}-{form}.log"));
    let last = [log("json"), log("local"), dir.join("upper"), dir.clone()]
        .iter()
        .filter_map(|path| fs::metadata(path).ok())
        .filter_map(|m| jiff::Timestamp::new(m.mtime(), i32::try_from(m.mtime_nsec()).ok()?).ok())
        .chain(elapsed::moment(&started_at))
        .max();
    Ok(LastExit {
        exit_code: UNSEEN,
        finished_at: last.map(|t| t.to_string()).unwrap_or_default(),
        started_at,
        ..LastExit::default()
    })
}

/// What overlayfs makes at the first mount: where it is, the container was started.
const WORK: &str = "work/work";

/// Whether somebody holds the exclusive lock at `path`.
///
/// The test takes a shared lock for the time of one system call: lookers do not disturb one another, and a monitor that
/// takes its lock at that instant has to wait (`LOCK_EX` without `LOCK_NB`), which it does anyway.
///
/// # Errors
/// If the file is there and cannot be opened.
pub fn held(path: &Path) -> Result<bool> {
    let read = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(read(e)),
    };
    reader::is_held(&file).map_err(|errno| read(errno.into()))
}

/// Whether process `pid` is the one that started `start_ticks` after boot, and has not ended.
#[must_use]
pub fn alive(pid: i32, start_ticks: u64) -> bool {
    stat(pid).is_some_and(|(state, ticks)| !is_over(state) && ticks == start_ticks)
}

/// Whether there is a process of this number that has not ended.
fn exists(pid: i32) -> bool {
    stat(pid).is_some_and(|(state, _)| !is_over(state))
}

fn is_over(state: u8) -> bool {
    matches!(state, b'Z' | b'X')
}

fn stat(pid: i32) -> Option<(u8, u64)> {
    if pid <= 0 {
        return None;
    }
    let mut buffer = [0; 1024];
    let n = File::open(format!("/proc/{pid}/stat"))
        .and_then(|mut f| f.read(&mut buffer))
        .ok()?;
    parse_stat(&buffer[..n])
}

/// State and start time (fields 3 and 22) of `/proc/PID/stat`. The process's name, field 2, may hold anything, so the
/// fields are counted from its last parenthesis.
fn parse_stat(bytes: &[u8]) -> Option<(u8, u64)> {
    let name_end = bytes.iter().rposition(|&b| b == b')')?;
    let mut fields = bytes.get(name_end + 2..)?.split(|&b| b == b' ');
    let state = *fields.next()?.first()?;
    let ticks = fields.nth(18)?;
    Some((state, std::str::from_utf8(ticks).ok()?.trim_end().parse().ok()?))
}

/// Reads a JSON file; `None` where it is missing.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|source| Error::Damaged {
                path: path.to_owned(),
                source,
            }),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(source) => Err(Error::Read {
            path: path.to_owned(),
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{FlockOperation, flock};

    use super::*;

    #[test]
    fn stat_lines_are_read() {
        let line = |name: &str, state: char| {
            format!(
                "42 ({name}) {state} 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1000 2 18446744073709551615"
            )
        };
        for name in ["sleep", "a) R 1 (b", "a b", "", ")"] {
            assert_eq!(parse_stat(line(name, 'S').as_bytes()), Some((b'S', 98765)), "{name}");
        }
        for bad in [
            "",
            "42 (x)",
            "42 (x) S 1 2",
            "42 (x) S a a a a a a a a a a a a a a a a a a x",
        ] {
            assert_eq!(parse_stat(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn a_process_is_known_by_its_start() {
        let own = i32::try_from(std::process::id()).unwrap();
        let (_, ticks) = stat(own).unwrap();
        assert!(alive(own, ticks) && exists(own));
        assert!(!alive(own, ticks + 1));
        assert!(!alive(0, 0) && !exists(0) && !exists(-1) && !exists(i32::MAX));
    }

    #[test]
    fn a_held_lock_is_seen_and_a_look_leaves_it_free() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        assert!(!held(&path).unwrap());
        let file = File::create(&path).unwrap();
        assert!(!held(&path).unwrap());
        flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
        assert!(held(&path).unwrap());
        drop(file);
        assert!(!held(&path).unwrap());
        let other = File::open(&path).unwrap();
        flock(&other, FlockOperation::NonBlockingLockExclusive).unwrap();
    }
}
