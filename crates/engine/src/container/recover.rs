//! Containers whose monitor was killed: their end is written down and what they had on the host is taken away by
//! whichever command comes next.

use std::path::PathBuf;

use hull_monitor::{Keep, Place, Remains, teardown};
use hull_spec::container::{LastExit, LiveState, Record};

use super::{find, lock, status};
use crate::{Engine, Result, event};

/// Clears what an earlier run of this container left on the host. The caller holds its lock and knows that it does not
/// run.
pub(crate) fn clear(engine: &Engine, record: &Record) -> Result<()> {
    let run = engine.container_run(&record.id);
    let live: Option<LiveState> = status::read(&run.join("state.json"))?;
    // A socket of a dead monitor is in the way of the next one's.
    let started = std::fs::remove_file(run.join("attach.sock")).is_ok();
    if live.is_none() && !started {
        return Ok(());
    }
    let left = hull_runtime::cgroup::remove(&cgroups(record, live.as_ref()));
    if let Some((path, errno)) = left.into_iter().next() {
        return Err(crate::Error::Write {
            path,
            source: errno.into(),
        });
    }
    let _ = std::fs::remove_file(run.join("state.json"));
    if let Some(live) = live {
        let exit = LastExit {
            exit_code: status::UNSEEN,
            ..LastExit::default()
        };
        event::subject_of_dead(engine, record, &live).ended(&engine.data, &exit, None);
    }
    free_addresses(engine, Some(&record.id));
    Ok(())
}

/// The cgroups of a container that does not run. A monitor that was killed early had not written them down yet.
fn cgroups(record: &Record, live: Option<&LiveState>) -> Vec<PathBuf> {
    match live {
        Some(live) => live.cgroups.iter().map(PathBuf::from).collect(),
        None => hull_runtime::cgroup::find(super::describe::parent(&record.host_config), &record.id),
    }
}

/// Writes down the end of every container that ended without its monitor, frees what it had, and removes those that
/// were to be removed at their end; then sweeps what killed commands left.
pub fn all(engine: &Engine) -> Result<()> {
    let below = find::ids_below(&engine.run.join("containers"))?;
    let mut dead = Vec::new();
    let mut ended = Vec::new();
    for id in below {
        if status::held(&engine.container_run(&id).join("lock")).unwrap_or(true) {
            continue;
        }
        let Ok(record) = find::load(engine, &id) else {
            // Its files are gone: only what it had on the host is left of it.
            if let Ok(Some(_lock)) = lock::take(engine, &id) {
                hull_runtime::cgroup::remove(&hull_runtime::cgroup::find(super::describe::PARENT, &id));
                let _ = hull_monitor::remove_run(&engine.container_run(&id));
                dead.push(id);
            }
            continue;
        };
        if one(engine, &record)? {
            dead.push(id);
            ended.push(record);
        } else {
            // What keeps one from a new monitor keeps no other command from working.
            let _ = adopt(engine, &record);
        }
    }
    if !dead.is_empty() {
        free_addresses(engine, None);
    }
    // No monitor was there to do it.
    for record in ended.iter().filter(|record| wanted(engine, record)) {
        let _ = super::start(engine, &record.id, &super::StartRequest::default());
    }
    super::create::sweep(engine);
    Ok(())
}

/// Whether a container that has ended without a monitor is to be started again.
fn wanted(engine: &Engine, record: &Record) -> bool {
    // Without the rights over the container, as a user outside of his namespace, it could not be started.
    let look = status::derive(engine, record).ok().filter(|look| look.live.is_none());
    rustix::process::geteuid().is_root()
        && look
            .and_then(|look| look.exit)
            .is_some_and(|exit| hull_monitor::wants_restart(&record.host_config.restart_policy, &exit))
}

