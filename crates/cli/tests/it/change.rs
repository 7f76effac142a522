//! `rename`, `restart`, `update` and `port`.

use hull_testkit::Host;

use crate::{machine, shell, words};

fn inspect(host: &Host, format: &str, name: &str) -> String {
    host.ok(["inspect", "-f", format, name])
}

#[test]
fn privileged_a_container_gets_another_name() {
    let Some((host, image)) = machine() else { return };
    host.ok(words(&format!("run --rm {image} true")));
    let before = host.traces();
    let id = host.ok(words(&format!("run -d --name first {image} sleep 1000")));
    host.ok(words(&format!("create --name other {image}")));
    assert_eq!(host.ok(["rename", "first", "/second"]), "");
    assert_eq!(inspect(&host, "{{.Name}} {{.Id}}", "second"), format!("/second {id}"));
    host.hull(["inspect", "first"]).fails(1).says("first");
    assert_eq!(host.ok(["exec", "second", "echo", "still"]), "still");
    host.hull(["rename", "second", "second"])
        .fails(1)
        .says("Renaming a container with the same name as its current name");
    host.hull(["rename", "second", "other"])
        .fails(1)
        .says("Error when allocating new name: Conflict. The container name \"/other\" is already in use");
    for bad in ["a b", "x", "../x", "-x"] {
        host.hull(["rename", "--", "second", bad])
            .fails(1)
            .says("Error when allocating new name: Invalid container name");
    }
    host.hull(["rename", "second", ""])
        .fails(1)
        .says("Neither old nor new names may be empty");
    host.hull(["rename", "nope", "xx"])
        .fails(1)
        .says("No such container: nope");
    // The old name is free, and the new one is what the container is removed by at its end.
    host.ok(words(&format!("create --name first {image}")));
    host.ok(["rm", "-f", "first", "other", "second"]);
    host.ok(words(&format!("run -d --rm --name first {image} sleep 1000")));
    host.ok(["rename", "first", "second"]);
    host.ok(["stop", "-t", "0", "second"]);
    host.ok(words(&format!("create --name second {image}")));
    host.ok(["rm", "second"]);
    host.assert_clean(&before);
}

#[test]
fn privileged_a_rename_that_was_killed_leaves_no_second_name() {
    let Some((host, image)) = machine() else { return };
    host.ok(words(&format!("run --rm {image} true")));
    let before = host.traces();
    let id = host.ok(words(&format!("create --name first {image}")));
    let link = host.data().join("names/second");
    // The new name was claimed, and that was the end of it.
    std::os::unix::fs::symlink(&id, &link).unwrap();
    host.hull(["inspect", "second"]).fails(1);
    host.hull(["start", "second"])
        .fails(1)
        .says("No such container: second");
    assert_eq!(inspect(&host, "{{.Name}}", "first"), "/first");
    // It may be tried again, and somebody else may have the name.
    host.ok(["rename", "first", "second"]);
    host.ok(["rename", "second", "first"]);
    std::os::unix::fs::symlink(&id, &link).unwrap();
    let other = host.ok(words(&format!("create --name second {image}")));
    assert_eq!(inspect(&host, "{{.Id}}", "second"), other);
    host.ok(["rm", "first", "second"]);
    host.assert_clean(&before);
}

