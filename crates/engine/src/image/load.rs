//! `load`: images out of an archive or a folder into the store.

use std::convert::Infallible;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use hull_spec::image::ImageConfig;
use hull_spec::manifest::{Descriptor, Manifest, media};
use hull_spec::{Digest, Document, INDEX_DEPTH_MAX, Platform, Progress, Reference};
use hull_store::archive::Archive;
use hull_store::image::{self, Record};
use hull_store::ingest::{self, LayerSpec};
use hull_store::{Access, Lease, blob};

use crate::{Engine, Error, Result, event};

/// Layers that are unpacked at once, each of which takes some megabytes of memory.
const AT_ONCE: usize = 3;

/// Where the images come from.
#[derive(Debug)]
pub enum Input<'a> {
    /// An archive, or a folder with an image layout.
    Path(&'a Path),
    /// An archive from a descriptor's present place on: standard input.
    Descriptor(OwnedFd),
}

/// What is asked for.
#[derive(Debug)]
pub struct LoadRequest<'a> {
    /// The archive.
    pub input: Input<'a>,
    /// Which platform of an index; the host's where none is given.
    pub platform: Option<Platform>,
}

/// What has become of one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// It has this name.
    Name(Reference),
    /// It has no name.
    Id(Digest),
    /// The name that it has now was another image's.
    Renamed(Reference, Digest),
}

/// Loads every image of an archive. `each` is told of one after the other, when it is there.
///
/// A kill in between leaves whole images only; what was unpacked of the others is swept like everything that nothing
/// names.
///
/// # Errors
/// What is no archive of images; images that are not what their digests say; what cannot be stored. The images before
/// the faulty one stay.
pub fn load(
    engine: &Engine,
    request: LoadRequest<'_>,
    progress: &Progress,
    each: &mut dyn FnMut(Loaded),
) -> Result<()> {
    let store = engine.store(Access::Write)?;
    let spool = engine.data.join("ingest");
    let archive = match request.input {
        Input::Path(path) => Archive::open(path, &spool)?,
        Input::Descriptor(input) => Archive::read(input, &spool)?,
    };
    let wanted = request.platform.as_ref();
    let mut seen: Vec<&Digest> = Vec::new();
    let mut any = false;
    for listed in archive.listed() {
        if listed.names.is_empty() && seen.contains(&&listed.descriptor.digest) {
            continue;
        }
        seen.push(&listed.descriptor.digest);
        // A layout may hold signatures and the like beside images.
        let Some(found) = find(&archive, &listed.descriptor, wanted)? else {
            continue;
        };
        any = true;
        let lease = store.lease()?;
        let image = found.store(&archive, &lease, &listed.names, progress, each)?;
        event::image(engine, "load", image.id.as_str(), image.id.as_str(), Some(&image));
        for name in &listed.names {
            each(Loaded::Name(name.clone()));
        }
        if listed.names.is_empty() {
            each(Loaded::Id(image.id));
        }
    }
    if !any {
        return Err(hull_store::Error::Malformed {
            place: archive.place().to_owned(),
            reason: "it holds no image".to_owned(),
        }
        .into());
    }
    Ok(())
}

/// An image as its archive describes it.
struct Found {
    manifest: Manifest,
    manifest_bytes: Vec<u8>,
    manifest_digest: Digest,
    config: ImageConfig,
    config_bytes: Vec<u8>,
}

/// Goes through indexes to one image; `None` where there is something else than an image.
fn find(archive: &Archive, top: &Descriptor, platform: Option<&Platform>) -> Result<Option<Found>> {
    let host = Platform::host();
    let wanted = platform.unwrap_or(&host);
    let malformed = |reason: String| hull_store::Error::Malformed {
        place: archive.place().to_owned(),
        reason,
    };
    let mut at = top.clone();
    for _ in 0..=INDEX_DEPTH_MAX {
        let (manifest_bytes, document) = archive.document(&at)?;
        match document {
            Document::Index(index) => match index.best(wanted) {
                Some(entry) => at = entry.clone(),
                None => {
                    return Err(Error::Unsupported(format!(
                        "{}: image index {} has nothing for the platform ({wanted})",
                        archive.place(),
                        top.digest
                    )));
                }
            },
            Document::Image(manifest) => {
                if !is_image(&manifest) {
                    return Ok(None);
                }
                let config_bytes = archive.config(&manifest.config)?;
                let config = read_config(&config_bytes, &manifest).map_err(malformed)?;
                let found = Found {
                    manifest: *manifest,
                    manifest_bytes,
                    manifest_digest: at.digest,
                    config,
                    config_bytes,
                };
                found.check_platform(&host, platform)?;
                return Ok(Some(found));
            }
        }
    }
    Err(malformed(format!("indexes are nested more than {INDEX_DEPTH_MAX} deep")).into())
}

