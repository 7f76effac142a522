//! Volumes with a file system of their own: `type`, `o` and `device` of the local driver.
//!
//! Nothing is mounted in the host's tree. The first container that uses such a volume gets a new mount, made here while
//! this process is still in the host's network and handed to the container's init; it lives in that container's mount
//! namespace alone. A later container gets a copy of the mount of one that runs, taken out of its mount namespace. So all
//! of them see one file system, a tmpfs too; with the last of them it is gone, whoever was killed meanwhile, and nothing
//! is ever left to be unmounted.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{IoSlice, IoSliceMut, Read, Seek, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hull_spec::container::{LiveState, Record};
use hull_sys::clone::{Fork, exit_now, fork, join_namespaces};
use hull_sys::mount::Attributes;
use rustix::fs::{FlockOperation, Mode, OFlags, ResolveFlags, flock};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string,
    fsmount, fsopen, open_tree,
};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType,
};
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};

use super::users;
use crate::error::{Error, Result, at, io_at};

/// How long a container waits for another one's start with the same volume.
const WAIT: Duration = Duration::from_secs(30);

/// A volume's file system, as the options of the volume describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeMount {
    /// The volume's name.
    pub name: String,
    /// The file system's kind.
    pub kind: String,
    /// The device, or what stands in its place.
    pub device: String,
    /// Options of the file system, with a value or without.
    pub options: Vec<(String, Option<String>)>,
    /// Attributes of the mount.
    pub set: Attributes,
    /// `DATA/volumes/NAME`.
    pub folder: PathBuf,
}

/// Mounts that are ready for a container, and what keeps other starts from making their own meanwhile.
#[derive(Debug, Default)]
pub struct Opened {
    /// One for each volume, in the order asked for.
    pub mounts: Vec<OwnedFd>,
    _locks: Vec<File>,
}

/// Makes or borrows the file systems of a container's volumes. `run` is the run root. To be held until the container's
/// init has mounted them.
///
/// # Errors
/// What the kernel says to a mount; a volume that cannot be shared.
pub fn open(volumes: &[VolumeMount], run: &Path) -> Result<Opened> {
    // In one order everywhere, so that two starts cannot wait for each other.
    let mut order: Vec<usize> = (0..volumes.len()).collect();
    order.sort_by_key(|&at| &volumes[at].name);
    let mut mounts: Vec<Option<OwnedFd>> = volumes.iter().map(|_| None).collect();
    let mut locks = Vec::new();
    let mut before: Option<usize> = None;
    for at in order {
        let volume = &volumes[at];
        // One container may have a volume at several places.
        let same = before.filter(|&b| volumes[b].name == volume.name);
        let mount = match same.and_then(|b| mounts[b].as_ref()) {
            Some(mount) => copy_detached(mount, volume)?,
            None => {
                let mut lock = take_lock(&run.join("volumes"), &volume.name)?;
                let mount = obtain(volume, run, &mut lock)?;
                locks.push(lock);
                mount
            }
        };
        mounts[at] = Some(mount);
        before = Some(at);
    }
    Ok(Opened {
        mounts: mounts.into_iter().flatten().collect(),
        _locks: locks,
    })
}

/// A second copy of a mount that is in no tree. Possible since Linux 6.15.
fn copy_detached(mount: &OwnedFd, volume: &VolumeMount) -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(mount, c"", flags).map_err(|errno| match errno {
        Errno::INVAL => refused(
            &volume.name,
            "one container can have it at several places only from Linux 6.15 on",
        ),
        errno => failed(volume, errno),
    })
}

fn take_lock(folder: &Path, name: &str) -> Result<File> {
    let path = folder.join(name);
    let mut builder = DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(folder);
    made.map_err(io_at("make", folder))?;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(&path).map_err(io_at("open", &path))?;
    let started = Instant::now();
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::WOULDBLOCK) if started.elapsed() < WAIT => std::thread::sleep(Duration::from_millis(2)),
            Err(errno) => return Err(at("lock", &path)(errno)),
        }
    }
}

/// The file system that is in use, or else a new one.
fn obtain(volume: &VolumeMount, run: &Path, lock: &mut File) -> Result<OwnedFd> {
    let mut text = String::new();
    // A file that cannot be understood knows no device: then nothing is shared that could be mistaken for the volume.
    let _ = lock.read_to_string(&mut text);
    if let Ok(device) = text.trim().parse() {
        let mut in_part = false;
        for id in users(&volume.folder, true)? {
            match borrow(volume, run, &id, device)? {
                Found::Mount(mount) => return Ok(mount),
                Found::Part => in_part = true,
                Found::Nothing => {}
            }
        }
        if in_part {
            return Err(refused(
                &volume.name,
                "it is in use by containers that have only a part of it mounted, or with other owners",
            ));
        }
    }
    let mount = create(volume)?;
    let device = rustix::fs::fstat(&mount).map_err(|errno| failed(volume, errno))?.st_dev;
    let path = run.join("volumes").join(&volume.name);
    lock.set_len(0)
        .and_then(|()| lock.rewind())
        .and_then(|()| write!(lock, "{device}"))
        .map_err(io_at("write", &path))?;
    Ok(mount)
}

