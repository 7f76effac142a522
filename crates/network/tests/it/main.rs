//! The network on real namespaces: every test makes its own host, its own outside, its own containers.

#![allow(clippy::unwrap_used, missing_docs)]

mod address;
mod bridge;
mod firewall;
mod lab;
mod ports;
