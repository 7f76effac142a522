//! One file that needs nothing else.

use std::path::Path;

use hull_testkit::{Run, elf};

use crate::{HULL, machine, words};

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

#[test]
fn privileged_hello_tells_what_is_so() {
    let Some((host, _)) = machine() else { return };
    // Not every machine that the tests run on has all capabilities to give.
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let bounding = status.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap();
    let all = u64::from_str_radix(bounding.trim(), 16).unwrap().count_ones();
    let all = format!("privileges  {all} of ");
    for (flags, facts) in [
        (
            "--network none",
            vec!["PID 1, user 0", "none but the loopback", "a seccomp filter"],
        ),
        ("--network none --init", vec!["PID 2, user 0"]),
        ("--network none --read-only", vec!["mounted read-only"]),
        ("--network none --user 7:8", vec!["user 7, group 8", " 0 of "]),
        (
            "--network none --security-opt seccomp=unconfined --hostname there",
            vec!["no seccomp filter", "there"],
        ),
        ("--network none --privileged", vec![all.as_str()]),
        ("", vec!["eth0 has ", "gateway"]),
        (
            "--network none -m 64m --pids-limit 50",
            vec!["at most 64MiB of memory", "at most 50 tasks"],
        ),
    ] {
        let said = host.ok(words(&format!("run --rm {flags} hello")));
        for fact in facts {
            assert!(said.contains(fact), "{flags}: {fact} in {said}");
        }
        assert!(said.contains("2 layers below a writable one"), "{said}");
    }
    host.hull(["run", "--rm", "--network", "none", "hello", "bash"])
        .fails(1)
        .says("takes no arguments");
    host.ok(["rmi", "hello"]);
    host.hull(words("run --rm --network none --pull never hello"))
        .fails(125);
}

#[test]
fn privileged_hello_without_root() {
    if !hull_testkit::require_root() {
        return;
    }
    for subordinate in [true, false] {
        let user = hull_testkit::host::User { id: 12345, subordinate };
        let host = hull_testkit::Host::rootless(HULL, user);
        let said = host.ok(["run", "--rm", "--network", "none", "hello"]);
        assert!(said.contains("PID 1, user 0, group 0 (user 12345 outside)"), "{said}");
    }
}
