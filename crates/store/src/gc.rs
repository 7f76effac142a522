//! Collection: what no image, no lease and no container names.
//!
//! The index is changed first and committed, then files go out of sight in one rename each, then they are removed. A
//! kill in between leaves files that nothing names: the next sweep finds them.

mod collect;

use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use hull_spec::{Algorithm, Digest};
use rusqlite::Connection;
use rustix::fs::{FlockOperation, Mode, OFlags};

use crate::error::{At, Error, Result};
use crate::image::User;
use crate::index::{self, Statement};
use crate::lock::Exclusive;
use crate::{Store, lease, tree};

pub(crate) use collect::touch;
pub use collect::{Budget, Collected, collect};

/// What a sweep freed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Layers.
    pub layers: u64,
    /// Blobs, partial ones too.
    pub blobs: u64,
    /// Bytes of the blobs and of the layers, unpacked.
    pub bytes: u64,
}

/// What has to stay.
pub(crate) struct Named {
    pub(crate) layers: HashSet<Digest>,
    pub(crate) blobs: HashSet<Digest>,
}

impl Named {
    /// By all images, leases and containers. The caller holds the exclusive lock, so none is added meanwhile.
    pub(crate) fn collect(db: &Connection, users: &[User], leased: &HashSet<Digest>) -> Result<Self> {
        let mut named = Self {
            layers: leased.clone(),
            blobs: leased.clone(),
        };
        named.layers.extend(users.iter().flat_map(|u| u.layers.iter().cloned()));
        let mut statement = db
            .prepare("SELECT id, manifest, layers, blobs FROM images")
            .act("list images")?;
        let mut rows = statement.query([]).act("list images")?;
        while let Some(row) = rows.next().act("list images")? {
            let text = |at: usize| row.get::<_, String>(at).act("list images");
            named.blobs.insert(text(0)?.parse()?);
            named.blobs.insert(text(1)?.parse()?);
            for line in text(2)?.lines() {
                named.layers.insert(line.parse()?);
            }
            for line in text(3)?.lines() {
                named.blobs.insert(line.parse()?);
            }
        }
        let mut statement = db.prepare("SELECT name FROM refs").act("list references")?;
        let mut rows = statement.query([]).act("list references")?;
        while let Some(row) = rows.next().act("list references")? {
            let name: String = row.get(0).act("list references")?;
            // An index is kept for as long as a reference names its digest.
            if let Some((_, digest)) = name.split_once('@') {
                named.blobs.insert(digest.parse()?);
            }
        }
        Ok(named)
    }
}

/// Takes layers out of sight; the caller removes what is returned when it has let go of the lock.
pub(crate) fn bin_layers(store: &Store, layers: &[Digest], _lock: &Exclusive) -> Result<Vec<PathBuf>> {
    let mut binned = Vec::new();
    for chain in layers {
        binned.extend(tree::bin(store, &store.layer_path(chain))?);
    }
    Ok(binned)
}

/// Removes a blob; one that is not there is fine. Returns its size.
pub(crate) fn remove_file(path: &Path) -> Result<u64> {
    let size = path.symlink_metadata().map_or(0, |m| m.len());
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        removed => removed.map(|()| size).at("remove", path),
    }
}

/// Asks the caller what its containers use.
pub(crate) fn ask<E>(users: impl FnOnce() -> Result<Vec<User>, E>) -> Result<Vec<User>>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    users().map_err(|error| Error::Users { source: error.into() })
}

