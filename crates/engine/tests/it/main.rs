//! The engine's verbs that only look, on containers whose files are written by hand.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod fixture;
mod inspect;
mod list;
mod logs;
mod status;
