use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use super::*;

fn all(root: &Path, name: &CStr, path: &[u8], options: Options) -> Result<Vec<String>> {
    let dir = fs::File::open(root).unwrap();
    let start = Start {
        dir: dir.as_fd(),
        name,
        path,
    };
    let mut out = Vec::new();
    walk(&start, options, |found| {
        out.push(match found {
            Found::Entry(entry, file) => {
                let mark = entry.path.windows(4).any(|w| w == b".wh.") && file.is_none();
                assert_eq!(file.is_some(), entry.kind == Kind::Regular && !mark);
                let link = String::from_utf8_lossy(&entry.link).into_owned();
                let link = if link.is_empty() { link } else { format!(" -> {link}") };
                format!("{:?} {}{link}", entry.kind, String::from_utf8_lossy(&entry.path))
            }
            Found::Socket(path) => format!("Socket {}", String::from_utf8_lossy(path)),
        });
        Ok::<(), Error>(())
    })?;
    Ok(out)
}

#[test]
fn everything_is_found_in_order() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path();
    fs::create_dir_all(root.join("b/inner")).unwrap();
    fs::write(root.join("b/inner/file"), "x").unwrap();
    fs::write(root.join("b.txt"), "y").unwrap();
    fs::hard_link(root.join("b.txt"), root.join("c")).unwrap();
    symlink("/nowhere", root.join("a")).unwrap();
    fs::create_dir(root.join("b-")).unwrap();
    let _socket = UnixListener::bind(root.join("s")).unwrap();
    let expected = [
        "Symlink a -> /nowhere",
        "Directory b",
        "Directory b/inner",
        "Regular b/inner/file",
        "Directory b-",
        "Regular b.txt",
        "HardLink c -> b.txt",
        "Socket s",
    ];
    assert_eq!(all(root, c".", b"", Options::default()).unwrap(), expected);
    let named = all(root, c"b", b"new", Options::default()).unwrap();
    assert_eq!(
        named,
        ["Directory new", "Directory new/inner", "Regular new/inner/file"]
    );
    let root_named = all(root, c"b", b"/", Options::default()).unwrap();
    assert_eq!(root_named, ["Directory /", "Directory /inner", "Regular /inner/file"]);
    assert_eq!(
        all(root, c"a", b"l", Options::default()).unwrap(),
        ["Symlink l -> /nowhere"]
    );
    assert!(all(root, c"missing", b"m", Options::default()).is_err());
}

#[test]
fn depth_costs_no_descriptors() {
    let temp = tempfile::tempdir().unwrap();
    let mut path = temp.path().to_owned();
    for _ in 0..300 {
        path.push("d");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("z"), "").unwrap();
    }
    let open = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open();
    let dir = fs::File::open(temp.path()).unwrap();
    let start = Start {
        dir: dir.as_fd(),
        name: c".",
        path: b"",
    };
    let (mut most, mut count) = (0, 0);
    walk(&start, Options::default(), |_| {
        count += 1;
        if count % 50 == 0 {
            most = most.max(open());
        }
        Ok::<(), Error>(())
    })
    .unwrap();
    assert_eq!(count, 600);
    // Other tests of this process open files, too.
    assert!(most < before + 200, "{most} open");
}

#[test]
fn a_path_without_end_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let name = "n".repeat(200);
    let mut dir: OwnedFd = fs::File::open(temp.path()).unwrap().into();
    for _ in 0..25 {
        rustix::fs::mkdirat(&dir, name.as_str(), Mode::RWXU).unwrap();
        dir = rustix::fs::openat(&dir, name.as_str(), DIRECTORY, Mode::empty()).unwrap();
    }
    let error = all(temp.path(), c".", b"", Options::default()).unwrap_err();
    assert!(error.to_string().starts_with("cannot read `nnn"), "{error}");
    crate::tree::remove(&temp.path().join(&name)).unwrap();
}

