//! What a test registry takes in: uploads, manifests, deletions; and the lists that it gives.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::{INDEX, Reply, Seen, Shared, lock};
use crate::layer::{Blob, sha256};

impl Shared {
    /// The answer to what is no plain reading of a manifest or a blob.
    pub(super) fn manage(&self, request: &Seen) -> Option<Reply> {
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        if path == "/v2/_catalog" {
            let names = self.repositories();
            return Some(list("repositories", None, &names, path, query));
        }
        let rest = path.strip_prefix("/v2/")?;
        if let Some(repository) = rest.strip_suffix("/tags/list") {
            return Some(self.tags(repository, path, query));
        }
        if let Some((repository, subject)) = rest.split_once("/referrers/") {
            return Some(self.referrers(repository, subject));
        }
        if let Some((repository, id)) = rest.split_once("/blobs/uploads/") {
            return Some(self.upload(request, repository, id, query));
        }
        let (repository, name) = rest.split_once("/manifests/")?;
        match request.method.as_str() {
            "PUT" => Some(self.put_manifest(request, repository, name)),
            "DELETE" => Some(self.delete_manifest(repository, name)),
            _ => None,
        }
    }

    /// Takes what arrived of a request that then broke off.
    pub(super) fn keep(&self, request: &Seen) {
        let path = request.path.split('?').next().unwrap_or_default();
        if let Some((_, id)) = path.split_once("/blobs/uploads/")
            && let Some(held) = lock(&self.uploads).get_mut(id)
        {
            held.extend_from_slice(&request.bytes);
        }
    }

    fn repositories(&self) -> Vec<String> {
        let manifests = lock(&self.manifests);
        let names: BTreeSet<String> = manifests.keys().map(|(repository, _)| repository.clone()).collect();
        names.into_iter().collect()
    }

    fn tags(&self, repository: &str, path: &str, query: &str) -> Reply {
        let manifests = lock(&self.manifests);
        let tags: BTreeSet<String> = manifests
            .keys()
            .filter(|(name, tag)| name == repository && !tag.contains(':'))
            .map(|(_, tag)| tag.clone())
            .collect();
        if !manifests.keys().any(|(name, _)| name == repository) {
            return Reply::error(404, "NAME_UNKNOWN", "repository name not known to registry");
        }
        let tags: Vec<String> = tags.into_iter().collect();
        list("tags", Some(repository), &tags, path, query)
    }

    fn referrers(&self, repository: &str, subject: &str) -> Reply {
        if !self.lists_referrers.load(Ordering::Relaxed) {
            return Reply::error(404, "UNSUPPORTED", "no such path");
        }
        let manifests = lock(&self.manifests);
        let found: Vec<Value> = manifests
            .iter()
            .filter(|((name, tag), _)| name == repository && tag.contains(':'))
            .filter_map(|((_, digest), (media_type, bytes))| {
                let document: Value = serde_json::from_slice(bytes).ok()?;
                (document["subject"]["digest"] == subject).then(|| {
                    let kind = document.get("artifactType").unwrap_or(&document["config"]["mediaType"]);
                    json!({ "mediaType": media_type, "digest": digest, "size": bytes.len(), "artifactType": kind })
                })
            })
            .collect();
        let mut reply = Reply::new(
            200,
            json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": found }).to_string(),
        );
        reply.set("Content-Type", INDEX);
        reply
    }

