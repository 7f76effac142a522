//! How much of the disk a container takes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use hull_spec::Digest;
use hull_spec::container::Record;

use crate::{Engine, Result, image};

/// Bytes of a container's files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Its own layer.
    pub rw: u64,
    /// All of its layers.
    pub root_fs: u64,
}

/// Sizes of images, each asked for once.
#[derive(Debug, Default)]
pub(crate) struct Layers(BTreeMap<Digest, u64>);

impl Layers {
    /// The sizes of one container.
    pub(crate) fn container(&mut self, engine: &Engine, record: &Record) -> Result<Sizes> {
        let rw = tree(&engine.container_dir(&record.id).join("upper"));
        let image = match self.0.get(&record.image_id) {
            Some(&size) => size,
            None => {
                let size = image::size(engine, &record.image_id, &record.layers)?;
                self.0.insert(record.image_id.clone(), size);
                size
            }
        };
        Ok(Sizes {
            rw,
            root_fs: rw + image,
        })
    }
}

/// Bytes of all files below `dir`, each counted once however many names it has; folders count nothing. What vanishes
/// or cannot be read meanwhile counts nothing: the container may be running.
pub(crate) fn tree(dir: &Path) -> u64 {
    let mut total = 0;
    let mut seen = BTreeSet::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() {
                todo.push(entry.path());
            } else if meta.nlink() == 1 || seen.insert((meta.dev(), meta.ino())) {
                total += meta.len();
            }
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_counts_once() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        fs::write(dir.path().join("sub/a"), [0; 1000]).unwrap();
        fs::hard_link(dir.path().join("sub/a"), dir.path().join("b")).unwrap();
        fs::write(dir.path().join("c"), [0; 10]).unwrap();
        std::os::unix::fs::symlink("sub", dir.path().join("s")).unwrap();
        assert_eq!(tree(dir.path()), 1013);
        assert_eq!(tree(&dir.path().join("nothing")), 0);
    }
}
