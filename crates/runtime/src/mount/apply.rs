//! Makes the planned mounts. Runs in the container's new mount namespace, still with the host's tree as its root and
//! with the privileges of its creator.
//!
//! Everything below the root file system was written by a stranger, so no path of it is ever resolved from the host's
//! root: each target is opened beneath the root's own descriptor (`openat2`), `/proc` and `/sys` without any symbolic
//! link, and what was opened is what is mounted on (CVE-2019-16884, CVE-2021-30465, CVE-2025-31133, CVE-2025-52881).

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use hull_sys::mount::{Attributes, Change, Propagation, set_attributes};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use super::plan::MountOp;
use crate::container::{Device, DeviceKind, Overlay, Rootfs};
use crate::error::{During, Error, Result};

/// Magic number of procfs (`statfs(2)`).
const PROC_SUPER_MAGIC: u64 = 0x9fa0;

/// What of procfs may be covered by a bind: the files that lxcfs and its like provide.
const PROC_BINDS: [&str; 8] = [
    "cpuinfo",
    "diskstats",
    "meminfo",
    "stat",
    "swaps",
    "uptime",
    "loadavg",
    "slabinfo",
];

/// What is there after all mounts are made.
#[derive(Debug)]
pub(crate) struct Applied {
    /// The root of the container's file tree.
    pub(crate) root: OwnedFd,
}

/// Cuts the mounts of this process's namespace off from the host's: nothing mounted from here on may reach the host; what
/// the host mounts may still reach binds that ask for it. Comes after
/// [`super::open_sources`].
///
/// The result tells whether the process was started in a chroot. Then the namespace's own root is another one than this
/// process's, and [`leave_chroot`] must come before the pivot: else the host's tree would stay behind the container's
/// root, one `chroot(2)` away.
pub(crate) fn detach() -> Result<bool> {
    let act = || "detach the mounts from the host's".to_owned();
    let slave = Change {
        propagation: Some(Propagation::Slave),
        recursive: true,
        ..Change::default()
    };
    match set_attributes(rustix::fs::CWD, c"/", &slave) {
        Ok(()) => Ok(false),
        // The root is no mount: a chroot.
        Err(Errno::INVAL) => {
            let root = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
            let root = root.during(act)?;
            leave_chroot()?;
            set_attributes(rustix::fs::CWD, c"/", &slave).during(act)?;
            rustix::process::fchdir(&root).during(act)?;
            rustix::process::chroot(".").during(act)?;
            Ok(true)
        }
        Err(errno) => Err(Error::System { act: act(), errno }),
    }
}

/// Makes the root of the mount namespace the root of this process: entering a namespace does so, one's own too.
pub(crate) fn leave_chroot() -> Result<()> {
    let act = || "leave the chroot".to_owned();
    let own = rustix::process::pidfd_open(rustix::process::getpid(), rustix::process::PidfdFlags::empty());
    hull_sys::clone::join_namespaces(own.during(act)?.as_fd(), crate::container::namespace_flag::NEWNS).during(act)
}

/// Makes `ops` in order. `joined` is called before the first step that needs the process to be in its cgroups, and
/// returns their folders.
///
/// `given` is the root, where the creator has made it: see [`super::handed`].
pub(crate) fn apply(
    ops: &[MountOp],
    given: Option<OwnedFd>,
    mut sources: Vec<Option<OwnedFd>>,
    joined: &mut dyn FnMut() -> Result<Vec<PathBuf>>,
) -> Result<Applied> {
    let Some((MountOp::Root(rootfs), ops)) = ops.split_first() else {
        return Err(Error::Invalid("a plan of mounts must begin with the root".to_owned()));
    };
    let root = match given {
        // Over the host's root: the one place that this process is sure to reach, and the pivot takes it from there.
        Some(root) => attach_at(&root, Path::new("/")).map(|()| root)?,
        None => root(rootfs)?,
    };
    let mut tree = Tree { root, mask: None };
    for op in ops {
        match op {
            MountOp::Root(_) => return Err(Error::Invalid("a plan of mounts must have one root".to_owned())),
            MountOp::Filesystem {
                kind,
                source,
                options,
                target,
                set,
            } => {
                tree.filesystem(kind, source, options, target, *set)?;
            }
            MountOp::Bind { source, .. } => {
                let source = take(&mut sources, *source)?;
                tree.place_bind(op, source)?;
            }
            MountOp::Node(device) => tree.node(device)?,
            MountOp::BindNode { source, target } => tree.bind(&take(&mut sources, *source)?, target)?,
            MountOp::Symlink { path, target } => tree.symlink(path, target)?,
            MountOp::Cgroup { target, set } => tree.cgroups(target, *set, &joined()?)?,
            MountOp::Mask(path) => tree.mask(path)?,
            MountOp::ReadOnly(path) => tree.read_only(path)?,
            MountOp::ReadOnlyRoot => {
                let change = Change {
                    set: Attributes::RDONLY,
                    ..Change::default()
                };
                set_attributes(&tree.root, c"", &change).during(|| "make the root read-only".to_owned())?;
            }
        }
    }
    Ok(Applied { root: tree.root })
}

