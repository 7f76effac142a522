//! Paused containers: what works on them, what is refused, and what a kill leaves.

use std::path::PathBuf;

use hull_testkit::{Host, until};

use crate::{machine, shell, words};

fn status(host: &Host, name: &str) -> String {
    host.ok([
        "inspect",
        "-f",
        "{{.State.Status}} {{.State.Running}} {{.State.Paused}}",
        name,
    ])
}

/// The file that freezes a container, and its words to thaw and freeze.
fn freezer(host: &Host, name: &str) -> (PathBuf, [&'static str; 2]) {
    let id = host.ok(["inspect", "-f", "{{.Id}}", name]);
    let v1 = PathBuf::from(format!("/sys/fs/cgroup/freezer/hull/{id}/freezer.state"));
    if v1.exists() {
        return (v1, ["THAWED", "FROZEN"]);
    }
    let v2 = format!("/sys/fs/cgroup/hull/{id}/cgroup.freeze").into();
    (v2, ["0", "1"])
}

/// A container that counts as fast as it can.
fn counting(host: &Host, image: &str) {
    let script = "trap 'exit 3' TERM; i=0; while :; do i=$((i+1)); echo $i > /count; sleep 0.01; done";
    host.ok(shell(&format!("run -d --name cc {image}"), script));
    until("the first number", || {
        let run = host.hull(["exec", "cc", "cat", "/count"]);
        (run.status.success() && !run.stdout.is_empty()).then_some(())
    });
}

/// The file with the number, seen from outside.
fn count(host: &Host) -> PathBuf {
    let pid = host.ok(["inspect", "-f", "{{.State.Pid}}", "cc"]);
    format!("/proc/{pid}/root/count").into()
}

#[test]
fn privileged_a_paused_container_stands_still_and_goes_on() {
    let Some((host, image)) = machine() else { return };
    counting(&host, &image);
    let number = count(&host);
    let id = host.ok(["inspect", "-f", "{{.Id}}", "cc"]);
    assert_eq!(host.ok(["pause", "cc"]), "cc");
    assert_eq!(status(&host, "cc"), "paused true true");
    let before = std::fs::metadata(&number).unwrap().modified().unwrap();
    assert!(host.ok(["ps", "--format", "{{.Status}}"]).ends_with("(Paused)"));
    assert_eq!(host.ok(["ps", "-q", "--filter", "status=paused", "--no-trunc"]), id);
    host.hull(["pause", "cc"])
        .fails(1)
        .says(&format!("Container {id} is already paused"));
    host.hull(["exec", "cc", "true"])
        .fails(1)
        .says("Container cc is paused, unpause the container before exec");
    host.hull(["start", "cc"])
        .fails(1)
        .says("cannot start a paused container, try unpause instead");
    host.hull(["attach", "cc"])
        .fails(1)
        .says("You cannot attach to a paused container, unpause it first");
    host.hull(["rm", "cc"])
        .fails(1)
        .says("cannot remove container \"/cc\": container is paused and must be unpaused first");
    assert_eq!(
        std::fs::metadata(&number).unwrap().modified().unwrap(),
        before,
        "nothing ran meanwhile"
    );
    assert_eq!(host.ok(["unpause", "cc"]), "cc");
    assert_eq!(status(&host, "cc"), "running true false");
    until("the next number", || {
        (std::fs::metadata(&number).ok()?.modified().ok()? > before).then_some(())
    });
    host.hull(["unpause", "cc"])
        .fails(1)
        .says(&format!("Container {id} is not paused"));
    host.ok(["kill", "cc"]);
    host.ok(["wait", "cc"]);
    host.hull(["pause", "cc", "nope"]).fails(1).says("is not running");
}

#[test]
fn privileged_what_ends_a_container_thaws_it() {
    let Some((host, image)) = machine() else { return };
    host.ok(words(&format!("run --rm {image} true")));
    let before = host.traces();
    let check = |line: &str, code: &str| {
        counting(&host, &image);
        host.ok(["pause", "cc"]);
        host.ok(words(line));
        if code.is_empty() {
            host.hull(["inspect", "cc"]).fails(1);
        } else {
            assert_eq!(host.ok(["wait", "cc"]), code, "{line}");
            host.ok(["rm", "cc"]);
        }
    };
    check("stop cc", "3");
    check("kill cc", "137");
    // Its own signal to stop by, which is TERM unless told otherwise; any other thaws it, too, as with Docker.
    check("kill -s TERM cc", "3");
    check("rm -f cc", "");
    counting(&host, &image);
    host.ok(["pause", "cc"]);
    host.ok(["restart", "cc"]);
    assert_eq!(status(&host, "cc"), "running true false");
    host.ok(["rm", "-f", "cc"]);
    // One with a stop signal of its own stays frozen at another.
    host.ok(words(&format!(
        "run -d --name cc --stop-signal USR1 {image} sleep 1000"
    )));
    host.ok(["pause", "cc"]);
    host.ok(["kill", "-s", "WINCH", "cc"]);
    assert_eq!(status(&host, "cc"), "paused true true");
    host.ok(["kill", "-s", "USR1", "cc"]);
    assert_eq!(status(&host, "cc").split(' ').nth(2), Some("false"));
    host.ok(["rm", "-f", "cc"]);
    host.assert_clean(&before);
}

#[test]
fn privileged_the_cgroup_tells_whether_it_is_paused() {
    let Some((host, image)) = machine() else { return };
    counting(&host, &image);
    let (file, [thawed, frozen]) = freezer(&host, "cc");
    // As a `pause` leaves it that was killed before it had seen the end, and as anybody else does it.
    std::fs::write(&file, frozen).unwrap();
    assert_eq!(status(&host, "cc"), "paused true true");
    host.ok(["unpause", "cc"]);
    assert_eq!(status(&host, "cc"), "running true false");
    host.ok(["pause", "cc"]);
    std::fs::write(&file, thawed).unwrap();
    until("the thaw", || {
        (status(&host, "cc") == "running true false").then_some(())
    });
    host.hull(["unpause", "cc"]).fails(1).says("is not paused");
    // A frozen container whose monitor was killed is found, ended and removed all the same.
    let pid = host.ok(["inspect", "-f", "{{.State.Pid}}", "cc"]);
    host.ok(["pause", "cc"]);
    let monitor = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let monitor = monitor.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap();
    let monitor = rustix::process::Pid::from_raw(monitor.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(monitor, rustix::process::Signal::KILL).unwrap();
    assert_eq!(status(&host, "cc"), "paused true true");
    host.ok(["rm", "-f", "cc"]);
    assert!(!file.exists());
}
