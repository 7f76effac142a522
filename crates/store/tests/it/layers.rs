//! What a good layer becomes.

use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use hull_spec::manifest::media;

use crate::archive::{Archive, Header, Home, Layer, gzip};

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().permissions().mode() & 0o7777
}

fn is_whiteout(path: &Path) -> bool {
    path.symlink_metadata()
        .is_ok_and(|m| m.file_type().is_char_device() && m.rdev() == 0)
}

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut buffer = vec![0; 1 << 16];
    let length = rustix::fs::lgetxattr(path, name, &mut buffer[..]).ok()?;
    buffer.truncate(length);
    Some(buffer)
}

#[test]
fn files_get_their_content_modes_and_times() {
    let home = Home::new();
    let big: Vec<u8> = (0..1_000_003u32)
        .map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1])
        .collect();
    let archive = Archive::new()
        .add(&Header {
            kind: b'5',
            path: "./",
            mode: 0o751,
            ..Header::default()
        })
        .add(&Header {
            kind: b'5',
            path: "tmp",
            mode: 0o1777,
            mtime: 99,
            ..Header::default()
        })
        .file("tmp/big", &big)
        .add(&Header {
            path: "tmp/suid",
            mode: 0o4755,
            mtime: 77,
            ..Header::default()
        })
        .add(&Header {
            path: "tmp/open",
            mode: 0o666,
            data: b"x",
            ..Header::default()
        })
        .add(&Header {
            kind: b'5',
            path: "closed",
            mode: 0o555,
            ..Header::default()
        })
        .file("closed/in", b"in")
        .symlink("tmp/link", "/etc/passwd")
        .hard_link("tmp/hard", "/tmp/big")
        .add(&Header {
            kind: b'6',
            path: "fifo",
            mode: 0o622,
            ..Header::default()
        })
        .file("/absolute/deep", b"a");
    let fs = home.unpack(&archive).unwrap();
    assert_eq!(mode(&fs), 0o751);
    assert_eq!(
        (mode(&fs.join("tmp")), fs.join("tmp").metadata().unwrap().mtime()),
        (0o1777, 99)
    );
    assert_eq!(std::fs::read(fs.join("tmp/big")).unwrap(), big);
    let suid = fs.join("tmp/suid").metadata().unwrap();
    assert_eq!((suid.permissions().mode() & 0o7777, suid.mtime()), (0o4755, 77));
    assert_eq!(mode(&fs.join("tmp/open")), 0o666);
    assert_eq!(mode(&fs.join("closed")), 0o555);
    assert_eq!(std::fs::read(fs.join("closed/in")).unwrap(), b"in");
    let link = fs.join("tmp/link");
    assert_eq!(std::fs::read_link(&link).unwrap(), Path::new("/etc/passwd"));
    assert_eq!(link.symlink_metadata().unwrap().mtime(), 1_700_000_000);
    assert_eq!(
        fs.join("tmp/hard").metadata().unwrap().ino(),
        fs.join("tmp/big").metadata().unwrap().ino()
    );
    assert!(fs.join("fifo").symlink_metadata().unwrap().file_type().is_fifo());
    assert_eq!(mode(&fs.join("fifo")), 0o622);
    assert_eq!(
        (
            mode(&fs.join("absolute")),
            std::fs::read(fs.join("absolute/deep")).unwrap()
        ),
        (0o755, b"a".to_vec())
    );
    // What was refused everywhere else does not make a good layer impossible to remove.
    hull_store::tree::remove(home.dir.path()).unwrap();
    assert!(!home.dir.path().exists());
}

#[test]
fn every_compression_gives_the_same_files() {
    let archive = Archive::new().file("f", &[9; 300_000]);
    let plain = archive.bytes();
    let members = [gzip(&plain[..1000]), gzip(&plain[1000..])].concat();
    let frames = [
        zstd::encode_all(&plain[..1000], 3).unwrap(),
        b"\x50\x2a\x4d\x18\x04\x00\x00\x00skip".to_vec(),
        zstd::encode_all(&plain[1000..], 3).unwrap(),
    ]
    .concat();
    for (blob, media_type) in [
        (gzip(&plain), media::OCI_LAYER_GZIP),
        (members, media::DOCKER_LAYER_GZIP),
        (zstd::encode_all(&plain[..], 3).unwrap(), media::OCI_LAYER_ZSTD),
        (frames, media::OCI_LAYER_ZSTD),
        (plain.clone(), media::OCI_LAYER),
        (
            gzip(&plain),
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        ),
        // Docker looks at the bytes, not at what they are called.
        (zstd::encode_all(&plain[..], 3).unwrap(), media::OCI_LAYER_GZIP),
    ] {
        let home = Home::new();
        let layer = Layer::new(&plain, blob, media_type);
        let fs = layer.ingest(&home.store.lease().unwrap()).unwrap();
        assert_eq!(std::fs::read(fs.join("f")).unwrap(), [9; 300_000], "{media_type}");
        assert_eq!(home.names("blobs/sha256"), [layer.spec.descriptor.digest.hex()]);
    }
}

