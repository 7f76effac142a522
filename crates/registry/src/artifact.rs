//! Artifacts: files that are kept in a registry as images are, and attached to an image or not (OCI image spec 1.1,
//! "Guidelines for Artifact Usage").

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use hull_spec::manifest::{Descriptor, Manifest, media};
use hull_spec::{Algorithm, Digest, Progress, Reference};
use hull_store::recompress::{Spool, spool};
use rustix::fs::{Mode, OFlags};

use crate::copy::{Copied, Document, Options, Reader, RegistrySource, RegistryTarget, Source, copy};
use crate::manifest::{Document as Parsed, Which, parse_any};
use crate::{Client, Error};

/// The name of a layer's file.
const TITLE: &str = "org.opencontainers.image.title";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// The most that a file may have, in bytes.
const FILE_MAX: u64 = 1 << 40;

/// What to push.
#[derive(Clone, Debug)]
pub struct ArtifactRequest {
    /// What kind of artifact it is, such as `application/spdx+json`.
    pub kind: String,
    /// Its files, with a media type each.
    pub files: Vec<(PathBuf, Option<String>)>,
    /// Free metadata.
    pub annotations: BTreeMap<String, String>,
    /// The image that it is attached to, in the same repository.
    pub subject: Option<Reference>,
}

/// An artifact in the making.
struct Artifact {
    document: Document,
    config: Digest,
    files: Vec<Spool>,
    name: String,
}

/// Pushes files as one artifact: under the tag of `reference`, or, where it has none, under its digest. The same files
/// give the same digest.
///
/// # Errors
/// If a file cannot be read; if there is no such subject; what the registry says.
pub fn push_artifact(
    client: &Arc<Client>,
    reference: &Reference,
    request: &ArtifactRequest,
    folder: &Path,
    progress: &Progress,
) -> Result<Copied, Error> {
    let subject = match &request.subject {
        Some(subject) => Some(describe(client, subject)?),
        None => None,
    };
    let mut layers = Vec::new();
    let mut files = Vec::new();
    for (path, kind) in &request.files {
        let file = File::open(path).map_err(|source| io("open", path, source))?;
        // Kept first: what is sent must be what its digest is of, whoever writes to the file meanwhile.
        let any = hull_store::digest(Algorithm::Sha256, b"");
        let kept = spool(file, &any, folder, FILE_MAX)?;
        let title = path.file_name().map(|name| name.to_string_lossy().into_owned());
        layers.push(Descriptor {
            annotations: title.map(|title| (TITLE.to_owned(), title)).into_iter().collect(),
            ..descriptor(
                kind.as_deref().unwrap_or("application/octet-stream"),
                &kept.digest,
                kept.size,
            )
        });
        files.push(kept);
    }
    let config = hull_store::digest(Algorithm::Sha256, b"{}");
    if layers.is_empty() {
        layers.push(descriptor(EMPTY, &config, 2));
    }
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(media::OCI_MANIFEST.to_owned()),
        artifact_type: Some(request.kind.clone()),
        config: descriptor(EMPTY, &config, 2),
        layers,
        subject,
        annotations: request.annotations.clone(),
    };
    let bytes = serde_json::to_vec(&manifest).map_err(|source| Error::Json {
        what: format!("the manifest of {}", reference.familiar()),
        source,
    })?;
    let digest = hull_store::digest(Algorithm::Sha256, &bytes);
    let named = match reference.tag() {
        Some(_) => reference.clone(),
        None => reference.with_digest(digest.clone()),
    };
    let artifact = Artifact {
        document: Document {
            digest,
            media_type: media::OCI_MANIFEST.to_owned(),
            bytes,
        },
        config,
        files,
        name: named.familiar(),
    };
    let target = RegistryTarget::new(client, &named)?;
    copy(&artifact, &target, &Options::default(), progress)
}

fn descriptor(media_type: &str, digest: &Digest, size: u64) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        digest: digest.clone(),
        size,
        urls: Vec::new(),
        annotations: BTreeMap::new(),
        platform: None,
        artifact_type: None,
    }
}

/// The descriptor of what a registry has under a name.
fn describe(client: &Arc<Client>, reference: &Reference) -> Result<Descriptor, Error> {
    let found = RegistrySource::new(client, reference)?.root()?;
    Ok(descriptor(&found.media_type, &found.digest, found.bytes.len() as u64))
}

fn io(act: &'static str, path: &Path, source: std::io::Error) -> Error {
    Error::Store(hull_store::Error::Io {
        act,
        path: path.to_owned(),
        source,
    })
}

impl Source for Artifact {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn root(&self) -> Result<Document, Error> {
        Ok(self.document.clone())
    }

