//! `cp`, `diff`, `commit` and `export`.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::path::Path;
use std::time::Duration;

use hull_testkit::host::User;
use hull_testkit::{Host, Image, require_root, until};

use crate::{HULL, machine, shell, words};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The names in an archive.
fn listed(archive: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().unwrap();
    entries
        .map(|e| e.unwrap().path().unwrap().display().to_string())
        .collect()
}

fn output(host: &Host, args: &[&str]) -> Vec<u8> {
    let output = host.hull_command(args).output().unwrap();
    assert!(
        output.status.success(),
        "{args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

#[test]
fn privileged_files_are_copied_in_every_state() {
    let Some((host, image)) = machine() else { return };
    let before = {
        host.ok(["run", "--rm", &image, "true"]);
        host.traces()
    };
    let work = host.path("work");
    fs::create_dir_all(work.join("dir/sub")).unwrap();
    fs::write(work.join("file"), "hello\n").unwrap();
    chown(work.join("file"), Some(1234), Some(4321)).unwrap();
    fs::write(work.join("dir/sub/x"), "x").unwrap();
    let (file, dir) = (work.join("file"), work.join("dir"));
    let (file, dir) = (text(&file), text(&dir));
    let out = work.join("out");
    let out = text(&out);
    let back = || {
        let read = fs::read_to_string(out).unwrap();
        fs::remove_file(out).unwrap();
        read
    };
    let mounts = "-v vol:/vol -v vol:/ro:ro --tmpfs /tm";
    host.ok(words(&format!("create --name cc {mounts} {image} sleep 1000")));
    // Created: nothing of it has run, and nothing makes it look as if it had.
    host.ok(["cp", file, "cc:/tmp/created"]);
    assert_eq!(host.ok(["inspect", "-f", "{{.State.Status}}", "cc"]), "created");
    host.ok(["cp", "cc:/tmp/created", out]);
    assert_eq!(back(), "hello\n");
    host.ok(["cp", file, "cc:/vol/in-volume"]);
    host.hull(["cp", file, "cc:/ro/x"])
        .fails(1)
        .says("mounted volume is marked read-only");
    host.ok(["start", "cc"]);
    let seen = host.ok(shell(
        "exec cc",
        "ls -ln /tmp/created | tr -s ' ' | cut -d' ' -f1,3,4; cat /vol/in-volume",
    ));
    assert_eq!(seen, "-rw-r--r-- 1234 4321\nhello");
    // Running: in its own mounts, the tmpfs, too.
    host.ok(["cp", dir, "cc:/tm/"]);
    host.ok(["cp", file, "cc:/vol/again"]);
    assert_eq!(host.ok(["exec", "cc", "cat", "/tm/dir/sub/x", "/vol/again"]), "xhello");
    host.ok(shell("exec cc", "echo inside > /tm/made"));
    host.ok(["cp", "cc:/tm/made", out]);
    assert_eq!(back(), "inside\n");
    host.hull(["cp", file, "cc:/ro/x"])
        .fails(1)
        .says("mounted volume is marked read-only");
    host.hull(["cp", "cc:/proc/version", "-"])
        .fails(1)
        .says("Could not find the file /proc/version in container cc");
    // Paused.
    host.ok(["pause", "cc"]);
    host.ok(["cp", file, "cc:/tmp/paused"]);
    host.ok(["cp", "cc:/tmp/paused", out]);
    assert_eq!(back(), "hello\n");
    host.ok(["unpause", "cc"]);
    // Stopped again.
    host.ok(["stop", "-t", "0", "cc"]);
    host.ok(["cp", "cc:/tmp/paused", out]);
    assert_eq!((fs::metadata(out).unwrap().uid(), back()), (0, "hello\n".to_owned()));
    let read_only = format!("create --name ro --read-only -v vol:/vol {image} sleep 1000");
    host.ok(words(&read_only));
    host.hull(["cp", file, "ro:/x"])
        .fails(1)
        .says("container rootfs is marked read-only");
    host.ok(["cp", file, "ro:/vol/x"]);
    host.ok(["start", "ro"]);
    host.hull(["cp", file, "ro:/x"])
        .fails(1)
        .says("container rootfs is marked read-only");
    host.ok(["rm", "-f", "cc", "ro"]);
    fs::remove_dir_all(host.data().join("volumes")).unwrap();
    fs::remove_dir_all(&work).unwrap();
    host.assert_clean(&before);
}

#[test]
fn privileged_archives_go_in_and_out() {
    let Some((host, image)) = machine() else { return };
    host.ok(words(&format!("create --name cc {image} sleep 1000")));
    let etc = output(&host, &["cp", "cc:/etc", "-"]);
    assert_eq!(listed(&etc)[..2], ["etc/", "etc/group"]);
    assert_eq!(
        listed(&output(&host, &["cp", "cc:/etc/.", "-"]))[..2],
        ["./", "./group"]
    );
    assert_eq!(listed(&output(&host, &["cp", "cc:/etc/passwd", "-"])), ["passwd"]);
    host.hull_with_input(["cp", "-", "cc:/home"], &etc).ok();
    host.hull_with_input(["cp", "-", "cc:/nowhere"], &etc)
        .fails(1)
        .says("destination \"cc:/nowhere\" must be a directory");
    host.hull_with_input(["cp", "-", "cc:/tmp"], b"garbage that is no archive at all")
        .fails(1)
        .says("the archive cannot be unpacked");
    host.hull_with_input(["cp", "-", "cc:/tmp"], &[&b"\xfd7zXZ\0"[..], &[0; 600]].concat())
        .fails(1)
        .says("compressed with xz");
    let names = listed(&output(&host, &["cp", "cc:/home/etc", "-"]));
    assert!(names.contains(&"etc/passwd".to_owned()), "{names:?}");
    let exported = listed(&output(&host, &["export", "cc"]));
    assert!(exported.iter().any(|name| name == "home/etc/passwd"), "{exported:?}");
    let file = host.path("all.tar");
    host.ok(["export", "-o", text(&file), "cc"]);
    assert_eq!(listed(&fs::read(&file).unwrap()), exported);
    host.hull(["export", "-o", "/no/such/all.tar", "cc"])
        .fails(1)
        .says("invalid output path: directory \"/no/such\" does not exist");
    host.hull(["export", "nosuch"])
        .fails(1)
        .says("No such container: nosuch");
    // The same while it runs, and nothing of what the kernel mounts.
    host.ok(["start", "cc"]);
    assert_eq!(listed(&output(&host, &["export", "cc"])), exported);
}

#[test]
fn privileged_changes_are_told() {
    let Some((host, image)) = machine() else { return };
    let script = "touch /etc/new; rm /etc/group; chmod 600 /etc/passwd; mkdir -p /a/b; rm -rf /home; mkdir /home; \
                  echo > /vol/x; mv /tmp /moved";
    host.ok(words(&format!("create --name untouched {image} true")));
    assert_eq!(host.ok(["diff", "untouched"]), "");
    host.ok(["start", "untouched"]);
    assert_eq!(host.ok(["diff", "untouched"]), "");
    host.ok(shell(&format!("run --name cc -v /vol {image}"), script));
    let expected =
        "A /a\nA /a/b\nC /etc\nA /etc/new\nC /etc/passwd\nD /etc/group\nC /home\nD /home/app\nA /moved\nA /vol\nD /tmp";
    assert_eq!(host.ok(["diff", "cc"]), expected);
    host.hull(["diff", "nosuch"]).fails(1).says("No such container: nosuch");
}

#[test]
fn privileged_a_container_becomes_an_image() {
    let Some((host, image)) = machine() else { return };
    host.ok(shell(
        &format!("run -d --name cc -e A=1 {image}"),
        "echo made > /made; rm -rf /home; mkdir /home; echo new > /home/n; chown 12:34 /made; trap exit TERM; \
         echo ready; while :; do sleep 0.1; done",
    ));
    until("the container's files", || {
        (host.hull(["logs", "cc"]).stdout == "ready\n").then_some(())
    });
    let id = host.ok([
        "commit",
        "-a",
        "me",
        "-m",
        "why",
        "-c",
        "CMD [\"cat\", \"/made\"]",
        "-c",
        "ENV B=$A",
        "cc",
        "made:one",
    ]);
    assert!(id.starts_with("sha256:"), "{id}");
    assert_eq!(host.ok(["inspect", "-f", "{{.State.Status}}", "cc"]), "running");
    assert_eq!(host.ok(["run", "--rm", "made:one"]), "made");
    let seen = host.ok(shell("run --rm made:one", "echo $B; ls /home; stat -c %u:%g /made"));
    assert_eq!(seen, "1\nn\n12:34");
    assert_eq!(
        host.ok(["inspect", "-f", "{{.Author}} {{.Comment}}", "made:one"]),
        "me why"
    );
    // Stopped, without a name; and one that has changed nothing adds no layer.
    host.ok(["stop", "cc"]);
    let other = host.ok(["commit", "--pause=false", "cc"]);
    assert_eq!(host.ok(["run", "--rm", &other, "cat", "/made"]), "made");
    host.ok(words(&format!("create --name same {image} true")));
    let same = host.ok(["commit", "same"]);
    let layers = |name: &str| host.ok(["inspect", "-f", "{{len .RootFS.Layers}}", name]);
    assert_eq!(layers(&same), layers(&image));
    assert_eq!(
        layers("made:one"),
        (layers(&image).parse::<u32>().unwrap() + 1).to_string()
    );
    host.hull(["commit", "-c", "RUN x", "cc"])
        .fails(1)
        .says("RUN is not a valid change command");
    host.hull(["commit", "nosuch"])
        .fails(1)
        .says("No such container: nosuch");
    host.hull(["commit", "cc", "Bad:name"])
        .fails(1)
        .says("invalid reference format");
    assert_eq!(fs::read_dir(host.data().join("ingest")).unwrap().count(), 0);
}

/// CVE-2018-15664, CVE-2026-41568 and CVE-2026-42306: a container exchanges what is copied for links that lead out of it.
#[test]
fn privileged_exchanged_links_lead_nowhere() {
    let Some((host, image)) = machine() else { return };
    let secret = host.path("secret");
    fs::create_dir(&secret).unwrap();
    fs::write(secret.join("file"), "the host's").unwrap();
    let target = text(&secret);
    // `dir` is a folder and a link by turns, to the host's folder under its own name, and out through many `..`.
    let script = format!(
        "mkdir -p /w/real{target} {target} && echo own > {target}/file && echo own > /w/real/file && cd /w && \
         ln -s {target} abs && ln -s ../../../../../../../..{target} rel && echo ready && \
         while :; do rm -rf dir; cp -r real dir; rm -rf dir; ln -s {target} dir; rm dir; ln -s ../../..{target} dir; done"
    );
    host.ok(shell(&format!("run -d --name cc {image}"), &script));
    until("the container's files", || {
        (host.hull(["logs", "cc"]).stdout == "ready\n").then_some(())
    });
    let (input, out) = (host.path("input"), host.path("out"));
    fs::create_dir(&input).unwrap();
    fs::write(input.join("file"), "copied").unwrap();
    fs::write(input.join("new"), "copied").unwrap();
    let (mut came, mut went) = (0, 0);
    for round in 0..60 {
        let _ = fs::remove_dir_all(&out);
        fs::create_dir(&out).unwrap();
        let source = ["cc:/w/dir", "cc:/w/dir/.", "cc:/w/dir/", "cc:/w"][round % 4];
        came += u32::from(host.hull(["cp", source, text(&out)]).code() == 0);
        let _ = host.hull(["cp", "-L", "cc:/w/dir/file", text(&out)]);
        let mut todo = vec![out.clone()];
        while let Some(dir) = todo.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_dir() {
                    todo.push(entry.path());
                } else if entry.file_type().unwrap().is_file() {
                    assert_ne!(fs::read(entry.path()).unwrap(), b"the host's", "{:?}", entry.path());
                }
            }
        }
        let source = format!("{}/.", text(&input));
        let to = ["cc:/w/dir", "cc:/w/dir/", "cc:/w/abs", "cc:/w/rel"][round % 4];
        went += u32::from(host.hull(["cp", &source, to]).code() == 0);
    }
    assert!(came > 0 && went > 0, "nothing was copied: {came} out, {went} in");
    assert_eq!(fs::read_to_string(secret.join("file")).unwrap(), "the host's");
    assert_eq!(fs::read_dir(&secret).unwrap().count(), 1);
}

