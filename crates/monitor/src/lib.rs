//! One running container: who starts it, holds its standard streams, writes its log, serves those who attach, and
//! cleans up when it ends.
//!
//! The monitor is a fork of the command that starts the container and outlives it. It has one thread, one `poll` loop
//! and a few small buffers. A straight walk: [`spawn`] forks; `supervise` starts the container, tells the command, and
//! runs the `relay` loop until the container's init has ended; [`teardown`] takes away what the container had on the
//! host and writes down how it ended.
//!
//! Invariants
//! - The lock (`RUN/containers/ID/lock`) is held from before the first change on the host until after the last trace is
//!   gone. It is the one proof that the container is looked after.
//! - `state.json` is there before init can outlive the monitor, so that a container without a monitor can be found.
//! - How the container ended is on disk before anybody is told.
//! - A client that does not read stops the container's output (as with Docker), never the log's memory.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::too_many_lines))]

mod adopt;
mod begin;
mod buffer;
mod client;
mod error;
pub mod event;
mod failure;
pub mod frame;
mod health;
mod keep;
mod launch;
mod log;
mod prelink;
mod relay;
pub mod resident;
mod restart;
pub mod socket;
mod supervise;
mod teardown;
pub mod volume;

pub use adopt::adopt;
pub use error::{Error, Result};
pub use failure::Failure;
pub use health::{FILE as HEALTH_FILE, Probe};
pub use keep::{Keep, Place};
pub use launch::{BridgePlan, Launch, NetworkPlan, Places};
pub use log::{JournaldPlan, LogFile, LogForm, LogPlan, LogTarget, Origin, SyslogAddress, SyslogFormat, SyslogPlan};
pub use restart::{Halt, Hooks, halt, halted, wanted as wants_restart};
pub use supervise::{spawn, told_end};
pub use teardown::{Remains, keep_at_end, note_cgroups, purge, remove_files, remove_run, teardown, write_state};
