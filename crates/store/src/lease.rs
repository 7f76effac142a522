//! Leases: what a running pull relies on before an image names it.
//!
//! A lease is a file of digests, one a line, locked by its owner for as long as it runs. A lease whose lock is free
//! belongs to nobody any more and protects nothing.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::PathBuf;
use std::sync::Mutex;

use hull_spec::Digest;
use rustix::fs::FlockOperation;

use crate::Store;
use crate::error::{At, Error, Result};

/// Protects blobs and layers from collection until it is dropped. Everything that is added to a store is added under
/// one; drop it after [`crate::image::record`].
#[derive(Debug)]
pub struct Lease<'s> {
    store: &'s Store,
    path: PathBuf,
    held: Mutex<(File, HashSet<Digest>)>,
}

impl<'s> Lease<'s> {
    pub(crate) fn new(store: &'s Store) -> Result<Self> {
        store.writable()?;
        // Under the shared lock nobody sweeps, so the file is not taken for a dead one before it is locked.
        let _hold = store.hold()?;
        for attempt in 0u32.. {
            let path = store.dir("leases").join(format!("{}-{attempt}", std::process::id()));
            let mut options = File::options();
            match options.read(true).append(true).create_new(true).open(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                opened => {
                    let file = opened.at("create", &path)?;
                    rustix::fs::flock(&file, FlockOperation::LockExclusive).at("lock", &path)?;
                    return Ok(Self {
                        store,
                        path,
                        held: Mutex::new((file, HashSet::new())),
                    });
                }
            }
        }
        unreachable!("a free name is found before the numbers end")
    }

    /// The store that this lease protects a part of.
    #[must_use]
    pub fn store(&self) -> &'s Store {
        self.store
    }

    /// Protects `digests` (blobs or chain IDs), whether they exist yet or not. What is found to exist afterwards stays.
    ///
    /// # Errors
    /// If the lease's file cannot be written.
    pub fn protect<'d>(&self, digests: impl IntoIterator<Item = &'d Digest>) -> Result<()> {
        // A collector that runs now has read the leases already; one that starts later will see the new lines.
        let _hold = self.store.hold()?;
        let mut held = self.held.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut lines = String::new();
        for digest in digests {
            if held.1.insert(digest.clone()) {
                lines.push_str(digest.as_str());
                lines.push('\n');
            }
        }
        held.0.write_all(lines.as_bytes()).at("write", &self.path)
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        // Failing to remove it is harmless: its lock is free from here on, and the next sweep takes it away.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// What all running pulls rely on. The dead ones' leases are removed. The caller holds the exclusive lock.
pub(crate) fn protected(store: &Store, _lock: &crate::lock::Exclusive) -> Result<HashSet<Digest>> {
    let dir = store.dir("leases");
    let mut out = HashSet::new();
    for entry in dir.read_dir().at("list", &dir)? {
        let path = entry.at("list", &dir)?.path();
        let mut file = match File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            opened => opened.at("open", &path)?,
        };
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => std::fs::remove_file(&path).at("remove", &path)?,
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut text = String::new();
                file.rewind()
                    .and_then(|()| file.read_to_string(&mut text))
                    .at("read", &path)?;
                for line in text.lines() {
                    out.insert(line.parse().map_err(Error::Name)?);
                }
            }
            Err(error) => return Err(error).at("lock", &path),
        }
    }
    Ok(out)
}
