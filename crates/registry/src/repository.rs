//! What a registry tells of its repositories, and what it takes out of them: tags, catalogue, digests, deletions,
//! referrers (distribution spec, "Content Discovery" and "Content Management").

use std::collections::BTreeMap;

use hull_spec::manifest::{Descriptor, Index, MANIFEST_MAX, media};
use hull_spec::{Digest, Reference};
use serde::Deserialize;

use crate::client::{Ask, At, Client};
use crate::copy::Document;
use crate::manifest::{Document as Parsed, Which, parse_any};
use crate::retry::Cancel;
use crate::source::Source as Server;
use crate::transport::{Body, Response};
use crate::{Error, failure};

/// Pages of a list that are asked for: at a thousand names each, more than any repository has.
const PAGES_MAX: usize = 10_000;
/// The most that is kept of a list, in names.
const NAMES_MAX: usize = 5_000_000;

#[derive(Deserialize)]
struct Tags {
    // Repositories that have lost all of their tags say null.
    tags: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Catalog {
    repositories: Option<Vec<String>>,
}

impl Client {
    /// The tags of the repository of `reference`, in the registry's order.
    ///
    /// # Errors
    /// If there is no such repository, or it may not be seen.
    pub fn tags(&self, reference: &Reference) -> Result<Vec<String>, Error> {
        let server = self.server(reference)?;
        let mut tags = Vec::new();
        let refusal = |err| failure::of_repository(err, reference);
        self.pages(
            &server,
            At::Tail("tags/list?n=1000".to_owned()),
            "",
            &refusal,
            &mut |bytes| {
                let page: Tags = json("the list of tags", bytes)?;
                tags.extend(page.tags.unwrap_or_default());
                Ok(tags.len())
            },
        )?;
        // A name that is none would be put into commands and paths.
        if let Some(bad) = tags.iter().find(|tag| reference.with_tag(tag).is_err()) {
            return Err(Error::Malformed {
                what: format!("the list of tags of {}", reference.familiar_name()),
                reason: format!("it holds `{}`", failure::printable(bad)),
            });
        }
        Ok(tags)
    }

    /// The repositories of `registry` (`host[:port]`), in its order.
    ///
    /// # Errors
    /// If the registry does not tell.
    pub fn catalog(&self, registry: &str) -> Result<Vec<Reference>, Error> {
        // Any repository of it: only the registry's name counts.
        let any: Reference = format!("{registry}/x").parse()?;
        if !any.registry().eq_ignore_ascii_case(registry) {
            return Err(Error::Malformed {
                what: format!("the registry `{}`", failure::printable(registry)),
                reason: "it is not `host[:port]`".to_owned(),
            });
        }
        let server = self.server(&any)?;
        let mut names = Vec::new();
        let scope = "registry:catalog:*";
        self.pages(
            &server,
            At::Path("_catalog?n=1000".to_owned()),
            scope,
            &|err| err,
            &mut |bytes| {
                let page: Catalog = json("the catalogue", bytes)?;
                names.extend(page.repositories.unwrap_or_default());
                Ok(names.len())
            },
        )?;
        names
            .into_iter()
            .map(|name| {
                format!("{registry}/{name}").parse().map_err(|_| Error::Malformed {
                    what: format!("the catalogue of {registry}"),
                    reason: format!("it holds `{}`", failure::printable(&name)),
                })
            })
            .collect()
    }

    /// The digest of what `reference` names, which the registry tells without sending it where it can.
    ///
    /// # Errors
    /// If there is no such image, or it may not be seen.
    pub fn digest(&self, reference: &Reference) -> Result<Digest, Error> {
        let reference = reference.clone().or_latest();
        let server = self.server(&reference)?;
        let cancel = Cancel::default();
        let told = self.patiently(&server, &cancel, || self.head(&server, Which::of(&reference)))?;
        match told {
            Some(digest) => Ok(digest),
            // It does not say, or says no: then the whole answer tells why.
            None => {
                let which = Which::of(&reference);
                let fetched = self.patiently(&server, &cancel, || self.raw_document(&server, &reference, which))?;
                Ok(fetched.0)
            }
        }
    }

