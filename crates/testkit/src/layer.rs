//! Layers made in memory, entry by entry, or taken from a file.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
pub use tar::{EntryType, Header};

/// How a layer's bytes are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// A plain tar stream.
    None,
    /// gzip, what most registries hold.
    #[default]
    Gzip,
    /// Zstandard.
    Zstd,
}

/// Bytes with their digest.
#[derive(Clone, Debug)]
pub struct Blob {
    /// `sha256:HEX`.
    pub digest: String,
    /// In bytes.
    pub size: u64,
    content: Content,
}

#[derive(Clone, Debug)]
enum Content {
    Bytes(Vec<u8>),
    File(PathBuf),
}

impl Blob {
    /// A blob of `bytes`.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self {
            digest: sha256(&bytes),
            size: bytes.len() as u64,
            content: Content::Bytes(bytes),
        }
    }

    /// A blob that stays in the file `path`.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn of_file(path: &Path) -> io::Result<Self> {
        let mut hash = Hashing {
            hash: Sha256::new(),
            size: 0,
            inner: io::sink(),
        };
        io::copy(&mut std::fs::File::open(path)?, &mut hash)?;
        Ok(Self {
            digest: hash.digest(),
            size: hash.size,
            content: Content::File(path.to_owned()),
        })
    }

    /// A reader of its bytes.
    ///
    /// # Errors
    /// If the file behind it cannot be opened.
    pub fn open(&self) -> io::Result<Box<dyn Read + '_>> {
        Ok(match &self.content {
            Content::Bytes(bytes) => Box::new(bytes.as_slice()),
            Content::File(path) => Box::new(std::fs::File::open(path)?),
        })
    }

    /// Its bytes.
    ///
    /// # Panics
    /// If the file behind it cannot be read.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.open()
            .and_then(|mut file| file.read_to_end(&mut bytes))
            .expect("read a blob of a test image");
        bytes
    }
}

/// `sha256:HEX` of `bytes`.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One changeset of an image.
#[derive(Clone, Debug)]
pub struct Layer {
    /// The bytes as a registry holds them.
    pub blob: Blob,
    /// The digest of the tar stream.
    pub diff_id: String,
    /// How the blob is compressed.
    pub compression: Compression,
}

impl Layer {
    /// Starts a layer without entries.
    #[must_use]
    pub fn build() -> Builder {
        Builder {
            tar: tar::Builder::new(Vec::new()),
        }
    }

    /// A layer of the tar stream `tar`, whatever it holds.
    ///
    /// # Panics
    /// If memory does not suffice to compress it.
    #[must_use]
    pub fn of_tar(tar: &[u8], compression: Compression) -> Self {
        let blob = match compression {
            Compression::None => tar.to_vec(),
            Compression::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder
                    .write_all(tar)
                    .and_then(|()| encoder.finish())
                    .expect("gzip in memory")
            }
            Compression::Zstd => zstd::encode_all(tar, 3).expect("zstd in memory"),
        };
        Self {
            blob: Blob::new(blob),
            diff_id: sha256(tar),
            compression,
        }
    }

    /// A gzip layer of the tar file `tar`, compressed into `blob` beside it; both may be larger than memory.
    ///
    /// # Errors
    /// If a file cannot be read or written.
    pub fn of_tar_file(tar: &Path, blob: &Path) -> io::Result<Self> {
        let gzip = flate2::write::GzEncoder::new(std::fs::File::create(blob)?, flate2::Compression::default());
        let mut hash = Hashing {
            hash: Sha256::new(),
            size: 0,
            inner: gzip,
        };
        io::copy(&mut std::fs::File::open(tar)?, &mut hash)?;
        let diff_id = hash.digest();
        hash.inner.finish()?;
        Ok(Self {
            blob: Blob::of_file(blob)?,
            diff_id,
            compression: Compression::Gzip,
        })
    }
}

/// Counts and hashes what passes through.
struct Hashing<W> {
    hash: Sha256,
    size: u64,
    inner: W,
}

