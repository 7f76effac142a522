//! `pull`: from a name to an image in the store.

use std::sync::Arc;

use hull_spec::image::{CONFIG_MAX, ImageConfig};
use hull_spec::manifest::{Descriptor, MANIFEST_MAX, Manifest};
use hull_spec::progress::Event;
use hull_spec::{Digest, ErrorKind, Platform, Progress, Reference};
use hull_store::image::{self, Image, Record};
use hull_store::ingest::LayerSpec;
use hull_store::{Lease, Store, blob};

use crate::choose::choose;
use crate::client::Client;
use crate::download::{Download, Downloads, Failure};
use crate::manifest::{Document, Fetched, Which, parse};
use crate::retry::Cancel;
use crate::source::Source;
use crate::{Error, failure};

mod layers;

/// An index may list an index; more than this deep is nobody's image.
const INDEX_DEPTH_MAX: usize = 4;

/// What to pull.
#[derive(Clone, Debug, Default)]
pub struct PullOptions {
    /// The platform; the host's where none is given. One that is given must be met exactly enough to run there.
    pub platform: Option<Platform>,
}

/// A pulled image.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// The image as the store has it.
    pub image: Image,
    /// What was pulled, with its tag.
    pub reference: Reference,
    /// The digest of what the name stands for: an index, or a manifest.
    pub digest: Digest,
    /// Whether the name stands for something that it did not stand for before.
    pub updated: bool,
    /// What a person should know, such as an image for another machine.
    pub warnings: Vec<String>,
}

impl Pulled {
    /// The last lines that `docker pull` prints.
    #[must_use]
    pub fn status_lines(&self) -> [String; 2] {
        let familiar = self.reference.familiar();
        [
            format!("Digest: {}", self.digest),
            if self.updated {
                format!("Status: Downloaded newer image for {familiar}")
            } else {
                format!("Status: Image is up to date for {familiar}")
            },
        ]
    }
}

/// One pull under way.
struct Pull<'a> {
    store: &'a Store,
    lease: &'a Lease<'a>,
    shared: Arc<Downloads>,
    reference: &'a Reference,
    sources: Vec<Source>,
    wanted: Platform,
    /// Whether the platform was asked for, so that another one is an error.
    strict: bool,
}

/// An image as the registry describes it.
struct Described {
    /// The digest of what the name stands for.
    target: Digest,
    manifest_digest: Digest,
    manifest: Manifest,
    config_bytes: Vec<u8>,
    config: ImageConfig,
}

/// Pulls `reference` (`latest` where it names neither tag nor digest) into `store`, which must be open for writing.
/// What is there already is not fetched again; what a killed pull has left is gone on with.
///
/// # Errors
/// If the image cannot be found, fetched, believed or stored. Nothing of it is then visible.
pub fn pull(
    store: &Store,
    client: &Arc<Client>,
    reference: &Reference,
    options: &PullOptions,
    progress: &Progress,
) -> Result<Pulled, Error> {
    let reference = reference.clone().or_latest();
    let lease = store.lease()?;
    let pull = Pull {
        store,
        lease: &lease,
        shared: Arc::new(Downloads {
            client: Arc::clone(client),
            cancel: Arc::new(Cancel::default()),
            progress: progress.clone(),
        }),
        sources: client.sources(&reference)?,
        reference: &reference,
        wanted: options.platform.clone().unwrap_or_else(Platform::host),
        strict: options.platform.is_some(),
    };
    if let Some(done) = pull.unchanged()? {
        return Ok(done);
    }
    let described = pull.describe()?;
    let warnings = pull.check_platform(&described.config)?;
    let layers = described.layers();
    pull.fetch_layers(&layers)?;
    pull.record(&described, &layers, warnings)
}

/// Pulls the first of `candidates` ([`Settings::candidates`](crate::Settings::candidates)) that there is. Only a registry
/// that does not have the image, or does not say, is passed over: one that is down must not decide where an image comes
/// from.
///
/// # Errors
/// As [`pull`]; where nobody has the image, what the first registry said.
pub fn pull_first(
    store: &Store,
    client: &Arc<Client>,
    candidates: &[Reference],
    options: &PullOptions,
    progress: &Progress,
) -> Result<Pulled, Error> {
    let mut first = None;
    for reference in candidates {
        match pull(store, client, reference, options, progress) {
            Err(err) if matches!(err.kind(), ErrorKind::NotFound | ErrorKind::Denied) => {
                first.get_or_insert(err);
            }
            done => return done,
        }
    }
    Err(first.unwrap_or(Error::Cancelled))
}

