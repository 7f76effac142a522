//! What is mounted, in order, as data. Nothing here touches the host.

use std::path::PathBuf;

use hull_sys::mount::{Attributes, Propagation};

use crate::container::{Container, Device, Mount, MountIdMap, Rootfs, Source};

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
        /// A path in it that is mounted in its place; empty for its root. Only of what was not opened at such a path.
        beneath: String,
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

/// What a bind shows: opened before anything is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostSource {
    /// What it is.
    pub what: Showing,
    /// Whether its owners are mapped as in the container's new user namespace.
    pub idmap: bool,
    /// Which of the maps of [`idmaps`] its owners have, and whether also those of the mounts below.
    pub map: Option<(usize, bool)>,
}

/// A kind of source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Showing {
    /// A file or folder of the host.
    Path {
        /// Its path.
        path: PathBuf,
        /// Whether mounts below it come along.
        recursive: bool,
        /// A path below `path` that is meant, on which nothing leads out of it; empty for `path` itself.
        beneath: String,
    },
    /// Layers of an image, topmost first.
    Layers {
        /// Their folders.
        lower: Vec<PathBuf>,
        /// Whether overlay's marks are `user.*` attributes.
        user_xattr: bool,
    },
    /// The creator's mount of this number.
    Prepared(usize),
    /// A path in the file tree of another process, which the creator has opened.
    Foreign(PathBuf),
}

/// The distinct maps of owners that mounts have, in the order of their first use.
#[must_use]
pub fn idmaps(container: &Container) -> Vec<MountIdMap> {
    let mut out: Vec<MountIdMap> = Vec::new();
    for map in container.mounts.iter().filter_map(|m| m.idmap.as_ref()) {
        if !out.contains(map) {
            out.push(map.clone());
        }
    }
    out
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
pub fn plan(container: &Container) -> (Vec<MountOp>, Vec<HostSource>) {
    let mut ops = vec![MountOp::Root(container.rootfs.clone())];
    let mut sources = Vec::new();
    let maps = idmaps(container);
    for mount in container.mounts.iter().filter(|m| m.source != Source::Cgroup) {
        ops.push(one(mount, &maps, &mut sources));
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
            sources.push(HostSource {
                what: Showing::Path {
                    path: device.host_path.clone(),
                    recursive: false,
                    beneath: String::new(),
                },
                idmap: false,
                map: None,
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
        ops.push(one(mount, &maps, &mut sources));
    }
    if container.readonly_rootfs {
        ops.push(MountOp::ReadOnlyRoot);
    }
    (ops, sources)
}

fn one(mount: &Mount, maps: &[MountIdMap], sources: &mut Vec<HostSource>) -> MountOp {
    let target = mount.target.clone();
    let mut bind = |what: Showing, idmap: bool, beneath: &str| {
        let map = mount.idmap.as_ref();
        sources.push(HostSource {
            what,
            idmap,
            map: map.and_then(|map| Some((maps.iter().position(|m| m == map)?, map.recursive))),
        });
        MountOp::Bind {
            source: sources.len() - 1,
            target: mount.target.clone(),
            set: mount.set,
            clear: mount.clear,
            recursive_attributes: mount.recursive_attributes,
            propagation: mount.propagation.unwrap_or(Propagation::Private),
            beneath: beneath.to_owned(),
        }
    };
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
        Source::Bind {
            path,
            recursive,
            idmap,
            beneath,
        } => {
            let path = Showing::Path {
                path: path.clone(),
                recursive: *recursive,
                beneath: beneath.clone(),
            };
            bind(path, *idmap, "")
        }
        Source::Neighbour { path, .. } => bind(Showing::Foreign(path.into()), false, ""),
        Source::Prepared { number, beneath, idmap } => bind(Showing::Prepared(*number), *idmap, beneath),
        Source::Layers {
            lower,
            user_xattr,
            beneath,
        } => {
            let layers = Showing::Layers {
                lower: lower.clone(),
                user_xattr: *user_xattr,
            };
            bind(layers, false, beneath)
        }
        Source::Cgroup => MountOp::Cgroup { target, set: mount.set },
    }
}
