//! Making archives, layers and images, good ones and hostile ones.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::{Cursor, Read, Write};
use std::path::PathBuf;

use hull_spec::manifest::{Descriptor, media};
use hull_spec::{Algorithm, Digest, Progress, Reference};
use hull_store::ingest::{LayerSpec, layer};
use hull_store::{Access, Error, Lease, Store, image};

/// An archive in the making. Owners are the test's own, unless given, so that most tests need no privileges.
#[derive(Clone, Default)]
pub(crate) struct Archive(Vec<u8>);

/// An entry in the making.
pub(crate) struct Header<'a> {
    pub(crate) kind: u8,
    pub(crate) path: &'a str,
    pub(crate) link: &'a str,
    pub(crate) mode: u64,
    pub(crate) owner: (u64, u64),
    pub(crate) mtime: u64,
    pub(crate) device: (u64, u64),
    pub(crate) data: &'a [u8],
}

impl Default for Header<'_> {
    fn default() -> Self {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        Self {
            kind: b'0',
            path: "",
            link: "",
            mode: 0o644,
            owner: (u64::from(uid.as_raw()), u64::from(gid.as_raw())),
            mtime: 1_700_000_000,
            device: (0, 0),
            data: b"",
        }
    }
}

impl Archive {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn add(mut self, header: &Header<'_>) -> Self {
        let mut block = [0u8; 512];
        // No checks: what other writers refuse is what is to be tested.
        block[..header.path.len()].copy_from_slice(header.path.as_bytes());
        block[157..157 + header.link.len()].copy_from_slice(header.link.as_bytes());
        let mut octal = |at: usize, width: usize, n: u64| {
            block[at..at + width].copy_from_slice(format!("{n:0width$o}").as_bytes());
        };
        octal(100, 7, header.mode);
        octal(108, 7, header.owner.0);
        octal(116, 7, header.owner.1);
        octal(124, 11, header.data.len() as u64);
        octal(136, 11, header.mtime);
        octal(329, 7, header.device.0);
        octal(337, 7, header.device.1);
        block[156] = header.kind;
        block[257..265].copy_from_slice(b"ustar\x0000");
        block[148..156].fill(b' ');
        let sum: u64 = block.iter().map(|&b| u64::from(b)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        self.0.extend(block);
        self.0.extend(header.data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn file(self, path: &str, data: &[u8]) -> Self {
        self.add(&Header {
            path,
            data,
            ..Header::default()
        })
    }

    pub(crate) fn dir(self, path: &str) -> Self {
        self.add(&Header {
            kind: b'5',
            path,
            mode: 0o755,
            ..Header::default()
        })
    }

    pub(crate) fn symlink(self, path: &str, link: &str) -> Self {
        self.add(&Header {
            kind: b'2',
            path,
            link,
            mode: 0o777,
            ..Header::default()
        })
    }

    pub(crate) fn hard_link(self, path: &str, link: &str) -> Self {
        self.add(&Header {
            kind: b'1',
            path,
            link,
            ..Header::default()
        })
    }

    /// A PAX header for the entry that follows.
    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while length != rest + length.to_string().len() {
                length = rest + length.to_string().len();
            }
            data.extend(format!("{length} {key}=").as_bytes());
            data.extend(*value);
            data.push(b'\n');
        }
        self.add(&Header {
            kind: b'x',
            path: "pax",
            data: &data,
            ..Header::default()
        })
    }

    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = self.0.clone();
        out.extend([0; 1024]);
        out
    }

