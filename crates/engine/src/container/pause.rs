//! `pause` and `unpause`.

use std::path::PathBuf;

use hull_runtime::cgroup::{self, Freeze};
use hull_spec::ErrorKind;
use hull_spec::container::{LiveState, Record, Status};

use super::{find, status};
use crate::{Engine, Error, Result, event};

/// Freezes all processes of a running container.
///
/// # Errors
/// No such container; one that does not run, restarts or is paused already; a host without a freezer.
pub fn pause(engine: &Engine, name: &str) -> Result<()> {
    let record = find(engine, name)?;
    let look = status::derive(engine, &record)?;
    let Some(live) = look.live else {
        return Err(Error::NotRunning { id: record.id });
    };
    if look.status == Status::Restarting {
        return Err(Error::State(format!(
            "Container {} is restarting, wait until the container is running",
            record.id
        )));
    }
    let cgroups = status::cgroups(&live);
    // One that is still freezing was left so by a command that was killed: it is frozen now.
    if cgroup::frozen(&cgroups) == Freeze::Frozen {
        return Err(Error::State(format!("Container {} is already paused", record.id)));
    }
    cgroup::freeze(&cgroups).map_err(|e| refused("pause", &record, e))?;
    event::container(engine, &record, "pause", &[]);
    Ok(())
}

/// Lets the processes of a paused container go on.
///
/// # Errors
/// No such container; one that is not paused.
pub fn unpause(engine: &Engine, name: &str) -> Result<()> {
    let record = find(engine, name)?;
    let look = status::derive(engine, &record)?;
    match (look.status, look.live) {
        (Status::Paused, Some(live)) => {
            cgroup::thaw(&status::cgroups(&live)).map_err(|e| refused("unpause", &record, e))?;
            event::container(engine, &record, "unpause", &[]);
            Ok(())
        }
        _ => Err(Error::State(format!("Container {} is not paused", record.id))),
    }
}

/// Lets a container go on that has been sent a signal which it must see to end. One that is not paused, or has ended
/// meanwhile, needs nothing.
pub(crate) fn thaw(engine: &Engine, record: &Record, live: &LiveState) -> Result<()> {
    let cgroups: Vec<PathBuf> = status::cgroups(live);
    if cgroup::frozen(&cgroups) == Freeze::Thawed {
        return Ok(());
    }
    match cgroup::thaw(&cgroups).map_err(|e| refused("unpause", record, e)) {
        Err(Error::NotRunning { .. }) => Ok(()),
        Err(e) => Err(e),
        Ok(()) => {
            event::container(engine, record, "unpause", &[]);
            Ok(())
        }
    }
}

/// A cgroup that is gone was that of a container that has just ended.
fn refused(act: &'static str, record: &Record, error: hull_runtime::Error) -> Error {
    match error.kind() {
        ErrorKind::NotFound => Error::NotRunning { id: record.id.clone() },
        _ => Error::Freeze {
            act,
            id: record.id.clone(),
            source: Box::new(error),
        },
    }
}