/// Removes every blob and layer that nothing names, partial blobs that nobody is fetching, and what killed processes
/// left. `users` tells of all containers; it is called while nobody can make a new one,
/// so it must not wait for a [`crate::Hold`] itself.
///
/// # Errors
/// What `users`, the index or the file system says.
pub fn sweep<E>(store: &Store, users: impl FnOnce() -> Result<Vec<User>, E>) -> Result<Swept>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let lock = store.exclusive()?;
    let users = ask(users)?;
    let leased = lease::protected(store, &lock)?;
    let named = store.with_index(|db| Named::collect(db, &users, &leased))?;
    let mut swept = Swept::default();
    let doomed = unnamed_layers(store, &named, &mut swept)?;
    let mut binned = Vec::new();
    for path in doomed {
        binned.extend(tree::bin(store, &path)?);
    }
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        let dir = store.dir("blobs").join(algorithm.name());
        for (name, path) in entries(&dir)? {
            let digest = format!("{}:{name}", algorithm.name()).parse::<Digest>();
            if !digest.is_ok_and(|d| named.blobs.contains(&d)) {
                swept.blobs += 1;
                swept.bytes += remove_file(&path)?;
            }
        }
    }
    for (name, path) in entries(&store.dir("blobs/partial"))? {
        let digest = name.replacen('-', ":", 1).parse::<Digest>();
        if !digest.is_ok_and(|d| leased.contains(&d)) && is_abandoned(&path)?.is_some() {
            swept.blobs += 1;
            swept.bytes += remove_file(&path)?;
        }
    }
    drop(lock);
    for path in binned {
        tree::remove(&path)?;
    }
    leftovers(store)?;
    Ok(swept)
}

/// Forgets the rows of layers that nothing names and returns the directories of such layers, with a row or without.
fn unnamed_layers(store: &Store, named: &Named, swept: &mut Swept) -> Result<Vec<PathBuf>> {
    let keep: HashSet<&str> = named.layers.iter().map(Digest::hex).collect();
    let doomed: Vec<(String, PathBuf)> = entries(&store.dir("layers"))?
        .into_iter()
        // `empty` and the engine's `base` are of no image, and containers are about to be mounted from them.
        .filter(|(name, _)| name.len() == 64 && !keep.contains(name.as_str()))
        .collect();
    swept.layers += doomed.len() as u64;
    store.with_index(|db| {
        let transaction = db.transaction().act("begin a sweep")?;
        let rows = transaction
            .prepare("SELECT chain, size FROM layers")
            .and_then(|mut s| {
                s.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?
                    .collect::<Result<Vec<_>, _>>()
            })
            .act("list layers")?;
        for (chain, size) in rows {
            let digest: Digest = chain.parse()?;
            if !named.layers.contains(&digest) {
                if doomed.iter().any(|(name, _)| name == digest.hex()) {
                    swept.bytes += size.cast_unsigned();
                }
                transaction
                    .execute("DELETE FROM layers WHERE chain = ?1", [&chain])
                    .act("forget a layer")?;
            }
        }
        transaction.commit().act("commit a sweep")?;
        index::empty_log(db)
    })?;
    Ok(doomed.into_iter().map(|(_, path)| path).collect())
}

/// Takes away what killed processes left half unpacked or half deleted. What another process is at work on is left
/// to it.
pub(crate) fn leftovers(store: &Store) -> Result<()> {
    let trash = store.dir("trash");
    if let Some(_lock) = is_abandoned(&trash)? {
        for (_, path) in entries(&trash)? {
            tree::remove(&path)?;
        }
    }
    for (_, path) in entries(&store.dir("ingest"))? {
        if let Some(_lock) = is_abandoned(&path)? {
            tree::remove(&path)?;
        }
    }
    Ok(())
}

/// Takes the lock of a file or directory, if nobody has it.
fn is_abandoned(path: &Path) -> Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        opened => File::from(opened.at("open", path)?),
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error).at("lock", path),
    }
}

/// Names and paths of what is in a directory; nothing if it is not there.
fn entries(dir: &Path) -> Result<Vec<(String, PathBuf)>> {
    let read = match dir.read_dir() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.at("list", dir)?,
    };
    read.map(|entry| {
        let entry = entry.at("list", dir)?;
        Ok((entry.file_name().to_string_lossy().into_owned(), entry.path()))
    })
    .collect()
}
