//! What a bundle's process may and may not do.

use std::os::unix::process::CommandExt;
use std::process::Command;

use hull_testkit::Run;
use serde_json::{Value, json};

use crate::bench::{Bench, unique};

/// Runs a script in a bundle and returns its output.
fn output(bench: &Bench, name: &str, script: &str, edit: impl FnOnce(&mut Value)) -> String {
    let bundle = bench.bundle(name, script, edit);
    bench.run_bundle(&bundle, &unique(name)).ok().stdout
}

#[test]
fn privileged_identity_and_privileges() {
    let Some(bench) = Bench::new() else { return };
    let script = "id -u; id -g; grep -E '^(CapBnd|CapEff|NoNewPrivs|Groups|Umask)' /proc/self/status; pwd; echo $HOME";
    let out = output(&bench, "id", script, |spec| {
        spec["process"]["user"] = json!({ "uid": 1000, "gid": 50, "additionalGids": [7, 8], "umask": 0o77 });
        spec["process"]["cwd"] = json!("/made/here");
    });
    let words: Vec<&str> = out.split_whitespace().collect();
    let expected =
        "1000 50 Umask: 0077 Groups: 7 8 CapEff: 0000000000000000 CapBnd: 0000000020000420 NoNewPrivs: 1 /made/here /";
    assert_eq!(words.join(" "), expected);
}

#[test]
fn privileged_seccomp_of_the_config_counts() {
    let Some(bench) = Bench::new() else { return };
    let out = output(
        &bench,
        "seccomp",
        "mkdir /new 2>&1; grep Seccomp: /proc/self/status",
        |spec| {
            spec["linux"]["seccomp"] = json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{ "names": ["mkdir", "mkdirat", "unknown_call"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28 }],
            });
        },
    );
    assert!(out.contains("No space left on device"), "{out}");
    assert!(out.contains("Seccomp:\t2"), "{out}");
}

#[test]
fn privileged_paths_are_masked_and_read_only() {
    let Some(bench) = Bench::new() else { return };
    let script = "cat /proc/keys; ls /proc/acpi; echo x 2>/dev/null > /proc/sys/kernel/hostname || echo refused; \
                  touch /new 2>/dev/null || echo read-only; cat /proc/sys/net/ipv4/ip_unprivileged_port_start; readlink /dev/ptmx";
    let out = output(&bench, "masked", script, |spec| {
        spec["root"]["readonly"] = true.into();
        spec["linux"]["sysctl"] = json!({ "net.ipv4.ip_unprivileged_port_start": "77" });
    });
    assert_eq!(out, "refused\nread-only\n77\npts/ptmx\n");
}

#[test]
fn privileged_mounts_and_devices_of_the_config() {
    let Some(bench) = Bench::new() else { return };
    std::fs::create_dir(bench.path("host")).unwrap();
    std::fs::write(bench.path("host/file"), "from the host\n").unwrap();
    let script =
        "cat /a/b/file; touch /a/b/new 2>/dev/null || echo read-only; ls -l /dev/extra; grep ' /t ' /proc/mounts";
    let out = output(&bench, "mounts", script, |spec| {
        let mounts = spec["mounts"].as_array_mut().unwrap();
        let source = bench.path("host");
        mounts.push(json!({ "destination": "/a/b", "type": "bind", "source": source, "options": ["rbind", "ro"] }));
        mounts.push(json!({ "destination": "/t", "type": "tmpfs", "source": "t", "options": ["noexec", "size=1m"] }));
        spec["linux"]["devices"] = json!([{ "path": "/dev/extra", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 5, "gid": 6 }]);
    });
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(&lines[..2], ["from the host", "read-only"]);
    assert!(
        lines[2].starts_with("crw-r-----") && lines[2].contains("1,   3"),
        "{}",
        lines[2]
    );
    assert!(
        lines[3].contains("noexec") && lines[3].contains("size=1024k"),
        "{}",
        lines[3]
    );
}

#[test]
fn privileged_a_user_namespace_of_its_own() {
    let Some(bench) = Bench::new() else { return };
    let out = output(
        &bench,
        "user",
        "id -u; cat /proc/self/uid_map; ls -l /dev/null",
        |spec| {
            spec["linux"]["namespaces"]
                .as_array_mut()
                .unwrap()
                .push(json!({ "type": "user" }));
            let map = json!([{ "containerID": 0, "hostID": 0, "size": 65536 }]);
            spec["linux"]["uidMappings"] = map.clone();
            spec["linux"]["gidMappings"] = map;
        },
    );
    let words: Vec<&str> = out.split_whitespace().collect();
    assert_eq!(&words[..4], ["0", "0", "0", "65536"]);
    assert!(words[4].starts_with("crw"), "{out}");
}

#[test]
fn privileged_only_the_descriptors_asked_for_are_kept() {
    let Some(bench) = Bench::new() else { return };
    let bundle = bench.bundle("fds", "cat <&3; ls /proc/self/fd", |_| ());
    std::fs::write(bench.path("kept"), "kept\n").unwrap();
    let run = |preserve: &str, id: &str| {
        let command = bench.command(&[
            "run",
            "--bundle",
            bundle.to_str().unwrap(),
            "--preserve-fds",
            preserve,
            id,
        ]);
        let mut shell = Command::new("/bin/sh");
        shell
            .arg0("sh")
            .args(["-c", "exec \"$@\" 3<\"$0\" 4</ 7</"])
            .arg(bench.path("kept"));
        shell
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(std::process::Stdio::null());
        Run::of(&mut shell)
    };
    // `ls` has its own descriptor at the first free number.
    assert_eq!(run("1", &unique("fd1")).ok().stdout, "kept\n0\n1\n2\n3\n4\n");
    assert_eq!(run("2", &unique("fd2")).ok().stdout, "kept\n0\n1\n2\n3\n4\n5\n");
    // The tests' own runner may leave some more open, but not so many.
    run("500", &unique("fd3")).fails(1).says("is not open");
}

#[test]
fn privileged_a_user_without_privileges_runs_a_bundle() {
    let Some(bench) = Bench::new() else { return };
    let Some(unshare) = hull_testkit::require_program("unshare") else {
        return;
    };
    let id = unique("rootless");
    let bundle = bench.bundle("b", "id -u; cat /proc/self/uid_map; exit 6", |spec| {
        spec["linux"].as_object_mut().unwrap().remove("resources");
        for mount in spec["mounts"].as_array_mut().unwrap() {
            mount["options"]
                .as_array_mut()
                .unwrap()
                .retain(|option| option != "gid=5");
        }
    });
    let user = 54321;
    // Its files are the user's, and what is above them can be passed through.
    for path in [bench.path(""), bundle.clone(), bundle.join("rootfs")] {
        std::os::unix::fs::chown(&path, Some(user), Some(user)).unwrap();
    }
    let state = bench.path("own-state");
    let program = bench.path("hull-runtime");
    std::fs::copy(bench.command(&[]).get_program(), &program).unwrap();
    let run = |wrapped: bool| {
        let mut command = if wrapped {
            Command::new(&unshare)
        } else {
            Command::new(&program)
        };
        if wrapped {
            command.args(["-Ur", program.to_str().unwrap()]);
        }
        command
            .arg("--root")
            .arg(&state)
            .args(["run", "--bundle", bundle.to_str().unwrap(), &id]);
        Run::of(command.uid(user).gid(user).stdin(std::process::Stdio::null()))
    };
    let words = run(true).fails(6).stdout;
    assert_eq!(words.split_whitespace().collect::<Vec<_>>(), ["0", "0", "54321", "1"]);
    run(false).fails(1).says("unshare -Ur");
}
