//! Collection while the server serves: what no manifest refers to, uploads that nobody goes on with, blobs that no
//! repository has.
//!
//! What is young stays: a client pushes blobs before the manifest that refers to them, and relies on blobs that it was told
//! are there. Deciding is done without stopping anybody; deleting is done with the gate closed and decided anew under it,
//! one repository after another, so that whatever a push was told is there still is when its manifest comes.

use std::collections::HashSet;
use std::sync::PoisonError;
use std::time::{Duration, SystemTime};

use hull_spec::{Algorithm, Digest};

use super::super::document::Document;
use super::super::route::{Name, Which};
use super::{At, Fault, Storage, entries, missing};

/// What is garbage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Policy {
    /// How long a blob stays though nothing refers to it.
    pub(in super::super) grace: Duration,
    /// How long an upload is waited for.
    pub(in super::super) uploads: Duration,
    /// Whether manifests go that no tag, no index and no subject of theirs keeps.
    pub(in super::super) untagged: bool,
}

/// What a collection has removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Collected {
    pub(in super::super) uploads: u64,
    pub(in super::super) manifests: u64,
    /// Blobs that a repository had and no longer has.
    pub(in super::super) links: u64,
    /// Files.
    pub(in super::super) blobs: u64,
    pub(in super::super) bytes: u64,
}

/// What keeps what, in one repository.
pub(super) struct Marked {
    blobs: HashSet<Digest>,
    manifests: Vec<Digest>,
}

impl Storage {
    /// Collects once.
    pub(in super::super) fn collect(&self, policy: &Policy) -> Result<Collected, Fault> {
        let mut out = Collected::default();
        let (uploads, bytes) = self.sweep_uploads(policy.uploads)?;
        out.uploads = uploads;
        out.bytes = bytes;
        self.while_noting(|| {
            let names = self.repositories()?;
            names
                .iter()
                .try_for_each(|name| self.sweep_repository(name, policy, &mut out))?;
            self.sweep_blobs(&mut out)
        })?;
        Ok(out)
    }

    /// Does `act` while links that are made are noted, which [`Self::sweep_blobs`] needs.
    pub(super) fn while_noting<T>(&self, act: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
        let _one = self.collecting.lock().unwrap_or_else(PoisonError::into_inner);
        {
            // Whoever is making a link now was not told to note it: it has to be there before the links are read.
            let _gate = self.gate.write().unwrap_or_else(PoisonError::into_inner);
            *self.fresh.lock().unwrap_or_else(PoisonError::into_inner) = Some(HashSet::new());
        }
        let done = act();
        *self.fresh.lock().unwrap_or_else(PoisonError::into_inner) = None;
        done
    }

    fn sweep_repository(&self, name: &Name, policy: &Policy, out: &mut Collected) -> Result<(), Fault> {
        let marked = self.mark(name, policy)?;
        if marked.manifests.is_empty() && self.doomed(name, &marked, policy.grace)?.is_empty() {
            return Ok(());
        }
        let _gate = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        // Something may have been pushed since.
        let marked = self.mark(name, policy)?;
        for digest in &marked.manifests {
            out.manifests += u64::from(self.remove_manifest(name, digest)?);
        }
        for digest in self.doomed(name, &marked, policy.grace)? {
            out.links += u64::from(self.unlink(name, &digest)?);
        }
        Ok(())
    }

    /// The blobs of a repository that no manifest keeps and that are old enough.
    pub(super) fn doomed(&self, name: &Name, marked: &Marked, grace: Duration) -> Result<Vec<Digest>, Fault> {
        let links = self.links(name)?;
        let old = |time: SystemTime| SystemTime::now().duration_since(time).is_ok_and(|age| age >= grace);
        Ok(links
            .into_iter()
            .filter(|(digest, time)| !marked.blobs.contains(digest) && old(*time))
            .map(|(digest, _)| digest)
            .collect())
    }

    /// The blobs that stay for their manifests' sake, and the manifests that do not stay.
    pub(super) fn mark(&self, name: &Name, policy: &Policy) -> Result<Marked, Fault> {
        let mut documents = Vec::new();
        for (digest, path) in self.manifests(name)? {
            let time = missing(path.metadata().and_then(|m| m.modified())).at("examine", &path)?;
            let Some(stored) = self.manifest(name, &Which::Digest(digest.clone()))? else {
                continue;
            };
            // It was checked when it was pushed. If a later version reads it otherwise, nothing is lost for that.
            let document = Document::parse(&stored.bytes, Some(&stored.media_type)).ok();
            documents.push((digest, document, time));
        }
        let mut kept: HashSet<Digest> = HashSet::new();
        if policy.untagged {
            for tag in self.tags(name)?.unwrap_or_default() {
                kept.extend(self.tag(name, &tag)?);
            }
            for (digest, document, time) in &documents {
                let age = time.map(|time| SystemTime::now().duration_since(time).unwrap_or_default());
                if document.is_none() || age.is_some_and(|age| age < policy.grace) {
                    kept.insert(digest.clone());
                }
            }
            spread(&documents, &mut kept);
        } else {
            kept.extend(documents.iter().map(|(digest, ..)| digest.clone()));
        }
        let unread = documents.iter().any(|(_, document, _)| document.is_none());
        let mut marked = Marked {
            blobs: HashSet::new(),
            manifests: Vec::new(),
        };
        if unread {
            marked
                .blobs
                .extend(self.links(name)?.into_iter().map(|(digest, _)| digest));
        }
        for (digest, document, _) in documents {
            match document {
                Some(document) if kept.contains(&digest) => {
                    marked.blobs.extend(document.blobs);
                    marked.blobs.extend(document.foreign);
                }
                Some(_) => marked.manifests.push(digest),
                None => {}
            }
        }
        Ok(marked)
    }

    /// Removes the files of blobs that no repository has.
    pub(super) fn sweep_blobs(&self, out: &mut Collected) -> Result<(), Fault> {
        let mut named = HashSet::new();
        for name in self.repositories()? {
            named.extend(self.links(&name)?.into_iter().map(|(digest, _)| digest));
            named.extend(self.manifests(&name)?.into_iter().map(|(digest, _)| digest));
        }
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            for (hex, path) in entries(&self.root.join("blobs").join(algorithm.name()))? {
                let Ok(digest) = format!("{}:{hex}", algorithm.name()).parse::<Digest>() else {
                    continue;
                };
                if named.contains(&digest) {
                    continue;
                }
                let _gate = self.gate.write().unwrap_or_else(PoisonError::into_inner);
                // Links that were made since the names were read are noted there.
                let fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
                if fresh.as_ref().is_none_or(|fresh| fresh.contains(&digest)) {
                    continue;
                }
                let size = path.metadata().map_or(0, |m| m.len());
                if missing(std::fs::remove_file(&path)).at("remove", &path)?.is_some() {
                    out.blobs += 1;
                    out.bytes += size;
                }
            }
        }
        Ok(())
    }
}

type Marking = (Digest, Option<Document>, Option<SystemTime>);

/// Keeps what a kept index lists, and what refers to a kept subject.
fn spread(documents: &[Marking], kept: &mut HashSet<Digest>) {
    loop {
        let before = kept.len();
        for (digest, document, _) in documents {
            let Some(document) = document else { continue };
            if kept.contains(digest) {
                kept.extend(document.manifests.iter().cloned());
            } else if document.subject.as_ref().is_some_and(|subject| kept.contains(subject)) {
                kept.insert(digest.clone());
            }
        }
        if kept.len() == before {
            return;
        }
    }
}
