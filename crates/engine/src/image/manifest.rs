//! Manifests of images: those that the store has, and those of images that are made here.

use std::collections::BTreeMap;

use hull_spec::image::ImageConfig;
use hull_spec::manifest::{Descriptor, MANIFEST_MAX, Manifest, media};
use hull_spec::{Algorithm, Digest, Document, Reference};
use hull_store::image::{self, Image};
use hull_store::ingest::LayerSpec;
use hull_store::{Lease, Store, blob};

use crate::Result;

/// An image's manifest in the OCI form, and its bytes. Where the image was pulled with another one the types are
/// written anew, which is another document with the same config and the same layers.
pub(crate) fn oci(store: &Store, image: &Image) -> Result<(Manifest, Vec<u8>)> {
    let bytes = blob::read(store, &image.manifest, MANIFEST_MAX)?;
    let manifest = match Document::read(&bytes, &[]) {
        Ok(Document::Image(manifest)) => *manifest,
        Ok(Document::Index(_)) => {
            return Err(hull_store::Error::Image {
                id: image.id.clone(),
                reason: "its manifest is an index".to_owned(),
            }
            .into());
        }
        Err(error) => return Err(hull_store::Error::Name(error).into()),
    };
    let mut out = manifest.clone();
    out.media_type = Some(media::OCI_MANIFEST.to_owned());
    for part in out.layers.iter_mut().chain([&mut out.config]) {
        part.media_type = oci_type(&part.media_type).to_owned();
    }
    // Without a type of its own it is an OCI manifest already.
    if (Manifest {
        media_type: manifest.media_type.clone().or_else(|| out.media_type.clone()),
        ..manifest.clone()
    }) == out
    {
        return Ok((manifest, bytes));
    }
    let bytes = json(&out);
    Ok((out, bytes))
}

/// Docker's media types by the names that an OCI manifest has for the same bytes.
pub(crate) fn oci_type(media_type: &str) -> &str {
    match media_type {
        media::DOCKER_MANIFEST => media::OCI_MANIFEST,
        media::DOCKER_INDEX => media::OCI_INDEX,
        media::DOCKER_CONFIG => media::OCI_CONFIG,
        media::DOCKER_LAYER => media::OCI_LAYER,
        media::DOCKER_LAYER_GZIP => media::OCI_LAYER_GZIP,
        other => other,
    }
}

/// Writes config and manifest and makes the image visible. Its layers are there, under the lease.
pub(crate) fn publish(
    lease: &Lease<'_>,
    image: &ImageConfig,
    layers: &[LayerSpec],
    name: Option<&Reference>,
) -> Result<Digest> {
    let config = json(image);
    let id = hull_store::digest(Algorithm::Sha256, &config);
    let manifest = json(&Manifest {
        schema_version: 2,
        media_type: Some(media::OCI_MANIFEST.to_owned()),
        artifact_type: None,
        config: descriptor(media::OCI_CONFIG, &config),
        layers: layers.iter().map(|layer| layer.descriptor.clone()).collect(),
        subject: None,
        annotations: BTreeMap::new(),
    });
    let manifest_digest = hull_store::digest(Algorithm::Sha256, &manifest);
    blob::write(lease, &config, &id)?;
    blob::write(lease, &manifest, &manifest_digest)?;
    let names: Vec<Reference> = name.cloned().into_iter().collect();
    image::record(
        lease,
        &image::Record {
            id: &id,
            config: &config,
            manifest: &manifest_digest,
            layers,
            names: &names,
        },
    )?;
    Ok(id)
}

/// Bytes as a descriptor names them.
pub(crate) fn descriptor(media_type: &str, bytes: &[u8]) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        digest: hull_store::digest(Algorithm::Sha256, bytes),
        size: bytes.len() as u64,
        urls: Vec::new(),
        annotations: BTreeMap::new(),
        platform: None,
        artifact_type: None,
    }
}

pub(crate) fn json(value: &impl serde::Serialize) -> Vec<u8> {
    #[expect(clippy::expect_used, reason = "maps have text for keys, and nothing here can refuse")]
    serde_json::to_vec(value).expect("an image's parts are JSON")
}
