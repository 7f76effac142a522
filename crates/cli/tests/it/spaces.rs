//! Namespaces of a container's own, the host's and others', and what `--init` does.

use std::os::unix::fs::MetadataExt;

use crate::{machine, shell, words};

#[test]
fn privileged_a_user_namespace_maps_everything_and_copies_nothing() {
    let Some((host, image)) = machine() else { return };
    let script = "touch /x /vol/y && chown 5:6 /x && chown 7 /vol/y && stat -c '%u:%g %n' / /bin/busybox /x /vol /vol/y \
                  /etc/hosts && echo to-stdout > /dev/stdout && cat /proc/self/uid_map";
    let run = format!("run --name mapped --userns auto -v kept:/vol {image}");
    let seen = host.ok(shell(&run, script));
    let seen: Vec<&str> = seen.lines().collect();
    assert_eq!(
        seen[..7],
        [
            "0:0 /",
            "0:0 /bin/busybox",
            "5:6 /x",
            "0:0 /vol",
            "7:0 /vol/y",
            "0:0 /etc/hosts",
            "to-stdout"
        ]
    );
    let map: Vec<u64> = seen[7].split_whitespace().map(|n| n.parse().unwrap()).collect();
    assert_eq!((map[0], map[2]), (0, 65536));
    assert!(map[1] >= 65536, "no ID of the host's: {map:?}");
    // On disk the owners are those of the image's world, so that the range can be given to another container.
    let id = host.ok(["inspect", "-f", "{{.Id}}", "mapped"]);
    let upper = host.data().join("containers").join(&id).join("upper");
    let owner = |path: std::path::PathBuf| std::fs::symlink_metadata(path).map(|m| (m.uid(), m.gid())).unwrap();
    assert_eq!(owner(upper.join("x")), (5, 6));
    assert_eq!(owner(host.data().join("volumes/kept/_data/y")), (7, 0));
    assert!(!upper.join("bin").exists(), "nothing was copied up");
    host.ok(["rm", "mapped"]);
}