fn take(sources: &mut [Option<OwnedFd>], index: usize) -> Result<OwnedFd> {
    sources.get_mut(index).and_then(Option::take).ok_or_else(|| {
        Error::Invalid(format!(
            "the plan of mounts uses source {index} twice or never opened it"
        ))
    })
}

/// Mounts the root file system where it will be pivoted into, and returns its root.
fn root(rootfs: &Rootfs) -> Result<OwnedFd> {
    match rootfs {
        Rootfs::Overlay(wanted) => match overlay(wanted)? {
            Made::Detached(mount) => attach_at(&mount, &wanted.mount_point).map(|()| mount),
            Made::Attached(place) => Ok(place),
        },
        Rootfs::Directory(path) => {
            let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
            let act = "mount the root file system";
            let mount = open_tree(rustix::fs::CWD, path, flags).map_err(|errno| Error::Path {
                act,
                path: path.clone(),
                errno,
            })?;
            attach_at(&mount, path)?;
            Ok(mount)
        }
    }
}

/// A new mount.
pub(super) enum Made {
    /// Nowhere yet.
    Detached(OwnedFd),
    /// At the overlay's mount point.
    Attached(OwnedFd),
}

/// Mounts an overlay.
pub(super) fn overlay(overlay: &Overlay) -> Result<Made> {
    // Such a kernel writes a line to its log for each attempt with an option that it does not know.
    if crate::seccomp::kernel_version() < (6, 5) && overlay_options(overlay).len() < OPTIONS_MAX {
        return overlay_by_options(overlay).map(Made::Attached);
    }
    match overlay_mount(overlay) {
        // `lowerdir+` is unknown to this kernel: told when it is set, or, before overlay spoke the new mount API
        // (Linux 6.5), only at the end.
        Err(Error::System {
            errno: Errno::INVAL, ..
        }) => overlay_by_options(overlay).map(Made::Attached),
        made => made.map(Made::Detached),
    }
}

pub(super) fn attach_at(mount: &OwnedFd, path: &Path) -> Result<()> {
    move_mount(
        mount,
        c"",
        rustix::fs::CWD,
        path,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
    .map_err(|errno| Error::Path {
        act: "attach the root file system at",
        path: path.to_owned(),
        errno,
    })
}

fn overlay_mount(overlay: &Overlay) -> Result<OwnedFd> {
    let context = || overlay_act(overlay);
    let fs = fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC).during(context)?;
    fsconfig_set_string(fs.as_fd(), c"source", c"overlay").during(context)?;
    let set = |key: &CStr, path: &Path| fsconfig_set_string(fs.as_fd(), key, path).during(context);
    // `lowerdir+` (Linux 6.7) takes one layer a call, so that neither the number of layers nor their paths are limited
    // by a page of options, and so that a colon in a path needs no escape.
    for lower in &overlay.lower {
        set(c"lowerdir+", lower)?;
    }
    set(c"upperdir", &overlay.upper)?;
    set(c"workdir", &overlay.work)?;
    if overlay.volatile {
        fsconfig_set_flag(fs.as_fd(), c"volatile").during(context)?;
    }
    if overlay.user_xattr {
        fsconfig_set_flag(fs.as_fd(), c"userxattr").during(context)?;
    } else {
        // Whatever the host's default: the writable layer must hold all of what is in it, or no image could be made of
        // it. With `userxattr` it always does.
        fsconfig_set_string(fs.as_fd(), c"redirect_dir", c"nofollow").during(context)?;
        fsconfig_set_string(fs.as_fd(), c"metacopy", c"off").during(context)?;
    }
    fsconfig_create(fs.as_fd()).during(context)?;
    fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).during(context)
}

