//! Manifests: `GET`, `HEAD`, `PUT`, `DELETE`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hull_spec::manifest::MANIFEST_MAX;
use hull_spec::{Algorithm, Reference};
use hyper::StatusCode;
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH, LOCATION};

use super::super::answer::{Outcome, Refusal, empty, header, set, whole};
use super::super::document::Document;
use super::super::route::{Name, Which, values};
use super::super::settings::Action;
use super::super::storage::Stored;
use super::{Ask, accepted, blocking, next};

/// Tags that one push may set.
const TAGS_MAX: usize = 32;

impl Ask {
    pub(super) async fn get_manifest(self, name: Name, which: Which) -> Outcome {
        let registry = Arc::clone(&self.registry);
        registry.gatekeeper.admit(&self.who, Some(&name), &[Action::Pull])?;
        let found = blocking(move || match &registry.cache {
            Some(_) => registry.fetch_manifest(&name, &which),
            None => registry
                .storage
                .manifest(&name, &which)
                .map_err(|fault| registry.fault(fault)),
        });
        let stored = found.await?.ok_or_else(Refusal::manifest_unknown)?;
        let tag = format!("\"{}\"", stored.digest);
        let mut answer = if self.header(IF_NONE_MATCH).is_some_and(|given| given.contains(&tag)) {
            empty(StatusCode::NOT_MODIFIED)
        } else {
            let size = stored.bytes.len();
            let body = if self.is_head() {
                Bytes::new()
            } else {
                stored.bytes.into()
            };
            let mut answer = whole(StatusCode::OK, &stored.media_type, body);
            answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(size));
            answer
        };
        set(&mut answer, header::DIGEST, stored.digest.as_str());
        set(&mut answer, ETAG, &tag);
        Ok(answer)
    }

    pub(super) async fn put_manifest(self, name: Name, which: Which, body: &mut Incoming) -> Outcome {
        let registry = Arc::clone(&self.registry);
        registry.gatekeeper.admit(&self.who, Some(&name), &[Action::Push])?;
        self.writable()?;
        let bytes = self.read_manifest(body).await?;
        let tags = self.tags_of_push(&which)?;
        let document = Document::parse(&bytes, self.header(CONTENT_TYPE))?;
        let algorithm = match &which {
            Which::Digest(digest) => digest.algorithm(),
            Which::Tag(_) => Algorithm::Sha256,
        };
        let digest = hull_store::digest(algorithm, &bytes);
        if let Which::Digest(expected) = &which
            && *expected != digest
        {
            return Err(Refusal::invalid(
                "DIGEST_INVALID",
                format!("the manifest has the digest {digest}, not {expected}"),
            ));
        }
        let mut answer = empty(StatusCode::CREATED);
        set(
            &mut answer,
            LOCATION,
            &format!("/v2/{}/manifests/{digest}", name.as_str()),
        );
        set(&mut answer, header::DIGEST, digest.as_str());
        if let Some(subject) = &document.subject {
            set(&mut answer, header::SUBJECT, subject.as_str());
        }
        if matches!(which, Which::Digest(_)) {
            for tag in tags.iter().filter_map(|tag| HeaderValue::from_str(tag).ok()) {
                answer.headers_mut().append(header::TAG, tag);
            }
        }
        let stored = Stored {
            digest,
            media_type: document.media_type.clone(),
            bytes,
        };
        let kept = blocking(move || {
            let kept = registry.storage.put_manifest(&name, &stored, &document, &tags, true);
            kept.map_err(|fault| registry.fault(fault))
        });
        kept.await?.map_err(|absent| {
            let names: Vec<&str> = absent.0.iter().take(20).map(|digest| digest.as_str()).collect();
            Refusal::invalid(
                "MANIFEST_BLOB_UNKNOWN",
                format!("blob unknown to registry: {}", names.join(", ")),
            )
        })?;
        Ok(answer)
    }

    async fn read_manifest(&self, body: &mut Incoming) -> Result<Vec<u8>, Refusal> {
        let too_large = || {
            Refusal::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "MANIFEST_INVALID",
                format!("the manifest is larger than {MANIFEST_MAX} bytes"),
            )
        };
        if body.size_hint().lower() > MANIFEST_MAX {
            return Err(too_large());
        }
        let mut bytes = Vec::new();
        while let Some(piece) = next(body, self.registry.settings.limits.stall).await? {
            bytes.extend_from_slice(&piece);
            if bytes.len() as u64 > MANIFEST_MAX {
                return Err(too_large());
            }
        }
        self.registry
            .metrics
            .received
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(bytes)
    }

    /// The tags that a push sets: the one in its path, or those in its query.
    fn tags_of_push(&self, which: &Which) -> Result<Vec<String>, Refusal> {
        let asked = values(self.parts.uri.query(), "tag");
        match which {
            Which::Tag(tag) => Ok(vec![tag.clone()]),
            Which::Digest(_) if asked.len() > TAGS_MAX => Err(Refusal::new(
                StatusCode::URI_TOO_LONG,
                "TAG_INVALID",
                format!("more than {TAGS_MAX} tags at once"),
            )),
            Which::Digest(_) => match asked.iter().find(|tag| !Reference::is_tag(tag)) {
                Some(_) => Err(Refusal::invalid("TAG_INVALID", "invalid tag")),
                None => Ok(asked),
            },
        }
    }

    pub(super) async fn delete_manifest(self, name: Name, which: Which) -> Outcome {
        let registry = Arc::clone(&self.registry);
        registry.gatekeeper.admit(&self.who, Some(&name), &[Action::Delete])?;
        self.deletable()?;
        let deleted = blocking(move || {
            let deleted = match &which {
                Which::Tag(tag) => registry.storage.delete_tag(&name, tag),
                Which::Digest(digest) => registry.storage.delete_manifest(&name, digest),
            };
            deleted.map_err(|fault| registry.fault(fault))
        });
        if deleted.await? {
            Ok(accepted())
        } else {
            Err(Refusal::manifest_unknown())
        }
    }
}
