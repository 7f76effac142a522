//! The store: blobs as pulled, layers unpacked, and the index that names images.
//!
//! # On disk
//! ```text
//! ROOT/
//!   hull.db                    SQLite, WAL: images, references, layers ([`index`])
//!   gc.lock                    flock: shared by who is about to use a layer, exclusive by who deletes
//!   blobs/oci-layout           blobs/ is an OCI image layout
//!   blobs/sha256/HEX           configs, manifests and compressed layers, as pulled
//!   blobs/partial/ALGO-HEX     the first bytes of a blob; flock'ed by the one who writes it
//!   layers/CHAINHEX/fs         an unpacked layer, in overlayfs' own form
//!   resolved/HEX               what a name meant when it was last looked up, and of which state of the index
//!   layers/empty/fs            what an image without layers is mounted from
//!   ingest/CHAINHEX/           a layer while it is unpacked; flock'ed by the one who unpacks it
//!   leases/NAME                the digests that one running pull relies on; flock'ed by it
//!   trash/                     trees on their way out
//! ```
//!
//! # Invariants
//! 1. What has its final name is whole: blobs and layers are renamed into place after all of their digests match.
//! 2. A layer on disk is used only if its row is in the index and was synced, or was written since this boot.
//! 3. Nothing is deleted but under the exclusive `gc.lock`, and never what an image, a lease or a container names.
//!    Containers are asked for by callback: their records belong to the engine.
//! 4. Every process may be killed at any instant: locks are `flock`s, leftovers are recognised by their free locks and
//!    swept by the next writer.
//! 5. Archives are data from strangers: nothing that they hold creates, changes or reads a file outside the layer's own
//!    directory, and memory does not grow with what they hold.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::too_many_lines))]

pub mod archive;
pub mod blob;
pub mod change;
mod error;
pub mod gc;
mod hash;
pub mod image;
mod index;
pub mod ingest;
mod lease;
mod lock;
pub mod place;
pub mod recompress;
pub mod snapshot;
mod store;
pub mod tar;
pub mod tree;
pub mod unpack;
pub mod walk;

pub use error::{Error, Result};
pub use hash::{Hasher, chain_id, digest};
pub use lease::Lease;
pub use lock::Hold;
pub use store::{Access, Limits, Ownership, Store};
