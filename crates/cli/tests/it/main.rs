//! The whole binary, end to end. Each test has a host of its own (`testkit::Host`) and leaves nothing behind on it.

#![allow(clippy::unwrap_used)]

mod archive;
mod attack;
mod change;
mod command;
mod events;
mod fault;
mod figures;
mod files;
mod flood;
mod hostile;
mod inspect;
mod isolation;
mod lifecycle;
mod limit;
mod login;
mod logs;
mod membership;
mod network;
mod pause;
mod pod;
mod prune;
mod pull;
mod quadlet;
mod query;
mod race;
mod registry;
mod remote;
mod rootless;
mod single_file;
mod spaces;
mod stdio;
mod supervise;
mod terminal;
mod transcript;
mod volume;

use hull_testkit::{Host, Image, require_root};

/// The binary under test.
const HULL: &str = env!("CARGO_BIN_EXE_hull");

/// A host with busybox in its store, and busybox's reference. `None`, counted as a skip, where the machine lacks what it
/// takes.
fn machine() -> Option<(Host, String)> {
    if !require_root() {
        return None;
    }
    let host = Host::new(HULL);
    let image = host.provide("busybox", &Image::busybox())?;
    Some((host, image))
}

/// The words of a command line.
fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// `words` and then `script`, for a shell in the container.
fn shell<'a>(line: &'a str, script: &'a str) -> Vec<&'a str> {
    let mut all = words(line);
    all.extend(["sh", "-c", script]);
    all
}
