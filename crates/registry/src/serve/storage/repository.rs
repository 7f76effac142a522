//! Manifests, tags and referrers of a repository.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use hull_spec::manifest::MANIFEST_MAX;
use hull_spec::{Digest, Reference};

use super::super::document::{Document, Referrer};
use super::super::route::{Name, Which};
use super::{At, Fault, Storage, Stored, digests, entries, missing, read_small, sync_dir};

/// What a manifest refers to and the repository has not.
#[derive(Debug)]
pub(in super::super) struct Absent(pub(in super::super) Vec<Digest>);

impl Storage {
    pub(super) fn manifest_path(&self, name: &Name, digest: &Digest) -> PathBuf {
        let dir = self.repository(name).join("_manifests");
        dir.join(digest.algorithm().name()).join(digest.hex())
    }

    fn tag_path(&self, name: &Name, tag: &str) -> PathBuf {
        self.repository(name).join("_tags").join(tag)
    }

    fn referrers_path(&self, name: &Name, subject: &Digest) -> PathBuf {
        self.repository(name).join("_referrers").join(flat(subject))
    }

    /// What a tag names.
    pub(in super::super) fn tag(&self, name: &Name, tag: &str) -> Result<Option<Digest>, Fault> {
        Ok(read_small(&self.tag_path(name, tag))?.and_then(|text| text.parse().ok()))
    }

    /// When a tag was last set.
    pub(in super::super) fn tag_age(&self, name: &Name, tag: &str) -> Result<Option<std::time::Duration>, Fault> {
        let path = self.tag_path(name, tag);
        let time = missing(path.metadata().and_then(|m| m.modified())).at("examine", &path)?;
        Ok(time.map(|time| time.elapsed().unwrap_or_default()))
    }

    /// A manifest of this repository.
    pub(in super::super) fn manifest(&self, name: &Name, which: &Which) -> Result<Option<Stored>, Fault> {
        let digest = match which {
            Which::Digest(digest) => digest.clone(),
            Which::Tag(tag) => match self.tag(name, tag)? {
                Some(digest) => digest,
                None => return Ok(None),
            },
        };
        let Some(media_type) = read_small(&self.manifest_path(name, &digest))? else {
            return Ok(None);
        };
        let path = self.blob_path(&digest);
        let read = std::fs::File::open(&path).and_then(|file| {
            let mut bytes = Vec::new();
            file.take(MANIFEST_MAX).read_to_end(&mut bytes)?;
            Ok(bytes)
        });
        Ok(missing(read).at("read", &path)?.map(|bytes| Stored {
            digest,
            media_type,
            bytes,
        }))
    }

    /// Keeps a manifest, and its tags. With `complete`, everything that it refers to has to be there.
    pub(in super::super) fn put_manifest(
        &self,
        name: &Name,
        stored: &Stored,
        document: &Document,
        tags: &[String],
        complete: bool,
    ) -> Result<Result<(), Absent>, Fault> {
        // Nothing that is found to be there goes away before the manifest is.
        let _gate = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        if complete {
            let absent = self.absent(name, document)?;
            if !absent.is_empty() {
                return Ok(Err(Absent(absent)));
            }
        }
        let (digest, size) = (&stored.digest, stored.bytes.len() as u64);
        let link = self.manifest_path(name, digest);
        let new = !link.try_exists().at("look for", &link)?;
        if new {
            self.ledger.check(name, size)?;
        }
        if let Some(fresh) = &mut *self.fresh.lock().unwrap_or_else(PoisonError::into_inner) {
            fresh.insert(digest.clone());
        }
        // Written anew even if it is there: who else has it is not to be told by the time that this takes.
        self.write(&self.blob_path(digest), &stored.bytes)?;
        if let Some(subject) = &document.subject {
            let referrer = document.referrer(digest, size);
            let json = serde_json::to_vec(&referrer).unwrap_or_default();
            self.write(&self.referrers_path(name, subject).join(flat(digest)), &json)?;
        }
        self.write(&link, stored.media_type.as_bytes())?;
        if new {
            self.ledger.add(name, size);
        }
        for tag in tags {
            self.write(&self.tag_path(name, tag), digest.as_str().as_bytes())?;
        }
        Ok(Ok(()))
    }

    fn absent(&self, name: &Name, document: &Document) -> Result<Vec<Digest>, Fault> {
        let mut out = Vec::new();
        for digest in &document.blobs {
            if self.blob_size(name, digest)?.is_none() {
                out.push(digest.clone());
            }
        }
        for digest in &document.manifests {
            let link = self.manifest_path(name, digest);
            if !link.try_exists().at("look for", &link)? {
                out.push(digest.clone());
            }
        }
        Ok(out)
    }

    /// Notes that a tag was looked at upstream just now.
    pub(in super::super) fn touch_tag(&self, name: &Name, tag: &str) -> Result<(), Fault> {
        let path = self.tag_path(name, tag);
        let touched = std::fs::File::options()
            .write(true)
            .open(&path)
            .and_then(|file| file.set_modified(std::time::SystemTime::now()));
        missing(touched).at("touch", &path)?;
        Ok(())
    }

