//! Mounts that the creator of a container makes and hands to its init.
//!
//! In a user namespace of its own init has no right over the host's file systems: it can neither map the owners of
//! layers, nor mount an overlay with the host's marks, nor look into folders that are closed to its user. So its creator
//! opens all of these as detached mounts once the ID maps are written, and init only puts them into place.
//!
//! The owners on disk stay what they are: layers and the writable layer are seen through idmapped mounts
//! (`mount_setattr(2)`), so that nothing is copied and nothing is left with an ID of the container's range.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use hull_sys::clone::{Fork, Request, clone3, exit_now};
use hull_sys::mount::{Change, set_attributes};
use hull_sys::prctl;
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType,
};
use rustix::process::{WaitId, WaitIdOptions, waitid};

use super::apply;
use super::plan::{HostSource, Showing};
use super::sources::{Made, open_sources};
use crate::container::{Container, IdMap, Namespaces, Overlay, Rootfs, Source, namespace_flag};
use crate::error::{During, Error, Result};

/// Descriptors in one message: the kernel's limit is 253 (`SCM_MAX_FD`).
const PER_MESSAGE: usize = 64;

/// Whether the mounts of `container` are handed to its init.
pub(crate) fn needed(container: &Container) -> bool {
    container.namespaces.user.is_new() && matches!(container.rootfs, Rootfs::Overlay(_))
}

/// Makes the root and opens the sources of `container`, whose user namespace is `user`, and sends them to its init.
pub(crate) fn give(container: &Container, made: Made, user: BorrowedFd<'_>, sync: BorrowedFd<'_>) -> Result<()> {
    let Rootfs::Overlay(overlay) = &container.rootfs else {
        return Ok(());
    };
    let (_, wanted) = super::plan(container);
    let mut mounts = vec![root(container, overlay, user)?];
    for (mount, source) in open_sources(&wanted, made)?.into_iter().zip(&wanted) {
        if source.idmap {
            let (path, recursive) = match &source.what {
                Showing::Path { path, recursive, .. } => (path.as_path(), *recursive),
                _ => (Path::new("a volume"), false),
            };
            map(&mount, path, user, recursive)?;
        }
        mounts.push(mount);
    }
    for some in mounts.chunks(PER_MESSAGE) {
        send(sync, some)?;
    }
    Ok(())
}

/// Receives what [`give`] sends: the root, and as many sources as `paths`. Comes after the ID maps are written.
pub(crate) fn take(sync: BorrowedFd<'_>, paths: &[HostSource]) -> Result<(OwnedFd, Vec<OwnedFd>)> {
    let mut mounts = Vec::with_capacity(paths.len() + 1);
    while mounts.len() < paths.len() + 1 {
        receive(sync, &mut mounts)?;
    }
    let sources = mounts.split_off(1);
    let root = mounts.pop().ok_or(Error::InitDied)?;
    Ok((root, sources))
}

/// The overlay as a detached mount. A helper makes it in a mount namespace of its own, where the idmapped copies of the
/// folders lie over the folders themselves: before Linux 6.15 overlayfs takes no layer from a detached mount.
fn root(container: &Container, overlay: &Overlay, user: BorrowedFd<'_>) -> Result<OwnedFd> {
    if overlay.idmap && crate::seccomp::kernel_version() < (5, 19) {
        return Err(Error::Unsupported(
            "a user namespace of the container's own needs Linux 5.19 or later: before, overlayfs takes no idmapped layers"
                .to_owned(),
        ));
    }
    helped(namespace_flag::NEWNS, || assemble(&container.namespaces, overlay, user))
}

/// Opens the mounts that a container shares with others as detached copies, in order.
pub(crate) fn foreign(container: &Container) -> Result<Vec<OwnedFd>> {
    let mut out = Vec::new();
    for mount in &container.mounts {
        let Source::Neighbour { pid, start_ticks, path } = &mount.source else {
            continue;
        };
        out.push(helped(0, || neighbour(*pid, *start_ticks, path))?);
    }
    Ok(out)
}

/// In the helper.
fn neighbour(pid: i32, start_ticks: u64, path: &str) -> Result<OwnedFd> {
    let act = || format!("look into the file tree of process {pid}");
    let process = rustix::process::Pid::from_raw(pid).ok_or(Errno::SRCH).during(act)?;
    let process = rustix::process::pidfd_open(process, rustix::process::PidfdFlags::empty()).during(act)?;
    // Asked after the descriptor is open, which from then on is of this very process.
    if crate::command::start_ticks(pid) != Some(start_ticks) {
        return Err(Errno::SRCH).during(act);
    }
    hull_sys::clone::join_namespaces(process.as_fd(), namespace_flag::NEWNS).during(act)?;
    let act = || format!("mount `{path}` of process {pid}");
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
    let root = rustix::fs::open("/", flags, rustix::fs::Mode::empty()).during(act)?;
    let place = apply::open_in(root.as_fd(), path, flags, true).during(act)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(&place, c"", flags).during(act)
}

