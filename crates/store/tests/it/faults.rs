//! Streams that fail, processes that die, two at once, full disks.

use std::io::{self, Cursor, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};

use hull_spec::progress::Event;
use hull_spec::{ErrorKind, Progress};
use hull_store::ingest::layer;
use hull_store::{Access, Error, Store, gc};

use crate::archive::{Archive, Home, Layer, no_users};

/// Bytes that do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    })
    .take(length)
    .collect()
}

fn big() -> Layer {
    Archive::new()
        .file("noise", &noise(2_000_000))
        .file("end", b"end")
        .gzip()
}

/// Serves a part, then fails.
struct Failing(Cursor<Vec<u8>>);

impl Read for Failing {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self.0.read(out) {
            Ok(0) => Err(io::Error::new(io::ErrorKind::ConnectionReset, "the peer is gone")),
            read => read,
        }
    }
}

#[test]
fn a_pull_that_broke_off_goes_on_where_it_stopped() {
    let home = Home::new();
    let big = big();
    let lease = home.store.lease().unwrap();
    let part = big.blob[..700_001].to_vec();
    let source = |offset| {
        assert_eq!(offset, 0);
        Ok::<Box<dyn Read + Send>, io::Error>(Box::new(Failing(Cursor::new(part))))
    };
    let error = layer(&lease, &big.spec, source, &Progress::silent()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let cause = std::error::Error::source(&error)
        .unwrap()
        .downcast_ref::<io::Error>()
        .unwrap();
    assert_eq!(cause.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(
        (home.names("layers"), home.names("blobs/partial").len()),
        (vec!["empty".to_owned()], 1)
    );
    let asked = AtomicU64::new(0);
    let source = |offset: u64| {
        asked.store(offset, Ordering::Relaxed);
        let rest = big.blob[usize::try_from(offset).unwrap()..].to_vec();
        Ok::<Box<dyn Read + Send>, io::Error>(Box::new(Cursor::new(rest)))
    };
    layer(&lease, &big.spec, source, &Progress::silent()).unwrap();
    assert_eq!(asked.into_inner(), 700_001);
    assert_eq!(home.names("blobs/partial"), [""; 0]);
    let fs = home.store.layer_path(&big.spec.chain_id).join("fs");
    assert_eq!(std::fs::read(fs.join("noise")).unwrap(), noise(2_000_000));
}

#[test]
fn a_short_answer_keeps_what_came() {
    let home = Home::new();
    let big = big();
    let mut short = big.clone();
    short.blob.truncate(1_000_000);
    let error = short.ingest(&home.store.lease().unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(
        std::error::Error::source(&error)
            .unwrap()
            .to_string()
            .contains("has 1000000")
    );
    big.ingest(&home.store.lease().unwrap()).unwrap();
}

#[test]
fn a_partial_blob_with_wrong_bytes_is_thrown_away() {
    let home = Home::new();
    let big = big();
    let name = format!("blobs/partial/sha256-{}", big.spec.descriptor.digest.hex());
    std::fs::write(home.dir.path().join(&name), [0; 1000]).unwrap();
    let error = big.ingest(&home.store.lease().unwrap()).unwrap_err();
    assert!(matches!(error, Error::BlobDigest { .. }), "{error}");
    big.ingest(&home.store.lease().unwrap()).unwrap();
    // Longer than the blob: from another time, and of no use at all.
    let home = Home::new();
    std::fs::write(home.dir.path().join(&name), vec![0; big.blob.len() + 1]).unwrap();
    big.ingest(&home.store.lease().unwrap()).unwrap();
}

#[test]
fn a_blob_that_is_there_is_not_fetched() {
    let home = Home::new();
    let big = big();
    let path = home.store.blob_path(&big.spec.descriptor.digest);
    std::fs::write(&path, &big.blob).unwrap();
    let never = |_| -> Result<Box<dyn Read + Send>, io::Error> { panic!("it was asked for") };
    let lease = home.store.lease().unwrap();
    layer(&lease, &big.spec, never, &Progress::silent()).unwrap();
    layer(&lease, &big.spec, never, &Progress::silent()).unwrap();
    // One that was damaged, by a power cut for example, is fetched again.
    let home = Home::new();
    let path = home.store.blob_path(&big.spec.descriptor.digest);
    std::fs::write(&path, vec![0; big.blob.len()]).unwrap();
    big.ingest(&home.store.lease().unwrap()).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), big.blob);
}

#[test]
fn a_layer_of_an_earlier_boot_that_was_never_synced_is_not_trusted() {
    let home = Home::new();
    let big = big();
    let fs = big.ingest(&home.store.lease().unwrap()).unwrap();
    std::fs::write(fs.join("end"), b"").unwrap();
    let db = rusqlite::Connection::open(home.dir.path().join("hull.db")).unwrap();
    db.execute("UPDATE layers SET boot = 'another'", []).unwrap();
    big.ingest(&home.store.lease().unwrap()).unwrap();
    assert_eq!(std::fs::read(fs.join("end")).unwrap(), b"end");
    assert_eq!(home.names("trash"), [""; 0]);
}

#[test]
fn two_pulls_of_one_layer_share_the_work() {
    let home = Arc::new(Home::new());
    let big = big();
    let asked = Arc::new(AtomicU64::new(0));
    let barrier = Arc::new(Barrier::new(4));
    let threads: Vec<_> = (0..4)
        .map(|number| {
            let (home, big, asked, barrier) = (home.clone(), big.clone(), asked.clone(), barrier.clone());
            std::thread::spawn(move || {
                // Half of them are other processes as far as the locks can tell.
                let other = Store::open(home.dir.path(), Access::Write).unwrap();
                let lease = if number % 2 == 0 {
                    home.store.lease()
                } else {
                    other.lease()
                }
                .unwrap();
                barrier.wait();
                let source = |offset: u64| {
                    asked.fetch_add(1, Ordering::Relaxed);
                    big.source()(offset)
                };
                layer(&lease, &big.spec, source, &Progress::silent()).unwrap();
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    assert_eq!(home.names("layers").len(), 2);
    assert_eq!(home.names("leases"), [""; 0]);
}

/// The same blob under two chains: unpacked twice, fetched once.
#[test]
fn two_chains_share_a_blob() {
    let home = Home::new();
    let lease = home.store.lease().unwrap();
    let (base, big) = (Archive::new().file("base", b"").gzip(), big());
    let upper = big.clone().on(&base);
    std::thread::scope(|scope| {
        scope.spawn(|| big.ingest(&lease).unwrap());
        scope.spawn(|| upper.ingest(&lease).unwrap());
    });
    assert_eq!((home.names("layers").len(), home.names("blobs/sha256").len()), (3, 1));
    assert_eq!(home.names("blobs/partial"), [""; 0]);
}

#[test]
fn progress_tells_what_happens() {
    let home = Home::new();
    let big = big();
    let events = Arc::new(std::sync::Mutex::new(Vec::new()));
    let heard = events.clone();
    let progress = Progress::new(move |event| heard.lock().unwrap().push(event));
    let lease = home.store.lease().unwrap();
    layer(&lease, &big.spec, big.source(), &progress).unwrap();
    layer(&lease, &big.spec, big.source(), &progress).unwrap();
    let events = events.lock().unwrap();
    let blob = big.spec.descriptor.digest.clone();
    let size = big.blob.len() as u64;
    assert!(events.contains(&Event::Downloading {
        blob: blob.clone(),
        done: 0,
        total: size
    }));
    assert!(events.contains(&Event::Downloading {
        blob: blob.clone(),
        done: size,
        total: size
    }));
    let tail = &events[events.len() - 3..];
    assert_eq!(
        tail,
        [
            Event::Downloaded(blob.clone()),
            Event::Done(blob.clone()),
            Event::Exists(blob)
        ]
    );
}

#[test]
fn what_the_killed_left_is_swept() {
    let home = Home::new();
    let root = home.dir.path().to_owned();
    for dir in ["ingest/dead/fs/a/b", "trash/half/fs/c"] {
        std::fs::create_dir_all(root.join(dir)).unwrap();
    }
    std::fs::write(root.join("leases/1-0"), format!("sha256:{}\n", "a".repeat(64))).unwrap();
    let live = root.join("ingest/live");
    std::fs::create_dir(&live).unwrap();
    let lock = std::fs::File::open(&live).unwrap();
    lock.lock().unwrap();
    Store::open(&root, Access::Write).unwrap();
    assert_eq!(
        (home.names("ingest"), home.names("trash")),
        (vec!["live".to_owned()], vec![])
    );
    gc::sweep(&home.store, no_users).unwrap();
    assert_eq!(
        (home.names("ingest"), home.names("leases")),
        (vec!["live".to_owned()], vec![])
    );
}

/// Kills a pull, as `kill -9` does, at many moments, and looks each time: nothing but whole things has its final name,
/// and the next pull ends well whatever it finds.
#[test]
fn a_pull_killed_at_any_moment_leaves_the_truth() {
    const CHILD: &str = "HULL_TEST_STORE_OF_A_CHILD";
    let big = big();
    if let Some(root) = std::env::var_os(CHILD) {
        let store = Store::open(root.as_ref(), Access::Write).unwrap();
        let lease = store.lease().unwrap();
        let source = |offset| big.source()(offset).map(|r| Box::new(Slow(r)) as Box<dyn Read + Send>);
        layer(&lease, &big.spec, source, &Progress::silent()).unwrap();
        crate::archive::record(&lease, std::slice::from_ref(&big.spec), &["app:1"], "app").unwrap();
        return;
    }
    let home = Home::new();
    let mut killed = 0;
    for round in 0..40u64 {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "faults::a_pull_killed_at_any_moment_leaves_the_truth"])
            .env(CHILD, home.dir.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(7 * round));
        child.kill().unwrap();
        killed += u32::from(!child.wait().unwrap().success());
        let reader = Store::open(home.dir.path(), Access::Read).unwrap();
        if let Ok(image) = hull_store::image::resolve(&reader, "app:1") {
            let fs = hull_store::snapshot::lower(&reader, &image.layers).remove(0);
            assert_eq!(std::fs::read(fs.join("noise")).unwrap(), noise(2_000_000));
            assert_eq!(std::fs::read(fs.join("end")).unwrap(), b"end");
        }
        let blob = reader.blob_path(&big.spec.descriptor.digest);
        assert!(std::fs::read(blob).map_or(true, |bytes| bytes == big.blob));
        if round % 3 == 0 {
            let store = Store::open(home.dir.path(), Access::Write).unwrap();
            let request = hull_store::image::RemoveRequest {
                name: "app:1",
                force: false,
            };
            let _ = hull_store::image::remove(&store, &request, no_users);
            assert_eq!(home.names("trash"), [""; 0]);
        }
    }
    assert!(killed > 0, "the child was always faster than its killer");
    let made = home.image(
        &[Archive::new().file("noise", &noise(2_000_000)).file("end", b"end")],
        &["app:1"],
        "app",
    );
    let fs = home.store.layer_path(&made.layers[0]).join("fs");
    assert_eq!(std::fs::read(fs.join("noise")).unwrap(), noise(2_000_000));
    gc::sweep(&home.store, no_users).unwrap();
    assert_eq!((home.names("layers").len(), home.names("blobs/sha256").len()), (2, 3));
    for dir in ["ingest", "leases", "trash", "blobs/partial"] {
        assert_eq!(home.names(dir), [""; 0], "{dir}");
    }
}

/// A source that takes its time, so that there are moments to be killed at.
struct Slow<R>(R);

impl<R: Read> Read for Slow<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        std::thread::sleep(std::time::Duration::from_millis(2));
        let count = out.len().min(40_000);
        self.0.read(&mut out[..count])
    }
}

#[test]
fn privileged_a_full_disk_is_told_and_cleaned_up() {
    if !hull_testkit::require_root() {
        return;
    }
    let mount = Mount::tmpfs("1m");
    let store = Store::open(mount.dir.path(), Access::Write)
        .unwrap()
        .with_limits(hull_store::Limits {
            reserve: 0,
            ..hull_store::Limits::default()
        });
    let error = big().ingest(&store.lease().unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}");
    assert!(error.hint().unwrap().contains("free space"));
    let list = |dir: &str| std::fs::read_dir(mount.dir.path().join(dir)).unwrap().count();
    assert_eq!((list("ingest"), list("blobs/partial"), list("layers")), (0, 0, 1));
    Archive::new()
        .file("small", b"fits")
        .gzip()
        .ingest(&store.lease().unwrap())
        .unwrap();
}

/// What a layer becomes for a user without privileges: run again inside user namespaces of two kinds.
#[test]
fn privileged_user_namespaces_get_what_they_can_express() {
    use std::os::unix::fs::MetadataExt;
    const CHILD: &str = "HULL_TEST_NAMESPACE";
    const NAME: &str = "faults::privileged_user_namespaces_get_what_they_can_express";
    let owned = |path, owner| {
        Archive::new().add(&crate::archive::Header {
            path,
            owner,
            ..Default::default()
        })
    };
    if let Some(kind) = std::env::var_os(CHILD) {
        let home = Home::new();
        assert_eq!(home.store.ownership(), hull_store::Ownership::UserNamespace);
        let single = kind == "single";
        let archive = owned("f", (33, 34))
            .dir("d")
            .file("d/.wh..wh..opq", b"")
            .file("d/.wh.gone", b"")
            .add(&crate::archive::Header {
                kind: b'3',
                path: "null",
                device: (1, 3),
                ..Default::default()
            });
        let fs = home.unpack(&archive).unwrap();
        let file = fs.join("f").metadata().unwrap();
        assert_eq!((file.uid(), file.gid()), if single { (0, 0) } else { (33, 34) });
        assert!(!fs.join("null").exists());
        assert_eq!(fs.join("d/gone").symlink_metadata().unwrap().rdev(), 0);
        let mut value = [0; 8];
        assert_eq!(
            rustix::fs::getxattr(fs.join("d"), "user.overlay.opaque", &mut value[..]).unwrap(),
            1
        );
        let beyond = home.unpack(&owned("beyond", (0, 70_000)));
        if single {
            beyond.unwrap();
        } else {
            let error = beyond.unwrap_err();
            assert!(
                matches!(
                    error,
                    Error::Unmapped {
                        what: "group",
                        id: 70_000,
                        ..
                    }
                ),
                "{error}"
            );
            assert!(error.hint().unwrap().contains("/etc/subgid"));
        }
        return;
    }
    if !hull_testkit::require_root() {
        return;
    }
    for (kind, map) in [("single", "0 0 1"), ("range", "0 0 1000")] {
        // It waits to be told that it has its IDs before it becomes the test.
        let mut child = std::process::Command::new("unshare")
            .args(["--user", "sh", "-c", "read go; exec \"$@\"", "sh"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", NAME, "--nocapture"])
            .env(CHILD, kind)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let proc = std::path::PathBuf::from(format!("/proc/{}", child.id()));
        let host = std::fs::read_link("/proc/self/ns/user").unwrap();
        while std::fs::read_link(proc.join("ns/user")).unwrap() == host {
            std::thread::yield_now();
        }
        for file in ["uid_map", "gid_map"] {
            std::fs::write(proc.join(file), map).unwrap();
        }
        io::Write::write_all(&mut child.stdin.take().unwrap(), b"go\n").unwrap();
        let out = child.wait_with_output().unwrap();
        let text = [out.stdout, out.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        assert!(out.status.success() && text.contains("1 passed"), "{kind}: {text}");
    }
}

struct Mount {
    dir: tempfile::TempDir,
}

impl Mount {
    fn tmpfs(size: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = std::ffi::CString::new(format!("size={size}")).unwrap();
        rustix::mount::mount(
            "tmpfs",
            dir.path(),
            "tmpfs",
            rustix::mount::MountFlags::empty(),
            Some(&*options),
        )
        .unwrap();
        Self { dir }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        rustix::mount::unmount(self.dir.path(), rustix::mount::UnmountFlags::DETACH).unwrap();
    }
}
