//! OCI bundles: a folder with a `config.json` (OCI runtime spec 1.3) becomes the runtime's own description.
//!
//! Every field is either done or refused by name: a container that silently lacks what its config asks for is less
//! isolated, or less limited, than somebody believes. Fields that the spec does not know are ignored, as it demands.

mod hook;
mod mount;
mod process;
mod resource;

use std::collections::BTreeMap;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use hull_sys::mount::Propagation;
use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxNamespaceType, Spec};
use rustix::fs::{Mode, OFlags};

use crate::cgroup::{Layout, Resources};
use crate::container::{Container, IdMap, Namespace, Namespaces, Rootfs};
use crate::error::{During, Error, Result};

pub(crate) use hook::run as run_hooks;
pub use hook::{Hook, Hooks};
pub use mount::Options as MountOptions;
pub(crate) use process::{process, resolve_capabilities, seccomp};
pub(crate) use resource::resources;

/// A config larger than this is not read.
const CONFIG_MAX: u64 = 16 << 20;

/// A bundle, read and understood.
#[derive(Debug)]
pub struct Bundle {
    /// The folder, absolute.
    pub folder: PathBuf,
    /// `ociVersion`.
    pub version: String,
    /// The container.
    pub container: Container,
    /// Its limits.
    pub resources: Resources,
    /// Where its cgroups are, relative to each hierarchy's root: parent and name. `None` for a place of hull's own.
    pub cgroup: Option<(String, String)>,
    /// What runs at its transitions.
    pub hooks: Hooks,
    /// Annotations, which mean nothing to the runtime.
    pub annotations: BTreeMap<String, String>,
    /// What is not quite as the config asks, to be told to the caller.
    pub warnings: Vec<String>,
}

/// What of a host decides how a config is understood.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its cgroups.
    pub cgroups: Layout,
    /// Its kernel's `major.minor`.
    pub kernel: (u32, u32),
    /// Whether this process is in a user namespace of its own: then no device node can be made.
    pub user_namespace: bool,
}

impl Host {
    /// This host.
    #[must_use]
    pub fn here() -> Self {
        let maps = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        Self {
            cgroups: crate::cgroup::detect(),
            kernel: crate::seccomp::kernel_version(),
            user_namespace: maps.split_whitespace().ne(["0", "0", "4294967295"]),
        }
    }
}

impl Bundle {
    /// Reads the bundle in `folder`.
    ///
    /// # Errors
    /// If it has no config or root file system, or its config is malformed or asks for what hull does not do.
    pub fn open(folder: &Path, host: &Host) -> Result<Self> {
        let folder = std::fs::canonicalize(folder).map_err(|e| path_error("open bundle", folder, &e))?;
        let spec = read_config(&folder.join("config.json"))?;
        Self::understand(folder, &spec, host)
    }

    /// Understands a config that stands in `folder`.
    ///
    /// # Errors
    /// As [`Bundle::open`].
    pub fn understand(folder: PathBuf, spec: &Spec, host: &Host) -> Result<Self> {
        check_version(spec.version())?;
        refuse(spec)?;
        let linux = spec.linux().clone().unwrap_or_default_empty();
        let mut warnings = Vec::new();
        let root = spec.root().as_ref().ok_or_else(|| invalid("config lacks `root`"))?;
        let rootfs = folder.join(root.path());
        let rootfs = std::fs::canonicalize(&rootfs).map_err(|e| path_error("open root file system", &rootfs, &e))?;
        if !rootfs.is_dir() {
            return Err(invalid(format!(
                "root file system `{}` is not a folder",
                rootfs.display()
            )));
        }
        let namespaces = namespaces(&linux)?;
        let in_user_namespace = namespaces.user.is_new() || host.user_namespace;
        let spec_process = spec
            .process()
            .as_ref()
            .ok_or_else(|| invalid("config lacks `process`"))?;
        let mut process = process(spec_process, !matches!(namespaces.user, Namespace::Host), &mut warnings)?;
        process.seccomp = seccomp(spec, process.capabilities.bounding, host)?;
        let hostname = spec.hostname().clone().filter(|name| !name.is_empty());
        let domainname = spec.domainname().clone().filter(|name| !name.is_empty());
        if matches!(namespaces.uts, Namespace::Host) && (hostname.is_some() || domainname.is_some()) {
            return Err(invalid("`hostname` and `domainname` need a UTS namespace"));
        }
        let container = Container {
            hostname,
            domainname,
            rootfs: Rootfs::Directory(rootfs),
            readonly_rootfs: root.readonly().unwrap_or(false),
            propagation: propagation(linux.rootfs_propagation().as_deref())?,
            mounts: mount::mounts(spec, &folder, linux.mount_label().as_deref())?,
            devices: resource::device_nodes(&linux, spec)?,
            bind_devices: in_user_namespace,
            masked_paths: linux.masked_paths().clone().unwrap_or_default(),
            readonly_paths: linux.readonly_paths().clone().unwrap_or_default(),
            sysctls: sysctls(&linux, &namespaces)?,
            process,
            namespaces,
        };
        let limits = linux.resources().clone().unwrap_or_default();
        Ok(Self {
            version: spec.version().clone(),
            resources: resources(&limits, &host.cgroups)?,
            cgroup: linux.cgroups_path().as_deref().map(cgroup_path).transpose()?,
            hooks: Hooks::read(spec)?,
            annotations: spec.annotations().clone().unwrap_or_default().into_iter().collect(),
            container,
            folder,
            warnings,
        })
    }
}

