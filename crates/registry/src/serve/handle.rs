//! From a request to its answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, EXPECT, HeaderMap, HeaderName};
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode};

use super::Registry;
use super::answer::{Answer, Outcome, Refusal, empty, header, set, whole};
use super::auth::Who;
use super::content::Outbox;
use super::route::{Astray, Route};
use super::settings::Action;

mod blob;
mod list;
mod manifest;
mod range;
mod upload;

/// What is still read of a body whose request is refused, so that its client gets to see why.
const DRAIN_MAX: usize = 64 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// A request that was let in, but for its body.
struct Ask {
    registry: Arc<Registry>,
    outbox: Arc<Outbox>,
    parts: Parts,
    who: Who,
}

/// Answers a request.
pub(super) async fn handle(registry: Arc<Registry>, outbox: Arc<Outbox>, request: Request<Incoming>) -> Answer {
    let begun = Instant::now();
    registry.metrics.in_flight.fetch_add(1, Ordering::Relaxed);
    // Dropped also where the client goes away before there is an answer.
    let _leave = Leave(&registry);
    let (parts, mut body) = request.into_parts();
    let (method, uri) = (parts.method.clone(), parts.uri.clone());
    let expects = parts.headers.contains_key(EXPECT);
    let route = Route::parse(uri.path());
    let label = route.as_ref().map_or("none", Route::label);
    let mut who = "-".to_owned();
    let answered = match identify(&registry, &parts.headers).await {
        Ok(found) => {
            found.name().clone_into(&mut who);
            let ask = Ask {
                registry: Arc::clone(&registry),
                outbox,
                parts,
                who: found,
            };
            ask.dispatch(route, &mut body).await
        }
        Err(refusal) => Err(refusal),
    };
    let mut answer = match answered {
        Ok(answer) => answer,
        Err(refusal) => {
            // A client that waits for leave to send its body is told the outcome instead.
            if !expects && !body.is_end_stream() {
                drain(&mut body).await;
            }
            refusal.answer()
        }
    };
    set(&mut answer, header::VERSION, "registry/2.0");
    let status = answer.status().as_u16();
    registry.metrics.answered(label, status, begun.elapsed());
    if registry.settings.access_log {
        let path = printable(uri.path());
        (registry.log)(&format!(
            "{method} {path} {status} {} {:.1} ms {}",
            answer.body().len(),
            begun.elapsed().as_secs_f64() * 1e3,
            printable(&who)
        ));
    }
    answer
}

struct Leave<'a>(&'a Registry);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.metrics.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Finds out who asks, on a blocking thread if that takes a while.
async fn identify(registry: &Arc<Registry>, headers: &HeaderMap) -> Result<Who, Refusal> {
    if !registry.gatekeeper.is_slow(headers) {
        return registry.gatekeeper.identify(headers);
    }
    let (registry, headers) = (Arc::clone(registry), headers.clone());
    blocking(move || registry.gatekeeper.identify(&headers)).await
}

/// Does what waits for the disk where that stops nobody else.
async fn blocking<T: Send + 'static>(act: impl FnOnce() -> Result<T, Refusal> + Send + 'static) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(act).await.unwrap_or_else(|_| {
        Err(Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "UNKNOWN",
            "the registry failed",
        ))
    })
}

/// The next bytes of a body; `None` at its end.
async fn next(body: &mut Incoming, patience: Duration) -> Result<Option<Bytes>, Refusal> {
    let broken = |why: &str| Refusal::invalid("BLOB_UPLOAD_INVALID", why);
    loop {
        let frame = std::future::poll_fn(|cx| std::pin::Pin::new(&mut *body).poll_frame(cx));
        match tokio::time::timeout(patience, frame).await {
            Err(_) => {
                return Err(Refusal::new(
                    StatusCode::REQUEST_TIMEOUT,
                    "BLOB_UPLOAD_INVALID",
                    "the body stalled",
                ));
            }
            Ok(None) => return Ok(None),
            Ok(Some(Err(_))) => return Err(broken("the body broke off")),
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(bytes) if !bytes.is_empty() => return Ok(Some(bytes)),
                // Trailers say nothing here.
                _ => {}
            },
        }
    }
}

