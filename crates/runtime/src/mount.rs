//! The mounts of a container: planned as data, then made.

mod apply;
pub(crate) mod handed;
mod plan;
pub mod view;

pub(crate) use apply::{apply, detach, leave_chroot, open_sources};
pub use plan::{MountOp, plan};
