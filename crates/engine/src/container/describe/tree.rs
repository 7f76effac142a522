//! The container's file tree: its root, its mounts, what is hidden in it.

use std::path::Path;

use hull_runtime::container::{Mount, Namespaces, Overlay, Rootfs, Source};
use hull_spec::container::{HostConfig, IdRange, MountPoint, Record};
use hull_store::{Access, snapshot};
use hull_sys::mount::{Attributes, Propagation};

use super::volume;
use crate::container::mapped;
use crate::{Engine, Error, Result};

/// Bytes of `/dev/shm` unless told otherwise: Docker's.
const SHM: i64 = 64 << 20;

/// What Docker hides.
const MASKED: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

/// What Docker makes read-only.
const READONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Hidden and read-only paths.
pub(in crate::container) struct Protection {
    pub(in crate::container) masked: Vec<String>,
    pub(in crate::container) readonly: Vec<String>,
}

pub(in crate::container) fn protection(host: &HostConfig) -> Protection {
    let open = host.privileged
        || host
            .security_opt
            .iter()
            .flatten()
            .any(|o| o == "systempaths=unconfined");
    let list = |own: &Option<Vec<String>>, default: &[&str]| match own {
        Some(own) => own.clone(),
        None if open => Vec::new(),
        None => default.iter().map(|&p| p.to_owned()).collect(),
    };
    Protection {
        masked: list(&host.masked_paths, &MASKED),
        readonly: list(&host.readonly_paths, &READONLY),
    }
}

/// The root file system.
pub(in crate::container) fn rootfs(engine: &Engine, record: &Record) -> Result<Rootfs> {
    let folder = engine.container_dir(&record.id);
    // What is of no image has nothing in the store.
    let mut lower = match record.layers.is_empty() && record.pod.is_some() {
        true => Vec::new(),
        false if engine.rootless && record.id_maps.is_some() => {
            let maps = record.id_maps.clone().unwrap_or_default();
            vec![mapped::layer(engine, record, &maps)?]
        }
        false => snapshot::lower(engine.store(Access::Read)?, &record.layers),
    };
    // Below all layers of the image: the folders and files that every container has something mounted on, so that
    // mounting leaves no trace in its writable layer.
    lower.push(engine.base_layer()?);
    Ok(Rootfs::Overlay(Overlay {
        lower,
        upper: folder.join("upper"),
        work: folder.join("work"),
        volatile: record.host_config.auto_remove,
        user_xattr: engine.rootless,
        idmap: record.id_maps.is_some() && !engine.rootless,
        mount_point: folder,
    }))
}

const NOSUID_NOEXEC_NODEV: Attributes = Attributes::NOSUID.with(Attributes::NOEXEC).with(Attributes::NODEV);

/// What the mounts depend on besides the record.
pub(super) struct Surroundings<'a> {
    /// `RUN/containers/ID`.
    pub(super) run: &'a Path,
    pub(super) namespaces: &'a Namespaces,
    /// Where `/dev/shm` is from, if it is another container's.
    pub(super) shm: Option<Source>,
}

