//! Changing a container's record: one command at a time, whether the container runs or not.

use std::fs::File;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::find;
use crate::{Engine, Error, Result};

/// How long another command may take to change the record: far less, unless it was stopped half-way.
const PATIENCE: Duration = Duration::from_secs(5);

/// The right to change the record of container `id`, until it is dropped. It is a lock on the container's folder, which
/// the command that makes the container holds, too; it is not the container's own lock, which its monitor holds.
///
/// # Errors
/// [`Error::NoSuchContainer`]; [`Error::Busy`] where another command keeps it.
pub(crate) fn hold(engine: &Engine, id: &str) -> Result<File> {
    let started = Instant::now();
    loop {
        match try_hold(engine, id)? {
            Some(file) => return Ok(file),
            None if started.elapsed() > PATIENCE => return Err(Error::Busy { id: id.to_owned() }),
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// [`hold`], unless another command has it.
///
/// # Errors
/// [`Error::NoSuchContainer`].
pub(crate) fn try_hold(engine: &Engine, id: &str) -> Result<Option<File>> {
    let path = engine.container_dir(id);
    let read = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => Error::NoSuchContainer { name: id.to_owned() },
        _ => Error::Read {
            path: path.clone(),
            source,
        },
    };
    let folder = File::open(&path).map_err(read)?;
    match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
        // Its removal may have been under way.
        Ok(()) if find::exists(engine, id) => Ok(Some(folder)),
        Ok(()) => Err(Error::NoSuchContainer { name: id.to_owned() }),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(read(errno.into())),
    }
}
