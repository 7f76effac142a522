//! The mounts of a container: planned as data, then made.

mod apply;
pub(crate) mod handed;
pub(crate) mod idmap;
mod layers;
mod plan;
mod sources;
pub mod view;

pub(crate) use apply::{apply, detach, leave_chroot};
pub use layers::layers;
pub use plan::{HostSource, MountOp, Showing, idmaps, plan};
pub(crate) use sources::{Made, open_sources};
