//! Room for what a cache fetches: what nobody has asked for the longest goes.

use std::time::{Duration, SystemTime};

use super::super::route::Name;
use super::collect::{Collected, Policy};
use super::{At, Fault, Storage, missing};
use hull_spec::Digest;
use std::sync::PoisonError;

/// A blob that was fetched a moment ago is part of a pull that goes on.
const YOUNG: Duration = Duration::from_secs(600);

impl Storage {
    /// Notes that somebody has asked for a manifest.
    pub(in super::super) fn touch_manifest(&self, name: &Name, digest: &Digest) -> Result<(), Fault> {
        let path = self.manifest_path(name, digest);
        let touched = std::fs::File::options()
            .write(true)
            .open(&path)
            .and_then(|file| file.set_modified(SystemTime::now()));
        missing(touched).at("touch", &path)?;
        Ok(())
    }

    /// Removes manifests, the longest unasked for first, with the blobs that no other one of their repository refers to,
    /// until `size` more bytes fit into `name`.
    pub(in super::super) fn evict(&self, name: &Name, size: u64) -> Result<(), Fault> {
        let policy = Policy {
            grace: YOUNG,
            uploads: Duration::MAX,
            untagged: false,
        };
        self.while_noting(|| {
            let mut all = Vec::new();
            for other in self.repositories()? {
                for (digest, path) in self.manifests(&other)? {
                    let time = missing(path.metadata().and_then(|m| m.modified())).at("examine", &path)?;
                    all.extend(time.map(|time| (time, other.clone(), digest)));
                }
            }
            all.sort();
            for (_, other, digest) in all {
                if self.ledger.check(name, size).is_ok() {
                    break;
                }
                let _gate = self.gate.write().unwrap_or_else(PoisonError::into_inner);
                self.remove_manifest(&other, &digest)?;
                let marked = self.mark(&other, &policy)?;
                for blob in self.doomed(&other, &marked, policy.grace)? {
                    self.unlink(&other, &blob)?;
                }
            }
            self.sweep_blobs(&mut Collected::default())
        })?;
        self.ledger.check(name, size)
    }
}
