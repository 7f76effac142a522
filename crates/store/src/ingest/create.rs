//! A new layer out of a container's writable one, by `commit`: archive, diff ID and unpacked form in one pass over the
//! files, so that the three agree even while the container goes on writing.
//!
//! ```text
//! walk -> archive -> blob file -+-> [sha256: the diff ID, which is the blob's digest too]
//!  caller's thread              +-> [tar, files] thread
//! ```
//! The blob is not compressed: commit would take several times as long, and only a push needs it to be small.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use hull_spec::manifest::{Descriptor, media};
use hull_spec::{Algorithm, Digest};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::extract::Extract;
use super::queue::{Outlet, is_closed, queue};
use super::{LayerSpec, Workspace, present};
use crate::error::{At, Error, Result};
use crate::tar::{Entry, Kind, Writer};
use crate::walk::{Found, Options, Start, walk};
use crate::{Lease, Store, chain_id, hash};

/// Buffers on their way to the threads: 6 MiB in all.
const BUFFERS: (usize, usize) = (256 << 10, 24);

/// How often the free space is looked at: every this many bytes.
const CHECK: u64 = 64 << 20;

/// Makes a layer out of the files in `upper`, the upper directory of an overlay that nothing changes meanwhile, or that may
/// be caught half-way through a change. `None` where there is nothing in it. `skipped` is told of sockets.
///
/// Nothing becomes visible before it is whole; a kill in between leaves what the next writer sweeps.
///
/// # Errors
/// What cannot be read or be in a layer; the disk.
pub fn create(
    lease: &Lease<'_>,
    parent: Option<&Digest>,
    upper: &Path,
    skipped: &mut dyn FnMut(&[u8]),
) -> Result<Option<LayerSpec>> {
    let store = lease.store();
    let workspace = nameless(store)?;
    let made = fill(store, parent, upper, &workspace, skipped).and_then(|made| match made {
        Some(made) => publish(lease, parent, &workspace, &made).map(Some),
        None => Ok(None),
    });
    // Published or not, nothing of it is needed under this name. What resists is swept by the next writer.
    let discarded = workspace.discard();
    let made = made?;
    discarded?;
    Ok(made)
}

/// A workspace for a layer that has no digest yet.
pub(super) fn nameless(store: &Store) -> Result<Workspace> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    Workspace::claim(store, &format!("new-{}-{number}", std::process::id()))
}

/// What was written into a workspace: the file `blob`, and the files of the layer.
pub(super) struct Made {
    pub(super) blob: Descriptor,
    pub(super) diff_id: Digest,
    /// Bytes of its files.
    pub(super) unpacked: u64,
}

fn fill(
    store: &Store,
    parent: Option<&Digest>,
    upper: &Path,
    workspace: &Workspace,
    skipped: &mut dyn FnMut(&[u8]),
) -> Result<Option<Made>> {
    let blob = workspace.path.join("blob");
    let file = File::create_new(&blob).at("create", &blob)?;
    let unnamed = unnamed(parent);
    let extract = Extract::new(store, &unnamed, &workspace.fs())?;
    let (outlet, [to_hash, to_files]) = queue(BUFFERS.0, BUFFERS.1);
    let tee = Tee {
        store,
        file,
        path: blob.clone(),
        buffer: outlet.buffer(),
        filled: 0,
        outlet,
        checked: 0,
        written: 0,
    };
    thread::scope(|scope| {
        let spawn = |name: &str| thread::Builder::new().name(name.to_owned());
        let hash = spawn("diff-id")
            .spawn_scoped(scope, || super::pipeline::hash(Algorithm::Sha256, to_hash))
            .at("start a thread for", &blob)?;
        let files = spawn("extract")
            .spawn_scoped(scope, move || extract.run(to_files))
            .at("start a thread for", &blob)?;
        let packed = pack(upper, tee, skipped);
        let hash = hash.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let files = files.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let unpacked = match files {
            // The layer that the error is about has no name yet.
            Err(Error::Entry { entry, act, source, .. }) => Err(Error::Io {
                act,
                path: entry.into(),
                source,
            }),
            files => files,
        }?;
        match (packed?, hash, unpacked) {
            (None, ..) => Ok(None),
            (Some(size), Some(diff_id), Some(unpacked)) => Ok(Some(Made {
                blob: descriptor(media::OCI_LAYER, &diff_id, size),
                diff_id,
                unpacked,
            })),
            // Whoever closed a queue returned an error above.
            _ => unreachable!("a stage stopped without an error"),
        }
    })
}

/// A description for the time in which the layer has no digest.
pub(super) fn unnamed(parent: Option<&Digest>) -> LayerSpec {
    let digest = hash::digest(Algorithm::Sha256, b"");
    LayerSpec {
        descriptor: descriptor(media::OCI_LAYER, &digest, 0),
        chain_id: chain_id(parent, &digest),
        diff_id: digest,
    }
}

