//! Layers out of writable ones.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use hull_store::{Access, Store, blob, chain_id, ingest};
use hull_testkit::require_root;

fn store(root: &Path) -> Store {
    Store::open(root, Access::Write).unwrap()
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn privileged_a_layer_is_made_of_files() {
    if !require_root() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let upper = temp.path().join("upper");
    fs::create_dir_all(upper.join("etc/opaque")).unwrap();
    fs::set_permissions(&upper, fs::Permissions::from_mode(0o755)).unwrap();
    let store = store(&temp.path().join("store"));
    let lease = store.lease().unwrap();
    let none = ingest::create(&lease, None, &upper.join("etc/opaque"), &mut |_| {}).unwrap();
    assert_eq!(none, None, "nothing in it");
    fs::write(upper.join("etc/file"), vec![1; 100_000]).unwrap();
    fs::set_permissions(upper.join("etc/file"), fs::Permissions::from_mode(0o4711)).unwrap();
    std::os::unix::fs::chown(upper.join("etc/opaque"), Some(12), Some(34)).unwrap();
    fs::hard_link(upper.join("etc/file"), upper.join("etc/hard")).unwrap();
    symlink("/nowhere", upper.join("link")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(upper.join("socket")).unwrap();
    let sparse = fs::File::create(upper.join("sparse")).unwrap();
    sparse.set_len(10 << 30).unwrap();
    let device = rustix::fs::FileType::CharacterDevice;
    rustix::fs::mknodat(
        rustix::fs::CWD,
        upper.join("gone"),
        device,
        rustix::fs::Mode::empty(),
        0,
    )
    .unwrap();
    let opaque = fs::File::open(upper.join("etc/opaque")).unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::fsetxattr(&opaque, "trusted.overlay.opaque", b"y", flags).unwrap();
    let mut skipped = Vec::new();
    let parent = hull_store::digest(hull_spec::Algorithm::Sha256, b"parent");
    let layer = ingest::create(&lease, Some(&parent), &upper, &mut |path| skipped.push(path.to_vec()))
        .unwrap()
        .unwrap();
    assert_eq!(skipped, [b"socket"]);
    assert_eq!(layer.descriptor.digest, layer.diff_id);
    assert_eq!(layer.chain_id, chain_id(Some(&parent), &layer.diff_id));
    let archive = blob::read(&store, &layer.diff_id, 1 << 20).unwrap();
    assert_eq!(archive.len() as u64, layer.descriptor.size);
    let mut listed = Vec::new();
    for entry in tar::Archive::new(&archive[..]).entries().unwrap() {
        listed.push(entry.unwrap().path().unwrap().display().to_string());
    }
    let expected = [
        "etc/",
        "etc/file",
        "etc/hard",
        "etc/opaque/",
        "etc/opaque/.wh..wh..opq",
        ".wh.gone",
        "link",
        "GNUSparseFile.0/sparse",
    ];
    assert_eq!(listed, expected);
    let made = store.layer_path(&layer.chain_id).join("fs");
    assert_eq!(names(&made), ["etc", "gone", "link", "sparse"]);
    let meta = |path: &str| fs::symlink_metadata(made.join(path)).unwrap();
    assert_eq!(meta("etc/file").mode() & 0o7777, 0o4711);
    assert_eq!(meta("etc/file").ino(), meta("etc/hard").ino());
    assert_eq!((meta("etc/opaque").uid(), meta("etc/opaque").gid()), (12, 34));
    assert_eq!(meta("gone").rdev(), 0);
    assert_eq!(meta("sparse").len(), 10 << 30);
    // The same files make the same layer.
    let again = ingest::create(&lease, Some(&parent), &upper, &mut |_| {})
        .unwrap()
        .unwrap();
    assert_eq!(again, layer);
    assert_eq!(names(&temp.path().join("store/ingest")), [""; 0]);
}

#[test]
fn what_is_half_made_is_swept() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("store");
    drop(store(&root));
    // What a kill in the middle leaves.
    let left = root.join("ingest/new-1-0");
    fs::create_dir_all(left.join("fs/etc")).unwrap();
    fs::write(left.join("blob"), "half").unwrap();
    drop(store(&root));
    assert!(!left.exists());
}

#[test]
fn privileged_a_full_disk_leaves_nothing() {
    if !require_root() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let disk = temp.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let mount = |args: &[&str]| {
        let status = std::process::Command::new(args[0]).args(&args[1..]).status().unwrap();
        assert!(status.success(), "{args:?}");
    };
    let path = disk.to_str().unwrap();
    mount(&["mount", "-t", "tmpfs", "-o", "size=100m", "tmpfs", path]);
    let made = std::panic::catch_unwind(|| {
        let upper = temp.path().join("upper");
        fs::create_dir(&upper).unwrap();
        fs::write(upper.join("large"), vec![7; 80 << 20]).unwrap();
        let store = store(&disk);
        let lease = store.lease().unwrap();
        let error = ingest::create(&lease, None, &upper, &mut |_| {}).unwrap_err();
        assert_eq!(error.kind(), hull_spec::ErrorKind::Exhausted, "{error}");
        (
            names(&disk.join("ingest")),
            names(&disk.join("blobs/sha256")),
            names(&disk.join("layers")),
        )
    });
    mount(&["umount", path]);
    let (ingest, blobs, layers) = made.unwrap();
    assert_eq!((ingest, blobs, layers), (vec![], vec![], vec!["empty".to_owned()]));
}
