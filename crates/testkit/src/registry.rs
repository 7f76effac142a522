//! A registry inside the test: it serves what it is given, takes what is pushed to it, records what it is asked, and fails
//! as it is told.
//!
//! Plain HTTP/1.1 on a free port of 127.0.0.1, one thread a connection. It keeps connections open, answers ranges, and
//! can ask for basic or token authentication; it is its own token server, at `/token`.
//!
//! ```
//! use hull_testkit::{Image, registry::Registry};
//! let registry = Registry::start();
//! registry.image("library/hello", "1", &Image::new());
//! registry.once("/manifests/", |reply| reply.status = 503);
//! // .. pull `registry.name("library/hello:1")`: the first answer is a 503.
//! ```

use std::collections::{HashMap, HashSet};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::Image;
use crate::layer::{Blob, sha256};

mod login;
mod upload;
mod wire;

pub use login::Login;

/// The OCI index type, which [`Registry::index`] serves.
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A running registry; it ends with this value.
#[derive(Debug)]
pub struct Registry {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// A repository, and a tag or digest in it.
type Name = (String, String);
/// A media type, and the bytes.
type Manifest = (String, Vec<u8>);

#[derive(Default)]
struct Shared {
    blobs: Mutex<HashMap<String, Blob>>,
    /// Blobs that were pushed, which only their repositories show: what a test has put in is everywhere.
    owned: Mutex<HashSet<Name>>,
    given: Mutex<HashSet<String>>,
    uploads: Mutex<HashMap<String, Vec<u8>>>,
    cuts: Mutex<Vec<Cut>>,
    /// How often, to which method and path, and what.
    refusals: Mutex<Vec<(usize, String, String, Reply)>>,
    lists_referrers: AtomicBool,
    manifests: Mutex<HashMap<Name, Manifest>>,
    rules: Mutex<Vec<Rule>>,
    seen: Mutex<Vec<Seen>>,
    login: Mutex<Login>,
    tokens: AtomicU64,
    connections: AtomicU64,
    /// Bodies that are being sent now, and the most that ever were at once.
    sending: Mutex<(usize, usize)>,
    stop: AtomicBool,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("seen", &lock(&self.seen))
            .finish_non_exhaustive()
    }
}

/// A request that has arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    /// `GET`, `HEAD`, ..
    pub method: String,
    /// Path and query, as sent.
    pub path: String,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body as text, such as a form.
    pub body: String,
    /// The body.
    pub bytes: Vec<u8>,
    /// Bytes of the answer's body that were sent so far.
    sent: Arc<AtomicU64>,
}

/// An answer, for a fault to spoil.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The headers; a `Content-Length` here is sent instead of the true one.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// Close the connection after so many bytes of the body.
    pub cut: Option<u64>,
    /// Fall silent after so many bytes of the body, for so long; then close the connection.
    pub stall: Option<(u64, Duration)>,
    /// Send the body in chunks, without a length.
    pub chunked: bool,
    /// Pause before each piece of 1 KiB of the body.
    pub slow: Option<Duration>,
}

type Fault = Arc<dyn Fn(&Seen, &mut Reply) + Send + Sync>;

struct Rule {
    /// What the path must contain.
    path: String,
    left: usize,
    fault: Fault,
}

/// Requests that break off.
struct Cut {
    /// What the path must contain.
    path: String,
    left: usize,
    /// Bytes of the body that arrive.
    after: u64,
}

