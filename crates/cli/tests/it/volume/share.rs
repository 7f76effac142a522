//! Volumes with a file system of their own, folders of the host, images.

use hull_testkit::Image;
use hull_testkit::host::User;
use hull_testkit::{Host, require_root};

use crate::{HULL, machine, shell, words};

const TMPFS: &str = "volume create -o type=tmpfs -o device=tmpfs -o o=size=1m,uid=7,mode=755,noexec vol";

/// What two containers see of a tmpfs volume, on any kind of host.
fn shared(host: &Host, run: &str, image: &str) {
    host.ok(words(TMPFS));
    host.ok(shell(&format!("{run} -d --name aa -v vol:/v {image}"), "sleep 1000"));
    host.ok(shell("exec aa", "echo one > /v/file"));
    // The same file system, at another place; what is made there is seen by the first.
    let look = "cat /w/file; echo two > /w/file; stat -c %u:%a /w; df -k /w | tail -1 | tr -s ' ' | cut -d' ' -f2; grep ' /w ' /proc/mounts";
    let seen = host.ok(shell(&format!("{run} --rm -v vol:/w {image}"), look));
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!(lines[..3], ["one", "7:755", "1024"], "{seen}");
    assert!(lines[3].contains("noexec"), "{seen}");
    assert_eq!(host.ok(words("exec aa cat /v/file")), "two");
    // Read-only for one only.
    host.hull(shell(
        &format!("{run} --rm -v vol:/w:ro {image}"),
        "echo three > /w/file",
    ))
    .fails(1)
    .says("Read-only");
    // The first one goes, a second one carries it on.
    host.ok(shell(&format!("{run} -d --name bb -v vol:/v:ro {image}"), "sleep 1000"));
    host.ok(words("rm -f aa"));
    let seen = host.ok(shell(
        &format!("{run} --rm -v vol:/v {image}"),
        "cat /v/file; echo three > /v/file",
    ));
    assert_eq!(seen, "two");
    assert_eq!(host.ok(words("exec bb cat /v/file")), "three");
    host.ok(words("rm -f bb"));
    // With the last it is gone.
    assert_eq!(host.ok(words(&format!("{run} --rm -v vol:/v {image} ls /v"))), "");
    host.ok(words("volume rm vol"));
}

#[test]
fn privileged_a_tmpfs_volume_is_one_for_all() {
    let Some((host, image)) = machine() else { return };
    host.ok(words(&format!("run --rm {image} true")));
    // The run root's folder for volumes stays.
    host.ok(words(TMPFS));
    host.ok(words(&format!("run --rm -v vol:/v {image} true")));
    host.ok(words("volume rm vol"));
    let before = host.traces();
    shared(&host, "run", &image);
    host.assert_clean(&before);
}

#[test]
fn privileged_a_tmpfs_volume_is_one_for_all_without_root() {
    if !require_root() {
        return;
    }
    let host = Host::rootless(
        HULL,
        User {
            id: 12345,
            subordinate: true,
        },
    );
    let Some(image) = host.provide("busybox", &Image::busybox()) else {
        return;
    };
    shared(&host, "run --network none", &image);
}

#[test]
fn privileged_a_killed_monitor_leaves_no_mount() {
    let Some((host, image)) = machine() else { return };
    host.ok(words(&format!("run --rm {image} true")));
    host.ok(words(TMPFS));
    host.ok(words(&format!("run --rm -v vol:/v {image} true")));
    let before = host.traces();
    host.ok(shell(
        &format!("run -d --name aa -v vol:/v {image}"),
        "echo one > /v/file; sleep 1000",
    ));
    let state = std::fs::read_dir(host.run_root().join("containers")).unwrap();
    let state = state
        .map(|entry| entry.unwrap().path().join("state.json"))
        .find(|p| p.exists());
    let state: serde_json::Value = serde_json::from_slice(&std::fs::read(state.unwrap()).unwrap()).unwrap();
    let monitor = i32::try_from(state["MonitorPid"].as_i64().unwrap()).unwrap();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(monitor).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    // The container runs on, and so does the volume.
    assert_eq!(
        host.ok(words(&format!("run --rm -v vol:/w {image} cat /w/file"))),
        "one"
    );
    host.ok(words("rm -f aa"));
    assert_eq!(host.ok(words(&format!("run --rm -v vol:/w {image} ls /w"))), "");
    host.assert_clean(&before);
}

#[test]
fn privileged_parts_of_a_tmpfs_volume() {
    let Some((host, image)) = machine() else { return };
    host.ok(words(TMPFS));
    host.ok(shell(
        &format!("run -d --name aa -v vol:/v {image}"),
        "mkdir -p /v/a/b; echo x > /v/a/b/file; ln -s /etc /v/evil; touch /v/done; sleep 1000",
    ));
    hull_testkit::until("the files", || {
        (host.hull(words("exec aa ls /v/done")).code() == 0).then_some(())
    });
    let run = |subpath: &str| {
        let mount = format!("type=volume,src=vol,dst=/w,volume-subpath={subpath}");
        host.hull(["run", "--rm", "--mount", &mount, &image, "ls", "/w"])
    };
    assert_eq!(run("a/b").ok().stdout, "file\n");
    run("evil").fails(125).says("it leads out of the mount");
    // Somebody with a part alone has nothing whole to give.
    host.ok(words(&format!(
        "run -d --name bb --mount type=volume,src=vol,dst=/w,volume-subpath=a {image} sleep 1000"
    )));
    host.ok(words("rm -f aa"));
    host.hull(words(&format!("run --rm -v vol:/v {image} true")))
        .fails(125)
        .says("only a part of it mounted");
}

