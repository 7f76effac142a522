//! Verbs of containers, one file each, and how a container is found and looked at.

mod find;
pub mod name;
pub mod status;

pub use find::{exists, find, find_id, ids, is_id, is_name, load, save};
