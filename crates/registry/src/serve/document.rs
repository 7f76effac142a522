//! Manifests and indexes as they are pushed: checked before they are kept.
//!
//! A document is one thing only: what one program reads as an image and another as an index (CVE-2021-41190) is refused,
//! and so is one that calls itself something else than its `Content-Type` does.

use std::collections::BTreeMap;

use hull_spec::Digest;
use hull_spec::manifest::{Descriptor, media};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::answer::Refusal;

/// What a document refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Document {
    pub(super) media_type: String,
    /// Config and layers: blobs.
    pub(super) blobs: Vec<Digest>,
    /// Blobs that need not be there: layers that may not be distributed.
    pub(super) foreign: Vec<Digest>,
    /// An index's manifests.
    pub(super) manifests: Vec<Digest>,
    pub(super) subject: Option<Digest>,
    pub(super) artifact_type: Option<String>,
    pub(super) annotations: BTreeMap<String, String>,
}

/// Keys that are given twice are refused by serde.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: Option<u64>,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    fs_layers: Option<IgnoredAny>,
    history: Option<IgnoredAny>,
    subject: Option<Descriptor>,
    annotations: Option<BTreeMap<String, String>>,
}

/// How a referrer is listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Referrer {
    pub(super) media_type: String,
    pub(super) digest: Digest,
    pub(super) size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) artifact_type: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) annotations: BTreeMap<String, String>,
}

impl Document {
    /// Reads a document that is said to be of `claimed`, its `Content-Type`.
    pub(super) fn parse(bytes: &[u8], claimed: Option<&str>) -> Result<Self, Refusal> {
        let invalid = |message: String| Refusal::invalid("MANIFEST_INVALID", message);
        let raw: Raw = serde_json::from_slice(bytes).map_err(|err| invalid(format!("manifest invalid: {err}")))?;
        let claimed = claimed
            .map(|text| text.split(';').next().unwrap_or("").trim().to_ascii_lowercase())
            .filter(|text| !text.is_empty() && text != "application/octet-stream");
        let schema1 = |text: &str| text.starts_with("application/vnd.docker.distribution.manifest.v1+");
        if raw.schema_version == Some(1)
            || raw.fs_layers.is_some() && raw.history.is_some()
            || claimed.as_deref().is_some_and(schema1)
        {
            return Err(invalid(
                "the retired format \"Docker image manifest version 2, schema 1\" is not accepted".to_owned(),
            ));
        }
        if raw.schema_version != Some(2) {
            return Err(invalid("schemaVersion is not 2".to_owned()));
        }
        let media_type = match (&claimed, &raw.media_type) {
            (Some(claimed), Some(own)) if claimed != own => {
                return Err(invalid(format!("it is said to be both `{claimed}` and `{own}`")));
            }
            (Some(found), _) | (None, Some(found)) => found.clone(),
            (None, None) => {
                return Err(invalid(
                    "neither its Content-Type nor itself says what it is".to_owned(),
                ));
            }
        };
        let index = media::is_index(&media_type);
        if !index && !media::is_manifest(&media_type) {
            return Err(invalid(format!("the media type `{media_type}` is not accepted")));
        }
        Self::build(raw, media_type, index)
    }

    fn build(raw: Raw, media_type: String, index: bool) -> Result<Self, Refusal> {
        let invalid = |message: &str| Err(Refusal::invalid("MANIFEST_INVALID", message));
        let mut document = Self {
            media_type,
            blobs: Vec::new(),
            foreign: Vec::new(),
            manifests: Vec::new(),
            subject: raw.subject.map(|subject| subject.digest),
            artifact_type: raw.artifact_type.filter(|text| !text.is_empty()),
            annotations: raw.annotations.unwrap_or_default(),
        };
        if raw.fs_layers.is_some() {
            return invalid("a document with fsLayers is of another format");
        }
        match (index, raw.config, raw.layers, raw.manifests) {
            (true, None, None, Some(manifests)) => {
                document.manifests = manifests.into_iter().map(|d| d.digest).collect();
            }
            (false, Some(config), Some(layers), None) => {
                if document.artifact_type.is_none() {
                    document.artifact_type = Some(config.media_type.clone()).filter(|text| !text.is_empty());
                }
                for descriptor in std::iter::once(config).chain(layers) {
                    let kind = &descriptor.media_type;
                    let elsewhere = !descriptor.urls.is_empty()
                        || kind.contains("nondistributable")
                        || kind.contains(".rootfs.foreign.");
                    let list = if elsewhere {
                        &mut document.foreign
                    } else {
                        &mut document.blobs
                    };
                    list.push(descriptor.digest);
                }
            }
            (true, ..) => return invalid("an index has manifests, and neither config nor layers"),
            (false, ..) => return invalid("a manifest has config and layers, and no manifests"),
        }
        Ok(document)
    }