    fn document(&self, _listed: &Descriptor) -> Result<Document, Error> {
        Ok(self.document.clone())
    }

    fn blob(&self, blob: &Descriptor, offset: u64) -> Result<Reader, Error> {
        if let Some(file) = self.files.iter().find(|file| file.digest == blob.digest) {
            return Ok(Box::new(file.reader(offset)));
        }
        if blob.digest == self.config {
            let rest = b"{}".get(usize::try_from(offset).unwrap_or(2)..).unwrap_or_default();
            return Ok(Box::new(rest));
        }
        Err(Error::Store(hull_store::Error::NoBlob {
            digest: blob.digest.clone(),
        }))
    }

    fn referrers(&self, _subject: &Digest) -> Result<Vec<Descriptor>, Error> {
        Ok(Vec::new())
    }

    fn repositories(&self, _registry: &str, _blob: &Digest) -> Vec<String> {
        Vec::new()
    }
}

/// Fetches an artifact's files into `folder`, each under its own name; returns these. A file that is there stays, unless
/// `replace` is given. The names are a stranger's: only plain ones are taken.
///
/// # Errors
/// What the registry says; bytes that are not the promised ones; a name that is none; a file that is there.
pub fn pull_artifact(
    client: &Arc<Client>,
    reference: &Reference,
    folder: &Path,
    replace: bool,
) -> Result<(Digest, Vec<PathBuf>), Error> {
    let source = RegistrySource::new(client, reference)?;
    let document = source.root()?;
    let which = Which::Digest(&document.digest);
    let name = reference.familiar();
    let (parsed, _) = parse_any(&document.bytes, Some(&document.media_type), which, &name)?;
    let Parsed::Image(manifest) = parsed else {
        return Err(Error::IsList { name });
    };
    let mut named: Vec<(PathBuf, &Descriptor)> = Vec::new();
    for layer in manifest.layers.iter().filter(|layer| layer.media_type != EMPTY) {
        let title = layer
            .annotations
            .get(TITLE)
            .cloned()
            .unwrap_or_else(|| layer.digest.hex().to_owned());
        let plain = !title.is_empty() && title.len() < 200 && !title.starts_with('.') && {
            let bad = |c: char| c == '/' || c == '\\' || c.is_control();
            !title.contains(bad)
        };
        let path = folder.join(&title);
        if !plain || named.iter().any(|(known, _)| *known == path) {
            return Err(Error::Malformed {
                what: format!("the manifest of {name}"),
                reason: format!("it names a file `{}`", crate::failure::printable(&title)),
            });
        }
        if !replace && path.symlink_metadata().is_ok() {
            return Err(io("create", &path, std::io::ErrorKind::AlreadyExists.into()));
        }
        named.push((path, layer));
    }
    for (path, layer) in &named {
        fetch(&source, layer, folder, path)?;
    }
    Ok((document.digest, named.into_iter().map(|(path, _)| path).collect()))
}

/// Fetches one file: it gets its name when its digest is right.
fn fetch(source: &RegistrySource, layer: &Descriptor, folder: &Path, path: &Path) -> Result<(), Error> {
    let failed: Arc<Mutex<Option<Error>>> = Arc::default();
    let reader = Noted {
        inner: source.blob(layer, 0)?,
        failed: Arc::clone(&failed),
    };
    let kept = spool(reader, &layer.digest, folder, layer.size).map_err(|err| {
        let noted = failed.lock().unwrap_or_else(PoisonError::into_inner).take();
        noted.unwrap_or(Error::Store(err))
    })?;
    if kept.digest != layer.digest || kept.size != layer.size {
        return Err(Error::DigestMismatch {
            what: format!("the file `{}`", path.display()),
            expected: layer.digest.to_string(),
            actual: kept.digest,
        });
    }
    let new = folder.join(format!(".hull-{}-{}", std::process::id(), layer.digest.short()));
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let written = rustix::fs::open(&new, flags, Mode::from_raw_mode(0o644))
        .map_err(std::io::Error::from)
        .and_then(|file| std::io::copy(&mut kept.reader(0), &mut File::from(file)))
        .and_then(|_| std::fs::rename(&new, path));
    written.map_err(|source| {
        let _ = std::fs::remove_file(&new);
        io("write", path, source)
    })
}

/// A reader whose failure is kept.
struct Noted {
    inner: Reader,
    failed: Arc<Mutex<Option<Error>>>,
}

impl std::io::Read for Noted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.inner.read(buffer).map_err(|err| {
            let told = std::io::Error::other(err.to_string());
            if let Ok(err) = err.downcast::<Error>() {
                *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(err);
            }
            told
        })
    }
}
