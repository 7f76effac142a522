//! The client of registries: from a name to an image in the store, over the OCI distribution protocol, which is also
//! Docker's (registry API v2).
//!
//! A pull is a straight walk: [`pull`] asks for the manifest (`manifest`), chooses one from an index (`choose`), reads
//! the config, and streams every layer (`download`) into the store, which checks and unpacks it on the way. Underneath,
//! [`Client`] lets itself in (`auth`, `challenge`, [`credentials`]) and `transport` sends one request.
//!
//! Everything else that moves an image is a [`copy`](mod@copy) from one place to another: [`push()`] is one from the store to a
//! registry.
//!
//! # Invariants
//! 1. Nothing that a registry says is believed before its digest, its size and its media type match. What decides is the
//!    digest that was asked for; for a tag, the document names itself.
//! 2. Credentials are sent only after the registry has asked for them, only to the origin that asked, and to its token
//!    server only over https (or where the registry itself is plain http by the user's own word). No redirect takes them
//!    along to another scheme, host or port.
//! 3. https is never left for http: not by a redirect, not after a failure. Plain http is for loopback, and for what the
//!    settings name insecure.
//! 4. Everything that is read has a limit: documents by size, silence by time, redirects and retries by number.
//! 5. Nothing here reads the environment or prints: see [`Settings`].
//!
//! This crate owns nothing on disk. What it fetches is kept by `hull-store`, also what arrived of a blob before its pull
//! was killed.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::too_many_lines))]

pub mod artifact;
mod auth;
mod challenge;
mod choose;
mod client;
mod config;
pub mod copy;
pub mod credentials;
mod download;
mod error;
mod failure;
pub mod lists;
mod login;
mod manifest;
mod names;
mod pull;
mod push;
mod repository;
mod retry;
mod search;
pub mod serve;
pub mod settings;
mod shortname;
mod source;
mod tls;
mod transport;
mod url;
mod web;
mod workers;

pub use client::Client;
pub use credentials::Credentials;
pub use error::{Cause, Error};
pub use login::{login, server};
pub use names::lookup;
pub use pull::{PullOptions, Pulled, pull, pull_first};
pub use push::{PushOptions, push};
pub use search::{Found, SearchRequest, search};
pub use settings::Settings;
pub use web::open_url;