#[test]
fn holes_are_found() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("sparse");
    let file = fs::File::create(&path).unwrap();
    file.set_len(10 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[1; 4096], 4 << 20).unwrap();
    fs::write(temp.path().join("whole"), [1; 4096]).unwrap();
    let dir = fs::File::open(temp.path()).unwrap();
    let start = Start {
        dir: dir.as_fd(),
        name: c".",
        path: b"",
    };
    let options = Options {
        sparse: true,
        ..Options::default()
    };
    let mut seen = Vec::new();
    walk(&start, options, |found| {
        if let Found::Entry(entry, _) = found {
            seen.push((entry.path.clone(), entry.size, entry.sparse.clone()));
        }
        Ok::<(), Error>(())
    })
    .unwrap();
    let (_, size, sparse) = &seen[0];
    assert_eq!(*size, 10 << 20);
    let data: u64 = sparse.as_ref().unwrap().iter().map(|e| e.length).sum();
    assert!((4096..1 << 20).contains(&data), "{sparse:?}");
    assert_eq!(seen[1].2, None);
}

/// A name that is a directory, a file, a link and a pipe in turn is read as one of them, or not at all; never followed.
#[test]
fn a_name_that_keeps_changing_is_never_followed() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("root");
    fs::create_dir_all(root.join("dir")).unwrap();
    fs::write(root.join("dir/inside"), "").unwrap();
    fs::create_dir(temp.path().join("outside")).unwrap();
    fs::write(temp.path().join("outside/secret"), "").unwrap();
    symlink("../outside", root.join("link")).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let flags = rustix::fs::RenameFlags::EXCHANGE;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let (a, b) = (root.join("dir"), root.join("link"));
                let _ = rustix::fs::renameat_with(rustix::fs::CWD, &a, rustix::fs::CWD, &b, flags);
            }
        });
        for _ in 0..2000 {
            match all(&root, c".", b"", Options::default()) {
                Ok(names) => assert!(names.iter().all(|n| !n.contains("secret")), "{names:?}"),
                Err(error) => assert!(error.to_string().starts_with("cannot "), "{error}"),
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn what_a_layer_cannot_hold_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join(".wh.x"), "").unwrap();
    let layer = Options {
        layer: Some(Ownership::Host),
        ..Options::default()
    };
    assert!(matches!(
        all(temp.path(), c".", b"", layer),
        Err(Error::Reserved { .. })
    ));
    assert_eq!(
        all(temp.path(), c".", b"", Options::default()).unwrap(),
        ["Regular .wh.x"]
    );
}

#[test]
fn what_cannot_be_read_is_told() {
    if rustix::process::geteuid().is_root() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("locked"), "").unwrap();
    fs::set_permissions(temp.path().join("locked"), fs::Permissions::from_mode(0o0)).unwrap();
    let error = all(temp.path(), c".", b"", Options::default()).unwrap_err();
    assert_eq!(error.to_string(), "cannot open `locked`");
}

#[test]
fn privileged_overlays_marks_become_whiteouts() {
    if !hull_testkit::require_root() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path();
    fs::create_dir(root.join("opaque")).unwrap();
    fs::write(root.join("opaque/new"), "").unwrap();
    let opaque = fs::File::open(root.join("opaque")).unwrap();
    let set = |name: &str, value: &[u8]| {
        rustix::fs::fsetxattr(&opaque, name, value, rustix::fs::XattrFlags::empty()).unwrap();
    };
    set("trusted.overlay.opaque", b"y");
    set("trusted.overlay.origin", b"anything");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        root.join("gone"),
        FileType::CharacterDevice,
        Mode::empty(),
        0,
    )
    .unwrap();
    let layer = Options {
        layer: Some(Ownership::Host),
        ..Options::default()
    };
    let names = all(root, c".", b"", layer);
    assert_eq!(
        names.unwrap(),
        [
            "Regular .wh.gone",
            "Directory opaque",
            "Regular opaque/.wh..wh..opq",
            "Regular opaque/new"
        ]
    );
    set("trusted.overlay.redirect", b"/elsewhere");
    assert!(matches!(all(root, c".", b"", layer), Err(Error::Redirected { .. })));
}
