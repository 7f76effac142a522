//! Volumes: folders that outlive containers.
//!
//! ```text
//! DATA/volumes/NAME/volume.json   when it was made, its labels and options; never changed
//! DATA/volumes/NAME/_data         its files
//! DATA/volumes/NAME/users/ID      container ID uses it: true while there is such a container
//! DATA/volumes/NAME/copying       the image's files are being copied in, or somebody was killed at that
//! DATA/volumes/.new-*             being made; .removed-* being removed
//! ```
//!
//! A volume comes to be by the renaming of a folder that has all of this, and goes by another one, so that there is a
//! whole one or none. The folder itself is locked, shared by who creates a container with the volume, exclusively by who
//! removes it: see [`hull_monitor::volume`].

mod about;
mod claim;
mod copy;
mod create;
mod inspect;
mod list;
pub(crate) mod options;
mod owner;
mod prune;
mod remove;

pub use create::{CreateRequest, create};
pub use inspect::{Volume, inspect};
pub use list::{ListRequest, list};
pub use prune::{PruneRequest, Pruned, prune};
pub use remove::remove;

pub(crate) use about::{check_name, folder, is_volume};
pub(crate) use claim::{Claims, anonymous, release, used};
pub(crate) use copy::{Target, copy_image, copy_up, image_file};
pub(crate) use create::sweep;
pub(crate) use owner::{give, relabel};
