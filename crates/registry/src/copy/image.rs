//! One image's manifest, with its config and its layers.

use std::io::Read as _;
use std::sync::{Mutex, OnceLock, PoisonError};

use hull_spec::Digest;
use hull_spec::image::{CONFIG_MAX, ImageConfig};
use hull_spec::manifest::{Descriptor, Manifest, media};
use hull_spec::progress::Event;
use hull_store::recompress::{Form, Spool, recompress};

use super::{Blob, Document, Job, Put, Reader, Slot, convert};
use crate::{Error, workers};

/// The most that a layer may have uncompressed, in bytes, where it is compressed anew.
const LAYER_MAX: u64 = 256 << 30;

/// A layer on its way.
struct Layer<'a> {
    descriptor: &'a Descriptor,
    /// The digest of its uncompressed bytes, where the config says.
    diff_id: Option<&'a Digest>,
    /// What is to be made of it.
    form: Option<Form>,
}

impl Job<'_> {
    /// Copies the blobs of an image. Returns its manifest as the target is to have it.
    pub(super) fn image(&self, document: Document, manifest: &Manifest) -> Result<Document, Error> {
        let config = config(self.source, manifest)?;
        let diff_ids = diff_ids(manifest, &config);
        let plan = convert::plan(self, &document, manifest)?;
        self.target.begin(manifest, &config)?;
        let takes = self.target.takes();
        let mut layers: Vec<Layer<'_>> = Vec::new();
        for (at, descriptor) in manifest.layers.iter().enumerate() {
            let known = layers.iter().any(|layer| layer.descriptor.digest == descriptor.digest);
            // What others may not hand on is not handed on.
            let foreign = takes.registry.is_some() && !descriptor.urls.is_empty() && is_foreign(descriptor);
            if !known && !foreign {
                layers.push(Layer {
                    descriptor,
                    diff_id: diff_ids.get(at),
                    form: plan.layer(descriptor)?,
                });
            }
        }
        for layer in layers.iter().rev() {
            self.progress.send(|| Event::Preparing(layer.shown().clone()));
        }
        // The largest first: the copy takes as long as its last layer.
        let mut order: Vec<&Layer<'_>> = layers.iter().collect();
        order.sort_by_key(|layer| std::cmp::Reverse(layer.descriptor.size));
        let became: Mutex<Vec<(Digest, Descriptor)>> = Mutex::default();
        let interrupt = || {
            self.source.interrupt();
            self.target.interrupt();
        };
        workers::each(&order, takes.parallel, &self.cancel, &interrupt, &|layer| {
            let put = self.layer(layer)?;
            let mut became = became.lock().unwrap_or_else(PoisonError::into_inner);
            became.push((layer.descriptor.digest.clone(), put));
            Ok(())
        })?;
        self.put(
            &manifest.config,
            &|offset| {
                let rest = config
                    .get(usize::try_from(offset).unwrap_or(usize::MAX)..)
                    .unwrap_or_default();
                Ok(Box::new(std::io::Cursor::new(rest.to_vec())))
            },
            None,
        )?;
        let became = became.into_inner().unwrap_or_else(PoisonError::into_inner);
        plan.manifest(document, manifest, &became)
    }

    /// Copies one layer. Returns what it became.
    fn layer(&self, layer: &Layer<'_>) -> Result<Descriptor, Error> {
        let source = |offset: u64| self.source.blob(layer.descriptor, offset);
        let Some(form) = layer.form else {
            self.put(layer.descriptor, &source, Some(layer.shown()))?;
            return Ok(layer.descriptor.clone());
        };
        let make = || -> Result<Spool, Error> {
            let bytes = source(0)?;
            let blob = &layer.descriptor.digest;
            let made = recompress(bytes, blob, form, layer.diff_id, &self.options.spool, LAYER_MAX);
            made.map_err(Error::from)
        };
        let memory = layer.diff_id.zip(self.options.memory.as_deref());
        let known = memory.and_then(|(diff_id, folder)| convert::recall(folder, diff_id, form));
        if let Some((digest, size)) = known {
            let descriptor = convert::layer_as(layer.descriptor, form.compression, digest, size);
            let spool: OnceLock<Spool> = OnceLock::new();
            let open = |offset: u64| -> Result<Reader, Error> {
                let spool = match spool.get() {
                    Some(spool) => spool,
                    None => {
                        let made = make()?;
                        if made.digest != descriptor.digest {
                            return Err(Error::Forgotten);
                        }
                        spool.get_or_init(|| made)
                    }
                };
                Ok(Box::new(spool.reader(offset)))
            };
            match self.put(&descriptor, &open, Some(layer.shown())) {
                // Remembered of another version of the compressor.
                Err(Error::Forgotten) => {}
                put => return put.map(|_| descriptor),
            }
        }
        let spool = make()?;
        let descriptor = convert::layer_as(layer.descriptor, form.compression, spool.digest.clone(), spool.size);
        let open = |offset: u64| -> Result<Reader, Error> { Ok(Box::new(spool.reader(offset))) };
        self.put(&descriptor, &open, Some(layer.shown()))?;
        if let Some((diff_id, folder)) = memory {
            convert::remember(folder, diff_id, form, &descriptor);
        }
        Ok(descriptor)
    }

    fn put(
        &self,
        descriptor: &Descriptor,
        open: &(dyn Fn(u64) -> Result<Reader, Error> + Sync),
        shown: Option<&Digest>,
    ) -> Result<Put, Error> {
        let failed = Slot::default();
        let mount = match self.target.takes().registry {
            Some(registry) => self.source.repositories(&registry, &descriptor.digest),
            None => Vec::new(),
        };
        let blob = Blob {
            descriptor,
            mount: &mount,
            open,
            failed: &failed,
            moved: &self.moved,
            shown: shown.map(|digest| (digest, self.progress)),
        };
        let put = self.target.blob(&blob).map_err(|err| {
            let source = failed.lock().unwrap_or_else(PoisonError::into_inner).take();
            source.unwrap_or(err)
        })?;
        if let Some(blob) = shown {
            self.progress.send(|| match &put {
                Put::Present => Event::Stored(blob.clone()),
                Put::Mounted(from) => Event::Mounted {
                    blob: blob.clone(),
                    from: from.clone(),
                },
                Put::Written => Event::Uploaded(blob.clone()),
            });
        }
        Ok(put)
    }
}

