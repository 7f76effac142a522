//! Finding, listing and removing images.

use hull_spec::ErrorKind;
use hull_store::image::{self, RemoveRequest, Removed, User};
use hull_store::{Access, Error, Store, snapshot};

use crate::archive::{Archive, Home, digest_of, no_users, record};

fn base() -> Archive {
    Archive::new().file("base", b"base")
}

fn rmi(home: &Home, name: &str, force: bool, users: &[User]) -> Result<Vec<String>, Error> {
    let users = || Ok::<_, std::convert::Infallible>(users.to_vec());
    let removed = image::remove(&home.store, &RemoveRequest { name, force }, users)?;
    Ok(removed
        .iter()
        .map(|r| match r {
            Removed::Untagged(name) => format!("Untagged: {}", name.familiar()),
            Removed::Deleted(digest) => format!("Deleted: {digest}"),
        })
        .collect())
}

#[test]
fn images_are_found_as_docker_finds_them() {
    let home = Home::new();
    let index = format!("app@{}", digest_of("index"));
    let made = home.image(&[base()], &["app:latest", &index, "localhost:5000/app:1"], "one");
    let reader = Store::open(home.dir.path(), Access::Read).unwrap();
    let id = made.id.clone();
    for name in [
        "app",
        "app:latest",
        "docker.io/library/app",
        &index,
        &format!("app:latest@{}", digest_of("index")),
        "localhost:5000/app:1",
        id.as_str(),
        id.hex(),
        id.short(),
        &id.hex()[..3],
        &id.as_str()[..20],
    ] {
        let found = image::resolve(&reader, name).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!((&found.id, &found.layers, found.size), (&id, &made.layers, 4), "{name}");
        assert_eq!(found.config, made.config, "{name}");
    }
    let error = |name: &str| image::resolve(&reader, name).unwrap_err();
    assert_eq!(error("app:2").to_string(), "No such image: app:2");
    assert_eq!(error("nothing").to_string(), "No such image: nothing:latest");
    assert_eq!(error("me/app").kind(), ErrorKind::NotFound);
    assert_eq!(error("Bad").kind(), ErrorKind::Invalid);
    assert_eq!(error("").kind(), ErrorKind::Invalid);
    assert_eq!(error(&"0".repeat(64)).kind(), ErrorKind::NotFound);
    assert!(image::exists(&reader, &id).unwrap() && !image::exists(&reader, &digest_of("x")).unwrap());
    let names: Vec<_> = image::names(&reader, &id)
        .unwrap()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(names.len(), 3);
    assert!(names[2].contains('@'));
}

#[test]
fn a_store_that_is_not_there_has_no_images() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("none"), Access::Read).unwrap();
    assert_eq!(image::resolve(&store, "app").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(image::list(&store).unwrap(), []);
    assert!(!dir.path().join("none").exists());
    assert!(matches!(store.lease(), Err(Error::ReadOnly { .. })));
}

#[test]
fn a_name_beats_a_short_id_and_short_ids_may_be_ambiguous() {
    let home = Home::new();
    let images: Vec<_> = (0..40).map(|n| home.image(&[base()], &[], &n.to_string())).collect();
    let digit = images[0].id.hex()[..1].to_owned();
    let twins = images.iter().filter(|i| i.id.hex().starts_with(&digit)).count();
    if twins > 1 {
        let error = image::resolve(&home.store, &digit).unwrap_err();
        assert!(
            matches!(error, Error::Ambiguous { count, .. } if count == twins),
            "{error}"
        );
    }
    let named = home.image(&[base()], &[&images[0].id.hex()[..8]], "named");
    assert_eq!(
        image::resolve(&home.store, &images[0].id.hex()[..8]).unwrap().id,
        named.id
    );
}

#[test]
fn a_tag_moves_and_leaves_a_dangling_image() {
    let home = Home::new();
    let old = home.image(&[base()], &["app:1", &format!("app@{}", digest_of("old"))], "old");
    let new = home.image(&[base()], &["app:1", &format!("app@{}", digest_of("new"))], "new");
    assert_eq!(image::resolve(&home.store, "app:1").unwrap().id, new.id);
    let mut list = image::list(&home.store).unwrap();
    list.sort_by_key(|s| s.tags.len());
    let summary: Vec<_> = list
        .iter()
        .map(|s| (&s.image.id, s.tags.len(), s.digests.len()))
        .collect();
    assert_eq!(summary, [(&old.id, 0, 1), (&new.id, 1, 1)]);
    assert_eq!(list[1].image.config.config.as_ref().unwrap().labels["l"], "new");
}

