//! What can fail around a running container.

use std::path::PathBuf;

use hull_spec::ErrorKind;
use rustix::io::Errno;

/// A failure of the monitor or on the way to it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The runtime could not start the container.
    #[error(transparent)]
    Runtime(#[from] hull_runtime::Error),
    /// The container's network could not be made.
    #[error(transparent)]
    Network(#[from] hull_network::Error),
    /// A file cannot be used.
    #[error("cannot {act} `{}`: {}", .path.display(), hull_runtime::describe(*.errno))]
    Path {
        /// What was being done.
        act: &'static str,
        /// On what.
        path: PathBuf,
        /// The kernel's word.
        errno: Errno,
    },
    /// A system call failed.
    #[error("cannot {act}: {}", hull_runtime::describe(*.errno))]
    System {
        /// What was being done.
        act: &'static str,
        /// The kernel's word.
        errno: Errno,
    },
    /// Whoever is to take the container's log is not there.
    #[error("failed to initialize logging driver: {target}: {}", hull_runtime::describe(*.errno))]
    Log {
        /// Who it is.
        target: String,
        /// The kernel's word.
        errno: Errno,
    },
    /// A volume's file system could not be had, in Docker's words where it has some.
    #[error("{message}")]
    Volume {
        /// What failed, on what and why.
        message: String,
        /// The kernel's word.
        errno: Errno,
    },
    /// The monitor ended before it said whether the container runs.
    #[error("the container's monitor was killed before the container ran")]
    MonitorDied,
    /// The monitor said why the container does not run.
    #[error("{}", .0.message)]
    Start(crate::Failure),
}

impl Error {
    /// The kind of failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Runtime(e) => e.kind(),
            Self::Network(e) => e.kind(),
            Self::Path { errno, .. } | Self::System { errno, .. } | Self::Volume { errno, .. } => match *errno {
                Errno::NOSPC | Errno::DQUOT | Errno::NOMEM | Errno::MFILE | Errno::NFILE => ErrorKind::Exhausted,
                Errno::ACCESS | Errno::PERM | Errno::ROFS => ErrorKind::Denied,
                Errno::NOENT => ErrorKind::NotFound,
                Errno::OPNOTSUPP => ErrorKind::Unsupported,
                _ => ErrorKind::Internal,
            },
            Self::Log { .. } => ErrorKind::Unavailable,
            Self::MonitorDied => ErrorKind::Internal,
            Self::Start(failure) => failure.kind,
        }
    }
}

/// The result of a step of the monitor.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Names the act and the path when a file cannot be used.
pub(crate) fn at(act: &'static str, path: &std::path::Path) -> impl FnOnce(Errno) -> Error {
    let path = path.to_owned();
    move |errno| Error::Path { act, path, errno }
}

/// The same for std's errors.
pub(crate) fn io_at(act: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |e| Error::Path {
        act,
        path,
        errno: Errno::from_io_error(&e).unwrap_or(Errno::IO),
    }
}
