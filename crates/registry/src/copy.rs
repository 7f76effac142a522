//! Copying an image from one place to another, without keeping it in between.
//!
//! A *place* is a registry, the store, an archive or a folder. Where an image comes from is a [`Source`], where it goes
//! is a [`Target`]; [`copy()`] walks from an index to its manifests, from a manifest to its config and its layers, and
//! moves what the target has not. Documents move as the bytes that they are, so that digests stay, unless another format
//! or compression was asked for.

mod archive;
mod convert;
mod daemon;
mod image;
mod place;
mod registry;
pub mod ssh;
mod store;

use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hull_spec::manifest::{Descriptor, Index, Manifest};
use hull_spec::progress::Event;
use hull_spec::{Digest, Platform, Progress};
use hull_store::recompress::Form;

pub use archive::{ArchiveSource, ArchiveTarget};
pub use convert::Format;
pub use daemon::{Daemon, DaemonTarget};
pub(crate) use image::config;
pub use place::{Around, Place};
pub use registry::{RegistrySource, RegistryTarget};
pub use store::{StoreSource, StoreTarget};

use crate::Error;
use crate::choose::choose_named;
use crate::manifest::{Document as Parsed, Which, parse_any};
use crate::retry::Cancel;

/// An index may list an index; more than this deep is nobody's image. Referrers of referrers are followed as far.
const DEPTH_MAX: usize = 4;

/// The bytes of a blob.
pub type Reader = Box<dyn Read + Send>;

/// A manifest or an index: bytes that are named by their digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The digest of the bytes.
    pub digest: Digest,
    /// What they are.
    pub media_type: String,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// Where an image comes from.
///
/// The contract: documents have the digest that they are asked for by; a blob's bytes need not be checked, for whoever
/// takes them does. Several blobs may be read at once. A reader's error may carry an [`Error`] of this crate.
pub trait Source: Sync {
    /// What errors call the image.
    fn name(&self) -> String;

    /// What the image's name stands for.
    ///
    /// # Errors
    /// If there is no such image.
    fn root(&self) -> Result<Document, Error>;

    /// A document that another one lists.
    ///
    /// # Errors
    /// If it is not there.
    fn document(&self, listed: &Descriptor) -> Result<Document, Error>;

    /// A blob's bytes from `offset` to its end.
    ///
    /// # Errors
    /// If it is not there.
    fn blob(&self, blob: &Descriptor, offset: u64) -> Result<Reader, Error>;

    /// The manifests that are attached to `subject`: signatures, SBOMs, attestations.
    ///
    /// # Errors
    /// If the place keeps such and cannot say.
    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, Error>;

    /// The repositories of `registry` that hold `blob`, as far as is known.
    fn repositories(&self, registry: &str, blob: &Digest) -> Vec<String>;

    /// Breaks off what is under way: the copy has failed elsewhere.
    fn interrupt(&self) {}
}

/// Where an image goes.
///
/// The contract: [`Target::begin`] comes before the blobs of an image, the blobs before the document that lists them,
/// [`Target::finish`] last. What is not finished may leave blobs behind, but no image. Bytes that do not match their
/// descriptor are refused.
pub trait Target: Sync {
    /// What errors call the place.
    fn name(&self) -> String;

    /// What can be put there.
    fn takes(&self) -> Takes;

    /// Announces an image with the bytes of its config, whose blobs come next.
    ///
    /// # Errors
    /// If the place cannot hold such an image.
    fn begin(&self, manifest: &Manifest, config: &[u8]) -> Result<(), Error>;

    /// Puts a blob there, unless it is there.
    ///
    /// # Errors
    /// If its bytes are not the promised ones, or cannot be put there.
    fn blob(&self, blob: &Blob<'_>) -> Result<Put, Error>;

    /// Puts a document there: under the image's name, or where it is only listed by another one, under its digest.
    ///
    /// # Errors
    /// If it cannot be put there.
    fn document(&self, document: &Document, named: bool) -> Result<(), Error>;

    /// Puts the last hand to it, when all is there.
    ///
    /// # Errors
    /// If that fails.
    fn finish(&self) -> Result<(), Error>;

    /// Breaks off what is under way: the copy has failed elsewhere.
    fn interrupt(&self) {}
}

/// What a target can hold.
#[derive(Clone, Debug)]
pub struct Takes {
    /// Blobs that it takes at once.
    pub parallel: usize,
    /// Whether it can hold indexes.
    pub indexes: bool,
    /// The only format that it can hold, if it cannot hold all.
    pub format: Option<Format>,
    /// The registry that it is, if it is one: blobs can then be mounted from another repository of it.
    pub registry: Option<String>,
}

/// What became of a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    /// It was there.
    Present,
    /// The registry took it from another repository of its own.
    Mounted(String),
    /// It was sent.
    Written,
}

