//! A layer on its way in: one pipeline from the compressed bytes to files in place.

use std::io::Read;

use hull_spec::manifest::Descriptor;
use hull_spec::{Digest, Progress};

use crate::Lease;
use crate::error::Result;

/// Which layer, and where it belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerSpec {
    /// The compressed blob: media type, digest and size.
    pub descriptor: Descriptor,
    /// The digest of the uncompressed archive, from the image config.
    pub diff_id: Digest,
    /// The layer with all below it ([`crate::chain_id`]).
    pub chain_id: Digest,
}

/// Brings a layer into the store: fetches its blob, unless it is there, and unpacks it, unless it is there, both at
/// once. `source` is called at most once, with the number of the blob's bytes that an earlier attempt has left; it
/// returns a reader of the bytes from there to the end. Nothing becomes visible before the blob's digest, its size and
/// the diff ID match. A second call for the same layer, from any process, waits for the first.
///
/// # Errors
/// [`crate::Error::Source`] with what `source` or its reader says; bytes that are not the promised ones; an archive that
/// cannot be unpacked safely; limits, the disk, the index.
pub fn layer<E>(
    lease: &Lease<'_>,
    spec: &LayerSpec,
    source: impl FnOnce(u64) -> Result<Box<dyn Read + Send>, E>,
    progress: &Progress,
) -> Result<()>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let _ = (lease, spec, source, progress);
    todo!()
}
