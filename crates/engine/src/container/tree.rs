//! A container's file tree for a command that reads or changes files in it: a running one's through its own mounts, a
//! stopped one's mounted for as long as the command lasts, while its lock keeps it from being started or removed.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hull_runtime::container::Rootfs;
use hull_runtime::mount::view::{self, View};
use hull_spec::container::{IdMaps, IdRange, Record};
use hull_store::tar::Entry;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::{describe, find, kill, lock, status};
use crate::{Engine, Error, Result};

/// A container's file tree, for as long as this is there.
pub(crate) struct Tree {
    // In the order in which they are to go: the mount before its scratch folder and its lock.
    view: View,
    _scratch: Option<Scratch>,
    _lock: Option<File>,
    /// The IDs in which owners are seen, where they are not the container's own.
    maps: Option<IdMaps>,
}

/// Overlay's scratch folder for a mount that is not the container's own: by its own one a container is known to have run.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is used again, and goes with the container.
        let _ = hull_store::tree::remove(&self.0);
    }
}

/// What of a container is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Its root file system alone.
    Rootfs,
    /// With its volumes, binds and tmpfs mounts.
    Mounts,
}

impl Tree {
    /// Opens the tree of a container, in whatever state it is.
    pub(crate) fn open(engine: &Engine, record: &Record, part: Part) -> Result<Self> {
        loop {
            let init = match holding(engine, record)? {
                Held::Stopped(lock) => return Self::stopped(engine, record, part, lock),
                Held::Running(init) => init,
            };
            match Self::running(engine, record, part, &init) {
                // It has ended meanwhile, or is about to: its namespaces go first.
                Err(e) if kill::has_ended(&init, patience(&e)) => {}
                opened => return opened,
            }
        }
    }

    fn running(engine: &Engine, record: &Record, part: Part, init: &OwnedFd) -> Result<Self> {
        let mut targets: Vec<String> = Vec::new();
        if part == Part::Mounts {
            targets.extend(["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"].map(str::to_owned));
            targets.extend(record.mounts.iter().map(|mount| mount.destination.clone()));
        }
        let view = view::running(init.as_fd(), &targets, &engine.container_dir(&record.id))?;
        Ok(Self {
            view,
            _scratch: None,
            _lock: None,
            maps: record.id_maps.clone().filter(|_| !engine.rootless),
        })
    }

    fn stopped(engine: &Engine, record: &Record, part: Part, lock: File) -> Result<Self> {
        let mut rootfs = describe::rootfs(engine, record)?;
        let scratch = Scratch(engine.container_dir(&record.id).join("scratch"));
        if let Rootfs::Overlay(overlay) = &mut rootfs {
            std::fs::create_dir_all(&scratch.0).map_err(|source| Error::Write {
                path: scratch.0.clone(),
                source,
            })?;
            overlay.work.clone_from(&scratch.0);
            overlay.volatile = false;
            // Owners on disk are those in the container.
            overlay.idmap = false;
        }
        let (mut mounts, file_systems) = match part {
            Part::Rootfs => (Vec::new(), Vec::new()),
            Part::Mounts => describe::lasting(engine, record)?,
        };
        if record.id_maps.is_some() {
            for mount in &mut mounts {
                mount.idmap = None;
            }
        }
        // As at a start: what another container has mounted is seen here, too.
        let opened = hull_monitor::volume::open(&file_systems, &engine.run)?;
        let view = view::stopped(&rootfs, record.host_config.readonly_rootfs, mounts, opened.mounts)?;
        Ok(Self {
            view,
            _scratch: Some(scratch),
            _lock: Some(lock),
            maps: None,
        })
    }

    /// The root of the tree.
    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.view.root()
    }

    /// Opens a path as the container would. The last part is not followed if `flags` say so.
    pub(crate) fn find(&self, path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let path = path.trim_start_matches('/');
        let path = if path.is_empty() { "." } else { path };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        loop {
            match rustix::fs::openat2(self.root(), path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                // Something was renamed somewhere while `..` was followed.
                Err(Errno::AGAIN | Errno::INTR) => {}
                opened => return opened,
            }
        }
    }

    /// The entry with the owner that it has in the container.
    pub(crate) fn inside(&self, entry: &Entry) -> Option<Entry> {
        let maps = self.maps.as_ref()?;
        let id = |ranges: &[IdRange], id: u32| {
            ranges.iter().find_map(|range| {
                let offset = id.checked_sub(range.outside).filter(|offset| *offset < range.count)?;
                range.inside.checked_add(offset)
            })
        };
        Some(Entry {
            uid: id(&maps.uids, entry.uid).unwrap_or(OVERFLOW),
            gid: id(&maps.gids, entry.gid).unwrap_or(OVERFLOW),
            ..entry.clone()
        })
    }

    /// The owner in the container as it is given through this tree.
    pub(crate) fn outside(&self, uid: u32, gid: u32) -> Result<(u32, u32)> {
        let Some(maps) = &self.maps else {
            return Ok((uid, gid));
        };
        let unknown = |what: &str, id: u32| {
            Error::Invalid(format!("{what} {id} is not mapped in the container's user namespace"))
        };
        Ok((
            IdRange::outside(&maps.uids, uid).ok_or_else(|| unknown("user", uid))?,
            IdRange::outside(&maps.gids, gid).ok_or_else(|| unknown("group", gid))?,
        ))
    }

    /// Whether owners are seen in other IDs than the container's.
    pub(crate) fn is_mapped(&self) -> bool {
        self.maps.is_some()
    }
}

/// How long a container's process may take to end that could not be looked into: one that has lost its namespaces is ending,
/// which takes as long as its mounts take to be written back.
fn patience(error: &Error) -> Duration {
    match error {
        Error::Runtime(hull_runtime::Error::System { errno: Errno::SRCH, .. }) => lock::PATIENCE,
        _ => Duration::ZERO,
    }
}

/// What an ID that has none in a user namespace is seen as.
const OVERFLOW: u32 = 65534;

/// A container that stays what it is for as long as this is held, or whose end is noticed.
pub(crate) enum Held {
    /// It runs: its init.
    Running(OwnedFd),
    /// It does not: its lock.
    Stopped(File),
}

/// Takes hold of a container as it is now. Another command that is changing it is waited for.
pub(crate) fn holding(engine: &Engine, record: &Record) -> Result<Held> {
    let started = Instant::now();
    loop {
        if let Some(init) = status::derive(engine, record)?.live.as_ref().and_then(kill::open) {
            return Ok(Held::Running(init));
        }
        if let Some(lock) = lock::take(engine, &record.id)? {
            if !find::exists(engine, &record.id) {
                return Err(Error::NoSuchContainer {
                    name: record.name.clone(),
                });
            }
            // It may run without a monitor, and so without a lock.
            if status::derive(engine, record)?.live.is_none() {
                return Ok(Held::Stopped(lock));
            }
        }
        if started.elapsed() > lock::PATIENCE {
            return Err(Error::Busy { id: record.id.clone() });
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
