//! What names meant when they were last looked up: `ROOT/resolved/HEX`, one small file a name.
//!
//! Opening the index for one name costs several times what all of a container's mounts cost, so a reader remembers what
//! it found. The memory is believed only while the index is the very file that it was read from, unchanged: the file
//! says of which inode, size and time. A change in the same instant as the last one would not show in these, so nothing
//! is remembered of an index that was changed less than [`QUIET`] ago. Whoever changes the index forgets all.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use hull_spec::Digest;
use hull_spec::image::ImageConfig;
use serde::{Deserialize, Serialize};

use super::Image;
use crate::Store;

/// How long the index must have been left alone.
const QUIET: Duration = Duration::from_secs(2);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

#[derive(Serialize, Deserialize)]
struct Remembered {
    stamp: Stamp,
    asked: String,
    id: Digest,
    manifest: Digest,
    config: ImageConfig,
    layers: Vec<Digest>,
    blobs: Vec<Digest>,
    size: u64,
    name: Option<String>,
}

/// The state of the index; `None` where it is missing or has a log, whose content its file does not show.
fn stamp(store: &Store) -> Option<(Stamp, SystemTime)> {
    let log = fs::metadata(store.dir("hull.db-wal"));
    if log.is_ok_and(|log| log.len() > 0) {
        return None;
    }
    let index = fs::metadata(store.dir("hull.db")).ok()?;
    let stamp = Stamp {
        inode: index.ino(),
        size: index.len(),
        modified: (index.mtime(), index.mtime_nsec()),
        changed: (index.ctime(), index.ctime_nsec()),
    };
    Some((stamp, index.modified().ok()?))
}

fn path(store: &Store, asked: &str) -> PathBuf {
    store
        .dir("resolved")
        .join(crate::digest(hull_spec::Algorithm::Sha256, asked.as_bytes()).hex())
}

/// What `asked` means, if that is remembered and still true.
pub(super) fn recall(store: &Store, asked: &str) -> Option<Image> {
    let bytes = fs::read(path(store, asked)).ok()?;
    let found: Remembered = serde_json::from_slice(&bytes).ok()?;
    let (now, _) = stamp(store)?;
    if found.stamp != now || found.asked != asked {
        return None;
    }
    Some(Image {
        id: found.id,
        manifest: found.manifest,
        config: found.config,
        layers: found.layers,
        blobs: found.blobs,
        size: found.size,
        name: match found.name {
            Some(name) => Some(name.parse().ok()?),
            None => None,
        },
    })
}

/// Remembers what `asked` means. `before` is what [`begin`] gave before the index was asked. A memory that cannot be
/// kept is none: nobody depends on it.
pub(super) fn remember(store: &Store, asked: &str, image: &Image, before: Option<Beginning>) {
    let Some(Beginning(stamp)) = before else { return };
    let found = Remembered {
        stamp,
        asked: asked.to_owned(),
        id: image.id.clone(),
        manifest: image.manifest.clone(),
        config: image.config.clone(),
        layers: image.layers.clone(),
        blobs: image.blobs.clone(),
        size: image.size,
        name: image.name.as_ref().map(ToString::to_string),
    };
    let Ok(bytes) = serde_json::to_vec(&found) else { return };
    let path = path(store, asked);
    let new = path.with_extension(format!("new-{}", std::process::id()));
    let written = fs::write(&new, &bytes).or_else(|_| {
        fs::create_dir(store.dir("resolved"))?;
        fs::write(&new, &bytes)
    });
    if written.and_then(|()| fs::rename(&new, &path)).is_err() {
        let _ = fs::remove_file(&new);
    }
}

/// The index as it was before it was asked.
pub(super) struct Beginning(Stamp);

/// Looks at the index before it is asked; `None` where nothing is to be remembered.
pub(super) fn begin(store: &Store) -> Option<Beginning> {
    let (stamp, modified) = stamp(store)?;
    let quiet = modified.elapsed().is_ok_and(|age| age >= QUIET);
    quiet.then_some(Beginning(stamp))
}

/// Forgets all: the index has changed.
pub(crate) fn forget(store: &Store) {
    // What stays is not believed, and overwritten.
    let _ = fs::remove_dir_all(store.dir("resolved"));
}
