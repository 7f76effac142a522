//! The store from outside: layers in, images found, images gone.

#![allow(clippy::unwrap_used, missing_docs)]

mod archive;
mod create;
mod faults;
mod hostile;
mod images;
mod layers;
mod sharing;
mod transport;