#[test]
fn removal_frees_what_nothing_else_uses() {
    let home = Home::new();
    let top = |n: &str| Archive::new().file(n, n.as_bytes());
    let one = home.image(&[base(), top("one")], &["one:latest"], "one");
    let two = home.image(&[base(), top("two")], &["two:latest", "two:also"], "two");
    assert_eq!(home.names("layers").len(), 4);
    assert_eq!(rmi(&home, "two:also", false, &[]).unwrap(), ["Untagged: two:also"]);
    assert_eq!(
        rmi(&home, "two", false, &[]).unwrap(),
        [
            "Untagged: two:latest".to_owned(),
            format!("Deleted: {}", two.id),
            format!("Deleted: {}", two.layers[1]),
        ]
    );
    assert!(!home.store.layer_path(&two.layers[1]).exists() && home.store.layer_path(&two.layers[0]).exists());
    assert!(!hull_store::blob::exists(&home.store, &two.id).unwrap());
    assert!(hull_store::blob::exists(&home.store, &one.blobs[0]).unwrap());
    let gone = rmi(&home, one.id.short(), false, &[]).unwrap();
    assert_eq!(gone.len(), 4);
    assert_eq!(gone[3], format!("Deleted: {}", one.layers[0]));
    assert_eq!(home.names("layers"), ["empty"]);
    assert_eq!(home.names("blobs/sha256"), [""; 0]);
    assert_eq!(home.names("trash"), [""; 0]);
    assert_eq!(
        rmi(&home, "one", false, &[]).unwrap_err().to_string(),
        "No such image: one:latest"
    );
}

#[test]
fn containers_keep_their_layers() {
    let home = Home::new();
    let made = home.image(&[base(), Archive::new().file("x", b"")], &["app:latest"], "app");
    let user = |running| User {
        container: "0123456789abcdef".to_owned(),
        running,
        image: made.id.clone(),
        layers: made.layers.clone(),
    };
    let error = rmi(&home, "app", false, &[user(false)]).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "conflict: unable to remove repository reference \"app\" (must force) - container 0123456789ab is using its \
             referenced image {}",
            made.id.short()
        )
    );
    assert_eq!(error.kind(), ErrorKind::Conflict);
    // Forced, the image goes, but what the container is mounted from stays until it is gone.
    let gone = rmi(&home, "app", true, &[user(false)]).unwrap();
    assert_eq!(
        gone,
        ["Untagged: app:latest".to_owned(), format!("Deleted: {}", made.id)]
    );
    assert_eq!(home.names("layers").len(), 3);
    let users = || Ok::<_, std::convert::Infallible>(vec![user(false)]);
    assert_eq!(hull_store::gc::sweep(&home.store, users).unwrap().layers, 0);
    let swept = hull_store::gc::sweep(&home.store, no_users).unwrap();
    assert_eq!((swept.layers, home.names("layers")), (2, vec!["empty".to_owned()]));
    let failing = || Err::<Vec<User>, _>(std::io::Error::other("no containers today"));
    assert!(matches!(
        hull_store::gc::sweep(&home.store, failing),
        Err(Error::Users { .. })
    ));
}

#[test]
fn leases_protect_what_is_not_recorded_yet() {
    let home = Home::new();
    let lease = home.store.lease().unwrap();
    let layer = base().gzip();
    layer.ingest(&lease).unwrap();
    assert_eq!(
        hull_store::gc::sweep(&home.store, no_users).unwrap(),
        hull_store::gc::Swept::default()
    );
    let made = record(&lease, std::slice::from_ref(&layer.spec), &["app:1"], "app").unwrap();
    drop(lease);
    assert_eq!(
        hull_store::gc::sweep(&home.store, no_users).unwrap(),
        hull_store::gc::Swept::default()
    );
    rmi(&home, "app:1", false, &[]).unwrap();
    // Not even a removal takes what a running pull has found to be there.
    let lease = home.store.lease().unwrap();
    layer.ingest(&lease).unwrap();
    home.image(&[base()], &["other:1"], "other");
    rmi(&home, "other:1", false, &[]).unwrap();
    assert!(home.store.layer_path(&made.layers[0]).exists());
    drop(lease);
    assert_eq!(hull_store::gc::sweep(&home.store, no_users).unwrap().layers, 1);
}

