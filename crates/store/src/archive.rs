//! Images outside the store, in the forms in which people pass them on: the archive of `docker save`, the OCI image
//! layout as a folder or as an archive, and skopeo's `dir:`.
//!
//! Every form is read as one thing: a list of what it names ([`Archive::listed`]), documents and blobs by digest. What
//! has no manifest of its own, as Docker's archives before Docker 25, is given one. Writing is the same in reverse:
//! [`Writer::blob`], [`Writer::document`], [`Writer::list`], [`Writer::finish`].
//!
//! An archive is data from a stranger. No name in it reaches the file system of the host: names of entries are keys of a
//! table, links are followed within the table only, and folders are opened beneath their own top. Nothing grows with the
//! size of what is in it: an archive is read where it lies, or from a file without a name if it comes through a pipe or
//! compressed.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use hull_spec::image::CONFIG_MAX;
use hull_spec::manifest::{Descriptor, MANIFEST_MAX};
use hull_spec::{Digest, Document, Reference};

use crate::error::{At, Error, Result};
use crate::hash;

mod dir;
mod docker;
mod files;
mod layout;
mod scan;
mod section;
mod write;

use files::Files;
pub use section::Section;
pub use write::Writer;

/// The largest `manifest.json` or `index.json` of an archive, in bytes: a thousand images.
const LIST_MAX: u64 = 4 << 20;

/// How images lie in a file or a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// What `docker save` writes: a tar archive with a `manifest.json`. Since Docker 25 it is an OCI layout, too.
    Docker,
    /// A tar archive of an OCI image layout.
    Oci,
    /// A folder with an OCI image layout.
    Layout,
    /// Skopeo's folder of one image: its manifest and its blobs side by side.
    Dir,
}

/// What an archive names: an image, or an index of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The manifest or index.
    pub descriptor: Descriptor,
    /// What it is called. Empty for what has no name.
    pub names: Vec<Reference>,
    /// The text by which an OCI layout tells its images apart (`org.opencontainers.image.ref.name`), if there is one: a
    /// tag, a whole reference, or anything else.
    pub label: Option<String>,
}

/// An opened archive. It may be shared between threads.
#[derive(Debug)]
pub struct Archive {
    /// What errors call it.
    place: String,
    form: Form,
    files: Files,
    listed: Vec<Listed>,
    /// Documents that the archive does not have as such.
    made: HashMap<Digest, Vec<u8>>,
    /// Blobs that are not where a layout has them.
    placed: HashMap<Digest, Section>,
}

impl Archive {
    /// Opens an archive or a folder. What cannot be read at any place of it is first copied to a file without a name in
    /// the folder `spool`.
    ///
    /// # Errors
    /// What is no archive of images, or cannot be read.
    pub fn open(path: &Path, spool: &Path) -> Result<Self> {
        let place = path.display().to_string();
        let file = File::open(path).at("open", path)?;
        if file.metadata().at("examine", path)?.is_dir() {
            return Self::folder(place, file.into());
        }
        Self::stream(place, file, spool)
    }

    /// Reads an archive from a descriptor, such as standard input, from its present place on.
    ///
    /// # Errors
    /// As [`Archive::open`].
    pub fn read(input: OwnedFd, spool: &Path) -> Result<Self> {
        Self::stream("standard input".to_owned(), input.into(), spool)
    }

    fn stream(place: String, file: File, spool: &Path) -> Result<Self> {
        let files = scan::scan(&place, file, spool)?;
        if files.find("manifest.json")?.is_some() {
            return docker::read(place, files);
        }
        if files.find("index.json")?.is_some() {
            return layout::read(place, Form::Oci, files);
        }
        if files.find("repositories")?.is_some() {
            return Err(Error::Foreign {
                place,
                reason: "it was written by a Docker before 1.10, without a manifest.json".to_owned(),
            });
        }
        Err(malformed(place, "it has neither a manifest.json nor an index.json"))
    }

    fn folder(place: String, top: OwnedFd) -> Result<Self> {
        let files = Files::folder(&place, top);
        if files.find("oci-layout")?.is_some() || files.find("index.json")?.is_some() {
            return layout::read(place, Form::Layout, files);
        }
        if files.find("manifest.json")?.is_some() {
            return dir::read(place, files);
        }
        Err(malformed(
            place,
            "the folder has neither an oci-layout nor a manifest.json",
        ))
    }

    /// What errors call it: its path.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Its form.
    #[must_use]
    pub fn form(&self) -> Form {
        self.form
    }

    /// What it names, in its own order. Nothing of it is checked yet but that it can be read.
    #[must_use]
    pub fn listed(&self) -> &[Listed] {
        &self.listed
    }

    /// A manifest or an index, checked against everything that its descriptor says.
    ///
    /// # Errors
    /// If it is missing, too large, damaged, or something else.
    pub fn document(&self, descriptor: &Descriptor) -> Result<(Vec<u8>, Document)> {
        let bytes = self.small(descriptor, MANIFEST_MAX)?;
        let document = Document::read(&bytes, &[&descriptor.media_type]).map_err(|error| {
            let reason = format!("{}: {error}", descriptor.digest);
            malformed(self.place.clone(), reason)
        })?;
        Ok((bytes, document))
    }

    /// An image config, checked against its digest.
    ///
    /// # Errors
    /// If it is missing, too large or damaged.
    pub fn config(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        self.small(descriptor, CONFIG_MAX)
    }

    /// A reader of a blob. Whoever reads it checks its digest; that there is nothing but its size is checked here.
    ///
    /// # Errors
    /// If it is missing, or has another size.
    pub fn blob(&self, descriptor: &Descriptor) -> Result<Section> {
        let found = match self.placed.get(&descriptor.digest) {
            Some(section) => Some(section.clone()),
            None => self.files.find(&self.name(&descriptor.digest))?,
        };
        let Some(section) = found else {
            return Err(malformed(
                self.place.clone(),
                format!("it lacks the blob {}", descriptor.digest),
            ));
        };
        if section.len() != descriptor.size {
            return Err(Error::BlobSize {
                digest: descriptor.digest.clone(),
                expected: descriptor.size,
                actual: section.len(),
            });
        }
        Ok(section)
    }

    /// Where a blob is by its digest.
    fn name(&self, digest: &Digest) -> String {
        match self.form {
            Form::Dir => digest.hex().to_owned(),
            _ => layout::name(digest),
        }
    }

    fn small(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>> {
        let Descriptor { digest, size, .. } = descriptor;
        if *size > limit {
            return Err(Error::BlobTooLarge {
                digest: digest.clone(),
                limit,
            });
        }
        let bytes = match self.made.get(digest) {
            Some(bytes) => bytes.clone(),
            None => self.blob(descriptor)?.whole(&self.place)?,
        };
        let actual = hash::digest(digest.algorithm(), &bytes);
        if actual != *digest {
            return Err(Error::BlobDigest {
                expected: digest.clone(),
                actual,
            });
        }
        Ok(bytes)
    }
}

/// An archive that is not what it should be.
fn malformed(place: impl Into<String>, reason: impl Into<String>) -> Error {
    Error::Malformed {
        place: place.into(),
        reason: reason.into(),
    }
}

/// Bytes as a descriptor names them.
fn describe(media_type: &str, bytes: &[u8]) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        digest: hash::digest(hull_spec::Algorithm::Sha256, bytes),
        size: bytes.len() as u64,
        urls: Vec::new(),
        annotations: std::collections::BTreeMap::new(),
        platform: None,
        artifact_type: None,
    }
}