#[test]
fn privileged_a_restart_keeps_what_is_there() {
    let Some((host, image)) = machine() else { return };
    host.ok(words(&format!("run --rm -v /anonymous {image} true")));
    let before = host.traces();
    let script = "echo x >> /runs; trap 'exit 3' TERM; trap 'exit 4' HUP; while :; do sleep 0.02; done";
    for flags in ["", "--rm -v /anonymous"] {
        host.ok(shell(&format!("run -d --name cc {flags} {image}"), script));
        let runs = || {
            hull_testkit::until("the next run", || {
                let run = host.hull(["exec", "cc", "cat", "/runs"]);
                (!run.stdout.is_empty()).then_some(run.stdout.lines().count())
            })
        };
        assert_eq!(runs(), 1);
        let pid = inspect(&host, "{{.State.Pid}}", "cc");
        host.ok(["exec", "cc", "touch", "/tmp/kept"]);
        assert_eq!(host.ok(["restart", "cc"]), "cc");
        assert_eq!(runs(), 2, "{flags}");
        host.ok(["exec", "cc", "ls", "/tmp/kept"]);
        assert_ne!(inspect(&host, "{{.State.Pid}}", "cc"), pid);
        host.ok(["restart", "-s", "HUP", "-t", "5", "cc"]);
        assert_eq!(runs(), 3);
        host.ok(["stop", "cc"]);
        if flags.is_empty() {
            assert_eq!(inspect(&host, "{{.State.ExitCode}}", "cc"), "3");
            host.ok(["restart", "cc"]);
            assert_eq!(runs(), 4, "one that does not run is started");
            host.ok(["rm", "-f", "cc"]);
        } else {
            host.hull(["inspect", "cc"]).fails(1);
        }
    }
    host.hull(["restart", "nope"]).fails(1).says("No such container: nope");
    host.hull(["restart", "-t", "x", "nope"])
        .fails(125)
        .says("-t, --timeout");
    host.assert_clean(&before);
}

#[test]
fn privileged_published_ports_are_told() {
    let Some((host, image)) = machine() else { return };
    let flags = "-p 8080:80 -p 127.0.0.1:9090:90/udp --expose 70";
    host.ok(words(&format!("run -d --name cc {flags} {image} sleep 1000")));
    assert_eq!(
        host.ok(["port", "cc"]),
        "80/tcp -> 0.0.0.0:8080\n90/udp -> 127.0.0.1:9090"
    );
    assert_eq!(host.ok(["port", "cc", "80"]), "0.0.0.0:8080");
    assert_eq!(host.ok(["container", "port", "cc", "90/udp"]), "127.0.0.1:9090");
    for asked in ["90", "70", "80/udp", "80/tcp/x"] {
        host.hull(["port", "cc", asked])
            .fails(1)
            .says(&format!("No public port '{asked}' published for cc"));
    }
    host.hull(["port", "cc", "x"])
        .fails(1)
        .says("invalid port (x): strconv.ParseUint: parsing \"x\": invalid syntax");
    host.ok(["rm", "-f", "cc"]);
    host.ok(words(&format!("create --name cc -p 8080:80 {image}")));
    assert_eq!(host.ok(["port", "cc"]), "");
}

/// What the kernel holds of a container: a file of its cgroup by its v1 and v2 names.
fn limit(host: &Host, name: &str, v1: &str, v2: &str) -> String {
    let id = inspect(host, "{{.Id}}", name);
    let controller = v1.split('.').next().unwrap();
    let first = std::fs::read_to_string(format!("/sys/fs/cgroup/{controller}/hull/{id}/{v1}"));
    first
        .or_else(|_| std::fs::read_to_string(format!("/sys/fs/cgroup/hull/{id}/{v2}")))
        .unwrap()
        .trim()
        .to_owned()
}

