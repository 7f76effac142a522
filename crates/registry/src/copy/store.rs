//! The store as a place.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hull_spec::image::ImageConfig;
use hull_spec::manifest::{Descriptor, MANIFEST_MAX, Manifest, media};
use hull_spec::{Digest, Platform, Progress, Reference};
use hull_store::image::{self, Image, Record};
use hull_store::ingest::{self, LayerSpec};
use hull_store::{Lease, Store, blob, chain_id};

use super::{Blob, Document, Put, Reader, Source, Takes, Target};
use crate::Error;
use crate::manifest::{Document as Parsed, Which, parse_any};
use crate::pull::platform;

/// An image in the store. What belongs to it stays for as long as this lives.
#[derive(Debug)]
pub struct StoreSource<'s> {
    lease: Lease<'s>,
    reference: Reference,
    root: Document,
    /// For each repository that images here are named after: its registry, itself, and the blobs of these images.
    origins: Vec<(String, String, Vec<Digest>)>,
}

impl<'s> StoreSource<'s> {
    /// The image called `reference` in `store`, which must be open for writing, for the lease. With `all` it is the index
    /// that the image came in, and with `platform` one of that index.
    ///
    /// # Errors
    /// If there is no such image, or its manifest is missing or damaged.
    pub fn new(store: &'s Store, reference: &Reference, all: bool, wanted: Option<&Platform>) -> Result<Self, Error> {
        let reference = reference.clone().or_latest();
        let image = image::resolve(store, &reference.to_string())?;
        let lease = store.lease()?;
        let fits = wanted.is_none_or(|wanted| wanted.rank(&platform(&image.config)) == Some(0));
        let root = if all || !fits {
            match index_of(store, &image, &reference)? {
                Some(index) => index,
                // The only platform that there is: with --all it is all there is.
                None if fits => manifest_of(store, &image, &reference)?,
                None => {
                    return Err(Error::PlatformMismatch {
                        reference: reference.familiar(),
                        wanted: Box::new(wanted.cloned().unwrap_or_default()),
                        actual: Box::new(platform(&image.config)),
                    });
                }
            }
        } else {
            manifest_of(store, &image, &reference)?
        };
        lease.protect([&root.digest, &image.manifest, &image.id])?;
        lease.protect(&image.blobs)?;
        let mut origins: Vec<(String, String, Vec<Digest>)> = Vec::new();
        for known in image::list(store)? {
            for name in known.tags.iter().chain(&known.digests) {
                let (registry, repository) = (name.registry(), name.repository());
                let blobs = known.image.blobs.iter().chain([&known.image.id]).cloned();
                match origins.iter_mut().find(|o| o.0 == registry && o.1 == repository) {
                    Some(origin) => origin.2.extend(blobs),
                    None => origins.push((registry.to_owned(), repository.to_owned(), blobs.collect())),
                }
            }
        }
        Ok(Self {
            lease,
            reference,
            root,
            origins,
        })
    }

    fn read(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        Ok(blob::read(self.lease.store(), digest, MANIFEST_MAX)?)
    }
}

fn manifest_of(store: &Store, image: &Image, reference: &Reference) -> Result<Document, Error> {
    let bytes = blob::read(store, &image.manifest, MANIFEST_MAX)?;
    let which = Which::Digest(&image.manifest);
    let (_, media_type) = parse_any(&bytes, None, which, &reference.familiar())?;
    Ok(Document {
        digest: image.manifest.clone(),
        media_type,
        bytes,
    })
}

/// The index that lists the image, if it came in one: of the repository that it is called after, or else of any.
fn index_of(store: &Store, image: &Image, reference: &Reference) -> Result<Option<Document>, Error> {
    let mut names = image::names(store, &image.id)?;
    names.sort_by_key(|name| name.name() != reference.name());
    for digest in names
        .iter()
        .filter_map(Reference::digest)
        .filter(|d| **d != image.manifest)
    {
        let Ok(bytes) = blob::read(store, digest, MANIFEST_MAX) else {
            continue;
        };
        let (parsed, media_type) = parse_any(&bytes, None, Which::Digest(digest), &reference.familiar())?;
        if matches!(&parsed, Parsed::Index(index) if index.manifests.iter().any(|m| m.digest == image.manifest)) {
            return Ok(Some(Document {
                digest: digest.clone(),
                media_type,
                bytes,
            }));
        }
    }
    Ok(None)
}

