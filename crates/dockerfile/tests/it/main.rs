//! Whole files: read, walked through, refused.

#![allow(clippy::unwrap_used, reason = "tests")]

mod hostile;
mod instructions;
mod refused;
mod variables;
