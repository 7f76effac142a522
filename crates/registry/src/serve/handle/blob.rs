//! Blobs: `GET`, `HEAD`, `DELETE`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hull_spec::Digest;
use hyper::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH, RANGE,
};
use hyper::{Response, StatusCode};

use super::super::answer::{Answer, Outcome, Refusal, empty, header, set};
use super::super::cache::Found;
use super::super::content::{Content, Parcel};
use super::super::route::Name;
use super::super::settings::Action;
use super::range::{Wanted, wanted};
use super::{Ask, accepted, blocking};

const OCTETS: &str = "application/octet-stream";

impl Ask {
    pub(super) async fn get_blob(self, name: Name, digest: Digest) -> Outcome {
        let registry = Arc::clone(&self.registry);
        registry.gatekeeper.admit(&self.who, Some(&name), &[Action::Pull])?;
        if self.is_head() && registry.cache.is_none() {
            let touch = !registry.settings.read_only;
            let wanted = digest.clone();
            let size = blocking(move || {
                let found = if touch {
                    registry.storage.touch_blob(&name, &wanted)
                } else {
                    registry.storage.blob_size(&name, &wanted)
                };
                found.map_err(|fault| registry.fault(fault))
            });
            let size = size.await?.ok_or_else(Refusal::blob_unknown)?;
            return Ok(full(Content::Empty, size, &digest));
        }
        let (at, of) = (name.clone(), digest.clone());
        let found = blocking(move || {
            let found = registry.storage.open_blob(&at, &of);
            found.map_err(|fault| registry.fault(fault))
        });
        match found.await? {
            Some((file, size)) => {
                self.registry.metrics.hits.fetch_add(1, Ordering::Relaxed);
                self.send_file(file, size, &digest)
            }
            None if self.registry.cache.is_some() => self.fetch_blob(name, digest).await,
            None => Err(Refusal::blob_unknown()),
        }
    }

    fn send_file(self, file: std::fs::File, size: u64, digest: &Digest) -> Outcome {
        let tag = format!("\"{digest}\"");
        if self.header(IF_NONE_MATCH).is_some_and(|given| given.contains(&tag)) {
            let mut answer = empty(StatusCode::NOT_MODIFIED);
            set(&mut answer, ETAG, &tag);
            return Ok(answer);
        }
        if self.is_head() {
            return Ok(full(Content::Empty, size, digest));
        }
        let (offset, left) = match wanted(self.header(RANGE), size) {
            Wanted::All => (0, size),
            Wanted::Part(offset, left) => (offset, left),
            Wanted::Nothing => {
                return Err(Refusal::new(
                    StatusCode::RANGE_NOT_SATISFIABLE,
                    "RANGE_INVALID",
                    "the range is not within the blob",
                )
                .with(CONTENT_RANGE, format!("bytes */{size}")));
            }
        };
        let parcel = Parcel {
            file: Arc::new(file),
            offset,
            left,
        };
        let mut answer = full(Content::File(parcel, Arc::clone(&self.outbox)), left, digest);
        if left != size {
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
            let range = format!("bytes {offset}-{}/{size}", offset + left - 1);
            set(&mut answer, CONTENT_RANGE, &range);
        }
        Ok(answer)
    }

    /// Has a blob fetched from upstream, and passes it on meanwhile.
    async fn fetch_blob(self, name: Name, digest: Digest) -> Outcome {
        let registry = Arc::clone(&self.registry);
        registry.metrics.misses.fetch_add(1, Ordering::Relaxed);
        let head = self.is_head();
        let of = digest.clone();
        let found = blocking(move || registry.fetch_blob(&name, &of, head)).await?;
        match found {
            Found::Size(size) => Ok(full(Content::Empty, size, &digest)),
            Found::File(file, size) => self.send_file(file, size, &digest),
            Found::Arriving(fetch) => {
                let size = fetch.size();
                Ok(full(Content::Stream(size, fetch.follow()), size, &digest))
            }
        }
    }

    pub(super) async fn delete_blob(self, name: Name, digest: Digest) -> Outcome {
        let registry = Arc::clone(&self.registry);
        registry.gatekeeper.admit(&self.who, Some(&name), &[Action::Delete])?;
        self.deletable()?;
        let deleted = blocking(move || {
            let deleted = registry.storage.delete_blob(&name, &digest);
            deleted.map_err(|fault| registry.fault(fault))
        });
        if deleted.await? {
            Ok(accepted())
        } else {
            Err(Refusal::blob_unknown())
        }
    }
}

/// An answer about a whole blob.
fn full(content: Content, size: u64, digest: &Digest) -> Answer {
    let mut answer = Response::new(content);
    answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(size));
    set(&mut answer, CONTENT_TYPE, OCTETS);
    set(&mut answer, header::DIGEST, digest.as_str());
    set(&mut answer, ETAG, &format!("\"{digest}\""));
    set(&mut answer, ACCEPT_RANGES, "bytes");
    // What has a digest for its name never changes.
    set(&mut answer, hyper::header::CACHE_CONTROL, "max-age=31536000, private");
    answer
}
