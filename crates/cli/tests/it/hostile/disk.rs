//! Full disks: what needs room says that there is none, and everything else goes on.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use hull_testkit::{Host, Image, require_root, until};

use crate::{HULL, shell, words};

/// A host with a small disk for its data, and a file that can fill it.
struct Small {
    host: Host,
    image: String,
}

impl Small {
    fn new(megabytes: u32) -> Option<Self> {
        if !require_root() {
            return None;
        }
        let host = Host::new(HULL);
        let size = format!("size={megabytes}m");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "small"]).arg(host.data());
        assert!(mount.status().unwrap().success());
        let image = host.provide("busybox", &Image::busybox());
        let mut small = Self {
            host,
            image: String::new(),
        };
        // Made first, so that it is unmounted.
        small.image = image?;
        Some(small)
    }

    fn filler(&self) -> PathBuf {
        self.host.data().join("filler")
    }

    /// Leaves no room at all.
    fn fill(&self) {
        let file = File::options().append(true).create(true).open(self.filler());
        let full = file.and_then(|mut file| std::io::copy(&mut std::io::repeat(0), &mut file));
        assert_eq!(full.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    }

    fn free(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let ids = self.host.hull(["ps", "-aq"]).stdout;
        if !ids.is_empty() {
            self.host.hull(["rm", "-f"].into_iter().chain(ids.lines()));
        }
        let _ = Command::new("umount").arg("-l").arg(self.host.data()).status();
    }
}

/// The files below a folder, with their sizes.
fn files(folder: &Path) -> Vec<(PathBuf, u64)> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => out.extend(files(&entry.path())),
            _ => out.push((entry.path(), entry.metadata().map_or(0, |m| m.len()))),
        }
    }
    out.sort();
    out
}

#[test]
fn privileged_a_full_disk_stops_no_container() {
    let Some(small) = Small::new(24) else { return };
    let Small { host, image } = &small;
    let script = "i=0; while :; do echo line $i; i=$((i+1)); echo $i >/dev/shm/count; sleep 0.005; done";
    host.ok(shell(&format!("run -d --name cc --restart always {image}"), script));
    let count = || -> u64 { host.ok(["exec", "cc", "cat", "/dev/shm/count"]).parse().unwrap_or(0) };
    until("lines", || (count() > 5).then_some(()));
    small.fill();
    let at_full = count();
    // More lines than the room in a last block and what waits in memory.
    until("more lines", || (count() > at_full + 100).then_some(()));
    assert_eq!(
        host.ok(["inspect", "-f", "{{.State.Status}} {{.RestartCount}}", "cc"]),
        "running 0"
    );
    assert!(host.ok(["ps", "--format", "{{.Names}}"]) == "cc");
    let shown = host.ok(["logs", "cc"]);
    assert!(shown.starts_with("line 0\nline 1\n"), "{shown:.100}");
    // What needs room says so, and leaves nothing.
    host.hull(words(&format!("create --name dd {image} true")))
        .fails(1)
        .says("No space left on device");
    host.hull(words("rename cc ee"))
        .fails(1)
        .says("No space left on device");
    assert_eq!(host.ok(["ps", "-a", "--format", "{{.Names}}"]), "cc");
    small.free();
    let freed = count();
    until("new lines in the log", || {
        let log = host.ok(["logs", "--tail", "5", "cc"]);
        let last = log
            .lines()
            .filter_map(|line| line.strip_prefix("line ")?.parse::<u64>().ok())
            .max();
        (last > Some(freed)).then_some(())
    });
    let all = host.hull(["logs", "cc"]).ok();
    let numbers: Vec<u64> = all
        .stdout
        .lines()
        .filter_map(|line| line.strip_prefix("line ")?.parse().ok())
        .collect();
    assert!(numbers.is_sorted(), "lines are in order");
    // What is missing is counted: it was in the pipe or in memory, and is there, or it is told.
    let missing = numbers.last().unwrap() + 1 - numbers.len() as u64;
    if missing > 0 {
        assert!(
            all.stdout.contains(&missing.to_string()) || all.stderr.contains(&missing.to_string()),
            "{missing} lines are lost, and nobody says so: {}",
            all.stderr
        );
    }
    host.ok(["rm", "-f", "cc"]);
}

#[test]
fn privileged_a_full_disk_ends_as_it_should() {
    let Some(small) = Small::new(24) else { return };
    let Small { host, image } = &small;
    for (name, script, code) in [
        ("own", "while ! test -e /dev/shm/go; do sleep 0.01; done; exit 3", "3"),
        ("gone", "sleep 1000", "137"),
    ] {
        host.ok(shell(&format!("run -d --name {name} {image}"), script));
        small.fill();
        match name {
            "own" => drop(host.ok(["exec", name, "touch", "/dev/shm/go"])),
            _ => drop(host.hull(["stop", "-t", "0", name])),
        }
        let state = || host.ok(["inspect", "-f", "{{.State.Status}} {{.State.Pid}}", name]);
        until("its end", || (state() == "exited 0").then_some(()));
        // Its code may be lost, but is not made up.
        let seen = host.ok(["inspect", "-f", "{{.State.ExitCode}}", name]);
        assert!(seen == code || seen == "255", "{name}: {seen}");
        // What frees room needs none.
        host.ok(["rm", name]);
        small.free();
    }
}

#[test]
fn privileged_a_full_disk_takes_no_half_image_or_copy() {
    let Some(small) = Small::new(32) else { return };
    let Small { host, image } = &small;
    host.ok(shell(
        &format!("run --name cc {image}"),
        "head -c 6000000 /dev/urandom >/big",
    ));
    let large = host.path("large");
    std::fs::write(&large, vec![7; 8 << 20]).unwrap();
    small.fill();
    let before = files(&host.data());
    host.hull(words("commit cc made"))
        .fails(1)
        .says("No space left on device");
    assert_eq!(host.ok(words("images -q made")), "");
    host.hull(["cp", large.to_str().unwrap(), "cc:/copy"])
        .fails(1)
        .says("No space left on device");
    let out = host.data().join("export.tar");
    host.hull(["export", "-o", out.to_str().unwrap(), "cc"])
        .fails(1)
        .says("No space left on device");
    host.hull(["cp", "cc:/big", host.data().join("big").to_str().unwrap()])
        .fails(1)
        .says("No space left on device");
    assert!(!out.exists(), "an archive that is not whole is none");
    small.free();
    // What copies of one file leave of it is there to be seen, as with any program; of the rest there is nothing.
    let copies = ["big", "copy"].map(std::ffi::OsStr::new);
    let left: Vec<_> = files(&host.data())
        .into_iter()
        .map(|(path, _)| path)
        .filter(|path| !before.iter().any(|(known, _)| known == path))
        .filter(|path| !copies.contains(&path.file_name().unwrap_or_default()))
        .filter(|path| !path.components().any(|part| part.as_os_str() == "events"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    host.ok(words("commit cc made"));
    assert_eq!(host.ok(shell("run --rm --network none made", "wc -c </big")), "6000000");
    host.ok(["rm", "cc"]);
    host.ok(["rmi", "made"]);
}
