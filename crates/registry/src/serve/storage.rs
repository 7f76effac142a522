//! What the server keeps on disk. Nothing of it is kept in memory but sums, so a kill at any instant loses nothing that
//! was acknowledged.
//!
//! ```text
//! ROOT/
//!   oci-layout                            says that `blobs` is that of an OCI image layout
//!   lock                                  locked by the one server that writes here
//!   blobs/ALGORITHM/HEX                   every blob and manifest, once, however many repositories have it
//!   repositories/NAME/_blobs/ALGORITHM/HEX       this repository has the blob; its time is that of the last interest
//!   repositories/NAME/_manifests/ALGORITHM/HEX   this repository has the manifest; holds its media type
//!   repositories/NAME/_tags/TAG                  holds a digest
//!   repositories/NAME/_referrers/SUBJECT/DIGEST  a descriptor of a manifest about SUBJECT (`ALGORITHM-HEX`)
//!   uploads/ID/{repository,data}          an upload that is not finished
//!   tmp/                                  files before their renaming
//! ```
//!
//! No component of a repository's name begins with an underscore, so the four folders never collide with one.
//!
//! A repository has a blob only by its own link: that another one has the same bytes is never visible. Every file is
//! written under a temporary name, brought to the disk, renamed, and its folder brought to the disk, before the client is
//! told of success. Order: a blob before its link, a manifest before its tag.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use hull_spec::{Algorithm, Digest};

use super::route::Name;
use super::settings::Quota;
use crate::Error;

mod collect;
mod evict;
mod fault;
mod ledger;
mod repository;
mod upload;

pub(super) use collect::Policy;
pub(super) use fault::{At, Fault};
pub(super) use ledger::Ledger;
pub(super) use upload::{Session, Writer};

/// The most that is read of a link's file.
const LINK_MAX: u64 = 16 << 10;

/// The storage of one server.
#[derive(Debug)]
pub(super) struct Storage {
    root: PathBuf,
    pub(super) ledger: Ledger,
    /// Read: a link is being made. Write: something is being deleted.
    gate: RwLock<()>,
    /// Held by whoever collects: one at a time.
    collecting: Mutex<()>,
    /// The blobs that were linked since a collection began.
    fresh: Mutex<Option<HashSet<Digest>>>,
    uploads: upload::Uploads,
    next: AtomicU64,
    _lock: File,
}

/// A stored manifest.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) digest: Digest,
    pub(super) media_type: String,
    pub(super) bytes: Vec<u8>,
}

impl Storage {
    /// Opens or makes the storage at `root`, for this process alone.
    pub(super) fn open(root: &Path, quota: Quota) -> Result<Self, Error> {
        let fail = |act: &'static str, path: &Path| {
            let path = path.to_owned();
            move |source| Error::Storage { act, path, source }
        };
        for dir in ["blobs/sha256", "repositories", "uploads", "tmp"] {
            let path = root.join(dir);
            make_dir(&path).map_err(fail("create", &path))?;
        }
        let path = root.join("lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(fail("open", &path))?;
        if let Err(error) = lock.try_lock() {
            return Err(match error {
                std::fs::TryLockError::WouldBlock => Error::Serving { root: root.to_owned() },
                std::fs::TryLockError::Error(source) => fail("lock", &path)(source),
            });
        }
        let storage = Self {
            root: root.to_owned(),
            ledger: Ledger::new(quota),
            gate: RwLock::default(),
            collecting: Mutex::default(),
            fresh: Mutex::default(),
            uploads: upload::Uploads::new(root.join("uploads")),
            next: AtomicU64::new(0),
            _lock: lock,
        };
        storage.prepare().map_err(|fault| match fault {
            Fault::Io(error) => error,
            Fault::Full | Fault::Quota(_) => fail("write", root)(io::ErrorKind::StorageFull.into()),
        })?;
        Ok(storage)
    }

