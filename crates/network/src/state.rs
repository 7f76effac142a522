//! Files of ours: replaced whole, locked for as long as a guard lives.

use std::{
    fs::{self, File},
    io,
    path::Path,
};

use serde::{Serialize, de::DeserializeOwned};

use crate::{Error, Result};

/// Reads JSON, or `None` when there is no such file.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|source| Error::Damaged {
                path: path.into(),
                source,
            }),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::file("read", path)(e)),
    }
}

/// Writes JSON under a temporary name, then renames it: a reader sees the old file or the new one. The caller holds the
/// network's lock, so the temporary name is its own.
pub(crate) fn write<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let bytes = serde_json::to_vec(value).map_err(|source| Error::Damaged {
        path: path.into(),
        source,
    })?;
    // Beside the folder of leases, which may hold nothing but leases.
    let folder = path.ancestors().nth(if path.extension().is_some_and(|e| e == "json") {
        1
    } else {
        2
    });
    let temporary = folder.unwrap_or(path).join("new");
    fs::write(&temporary, bytes).map_err(Error::file("write", &temporary))?;
    fs::rename(&temporary, path).map_err(Error::file("replace", path))
}

/// Removes a file; one that is gone already is as good.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::file("remove", path)(e)),
        _ => Ok(()),
    }
}

/// An exclusive lock, freed when dropped or when its process dies.
pub(crate) struct Lock(File);

impl Lock {
    pub(crate) fn take(path: &Path) -> Result<Self> {
        let file = match File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
        {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let folder = path.parent().unwrap_or(path);
                fs::create_dir_all(folder).map_err(Error::file("make", folder))?;
                File::options()
                    .read(true)
                    .write(true)
                    .create(true)
                    .truncate(false)
                    .open(path)
            }
            other => other,
        }
        .map_err(Error::file("open", path))?;
        file.lock().map_err(Error::file("lock", path))?;
        Ok(Self(file))
    }

    /// What is locked, for the few bytes that it holds.
    pub(crate) fn file(&self) -> &File {
        &self.0
    }
}