/// A device that a container makes is copied as a device, and never opened.
#[test]
fn privileged_devices_are_not_opened() {
    let Some((host, image)) = machine() else { return };
    host.ok(shell(
        &format!("run --name cc {image}"),
        "mkdir /d; mknod /d/tty c 5 0; mknod /d/pipe p; mknod /d/zero c 1 5",
    ));
    let out = host.path("out");
    host.ok(["cp", "cc:/d", text(&out)]);
    assert_eq!(
        fs::symlink_metadata(out.join("zero")).unwrap().rdev(),
        rustix::fs::makedev(1, 5)
    );
    host.hull(["cp", text(&host.path("out/pipe")), "cc:/d/zero"])
        .fails(1)
        .says("must be a directory or a regular file: got a device");
}

#[test]
fn privileged_copies_and_removals_do_not_disturb_each_other() {
    let Some((host, image)) = machine() else { return };
    host.ok(["run", "--rm", &image, "true"]);
    let before = host.traces();
    for _ in 0..8 {
        host.ok(words(&format!("create --name cc {image} sleep 1000")));
        let mut copies: Vec<_> = (0..3).map(|_| host.spawn(["cp", "cc:/bin", "-"])).collect();
        copies.push(host.spawn(["commit", "cc", "made:x"]));
        let removed = host.hull(["rm", "cc"]);
        let starts = host.hull(["start", "cc"]);
        for mut copy in copies {
            copy.wait().unwrap();
        }
        match (removed.code(), starts.code()) {
            (0, 1) => {}
            (1, 0) => {
                assert_eq!(host.ok(["inspect", "-f", "{{.State.Status}}", "cc"]), "running");
                host.ok(["rm", "-f", "cc"]);
            }
            _ => panic!("{removed:?} {starts:?}"),
        }
    }
    // Each commit has taken the name from the image before it.
    let _ = host.hull(["rmi", "made:x"]);
    for id in host.ok(["images", "-q", "--filter", "dangling=true"]).lines() {
        host.ok(["rmi", id]);
    }
    host.assert_clean(&before);
}

