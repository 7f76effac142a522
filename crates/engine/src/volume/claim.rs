//! A container's hold on its volumes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;

use hull_monitor::volume::{discard, lock};
use hull_spec::container::{MountPoint, Record};

use super::about::folder;
use super::create::{CreateRequest, ensure, nameless};
use crate::{Engine, Error, Result, event};

/// The volumes of a container that is being created. Until it is on disk they are kept from removal by locks; then by
/// the container.
#[derive(Debug)]
pub(crate) struct Claims {
    id: String,
    held: Vec<Held>,
}

#[derive(Debug)]
struct Held {
    folder: PathBuf,
    anonymous: bool,
    _lock: File,
}

impl Claims {
    /// None yet, for container `id`.
    pub(crate) fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            held: Vec::new(),
        }
    }

    /// Claims a volume for the container, and makes it where it is missing. An empty name asks for one of its own.
    /// Returns the volume's name and its options.
    pub(crate) fn claim(
        &mut self,
        engine: &Engine,
        request: CreateRequest,
    ) -> Result<(String, BTreeMap<String, String>)> {
        let anonymous = request.name.is_empty();
        let request = if anonymous { nameless(request) } else { request };
        let folder = folder(engine, &request.name);
        // It may be removed between its making and our lock: a few times, but not for ever.
        for _ in 0..100 {
            let options = ensure(engine, &request)?;
            let Some(lock) = (match lock(&folder, false) {
                Ok(lock) => lock,
                Err(_) if !folder.exists() => continue,
                Err(e) => return Err(e.into()),
            }) else {
                continue;
            };
            let user = folder.join("users").join(&self.id);
            let failed = |path: PathBuf| move |source| Error::Write { path, source };
            if !folder.join("users").is_dir() {
                fs::create_dir_all(folder.join("users")).map_err(failed(folder.join("users")))?;
            }
            fs::write(&user, "").map_err(failed(user.clone()))?;
            self.held.push(Held {
                folder,
                anonymous,
                _lock: lock,
            });
            return Ok((request.name, options));
        }
        Err(Error::Volume {
            name: request.name,
            why: "it is being removed by another command".to_owned(),
        })
    }

    /// Gives all up: the container does not come to be. Volumes that were made for it alone go.
    pub(crate) fn undo(self, engine: &Engine) {
        for held in self.held {
            let _ = fs::remove_file(held.folder.join("users").join(&self.id));
            drop(held._lock);
            if held.anonymous {
                // One that resists is left for `volume prune`.
                let gone = discard(&held.folder, &engine.run);
                if let (Ok(true), Some(name)) = (gone, held.folder.file_name()) {
                    event::volume(engine, "destroy", &name.to_string_lossy());
                }
            }
        }
    }
}

fn volumes(record: &Record) -> impl Iterator<Item = &MountPoint> {
    let volumes = record.mounts.iter().filter(|m| m.kind == "volume");
    volumes.filter(|m| super::is_volume(&m.name))
}

fn is_anonymous(mount: &MountPoint) -> bool {
    mount.plan.as_ref().is_some_and(|plan| plan.anonymous)
}

/// The folders of a container's anonymous volumes: they go with it where it goes by itself.
pub(crate) fn anonymous(engine: &Engine, record: &Record) -> Vec<PathBuf> {
    volumes(record)
        .filter(|m| is_anonymous(m))
        .map(|m| folder(engine, &m.name))
        .collect()
}

/// The folders of all volumes that a container uses.
pub(crate) fn used(engine: &Engine, record: &Record) -> Vec<PathBuf> {
    volumes(record).map(|m| folder(engine, &m.name)).collect()
}

/// Gives up the volumes of a container that is gone; with `remove` its anonymous ones go, unless others use them.
///
/// # Errors
/// If one cannot be removed. The others are, all the same.
pub(crate) fn release(engine: &Engine, record: &Record, remove: bool) -> Result<()> {
    let mut gone = match remove {
        true => anonymous(engine, record),
        false => Vec::new(),
    };
    let done = hull_monitor::volume::release(&record.id, &used(engine, record), &mut gone, &engine.run);
    for name in gone.iter().filter_map(|folder| folder.file_name()) {
        event::volume(engine, "destroy", &name.to_string_lossy());
    }
    Ok(done?)
}
