//! Docker's archives: `manifest.json` says for each image where its config and its layers are.
//!
//! Before Docker 25 a layer is `ID/layer.tar`, sometimes a link to another one's; since then the archive is an OCI layout
//! as well. Other tools name their files otherwise, and compress them: Podman (`HEX.tar`), Bazel's and kaniko's tools
//! (`HEX.tar.gz`), which are all read by what they are, not by how they are called.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;

use hull_spec::image::{CONFIG_MAX, ImageConfig};
use hull_spec::manifest::{Descriptor, Manifest, media};
use hull_spec::{Digest, Document, INDEX_DEPTH_MAX, LAYERS_MAX, Reference};
use serde::de::Visitor;
use serde::{Deserialize, Deserializer};

use super::files::{Files, clean};
use super::{Archive, Form, LIST_MAX, Listed, Section, describe, layout, malformed};
use crate::error::{At, Error, Result};

/// Bytes of the manifests that are made here, of all images of an archive.
const MADE_MAX: usize = 8 << 20;

/// One image of `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item<'a> {
    #[serde(borrow)]
    config: Text<'a>,
    #[serde(borrow, default)]
    repo_tags: Option<Vec<Text<'a>>>,
    #[serde(borrow, default)]
    layers: Option<Vec<Text<'a>>>,
}

/// A text of the list, where it is: a million of short ones takes no memory of their own.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Take;
        impl<'de> Visitor<'de> for Take {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Take)
    }
}

pub(super) fn read(place: String, files: Files) -> Result<Archive> {
    let text = files.text("manifest.json", LIST_MAX)?.unwrap_or_default();
    let items: Vec<Item<'_>> = serde_json::from_slice(&text)
        .map_err(|error| malformed(&*place, format!("its manifest.json cannot be read: {error}")))?;
    let mut archive = match files.text("index.json", LIST_MAX)? {
        // Both lists are of the same blobs.
        Some(_) if files.find("oci-layout")?.is_some() => layout::read(place, Form::Docker, files)?,
        _ => Archive {
            place,
            form: Form::Docker,
            files,
            listed: Vec::new(),
            made: HashMap::new(),
            placed: HashMap::new(),
        },
    };
    let known = configs(&archive);
    let mut made = Made::default();
    for item in &items {
        let names = item.names(&archive.place)?;
        let (config, section, bytes) = config(&archive, &item.config.0)?;
        let top = known.get(&config).copied();
        let at = match top {
            Some(at) => at,
            None => {
                let descriptor = made.image(&mut archive, item, section, &bytes)?;
                let there = archive.listed.iter().position(|l| l.descriptor == descriptor);
                there.unwrap_or_else(|| {
                    archive.listed.push(Listed {
                        descriptor,
                        names: Vec::new(),
                        label: None,
                    });
                    archive.listed.len() - 1
                })
            }
        };
        for name in names {
            if !archive.listed[at].names.contains(&name) {
                archive.listed[at].names.push(name);
            }
        }
    }
    Ok(archive)
}

impl Item<'_> {
    fn names(&self, place: &str) -> Result<Vec<Reference>> {
        let tags = self.repo_tags.iter().flatten();
        tags.map(|Text(text)| match text.parse::<Reference>() {
            Ok(name) if name.tag().is_some() && name.digest().is_none() => Ok(name),
            _ => {
                let shown: String = text.chars().filter(|c| !c.is_control()).take(200).collect();
                Err(malformed(place, format!("invalid tag \"{shown}\"")))
            }
        })
        .collect()
    }
}

/// The configs of all images that the archive's index names, and which entry of its list names each. What cannot be read
/// is left out: `manifest.json` says what is in the archive, and what it says is checked.
fn configs(archive: &Archive) -> HashMap<Digest, usize> {
    fn walk(archive: &Archive, descriptor: &Descriptor, depth: usize, each: &mut dyn FnMut(Digest)) {
        match archive.document(descriptor) {
            Ok((_, Document::Image(manifest))) => each(manifest.config.digest),
            Ok((_, Document::Index(index))) if depth < INDEX_DEPTH_MAX => {
                for entry in &index.manifests {
                    walk(archive, entry, depth + 1, each);
                }
            }
            _ => {}
        }
    }
    let mut out = HashMap::new();
    for (at, listed) in archive.listed.iter().enumerate() {
        walk(archive, &listed.descriptor, 0, &mut |config| {
            out.entry(config).or_insert(at);
        });
    }
    out
}