#[test]
fn the_last_entry_of_a_name_wins() {
    let home = Home::new();
    let archive = Archive::new()
        .file("a", b"first")
        .file("a", b"second")
        .dir("b/")
        .file("b/in", b"")
        .file("b", b"file")
        .file("c", b"file")
        .dir("c")
        .file("c/in", b"in")
        .symlink("d", "a")
        .file("d", b"own")
        .dir("e")
        .file("e/kept", b"kept")
        .add(&Header {
            kind: b'5',
            path: "e",
            mode: 0o700,
            ..Header::default()
        })
        .file("f", b"target")
        .file("g", b"other")
        .hard_link("g", "f")
        .hard_link("f", "g");
    let fs = home.unpack(&archive).unwrap();
    let read = |name: &str| std::fs::read(fs.join(name)).unwrap();
    assert_eq!(
        (read("a"), read("b"), read("c/in")),
        (b"second".to_vec(), b"file".to_vec(), b"in".to_vec())
    );
    // The link itself is replaced; what it named is not written through it.
    assert_eq!(
        (read("d"), read("e/kept"), mode(&fs.join("e"))),
        (b"own".to_vec(), b"kept".to_vec(), 0o700)
    );
    assert_eq!((read("f"), read("g")), (b"target".to_vec(), b"target".to_vec()));
}

#[test]
fn links_that_a_layer_makes_are_followed_inside_it() {
    let home = Home::new();
    let archive = Archive::new()
        .dir("usr/bin")
        .symlink("bin", "usr/bin")
        .symlink("abs", "/usr")
        .symlink("up", "../../../usr")
        .file("bin/one", b"1")
        .file("abs/bin/two", b"2")
        .file("up/three", b"3")
        .file("up/new/four", b"4");
    let fs = home.unpack(&archive).unwrap();
    for (name, data) in [
        ("usr/bin/one", "1"),
        ("usr/bin/two", "2"),
        ("usr/three", "3"),
        ("usr/new/four", "4"),
    ] {
        assert_eq!(std::fs::read_to_string(fs.join(name)).unwrap(), data, "{name}");
    }
}

#[test]
fn whiteouts_become_overlays_own() {
    let home = Home::new();
    let archive = Archive::new()
        .dir("d")
        .file("d/.wh.gone", b"")
        .file("d/.wh.gone", b"")
        .file("implicit/.wh.x", b"")
        .file("d/added", b"new")
        .file("d/.wh.added", b"")
        .file("d/.wh.late", b"")
        .file("d/late", b"late")
        .file(".wh..wh.plnk", b"aufs")
        .dir(".wh..wh.orph")
        .file(".wh..wh.orph/x", b"aufs");
    let fs = home.unpack(&archive).unwrap();
    assert!(is_whiteout(&fs.join("d/gone")));
    assert!(is_whiteout(&fs.join("implicit/x")));
    assert_eq!(std::fs::read(fs.join("d/added")).unwrap(), b"new");
    assert_eq!(std::fs::read(fs.join("d/late")).unwrap(), b"late");
    let top: Vec<_> = fs.read_dir().unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(top.len(), 2, "{top:?}");
}

#[test]
fn privileged_opaque_directories_are_marked() {
    if !hull_testkit::require_root() {
        return;
    }
    let home = Home::new();
    let name = home.store.ownership().opaque_xattr();
    let archive = Archive::new()
        .dir("a")
        .file("a/.wh..wh..opq", b"")
        .file("a/kept", b"kept")
        .file(".wh.b", b"")
        .dir("b")
        .file("b/new", b"")
        .dir("c")
        .file("c/new", b"")
        .file(".wh.c", b"")
        .dir("d")
        .file(".wh..wh..opq", b"");
    let fs = home.unpack(&archive).unwrap();
    for (dir, opaque) in [("a", true), ("b", true), ("c", true), ("d", false), (".", false)] {
        assert_eq!(xattr(&fs.join(dir), name).is_some(), opaque, "{dir}");
    }
    assert!(fs.join("a/kept").exists() && fs.join("c/new").exists());
}