    pub(crate) fn gzip(&self) -> Layer {
        Layer::new(&self.bytes(), gzip(&self.bytes()), media::OCI_LAYER_GZIP)
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A layer as a registry has it.
#[derive(Clone)]
pub(crate) struct Layer {
    pub(crate) spec: LayerSpec,
    pub(crate) blob: Vec<u8>,
}

impl Layer {
    pub(crate) fn new(plain: &[u8], blob: Vec<u8>, media_type: &str) -> Self {
        let diff_id = hull_store::digest(Algorithm::Sha256, plain);
        Self {
            spec: LayerSpec {
                descriptor: Descriptor {
                    media_type: media_type.to_owned(),
                    digest: hull_store::digest(Algorithm::Sha256, &blob),
                    size: blob.len() as u64,
                    urls: Vec::new(),
                    annotations: BTreeMap::new(),
                    platform: None,
                    artifact_type: None,
                },
                chain_id: diff_id.clone(),
                diff_id,
            },
            blob,
        }
    }

    /// The same layer on top of `parent`.
    pub(crate) fn on(mut self, parent: &Self) -> Self {
        self.spec.chain_id = hull_store::chain_id(Some(&parent.spec.chain_id), &self.spec.diff_id);
        self
    }

    /// The bytes from an offset, as a registry serves them.
    pub(crate) fn source(&self) -> impl FnOnce(u64) -> Result<Box<dyn Read + Send>, Infallible> + use<> {
        let mut cursor = Cursor::new(self.blob.clone());
        move |offset| {
            cursor.set_position(offset);
            Ok(Box::new(cursor))
        }
    }

    pub(crate) fn ingest(&self, lease: &Lease<'_>) -> Result<PathBuf, Error> {
        layer(lease, &self.spec, self.source(), &Progress::silent())?;
        Ok(lease.store().layer_path(&self.spec.chain_id).join("fs"))
    }
}

/// A store in a directory of its own.
pub(crate) struct Home {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) store: Store,
}

impl Home {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Access::Write).unwrap();
        Self { dir, store }
    }

    /// One that costs no waiting for a disk, for tests of many stores.
    pub(crate) fn in_memory() -> Self {
        let dir = tempfile::tempdir_in("/dev/shm")
            .or_else(|_| tempfile::tempdir())
            .unwrap();
        let store = Store::open(dir.path(), Access::Write).unwrap();
        Self { dir, store }
    }

    /// Unpacks one archive.
    pub(crate) fn unpack(&self, archive: &Archive) -> Result<PathBuf, Error> {
        archive.gzip().ingest(&self.store.lease().unwrap())
    }

    /// Pulls an image of these layers, lowest first.
    pub(crate) fn image(&self, layers: &[Archive], names: &[&str], label: &str) -> image::Image {
        let lease = self.store.lease().unwrap();
        let mut stack: Vec<Layer> = Vec::new();
        for archive in layers {
            let layer = match stack.last() {
                Some(parent) => archive.gzip().on(parent),
                None => archive.gzip(),
            };
            layer.ingest(&lease).unwrap();
            stack.push(layer);
        }
        let specs: Vec<LayerSpec> = stack.iter().map(|l| l.spec.clone()).collect();
        record(&lease, &specs, names, label).unwrap()
    }

    /// Names of what is in a directory of the store.
    pub(crate) fn names(&self, dir: &str) -> Vec<String> {
        let mut out: Vec<String> = std::fs::read_dir(self.dir.path().join(dir))
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        out.sort();
        out
    }

    /// Nothing is left of a layer that was refused.
    pub(crate) fn assert_clean(&self) {
        assert_eq!(self.names("layers"), ["empty"]);
        assert_eq!(self.names("ingest"), [""; 0]);
        assert_eq!(self.names("blobs/sha256"), [""; 0]);
        assert_eq!(self.names("blobs/partial"), [""; 0]);
        assert_eq!(self.names("trash"), [""; 0]);
    }
}

pub(crate) fn record(
    lease: &Lease<'_>,
    layers: &[LayerSpec],
    names: &[&str],
    label: &str,
) -> Result<image::Image, Error> {
    let diff_ids: Vec<&str> = layers.iter().map(|l| l.diff_id.as_str()).collect();
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "unknown": {"x": [1]},
        "config": {"Labels": {"l": label}},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    })
    .to_string();
    let manifest = format!("manifest of {label}");
    let id = hull_store::digest(Algorithm::Sha256, config.as_bytes());
    let manifest_digest = hull_store::digest(Algorithm::Sha256, manifest.as_bytes());
    hull_store::blob::write(lease, config.as_bytes(), &id)?;
    hull_store::blob::write(lease, manifest.as_bytes(), &manifest_digest)?;
    let names: Vec<Reference> = names.iter().map(|n| n.parse().unwrap()).collect();
    image::record(
        lease,
        &image::Record {
            id: &id,
            config: config.as_bytes(),
            manifest: &manifest_digest,
            layers,
            names: &names,
        },
    )
}

pub(crate) fn no_users() -> Result<Vec<image::User>, Infallible> {
    Ok(Vec::new())
}

pub(crate) fn digest_of(text: &str) -> Digest {
    hull_store::digest(Algorithm::Sha256, text.as_bytes())
}
