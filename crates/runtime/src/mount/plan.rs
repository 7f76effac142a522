//! What is mounted, in order, as data. Nothing here touches the host.

use hull_sys::mount::{Attributes, Propagation};

use crate::container::{Container, Device, Mount, Rootfs, Source};

/// One step of making a container's file tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountOp {
    /// Mount the root file system and hold on to it.
    Root(Rootfs),
    /// Mount a file system of its own.
    Filesystem {
        /// Its kind.
        kind: String,
        /// The device or a word in its place.
        source: String,
        /// Its options.
        options: Vec<(String, Option<String>)>,
        /// Where.
        target: String,
        /// Attributes.
        set: Attributes,
    },
    /// Mount the host's file or folder that was opened as the `source`-th.
    Bind {
        /// Index among the opened sources.
        source: usize,
        /// Where.
        target: String,
        /// Attributes set.
        set: Attributes,
        /// Attributes cleared.
        clear: Attributes,
        /// Whether the attributes reach the mounts below.
        recursive_attributes: bool,
        /// Its propagation.
        propagation: Propagation,
    },
    /// Make a device node.
    Node(Device),
    /// Bind-mount the host's device that was opened as the `source`-th.
    BindNode {
        /// Index among the opened sources.
        source: usize,
        /// Where.
        target: String,
    },
    /// Make a symbolic link, unless something is there.
    Symlink {
        /// Its path.
        path: &'static str,
        /// What it says.
        target: &'static str,
    },
    /// Mount the container's own cgroups; only possible once it is in them.
    Cgroup {
        /// Where.
        target: String,
        /// Attributes.
        set: Attributes,
    },
    /// Hide a path.
    Mask(String),
    /// Make a path read-only.
    ReadOnly(String),
    /// Make the root file system itself read-only.
    ReadOnlyRoot,
}

/// A file or folder of the host to be opened before anything is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPath {
    /// Its path.
    pub path: std::path::PathBuf,
    /// Whether mounts below it come along.
    pub recursive: bool,
    /// Whether its owners are mapped as in the container's new user namespace.
    pub idmap: bool,
    /// Whether it is in the file tree of another process: then the creator has opened it.
    pub foreign: bool,
}

/// The links that every `/dev` has (OCI runtime spec, config-linux.md, "Dev symbolic links"; Docker adds `core`).
const DEV_LINKS: [(&str, &str); 6] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/ptmx", "pts/ptmx"),
    ("/dev/core", "/proc/kcore"),
];

/// The whole plan, and the host's paths that it refers to by number.
#[must_use]
pub fn plan(container: &Container) -> (Vec<MountOp>, Vec<HostPath>) {
    let mut ops = vec![MountOp::Root(container.rootfs.clone())];
    let mut sources = Vec::new();
    for mount in container.mounts.iter().filter(|m| m.source != Source::Cgroup) {
        ops.push(one(mount, &mut sources));
    }
    let own_dev = container
        .mounts
        .iter()
        .any(|m| m.target == "/dev" && matches!(m.source, Source::Filesystem { .. }));
    if own_dev {
        for (path, target) in DEV_LINKS {
            ops.push(MountOp::Symlink { path, target });
        }
    }
    for device in &container.devices {
        if container.bind_devices {
            sources.push(HostPath {
                path: device.host_path.clone(),
                recursive: false,
                idmap: false,
                foreign: false,
            });
            ops.push(MountOp::BindNode {
                source: sources.len() - 1,
                target: device.path.clone(),
            });
        } else {
            ops.push(MountOp::Node(device.clone()));
        }
    }
    ops.extend(container.readonly_paths.iter().cloned().map(MountOp::ReadOnly));
    ops.extend(container.masked_paths.iter().cloned().map(MountOp::Mask));
    // Last, because init must wait for its cgroups and may make everything else before.
    for mount in container.mounts.iter().filter(|m| m.source == Source::Cgroup) {
        ops.push(one(mount, &mut sources));
    }
    if container.readonly_rootfs {
        ops.push(MountOp::ReadOnlyRoot);
    }
    (ops, sources)
}

fn one(mount: &Mount, sources: &mut Vec<HostPath>) -> MountOp {
    let target = mount.target.clone();
    match &mount.source {
        Source::Filesystem {
            kind, source, options, ..
        } => MountOp::Filesystem {
            kind: kind.clone(),
            source: source.clone(),
            options: options.clone(),
            target,
            set: mount.set,
        },
        Source::Bind { path, recursive, idmap } => {
            sources.push(HostPath {
                path: path.clone(),
                recursive: *recursive,
                idmap: *idmap,
                foreign: false,
            });
            bind(mount, sources.len() - 1)
        }
        Source::Neighbour { path, .. } => {
            sources.push(HostPath {
                path: path.into(),
                recursive: false,
                idmap: false,
                foreign: true,
            });
            bind(mount, sources.len() - 1)
        }
        Source::Cgroup => MountOp::Cgroup { target, set: mount.set },
    }
}

fn bind(mount: &Mount, source: usize) -> MountOp {
    MountOp::Bind {
        source,
        target: mount.target.clone(),
        set: mount.set,
        clear: mount.clear,
        recursive_attributes: mount.recursive_attributes,
        propagation: mount.propagation.unwrap_or(Propagation::Private),
    }
}