impl Source for StoreSource<'_> {
    fn name(&self) -> String {
        self.reference.familiar()
    }

    fn root(&self) -> Result<Document, Error> {
        Ok(self.root.clone())
    }

    fn document(&self, listed: &Descriptor) -> Result<Document, Error> {
        self.lease.protect([&listed.digest])?;
        let bytes = self.read(&listed.digest).map_err(|err| match err {
            Error::Store(hull_store::Error::NoBlob { .. }) => Error::Absent {
                name: self.reference.familiar(),
                platform: match &listed.platform {
                    Some(platform) => platform.to_string(),
                    None => listed.digest.to_string(),
                },
            },
            err => err,
        })?;
        let (parsed, media_type) = parse_any(&bytes, None, Which::Listed(listed), &self.reference.familiar())?;
        if let Parsed::Image(manifest) = parsed {
            let layers = manifest.layers.iter().map(|layer| &layer.digest);
            self.lease.protect(layers.chain([&manifest.config.digest]))?;
        }
        Ok(Document {
            digest: listed.digest.clone(),
            media_type,
            bytes,
        })
    }

    fn blob(&self, blob: &Descriptor, offset: u64) -> Result<Reader, Error> {
        let section = hull_store::blob::open(self.lease.store(), &blob.digest)?;
        if section.len() != blob.size {
            return Err(Error::SizeMismatch {
                digest: blob.digest.clone(),
                expected: blob.size,
                actual: section.len(),
            });
        }
        Ok(Box::new(section.skip(offset)))
    }

    fn referrers(&self, _subject: &Digest) -> Result<Vec<Descriptor>, Error> {
        Err(Error::Place {
            place: "the local store".to_owned(),
            reason: "it keeps images, and nothing that is attached to them".to_owned(),
        })
    }

    fn repositories(&self, registry: &str, blob: &Digest) -> Vec<String> {
        let holds = |origin: &&(String, String, Vec<Digest>)| origin.0 == registry && origin.2.contains(blob);
        self.origins
            .iter()
            .filter(holds)
            .map(|origin| origin.1.clone())
            .collect()
    }
}

/// A name in the store.
#[derive(Debug)]
pub struct StoreTarget<'s> {
    lease: Lease<'s>,
    reference: Reference,
    progress: Progress,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The images that were begun, by the digest of their config.
    begun: HashMap<Digest, Begun>,
    /// The manifests that are there with all their blobs, in order.
    images: Vec<(Digest, Digest)>,
    root: Option<(Digest, bool)>,
}

#[derive(Clone, Debug)]
struct Begun {
    config: Vec<u8>,
    parsed: ImageConfig,
    layers: Vec<LayerSpec>,
}

