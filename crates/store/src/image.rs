//! Images: what a name means, what there is, what may go.

use hull_spec::image::ImageConfig;
use hull_spec::{Digest, Reference};

mod list;
mod lookup;
mod record;
mod remove;
mod resolve;
mod tag;

pub use list::{Summary, list};
pub(crate) use lookup::forget;
pub use record::{Record, record};
pub use remove::{RemoveRequest, Removed, User, remove};
pub use resolve::{exists, names, resolve};
pub use tag::{layer_sizes, tag, tags};

/// An image that is in the store, with all that running it needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// Its ID: the digest of its config.
    pub id: Digest,
    /// The digest of the manifest that it was pulled by.
    pub manifest: Digest,
    /// Its config.
    pub config: ImageConfig,
    /// Its layers' chain IDs, lowest first.
    pub layers: Vec<Digest>,
    /// Its layers' blobs as pulled, lowest first.
    pub blobs: Vec<Digest>,
    /// Bytes of all of its layers, unpacked.
    pub size: u64,
    /// The reference that it was found by; `None` where that was an ID.
    pub name: Option<Reference>,
}
