//! A layer on its way in: one pipeline from the compressed bytes to files in place.
//!
//! ```text
//! source -> [sha256, blob file] -> [gunzip or unzstd] -+-> [sha256: the diff ID]
//!  caller's thread                  thread             +-> [tar, files] thread
//! ```
//! Queues between them are short, so a layer takes a few megabytes of memory however large it is. The files are made in
//! `ingest/CHAINHEX`, which gets its final name only when every digest matches.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use hull_spec::manifest::Descriptor;
use hull_spec::{Digest, Progress, progress::Event};
use rusqlite::OptionalExtension;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::blob::partial::Partial;
use crate::error::{At, Error, Result};
use crate::index::{self, Statement};
use crate::{Lease, Store, lock, tree};

mod create;
mod decompress;
mod extract;
mod fetch;
mod import;
pub(crate) mod owner;
pub(crate) mod path;
mod pipeline;
mod queue;
pub(crate) mod spool;

pub use create::create;
pub(crate) use extract::is_portable;
pub use import::import;

/// Which layer, and where it belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerSpec {
    /// The compressed blob: media type, digest and size.
    pub descriptor: Descriptor,
    /// The digest of the uncompressed archive, from the image config.
    pub diff_id: Digest,
    /// The layer with all below it ([`crate::chain_id`]).
    pub chain_id: Digest,
}

impl LayerSpec {
    /// The layers of an image, lowest first: what its manifest and its config say of them.
    #[must_use]
    pub fn stack(descriptors: &[Descriptor], diff_ids: &[Digest]) -> Vec<Self> {
        let mut parent: Option<Digest> = None;
        let pairs = descriptors.iter().zip(diff_ids);
        pairs
            .map(|(descriptor, diff_id)| {
                let chain = crate::chain_id(parent.as_ref(), diff_id);
                parent = Some(chain.clone());
                Self {
                    descriptor: descriptor.clone(),
                    diff_id: diff_id.clone(),
                    chain_id: chain,
                }
            })
            .collect()
    }
}

/// Brings a layer into the store: fetches its blob, unless it is there, and unpacks it, unless it is there, both at
/// once. `source` is called at most once, with the number of the blob's bytes that an earlier attempt has left; it
/// returns a reader of the bytes from there to the end. Nothing becomes visible before the blob's digest, its size and
/// the diff ID match. A second call for the same layer, from any process, waits for the first.
///
/// # Errors
/// [`Error::Source`] with what `source` or its reader says; bytes that are not the promised ones; an archive that
/// cannot be unpacked safely; limits, the disk, the index.
pub fn layer<E>(
    lease: &Lease<'_>,
    spec: &LayerSpec,
    source: impl FnOnce(u64) -> Result<Box<dyn Read + Send>, E>,
    progress: &Progress,
) -> Result<()>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let store = lease.store();
    let blob = &spec.descriptor.digest;
    if spec.descriptor.compression().is_none() {
        return Err(Error::MediaType {
            blob: blob.clone(),
            media_type: spec.descriptor.media_type.clone(),
        });
    }
    lease.protect([blob, &spec.chain_id])?;
    if present(store, &spec.chain_id)? {
        progress.send(|| Event::Exists(blob.clone()));
        return Ok(());
    }
    let workspace = Workspace::claim(store, spec.chain_id.hex())?;
    if present(store, &spec.chain_id)? {
        progress.send(|| Event::Exists(blob.clone()));
        return workspace.discard();
    }
    let unpacked = match unpack(store, spec, &workspace, source, progress) {
        Ok(bytes) => bytes,
        Err(error) => {
            // What was unpacked is of no use. If it cannot be removed either, the next writer will: the first error is
            // the one to tell.
            let _ = workspace.discard();
            return Err(error);
        }
    };
    workspace.publish(store, spec, unpacked)?;
    progress.send(|| Event::Done(blob.clone()));
    Ok(())
}

/// Whether the layer is there, or at least its blob: then its source is not asked.
///
/// # Errors
/// If the file system or the index cannot say.
pub fn exists(store: &Store, spec: &LayerSpec) -> Result<bool> {
    Ok(present(store, &spec.chain_id)? || crate::blob::exists(store, &spec.descriptor.digest)?)
}

/// Whether the layer is there and can be relied on.
pub(crate) fn present(store: &Store, chain: &Digest) -> Result<bool> {
    if !store.layer_path(chain).join("fs").exists() {
        return Ok(false);
    }
    let boot: Option<Option<String>> = store.with_index(|db| {
        db.prepare_cached("SELECT boot FROM layers WHERE chain = ?1")
            .and_then(|mut s| s.query_row([chain.as_str()], |row| row.get(0)).optional())
            .act("look for a layer")
    })?;
    Ok(match boot {
        Some(None) => true,
        Some(Some(boot)) => boot == index::boot_id()?,
        None => false,
    })
}

