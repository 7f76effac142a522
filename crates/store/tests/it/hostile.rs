//! Archives that try to get out, to fill the disk or to confuse.

use std::convert::Infallible;
use std::io::Read;

use hull_spec::manifest::media;
use hull_spec::{ErrorKind, Progress};
use hull_store::ingest::layer;
use hull_store::{Access, Error, Limits, Store};
use proptest::prelude::*;

use crate::archive::{Archive, Header, Home, Layer, gzip};

/// The layer is refused with these words, as the archive's own fault, and nothing of it stays.
#[track_caller]
fn refused(archive: &Archive, words: &str) {
    let home = Home::in_memory();
    let outside = home.dir.path().join("ingest/outside");
    let error = home.unpack(archive).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(words), "`{text}` does not say `{words}`");
    assert_eq!(error.kind(), ErrorKind::Invalid, "{text}");
    assert!(!outside.exists());
    home.assert_clean();
}

#[test]
fn nothing_leaves_the_layer() {
    refused(&Archive::new().file("../outside", b""), "leaves the layer");
    refused(&Archive::new().file("/../outside", b""), "leaves the layer");
    refused(&Archive::new().file("a/../../outside", b""), "leaves the layer");
    refused(&Archive::new().dir(".."), "leaves the layer");
    refused(
        &Archive::new().hard_link("x", "../../outside"),
        "hard link out of the layer",
    );
    refused(&Archive::new().hard_link("x", "/etc/passwd"), "does not have");
    refused(&Archive::new().hard_link("x", "/"), "no file");
    refused(&Archive::new().dir("d").hard_link("x", "d"), "directory");
    refused(&Archive::new().symlink("d/x", "/").hard_link("d/x", "d"), "directory");
    refused(
        &Archive::new().file("x", b"").hard_link("x", "nothing"),
        "does not have",
    );
    refused(
        &Archive::new().file("d/in", b"").hard_link("d", "d/in"),
        "replaces its own target",
    );
    refused(
        &Archive::new().symlink("l", "/etc").hard_link("x", "l/passwd"),
        "does not have",
    );
    refused(
        &Archive::new().symlink("l", "/tmp").file("l/outside", b""),
        "symbolic link that leads out",
    );
    refused(
        &Archive::new()
            .symlink("l", "../..")
            .symlink("l/m", "/")
            .file("l/m/etc/x/y", b"")
            .file("l", b"")
            .symlink("l", "nowhere")
            .file("l/x", b""),
        "symbolic link that leads out",
    );
    refused(
        &Archive::new().symlink("a", "b").symlink("b", "a").file("a/x", b""),
        "link",
    );
    refused(&Archive::new().file("f", b"").file("f/x", b""), "needs a directory");
    refused(&Archive::new().file("./", b""), "stands for the layer itself");
    refused(&Archive::new().symlink(".", "/etc"), "stands for the layer itself");
    refused(
        &Archive::new().symlink("p", "/proc/self/root").file("p/x", b""),
        "symbolic link that leads out",
    );
}

#[test]
fn names_that_mean_nothing_are_refused() {
    refused(&Archive::new().file(".wh.", b""), "reserved");
    refused(&Archive::new().file(".wh...", b""), "reserved");
    refused(&Archive::new().file("a/.wh..", b""), "reserved");
    refused(&Archive::new().file(".wh.a/b", b""), "reserved");
    refused(&Archive::new().pax(&[("path", b"a\0b")]).file("x", b""), "PAX record");
    let long = "n".repeat(256);
    refused(
        &Archive::new().pax(&[("path", long.as_bytes())]).file("x", b""),
        "too long",
    );
    let deep = "d/".repeat(3000);
    refused(&Archive::new().pax(&[("path", deep.as_bytes())]).dir("x"), "too long");
    let target = "t".repeat(5000);
    refused(
        &Archive::new().pax(&[("linkpath", target.as_bytes())]).symlink("x", "y"),
        "too long",
    );
    refused(
        &Archive::new().add(&Header {
            kind: b'Q',
            path: "q",
            ..Header::default()
        }),
        "unknown type",
    );
}

