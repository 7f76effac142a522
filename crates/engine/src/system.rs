//! What hull is, and what it runs on.

mod boot;
mod host;
mod info;
mod usage;
mod version;

pub use boot::{Outcome, boot, shutdown};
pub use info::{Commit, IndexConfig, Info, Plugins, RegistryConfig, Runtime, Swarm, info};
pub use usage::{Usage, VolumeUsage, usage};
pub use version::{API_VERSION, Component, MIN_API_VERSION, Platform, Version, version};