#[test]
fn privileged_a_killed_copy_or_commit_leaves_nothing() {
    let Some((host, image)) = machine() else { return };
    host.ok(shell(
        &format!("run -d --name cc {image}"),
        "dd if=/dev/zero of=/large bs=1M count=64 2>/dev/null; echo ready; sleep 1000",
    ));
    until("the container's files", || {
        (host.hull(["logs", "cc"]).stdout == "ready\n").then_some(())
    });
    host.ok(words(&format!("create --name idle {image} sleep 1000")));
    let out = host.path("out");
    for round in 0..24u64 {
        let args: [&str; 3] = [
            ["cp", "cc:/large", text(&out)],
            ["commit", "cc", "made:x"],
            ["cp", text(&out), "idle:/large"],
        ][(round % 3) as usize];
        let mut command = host.spawn(args);
        // The fault is injected at a time, not at a state: this is no wait.
        std::thread::sleep(Duration::from_millis(3 + round * 7 % 90));
        command.kill().unwrap();
        command.wait().unwrap();
        until("a container that goes on", || {
            (host.ok(["inspect", "-f", "{{.State.Status}}", "cc"]) == "running").then_some(())
        });
        assert_eq!(host.ok(["inspect", "-f", "{{.State.Status}}", "idle"]), "created");
        if !out.exists() {
            fs::write(&out, "x").unwrap();
        }
    }
    // The next writer sweeps what is half made.
    host.ok(["commit", "cc", "made:y"]);
    assert_eq!(fs::read_dir(host.data().join("ingest")).unwrap().count(), 0);
    assert_eq!(
        host.ok(["run", "--rm", "made:y", "stat", "-c", "%s", "/large"]),
        "67108864"
    );
    host.ok(["start", "idle"]);
}

