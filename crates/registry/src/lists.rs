//! Manifest lists in the making, as `docker manifest` makes them: several images under one name, put together here and
//! then pushed.
//!
//! Each list is one file, `FOLDER/HEX.json`, named after the digest of its name, and written under another name first.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hull_spec::image::ImageConfig;
use hull_spec::manifest::{Descriptor, Manifest, media};
use hull_spec::{Algorithm, Digest, Platform, Progress, Reference};
use serde::{Deserialize, Serialize};

use crate::copy::{Document, Options, RegistrySource, RegistryTarget, Source as _, Target as _, copy};
use crate::manifest::{Document as Parsed, Which, parse_any};
use crate::pull::platform;
use crate::{Client, Error};

/// The most that is read of a list's file, in bytes.
const LIST_MAX: u64 = 16 << 20;

/// Where lists are kept, and who asks registries for what goes into them.
#[derive(Debug)]
pub struct Lists {
    folder: PathBuf,
    client: Arc<Client>,
}

/// A list.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct List {
    name: String,
    entries: Vec<Entry>,
}

/// One image of a list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// What it was named by.
    pub reference: String,
    /// Its manifest, with the platform that it is listed for.
    pub descriptor: Descriptor,
    /// The manifest itself.
    pub raw: String,
}

/// What is to be changed about an image of a list.
#[derive(Clone, Debug, Default)]
pub struct Annotations {
    /// The operating system.
    pub os: Option<String>,
    /// The instruction set.
    pub architecture: Option<String>,
    /// Its version.
    pub variant: Option<String>,
    /// Windows' build number.
    pub os_version: Option<String>,
    /// Windows' features.
    pub os_features: Vec<String>,
}

/// What was pushed.
#[derive(Clone, Debug)]
pub struct PushedList {
    /// Images that had to be brought into the list's repository.
    pub copied: Vec<(Reference, Digest)>,
    /// The digest of the list.
    pub digest: Digest,
}

/// A list as Docker writes it: the order and the indentation make its digest.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    schema_version: u32,
    media_type: &'a str,
    manifests: Vec<WrittenEntry<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenEntry<'a> {
    media_type: &'a str,
    size: u64,
    digest: &'a Digest,
    platform: WrittenPlatform<'a>,
}

#[derive(Serialize)]
struct WrittenPlatform<'a> {
    architecture: &'a str,
    os: &'a str,
    #[serde(rename = "os.version", skip_serializing_if = "str::is_empty")]
    os_version: &'a str,
    #[serde(rename = "os.features", skip_serializing_if = "<[_]>::is_empty")]
    os_features: &'a [String],
    #[serde(skip_serializing_if = "str::is_empty")]
    variant: &'a str,
}

impl Lists {
    /// The lists in `folder`, which need not be there yet.
    #[must_use]
    pub fn new(folder: PathBuf, client: Arc<Client>) -> Self {
        Self { folder, client }
    }

    fn path(&self, name: &Reference) -> PathBuf {
        let digest = hull_store::digest(Algorithm::Sha256, name.to_string().as_bytes());
        self.folder.join(format!("{}.json", digest.hex()))
    }

