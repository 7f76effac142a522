//! The runtime as its callers see it: `hull-runtime` on real bundles.

#![allow(clippy::unwrap_used, clippy::too_many_lines)]

mod bench;
mod commands;
mod hooks;
mod isolation;