impl Pull<'_> {
    /// The local image, if the name stands for it still. Costs one HEAD; for a digest nothing at all.
    fn unchanged(&self) -> Result<Option<Pulled>, Error> {
        let Ok(image) = image::resolve(self.store, &self.reference.to_string()) else {
            return Ok(None);
        };
        if self.wanted.rank(&platform(&image.config)) != Some(0) {
            return Ok(None);
        }
        let digest = match self.reference.digest() {
            Some(digest) => digest.clone(),
            None => {
                // Asked once: what HEAD cannot answer the GET that follows will, or it will say why not.
                let head = |source: &Source| self.shared.client.head(source, Which::of(self.reference));
                let Ok(Some(digest)) = self.ask_each(head) else {
                    return Ok(None);
                };
                let name = self.reference.with_digest(digest.clone());
                if !image::names(self.store, &image.id)?.contains(&name) {
                    return Ok(None);
                }
                digest
            }
        };
        self.announce();
        Ok(Some(Pulled {
            image,
            reference: self.reference.clone(),
            digest,
            updated: false,
            warnings: Vec::new(),
        }))
    }

    fn announce(&self) {
        self.shared.progress.send(|| {
            let what = match (self.reference.digest(), self.reference.tag()) {
                (Some(digest), _) => digest.as_str(),
                (None, tag) => tag.unwrap_or("latest"),
            };
            Event::Message(format!("{what}: Pulling from {}", self.reference.repository()))
        });
    }

    /// Finds the image: through indexes to its manifest and its config.
    fn describe(&self) -> Result<Described, Error> {
        let root = self.fetch(Which::of(self.reference))?;
        // Not before: nothing is pulled from where there is nothing.
        self.announce();
        let target = root.digest.clone();
        let mut at = root;
        for _ in 0..=INDEX_DEPTH_MAX {
            self.keep(&at.bytes, &at.digest)?;
            match &at.document {
                Document::Image(manifest) => {
                    let (config_bytes, config) = self.config(manifest)?;
                    return Ok(Described {
                        target,
                        manifest_digest: at.digest.clone(),
                        manifest: (**manifest).clone(),
                        config_bytes,
                        config,
                    });
                }
                Document::Index(index) => {
                    let entry = choose(index, &self.wanted, self.reference)?.clone();
                    at = self.listed(&entry)?;
                }
            }
        }
        Err(Error::Malformed {
            what: format!("the index of {}", self.reference.familiar()),
            reason: format!("indexes are nested more than {INDEX_DEPTH_MAX} deep"),
        })
    }

    /// What an index lists: from the store if it is there.
    fn listed(&self, entry: &Descriptor) -> Result<Fetched, Error> {
        self.lease.protect([&entry.digest])?;
        let Ok(bytes) = blob::read(self.store, &entry.digest, MANIFEST_MAX) else {
            return self.fetch(Which::Listed(entry));
        };
        Ok(Fetched {
            digest: entry.digest.clone(),
            document: parse(&bytes, None, Which::Listed(entry), self.reference)?,
            bytes,
        })
    }

    fn fetch(&self, which: Which<'_>) -> Result<Fetched, Error> {
        let client = &self.shared.client;
        self.ask_each(|source| {
            client.patiently(source, &self.shared.cancel, || {
                client.document(source, self.reference, which)
            })
        })
    }

    /// Asks the sources in turn until one can answer; what the registry itself says is final.
    fn ask_each<T>(&self, act: impl Fn(&Source) -> Result<T, Error>) -> Result<T, Error> {
        let mut last = Error::Cancelled;
        for source in &self.sources {
            match act(source) {
                Ok(done) => return Ok(done),
                Err(err) => last = err,
            }
        }
        Err(last)
    }

    fn keep(&self, bytes: &[u8], digest: &Digest) -> Result<(), Error> {
        Ok(blob::write(self.lease, bytes, digest)?)
    }

    fn config(&self, manifest: &Manifest) -> Result<(Vec<u8>, ImageConfig), Error> {
        let descriptor = &manifest.config;
        let what = format!("the config of {}", self.reference.familiar());
        if descriptor.size > CONFIG_MAX {
            return Err(Error::TooLarge {
                what,
                limit: CONFIG_MAX,
            });
        }
        self.lease.protect([&descriptor.digest])?;
        let bytes = match blob::read(self.store, &descriptor.digest, descriptor.size) {
            Ok(bytes) => bytes,
            Err(_) => self.ask_each(|source| self.small_blob(source, descriptor, &what))?,
        };
        let config: ImageConfig = serde_json::from_slice(&bytes).map_err(|source| Error::Json {
            what: what.clone(),
            source,
        })?;
        let malformed = |reason: String| Error::Malformed {
            what: what.clone(),
            reason,
        };
        // A sequence could stand for the object of the same fields; and without its layers it is no image's config.
        if !bytes.trim_ascii_start().starts_with(b"{") || config.rootfs.kind != "layers" {
            return Err(malformed("invalid rootfs in image configuration".to_owned()));
        }
        let (named, given) = (config.rootfs.diff_ids.len(), manifest.layers.len());
        if named != given {
            return Err(malformed(format!("it names {named} layers, and the manifest {given}")));
        }
        self.keep(&bytes, &descriptor.digest)?;
        Ok((bytes, config))
    }

    /// Fetches a blob into memory and checks it.
    fn small_blob(&self, source: &Source, blob: &Descriptor, what: &str) -> Result<Vec<u8>, Error> {
        use std::io::Read as _;
        let failure = Failure::default();
        let mut download = Download::new(Arc::clone(&self.shared), [source.clone()], blob, 0, failure.clone()).silent();
        let mut bytes = Vec::new();
        if let Err(err) = download.read_to_end(&mut bytes) {
            return Err(failure.take().unwrap_or_else(|| Error::Truncated {
                method: "GET",
                url: blob.digest.to_string(),
                received: bytes.len() as u64,
                source: Some(err),
            }));
        }
        let actual = hull_store::digest(blob.digest.algorithm(), &bytes);
        if actual != blob.digest {
            return Err(Error::DigestMismatch {
                what: what.to_owned(),
                expected: blob.digest.to_string(),
                actual,
            });
        }
        Ok(bytes)
    }

    /// Refuses an image that was not asked for, and warns of one that will not run fast or at all.
    fn check_platform(&self, config: &ImageConfig) -> Result<Vec<String>, Error> {
        let actual = platform(config);
        // Images of old builders say nothing.
        if actual.os.is_empty() || actual.architecture.is_empty() || self.wanted.rank(&actual).is_some() {
            return Ok(Vec::new());
        }
        if self.strict || actual.os != self.wanted.os {
            return Err(Error::PlatformMismatch {
                reference: self.reference.familiar(),
                wanted: Box::new(self.wanted.clone()),
                actual: Box::new(actual),
            });
        }
        Ok(vec![format!(
            "The requested image's platform ({}) does not match the detected host platform ({}) and no specific platform was requested",
            failure::printable(&actual.to_string()),
            self.wanted
        )])
    }

    fn record(&self, described: &Described, layers: &[LayerSpec], warnings: Vec<String>) -> Result<Pulled, Error> {
        let by_digest = self.reference.with_digest(described.target.clone());
        let before = image::resolve(self.store, &self.reference.to_string())
            .ok()
            .filter(|image| image.id == described.manifest.config.digest);
        let known = match &before {
            Some(image) => image::names(self.store, &image.id)?.contains(&by_digest),
            None => false,
        };
        let names = match self.reference.digest() {
            Some(_) => vec![by_digest],
            None => vec![self.reference.clone(), by_digest],
        };
        let image = image::record(
            self.lease,
            &Record {
                id: &described.manifest.config.digest,
                config: &described.config_bytes,
                manifest: &described.manifest_digest,
                layers,
                names: &names,
            },
        )?;
        Ok(Pulled {
            image,
            reference: self.reference.clone(),
            digest: described.target.clone(),
            updated: !known,
            warnings,
        })
    }
}

impl Described {
    fn layers(&self) -> Vec<LayerSpec> {
        LayerSpec::stack(&self.manifest.layers, &self.config.rootfs.diff_ids)
    }
}

pub(crate) fn platform(config: &ImageConfig) -> Platform {
    Platform {
        os: config.os.clone(),
        architecture: config.architecture.clone(),
        variant: config.variant.clone(),
        os_version: config.os_version.clone(),
        ..Platform::default()
    }
}
