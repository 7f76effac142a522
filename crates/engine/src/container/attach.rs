//! `attach`: a connection to the streams of a running container.

use std::os::unix::net::UnixStream;

use super::find;
use crate::{Engine, Error, Result};

/// Connects to a running container's streams: frames of [`hull_monitor::frame`].
///
/// # Errors
/// No such container; [`Error::NotRunning`].
pub fn attach(engine: &Engine, name: &str) -> Result<UnixStream> {
    let id = find::find_id(engine, name)?;
    hull_monitor::socket::connect(&engine.container_run(&id)).map_err(|_| Error::NotRunning { id })
}
