//! A container's file tree as its owner sees it from outside: the root file system with its volumes, and nothing that the
//! kernel makes up (`/proc`, `/sys`, devices). What `cp` and `export` work on.
//!
//! It is mounted in a mount namespace of its own that nobody is in, so that no command of the container, no other command
//! and no kill finds a trace of it: it goes with the last descriptor. Of a running container it is made of clones of the
//! container's own mounts, so that a tmpfs shows what is in it. No device node works in it, whoever opens one.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use hull_sys::clone::{join_namespaces, unshare};
use hull_sys::mount::{Attributes, Change, Propagation, set_attributes};
use rustix::fs::{AtFlags, Mode, OFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};

use super::apply::{apply, attach, attach_at, open_in};
use super::idmap;
use super::plan::{idmaps, plan};
use super::sources::{Made, open_sources};
use crate::container::{Container, Mount, Rootfs, namespace_flag};
use crate::error::{During, Error, Result};

/// The root directory and working directory of a thread become its own (`CLONE_FS`).
const OWN_DIRECTORIES: u64 = 0x200;

/// A container's file tree. It is there for as long as this is.
#[derive(Debug)]
pub struct View {
    root: OwnedFd,
    /// Keeps the mounts below the root.
    _namespace: OwnedFd,
}

impl View {
    /// The root's descriptor. Paths below it have to be resolved as the container would (`RESOLVE_IN_ROOT`).
    #[must_use]
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

/// The tree of a container that does not run and is kept from being started meanwhile. `prepared` are the mounts for
/// [`crate::container::Source::Prepared`].
///
/// # Errors
/// What cannot be mounted.
pub fn stopped(rootfs: &Rootfs, readonly: bool, mounts: Vec<Mount>, prepared: Vec<OwnedFd>) -> Result<View> {
    let container = Container {
        rootfs: rootfs.clone(),
        readonly_rootfs: readonly,
        mounts,
        ..Container::default()
    };
    let (ops, sources) = plan(&container);
    let made = Made {
        prepared,
        foreign: Vec::new(),
        idmaps: idmap::namespaces(&idmaps(&container))?,
    };
    let sources = open_sources(&sources, made)?;
    private(move || {
        let sources = sources.into_iter().map(Some).collect();
        let applied = apply(&ops, None, sources, &mut || Ok(Vec::new()))?;
        seal(applied.root)
    })
}

/// The tree of the running container whose init is `pidfd`, with what is mounted at `targets`. `mount_point` is a folder of
/// the host that is covered in the view's own namespace.
///
/// # Errors
/// If the container has ended, or what cannot be mounted.
pub fn running(pidfd: BorrowedFd<'_>, targets: &[String], mount_point: &Path) -> Result<View> {
    let clones = std::thread::scope(|scope| join(scope.spawn(|| clones(pidfd, targets))))?;
    let mount_point = mount_point.to_owned();
    private(move || {
        attach_at(&clones.root, &mount_point)?;
        for (target, clone) in &clones.mounts {
            match open_in(clones.root.as_fd(), target, OFlags::PATH, false) {
                Ok(place) => attach(clone, place.as_fd()).during(|| format!("mount on `{target}`"))?,
                // The container has moved what it was mounted on.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(errno) => {
                    return Err(Error::System {
                        act: format!("open `{target}` in the container"),
                        errno,
                    });
                }
            }
        }
        seal(clones.root)
    })
}

/// Runs `act` in a thread that is, to the kernel, user `uid` and group `gid`, with all capabilities that this process has:
/// root of a container's own user namespace, seen from outside. Nobody else can make files in a tree whose owners are
/// mapped.
///
/// # Errors
/// If the process may not, and what `act` returns.
pub fn acting_as<T: Send, E: Send + From<Error>>(
    uid: u32,
    gid: u32,
    act: impl FnOnce() -> std::result::Result<T, E> + Send,
) -> std::result::Result<T, E> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            super::handed::become_user(uid, gid)?;
            act()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Copies of a running container's mounts, attached nowhere.
struct Clones {
    root: OwnedFd,
    mounts: Vec<(String, OwnedFd)>,
}

/// Runs in a thread that has joined the container's mount namespace and nothing else.
fn clones(pidfd: BorrowedFd<'_>, targets: &[String]) -> Result<Clones> {
    let act = || "look into the container's mounts".to_owned();
    unshare(OWN_DIRECTORIES).during(act)?;
    join_namespaces(pidfd, namespace_flag::NEWNS).during(act)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let root = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).during(act)?;
    let mut mounts = Vec::new();
    for target in targets {
        let context = || format!("look into `{target}` of the container");
        let Ok(place) = open_in(root.as_fd(), target, OFlags::PATH, false) else {
            continue;
        };
        let stat = rustix::fs::statx(&place, c"", AtFlags::EMPTY_PATH, StatxFlags::TYPE).during(context)?;
        if !stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
            // The container has unmounted it.
            continue;
        }
        let all = flags | OpenTreeFlags::AT_EMPTY_PATH | OpenTreeFlags::AT_RECURSIVE;
        mounts.push((target.clone(), open_tree(&place, c"", all).during(context)?));
    }
    let root = open_tree(&root, c"", flags | OpenTreeFlags::AT_EMPTY_PATH).during(act)?;
    Ok(Clones { root, mounts })
}

/// Nothing in it may do more than be read and written: a device that is opened may act, and the container can make one.
fn seal(root: OwnedFd) -> Result<View> {
    let act = || "protect the container's files".to_owned();
    let change = Change {
        set: Attributes::NODEV.with(Attributes::NOSUID).with(Attributes::NOEXEC),
        recursive: true,
        ..Change::default()
    };
    set_attributes(&root, c"", &change).during(act)?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let namespace = rustix::fs::open("/proc/thread-self/ns/mnt", flags, Mode::empty()).during(act)?;
    // Not the descriptor of a mount, which knows its own tree only: one through which names are resolved.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(&root, c".", flags, Mode::empty()).during(act)?;
    Ok(View {
        root,
        _namespace: namespace,
    })
}

/// Runs `act` in a thread with a mount namespace of its own, cut off from the host's.
fn private(act: impl FnOnce() -> Result<View> + Send) -> Result<View> {
    std::thread::scope(|scope| {
        join(scope.spawn(|| {
            let context = || "make a private view of mounts".to_owned();
            unshare(namespace_flag::NEWNS).during(context)?;
            let slave = Change {
                propagation: Some(Propagation::Slave),
                recursive: true,
                ..Change::default()
            };
            match set_attributes(rustix::fs::CWD, c"/", &slave) {
                // The process lives in a chroot, which is no mount: see `detach`.
                Err(Errno::INVAL) => {
                    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                    let root = rustix::fs::open("/", flags, Mode::empty()).during(context)?;
                    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
                    let own = rustix::fs::open("/proc/thread-self/ns/mnt", flags, Mode::empty()).during(context)?;
                    join_namespaces(own.as_fd(), namespace_flag::NEWNS).during(context)?;
                    set_attributes(rustix::fs::CWD, c"/", &slave).during(context)?;
                    rustix::process::fchdir(&root).during(context)?;
                    rustix::process::chroot(".").during(context)?;
                }
                set => set.during(context)?,
            }
            act()
        }))
    })
}

fn join<T>(thread: std::thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
