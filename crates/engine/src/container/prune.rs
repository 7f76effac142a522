//! `container prune`.

use hull_spec::ErrorKind;
use hull_spec::event::Kind;

use super::{RemoveRequest, find, ids, load, remove, status, tree_size};
use crate::filter::Filters;
use crate::{Engine, Error, Result, elapsed, event};

/// Which containers go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PruneRequest {
    /// `until`, `label` and `label!`.
    pub filters: Filters,
}

/// What went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// The containers' IDs, newest first.
    pub ids: Vec<String>,
    /// Bytes of their own layers.
    pub bytes: u64,
}

/// Removes the containers that do not run. Their volumes stay.
///
/// # Errors
/// Filters that mean nothing; what cannot be removed.
pub fn prune(engine: &Engine, request: &PruneRequest) -> Result<Pruned> {
    let filters = &request.filters;
    filters.only(&["until", "label", "label!"])?;
    let until = filters.until()?;
    let mut found = Vec::new();
    for id in ids(engine)? {
        let record = match load(engine, &id) {
            Ok(record) => record,
            // Its creation or removal is under way.
            Err(Error::NoSuchContainer { .. }) => continue,
            Err(e) => return Err(e),
        };
        if record.pod.is_some() && record.layers.is_empty() {
            // It holds a pod together and goes with it.
            continue;
        }
        let created = elapsed::moment(&record.created).unwrap_or_default();
        let labels = &record.config.labels;
        let asked = until.is_none_or(|until| created <= until) && filters.labels(labels) && filters.labels_not(labels);
        if asked && status::derive(engine, &record)?.live.is_none() {
            found.push((created, id));
        }
    }
    found.sort();
    let mut out = Pruned::default();
    for (_, id) in found.into_iter().rev() {
        let bytes = tree_size(&engine.container_dir(&id).join("upper"));
        match remove(engine, &id, &RemoveRequest::default()) {
            Ok(()) => {
                out.bytes += bytes;
                out.ids.push(id);
            }
            // Started, or removed by somebody else, meanwhile.
            Err(e) if matches!(e.kind(), ErrorKind::Conflict | ErrorKind::NotFound) || !find::exists(engine, &id) => {}
            Err(e) => return Err(e),
        }
    }
    event::pruned(engine, Kind::Container, out.bytes);
    Ok(out)
}