/// All mounts in order.
pub(super) fn mounts(engine: &Engine, record: &Record, around: Surroundings<'_>) -> Result<Vec<Mount>> {
    let Surroundings { run, namespaces, shm } = around;
    let rootless = engine.rootless;
    let host = &record.host_config;
    let own = |target: &str| record.mounts.iter().any(|m| m.destination == target);
    let mut out = Vec::with_capacity(12 + record.mounts.len());
    let mut add = |mount: Mount| {
        if !own(&mount.target) {
            out.push(mount);
        }
    };
    add(filesystem("proc", "/proc", NOSUID_NOEXEC_NODEV, &[]));
    let dev = Attributes::NOSUID.with(Attributes::STRICTATIME);
    add(filesystem("tmpfs", "/dev", dev, &[("mode", "755"), ("size", "65536k")]));
    let has_tty = match &record.id_maps {
        Some(maps) => IdRange::outside(&maps.gids, 5).is_some(),
        None => !rootless,
    };
    let pts: &[(&str, &str)] = if !has_tty {
        &[("newinstance", ""), ("ptmxmode", "0666"), ("mode", "0620")]
    } else {
        &[
            ("newinstance", ""),
            ("ptmxmode", "0666"),
            ("mode", "0620"),
            ("gid", "5"),
        ]
    };
    add(filesystem(
        "devpts",
        "/dev/pts",
        Attributes::NOSUID.with(Attributes::NOEXEC),
        pts,
    ));
    let sys = if host.privileged {
        NOSUID_NOEXEC_NODEV
    } else {
        NOSUID_NOEXEC_NODEV.with(Attributes::RDONLY)
    };
    if rootless && host.network_mode == "host" {
        // sysfs belongs to the network namespace, which is not this user's.
        add(bind("/sys".as_ref(), "/sys", sys, true));
    } else {
        add(filesystem("sysfs", "/sys", sys, &[]));
    }
    add(Mount {
        source: Source::Cgroup,
        ..filesystem("cgroup", "/sys/fs/cgroup", sys, &[])
    });
    if host.ipc_mode == "host" {
        // Mounted in the host's namespace it shows the host's queues, whether the host itself has it mounted or not.
        if rootless && Path::new("/dev/mqueue").exists() {
            add(bind("/dev/mqueue".as_ref(), "/dev/mqueue", NOSUID_NOEXEC_NODEV, false));
        } else if !rootless {
            add(filesystem("mqueue", "/dev/mqueue", NOSUID_NOEXEC_NODEV, &[]));
        }
        add(bind("/dev/shm".as_ref(), "/dev/shm", NOSUID_NOEXEC_NODEV, true));
    } else {
        add(filesystem("mqueue", "/dev/mqueue", NOSUID_NOEXEC_NODEV, &[]));
        if let Some(source) = shm {
            add(Mount {
                source,
                ..filesystem("tmpfs", "/dev/shm", NOSUID_NOEXEC_NODEV, &[])
            });
        } else if host.ipc_mode != "none" {
            let size = if host.shm_size > 0 { host.shm_size } else { SHM };
            add(filesystem(
                "tmpfs",
                "/dev/shm",
                NOSUID_NOEXEC_NODEV,
                &[("mode", "1777"), ("size", &size.to_string())],
            ));
        }
    }
    for name in ["resolv.conf", "hostname", "hosts"] {
        add(bind(
            &run.join(name),
            &format!("/etc/{name}"),
            Attributes::default(),
            false,
        ));
    }
    out.extend(volume::mounts(engine, record, namespaces)?);
    Ok(out)
}

fn filesystem(kind: &str, target: &str, set: Attributes, options: &[(&str, &str)]) -> Mount {
    let options = options
        .iter()
        .map(|(key, value)| ((*key).to_owned(), Some((*value).to_owned()).filter(|v| !v.is_empty())));
    Mount {
        source: Source::Filesystem {
            kind: kind.to_owned(),
            source: kind.to_owned(),
            options: options.collect(),
        },
        target: target.to_owned(),
        set,
        clear: Attributes::default(),
        recursive_attributes: false,
        propagation: None,
        idmap: None,
    }
}

pub(super) fn bind(path: &Path, target: &str, set: Attributes, recursive: bool) -> Mount {
    Mount {
        source: Source::Bind {
            path: path.to_owned(),
            recursive,
            idmap: false,
            beneath: String::new(),
        },
        recursive_attributes: recursive,
        ..filesystem("bind", target, set, &[])
    }
}

