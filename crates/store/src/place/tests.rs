use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::tar::{Extent, Time};
use crate::walk::{Found, Options, Start, walk};

fn entry(path: &str, kind: Kind) -> Entry {
    Entry {
        path: path.as_bytes().to_vec(),
        kind,
        mode: 0o750,
        mtime: Time { seconds: 5, nanos: 7 },
        ..Entry::default()
    }
}

fn file(path: &str, data: &str) -> (Entry, Vec<u8>) {
    let mut entry = entry(path, Kind::Regular);
    entry.size = data.len() as u64;
    (entry, data.as_bytes().to_vec())
}

/// Puts entries into `below` in the tree `root`.
fn put(root: &Path, below: &str, links: bool, entries: &[(Entry, Vec<u8>)]) -> Result<u64> {
    let dir = fs::File::open(root).unwrap();
    let copied = AtomicU64::new(0);
    let target = Target {
        root: dir.as_fd(),
        below: below.as_bytes(),
        shown: b"/shown",
        links,
        owner: Owner::Caller,
        ownership: Ownership::Host,
    };
    let mut place = Place::new(target, &copied)?;
    for (entry, data) in entries {
        place.entry(entry, Content::Stream(&mut &data[..]))?;
    }
    place.finish()?;
    Ok(copied.into_inner())
}

fn copy(from: &Path, to: &Path) -> Result<u64> {
    let (source, dir) = (fs::File::open(from).unwrap(), fs::File::open(to).unwrap());
    let copied = AtomicU64::new(0);
    let target = Target {
        root: dir.as_fd(),
        below: b"",
        shown: b"/shown",
        links: false,
        owner: Owner::Caller,
        ownership: Ownership::Host,
    };
    let mut place = Place::new(target, &copied)?;
    let start = Start {
        dir: source.as_fd(),
        name: c".",
        path: b"",
    };
    walk(&start, Options::default(), |found| match found {
        Found::Entry(entry, Some(file)) => place.entry(entry, Content::File(file)),
        Found::Entry(entry, None) => place.entry(entry, Content::Nothing),
        Found::Socket(_) => Ok(()),
    })?;
    place.finish()?;
    Ok(copied.into_inner())
}

#[test]
fn a_tree_is_copied_with_all_that_it_is() {
    let temp = tempfile::tempdir().unwrap();
    let (from, to) = (temp.path().join("from"), temp.path().join("to"));
    fs::create_dir_all(from.join("dir/deep")).unwrap();
    fs::create_dir(&to).unwrap();
    fs::write(from.join("dir/file"), vec![3; 3 << 20]).unwrap();
    fs::set_permissions(from.join("dir/file"), fs::Permissions::from_mode(0o4751)).unwrap();
    fs::hard_link(from.join("dir/file"), from.join("dir/other")).unwrap();
    symlink("../../..", from.join("dir/link")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        from.join("pipe"),
        FileType::Fifo,
        Mode::from_raw_mode(0o640),
        0,
    )
    .unwrap();
    let sparse = fs::File::create(from.join("sparse")).unwrap();
    sparse.set_len(100 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"middle", 50 << 20).unwrap();
    let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::new(1000, 500);
    fs::File::open(from.join("dir")).unwrap().set_modified(old).unwrap();
    assert_eq!(copy(&from, &to).unwrap(), (3 << 20) + (100 << 20));
    let meta = |path: &str| fs::symlink_metadata(to.join(path)).unwrap();
    assert_eq!(fs::read(to.join("dir/file")).unwrap(), vec![3; 3 << 20]);
    assert_eq!(meta("dir/file").mode() & 0o7777, 0o4751);
    assert_eq!(meta("dir/file").ino(), meta("dir/other").ino());
    assert_eq!(fs::read_link(to.join("dir/link")).unwrap(), Path::new("../../.."));
    assert_eq!(meta("pipe").mode() & 0o7777, 0o640);
    assert_eq!(meta("dir").modified().unwrap(), old);
    assert_eq!(meta("sparse").len(), 100 << 20);
    assert!(meta("sparse").blocks() < 10_000, "{} blocks", meta("sparse").blocks());
    assert_eq!(
        fs::read(from.join("sparse")).unwrap(),
        fs::read(to.join("sparse")).unwrap()
    );
}

