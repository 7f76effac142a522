//! All layers of a pull at once, a bounded number at a time.

use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hull_spec::progress::Event;
use hull_store::ingest::{self, LayerSpec};

use super::Pull;
use crate::Error;
use crate::download::{Download, Failure};

impl Pull<'_> {
    /// Brings every layer into the store. The first failure ends all of them and is the one that is told; what has
    /// arrived by then stays for the next pull.
    pub(super) fn fetch_layers(&self, layers: &[LayerSpec]) -> Result<(), Error> {
        let digests = layers
            .iter()
            .flat_map(|layer| [&layer.descriptor.digest, &layer.chain_id]);
        self.lease.protect(digests)?;
        for layer in layers {
            self.shared
                .progress
                .send(|| Event::Pending(layer.descriptor.digest.clone()));
        }
        // The largest first: the pull takes as long as its last layer.
        let mut order: Vec<&LayerSpec> = layers.iter().collect();
        order.sort_by_key(|layer| std::cmp::Reverse(layer.descriptor.size));
        let next = AtomicUsize::new(0);
        let failed: Mutex<Option<Error>> = Mutex::new(None);
        let work = || {
            while let Some(layer) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                if self.shared.cancel.check().is_err() {
                    return;
                }
                if let Err(err) = self.fetch_layer(layer) {
                    // The first one ends the others, also those that wait for bytes.
                    if self.shared.cancel.cancel() {
                        self.shared.client.interrupt();
                    }
                    let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                    // Those that were cancelled by the first one have nothing to say.
                    if !matches!(err, Error::Cancelled) {
                        failed.get_or_insert(err);
                    }
                    return;
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..self.shared.client.settings().downloads.clamp(1, order.len().max(1)) {
                scope.spawn(work);
            }
            work();
        });
        match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(err) => Err(err),
            None => self.shared.cancel.check(),
        }
    }

    /// One layer. Bytes that turn out wrong are asked for again: from the next source, or, where the wrong ones may be
    /// an earlier pull's, once more from the same.
    fn fetch_layer(&self, layer: &LayerSpec) -> Result<(), Error> {
        let mut sources = self.sources.as_slice();
        let mut resumed_again = false;
        loop {
            let failure = Failure::default();
            let mut resumed = false;
            let source = |offset: u64| -> Result<Box<dyn Read + Send>, std::convert::Infallible> {
                resumed = offset > 0;
                let shared = Arc::clone(&self.shared);
                let sources = sources.iter().cloned();
                Ok(Box::new(Download::new(
                    shared,
                    sources,
                    &layer.descriptor,
                    offset,
                    failure.clone(),
                )))
            };
            let err = match ingest::layer(self.lease, layer, source, &self.shared.progress) {
                Ok(()) => return Ok(()),
                Err(err) => err,
            };
            if let Some(err) = failure.take() {
                return Err(err);
            }
            let wrong = matches!(
                err,
                hull_store::Error::BlobDigest { .. } | hull_store::Error::BlobSize { .. }
            );
            match sources {
                _ if !wrong => return Err(err.into()),
                _ if resumed && !resumed_again => resumed_again = true,
                [_, rest @ ..] if !rest.is_empty() => sources = rest,
                _ => return Err(err.into()),
            }
        }
    }
}