/// Whether a manifest is of an image that can run, not of one of the many other things that have manifests.
fn is_image(manifest: &Manifest) -> bool {
    let config = manifest.config.media_type.as_str();
    matches!(
        config,
        media::OCI_CONFIG | media::DOCKER_CONFIG | "application/octet-stream" | ""
    ) && manifest.layers.iter().all(|layer| layer.compression().is_some())
}

fn read_config(bytes: &[u8], manifest: &Manifest) -> Result<ImageConfig, String> {
    let config: ImageConfig =
        serde_json::from_slice(bytes).map_err(|error| format!("an image config cannot be read: {error}"))?;
    // A sequence could stand for the object of the same fields; and without its layers it is no image's config.
    if !bytes.trim_ascii_start().starts_with(b"{") || config.rootfs.kind != "layers" {
        return Err("invalid rootfs in image configuration".to_owned());
    }
    let (named, given) = (config.rootfs.diff_ids.len(), manifest.layers.len());
    if named != given {
        return Err(format!(
            "an image config names {named} layers, and its manifest {given}"
        ));
    }
    Ok(config)
}

impl Found {
    fn check_platform(&self, host: &Platform, asked: Option<&Platform>) -> Result<()> {
        let config = &self.config;
        let actual = Platform {
            os: config.os.clone(),
            architecture: config.architecture.clone(),
            variant: config.variant.clone(),
            ..Platform::default()
        };
        // Images of old builders say nothing.
        if actual.os.is_empty() || actual.architecture.is_empty() {
            return Ok(());
        }
        if let Some(asked) = asked.filter(|asked| asked.rank(&actual).is_none()) {
            return Err(Error::Unsupported(format!(
                "the image is for the platform ({actual}), not for the one that was asked for ({asked})"
            )));
        }
        if actual.os != host.os {
            return Err(Error::Unsupported(format!(
                "cannot load {} image on {}",
                actual.os, host.os
            )));
        }
        Ok(())
    }

    fn layers(&self) -> Vec<LayerSpec> {
        LayerSpec::stack(&self.manifest.layers, &self.config.rootfs.diff_ids)
    }

    fn store(
        &self,
        archive: &Archive,
        lease: &Lease<'_>,
        names: &[Reference],
        progress: &Progress,
        each: &mut dyn FnMut(Loaded),
    ) -> Result<image::Image> {
        let layers = self.layers();
        let id = &self.manifest.config.digest;
        unpack(archive, lease, &layers, progress)?;
        blob::write(lease, &self.config_bytes, id)?;
        blob::write(lease, &self.manifest_bytes, &self.manifest_digest)?;
        for name in names {
            if let Ok(before) = image::resolve(lease.store(), &name.to_string())
                && before.id != *id
            {
                each(Loaded::Renamed(name.clone(), before.id));
            }
        }
        Ok(image::record(
            lease,
            &Record {
                id,
                config: &self.config_bytes,
                manifest: &self.manifest_digest,
                layers: &layers,
                names,
            },
        )?)
    }
}

/// Brings the layers into the store, several at once. The first failure ends the others at their next layer.
fn unpack(archive: &Archive, lease: &Lease<'_>, layers: &[LayerSpec], progress: &Progress) -> Result<()> {
    let digests = layers
        .iter()
        .flat_map(|layer| [&layer.descriptor.digest, &layer.chain_id]);
    lease.protect(digests)?;
    // The largest first: it takes as long as the last one.
    let mut order: Vec<&LayerSpec> = layers.iter().collect();
    order.sort_by_key(|layer| std::cmp::Reverse(layer.descriptor.size));
    let next = AtomicUsize::new(0);
    let failed: Mutex<Option<Error>> = Mutex::new(None);
    let work = || {
        while let Some(layer) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(error) = one(archive, lease, layer, progress) {
                next.store(order.len(), Ordering::Relaxed);
                let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                failed.get_or_insert(error);
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..AT_ONCE.clamp(1, order.len().max(1)) {
            scope.spawn(work);
        }
        work();
    });
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

fn one(archive: &Archive, lease: &Lease<'_>, layer: &LayerSpec, progress: &Progress) -> Result<()> {
    let section = archive.blob(&layer.descriptor);
    // What the store has already is not missed in the archive.
    let section = match section {
        Err(error) if !hull_store::ingest::exists(lease.store(), layer)? => return Err(error.into()),
        section => section.ok(),
    };
    let source = |offset: u64| -> Result<Box<dyn Read + Send>, Infallible> {
        Ok(match section {
            Some(section) => Box::new(section.skip(offset)),
            None => Box::new(std::io::empty()),
        })
    };
    Ok(ingest::layer(lease, layer, source, progress)?)
}
