//! The lock of a container: held by its monitor while it runs, and by a command for as long as it changes it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::{Engine, Error, Result};

/// How long a look of another command at the lock may last: far less, but the machine may be busy.
const LOOK: Duration = Duration::from_millis(200);

/// How long a command that has the lock is waited for: one that starts the container, copies its files or makes an image
/// of it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Takes the lock of container `id`. `None` where a monitor or another command has it.
pub(crate) fn take(engine: &Engine, id: &str) -> Result<Option<File>> {
    let started = Instant::now();
    loop {
        let file = open(engine, id)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) if is_current(engine, id, &file) => {
                // How an earlier run has ended, if its monitor could not take the file away.
                if file.metadata().is_ok_and(|found| found.len() > 0) {
                    file.set_len(0).map_err(|e| write(engine, id, e))?;
                }
                return Ok(Some(file));
            }
            // Somebody ended and took the file away between our two calls.
            Ok(()) => {}
            // A command that only looks holds it for an instant, shared.
            Err(Errno::WOULDBLOCK) if started.elapsed() < LOOK && !exclusively_held(&file) => {
                std::thread::sleep(Duration::from_micros(100));
            }
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(errno) => return Err(write(engine, id, errno.into())),
        }
    }
}

/// Waits until whoever holds the lock of container `id` exclusively has given it up. At once where there is none. A monitor
/// that gives it up at the end of its container has written down in it how that ended: this very run, whatever has become
/// of the container since.
pub(crate) fn wait(engine: &Engine, id: &str) -> Result<Option<i32>> {
    let path = engine.container_run(id).join("lock");
    let Ok(mut file) = File::open(&path) else {
        return Ok(None);
    };
    let read = |source| Error::Read {
        path: path.clone(),
        source,
    };
    rustix::io::retry_on_intr(|| flock(&file, FlockOperation::LockShared)).map_err(|errno| read(errno.into()))?;
    hull_monitor::told_end(&mut file).map_err(read)
}

/// [`wait`], for as long as `wanted` says so: it is asked now and then once the wait is not a short one.
pub(crate) fn wait_while(engine: &Engine, id: &str, wanted: impl Fn() -> Result<bool>) -> Result<()> {
    let path = engine.container_run(id).join("lock");
    let Ok(file) = File::open(&path) else { return Ok(()) };
    let started = Instant::now();
    loop {
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => return Ok(()),
            Err(Errno::WOULDBLOCK) if started.elapsed() < SHORT => std::thread::sleep(Duration::from_micros(100)),
            Err(Errno::WOULDBLOCK) if wanted()? => std::thread::sleep(Duration::from_millis(1)),
            Err(Errno::WOULDBLOCK) => return Ok(()),
            Err(errno) => {
                return Err(Error::Read {
                    path,
                    source: errno.into(),
                });
            }
        }
    }
}

/// How long a monitor takes to clean up when nothing is in its way.
const SHORT: Duration = Duration::from_millis(10);

/// Whether the holder of the lock is more than a looker: lookers share.
fn exclusively_held(file: &File) -> bool {
    match flock(file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => {
            let _ = flock(file, FlockOperation::Unlock);
            false
        }
        Err(_) => true,
    }
}

fn open(engine: &Engine, id: &str) -> Result<File> {
    let folder = engine.container_run(id);
    let options = || {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        options
    };
    loop {
        match options().open(folder.join("lock")) {
            Ok(file) => return Ok(file),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let mut builder = DirBuilder::new();
                builder.recursive(true).mode(0o711);
                builder.create(&engine.run).map_err(|e| write(engine, id, e))?;
                builder.mode(0o700).create(&folder).map_err(|e| write(engine, id, e))?;
            }
            Err(e) => return Err(write(engine, id, e)),
        }
    }
}

/// Whether the file that is locked is still the one at its path.
fn is_current(engine: &Engine, id: &str, file: &File) -> bool {
    let there = std::fs::metadata(engine.container_run(id).join("lock"));
    let (Ok(there), Ok(ours)) = (there, file.metadata()) else {
        return false;
    };
    (there.dev(), there.ino()) == (ours.dev(), ours.ino())
}

fn write(engine: &Engine, id: &str, source: std::io::Error) -> Error {
    Error::Write {
        path: engine.container_run(id).join("lock"),
        source,
    }
}