    /// How it is listed among its subject's referrers.
    pub(super) fn referrer(&self, digest: &Digest, size: u64) -> Referrer {
        Referrer {
            media_type: self.media_type.clone(),
            digest: digest.clone(),
            size,
            artifact_type: self.artifact_type.clone(),
            annotations: self.annotations.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn descriptor(kind: &str) -> serde_json::Value {
        serde_json::json!({"mediaType": kind, "digest": format!("sha256:{HEX}"), "size": 2})
    }

    #[test]
    fn a_document_is_one_thing_only() {
        let d = descriptor("x");
        let check = |json: serde_json::Value, claimed: Option<&str>, expected: Result<(), &str>| {
            let found = Document::parse(json.to_string().as_bytes(), claimed).map(drop);
            match (found, expected) {
                (Ok(()), Ok(())) => {}
                (Err(refusal), Err(text)) => assert!(refusal.message.contains(text), "{json}: {}", refusal.message),
                (found, expected) => panic!("{json}: {found:?} is not {expected:?}"),
            }
        };
        let oci = Some(media::OCI_MANIFEST);
        let manifest = serde_json::json!({"schemaVersion": 2, "config": d, "layers": [d]});
        check(manifest.clone(), oci, Ok(()));
        check(
            manifest.clone(),
            Some("application/vnd.oci.image.manifest.v1+json; charset=utf-8"),
            Ok(()),
        );
        check(manifest.clone(), None, Err("neither its Content-Type"));
        check(manifest.clone(), Some(media::OCI_INDEX), Err("an index has manifests"));
        check(manifest.clone(), Some("text/html"), Err("`text/html` is not accepted"));
        let mut both = manifest.clone();
        both["manifests"] = serde_json::json!([d]);
        check(both.clone(), oci, Err("no manifests"));
        check(both, Some(media::OCI_INDEX), Err("neither config nor layers"));
        let mut lies = manifest.clone();
        lies["mediaType"] = media::OCI_INDEX.into();
        check(lies, oci, Err("both"));
        let mut old = manifest.clone();
        old["schemaVersion"] = 1.into();
        check(old, oci, Err("schema 1"));
        check(
            serde_json::json!({"schemaVersion": 2, "manifests": []}),
            Some(media::DOCKER_INDEX),
            Ok(()),
        );
        check(serde_json::json!([]), oci, Err("manifest invalid"));
        let twice = format!(r#"{{"schemaVersion":2,"config":{d},"config":{d},"layers":[]}}"#);
        assert!(Document::parse(twice.as_bytes(), oci).is_err());
        let deep = "[".repeat(100_000);
        assert!(Document::parse(deep.as_bytes(), oci).is_err());
    }

    #[test]
    fn artifact_types_come_from_the_config_where_there_is_none() {
        let subject = descriptor(media::OCI_MANIFEST);
        let read = |json: serde_json::Value, claimed: &str| {
            Document::parse(json.to_string().as_bytes(), Some(claimed)).unwrap()
        };
        let plain = read(
            serde_json::json!({"schemaVersion": 2, "config": descriptor("a/config"), "layers": [], "subject": subject}),
            media::OCI_MANIFEST,
        );
        assert_eq!(plain.artifact_type.as_deref(), Some("a/config"));
        assert_eq!(plain.subject.unwrap().hex(), HEX);
        let own = read(
            serde_json::json!({"schemaVersion": 2, "artifactType": "own", "config": descriptor("a/config"), "layers": []}),
            media::OCI_MANIFEST,
        );
        assert_eq!(own.artifact_type.as_deref(), Some("own"));
        let index = read(
            serde_json::json!({"schemaVersion": 2, "manifests": []}),
            media::OCI_INDEX,
        );
        assert_eq!(index.artifact_type, None);
    }
}
