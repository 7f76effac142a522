//! The OCI image layout (image-layout.md), as a folder or in an archive.

use std::collections::HashMap;

use hull_spec::manifest::{Descriptor, media};
use hull_spec::{Digest, Document, Reference};
use serde::Deserialize;

use super::files::Files;
use super::{Archive, Form, LIST_MAX, Listed, malformed};
use crate::error::{Error, Result};

/// The text by which images of a layout are told apart (annotations.md).
pub(super) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The whole name, as containerd and Docker write it.
pub(super) const CONTAINERD_NAME: &str = "io.containerd.image.name";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Marker {
    image_layout_version: String,
}

/// Where a layout has a blob.
pub(super) fn name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

pub(super) fn read(place: String, form: Form, files: Files) -> Result<Archive> {
    let wrong = |reason: String| malformed(&*place, reason);
    let Some(marker) = files.text("oci-layout", 4096)? else {
        return Err(wrong("it lacks the file oci-layout".to_owned()));
    };
    let marker: Marker =
        serde_json::from_slice(&marker).map_err(|error| wrong(format!("its oci-layout cannot be read: {error}")))?;
    if !marker.image_layout_version.starts_with("1.") {
        let version: String = marker
            .image_layout_version
            .chars()
            .filter(|c| !c.is_control())
            .take(40)
            .collect();
        return Err(Error::Foreign {
            place,
            reason: format!("its layout has version `{version}`, and 1 is understood"),
        });
    }
    let Some(text) = files.text("index.json", LIST_MAX)? else {
        return Err(wrong("it lacks the file index.json".to_owned()));
    };
    let index = match Document::read(&text, &[media::OCI_INDEX]) {
        Ok(Document::Index(index)) => index,
        Ok(Document::Image(_)) => return Err(wrong("its index.json is no index".to_owned())),
        Err(error) => return Err(wrong(format!("its index.json: {error}"))),
    };
    let mut listed: Vec<Listed> = Vec::new();
    let mut places: HashMap<Digest, usize> = HashMap::new();
    for entry in index.manifests {
        let label = entry.annotations.get(REF_NAME).cloned();
        let name = own_name(&entry, label.as_deref());
        // Docker lists an image once for each of its names.
        if let (Some(&at), Some(name)) = (places.get(&entry.digest), &name) {
            if !listed[at].names.contains(name) {
                listed[at].names.push(name.clone());
            }
            continue;
        }
        places.insert(entry.digest.clone(), listed.len());
        listed.push(Listed {
            descriptor: entry,
            names: name.into_iter().collect(),
            label,
        });
    }
    Ok(Archive {
        place,
        form,
        files,
        listed,
        made: HashMap::new(),
        placed: HashMap::new(),
    })
}

/// What an entry is called: by the whole name that containerd writes, or by a label that is more than a tag.
fn own_name(entry: &Descriptor, label: Option<&str>) -> Option<Reference> {
    let whole = entry.annotations.get(CONTAINERD_NAME).map(String::as_str);
    let label = label.filter(|text| text.contains(['/', ':']));
    let name: Reference = whole.or(label)?.parse().ok()?;
    name.digest().is_none().then(|| name.or_latest())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_names_an_image_where_it_is_more_than_a_tag() {
        let check = |whole: Option<&str>, label: &str, expected: Option<&str>| {
            let mut entry = crate::archive::describe(media::OCI_MANIFEST, b"");
            if let Some(whole) = whole {
                entry.annotations.insert(CONTAINERD_NAME.to_owned(), whole.to_owned());
            }
            let name = own_name(&entry, Some(label)).map(|name| name.familiar());
            assert_eq!(name.as_deref(), expected, "{whole:?} {label}");
        };
        check(Some("docker.io/library/a:1"), "1", Some("a:1"));
        check(None, "latest", None);
        check(None, "localhost/a:1", Some("localhost/a:1"));
        check(None, "localhost/a", Some("localhost/a:latest"));
        check(None, "a:1", Some("a:1"));
        check(None, "A/../b", None);
        check(None, &format!("a/b@sha256:{}", "a".repeat(64)), None);
    }
}