    /// Deletes what `reference` names: the manifest of a digest, and with `untag` only the tag.
    ///
    /// # Errors
    /// If there is no such image, or the registry does not delete.
    pub fn delete(&self, reference: &Reference, untag: bool) -> Result<(), Error> {
        let reference = reference.clone().or_latest();
        let server = self.server(&reference)?;
        let name = match reference.tag().filter(|_| untag && reference.digest().is_none()) {
            Some(tag) => tag.to_owned(),
            None => self.digest(&reference)?.to_string(),
        };
        let response = self.patiently(&server, &Cancel::default(), || {
            self.ask(
                &server,
                &Ask {
                    method: "DELETE",
                    at: At::Tail(format!("manifests/{name}")),
                    headers: &[],
                    scope: &format!("repository:{}:pull,delete", server.repository),
                    body: Body::Empty,
                },
            )
        })?;
        match response.status {
            200 | 202 | 204 => {
                response.drain();
                Ok(())
            }
            405 => Err(Error::NoDeletion {
                registry: server.name,
                detail: failure::text(failure::status(response)),
            }),
            404 => Err(failure::of_manifest(failure::status(response), &reference)),
            _ => Err(failure::of_push(failure::status(response), &reference)),
        }
    }

    /// What is attached to the manifest `subject` in the repository of `reference`, of one kind where `kind` is given.
    /// A registry without the referrers API is asked for the tag that stands in for it.
    ///
    /// # Errors
    /// If the registry does not answer, or answers nonsense.
    pub fn referrers(
        &self,
        reference: &Reference,
        subject: &Digest,
        kind: Option<&str>,
    ) -> Result<Vec<Descriptor>, Error> {
        let server = self.server(reference)?;
        let mut found = Vec::new();
        let answered = self.pages(
            &server,
            At::Tail(format!("referrers/{subject}")),
            "",
            &|err| err,
            &mut |bytes| {
                found.extend(index("the list of referrers", bytes)?.manifests);
                Ok(found.len())
            },
        );
        match answered {
            Ok(()) => {}
            Err(Error::Status {
                status: 400 | 404 | 405 | 501,
                ..
            }) => {
                found = self
                    .listed_by_tag(&server, reference, subject, &Cancel::default())?
                    .manifests;
            }
            Err(err) => return Err(err),
        }
        found.retain(|entry| {
            let known = media::is_manifest(&entry.media_type) || media::is_index(&entry.media_type);
            known && kind.is_none_or(|kind| entry.artifact_type.as_deref() == Some(kind))
        });
        Ok(found)
    }

    /// The index that the tag of `subject` names; an empty one where there is none ("Referrers Tag Schema").
    fn listed_by_tag(
        &self,
        server: &Server,
        reference: &Reference,
        subject: &Digest,
        cancel: &Cancel,
    ) -> Result<Index, Error> {
        let tag = fallback_tag(subject);
        let named = reference.with_tag(&tag)?;
        let which = Which::Tag(&tag);
        match self.patiently(server, cancel, || self.raw_document(server, &named, which)) {
            Ok((_, bytes, served)) => match parse_any(&bytes, served.as_deref(), which, &named.familiar())?.0 {
                Parsed::Index(index) => Ok(*index),
                Parsed::Image(_) => Err(Error::Malformed {
                    what: format!("the list of referrers {}", named.familiar()),
                    reason: "it is no index".to_owned(),
                }),
            },
            Err(Error::ManifestUnknown { .. } | Error::RepositoryUnknown { .. }) => Ok(Index {
                schema_version: 2,
                media_type: Some(media::OCI_INDEX.to_owned()),
                manifests: Vec::new(),
                subject: None,
                annotations: BTreeMap::new(),
            }),
            Err(err) => Err(err),
        }
    }

    /// Lists a document at what it is attached to, where the registry does not do so by itself.
    pub(crate) fn list_at_subject(
        &self,
        server: &Server,
        reference: &Reference,
        document: &Document,
        cancel: &Cancel,
    ) -> Result<(), Error> {
        let Some((subject, entry)) = attached(document, reference)? else {
            return Ok(());
        };
        let mut index = self.listed_by_tag(server, reference, &subject, cancel)?;
        if index.manifests.iter().any(|known| known.digest == entry.digest) {
            return Ok(());
        }
        index.manifests.push(entry);
        let bytes = serde_json::to_vec(&index).map_err(|source| Error::Json {
            what: "the list of referrers".to_owned(),
            source,
        })?;
        let list = Document {
            digest: hull_store::digest(hull_spec::Algorithm::Sha256, &bytes),
            media_type: media::OCI_INDEX.to_owned(),
            bytes,
        };
        self.put_document(server, reference, &list, Some(&fallback_tag(&subject)), cancel)
    }