#[test]
fn privileged_limits_change_while_it_runs() {
    let Some((host, image)) = machine() else { return };
    host.ok(words(&format!("run --rm {image} true")));
    let before = host.traces();
    host.ok(words(&format!("run -d --name cc -m 64m {image} sleep 1000")));
    assert_eq!(host.ok(["update", "-m", "100m", "--pids-limit", "50", "cc"]), "cc");
    assert_eq!(limit(&host, "cc", "memory.limit_in_bytes", "memory.max"), "104857600");
    assert_eq!(limit(&host, "cc", "pids.max", "pids.max"), "50");
    assert_eq!(
        inspect(&host, "{{.HostConfig.Memory}} {{.HostConfig.PidsLimit}}", "cc"),
        "104857600 50"
    );
    host.hull(["update", "-m", "300m", "cc"])
        .fails(1)
        .says("Memory limit should be smaller than already set memoryswap limit");
    host.ok(["update", "-m", "300m", "--memory-swap", "600m", "cc"]);
    assert_eq!(limit(&host, "cc", "memory.limit_in_bytes", "memory.max"), "314572800");
    host.ok(["update", "-m", "32m", "--memory-swap", "64m", "cc"]);
    assert_eq!(limit(&host, "cc", "memory.limit_in_bytes", "memory.max"), "33554432");
    // Hierarchies that it had no limit in so far, on v1.
    host.ok([
        "update",
        "--cpus",
        "0.5",
        "--cpuset-cpus",
        "0",
        "--cpu-shares",
        "512",
        "cc",
    ]);
    let quota = limit(&host, "cc", "cpu.cfs_quota_us", "cpu.max");
    assert_eq!(quota.split(' ').next(), Some("50000"));
    assert_eq!(limit(&host, "cc", "cpuset.cpus", "cpuset.cpus"), "0");
    let allowed = "grep Cpus_allowed_list /proc/self/status | cut -f2";
    let pid = inspect(&host, "{{.State.Pid}}", "cc");
    let of_init = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(of_init.contains("Cpus_allowed_list:\t0\n"), "its process has moved");
    assert_eq!(host.ok(shell("exec cc", allowed)), "0", "and others that come later");
    host.ok(["update", "--pids-limit", "-1", "cc"]);
    assert_eq!(limit(&host, "cc", "pids.max", "pids.max"), "max");
    // What is refused changes nothing.
    for (line, text) in [
        (
            "--cpu-quota 5000",
            "CPU Quota cannot be updated as NanoCPUs has already been set",
        ),
        (
            "--cpuset-cpus 4000",
            "Requested CPUs are not available - requested 4000",
        ),
        ("--cpuset-cpus 0-x", "Invalid value 0-x for cpuset cpus"),
        ("--cpus 4000", "as there are only"),
        ("-m 1m", "Minimum memory limit allowed is 6MB"),
        (
            "--memory-swap 8m",
            "Minimum memoryswap limit should be larger than memory limit",
        ),
        ("--restart never", "unknown policy 'never'"),
        (
            "--restart always:3",
            "maximum retry count can only be used with 'on-failure'",
        ),
    ] {
        let run = host.hull(words(&format!("update {line} cc")));
        run.fails(1).says(text);
    }
    host.hull(["update", "cc"])
        .fails(1)
        .says("you must provide one or more flags when using this command");
    host.hull(["update", "-c", "9", "nope", "cc"])
        .fails(1)
        .says("No such container: nope");
    // The limits are the container's, not this run's.
    host.ok(["restart", "-t", "0", "cc"]);
    assert_eq!(limit(&host, "cc", "cpuset.cpus", "cpuset.cpus"), "0");
    assert_eq!(limit(&host, "cc", "memory.limit_in_bytes", "memory.max"), "33554432");
    host.ok(["stop", "-t", "0", "cc"]);
    host.ok(["update", "-m", "48m", "cc"]);
    host.ok(["start", "cc"]);
    assert_eq!(limit(&host, "cc", "memory.limit_in_bytes", "memory.max"), "50331648");
    host.ok(["rm", "-f", "cc"]);
    host.ok(words(&format!("run -d --rm --name cc {image} sleep 1000")));
    host.hull(["update", "--restart", "always", "cc"])
        .fails(1)
        .says("Restart policy cannot be updated because AutoRemove is enabled for the container");
    host.ok(["update", "--cpu-shares", "100", "cc"]);
    host.ok(["rm", "-f", "cc"]);
    host.assert_clean(&before);
}

#[test]
fn privileged_memory_that_is_used_cannot_be_forbidden_on_v1() {
    let Some((host, image)) = machine() else { return };
    if !std::path::Path::new("/sys/fs/cgroup/memory").exists() {
        return;
    }
    host.ok(shell(
        &format!("run -d --name cc -m 100m --memory-swap 100m {image}"),
        "head -c 40000000 /dev/zero > /dev/shm/x; echo full; sleep 1000",
    ));
    hull_testkit::until("the memory in use", || {
        (host.hull(["logs", "cc"]).stdout == "full\n").then_some(())
    });
    host.hull(["update", "-m", "10m", "--memory-swap", "10m", "cc"])
        .fails(1)
        .says("unable to set memory limit to 10485760 (current usage: ");
    assert_eq!(inspect(&host, "{{.HostConfig.Memory}}", "cc"), "104857600");
}
