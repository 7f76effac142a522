//! Archives and folders as places: `docker-archive:`, `oci-archive:`, `oci:` and `dir:`.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hull_spec::manifest::{Descriptor, Manifest, media};
use hull_spec::{Digest, Reference};
use hull_store::archive::{Archive, Form, Listed, Writer};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use super::{Blob, Document, Put, Reader, Source, Takes, Target};
use crate::Error;

/// An image in an archive or a folder.
#[derive(Debug)]
pub struct ArchiveSource {
    archive: Archive,
    name: String,
    root: Descriptor,
}

impl ArchiveSource {
    /// The image that is called `wanted` in the archive or folder at `path`: by its label in an OCI layout, its reference
    /// in Docker's archives, or `@N` for the Nth. Without a name it is the only one. An archive that cannot be read where it
    /// lies is first copied to a nameless file below `spool`.
    ///
    /// # Errors
    /// If it is no archive, is of another form than `form`, or has no such image.
    pub fn open(form: Form, path: &Path, wanted: Option<&str>, spool: &Path) -> Result<Self, Error> {
        let archive = Archive::open(path, spool)?;
        // What Docker 25 and later saves is an OCI layout, too.
        let same = archive.form() == form || (form == Form::Oci && archive.form() == Form::Docker);
        if !same {
            return Err(Error::Place {
                place: path.display().to_string(),
                reason: format!("it is {}, not {}", word(archive.form()), word(form)),
            });
        }
        Self::of(archive, wanted)
    }

    /// The same of an archive that is open.
    ///
    /// # Errors
    /// If it has no such image.
    pub fn of(archive: Archive, wanted: Option<&str>) -> Result<Self, Error> {
        let place = archive.place().to_owned();
        let listed = archive.listed();
        let fail = |reason: String| Error::Place {
            place: place.clone(),
            reason,
        };
        let found = match wanted {
            None if listed.len() > 1
                && listed
                    .iter()
                    .any(|one| one.descriptor.digest != listed[0].descriptor.digest) =>
            {
                let names: Vec<String> = listed.iter().take(20).map(called).collect();
                let names = names.join(", ");
                return Err(fail(format!("it holds several images, and none was chosen: {names}")));
            }
            None => listed.first(),
            Some(wanted) => match wanted.strip_prefix('@').map(str::parse::<usize>) {
                Some(Ok(at)) => listed.get(at),
                _ => listed.iter().find(|one| is_called(one, wanted)),
            },
        };
        let Some(found) = found else {
            return Err(fail(match wanted {
                Some(wanted) => format!("it holds no image called `{}`", crate::failure::printable(wanted)),
                None => "it holds no image".to_owned(),
            }));
        };
        Ok(Self {
            name: match wanted {
                Some(wanted) => format!("{place}:{wanted}"),
                None => place.clone(),
            },
            root: found.descriptor.clone(),
            archive,
        })
    }
}

fn word(form: Form) -> &'static str {
    match form {
        Form::Docker => "an archive of docker save",
        Form::Oci => "an archive of an OCI image layout",
        Form::Layout => "an OCI image layout",
        Form::Dir => "a folder of one image",
    }
}

fn called(listed: &Listed) -> String {
    match (&listed.label, listed.names.first()) {
        (_, Some(name)) => name.familiar(),
        (Some(label), None) => crate::failure::printable(label),
        (None, None) => listed.descriptor.digest.to_string(),
    }
}

fn is_called(listed: &Listed, wanted: &str) -> bool {
    if listed.label.as_deref() == Some(wanted) {
        return true;
    }
    let parsed = wanted.parse::<Reference>().map(Reference::or_latest);
    parsed.is_ok_and(|wanted| listed.names.iter().any(|name| name.clone().or_latest() == wanted))
}

impl Source for ArchiveSource {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn root(&self) -> Result<Document, Error> {
        self.document(&self.root)
    }

    fn document(&self, listed: &Descriptor) -> Result<Document, Error> {
        let (bytes, document) = self.archive.document(listed)?;
        let own = match &document {
            hull_spec::Document::Image(manifest) => manifest.media_type.clone(),
            hull_spec::Document::Index(index) => index.media_type.clone(),
        };
        let usual = match &document {
            hull_spec::Document::Image(_) => media::OCI_MANIFEST,
            hull_spec::Document::Index(_) => media::OCI_INDEX,
        };
        let said = Some(listed.media_type.clone()).filter(|said| !said.is_empty());
        Ok(Document {
            digest: listed.digest.clone(),
            media_type: own.or(said).unwrap_or_else(|| usual.to_owned()),
            bytes,
        })
    }

    fn blob(&self, blob: &Descriptor, offset: u64) -> Result<Reader, Error> {
        Ok(Box::new(self.archive.blob(blob)?.skip(offset)))
    }

    fn referrers(&self, _subject: &Digest) -> Result<Vec<Descriptor>, Error> {
        Err(Error::Place {
            place: self.name.clone(),
            reason: "what is attached to an image is not kept in this form".to_owned(),
        })
    }

    fn repositories(&self, _registry: &str, _blob: &Digest) -> Vec<String> {
        Vec::new()
    }
}

/// An archive in the making, or a folder that is added to.
#[derive(Debug)]
pub struct ArchiveTarget {
    form: Form,
    place: String,
    /// What the image is called there.
    label: Option<String>,
    names: Vec<Reference>,
    writer: Mutex<Option<Writer>>,
    named: Mutex<Option<Descriptor>>,
    output: Option<Output>,
}

/// A file without a name, and the name that it gets when it is whole.
#[derive(Debug)]
struct Output {
    file: File,
    path: PathBuf,
}

