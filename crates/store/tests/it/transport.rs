//! Images in archives and folders: every form there and back, those of other tools, and hostile ones.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Cursor, Read, Write as _};
use std::path::PathBuf;

use hull_spec::image::ImageConfig;
use hull_spec::manifest::{Descriptor, Manifest, media};
use hull_spec::{Algorithm, Digest, Document, ErrorKind};
use hull_store::archive::{Archive as Images, Form, Listed, Writer};
use serde_json::{Value, json};

use crate::archive::{Archive, Header, gzip};

/// A folder for archives, and for what has to be spooled.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let out = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir(out.path("spool")).unwrap();
        out
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn open(&self, name: &str) -> Result<Images, hull_store::Error> {
        let opened = Images::open(&self.path(name), &self.path("spool"));
        // What was spooled has no name.
        assert_eq!(std::fs::read_dir(self.path("spool")).unwrap().count(), 0);
        opened
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<Images, hull_store::Error> {
        std::fs::write(self.path(name), bytes).unwrap();
        self.open(name)
    }
}

fn describe(media_type: &str, bytes: &[u8]) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        digest: hull_store::digest(Algorithm::Sha256, bytes),
        size: bytes.len() as u64,
        urls: Vec::new(),
        annotations: BTreeMap::new(),
        platform: None,
        artifact_type: None,
    }
}

/// An image as its parts.
struct Made {
    layers: Vec<Vec<u8>>,
    config: Vec<u8>,
    manifest: Vec<u8>,
}

impl Made {
    fn new(label: &str, compressed: bool) -> Self {
        let plain: Vec<_> = ["base", label]
            .map(|text| Archive::new().file(text, text.as_bytes()).bytes())
            .into();
        let layers: Vec<_> = plain
            .iter()
            .map(|layer| if compressed { gzip(layer) } else { layer.clone() })
            .collect();
        let diff_ids: Vec<_> = plain
            .iter()
            .map(|layer| hull_store::digest(Algorithm::Sha256, layer))
            .collect();
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": {"Labels": {"l": label}},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        })
        .to_string()
        .into_bytes();
        let kind = if compressed {
            media::OCI_LAYER_GZIP
        } else {
            media::OCI_LAYER
        };
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media::OCI_MANIFEST,
            "config": describe(media::OCI_CONFIG, &config),
            "layers": layers.iter().map(|layer| describe(kind, layer)).collect::<Vec<_>>(),
        })
        .to_string()
        .into_bytes();
        Self {
            layers,
            config,
            manifest,
        }
    }

    fn descriptor(&self) -> Descriptor {
        describe(media::OCI_MANIFEST, &self.manifest)
    }

    fn id(&self) -> Digest {
        hull_store::digest(Algorithm::Sha256, &self.config)
    }

    fn put(&self, writer: &mut Writer, names: &[&str], label: Option<&str>) {
        let manifest: Manifest = serde_json::from_slice(&self.manifest).unwrap();
        for (descriptor, layer) in manifest.layers.iter().zip(&self.layers) {
            if !writer.has(descriptor).unwrap() {
                writer.blob(descriptor, &mut &layer[..]).unwrap();
                assert!(writer.has(descriptor).unwrap());
            }
        }
        writer.blob(&manifest.config, &mut &self.config[..]).unwrap();
        writer.document(&self.descriptor(), &self.manifest).unwrap();
        let listed = Listed {
            descriptor: self.descriptor(),
            names: names.iter().map(|name| name.parse().unwrap()).collect(),
            label: label.map(str::to_owned),
        };
        writer.list(listed).unwrap();
    }

    /// The image is in the archive at this place of its list, every byte of it.
    fn check(&self, archive: &Images, at: usize) {
        let listed = &archive.listed()[at];
        let (_, document) = archive.document(&listed.descriptor).unwrap();
        let Document::Image(manifest) = document else {
            panic!("{document:?}")
        };
        let config = archive.config(&manifest.config).unwrap();
        assert_eq!(config, self.config);
        let config: ImageConfig = serde_json::from_slice(&config).unwrap();
        assert_eq!(config.rootfs.diff_ids.len(), manifest.layers.len());
        for (descriptor, layer) in manifest.layers.iter().zip(&self.layers) {
            let mut bytes = Vec::new();
            archive.blob(descriptor).unwrap().read_to_end(&mut bytes).unwrap();
            assert!(bytes == *layer, "{descriptor:?}");
            assert_eq!(descriptor.digest, hull_store::digest(Algorithm::Sha256, &bytes));
            let mut rest = Vec::new();
            archive
                .blob(descriptor)
                .unwrap()
                .skip(10)
                .read_to_end(&mut rest)
                .unwrap();
            assert!(rest == layer[10..]);
        }
    }
}