/// Options of `--tmpfs` as mount attributes and options of the file system.
pub(super) fn tmpfs(point: &MountPoint, read_only: Attributes) -> Result<Mount> {
    let words = point.plan.as_ref().map_or("", |plan| plan.tmpfs.as_str());
    let mut set = NOSUID_NOEXEC_NODEV.with(read_only);
    let mut options: Vec<(String, String)> = vec![("mode".to_owned(), "1777".to_owned())];
    for word in words.split(',').filter(|w| !w.is_empty()) {
        match word {
            "rw" => set = set.without(Attributes::RDONLY),
            "ro" => set = set.with(Attributes::RDONLY),
            "suid" => set = set.without(Attributes::NOSUID),
            "nosuid" => set = set.with(Attributes::NOSUID),
            "dev" => set = set.without(Attributes::NODEV),
            "nodev" => set = set.with(Attributes::NODEV),
            "exec" => set = set.without(Attributes::NOEXEC),
            "noexec" => set = set.with(Attributes::NOEXEC),
            "noatime" => set = set.with(Attributes::NOATIME),
            "nodiratime" => set = set.with(Attributes::NODIRATIME),
            "strictatime" => set = set.with(Attributes::STRICTATIME),
            "relatime" | "defaults" | "async" => {}
            _ => {
                let (key, value) = word.split_once('=').unwrap_or((word, ""));
                if !matches!(
                    key,
                    "size" | "nr_inodes" | "nr_blocks" | "mode" | "uid" | "gid" | "mpol" | "huge"
                ) {
                    return Err(Error::Invalid(format!("invalid tmpfs option [{word:?}]")));
                }
                options.retain(|(k, _)| k != key);
                options.push((key.to_owned(), value.to_owned()));
            }
        }
    }
    let options: Vec<(&str, &str)> = options.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    Ok(filesystem("tmpfs", &point.destination, set, &options))
}

/// How the root passes mounts on: only where a mount asks to be shared or a slave.
pub(super) fn propagation(record: &Record) -> Option<Propagation> {
    let any = |words: [&str; 2]| record.mounts.iter().any(|m| words.contains(&m.propagation.as_str()));
    if any(["shared", "rshared"]) || any(["slave", "rslave"]) {
        None
    } else {
        Some(Propagation::Private)
    }
}

/// The kernel settings: Docker's own two, and what is asked for.
pub(super) fn sysctls(record: &Record, namespaces: &Namespaces, rootless: bool) -> Vec<(String, String)> {
    let mut out = Vec::new();
    let asked = &record.host_config.sysctls;
    // Only groups that the namespace has can be named.
    let groups = match namespaces.gid_maps.iter().find(|map| map.inside == 0) {
        Some(map) => format!("0 {}", map.count.saturating_sub(1).min(i32::MAX.unsigned_abs())),
        None => "0 2147483647".to_owned(),
    };
    if namespaces.network.is_new() && !rootless {
        for (key, value) in [
            ("net.ipv4.ip_unprivileged_port_start", "0"),
            ("net.ipv4.ping_group_range", groups.as_str()),
        ] {
            if !asked.contains_key(key) {
                out.push((key.to_owned(), value.to_owned()));
            }
        }
    }
    out.extend(asked.iter().map(|(k, v)| (k.replace('/', "."), v.clone())));
    out
}

/// Refuses settings that are not of the container's own namespaces: they would change the host.
pub(super) fn check_sysctls(record: &Record) -> Result<()> {
    let host = &record.host_config;
    for key in host.sysctls.keys() {
        let name = key.replace('/', ".");
        let refuse = |why: &str| Err(Error::Invalid(format!("sysctl \"{key}\" {why}")));
        let ipc = name.starts_with("fs.mqueue.")
            || name.starts_with("kernel.msg")
            || name.starts_with("kernel.shm")
            || name == "kernel.sem";
        if name.split('.').any(|part| part.is_empty() || part == "..") {
            return refuse("is malformed");
        } else if name.starts_with("net.") {
            if host.network_mode == "host" || host.network_mode.starts_with("container:") {
                return refuse("not allowed in host network namespace");
            }
        } else if ipc {
            if host.ipc_mode == "host" {
                return refuse("not allowed in host ipc namespace");
            }
        } else if name == "kernel.domainname" {
            if host.uts_mode == "host" {
                return refuse("not allowed in host uts namespace");
            }
        } else {
            return refuse("is not in a separate kernel namespace");
        }
    }
    Ok(())
}
