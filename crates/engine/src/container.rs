//! Verbs of containers, one file each, and how a container is found and looked at.

mod find;
mod inspect;
mod list;
pub mod logs;
pub mod name;
pub mod port;
mod size;
pub mod status;

pub use find::{exists, find, find_id, ids, is_id, is_name, load, save};
pub use inspect::{Inspect, inspect};
pub use list::{ListRequest, Summary, SummaryHostConfig, SummaryNetworks, list, status_text};
pub use logs::{LogsRequest, logs};
pub use size::Sizes;

pub(crate) use size::tree as tree_size;
