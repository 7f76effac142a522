//! Writing images in any form, one after the other, without knowing before what all of them share.

use std::collections::HashMap;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use hull_spec::manifest::{Descriptor, media};
use hull_spec::{Digest, Document, Platform};
use serde::Serialize;
use serde_json::{Value, json};

use super::layout::{CONTAINERD_NAME, REF_NAME};
use super::{Form, Listed, Section, dir, layout, malformed};
use crate::error::{Error, Result};
use crate::hash::{self, Hasher};

mod folder;
mod tarball;

use folder::Folder;
use tarball::Tarball;

const MARKER: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// A writer of images. Blobs come before the documents that name them, documents before what lists them.
///
/// An archive is whole only after [`Writer::finish`]: whoever gave the file gives it its name then. A folder is added to:
/// what it has already stays, and what is listed anew under the same label is replaced in the end, in one step.
#[derive(Debug)]
pub struct Writer {
    form: Form,
    place: String,
    sink: Sink,
    documents: HashMap<Digest, Kept>,
    listed: Vec<Listed>,
}

#[derive(Debug)]
enum Sink {
    Tar(Box<Tarball>),
    Folder(Folder),
}

/// A document that was written, or will be.
#[derive(Debug)]
struct Kept {
    bytes: Vec<u8>,
    document: Document,
}

impl Writer {
    /// An archive, written to a file, a pipe or a socket from its present place on. `place` is what errors call it.
    ///
    /// # Errors
    /// If `form` is one of a folder; if the file cannot be written.
    pub fn archive(form: Form, place: &str, output: OwnedFd) -> Result<Self> {
        if matches!(form, Form::Layout | Form::Dir) {
            return Err(Error::Foreign {
                place: place.to_owned(),
                reason: "this form is a folder".to_owned(),
            });
        }
        Ok(Self::new(
            form,
            place,
            Sink::Tar(Box::new(Tarball::new(place, output)?)),
        ))
    }

    /// A folder, which is made if need be.
    ///
    /// # Errors
    /// If `form` is one of an archive; if the folder cannot be made, or holds something else.
    pub fn folder(form: Form, path: &Path) -> Result<Self> {
        let place = path.display().to_string();
        if matches!(form, Form::Docker | Form::Oci) {
            return Err(Error::Foreign {
                place,
                reason: "this form is an archive".to_owned(),
            });
        }
        let folder = Folder::open(form, path)?;
        Ok(Self::new(form, &place, Sink::Folder(folder)))
    }

    fn new(form: Form, place: &str, sink: Sink) -> Self {
        Self {
            form,
            place: place.to_owned(),
            sink,
            documents: HashMap::new(),
            listed: Vec::new(),
        }
    }

    /// Whether this blob is there already, so that it need not be written.
    ///
    /// # Errors
    /// If the folder cannot say.
    pub fn has(&self, descriptor: &Descriptor) -> Result<bool> {
        match &self.sink {
            Sink::Tar(tar) => Ok(tar.has(&descriptor.digest)),
            Sink::Folder(folder) => folder.has(&self.blob_name(&descriptor.digest), descriptor.size),
        }
    }

    /// Writes a blob: a layer or a config. Of an archive a blob that turns out wrong spoils the whole.
    ///
    /// # Errors
    /// What `content` says; bytes that are not those of the descriptor; what cannot be written.
    pub fn blob(&mut self, descriptor: &Descriptor, content: &mut dyn Read) -> Result<()> {
        let name = self.blob_name(&descriptor.digest);
        match &mut self.sink {
            Sink::Tar(tar) => tar.blob(&name, descriptor, content),
            Sink::Folder(folder) => folder.blob(&name, descriptor, content),
        }
    }

    /// Writes a blob whose bytes are known to be right, such as one of the store: the kernel copies them where it can.
    ///
    /// # Errors
    /// As [`Writer::blob`].
    pub fn known_blob(&mut self, descriptor: &Descriptor, content: &Section) -> Result<()> {
        if content.len() != descriptor.size {
            return Err(Error::BlobSize {
                digest: descriptor.digest.clone(),
                expected: descriptor.size,
                actual: content.len(),
            });
        }
        let name = self.blob_name(&descriptor.digest);
        match &mut self.sink {
            Sink::Tar(tar) => tar.known_blob(&name, descriptor, content),
            Sink::Folder(folder) => folder.known_blob(&name, descriptor, content),
        }
    }