    /// Asks for a list page by page.
    fn pages(
        &self,
        server: &Server,
        first: At<'_>,
        scope: &str,
        refusal: &dyn Fn(Error) -> Error,
        take: &mut dyn FnMut(&[u8]) -> Result<usize, Error>,
    ) -> Result<(), Error> {
        let mut next = None;
        for _ in 0..PAGES_MAX {
            let at = match &next {
                None => first.clone(),
                Some(url) => At::Url(url),
            };
            let ask = Ask {
                method: "GET",
                at,
                headers: &[],
                scope,
                body: Body::Empty,
            };
            let response = self.patiently(server, &Cancel::default(), || self.ask(server, &ask))?;
            if response.status != 200 {
                return Err(refusal(failure::status(response)));
            }
            let follow = match link(&response) {
                Some(target) => Some(response.url.join(&target).map_err(|reason| Error::Malformed {
                    what: "the link to the next page of a list".to_owned(),
                    reason: reason.to_owned(),
                })?),
                None => None,
            };
            // A link to elsewhere, or to the same page again, is nobody's list.
            let strayed = follow
                .as_ref()
                .is_some_and(|url| url.origin != response.url.origin || *url == response.url);
            let bytes = response.read("a page of a list", MANIFEST_MAX, self.settings().timeouts.document)?;
            let names = take(&bytes)?;
            if strayed || names > NAMES_MAX {
                break;
            }
            match follow {
                Some(url) => next = Some(url),
                None => return Ok(()),
            }
        }
        Err(Error::Malformed {
            what: format!("the list of {}", server.name),
            reason: "it has no end".to_owned(),
        })
    }
}

/// The tag that lists what is attached to a digest.
fn fallback_tag(subject: &Digest) -> String {
    let tag = format!("{}-{}", subject.algorithm().name(), subject.hex());
    tag.chars().take(128).collect()
}

/// What a document is attached to, and how it is listed there.
fn attached(document: &Document, reference: &Reference) -> Result<Option<(Digest, Descriptor)>, Error> {
    let which = Which::Digest(&document.digest);
    let name = reference.familiar();
    let (parsed, _) = parse_any(&document.bytes, Some(&document.media_type), which, &name)?;
    let (subject, kind, annotations) = match parsed {
        Parsed::Image(manifest) => {
            let kind = manifest.artifact_type.unwrap_or(manifest.config.media_type);
            (manifest.subject, Some(kind), manifest.annotations)
        }
        Parsed::Index(index) => (index.subject, None, index.annotations),
    };
    Ok(subject.map(|subject| {
        let entry = Descriptor {
            media_type: document.media_type.clone(),
            digest: document.digest.clone(),
            size: document.bytes.len() as u64,
            urls: Vec::new(),
            annotations,
            platform: None,
            artifact_type: kind,
        };
        (subject.digest, entry)
    }))
}

fn json<'a, T: Deserialize<'a>>(what: &str, bytes: &'a [u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|source| Error::Json {
        what: what.to_owned(),
        source,
    })
}

fn index(what: &str, bytes: &[u8]) -> Result<Index, Error> {
    json(what, bytes)
}

/// The target of `Link: <..>; rel="next"` (RFC 8288).
fn link(response: &Response) -> Option<String> {
    let value = response.header("link")?;
    let (target, parameters) = value.trim().strip_prefix('<')?.split_once('>')?;
    let next = parameters
        .split(';')
        .map(|parameter| parameter.trim().replace('"', ""))
        .any(|parameter| parameter.eq_ignore_ascii_case("rel=next"));
    next.then(|| target.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fallback_tags_are_tags() {
        let reference: Reference = "a/b".parse().unwrap();
        for digest in [
            format!("sha256:{}", "a".repeat(64)),
            format!("sha512:{}", "b".repeat(128)),
        ] {
            let tag = fallback_tag(&digest.parse().unwrap());
            assert!(reference.with_tag(&tag).is_ok() && tag.len() <= 128, "{tag}");
        }
    }
}