fn names(archive: &Images) -> Vec<Vec<String>> {
    let listed = archive.listed().iter();
    listed
        .map(|l| l.names.iter().map(ToString::to_string).collect())
        .collect()
}

#[test]
fn archives_come_back_as_they_were_written() {
    let place = Place::new();
    let (one, two) = (Made::new("one", true), Made::new("two", false));
    for form in [Form::Docker, Form::Oci] {
        let name = format!("{form:?}.tar");
        let file = File::create(place.path(&name)).unwrap();
        let mut writer = Writer::archive(form, &name, file.into()).unwrap();
        one.put(&mut writer, &["one:1", "one:latest"], None);
        two.put(&mut writer, &[], None);
        writer.finish().unwrap();
        let archive = place.open(&name).unwrap();
        assert_eq!(archive.form(), form);
        assert_eq!(
            names(&archive),
            [
                vec![
                    "docker.io/library/one:1".to_owned(),
                    "docker.io/library/one:latest".to_owned()
                ],
                vec![]
            ]
        );
        one.check(&archive, 0);
        two.check(&archive, 1);
        assert_eq!(archive.listed()[0].descriptor.digest, one.descriptor().digest);
        // Compressed as a whole, and through a pipe.
        let bytes = std::fs::read(place.path(&name)).unwrap();
        one.check(&place.write("whole.tar.gz", &gzip(&bytes)).unwrap(), 0);
        one.check(
            &place
                .write("whole.tar.zst", &zstd::encode_all(&bytes[..], 1).unwrap())
                .unwrap(),
            0,
        );
        let (read, write) = rustix::pipe::pipe().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| File::from(write).write_all(&bytes).unwrap());
            two.check(&Images::read(read, &place.path("spool")).unwrap(), 1);
        });
        // Behind something else in the same file, as a shell's redirection may leave it.
        let mut shifted = b"some line\n".to_vec();
        shifted.extend(&bytes);
        std::fs::write(place.path("shifted"), &shifted).unwrap();
        let mut file = File::open(place.path("shifted")).unwrap();
        file.read_exact(&mut [0; 10]).unwrap();
        one.check(&Images::read(file.into(), &place.path("spool")).unwrap(), 0);
        // Any other tar reads it, too.
        let mut plain = tar::Archive::new(&bytes[..]);
        assert!(plain.entries().unwrap().count() > 8);
    }
}

#[test]
fn the_same_images_make_the_same_archive() {
    let place = Place::new();
    let one = Made::new("one", true);
    let write = |name: &str| {
        let file = File::create(place.path(name)).unwrap();
        let mut writer = Writer::archive(Form::Docker, name, file.into()).unwrap();
        one.put(&mut writer, &["one:1"], None);
        writer.finish().unwrap();
        std::fs::read(place.path(name)).unwrap()
    };
    assert!(write("a") == write("b"));
}

#[test]
fn folders_come_back_and_are_added_to() {
    let place = Place::new();
    let (one, two) = (Made::new("one", true), Made::new("two", true));
    let put = |made: &Made, label: &str| {
        let mut writer = Writer::folder(Form::Layout, &place.path("layout")).unwrap();
        made.put(&mut writer, &[], Some(label));
        writer.finish().unwrap();
    };
    put(&one, "a");
    put(&two, "b");
    let archive = place.open("layout").unwrap();
    assert_eq!(archive.form(), Form::Layout);
    let labels = |archive: &Images| -> Vec<_> { archive.listed().iter().filter_map(|l| l.label.clone()).collect() };
    assert_eq!(labels(&archive), ["a", "b"]);
    one.check(&archive, 0);
    two.check(&archive, 1);
    // A label means one image.
    put(&two, "a");
    let archive = place.open("layout").unwrap();
    assert_eq!(labels(&archive), ["b", "a"]);
    two.check(&archive, 1);
    two.check(&archive, 0);

    let mut writer = Writer::folder(Form::Dir, &place.path("dir")).unwrap();
    one.put(&mut writer, &["one:1"], None);
    let again = writer.list(Listed {
        descriptor: one.descriptor(),
        names: Vec::new(),
        label: None,
    });
    assert_eq!(again.unwrap_err().kind(), ErrorKind::Unsupported);
    writer.finish().unwrap();
    let archive = place.open("dir").unwrap();
    assert_eq!((archive.form(), names(&archive)), (Form::Dir, vec![vec![]]));
    one.check(&archive, 0);
    // Nothing without its name is left in any of them.
    for folder in ["layout", "layout/blobs/sha256", "dir"] {
        let entries = std::fs::read_dir(place.path(folder)).unwrap();
        assert!(
            entries
                .flatten()
                .all(|entry| !entry.file_name().to_string_lossy().starts_with('.'))
        );
    }
    // A folder with something else is none of ours.
    assert!(Writer::folder(Form::Layout, &place.path("dir")).is_err());
}

