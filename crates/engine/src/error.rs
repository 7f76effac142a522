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
    /// The image store failed.
    #[error(transparent)]
    Store(#[from] hull_store::Error),
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
            Self::NoSuchContainer { .. } => ErrorKind::NotFound,
            Self::Ambiguous { .. } | Self::Filter { .. } | Self::FilterValue { .. } => ErrorKind::Invalid,
            Self::LogDriver { .. } => ErrorKind::Unsupported,
            Self::Store(e) => e.kind(),
            Self::Config { .. } => ErrorKind::Invalid,
            Self::Read { source, .. } | Self::Write { source, .. } | Self::Watch { source, .. } => io_kind(source),
            Self::Damaged { .. } => ErrorKind::Internal,
        }
    }
}

/// The kind of a failed system call.
fn io_kind(e: &io::Error) -> ErrorKind {
    match e.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::Denied,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::OutOfMemory => ErrorKind::Exhausted,
        _ => ErrorKind::Internal,
    }
}