#[test]
fn privileged_ranges_are_never_shared_and_come_back() {
    let Some((host, image)) = machine() else { return };
    host.ok(words(&format!(
        "run --rm --network none --userns auto:size=4096 {image} true"
    )));
    let before = host.traces();
    let run = format!("run -d --network none --userns auto:size=4096 {image} sleep 1000");
    let children: Vec<_> = (0..6).map(|_| host.spawn(words(&run))).collect();
    for child in children {
        assert!(child.wait_with_output().unwrap().status.success());
    }
    let ids = host.ok(["ps", "-q"]);
    let ids: Vec<&str> = ids.lines().collect();
    assert_eq!(ids.len(), 6);
    let start = |id: &str| -> u64 {
        let map = host.ok(["exec", id, "cat", "/proc/self/uid_map"]);
        map.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let mut starts: Vec<u64> = ids.iter().map(|id| start(id)).collect();
    let lowest = *starts.iter().min().unwrap();
    starts.sort_unstable();
    assert!(starts.windows(2).all(|pair| pair[1] - pair[0] >= 4096), "{starts:?}");
    // A container keeps its range over a restart, and gives it back when it is removed.
    let own = start(ids[0]);
    host.ok(["stop", "-t", "0", ids[0]]);
    host.ok(["start", ids[0]]);
    assert_eq!(start(ids[0]), own);
    let mut remove = vec!["rm", "-f"];
    remove.extend(&ids);
    host.ok(remove);
    let run = format!("run --rm --network none --userns auto:size=4096 {image} cat /proc/self/uid_map");
    let map = host.ok(words(&run));
    assert_eq!(map.split_whitespace().nth(1), Some(lowest.to_string().as_str()));
    host.assert_clean(&before);
}

#[test]
fn privileged_what_a_user_namespace_does_not_go_with_is_refused() {
    let Some((host, image)) = machine() else { return };
    for (flags, says) in [
        ("--userns foo", "--userns: invalid USER mode"),
        ("--userns keep-id", "keep-id is only supported in rootless mode"),
        (
            "--userns auto --privileged",
            "privileged mode is incompatible with user namespaces",
        ),
        (
            "--userns auto --network host",
            "cannot share the host's network namespace",
        ),
        ("--userns auto --pid host", "cannot share the host PID namespace"),
        ("--userns auto:size=4000000000", "invalid option of --userns"),
        ("--userns auto:size=2147483647", "not enough unused IDs"),
        (
            "--uts host --hostname x",
            "conflicting options: hostname and the UTS mode",
        ),
        ("--ipc container:nobody", "No such container: nobody"),
        ("--pid container:nobody", "No such container: nobody"),
    ] {
        host.hull(words(&format!("run --rm {flags} {image} true")))
            .fails(125)
            .says(says);
    }
    assert_eq!(host.ok(["ps", "-aq"]), "");
}

#[test]
fn privileged_another_containers_namespaces_are_joined() {
    let Some((host, image)) = machine() else { return };
    host.ok(words(&format!(
        "run -d --name donor --ipc shareable -h given {image} sleep 1000"
    )));
    host.ok(words(&format!("run -d --name closed {image} sleep 1000")));
    let script = "echo shared > /dev/shm/x; readlink /proc/self/ns/ipc";
    let ipc = host.ok(shell(&format!("run --rm --ipc container:donor {image}"), script));
    assert_eq!(
        host.ok(shell("exec donor", "cat /dev/shm/x; readlink /proc/self/ns/ipc")),
        format!("shared\n{ipc}")
    );
    host.hull(words(&format!("run --rm --ipc container:closed {image} true")))
        .fails(125)
        .says("non-shareable IPC (hint: use IpcMode:shareable for the donor container)");
    assert_eq!(
        host.ok(words(&format!("run --rm --network container:donor {image} hostname"))),
        "given"
    );
    let seen = host.ok(words(&format!("run --rm --pid container:donor {image} ps")));
    assert!(seen.contains("sleep 1000"), "{seen}");
    for (flags, says) in [
        ("-h x", "conflicting options: hostname and the network mode"),
        ("--dns 1.1.1.1", "conflicting options: dns and the network mode"),
        (
            "--add-host a:1.1.1.1",
            "conflicting options: custom host-to-IP mapping and the network mode",
        ),
        (
            "-p 80",
            "conflicting options: port publishing and the container type network mode",
        ),
        (
            "--expose 80",
            "conflicting options: port exposing and the container type network mode",
        ),
    ] {
        let run = format!("run --rm --network container:donor {flags} {image} true");
        host.hull(words(&run)).fails(125).says(says);
    }
    host.ok(["rm", "-f", "donor", "closed"]);
}

#[test]
fn privileged_init_reaps_a_thousand_orphans_and_passes_signals_on() {
    let Some((host, image)) = machine() else { return };
    let script = "trap 'echo got; exit 7' TERM; i=0; while [ $i -lt 1000 ]; do (true &); i=$((i+1)); done; \
                  echo made; while :; do sleep 0.1; done";
    host.ok(shell(
        &format!("run -d --name many --init --network none {image}"),
        script,
    ));
    hull_testkit::wait::until("the orphans are made", || {
        host.ok(["logs", "many"]).contains("made").then_some(())
    });
    let count = || {
        host.ok(shell(
            "exec many",
            "cat /proc/[0-9]*/stat 2>/dev/null | grep -c ') Z '; true",
        ))
    };
    hull_testkit::wait::until("the orphans are reaped", || (count() == "0").then_some(()));
    host.ok(["stop", "many"]);
    assert_eq!(host.ok(["inspect", "-f", "{{.State.ExitCode}}", "many"]), "7");
    assert!(host.ok(["logs", "many"]).ends_with("got"));
    host.ok(["rm", "many"]);
    // Without it, and with a signal of its own to stop it.
    let script = "trap 'exit 9' USR1; while :; do sleep 0.1; done";
    host.ok(shell(
        &format!("run -d --name own --stop-signal USR1 --network none {image}"),
        script,
    ));
    host.ok(["stop", "own"]);
    assert_eq!(host.ok(["inspect", "-f", "{{.State.ExitCode}}", "own"]), "9");
    host.ok(["rm", "own"]);
}

#[test]
fn privileged_devices_come_by_their_cdi_names() {
    let Some((host, image)) = machine() else { return };
    let folder = host.path("cdi");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(host.path("extra"), "mounted").unwrap();
    std::fs::write(host.path("config.toml"), format!("[cdi]\nspec-dirs = [{folder:?}]\n")).unwrap();
    std::fs::write(
        folder.join("vendor.yaml"),
        format!(
            "cdiVersion: \"0.7.0\"\nkind: vendor.com/class\ncontainerEdits:\n  env: [COMMON=1]\ndevices:\n\
             - name: one\n  containerEdits:\n    env: [ONE=yes]\n    additionalGids: [4321]\n    deviceNodes:\n    \
             - path: /dev/mine\n      hostPath: /dev/zero\n      permissions: rw\n    mounts:\n    - hostPath: {}\n      \
             containerPath: /extra\n      options: [ro, nosuid, bind]\n- name: hooked\n  containerEdits:\n    hooks:\n    \
             - hookName: createContainer\n      path: /bin/true\n",
            host.path("extra").display()
        ),
    )
    .unwrap();
    std::fs::write(
        folder.join("gpu.json"),
        r#"{"cdiVersion": "0.5.0", "kind": "nvidia.com/gpu", "devices": [
            {"name": "0", "containerEdits": {"env": ["GPU=0"]}}, {"name": "all", "containerEdits": {"env": ["GPU=all"]}}]}"#,
    )
    .unwrap();
    let config = host.path("config.toml").display().to_string();
    let hull = |line: &str, script: &str| {
        let mut all = vec!["--config-file", &config];
        all.extend(shell(line, script));
        host.hull(all)
    };
    let run = format!("run --rm --device vendor.com/class=one {image}");
    let seen = hull(
        &run,
        "echo $COMMON $ONE; head -c 3 /dev/mine | wc -c; cat /extra; touch /extra; id -G",
    )
    .stdout;
    assert_eq!(seen, "1 yes\n3\nmounted0 4321\n");
    for (flags, says) in [
        (
            "--device vendor.com/class=two --device a.b/c=d",
            "CDI device injection failed: unresolvable CDI devices vendor.com/class=two, a.b/c=d",
        ),
        ("--device vendor.com/class=hooked", "createContainer"),
        (
            "--gpus driver=amd",
            "could not select device driver \"amd\" with capabilities: [[gpu]]",
        ),
        ("--gpus device=9", "unresolvable CDI devices nvidia.com/gpu=9"),
        (
            "--gpus x",
            "invalid count (x): value must be either \"all\" or an integer",
        ),
    ] {
        hull(&format!("run --rm {flags} {image}"), "true").fails(125).says(says);
    }
    for (flags, expected) in [("all", "all"), ("1", "0"), ("device=0", "0")] {
        assert_eq!(
            hull(&format!("run --rm --gpus {flags} {image}"), "echo $GPU").stdout,
            format!("{expected}\n")
        );
    }
    // A host without any says so in Docker's words.
    host.hull(words(&format!("run --rm --gpus all {image} true")))
        .fails(125)
        .says("could not select device driver \"\" with capabilities: [[gpu]]");
    let info = host.hull(["--config-file", &config, "info"]).stdout;
    assert!(
        info.contains("cdi: nvidia.com/gpu=all\n  cdi: vendor.com/class=hooked"),
        "{info}"
    );
}

