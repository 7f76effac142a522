//! Skopeo's `dir:`: one image, its manifest as `manifest.json`, its blobs by the digits of their digests. Of an index, the
//! manifests that it lists are `HEX.manifest.json`.

use std::collections::HashMap;

use hull_spec::manifest::{Descriptor, MANIFEST_MAX, media};
use hull_spec::{Document, INDEX_DEPTH_MAX};

use super::files::Files;
use super::{Archive, Form, Listed, describe, malformed};
use crate::error::{Error, Result};

pub(super) const VERSION: &str = "Directory Transport Version: 1.1\n";

pub(super) fn read(place: String, files: Files) -> Result<Archive> {
    if let Some(version) = files.text("version", 4096)?
        && !version.starts_with(b"Directory Transport Version: 1.")
    {
        return Err(Error::Foreign {
            place,
            reason: "its version is not 1".to_owned(),
        });
    }
    let bytes = files.text("manifest.json", MANIFEST_MAX)?.unwrap_or_default();
    let document =
        Document::read(&bytes, &[]).map_err(|error| malformed(&*place, format!("its manifest.json: {error}")))?;
    let descriptor = describe(media_type(&document), &bytes);
    let mut archive = Archive {
        place,
        form: Form::Dir,
        files,
        listed: vec![Listed {
            descriptor: descriptor.clone(),
            names: Vec::new(),
            label: None,
        }],
        made: HashMap::from([(descriptor.digest, bytes)]),
        placed: HashMap::new(),
    };
    collect(&mut archive, &document, 0)?;
    Ok(archive)
}

/// The type that a document has of its own.
fn media_type(document: &Document) -> &str {
    match document {
        Document::Image(manifest) => manifest.media_type.as_deref().unwrap_or(media::OCI_MANIFEST),
        Document::Index(index) => index.media_type.as_deref().unwrap_or(media::OCI_INDEX),
    }
}

/// Where an index's manifests are. One that is not there is missed when it is asked for: skopeo copies parts of indexes.
fn collect(archive: &mut Archive, document: &Document, depth: usize) -> Result<()> {
    let Document::Index(index) = document else {
        return Ok(());
    };
    for entry in &index.manifests {
        if archive.placed.contains_key(&entry.digest) {
            continue;
        }
        let Some(section) = archive.files.find(&manifest_name(entry))? else {
            continue;
        };
        archive.placed.insert(entry.digest.clone(), section);
        if media::is_index(&entry.media_type) && depth < INDEX_DEPTH_MAX {
            let (_, inner) = archive.document(entry)?;
            collect(archive, &inner, depth + 1)?;
        }
    }
    Ok(())
}

pub(super) fn manifest_name(descriptor: &Descriptor) -> String {
    format!("{}.manifest.json", descriptor.digest.hex())
}