    fn prepare(&self) -> Result<(), Fault> {
        let layout = self.root.join("oci-layout");
        if !layout.exists() {
            self.write(&layout, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        }
        // What a killed server had not renamed yet.
        for (_, path) in entries(&self.root.join("tmp"))? {
            std::fs::remove_file(&path).at("remove", &path)?;
        }
        for name in self.repositories()? {
            for (digest, _) in self.links(&name)? {
                self.ledger.add(&name, self.size(&digest)?.unwrap_or(0));
            }
            for (digest, _) in self.manifests(&name)? {
                self.ledger.add(&name, self.size(&digest)?.unwrap_or(0));
            }
        }
        for (id, path) in entries(&self.root.join("uploads"))? {
            if let Some(session) = self.uploads.find(&id)? {
                self.ledger.restore(&session.name, session.len());
            } else {
                std::fs::remove_dir_all(&path).at("remove", &path)?;
            }
        }
        Ok(())
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root
            .join("blobs")
            .join(digest.algorithm().name())
            .join(digest.hex())
    }

    fn repository(&self, name: &Name) -> PathBuf {
        self.root.join("repositories").join(name.as_str())
    }

    fn link_path(&self, name: &Name, digest: &Digest) -> PathBuf {
        let dir = self.repository(name).join("_blobs");
        dir.join(digest.algorithm().name()).join(digest.hex())
    }

    /// A file that is to be renamed.
    fn temporary(&self) -> PathBuf {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.root.join("tmp").join(number.to_string())
    }

    /// Writes a file whole, or not at all, and durably.
    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), Fault> {
        let temporary = self.temporary();
        let written = File::create(&temporary).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
        let written = written.at("write", &temporary).and_then(|()| {
            let parent = path.parent().unwrap_or(&self.root);
            make_dir(parent).at("create", parent)?;
            std::fs::rename(&temporary, path).at("rename to", path)?;
            sync_dir(parent).at("sync", parent)
        });
        if written.is_err() {
            // What failed is told; a temporary file that stays is removed at the next start.
            let _ = std::fs::remove_file(&temporary);
        }
        written
    }

    /// The size of a blob that is on the disk, whoever has it.
    fn size(&self, digest: &Digest) -> Result<Option<u64>, Fault> {
        let path = self.blob_path(digest);
        missing(std::fs::metadata(&path).map(|m| m.len())).at("examine", &path)
    }

    /// The size of a blob of this repository.
    pub(super) fn blob_size(&self, name: &Name, digest: &Digest) -> Result<Option<u64>, Fault> {
        let link = self.link_path(name, digest);
        if !link.try_exists().at("look for", &link)? {
            return Ok(None);
        }
        self.size(digest)
    }

    /// Says that a client relies on this blob of this repository from now on, and returns its size.
    pub(super) fn touch_blob(&self, name: &Name, digest: &Digest) -> Result<Option<u64>, Fault> {
        let _gate = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        let link = self.link_path(name, digest);
        let touched = File::options()
            .write(true)
            .open(&link)
            .and_then(|file| file.set_modified(SystemTime::now()));
        match missing(touched).at("touch", &link)? {
            Some(()) => self.size(digest),
            None => Ok(None),
        }
    }

    /// A blob of this repository, and its size.
    pub(super) fn open_blob(&self, name: &Name, digest: &Digest) -> Result<Option<(File, u64)>, Fault> {
        let link = self.link_path(name, digest);
        if !link.try_exists().at("look for", &link)? {
            return Ok(None);
        }
        let path = self.blob_path(digest);
        let opened = File::open(&path).and_then(|file| {
            let size = file.metadata()?.len();
            Ok((file, size))
        });
        missing(opened).at("open", &path)
    }

    /// Makes a finished file a blob of `name`. What it was written to is durable already. The same steps are done whether
    /// the blob is there or not, so that nobody learns from the time that they take whether another repository has it.
    pub(super) fn adopt(&self, name: &Name, digest: &Digest, file: File, path: &Path) -> Result<(), Fault> {
        let size = file.metadata().at("examine", path)?.len();
        let _gate = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        let blob = self.blob_path(digest);
        let dir = self.root.join("blobs").join(digest.algorithm().name());
        make_dir(&dir).at("create", &dir)?;
        // An inode with this name goes away with its last descriptor; freeing a large one takes time, which would tell.
        let old = File::open(&blob).ok();
        std::fs::rename(path, &blob).at("rename to", &blob)?;
        sync_dir(&dir).at("sync", &dir)?;
        self.link(name, digest, size)?;
        if let Some(old) = old {
            // Where no thread can be had, it is closed here.
            let _ = std::thread::Builder::new().spawn(move || drop(old));
        }
        Ok(())
    }