#[test]
fn privileged_a_full_disk_is_told() {
    let Some((host, image)) = machine() else { return };
    host.ok(words(&format!(
        "run -d --name cc --tmpfs /small:size=1m {image} sleep 1000"
    )));
    let large = host.path("large");
    fs::write(&large, vec![1; 4 << 20]).unwrap();
    let copy = host.hull(["cp", text(&large), "cc:/small/x"]).fails(1);
    copy.says("No space left on device");
}

#[test]
fn privileged_users_of_namespaces_keep_their_files() {
    let Some((host, image)) = machine() else { return };
    let script = "echo mine > /mine; chown 7:8 /mine; chmod 600 /mine; sleep 1000";
    let started = host.hull(shell(&format!("run -d --name cc --userns auto {image}"), script));
    if started.code() != 0 && started.stderr.contains("idmapped") {
        return;
    }
    started.ok();
    until("the file", || {
        host.hull(["exec", "cc", "test", "-s", "/mine"])
            .status
            .success()
            .then_some(())
    });
    let (input, out) = (host.path("input"), host.path("out"));
    fs::write(&input, "given").unwrap();
    chown(&input, Some(11), Some(12)).unwrap();
    for state in ["running", "stopped"] {
        let file = format!("/{state}");
        host.ok(["cp", text(&input), &format!("cc:{file}")]);
        let archive = output(&host, &["cp", "cc:/mine", "-"]);
        let mut archive = tar::Archive::new(&archive[..]);
        let entry = archive.entries().unwrap().next().unwrap().unwrap();
        assert_eq!(
            (entry.header().uid().unwrap(), entry.header().gid().unwrap()),
            (7, 8),
            "{state}"
        );
        host.ok(["stop", "-t", "0", "cc"]);
    }
    host.ok(["start", "cc"]);
    let owners = host.ok(["exec", "cc", "stat", "-c", "%u:%g", "/running", "/stopped"]);
    assert_eq!(owners, "11:12\n11:12");
    host.ok(["cp", "cc:/running", text(&out)]);
    assert_eq!(fs::metadata(&out).unwrap().uid(), 0);
    host.ok(["commit", "cc", "made:users"]);
    assert_eq!(
        host.ok(["run", "--rm", "made:users", "stat", "-c", "%u:%g", "/mine"]),
        "7:8"
    );
}

