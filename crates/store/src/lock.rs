//! `flock`s: they vanish with their process, however it ends, and hold between threads as between processes because
//! each opens its file anew.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FlockOperation, Mode, OFlags};

use crate::error::{At, Result};

/// While this lives nothing in the store is deleted: the shared `gc.lock`. Hold it from resolving an image until the
/// container that uses it has its record on disk, not longer: removals wait for it.
#[derive(Debug)]
pub struct Hold {
    _file: OwnedFd,
}

/// While this lives nobody holds the store and nobody adds to a lease: the exclusive `gc.lock`.
#[derive(Debug)]
pub(crate) struct Exclusive {
    _file: OwnedFd,
}

pub(crate) fn hold(path: &Path) -> Result<Hold> {
    Ok(Hold {
        _file: lock(path, FlockOperation::LockShared)?,
    })
}

pub(crate) fn exclusive(path: &Path) -> Result<Exclusive> {
    Ok(Exclusive {
        _file: lock(path, FlockOperation::LockExclusive)?,
    })
}

fn lock(path: &Path, operation: FlockOperation) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR).at("open", path)?;
    flock(&file, operation).at("lock", path)?;
    Ok(file)
}

/// `flock` that goes on after a signal.
pub(crate) fn flock(file: &OwnedFd, operation: FlockOperation) -> rustix::io::Result<()> {
    rustix::io::retry_on_intr(|| rustix::fs::flock(file, operation))
}

/// Locks what `open` opens, waiting for its present owner, and returns it only if it still is what `path` names:
/// whoever had it may have renamed or removed it meanwhile, in which case it is opened anew.
pub(crate) fn claim(path: &Path, mut open: impl FnMut() -> rustix::io::Result<OwnedFd>) -> Result<OwnedFd> {
    loop {
        let file = open().at("open", path)?;
        flock(&file, FlockOperation::LockExclusive).at("lock", path)?;
        let mine = rustix::fs::fstat(&file).at("examine", path)?;
        match rustix::fs::lstat(path) {
            Ok(there) if (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino) => return Ok(file),
            Ok(_) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(error).at("examine", path),
        }
    }
}