fn overlay_act(overlay: &Overlay) -> String {
    format!(
        "mount the overlay of {} layers on `{}`",
        overlay.lower.len(),
        overlay.upper.display()
    )
}

/// As [`overlay_mount`], for kernels before 6.7: by one page of options. The layers are named from the folder that they
/// are all in, so that some fifty fit.
fn overlay_by_options(overlay: &Overlay) -> Result<OwnedFd> {
    let context = || overlay_act(overlay);
    let options = overlay_options(overlay);
    if options.len() >= OPTIONS_MAX {
        return Err(Error::Unsupported(format!(
            "{}: before Linux 6.7 its options must fit in a page of {OPTIONS_MAX} bytes, and they are {}",
            context(),
            options.len()
        )));
    }
    let options = CString::new(options).map_err(|_| Error::Invalid("a path holds a NUL byte".to_owned()))?;
    rustix::process::chdir(layers_folder(overlay)).during(context)?;
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount(c"overlay", &overlay.mount_point, c"overlay", flags, options.as_c_str()).during(context)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(&overlay.mount_point, flags, Mode::empty()).during(context)
}

/// Bytes of a page of mount options (`mount(2)`).
const OPTIONS_MAX: usize = 4096;

/// The folder that all layers are below: `DATA/layers`.
pub(super) fn layers_folder(overlay: &Overlay) -> &Path {
    overlay
        .lower
        .last()
        .and_then(|base| base.parent())
        .unwrap_or(Path::new("/"))
}

/// A path as an option of overlay's.
pub(super) fn escape(path: &Path) -> String {
    let text = path.display().to_string();
    text.replace('\\', "\\\\").replace(':', "\\:").replace(',', "\\,")
}

/// The options of an overlay as `mount(2)` takes them, with overlay's escapes.
fn overlay_options(overlay: &Overlay) -> String {
    let folder = layers_folder(overlay);
    let lower = overlay
        .lower
        .iter()
        .map(|layer| escape(layer.strip_prefix(folder).unwrap_or(layer)));
    let mut out = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.collect::<Vec<_>>().join(":"),
        escape(&overlay.upper),
        escape(&overlay.work)
    );
    if overlay.volatile {
        out.push_str(",volatile");
    }
    if overlay.user_xattr {
        out.push_str(",userxattr");
    } else {
        out.push_str(",redirect_dir=nofollow,metacopy=off");
    }
    out
}

/// A container's file tree while it is made.
pub(super) struct Tree {
    pub(super) root: OwnedFd,
    /// A read-only empty file system for masked folders, once the first is masked.
    mask: Option<OwnedFd>,
}

