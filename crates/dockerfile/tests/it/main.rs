//! Whole files: read, walked through, refused.

#![allow(clippy::unwrap_used, reason = "tests")]

mod corpus;
mod graph;
mod hostile;
mod instructions;
mod lint;
mod refused;
mod variables;
