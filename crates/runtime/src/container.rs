//! What the runtime is asked to run: everything resolved, nothing left to decide but what only the container's own files
//! can tell (users by name, the program's place on `PATH`).

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use hull_sys::mount::{Attributes, Propagation};

/// One container: a rootfs, namespaces around it and a process in it.
#[derive(Debug, Default)]
pub struct Container {
    /// Host name in a new UTS namespace.
    pub hostname: Option<String>,
    /// NIS domain name in a new UTS namespace.
    pub domainname: Option<String>,
    /// What is shared with whom.
    pub namespaces: Namespaces,
    /// The root file system.
    pub rootfs: Rootfs,
    /// Whether the root file system is read-only once all is mounted.
    pub readonly_rootfs: bool,
    /// How mounts of the host that appear later reach the container; private unless said otherwise.
    pub propagation: Option<Propagation>,
    /// File systems and folders mounted into it, in order.
    pub mounts: Vec<Mount>,
    /// Device nodes.
    pub devices: Vec<Device>,
    /// Whether devices are bind-mounted from the host: in a user namespace no node can be made.
    pub bind_devices: bool,
    /// Paths hidden under an empty file or folder.
    pub masked_paths: Vec<String>,
    /// Paths that become read-only.
    pub readonly_paths: Vec<String>,
    /// Kernel settings of its namespaces.
    pub sysctls: Vec<(String, String)>,
    /// The process.
    pub process: Process,
}

/// Where a namespace of the container comes from.
#[derive(Debug, Default)]
pub enum Namespace {
    /// The creator's.
    #[default]
    Host,
    /// A new one.
    New,
    /// An existing one, by descriptor.
    Join(OwnedFd),
}

impl Namespace {
    /// Whether it is a new one.
    #[must_use]
    pub fn is_new(&self) -> bool {
        matches!(self, Self::New)
    }
}

/// The container's namespaces. The mount namespace is always new.
#[derive(Debug, Default)]
pub struct Namespaces {
    /// Process IDs.
    pub pid: Namespace,
    /// Interfaces, addresses, routes, ports.
    pub network: Namespace,
    /// System V IPC and POSIX message queues.
    pub ipc: Namespace,
    /// Host name.
    pub uts: Namespace,
    /// The view of cgroups.
    pub cgroup: Namespace,
    /// Users, with the maps of a new one.
    pub user: Namespace,
    /// User IDs of a new user namespace.
    pub uid_maps: Vec<IdMap>,
    /// Group IDs of a new user namespace.
    pub gid_maps: Vec<IdMap>,
    /// Clocks.
    pub time: Namespace,
}

/// A range of IDs of a user namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdMap {
    /// First ID in the namespace.
    pub inside: u32,
    /// First ID outside of it.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// The root file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rootfs {
    /// Layers, with a writable one on top.
    Overlay(Overlay),
    /// A folder.
    Directory(PathBuf),
}

impl Default for Rootfs {
    fn default() -> Self {
        Self::Directory(PathBuf::new())
    }
}

/// An overlay mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlay {
    /// Read-only layers, topmost first.
    pub lower: Vec<PathBuf>,
    /// The writable layer.
    pub upper: PathBuf,
    /// Overlay's scratch folder, on the same file system as `upper`.
    pub work: PathBuf,
    /// A folder that the mount covers while the container starts.
    pub mount_point: PathBuf,
    /// Whether nothing need reach the disk: the writable layer is thrown away at the end.
    pub volatile: bool,
    /// Whether overlay's marks are `user.*` attributes: in a user namespace.
    pub user_xattr: bool,
    /// Whether the owners of all layers are mapped as in the container's new user namespace.
    pub idmap: bool,
}

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// What is mounted.
    pub source: Source,
    /// Where, an absolute path in the container.
    pub target: String,
    /// Attributes that are set.
    pub set: Attributes,
    /// Attributes that are cleared (of a bind).
    pub clear: Attributes,
    /// Whether the attributes reach the mounts below a recursive bind.
    pub recursive_attributes: bool,
    /// Propagation other than private.
    pub propagation: Option<Propagation>,
    /// Whose files on disk appear as whose (of a bind or a prepared mount).
    pub idmap: Option<MountIdMap>,
}

/// Owners of a mount's files: `inside` is the ID on disk, `outside` the one that is seen in the initial user namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MountIdMap {
    /// Users.
    pub uids: Vec<IdMap>,
    /// Groups.
    pub gids: Vec<IdMap>,
    /// Whether the mounts below are mapped, too.
    pub recursive: bool,
}

/// What a mount shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file system of its own.
    Filesystem {
        /// `proc`, `sysfs`, `tmpfs`, ..
        kind: String,
        /// The device or a word in its place.
        source: String,
        /// Options, with a value or without.
        options: Vec<(String, Option<String>)>,
    },
    /// A file or folder of the host.
    Bind {
        /// Its path on the host.
        path: PathBuf,
        /// Whether mounts below it come along.
        recursive: bool,
        /// Whether its owners are mapped as in the container's new user namespace.
        idmap: bool,
        /// A path below `path` that is mounted in its place. It was made by strangers: nothing on the way leads out of
        /// `path`.
        beneath: String,
    },
    /// A mount that the creator has made: the one of this number in [`crate::create::Setup::prepared`].
    Prepared {
        /// Which.
        number: usize,
        /// A path in it that is mounted in its place; empty for its root.
        beneath: String,
        /// Whether its owners are mapped as in the container's new user namespace.
        idmap: bool,
    },
    /// Layers of an image, read-only.
    Layers {
        /// Topmost first, at least two.
        lower: Vec<PathBuf>,
        /// Whether overlay's marks are `user.*` attributes.
        user_xattr: bool,
        /// A path in it that is mounted in its place; empty for its root.
        beneath: String,
    },
    /// The container's own cgroups.
    Cgroup,
    /// A mount in the file tree of another process: what a container shares with one whose namespaces it joins.
    Neighbour {
        /// The process.
        pid: i32,
        /// When it started (field 22 of /proc/PID/stat): tells it from a later process of its number.
        start_ticks: u64,
        /// Path in its tree, absolute, without symbolic links.
        path: String,
    },
}

