//! `volume prune`.

use hull_monitor::volume::{Removal, users};
use hull_spec::event::Kind;

use super::about::{self, ANONYMOUS, folder};
use super::remove::gone;
use crate::container::tree_size;
use crate::filter::Filters;
use crate::{Engine, Error, Result, event};

/// Which volumes go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PruneRequest {
    /// `all`, `label` and `label!`.
    pub filters: Filters,
}

/// What went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// The volumes' names.
    pub names: Vec<String>,
    /// Bytes that they held.
    pub bytes: u64,
}

/// Removes the volumes that no container uses: those without a name of their own, or all.
///
/// # Errors
/// Filters that mean nothing; what cannot be removed.
pub fn prune(engine: &Engine, request: &PruneRequest) -> Result<Pruned> {
    let filters = &request.filters;
    filters.only(&["all", "label", "label!"])?;
    let all = filters.flag("all")?.unwrap_or(false);
    super::sweep(engine);
    let mut out = Pruned::default();
    for name in about::names(engine)? {
        let about = match about::load(engine, &name) {
            Ok(about) => about,
            Err(Error::NoSuchVolume { .. }) => continue,
            Err(e) => return Err(e),
        };
        let labels = about.labels.unwrap_or_default();
        if !(all || labels.contains_key(ANONYMOUS)) || !filters.labels(&labels) || !filters.labels_not(&labels) {
            continue;
        }
        let folder = folder(engine, &name);
        if !users(&folder, true)?.is_empty() {
            continue;
        }
        let bytes = tree_size(&folder.join("_data"));
        if let Removal::Done(_) = gone(engine, &name)? {
            out.names.push(name);
            out.bytes += bytes;
        }
    }
    event::pruned(engine, Kind::Volume, out.bytes);
    Ok(out)
}
