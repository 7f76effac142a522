//! `diff`: what a container has changed of its image's files.

use hull_store::change::{self, Change};
use hull_store::{Access, snapshot};

use super::find;
use crate::{Engine, Result};

/// All changes, a folder before what is in it. Works while the container runs, and shows then what is so at this moment.
///
/// # Errors
/// No such container; files that cannot be read.
pub fn changes(engine: &Engine, name: &str) -> Result<Vec<Change>> {
    let record = find(engine, name)?;
    let store = engine.store(Access::Read)?;
    let mut lower = snapshot::lower(store, &record.layers);
    lower.push(engine.base_layer()?);
    let upper = engine.container_dir(&record.id).join("upper");
    Ok(change::changes(&upper, &lower, store.ownership())?)
}