impl<W> Hashing<W> {
    fn digest(&self) -> String {
        format!("sha256:{}", hex(&self.hash.clone().finalize()))
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// A layer in the making. Paths are taken as they are, hostile ones included.
pub struct Builder {
    tar: tar::Builder<Vec<u8>>,
}

impl Builder {
    /// A folder.
    #[must_use]
    pub fn dir(self, path: &str, mode: u32) -> Self {
        self.entry(path, EntryType::Directory, mode, "", &[])
    }

    /// A regular file.
    #[must_use]
    pub fn file(self, path: &str, mode: u32, bytes: impl AsRef<[u8]>) -> Self {
        self.entry(path, EntryType::Regular, mode, "", bytes.as_ref())
    }

    /// A symbolic link to `target`.
    #[must_use]
    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(path, EntryType::Symlink, 0o777, target, &[])
    }

    /// A hard link to the entry `target`.
    #[must_use]
    pub fn hard_link(self, path: &str, target: &str) -> Self {
        self.entry(path, EntryType::Link, 0o755, target, &[])
    }

    /// A device node: `EntryType::Char` or `EntryType::Block`.
    #[must_use]
    pub fn device(self, path: &str, kind: EntryType, major: u32, minor: u32) -> Self {
        let mut header = header(path, kind, 0o666, "");
        header
            .set_device_major(major)
            .and_then(|()| header.set_device_minor(minor))
            .expect("a ustar header");
        self.raw(header, &[])
    }

    /// An entry that hides `path` of the layers below.
    #[must_use]
    pub fn whiteout(self, path: &str) -> Self {
        let (folder, name) = path
            .rsplit_once('/')
            .map_or((String::new(), path), |(f, n)| (format!("{f}/"), n));
        self.file(&format!("{folder}.wh.{name}"), 0o644, "")
    }

    /// An entry that hides all that the layers below have in the folder `path`.
    #[must_use]
    pub fn opaque(self, path: &str) -> Self {
        self.file(&format!("{path}/.wh..wh..opq"), 0o644, "")
    }

    /// Any entry that a header can state.
    ///
    /// # Panics
    /// If a path is longer than a ustar header holds.
    #[must_use]
    pub fn entry(self, path: &str, kind: EntryType, mode: u32, link: &str, bytes: &[u8]) -> Self {
        let mut header = header(path, kind, mode, link);
        header.set_size(bytes.len() as u64);
        self.raw(header, bytes)
    }

    /// An entry with a header made by the caller; its checksum is set here.
    ///
    /// # Panics
    /// Never in memory.
    #[must_use]
    pub fn raw(mut self, mut header: Header, bytes: &[u8]) -> Self {
        header.set_cksum();
        self.tar.append(&header, bytes).expect("write a tar entry in memory");
        self
    }

    /// The tar stream.
    ///
    /// # Panics
    /// Never in memory.
    #[must_use]
    pub fn tar(self) -> Vec<u8> {
        self.tar.into_inner().expect("end a tar stream in memory")
    }

    /// The layer, compressed.
    #[must_use]
    pub fn finish(self, compression: Compression) -> Layer {
        Layer::of_tar(&self.tar(), compression)
    }

    /// The layer in gzip.
    #[must_use]
    pub fn gzip(self) -> Layer {
        self.finish(Compression::Gzip)
    }
}

/// A ustar header whose names are copied byte by byte: the tar crate would refuse `..` and `/`.
fn header(path: &str, kind: EntryType, mode: u32, link: &str) -> Header {
    let mut header = Header::new_ustar();
    let fields = header.as_ustar_mut().expect("a ustar header");
    assert!(
        path.len() <= fields.name.len() && link.len() <= fields.linkname.len(),
        "too long for ustar: {path}"
    );
    fields.name[..path.len()].copy_from_slice(path.as_bytes());
    fields.linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_700_000_000);
    header.set_size(0);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_compression_holds_the_same_tar() {
        let build = || {
            Layer::build()
                .dir("etc", 0o755)
                .file("etc/motd", 0o644, "hello\n")
                .symlink("m", "etc/motd")
        };
        let tar = build().tar();
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let layer = build().finish(compression);
            assert_eq!(layer.diff_id, sha256(&tar), "{compression:?}");
            let bytes = layer.blob.bytes();
            assert_eq!(
                (layer.blob.digest.as_str(), layer.blob.size),
                (sha256(&bytes).as_str(), bytes.len() as u64)
            );
            let plain = match compression {
                Compression::None => bytes,
                Compression::Gzip => {
                    let mut plain = Vec::new();
                    flate2::read::GzDecoder::new(bytes.as_slice())
                        .read_to_end(&mut plain)
                        .unwrap();
                    plain
                }
                Compression::Zstd => zstd::decode_all(bytes.as_slice()).unwrap(),
            };
            assert_eq!(plain, tar, "{compression:?}");
        }
    }

    #[test]
    fn hostile_paths_stay_as_they_are() {
        let tar = Layer::build()
            .file("../../etc/passwd", 0o644, "x")
            .hard_link("l", "/etc/shadow")
            .tar();
        let mut archive = tar::Archive::new(tar.as_slice());
        let entries: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let link = entry
                    .link_name_bytes()
                    .map(|l| String::from_utf8_lossy(&l).into_owned());
                (String::from_utf8_lossy(&entry.path_bytes()).into_owned(), link)
            })
            .collect();
        assert_eq!(
            entries,
            [
                ("../../etc/passwd".into(), None),
                ("l".into(), Some("/etc/shadow".into()))
            ]
        );
    }

    #[test]
    fn a_layer_of_a_file_has_the_digests_of_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let tar = Layer::build().file("a", 0o644, vec![7; 100_000]).tar();
        std::fs::write(folder.path().join("layer.tar"), &tar).unwrap();
        let gz = folder.path().join("layer.tar.gz");
        let layer = Layer::of_tar_file(&folder.path().join("layer.tar"), &gz).unwrap();
        assert_eq!(layer.diff_id, sha256(&tar));
        assert_eq!(layer.blob.digest, sha256(&std::fs::read(&gz).unwrap()));
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(layer.blob.bytes().as_slice())
            .read_to_end(&mut plain)
            .unwrap();
        assert_eq!(plain, tar);
    }
}
