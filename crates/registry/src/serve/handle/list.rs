//! Lists: the catalogue, tags, referrers; each in pages.

use std::sync::Arc;

use hull_spec::Digest;
use hull_spec::manifest::{MANIFEST_MAX, media};
use hyper::StatusCode;
use hyper::header::LINK;

use super::super::answer::{Outcome, Refusal, header, set, whole};
use super::super::route::{Name, encode};
use super::super::settings::Action;
use super::{Ask, blocking};

/// Entries of a page, unless fewer are asked for.
const PAGE_MAX: usize = 10_000;
const JSON: &str = "application/json";

/// A part of a list.
#[derive(Debug, PartialEq, Eq)]
struct Page {
    items: Vec<String>,
    /// Where the next one begins.
    next: Option<String>,
}

/// What of a sorted list is asked for: what follows `last`, `n` at most.
fn page(sorted: Vec<String>, n: usize, last: Option<&str>) -> Page {
    let start = last.map_or(0, |last| sorted.partition_point(|item| item.as_str() <= last));
    let more = sorted.len() - start > n;
    let items: Vec<String> = sorted.into_iter().skip(start).take(n).collect();
    let next = items.last().filter(|_| more).cloned();
    Page { items, next }
}

impl Ask {
    /// `n` of the query.
    fn count(&self) -> Result<usize, Refusal> {
        let Some(text) = self.query("n") else {
            return Ok(PAGE_MAX);
        };
        let n: usize = text
            .parse()
            .map_err(|_| Refusal::invalid("PAGINATION_NUMBER_INVALID", "n is no number of entries"))?;
        Ok(n.min(PAGE_MAX))
    }

    fn link(&self, path: &str, n: usize, next: &str, more: &str) -> String {
        format!("<{path}?n={n}&last={}{more}>; rel=\"next\"", encode(next))
    }

    fn list(&self, path: &str, n: usize, page: &Page, json: serde_json::Value) -> Outcome {
        let mut answer = whole(StatusCode::OK, JSON, json.to_string().into());
        if let Some(next) = &page.next {
            set(&mut answer, LINK, &self.link(path, n, next, ""));
        }
        Ok(answer)
    }

    /// The names of the repositories that the client may pull from.
    pub(super) async fn catalog(self) -> Outcome {
        let registry = Arc::clone(&self.registry);
        registry.gatekeeper.admit(&self.who, None, &[Action::Pull])?;
        let n = self.count()?;
        let last = self.query("last");
        let names = blocking(move || registry.storage.catalog().map_err(|fault| registry.fault(fault))).await?;
        let whole_registry = matches!(self.who, super::Who::Bearer(..));
        let names = names
            .into_iter()
            // A token that opens the catalogue opens all of it: it names no repositories.
            .filter(|name| whole_registry || self.registry.gatekeeper.may(&self.who, Some(name), Action::Pull))
            .map(|name| name.as_str().to_owned())
            .collect();
        let page = page(names, n, last.as_deref());
        let json = serde_json::json!({"repositories": page.items});
        self.list("/v2/_catalog", n, &page, json)
    }

    pub(super) async fn tags(self, name: Name) -> Outcome {
        let registry = Arc::clone(&self.registry);
        registry.gatekeeper.admit(&self.who, Some(&name), &[Action::Pull])?;
        let n = self.count()?;
        let last = self.query("last");
        let at = name.clone();
        let tags = blocking(move || {
            let local = registry.storage.tags(&at).map_err(|fault| registry.fault(fault))?;
            match &registry.cache {
                Some(cache) => cache.tags(&at, local),
                None => Ok(local),
            }
        });
        let tags = tags.await?.ok_or_else(Refusal::name_unknown)?;
        let page = page(tags, n, last.as_deref());
        let json = serde_json::json!({"name": name.as_str(), "tags": page.items});
        self.list(&format!("/v2/{}/tags/list", name.as_str()), n, &page, json)
    }

    /// What refers to a manifest. There is an answer for every digest, so that nobody falls back to tags.
    pub(super) async fn referrers(self, name: Name, digest: Digest) -> Outcome {
        let registry = Arc::clone(&self.registry);
        registry.gatekeeper.admit(&self.who, Some(&name), &[Action::Pull])?;
        let n = self.count()?;
        let last = self.query("last");
        let (at, of) = (name.clone(), digest.clone());
        let found = blocking(move || {
            if registry.cache.is_some() {
                return registry.fetch_referrers(&at, &of);
            }
            registry
                .storage
                .referrers(&at, &of)
                .map_err(|fault| registry.fault(fault))
        });
        let mut found = found.await?;
        let filter = self.query("artifactType");
        if let Some(filter) = &filter {
            found.retain(|referrer| referrer.artifact_type.as_ref() == Some(filter));
        }
        if let Some(last) = &last {
            found.retain(|referrer| referrer.digest.as_str() > last.as_str());
        }
        // No page is larger than a manifest may be: that is what clients accept.
        let mut shown = Vec::new();
        let mut size = 512;
        let mut next = None;
        for referrer in found {
            let json = serde_json::to_value(&referrer).unwrap_or_default();
            size += json.to_string().len() as u64 + 1;
            if shown.len() >= n || (size > MANIFEST_MAX && !shown.is_empty()) {
                next = shown.last().map(|(digest, _): &(Digest, _)| digest.clone());
                break;
            }
            shown.push((referrer.digest, json));
        }
        let items: Vec<_> = shown.into_iter().map(|(_, json)| json).collect();
        let json = serde_json::json!({"schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": items});
        let mut answer = whole(StatusCode::OK, media::OCI_INDEX, json.to_string().into());
        let mut more = String::new();
        if let Some(filter) = &filter {
            set(&mut answer, header::FILTERS, "artifactType");
            more = format!("&artifactType={}", encode(filter));
        }
        if let Some(next) = next {
            let path = format!("/v2/{}/referrers/{digest}", name.as_str());
            set(&mut answer, LINK, &self.link(&path, n, next.as_str(), &more));
        }
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other() {
        let all = || ["a", "b", "c"].map(str::to_owned).to_vec();
        let check = |n: usize, last: Option<&str>, items: &[&str], next: Option<&str>| {
            let found = page(all(), n, last);
            assert_eq!(
                (
                    found.items.iter().map(String::as_str).collect::<Vec<_>>(),
                    found.next.as_deref()
                ),
                (items.to_vec(), next)
            );
        };
        check(10, None, &["a", "b", "c"], None);
        check(3, None, &["a", "b", "c"], None);
        check(2, None, &["a", "b"], Some("b"));
        check(2, Some("b"), &["c"], None);
        check(2, Some("aa"), &["b", "c"], None);
        check(1, Some("z"), &[], None);
        check(0, None, &[], None);
    }
}
