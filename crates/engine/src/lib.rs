//! The engine: containers and images on one host, and the verbs that act on them.
//!
//! Every verb is a free function over an [`Engine`] and one request struct: `container::start(&engine, ..)`. The engine
//! prints nothing and reads no environment; what it needs to know of its surroundings comes in through [`Settings`].
//!
//! # Invariants
//! 1. A container's state is derived on each look ([`container::status`]), never believed: running means that its
//!    monitor holds its lock, or, where the monitor was killed, that its first process is still the same one.
//! 2. Every file is written under a temporary name and renamed, so that a reader sees the old one or the new one whole.
//! 3. A container's name is claimed by making a symbolic link, which only one claimant can.
//! 4. The store is opened at most once an engine and only by the verbs that need images.
//!
//! # On disk
//! ```text
//! DATA  /var/lib/hull                    RUN  /run/hull
//!   containers/ID/config.json  Record      containers/ID/lock        held by the monitor while the container runs
//!   containers/ID/exit.json    LastExit    containers/ID/state.json  LiveState
//!   containers/ID/upper, work              containers/ID/attach.sock
//!   containers/ID/ID-json.log[.N]          containers/ID/{hosts,resolv.conf,hostname}
//!   names/NAME -> ID
//!   (hull.db, blobs, layers: the store's)
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::too_many_lines))]

pub mod cdi;
pub mod config;
pub mod container;
pub mod elapsed;
mod engine;
mod error;
pub mod event;
pub mod filter;
pub mod image;
pub mod moment;
pub mod network;
pub mod pod;
pub mod system;
pub mod volume;

pub use engine::{Engine, Settings};
pub use error::Error;

/// What the engine's verbs return.
pub type Result<T, E = Error> = std::result::Result<T, E>;
