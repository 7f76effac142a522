//! The nouns of hull: OCI and Docker types, references, digests, platforms and the kinds of error.
//!
//! Pure data and pure functions: this crate does no input or output, so every crate may use it. What a stranger wrote
//! (a reference, a manifest, an image config) is checked here, once, when it is parsed.

pub mod container;
mod digest;
mod document;
mod duration;
mod error;
pub mod event;
pub mod image;
pub mod manifest;
mod platform;
pub mod progress;
mod reference;
pub mod value;

pub use digest::{Algorithm, Digest, chain_id};
pub use document::{Document, INDEX_DEPTH_MAX, LAYERS_MAX};
pub use error::{Error, ErrorKind};
pub use platform::Platform;
pub use progress::Progress;
pub use reference::Reference;
