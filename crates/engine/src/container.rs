//! Verbs of containers, one file each, and how a container is found and looked at.

mod attach;
mod create;
mod describe;
mod exec;
mod find;
mod inspect;
mod kill;
mod list;
mod lock;
pub mod logs;
mod merge;
mod mounts;
pub mod name;
mod policy;
pub mod port;
mod recover;
mod remove;
mod size;
mod start;
pub mod status;
mod stop;
mod wait;

pub use attach::attach;
pub use create::{Created, create};
pub use exec::{ExecIo, ExecProcess, ExecRequest, exec};
pub use find::{exists, find, find_id, ids, is_id, is_name, load, save};
pub use inspect::{Inspect, inspect};
pub use kill::{kill, parse as parse_signal};
pub use list::{ListRequest, Summary, SummaryHostConfig, SummaryNetworks, list, status_text};
pub use logs::{LogsRequest, logs};
pub use recover::all as recover;
pub use remove::{RemoveRequest, remove};
pub use size::Sizes;
pub use start::{StartRequest, Started, start};
pub use stop::stop;
pub use wait::wait;

pub(crate) use size::tree as tree_size;
