//! A cache of another registry: what is not here is fetched from there, passed on while it arrives, and kept.
//!
//! A tag is believed for a while, then asked about; if upstream does not answer, what is here is served. A blob that
//! several clients want is fetched once. Nobody gets the last byte of it before its digest is found right.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hull_spec::manifest::{MANIFEST_MAX, media};
use hull_spec::{Algorithm, Digest, Reference};
use hyper::StatusCode;

use super::Registry;
use super::answer::Refusal;
use super::document::{Document, Referrer};
use super::route::{Name, Which};
use super::settings::Mirror;
use super::storage::Stored;
use crate::client::Ask;
use crate::source::Source;
use crate::transport::Response;
use crate::{Client, Credentials, Error, Settings, failure};

mod fetch;

pub(super) use fetch::Fetch;

/// The most that is read of a list of tags.
const LIST_MAX: u64 = 16 << 20;

/// The upstream registry, and what is being fetched from it.
#[derive(Debug)]
pub(super) struct Cache {
    client: Client,
    upstream: String,
    ttl: Duration,
    fetches: Mutex<HashMap<(Name, Digest), Arc<Fetch>>>,
}

/// What there is of a blob.
pub(super) enum Found {
    /// Only its size was asked for.
    Size(u64),
    /// All of it.
    File(std::fs::File, u64),
    /// Some of it, and the rest is on its way.
    Arriving(Arc<Fetch>),
}

impl Cache {
    pub(super) fn new(mirror: &Mirror, settings: Settings) -> Result<Self, Error> {
        // Says now what every request would say.
        format!("{}/x", mirror.upstream).parse::<Reference>()?;
        let mut client = Client::new(settings);
        if let Some((user, password)) = &mirror.credentials {
            client = client.with_credentials(Credentials::Password {
                user: user.clone(),
                password: password.clone(),
            });
        }
        Ok(Self {
            client,
            upstream: mirror.upstream.clone(),
            ttl: mirror.ttl,
            fetches: Mutex::default(),
        })
    }

    fn source(&self, name: &Name) -> Result<Source, Error> {
        let reference: Reference = format!("{}/{}", self.upstream, name.as_str()).parse()?;
        // The last one is the registry itself: its mirrors may be this very server.
        self.client.sources(&reference)?.pop().ok_or_else(|| Error::Malformed {
            what: format!("the registry `{}`", self.upstream),
            reason: "there is no way to reach it".to_owned(),
        })
    }