#[test]
fn an_image_must_fit_its_layers() {
    let home = Home::new();
    let lease = home.store.lease().unwrap();
    let (one, two) = (base().gzip(), Archive::new().file("two", b"").gzip());
    one.ingest(&lease).unwrap();
    let missing = record(&lease, std::slice::from_ref(&two.spec), &[], "x").unwrap_err();
    assert!(matches!(missing, Error::NoLayer { .. }), "{missing}");
    let mut wrong = one.spec.clone();
    wrong.chain_id = two.spec.chain_id.clone();
    let error = record(&lease, &[wrong], &[], "x").unwrap_err();
    assert!(matches!(error, Error::Image { .. }), "{error}");
    let (id, config) = (digest_of("{}"), b"{}");
    let request = image::Record {
        id: &id,
        config,
        manifest: &id,
        layers: std::slice::from_ref(&one.spec),
        names: &[],
    };
    let error = image::record(&lease, &request).unwrap_err();
    assert!(error.to_string().contains("names 0 layers, its manifest 1"), "{error}");
    let nested = "[".repeat(100_000);
    let id = digest_of(&nested);
    let request = image::Record {
        id: &id,
        config: nested.as_bytes(),
        manifest: &id,
        layers: &[],
        names: &[],
    };
    assert!(matches!(image::record(&lease, &request), Err(Error::Image { .. })));
    assert_eq!(image::list(&home.store).unwrap(), []);
}

#[test]
fn a_newer_layout_is_refused() {
    let home = Home::new();
    home.image(&[base()], &["app:1"], "app");
    let db = rusqlite::Connection::open(home.dir.path().join("hull.db")).unwrap();
    db.pragma_update(None, "user_version", 99).unwrap();
    for access in [Access::Read, Access::Write] {
        let error = Store::open(home.dir.path(), access)
            .and_then(|s| image::resolve(&s, "app:1"))
            .unwrap_err();
        assert!(matches!(error, Error::Newer { found: 99, .. }), "{error}");
        assert_eq!((error.kind(), error.hint().is_some()), (ErrorKind::Unsupported, true));
    }
}

#[test]
fn lower_directories_are_topmost_first() {
    let home = Home::new();
    let layers: Vec<Archive> = (0..130).map(|n| Archive::new().file(&n.to_string(), b"")).collect();
    let made = home.image(&layers, &["tall:1"], "tall");
    let lower = snapshot::lower(&home.store, &made.layers);
    assert_eq!(lower.len(), 130);
    assert!(lower[0].join("129").exists() && lower[129].join("0").exists());
    let empty = home.image(&[], &["scratch:1"], "scratch");
    let lower = snapshot::lower(&home.store, &empty.layers);
    assert_eq!(lower.len(), 1);
    assert_eq!(lower[0].read_dir().unwrap().count(), 0);
}

