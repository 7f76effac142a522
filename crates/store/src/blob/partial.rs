//! Blobs that are still arriving.

use std::fs::File;
use std::io::Seek;
use std::path::{Path, PathBuf};

use hull_spec::Digest;
use rustix::fs::{Mode, OFlags};

use crate::Store;
use crate::error::{At, Result};
use crate::lock;

/// The first bytes of a blob, and the right to add to them: nobody else has this file while this lives.
#[derive(Debug)]
pub(crate) struct Partial<'s> {
    store: &'s Store,
    digest: Digest,
    path: PathBuf,
    file: File,
}

impl<'s> Partial<'s> {
    /// Takes the partial blob, empty if it is new. Waits for whoever has it. The position is at the file's start.
    pub(crate) fn claim(store: &'s Store, digest: &Digest) -> Result<Self> {
        store.writable()?;
        let path = store
            .dir("blobs/partial")
            .join(format!("{}-{}", digest.algorithm().name(), digest.hex()));
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = lock::claim(&path, || rustix::fs::open(&path, flags, Mode::from_raw_mode(0o644)))?;
        Ok(Self {
            store,
            digest: digest.clone(),
            path,
            file: file.into(),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// How many bytes are there.
    pub(crate) fn len(&self) -> Result<u64> {
        Ok(self.file.metadata().at("examine", &self.path)?.len())
    }

    /// Forgets the bytes that are there.
    pub(crate) fn restart(&mut self) -> Result<()> {
        self.file.set_len(0).at("truncate", &self.path)?;
        self.file.rewind().at("rewind", &self.path)
    }

    /// Gives the blob its final name. Its digest must have been checked.
    pub(crate) fn publish(self) -> Result<()> {
        let path = self.store.blob_path(&self.digest);
        if let Some(parent) = path.parent().filter(|p| !p.is_dir()) {
            std::fs::create_dir_all(parent).at("create", parent)?;
        }
        self.store.added();
        std::fs::rename(&self.path, &path).at("rename", &self.path)
    }

    /// Removes it: its bytes are wrong, or their space is needed.
    pub(crate) fn discard(self) -> Result<()> {
        std::fs::remove_file(&self.path).at("remove", &self.path)
    }
}