    /// Removes a tag. What it named stays.
    pub(in super::super) fn delete_tag(&self, name: &Name, tag: &str) -> Result<bool, Fault> {
        let _gate = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        remove(&self.tag_path(name, tag))
    }

    /// Removes a manifest and the tags that name it.
    pub(in super::super) fn delete_manifest(&self, name: &Name, digest: &Digest) -> Result<bool, Fault> {
        let _gate = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        self.remove_manifest(name, digest)
    }

    /// The caller holds the gate alone. Tags go first: a tag never names what is not there.
    pub(super) fn remove_manifest(&self, name: &Name, digest: &Digest) -> Result<bool, Fault> {
        let link = self.manifest_path(name, digest);
        if !link.try_exists().at("look for", &link)? {
            return Ok(false);
        }
        for tag in self.tags(name)?.unwrap_or_default() {
            if self.tag(name, &tag)?.as_ref() == Some(digest) {
                remove(&self.tag_path(name, &tag))?;
            }
        }
        let which = Which::Digest(digest.clone());
        let stored = self.manifest(name, &which)?;
        let subject = stored.and_then(|stored| {
            let document = Document::parse(&stored.bytes, Some(&stored.media_type)).ok()?;
            document.subject
        });
        if let Some(subject) = subject {
            let dir = self.referrers_path(name, &subject);
            remove(&dir.join(flat(digest)))?;
            // It fails while there are others, as it should.
            let _ = std::fs::remove_dir(&dir);
        }
        let removed = remove(&link)?;
        if removed {
            self.ledger.remove(name, self.size(digest)?.unwrap_or(0));
        }
        Ok(removed)
    }

    /// All tags, sorted; `None` if there is no such repository.
    pub(in super::super) fn tags(&self, name: &Name) -> Result<Option<Vec<String>>, Fault> {
        if !self.exists(name)? {
            return Ok(None);
        }
        let mut tags: Vec<String> = entries(&self.repository(name).join("_tags"))?
            .into_iter()
            .map(|(tag, _)| tag)
            .filter(|tag| Reference::is_tag(tag))
            .collect();
        tags.sort();
        Ok(Some(tags))
    }

    /// Whether the repository has ever had a manifest that was not collected with it.
    fn exists(&self, name: &Name) -> Result<bool, Fault> {
        let dir = self.repository(name).join("_manifests");
        dir.try_exists().at("look for", &dir)
    }

    /// The digests of all manifests of a repository.
    pub(super) fn manifests(&self, name: &Name) -> Result<Vec<(Digest, PathBuf)>, Fault> {
        digests(&self.repository(name).join("_manifests"))
    }

    /// What refers to `subject`, sorted by digest.
    pub(in super::super) fn referrers(&self, name: &Name, subject: &Digest) -> Result<Vec<Referrer>, Fault> {
        let mut out = Vec::new();
        for (_, path) in entries(&self.referrers_path(name, subject))? {
            let read = missing(std::fs::read(&path)).at("read", &path)?;
            out.extend(read.and_then(|bytes| serde_json::from_slice::<Referrer>(&bytes).ok()));
        }
        out.sort_by(|a, b| a.digest.cmp(&b.digest));
        Ok(out)
    }

    /// The names of all repositories, sorted.
    pub(in super::super) fn repositories(&self) -> Result<Vec<Name>, Fault> {
        let mut out = Vec::new();
        let root = self.root.join("repositories");
        let mut open = vec![(String::new(), root)];
        while let Some((prefix, dir)) = open.pop() {
            for (part, path) in entries(&dir)? {
                if part.starts_with('_') {
                    out.extend(Name::parse(&prefix));
                } else {
                    let name = if prefix.is_empty() {
                        part
                    } else {
                        format!("{prefix}/{part}")
                    };
                    open.push((name, path));
                }
            }
        }
        out.sort();
        out.dedup();
        Ok(out)
    }

    /// The repositories that have an image, sorted.
    pub(in super::super) fn catalog(&self) -> Result<Vec<Name>, Fault> {
        let mut names = self.repositories()?;
        let mut failure = Ok(());
        names.retain(|name| {
            self.manifests(name).map_or_else(
                |fault| {
                    failure = Err(fault);
                    false
                },
                |manifests| !manifests.is_empty(),
            )
        });
        failure.map(|()| names)
    }
}

/// A digest as one file name.
fn flat(digest: &Digest) -> String {
    digest.as_str().replace(':', "-")
}

/// Removes a file durably; `false` if there is none.
fn remove(path: &Path) -> Result<bool, Fault> {
    let removed = missing(std::fs::remove_file(path)).at("remove", path)?.is_some();
    if removed && let Some(parent) = path.parent() {
        sync_dir(parent).at("sync", parent)?;
    }
    Ok(removed)
}