#[test]
fn privileged_owners_devices_and_attributes_are_kept() {
    if !hull_testkit::require_root() {
        return;
    }
    let home = Home::new();
    let capability = b"\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
    let archive = Archive::new()
        .add(&Header {
            kind: b'5',
            path: "mail",
            mode: 0o2775,
            owner: (7, 8),
            ..Header::default()
        })
        .add(&Header {
            path: "mail/box",
            mode: 0o6755,
            owner: (1000, 1001),
            ..Header::default()
        })
        .file("mail/root", b"")
        .add(&Header {
            kind: b'3',
            path: "null",
            mode: 0o666,
            device: (1, 3),
            ..Header::default()
        })
        .add(&Header {
            kind: b'4',
            path: "disk",
            mode: 0o660,
            device: (8, 0),
            owner: (0, 6),
            ..Header::default()
        })
        .pax(&[
            ("SCHILY.xattr.security.capability", capability),
            ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
            ("SCHILY.xattr.user.overlay.metacopy", b""),
        ])
        .add(&Header {
            path: "ping",
            mode: 0o755,
            owner: (5, 5),
            data: b"elf",
            ..Header::default()
        })
        .add(&Header {
            kind: b'2',
            path: "link",
            link: "x",
            owner: (33, 34),
            ..Header::default()
        });
    let fs = home.unpack(&archive).unwrap();
    let owner = |name: &str| {
        let m = fs.join(name).symlink_metadata().unwrap();
        (m.uid(), m.gid(), m.permissions().mode() & 0o7777)
    };
    assert_eq!(owner("mail"), (7, 8, 0o2775));
    assert_eq!(owner("mail/box"), (1000, 1001, 0o6755));
    // A set-group-ID directory does not pass its group on to what an image puts there.
    assert_eq!(owner("mail/root"), (0, 0, 0o644));
    assert_eq!((owner("link").0, owner("link").1), (33, 34));
    let rdev = |name: &str| fs.join(name).symlink_metadata().unwrap().rdev();
    assert_eq!(
        (rdev("null"), rdev("disk")),
        (rustix::fs::makedev(1, 3), rustix::fs::makedev(8, 0))
    );
    assert_eq!((owner("null").2, owner("disk")), (0o666, (0, 6, 0o660)));
    assert_eq!(xattr(&fs.join("ping"), "security.capability").unwrap(), capability);
    assert_eq!(xattr(&fs.join("ping"), "trusted.overlay.redirect"), None);
    assert_eq!(xattr(&fs.join("ping"), "user.overlay.metacopy"), None);
}

#[test]
fn sparse_files_keep_their_holes() {
    let home = Home::new();
    let data = [1; 4096];
    let archive = Archive::new()
        .pax(&[
            ("GNU.sparse.size", b"1073741824"),
            ("GNU.sparse.map", b"536870912,4096,1073741824,0"),
        ])
        .file("hole", &data);
    let fs = home.unpack(&archive).unwrap();
    let meta = fs.join("hole").metadata().unwrap();
    assert_eq!(meta.len(), 1 << 30);
    assert!(meta.blocks() * 512 < 1 << 20, "{} blocks", meta.blocks());
    let mut read = [0; 4096];
    let file = std::fs::File::open(fs.join("hole")).unwrap();
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut read, 1 << 29).unwrap();
    assert_eq!(read, data);
}

#[test]
fn gnu_tar_archives_are_unpacked_as_gnu_tar_does() {
    let source = tempfile::tempdir().unwrap();
    let root = source.path();
    let long = format!("{}/{}", "d".repeat(120), "n".repeat(200));
    std::fs::create_dir(root.join("d".repeat(120))).unwrap();
    std::fs::write(root.join(&long), b"long").unwrap();
    std::os::unix::fs::symlink("t".repeat(300), root.join("link")).unwrap();
    let file = std::fs::File::create(root.join("sparse")).unwrap();
    for n in 0..40u64 {
        std::os::unix::fs::FileExt::write_all_at(&file, b"data", n << 20).unwrap();
    }
    for format in ["gnu", "pax", "ustar", "oldgnu"] {
        let mut tar = std::process::Command::new("tar");
        let sparse = if format == "ustar" { "-cf" } else { "-cSf" };
        tar.args([sparse, "-", "--format", format, "-C"])
            .arg(root)
            .arg("sparse");
        if format != "ustar" {
            tar.args(["link", &"d".repeat(120)]);
        }
        let out = tar.output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let home = Home::new();
        let layer = Layer::new(&out.stdout, gzip(&out.stdout), media::OCI_LAYER_GZIP);
        let fs = layer.ingest(&home.store.lease().unwrap()).unwrap();
        assert_eq!(
            std::fs::read(fs.join("sparse")).unwrap(),
            std::fs::read(root.join("sparse")).unwrap(),
            "{format}"
        );
        if format != "ustar" {
            assert_eq!(std::fs::read(fs.join(&long)).unwrap(), b"long", "{format}");
            assert_eq!(
                std::fs::read_link(fs.join("link")).unwrap().as_os_str().len(),
                300,
                "{format}"
            );
        }
    }
}