#[test]
fn archives_that_break_off_are_refused() {
    let good = Archive::new().file("f", &[1; 5000]).bytes();
    for cut in [100, 512 + 100, 512 + 4096] {
        let plain = &good[..cut];
        let home = Home::new();
        let layer = Layer::new(plain, gzip(plain), media::OCI_LAYER_GZIP);
        let error = layer.ingest(&home.store.lease().unwrap()).unwrap_err();
        assert!(error.to_string().contains("the archive ends inside"), "{error}");
        home.assert_clean();
    }
    refused(&Archive::new().file("f", b"x").raw(&[b'!'; 700]), "malformed");
    let archive = Archive::new()
        .file("f", b"x")
        .raw(&[0; 1024])
        .raw(&vec![b'!'; 20 << 20]);
    refused(&archive, "too much follows");
    // A little more is what tar's own padding looks like.
    let home = Home::new();
    home.unpack(&Archive::new().file("f", b"x").raw(&[0; 1024]).raw(&[b'!'; 3000]))
        .unwrap();
}

#[test]
fn compressed_streams_that_break_off_are_refused() {
    let plain = Archive::new().file("f", &[1; 5000]).bytes();
    let whole = gzip(&plain);
    let mut flipped = whole.clone();
    let last = flipped.len() - 6;
    flipped[last] ^= 1;
    for (blob, format) in [
        (whole[..whole.len() - 4].to_vec(), "gzip"),
        (flipped, "gzip"),
        ([&whole[..], b"garbage!"].concat(), "gzip"),
        (zstd::encode_all(&plain[..], 3).unwrap()[..20].to_vec(), "zstd"),
    ] {
        let home = Home::new();
        let layer = Layer::new(&plain, blob, media::OCI_LAYER_GZIP);
        let error = layer.ingest(&home.store.lease().unwrap()).unwrap_err();
        assert!(error.to_string().contains(&format!("is not valid {format}")), "{error}");
        home.assert_clean();
    }
}

#[test]
fn what_was_promised_must_come() {
    let layer_of = |name: &str| Archive::new().file(name, b"x").gzip();
    let (good, other) = (layer_of("good"), layer_of("evil"));
    let lie = |change: &dyn Fn(&mut Layer), words: &str| {
        let home = Home::new();
        let mut layer = good.clone();
        change(&mut layer);
        let error = layer.ingest(&home.store.lease().unwrap()).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        home.assert_clean();
    };
    lie(&|l| l.blob.clone_from(&other.blob), "its bytes have");
    // Also where the bytes are nothing that could be unpacked.
    lie(&|l| l.blob = vec![0x1f; l.blob.len()], "its bytes have");
    lie(&|l| l.blob.push(0), "should have");
    lie(
        &|l| l.spec.diff_id.clone_from(&other.spec.diff_id),
        "the image config names",
    );
    lie(
        &|l| l.spec.descriptor.media_type = "application/json".to_owned(),
        "unknown media type",
    );
}

#[test]
fn limits_hold() {
    let home = Home::new();
    let small = Limits {
        entries: 1000,
        bytes: 8 << 20,
        reserve: 0,
    };
    let store = Store::open(&home.dir.path().join("small"), Access::Write)
        .unwrap()
        .with_limits(small);
    let many = (0..1001).fold(Archive::new(), |a, n| a.file(&format!("f{n}"), b""));
    let error = many.gzip().ingest(&store.lease().unwrap()).unwrap_err();
    assert!(
        matches!(
            error,
            Error::TooLarge {
                limit: 1000,
                unit: "entries",
                ..
            }
        ),
        "{error}"
    );
    // A gzip bomb: 64 MB of zeros in less than one.
    let bomb = Archive::new().file("bomb", &vec![0; 64 << 20]).gzip();
    assert!(bomb.blob.len() < 1 << 20);
    let error = bomb.ingest(&store.lease().unwrap()).unwrap_err();
    assert!(matches!(error, Error::TooLarge { unit: "bytes", .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Exhausted);
    let full = Limits {
        reserve: u64::MAX,
        ..Limits::default()
    };
    let store = Store::open(&home.dir.path().join("full"), Access::Write)
        .unwrap()
        .with_limits(full);
    let error = bomb.ingest(&store.lease().unwrap()).unwrap_err();
    assert!(matches!(error, Error::NoSpace { .. }), "{error}");
    for dir in ["small", "full"] {
        assert_eq!(home.names(&format!("{dir}/ingest")), [""; 0]);
        assert_eq!(home.names(&format!("{dir}/layers")), ["empty"]);
    }
}

/// Ten million entries are refused after five million, in a few megabytes of memory: here, with the limit lowered, that
/// memory does not grow with the entries that come before it.
#[test]
fn memory_does_not_grow_with_entries() {
    const ENTRIES: u64 = 100_000;
    struct Endless(Vec<u8>, u64, usize);
    impl Read for Endless {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            if self.2 == self.0.len() {
                (self.1, self.2) = (self.1 + 1, 0);
                // All the same directory, so that the test is about the archive and not about the file system.
                self.0 = Archive::new().dir("same/").bytes()[..512].to_vec();
            }
            let count = out.len().min(self.0.len() - self.2);
            out[..count].copy_from_slice(&self.0[self.2..self.2 + count]);
            self.2 += count;
            Ok(count)
        }
    }
    let home = Home::in_memory();
    let limits = Limits {
        entries: ENTRIES,
        ..Limits::default()
    };
    let store = Store::open(&home.dir.path().join("s"), Access::Write)
        .unwrap()
        .with_limits(limits);
    let mut spec = Archive::new().gzip().spec;
    spec.descriptor.media_type = media::OCI_LAYER.to_owned();
    spec.descriptor.size = u64::MAX;
    let source = |_| Ok::<_, Infallible>(Box::new(Endless(Vec::new(), 0, 0)) as Box<dyn Read + Send>);
    let before = resident();
    let error = layer(&store.lease().unwrap(), &spec, source, &Progress::silent()).unwrap_err();
    assert!(matches!(error, Error::TooLarge { unit: "entries", .. }), "{error}");
    // What is kept of a directory is some fifty bytes, and a mebibyte of them at a time.
    let grown = resident().saturating_sub(before);
    assert!(grown < 24 << 10, "{grown} kB more than before");
}

/// Kilobytes of memory that this process has at the most had so far.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    line.split_ascii_whitespace().next().unwrap().parse().unwrap()
}

