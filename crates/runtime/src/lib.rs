//! hull-runtime.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::too_many_lines))]

pub mod capability;
pub mod seccomp;