#[test]
fn privileged_a_volume_can_be_a_folder_of_the_host() {
    let Some((host, image)) = machine() else { return };
    let folder = host.path("folder");
    let create = |name: &str, o: &str| {
        let device = format!("device={}", folder.display());
        let o = format!("o={o}");
        host.ok(["volume", "create", "-o", "type=none", "-o", &device, "-o", &o, name])
    };
    create("vol", "bind");
    let device = folder.display();
    let place = host.data().join("volumes/vol/_data");
    host.hull(words(&format!("run --rm -v vol:/v {image} true")))
        .fails(125)
        .says(&format!(
            "failed to mount local volume: mount {device}:{}: no such file or directory",
            place.display()
        ));
    std::fs::create_dir(&folder).unwrap();
    host.ok(shell(&format!("run --rm -v vol:/v {image}"), "echo x > /v/file"));
    assert_eq!(std::fs::read_to_string(folder.join("file")).unwrap(), "x\n");
    create("kept", "bind,ro");
    host.hull(shell(&format!("run --rm -v kept:/v {image}"), "touch /v/y"))
        .fails(1);
    host.ok(words("volume rm vol kept"));
    assert!(folder.join("file").exists(), "the folder is not the volume's own");
}

#[test]
fn privileged_a_file_system_that_cannot_be_mounted_is_told() {
    let Some((host, image)) = machine() else { return };
    host.ok(words("volume create -o type=nosuchfs -o device=/dev/null vol"));
    host.hull(words(&format!("run --rm -v vol:/v {image} true")))
        .fails(125)
        .says("failed to mount local volume: mount /dev/null:");
    assert_eq!(host.ok(words("ps -aq")), "");
    let mount = "type=volume,src=own,dst=/v,volume-opt=type=tmpfs,volume-opt=device=tmpfs,volume-label=a=b";
    host.ok(["run", "--rm", "--mount", mount, &image, "true"]);
    let seen = host.ok(["volume", "inspect", "-f", "{{json .Options}} {{json .Labels}}", "own"]);
    assert_eq!(seen, r#"{"device":"tmpfs","type":"tmpfs"} {"a":"b"}"#);
}

#[test]
fn privileged_an_image_can_be_mounted() {
    let Some((host, image)) = machine() else { return };
    let second = hull_testkit::layer::Layer::build()
        .dir("extra", 0o755)
        .file("extra/file", 0o644, "of the second layer")
        .whiteout("bin/ls")
        .finish(hull_testkit::layer::Compression::Gzip);
    let Some(other) = host.provide("other", &Image::busybox().layer(second)) else {
        return;
    };
    let run = |mount: &str, script: &str| {
        let mount = format!("type=image,src={mount},dst=/i");
        host.hull(["run", "--rm", "--mount", &mount, &image, "sh", "-c", script])
    };
    assert_eq!(
        run(&other, "cat /i/extra/file; ls /i/bin/ls").fails(1).stdout,
        "of the second layer"
    );
    run(&other, "touch /i/x").fails(1).says("Read-only");
    assert_eq!(
        run(&format!("{other},image-subpath=extra"), "ls /i").ok().stdout,
        "file\n"
    );
    assert_eq!(
        run(&format!("{other},image-subpath=extra/file"), "cat /i").ok().stdout,
        "of the second layer"
    );
    // A single layer, too.
    run(&image, "ls /i/bin/busybox && ! touch /i/x").ok();
    run("no-such", "true").fails(125).says("No such image: no-such");
    run(&format!("{other},image-subpath=../x"), "true").fails(125);
    // It counts as in use.
    host.ok(words(&format!(
        "create --name cc --mount type=image,src={other},dst=/i {image} true"
    )));
    host.hull(["rmi", &other]).fails(1).says("must force");
    host.ok(["rm", "cc"]);
    host.ok(["rmi", &other]);
}

#[test]
fn privileged_sources_of_binds() {
    let Some((host, image)) = machine() else { return };
    let folder = host.path("made/by/hull");
    let path = folder.display().to_string();
    let mount = format!("type=bind,src={path},dst=/v");
    host.hull(["create", "--mount", &mount, &image, "true"])
        .fails(1)
        .says(&format!(
            "invalid mount config for type \"bind\": bind source path does not exist: {path}"
        ));
    host.ok([
        "run",
        "--rm",
        "--mount",
        &format!("{mount},bind-create-src"),
        &image,
        "true",
    ]);
    assert!(folder.is_dir());
    // As Docker does, -v makes it anew at each start.
    host.ok(["create", "--name", "cc", "-v", &format!("{path}:/v"), &image, "true"]);
    std::fs::remove_dir(&folder).unwrap();
    host.ok(["start", "-a", "cc"]);
    assert!(folder.is_dir());
}