    fn load(&self, name: &Reference) -> Result<Option<List>, Error> {
        let path = self.path(name);
        let fail = |act, source| io(act, &path, source);
        let file = match std::fs::File::open(&path) {
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|err| fail("open", err))?,
        };
        let mut bytes = Vec::new();
        file.take(LIST_MAX)
            .read_to_end(&mut bytes)
            .map_err(|err| fail("read", err))?;
        serde_json::from_slice(&bytes).map(Some).map_err(|source| Error::Json {
            what: format!("`{}`", path.display()),
            source,
        })
    }

    fn save(&self, name: &Reference, list: &List) -> Result<(), Error> {
        let path = self.path(name);
        let bytes = serde_json::to_vec(list).map_err(|source| Error::Json {
            what: format!("the manifest list {}", name.familiar()),
            source,
        })?;
        let new = path.with_extension(format!("new-{}", std::process::id()));
        let written = std::fs::create_dir_all(&self.folder)
            .and_then(|()| std::fs::write(&new, bytes))
            .and_then(|()| std::fs::rename(&new, &path));
        written.map_err(|source| {
            let _ = std::fs::remove_file(&new);
            io("write", &path, source)
        })
    }

    /// Makes a list of `manifests`, or with `amend` adds them to the one that is there.
    ///
    /// # Errors
    /// If there is such a list and it is not to be amended; what a registry says; an image that is a list itself.
    pub fn create(&self, name: &Reference, manifests: &[Reference], amend: bool) -> Result<(), Error> {
        let mut list = match self.load(name)? {
            Some(_) if !amend => return Err(Error::ListExists),
            Some(list) => list,
            None => List {
                name: name.to_string(),
                entries: Vec::new(),
            },
        };
        for manifest in manifests {
            let entry = self.describe(manifest)?;
            match list.entries.iter_mut().find(|known| known.reference == entry.reference) {
                Some(known) => *known = entry,
                None => list.entries.push(entry),
            }
        }
        self.save(name, &list)
    }

    /// What a registry knows of an image.
    ///
    /// # Errors
    /// What it says; an image that is a list.
    pub fn describe(&self, reference: &Reference) -> Result<Entry, Error> {
        let reference = reference.clone().or_latest();
        let source = RegistrySource::new(&self.client, &reference)?;
        let document = source.root()?;
        let Parsed::Image(manifest) = parsed(&document, &reference)? else {
            return Err(Error::IsList {
                name: reference.familiar(),
            });
        };
        let config = config(&source, &manifest)?;
        let raw = String::from_utf8(document.bytes).map_err(|_| Error::Malformed {
            what: format!("the manifest of {}", reference.familiar()),
            reason: "it is not UTF-8".to_owned(),
        })?;
        Ok(Entry {
            descriptor: Descriptor {
                media_type: document.media_type,
                digest: document.digest,
                size: raw.len() as u64,
                urls: Vec::new(),
                annotations: BTreeMap::new(),
                platform: Some(platform(&config)),
                artifact_type: None,
            },
            reference: reference.to_string(),
            raw,
        })
    }

    /// What a registry has under a name: the document as it is.
    ///
    /// # Errors
    /// What it says.
    pub fn fetch(&self, reference: &Reference) -> Result<Document, Error> {
        RegistrySource::new(&self.client, reference)?.root()
    }

    /// Changes what a list says of an image.
    ///
    /// # Errors
    /// If there is no such list, or no such image in it.
    pub fn annotate(&self, name: &Reference, manifest: &Reference, change: &Annotations) -> Result<(), Error> {
        let missing = || Error::NotListed {
            image: manifest.familiar(),
            list: name.familiar(),
        };
        let mut list = self.load(name)?.ok_or_else(missing)?;
        let wanted = manifest.clone().or_latest().to_string();
        let entry = list.entries.iter_mut().find(|entry| entry.reference == wanted);
        let platform = entry.ok_or_else(missing)?.descriptor.platform.get_or_insert_default();
        let put = |field: &mut String, value: &Option<String>| {
            if let Some(value) = value {
                field.clone_from(value);
            }
        };
        put(&mut platform.os, &change.os);
        put(&mut platform.architecture, &change.architecture);
        if change.variant.is_some() {
            platform.variant.clone_from(&change.variant);
        }
        if change.os_version.is_some() {
            platform.os_version.clone_from(&change.os_version);
        }
        for feature in &change.os_features {
            if !platform.os_features.contains(feature) {
                platform.os_features.push(feature.clone());
            }
        }
        self.save(name, &list)
    }

    /// The entries of a list; `None` where there is none of that name.
    ///
    /// # Errors
    /// If its file cannot be read.
    pub fn entries(&self, name: &Reference) -> Result<Option<Vec<Entry>>, Error> {
        Ok(self.load(name)?.map(|list| list.entries))
    }

    /// A list as it is pushed.
    ///
    /// # Errors
    /// If it cannot be put in JSON.
    pub fn document(&self, entries: &[Entry]) -> Result<Document, Error> {
        let none = Platform::default();
        let manifests = entries.iter().map(|entry| {
            let platform = entry.descriptor.platform.as_ref().unwrap_or(&none);
            WrittenEntry {
                media_type: &entry.descriptor.media_type,
                size: entry.descriptor.size,
                digest: &entry.descriptor.digest,
                platform: WrittenPlatform {
                    architecture: &platform.architecture,
                    os: &platform.os,
                    os_version: platform.os_version.as_deref().unwrap_or_default(),
                    os_features: &platform.os_features,
                    variant: platform.variant.as_deref().unwrap_or_default(),
                },
            }
        });
        let written = Written {
            schema_version: 2,
            media_type: media::DOCKER_INDEX,
            manifests: manifests.collect(),
        };
        let mut bytes = Vec::new();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b"   ");
        written
            .serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, formatter))
            .map_err(|source| Error::Json {
                what: "the manifest list".to_owned(),
                source,
            })?;
        Ok(Document {
            digest: hull_store::digest(Algorithm::Sha256, &bytes),
            media_type: media::DOCKER_INDEX.to_owned(),
            bytes,
        })
    }

    /// Pushes a list, after the images that its repository lacks. They may come from any registry.
    ///
    /// # Errors
    /// If there is no such list; what a registry says.
    pub fn push(&self, name: &Reference, spool: &Path, progress: &Progress) -> Result<PushedList, Error> {
        let name = name.clone().or_latest();
        let Some(list) = self.load(&name)? else {
            return Err(Error::NoList { name: name.familiar() });
        };
        let mut copied = Vec::new();
        for entry in &list.entries {
            let reference: Reference = entry.reference.parse()?;
            if reference.name() == name.name() {
                continue;
            }
            let digest = &entry.descriptor.digest;
            let source = RegistrySource::new(&self.client, &reference.with_digest(digest.clone()))?;
            let at = name.with_digest(digest.clone());
            let target = RegistryTarget::new(&self.client, &at)?;
            let options = Options {
                // As it is: the list names its digest.
                all: true,
                preserve_digests: true,
                spool: spool.to_owned(),
                ..Options::default()
            };
            copy(&source, &target, &options, progress)?;
            copied.push((at, digest.clone()));
        }
        let document = self.document(&list.entries)?;
        let target = RegistryTarget::new(&self.client, &name)?;
        target.document(&document, true)?;
        Ok(PushedList {
            copied,
            digest: document.digest,
        })
    }

    /// Forgets a list.
    ///
    /// # Errors
    /// If there is none of that name, or it cannot be removed.
    pub fn remove(&self, name: &Reference) -> Result<(), Error> {
        let path = self.path(name);
        match std::fs::remove_file(&path) {
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => Err(Error::NoManifest { name: name.familiar() }),
            removed => removed.map_err(|err| io("remove", &path, err)),
        }
    }
}

fn parsed(document: &Document, reference: &Reference) -> Result<Parsed, Error> {
    let which = Which::Digest(&document.digest);
    Ok(parse_any(
        &document.bytes,
        Some(&document.media_type),
        which,
        &reference.familiar(),
    )?
    .0)
}

fn config(source: &RegistrySource, manifest: &Manifest) -> Result<ImageConfig, Error> {
    let bytes = crate::copy::config(source, manifest)?;
    serde_json::from_slice(&bytes).map_err(|error| Error::Json {
        what: format!("the config of {}", source.name()),
        source: error,
    })
}

fn io(act: &'static str, path: &Path, source: std::io::Error) -> Error {
    Error::Store(hull_store::Error::Io {
        act,
        path: path.to_owned(),
        source,
    })
}
