//! The first stage: the blob's bytes, from the disk and from the source, hashed, kept and passed on.

use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;

use hull_spec::{Progress, progress::Event};

use super::LayerSpec;
use super::pipeline::Feed;
use super::queue::fill;
use crate::blob::partial::Partial;
use crate::error::{At, Error, Result};
use crate::hash::Hasher;

type Stranger = Box<dyn std::error::Error + Send + Sync>;

/// How a layer's bytes are come by.
pub(super) struct Fetch<'a> {
    spec: &'a LayerSpec,
    file: File,
    path: PathBuf,
    /// Bytes that are in the file already.
    have: u64,
    /// Whether the file may grow.
    grow: bool,
    progress: Progress,
}

impl<'a> Fetch<'a> {
    /// From a blob that is said to be whole.
    pub(super) fn whole(spec: &'a LayerSpec, file: File, path: PathBuf) -> Self {
        Self {
            spec,
            file,
            path,
            have: u64::MAX,
            grow: false,
            progress: Progress::silent(),
        }
    }

    /// From what there is of the blob, then from the source.
    pub(super) fn resume(spec: &'a LayerSpec, partial: &Partial<'_>, progress: &Progress) -> Result<Self> {
        Ok(Self {
            spec,
            file: partial.file().try_clone().at("duplicate the file of", partial.path())?,
            path: partial.path().to_owned(),
            have: partial.len()?,
            grow: true,
            progress: progress.clone(),
        })
    }

    /// Reads everything, and passes it on for as long as the next stage takes it: one that has found the data to be
    /// bad must not hide that they are not the promised ones.
    pub(super) fn run(
        mut self,
        mut feed: Feed<'_>,
        source: impl FnOnce(u64) -> Result<Box<dyn Read + Send>, Stranger>,
    ) -> Result<()> {
        let descriptor = &self.spec.descriptor;
        let fetch_error = |source: Stranger| Error::Source {
            blob: descriptor.digest.clone(),
            source,
        };
        let mut hasher = Hasher::new(descriptor.digest.algorithm());
        let mut done = 0;
        while done < self.have && !feed.stopped() {
            let mut buffer = feed.buffer();
            fill(&mut (&self.file).take(self.have - done), &mut buffer).at("read", &self.path)?;
            if buffer.is_empty() {
                break;
            }
            done += buffer.len() as u64;
            hasher.update(&buffer);
            feed.send(buffer);
        }
        if self.grow && done < descriptor.size && !feed.stopped() {
            let mut reader = source(done).map_err(fetch_error)?;
            loop {
                self.progress.send(|| Event::Downloading {
                    blob: descriptor.digest.clone(),
                    done,
                    total: descriptor.size,
                });
                let mut buffer = feed.buffer();
                let read = fill(&mut *reader, &mut buffer);
                // What came before the failure is good for the next attempt.
                done += buffer.len() as u64;
                if done > descriptor.size {
                    return Err(self.wrong_size(done));
                }
                self.file.write_all(&buffer).at("write", &self.path)?;
                read.map_err(|error| fetch_error(error.into()))?;
                if buffer.is_empty() || feed.stopped() {
                    break;
                }
                hasher.update(&buffer);
                feed.send(buffer);
            }
        }
        if feed.stopped() {
            return Ok(());
        }
        if done != descriptor.size {
            let error = self.wrong_size(done);
            // A short answer is the source's failure, and what there is of it stays for the next attempt.
            return Err(if self.grow { fetch_error(error.into()) } else { error });
        }
        let actual = hasher.finish();
        if actual != descriptor.digest {
            return Err(Error::BlobDigest {
                expected: descriptor.digest.clone(),
                actual,
            });
        }
        feed.end();
        Ok(())
    }

    fn wrong_size(&self, actual: u64) -> Error {
        Error::BlobSize {
            digest: self.spec.descriptor.digest.clone(),
            expected: self.spec.descriptor.size,
            actual,
        }
    }
}
