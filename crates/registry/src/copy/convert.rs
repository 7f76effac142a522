//! What changes on the way: the format of documents, the compression of layers.

use std::path::{Path, PathBuf};

use hull_spec::Digest;
use hull_spec::manifest::{Compression, Descriptor, Index, Manifest, media};
use hull_store::recompress::Form;
use serde::{Deserialize, Serialize};

use super::{Document, Job};
use crate::Error;

const DOCKER_LAYER_ZSTD: &str = "application/vnd.docker.image.rootfs.diff.tar.zstd";

/// Whose formats documents have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The OCI image spec's.
    Oci,
    /// Docker's manifest version 2, schema 2.
    Docker,
}

impl Format {
    /// The format of a document of this type.
    #[must_use]
    pub fn of(media_type: &str) -> Self {
        match media_type {
            media::DOCKER_MANIFEST | media::DOCKER_INDEX => Self::Docker,
            _ => Self::Oci,
        }
    }

    fn layer(self, compression: Compression) -> &'static str {
        match (self, compression) {
            (Self::Oci, Compression::None) => media::OCI_LAYER,
            (Self::Oci, Compression::Gzip) => media::OCI_LAYER_GZIP,
            (Self::Oci, Compression::Zstd) => media::OCI_LAYER_ZSTD,
            (Self::Docker, Compression::None) => media::DOCKER_LAYER,
            (Self::Docker, Compression::Gzip) => media::DOCKER_LAYER_GZIP,
            (Self::Docker, Compression::Zstd) => DOCKER_LAYER_ZSTD,
        }
    }
}

/// What is to be made of one image.
pub(super) struct Plan {
    from: Format,
    to: Format,
    form: Option<Form>,
    plain: Option<Form>,
    preserve: bool,
    name: String,
}

/// Decides what is to be made of an image.
pub(super) fn plan(job: &Job<'_>, document: &Document, manifest: &Manifest) -> Result<Plan, Error> {
    let from = Format::of(&document.media_type);
    let artifact = manifest.artifact_type.is_some()
        || manifest.subject.is_some()
        || !matches!(
            manifest.config.media_type.as_str(),
            media::OCI_CONFIG | media::DOCKER_CONFIG
        );
    let wanted = job.target.takes().format.or(job.options.format);
    let to = match wanted {
        // What is attached to an image names it by its digest, and has no other format.
        Some(_) if artifact => from,
        Some(format) => format,
        None => from,
    };
    let plan = Plan {
        from,
        to,
        form: job.options.form.filter(|_| !artifact),
        plain: job.options.plain.filter(|_| !artifact),
        preserve: job.options.preserve_digests,
        name: job.source.name(),
    };
    if artifact && job.target.takes().format == Some(Format::Docker) && from == Format::Oci {
        return Err(plan.refuse("an artifact has no form in Docker's format"));
    }
    if from != to {
        plan.check("its format would change")?;
    }
    Ok(plan)
}

impl Plan {
    fn refuse(&self, reason: &str) -> Error {
        Error::Conversion {
            name: self.name.clone(),
            reason: reason.to_owned(),
        }
    }

    fn check(&self, what: &str) -> Result<(), Error> {
        if self.preserve {
            return Err(self.refuse(&format!("{what}, and with it the digest that was to be preserved")));
        }
        Ok(())
    }

    /// How a layer is to be compressed anew, if it is.
    pub(super) fn layer(&self, layer: &Descriptor) -> Result<Option<Form>, Error> {
        let Some(now) = layer.compression() else {
            return Ok(None);
        };
        let wanted = match (self.form, now) {
            (Some(form), now) if form.compression != now || form.level.is_some() => Some(form),
            (None, Compression::None) => self.plain.filter(|_| !self.preserve),
            // Docker's format has none but gzip.
            (None, Compression::Zstd) if self.from != self.to && self.to == Format::Docker => Some(Form {
                compression: Compression::Gzip,
                level: None,
            }),
            _ => None,
        };
        if wanted.is_some() {
            self.check("its layers would be compressed in another way")?;
        }
        Ok(wanted)
    }

