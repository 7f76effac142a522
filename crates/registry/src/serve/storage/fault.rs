//! Why the storage cannot do what it was asked for.

use std::io;
use std::path::PathBuf;

use crate::Error;

/// A failure of the storage.
#[derive(Debug)]
pub(in super::super) enum Fault {
    /// It would go beyond a quota; in words for the client.
    Quota(String),
    /// The disk is full.
    Full,
    /// A system call failed, which is told to the operator, not to the client.
    Io(Error),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Quota(text) => f.write_str(text),
            Self::Full => f.write_str("the disk is full"),
            Self::Io(error) => {
                write!(f, "{error}")?;
                match std::error::Error::source(error) {
                    Some(source) => write!(f, ": {source}"),
                    None => Ok(()),
                }
            }
        }
    }
}

/// Names the act and the path of a failed system call.
pub(in super::super) trait At<T> {
    fn at(self, act: &'static str, path: impl Into<PathBuf>) -> Result<T, Fault>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, act: &'static str, path: impl Into<PathBuf>) -> Result<T, Fault> {
        self.map_err(|source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Fault::Full,
            _ => Fault::Io(Error::Storage {
                act,
                path: path.into(),
                source,
            }),
        })
    }
}
