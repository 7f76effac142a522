//! Snapshots: a chain of layers, ready to be mounted.

use std::path::PathBuf;

use hull_spec::Digest;

use crate::Store;

/// The directories of a chain of layers as overlayfs wants them: topmost first. `chain` is lowest first, as
/// [`crate::image::Image::layers`] has it. An image without layers is mounted from one empty directory.
#[must_use]
pub fn lower(store: &Store, chain: &[Digest]) -> Vec<PathBuf> {
    if chain.is_empty() {
        return vec![store.dir("layers/empty/fs")];
    }
    chain
        .iter()
        .rev()
        .map(|chain| {
            let mut path = store.layer_path(chain);
            path.push("fs");
            path
        })
        .collect()
}