/// Mounts the volume's file system, in no tree.
///
/// # Errors
/// Docker's `failed to mount local volume`.
pub fn create(volume: &VolumeMount) -> Result<OwnedFd> {
    let act = |errno| failed(volume, errno);
    let fs = fsopen(volume.kind.as_str(), FsOpenFlags::FSOPEN_CLOEXEC).map_err(act)?;
    if !volume.device.is_empty() {
        fsconfig_set_string(fs.as_fd(), c"source", volume.device.as_str()).map_err(act)?;
    }
    for (key, value) in &volume.options {
        match value {
            Some(value) => fsconfig_set_string(fs.as_fd(), key.as_str(), value.as_str()).map_err(act)?,
            None => fsconfig_set_flag(fs.as_fd(), key.as_str()).map_err(act)?,
        }
    }
    if volume.set.has(Attributes::RDONLY) {
        // The device, too, may be read-only.
        fsconfig_set_flag(fs.as_fd(), c"ro").map_err(act)?;
    }
    fsconfig_create(fs.as_fd()).map_err(act)?;
    let attributes = MountAttrFlags::from_bits_retain(u32::try_from(volume.set.0).unwrap_or_default());
    fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(act)
}

fn failed(volume: &VolumeMount, errno: Errno) -> Error {
    Error::Volume {
        message: format!(
            "failed to mount local volume: mount {}:{}: {}",
            volume.device,
            volume.folder.join("_data").display(),
            hull_runtime::describe(errno)
        ),
        errno,
    }
}

fn refused(name: &str, why: &str) -> Error {
    Error::Volume {
        message: format!("cannot mount volume {name}: {why}"),
        errno: Errno::OPNOTSUPP,
    }
}

/// What a container has of a volume.
enum Found {
    Mount(OwnedFd),
    /// Less than the whole, or not as it is.
    Part,
    Nothing,
}

/// A copy of the mount that container `id` has of the volume.
fn borrow(volume: &VolumeMount, run: &Path, id: &str, device: u64) -> Result<Found> {
    let read = |path: &Path| fs::read(path).ok();
    let state = read(&run.join("containers").join(id).join("state.json"));
    let Some(live) = state.and_then(|bytes| serde_json::from_slice::<LiveState>(&bytes).ok()) else {
        return Ok(Found::Nothing);
    };
    let Some(process) = Pid::from_raw(live.pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) else {
        return Ok(Found::Nothing);
    };
    // Asked after the descriptor was opened: it cannot turn into another process any more.
    if crate::begin::start_ticks(live.pid).ok() != Some(live.start_ticks) {
        return Ok(Found::Nothing);
    }
    let data = volume.folder.parent().and_then(Path::parent).unwrap_or(Path::new("/"));
    let record = read(&data.join("containers").join(id).join("config.json"));
    let Some(record) = record.and_then(|bytes| serde_json::from_slice::<Record>(&bytes).ok()) else {
        return Ok(Found::Nothing);
    };
    let mut found = Found::Nothing;
    for mount in record.mounts.iter().filter(|m| m.name == volume.name) {
        let partial = mount
            .plan
            .as_ref()
            .is_some_and(|plan| !plan.subpath.is_empty() || plan.id_map.is_some());
        // Mapped to its user namespace, too.
        if partial || record.id_maps.is_some() {
            found = Found::Part;
        } else if let Some(mount) = fetch(&process, &mount.destination, device)? {
            return Ok(Found::Mount(mount));
        }
    }
    Ok(found)
}

/// Sends a process into the mount namespace of another one for a copy of what is mounted at `path` there, if that is of
/// this device. The namespace is a container's, in which anything may have been moved: only the device counts.
fn fetch(process: &OwnedFd, path: &str, device: u64) -> Result<Option<OwnedFd>> {
    let system = |errno| Error::System {
        act: "borrow a volume's mount",
        errno,
    };
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(system)?;
    let child = match fork().map_err(system)? {
        Fork::Child => {
            drop(ours);
            let sent = copy_there(process, path, device).and_then(|mount| send(&theirs, mount.as_fd()));
            exit_now(i32::from(sent.is_err()));
        }
        Fork::Parent(child) => child,
    };
    drop(theirs);
    let received = receive(&ours);
    let _ = rustix::io::retry_on_intr(|| waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED));
    received.map_err(system)
}

fn copy_there(process: &OwnedFd, path: &str, device: u64) -> rustix::io::Result<OwnedFd> {
    join_namespaces(process.as_fd(), hull_runtime::container::namespace_flag::NEWNS)?;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let place = rustix::fs::openat2(rustix::fs::CWD, path, flags, Mode::empty(), resolve)?;
    if rustix::fs::fstat(&place)?.st_dev != device {
        return Err(Errno::NODEV);
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(&place, c"", flags)
}

fn send(socket: &OwnedFd, mount: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [mount];
    control.push(SendAncillaryMessage::ScmRights(&fds));
    rustix::net::sendmsg(socket, &[IoSlice::new(b"M")], &mut control, SendFlags::NOSIGNAL).map(drop)
}

/// `None` where the other end was closed without a word.
fn receive(socket: &OwnedFd) -> rustix::io::Result<Option<OwnedFd>> {
    let mut byte = [0u8];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(
            socket,
            &mut [IoSliceMut::new(&mut byte)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )
    })?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut fds) = message
            && let Some(fd) = fds.next()
        {
            return Ok(Some(fd));
        }
    }
    Ok(None)
}
