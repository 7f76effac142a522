//! What can go wrong in a verb.

use std::io;
use std::path::PathBuf;

use hull_spec::ErrorKind;

/// A failed verb: what was not done, on what.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No container has this name, ID or beginning of an ID.
    #[error("No such container: {name}")]
    NoSuchContainer {
        /// The name as given.
        name: String,
    },
    /// No network has this name, ID or beginning of an ID.
    #[error("network {name} not found")]
    NoSuchNetwork {
        /// The name as given.
        name: String,
    },
    /// Several containers' IDs begin so.
    #[error("multiple IDs found with provided prefix: {prefix}")]
    Ambiguous {
        /// The prefix as given.
        prefix: String,
    },
    /// A file of the engine's own cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of the engine's own cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of the engine's own is not what it should be.
    #[error("`{}` is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A container's log is kept where it cannot be read.
    #[error("configured logging driver does not support reading")]
    LogDriver {
        /// The driver.
        driver: String,
    },
    /// Changes of a folder cannot be waited for.
    #[error("cannot watch `{}`", path.display())]
    Watch {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No image has this name or ID.
    #[error("No such image: {name}")]
    NoSuchImage {
        /// The name as given.
        name: String,
    },
    /// No volume has this name.
    #[error("get {name}: no such volume")]
    NoSuchVolume {
        /// The name as given.
        name: String,
    },
    /// A volume cannot be made as it is asked for.
    #[error("create {name}: {why}")]
    Volume {
        /// The name as given.
        name: String,
        /// Docker's wording of the reason.
        why: String,
    },
    /// Containers use the volume.
    #[error("remove {name}: volume is in use - [{}]", users.join(", "))]
    VolumeInUse {
        /// The volume.
        name: String,
        /// The containers' IDs.
        users: Vec<String>,
    },
    /// Another container has the name.
    #[error(
        "Conflict. The container name \"/{name}\" is already in use by container \"{id}\". You have to remove (or rename) that container to be able to reuse that name."
    )]
    NameInUse {
        /// The name.
        name: String,
        /// Who has it.
        id: String,
    },
    /// The container does not run.
    #[error("container {id} is not running")]
    NotRunning {
        /// The container.
        id: String,
    },
    /// The new name of a container is another's.
    #[error(
        "Error when allocating new name: Conflict. The container name \"/{name}\" is already in use by container \"{id}\". You have to remove (or rename) that container to be able to reuse that name."
    )]
    Renaming {
        /// The name.
        name: String,
        /// Who has it.
        id: String,
    },
    /// The container is in a state that does not fit what is asked for, in Docker's words.
    #[error("{0}")]
    State(String),
    /// A container's processes could not be frozen or thawed.
    #[error("cannot {act} container {}", short(id))]
    Freeze {
        /// `pause` or `unpause`.
        act: &'static str,
        /// The container.
        id: String,
        /// Why.
        source: Box<hull_runtime::Error>,
    },
    /// A container's limits could not be changed.
    #[error("Cannot update container {id}")]
    Update {
        /// The container.
        id: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The container runs, and that is in the way.
    #[error("cannot remove container \"/{name}\": container is {}", in_the_way(*status))]
    Running {
        /// The container.
        id: String,
        /// Its name.
        name: String,
        /// What it is doing.
        status: hull_spec::container::Status,
    },
    /// Another command is changing the container.
    #[error("container {id} is being changed by another command")]
    Busy {
        /// The container.
        id: String,
    },
    /// A container could not be started.
    #[error("failed to start container {}", short(id))]
    Start {
        /// The container.
        id: String,
        /// Why.
        source: Box<hull_monitor::Error>,
    },
    /// A process could not be started in a container.
    #[error("failed to exec in container {}", short(id))]
    Exec {
        /// The container.
        id: String,
        /// Why.
        source: Box<hull_runtime::Error>,
    },
    /// A signal could not be sent.
    #[error("cannot send signal {signal} to container {id}")]
    Signal {
        /// The container.
        id: String,
        /// The signal's number.
        signal: i32,
        /// Why.
        source: io::Error,
    },
    /// A request that makes no sense, in Docker's words where it has some.
    #[error("{0}")]
    Invalid(String),
    /// A request that this version or this host cannot fulfil.
    #[error("{0}")]
    Unsupported(String),
    /// No pod has this name, ID or beginning of an ID.
    #[error("no pod with name or ID {name} found: no such pod")]
    NoSuchPod {
        /// The name as given.
        name: String,
    },
    /// Another pod has the name.
    #[error("adding pod to state: name \"{name}\" is in use: pod already exists")]
    PodNameInUse {
        /// The name.
        name: String,
    },
    /// The container holds a pod's namespaces.
    #[error("container {id} is the infra container of pod {pod} and cannot be removed without removing the pod")]
    Infra {
        /// The container.
        id: String,
        /// The pod.
        pod: String,
    },
    /// Several of a pod's containers failed.
    #[error("{more} more containers of the pod failed, too")]
    Several {
        /// The first failure.
        #[source]
        first: Box<Error>,
        /// How many others.
        more: usize,
    },
    /// There is no more of something.
    #[error("{0}")]
    Exhausted(String),
    /// A part of the container's network is malformed or cannot be had.
    #[error(transparent)]
    Network(#[from] hull_network::Error),
    /// A part of what the container is to be cannot be had.
    #[error(transparent)]
    Runtime(#[from] hull_runtime::Error),
    /// What a container had cannot be removed.
    #[error(transparent)]
    Monitor(#[from] hull_monitor::Error),
    /// The image store failed.
    #[error(transparent)]
    Store(#[from] hull_store::Error),
    /// A container has no such file, in Docker's words.
    #[error("Could not find the file {path} in container {container}")]
    NoSuchFile {
        /// The path as given.
        path: String,
        /// The container as given.
        container: String,
    },
    /// An archive could not be read or written.
    #[error("cannot read or write the archive")]
    Archive(#[source] io::Error),
    /// The configuration file is not what it should be.
    #[error("cannot use the configuration file `{}`", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<toml::de::Error>,
    },
    /// A filter that this list does not know.
    #[error("invalid filter '{name}'")]
    Filter {
        /// The filter's name.
        name: String,
    },
    /// A filter whose value means nothing.
    #[error("invalid filter '{name}={value}'")]
    FilterValue {
        /// The filter's name.
        name: &'static str,
        /// Its value.
        value: String,
    },
}

impl Error {
    /// What a caller can act on.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoSuchContainer { .. }
            | Self::NoSuchNetwork { .. }
            | Self::NoSuchImage { .. }
            | Self::NoSuchVolume { .. }
            | Self::NoSuchFile { .. } => ErrorKind::NotFound,
            Self::VolumeInUse { .. } => ErrorKind::Conflict,
            Self::Volume { .. } => ErrorKind::Invalid,
            Self::NameInUse { .. }
            | Self::NotRunning { .. }
            | Self::Running { .. }
            | Self::Busy { .. }
            | Self::Renaming { .. }
            | Self::State(_) => ErrorKind::Conflict,
            Self::Freeze { source, .. } => source.kind(),
            Self::Update { source, .. } => source
                .downcast_ref::<hull_runtime::Error>()
                .map_or(ErrorKind::Conflict, hull_runtime::Error::kind),
            Self::Start { source, .. } => source.kind(),
            Self::Exec { source, .. } => source.kind(),
            Self::Signal { source, .. } | Self::Archive(source) => io_kind(source),
            Self::Invalid(_) => ErrorKind::Invalid,
            Self::Unsupported(_) => ErrorKind::Unsupported,
            Self::Exhausted(_) => ErrorKind::Exhausted,
            Self::NoSuchPod { .. } => ErrorKind::NotFound,
            Self::PodNameInUse { .. } | Self::Infra { .. } => ErrorKind::Conflict,
            Self::Several { first, .. } => first.kind(),
            Self::Network(e) => e.kind(),
            Self::Runtime(e) => e.kind(),
            Self::Monitor(e) => e.kind(),
            Self::Ambiguous { .. } | Self::Filter { .. } | Self::FilterValue { .. } => ErrorKind::Invalid,
            Self::LogDriver { .. } => ErrorKind::Unsupported,
            Self::Store(e) => e.kind(),
            Self::Config { .. } => ErrorKind::Invalid,
            Self::Read { source, .. } | Self::Write { source, .. } | Self::Watch { source, .. } => io_kind(source),
            Self::Damaged { .. } => ErrorKind::Internal,
        }
    }
}

impl Error {
    /// The exit code that Docker gives where a program could not be started: 127 where it is missing, 126 where it
    /// cannot be executed.
    #[must_use]
    pub fn exit_code(&self) -> Option<i32> {
        match self {
            Self::Start { source, .. } => match source.as_ref() {
                hull_monitor::Error::Start(failure) => failure.exit_code,
                hull_monitor::Error::Runtime(e) => e.exit_code(),
                _ => None,
            },
            Self::Exec { source, .. } => source.exit_code(),
            _ => None,
        }
    }
}

/// What keeps a container from being removed, in Docker's words.
fn in_the_way(status: hull_spec::container::Status) -> &'static str {
    use hull_spec::container::Status;
    match status {
        Status::Paused => "paused and must be unpaused first",
        Status::Restarting => "restarting: stop the container before removing or force remove",
        _ => "running: stop the container before removing or force remove",
    }
}

/// The first twelve digits of an ID, as people read them.
fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// The kind of a failed system call.
fn io_kind(e: &io::Error) -> ErrorKind {
    match e.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::Denied,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::OutOfMemory => ErrorKind::Exhausted,
        _ => ErrorKind::Internal,
    }
}
