//! The image `hello`, which is not pulled: it is made of the running program itself, so that the first container on a
//! fresh machine needs no network.
//!
//! Its one layer holds this very binary as `/hello`, and nothing in it depends on where or when it is made: the same
//! binary makes the same digests everywhere. An image of another version of hull is replaced when it is next asked for.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek};
use std::path::Path;

use hull_spec::container::Config;
use hull_spec::image::{History, ImageConfig, RootFs};
use hull_spec::manifest::{Descriptor, Manifest, media};
use hull_spec::{Algorithm, Digest, ErrorKind, Platform, Progress, Reference};
use hull_store::image::{Image, Record, RemoveRequest};
use hull_store::ingest::{self, LayerSpec};
use hull_store::{Access, Store, blob, chain_id, image, snapshot};
use sha2::Digest as _;

use super::users;
use crate::{Engine, Error, Result};

/// Where the program is in the image. The name is how the program knows what it is to do there, with [`MARKER`].
const PROGRAM: &str = "/hello";

/// The environment variable, set to `1` by the image, that makes the binary named `hello` say hello.
pub const MARKER: &str = "HULL_HELLO";

/// Tells an image of ours from one that was pulled under the same name, and of which version it is.
const LABEL: &str = "hull.hello";

const VERSION: &str = env!("CARGO_PKG_VERSION");

const EXECUTABLE: &str = "/proc/self/exe";

/// A fixed time, so that one binary makes one image.
const EPOCH: &str = "1970-01-01T00:00:00Z";

const PASSWD: &str = "root:x:0:0:root:/:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nnogroup:x:65534:\n";

const BLOCK: u64 = 512;

/// Whether `name`, as it was typed, means this image: no registry, no other tag, no digest.
#[must_use]
pub fn is_name(name: &str) -> bool {
    matches!(name, "hello" | "hello:latest")
}

/// Whether the store has the image as another hull made it. One that was pulled is left as it is.
///
/// # Errors
/// If the store or this program's own file cannot be read.
pub fn is_outdated(engine: &Engine) -> Result<bool> {
    if !engine.data.exists() {
        return Ok(false);
    }
    let store = engine.store(Access::Read)?;
    let Some(image) = present(store)? else {
        return Ok(false);
    };
    let Some(version) = label(&image) else {
        return Ok(false);
    };
    if version != VERSION {
        return Ok(true);
    }
    // Builds of one version differ too, and mostly in size. A look at the digest would cost more than all of `run`.
    let size = |path: &Path| path.symlink_metadata().map(|file| file.len()).ok();
    let own = std::fs::metadata(EXECUTABLE).map_err(cannot_read)?.len();
    let unpacked = snapshot::lower(store, &image.layers).into_iter().next();
    Ok(unpacked.and_then(|layer| size(&layer.join(&PROGRAM[1..]))) != Some(own))
}

/// Makes the image out of the running program and gives it its name. An image of an older hull that had the name goes,
/// unless a container needs it.
///
/// # Errors
/// If this program's own file cannot be read, or the store cannot be written.
pub fn make(engine: &Engine) -> Result<Image> {
    let store = engine.store(Access::Write)?;
    let before = present(store)?;
    let image = add(store, &Layer::open()?)?;
    if let Some(old) = before
        && old.id != image.id
        && label(&old).is_some()
        && image::names(store, &old.id)?.is_empty()
    {
        let request = RemoveRequest {
            name: old.id.as_str(),
            force: false,
        };
        match image::remove(store, &request, || users(engine)) {
            // A container uses it, or another command was faster.
            Err(e) if matches!(e.kind(), ErrorKind::Conflict | ErrorKind::NotFound) => {}
            removed => drop(removed?),
        }
    }
    Ok(image)
}

/// Brings the image into the store, as a pull would.
fn add(store: &Store, layer: &Layer) -> Result<Image> {
    let diff_id = layer.digest()?;
    let config = json(&config(&diff_id));
    let id = hull_store::digest(Algorithm::Sha256, &config);
    let descriptor = |media_type: &str, digest: &Digest, size: u64| Descriptor {
        media_type: media_type.to_owned(),
        digest: digest.clone(),
        size,
        urls: Vec::new(),
        annotations: BTreeMap::new(),
        platform: None,
        artifact_type: None,
    };
    // The layer is not compressed: it would take longer than all the rest.
    let spec = LayerSpec {
        descriptor: descriptor(media::OCI_LAYER, &diff_id, layer.len()),
        chain_id: chain_id(None, &diff_id),
        diff_id,
    };
    let manifest = json(&Manifest {
        schema_version: 2,
        media_type: Some(media::OCI_MANIFEST.to_owned()),
        artifact_type: None,
        config: descriptor(media::OCI_CONFIG, &id, config.len() as u64),
        layers: vec![spec.descriptor.clone()],
        subject: None,
        annotations: BTreeMap::new(),
    });
    let manifest_digest = hull_store::digest(Algorithm::Sha256, &manifest);
    let lease = store.lease()?;
    blob::write(&lease, &config, &id)?;
    blob::write(&lease, &manifest, &manifest_digest)?;
    ingest::layer(&lease, &spec, |offset| layer.read_from(offset), &Progress::silent())?;
    Ok(image::record(
        &lease,
        &Record {
            id: &id,
            config: &config,
            manifest: &manifest_digest,
            layers: &[spec],
            names: &[name()?],
        },
    )?)
}