pub(super) fn descriptor(media_type: &str, digest: &Digest, size: u64) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        digest: digest.clone(),
        size,
        urls: Vec::new(),
        annotations: BTreeMap::new(),
        platform: None,
        artifact_type: None,
    }
}

/// Writes the archive. Returns its size; none where there is nothing in it.
fn pack(upper: &Path, tee: Tee<'_>, skipped: &mut dyn FnMut(&[u8])) -> Result<Option<u64>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let dir = rustix::fs::open(upper, flags, Mode::empty()).at("open", upper)?;
    let options = Options {
        layer: Some(tee.store.ownership()),
        sparse: true,
        seconds: true,
    };
    let path = tee.path.clone();
    let write = |source: io::Error| Error::Io {
        act: "write",
        path: path.clone(),
        source,
    };
    let mut writer = Writer::new(tee);
    let mut any = false;
    let top = rustix::fs::fstat(&dir).at("examine", upper)?;
    // The top of a layer is root's with mode 755 unless an entry says otherwise.
    if (top.st_mode & 0o7777, top.st_uid, top.st_gid) != (0o755, 0, 0) {
        any = true;
        let entry = Entry {
            path: b".".to_vec(),
            kind: Kind::Directory,
            mode: top.st_mode & 0o7777,
            uid: top.st_uid,
            gid: top.st_gid,
            ..Entry::default()
        };
        writer.entry(&entry).map_err(&write)?;
    }
    let start = Start {
        dir: dir.as_fd(),
        name: c".",
        path: b"",
    };
    let walked = walk(&start, options, |found| {
        any = true;
        match found {
            Found::Entry(entry, Some(file)) => writer.file(entry, file).map_err(&write),
            Found::Entry(entry, None) => writer.entry(entry).map_err(&write),
            Found::Socket(path) => {
                skipped(path);
                Ok(())
            }
        }
    });
    let done = walked.and_then(|()| writer.finish().map_err(&write));
    match done {
        Ok(tee) => {
            let written = tee.end().map_err(&write)?;
            Ok(any.then_some(written))
        }
        // The thread that hung up tells why.
        Err(Error::Io { source, .. }) if is_closed(&source) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Gives the blob and the files their final names.
pub(super) fn publish(
    lease: &Lease<'_>,
    parent: Option<&Digest>,
    workspace: &Workspace,
    made: &Made,
) -> Result<LayerSpec> {
    let store = lease.store();
    let spec = LayerSpec {
        descriptor: made.blob.clone(),
        chain_id: chain_id(parent, &made.diff_id),
        diff_id: made.diff_id.clone(),
    };
    lease.protect([&spec.descriptor.digest, &spec.chain_id])?;
    let (from, to) = (workspace.path.join("blob"), store.blob_path(&spec.descriptor.digest));
    store.added();
    std::fs::rename(&from, &to).at("rename", &from)?;
    // Whoever unpacks the very same layer has this, and is waited for.
    let claim = Workspace::claim(store, spec.chain_id.hex())?;
    if present(store, &spec.chain_id)? {
        claim.discard()?;
        return Ok(spec);
    }
    crate::tree::remove(&claim.fs())?;
    let fs = workspace.fs();
    std::fs::rename(&fs, claim.fs()).at("rename", &fs)?;
    claim.publish(store, &spec, made.unpacked)?;
    Ok(spec)
}

/// Where the archive goes: the blob's file and the threads.
struct Tee<'s> {
    store: &'s Store,
    file: File,
    path: PathBuf,
    buffer: Vec<u8>,
    filled: usize,
    outlet: Outlet,
    checked: u64,
    written: u64,
}

impl Tee<'_> {
    fn pass_on(&mut self) -> io::Result<()> {
        if self.filled == 0 {
            return Ok(());
        }
        let mut full = std::mem::replace(&mut self.buffer, self.outlet.buffer());
        full.truncate(std::mem::take(&mut self.filled));
        self.file.write_all(&full)?;
        self.written += full.len() as u64;
        if self.written - self.checked >= CHECK {
            self.checked = self.written;
            let space = rustix::fs::statvfs(self.store.root())?;
            // As when a layer is pulled: the last bytes are for everybody else.
            if space.f_bavail.saturating_mul(space.f_frsize) < self.store.limits().reserve {
                return Err(Errno::NOSPC.into());
            }
        }
        self.outlet.send(full).map_err(|closed| closed.error())
    }

    /// Ends the stream. Returns its bytes.
    fn end(mut self) -> io::Result<u64> {
        self.pass_on()?;
        let written = self.written;
        self.outlet.end().map_err(|closed| closed.error())?;
        Ok(written)
    }
}

impl Write for Tee<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.filled == self.buffer.len() {
            self.pass_on()?;
        }
        let take = bytes.len().min(self.buffer.len() - self.filled);
        self.buffer[self.filled..self.filled + take].copy_from_slice(&bytes[..take]);
        self.filled += take;
        Ok(take)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
