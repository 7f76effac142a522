//! Several users of one store.

use hull_store::image::{self, RemoveRequest};
use hull_store::{Access, Store};

use crate::archive::{Archive, Home, no_users};

/// A removal waits for whoever holds the store, and readers go on meanwhile.
#[test]
fn a_hold_delays_removal() {
    let home = Home::new();
    let made = home.image(&[Archive::new().file("f", b"")], &["app:1"], "app");
    let reader = Store::open(home.dir.path(), Access::Read).unwrap();
    let hold = reader.hold().unwrap();
    let second = reader.hold().unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let (home, path) = (&home, home.store.layer_path(&made.layers[0]));
        scope.spawn(move || {
            sender.send("started").unwrap();
            image::remove(
                &home.store,
                &RemoveRequest {
                    name: "app:1",
                    force: false,
                },
                no_users,
            )
            .unwrap();
            sender.send("removed").unwrap();
        });
        assert_eq!(receiver.recv().unwrap(), "started");
        image::resolve(&reader, "app:1").unwrap();
        assert!(path.exists());
        drop(hold);
        assert!(path.exists() && receiver.try_recv().is_err());
        drop(second);
        assert_eq!(receiver.recv().unwrap(), "removed");
        assert!(!path.exists());
    });
}

/// A last close leaves the log alone: a checkpoint would cost milliseconds. Verbs that change the index empty it, since
/// the next one to open it reads all of it.
#[test]
fn the_log_is_emptied_by_changes_and_never_on_close() {
    let home = Home::new();
    home.image(&[Archive::new().file("f", b"")], &["app:1"], "app");
    let dir = home.dir.path().to_owned();
    let length = || dir.join("hull.db-wal").metadata().unwrap().len();
    assert_eq!(length(), 0);
    home.unpack(&Archive::new().file("g", b"")).unwrap();
    let before = length();
    assert!(before > 0);
    let Home { dir: _dir, store } = home;
    drop(store);
    assert_eq!(length(), before);
    let reader = Store::open(&dir, Access::Read).unwrap();
    image::resolve(&reader, "app:1").unwrap();
    drop(reader);
    assert_eq!(length(), before);
}

/// An image's set-user-ID programs are no way for other users of the host to become root.
#[test]
fn nobody_else_gets_into_the_store() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("new");
    let store = Store::open(&root, Access::Write).unwrap();
    Archive::new()
        .file("f", b"")
        .gzip()
        .ingest(&store.lease().unwrap())
        .unwrap();
    let mode = |name: &str| root.join(name).metadata().unwrap().permissions().mode() & 0o7777;
    for name in ["", "layers", "blobs", "blobs/sha256", "ingest", "trash", "leases"] {
        assert_eq!(mode(name), 0o700, "{name}");
    }
    for name in ["hull.db", "hull.db-wal", "hull.db-shm", "gc.lock"] {
        assert_eq!(mode(name), 0o600, "{name}");
    }
}
