//! What happens to containers when the host starts and when it goes down. There is no daemon to see either: a unit of the
//! host's own init runs these.

use hull_monitor::Halt;
use hull_spec::container::Record;

use crate::container::{self, StartRequest, status};
use crate::{Engine, Error, Result};

/// What became of the containers.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The names of those that were started, or stopped.
    pub done: Vec<String>,
    /// The names of those that could not be, and why.
    pub failed: Vec<(String, Error)>,
}

/// Makes the containers' state true after a boot, or after anything else that has ended hull's processes: gives those that
/// run without a monitor a new one, writes down the end of those that have ended unseen, and starts those that their
/// restart policy wants to run.
///
/// # Errors
/// If the list of containers cannot be read. That one container fails keeps no other from its start.
pub fn boot(engine: &Engine) -> Result<Outcome> {
    let mut wanted = Vec::new();
    for id in container::ids(engine)? {
        // Removed since it was listed, or damaged: not ours to judge.
        let Ok(record) = container::load(engine, &id) else {
            continue;
        };
        if wants_to_run(engine, &record)? {
            wanted.push(record);
        }
    }
    container::recover(engine)?;
    let mut outcome = Outcome::default();
    for record in wanted {
        match container::start(engine, &record.id, &StartRequest::default()) {
            Ok(_) => outcome.done.push(record.name),
            Err(Error::NoSuchContainer { .. }) => {}
            Err(e) => outcome.failed.push((record.name, e)),
        }
    }
    Ok(outcome)
}

/// Whether a container that does not run is to be started: Docker's rules at the start of its daemon.
fn wants_to_run(engine: &Engine, record: &Record) -> Result<bool> {
    let look = status::derive(engine, record)?;
    let Some(exit) = look.exit.filter(|_| look.live.is_none() && !look.monitored) else {
        return Ok(false);
    };
    let policy = &record.host_config.restart_policy;
    // Docker starts these at its own start whoever has stopped them.
    Ok(policy.name == "always" || hull_monitor::wants_restart(policy, &exit))
}

/// Stops all running containers for the host's end: at its next boot their policies hold as if they had run on.
///
/// # Errors
/// If the list of containers cannot be read.
pub fn shutdown(engine: &Engine) -> Result<Outcome> {
    let mut running = Vec::new();
    for id in container::ids(engine)? {
        let Ok(record) = container::load(engine, &id) else {
            continue;
        };
        if status::derive(engine, &record)?.live.is_some() {
            running.push(record);
        }
    }
    // All at once: each may take its time, and the host has little.
    let results: Vec<(String, Result<()>)> = std::thread::scope(|scope| {
        let stops: Vec<_> = running
            .into_iter()
            .map(|record| {
                let engine = engine.again();
                let name = record.name.clone();
                (
                    name,
                    scope.spawn(move || container::stop_for(&engine, record, Halt::Shutdown)),
                )
            })
            .collect();
        let joined = |stop: std::thread::ScopedJoinHandle<'_, Result<()>>| {
            stop.join()
                .unwrap_or_else(|_| Err(Error::Invalid("the stop was interrupted".to_owned())))
        };
        stops.into_iter().map(|(name, stop)| (name, joined(stop))).collect()
    });
    let mut outcome = Outcome::default();
    for (name, result) in results {
        match result {
            Ok(()) | Err(Error::NoSuchContainer { .. }) => outcome.done.push(name),
            Err(e) => outcome.failed.push((name, e)),
        }
    }
    Ok(outcome)
}