/// The config that an image names: its digest, where it is, and its bytes.
fn config(archive: &Archive, name: &str) -> Result<(Digest, Section, Vec<u8>)> {
    let found = clean("", name).map(|name| archive.files.find(&name)).transpose()?;
    let section = found.flatten().ok_or_else(|| missing(&archive.place, name))?;
    if section.len() > CONFIG_MAX {
        return Err(malformed(
            &*archive.place,
            format!("a config of {} bytes is larger than {CONFIG_MAX}", section.len()),
        ));
    }
    let bytes = section.clone().whole(&archive.place)?;
    Ok((crate::digest(hull_spec::Algorithm::Sha256, &bytes), section, bytes))
}

fn missing(place: &str, name: &str) -> Error {
    let shown: String = name.chars().filter(|c| !c.is_control()).take(200).collect();
    malformed(place, format!("its manifest.json names `{shown}`, which is not in it"))
}

/// The manifests that are made for images which have none.
#[derive(Default)]
struct Made {
    /// Layers by place: several images may share one.
    layers: HashMap<u64, (Descriptor, Digest)>,
    bytes: usize,
}

impl Made {
    /// The manifest of an image, which is made here.
    fn image(&mut self, archive: &mut Archive, item: &Item<'_>, at: Section, bytes: &[u8]) -> Result<Descriptor> {
        let config_descriptor = describe(media::OCI_CONFIG, bytes);
        let id = config_descriptor.digest.clone();
        let wrong = |reason: String| malformed(&*archive.place, format!("image {id}: {reason}"));
        let config: ImageConfig =
            serde_json::from_slice(bytes).map_err(|error| wrong(format!("its config cannot be read: {error}")))?;
        let names = item.layers.as_deref().unwrap_or_default();
        let diffs = &config.rootfs.diff_ids;
        if diffs.len() != names.len() {
            let (named, given) = (diffs.len(), names.len());
            return Err(wrong(format!(
                "its config names {named} layers, and the archive has {given}"
            )));
        }
        if names.len() > LAYERS_MAX {
            return Err(wrong(format!(
                "it has {} layers, and {LAYERS_MAX} is the most",
                names.len()
            )));
        }
        let mut layers = Vec::with_capacity(names.len());
        for (Text(name), diff) in names.iter().zip(diffs) {
            let found = clean("", name).map(|name| archive.files.find(&name)).transpose()?;
            let section = found.flatten().ok_or_else(|| missing(&archive.place, name))?;
            let layer = self.layer(&archive.place, name, &section, diff)?;
            archive.placed.insert(layer.digest.clone(), section);
            layers.push(layer);
        }
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(media::OCI_MANIFEST.to_owned()),
            artifact_type: None,
            config: config_descriptor,
            layers,
            subject: None,
            annotations: BTreeMap::new(),
        };
        let text = serde_json::to_vec(&manifest).map_err(|error| wrong(error.to_string()))?;
        let descriptor = describe(media::OCI_MANIFEST, &text);
        if !archive.made.contains_key(&descriptor.digest) {
            self.bytes += text.len();
            if self.bytes > MADE_MAX {
                return Err(malformed(&*archive.place, "it has too many images"));
            }
        }
        archive.placed.insert(id, at);
        archive.made.insert(descriptor.digest.clone(), text);
        Ok(descriptor)
    }

    /// What a layer is. One that is not compressed is its own diff ID, which its reader checks.
    fn layer(&mut self, place: &str, name: &str, section: &Section, diff: &Digest) -> Result<Descriptor> {
        let (_, at) = section.parts();
        if let Some((known, of)) = self.layers.get(&at).filter(|_| !section.is_empty())
            && (known.media_type != media::OCI_LAYER || of == diff)
        {
            return Ok(known.clone());
        }
        let mut head = [0; 6];
        let count = section.peek(&mut head).at("read", place)?;
        let media_type = match head[..count] {
            [0x1f, 0x8b, ..] => media::OCI_LAYER_GZIP,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => media::OCI_LAYER_ZSTD,
            [b'B', b'Z', b'h', ..] => return Err(compressed(place, name, "bzip2")),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => return Err(compressed(place, name, "xz")),
            _ => media::OCI_LAYER,
        };
        let mut layer = describe(media_type, b"");
        layer.size = section.len();
        layer.digest = match (media_type, name.strip_prefix("blobs/sha256/")) {
            (media::OCI_LAYER, _) => diff.clone(),
            // Its reader checks that, too.
            (_, Some(hex)) if format!("sha256:{hex}").parse::<Digest>().is_ok() => {
                format!("sha256:{hex}").parse().map_err(Error::Name)?
            }
            _ => section.digest().at("read", place)?,
        };
        self.layers.insert(at, (layer.clone(), diff.clone()));
        Ok(layer)
    }
}

fn compressed(place: &str, name: &str, format: &str) -> Error {
    let shown: String = name.chars().filter(|c| !c.is_control()).take(200).collect();
    Error::Foreign {
        place: place.to_owned(),
        reason: format!("its layer `{shown}` is compressed with {format}: gzip and zstd are read"),
    }
}
