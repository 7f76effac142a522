//! `restart`: stop, then start.

use super::start::{StartRequest, start};
use super::{find, status, stop};
use crate::{Engine, Result, event};

/// Stops a container as [`stop`](super::stop()) does, if it runs, and starts it. One that is removed at its end is kept.
///
/// # Errors
/// Those of both.
pub fn restart(engine: &Engine, name: &str, signal: Option<&str>, timeout: Option<i64>) -> Result<()> {
    let record = find(engine, name)?;
    let run = engine.container_run(&record.id);
    let runs = record.host_config.auto_remove && status::derive(engine, &record)?.live.is_some();
    if runs {
        hull_monitor::keep_at_end(&run, true)?;
    }
    if let Err(e) = stop::stop(engine, &record.id, signal, timeout) {
        if runs {
            // It goes on, or has ended and been kept; neither is worse than the failure that is told.
            let _ = hull_monitor::keep_at_end(&run, false);
        }
        return Err(e);
    }
    start(engine, &record.id, &StartRequest { attach: false })?;
    event::container(engine, &record, "restart", &[]);
    Ok(())
}
