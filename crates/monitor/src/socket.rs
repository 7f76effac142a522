//! The attach socket of a container, `RUN/containers/ID/attach.sock`.

use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::error::{Result, at, io_at};

const NAME: &str = "attach.sock";

/// Opens the socket for clients.
///
/// # Errors
/// If it cannot be made.
pub(crate) fn listen(run: &Path) -> Result<UnixListener> {
    let (folder, path) = short(run)?;
    let listener = UnixListener::bind(&path).map_err(io_at("listen at", &run.join(NAME)))?;
    drop(folder);
    listener
        .set_nonblocking(true)
        .map_err(io_at("listen at", &run.join(NAME)))?;
    Ok(listener)
}

/// Connects to the monitor of the container whose run folder is `run`.
///
/// # Errors
/// If nobody listens.
pub fn connect(run: &Path) -> Result<UnixStream> {
    let (_folder, path) = short(run)?;
    UnixStream::connect(&path).map_err(io_at("attach to", &run.join(NAME)))
}

/// A name of the socket that fits the 108 bytes of a socket address whatever the folder's path is.
fn short(run: &Path) -> Result<(rustix::fd::OwnedFd, PathBuf)> {
    let folder = rustix::fs::open(run, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(at("open", run))?;
    let path = PathBuf::from(format!(
        "/proc/self/fd/{}/{NAME}",
        std::os::fd::AsRawFd::as_raw_fd(&folder)
    ));
    Ok((folder, path))
}
