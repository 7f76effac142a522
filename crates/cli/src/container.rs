//! From the flags of `run` and `create` to the request that the engine takes.
//!
//! [`flags`] is the table, [`request`] reads it as Docker's client does (its messages, its order of checks), and each
//! other file reads one kind of value. Reading is pure but for what flags name on this host: files of variables and
//! labels, a seccomp profile, the working folder that relative paths start from, and the variables of `-e NAME`.

mod block;
mod device;
mod environment;
pub(crate) mod flags;
mod gpu;
mod limit;
mod mount;
mod network;
mod port;
mod request;
pub(crate) mod restart;
mod security;
mod volume;

pub(crate) use environment::{check as check_variable, read_environment, read_labels};
pub(crate) use request::{Refusal, Surroundings, refuse_content_trust, request};
