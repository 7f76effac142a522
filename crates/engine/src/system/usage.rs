//! `system df`: what takes how much of the disk.

use std::collections::{BTreeMap, BTreeSet};

use hull_store::{Access, image};

use crate::container::tree_size;
use crate::volume::{self, Volume};
use crate::{Engine, Result, container};

/// What there is, and how large.
#[derive(Clone, Debug)]
pub struct Usage {
    /// Bytes of all images' layers, each counted once, unpacked.
    pub layers: u64,
    /// Images, newest first, with `containers` and `shared_size`.
    pub images: Vec<crate::image::Summary>,
    /// Containers, newest first, with their sizes.
    pub containers: Vec<container::Summary>,
    /// Volumes, by name.
    pub volumes: Vec<VolumeUsage>,
}

/// A volume, and how large.
#[derive(Clone, Debug)]
pub struct VolumeUsage {
    /// The volume.
    pub volume: Volume,
    /// How many containers use it.
    pub links: usize,
    /// Bytes of its files.
    pub size: u64,
}

/// Looks at everything there is.
///
/// # Errors
/// What cannot be read.
pub fn usage(engine: &Engine) -> Result<Usage> {
    let request = container::ListRequest {
        all: true,
        size: true,
        ..container::ListRequest::default()
    };
    let containers = container::list(engine, &request)?;
    let (layers, images) = images(engine, &containers)?;
    let volumes = volume::list(engine, &volume::ListRequest::default())?;
    let volumes = volumes.into_iter().map(|volume| {
        let uses = |c: &&container::Summary| c.mounts.iter().any(|m| m.kind == "volume" && m.name == volume.name);
        VolumeUsage {
            links: containers.iter().filter(uses).count(),
            size: tree_size(volume.mountpoint.as_ref()),
            volume,
        }
    });
    Ok(Usage {
        layers,
        images,
        volumes: volumes.collect(),
        containers,
    })
}

fn images(engine: &Engine, containers: &[container::Summary]) -> Result<(u64, Vec<crate::image::Summary>)> {
    if !engine.data.exists() {
        return Ok((0, Vec::new()));
    }
    let store = engine.store(Access::Read)?;
    // Of each layer: how many images have it. An image may name a layer twice.
    let mut layers: BTreeMap<String, Vec<_>> = BTreeMap::new();
    let mut shares: BTreeMap<_, usize> = BTreeMap::new();
    for found in image::list(store)? {
        let own: BTreeSet<_> = found.image.layers.into_iter().collect();
        for chain in &own {
            *shares.entry(chain.clone()).or_default() += 1;
        }
        layers.insert(found.image.id.to_string(), own.into_iter().collect());
    }
    let sizes: BTreeMap<_, u64> = shares
        .keys()
        .map(|chain| (chain.clone(), tree_size(&store.layer_path(chain))))
        .collect();
    let mut images = crate::image::list(engine, &crate::image::ListRequest::default())?;
    for image in &mut images {
        let users = containers.iter().filter(|c| c.image_id == image.id).count();
        image.containers = i64::try_from(users).unwrap_or(i64::MAX);
        let own = layers.get(&image.id).map_or(&[][..], Vec::as_slice);
        let shared = own.iter().filter(|chain| shares.get(*chain).is_some_and(|n| *n > 1));
        let shared: u64 = shared.filter_map(|chain| sizes.get(chain)).sum();
        image.shared_size = i64::try_from(shared).unwrap_or(i64::MAX);
    }
    Ok((sizes.values().sum(), images))
}