impl ArchiveTarget {
    /// An archive or a folder at `path`, in which the image is called `wanted`: a reference in Docker's form, any text in
    /// OCI's.
    ///
    /// # Errors
    /// If an archive is there already, or it cannot be made; if the name is none in that form.
    pub fn create(form: Form, path: &Path, wanted: Option<&str>) -> Result<Self, Error> {
        let place = path.display().to_string();
        let (label, names) = called_so(form, wanted, &place)?;
        let (writer, output) = match form {
            Form::Layout | Form::Dir => (Writer::folder(form, path)?, None),
            Form::Docker | Form::Oci => {
                let file = nameless(path)?;
                let fd = file.try_clone().map_err(|source| io("open", path, source))?;
                let writer = Writer::archive(form, &place, fd.into())?;
                let output = Output {
                    file,
                    path: path.to_owned(),
                };
                (writer, Some(output))
            }
        };
        Ok(Self {
            form,
            place,
            label,
            names,
            writer: Mutex::new(Some(writer)),
            named: Mutex::default(),
            output,
        })
    }

    /// An archive of Docker's that is written to a descriptor. Its layers are those that `named` is listed with.
    ///
    /// # Errors
    /// If nothing can be written there.
    pub fn stream(place: &str, names: Vec<Reference>, to: OwnedFd) -> Result<Self, Error> {
        Ok(Self {
            form: Form::Docker,
            place: place.to_owned(),
            label: None,
            names,
            writer: Mutex::new(Some(Writer::archive(Form::Docker, place, to)?)),
            named: Mutex::default(),
            output: None,
        })
    }

    fn writer(&self) -> MutexGuard<'_, Option<Writer>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, act: impl FnOnce(&mut Writer) -> Result<T, hull_store::Error>) -> Result<T, Error> {
        match self.writer().as_mut() {
            Some(writer) => Ok(act(writer)?),
            None => Err(Error::Cancelled),
        }
    }
}

/// The label and the names that a text stands for.
fn called_so(form: Form, wanted: Option<&str>, place: &str) -> Result<(Option<String>, Vec<Reference>), Error> {
    let Some(wanted) = wanted else {
        return Ok((None, Vec::new()));
    };
    match form {
        Form::Docker => Ok((None, vec![wanted.parse::<Reference>()?.or_latest()])),
        Form::Oci | Form::Layout => Ok((Some(wanted.to_owned()), Vec::new())),
        Form::Dir => Err(Error::Place {
            place: place.to_owned(),
            reason: format!("an image in a folder of this form has no name, so not `{wanted}`"),
        }),
    }
}

fn io(act: &'static str, path: &Path, source: std::io::Error) -> Error {
    Error::Store(hull_store::Error::Io {
        act,
        path: path.to_owned(),
        source,
    })
}

/// A file in the folder of `path` that has no name until it is whole: a copy that is killed leaves nothing.
fn nameless(path: &Path) -> Result<File, Error> {
    if path.symlink_metadata().is_ok() {
        return Err(io("create", path, std::io::ErrorKind::AlreadyExists.into()));
    }
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    match rustix::fs::open(folder, flags, Mode::from_raw_mode(0o644)) {
        Ok(file) => Ok(file.into()),
        Err(source) => Err(io("create", path, source.into())),
    }
}

impl Output {
    fn publish(&self) -> Result<(), Error> {
        use std::os::fd::AsRawFd as _;
        let from = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        self.file.sync_all().map_err(|source| io("sync", &self.path, source))?;
        rustix::fs::linkat(CWD, from, CWD, &self.path, AtFlags::SYMLINK_FOLLOW)
            .map_err(|source| io("create", &self.path, source.into()))
    }
}

impl Target for ArchiveTarget {
    fn name(&self) -> String {
        self.place.clone()
    }

    fn takes(&self) -> Takes {
        Takes {
            parallel: 1,
            indexes: self.form != Form::Docker,
            format: None,
            registry: None,
        }
    }

    fn begin(&self, manifest: &Manifest, _config: &[u8]) -> Result<(), Error> {
        let config = manifest.config.media_type.as_str();
        if self.form == Form::Docker && !matches!(config, media::OCI_CONFIG | media::DOCKER_CONFIG) {
            return Err(Error::NotAnImage {
                reference: self.place.clone(),
                media_type: crate::failure::printable(config),
            });
        }
        Ok(())
    }

    fn blob(&self, blob: &Blob<'_>) -> Result<Put, Error> {
        if self.with(|writer| writer.has(blob.descriptor))? {
            return Ok(Put::Present);
        }
        let mut content = blob.open(0)?;
        self.with(|writer| writer.blob(blob.descriptor, &mut content))?;
        blob.moved(blob.descriptor.size);
        Ok(Put::Written)
    }

    fn document(&self, document: &Document, named: bool) -> Result<(), Error> {
        let descriptor = Descriptor {
            media_type: document.media_type.clone(),
            digest: document.digest.clone(),
            size: document.bytes.len() as u64,
            urls: Vec::new(),
            annotations: std::collections::BTreeMap::new(),
            platform: None,
            artifact_type: None,
        };
        self.with(|writer| writer.document(&descriptor, &document.bytes))?;
        if named {
            *self.named.lock().unwrap_or_else(PoisonError::into_inner) = Some(descriptor);
        }
        Ok(())
    }

    fn finish(&self) -> Result<(), Error> {
        let named = self.named.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (Some(descriptor), Some(mut writer)) = (named, self.writer().take()) else {
            return Err(Error::Cancelled);
        };
        writer.list(Listed {
            descriptor,
            names: self.names.clone(),
            label: self.label.clone(),
        })?;
        writer.finish()?;
        match &self.output {
            Some(output) => output.publish(),
            None => Ok(()),
        }
    }
}
