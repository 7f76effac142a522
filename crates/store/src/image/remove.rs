//! Taking names and images away, with Docker's rules.

use hull_spec::{Digest, Reference};

use crate::Store;
use crate::error::Result;

/// What is to be removed.
#[derive(Clone, Copy, Debug)]
pub struct RemoveRequest<'a> {
    /// A reference, an ID or the first digits of one.
    pub name: &'a str,
    /// Also where several repositories or stopped containers use the image.
    pub force: bool,
}

/// A container that needs an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The container's ID.
    pub container: String,
    /// Whether it runs (or is paused).
    pub running: bool,
    /// Its image's ID.
    pub image: Digest,
    /// The chain IDs that its root file system is mounted from.
    pub layers: Vec<Digest>,
}

/// One line of what `docker rmi` prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    /// `Untagged: NAME`.
    Untagged(Reference),
    /// `Deleted: DIGEST`: the image's ID, or the chain ID of a layer that is gone with it.
    Deleted(Digest),
}

/// Removes a reference, or an image with all of its references, and frees at once what nothing else uses: layers and
/// blobs. `users` tells of all containers; it is called while nobody can make a new one.
///
/// # Errors
/// Docker's conflicts ([`crate::Error::InUse`]), no such image, or what `users` or the file system says.
pub fn remove<E>(
    store: &Store,
    request: &RemoveRequest<'_>,
    users: impl FnOnce() -> Result<Vec<User>, E>,
) -> Result<Vec<Removed>>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let _ = (store, request, users);
    todo!()
}
