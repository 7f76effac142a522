//! The mounts of a container: planned as data, then made.

mod apply;
mod plan;

pub(crate) use apply::{apply, open_sources};
pub use plan::{MountOp, plan};