impl Registry {
    /// Starts an empty registry that lets everybody in.
    ///
    /// # Panics
    /// If loopback has no free port.
    #[must_use]
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen on loopback");
        Self::serve(listener)
    }

    /// Starts one on a listener of the caller's, which may be in another network namespace.
    ///
    /// # Panics
    /// If the listener has no address.
    #[must_use]
    pub fn serve(listener: TcpListener) -> Self {
        let address = listener.local_addr().expect("a bound listener has an address");
        let shared = Arc::new(Shared::default());
        let registry = Self {
            address,
            shared: Arc::clone(&shared),
        };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if shared.stop.load(Ordering::Relaxed) {
                    return;
                }
                shared.connections.fetch_add(1, Ordering::Relaxed);
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || wire::converse(&stream, &shared));
            }
        });
        registry
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The full name of `image` (`repository:tag`) here.
    #[must_use]
    pub fn name(&self, image: &str) -> String {
        format!("{}/{image}", self.address)
    }

    /// A URL of a path here.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Holds a blob and returns its digest.
    pub fn blob(&self, blob: &Blob) -> String {
        lock(&self.shared.blobs).insert(blob.digest.clone(), blob.clone());
        lock(&self.shared.given).insert(blob.digest.clone());
        blob.digest.clone()
    }

    /// Holds a manifest under a tag and under its digest, which is returned.
    pub fn manifest(&self, repository: &str, tag: &str, media_type: &str, bytes: &[u8]) -> String {
        let digest = sha256(bytes);
        let mut manifests = lock(&self.shared.manifests);
        for name in [tag, digest.as_str()] {
            let key = (repository.to_owned(), name.to_owned());
            manifests.insert(key, (media_type.to_owned(), bytes.to_vec()));
        }
        digest
    }

    /// Holds an image with all its parts and returns its manifest's digest.
    pub fn image(&self, repository: &str, tag: &str, image: &Image) -> String {
        self.parts(image);
        self.manifest(repository, tag, image.media_type(), &image.manifest().bytes())
    }

    /// Holds several images under one index and returns its digest.
    pub fn index(&self, repository: &str, tag: &str, images: &[Image]) -> String {
        for image in images {
            self.parts(image);
            let manifest = image.manifest();
            self.manifest(repository, &manifest.digest, image.media_type(), &manifest.bytes());
        }
        self.manifest(repository, tag, INDEX, &Image::index(images).bytes())
    }

    fn parts(&self, image: &Image) {
        self.blob(&image.config());
        for layer in image.layers() {
            self.blob(&layer.blob);
        }
    }

    /// Asks everybody for credentials from now on.
    pub fn require(&self, login: Login) {
        *lock(&self.shared.login) = login;
    }

    /// Spoils the next `times` answers to requests whose path contains `path`. Of several rules the first that still
    /// applies is used.
    pub fn spoil(&self, times: usize, path: &str, fault: impl Fn(&Seen, &mut Reply) + Send + Sync + 'static) {
        lock(&self.shared.rules).push(Rule {
            path: path.to_owned(),
            left: times,
            fault: Arc::new(fault),
        });
    }

    /// Answers the next `times` requests of that method whose path contains `path` with `reply`, and does not do what they
    /// ask for.
    pub fn refuse(&self, times: usize, method: &str, path: &str, reply: Reply) {
        lock(&self.shared.refusals).push((times, method.to_owned(), path.to_owned(), reply));
    }

    /// Spoils the next answer.
    pub fn once(&self, path: &str, fault: impl Fn(&mut Reply) + Send + Sync + 'static) {
        self.spoil(1, path, move |_, reply| fault(reply));
    }

    /// Spoils every answer.
    pub fn always(&self, path: &str, fault: impl Fn(&mut Reply) + Send + Sync + 'static) {
        self.spoil(usize::MAX, path, move |_, reply| fault(reply));
    }

    /// Closes the connection of the next `times` requests with a body whose path contains `path`, after so many bytes of
    /// the body. What has arrived of an upload is kept, as real registries do.
    pub fn cut_uploads(&self, times: usize, path: &str, after: u64) {
        lock(&self.shared.cuts).push(Cut {
            path: path.to_owned(),
            left: times,
            after,
        });
    }

    /// Lists referrers from now on, as registries of version 1.1 of the specification do.
    pub fn list_referrers(&self) {
        self.shared.lists_referrers.store(true, Ordering::Relaxed);
    }

    /// Forgets all uploads that are under way, as a registry does that was started anew.
    pub fn lose_uploads(&self) {
        lock(&self.shared.uploads).clear();
    }

    /// Uploads that were begun and not ended.
    #[must_use]
    pub fn open_uploads(&self) -> usize {
        lock(&self.shared.uploads).len()
    }

    /// The bytes of a manifest, by tag or digest.
    #[must_use]
    pub fn held(&self, repository: &str, name: &str) -> Option<Vec<u8>> {
        let manifests = lock(&self.shared.manifests);
        let found = manifests.get(&(repository.to_owned(), name.to_owned()));
        found.map(|(_, bytes)| bytes.clone())
    }

    /// Whether a repository shows a blob.
    #[must_use]
    pub fn holds(&self, repository: &str, digest: &str) -> bool {
        self.shared.holds(repository, digest)
    }

    /// Behaves again.
    pub fn heal(&self) {
        lock(&self.shared.rules).clear();
        lock(&self.shared.cuts).clear();
        lock(&self.shared.refusals).clear();
    }

    /// All requests so far whose path contains `path`, in order of arrival.
    #[must_use]
    pub fn seen(&self, path: &str) -> Vec<Seen> {
        let seen = lock(&self.shared.seen);
        seen.iter().filter(|seen| seen.path.contains(path)).cloned().collect()
    }

    /// Bytes of bodies that were sent in answer to those requests.
    #[must_use]
    pub fn sent(&self, path: &str) -> u64 {
        self.seen(path).iter().map(Seen::sent).sum()
    }

    /// Connections that were made so far.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// The most answers with a body of more than 2 KiB that were ever on their way at once.
    #[must_use]
    pub fn most_at_once(&self) -> usize {
        lock(&self.shared.sending).1
    }

    /// Forgets what was seen.
    pub fn forget(&self) {
        lock(&self.shared.seen).clear();
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for connections.
        let _ = TcpStream::connect(self.address);
    }
}

