//! Collection: what no image, no lease and no container names.

use crate::Store;
use crate::error::Result;
use crate::image::User;

/// What a sweep freed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Layers.
    pub layers: u64,
    /// Blobs, partial ones too.
    pub blobs: u64,
    /// Bytes of the blobs and of the layers, unpacked.
    pub bytes: u64,
}

/// Removes every blob and layer that nothing names, partial blobs that nobody is fetching, and what killed processes
/// left. `users` tells of all containers; it is called while nobody can make a new one.
///
/// # Errors
/// What `users`, the index or the file system says.
pub fn sweep<E>(store: &Store, users: impl FnOnce() -> Result<Vec<User>, E>) -> Result<Swept>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let _ = (store, users);
    todo!()
}

/// Takes away what killed processes left half unpacked or half deleted.
pub(crate) fn leftovers(_store: &Store) -> Result<()> {
    Ok(())
}
