//! Volumes: folders that outlive containers, `DATA/volumes/NAME/_data`.

mod copy;

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use hull_spec::Digest;
use hull_spec::container::Record;
use hull_store::{Access, snapshot};
use serde::{Deserialize, Serialize};

use crate::{Engine, Error, Result, event};

/// `DATA/volumes/NAME/volume.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct About {
    created_at: String,
    /// Made for one container, without a name of its own.
    anonymous: bool,
}

fn folder(engine: &Engine, name: &str) -> PathBuf {
    engine.data.join("volumes").join(name)
}

/// The data folder of volume `name`, made if it is missing.
pub(crate) fn ensure(engine: &Engine, name: &str, anonymous: bool) -> Result<PathBuf> {
    let folder = folder(engine, name);
    let data = folder.join("_data");
    if data.is_dir() {
        return Ok(data);
    }
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Write { path, source }
    };
    let mut builder = DirBuilder::new();
    builder
        .recursive(true)
        .mode(0o711)
        .create(&folder)
        .map_err(at(&folder))?;
    let about = About {
        created_at: format!("{:.9}", jiff::Timestamp::now()),
        anonymous,
    };
    let path = folder.join("volume.json");
    let bytes = serde_json::to_vec(&about).map_err(|e| at(&path)(e.into()))?;
    fs::write(&path, bytes).map_err(at(&path))?;
    builder.mode(0o755).create(&data).map_err(at(&data))?;
    event::volume(engine, "create", name);
    Ok(data)
}

/// Copies what the image has at `path` into the volume's folder, where that is still empty: files with their owners,
/// modes, times and attributes, and the folder's own.
pub(crate) fn copy_up(engine: &Engine, layers: &[Digest], path: &str, data: &Path) -> Result<()> {
    let at = |source| Error::Write {
        path: data.to_owned(),
        source,
    };
    if fs::read_dir(data).map_err(at)?.next().is_some() {
        return Ok(());
    }
    let store = engine.store(Access::Read)?;
    let lower = snapshot::lower(store, layers);
    copy::from_image(&lower, path, data, engine.rootless).map_err(at)
}

/// Copies all files of an image, given by its layers, into a folder.
pub(crate) fn copy_image(lower: &[PathBuf], to: &Path, user_xattr: bool) -> std::io::Result<()> {
    copy::from_image(lower, "/", to, user_xattr)
}

/// The folders of a container's anonymous volumes: they go with it where it goes by itself.
pub(crate) fn anonymous(engine: &Engine, record: &Record) -> Vec<PathBuf> {
    let volumes = record.mounts.iter().filter(|m| m.kind == "volume");
    volumes
        .filter(|m| is_anonymous(&folder(engine, &m.name)))
        .map(|m| folder(engine, &m.name))
        .collect()
}

/// Removes a container's anonymous volumes.
pub(crate) fn remove_all_anonymous(engine: &Engine, record: &Record) -> Result<()> {
    anonymous(engine, record)
        .into_iter()
        .try_for_each(|folder| match fs::remove_dir_all(&folder) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::Write {
                path: folder,
                source: e,
            }),
            removed => {
                if let (Ok(()), Some(name)) = (removed, folder.file_name()) {
                    event::volume(engine, "destroy", &name.to_string_lossy());
                }
                Ok(())
            }
        })
}

fn is_anonymous(folder: &Path) -> bool {
    let about = fs::read(folder.join("volume.json")).ok();
    about
        .and_then(|b| serde_json::from_slice::<About>(&b).ok())
        .is_some_and(|a| a.anonymous)
}