/// `linux` with nothing in it: the crate's own default is an example config.
trait OrEmpty {
    fn unwrap_or_default_empty(self) -> Linux;
}

impl OrEmpty for Option<Linux> {
    fn unwrap_or_default_empty(self) -> Linux {
        self.unwrap_or_else(|| serde_json::from_str("{}").unwrap_or_default())
    }
}

pub(crate) fn invalid(message: impl Into<String>) -> Error {
    Error::Invalid(message.into())
}

fn path_error(act: &'static str, path: &Path, error: &std::io::Error) -> Error {
    let errno = rustix::io::Errno::from_io_error(error).unwrap_or(rustix::io::Errno::IO);
    Error::Path {
        act,
        path: path.to_owned(),
        errno,
    }
}

fn read_config(path: &Path) -> Result<Spec> {
    let mut text = Vec::new();
    let file = std::fs::File::open(path).map_err(|e| path_error("open", path, &e))?;
    file.take(CONFIG_MAX + 1)
        .read_to_end(&mut text)
        .map_err(|e| path_error("read", path, &e))?;
    if text.len() as u64 > CONFIG_MAX {
        return Err(invalid(format!(
            "`{}` is larger than {CONFIG_MAX} bytes",
            path.display()
        )));
    }
    serde_json::from_slice(&text).map_err(|e| invalid(format!("`{}` is no OCI config: {e}", path.display())))
}

fn check_version(version: &str) -> Result<()> {
    // 1.0.0 and all later of the same major version, with or without a suffix.
    match version.split_once('.') {
        Some(("1", _)) => Ok(()),
        _ => Err(Error::Unsupported(format!(
            "OCI runtime spec version `{version}` is not supported: only 1.x is"
        ))),
    }
}

/// Refuses what hull does not do, by name.
fn refuse(spec: &Spec) -> Result<()> {
    let linux = spec.linux().as_ref();
    let process = spec.process().as_ref();
    let has = |field: fn(&Linux) -> bool| linux.is_some_and(field);
    let refused = [
        ("solaris", spec.solaris().is_some()),
        ("windows", spec.windows().is_some()),
        ("vm", spec.vm().is_some()),
        ("zos", spec.zos().is_some()),
        (
            "linux.netDevices",
            has(|l| l.net_devices().as_ref().is_some_and(|d| !d.is_empty())),
        ),
        ("linux.intelRdt", has(|l| l.intel_rdt().is_some())),
        ("linux.memoryPolicy", has(|l| l.memory_policy().is_some())),
        ("linux.personality", has(|l| l.personality().is_some())),
        (
            "linux.timeOffsets",
            has(|l| l.time_offsets().as_ref().is_some_and(|t| !t.is_empty())),
        ),
        (
            "process.commandLine",
            process.is_some_and(|p| p.command_line().as_ref().is_some_and(|c| !c.is_empty())),
        ),
        ("process.ioPriority", process.is_some_and(|p| p.io_priority().is_some())),
        ("process.scheduler", process.is_some_and(|p| p.scheduler().is_some())),
        (
            "process.execCPUAffinity",
            process.is_some_and(|p| p.exec_cpu_affinity().is_some()),
        ),
    ];
    match refused.iter().find(|(_, there)| *there) {
        Some((name, _)) => Err(Error::Unsupported(format!("`{name}` in the config is not supported"))),
        None => Ok(()),
    }
}

