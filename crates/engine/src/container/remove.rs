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
    let look = status::derive(engine, &record)?;
    if let Some(live) = &look.live {
        if !request.force {
            return Err(Error::Running {
                id: record.id,
                name: record.name,
                status: look.status,
            });
        }
        kill::halt(engine, &record, hull_monitor::Halt::Asked)?;
        stop::end(engine, &record, live, 9, 0)?;
    }
    // A container that was to be removed at its end is gone by now.
    let removed = find::exists(engine, &record.id);
    if removed {
        let Some(_lock) = lock::take(engine, &record.id)? else {
            return Err(Error::Busy { id: record.id });
        };
        if status::derive(engine, &record)?.live.is_some() {
            return Err(Error::Running {
                id: record.id,
                name: record.name,
                status: look.status,
            });
        }
        recover::clear(engine, &record)?;
        hull_monitor::remove_files(&engine.container_dir(&record.id), &engine.names().join(&record.name))?;
        let run = engine.container_run(&record.id);
        match std::fs::remove_dir_all(&run) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::Write { path: run, source });
            }
            _ => {}
        }
    }
    if request.volumes || record.host_config.auto_remove {
        volume::remove_all_anonymous(engine, &record)?;
    }
    if removed {
        event::container(engine, &record, "destroy", &[]);
    }
    free_image(engine, &record)
}

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