    /// Asks upstream. `None` where it has no such thing, or hides it.
    fn ask(
        &self,
        name: &Name,
        method: &'static str,
        tail: String,
        headers: &[(&'static str, String)],
    ) -> Result<Option<Response>, Error> {
        let source = self.source(name)?;
        let response = self.client.ask(&source, &Ask::read(method, tail, headers))?;
        match response.status {
            200 | 206 => Ok(Some(response)),
            401 | 403 | 404 => {
                response.drain();
                Ok(None)
            }
            _ => Err(failure::status(response)),
        }
    }

    fn manifest(&self, name: &Name, which: &Which) -> Result<Option<Stored>, Error> {
        let Some(response) = self.ask(name, "GET", format!("manifests/{which}"), &accept())? else {
            return Ok(None);
        };
        let media_type = response.header("content-type").unwrap_or("").to_owned();
        let what = format!("the manifest of {}/{}", self.upstream, name.as_str());
        let bytes = response.read(&what, MANIFEST_MAX, self.client.settings().timeouts.document)?;
        let algorithm = match which {
            Which::Digest(digest) => digest.algorithm(),
            Which::Tag(_) => Algorithm::Sha256,
        };
        let digest = hull_store::digest(algorithm, &bytes);
        if let Which::Digest(expected) = which
            && *expected != digest
        {
            return Err(Error::DigestMismatch {
                what,
                expected: expected.to_string(),
                actual: digest,
            });
        }
        Ok(Some(Stored {
            digest,
            media_type,
            bytes,
        }))
    }

    /// What a tag names upstream now, where upstream says so without sending it.
    fn head(&self, name: &Name, tag: &str) -> Result<Option<Digest>, Error> {
        let response = self.ask(name, "HEAD", format!("manifests/{tag}"), &accept())?;
        let told = response.and_then(|response| response.header("docker-content-digest")?.parse().ok());
        Ok(told)
    }

    /// The tags of upstream, or those that are here if it does not answer.
    pub(super) fn tags(&self, name: &Name, local: Option<Vec<String>>) -> Result<Option<Vec<String>>, Refusal> {
        #[derive(serde::Deserialize)]
        struct List {
            tags: Option<Vec<String>>,
        }
        let read = |response: Response| {
            let what = format!("the tags of {}/{}", self.upstream, name.as_str());
            response.read(&what, LIST_MAX, self.client.settings().timeouts.document)
        };
        let asked = self.ask(name, "GET", "tags/list".to_owned(), &[]);
        match asked.and_then(|response| response.map(read).transpose()) {
            Ok(Some(bytes)) => {
                let list: List = serde_json::from_slice(&bytes).map_err(|_| bad_gateway())?;
                let mut tags = list.tags.unwrap_or_default();
                tags.retain(|tag| Reference::is_tag(tag));
                tags.sort();
                Ok(Some(tags))
            }
            Ok(None) => Ok(None),
            Err(_) if local.is_some() => Ok(local),
            Err(_) => Err(bad_gateway()),
        }
    }
}

impl Registry {
    /// A manifest, from here or from upstream.
    pub(super) fn fetch_manifest(&self, name: &Name, which: &Which) -> Result<Option<Stored>, Refusal> {
        let Some(cache) = &self.cache else {
            return Ok(None);
        };
        let local = self.storage.manifest(name, which).map_err(|f| self.fault(f))?;
        let believed = match (&local, which) {
            (None, _) => false,
            (Some(_), Which::Digest(_)) => true,
            (Some(stored), Which::Tag(tag)) => {
                let age = self.storage.tag_age(name, tag).map_err(|f| self.fault(f))?;
                if age.is_some_and(|age| age < cache.ttl) {
                    true
                } else if cache
                    .head(name, tag)
                    .is_ok_and(|now| now.as_ref() == Some(&stored.digest))
                {
                    self.storage.touch_tag(name, tag).map_err(|f| self.fault(f))?;
                    true
                } else {
                    false
                }
            }
        };
        if believed && let Some(stored) = &local {
            self.storage
                .touch_manifest(name, &stored.digest)
                .map_err(|f| self.fault(f))?;
            self.metrics.hits.fetch_add(1, Ordering::Relaxed);
            return Ok(local);
        }
        self.metrics.misses.fetch_add(1, Ordering::Relaxed);
        let fetched = match cache.manifest(name, which) {
            Ok(fetched) => fetched,
            Err(error) => {
                self.upstream_failed(&error);
                return local.map(Some).ok_or_else(bad_gateway);
            }
        };
        let Some(mut stored) = fetched else {
            return Ok(None);
        };
        let document = Document::parse(&stored.bytes, Some(&stored.media_type))?;
        stored.media_type.clone_from(&document.media_type);
        let tags = match which {
            Which::Tag(tag) => vec![tag.clone()],
            Which::Digest(_) => Vec::new(),
        };
        // What does not fit here is passed on all the same.
        if let Err(fault) = self.storage.put_manifest(name, &stored, &document, &tags, false) {
            (self.log)(&format!("cannot keep a manifest of {}: {fault}", name.as_str()));
        }
        Ok(Some(stored))
    }

    /// A blob that is not here.
    pub(super) fn fetch_blob(self: &Arc<Self>, name: &Name, digest: &Digest, head: bool) -> Result<Found, Refusal> {
        let Some(cache) = &self.cache else {
            return Err(Refusal::blob_unknown());
        };
        let tail = format!("blobs/{digest}");
        if head {
            // Found meanwhile, or upstream knows.
            if let Some(size) = self.storage.blob_size(name, digest).map_err(|f| self.fault(f))? {
                return Ok(Found::Size(size));
            }
            let response = cache
                .ask(name, "HEAD", tail, &[])
                .map_err(|error| self.upstream_failed(&error))?;
            let response = response.ok_or_else(Refusal::blob_unknown)?;
            return response.length().map(Found::Size).ok_or_else(bad_gateway);
        }
        let key = (name.clone(), digest.clone());
        let mut fetches = cache.fetches.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fetch) = fetches.get(&key) {
            let fetch = Arc::clone(fetch);
            drop(fetches);
            fetch.started()?;
            return Ok(Found::Arriving(fetch));
        }
        // It may have arrived between the look and the lock.
        if let Some((file, size)) = self.storage.open_blob(name, digest).map_err(|f| self.fault(f))? {
            return Ok(Found::File(file, size));
        }
        let fetch = Arc::new(Fetch::default());
        fetches.insert(key.clone(), Arc::clone(&fetch));
        drop(fetches);
        let (registry, working) = (Arc::clone(self), Arc::clone(&fetch));
        let spawned = std::thread::Builder::new().name("fetch".to_owned()).spawn(move || {
            let end = working.run(&registry, &key);
            // Whoever comes now finds the blob, or has it fetched anew.
            if let Some(cache) = &registry.cache {
                cache
                    .fetches
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .remove(&key);
            }
            working.end(end);
        });
        if spawned.is_err() {
            let mut fetches = cache.fetches.lock().unwrap_or_else(PoisonError::into_inner);
            fetches.remove(&(name.clone(), digest.clone()));
            return Err(bad_gateway());
        }
        fetch.started()?;
        Ok(Found::Arriving(fetch))
    }

    /// What refers to a manifest: upstream's list, or, where that does not answer, what is here.
    pub(super) fn fetch_referrers(&self, name: &Name, digest: &Digest) -> Result<Vec<Referrer>, Refusal> {
        #[derive(serde::Deserialize)]
        struct List {
            manifests: Vec<Referrer>,
        }
        let Some(cache) = &self.cache else {
            return Ok(Vec::new());
        };
        let read = |response: Response| {
            let what = format!("the referrers of {digest}");
            response.read(&what, MANIFEST_MAX, cache.client.settings().timeouts.document)
        };
        let asked = cache.ask(name, "GET", format!("referrers/{digest}"), &[]);
        match asked.and_then(|response| response.map(read).transpose()) {
            Ok(Some(bytes)) => serde_json::from_slice::<List>(&bytes)
                .map(|list| list.manifests)
                .map_err(|_| bad_gateway()),
            Ok(None) => Ok(Vec::new()),
            Err(error) => {
                self.upstream_failed(&error);
                self.storage.referrers(name, digest).map_err(|f| self.fault(f))
            }
        }
    }

    fn upstream_failed(&self, error: &Error) -> Refusal {
        (self.log)(&format!("upstream: {error}"));
        bad_gateway()
    }
}

fn bad_gateway() -> Refusal {
    Refusal::new(
        StatusCode::BAD_GATEWAY,
        "UNAVAILABLE",
        "the upstream registry does not answer as it should",
    )
}

fn accept() -> [(&'static str, String); 1] {
    let types = [
        media::OCI_INDEX,
        media::OCI_MANIFEST,
        media::DOCKER_INDEX,
        media::DOCKER_MANIFEST,
    ];
    [("accept", types.join(", "))]
}