/// Has a child process, with new `namespaces`, make a mount.
pub(super) fn helped(namespaces: u64, make: impl FnOnce() -> Result<OwnedFd>) -> Result<OwnedFd> {
    let act = || "make a socket pair".to_owned();
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).during(act)?;
    let request = Request {
        namespaces,
        ..Request::default()
    };
    match clone3(&request).during(|| "start a helper that mounts".to_owned())? {
        Fork::Child => {
            drop(ours);
            let done = make().and_then(|mount| send(theirs.as_fd(), &[mount]));
            if let Err(error) = &done {
                crate::finish::report(theirs.as_fd(), error);
            }
            exit_now(i32::from(done.is_err()))
        }
        Fork::Parent(helper) => {
            drop(theirs);
            let mut mounts = Vec::new();
            let received = receive(ours.as_fd(), &mut mounts);
            let _ = rustix::io::retry_on_intr(|| waitid(WaitId::PidFd(helper.pidfd.as_fd()), WaitIdOptions::EXITED));
            received?;
            mounts.pop().ok_or(Error::InitDied)
        }
    }
}

/// In the helper.
fn assemble(namespaces: &Namespaces, overlay: &Overlay, user: BorrowedFd<'_>) -> Result<OwnedFd> {
    apply::detach()?;
    if overlay.idmap {
        let layers = apply::layers_folder(overlay);
        if let Some(stray) = overlay.lower.iter().find(|layer| !layer.starts_with(layers)) {
            return Err(Error::Invalid(format!(
                "layer `{}` is not below `{}`",
                stray.display(),
                layers.display()
            )));
        }
        for folder in [layers, overlay.mount_point.as_path()] {
            cover(folder, user)?;
        }
        become_root_of(namespaces)?;
    }
    let mount = apply::overlay(overlay)?;
    // Where the kernel mounted it at a path, a copy of it is free of that.
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    match mount {
        apply::Made::Detached(mount) => Ok(mount),
        apply::Made::Attached(place) => open_tree(&place, c"", flags).during(|| "copy the root's mount".to_owned()),
    }
}

/// Takes the IDs of the user namespace's root, outside of it, and keeps all capabilities. Overlayfs works on its layers as
/// whoever mounted it: through an idmapped mount nobody can make a file whose owner the map does not have.
fn become_root_of(namespaces: &Namespaces) -> Result<()> {
    let root = |maps: &[IdMap]| maps.iter().find(|map| map.inside == 0).map(|map| map.outside);
    let (Some(uid), Some(gid)) = (root(&namespaces.uid_maps), root(&namespaces.gid_maps)) else {
        return Err(Error::Invalid("a user namespace needs a user and a group 0".to_owned()));
    };
    become_user(uid, gid)
}

/// Makes the calling thread another user's, and keeps its capabilities.
pub(crate) fn become_user(uid: u32, gid: u32) -> Result<()> {
    let act = || format!("become user {uid} outside of the container");
    let (_, permitted, inheritable) = prctl::capabilities().during(act)?;
    let gid = rustix::fs::Gid::from_raw(gid);
    let uid = rustix::fs::Uid::from_raw(uid);
    rustix::thread::set_thread_res_gid(gid, gid, gid).during(act)?;
    prctl::keep_capabilities(true).during(act)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).during(act)?;
    prctl::set_capabilities(permitted, permitted, inheritable).during(act)
}

/// Covers `folder` with an idmapped copy of itself.
fn cover(folder: &Path, user: BorrowedFd<'_>) -> Result<()> {
    let failed = |act| {
        move |errno| Error::Path {
            act,
            path: folder.to_owned(),
            errno,
        }
    };
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let copy = open_tree(rustix::fs::CWD, folder, flags).map_err(failed("open"))?;
    map(&copy, folder, user, false)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(&copy, c"", rustix::fs::CWD, folder, flags).map_err(failed("cover"))
}

/// Makes the owners seen through `mount` those of the user namespace.
fn map(mount: &OwnedFd, path: &Path, user: BorrowedFd<'_>, recursive: bool) -> Result<()> {
    let change = Change {
        idmap: Some(user),
        recursive,
        ..Change::default()
    };
    set_attributes(mount, c"", &change).map_err(|errno| match errno {
        Errno::INVAL => Error::Unsupported(format!(
            "cannot map the owners of `{}` to a user namespace: its file system has no idmapped mounts",
            path.display()
        )),
        errno => Error::Path {
            act: "map the owners of",
            path: path.to_owned(),
            errno,
        },
    })
}

fn send(socket: BorrowedFd<'_>, mounts: &[OwnedFd]) -> Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PER_MESSAGE))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds: Vec<BorrowedFd<'_>> = mounts.iter().map(AsFd::as_fd).collect();
    control.push(SendAncillaryMessage::ScmRights(&fds));
    match rustix::net::sendmsg(socket, &[IoSlice::new(b"M")], &mut control, SendFlags::NOSIGNAL) {
        // Init is gone; it has told why, or somebody killed it.
        Ok(_) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
        Err(errno) => Err(errno).during(|| "hand over mounts".to_owned()),
    }
}

fn receive(socket: BorrowedFd<'_>, mounts: &mut Vec<OwnedFd>) -> Result<()> {
    let mut buffer = vec![0u8; 8192];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PER_MESSAGE))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(
            socket,
            &mut [IoSliceMut::new(&mut buffer)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )
    });
    let received = received.during(|| "receive mounts".to_owned())?;
    let before = mounts.len();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            mounts.extend(fds);
        }
    }
    if mounts.len() > before {
        return Ok(());
    }
    Err(crate::finish::received(&buffer[..received.bytes], ""))
}