/// The proof of whiteouts, opaque directories and tall stacks: overlayfs itself shows what an image means.
#[test]
fn privileged_overlayfs_shows_the_image() {
    use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
    if !hull_testkit::require_root() {
        return;
    }
    let home = Home::new();
    let mut layers: Vec<Archive> = (0..130)
        .map(|n| {
            Archive::new()
                .file(&format!("n{n}"), b"")
                .file("top", n.to_string().as_bytes())
        })
        .collect();
    layers[3] = Archive::new()
        .file("gone", b"")
        .file("dir/old", b"")
        .file("opaque/old", b"")
        .file("re/old", b"");
    layers[60] = Archive::new()
        .file(".wh.gone", b"")
        .file("dir/.wh.old", b"")
        .file("dir/new", b"")
        .file("opaque/.wh..wh..opq", b"")
        .file("opaque/new", b"")
        .file(".wh.re", b"")
        .file("re/new", b"");
    let made = home.image(&layers, &["tall:1"], "tall");
    let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
    for dir in snapshot::lower(&home.store, &made.layers) {
        rustix::mount::fsconfig_set_string(&context, "lowerdir+", &dir).unwrap();
    }
    rustix::mount::fsconfig_create(&context).unwrap();
    // Attached nowhere: it is gone with its descriptor.
    let root = rustix::mount::fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::MOUNT_ATTR_RDONLY,
    )
    .unwrap();
    let shown = |name: &str| rustix::fs::statat(&root, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).is_ok();
    for (name, expected) in [
        ("gone", false),
        ("dir/old", false),
        ("dir/new", true),
        ("opaque/old", false),
        ("opaque/new", true),
        ("re/old", false),
        ("re/new", true),
        ("n0", true),
        ("n129", true),
    ] {
        assert_eq!(shown(name), expected, "{name}");
    }
    let top = rustix::fs::openat(&root, "top", rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty()).unwrap();
    assert_eq!(std::io::read_to_string(std::fs::File::from(top)).unwrap(), "129");
}