    /// The manifest over what the layers became: the same bytes, where nothing did.
    pub(super) fn manifest(
        &self,
        document: Document,
        manifest: &Manifest,
        became: &[(Digest, Descriptor)],
    ) -> Result<Document, Error> {
        let layers: Vec<Descriptor> = manifest
            .layers
            .iter()
            .map(|layer| {
                let found = became.iter().find(|(digest, _)| *digest == layer.digest);
                let mut put = found.map_or_else(|| layer.clone(), |(_, put)| put.clone());
                if let Some(compression) = put.compression().filter(|_| self.from != self.to) {
                    self.to.layer(compression).clone_into(&mut put.media_type);
                }
                put
            })
            .collect();
        if self.from == self.to && layers == manifest.layers {
            return Ok(document);
        }
        let mut made = manifest.clone();
        made.layers = layers;
        let (own, config) = match self.to {
            Format::Oci => (media::OCI_MANIFEST, media::OCI_CONFIG),
            Format::Docker => (media::DOCKER_MANIFEST, media::DOCKER_CONFIG),
        };
        if self.from != self.to {
            config.clone_into(&mut made.config.media_type);
            if self.to == Format::Docker {
                // Its schema has no place for them.
                made.annotations.clear();
                made.config.annotations.clear();
                made.layers.iter_mut().for_each(|layer| layer.annotations.clear());
            }
        }
        made.media_type = Some(own.to_owned());
        write(&made, own, &self.name)
    }
}

/// The index over what its entries became: the same bytes, where nothing did.
pub(super) fn index(
    job: &Job<'_>,
    document: Document,
    index: &Index,
    entries: Vec<Descriptor>,
) -> Result<Document, Error> {
    let from = Format::of(&document.media_type);
    let to = job.target.takes().format.or(job.options.format).unwrap_or(from);
    let same = |(was, is): (&Descriptor, &Descriptor)| was.digest == is.digest;
    if from == to && index.manifests.iter().zip(&entries).all(same) {
        return Ok(document);
    }
    if job.options.preserve_digests {
        return Err(Error::Conversion {
            name: job.source.name(),
            reason: "its index would change, and with it the digest that was to be preserved".to_owned(),
        });
    }
    let own = match to {
        Format::Oci => media::OCI_INDEX,
        Format::Docker => media::DOCKER_INDEX,
    };
    let mut made = index.clone();
    made.manifests = entries;
    made.media_type = Some(own.to_owned());
    if to == Format::Docker {
        made.annotations.clear();
    }
    write(&made, own, &job.source.name())
}

fn write(value: &impl Serialize, media_type: &str, name: &str) -> Result<Document, Error> {
    let bytes = serde_json::to_vec(value).map_err(|source| Error::Json {
        what: format!("the manifest of {name}"),
        source,
    })?;
    Ok(Document {
        digest: hull_store::digest(hull_spec::Algorithm::Sha256, &bytes),
        media_type: media_type.to_owned(),
        bytes,
    })
}

/// A layer's descriptor after it was compressed anew.
pub(super) fn layer_as(layer: &Descriptor, compression: Compression, digest: Digest, size: u64) -> Descriptor {
    let format = if layer.media_type.starts_with("application/vnd.docker.") {
        Format::Docker
    } else {
        Format::Oci
    };
    Descriptor {
        media_type: format.layer(compression).to_owned(),
        digest,
        size,
        // What zstd:chunked and eStargz say here is true of other bytes.
        annotations: std::collections::BTreeMap::new(),
        ..layer.clone()
    }
}

#[derive(Serialize, Deserialize)]
struct Remembered {
    digest: Digest,
    size: u64,
}

fn memory(folder: &Path, diff_id: &Digest, form: Form) -> PathBuf {
    let word = match form.compression {
        Compression::None => "plain",
        Compression::Gzip => "gzip",
        Compression::Zstd => "zstd",
    };
    let level = form.level.map(|level| format!("-{level}")).unwrap_or_default();
    folder.join(format!("{}-{word}{level}", diff_id.hex()))
}

/// What a layer was when it was last compressed so.
pub(super) fn recall(folder: &Path, diff_id: &Digest, form: Form) -> Option<(Digest, u64)> {
    let bytes = std::fs::read(memory(folder, diff_id, form)).ok()?;
    let found: Remembered = serde_json::from_slice(&bytes).ok()?;
    Some((found.digest, found.size))
}

/// Remembers it. A memory that cannot be kept is none: the layer is then compressed again.
pub(super) fn remember(folder: &Path, diff_id: &Digest, form: Form, layer: &Descriptor) {
    let found = Remembered {
        digest: layer.digest.clone(),
        size: layer.size,
    };
    let Ok(bytes) = serde_json::to_vec(&found) else { return };
    let path = memory(folder, diff_id, form);
    let new = path.with_extension(format!("new-{}", std::process::id()));
    let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&new, bytes));
    if written.and_then(|()| std::fs::rename(&new, &path)).is_err() {
        let _ = std::fs::remove_file(&new);
    }
}
