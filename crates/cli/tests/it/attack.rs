//! What hostile images and containers have done to other engines. Each attack either fails loudly or changes nothing.

use std::path::PathBuf;

use hull_testkit::{Host, Image, Layer, Run, require_root, until};

use crate::{HULL, machine, shell, words};

/// A host whose binary is a copy that an attack may try to overwrite, with its path.
fn expendable() -> Option<(Host, PathBuf, tempfile::TempDir)> {
    if !require_root() {
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("hull");
    std::fs::copy(
        std::env::var_os("HULL_BIN").map_or_else(|| HULL.into(), PathBuf::from),
        &copy,
    )
    .unwrap();
    Some((Host::new(&copy), copy, folder))
}

/// `hull ARGS` with the expendable copy, also where `HULL_BIN` names the binary under test.
fn hull(host: &Host, binary: &std::path::Path, args: &[&str]) -> Run {
    Run::of(host.command(binary).args(args).stdin(std::process::Stdio::null()))
}

/// The container opens the runtime's own file through /proc while it is being entered, and writes to it when it has gone.
#[test]
fn privileged_cve_2019_5736_the_binary_is_not_overwritten() {
    let Some((host, binary, _folder)) = expendable() else {
        return;
    };
    let grab = "echo armed > /tmp/armed; while :; do for p in /proc/[0-9]*; do \
                [ $p = /proc/1 ] || ( exec 3<$p/exe; echo opened >> /tmp/opened; \
                for i in 1 2 3 4 5; do echo pwned > /proc/self/fd/3; done ) 2>/dev/null; done; done";
    let layer = Layer::build()
        .file("grab", 0o755, format!("#!/bin/sh\n{grab}\n"))
        .file("again", 0o755, "#!/proc/self/exe\n")
        .symlink("self", "/proc/self/exe")
        .gzip();
    let Some(image) = host.provide("evil", &Image::busybox().layer(layer)) else {
        return;
    };
    let original = std::fs::read(&binary).unwrap();
    // A container whose program is whatever enters it. It may run for ever, as any program may, but on its own.
    for entry in ["/proc/self/exe", "/self", "/again"] {
        let run = hull(
            &host,
            &binary,
            &[
                "run",
                "-d",
                "--name",
                "entered",
                "--entrypoint",
                entry,
                &image,
                "version",
            ],
        );
        assert!(std::fs::read(&binary).unwrap() == original, "{entry}: {run:?}");
        let _ = hull(&host, &binary, &["rm", "-f", "entered"]).ok();
    }
    let _ = hull(&host, &binary, &["run", "-d", "--name", "cc", &image, "/grab"]).ok();
    until("the attack", || {
        hull(&host, &binary, &["exec", "cc", "test", "-e", "/tmp/armed"])
            .status
            .success()
            .then_some(())
    });
    for _ in 0..20 {
        for program in ["true", "/self", "/again"] {
            let _ = hull(&host, &binary, &["exec", "-d", "cc", program]);
        }
    }
    assert!(
        std::fs::read(&binary).unwrap() == original,
        "the binary was overwritten from a container"
    );
}

/// A descriptor of the host as the working directory leads out of the container.
#[test]
fn privileged_cve_2024_21626_no_descriptor_is_a_way_out() {
    let Some((host, image)) = machine() else { return };
    let secret = host.path("secret");
    std::fs::write(&secret, "the secret of the host").unwrap();
    let up = "../".repeat(12);
    let script = format!(
        "cat {up}{} 2>/dev/null; true",
        secret.strip_prefix("/").unwrap().display()
    );
    host.ok(["run", "-d", "--name", "cc", &image, "sleep", "1000"]);
    for fd in 0..24 {
        let folder = format!("/proc/self/fd/{fd}");
        let run = host.hull(shell(&format!("run --rm --network none -w {folder} {image}"), &script));
        assert!(!run.stdout.contains("secret of the host"), "run in {folder}: {run:?}");
        let run = host.hull(shell(&format!("exec -w {folder} cc"), &script));
        assert!(!run.stdout.contains("secret of the host"), "exec in {folder}: {run:?}");
    }
    // The same from the image's config, and through a link.
    let linked = Image::busybox().layer(Layer::build().symlink("out", "/proc/self/fd/7").gzip());
    let linked = linked.set("WorkingDir", serde_json::json!("/out"));
    let Some(reference) = host.provide("linked", &linked) else {
        return;
    };
    let run = host.hull(shell(&format!("run --rm --network none {reference}"), &script));
    assert!(!run.stdout.contains("secret of the host"), "{run:?}");
}

/// Layers with a link in each place where the runtime mounts or writes; `out` leads to a folder of the host.
fn linked(out: &str) -> Vec<(&'static str, Layer)> {
    let file = format!("{out}/file");
    let base = || {
        Layer::build()
            .dir("fake", 0o755)
            .dir("fake/sys", 0o755)
            .dir("fake/self", 0o755)
    };
    vec![
        (
            "proc is a link into the image",
            base().whiteout("proc").symlink("proc", "/fake").gzip(),
        ),
        (
            "proc is a link to the host",
            base().whiteout("proc").symlink("proc", out).gzip(),
        ),
        (
            "sys is a link to proc",
            base().whiteout("sys").symlink("sys", "/proc").gzip(),
        ),
        (
            "dev is a link to the host",
            base().whiteout("dev").symlink("dev", out).gzip(),
        ),
        (
            "dev is a link to proc",
            base().whiteout("dev").symlink("dev", "/proc/self").gzip(),
        ),
        (
            "dev/null is a link",
            base().symlink("dev/null", "/proc/sys/kernel/core_pattern").gzip(),
        ),
        (
            "dev/console is a link",
            base().symlink("dev/console", "/proc/sys/kernel/core_pattern").gzip(),
        ),
        ("dev/pts is a link", base().symlink("dev/pts", out).gzip()),
        ("dev/shm is a link", base().symlink("dev/shm", "/proc").gzip()),
        (
            "hosts is a link to proc",
            base().symlink("etc/hosts", "/proc/sys/kernel/core_pattern").gzip(),
        ),
        (
            "resolv.conf is a link to the host",
            base().symlink("etc/resolv.conf", &file).gzip(),
        ),
        (
            "etc is a link to proc",
            base().whiteout("etc").symlink("etc", "/proc/self/attr").gzip(),
        ),
        (
            "the volume's target is a link to proc",
            base().symlink("mnt", "/proc").gzip(),
        ),
        (
            "the volume's target is a link to the host",
            base().symlink("mnt", out).gzip(),
        ),
    ]
}

/// The image has links where the runtime mounts and writes (CVE-2025-31133, CVE-2025-52565, CVE-2025-52881, and before them
/// CVE-2019-19921, CVE-2023-28642).
#[test]
fn privileged_cve_2025_links_where_the_runtime_mounts() {
    let Some((host, _)) = machine() else { return };
    let canary = host.path("canary");
    std::fs::create_dir(&canary).unwrap();
    std::fs::write(canary.join("file"), "untouched").unwrap();
    let out = format!("{}{}", "../".repeat(12), canary.strip_prefix("/").unwrap().display());
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    let probe = "ls -ld /proc /dev /etc /sys /fake; echo pwned > /proc/sys/kernel/core_pattern; echo pwned > /dev/null; echo pwned > /dev/console; \
                 echo FS=$(stat -f -c %T /proc); echo KCORE=$(head -c 1 /proc/kcore | wc -c)";
    for (n, (what, layer)) in linked(&out).into_iter().enumerate() {
        let image = Image::busybox().layer(layer);
        let Some(reference) = host.provide(&format!("attack{n}"), &image) else {
            return;
        };
        let volume = format!("{}:/mnt", host.path("home").display());
        for tty in ["", "-t"] {
            let mut line = words("run --rm --sysctl net.ipv4.ip_default_ttl=65 -v");
            line.push(&volume);
            line.extend(words(tty));
            line.extend([reference.as_str(), "sh", "-c", probe]);
            let run = host.hull(line);
            if run.code() != 125 {
                assert!(
                    run.stdout.contains("FS=proc"),
                    "{what}: /proc is not the kernel's: {run:?}"
                );
                assert!(
                    run.stdout.contains("KCORE=0"),
                    "{what}: /proc/kcore is not masked: {run:?}"
                );
            }
            let now = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
            assert_eq!(now, pattern, "{what}: the host's core_pattern was written");
            let seen: Vec<_> = std::fs::read_dir(&canary)
                .unwrap()
                .map(|e| e.unwrap().file_name())
                .collect();
            assert_eq!(
                (
                    seen.len(),
                    std::fs::read_to_string(canary.join("file")).unwrap().as_str()
                ),
                (1, "untouched"),
                "{what}"
            );
        }
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(
        !mounts.contains(canary.to_str().unwrap()),
        "something is mounted over the host's canary"
    );
}

/// One container swaps a folder for a link, over and over, where the next one's volume is mounted (CVE-2021-30465).
#[test]
fn privileged_cve_2021_30465_a_swapped_mount_target() {
    let Some((host, image)) = machine() else { return };
    let (shared, payload) = (host.path("shared"), host.path("payload"));
    std::fs::create_dir_all(shared.join("a")).unwrap();
    std::fs::create_dir_all(&payload).unwrap();
    let shared = format!("{}:/mnt", shared.display());
    let payload = format!("{}:/mnt/a/b", payload.display());
    let swap = "while :; do rm -rf /mnt/a; mkdir -p /mnt/a/b; rm -rf /mnt/a; ln -s / /mnt/a; rm -f /mnt/a; ln -s /proc /mnt/a; done";
    host.ok([
        "run",
        "-d",
        "--name",
        "swapper",
        "--network",
        "none",
        "-v",
        &shared,
        &image,
        "sh",
        "-c",
        swap,
    ]);
    let before = std::fs::read_to_string("/proc/self/mountinfo").unwrap().lines().count();
    let mut outcomes = [0, 0];
    for _ in 0..40 {
        let run = host.hull(shell(
            &format!("run --rm --network none -v {shared} -v {payload} {image}"),
            "echo FS=$(stat -f -c %T /proc); grep -c ' /proc/b ' /proc/self/mountinfo",
        ));
        if run.code() == 125 || run.code() == 127 {
            outcomes[0] += 1;
        } else {
            outcomes[1] += 1;
            assert_eq!(run.stdout, "FS=proc\n0\n", "{run:?}");
        }
    }
    assert_eq!(outcomes.iter().sum::<i32>(), 40);
    let after = std::fs::read_to_string("/proc/self/mountinfo").unwrap().lines().count();
    assert!(
        after <= before + 1,
        "mounts came up on the host: {before}, then {after}"
    );
}

/// Nothing of the host's own is open in a container, and nothing of hull's is left in its environment.
#[test]
fn privileged_nothing_leaks_into_the_process() {
    let Some((host, image)) = machine() else { return };
    let script = "ls -l /proc/1/fd | grep -c ' -> '; env | grep -ci hull; cat /proc/1/environ | tr '\\0' '\\n' | grep -ci hull; true";
    host.ok(["run", "-d", "--name", "cc", &image, "sleep", "1000"]);
    assert_eq!(host.ok(shell("exec cc", script)), "3\n0\n0");
    let mut command = host.command("sh");
    let hull = format!(
        "exec 7</etc/shadow 8</root; exec {} run --rm --network none {image} ls /proc/self/fd",
        host.binary().display()
    );
    let run = Run::of(command.args(["-c", &hull])).ok();
    assert_eq!(
        run.stdout.split_whitespace().collect::<Vec<_>>(),
        ["0", "1", "2", "3"],
        "the caller's descriptors are closed"
    );
}
