//! What the server counts, in Prometheus' text format. No name of a repository or a user is in it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::storage::Storage;

/// The counters.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    requests: Mutex<BTreeMap<(&'static str, u16), Series>>,
    pub(super) connections: AtomicI64,
    pub(super) in_flight: AtomicI64,
    /// Bytes that connections have sent.
    pub(super) sent: Arc<AtomicU64>,
    /// Bytes of uploads.
    pub(super) received: AtomicU64,
    collections: AtomicU64,
    freed: AtomicU64,
    pub(super) hits: AtomicU64,
    pub(super) misses: AtomicU64,
}

#[derive(Debug, Default, Clone, Copy)]
struct Series {
    count: u64,
    time: Duration,
}

impl Metrics {
    /// Notes an answered request.
    pub(super) fn answered(&self, route: &'static str, status: u16, time: Duration) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let series = requests.entry((route, status)).or_default();
        series.count += 1;
        series.time += time;
    }

    /// Notes a collection.
    pub(super) fn collected(&self, bytes: u64) {
        self.collections.fetch_add(1, Ordering::Relaxed);
        self.freed.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The text that Prometheus reads.
    pub(super) fn text(&self, storage: &Storage, cache: bool) -> String {
        let mut out = String::new();
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone();
        head(&mut out, "requests_total", "counter", "Requests that were answered.");
        for ((route, status), series) in &requests {
            let _ = writeln!(
                out,
                "hull_registry_requests_total{{route=\"{route}\",code=\"{status}\"}} {}",
                series.count
            );
        }
        let help = "Time until the head of the answer was ready.";
        head(&mut out, "request_seconds_total", "counter", help);
        for ((route, status), series) in &requests {
            let _ = writeln!(
                out,
                "hull_registry_request_seconds_total{{route=\"{route}\",code=\"{status}\"}} {:.6}",
                series.time.as_secs_f64()
            );
        }
        let (stored, pending) = storage.ledger.totals();
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let signed = |gauge: &AtomicI64| u64::try_from(gauge.load(Ordering::Relaxed)).unwrap_or(0);
        let mut one = |name: &str, kind: &str, help: &str, value: u64| {
            head(&mut out, name, kind, help);
            let _ = writeln!(out, "hull_registry_{name} {value}");
        };
        one("connections", "gauge", "Open connections.", signed(&self.connections));
        one(
            "requests_in_flight",
            "gauge",
            "Requests under way.",
            signed(&self.in_flight),
        );
        one("sent_bytes_total", "counter", "Bytes sent.", load(&self.sent));
        one(
            "received_bytes_total",
            "counter",
            "Bytes of blobs received.",
            load(&self.received),
        );
        one(
            "uploads",
            "gauge",
            "Uploads that are not finished.",
            storage.uploads() as u64,
        );
        let help = "Bytes of all repositories; what several have counts in each.";
        one("stored_bytes", "gauge", help, stored);
        one(
            "upload_bytes",
            "gauge",
            "Bytes of uploads that are not finished.",
            pending,
        );
        one(
            "collections_total",
            "counter",
            "Collections that ran.",
            load(&self.collections),
        );
        one(
            "collected_bytes_total",
            "counter",
            "Bytes freed by collections.",
            load(&self.freed),
        );
        if cache {
            let help = "Manifests and blobs that were there.";
            one("cache_hits_total", "counter", help, load(&self.hits));
            let help = "Manifests and blobs that were fetched upstream.";
            one("cache_misses_total", "counter", help, load(&self.misses));
        }
        out
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(
        out,
        "# HELP hull_registry_{name} {help}\n# TYPE hull_registry_{name} {kind}"
    );
}
