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

/// A reader's last close leaves the log alone: a checkpoint would cost milliseconds.
#[test]
fn nobody_checkpoints_on_close() {
    let home = Home::new();
    home.image(&[Archive::new().file("f", b"")], &["app:1"], "app");
    let dir = home.dir.path().to_owned();
    let wal = dir.join("hull.db-wal");
    let Home { dir: _dir, store } = home;
    drop(store);
    let before = wal.metadata().unwrap().len();
    assert!(before > 0);
    let reader = Store::open(&dir, Access::Read).unwrap();
    image::resolve(&reader, "app:1").unwrap();
    drop(reader);
    assert_eq!(wal.metadata().unwrap().len(), before);
}