impl<'s> StoreTarget<'s> {
    /// The name `reference` in `store`, which must be open for writing.
    ///
    /// # Errors
    /// If a lease cannot be had.
    pub fn new(store: &'s Store, reference: &Reference, progress: &Progress) -> Result<Self, Error> {
        Ok(Self {
            lease: store.lease()?,
            reference: reference.clone().or_latest(),
            progress: progress.clone(),
            state: Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn malformed(&self, reason: impl Into<String>) -> Error {
        Error::Malformed {
            what: format!("the image that was to be {}", self.reference.familiar()),
            reason: reason.into(),
        }
    }
}

impl Target for StoreTarget<'_> {
    fn name(&self) -> String {
        self.reference.familiar()
    }

    fn takes(&self) -> Takes {
        Takes {
            parallel: 3,
            indexes: true,
            format: None,
            registry: None,
        }
    }

    fn begin(&self, manifest: &Manifest, config: &[u8]) -> Result<(), Error> {
        if !matches!(
            manifest.config.media_type.as_str(),
            media::OCI_CONFIG | media::DOCKER_CONFIG
        ) {
            return Err(Error::NotAnImage {
                reference: self.reference.familiar(),
                media_type: crate::failure::printable(&manifest.config.media_type),
            });
        }
        let parsed: ImageConfig = serde_json::from_slice(config).map_err(|source| Error::Json {
            what: format!("the config of {}", self.reference.familiar()),
            source,
        })?;
        let (named, given) = (parsed.rootfs.diff_ids.len(), manifest.layers.len());
        if named != given {
            return Err(self.malformed(format!("its config names {named} layers, its manifest {given}")));
        }
        let mut parent: Option<Digest> = None;
        let mut layers = Vec::with_capacity(given);
        for (descriptor, diff_id) in manifest.layers.iter().zip(&parsed.rootfs.diff_ids) {
            let chain = chain_id(parent.as_ref(), diff_id);
            parent = Some(chain.clone());
            layers.push(LayerSpec {
                descriptor: descriptor.clone(),
                diff_id: diff_id.clone(),
                chain_id: chain,
            });
        }
        let begun = Begun {
            config: config.to_vec(),
            parsed,
            layers,
        };
        self.state().begun.insert(manifest.config.digest.clone(), begun);
        Ok(())
    }

    fn blob(&self, blob: &Blob<'_>) -> Result<Put, Error> {
        let digest = &blob.descriptor.digest;
        let (config, specs) = {
            let state = self.state();
            let config = state.begun.get(digest).map(|begun| begun.config.clone());
            let layers = state.begun.values().flat_map(|begun| &begun.layers);
            let specs: Vec<LayerSpec> = layers
                .filter(|layer| layer.descriptor.digest == *digest)
                .cloned()
                .collect();
            (config, specs)
        };
        if let Some(config) = config {
            hull_store::blob::write(&self.lease, &config, digest)?;
            return Ok(Put::Written);
        }
        if specs.is_empty() {
            return Err(self.malformed(format!("no manifest names the blob {digest}")));
        }
        let mut put = Put::Present;
        for spec in &specs {
            let mut failed = None;
            let source = |offset: u64| -> Result<Reader, Infallible> {
                put = Put::Written;
                Ok(blob.open(offset).unwrap_or_else(|err| {
                    failed = Some(err);
                    Box::new(std::io::empty())
                }))
            };
            let taken = ingest::layer(&self.lease, spec, source, &self.progress);
            if let Some(err) = failed {
                return Err(err);
            }
            taken?;
        }
        if put == Put::Written {
            blob.moved(blob.descriptor.size);
        }
        Ok(put)
    }

    fn document(&self, document: &Document, named: bool) -> Result<(), Error> {
        hull_store::blob::write(&self.lease, &document.bytes, &document.digest)?;
        let which = Which::Digest(&document.digest);
        let name = self.reference.familiar();
        let (parsed, _) = parse_any(&document.bytes, Some(&document.media_type), which, &name)?;
        let mut state = self.state();
        let index = match parsed {
            Parsed::Image(manifest) => {
                state.images.push((document.digest.clone(), manifest.config.digest));
                false
            }
            Parsed::Index(_) => true,
        };
        if named {
            state.root = Some((document.digest.clone(), index));
        }
        Ok(())
    }

    /// Makes the images known: each by its digest, the one for this host by the name.
    fn finish(&self) -> Result<(), Error> {
        let state = self.state();
        let Some((root, _)) = &state.root else {
            return Err(self.malformed("nothing was named so"));
        };
        let host = Platform::host();
        let rank = |config: &Digest| {
            let begun = state.begun.get(config)?;
            host.rank(&platform(&begun.parsed))
        };
        let best = state
            .images
            .iter()
            .filter_map(|(_, config)| Some((rank(config)?, config)))
            .min();
        let chosen = best
            .map(|(_, config)| config)
            .or(state.images.first().map(|(_, config)| config));
        let Some(chosen) = chosen.cloned() else {
            return Err(self.malformed("it holds no image"));
        };
        for (manifest, config) in &state.images {
            let Some(begun) = state.begun.get(config) else {
                return Err(self.malformed(format!("its config {config} was never sent")));
            };
            let mut names = vec![self.reference.with_digest(manifest.clone())];
            if *config == chosen {
                names.push(self.reference.with_digest(root.clone()));
                if self.reference.digest().is_none() {
                    names.insert(0, self.reference.clone());
                }
            }
            image::record(
                &self.lease,
                &Record {
                    id: config,
                    config: &begun.config,
                    manifest,
                    layers: &begun.layers,
                    names: &names,
                },
            )?;
        }
        Ok(())
    }
}