/// The kind of a device node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// Character device.
    Char,
    /// Block device.
    Block,
    /// Named pipe.
    Fifo,
}

/// A device node in the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Absolute path in the container.
    pub path: String,
    /// Path on the host, where it is bind-mounted.
    pub host_path: PathBuf,
    /// Character, block or pipe.
    pub kind: DeviceKind,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner in the container.
    pub uid: u32,
    /// Group in the container.
    pub gid: u32,
}

/// Sets of capabilities, bit N for capability N.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// What an exec can ever gain.
    pub bounding: u64,
    /// What counts now.
    pub effective: u64,
    /// What may count.
    pub permitted: u64,
    /// What an exec of a prepared file keeps.
    pub inheritable: u64,
    /// What any exec keeps.
    pub ambient: u64,
}

/// Who the process runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum User {
    /// Numbers, as OCI gives them.
    Ids {
        /// User ID.
        uid: u32,
        /// Group ID.
        gid: u32,
        /// Supplementary groups.
        groups: Vec<u32>,
    },
    /// `user[:group]` by name or number, looked up in the container's own passwd and group files.
    Named {
        /// The text; empty for root.
        user: String,
        /// More groups, by name or number.
        groups: Vec<String>,
    },
}

impl Default for User {
    fn default() -> Self {
        Self::Named {
            user: String::new(),
            groups: Vec::new(),
        }
    }
}

/// A resource limit. `u64::MAX` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The kernel's `RLIMIT_*` number.
    pub resource: u32,
    /// What counts.
    pub soft: u64,
    /// How far the process may raise it.
    pub hard: u64,
}

/// A seccomp filter, compiled.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// The program.
    pub instructions: std::borrow::Cow<'static, [hull_sys::seccomp::Instruction]>,
    /// How it is installed.
    pub flags: hull_sys::seccomp::Flags,
}

/// The process of a container, or another one that joins it.
#[derive(Clone, Debug, Default)]
pub struct Process {
    /// Program and arguments.
    pub args: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Working directory; made if it is missing where `create_cwd` says so.
    pub cwd: String,
    /// Whether a missing working directory is made.
    pub create_cwd: bool,
    /// Whether `HOME` is set from the container's passwd file where it is missing.
    pub set_home: bool,
    /// Who it runs as.
    pub user: User,
    /// Whether it has a terminal.
    pub terminal: bool,
    /// The terminal's size at the start: rows, columns.
    pub console_size: Option<(u16, u16)>,
    /// Its capabilities.
    pub capabilities: Capabilities,
    /// No privileges from set-user-ID files.
    pub no_new_privileges: bool,
    /// Resource limits.
    pub limits: Vec<Limit>,
    /// -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// File mode creation mask.
    pub umask: Option<u32>,
    /// AppArmor profile at the exec.
    pub apparmor: Option<String>,
    /// SELinux label at the exec.
    pub selinux: Option<String>,
    /// System call filter.
    pub seccomp: Option<Filter>,
    /// Whether a small init of ours is process 1 and the program its child.
    pub init: bool,
    /// Descriptors from 3 on that stay open, a number of them.
    pub preserve_fds: u32,
}

impl Namespaces {
    /// `CLONE_NEW*` bits of the new namespaces, the mount namespace included. The cgroup namespace is left out: it is
    /// made once the process is in its cgroup, which becomes its root.
    #[must_use]
    pub fn clone_flags(&self) -> u64 {
        let bits = [
            (&self.pid, namespace_flag::NEWPID),
            (&self.network, namespace_flag::NEWNET),
            (&self.ipc, namespace_flag::NEWIPC),
            (&self.uts, namespace_flag::NEWUTS),
            (&self.user, namespace_flag::NEWUSER),
        ];
        bits.iter()
            .filter(|(n, _)| n.is_new())
            .fold(namespace_flag::NEWNS, |flags, (_, bit)| flags | bit)
    }
}

/// The kernel's `CLONE_NEW*` numbers (`clone(2)`).
pub mod namespace_flag {
    /// Time namespace (unshare and setns only).
    pub const NEWTIME: u64 = 0x80;
    /// Mount namespace.
    pub const NEWNS: u64 = 0x2_0000;
    /// Cgroup namespace.
    pub const NEWCGROUP: u64 = 0x200_0000;
    /// UTS namespace.
    pub const NEWUTS: u64 = 0x400_0000;
    /// IPC namespace.
    pub const NEWIPC: u64 = 0x800_0000;
    /// User namespace.
    pub const NEWUSER: u64 = 0x1000_0000;
    /// PID namespace.
    pub const NEWPID: u64 = 0x2000_0000;
    /// Network namespace.
    pub const NEWNET: u64 = 0x4000_0000;
}
