//! `rm`.

use hull_spec::container::Record;
use hull_store::Access;

use super::{find, kill, lock, recover, status, stop};
use crate::{Engine, Error, Result, event, pod, volume};

/// How a container is removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemoveRequest {
    /// Kill it first if it runs.
    pub force: bool,
    /// Remove its anonymous volumes too.
    pub volumes: bool,
}

/// Removes a container. What other containers' killed monitors left is not looked for: see [`super::recover`].
///
/// # Errors
/// No such container; [`Error::Running`] without `force`.
pub fn remove(engine: &Engine, name: &str, request: &RemoveRequest) -> Result<()> {
    let record = find(engine, name)?;
    pod::refuse_infra(engine, &record)?;
    remove_of_pod(engine, &record.id, request)
}

/// [`remove`], of a container whose pod is removed, too.
pub(crate) fn remove_of_pod(engine: &Engine, name: &str, request: &RemoveRequest) -> Result<()> {
    let record = find(engine, name)?;
    let lock = seize(engine, &record, request.force)?;
    let removed = lock.is_some();
    if removed {
        recover::clear(engine, &record)?;
        hull_monitor::remove_files(&engine.container_dir(&record.id), &engine.names().join(&record.name))?;
        hull_monitor::remove_run(&engine.container_run(&record.id))?;
    }
    volume::release(engine, &record, request.volumes || record.host_config.auto_remove)?;
    if removed {
        event::container(engine, &record, "destroy", &[]);
    }
    free_image(engine, &record)
}

/// Takes the lock of a container that is to be removed, ending what runs if that is wanted. `None` where the container is
/// gone by then: it was to be removed at its end, or another command was first.
fn seize(engine: &Engine, record: &Record, force: bool) -> Result<Option<std::fs::File>> {
    for _ in 0..ATTEMPTS {
        let look = status::derive(engine, record)?;
        if let Some(live) = &look.live {
            if !force {
                return Err(Error::Running {
                    id: record.id.clone(),
                    name: record.name.clone(),
                    status: look.status,
                });
            }
            kill::halt(engine, record, hull_monitor::Halt::Asked)?;
            stop::end(engine, record, live, 9, 0)?;
        }
        if !find::exists(engine, &record.id) {
            return Ok(None);
        }
        if let Some(lock) = lock::take(engine, &record.id)? {
            if !find::exists(engine, &record.id) {
                // Taking the lock has made its folder anew.
                let _ = hull_monitor::remove_run(&engine.container_run(&record.id));
                return Ok(None);
            }
            if status::derive(engine, record)?.live.is_none() {
                return Ok(Some(lock));
            }
            // It runs without a monitor.
        } else if !force {
            break;
        } else {
            // Being started, perhaps: then it is ended next.
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
    Err(Error::Busy { id: record.id.clone() })
}

/// How often a container is ended anew that others start at the same time.
const ATTEMPTS: usize = 200;

/// Frees the layers of an image that was removed by force while this container still used it.
fn free_image(engine: &Engine, record: &Record) -> Result<()> {
    // An infra container is of no image.
    let no_image = record.layers.is_empty() && record.pod.is_some();
    if no_image
        || !engine.data.join("hull.db").exists()
        || hull_store::image::exists(engine.store(Access::Read)?, &record.image_id)?
    {
        return Ok(());
    }
    hull_store::gc::sweep(engine.store(Access::Write)?, || crate::image::users(engine))?;
    Ok(())
}
