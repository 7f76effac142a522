//! Pods: what is shared, what their verbs do, and what a kill leaves.

use crate::{machine, shell, words};

#[test]
fn privileged_a_pod_shares_and_publishes() {
    let Some((host, image)) = machine() else { return };
    host.ok(words(&format!("run --rm {image} true")));
    host.ok(words("pod create --name warm"));
    host.ok(words("pod rm warm"));
    let before = host.traces();
    let id = host.ok(words("pod create --name shop -p 18080:80 --label a=b"));
    assert_eq!(
        host.ok(words("pod ps --format {{.Status}}/{{.NumberOfContainers}}")),
        "Created/1"
    );
    let serve = "mkdir /www; echo hello > /www/index.html; exec httpd -f -h /www";
    host.ok(shell(&format!("run -d --pod shop --name web {image}"), serve));
    let script = "hostname; wget -qO- localhost; echo x > /dev/shm/shared; readlink /proc/self/ns/ipc";
    let seen = host.ok(shell(&format!("run --rm --pod {} {image}", &id[..12]), script));
    let seen: Vec<&str> = seen.lines().collect();
    assert_eq!(seen[..2], ["shop", "hello"]);
    assert_eq!(
        host.ok(shell("exec web", "cat /dev/shm/shared; readlink /proc/self/ns/ipc")),
        format!("x\n{}", seen[2])
    );
    assert_ne!(host.ok(shell("exec web", "ls /proc | grep -c '^[0-9]'")), "0");
    // The port is the infra container's.
    let ports = host.ok(words("ps --filter pod=shop --format {{.Image}}|{{.Ports}}"));
    assert!(
        ports
            .lines()
            .any(|l| l.starts_with("hull-pause:") && l.contains("18080->80/tcp")),
        "{ports}"
    );
    let table = host.ok(words("ps --pod"));
    assert!(
        table.lines().next().unwrap().ends_with("POD ID         PODNAME"),
        "{table}"
    );
    assert!(
        table
            .lines()
            .skip(1)
            .all(|l| l.ends_with(&format!("{}   shop", &id[..12]))),
        "{table}"
    );
    let infra = host.ok(words("pod inspect -f {{.InfraContainerID}} shop"));
    let rss = host.ok(["inspect", "-f", "{{.State.Pid}}", &infra]);
    let status = std::fs::read_to_string(format!("/proc/{rss}/status")).unwrap();
    let kilobytes = status
        .lines()
        .find_map(|l| l.strip_prefix("VmRSS:"))
        .unwrap()
        .trim()
        .trim_end_matches(" kB");
    assert!(kilobytes.parse::<u64>().unwrap() < 100, "{kilobytes} kB");
    for (line, says) in [
        (
            format!("run --rm --pod shop -p 80 {image} true"),
            "must be defined when the pod is created",
        ),
        (format!("run --rm --pod shop -h x {image} true"), "cannot set hostname"),
        (
            format!("run --rm --pod nope {image} true"),
            "no pod with name or ID nope found: no such pod",
        ),
    ] {
        host.hull(words(&line)).fails(125).says(says);
    }
    host.hull(words(&format!("rm -f {infra}")))
        .fails(1)
        .says("is the infra container of pod");
    host.hull(words("pod create --name shop"))
        .fails(125)
        .says("name \"shop\" is in use: pod already exists");
    host.hull(words("pod rm shop")).fails(1).says("use --force");
    assert_eq!(host.ok(words("pod rm -f -t 0 shop")), id);
    assert_eq!(host.ok(words("ps -aq")), "");
    host.hull(words("pod exists shop")).fails(1);
    host.assert_clean(&before);
}

