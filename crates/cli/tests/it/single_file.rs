//! One file that needs nothing else.

use std::path::Path;

use hull_testkit::{Run, elf};

use crate::{HULL, machine};

#[test]
fn the_binary_is_a_static_pie() {
    let elf = elf::read(Path::new(HULL)).unwrap().unwrap();
    assert_eq!(
        elf,
        elf::Elf {
            interpreter: None,
            position_independent: true
        }
    );
}

#[test]
fn privileged_runs_where_there_is_only_busybox() {
    let Some((host, image)) = machine() else { return };
    let root = host.path("root");
    for folder in ["bin", "proc", "sys", "dev", "tmp", "data", "run"] {
        std::fs::create_dir_all(root.join(folder)).unwrap();
    }
    std::fs::copy(hull_testkit::image::busybox_path(), root.join("bin/busybox")).unwrap();
    std::os::unix::fs::symlink("busybox", root.join("bin/sh")).unwrap();
    std::fs::copy(host.binary(), root.join("bin/hull")).unwrap();
    let script = format!(
        "mount --rbind {root} {root} && cd {root} && mount --rbind /sys sys && mount -t proc proc proc && mount --rbind /dev dev && \
         mount --bind {data} data && \
         exec chroot . /bin/sh -c '/bin/hull version >/dev/null && /bin/hull run --rm --network none {image} id -u'",
        root = root.display(),
        data = host.data().display()
    );
    let mut command = host.command("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", &script]);
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HULL_ROOT", "/data")
        .env("HULL_RUN_ROOT", "/run");
    assert_eq!(Run::of(&mut command).ok().stdout, "0\n");
}

#[test]
fn privileged_answers_to_the_name_docker() {
    let Some((host, image)) = machine() else { return };
    let link = host.path("docker");
    std::os::unix::fs::symlink(host.binary(), &link).unwrap();
    let mut command = host.command(&link);
    assert_eq!(
        Run::of(command.args(["run", "--rm", "--network", "none", &image, "echo", "hi"]))
            .ok()
            .stdout,
        "hi\n"
    );
}

#[test]
fn privileged_hello_needs_no_network() {
    let Some((host, _)) = machine() else { return };
    let said = host.ok(["run", "--rm", "--network", "none", "hello"]);
    for word in ["namespaces", "cgroup"] {
        assert!(said.contains(word), "{word} in {said}");
    }
}