fn namespaces(linux: &Linux) -> Result<Namespaces> {
    let mut all = Namespaces::default();
    let mut mount = false;
    let mut seen = Vec::new();
    for namespace in linux.namespaces().iter().flatten() {
        let kind = namespace.typ();
        if seen.contains(&kind) {
            return Err(invalid(format!("config lists the {kind:?} namespace twice")));
        }
        seen.push(kind);
        let path = namespace.path().as_deref().filter(|path| !path.as_os_str().is_empty());
        let slot = match kind {
            LinuxNamespaceType::Mount if path.is_none() => {
                mount = true;
                continue;
            }
            LinuxNamespaceType::Mount => {
                return Err(Error::Unsupported(
                    "joining a mount namespace is not supported".to_owned(),
                ));
            }
            LinuxNamespaceType::Time => {
                return Err(Error::Unsupported(
                    "a time namespace in the config is not supported".to_owned(),
                ));
            }
            LinuxNamespaceType::Pid => &mut all.pid,
            LinuxNamespaceType::Network => &mut all.network,
            LinuxNamespaceType::Ipc => &mut all.ipc,
            LinuxNamespaceType::Uts => &mut all.uts,
            LinuxNamespaceType::User => &mut all.user,
            LinuxNamespaceType::Cgroup => &mut all.cgroup,
        };
        *slot = match path {
            Some(path) => Namespace::Join(open_namespace(path)?),
            None => Namespace::New,
        };
    }
    if !mount {
        return Err(Error::Unsupported(
            "a container without a mount namespace of its own is not supported".to_owned(),
        ));
    }
    all.uid_maps = id_maps(linux.uid_mappings().as_deref());
    all.gid_maps = id_maps(linux.gid_mappings().as_deref());
    let mapped = !all.uid_maps.is_empty() || !all.gid_maps.is_empty();
    match &all.user {
        Namespace::Host if mapped => Err(invalid("`uidMappings` and `gidMappings` need a user namespace")),
        Namespace::New if all.uid_maps.is_empty() || all.gid_maps.is_empty() => {
            Err(invalid("a new user namespace needs `uidMappings` and `gidMappings`"))
        }
        _ => Ok(all),
    }
}

fn open_namespace(path: &Path) -> Result<OwnedFd> {
    if !path.is_absolute() {
        return Err(invalid(format!("namespace path `{}` is not absolute", path.display())));
    }
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .during(|| format!("open namespace `{}`", path.display()))
}

fn id_maps(maps: Option<&[LinuxIdMapping]>) -> Vec<IdMap> {
    let map = |m: &LinuxIdMapping| IdMap {
        inside: m.container_id(),
        outside: m.host_id(),
        count: m.size(),
    };
    maps.unwrap_or_default().iter().map(map).collect()
}

fn propagation(word: Option<&str>) -> Result<Option<Propagation>> {
    Ok(match word.unwrap_or_default() {
        "" => None,
        "private" | "rprivate" => Some(Propagation::Private),
        "slave" | "rslave" => Some(Propagation::Slave),
        "shared" | "rshared" => Some(Propagation::Shared),
        "unbindable" | "runbindable" => Some(Propagation::Unbindable),
        other => return Err(invalid(format!("`rootfsPropagation` `{other}` is unknown"))),
    })
}

/// The kernel settings, if they are of namespaces that are the container's own: any other would change the host.
fn sysctls(linux: &Linux, namespaces: &Namespaces) -> Result<Vec<(String, String)>> {
    const IPC: [&str; 9] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
        "kernel.shm_next_id",
    ];
    let mut all: Vec<(String, String)> = linux.sysctl().clone().unwrap_or_default().into_iter().collect();
    all.sort();
    for (key, _) in &mut all {
        // Both `net.ipv4.ip_forward` and `net/ipv4/ip_forward` are used; the latter where a name holds a dot.
        if key.contains('/') && key.find('/') < key.find('.') {
            return Err(Error::Unsupported(format!(
                "sysctl `{key}`: names with slashes are not supported, use dots"
            )));
        }
        let (own, name) = if IPC.contains(&key.as_str()) || key.starts_with("fs.mqueue.") {
            (!matches!(namespaces.ipc, Namespace::Host), "an IPC")
        } else if key.starts_with("net.") {
            (!matches!(namespaces.network, Namespace::Host), "a network")
        } else if key == "kernel.domainname" {
            (!matches!(namespaces.uts, Namespace::Host), "a UTS")
        } else {
            return Err(invalid(format!("sysctl `{key}` is not in a separate kernel namespace")));
        };
        if !own {
            return Err(invalid(format!(
                "sysctl `{key}` is not allowed without {name} namespace of the container's own"
            )));
        }
    }
    Ok(all)
}

/// The parent and the name of a `cgroupsPath`.
fn cgroup_path(path: &Path) -> Result<(String, String)> {
    let text = path.to_str().ok_or_else(|| invalid("`cgroupsPath` is not UTF-8"))?;
    let parts: Vec<&str> = text
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    if parts.contains(&"..") {
        return Err(invalid(format!("`cgroupsPath` `{text}` leaves its place by `..`")));
    }
    let [parent @ .., name] = parts.as_slice() else {
        return Err(invalid(format!("`cgroupsPath` `{text}` names no cgroup")));
    };
    if text.matches(':').count() == 2 && !text.contains('/') {
        return Err(Error::Unsupported(format!(
            "`cgroupsPath` `{text}` is systemd's: the systemd cgroup driver is not supported"
        )));
    }
    Ok((parent.join("/"), (*name).to_owned()))
}

#[cfg(test)]
mod tests;