    fn upload(&self, request: &Seen, repository: &str, id: &str, query: &str) -> Reply {
        let value = |name: &str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            let mut found = pairs.filter(|(key, _)| *key == name);
            found
                .next()
                .map(|(_, value)| value.replace("%3A", ":").replace("%2F", "/"))
        };
        match request.method.as_str() {
            "POST" => {
                if let (Some(digest), Some(from)) = (value("mount"), value("from"))
                    && self.holds(&from, &digest)
                {
                    lock(&self.owned).insert((repository.to_owned(), digest.clone()));
                    let mut reply = Reply::new(201, "");
                    reply.set("Location", &format!("/v2/{repository}/blobs/{digest}"));
                    return reply;
                }
                let id = format!("upload-{}", self.tokens.fetch_add(1, Ordering::Relaxed));
                lock(&self.uploads).insert(id.clone(), Vec::new());
                progress(202, repository, &id, 0)
            }
            "GET" => match lock(&self.uploads).get(id) {
                Some(held) => progress(204, repository, id, held.len()),
                None => unknown(),
            },
            "DELETE" => match lock(&self.uploads).remove(id) {
                Some(_) => Reply::new(204, ""),
                None => unknown(),
            },
            "PATCH" | "PUT" => self.receive(request, repository, id, value("digest")),
            _ => Reply::error(405, "UNSUPPORTED", "no such method"),
        }
    }

    fn receive(&self, request: &Seen, repository: &str, id: &str, digest: Option<String>) -> Reply {
        let mut uploads = lock(&self.uploads);
        let Some(held) = uploads.get_mut(id) else {
            return unknown();
        };
        let from = request
            .header("content-range")
            .and_then(|range| range.split('-').next()?.parse::<usize>().ok());
        if from.is_some_and(|from| from != held.len()) {
            return Reply::error(416, "RANGE_INVALID", "invalid content range");
        }
        held.extend_from_slice(&request.bytes);
        let Some(digest) = digest.filter(|_| request.method == "PUT") else {
            return progress(202, repository, id, held.len());
        };
        let bytes = uploads.remove(id).unwrap_or_default();
        let blob = Blob::new(bytes);
        if blob.digest != digest {
            return Reply::error(400, "DIGEST_INVALID", "provided digest did not match uploaded content");
        }
        lock(&self.owned).insert((repository.to_owned(), digest.clone()));
        lock(&self.blobs).entry(digest.clone()).or_insert(blob);
        let mut reply = Reply::new(201, "");
        reply.set("Location", &format!("/v2/{repository}/blobs/{digest}"));
        reply.set("Docker-Content-Digest", &digest);
        reply
    }

    fn put_manifest(&self, request: &Seen, repository: &str, name: &str) -> Reply {
        let Ok(document) = serde_json::from_slice::<Value>(&request.bytes) else {
            return Reply::error(400, "MANIFEST_INVALID", "manifest invalid");
        };
        let empty = Vec::new();
        let list = |key: &str| document[key].as_array().unwrap_or(&empty).clone();
        let digest_of = |entry: &Value| entry["digest"].as_str().unwrap_or_default().to_owned();
        for entry in list("layers")
            .iter()
            .chain([&document["config"]])
            .filter(|e| e.is_object())
        {
            let foreign = entry["urls"].is_array();
            if !foreign && !self.holds(repository, &digest_of(entry)) {
                return Reply::error(404, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry");
            }
        }
        let digest = sha256(&request.bytes);
        let mut manifests = lock(&self.manifests);
        for entry in list("manifests") {
            if !manifests.contains_key(&(repository.to_owned(), digest_of(&entry))) {
                return Reply::error(404, "MANIFEST_UNKNOWN", "manifest unknown");
            }
        }
        if name.contains(':') && name != digest {
            return Reply::error(400, "DIGEST_INVALID", "provided digest did not match uploaded content");
        }
        let media_type = request.header("content-type").unwrap_or_default().to_owned();
        for key in [name, digest.as_str()] {
            let key = (repository.to_owned(), key.to_owned());
            manifests.insert(key, (media_type.clone(), request.bytes.clone()));
        }
        let mut reply = Reply::new(201, "");
        reply.set("Docker-Content-Digest", &digest);
        reply.set("Location", &format!("/v2/{repository}/manifests/{digest}"));
        if let Some(subject) = document["subject"]["digest"].as_str()
            && self.lists_referrers.load(Ordering::Relaxed)
        {
            reply.set("OCI-Subject", subject);
        }
        reply
    }

    fn delete_manifest(&self, repository: &str, name: &str) -> Reply {
        let mut manifests = lock(&self.manifests);
        let Some((_, bytes)) = manifests.remove(&(repository.to_owned(), name.to_owned())) else {
            return Reply::error(404, "MANIFEST_UNKNOWN", "manifest unknown");
        };
        if name.contains(':') {
            manifests.retain(|(of, _), (_, other)| of != repository || *other != bytes);
        }
        Reply::new(202, "")
    }
}

fn progress(status: u16, repository: &str, id: &str, held: usize) -> Reply {
    let mut reply = Reply::new(status, "");
    reply.set("Location", &format!("/v2/{repository}/blobs/uploads/{id}"));
    reply.set("Range", &format!("0-{}", held.saturating_sub(1)));
    reply
}

fn unknown() -> Reply {
    Reply::error(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
}

/// One page of a list, with a link to the next.
fn list(key: &str, of: Option<&str>, names: &[String], path: &str, query: &str) -> Reply {
    let value = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    let most = value("n").and_then(|n| n.parse().ok()).unwrap_or(usize::MAX);
    let last = value("last").unwrap_or_default();
    let rest: Vec<&String> = names.iter().filter(|name| name.as_str() > last).collect();
    let page: Vec<&String> = rest.iter().copied().take(most).collect();
    let mut body = json!({ key: page });
    if let Some(name) = of {
        body["name"] = name.into();
    }
    let mut reply = Reply::new(200, body.to_string());
    reply.set("Content-Type", "application/json");
    if let Some(last) = page.last().filter(|_| rest.len() > page.len()) {
        reply.set("Link", &format!("<{path}?n={most}&last={last}>; rel=\"next\""));
    }
    reply
}
