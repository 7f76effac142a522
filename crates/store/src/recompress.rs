//! A layer compressed in another way, for whoever is to get it so.
//!
//! The same bytes come out for the same layer, always: no time and no name goes into them.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use hull_spec::manifest::Compression;
use hull_spec::{Algorithm, Digest};

use crate::error::{At, Error, Result};
use crate::hash::Hasher;

const BUFFER: usize = 128 << 10;

/// What to make of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// How it is compressed.
    pub compression: Compression,
    /// How hard: 1 to 9 for gzip, 1 to 22 for zstd; none for the usual.
    pub level: Option<u32>,
}

/// Bytes in a file that has no name: it is gone with this value, or with the process.
#[derive(Clone, Debug)]
pub struct Spool {
    file: Arc<File>,
    /// The digest of the bytes.
    pub digest: Digest,
    /// How many there are.
    pub size: u64,
}

/// Reads a layer of any compression from `source` (told by its first bytes, as Docker does) and keeps it in `form` in a
/// nameless file below `folder`. The uncompressed bytes must be those of `diff_id`, where it is known, and at most
/// `limit`.
///
/// # Errors
/// If `source` cannot be read or is damaged, if it is another layer, or if the disk refuses. `blob` is what errors call
/// it.
pub fn recompress(
    source: impl Read,
    blob: &Digest,
    form: Form,
    diff_id: Option<&Digest>,
    folder: &Path,
    limit: u64,
) -> Result<Spool> {
    let mut source = BufReader::with_capacity(BUFFER, source);
    let damaged = |format: &'static str| {
        move |source: io::Error| Error::Compression {
            blob: blob.clone(),
            format,
            source,
        }
    };
    let magic = <[u8; 4]>::try_from(source.fill_buf().map_err(damaged("tar"))?.get(..4).unwrap_or_default())
        .unwrap_or_default();
    let (format, plain): (&'static str, Box<dyn Read + '_>) = match magic {
        [0x1f, 0x8b, ..] => ("gzip", Box::new(MultiGzDecoder::new(source))),
        [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => (
            "zstd",
            Box::new(zstd::Decoder::with_buffer(source).map_err(damaged("zstd"))?),
        ),
        _ => ("tar", Box::new(source)),
    };
    let out = Keep::new(nameless(folder)?);
    let mut pump = Pump {
        plain,
        hasher: Hasher::new(diff_id.map_or(Algorithm::Sha256, Digest::algorithm)),
        left: limit,
        blob,
        format,
        folder,
    };
    let level = form.level;
    let kept = match form.compression {
        Compression::None => pump.run(out)?,
        Compression::Gzip => {
            let level = flate2::Compression::new(level.unwrap_or(6).min(9));
            pump.run(GzEncoder::new(out, level))?.finish().at("write", folder)?
        }
        Compression::Zstd => {
            let level = i32::try_from(level.unwrap_or(3).min(22)).unwrap_or(3);
            let encoder = zstd::Encoder::new(out, level).at("write", folder)?;
            pump.run(encoder)?.finish().at("write", folder)?
        }
    };
    let actual = pump.hasher.finish();
    if let Some(expected) = diff_id.filter(|expected| **expected != actual) {
        return Err(Error::DiffId {
            blob: blob.clone(),
            expected: expected.clone(),
            actual,
        });
    }
    kept.finish(folder)
}

/// Keeps bytes as they are in a nameless file below `folder`, at most `limit` of them.
///
/// # Errors
/// If `source` or the disk fails.
pub fn spool(source: impl Read, blob: &Digest, folder: &Path, limit: u64) -> Result<Spool> {
    let mut kept = Keep::new(nameless(folder)?);
    let taken = io::copy(&mut source.take(limit.saturating_add(1)), &mut kept).map_err(|source| Error::Source {
        blob: blob.clone(),
        source: source.into(),
    })?;
    if taken > limit {
        return Err(Error::BlobTooLarge {
            digest: blob.clone(),
            limit,
        });
    }
    kept.finish(folder)
}

struct Pump<'a> {
    plain: Box<dyn Read + 'a>,
    hasher: Hasher,
    left: u64,
    blob: &'a Digest,
    format: &'static str,
    folder: &'a Path,
}