#[test]
fn wrong_bytes_are_not_written() {
    let place = Place::new();
    let one = Made::new("one", true);
    let manifest: Manifest = serde_json::from_slice(&one.manifest).unwrap();
    let layer = &manifest.layers[0];
    let mut writer = Writer::folder(Form::Layout, &place.path("layout")).unwrap();
    let short = &one.layers[0][..20];
    let mut other = one.layers[0].clone();
    other[15] ^= 1;
    for wrong in [short, &other] {
        assert!(writer.blob(layer, &mut &wrong[..]).is_err());
        assert!(!writer.has(layer).unwrap());
    }
    assert!(
        writer
            .document(&describe(media::OCI_MANIFEST, b"x"), &one.manifest)
            .is_err()
    );
    assert!(
        writer
            .document(&describe(media::OCI_INDEX, &one.manifest), &one.manifest)
            .is_err()
    );
    let listed = Listed {
        descriptor: one.descriptor(),
        names: Vec::new(),
        label: None,
    };
    assert_eq!(writer.list(listed).unwrap_err().kind(), ErrorKind::NotFound);
}

/// An archive as Docker 1.10 to 24 wrote it: a folder a layer, the second image's base a link to the first one's.
fn legacy(images: &[&Made], tags: &[&str]) -> Archive {
    let mut out = Archive::new();
    let mut items = Vec::new();
    for (n, (made, tag)) in images.iter().zip(tags).enumerate() {
        let mut paths = Vec::new();
        for (at, layer) in made.layers.iter().enumerate() {
            let id = format!("{n}{at}").repeat(32);
            out = out
                .dir(&id)
                .file(&format!("{id}/VERSION"), b"1.0")
                .file(&format!("{id}/json"), b"{}");
            let path = format!("{id}/layer.tar");
            out = if n > 0 && at == 0 {
                out.symlink(&path, &format!("../{}/layer.tar", "00".repeat(32)))
            } else {
                out.file(&path, layer)
            };
            paths.push(path);
        }
        let config = format!("{}.json", made.id().hex());
        out = out.file(&config, &made.config);
        items.push(json!({"Config": config, "RepoTags": [tag], "Layers": paths}));
    }
    out.file("manifest.json", Value::from(items).to_string().as_bytes())
        .file("repositories", b"{}")
}

#[test]
fn archives_of_older_dockers_are_read() {
    let place = Place::new();
    let (one, two) = (Made::new("one", false), Made::new("two", false));
    let archive = place
        .write("old.tar", &legacy(&[&one, &two], &["one:1", "two:2"]).bytes())
        .unwrap();
    assert_eq!(
        names(&archive),
        [
            ["docker.io/library/one:1".to_owned()],
            ["docker.io/library/two:2".to_owned()]
        ]
    );
    one.check(&archive, 0);
    two.check(&archive, 1);
}

