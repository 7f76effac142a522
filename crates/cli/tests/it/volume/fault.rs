//! Full disks and kills.

use std::process::Command;
use std::time::Duration;

use hull_testkit::{Host, Image, require_root};

use super::{data, filled};
use crate::{HULL, machine, words};

/// Names in the folder of volumes.
fn entries(host: &Host) -> Vec<String> {
    let entries = std::fs::read_dir(host.data().join("volumes")).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn privileged_a_full_disk_leaves_no_half_volume() {
    if !require_root() {
        return;
    }
    let host = Host::new(HULL);
    let small = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=8m", "small"])
        .arg(host.data())
        .status();
    assert!(small.unwrap().success());
    let done = std::panic::catch_unwind(|| {
        let Some(image) = host.provide("busybox", &Image::busybox()) else {
            return;
        };
        host.ok(words("volume create kept"));
        let fill = host.data().join("fill");
        let full = std::fs::File::create(&fill).and_then(|mut file| std::io::copy(&mut std::io::repeat(0), &mut file));
        assert_eq!(full.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
        host.hull(words("volume create full"))
            .fails(1)
            .says("No space left on device");
        host.hull(words(&format!("create -v new:/bin {image} true")))
            .fails(1)
            .says("No space left on device");
        assert_eq!(entries(&host), ["kept"]);
        // What frees space works without any.
        host.ok(words("volume rm kept"));
        std::fs::remove_file(fill).unwrap();
        host.ok(words(&format!("create --name cc -v new:/bin {image} true")));
        assert!(data(&host, "new").join("busybox").exists());
        host.ok(words("rm cc"));
    });
    let gone = Command::new("umount").arg("-l").arg(host.data()).status();
    assert!(gone.unwrap().success());
    if let Err(panic) = done {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn privileged_killed_commands_leave_whole_volumes() {
    let Some((host, _)) = machine() else { return };
    let Some(image) = host.provide("filled", &filled()) else {
        return;
    };
    for round in 0..24_u64 {
        let name = format!("vol{round}");
        let mut child = host.spawn(["create", "-v", &format!("{name}:/data"), "-v", "/anon", &image, "true"]);
        // Somewhere in the few milliseconds that it takes: what is tested is that it does not matter where.
        std::thread::sleep(Duration::from_micros(round * 400));
        child.kill().unwrap();
        child.wait().unwrap();
        if round % 2 == 0 {
            continue;
        }
        // The next one makes it whole, whatever is there.
        host.ok(words(&format!("create -v {name}:/data {image} true")));
        let files = data(&host, &name);
        assert_eq!(
            std::fs::read_to_string(files.join("sub/file")).unwrap(),
            "content",
            "{name}"
        );
        assert!(
            files.join("link").is_symlink() && !files.with_file_name("copying").exists(),
            "{name}"
        );
    }
    for name in host.ok(words("volume ls -q")).lines() {
        host.ok(["volume", "inspect", name]);
        assert!(data(&host, name).is_dir(), "{name}");
    }
    // Nothing that nobody uses resists, and nothing is left.
    let ids = host.ok(words("ps -aq"));
    host.ok(["rm", "-v"].into_iter().chain(ids.lines()));
    host.ok(words("volume prune -af"));
    assert_eq!(entries(&host), [""; 0]);
}