impl Pump<'_> {
    fn run<W: Write>(&mut self, mut out: W) -> Result<W> {
        let mut buffer = vec![0; BUFFER];
        let limit = self.left;
        loop {
            let n = match self.plain.read(&mut buffer) {
                Ok(0) => return Ok(out),
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => {
                    return Err(Error::Compression {
                        blob: self.blob.clone(),
                        format: self.format,
                        source,
                    });
                }
            };
            self.left = self.left.checked_sub(n as u64).ok_or_else(|| Error::TooLarge {
                blob: self.blob.clone(),
                limit,
                unit: "bytes",
            })?;
            self.hasher.update(&buffer[..n]);
            out.write_all(&buffer[..n]).at("write", self.folder)?;
        }
    }
}

/// A file, and what is written to it.
struct Keep {
    file: File,
    buffer: Vec<u8>,
    hasher: Hasher,
    size: u64,
}

impl Keep {
    fn new(file: File) -> Self {
        Self {
            file,
            buffer: Vec::with_capacity(BUFFER),
            hasher: Hasher::new(Algorithm::Sha256),
            size: 0,
        }
    }

    fn finish(mut self, folder: &Path) -> Result<Spool> {
        self.flush().at("write", folder)?;
        Ok(Spool {
            file: Arc::new(self.file),
            digest: self.hasher.finish(),
            size: self.size,
        })
    }
}

impl Write for Keep {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

fn nameless(folder: &Path) -> Result<File> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let path = folder.join(format!(".spool-{}-{number}", std::process::id()));
    let mut options = File::options();
    let file = options
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .at("create", &path)?;
    match std::fs::remove_file(&path) {
        // A sweep was faster.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        removed => removed.at("remove", &path)?,
    }
    Ok(file)
}

impl Spool {
    /// The file, at its beginning.
    ///
    /// # Errors
    /// If it cannot be shared.
    pub fn into_file(self) -> io::Result<File> {
        use std::io::Seek as _;
        let mut file = self.file.try_clone()?;
        file.rewind()?;
        Ok(file)
    }

    /// A reader of the bytes from `offset` on. Several may read at once.
    #[must_use]
    pub fn reader(&self, offset: u64) -> impl Read + Send + use<> {
        Reader {
            file: Arc::clone(&self.file),
            at: offset,
        }
    }
}

struct Reader {
    file: Arc<File>,
    at: u64,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(buffer, self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use hull_testkit::Layer;

    use super::*;

    #[test]
    fn every_form_unpacks_to_the_same_layer_and_comes_out_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let layer = Layer::build().file("a", 0o644, vec![7; 300_000]).gzip();
        let diff_id: Digest = layer.diff_id.parse().unwrap();
        let blob: Digest = layer.blob.digest.parse().unwrap();
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let form = Form {
                compression,
                level: None,
            };
            let make =
                |source: &mut dyn Read, limit| recompress(source, &blob, form, Some(&diff_id), dir.path(), limit);
            let one = make(&mut layer.blob.open().unwrap(), 1 << 20).unwrap();
            let two = make(&mut one.reader(0), 1 << 20).unwrap();
            assert_eq!((&one.digest, one.size), (&two.digest, two.size), "{compression:?}");
            let mut bytes = Vec::new();
            one.reader(0).read_to_end(&mut bytes).unwrap();
            assert_eq!(crate::digest(Algorithm::Sha256, &bytes), one.digest);
            let mut rest = Vec::new();
            one.reader(10).read_to_end(&mut rest).unwrap();
            assert_eq!(rest, bytes[10..]);
            assert!(matches!(
                make(&mut layer.blob.open().unwrap(), 1000),
                Err(Error::TooLarge { limit: 1000, .. })
            ));
            let other = recompress(
                layer.blob.open().unwrap(),
                &blob,
                form,
                Some(&blob),
                dir.path(),
                1 << 20,
            );
            assert!(matches!(other, Err(Error::DiffId { .. })));
            let cut = &layer.blob.bytes()[..40];
            assert!(matches!(make(&mut &cut[..], 1 << 20), Err(Error::Compression { .. })));
        }
        assert_eq!(dir.path().read_dir().unwrap().count(), 0, "no file has a name");
    }
}
