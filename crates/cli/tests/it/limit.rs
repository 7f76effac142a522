//! Limits on what a container may take.

use crate::{machine, shell, words};

#[test]
fn privileged_memory_ends_what_takes_too_much() {
    let Some((host, image)) = machine() else { return };
    let hungry = "a=x; while :; do a=$a$a; done";
    host.hull(shell(
        &format!("run --name cc -m 16m --memory-swap 16m {image}"),
        hungry,
    ))
    .fails(137);
    assert_eq!(
        host.ok(["inspect", "-f", "{{.State.OOMKilled}} {{.State.ExitCode}}", "cc"]),
        "true 137"
    );
    host.ok(words(&format!("run --name dd -m 16m {image} true")));
    assert_eq!(
        host.ok(["inspect", "-f", "{{.State.OOMKilled}} {{.HostConfig.Memory}}", "dd"]),
        "false 16777216"
    );
    host.hull(words(&format!("run --rm -m 1k {image} true")))
        .fails(125)
        .says("memory");
    host.hull(words(&format!("run --rm -m nonsense {image} true")))
        .fails(125)
        .says("nonsense");
}

#[test]
fn privileged_processes_are_counted() {
    let Some((host, image)) = machine() else { return };
    let script = "i=0; while [ $i -lt 20 ]; do sleep 2 & i=$((i+1)); done; echo all";
    let run = host.hull(shell(&format!("run --rm --pids-limit 10 {image}"), script));
    assert!(run.stderr.contains("fork") && !run.stdout.contains("all"), "{run:?}");
    let run = host
        .hull(shell(&format!("run --rm --pids-limit 40 {image}"), script))
        .ok();
    assert_eq!(run.stdout, "all\n");
}

#[test]
fn privileged_limits_reach_the_kernel() {
    let Some((host, image)) = machine() else { return };
    let run = |flags: &str, script: &str| host.ok(shell(&format!("run --rm {flags} {image}"), script));
    assert_eq!(
        run(
            "--ulimit nofile=100:200 --ulimit core=0",
            "ulimit -n; ulimit -Hn; ulimit -c"
        ),
        "100\n200\n0"
    );
    let port_start = "cat /proc/sys/net/ipv4/ip_unprivileged_port_start";
    assert_eq!(
        run("--sysctl net.ipv4.ip_unprivileged_port_start=500", port_start),
        "500"
    );
    let quota = "cat /sys/fs/cgroup/cpu.max /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null; true";
    assert_eq!(run("--cpus 0.5", quota).split(' ').next(), Some("50000"));
    let cpus = "grep Cpus_allowed_list /proc/self/status | cut -f2";
    assert_eq!(run("--cpuset-cpus 0", cpus), "0");
    host.hull(words(&format!("run --rm --cpuset-cpus 4000 {image} true")))
        .fails(125)
        .says("4000");
    host.hull(words(&format!("run --rm --cpus 1000 {image} true")))
        .fails(125)
        .says("CPUs");
    host.hull(words(&format!("run --rm --sysctl kernel.hostname=x {image} true")))
        .fails(125)
        .says("kernel.hostname");
    let score = host.ok(words(&format!(
        "run --rm --oom-score-adj 500 {image} cat /proc/self/oom_score_adj"
    )));
    assert_eq!(score, "500");
}