impl Tree {
    fn filesystem(
        &self,
        kind: &str,
        source: &str,
        options: &[(String, Option<String>)],
        target: &str,
        set: Attributes,
    ) -> Result<OwnedFd> {
        let context = || format!("mount {kind} on `{target}`");
        let name = CString::new(kind).map_err(|_| Error::Invalid(format!("`{kind}` names no file system")))?;
        let fs = fsopen(name.as_c_str(), FsOpenFlags::FSOPEN_CLOEXEC).during(context)?;
        if !source.is_empty() {
            fsconfig_set_string(fs.as_fd(), c"source", source).during(context)?;
        }
        for (key, value) in options {
            let option = || format!("mount {kind} on `{target}` with option `{key}`");
            match value {
                Some(value) => fsconfig_set_string(fs.as_fd(), key.as_str(), value.as_str()).during(option)?,
                None => fsconfig_set_flag(fs.as_fd(), key.as_str()).during(option)?,
            }
        }
        fsconfig_create(fs.as_fd()).during(context)?;
        let attributes = MountAttrFlags::from_bits_retain(u32::try_from(set.0).unwrap_or_default());
        let mount = fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes).during(context)?;
        // A kernel file system must land where its path says, or masks and read-only paths would miss it.
        let strict = matches!(kind, "proc" | "sysfs" | "devpts" | "mqueue" | "cgroup" | "cgroup2");
        let place = self.folder(target, strict)?;
        attach(&mount, place.as_fd()).during(context)?;
        Ok(mount)
    }

    /// Mounts a source with the options of a [`MountOp::Bind`].
    fn place_bind(&self, op: &MountOp, mut source: OwnedFd) -> Result<()> {
        let MountOp::Bind {
            target,
            set,
            clear,
            recursive_attributes,
            propagation,
            beneath,
            ..
        } = op
        else {
            return Err(Error::Invalid("a bind was expected in the plan of mounts".to_owned()));
        };
        if !beneath.is_empty() {
            source = self.part(source, beneath, target)?;
        }
        let private = Change {
            propagation: Some(*propagation),
            recursive: true,
            ..Change::default()
        };
        if *propagation != Propagation::Shared {
            set_attributes(&source, c"", &private).during(|| format!("set the propagation of `{target}`"))?;
        }
        if *set != Attributes::default() || *clear != Attributes::default() {
            let change = Change {
                set: *set,
                clear: *clear,
                recursive: *recursive_attributes,
                ..Change::default()
            };
            set_attributes(&source, c"", &change).during(|| format!("set the options of `{target}`"))?;
        }
        self.bind(&source, target)
    }

    fn bind(&self, source: &OwnedFd, target: &str) -> Result<()> {
        let context = || format!("mount on `{target}`");
        let is_folder = file_type(source).during(context)? == FileType::Directory;
        let place = if is_folder {
            self.folder(target, false)?
        } else {
            self.file(target)?
        };
        if rustix::fs::fstatfs(&place).during(context)?.f_type as u64 == PROC_SUPER_MAGIC {
            let allowed = target
                .strip_prefix("/proc/")
                .is_some_and(|name| PROC_BINDS.contains(&name));
            if !allowed {
                return Err(Error::Invalid(format!(
                    "cannot mount on `{target}`: it is inside /proc"
                )));
            }
        }
        attach(source, place.as_fd()).during(context)
    }

    fn cgroups(&self, target: &str, set: Attributes, cgroups: &[PathBuf]) -> Result<()> {
        let bind = |from: &Path, place: BorrowedFd<'_>| -> Result<()> {
            let act = "mount the cgroup";
            let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
            let errno = |errno| Error::Path {
                act,
                path: from.to_owned(),
                errno,
            };
            let mount = open_tree(rustix::fs::CWD, from, flags).map_err(errno)?;
            let change = Change {
                set,
                propagation: Some(Propagation::Private),
                ..Change::default()
            };
            set_attributes(&mount, c"", &change).map_err(errno)?;
            attach(&mount, place).map_err(errno)
        };
        match cgroups {
            [] => Ok(()),
            [one] if crate::cgroup::is_unified(one) => bind(one, self.folder(target, true)?.as_fd()),
            many => {
                let options = [("mode".to_owned(), Some("755".to_owned()))];
                let base = self.filesystem("tmpfs", "cgroup", &options, target, set.without(Attributes::RDONLY))?;
                let act = |name: &str| format!("make `{target}/{name}`");
                for cgroup in many {
                    let Some(controller) = crate::cgroup::controller_of(cgroup) else {
                        continue;
                    };
                    rustix::fs::mkdirat(&base, controller, Mode::from_raw_mode(0o755)).during(|| act(controller))?;
                    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    let place = rustix::fs::openat(&base, controller, flags, Mode::empty());
                    bind(cgroup, place.during(|| act(controller))?.as_fd())?;
                    // Where cpu and cpuacct share a hierarchy, each has its own name too.
                    for name in controller.split(',').filter(|_| controller.contains(',')) {
                        rustix::fs::symlinkat(controller, &base, name).during(|| act(name))?;
                    }
                }
                let change = Change {
                    set,
                    ..Change::default()
                };
                set_attributes(&base, c"", &change).during(|| format!("set the options of `{target}`"))
            }
        }
    }

    fn node(&self, device: &Device) -> Result<()> {
        let context = || format!("make device `{}`", device.path);
        let (parent, name) = self.parent(&device.path)?;
        let kind = match device.kind {
            DeviceKind::Char => FileType::CharacterDevice,
            DeviceKind::Block => FileType::BlockDevice,
            DeviceKind::Fifo => FileType::Fifo,
        };
        let number = rustix::fs::makedev(device.major, device.minor);
        match rustix::fs::mknodat(&parent, name, kind, Mode::from_raw_mode(device.mode), number) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let stat = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW).during(context)?;
                if FileType::from_raw_mode(stat.st_mode) == kind && stat.st_rdev == number {
                    return Ok(());
                }
                return Err(Error::System {
                    act: context(),
                    errno: Errno::EXIST,
                });
            }
            Err(errno) => return Err(Error::System { act: context(), errno }),
        }
        if device.uid != 0 || device.gid != 0 {
            let owner = Some(rustix::fs::Uid::from_raw(device.uid));
            let group = Some(rustix::fs::Gid::from_raw(device.gid));
            rustix::fs::chownat(&parent, name, owner, group, AtFlags::SYMLINK_NOFOLLOW).during(context)?;
        }
        Ok(())
    }

    fn symlink(&self, path: &str, target: &str) -> Result<()> {
        let (parent, name) = self.parent(path)?;
        match rustix::fs::symlinkat(target, &parent, name) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(Error::System {
                act: format!("link `{path}`"),
                errno,
            }),
        }
    }

    /// Hides `path`, if it is there: a folder under an empty read-only one, anything else under the host's null device.
    fn mask(&mut self, path: &str) -> Result<()> {
        let context = || format!("mask `{path}`");
        let Some(place) = self.existing(path)? else {
            return Ok(());
        };
        let change = Change {
            set: Attributes::RDONLY.with(Attributes::NOSUID).with(Attributes::NOEXEC),
            propagation: Some(Propagation::Private),
            ..Change::default()
        };
        if file_type(&place).during(context)? != FileType::Directory {
            let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
            let null = open_tree(rustix::fs::CWD, c"/dev/null", flags).during(context)?;
            // The host's own null device, still seen through the host's root: not one that an image can swap
            // (CVE-2025-31133). Checked all the same.
            let stat = rustix::fs::fstat(&null).during(context)?;
            let genuine = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
                && stat.st_rdev == rustix::fs::makedev(1, 3);
            if !genuine {
                return Err(Error::Unsupported(
                    "the host's /dev/null is not the null device".to_owned(),
                ));
            }
            return attach(&null, place.as_fd()).during(context);
        }
        if let Some(mask) = &self.mask {
            let flags =
                OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
            let copy = open_tree(mask, c"", flags).during(context)?;
            return attach(&copy, place.as_fd()).during(context);
        }
        let fs = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).during(context)?;
        fsconfig_set_string(fs.as_fd(), c"size", "0").during(context)?;
        fsconfig_set_string(fs.as_fd(), c"nr_inodes", "2").during(context)?;
        fsconfig_set_string(fs.as_fd(), c"mode", "555").during(context)?;
        fsconfig_create(fs.as_fd()).during(context)?;
        let mount = fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).during(context)?;
        set_attributes(&mount, c"", &change).during(context)?;
        attach(&mount, place.as_fd()).during(context)?;
        self.mask = Some(mount);
        Ok(())
    }

    /// Covers `path`, if it is there, with itself read-only.
    fn read_only(&self, path: &str) -> Result<()> {
        let context = || format!("make `{path}` read-only");
        let Some(place) = self.existing(path)? else {
            return Ok(());
        };
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH
            | OpenTreeFlags::AT_RECURSIVE;
        let copy = open_tree(&place, c"", flags).during(context)?;
        let set = Attributes::RDONLY
            .with(Attributes::NOSUID)
            .with(Attributes::NODEV)
            .with(Attributes::NOEXEC);
        let change = Change {
            set,
            recursive: true,
            ..Change::default()
        };
        set_attributes(&copy, c"", &change).during(context)?;
        attach(&copy, place.as_fd()).during(context)
    }

    /// Opens a path to be masked or made read-only; `None` where it does not exist. A symbolic link on the way would
    /// make the protection land elsewhere, so it is refused.
    fn existing(&self, path: &str) -> Result<Option<OwnedFd>> {
        match self.open(path, OFlags::PATH | OFlags::NOFOLLOW, true) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(errno) => Err(Error::System {
                act: format!("protect `{path}`"),
                errno,
            }),
        }
    }

    /// Opens the folder `path` in the container, making what is missing.
    fn folder(&self, path: &str, strict: bool) -> Result<OwnedFd> {
        match self.open(path, OFlags::PATH | OFlags::DIRECTORY, strict) {
            Err(Errno::NOENT) => {}
            Ok(fd) => return Ok(fd),
            Err(errno) => {
                return Err(Error::System {
                    act: format!("open `{path}` in the container"),
                    errno,
                });
            }
        }
        let act = || format!("make folder `{path}` in the container");
        // Mostly the last part alone is missing.
        if let Some((parent, name)) = path
            .trim_end_matches('/')
            .rsplit_once('/')
            .filter(|(p, _)| !p.is_empty())
            && let Ok(parent) = self.open(parent, OFlags::PATH | OFlags::DIRECTORY, strict)
            && rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)).is_ok()
        {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            return rustix::fs::openat(&parent, name, flags, Mode::empty()).during(act);
        }
        let mut at = String::new();
        for part in path.split('/').filter(|p| !p.is_empty()) {
            let parent = if at.is_empty() {
                None
            } else {
                Some(self.open(&at, OFlags::PATH, strict).during(act)?)
            };
            let parent = parent.as_ref().map_or(self.root.as_fd(), AsFd::as_fd);
            at = format!("{at}/{part}");
            match rustix::fs::mkdirat(parent, part, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(Error::System { act: act(), errno }),
            }
        }
        self.open(path, OFlags::PATH | OFlags::DIRECTORY, strict).during(act)
    }

    /// Opens the file `path` in the container, making an empty one if it is missing.
    fn file(&self, path: &str) -> Result<OwnedFd> {
        let act = || format!("make file `{path}` in the container");
        match self.open(path, OFlags::PATH, false) {
            Err(Errno::NOENT) => {}
            found => return found.during(act),
        }
        let (parent, name) = self.parent(path)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::WRONLY;
        match rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o644)) {
            Ok(_) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(Error::System { act: act(), errno }),
        }
        self.open(path, OFlags::PATH, false).during(act)
    }

    /// The folder that holds `path`, made if it is missing, and the last part of `path`.
    fn parent<'path>(&self, path: &'path str) -> Result<(OwnedFd, &'path str)> {
        let trimmed = path.trim_end_matches('/');
        let (folder, name) = trimmed.rsplit_once('/').unwrap_or(("", trimmed));
        if name.is_empty() || name == "." || name == ".." {
            return Err(Error::Invalid(format!("`{path}` names no file")));
        }
        Ok((self.folder(if folder.is_empty() { "/" } else { folder }, false)?, name))
    }

    fn open(&self, path: &str, flags: OFlags, strict: bool) -> rustix::io::Result<OwnedFd> {
        open_in(self.root.as_fd(), path, flags, strict)
    }
}

