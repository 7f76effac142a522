//! What can fail between a description and a running process.

use std::path::PathBuf;

use hull_spec::ErrorKind;
use rustix::io::Errno;

/// A failure of the runtime.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed while doing something for the container.
    #[error("cannot {act}: {}", describe(*.errno))]
    System {
        /// What was being done, on what.
        act: String,
        /// The kernel's word.
        errno: Errno,
    },
    /// A file or folder of the host cannot be used.
    #[error("cannot {act} `{}`: {}", .path.display(), describe(*.errno))]
    Path {
        /// What was being done.
        act: &'static str,
        /// On what.
        path: PathBuf,
        /// The kernel's word.
        errno: Errno,
    },
    /// The container's init failed at a step before its program started.
    #[error("{message}")]
    Init {
        /// What failed, on what and why, composed where it failed.
        message: String,
        /// The kernel's word, where there is one.
        errno: Option<Errno>,
        /// Which kind of failure it is.
        kind: ErrorKind,
    },
    /// The program does not exist in the container.
    #[error("exec: \"{program}\": {reason}")]
    NotFound {
        /// The program.
        program: String,
        /// Docker's wording of the reason.
        reason: String,
    },
    /// The program exists but cannot be executed.
    #[error("exec: \"{program}\": {reason}")]
    NotExecutable {
        /// The program.
        program: String,
        /// The reason.
        reason: String,
    },
    /// The container's init ended without a word.
    #[error("the container's init was killed before its program started")]
    InitDied,
    /// What is asked for contradicts itself or the host.
    #[error("{0}")]
    Invalid(String),
    /// The host cannot do it.
    #[error("{0}")]
    Unsupported(String),
    /// A cgroup file does not take a value.
    #[error("cannot write `{value}` to cgroup file `{}`: {}", .path.display(), describe(*.errno))]
    Cgroup {
        /// The file.
        path: PathBuf,
        /// The value.
        value: String,
        /// The kernel's word.
        errno: Errno,
    },
}

impl Error {
    /// The kind of failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::System { errno, .. } | Self::Path { errno, .. } | Self::Cgroup { errno, .. } => kind_of(*errno),
            Self::Init { kind, .. } => *kind,
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::NotExecutable { .. } => ErrorKind::Denied,
            Self::InitDied => ErrorKind::Internal,
            Self::Invalid(_) => ErrorKind::Invalid,
            Self::Unsupported(_) => ErrorKind::Unsupported,
        }
    }

    /// The exit code that Docker gives a container that could not start: 127 where the program is not there, 126 where
    /// it cannot be executed.
    #[must_use]
    pub fn exit_code(&self) -> Option<i32> {
        match self {
            Self::NotFound { .. } => Some(127),
            Self::NotExecutable { .. } => Some(126),
            _ => None,
        }
    }
}

/// The kernel's word for an error, in small letters and without its number.
#[must_use]
pub fn describe(errno: Errno) -> String {
    let text = std::io::Error::from_raw_os_error(errno.raw_os_error()).to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    chars
        .next()
        .map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

pub(crate) fn kind_of(errno: Errno) -> ErrorKind {
    match errno {
        Errno::NOENT | Errno::NODEV | Errno::SRCH => ErrorKind::NotFound,
        Errno::ACCESS | Errno::PERM | Errno::ROFS => ErrorKind::Denied,
        Errno::NOSPC | Errno::DQUOT | Errno::NOMEM | Errno::MFILE | Errno::NFILE | Errno::AGAIN => ErrorKind::Exhausted,
        Errno::NOSYS | Errno::OPNOTSUPP => ErrorKind::Unsupported,
        Errno::EXIST | Errno::BUSY => ErrorKind::Conflict,
        Errno::INVAL | Errno::NOTDIR | Errno::ISDIR | Errno::LOOP | Errno::NAMETOOLONG => ErrorKind::Invalid,
        _ => ErrorKind::Internal,
    }
}

/// The result of a step of the runtime.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Names the act when a system call fails.
pub(crate) trait During<T> {
    fn during(self, act: impl FnOnce() -> String) -> Result<T>;
}

impl<T> During<T> for rustix::io::Result<T> {
    fn during(self, act: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|errno| Error::System { act: act(), errno })
    }
}