impl Seen {
    /// The first header of that name (lower case).
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Bytes of the answer's body that were sent so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Reply {
    fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
            cut: None,
            stall: None,
            chunked: false,
            slow: None,
        }
    }

    /// A refusal as registries word it.
    #[must_use]
    pub fn error(status: u16, code: &str, message: &str) -> Self {
        let body = serde_json::json!({ "errors": [{ "code": code, "message": message, "detail": null }] });
        let mut reply = Self::new(status, body.to_string());
        reply.set("Content-Type", "application/json");
        reply
    }

    /// Sets a header, instead of any of the same name.
    pub fn set(&mut self, name: &str, value: &str) {
        self.unset(name);
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    /// Removes a header.
    pub fn unset(&mut self, name: &str) {
        self.headers.retain(|(key, _)| !key.eq_ignore_ascii_case(name));
    }

    /// Makes it a redirect.
    pub fn redirect(&mut self, location: &str) {
        *self = Self::new(307, "");
        self.set("Location", location);
    }
}

impl Shared {
    /// The answer to a request, spoilt if a rule says so.
    fn reply(&self, request: &Seen, address: SocketAddr) -> Reply {
        // A fault before the work, not after it, is what a status is set for: see `refuse`.
        let mut reply = match login::check(self, request, address) {
            Some(refusal) => refusal,
            None => match self.refusal(&request.path, &request.method) {
                Some(refusal) => return refusal,
                None => self.find(request),
            },
        };
        // Not called under the lock: a fault may wait for what another request does.
        if let Some(fault) = self.fault(&request.path) {
            fault(request, &mut reply);
        }
        reply
    }

    fn refusal(&self, path: &str, method: &str) -> Option<Reply> {
        let mut refusals = lock(&self.refusals);
        let found = refusals
            .iter_mut()
            .find(|(left, of, part, _)| *left > 0 && *of == method && path.contains(part.as_str()))?;
        if found.0 != usize::MAX {
            found.0 -= 1;
        }
        Some(found.3.clone())
    }

    fn fault(&self, path: &str) -> Option<Fault> {
        let mut rules = lock(&self.rules);
        let rule = rules
            .iter_mut()
            .find(|rule| rule.left > 0 && path.contains(&rule.path))?;
        if rule.left != usize::MAX {
            rule.left -= 1;
        }
        Some(Arc::clone(&rule.fault))
    }

    fn holds(&self, repository: &str, digest: &str) -> bool {
        lock(&self.given).contains(digest) || lock(&self.owned).contains(&(repository.to_owned(), digest.to_owned()))
    }

    fn find(&self, request: &Seen) -> Reply {
        if let Some(reply) = self.manage(request) {
            return reply;
        }
        let path = request.path.split('?').next().unwrap_or_default();
        if path == "/v2/" {
            return Reply::new(200, "{}");
        }
        if let Some((repository, tag)) = path.strip_prefix("/v2/").and_then(|p| p.split_once("/manifests/")) {
            return self.find_manifest(repository, tag);
        }
        match path.rsplit_once("/blobs/") {
            Some((repository, digest)) => {
                let repository = repository.strip_prefix("/v2/").unwrap_or(repository);
                self.find_blob(request, repository, digest)
            }
            None => Reply::error(404, "UNSUPPORTED", "no such path"),
        }
    }

