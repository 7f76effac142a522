//! What a JSON document is: the manifest of one image or an index of several, told apart for certain.
//!
//! A document is one thing only. What could be read as an image by one program and as an index by another
//! (CVE-2021-41190), or calls itself something else than whoever refers to it does, is refused.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::manifest::{Descriptor, Index, Manifest, media};
use crate::{Error, Platform};

/// The most layers that an image may have: overlayfs mounts no more (`OVL_MAX_STACK`).
pub const LAYERS_MAX: usize = 500;

/// An index may list an index; more than this deep is nobody's image.
pub const INDEX_DEPTH_MAX: usize = 4;

/// A document of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// One image.
    Image(Box<Manifest>),
    /// Several documents under one name.
    Index(Box<Index>),
}

/// What every document tells about itself. Repeated keys are refused by serde.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outline {
    schema_version: Option<u64>,
    media_type: Option<String>,
    manifests: Option<IgnoredAny>,
    config: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
    fs_layers: Option<IgnoredAny>,
}

impl Document {
    /// Reads a document. `claims` are the media types that others give it: the descriptor that names it, a server's
    /// header. Empty ones say nothing.
    ///
    /// # Errors
    /// What is no document, or is two things at once, or not what it is claimed to be; an image of more layers than can
    /// be mounted.
    pub fn read(bytes: &[u8], claims: &[&str]) -> Result<Self, Error> {
        let wrong = |reason: &str| Error::Document {
            reason: reason.to_owned(),
        };
        let json = |error: serde_json::Error| wrong(&format!("it cannot be read: {error}"));
        let outline: Outline = serde_json::from_slice(bytes).map_err(json)?;
        if outline.schema_version == Some(1) || outline.fs_layers.is_some() {
            return Err(wrong("it has the retired schema 1"));
        }
        if outline.schema_version != Some(2) {
            return Err(wrong("its schemaVersion is not 2"));
        }
        let own = outline.media_type.as_deref().unwrap_or_default();
        let mut said = claims.iter().copied().chain([own]).filter(|claim| !claim.is_empty());
        let claim = said.next();
        if let Some((first, other)) = claim.and_then(|first| Some((first, said.find(|other| *other != first)?))) {
            let (first, other) = (printable(first), printable(other));
            return Err(wrong(&format!("it is said to be both `{first}` and `{other}`")));
        }
        let is_index = outline.manifests.is_some();
        if is_index && (outline.config.is_some() || outline.layers.is_some()) {
            return Err(wrong("it is both an index and the manifest of one image"));
        }
        if let Some(claim) = claim
            && (media::is_index(claim) != is_index || media::is_manifest(claim) == is_index)
        {
            return Err(wrong(&if media::is_index(claim) || media::is_manifest(claim) {
                "it has not the parts that its media type promises".to_owned()
            } else {
                format!("it is of type `{}`, which is no image", printable(claim))
            }));
        }
        if is_index {
            return Ok(Self::Index(Box::new(serde_json::from_slice(bytes).map_err(json)?)));
        }
        let manifest: Manifest = serde_json::from_slice(bytes).map_err(json)?;
        if manifest.layers.len() > LAYERS_MAX {
            return Err(wrong(&format!(
                "it has {} layers, and {LAYERS_MAX} is the most",
                manifest.layers.len()
            )));
        }
        Ok(Self::Image(Box::new(manifest)))
    }
}

impl Index {
    /// The best entry for `wanted`. The first of equally good ones is taken, as other clients do. Entries that name no
    /// platform are a last resort: the image config will tell. Attestations are for `unknown/unknown`, so they are never
    /// chosen.
    #[must_use]
    pub fn best(&self, wanted: &Platform) -> Option<&Descriptor> {
        let candidates = || {
            self.manifests.iter().filter(|entry| {
                media::is_manifest(&entry.media_type)
                    || media::is_index(&entry.media_type)
                    || entry.media_type.is_empty()
            })
        };
        let ranked = candidates()
            .filter_map(|entry| Some((wanted.rank(entry.platform.as_ref()?)?, entry)))
            .min_by_key(|(rank, _)| *rank);
        match ranked {
            Some((_, entry)) => Some(entry),
            None => candidates().find(|entry| entry.platform.is_none() && entry.artifact_type.is_none()),
        }
    }
}

/// A stranger's text as it may be shown: no control characters, and not too much of it.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(media_type: &str) -> String {
        let digest = "a".repeat(64);
        format!(r#"{{"mediaType":"{media_type}","digest":"sha256:{digest}","size":5}}"#)
    }

    fn kind(text: &str, claims: &[&str]) -> String {
        match Document::read(text.as_bytes(), claims) {
            Ok(Document::Image(_)) => "image".to_owned(),
            Ok(Document::Index(_)) => "index".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn documents_are_told_apart() {
        let check = |text: &str, claims: &[&str], expected: &str| {
            let found = kind(text, claims);
            assert!(found.contains(expected), "{text} as {claims:?}: {found}");
        };
        let entry = descriptor(media::OCI_MANIFEST);
        let image = format!(r#"{{"schemaVersion":2,"config":{entry},"layers":[{entry}]}}"#);
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{entry}]}}"#);
        check(&image, &[], "image");
        check(&image, &["", media::OCI_MANIFEST], "image");
        check(&image, &[media::OCI_INDEX], "promises");
        check(&image, &[media::OCI_MANIFEST, media::DOCKER_MANIFEST], "both");
        check(&index, &[media::OCI_INDEX], "index");
        check(&index, &[media::DOCKER_MANIFEST], "promises");
        check(&index, &["application/x"], "no image");
        check(
            &format!(r#"{{"schemaVersion":2,"config":{entry},"layers":[],"manifests":[{entry}]}}"#),
            &[],
            "both an index",
        );
        check(
            r#"{"schemaVersion":2,"manifests":[],"manifests":[]}"#,
            &[],
            "cannot be read",
        );
        check(r#"{"schemaVersion":1,"fsLayers":[]}"#, &[], "schema 1");
        check(r#"{"schemaVersion":3}"#, &[], "schemaVersion");
        check(&"[".repeat(100_000), &[], "cannot be read");
        check("", &[], "cannot be read");
        let many = vec![entry.as_str(); LAYERS_MAX + 1].join(",");
        check(
            &format!(r#"{{"schemaVersion":2,"config":{entry},"layers":[{many}]}}"#),
            &[],
            "501 layers",
        );
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(text in "[\\[\\]{}:,\"a-zA-Z0-9]{0,100}") {
            let _ = kind(&text, &[media::OCI_INDEX]);
        }
    }
}
