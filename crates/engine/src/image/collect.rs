//! Collection by itself: whoever adds an image also sees to it that what nothing refers to does not fill the disk.

use std::fs::File;
use std::time::{Duration, SystemTime};

use hull_spec::event::Kind;
use hull_store::Access;
use hull_store::gc::{Budget, Collected, collect};

use super::users;
use crate::{Engine, Error, Result, event};

/// How often it is looked at all: what is added in between is less than a day old and stays in any case.
const PAUSE: Duration = Duration::from_secs(3600);
/// Nothing younger is taken.
const AGE: Duration = Duration::from_secs(24 * 3600);

/// Keeps the budget of the configuration's `[gc]`. Returns what was taken away; `None` where there was no need to look.
///
/// # Errors
/// If the configuration cannot be used, or the store says so.
pub fn tidy(engine: &Engine) -> Result<Option<Collected>> {
    let gc = &engine.config()?.gc;
    let stamp = engine.data.join("gc.stamp");
    let looked = stamp.metadata().and_then(|meta| meta.modified());
    let recently = looked.is_ok_and(|time| SystemTime::now().duration_since(time).is_ok_and(|age| age < PAUSE));
    if !gc.enabled || recently {
        return Ok(None);
    }
    let failed = |source| Error::Write {
        path: stamp.clone(),
        source,
    };
    // Before the work: one that fails is not tried again by each command.
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&stamp)
        .map_err(failed)?;
    file.set_modified(SystemTime::now()).map_err(failed)?;
    let budget = Budget {
        keep: gc.keep.0,
        free: gc.free.0,
        age: AGE,
    };
    let out = collect(engine.store(Access::Write)?, &budget, || users(engine))?;
    for id in &out.images {
        event::image(engine, "delete", id.as_str(), id.as_str(), None);
    }
    if out.bytes > 0 {
        event::pruned(engine, Kind::Image, out.bytes);
    }
    Ok(Some(out))
}