#[test]
fn privileged_without_root_the_callers_id_is_kept() {
    if !hull_testkit::require_root() {
        return;
    }
    let user = hull_testkit::host::User {
        id: 12347,
        subordinate: true,
    };
    let host = hull_testkit::Host::rootless(crate::HULL, user);
    let Some(image) = host.provide("busybox", &hull_testkit::Image::busybox()) else {
        return;
    };
    let run = |flags: &str, script: &str| host.ok(shell(&format!("run --rm --network none {flags} {image}"), script));
    let script =
        "id -u; id -g; stat -c '%u:%g' /bin/busybox / /tmp; touch /tmp/x; stat -c %u /tmp/x; cat /etc/hostname | wc -l";
    assert_eq!(run("--userns keep-id", script), "12347\n12347\n0:0\n0:0\n0:0\n12347\n1");
    assert_eq!(
        run("--userns keep-id -u 0", "touch /x; stat -c %u /x /etc/hosts"),
        "0\n0"
    );
    assert_eq!(
        run("--userns keep-id:uid=5,gid=6", "id -u; id -g; stat -c %u /bin/busybox"),
        "5\n6\n0"
    );
    assert_eq!(
        run("--userns keep-id:uid=0,gid=0", "id -u; stat -c %u /bin/busybox"),
        "0\n0"
    );
    let nomap = run(
        "--userns nomap",
        "id -u; cat /proc/self/uid_map; stat -c %u /bin/busybox",
    );
    assert!(nomap.starts_with("0\n") && nomap.ends_with("\n0"), "{nomap}");
    // What the user has outside is his inside, and what he makes there is his outside.
    let shared = host.path("home/shared");
    std::fs::create_dir(&shared).unwrap();
    std::os::unix::fs::chown(&shared, Some(12347), Some(12347)).unwrap();
    let bind = format!("-v {}:/shared --userns keep-id", shared.display());
    assert_eq!(run(&bind, "stat -c %u:%g /shared; touch /shared/made"), "12347:12347");
    let made = std::fs::metadata(shared.join("made")).unwrap();
    assert_eq!((made.uid(), made.gid()), (12347, 12347));
    // Others of his containers are in his own namespace all the same, and one command acts on all of them.
    host.ok(words(&format!(
        "run -d --name kept --network none --userns keep-id {image} sleep 1000"
    )));
    host.ok(words(&format!("run -d --name plain --network none {image} sleep 1000")));
    assert_eq!(host.ok(words("exec kept id -u")), "12347");
    assert_eq!(host.ok(words("exec plain id -u")), "0");
    host.ok(words("rm -f kept plain"));
    assert!(std::fs::read_dir(host.data().join("mapped")).unwrap().count() > 0);
    host.ok(["rmi", &image]);
    assert_eq!(std::fs::read_dir(host.data().join("mapped")).unwrap().count(), 0);
}
