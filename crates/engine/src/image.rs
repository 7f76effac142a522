//! Verbs of images.

mod collect;
pub mod hello;
mod history;
mod import;
mod inspect;
mod list;
mod load;
pub(crate) mod manifest;
mod prune;
mod remove;
mod save;
pub mod sync;
mod tag;

pub use collect::tidy;
pub use history::{Step, history};
pub use import::{ImportRequest, import};
pub use inspect::{Inspect, inspect};
pub use list::{ListRequest, Summary, list};
pub use load::{Input, LoadRequest, Loaded, load};
pub use prune::{PruneRequest, Pruned, prune};
pub use remove::remove;
pub(crate) use remove::users;
pub use save::{SaveRequest, Saving, save};
pub use tag::tag;

use hull_spec::Digest;
use hull_store::image::Image;
use hull_store::{Access, snapshot};

use crate::container::tree_size;
use crate::{Engine, Error, Result};

/// The image that `name` means: a reference, an ID or the beginning of one.
///
/// # Errors
/// If there is none, or several.
pub fn find(engine: &Engine, name: &str) -> Result<Image> {
    Ok(hull_store::image::resolve(engine.store(Access::Read)?, name)?)
}

/// The ID of the image that `name` means; `None` where there is none.
pub(crate) fn id(engine: &Engine, name: &str) -> Result<Option<String>> {
    match find(engine, name) {
        Ok(image) => Ok(Some(image.id.to_string())),
        Err(Error::Store(hull_store::Error::NoImage { .. })) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Bytes of an image's layers. Where the image is gone its layers, which a container still uses, are measured.
pub(crate) fn size(engine: &Engine, id: &Digest, layers: &[Digest]) -> Result<u64> {
    let store = engine.store(Access::Read)?;
    match hull_store::image::resolve(store, id.as_str()) {
        Ok(image) => Ok(image.size),
        Err(hull_store::Error::NoImage { .. }) => {
            Ok(snapshot::lower(store, layers).iter().map(|dir| tree_size(dir)).sum())
        }
        Err(e) => Err(e.into()),
    }
}