    /// Writes a manifest or an index.
    ///
    /// # Errors
    /// If it is neither; what cannot be written.
    pub fn document(&mut self, descriptor: &Descriptor, bytes: &[u8]) -> Result<()> {
        let actual = hash::digest(descriptor.digest.algorithm(), bytes);
        if actual != descriptor.digest {
            return Err(Error::BlobDigest {
                expected: descriptor.digest.clone(),
                actual,
            });
        }
        let document = Document::read(bytes, &[&descriptor.media_type])?;
        // Skopeo's folder has another name for it, which depends on what is listed in the end.
        if self.form != Form::Dir {
            let described = Descriptor {
                size: bytes.len() as u64,
                ..descriptor.clone()
            };
            self.blob(&described, &mut &bytes[..])?;
        }
        let bytes = match self.form {
            Form::Dir => bytes.to_vec(),
            _ => Vec::new(),
        };
        self.documents
            .insert(descriptor.digest.clone(), Kept { bytes, document });
        Ok(())
    }

    /// Lists a document that was written.
    ///
    /// # Errors
    /// If it was not; if the form holds one image only, and has one.
    pub fn list(&mut self, listed: Listed) -> Result<()> {
        if !self.documents.contains_key(&listed.descriptor.digest) {
            return Err(Error::NoBlob {
                digest: listed.descriptor.digest,
            });
        }
        if self.form == Form::Dir && !self.listed.is_empty() {
            return Err(Error::Foreign {
                place: self.place.clone(),
                reason: "a folder of this form holds one image".to_owned(),
            });
        }
        self.listed.push(listed);
        Ok(())
    }

    /// Writes the lists: everything is there now.
    ///
    /// # Errors
    /// What cannot be written.
    pub fn finish(mut self) -> Result<()> {
        let entries = self.entries();
        match &mut self.sink {
            Sink::Tar(tar) => {
                let index = json!({ "schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": entries });
                tar.file("index.json", &encode(&index))?;
                if self.form == Form::Docker {
                    let (manifest, repositories) = docker(&self.listed, &self.documents);
                    tar.file("manifest.json", &encode(&manifest))?;
                    tar.file("oci-layout", MARKER)?;
                    tar.file("repositories", &encode(&repositories))?;
                } else {
                    tar.file("oci-layout", MARKER)?;
                }
                tar.finish()
            }
            Sink::Folder(folder) if self.form == Form::Layout => folder.finish_layout(entries),
            Sink::Folder(folder) => {
                let Some(top) = self.listed.first() else {
                    return Err(malformed(self.place, "no image was written"));
                };
                for (digest, kept) in &self.documents {
                    let descriptor = super::describe("", &kept.bytes);
                    let named = Descriptor {
                        digest: digest.clone(),
                        ..descriptor
                    };
                    if *digest != top.descriptor.digest {
                        folder.replace(&dir::manifest_name(&named), &kept.bytes)?;
                    }
                }
                let top = self.documents.get(&top.descriptor.digest);
                folder.replace("version", dir::VERSION.as_bytes())?;
                folder.replace("manifest.json", top.map_or(&[][..], |kept| &kept.bytes))?;
                folder.sync()
            }
        }
    }

    /// The index's entries: one for each name of what is listed.
    fn entries(&self) -> Vec<Value> {
        let mut out = Vec::new();
        for listed in &self.listed {
            let entry = |annotations: &[(&str, String)]| {
                let mut descriptor = listed.descriptor.clone();
                for (key, value) in annotations {
                    descriptor.annotations.insert((*key).to_owned(), value.clone());
                }
                out_value(&descriptor)
            };
            for name in &listed.names {
                let mut annotations = vec![(CONTAINERD_NAME, name.to_string())];
                match (self.form, &listed.label) {
                    // Others' tools tell images apart by this label alone, so it is the whole name where there are several.
                    (Form::Oci, None) if self.listed.len() > 1 || listed.names.len() > 1 => {
                        annotations.push((REF_NAME, name.to_string()));
                    }
                    (_, Some(label)) if listed.names.len() == 1 => annotations.push((REF_NAME, label.clone())),
                    _ => annotations.extend(name.tag().map(|tag| (REF_NAME, tag.to_owned()))),
                }
                out.push(entry(&annotations));
            }
            if listed.names.is_empty() {
                let label = listed.label.iter().map(|label| (REF_NAME, label.clone()));
                out.push(entry(&label.collect::<Vec<_>>()));
            }
        }
        out
    }

    fn blob_name(&self, digest: &Digest) -> String {
        match self.form {
            Form::Dir => digest.hex().to_owned(),
            _ => layout::name(digest),
        }
    }
}

fn out_value(descriptor: &Descriptor) -> Value {
    serde_json::to_value(descriptor).unwrap_or_default()
}

