//! The threads of one layer and how they end.

use std::io::{self, BufRead};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use hull_spec::Digest;

use super::extract::Extract;
use super::queue::{Inlet, Outlet, is_closed, queue};
use super::{LayerSpec, Workspace, decompress};
use crate::Store;
use crate::error::{At, Error, Result};
use crate::hash::Hasher;

/// Compressed buffers: 2 MiB in all.
const COMPRESSED: (usize, usize) = (128 << 10, 16);
/// Uncompressed buffers: 6 MiB in all.
const UNCOMPRESSED: (usize, usize) = (256 << 10, 24);

/// What the first stage sends into, and how it learns that nothing more is wanted.
pub(super) struct Feed<'a> {
    outlet: Option<Outlet>,
    spare: Vec<u8>,
    halt: &'a AtomicBool,
}

impl Feed<'_> {
    /// A later stage failed in a way that more data cannot explain.
    pub(super) fn stopped(&self) -> bool {
        self.halt.load(Ordering::Acquire)
    }

    pub(super) fn buffer(&mut self) -> Vec<u8> {
        match &self.outlet {
            Some(outlet) => outlet.buffer(),
            None => {
                let mut buffer = std::mem::take(&mut self.spare);
                buffer.resize(COMPRESSED.0, 0);
                buffer
            }
        }
    }

    /// Passes a buffer on, or takes it back when nobody wants it any more.
    pub(super) fn send(&mut self, buffer: Vec<u8>) {
        if let Some(outlet) = &self.outlet {
            if outlet.send(buffer).is_err() {
                self.outlet = None;
            }
        } else {
            self.spare = buffer;
        }
    }

    pub(super) fn end(self) {
        if let Some(outlet) = self.outlet {
            // The stage after this one has an error of its own to tell.
            let _ = outlet.end();
        }
    }
}

/// Unpacks a layer into its workspace from what `fetch` sends. Returns the bytes that its files have.
pub(super) fn run(
    store: &Store,
    spec: &LayerSpec,
    workspace: &Workspace,
    fetch: impl FnOnce(Feed<'_>) -> Result<()>,
) -> Result<u64> {
    let (bytes, actual) = unpack(store, spec, workspace, fetch)?;
    if actual != spec.diff_id {
        return Err(Error::DiffId {
            blob: spec.descriptor.digest.clone(),
            expected: spec.diff_id.clone(),
            actual,
        });
    }
    Ok(bytes)
}

/// The same of a layer whose diff ID nobody knows yet: it is returned, too.
pub(super) fn unpack(
    store: &Store,
    spec: &LayerSpec,
    workspace: &Workspace,
    fetch: impl FnOnce(Feed<'_>) -> Result<()>,
) -> Result<(u64, Digest)> {
    let halt = AtomicBool::new(false);
    let (outlet, [compressed]) = queue(COMPRESSED.0, COMPRESSED.1);
    let (plain, [to_hash, to_files]) = queue(UNCOMPRESSED.0, UNCOMPRESSED.1);
    let root = workspace.fs();
    let extract = Extract::new(store, spec, &root)?;
    thread::scope(|scope| {
        let spawn = |name: &str| thread::Builder::new().name(name.to_owned());
        // A failure that is not the data's ends the first stage too.
        let judged = |result: Result<Option<u64>>| {
            if let Err(error) = &result
                && !matches!(error, Error::Archive { .. } | Error::Compression { .. })
            {
                halt.store(true, Ordering::Release);
            }
            result
        };
        let inflate = spawn("inflate")
            .spawn_scoped(scope, move || judged(decompress::run(store, spec, compressed, plain)))
            .at("start a thread for", &root)?;
        let hash = spawn("diff-id")
            .spawn_scoped(scope, || hash(spec.diff_id.algorithm(), to_hash))
            .at("start a thread for", &root)?;
        let files = spawn("extract")
            .spawn_scoped(scope, move || judged(extract.run(to_files)))
            .at("start a thread for", &root)?;
        let feed = Feed {
            outlet: Some(outlet),
            spare: Vec::new(),
            halt: &halt,
        };
        let fetched = fetch(feed);
        let inflated = inflate.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let actual = hash.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let unpacked = files.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        fetched?;
        inflated?;
        let unpacked = unpacked?;
        match (unpacked, actual) {
            (Some(bytes), Some(actual)) => Ok((bytes, actual)),
            // Whoever closed a queue returned an error above.
            _ => unreachable!("a stage stopped without an error"),
        }
    })
}

/// The digest of the uncompressed layer; none if it broke off.
pub(super) fn hash(algorithm: hull_spec::Algorithm, mut input: Inlet) -> Option<hull_spec::Digest> {
    let mut hasher = Hasher::new(algorithm);
    loop {
        let bytes = input.fill_buf().ok()?;
        let count = bytes.len();
        if count == 0 {
            return Some(hasher.finish());
        }
        hasher.update(bytes);
        input.consume(count);
    }
}

/// Tells a failure of a stage from the end of its neighbour.
pub(super) fn own(error: io::Error, name: impl FnOnce(io::Error) -> Error) -> Result<Option<u64>> {
    if is_closed(&error) { Ok(None) } else { Err(name(error)) }
}