impl Layer<'_> {
    /// The digest that people are shown: Docker's is that of the uncompressed bytes.
    fn shown(&self) -> &Digest {
        self.diff_id.unwrap_or(&self.descriptor.digest)
    }
}

/// The diff IDs that an image's config names; none where it is no image.
fn diff_ids(manifest: &Manifest, config: &[u8]) -> Vec<Digest> {
    if !matches!(
        manifest.config.media_type.as_str(),
        media::OCI_CONFIG | media::DOCKER_CONFIG
    ) {
        return Vec::new();
    }
    let config: Option<ImageConfig> = serde_json::from_slice(config).ok();
    let ids = config.map(|config| config.rootfs.diff_ids).unwrap_or_default();
    if ids.len() == manifest.layers.len() {
        ids
    } else {
        Vec::new()
    }
}

fn is_foreign(layer: &Descriptor) -> bool {
    layer.media_type.contains(".nondistributable.") || layer.media_type.contains(".foreign.")
}

/// The config of an image of `source`, checked against its digest.
///
/// # Errors
/// If it is not there, too large, or another.
pub(crate) fn config(source: &dyn super::Source, manifest: &Manifest) -> Result<Vec<u8>, Error> {
    let descriptor = &manifest.config;
    let what = || format!("the config of {}", source.name());
    if descriptor.size > CONFIG_MAX {
        return Err(Error::TooLarge {
            what: what(),
            limit: CONFIG_MAX,
        });
    }
    let mut bytes = Vec::new();
    source
        .blob(descriptor, 0)?
        .take(descriptor.size + 1)
        .read_to_end(&mut bytes)
        .map_err(|err| {
            err.downcast::<Error>().unwrap_or_else(|source| Error::Read {
                digest: descriptor.digest.clone(),
                source,
            })
        })?;
    let actual = hull_store::digest(descriptor.digest.algorithm(), &bytes);
    if actual != descriptor.digest {
        return Err(Error::DigestMismatch {
            what: what(),
            expected: descriptor.digest.to_string(),
            actual,
        });
    }
    Ok(bytes)
}