    /// Notes that `name` has the blob. The caller holds the gate.
    fn link(&self, name: &Name, digest: &Digest, size: u64) -> Result<(), Fault> {
        if let Some(fresh) = &mut *self.fresh.lock().unwrap_or_else(PoisonError::into_inner) {
            fresh.insert(digest.clone());
        }
        let link = self.link_path(name, digest);
        let dir = link.parent().unwrap_or(&self.root);
        make_dir(dir).at("create", dir)?;
        match File::options().write(true).create_new(true).open(&link) {
            Ok(_) => {
                self.ledger.add(name, size);
                sync_dir(dir).at("sync", dir)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let touched = File::options()
                    .write(true)
                    .open(&link)
                    .and_then(|file| file.set_modified(SystemTime::now()));
                touched.at("touch", &link)
            }
            Err(error) => Err(error).at("create", &link),
        }
    }

    /// Gives `to` a blob that `from` has. The caller has checked that whoever asks may read `from`.
    pub(super) fn mount(&self, from: &Name, to: &Name, digest: &Digest) -> Result<bool, Fault> {
        let _gate = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        let Some(size) = self.blob_size(from, digest)? else {
            return Ok(false);
        };
        if self.blob_size(to, digest)?.is_none() {
            self.ledger.check(to, size)?;
        }
        self.link(to, digest, size)?;
        Ok(true)
    }

    /// Takes a blob from this repository. Its bytes stay until a collection finds that nobody has it.
    pub(super) fn delete_blob(&self, name: &Name, digest: &Digest) -> Result<bool, Fault> {
        let _gate = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        self.unlink(name, digest)
    }

    /// Removes a link. The caller holds the gate alone.
    fn unlink(&self, name: &Name, digest: &Digest) -> Result<bool, Fault> {
        let size = self.size(digest)?.unwrap_or(0);
        let link = self.link_path(name, digest);
        let removed = missing(std::fs::remove_file(&link)).at("remove", &link)?.is_some();
        if removed {
            self.ledger.remove(name, size);
            let dir = link.parent().unwrap_or(&self.root);
            sync_dir(dir).at("sync", dir)?;
        }
        Ok(removed)
    }

    /// The blobs that a repository has, and when each was last of interest.
    fn links(&self, name: &Name) -> Result<Vec<(Digest, SystemTime)>, Fault> {
        let dir = self.repository(name).join("_blobs");
        digests(&dir)?
            .into_iter()
            .map(|(digest, path)| {
                let time = path.metadata().and_then(|m| m.modified()).at("examine", &path)?;
                Ok((digest, time))
            })
            .collect()
    }
}

/// What is in a folder of the form `ALGORITHM/HEX`.
fn digests(dir: &Path) -> Result<Vec<(Digest, PathBuf)>, Fault> {
    let mut out = Vec::new();
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        for (hex, path) in entries(&dir.join(algorithm.name()))? {
            if let Ok(digest) = format!("{}:{hex}", algorithm.name()).parse() {
                out.push((digest, path));
            }
        }
    }
    Ok(out)
}

/// Names and paths of what is in a folder; nothing if it is not there.
fn entries(dir: &Path) -> Result<Vec<(String, PathBuf)>, Fault> {
    let Some(read) = missing(dir.read_dir()).at("list", dir)? else {
        return Ok(Vec::new());
    };
    read.map(|entry| {
        let entry = entry.at("list", dir)?;
        Ok((entry.file_name().to_string_lossy().into_owned(), entry.path()))
    })
    .collect()
}

/// Reads a small file, if it is there.
fn read_small(path: &Path) -> Result<Option<String>, Fault> {
    let read = File::open(path).and_then(|file| {
        let mut text = String::new();
        file.take(LINK_MAX).read_to_string(&mut text)?;
        Ok(text)
    });
    missing(read).at("read", path)
}

/// `None` for what does not exist.
fn missing<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes a folder and those above it, durably.
fn make_dir(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
    if let Some(parent) = parent {
        make_dir(parent)?;
    }
    use std::os::unix::fs::DirBuilderExt as _;
    // Private images are nobody's business but the server's.
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !path.is_dir() => Err(error),
        _ => sync_dir(parent.unwrap_or(Path::new("."))),
    }
}

fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