async fn drain(body: &mut Incoming) {
    let end = Instant::now() + DRAIN_TIME;
    let mut left = DRAIN_MAX;
    while let Ok(Some(bytes)) = next(body, end.saturating_duration_since(Instant::now())).await {
        left = left.saturating_sub(bytes.len());
        if left == 0 {
            return;
        }
    }
}

/// A text from a stranger, for a line of the log.
fn printable(text: &str) -> String {
    text.chars()
        .take(500)
        .map(|c| if c.is_control() || c == ' ' { '?' } else { c })
        .collect()
}

impl Ask {
    async fn dispatch(self, route: Result<Route, Astray>, body: &mut Incoming) -> Outcome {
        let route = route.map_err(|astray| match astray {
            Astray::Nowhere => Refusal::new(StatusCode::NOT_FOUND, "UNSUPPORTED", "no such path"),
            Astray::Name => Refusal::invalid("NAME_INVALID", "invalid repository name"),
            Astray::Digest => Refusal::invalid("DIGEST_INVALID", "invalid digest"),
            Astray::Tag => Refusal::invalid("TAG_INVALID", "invalid tag"),
        })?;
        let method = self.parts.method.clone();
        let reads = matches!(method, Method::GET | Method::HEAD);
        match (route, &method) {
            (Route::Base, _) if reads => {
                self.registry.gatekeeper.knock(&self.who)?;
                Ok(whole(StatusCode::OK, "application/json", Bytes::from_static(b"{}")))
            }
            (Route::Metrics, _) if reads => self.metrics(),
            (Route::Catalog, &Method::GET) => self.catalog().await,
            (Route::Tags(name), &Method::GET) => self.tags(name).await,
            (Route::Referrers(name, digest), &Method::GET) => self.referrers(name, digest).await,
            (Route::Manifest(name, which), _) if reads => self.get_manifest(name, which).await,
            (Route::Manifest(name, which), &Method::PUT) => self.put_manifest(name, which, body).await,
            (Route::Manifest(name, which), &Method::DELETE) => self.delete_manifest(name, which).await,
            (Route::Blob(name, digest), _) if reads => self.get_blob(name, digest).await,
            (Route::Blob(name, digest), &Method::DELETE) => self.delete_blob(name, digest).await,
            (Route::Uploads(name), &Method::POST) => self.begin_upload(name, body).await,
            (Route::Upload(name, id), &Method::PATCH) => self.add_to_upload(name, id, body).await,
            (Route::Upload(name, id), &Method::PUT) => self.end_upload(name, id, body).await,
            (Route::Upload(name, id), _) if reads => self.get_upload(name, id).await,
            (Route::Upload(name, id), &Method::DELETE) => self.cancel_upload(name, id).await,
            _ => Err(Refusal::unsupported("the operation is unsupported")),
        }
    }

    /// A value of the query.
    fn query(&self, key: &str) -> Option<String> {
        super::route::value(self.parts.uri.query(), key)
    }

    fn header(&self, name: HeaderName) -> Option<&str> {
        self.parts.headers.get(name)?.to_str().ok()
    }

    fn is_head(&self) -> bool {
        self.parts.method == Method::HEAD
    }

    /// Refuses what changes anything, where nothing may be changed. The client has shown its rights already.
    fn writable(&self) -> Result<(), Refusal> {
        if self.registry.settings.read_only {
            return Err(Refusal::unsupported("the registry is read-only"));
        }
        if self.registry.cache.is_some() {
            return Err(Refusal::unsupported("the registry is a cache of another: push there"));
        }
        Ok(())
    }

    fn deletable(&self) -> Result<(), Refusal> {
        if self.registry.settings.read_only || !self.registry.settings.delete {
            return Err(Refusal::unsupported("deleting is disabled"));
        }
        Ok(())
    }

    fn metrics(self) -> Outcome {
        let registry = &self.registry;
        registry.gatekeeper.admit(&self.who, None, &[Action::Metrics])?;
        let text = registry.metrics.text(&registry.storage, registry.cache.is_some());
        let mut answer = whole(StatusCode::OK, "text/plain; version=0.0.4", text.into());
        set(&mut answer, CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8");
        Ok(answer)
    }
}

/// `202` without a body.
fn accepted() -> Answer {
    empty(StatusCode::ACCEPTED)
}
