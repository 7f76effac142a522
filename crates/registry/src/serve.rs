//! A registry of our own: the OCI distribution protocol, 1.1, which is also Docker's registry API v2.
//!
//! A request is a straight walk: [`wire`] reads it, `handle` finds out who asks (`auth`) and what for (`route`), and calls
//! one function a verb, which works on `storage` on a blocking thread. What is in `storage` is described there, with its
//! rules about crashes and collection.
//!
//! # Invariants
//! 1. Memory does not depend on what is pushed or pulled: an upload holds a few buffers, and a blob is sent by the kernel
//!    from its file, or by TLS in pieces.
//! 2. Success is told after the disk has it.
//! 3. Who may not read a repository learns nothing of it: rights are checked before anything is looked up, a mount from
//!    there is a plain upload, and an upload of bytes that are there already takes the same steps as any other.
//! 4. Every wait for a client has a limit, and so has everything that it can send.
//!
//! It is the only part of this crate that starts an async runtime: connections wait on it, files do not.

use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore};

use crate::Error;

mod answer;
mod auth;
mod cache;
mod content;
mod document;
mod handle;
mod metrics;
mod route;
pub mod settings;
mod storage;
mod tls;
mod wire;

use answer::Refusal;
use auth::Gatekeeper;
use cache::Cache;
use content::Outbox;
use metrics::Metrics;
pub use settings::Settings;
use storage::{Fault, Policy, Storage};
use wire::Wire;

/// What hyper may buffer of one connection, each way.
const BUFFER: usize = 64 << 10;
/// Headers of a request.
const HEADERS_MAX: usize = 64;
/// The stack of a thread that works for a request.
const STACK: usize = 512 << 10;
/// How long requests under way may go on when the server is stopped.
const FAREWELL: Duration = Duration::from_secs(5);

/// Takes lines for the operator's log.
pub type Log = Arc<dyn Fn(&str) + Send + Sync>;

/// A registry that is open, and whose storage nobody else has.
pub struct Server {
    registry: Arc<Registry>,
    stop: Stop,
}

/// Ends a server from another thread.
#[derive(Clone, Default)]
pub struct Stop(Arc<Stopping>);

#[derive(Default)]
struct Stopping {
    notify: Notify,
    stopped: AtomicBool,
    lock: Mutex<()>,
    wake: Condvar,
}

/// What all requests share.
struct Registry {
    settings: Settings,
    storage: Storage,
    gatekeeper: Gatekeeper,
    metrics: Metrics,
    cache: Option<Cache>,
    log: Log,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("settings", &self.registry.settings)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stop")
    }
}

impl Stop {
    /// Ends the server: no connection is accepted any more, and requests under way get a few seconds.
    pub fn stop(&self) {
        self.0.stopped.store(true, Ordering::Release);
        self.0.notify.notify_one();
        let _lock = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.wake.notify_all();
    }

    /// Waits, but not on when the server ends. `false` if it has.
    fn wait(&self, time: Duration) -> bool {
        let lock = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .0
            .wake
            .wait_timeout_while(lock, time, |()| !self.0.stopped.load(Ordering::Acquire));
        drop(waited);
        !self.0.stopped.load(Ordering::Acquire)
    }
}

impl Server {
    /// Opens the storage and everything else that the settings name. `client` is for the upstream registry of a cache.
    ///
    /// # Errors
    /// If the settings contradict each other, a file that they name cannot be used, or another server has the storage.
    pub fn open(settings: Settings, client: crate::Settings, log: Log) -> Result<Self, Error> {
        settings.check().map_err(|reason| Error::Malformed {
            what: "the server's configuration".to_owned(),
            reason,
        })?;
        let gatekeeper = Gatekeeper::new(&settings)?;
        if let Some((certificate, key)) = &settings.tls {
            tls::load(certificate, key)?;
        }
        let cache = settings
            .mirror
            .as_ref()
            .map(|mirror| Cache::new(mirror, client))
            .transpose()?;
        let storage = Storage::open(&settings.storage, settings.quota.clone())?;
        Ok(Self {
            registry: Arc::new(Registry {
                settings,
                storage,
                gatekeeper,
                metrics: Metrics::default(),
                cache,
                log,
            }),
            stop: Stop::default(),
        })
    }

    /// What ends this server.
    #[must_use]
    pub fn stopper(&self) -> Stop {
        self.stop.clone()
    }

