//! `start`: from a record to a monitor with a running container.

use std::os::unix::net::UnixStream;

use hull_monitor::{Launch, Places, Probe};
use hull_spec::container::{Record, Status};

use super::{describe, find, lock, recover, status, stop};
use crate::{Engine, Error, Result, event, pod, volume};

/// How a container is started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StartRequest {
    /// Whether the caller gets a connection to its streams, from the first byte on.
    pub attach: bool,
}

/// A started container.
#[derive(Debug)]
pub struct Started {
    /// The connection that was asked for: frames of [`hull_monitor::frame`].
    pub attach: Option<UnixStream>,
}

/// Starts a container; one that runs already is left alone, as Docker does.
///
/// # Errors
/// No such container; whatever keeps it from running, with Docker's exit codes ([`Error::exit_code`]).
pub fn start(engine: &Engine, name: &str, request: &StartRequest) -> Result<Started> {
    let seen = find::version(engine, &find::find_id(engine, name)?);
    let mut record = find(engine, name)?;
    let Some(lock) = idle(engine, &record)? else {
        return running(engine, &record, request);
    };
    if find::version(engine, &record.id) != seen {
        // Changed or removed before the lock was ours.
        record = find::load(engine, &record.id).inspect_err(|_| {
            // The lock has made it; nothing else is there.
            let _ = hull_monitor::remove_run(&engine.container_run(&record.id));
        })?;
    }
    let look = status::derive(engine, &record)?;
    if look.live.is_some() {
        refuse_paused(&look)?;
        // It runs without a monitor.
        drop(lock);
        recover::adopt(engine, &record)?;
        return running(engine, &record, request);
    }
    recover::clear(engine, &record)?;
    pod::before_start(engine, &record)?;
    let (ours, theirs) = if request.attach {
        let (a, b) = UnixStream::pair().map_err(|source| Error::Write {
            path: "a socket pair".into(),
            source,
        })?;
        (Some(a), Some(b))
    } else {
        (None, None)
    };
    let launch = plan(engine, &record, lock, theirs)?;
    hull_monitor::spawn(launch).map_err(|e| Error::Start {
        id: record.id.clone(),
        source: Box::new(e),
    })?;
    Ok(Started { attach: ours })
}

/// The lock of a container that does not run; `None` where it runs. A command that copies its files or makes an image of
/// it is waited for, and so is one that is just starting it.
fn idle(engine: &Engine, record: &Record) -> Result<Option<std::fs::File>> {
    let started = std::time::Instant::now();
    loop {
        if let Some(lock) = lock::take(engine, &record.id)? {
            return Ok(Some(lock));
        }
        if status::derive(engine, record)?.live.is_some() {
            return Ok(None);
        }
        if started.elapsed() > lock::PATIENCE {
            return Err(Error::Busy { id: record.id.clone() });
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

/// A monitor or another command has the container.
fn running(engine: &Engine, record: &Record, request: &StartRequest) -> Result<Started> {
    refuse_paused(&status::derive(engine, record)?)?;
    let attach = if request.attach {
        Some(super::attach(engine, &record.id)?)
    } else {
        None
    };
    Ok(Started { attach })
}

fn refuse_paused(look: &status::Look) -> Result<()> {
    if look.status == Status::Paused {
        return Err(Error::State(
            "cannot start a paused container, try unpause instead".to_owned(),
        ));
    }
    Ok(())
}

/// What a monitor starts a container with again, whose lock it holds.
///
/// # Errors
/// If its record is gone or what it asks for cannot be had any more.
pub fn relaunch(engine: &Engine, id: &str, lock: std::fs::File) -> Result<Launch> {
    let record = find::load(engine, id)?;
    plan(engine, &record, lock, None)
}

/// How the health of container `id` is checked, if it is.
///
/// # Errors
/// If its record is gone or its check cannot be run.
pub fn probe(engine: &Engine, id: &str) -> Result<Option<Probe>> {
    let record = find::load(engine, id)?;
    let Some(check) = record.config.healthcheck.clone() else {
        return Ok(None);
    };
    let shell = record.config.shell.clone().filter(|shell| !shell.is_empty());
    let shell = || shell.unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned()]);
    let cmd = match check.test.split_first() {
        Some((kind, args)) if kind == "CMD" && !args.is_empty() => args.to_vec(),
        Some((kind, args)) if kind == "CMD-SHELL" && !args.is_empty() => {
            shell().into_iter().chain(args.iter().cloned()).collect()
        }
        _ => return Ok(None),
    };
    let asked = describe::Exec {
        cmd: &cmd,
        env: &[],
        user: None,
        cwd: None,
        tty: false,
        privileged: false,
    };
    let timeout = record.config.stop_timeout.unwrap_or(stop::TIMEOUT);
    Ok(Some(Probe {
        check,
        process: describe::exec_process(&record, &asked)?,
        on_failure: record.host_config.health_on_failure.clone(),
        stop_signal: stop::own_signal(&record)?,
        stop_timeout: u64::try_from(timeout).ok().map(std::time::Duration::from_secs),
    }))
}

fn plan(engine: &Engine, record: &Record, lock: std::fs::File, attach: Option<UnixStream>) -> Result<Launch> {
    let run = engine.container_run(&record.id);
    let network = describe::network(engine, record)?;
    describe::write_files(engine, record, &run)?;
    let (container, cgroups, cgroups_optional) = describe::container(engine, record, &run)?;
    describe::ready_sources(record, &container)?;
    Ok(Launch {
        id: record.id.clone(),
        container,
        cgroups,
        cgroups_optional,
        network,
        places: Places {
            data: engine.container_dir(&record.id),
            name: engine.names().join(&record.name),
            run,
            lock,
        },
        log: describe::log(engine, record)?,
        open_stdin: record.config.open_stdin,
        stdin_once: record.config.stdin_once,
        attach,
        auto_remove: record.host_config.auto_remove,
        own_mounts_only: record.mounts.is_empty(),
        restarts: 0,
        resident: engine.resident_arguments(),
        uses: volume::used(engine, record),
        file_systems: describe::file_systems(engine, record)?,
        volumes: if record.host_config.auto_remove {
            volume::anonymous(engine, record)
        } else {
            Vec::new()
        },
        subject: event::subject(engine, record),
    })
}
