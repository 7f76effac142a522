//! Manifests and indexes: fetched, checked against their digest, and told apart for certain.
//!
//! A document is one thing only. What could be read as an image by one program and as an index by another
//! (CVE-2021-41190), or calls itself something else than its server or its index does, is refused.

use hull_spec::manifest::{Descriptor, Index, MANIFEST_MAX, Manifest, media};
use hull_spec::{Algorithm, Digest, Reference};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::client::{Ask, Client};
use crate::source::Source;
use crate::{Error, failure};

/// The most layers that an image may have: overlayfs mounts no more (`OVL_MAX_STACK`).
const LAYERS_MAX: usize = 500;

/// A document of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Document {
    Image(Box<Manifest>),
    Index(Box<Index>),
}

/// A document with the bytes that its digest is of.
#[derive(Clone, Debug)]
pub(crate) struct Fetched {
    pub(crate) digest: Digest,
    pub(crate) bytes: Vec<u8>,
    pub(crate) document: Document,
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
    history: Option<IgnoredAny>,
}

/// Which document of a repository.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Which<'a> {
    Tag(&'a str),
    Digest(&'a Digest),
    /// One that an index lists.
    Listed(&'a Descriptor),
}

impl<'a> Which<'a> {
    pub(crate) fn of(reference: &'a Reference) -> Self {
        match (reference.digest(), reference.tag()) {
            (Some(digest), _) => Self::Digest(digest),
            (None, tag) => Self::Tag(tag.unwrap_or("latest")),
        }
    }

    fn digest(self) -> Option<&'a Digest> {
        match self {
            Self::Tag(_) => None,
            Self::Digest(digest) => Some(digest),
            Self::Listed(descriptor) => Some(&descriptor.digest),
        }
    }

    fn tail(self) -> String {
        match (self.digest(), self) {
            (None, Self::Tag(tag)) => format!("manifests/{tag}"),
            (digest, _) => format!("manifests/{}", digest.map_or("", Digest::as_str)),
        }
    }
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

impl Client {
    /// The digest of what a tag names now, as the registry says without sending it. `None` where it does not say.
    pub(crate) fn head(&self, source: &Source, which: Which<'_>) -> Result<Option<Digest>, Error> {
        let response = self.ask(source, &Ask::read("HEAD", which.tail(), &accept()))?;
        if response.status != 200 {
            return Ok(None);
        }
        Ok(response
            .header("docker-content-digest")
            .and_then(|text| text.parse().ok()))
    }

    /// Fetches and checks one document, once: an index, or an image that can run.
    pub(crate) fn document(&self, source: &Source, reference: &Reference, which: Which<'_>) -> Result<Fetched, Error> {
        let (digest, bytes, served) = self.raw_document(source, reference, which)?;
        let document = parse(&bytes, served.as_deref(), which, reference)?;
        Ok(Fetched {
            digest,
            bytes,
            document,
        })
    }

    /// Fetches one document, once, and checks its digest. Returns what the server calls it, too.
    pub(crate) fn raw_document(
        &self,
        source: &Source,
        reference: &Reference,
        which: Which<'_>,
    ) -> Result<(Digest, Vec<u8>, Option<String>), Error> {
        let response = self.ask(source, &Ask::read("GET", which.tail(), &accept()))?;
        if response.status != 200 {
            return Err(failure::of_manifest(failure::status(response), reference));
        }
        let served = response.header("content-type").map(str::to_owned);
        let told = response.header("docker-content-digest").map(str::to_owned);
        let what = what(&reference.familiar());
        let bytes = response.read(&what, MANIFEST_MAX, self.settings().timeouts.document)?;
        let (algorithm, expected) = match which.digest() {
            Some(digest) => (digest.algorithm(), Some(digest.as_str())),
            None => (
                Algorithm::Sha256,
                told.as_deref().filter(|told| told.starts_with("sha256:")),
            ),
        };
        let digest = hull_store::digest(algorithm, &bytes);
        if let Some(expected) = expected.filter(|expected| *expected != digest.as_str()) {
            return Err(Error::DigestMismatch {
                what,
                expected: failure::printable(expected),
                actual: digest,
            });
        }
        Ok((digest, bytes, served))
    }
}

fn what(name: &str) -> String {
    format!("the manifest of {name}")
}

/// Reads a document whose digest is known to be right. `served` is its `Content-Type`, if it came over HTTP. It is an
/// index or an image that can run.
pub(crate) fn parse(
    bytes: &[u8],
    served: Option<&str>,
    which: Which<'_>,
    reference: &Reference,
) -> Result<Document, Error> {
    let (document, _) = parse_any(bytes, served, which, &reference.familiar())?;
    if let Document::Image(manifest) = &document {
        check_image(manifest, reference)?;
    }
    Ok(document)
}

/// The same of a document that may be any artifact; errors call it `name`. Returns its media type with it.
pub(crate) fn parse_any(
    bytes: &[u8],
    served: Option<&str>,
    which: Which<'_>,
    name: &str,
) -> Result<(Document, String), Error> {
    let json = |source| Error::Json {
        what: what(name),
        source,
    };
    let malformed = |reason: &str| Error::Malformed {
        what: what(name),
        reason: reason.to_owned(),
    };
    let outline: Outline = serde_json::from_slice(bytes).map_err(json)?;
    let served = served.map(essence).filter(|served| is_document(served));
    let own = outline.media_type.clone();
    let listed = match which {
        Which::Listed(descriptor) => Some(descriptor.media_type.clone()).filter(|t| !t.is_empty()),
        _ => None,
    };
    if let Which::Listed(descriptor) = which
        && descriptor.size != bytes.len() as u64
    {
        return Err(Error::SizeMismatch {
            digest: descriptor.digest.clone(),
            expected: descriptor.size,
            actual: bytes.len() as u64,
        });
    }
    let retired = served.as_deref().is_some_and(is_schema1) || own.as_deref().is_some_and(is_schema1);
    if retired || outline.schema_version == Some(1) || (outline.fs_layers.is_some() && outline.history.is_some()) {
        return Err(Error::Schema1 {
            reference: name.to_owned(),
        });
    }
    if outline.schema_version != Some(2) {
        return Err(malformed("its schemaVersion is not 2"));
    }
    let mut claims = [own, served, listed].into_iter().flatten();
    let claim = claims.next();
    if let Some(first) = &claim
        && let Some(other) = claims.find(|other| other != first)
    {
        let (first, other) = (failure::printable(first), failure::printable(&other));
        return Err(malformed(&format!("it is said to be both `{first}` and `{other}`")));
    }
    let is_index = outline.manifests.is_some();
    if is_index && (outline.config.is_some() || outline.layers.is_some() || outline.fs_layers.is_some()) {
        return Err(malformed("it is both an index and the manifest of one image"));
    }
    match claim.as_deref() {
        Some(claim) if media::is_index(claim) != is_index || media::is_manifest(claim) == is_index => {
            if !media::is_index(claim) && !media::is_manifest(claim) {
                return Err(Error::NotAnImage {
                    reference: name.to_owned(),
                    media_type: failure::printable(claim),
                });
            }
            return Err(malformed("it has not the parts that its media type promises"));
        }
        _ => {}
    }
    let media_type = claim.unwrap_or_else(|| {
        if is_index {
            media::OCI_INDEX
        } else {
            media::OCI_MANIFEST
        }
        .to_owned()
    });
    let document = if is_index {
        Document::Index(Box::new(serde_json::from_slice(bytes).map_err(json)?))
    } else {
        Document::Image(Box::new(serde_json::from_slice(bytes).map_err(json)?))
    };
    Ok((document, media_type))
}

/// Whether this is an image that can run, not one of the many other things that registries keep.
fn check_image(manifest: &Manifest, reference: &Reference) -> Result<(), Error> {
    let not_an_image = |media_type: &str| Error::NotAnImage {
        reference: reference.familiar(),
        media_type: failure::printable(media_type),
    };
    // Registries of Docker 1.10's time rewrote the type to the last two.
    let config = manifest.config.media_type.as_str();
    if !matches!(
        config,
        media::OCI_CONFIG | media::DOCKER_CONFIG | "application/octet-stream" | ""
    ) {
        return Err(not_an_image(config));
    }
    if let Some(layer) = manifest.layers.iter().find(|layer| layer.compression().is_none()) {
        return Err(not_an_image(&layer.media_type));
    }
    if manifest.layers.len() > LAYERS_MAX {
        return Err(Error::Malformed {
            what: what(&reference.familiar()),
            reason: format!("it has {} layers, and {LAYERS_MAX} is the most", manifest.layers.len()),
        });
    }
    Ok(())
}

/// The media type without its parameters.
fn essence(value: &str) -> String {
    value.split(';').next().unwrap_or(value).trim().to_ascii_lowercase()
}

/// Whether a server's `Content-Type` says anything: many say `application/json` or `text/plain` of everything.
fn is_document(media_type: &str) -> bool {
    media::is_index(media_type) || media::is_manifest(media_type) || is_schema1(media_type)
}

fn is_schema1(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.docker.distribution.manifest.v1+")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(c: char) -> String {
        format!("sha256:{}", c.to_string().repeat(64))
    }

    fn descriptor(media_type: &str) -> String {
        format!(r#"{{"mediaType":"{media_type}","digest":"{}","size":5}}"#, digest('a'))
    }

    fn image(media_type: &str, config: &str, layer: &str) -> String {
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{media_type}","config":{},"layers":[{}]}}"#,
            descriptor(config),
            descriptor(layer)
        )
    }

    /// `image`, `index`, or what the error says.
    fn kind(text: &str, served: Option<&str>) -> String {
        match parse(text.as_bytes(), served, Which::Tag("x"), &"a:x".parse().unwrap()) {
            Ok(Document::Image(_)) => "image".to_owned(),
            Ok(Document::Index(_)) => "index".to_owned(),
            Err(err) => err.to_string(),
        }
    }

    #[test]
    fn documents_are_told_apart() {
        let check = |text: &str, served: Option<&str>, expected: &str| {
            let found = kind(text, served);
            assert!(found.contains(expected), "{text} as {served:?}: {found}");
        };
        let oci = image(media::OCI_MANIFEST, media::OCI_CONFIG, media::OCI_LAYER_ZSTD);
        let docker = image(media::DOCKER_MANIFEST, media::DOCKER_CONFIG, media::DOCKER_LAYER_GZIP);
        let index = format!(
            r#"{{"schemaVersion":2,"manifests":[{}]}}"#,
            descriptor(media::OCI_MANIFEST)
        );
        check(&oci, Some(media::OCI_MANIFEST), "image");
        check(
            &oci,
            Some("application/vnd.oci.image.manifest.v1+json; charset=utf-8"),
            "image",
        );
        check(&oci, Some("application/json"), "image");
        check(&oci, None, "image");
        check(&docker, Some(media::DOCKER_MANIFEST), "image");
        check(&index, Some(media::OCI_INDEX), "index");
        check(&index, None, "index");
        check(&oci, Some(media::DOCKER_MANIFEST), "both");
        check(&oci, Some(media::OCI_INDEX), "both");
        check(&index, Some(media::OCI_MANIFEST), "promises");
        check(
            &oci.replace("schemaVersion\":2", "schemaVersion\":3"),
            None,
            "schemaVersion",
        );
        check(
            &image(media::OCI_INDEX, media::OCI_CONFIG, media::OCI_LAYER),
            None,
            "promises",
        );
        check(r#"{"schemaVersion":1,"fsLayers":[],"history":[]}"#, None, "schema 1");
        check(
            "{}",
            Some("application/vnd.docker.distribution.manifest.v1+prettyjws"),
            "schema 1",
        );
        check("[]", None, "cannot parse");
        check("", None, "cannot parse");
        check(&"[".repeat(100_000), None, "cannot parse");
        check(&oci.replace("\"size\":5", "\"size\":-5"), None, "cannot parse");
        check(
            &image(
                media::OCI_MANIFEST,
                "application/vnd.cncf.helm.config.v1+json",
                media::OCI_LAYER,
            ),
            None,
            "vnd.cncf.helm",
        );
        check(
            &image(
                media::OCI_MANIFEST,
                media::OCI_CONFIG,
                "application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
            ),
            None,
            "encrypted",
        );
        check(
            r#"{"schemaVersion":2,"mediaType":"application/x"}"#,
            None,
            "application/x",
        );
    }

    #[test]
    fn a_document_that_is_two_things_is_refused() {
        let both = format!(
            r#"{{"schemaVersion":2,"config":{0},"layers":[],"manifests":[{0}]}}"#,
            descriptor(media::OCI_CONFIG)
        );
        for served in [None, Some(media::OCI_MANIFEST), Some(media::OCI_INDEX)] {
            assert!(kind(&both, served).contains("both an index"), "{served:?}");
        }
        let twice = r#"{"schemaVersion":2,"manifests":[],"manifests":[]}"#;
        assert!(kind(twice, None).contains("cannot parse"));
    }

    #[test]
    fn an_index_is_believed_about_what_it_lists() {
        let text = image(media::OCI_MANIFEST, media::OCI_CONFIG, media::OCI_LAYER);
        let check = |media_type: &str, size: usize, ok: bool| {
            let listed: Descriptor = serde_json::from_str(&descriptor(media_type)).unwrap();
            let listed = Descriptor {
                size: size as u64,
                ..listed
            };
            let found = parse(text.as_bytes(), None, Which::Listed(&listed), &"a:x".parse().unwrap());
            assert_eq!(found.is_ok(), ok, "{media_type} {size}");
        };
        check(media::OCI_MANIFEST, text.len(), true);
        check(media::OCI_MANIFEST, text.len() + 1, false);
        check(media::OCI_INDEX, text.len(), false);
        check(media::DOCKER_MANIFEST, text.len(), false);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(text in "[\\[\\]{}:,\"a-zA-Z0-9]{0,100}") {
            let _ = kind(&text, None);
        }
    }
}