    /// Serves on `listener` until it is stopped.
    ///
    /// # Errors
    /// If threads cannot be started or the listener cannot be used.
    pub fn run(self, listener: TcpListener) -> Result<(), Error> {
        let fail = |act| move |source| Error::Network { act, source };
        let settings = &self.registry.settings;
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            // Some wait for the disk while they send a file that is not in memory.
            .worker_threads((cores * 2).clamp(4, 64))
            // Every upload has one.
            .max_blocking_threads(settings.limits.connections + 64)
            .thread_stack_size(STACK)
            .enable_all()
            .build()
            .map_err(fail("start the server's threads"))?;
        listener.set_nonblocking(true).map_err(fail("listen"))?;
        let collector = self.start_collector().map_err(fail("start the collector"))?;
        let registry = Arc::clone(&self.registry);
        let stop = self.stop.clone();
        let served = runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).map_err(fail("listen"))?;
            let accepting = tokio::spawn(accept(registry, listener));
            while !stop.0.stopped.load(Ordering::Acquire) {
                stop.0.notify.notified().await;
            }
            accepting.abort();
            Ok(())
        });
        runtime.shutdown_timeout(FAREWELL);
        self.stop.stop();
        if let Some(collector) = collector {
            // A collector that panicked has told so itself.
            let _ = collector.join();
        }
        served
    }

    fn start_collector(&self) -> std::io::Result<Option<std::thread::JoinHandle<()>>> {
        let Some(interval) = self.registry.settings.gc.interval else {
            return Ok(None);
        };
        if self.registry.settings.read_only {
            return Ok(None);
        }
        let (registry, stop) = (Arc::clone(&self.registry), self.stop.clone());
        let thread = std::thread::Builder::new().name("collector".to_owned()).spawn(move || {
            while stop.wait(interval) {
                registry.collect();
            }
        });
        thread.map(Some)
    }
}

impl Registry {
    /// A failure of the storage, which is logged; the client learns no paths.
    fn fault(&self, fault: Fault) -> Refusal {
        if matches!(fault, Fault::Io(_) | Fault::Full) {
            (self.log)(&format!("storage: {fault}"));
        }
        fault.into()
    }

    /// Collects garbage, and tells what was freed.
    fn collect(&self) {
        let gc = &self.settings.gc;
        let policy = Policy {
            grace: gc.grace,
            uploads: gc.uploads,
            untagged: gc.untagged,
        };
        match self.storage.collect(&policy) {
            Ok(done) => {
                self.metrics.collected(done.bytes);
                (self.log)(&format!(
                    "collected {} uploads, {} manifests, {} links, {} blobs: {} bytes freed",
                    done.uploads, done.manifests, done.links, done.blobs, done.bytes
                ));
            }
            Err(fault) => (self.log)(&format!("cannot collect garbage: {fault}")),
        }
    }
}

/// Accepts connections for ever.
async fn accept(registry: Arc<Registry>, listener: tokio::net::TcpListener) {
    let places = Arc::new(Semaphore::new(registry.settings.limits.connections));
    let mut acceptor = registry
        .settings
        .tls
        .as_ref()
        .map(|(certificate, key)| tls::Acceptor::new(certificate.clone(), key.clone()));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Mostly there are no descriptors left: some will be closed.
                (registry.log)(&format!("cannot accept a connection: {error}"));
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let secure = match acceptor.as_mut().map(tls::Acceptor::current).transpose() {
            Ok(secure) => secure,
            Err(error) => {
                (registry.log)(&format!("cannot use the new certificate: {error}"));
                continue;
            }
        };
        let registry = Arc::clone(&registry);
        tokio::spawn(async move {
            registry.metrics.connections.fetch_add(1, Ordering::Relaxed);
            converse(&registry, stream, secure).await;
            registry.metrics.connections.fetch_sub(1, Ordering::Relaxed);
            drop(place);
        });
    }
}

/// Serves one connection to its end.
async fn converse(registry: &Arc<Registry>, stream: TcpStream, secure: Option<tokio_rustls::TlsAcceptor>) {
    let limits = registry.settings.limits;
    // Without it, only short answers are a little slower.
    let _ = stream.set_nodelay(true);
    let outbox = Arc::new(Outbox::default());
    let sent = Arc::clone(&registry.metrics.sent);
    let wire = match secure {
        None => Wire::plain(stream, Arc::clone(&outbox), limits.stall, sent),
        Some(acceptor) => match tokio::time::timeout(limits.head, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => Wire::tls(stream, Arc::clone(&outbox), limits.stall, sent),
            // No TLS, or too slow: there is nobody to tell.
            _ => return,
        },
    };
    let service = service_fn(|request| {
        let (registry, outbox) = (Arc::clone(registry), Arc::clone(&outbox));
        async move { Ok::<_, Infallible>(handle::handle(registry, outbox, request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(BUFFER)
        .max_headers(HEADERS_MAX)
        .writev(true)
        .serve_connection(TokioIo::new(wire), service)
        .await;
    // A client that breaks off or talks nonsense is none of the operator's business.
    drop(served);
}
