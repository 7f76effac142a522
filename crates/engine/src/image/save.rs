//! `save`: images out of the store into an archive.

use std::os::fd::OwnedFd;

use hull_spec::manifest::media;
use hull_spec::{Platform, Reference};
use hull_store::archive::{Form, Listed, Writer};
use hull_store::image::{self, Image};
use hull_store::{Access, Lease, blob};

use super::manifest;
use crate::{Engine, Error, Result, event};

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct SaveRequest {
    /// Names and IDs. A name without a tag stands for all tags of its repository.
    pub names: Vec<String>,
    /// The platform that the images must be for.
    pub platform: Option<Platform>,
}

/// Images that were found and stay until they are written.
#[derive(Debug)]
pub struct Saving<'e> {
    engine: &'e Engine,
    lease: Lease<'e>,
    images: Vec<(Image, Vec<Reference>)>,
}

/// Finds the images, so that a missing one is told before a file is made.
///
/// # Errors
/// No such image; one that is for another platform.
pub fn save<'e>(engine: &'e Engine, request: &SaveRequest) -> Result<Saving<'e>> {
    let store = engine.store(Access::Write)?;
    let lease = store.lease()?;
    let mut images: Vec<(Image, Vec<Reference>)> = Vec::new();
    for name in &request.names {
        for (image, tag) in found(engine, &lease, name)? {
            check_platform(name, &image, request.platform.as_ref())?;
            let at = images.iter().position(|(known, _)| known.id == image.id);
            let at = at.unwrap_or_else(|| {
                images.push((image, Vec::new()));
                images.len() - 1
            });
            let tags = &mut images[at].1;
            tags.extend(tag.filter(|tag| !tags.contains(tag)));
        }
    }
    Ok(Saving { engine, lease, images })
}

/// What one name stands for, held by the lease.
fn found(engine: &Engine, lease: &Lease<'_>, name: &str) -> Result<Vec<(Image, Option<Reference>)>> {
    let store = lease.store();
    let reference = name.parse::<Reference>().ok();
    let mut out = Vec::new();
    if let Some(repository) = reference.as_ref().filter(|r| r.tag().is_none() && r.digest().is_none()) {
        for (tag, id) in image::tags(store, repository)? {
            out.extend(held(lease, id.as_str())?.map(|image| (image, Some(tag))));
        }
    }
    if out.is_empty() {
        // An ID, or a name with a tag or a digest.
        let image = super::find(engine, name)?;
        let tag = image.name.clone().filter(|name| name.digest().is_none());
        let Some(image) = held(lease, image.id.as_str())? else {
            return Err(hull_store::Error::NoImage { name: name.to_owned() }.into());
        };
        out.push((image, tag));
    }
    Ok(out)
}

/// The image, if it is there and stays.
fn held(lease: &Lease<'_>, id: &str) -> Result<Option<Image>> {
    let look = || match image::resolve(lease.store(), id) {
        Err(hull_store::Error::NoImage { .. }) => Ok(None),
        found => found.map(Some),
    };
    let Some(image) = look()? else { return Ok(None) };
    lease.protect(image.blobs.iter().chain([&image.id, &image.manifest]))?;
    // It may have been removed before the lease held.
    Ok(look()?)
}

fn check_platform(name: &str, image: &Image, asked: Option<&Platform>) -> Result<()> {
    let Some(asked) = asked else { return Ok(()) };
    let config = &image.config;
    let actual = Platform {
        os: config.os.clone(),
        architecture: config.architecture.clone(),
        variant: config.variant.clone(),
        ..Platform::default()
    };
    if asked.rank(&actual) == Some(0) {
        return Ok(());
    }
    Err(Error::Unsupported(format!(
        "image with reference {name} was found but does not provide the specified platform ({asked})"
    )))
}

impl Saving<'_> {
    /// Writes the archive: an OCI image layout with the lists that Docker wants beside it. Layers stay compressed as they
    /// were pulled, and the kernel copies them.
    ///
    /// # Errors
    /// What cannot be read or written; then what was written is no archive.
    pub fn write(self, place: &str, output: OwnedFd) -> Result<()> {
        let store = self.lease.store();
        let mut writer = Writer::archive(Form::Docker, place, output)?;
        for (image, tags) in &self.images {
            let (manifest, bytes) = manifest::oci(store, image)?;
            let descriptor = manifest::descriptor(media::OCI_MANIFEST, &bytes);
            for part in manifest.layers.iter().chain([&manifest.config]) {
                let section = blob::open(store, &part.digest)?;
                writer.known_blob(part, &section)?;
            }
            writer.document(&descriptor, &bytes)?;
            writer.list(Listed {
                descriptor,
                names: tags.clone(),
                label: None,
            })?;
        }
        writer.finish()?;
        for (image, _) in &self.images {
            event::image(self.engine, "save", image.id.as_str(), image.id.as_str(), Some(image));
        }
        Ok(())
    }
}