fn encode(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

/// One image of Docker's `manifest.json`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// Docker's `manifest.json`, and the `repositories` that came before it.
fn docker(listed: &[Listed], documents: &HashMap<Digest, Kept>) -> (Value, Value) {
    let mut items: Vec<(Digest, Item)> = Vec::new();
    let mut repositories = serde_json::Map::new();
    for one in listed {
        let Some((digest, Document::Image(manifest))) = image(&one.descriptor.digest, documents, 0) else {
            continue;
        };
        let at = items.iter().position(|(known, _)| known == digest).unwrap_or_else(|| {
            let item = Item {
                config: layout::name(&manifest.config.digest),
                repo_tags: None,
                layers: manifest
                    .layers
                    .iter()
                    .map(|layer| layout::name(&layer.digest))
                    .collect(),
            };
            items.push((digest.clone(), item));
            items.len() - 1
        });
        for name in &one.names {
            items[at].1.repo_tags.get_or_insert_default().push(name.familiar());
            if let (Some(tag), Some(top)) = (name.tag(), manifest.layers.last()) {
                let tags = repositories
                    .entry(name.familiar_name())
                    .or_insert_with(|| Value::Object(serde_json::Map::new()));
                tags[tag] = Value::String(top.digest.hex().to_owned());
            }
        }
    }
    let items: Vec<Item> = items.into_iter().map(|(_, item)| item).collect();
    (
        serde_json::to_value(items).unwrap_or_default(),
        Value::Object(repositories),
    )
}

/// The image that a name stands for on this host, or the first one that is there.
fn image<'d>(
    digest: &'d Digest,
    documents: &'d HashMap<Digest, Kept>,
    depth: usize,
) -> Option<(&'d Digest, &'d Document)> {
    match &documents.get(digest)?.document {
        Document::Index(index) if depth <= hull_spec::INDEX_DEPTH_MAX => {
            let best = index.best(&Platform::host());
            let all = best.into_iter().chain(&index.manifests);
            all.filter_map(|entry| image(&entry.digest, documents, depth + 1))
                .next()
        }
        Document::Index(_) => None,
        document => Some((digest, document)),
    }
}

/// Reads exactly what a descriptor promises, checks it, and passes it on.
fn checked(descriptor: &Descriptor, content: &mut dyn Read, mut write: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let Descriptor { digest, size, .. } = descriptor;
    let mut hasher = Hasher::new(digest.algorithm());
    let mut buffer = vec![0; 256 << 10];
    let mut done = 0;
    let wrong_size = |actual| Error::BlobSize {
        digest: digest.clone(),
        expected: *size,
        actual,
    };
    loop {
        let count = match content.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read.map_err(|source| Error::Source {
                blob: digest.clone(),
                source: source.into(),
            })?,
        };
        if count == 0 {
            break;
        }
        done += count as u64;
        if done > *size {
            return Err(wrong_size(done));
        }
        hasher.update(&buffer[..count]);
        write(&buffer[..count])?;
    }
    if done != *size {
        return Err(wrong_size(done));
    }
    let actual = hasher.finish();
    if actual != *digest {
        return Err(Error::BlobDigest {
            expected: digest.clone(),
            actual,
        });
    }
    Ok(())
}

/// Copies a stretch of a file to where `to` stands, by the kernel where it can.
fn transfer(content: &Section, to: &OwnedFd) -> io::Result<()> {
    let (file, start) = content.parts();
    let end = start + content.len();
    let mut at = start;
    // Files to files, then files to anything, then by hand.
    while at < end {
        let want = usize::try_from(end - at).unwrap_or(usize::MAX).min(1 << 30);
        match rustix::fs::copy_file_range(file, Some(&mut at), to, None, want) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::NOSPC) => return Err(rustix::io::Errno::NOSPC.into()),
            Err(_) => break,
        }
    }
    while at < end {
        let want = usize::try_from(end - at).unwrap_or(usize::MAX).min(1 << 30);
        match rustix::fs::sendfile(to, file, Some(&mut at), want) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => break,
            Err(error) => return Err(error.into()),
        }
    }
    let mut rest = content.clone().skip(at - start);
    let mut buffer = vec![0; if at < end { 256 << 10 } else { 0 }];
    while at < end {
        let count = rest.read(&mut buffer)?;
        write_all(to, &buffer[..count])?;
        at += count as u64;
    }
    Ok(())
}

fn write_all(to: &OwnedFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let count = rustix::io::retry_on_intr(|| rustix::io::write(to, bytes))?;
        bytes = &bytes[count..];
    }
    Ok(())
}
