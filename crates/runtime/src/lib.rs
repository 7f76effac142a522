//! From a description to an isolated process: the OCI runtime.
//!
//! [`container::Container`] says what is wanted, fully resolved. [`mount::plan`] and [`cgroup::plan`] turn it into plain
//! data; [`create::create`] makes the namespaces with one `clone3`, and [`init`] runs in the new process: mounts, root,
//! identity, privileges, program. [`exec::exec`] starts a further process in a running container.
//!
//! Invariants
//! - No path of a container's file tree is resolved from the host's root: everything is opened beneath the tree's own
//!   descriptor.
//! - Nothing of the host is in reach once the root is entered: the old root is detached, every descriptor but the
//!   three standard ones and the error socket closes at the exec.
//! - The program is started by a sealed launcher, so that a container never sees our executable (CVE-2019-5736).
//! - Before the program runs, init dies with its creator.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::too_many_lines))]

pub mod container;

pub mod capability;
pub mod cgroup;
pub mod mount;
pub mod seccomp;

pub mod create;
mod error;
pub mod exec;
mod finish;
pub mod identity;
mod init;
pub mod reaper;

pub mod bundle;
pub mod command;

pub use container::Container;
pub use error::{Error, Result, describe};
pub use finish::Stdio;
