//! `attach`: a connection to the streams of a running container.

use std::os::unix::net::UnixStream;

use super::find;
use crate::{Engine, Error, Result, event};

/// Connects to a running container's streams: frames of [`hull_monitor::frame`].
///
/// # Errors
/// No such container; [`Error::NotRunning`].
pub fn attach(engine: &Engine, name: &str) -> Result<UnixStream> {
    let record = find(engine, name)?;
    let socket = hull_monitor::socket::connect(&engine.container_run(&record.id))
        .map_err(|_| Error::NotRunning { id: record.id.clone() })?;
    event::container(engine, &record, "attach", &[]);
    Ok(socket)
}
