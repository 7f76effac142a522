//! Whose files are whose: `idmap` and `U`.

use std::os::unix::fs::{MetadataExt, chown};
use std::path::PathBuf;

use hull_testkit::host::User;
use hull_testkit::{Host, Image, require_root};

use crate::{HULL, machine, words};

/// A folder of user 1234 and group 5678 with a file of theirs and one of root's.
fn folder(host: &Host) -> PathBuf {
    let folder = host.path("source");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("own"), "").unwrap();
    std::fs::write(folder.join("root"), "").unwrap();
    for path in [folder.clone(), folder.join("own")] {
        chown(path, Some(1234), Some(5678)).unwrap();
    }
    folder
}

fn owner(path: PathBuf) -> (u32, u32) {
    let meta = std::fs::symlink_metadata(path).unwrap();
    (meta.uid(), meta.gid())
}

const LOOK: &str = "cd /s; stat -c %u:%g . own root; touch made; stat -c %u:%g made";

#[test]
fn privileged_owner_and_user_change_places() {
    let Some((host, image)) = machine() else { return };
    let source = folder(&host);
    let bind = format!("{}:/s:idmap", source.display());
    // moby 7198: what root in the container makes belongs to whom the folder belongs.
    let seen = host.ok(["run", "--rm", "-v", &bind, &image, "sh", "-c", LOOK]);
    assert_eq!(seen.lines().collect::<Vec<_>>(), ["0:0", "0:0", "1234:5678", "0:0"]);
    assert_eq!(owner(source.join("made")), (1234, 5678));
    assert_eq!(owner(source.join("root")), (0, 0), "nothing on disk is changed");
    std::fs::remove_file(source.join("made")).unwrap();
    // By name, as the image knows it; the host's user 1000 need not exist.
    let seen = host.ok(["run", "--rm", "-u", "app", "-v", &bind, &image, "sh", "-c", LOOK]);
    assert_eq!(
        seen.lines().collect::<Vec<_>>(),
        ["1000:1000", "1000:1000", "0:0", "1000:1000"]
    );
    assert_eq!(owner(source.join("made")), (1234, 5678));
    // Mounted twice, each in its way.
    let mount = format!("type=bind,src={},dst=/plain", source.display());
    let look = "stat -c %u:%g /s /plain";
    let seen = host.ok(["run", "--rm", "--mount", &mount, "-v", &bind, &image, "sh", "-c", look]);
    assert_eq!(seen.lines().collect::<Vec<_>>(), ["0:0", "1234:5678"]);
}

#[test]
fn privileged_a_map_can_be_given() {
    let Some((host, image)) = machine() else { return };
    let source = folder(&host);
    let run = |map: &str| {
        let mount = format!("type=bind,src={},dst=/s,idmap={map}", source.display());
        host.hull([
            "run", "--rm", "--mount", &mount, &image, "stat", "-c", "%u:%g", "/s", "/s/root",
        ])
    };
    assert_eq!(run("uids=1234-7-1;gids=5678-8-1").ok().stdout, "7:8\n65534:65534\n");
    assert_eq!(
        run("uids=@0-100-2000;gids=@5678-8-1").ok().stdout,
        "1334:8\n100:65534\n"
    );
    run("uids=1234-7-1").fails(125).says("both uids and gids are needed");
    run("uids=x;gids=y").fails(125).says("a range is three numbers");
    host.ok(["volume", "create", "vol"]);
    let look = ["stat", "-c", "%u:%g", "/s"];
    let seen = host.ok(["run", "--rm", "-u", "app", "-v", "vol:/s:idmap", &image]
        .into_iter()
        .chain(look));
    assert_eq!(seen, "1000:1000");
}

#[test]
fn privileged_a_file_system_without_idmaps_is_told() {
    let Some((host, image)) = machine() else { return };
    // sysfs has none.
    let mount = "type=bind,src=/sys/kernel,dst=/s,idmap=uids=0-1-1;gids=0-1-1";
    host.hull(["run", "--rm", "--mount", mount, &image, "true"])
        .fails(125)
        .says("does not support ID-mapped mounts on this kernel");
    host.hull(["run", "--rm", "--mount", "type=tmpfs,dst=/s,idmap", &image, "true"])
        .fails(125)
        .says("owners can be changed or mapped of binds and volumes only");
    let bind = format!("{}:/s:idmap,U", folder(&host).display());
    host.hull(["run", "--rm", "-v", &bind, &image, "true"])
        .fails(125)
        .says("not both");
}

#[test]
fn privileged_a_source_is_given_to_the_containers_user() {
    let Some((host, image)) = machine() else { return };
    let source = folder(&host);
    std::os::unix::fs::symlink("/etc/passwd", source.join("link")).unwrap();
    let before = owner("/etc/passwd".into());
    let bind = format!("{}:/s:U", source.display());
    host.ok([
        "create", "--name", "cc", "-u", "app", "-v", &bind, &image, "touch", "/s/made",
    ]);
    assert_eq!(owner(source.clone()), (1234, 5678), "not before it starts");
    host.ok(["start", "-a", "cc"]);
    for path in ["", "own", "root", "link", "made"] {
        assert_eq!(owner(source.join(path)), (1000, 1000), "{path}");
    }
    assert_eq!(owner("/etc/passwd".into()), before);
    host.hull(["run", "--rm", "-v", "/etc:/s:U", &image, "true"])
        .fails(125)
        .says("chowning host path \"/etc\" is not allowed");
    assert_eq!(owner("/etc".into()), (0, 0));
}

#[test]
fn privileged_a_normal_user_gains_nothing() {
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
    let run = |mounts: &[&str], script: &str| {
        let mut line = words("run --rm --network none");
        line.extend(mounts);
        line.extend([image.as_str(), "sh", "-c", script]);
        host.hull(line)
    };
    let secret = host.path("secret");
    std::fs::write(&secret, "SECRET").unwrap();
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let device = format!("device={}", secret.display());
    host.ok([
        "volume",
        "create",
        "-o",
        "type=none",
        "-o",
        "o=bind",
        "-o",
        &device,
        "vol",
    ]);
    assert!(!run(&["-v", "vol:/v:nocopy"], "cat /v").stdout.contains("SECRET"));
    // Neither the block device of the host nor its owners are in reach.
    host.ok(words("volume create -o type=ext4 -o device=/dev/vda disk"));
    run(&["-v", "disk:/v:nocopy"], "ls /v")
        .fails(125)
        .says("failed to mount local volume");
    run(&["-v", "/tmp:/v:idmap"], "true")
        .fails(125)
        .says("idmap needs hull to run as root");
    assert_eq!(
        run(&["-v", "mine:/v"], "touch /v/x; stat -c %u /v/x").ok().stdout,
        "0\n"
    );
    host.ok(words("volume rm mine vol disk"));
}