#[test]
fn archives_of_other_tools_are_read() {
    let place = Place::new();
    let (plain, packed) = (Made::new("x", false), Made::new("x", true));
    let list =
        |config: &str, layers: &[&str]| json!([{"Config": config, "RepoTags": null, "Layers": layers}]).to_string();
    // Podman's names, and a prefix as `tar -C folder .` gives it.
    let podman = Archive::new()
        .dir("./")
        .file("./aa.tar", &plain.layers[0])
        .file("./bb.tar", &plain.layers[1])
        .file("./c.json", &plain.config)
        .file("./manifest.json", list("c.json", &["aa.tar", "./bb.tar"]).as_bytes());
    plain.check(&place.write("podman", &podman.bytes()).unwrap(), 0);
    // Compressed layers under any name, the list first, one file twice.
    let kaniko = Archive::new()
        .file("manifest.json", list("sha256:c", &["a.tar.gz", "b.tar.gz"]).as_bytes())
        .file("a.tar.gz", &packed.layers[0])
        .file("b.tar.gz", &packed.layers[1])
        .file("b.tar.gz", &packed.layers[1])
        .file("sha256:c", &packed.config);
    packed.check(&place.write("kaniko", &kaniko.bytes()).unwrap(), 0);
    // An OCI layout alone, in an archive.
    let index = json!({"schemaVersion": 2, "manifests": [{
        "mediaType": media::OCI_MANIFEST, "digest": packed.descriptor().digest, "size": packed.manifest.len(),
        "annotations": {"org.opencontainers.image.ref.name": "localhost/a:b"}}]});
    let blob = |bytes: &[u8]| format!("blobs/sha256/{}", hull_store::digest(Algorithm::Sha256, bytes).hex());
    let mut oci = Archive::new().file("oci-layout", br#"{"imageLayoutVersion": "1.0.0"}"#);
    for bytes in packed.layers.iter().chain([&packed.config, &packed.manifest]) {
        oci = oci.file(&blob(bytes), bytes);
    }
    let oci = oci.file("index.json", index.to_string().as_bytes());
    let archive = place.write("oci", &oci.bytes()).unwrap();
    assert_eq!(names(&archive), [["localhost/a:b"]]);
    packed.check(&archive, 0);
}

/// The archive cannot be opened, and the error says so, without the stranger's control characters.
fn refused(place: &Place, archive: &Archive, expected: &str) {
    let error = place.write("hostile", &archive.bytes()).map(drop).unwrap_err();
    let said = error.to_string();
    assert!(said.contains(expected), "{said}, not {expected}");
    assert!(
        matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Unsupported),
        "{error:?}"
    );
    assert!(!said.contains('\u{1b}'), "{said:?}");
}