/// Opens `path` as if `root` were the root folder. `strict`: no symbolic link on the way.
pub(crate) fn open_in(root: BorrowedFd<'_>, path: &str, flags: OFlags, strict: bool) -> rustix::io::Result<OwnedFd> {
    let mut resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    if strict {
        resolve |= ResolveFlags::NO_SYMLINKS;
    }
    let path = if path.is_empty() { "/" } else { path };
    rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}

pub(super) fn attach(mount: &OwnedFd, place: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, c"", place, c"", flags)
}

fn file_type(fd: &OwnedFd) -> rustix::io::Result<FileType> {
    rustix::fs::fstat(fd).map(|stat| FileType::from_raw_mode(stat.st_mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_kernels_get_short_and_escaped_options() {
        let overlay = Overlay {
            lower: vec![
                "/data/layers/a:b/fs".into(),
                "/data/layers/c,d/fs".into(),
                "/data/layers/base".into(),
            ],
            upper: "/data/containers/x/upper".into(),
            work: "/data/containers/x/work".into(),
            mount_point: "/data/containers/x".into(),
            volatile: true,
            user_xattr: false,
            idmap: false,
        };
        insta::assert_snapshot!(
            overlay_options(&overlay),
            @r"lowerdir=a\:b/fs:c\,d/fs:base,upperdir=/data/containers/x/upper,workdir=/data/containers/x/work,volatile,redirect_dir=nofollow,metacopy=off"
        );
    }

    #[test]
    fn privileged_an_overlay_is_mounted_by_options_too() {
        if !hull_testkit::require_root() {
            return;
        }
        let data = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = data.path().join(name);
            std::fs::create_dir_all(&path).unwrap();
            path
        };
        let overlay = Overlay {
            lower: vec![make("layers/one/fs"), make("layers/base")],
            upper: make("c/upper"),
            work: make("c/work"),
            mount_point: make("c"),
            volatile: true,
            user_xattr: false,
            idmap: false,
        };
        std::fs::write(overlay.lower[0].join("file"), "one").unwrap();
        // In a mount namespace of this test's own process: nextest gives each test one.
        std::thread::spawn(move || {
            hull_sys::clone::unshare(crate::container::namespace_flag::NEWNS).unwrap();
            detach().unwrap();
            let root = overlay_by_options(&overlay).unwrap();
            let file = rustix::fs::openat(&root, "file", OFlags::RDONLY, Mode::empty()).unwrap();
            assert_eq!(std::io::read_to_string(std::fs::File::from(file)).unwrap(), "one");
        })
        .join()
        .unwrap();
    }
}
