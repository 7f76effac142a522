//! What the tests of hull's crates share: root checks, images made from the host's packages, registries to pull from,
//! and *hosts*: a network namespace and a state folder that are a machine of their own to the binary under test.
//!
//! Development only; nothing that ships depends on it. A helper that cannot do its work panics with what it lacks: a
//! test has no use for the error.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::too_many_lines))]

mod crowd;
pub mod distribution;
pub mod elf;
pub mod host;
pub mod http;
pub mod image;
pub mod layer;
pub mod leak;
pub mod registry;
mod root;
pub mod transcript;
pub mod wait;

pub use distribution::Distribution;
pub use host::{Host, Run};
pub use image::Image;
pub use layer::{Compression, Layer};
pub use root::{require_program, require_root};
pub use wait::until;