#[test]
fn what_is_no_archive_of_images_is_refused() {
    let place = Place::new();
    let one = Made::new("one", false);
    let good = || legacy(&[&one], &["one:1"]);
    let with = |text: &str| Archive::new().file("manifest.json", text.as_bytes());
    let layers = |layers: Value, archive: Archive| {
        let item = json!([{"Config": "c", "RepoTags": ["a:b"], "Layers": layers}]);
        archive
            .file("c", &one.config)
            .file("manifest.json", item.to_string().as_bytes())
    };
    let both = Archive::new().file("l", &one.layers[0]).file("m", &one.layers[1]);
    let check = |archive: Archive, expected: &str| refused(&place, &archive, expected);
    check(Archive::new(), "neither a manifest.json nor an index.json");
    check(
        Archive::new().raw(b"not a tar archive at all, but long enough to be looked at"),
        "no tar archive",
    );
    check(Archive::new().file("repositories", b"{}"), "before 1.10");
    check(good().file("../x", b""), "leads out of the archive");
    check(good().file("a/../../x", b""), "leads out of the archive");
    check(good().symlink("x", "../../etc/passwd"), "leads out of the archive");
    check(good().hard_link("x", "../etc/passwd"), "leads out of the archive");
    check(
        good().file("manifest.json", b"[]"),
        "several entries called `manifest.json`",
    );
    check(with("{}"), "cannot be read");
    check(with(&"[".repeat(100_000)), "cannot be read");
    check(with(r#"[{"Config":"c","Config":"d"}]"#), "cannot be read");
    check(with(r#"[{"Config":"../../c"}]"#), "not in it");
    check(with("[{\"Config\":\"\u{1b}[31m\"}]"), "cannot be read");
    check(with(r#"[{"Config":"\u001b[31mc"}]"#), "not in it");
    check(
        Archive::new()
            .file("c", b"{}")
            .file("manifest.json", br#"[{"Config":"c","RepoTags":["A B"]}]"#),
        "invalid tag",
    );
    check(
        Archive::new()
            .file("c", b"{}")
            .file("manifest.json", br#"[{"Config":"c","RepoTags":["noname"]}]"#),
        "invalid tag",
    );
    check(
        layers(json!(["l"]), both.clone()),
        "names 2 layers, and the archive has 1",
    );
    check(
        layers(json!(["l", "nowhere"]), both.clone()),
        "`nowhere`, which is not in it",
    );
    check(layers(json!(["l", "../../../etc/passwd"]), both.clone()), "not in it");
    check(
        layers(json!(["l", "m"]), both.clone().symlink("l", "l")),
        "link of links",
    );
    check(
        layers(
            json!(["l", "m"]),
            both.clone().add(&Header {
                kind: b'6',
                path: "m",
                ..Header::default()
            }),
        ),
        "is no file",
    );
    check(layers(json!(["l", "m"]), both.clone().file("m", b"BZh91AY")), "bzip2");
    check(layers(json!(["l", "m"]), both.file("m", b"\xfd7zXZ\0")), "xz");
    // Cut in the middle of a layer: nothing behind the end is believed.
    let whole = good().bytes();
    let error = place.write("cut", &whole[..4000]).map(drop).unwrap_err();
    assert!(error.to_string().contains("ends"), "{error}");
    for (bytes, format) in [(&b"BZh9"[..], "bzip2"), (b"\xfd7zXZ\0", "xz")] {
        let error = place.write("packed", bytes).map(drop).unwrap_err();
        assert!(error.to_string().contains(format) && error.kind() == ErrorKind::Unsupported);
    }
}

#[test]
fn what_is_no_layout_is_refused() {
    let place = Place::new();
    let one = Made::new("one", false);
    let marker = br#"{"imageLayoutVersion":"1.0.0"}"#;
    let index = |text: &str| {
        Archive::new()
            .file("oci-layout", marker)
            .file("index.json", text.as_bytes())
    };
    let check = |archive: Archive, expected: &str| refused(&place, &archive, expected);
    check(index("[]"), "index.json");
    check(
        index(r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#),
        "both an index",
    );
    check(index(&String::from_utf8(one.manifest.clone()).unwrap()), "index.json");
    check(Archive::new().file("index.json", b"{}"), "lacks the file oci-layout");
    check(
        Archive::new()
            .file("index.json", b"{}")
            .file("oci-layout", br#"{"imageLayoutVersion":"2.0"}"#),
        "version `2.0`",
    );
}

#[test]
fn lists_have_limits() {
    let place = Place::new();
    let huge = Archive::new().file("manifest.json", &vec![b' '; (4 << 20) + 1]);
    let error = place.write("huge", &huge.bytes()).map(drop).unwrap_err();
    assert!(error.to_string().contains("larger than"), "{error}");
    // Configs of 500 layers each: the manifests made for them would take hundreds of megabytes.
    let layer = Archive::new().bytes();
    let mut archive = Archive::new().file("l", &layer);
    let mut items = Vec::new();
    let diff = hull_store::digest(Algorithm::Sha256, &layer);
    for n in 0..130 {
        let config = json!({"n": n, "rootfs": {"type": "layers", "diff_ids": vec![&diff; 500]}});
        archive = archive.file(&format!("c{n}"), config.to_string().as_bytes());
        items.push(json!({"Config": format!("c{n}"), "Layers": vec!["l"; 500]}));
    }
    let archive = archive.file("manifest.json", Value::from(items).to_string().as_bytes());
    let error = place.write("many", &archive.bytes()).map(drop).unwrap_err();
    assert!(error.to_string().contains("too many images"), "{error}");
}

#[test]
fn documents_and_blobs_are_checked_when_they_are_asked_for() {
    let place = Place::new();
    let one = Made::new("one", true);
    let file = File::create(place.path("a")).unwrap();
    let mut writer = Writer::archive(Form::Oci, "a", file.into()).unwrap();
    one.put(&mut writer, &["one:1"], None);
    writer.finish().unwrap();
    let archive = place.open("a").unwrap();
    let descriptor = one.descriptor();
    let sized = Descriptor {
        size: descriptor.size + 1,
        ..descriptor.clone()
    };
    assert!(matches!(
        archive.document(&sized),
        Err(hull_store::Error::BlobSize { .. })
    ));
    let index = Descriptor {
        media_type: media::OCI_INDEX.to_owned(),
        ..descriptor.clone()
    };
    // CVE-2021-41190: what a descriptor says and what a document is must agree.
    let error = archive.document(&index).unwrap_err();
    assert!(error.to_string().contains("both"), "{error}");
    let gone = describe(media::OCI_MANIFEST, b"nowhere");
    assert!(
        archive
            .document(&gone)
            .unwrap_err()
            .to_string()
            .contains("lacks the blob")
    );
    let large = Descriptor {
        size: 5 << 20,
        ..descriptor
    };
    assert!(matches!(
        archive.document(&large),
        Err(hull_store::Error::BlobTooLarge { .. })
    ));
    // Another blob under the manifest's name.
    let bytes = std::fs::read(place.path("a")).unwrap();
    let at = memchr_find(&bytes, &one.manifest);
    let mut bent = bytes;
    bent[at + 20] ^= 1;
    let archive = place.write("bent", &bent).unwrap();
    assert!(matches!(
        archive.document(&one.descriptor()),
        Err(hull_store::Error::BlobDigest { .. })
    ));
}

fn memchr_find(bytes: &[u8], part: &[u8]) -> usize {
    bytes.windows(part.len()).position(|window| window == part).unwrap()
}

#[test]
fn folders_do_not_lead_out_and_do_not_block() {
    let place = Place::new();
    let one = Made::new("one", true);
    let mut writer = Writer::folder(Form::Layout, &place.path("layout")).unwrap();
    one.put(&mut writer, &[], Some("a"));
    writer.finish().unwrap();
    let manifest: Manifest = serde_json::from_slice(&one.manifest).unwrap();
    let blob = place.path("layout/blobs/sha256").join(manifest.layers[0].digest.hex());
    std::fs::rename(&blob, place.path("outside")).unwrap();
    std::os::unix::fs::symlink(place.path("outside"), &blob).unwrap();
    let archive = place.open("layout").unwrap();
    let error = archive.blob(&manifest.layers[0]).unwrap_err();
    assert!(error.to_string().contains("leads out"), "{error}");
    std::fs::remove_file(&blob).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &blob, rustix::fs::Mode::RWXU).unwrap();
    let error = archive.blob(&manifest.layers[0]).unwrap_err();
    assert!(error.to_string().contains("no file"), "{error}");
    // A link inside the folder is one's own business.
    std::fs::remove_file(&blob).unwrap();
    std::fs::rename(place.path("outside"), place.path("layout/elsewhere")).unwrap();
    std::os::unix::fs::symlink("../../elsewhere", &blob).unwrap();
    one.check(&place.open("layout").unwrap(), 0);
    assert!(place.open("spool").is_err());
    assert_eq!(place.open("nowhere").unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_blob_of_the_store_is_copied_to_files_and_pipes() {
    let home = crate::archive::Home::new();
    let bytes: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    let descriptor = describe(media::OCI_LAYER, &bytes);
    let lease = home.store.lease().unwrap();
    hull_store::blob::write(&lease, &bytes, &descriptor.digest).unwrap();
    let section = hull_store::blob::open(&home.store, &descriptor.digest).unwrap();
    let place = Place::new();
    let write = |output: std::os::fd::OwnedFd| {
        let mut writer = Writer::archive(Form::Oci, "out", output).unwrap();
        writer.known_blob(&descriptor, &section).unwrap();
        writer.known_blob(&descriptor, &section).unwrap();
        writer.finish().unwrap();
    };
    write(File::create(place.path("file")).unwrap().into());
    let appended = File::options()
        .append(true)
        .create(true)
        .open(place.path("appended"))
        .unwrap();
    write(appended.into());
    let (read, pipe) = rustix::pipe::pipe().unwrap();
    let piped = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut out = Vec::new();
            File::from(read).read_to_end(&mut out).map(|_| out).unwrap()
        });
        write(pipe);
        reader.join().unwrap()
    });
    let file = std::fs::read(place.path("file")).unwrap();
    assert!(file == piped && file == std::fs::read(place.path("appended")).unwrap());
    let mut tar = tar::Archive::new(Cursor::new(&file));
    let found = tar
        .entries()
        .unwrap()
        .map(Result::unwrap)
        .find(|entry| entry.size() == 3_000_000);
    let mut content = Vec::new();
    found.unwrap().read_to_end(&mut content).unwrap();
    assert!(content == bytes);
    assert_eq!(
        hull_store::blob::open(&home.store, &describe("", b"no").digest)
            .unwrap_err()
            .kind(),
        ErrorKind::NotFound
    );
}

proptest::proptest! {
    /// Whatever is done to an archive, reading it ends, in an error or with what its digests say.
    #[test]
    fn bent_archives_are_read_or_refused(at in 0usize..12_000, with in proptest::prelude::any::<u8>(), cut in 0usize..12_000) {
        let one = Made::new("one", false);
        let mut bytes = legacy(&[&one], &["one:1"]).bytes();
        let length = bytes.len();
        bytes[at % length] = with;
        bytes.truncate(length - (cut % length) / 4);
        let place = Place::new();
        if let Ok(archive) = place.write("bent", &bytes) {
            for listed in archive.listed() {
                let Ok((_, Document::Image(manifest))) = archive.document(&listed.descriptor) else { continue };
                for layer in &manifest.layers {
                    let _ = archive.blob(layer).map(|mut section| section.read_to_end(&mut Vec::new()));
                }
            }
        }
    }
}