/// A blob on its way.
pub struct Blob<'a> {
    /// What it is.
    pub descriptor: &'a Descriptor,
    /// Repositories of the target's registry that hold it.
    pub mount: &'a [String],
    open: &'a (dyn Fn(u64) -> Result<Reader, Error> + Sync),
    failed: &'a Slot,
    moved: &'a AtomicU64,
    shown: Option<(&'a Digest, &'a Progress)>,
}

impl std::fmt::Debug for Blob<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blob")
            .field("descriptor", self.descriptor)
            .finish_non_exhaustive()
    }
}

/// Why a source could not be read, kept while the error passes through what only knows of [`io::Error`].
type Slot = Arc<Mutex<Option<Error>>>;

impl Blob<'_> {
    /// Its bytes from `offset` to its end.
    ///
    /// # Errors
    /// If the source cannot give them.
    pub fn open(&self, offset: u64) -> Result<Reader, Error> {
        let inner = (self.open)(offset)?;
        Ok(Box::new(Watched {
            inner,
            failed: Arc::clone(self.failed),
            digest: self.descriptor.digest.clone(),
            done: offset,
            total: self.descriptor.size,
            shown: self.shown.map(|(digest, progress)| (digest.clone(), progress.clone())),
            told: offset,
        }))
    }

    /// Whether it was the source that failed: trying again at the target is then of no use.
    pub(crate) fn source_failed(&self) -> bool {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Tells that so many bytes were taken.
    pub(crate) fn moved(&self, bytes: u64) {
        self.moved.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn retrying(&self, seconds: u64) {
        if let Some((blob, progress)) = self.shown {
            progress.send(|| Event::Retrying {
                blob: blob.clone(),
                seconds,
            });
        }
    }
}

/// A reader that tells how far it is, and keeps its failure.
struct Watched {
    inner: Reader,
    failed: Slot,
    digest: Digest,
    done: u64,
    total: u64,
    shown: Option<(Digest, Progress)>,
    told: u64,
}

/// How often progress is told: every so many bytes.
const STEP: u64 = 256 << 10;

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.inner.read(buffer) {
            Ok(n) => {
                self.done += n as u64;
                if let Some((blob, progress)) = &self.shown
                    && (self.done - self.told >= STEP || self.done == self.total)
                {
                    self.told = self.done;
                    progress.send(|| Event::Uploading {
                        blob: blob.clone(),
                        done: self.done,
                        total: self.total,
                    });
                }
                Ok(n)
            }
            Err(err) if err.kind() == io::ErrorKind::Interrupted => Err(err),
            Err(err) => {
                let told = io::Error::other(err.to_string());
                let err = err.downcast::<Error>().unwrap_or_else(|source| Error::Read {
                    digest: self.digest.clone(),
                    source,
                });
                self.failed
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .get_or_insert(err);
                Err(told)
            }
        }
    }
}

/// How an image is copied.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Every platform of an index, with the index.
    pub all: bool,
    /// The platform that is chosen from an index otherwise; the host's where none is given.
    pub platform: Option<Platform>,
    /// Whether the platform was asked for, so that an image for another one is refused.
    pub strict: bool,
    /// Whose formats manifests, indexes and configs are to have.
    pub format: Option<Format>,
    /// How layers are to be compressed.
    pub form: Option<Form>,
    /// How layers are compressed that are not at all.
    pub plain: Option<Form>,
    /// Whether nothing may change that would change a digest.
    pub preserve_digests: bool,
    /// Whether what is attached to the image comes along.
    pub referrers: bool,
    /// Where layers are kept while they are compressed.
    pub spool: PathBuf,
    /// Where is remembered what a layer is when it is compressed, so that it is not done again to find out.
    pub memory: Option<PathBuf>,
}

/// What was copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// The digest that the image has at its target.
    pub digest: Digest,
    /// What the document of this digest is.
    pub media_type: String,
    /// Bytes of that document.
    pub size: u64,
    /// Bytes of blobs that were sent.
    pub moved: u64,
}

