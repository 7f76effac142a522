//! `image prune`.

use std::collections::{BTreeMap, BTreeSet};

use hull_spec::event::Kind;
use hull_spec::{Digest, ErrorKind};
use hull_store::image::{Removed, Summary};
use hull_store::{Access, gc, image};

use super::{remove, users};
use crate::container::tree_size;
use crate::filter::Filters;
use crate::{Engine, Result, elapsed, event};

/// Which images go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PruneRequest {
    /// `dangling` (true unless given), `until`, `label` and `label!`.
    pub filters: Filters,
}

/// What went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Names, images and layers, as `rmi` tells them.
    pub removed: Vec<Removed>,
    /// Bytes of the layers, unpacked.
    pub bytes: u64,
}

/// Removes the images that no container uses: those without a tag, or with `dangling=false` all; and every blob and layer
/// that no image has.
///
/// # Errors
/// Filters that mean nothing; what cannot be removed.
pub fn prune(engine: &Engine, request: &PruneRequest) -> Result<Pruned> {
    let filters = &request.filters;
    filters.only(&["dangling", "until", "label", "label!"])?;
    let dangling = filters.flag("dangling")?.unwrap_or(true);
    let until = filters.until()?;
    let used: BTreeSet<Digest> = users(engine)?.into_iter().map(|user| user.image).collect();
    let mut out = Pruned::default();
    let mut sizes = BTreeMap::new();
    for found in image::list(engine.store(Access::Read)?)? {
        let config = &found.image.config;
        let created = config.created.as_deref().and_then(elapsed::moment).unwrap_or_default();
        let labels = config.config.as_ref().map(|c| c.labels.clone()).unwrap_or_default();
        let asked = until.is_none_or(|until| created <= until)
            && filters.labels(&labels)
            && filters.labels_not(&labels)
            && (!dangling || found.tags.is_empty());
        if !asked || used.contains(&found.image.id) {
            continue;
        }
        for chain in &found.image.layers {
            if !sizes.contains_key(chain) {
                let path = engine.store(Access::Read)?.layer_path(chain);
                sizes.insert(chain.clone(), tree_size(&path));
            }
        }
        out.removed.extend(remove_all(engine, &found)?);
    }
    let layers = out.removed.iter().filter_map(|one| match one {
        Removed::Deleted(digest) => sizes.get(digest),
        Removed::Untagged(_) => None,
    });
    out.bytes = layers.sum();
    // What broke off pulls and the like have left, whatever the filters say: it is of no image.
    out.bytes += gc::sweep(engine.store(Access::Write)?, || users(engine))?.bytes;
    event::pruned(engine, Kind::Image, out.bytes);
    Ok(out)
}

/// Removes an image name by name: by force it would go from under a container that was made meanwhile.
fn remove_all(engine: &Engine, found: &Summary) -> Result<Vec<Removed>> {
    let mut out = Vec::new();
    let mut names: Vec<String> = found
        .tags
        .iter()
        .chain(&found.digests)
        .map(ToString::to_string)
        .collect();
    if names.is_empty() {
        names.push(found.image.id.to_string());
    }
    for name in names {
        match remove(engine, &name, false) {
            Ok(removed) => out.extend(removed),
            // The last tag takes the digests with it; and a container may have come to need the image.
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::Conflict) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(out)
}