fn name() -> Result<Reference> {
    let name: Reference = "hello".parse().map_err(hull_store::Error::Name)?;
    Ok(name.or_latest())
}

/// The image that has the name, whoever made it.
fn present(store: &Store) -> Result<Option<Image>> {
    match image::resolve(store, &name()?.to_string()) {
        Ok(image) => Ok(Some(image)),
        Err(hull_store::Error::NoImage { .. }) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// The version of hull that made the image; `None` if it is not one of ours.
fn label(image: &Image) -> Option<&str> {
    Some(image.config.config.as_ref()?.labels.get(LABEL)?)
}

fn config(diff_id: &Digest) -> ImageConfig {
    let Platform {
        architecture,
        os,
        variant,
        ..
    } = Platform::host();
    ImageConfig {
        created: Some(EPOCH.to_owned()),
        architecture,
        os,
        variant,
        config: Some(Config {
            env: vec![format!("{MARKER}=1")],
            entrypoint: Some(vec![PROGRAM.to_owned()]),
            working_dir: "/".to_owned(),
            labels: BTreeMap::from([(LABEL.to_owned(), VERSION.to_owned())]),
            ..Config::default()
        }),
        rootfs: RootFs {
            kind: "layers".to_owned(),
            diff_ids: vec![diff_id.clone()],
        },
        history: vec![History {
            created: Some(EPOCH.to_owned()),
            created_by: Some("hull run hello".to_owned()),
            comment: Some(format!("made by hull {VERSION} of its own binary, not pulled")),
            ..History::default()
        }],
        ..ImageConfig::default()
    }
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    #[expect(clippy::expect_used, reason = "maps have text for keys, and nothing here can refuse")]
    serde_json::to_vec(value).expect("the image's parts are JSON")
}

/// The layer: an archive whose last entry is the program, so that it is read straight from the program's file, which
/// is never in memory as a whole.
struct Layer {
    /// One open file for all readings: an update of the program meanwhile makes another file.
    program: File,
    size: u64,
    /// The archive up to the program's first byte.
    head: Vec<u8>,
}

impl Layer {
    fn open() -> Result<Self> {
        let program = File::open(EXECUTABLE).map_err(cannot_read)?;
        Self::of(program).map_err(cannot_read)
    }

    fn of(program: File) -> io::Result<Self> {
        let size = program.metadata()?.len();
        let mut head = Vec::new();
        entry(&mut head, "etc/", 0o755, 0)?;
        for (path, text) in [("etc/passwd", PASSWD), ("etc/group", GROUP)] {
            entry(&mut head, path, 0o644, text.len() as u64)?;
            head.extend_from_slice(text.as_bytes());
            head.resize(head.len().next_multiple_of(BLOCK as usize), 0);
        }
        entry(&mut head, &PROGRAM[1..], 0o755, size)?;
        Ok(Self { program, size, head })
    }

    /// The program's last block is filled up, and two empty blocks end the archive.
    fn tail(&self) -> u64 {
        self.size.next_multiple_of(BLOCK) - self.size + 2 * BLOCK
    }

    fn len(&self) -> u64 {
        self.head.len() as u64 + self.size + self.tail()
    }

    /// The archive from byte `offset` on. One reader at a time: they share the file's position.
    fn read_from(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        let mut program = self.program.try_clone()?;
        program.rewind()?;
        let mut archive = Cursor::new(self.head.clone())
            .chain(program.take(self.size))
            .chain(io::repeat(0).take(self.tail()));
        io::copy(&mut archive.by_ref().take(offset), &mut io::sink())?;
        Ok(Box::new(archive))
    }

    fn digest(&self) -> Result<Digest> {
        let mut hasher = sha2::Sha256::new();
        let mut buffer = vec![0; 128 << 10];
        let mut archive = self.read_from(0).map_err(cannot_read)?;
        loop {
            match archive.read(&mut buffer) {
                Ok(0) => return Ok(Digest::sha256(&hasher.finalize().into())),
                Ok(n) => hasher.update(&buffer[..n]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(cannot_read(e)),
            }
        }
    }
}

/// Appends an entry's header, a directory's if `path` ends with a slash: root's, of no time.
fn entry(archive: &mut Vec<u8>, path: &str, mode: u32, size: u64) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(if path.ends_with('/') {
        tar::EntryType::Directory
    } else {
        tar::EntryType::Regular
    });
    header.set_path(path)?;
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    archive.extend_from_slice(header.as_bytes());
    Ok(())
}

fn cannot_read(source: io::Error) -> Error {
    Error::Read {
        path: EXECUTABLE.into(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::Settings;

    fn program(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn engine(root: &Path) -> Engine {
        Engine::open(&Settings {
            root: root.join("data"),
            run_root: root.join("run"),
            ..Settings::rootful()
        })
    }

    #[test]
    fn only_the_plain_name_is_embedded() {
        for (name, expected) in [
            ("hello", true),
            ("hello:latest", true),
            ("hello:1", false),
            ("docker.io/library/hello", false),
            ("localhost:5000/hello", false),
            ("hello-world", false),
            ("", false),
        ] {
            assert_eq!(is_name(name), expected, "{name}");
        }
    }

    #[test]
    fn the_archive_is_whole_from_every_offset() {
        for size in [1, 511, 512, 513, 5000] {
            let bytes: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
            let layer = Layer::of(program(&bytes)).unwrap();
            let mut whole = Vec::new();
            layer.read_from(0).unwrap().read_to_end(&mut whole).unwrap();
            assert_eq!(whole.len() as u64, layer.len());
            assert_eq!(layer.digest().unwrap(), hull_store::digest(Algorithm::Sha256, &whole));
            for offset in [1, 512, layer.head.len() as u64 + 1, layer.len()] {
                let mut rest = Vec::new();
                layer.read_from(offset).unwrap().read_to_end(&mut rest).unwrap();
                assert_eq!(rest, whole[offset as usize..], "{size} from {offset}");
            }
            let mut archive = tar::Archive::new(&whole[..]);
            let entries = archive.entries().unwrap().map(|entry| {
                let mut entry = entry.unwrap();
                let mut content = Vec::new();
                entry.read_to_end(&mut content).unwrap();
                assert_eq!(entry.header().mtime().unwrap(), 0);
                let path = entry.path().unwrap().display().to_string();
                (path, entry.header().mode().unwrap(), content)
            });
            assert_eq!(
                entries.collect::<Vec<_>>(),
                [
                    ("etc/".to_owned(), 0o755, Vec::new()),
                    ("etc/passwd".to_owned(), 0o644, PASSWD.into()),
                    ("etc/group".to_owned(), 0o644, GROUP.into()),
                    ("hello".to_owned(), 0o755, bytes),
                ]
            );
        }
    }

    #[test]
    fn it_is_the_same_everywhere_and_replaces_an_older_one() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [one, other] = folders.each_ref().map(|folder| engine(folder.path()));
        assert!(!is_outdated(&one).unwrap());
        // What an older hull has left: the same name, another program.
        let old = add(
            one.store(Access::Write).unwrap(),
            &Layer::of(program(b"an older hull")).unwrap(),
        )
        .unwrap();
        assert!(is_outdated(&one).unwrap());
        let made = make(&one).unwrap();
        assert_eq!(make(&other).unwrap().id, made.id);
        assert!(!is_outdated(&one).unwrap());
        let store = one.store(Access::Read).unwrap();
        assert_eq!(image::resolve(store, "hello").unwrap().id, made.id);
        assert!(!image::exists(store, &old.id).unwrap());
        assert!(!store.layer_path(&old.layers[0]).exists());
        for digest in [&old.id, &old.manifest, &old.blobs[0]] {
            assert!(!blob::exists(store, digest).unwrap(), "{digest}");
        }
    }

    #[test]
    fn one_that_was_pulled_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let engine = engine(folder.path());
        let store = engine.store(Access::Write).unwrap();
        let foreign = json(&ImageConfig {
            rootfs: RootFs {
                kind: "layers".to_owned(),
                diff_ids: Vec::new(),
            },
            ..ImageConfig::default()
        });
        let id = hull_store::digest(Algorithm::Sha256, &foreign);
        let lease = store.lease().unwrap();
        blob::write(&lease, &foreign, &id).unwrap();
        let record = Record {
            id: &id,
            config: &foreign,
            manifest: &id,
            layers: &[],
            names: &[name().unwrap()],
        };
        image::record(&lease, &record).unwrap();
        assert!(!is_outdated(&engine).unwrap());
    }
}