#[test]
fn privileged_verbs_act_on_all_containers_of_a_pod() {
    let Some((host, image)) = machine() else { return };
    host.ok(words(&format!("run -d --pod new:duo --name one {image} sleep 1000")));
    host.ok(words(&format!("create --pod duo --name two {image} sleep 1000")));
    let states = || host.ok(words("pod ps --ctr-status --format {{.Status}}:{{.ContainerStatuses}}"));
    assert_eq!(states(), "Degraded:running,running,created");
    host.ok(words("pod start duo"));
    assert_eq!(states(), "Running:running,running,running");
    host.ok(words("pod pause duo"));
    assert_eq!(states(), "Paused:paused,paused,paused");
    host.ok(words("pod unpause --latest"));
    assert_eq!(
        host.ok(words("pod top duo -o pid,args")).matches("sleep 1000").count(),
        2
    );
    assert_eq!(
        host.ok(words("pod stats --no-stream --format {{.Name}} duo"))
            .lines()
            .count(),
        3
    );
    host.ok(words("pod kill duo"));
    hull_testkit::wait::until("the pod has ended", || states().starts_with("Exited").then_some(()));
    host.ok(words("pod restart duo"));
    assert_eq!(states(), "Running:running,running,running");
    host.ok(words("pod stop -t 0 --all"));
    assert_eq!(states(), "Exited:exited,exited,exited");
    host.hull(words("pod stop"))
        .fails(1)
        .says("you must provide at least one pod name or id");
    host.hull(words("pod stop -a duo")).fails(1).says("mutually exclusive");
    host.hull(words("pod kill -s NOPE duo")).fails(1).says("invalid signal");
    host.hull(words("pod start nope")).fails(1).says("no such pod");
    assert_eq!(host.ok(words("pod rm -f nope")), "");
    assert_eq!(host.ok(words("pod prune -f")).lines().count(), 1);
    assert_eq!(host.ok(words("pod ps -q")), "");
    // Shared processes: the infra container is process 1 and reaps.
    host.ok(words("pod create --name all --share pid"));
    let script = "cat /proc/1/cmdline; (sleep 0.01 &); sleep 0.3; cat /proc/[0-9]*/stat | grep -c ') Z '";
    let seen = host.ok(shell(
        &format!("run --pod all --name member {image}"),
        &format!("{script}; true"),
    ));
    assert_eq!(seen.replace('\0', "|"), "/pause|0");
    host.ok(shell(
        &format!("run --pod all --name noisy {image}"),
        "echo out; echo err >&2",
    ));
    let logs = host.hull(words("pod logs -n -c noisy all"));
    assert_eq!(
        (logs.stdout.as_str(), logs.stderr.as_str()),
        ("noisy out\n", "noisy err\n")
    );
    host.ok(words("pod rm -f all"));
    for (flags, says) in [
        ("--share foo", "invalid kernel namespace to share: foo"),
        ("--memory 1m", "a pod has no limits of its own"),
        ("--infra=false -p 80", "cannot set --publish without an infra container"),
        ("--exit-policy stop", "`stop` is not there"),
        ("--userns auto", "cannot be shared"),
        ("-p x:y", "invalid"),
    ] {
        host.hull(words(&format!("pod create {flags}"))).fails(125).says(says);
    }
    assert_eq!(host.ok(words("ps -aq")), "");
}

#[test]
fn privileged_a_killed_creation_leaves_no_pod_and_no_container() {
    let Some((host, _image)) = machine() else { return };
    for delay in [0, 2, 5, 10, 20, 40] {
        let mut child = host.spawn(words("pod create --name killed"));
        std::thread::sleep(std::time::Duration::from_millis(delay));
        let _ = child.kill();
        let _ = child.wait();
        // Either it is there, whole, or it is not there at all.
        if host.hull(words("pod exists killed")).status.success() {
            assert_eq!(host.ok(words("pod ps --format {{.NumberOfContainers}}")), "1");
            host.ok(words("pod rm killed"));
        }
        host.ok(words("pod create --name other"));
        host.ok(words("pod rm other"));
        assert_eq!(host.ok(words("ps -aq")), "", "after {delay} ms");
    }
}

#[test]
fn privileged_two_makers_of_one_pod_and_joiners_of_one_that_goes() {
    let Some((host, image)) = machine() else { return };
    let children: Vec<_> = (0..4).map(|_| host.spawn(words("pod create --name same"))).collect();
    let made = children.into_iter().map(|c| c.wait_with_output().unwrap());
    assert_eq!(made.filter(|o| o.status.success()).count(), 1);
    let join = format!("create --pod same {image} true");
    let mut children: Vec<_> = (0..4).map(|_| host.spawn(words(&join))).collect();
    children.push(host.spawn(words("pod rm -f same")));
    for child in children {
        child.wait_with_output().unwrap();
    }
    // Nobody joined a pod that is gone: who came too late was refused.
    host.ok(words("pod rm -f same"));
    assert_eq!(host.ok(words("ps -aq")), "");
}