/// Removing what a hostile layer could build takes neither stack nor descriptors for each level.
#[test]
fn deep_trees_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().join("top");
    std::fs::create_dir(&top).unwrap();
    let mut at: std::os::fd::OwnedFd = std::fs::File::open(&top).unwrap().into();
    for _ in 0..1200 {
        rustix::fs::mkdirat(&at, "d", rustix::fs::Mode::RWXU).unwrap();
        rustix::fs::symlinkat("/etc", &at, "l").unwrap();
        at = rustix::fs::openat(&at, "d", rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty()).unwrap();
        rustix::fs::fchmod(&at, rustix::fs::Mode::from_raw_mode(0o700)).unwrap();
    }
    hull_store::tree::remove(&top).unwrap();
    assert!(!top.exists());
    hull_store::tree::remove(&top).unwrap();
    let closed = dir.path().join("closed");
    std::fs::create_dir_all(closed.join("a/b")).unwrap();
    for name in ["a/b", "a", ""] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o000);
        std::fs::set_permissions(closed.join(name), mode).unwrap();
    }
    hull_store::tree::remove(&closed).unwrap();
    assert!(!closed.exists());
}

#[derive(Clone, Debug)]
enum Act {
    File(String),
    Dir(String),
    Symlink(String, String),
    HardLink(String, String),
}

fn any_path() -> impl Strategy<Value = String> {
    "(/|\\./|\\.\\./)?[ab](/([ab]|\\.\\.|\\.wh\\.a|\\.wh\\.\\.wh\\.\\.opq)){0,3}"
}

fn any_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        any_path().prop_map(Act::File),
        any_path().prop_map(Act::Dir),
        (any_path(), "(/|\\.\\./)*[ab/]{1,4}").prop_map(|(p, l)| Act::Symlink(p, l)),
        (any_path(), any_path()).prop_map(|(p, l)| Act::HardLink(p, l)),
    ]
}

proptest! {
    /// Whatever a layer makes of names and links: it is unpacked or refused, and nothing next to it changes.
    #[test]
    fn no_sequence_of_entries_escapes(acts in proptest::collection::vec(any_act(), 0..12)) {
        let home = Home::in_memory();
        let outside = home.dir.path().join("ingest/witness");
        std::fs::write(home.dir.path().join("witness"), b"untouched").unwrap();
        let archive = acts.iter().fold(Archive::new(), |archive, act| match act {
            Act::File(path) => archive.file(path, b"written"),
            Act::Dir(path) => archive.dir(path),
            Act::Symlink(path, link) => archive.symlink(path, link),
            Act::HardLink(path, link) => archive.hard_link(path, link),
        });
        match home.unpack(&archive) {
            Ok(_) => {}
            Err(error) => {
                prop_assert_eq!(error.kind(), ErrorKind::Invalid, "{}", error);
                home.assert_clean();
            }
        }
        prop_assert!(!outside.exists());
        prop_assert_eq!(
            home.names("."),
            ["blobs", "gc.lock", "hull.db", "hull.db-shm", "hull.db-wal", "ingest", "layers", "leases", "trash", "witness"]
        );
        for name in ["/a", "/b"] {
            prop_assert!(!std::path::Path::new(name).exists());
        }
    }
}