fn rootless(subordinate: bool) {
    if !require_root() {
        return;
    }
    let host = Host::rootless(HULL, User { id: 12345, subordinate });
    let Some(image) = host.provide("busybox", &Image::busybox()) else {
        return;
    };
    let home = host.path("home");
    fs::write(home.join("file"), "mine").unwrap();
    chown(home.join("file"), Some(12345), Some(12345)).unwrap();
    symlink("file", home.join("link")).unwrap();
    host.ok(shell(
        &format!("run -d --name cc --network none {image}"),
        "rm -rf /home/app; mkdir /made; echo x > /made/file; echo ready; sleep 1000",
    ));
    until("the container's files", || {
        (host.hull(["logs", "cc"]).stdout == "ready\n").then_some(())
    });
    let at = |name: &str| home.join(name).display().to_string();
    host.ok(["cp", &at("file"), "cc:/made/copied"]);
    assert_eq!(host.ok(["exec", "cc", "cat", "/made/copied"]), "mine");
    host.ok(["cp", "cc:/made", &at("out")]);
    assert_eq!(fs::metadata(home.join("out/copied")).unwrap().uid(), 12345);
    let diff = host.ok(["diff", "cc"]);
    assert_eq!(diff, "C /home\nD /home/app\nA /made\nA /made/copied\nA /made/file");
    let running = host.hull(["commit", "--pause=false", "cc", "made:one"]);
    running.ok();
    host.ok(["stop", "-t", "0", "cc"]);
    host.ok(["cp", "-L", &at("link"), "cc:/made/stopped"]);
    let names = listed(&output(&host, &["export", "cc"]));
    assert!(names.contains(&"made/stopped".to_owned()), "{names:?}");
    let seen = host.ok(shell("run --rm --network none made:one", "ls /made /home"));
    assert_eq!(seen, "/home:\n\n/made:\ncopied\nfile");
}

#[test]
fn privileged_rootless_with_subordinate_ids() {
    rootless(true);
}

#[test]
fn privileged_rootless_with_a_single_id() {
    rootless(false);
}