/// One copy under way.
struct Job<'a> {
    source: &'a dyn Source,
    target: &'a dyn Target,
    options: &'a Options,
    progress: &'a Progress,
    cancel: Cancel,
    moved: AtomicU64,
}

/// Copies what `source` names to `target`.
///
/// # Errors
/// What either of them says; a platform that is not there; a conversion that cannot be done or is not allowed.
pub fn copy(source: &dyn Source, target: &dyn Target, options: &Options, progress: &Progress) -> Result<Copied, Error> {
    let job = Job {
        source,
        target,
        options,
        progress,
        cancel: Cancel::default(),
        moved: AtomicU64::new(0),
    };
    let root = job.select(source.root()?)?;
    let original = root.digest.clone();
    let put = job.document(root, None, 0)?;
    if options.referrers {
        if put.digest != original {
            return Err(Error::Conversion {
                name: source.name(),
                reason: "what is attached to it names its digest, which would be another one".to_owned(),
            });
        }
        job.referrers(&original, 0)?;
    }
    target.finish()?;
    Ok(Copied {
        digest: put.digest,
        media_type: put.media_type,
        size: put.size,
        moved: job.moved.into_inner(),
    })
}

impl Job<'_> {
    /// Goes through indexes to one manifest, unless all of them are wanted.
    fn select(&self, root: Document) -> Result<Document, Error> {
        if self.options.all && self.options.platform.is_none() {
            if !self.target.takes().indexes
                && let Parsed::Index(_) = self.parse(&root, None)?
            {
                return Err(Error::Place {
                    place: self.target.name(),
                    reason: "it can hold one platform only".to_owned(),
                });
            }
            return Ok(root);
        }
        let wanted = self.options.platform.clone().unwrap_or_else(Platform::host);
        let mut at = root;
        for _ in 0..=DEPTH_MAX {
            let Parsed::Index(index) = self.parse(&at, None)? else {
                return Ok(at);
            };
            let entry = choose_named(&index, &wanted, &self.source.name())?.clone();
            at = self.source.document(&entry)?;
        }
        Err(self.nested())
    }

    fn nested(&self) -> Error {
        Error::Malformed {
            what: format!("the index of {}", self.source.name()),
            reason: format!("indexes are nested more than {DEPTH_MAX} deep"),
        }
    }

    fn parse(&self, document: &Document, listed: Option<&Descriptor>) -> Result<Parsed, Error> {
        let which = listed.map_or(Which::Digest(&document.digest), Which::Listed);
        Ok(parse_any(&document.bytes, Some(&document.media_type), which, &self.source.name())?.0)
    }

    /// Copies a document with all below it. Returns what it became.
    fn document(&self, document: Document, listed: Option<&Descriptor>, depth: usize) -> Result<Descriptor, Error> {
        if depth > DEPTH_MAX {
            return Err(self.nested());
        }
        let named = depth == 0;
        let put = match self.parse(&document, listed)? {
            Parsed::Image(manifest) => self.image(document, &manifest)?,
            Parsed::Index(index) => self.index(document, &index, depth)?,
        };
        self.target.document(&put, named)?;
        Ok(Descriptor {
            media_type: put.media_type,
            digest: put.digest,
            size: put.bytes.len() as u64,
            urls: Vec::new(),
            annotations: listed.map(|l| l.annotations.clone()).unwrap_or_default(),
            platform: listed.and_then(|l| l.platform.clone()),
            artifact_type: listed.and_then(|l| l.artifact_type.clone()),
        })
    }

    fn index(&self, document: Document, index: &Index, depth: usize) -> Result<Document, Error> {
        let mut entries = Vec::with_capacity(index.manifests.len());
        for entry in &index.manifests {
            self.cancel.check()?;
            entries.push(self.document(self.source.document(entry)?, Some(entry), depth + 1)?);
        }
        convert::index(self, document, index, entries)
    }

    /// Copies what is attached to `subject`, and what is attached to that.
    fn referrers(&self, subject: &Digest, depth: usize) -> Result<(), Error> {
        if depth > DEPTH_MAX {
            return Ok(());
        }
        for referrer in self.source.referrers(subject)? {
            let document = self.source.document(&referrer)?;
            // Attached by its own word: by its digest only, at a depth where nothing takes the image's name.
            self.document(document, Some(&referrer), 1)?;
            self.referrers(&referrer.digest, depth + 1)?;
        }
        Ok(())
    }
}
