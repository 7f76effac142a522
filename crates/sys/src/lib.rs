//! Every `unsafe` block of hull, behind safe functions, and no policy.
//!
//! What rustix offers safely is used from there by the other crates; this one holds what it does not: making processes
//! (fork, clone3), replacing them (the sealed exec), mount attributes, seccomp and BPF programs, signal masks.
//! Each function is one system call or a short fixed sequence, and returns the kernel's error unchanged.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod bpf;
pub mod clone;
pub mod exec;
pub mod memory;
pub mod mount;
pub mod pause;
pub mod pidfd;
pub mod prctl;
pub mod seccomp;
pub mod signal;

pub use rustix::io::{Errno, Result};