#[test]
fn what_is_remembered_of_a_name_is_believed_only_while_it_is_true() {
    let home = Home::new();
    let one = home.image(&[base()], &["app"], "one");
    let root = home.dir.path();
    // The index was left alone for a while.
    let index = std::fs::File::options().write(true).open(root.join("hull.db")).unwrap();
    let age = |seconds| {
        index
            .set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(seconds))
            .unwrap()
    };
    let ask = || image::resolve(&Store::open(root, Access::Read).unwrap(), "app").map(|i| i.id);
    let remembered = || std::fs::read_dir(root.join("resolved")).map_or(0, Iterator::count);
    assert_eq!(ask().unwrap(), one.id);
    assert_eq!(remembered(), 0, "an index that has just changed is not remembered");
    age(10);
    assert_eq!(ask().unwrap(), one.id);
    assert_eq!(remembered(), 1);
    // From memory, and equal in all parts.
    let whole = image::resolve(&Store::open(root, Access::Read).unwrap(), "app").unwrap();
    let reference = image::resolve(&home.store, "app").unwrap();
    assert_eq!(whole, reference);
    // A memory that a killed writer did not clear is not believed.
    let kept: Vec<_> = std::fs::read_dir(root.join("resolved"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    let old = std::fs::read(&kept[0]).unwrap();
    let two = home.image(&[base()], &["app"], "two");
    assert_eq!(remembered(), 0);
    std::fs::create_dir_all(root.join("resolved")).unwrap();
    std::fs::write(&kept[0], old).unwrap();
    assert_ne!(one.id, two.id);
    assert_eq!(ask().unwrap(), two.id);
    // Nor one that is torn.
    std::fs::write(&kept[0], b"{\"stamp\":").unwrap();
    assert_eq!(ask().unwrap(), two.id);
}

#[test]
fn what_is_no_layer_of_an_image_is_not_swept() {
    let home = Home::new();
    // The engine's, below every image: a container may be starting on it.
    let base = home.dir.path().join("layers/base");
    std::fs::create_dir_all(base.join("proc")).unwrap();
    hull_store::gc::sweep(&home.store, no_users).unwrap();
    assert!(base.join("proc").exists());
}

/// Sets the time of everything in the store to some days ago.
fn age(home: &Home, days: u64) {
    let then = std::time::SystemTime::now() - std::time::Duration::from_secs(days * 24 * 3600);
    for folder in ["layers", "blobs/sha256", "blobs/partial"] {
        for entry in std::fs::read_dir(home.dir.path().join(folder)).unwrap() {
            std::fs::File::open(entry.unwrap().path())
                .unwrap()
                .set_modified(then)
                .unwrap();
        }
    }
}

fn collect(home: &Home, keep: u64, users: &[User]) -> hull_store::gc::Collected {
    let budget = hull_store::gc::Budget {
        keep,
        free: 0,
        age: std::time::Duration::from_secs(24 * 3600),
    };
    let users = users.to_vec();
    hull_store::gc::collect(&home.store, &budget, move || Ok::<_, std::convert::Infallible>(users)).unwrap()
}

#[test]
fn what_nothing_refers_to_goes_when_there_is_too_much_of_it() {
    let home = Home::new();
    let top = |n: &str| Archive::new().file(n, &[b'x'; 5000]);
    let old = home.image(&[base(), top("old")], &["app:1"], "old");
    let new = home.image(&[base(), top("new")], &["app:1"], "new");
    assert_eq!(image::list(&home.store).unwrap().len(), 2);
    let nothing = hull_store::gc::Collected::default();
    // Its name was taken a moment ago.
    assert_eq!(collect(&home, 0, &[]), nothing);
    age(&home, 2);
    // There is room for it.
    assert_eq!(collect(&home, 1 << 20, &[]), nothing);
    // A container uses it.
    let user = User {
        container: "c".repeat(64),
        running: false,
        image: old.id.clone(),
        layers: old.layers.clone(),
    };
    assert_eq!(collect(&home, 0, std::slice::from_ref(&user)), nothing);
    // A pull relies on it.
    let lease = home.store.lease().unwrap();
    lease.protect([&old.id]).unwrap();
    assert_eq!(collect(&home, 0, &[]), nothing);
    drop(lease);
    let went = collect(&home, 0, &[]);
    assert_eq!((went.images.as_slice(), went.layers), (&[old.id.clone()][..], 1));
    assert!(went.bytes > 5000 && went.blobs == 3, "{went:?}");
    assert!(image::resolve(&home.store, old.id.as_str()).is_err());
    assert!(!home.store.layer_path(&old.layers[1]).exists());
    // What the other one shares with it stays.
    assert_eq!(image::resolve(&home.store, "app:1").unwrap().id, new.id);
    for chain in &new.layers {
        assert!(home.store.layer_path(chain).join("fs").exists());
    }
    assert_eq!(collect(&home, 0, &[]), nothing);
}

#[test]
fn what_is_of_no_image_goes_before_images_and_the_oldest_first() {
    let home = Home::new();
    let first = home.image(&[Archive::new().file("a", &[b'a'; 9000])], &["app:1"], "first");
    let second = home.image(&[Archive::new().file("b", &[b'b'; 9000])], &["app:1"], "second");
    home.image(&[Archive::new().file("c", b"")], &["app:1"], "third");
    let lease = home.store.lease().unwrap();
    let orphan = Archive::new().file("orphan", &[b'o'; 4000]).gzip();
    orphan.ingest(&lease).unwrap();
    drop(lease);
    age(&home, 3);
    // The second was without a name later than the first.
    let blob = std::fs::File::open(home.store.blob_path(&second.id)).unwrap();
    let then = std::time::SystemTime::now() - std::time::Duration::from_secs(2 * 24 * 3600);
    blob.set_modified(then).unwrap();
    let went = collect(&home, 19_500, &[]);
    assert_eq!((went.images.len(), went.layers), (0, 1), "{went:?}");
    assert!(!home.store.layer_path(&orphan.spec.chain_id).exists());
    let went = collect(&home, 12_000, &[]);
    assert_eq!(went.images, [first.id]);
    let went = collect(&home, 0, &[]);
    assert_eq!(went.images, [second.id]);
    assert_eq!(image::list(&home.store).unwrap().len(), 1);
}

#[test]
fn a_name_is_given_and_taken_in_one_step() {
    let home = Home::new();
    let one = home.image(&[base()], &["app:1"], "one");
    let two = home.image(&[base()], &["app:2"], "two");
    let name: hull_spec::Reference = "app:1".parse().unwrap();
    image::tag(&home.store, &two.id, &name).unwrap();
    let tags: Vec<_> = image::tags(&home.store, &"app".parse().unwrap())
        .unwrap()
        .into_iter()
        .map(|(name, id)| (name.familiar(), id))
        .collect();
    assert_eq!(
        tags,
        [("app:1".to_owned(), two.id.clone()), ("app:2".to_owned(), two.id)]
    );
    assert_eq!(image::names(&home.store, &one.id).unwrap(), []);
    let gone = image::tag(&home.store, &digest_of("nowhere"), &name).unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
    assert_eq!(image::layer_sizes(&home.store, &one.layers).unwrap().len(), 1);
    assert_eq!(image::tags(&home.store, &"ap".parse().unwrap()).unwrap(), []);
}
