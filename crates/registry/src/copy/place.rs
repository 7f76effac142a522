//! Places by name: `docker://app:1`, `oci:folder:1`, and so on.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hull_spec::{Platform, Progress, Reference};
use hull_store::Store;
use hull_store::archive::Form;

use super::archive::{ArchiveSource, ArchiveTarget};
use super::daemon::Daemon;
use super::registry::{RegistrySource, RegistryTarget};
use super::store::{StoreSource, StoreTarget};
use super::{Source, Target};
use crate::{Client, Error};

/// Where an image is or goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// `docker://NAME`: a registry.
    Registry(Reference),
    /// `store:NAME`: the local store.
    Store(Reference),
    /// `docker-archive:PATH[:NAME]`, `oci-archive:PATH[:NAME]`, `oci:PATH[:NAME]`, `dir:PATH`.
    Archive {
        /// Which of them.
        form: Form,
        /// The file or the folder.
        path: PathBuf,
        /// The image in it.
        name: Option<String>,
    },
    /// `docker-daemon:NAME`: Docker's engine.
    Daemon(Reference),
    /// `NAME`, without anything before it.
    Plain(Reference),
}

/// What places need.
#[derive(Debug)]
pub struct Around<'s> {
    /// The local store, open for writing.
    pub store: &'s Store,
    /// The client of registries.
    pub client: Arc<Client>,
    /// Docker's socket.
    pub socket: PathBuf,
    /// Where files without a name may be made.
    pub spool: PathBuf,
    /// Who is told how it goes.
    pub progress: Progress,
}

impl Place {
    /// Reads a place.
    ///
    /// # Errors
    /// If it is malformed, or a place that is out of reach.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let fail = |reason: &str| Error::Place {
            place: format!("`{}`", crate::failure::printable(text)),
            reason: reason.to_owned(),
        };
        if let Some(name) = text.strip_prefix("docker://") {
            return Ok(Self::Registry(name.parse()?));
        }
        let (scheme, rest) = text.split_once(':').unwrap_or(("", text));
        let form = match scheme {
            "docker-archive" => Form::Docker,
            "oci-archive" => Form::Oci,
            "oci" => Form::Layout,
            "dir" => Form::Dir,
            "store" => return Ok(Self::Store(rest.parse()?)),
            "docker-daemon" => return Ok(Self::Daemon(rest.parse()?)),
            "containers-storage" => {
                return Err(fail(
                    "containers-storage is Podman's private store, which only Podman can lock and read: let Podman save \
                     the image to docker-archive:FILE or oci-archive:FILE and copy from there",
                ));
            }
            "docker" | "atomic" | "ostree" | "tarball" | "sif" | "ssh" => {
                return Err(fail(
                    "known are docker://, store:, docker-archive:, oci-archive:, oci:, dir: and docker-daemon:",
                ));
            }
            _ => return Ok(Self::Plain(text.parse()?)),
        };
        let (path, name) = match rest.split_once(':') {
            // A folder of one image has no names in it.
            Some((path, name)) if form != Form::Dir => (path, Some(name)),
            _ => (rest, None),
        };
        if path.is_empty() {
            return Err(fail("the path is missing"));
        }
        if name == Some("") {
            return Err(fail("the name after the colon is missing"));
        }
        Ok(Self::Archive {
            form,
            path: PathBuf::from(path),
            name: name.map(str::to_owned),
        })
    }

    /// Opens the place to copy from. A plain name is the local store's if it has such an image, and a registry's
    /// otherwise, as for every command.
    ///
    /// # Errors
    /// If there is no such place or image.
    pub fn source<'s>(
        &self,
        around: &Around<'s>,
        all: bool,
        platform: Option<&Platform>,
    ) -> Result<Box<dyn Source + 's>, Error> {
        let stored = |name: &Reference| StoreSource::new(around.store, name, all, platform);
        Ok(match self {
            Self::Registry(name) => Box::new(RegistrySource::new(&around.client, name)?),
            Self::Store(name) => Box::new(stored(name)?),
            Self::Plain(name) => {
                let full = name.clone().or_latest().to_string();
                match hull_store::image::resolve(around.store, &full) {
                    Ok(_) => Box::new(stored(name)?),
                    Err(hull_store::Error::NoImage { .. }) => Box::new(RegistrySource::new(&around.client, name)?),
                    Err(err) => return Err(err.into()),
                }
            }
            Self::Archive { form, path, name } => {
                Box::new(ArchiveSource::open(*form, path, name.as_deref(), &around.spool)?)
            }
            Self::Daemon(name) => {
                let daemon = Daemon { socket: &around.socket };
                Box::new(daemon.image(&name.clone().or_latest().familiar(), &around.spool)?)
            }
        })
    }

    /// Opens the place to copy to.
    ///
    /// # Errors
    /// If it cannot be used, or is not named clearly: a plain name does not say where.
    pub fn target<'s>(&self, around: &Around<'s>) -> Result<Box<dyn Target + 's>, Error> {
        Ok(match self {
            Self::Registry(name) => Box::new(RegistryTarget::new(&around.client, name)?),
            Self::Store(name) => Box::new(StoreTarget::new(around.store, name, &around.progress)?),
            Self::Archive { form, path, name } => Box::new(ArchiveTarget::create(*form, path, name.as_deref())?),
            Self::Daemon(name) => {
                let daemon = Daemon { socket: &around.socket };
                Box::new(daemon.load(name)?)
            }
            Self::Plain(name) => {
                return Err(Error::Place {
                    place: format!("`{}`", name.familiar()),
                    reason:
                        "it does not say where: write docker://NAME for a registry, or store:NAME for the local store"
                            .to_owned(),
                });
            }
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = |path: &Path| path.display().to_string();
        match self {
            Self::Registry(name) => write!(f, "docker://{}", name.familiar()),
            Self::Store(name) => write!(f, "store:{}", name.familiar()),
            Self::Daemon(name) => write!(f, "docker-daemon:{}", name.familiar()),
            Self::Plain(name) => f.write_str(&name.familiar()),
            Self::Archive { form, path: at, name } => {
                let scheme = match form {
                    Form::Docker => "docker-archive",
                    Form::Oci => "oci-archive",
                    Form::Layout => "oci",
                    Form::Dir => "dir",
                };
                let name = name.as_ref().map(|name| format!(":{name}")).unwrap_or_default();
                write!(f, "{scheme}:{}{name}", path(at))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read() {
        let check = |text: &str, expected: &str| {
            let found = match Place::parse(text) {
                Ok(place) => place.to_string(),
                Err(err) => format!("error: {err}"),
            };
            assert!(found.starts_with(expected), "{text}: {found}");
        };
        check("docker://a.b/c:1", "docker://a.b/c:1");
        check("docker-archive:/x/y.tar:a:1", "docker-archive:/x/y.tar:a:1");
        check("docker-archive:y.tar", "docker-archive:y.tar");
        check("oci-archive:y:label", "oci-archive:y:label");
        check("oci:/x", "oci:/x");
        check("dir:/x:y", "dir:/x:y");
        check("docker-daemon:a:1", "docker-daemon:a:1");
        check("store:a", "store:a");
        check("localhost:5000/a", "localhost:5000/a");
        check("a:1", "a:1");
        check("oci:", "error: cannot use `oci:`: the path is missing");
        check(
            "oci:x:",
            "error: cannot use `oci:x:`: the name after the colon is missing",
        );
        check(
            "containers-storage:x",
            "error: cannot use `containers-storage:x`: containers-storage is Podman's",
        );
        check("ostree:x", "error: cannot use `ostree:x`: known are");
        check("docker://A", "error: ");
    }
}