    fn find_manifest(&self, repository: &str, tag: &str) -> Reply {
        let manifests = lock(&self.manifests);
        if let Some((media_type, bytes)) = manifests.get(&(repository.to_owned(), tag.to_owned())) {
            let mut reply = Reply::new(200, bytes.clone());
            reply.set("Content-Type", media_type);
            reply.set("Docker-Content-Digest", &sha256(bytes));
            return reply;
        }
        if manifests.keys().any(|(name, _)| name == repository) {
            return Reply::error(404, "MANIFEST_UNKNOWN", "manifest unknown");
        }
        Reply::error(404, "NAME_UNKNOWN", "repository name not known to registry")
    }

    fn find_blob(&self, request: &Seen, repository: &str, digest: &str) -> Reply {
        let shown = self.holds(repository, digest);
        let Some(blob) = lock(&self.blobs).get(digest).cloned().filter(|_| shown) else {
            return Reply::error(404, "BLOB_UNKNOWN", "blob unknown to registry");
        };
        let bytes = blob.bytes();
        let from = request
            .header("range")
            .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
        match from {
            Some(from) if from < bytes.len() => {
                let mut reply = Reply::new(206, &bytes[from..]);
                let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
                reply.set("Content-Range", &range);
                reply
            }
            Some(_) => Reply::error(416, "RANGE_INVALID", "invalid content range"),
            None => Reply::new(200, bytes),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Layer, http};

    fn get(registry: &Registry, path: &str, headers: &[(&str, &str)]) -> http::Response {
        http::send(registry.address(), "GET", path, headers, &mut std::io::empty(), 0).unwrap()
    }

    #[test]
    fn serves_images_and_ranges_and_records_what_was_sent() {
        let registry = Registry::start();
        let image = Image::new().layer(Layer::build().file("a", 0o644, "hello").gzip());
        let digest = registry.image("x/y", "1", &image);
        let found = get(&registry, "/v2/x/y/manifests/1", &[]);
        assert_eq!(found.header("docker-content-digest"), Some(digest.as_str()));
        assert_eq!(sha256(&found.body), digest);
        let blob = &image.layers()[0].blob;
        let path = format!("/v2/x/y/blobs/{}", blob.digest);
        let rest = get(&registry, &path, &[("Range", "bytes=10-")]);
        assert_eq!((rest.status, rest.body), (206, blob.bytes()[10..].to_vec()));
        assert_eq!(registry.sent("/blobs/"), blob.size - 10);
        assert_eq!(get(&registry, "/v2/x/y/manifests/2", &[]).status, 404);
    }

    #[test]
    fn faults_are_used_up_in_order() {
        let registry = Registry::start();
        registry.image("x", "1", &Image::new());
        registry.once("/manifests/", |reply| reply.status = 503);
        registry.once("/manifests/", |reply| {
            *reply = Reply::error(429, "TOOMANYREQUESTS", "slow down")
        });
        let statuses: Vec<_> = (0..3)
            .map(|_| get(&registry, "/v2/x/manifests/1", &[]).status)
            .collect();
        assert_eq!(statuses, [503, 429, 200]);
        registry.once("/manifests/", |reply| reply.cut = Some(3));
        assert_eq!(get(&registry, "/v2/x/manifests/1", &[]).body.len(), 3);
        registry.once("/manifests/", |reply| reply.chunked = true);
        assert_eq!(
            get(&registry, "/v2/x/manifests/1", &[]).body,
            Image::new().manifest().bytes()
        );
    }

    #[test]
    fn asks_for_tokens_and_takes_only_its_own() {
        let registry = Registry::start();
        registry.image("x", "1", &Image::new());
        registry.require(Login::token("u", "p"));
        let refused = get(&registry, "/v2/x/manifests/1", &[]);
        assert_eq!(refused.status, 401);
        assert!(
            refused
                .header("www-authenticate")
                .unwrap()
                .starts_with("Bearer realm=\"http://127.0.0.1:")
        );
        assert_eq!(get(&registry, "/token?scope=repository:x:pull", &[]).status, 401);
        let basic = [("Authorization", "Basic dTpw")];
        let token: serde_json::Value =
            serde_json::from_slice(&get(&registry, "/token?scope=repository:x:pull", &basic).body).unwrap();
        let bearer = format!("Bearer {}", token["token"].as_str().unwrap());
        assert_eq!(
            get(&registry, "/v2/x/manifests/1", &[("Authorization", &bearer)]).status,
            200
        );
        assert_eq!(
            get(&registry, "/v2/x/manifests/1", &[("Authorization", "Bearer no")]).status,
            401
        );
    }
}