#[test]
fn what_is_there_gives_way_by_dockers_rules() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path();
    fs::create_dir(root.join("dir")).unwrap();
    fs::write(root.join("dir/stays"), "").unwrap();
    fs::write(root.join("file"), "old").unwrap();
    fs::write(root.join("target"), "untouched").unwrap();
    symlink("target", root.join("link")).unwrap();
    put(root, "", false, &[file("file", "new"), file("link", "new")]).unwrap();
    assert_eq!(fs::read_to_string(root.join("file")).unwrap(), "new");
    assert!(fs::symlink_metadata(root.join("link")).unwrap().is_file());
    assert_eq!(fs::read_to_string(root.join("target")).unwrap(), "untouched");
    put(
        root,
        "",
        false,
        &[
            (entry("dir", Kind::Directory), vec![]),
            (entry(".", Kind::Directory), vec![]),
        ],
    )
    .unwrap();
    assert!(root.join("dir/stays").exists());
    assert_eq!(fs::metadata(root.join("dir")).unwrap().mode() & 0o777, 0o750);
    let error = put(root, "", false, &[(entry("file", Kind::Directory), vec![])]).unwrap_err();
    let expected = "cannot overwrite non-directory \"/shown/file\" with directory \"/shown\"";
    assert_eq!(error.to_string(), expected);
    let error = put(root, "", false, &[file("dir", "")]).unwrap_err();
    let expected = "cannot overwrite directory \"/shown/dir\" with non-directory \"/shown\"";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn entries_stay_inside() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("root");
    fs::create_dir_all(root.join("in")).unwrap();
    fs::create_dir_all(root.join("etc")).unwrap();
    fs::create_dir(temp.path().join("etc")).unwrap();
    symlink("/etc", root.join("in/absolute")).unwrap();
    symlink("../../etc", root.join("in/relative")).unwrap();
    for path in ["../x", "a/../../x", "/../x", ".."] {
        put(&root, "in", true, &[file(path, "")]).unwrap_err();
    }
    let mut link = entry("hard", Kind::HardLink);
    link.link = b"../../outside".to_vec();
    put(&root, "in", true, &[(link, vec![])]).unwrap_err();
    for path in ["absolute/a", "relative/b", "/c/d"] {
        put(&root, "in", true, &[file(path, "")]).unwrap();
    }
    assert!(root.join("etc/a").exists() && root.join("etc/b").exists() && root.join("in/c/d").exists());
    assert_eq!(fs::read_dir(temp.path().join("etc")).unwrap().count(), 0);
    // Where links mean nothing, they are no directories.
    for path in ["absolute/x", "relative/x"] {
        put(&root, "in", false, &[file(path, "")]).unwrap_err();
    }
}

#[test]
fn archives_bring_holes_and_links() {
    let temp = tempfile::tempdir().unwrap();
    let mut sparse = entry("sparse", Kind::Regular);
    sparse.size = 1 << 30;
    sparse.sparse = Some(vec![Extent {
        offset: 1 << 29,
        length: 3,
    }]);
    let mut hard = entry("hard", Kind::HardLink);
    hard.link = b"./sparse".to_vec();
    let mut again = hard.clone();
    again.path = b"sparse".to_vec();
    let entries = [(sparse, b"abc".to_vec()), (hard, vec![]), (again, vec![])];
    put(temp.path(), "", false, &entries).unwrap();
    let meta = fs::metadata(temp.path().join("hard")).unwrap();
    assert_eq!((meta.len(), meta.nlink()), (1 << 30, 2));
    assert!(meta.blocks() < 100);
    let (short, _) = file("short", "12345");
    let error = put(temp.path(), "", false, &[(short, b"123".to_vec())]).unwrap_err();
    assert_eq!(error.to_string(), "cannot read the content of `/shown/short`");
}

/// CVE-2018-15664 and its kin: a directory on the way is exchanged for a link that leads out.
#[test]
fn exchanged_directories_lead_nowhere() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("root");
    let outside = temp.path().join("outside");
    fs::create_dir_all(root.join("in/dir/sub")).unwrap();
    fs::create_dir_all(outside.join("sub")).unwrap();
    symlink("../../outside", root.join("in/relative")).unwrap();
    symlink(&outside, root.join("in/absolute")).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let flags = rustix::fs::RenameFlags::EXCHANGE;
            let mut turn = 0;
            while !stop.load(Ordering::Relaxed) {
                let link = root.join(["in/relative", "in/absolute"][turn % 2]);
                let dir = root.join("in/dir");
                let _ = rustix::fs::renameat_with(rustix::fs::CWD, &dir, rustix::fs::CWD, &link, flags);
                let _ = rustix::fs::renameat_with(rustix::fs::CWD, &link, rustix::fs::CWD, &dir, flags);
                turn += 1;
            }
        });
        let mut done = 0;
        for round in 0..3000 {
            let mut node = entry("dir/sub/link", Kind::Symlink);
            node.link = b"x".to_vec();
            let mut pipe = entry("dir/sub/pipe", Kind::Fifo);
            pipe.mode = 0o666;
            let entries = [
                (entry("dir", Kind::Directory), vec![]),
                (entry("dir/sub", Kind::Directory), vec![]),
                file("dir/sub/file", "data"),
                (node, vec![]),
                (pipe, vec![]),
                file(&format!("dir/new-{}/file", round % 5), "data"),
            ];
            done += u32::from(put(&root, "in", round % 2 == 0, &entries).is_ok());
        }
        stop.store(true, Ordering::Relaxed);
        assert!(done > 0, "no copy came through");
    });
    let left = fs::read_dir(&outside).unwrap().map(|e| e.unwrap().file_name());
    assert_eq!(left.collect::<Vec<_>>(), ["sub"]);
    assert_eq!(fs::read_dir(outside.join("sub")).unwrap().count(), 0);
    assert_eq!(fs::metadata(outside.join("sub")).unwrap().mode() & 0o777, 0o755);
}