/// Gives a container that runs without a monitor a new one.
///
/// # Errors
/// If no monitor can be started. That somebody else has done it, or that the container has ended, is no error.
pub(crate) fn adopt(engine: &Engine, record: &Record) -> Result<()> {
    // Without the rights over the container, as a user outside of his namespace, nothing could be done for it.
    let Some(program) = engine
        .resident_arguments()
        .filter(|_| rustix::process::geteuid().is_root())
    else {
        return Ok(());
    };
    if !engine.container_run(&record.id).join("state.json").exists() {
        return Ok(());
    }
    let Some(lock) = lock::take(engine, &record.id)? else {
        return Ok(());
    };
    let Some(live) = status::derive(engine, record)?.live else {
        return Ok(());
    };
    let settings = super::describe::network_settings(engine);
    let plan = match live.networks.is_empty() {
        true => None,
        false => hull_network::endpoint::find(&settings, &record.id)?,
    };
    let auto_remove = record.host_config.auto_remove;
    let keep = Keep {
        id: record.id.clone(),
        data: engine.container_dir(&record.id),
        run: engine.container_run(&record.id),
        name: engine.names().join(&record.name),
        pid: live.pid,
        cgroups: cgroups(record, Some(&live)),
        log: super::describe::log(engine, record)?,
        network: plan.map(|plan| Place { settings, plan }),
        terminal: record.config.tty,
        stdin_once: record.config.stdin_once,
        auto_remove,
        volumes: if auto_remove {
            crate::volume::anonymous(engine, record)
        } else {
            Vec::new()
        },
        uses: crate::volume::used(engine, record),
        started_at: live.started_at.clone(),
        restarts: live.restarts,
        subject: Some(event::subject_of_dead(engine, record, &live)),
    };
    Ok(hull_monitor::adopt(keep, lock, &live, &program)?)
}

/// Buries one container, if it has died unseen. The result tells whether it had anything on the host.
pub(crate) fn one(engine: &Engine, record: &Record) -> Result<bool> {
    let run = engine.container_run(&record.id);
    if !run.exists() {
        return Ok(false);
    }
    let Some(_lock) = lock::take(engine, &record.id)? else {
        return Ok(false);
    };
    let look = status::derive(engine, record)?;
    if look.live.is_some() {
        return Ok(false);
    }
    let live: Option<LiveState> = status::read(&run.join("state.json"))?;
    let cgroups = cgroups(record, live.as_ref());
    let Some(live) = live else {
        // It was locked, perhaps on its way up, and never ran: how it last ended stays as it is written.
        let left = hull_runtime::cgroup::remove(&cgroups);
        if left.is_empty() {
            let _ = hull_monitor::remove_run(&run);
        }
        return Ok(true);
    };
    let name = engine.names().join(&record.name);
    let remains = Remains {
        data: &engine.container_dir(&record.id),
        run: &run,
        cgroups: &cgroups,
        remove: record.host_config.auto_remove.then_some(name.as_path()),
    };
    let mut exit = look.exit.unwrap_or_else(|| LastExit {
        exit_code: status::UNSEEN,
        started_at: live.started_at.clone(),
        ..LastExit::default()
    });
    exit.stopped |= hull_monitor::halted(&run) == Some(hull_monitor::Halt::Asked);
    let mut gone = None;
    if let Some(trash) = teardown(&remains, &exit)? {
        hull_monitor::purge(&trash)?;
        crate::volume::release(engine, record, true)?;
        // The volumes have told of themselves.
        gone = Some(&[][..]);
    }
    event::subject_of_dead(engine, record, &live).ended(&engine.data, &exit, gone);
    Ok(true)
}

/// Frees addresses and ports of containers that do not run; `dead` is one whose lock the caller holds.
pub(crate) fn free_addresses(engine: &Engine, dead: Option<&str>) {
    let alive = |id: &str| {
        if dead == Some(id) {
            return false;
        }
        // Whoever holds the lock lives, and so does a container that runs without a monitor.
        status::sight(engine, id).map_or(true, |look| look.monitored || look.live.is_some())
    };
    // What cannot be freed now is tried again by the next command that needs an address.
    let _ = hull_network::endpoint::reap(&super::describe::network_settings(engine), &alive);
}