/// Runs the pipeline, from the blob if it is there, else from what there is of it and from `source`. Returns the bytes
/// that the layer's files have.
fn unpack<E>(
    store: &Store,
    spec: &LayerSpec,
    workspace: &Workspace,
    source: impl FnOnce(u64) -> Result<Box<dyn Read + Send>, E>,
    progress: &Progress,
) -> Result<u64>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let blob = &spec.descriptor.digest;
    if let Some(bytes) = from_blob(store, spec, workspace, progress)? {
        return Ok(bytes);
    }
    let mut partial = Partial::claim(store, blob)?;
    // Somebody else may have finished it while this waited.
    if let Some(bytes) = from_blob(store, spec, workspace, progress)? {
        partial.discard()?;
        return Ok(bytes);
    }
    if partial.len()? > spec.descriptor.size {
        partial.restart()?;
    }
    let fetch = fetch::Fetch::resume(spec, &partial, progress)?;
    let outcome = pipeline::run(store, spec, workspace, |out| {
        fetch.run(out, |offset| source(offset).map_err(Into::into))
    });
    match outcome {
        Ok(bytes) => {
            partial.publish()?;
            progress.send(|| Event::Downloaded(blob.clone()));
            Ok(bytes)
        }
        Err(error) => {
            if !matches!(error, Error::Source { .. } | Error::Io { .. }) || error.is_no_space() {
                // More of the same bytes would not help, or their space is needed.
                partial.discard()?;
            }
            Err(error)
        }
    }
}

/// Unpacks a blob that is whole. `None` if there is none, or it was damaged and is gone now.
fn from_blob(store: &Store, spec: &LayerSpec, workspace: &Workspace, progress: &Progress) -> Result<Option<u64>> {
    let path = store.blob_path(&spec.descriptor.digest);
    let file = match File::open(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        opened => opened.at("open", &path)?,
    };
    let fetch = fetch::Fetch::whole(spec, file, path.clone());
    match pipeline::run(store, spec, workspace, |out| {
        fetch.run(out, |_| Ok(Box::new(std::io::empty())))
    }) {
        Ok(bytes) => {
            progress.send(|| Event::Downloaded(spec.descriptor.digest.clone()));
            Ok(Some(bytes))
        }
        Err(Error::BlobDigest { .. } | Error::BlobSize { .. }) => {
            std::fs::remove_file(&path).at("remove", &path)?;
            workspace.clear()?;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The directory in which one layer is unpacked. Whoever has it has its lock.
pub(crate) struct Workspace {
    path: PathBuf,
    _lock: OwnedFd,
}

impl Workspace {
    /// Takes the directory, empty; waits for whoever has it.
    fn claim(store: &Store, name: &str) -> Result<Self> {
        let path = store.dir("ingest").join(name);
        let lock = lock::claim(&path, || {
            loop {
                match rustix::fs::mkdir(&path, Mode::RWXU) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error),
                }
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
                match rustix::fs::open(&path, flags, Mode::empty()) {
                    // Published by another pull, or taken for a leftover before it was locked.
                    Err(Errno::NOENT) => {}
                    opened => return opened,
                }
            }
        })?;
        let workspace = Self { path, _lock: lock };
        workspace.clear()?;
        Ok(workspace)
    }

    /// Empties it and makes `fs`, which inherits neither a group nor an access list from above.
    fn clear(&self) -> Result<()> {
        let fs = self.fs();
        tree::remove(&fs)?;
        for dir in [&self.path, &fs] {
            if dir == &fs {
                rustix::fs::mkdir(dir, Mode::RWXU).at("create", dir)?;
            }
            let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
            rustix::fs::chown(dir, Some(user), Some(group)).at("change the owner of", dir)?;
            rustix::fs::chmod(dir, Mode::RWXU).at("change the mode of", dir)?;
            match rustix::fs::removexattr(dir, "system.posix_acl_default") {
                Ok(()) | Err(Errno::NODATA | Errno::NOTSUP) => {}
                Err(error) => return Err(error).at("remove the default access list of", dir),
            }
        }
        Ok(())
    }

    fn fs(&self) -> PathBuf {
        self.path.join("fs")
    }

    fn discard(self) -> Result<()> {
        tree::remove(&self.path)
    }

    /// Gives the layer its final name. Its row comes first: a layer without a row could not be trusted.
    fn publish(self, store: &Store, spec: &LayerSpec, bytes: u64) -> Result<()> {
        let path = store.layer_path(&spec.chain_id);
        // Left by an earlier boot and never synced.
        tree::discard(store, &path)?;
        store.added();
        let boot = index::boot_id()?;
        store.with_index(|db| {
            db.prepare_cached(
                "INSERT INTO layers (chain, diff, blob, size, boot) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (chain) DO UPDATE SET blob = excluded.blob, size = excluded.size, boot = excluded.boot",
            )
            .and_then(|mut s| {
                s.execute(rusqlite::params![
                    spec.chain_id.as_str(),
                    spec.diff_id.as_str(),
                    spec.descriptor.digest.as_str(),
                    bytes.cast_signed(),
                    boot
                ])
            })
            .act("record a layer")
        })?;
        std::fs::rename(&self.path, &path).at("rename", &self.path)
    }
}
