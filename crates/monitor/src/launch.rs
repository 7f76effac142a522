//! All that a monitor is told.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use hull_network::EndpointRequest;
use hull_runtime::{Container, cgroup};

use crate::event::Subject;
use crate::log::LogPlan;
use crate::volume::VolumeMount;

/// What a monitor starts and looks after.
#[derive(Debug)]
pub struct Launch {
    /// The container's ID.
    pub id: String,
    /// What runs.
    pub container: Container,
    /// Its cgroups.
    pub cgroups: cgroup::Plan,
    /// Whether a host that lets us make no cgroup is put up with: no limit was asked for.
    pub cgroups_optional: bool,
    /// Its network.
    pub network: NetworkPlan,
    /// Its files.
    pub places: Places,
    /// Its log.
    pub log: LogPlan,
    /// Whether standard input is kept open for clients.
    pub open_stdin: bool,
    /// Whether standard input ends with the first client that had it.
    pub stdin_once: bool,
    /// A client from the first byte on.
    pub attach: Option<UnixStream>,
    /// Whether the container is removed when it ends.
    pub auto_remove: bool,
    /// Folders of volumes that are removed with it, unless another container has taken them over.
    pub volumes: Vec<PathBuf>,
    /// Folders of all volumes that it uses.
    pub uses: Vec<PathBuf>,
    /// File systems of volumes, in the order in which the container's mounts refer to them.
    pub file_systems: Vec<VolumeMount>,
    /// Whether all that is mounted in it is its own: nobody on the host waits for a file system of theirs.
    pub own_mounts_only: bool,
    /// How often it was started again since somebody started it.
    pub restarts: u32,
    /// What this program takes, after its name and a descriptor, to go on as this container's monitor:
    /// [`crate::resident`]. `None` where it has no such entry.
    pub resident: Option<Vec<OsString>>,
    /// What its events say of it.
    pub subject: Subject,
}

/// The container's network.
#[derive(Debug)]
pub enum NetworkPlan {
    /// Somebody else's; nothing to do.
    Shared,
    /// A namespace with the loopback interface only.
    Loopback,
    /// The default bridge.
    Bridge(Box<BridgePlan>),
}

/// A place on the default bridge.
#[derive(Debug)]
pub struct BridgePlan {
    /// How networks are set up on this host.
    pub settings: hull_network::Settings,
    /// What is asked for.
    pub request: EndpointRequest,
    /// The network's name among the container's networks.
    pub name: String,
    /// Ports that are exposed but not published: shown without a host's side.
    pub exposed: std::collections::BTreeMap<String, hull_spec::container::Empty>,
    /// A line of the hosts file: the names that the container's own address has.
    pub host_names: String,
}

/// Where the container's files are.
#[derive(Debug)]
pub struct Places {
    /// `DATA/containers/ID`.
    pub data: PathBuf,
    /// `RUN/containers/ID`.
    pub run: PathBuf,
    /// `DATA/names/NAME`, removed with the container.
    pub name: PathBuf,
    /// The lock, held.
    pub lock: File,
}
