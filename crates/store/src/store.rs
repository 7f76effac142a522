//! The store itself: where it is, how it is opened, what it allows.

use std::fs::File;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};

use hull_spec::Digest;
use rustix::fs::{Mode, OFlags};

use crate::error::{At, Error, Result};
use crate::lock::{self, Exclusive, Hold};
use crate::{Lease, gc};

/// What the store is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Resolving, listing, reading: nothing is created, migrated or swept, and the index is opened at first use.
    Read,
    /// Everything. Creates the store if need be and sweeps what killed processes left.
    Write,
}

/// How owners and overlayfs' marks are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// As root of the host: owners as in the image, `trusted.overlay.*` marks.
    Host,
    /// As root of a user namespace: only mapped owners, no device nodes, `user.overlay.*` marks, which need overlayfs'
    /// mount option `userxattr`.
    UserNamespace,
}

impl Ownership {
    /// The extended attribute that makes a directory hide what lies below it.
    #[must_use]
    pub fn opaque_xattr(self) -> &'static str {
        match self {
            Self::Host => "trusted.overlay.opaque",
            Self::UserNamespace => "user.overlay.opaque",
        }
    }

    /// The initial user namespace maps the whole range of IDs to itself; no other one does.
    fn detect() -> Self {
        let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        let fields: Vec<&str> = map.split_ascii_whitespace().collect();
        match fields[..] {
            [] | ["0", "0", "4294967295"] => Self::Host,
            _ => Self::UserNamespace,
        }
    }
}

/// What one layer may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Entries of its archive.
    pub entries: u64,
    /// Bytes of its archive, uncompressed.
    pub bytes: u64,
    /// Bytes of the file system that have to stay free while it is unpacked.
    pub reserve: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 5_000_000,
            bytes: 256 << 30,
            reserve: 64 << 20,
        }
    }
}

/// An opened store. It may be shared between threads.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    access: Access,
    limits: Limits,
    ownership: OnceLock<Ownership>,
    unsynced: AtomicBool,
    pub(crate) index: Mutex<Option<rusqlite::Connection>>,
}

const DIRS: [&str; 6] = [
    "blobs/sha256",
    "blobs/partial",
    "layers/empty/fs",
    "ingest",
    "leases",
    "trash",
];

impl Store {
    /// Opens the store at `root`.
    ///
    /// # Errors
    /// [`Access::Write`]: if its directories cannot be made, or a newer hull wrote it. [`Access::Read`] touches nothing
    /// yet and cannot fail.
    pub fn open(root: &Path, access: Access) -> Result<Self> {
        let store = Self {
            root: root.to_owned(),
            access,
            limits: Limits::default(),
            ownership: OnceLock::new(),
            unsynced: AtomicBool::new(false),
            index: Mutex::new(None),
        };
        if access == Access::Write {
            store.create()?;
            gc::leftovers(&store)?;
        }
        Ok(store)
    }

    /// The same store with other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    fn create(&self) -> Result<()> {
        for dir in DIRS {
            let path = self.root.join(dir);
            // Images hold set-user-ID programs, old and vulnerable ones too, and configs hold secrets: no other user of
            // the host gets in.
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&path)
                .at("create", &path)?;
        }
        let index = self.root.join("hull.db");
        // SQLite gives its other files the mode of this one.
        File::options()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&index)
            .at("create", &index)?;
        let empty = self.root.join("layers/empty/fs");
        rustix::fs::chmod(&empty, Mode::from_raw_mode(0o755)).at("change the mode of", &empty)?;
        let layout = self.root.join("blobs/oci-layout");
        if !layout.exists() {
            std::fs::write(&layout, br#"{"imageLayoutVersion":"1.0.0"}"#).at("write", &layout)?;
        }
        self.with_index(|_| Ok(()))
    }

    /// Where the store is.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What one layer may hold.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// How owners and marks are written here: told by the process's user namespace, once.
    pub fn ownership(&self) -> Ownership {
        *self.ownership.get_or_init(Ownership::detect)
    }

    /// Where the blob `digest` is, or would be.
    #[must_use]
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        let mut path = self.root.join("blobs");
        path.push(digest.algorithm().name());
        path.push(digest.hex());
        path
    }

    /// Where the layer `chain` is, or would be; its files are under `fs`.
    #[must_use]
    pub fn layer_path(&self, chain: &Digest) -> PathBuf {
        let mut path = self.root.join("layers");
        path.push(chain.hex());
        path
    }

    /// Keeps everything in the store from being deleted until the [`Hold`] is dropped. Cheap; waits for a removal that
    /// is under way.
    ///
    /// # Errors
    /// If the lock file cannot be opened.
    pub fn hold(&self) -> Result<Hold> {
        lock::hold(&self.root.join("gc.lock"))
    }

    pub(crate) fn exclusive(&self) -> Result<Exclusive> {
        self.writable()?;
        lock::exclusive(&self.root.join("gc.lock"))
    }

    /// A lease, under which blobs and layers are added.
    ///
    /// # Errors
    /// If the store is open for reading only, or the lease's file cannot be made.
    pub fn lease(&self) -> Result<Lease<'_>> {
        Lease::new(self)
    }

    /// Brings all that was added to the disk: one `syncfs`. Does nothing if nothing was added since the last one.
    /// [`crate::image::record`] calls it, so a pull needs not.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn sync(&self) -> Result<()> {
        if self.unsynced.swap(false, Ordering::AcqRel) {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let synced = rustix::fs::open(&self.root, flags, Mode::empty()).and_then(rustix::fs::syncfs);
            if synced.is_err() {
                self.unsynced.store(true, Ordering::Release);
            }
            synced.at("sync", &self.root)?;
        }
        Ok(())
    }

    pub(crate) fn added(&self) {
        self.unsynced.store(true, Ordering::Release);
    }

    pub(crate) fn dir(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub(crate) fn writable(&self) -> Result<()> {
        match self.access {
            Access::Write => Ok(()),
            Access::Read => Err(Error::ReadOnly {
                root: self.root.clone(),
            }),
        }
    }

    pub(crate) fn access(&self) -> Access {
        self.access
    }
}
