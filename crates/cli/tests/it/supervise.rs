//! What becomes of containers whose process ends, whose health fails, whose monitor is killed, whose host goes down.

use std::time::{Duration, Instant};

use hull_testkit::{Host, until};
use serde_json::Value;

use crate::{machine, shell, words};

/// A field of `inspect`.
fn look(host: &Host, name: &str, format: &str) -> String {
    host.ok(["inspect", "--format", format, name])
}

fn state(host: &Host, id: &str) -> Option<Value> {
    let text = std::fs::read(host.run_root().join("containers").join(id).join("state.json")).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Kills the monitor of container `id`, and only that.
fn kill_monitor(host: &Host, id: &str) {
    let pid = state(host, id).unwrap()["MonitorPid"].as_i64().unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let lock = std::fs::File::open(host.run_root().join("containers").join(id).join("lock")).unwrap();
    until("the lock of the killed monitor", || lock.try_lock_shared().ok());
}

#[test]
fn privileged_a_killed_monitor_is_replaced_without_a_gap() {
    let Some((host, image)) = machine() else { return };
    let script = "trap 'exit 42' TERM; i=0; while :; do echo line $i; i=$((i+1)); sleep 0.01; done";
    let id = host.ok(shell(&format!("run -d --name aa -p 8099:80 {image}"), script));
    let lines = || host.ok(["logs", "aa"]).lines().map(str::to_owned).collect::<Vec<_>>();
    for round in 1..=3 {
        let before = lines().len();
        kill_monitor(&host, &id);
        // Any command that looks at all containers gives it a new one.
        assert_eq!(host.ok(["ps", "-q", "--no-trunc"]), id, "round {round}");
        until("more lines", || (lines().len() > before + 5).then_some(()));
    }
    for (number, line) in lines().iter().enumerate() {
        assert_eq!(*line, format!("line {number}"));
    }
    assert_eq!(host.ok(["exec", "aa", "echo", "here"]), "here");
    host.ok(["stop", "aa"]);
    // Not a child of the monitor that saw its end: the kernel tells since Linux 6.15, and nobody before.
    let code = look(&host, "aa", "{{.State.ExitCode}}");
    assert!(code == "42" || code == "255", "{code}");
    host.ok(["rm", "aa"]);
}

#[test]
fn privileged_a_container_to_be_removed_is_removed_by_its_second_monitor() {
    let Some((host, image)) = machine() else { return };
    host.ok(["run", "--rm", "-v", "/data", &image, "true"]);
    let before = host.traces();
    let id = host.ok(words(&format!("run -d --rm --name aa -v /data {image} sleep 1000")));
    kill_monitor(&host, &id);
    host.ok(["ps"]);
    host.ok(["kill", "aa"]);
    until("its removal", || (host.ok(["ps", "-aq"]).is_empty()).then_some(()));
    until("the end of its monitor", || {
        (!host.run_root().join("containers").join(&id).exists()).then_some(())
    });
    host.assert_clean(&before);
}

#[test]
fn privileged_restart_policies_hold() {
    let Some((host, image)) = machine() else { return };
    host.ok(shell(
        &format!("run -d --name twice --restart on-failure:2 {image}"),
        "echo again; exit 3",
    ));
    host.ok(shell(
        &format!("run -d --name fine --restart on-failure {image}"),
        "exit 0",
    ));
    host.ok(shell(&format!("run -d --name ever --restart always {image}"), "exit 0"));
    until("the last failure", || {
        (look(
            &host,
            "twice",
            "{{.State.Status}} {{.RestartCount}} {{.State.ExitCode}}",
        ) == "exited 2 3")
            .then_some(())
    });
    assert_eq!(host.ok(["logs", "twice"]), "again\nagain\nagain");
    until("the end", || {
        (look(&host, "fine", "{{.State.Status}} {{.RestartCount}}") == "exited 0").then_some(())
    });
    until("a third start", || {
        (look(&host, "ever", "{{.RestartCount}}").parse::<u32>().unwrap() >= 3).then_some(())
    });
    // The delay is some 800 ms by now: a stop does not wait for it, and no start follows it.
    until("the delay", || {
        (look(&host, "ever", "{{.State.Restarting}}") == "true").then_some(())
    });
    let started = Instant::now();
    host.ok(["stop", "ever"]);
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(look(&host, "ever", "{{.State.Status}}"), "exited");
    host.ok(["start", "ever"]);
    assert!(look(&host, "ever", "{{.RestartCount}}").parse::<u32>().unwrap() <= 1);
    host.ok(["rm", "-f", "ever", "twice", "fine"]);
}

#[test]
fn privileged_a_killed_process_is_started_again_and_a_stopped_one_is_not() {
    let Some((host, image)) = machine() else { return };
    let id = host.ok(words(&format!(
        "run -d --name aa --restart unless-stopped {image} sleep 1000"
    )));
    let pid = || look(&host, "aa", "{{.State.Pid}}").parse::<i32>().unwrap();
    let first = pid();
    let process = rustix::process::Pid::from_raw(first).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::KILL).unwrap();
    until("a new process", || {
        let pid = pid();
        (pid != 0 && pid != first).then_some(())
    });
    // A monitor that took another's place starts it again, too.
    kill_monitor(&host, &id);
    host.ok(["ps"]);
    let second = pid();
    let process = rustix::process::Pid::from_raw(second).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::KILL).unwrap();
    until("a third process", || {
        let pid = pid();
        (pid != 0 && pid != second).then_some(())
    });
    assert_eq!(look(&host, "aa", "{{.RestartCount}}"), "2");
    host.ok(["kill", "aa"]);
    assert_eq!(host.ok(["wait", "aa"]), "137");
    assert_eq!(look(&host, "aa", "{{.State.Status}}"), "exited");
    host.ok(["rm", "aa"]);
}

#[test]
fn privileged_health_is_checked_and_has_consequences() {
    let Some((host, image)) = machine() else { return };
    let checked = |name: &str, more: &str| {
        let line = format!("run -d --name {name} --health-interval 100ms --health-retries 2 {more} {image} sleep 1000");
        let mut line: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let at = line.len() - 3;
        line.splice(
            at..at,
            [
                "--health-cmd".to_owned(),
                "test ! -e /bad || { echo broken; exit 1; }".to_owned(),
            ],
        );
        host.ok(line)
    };
    let health = |name: &str| look(&host, name, "{{.State.Health.Status}}");
    let is = |name: &str, wanted: &str| until("health", || (health(name) == wanted).then_some(()));
    let id = checked("plain", "");
    checked("again", "--health-on-failure restart --stop-timeout 0");
    checked("halt", "--health-on-failure stop --stop-timeout 0");
    is("plain", "healthy");
    assert!(
        host.ok(["ps", "--filter", "health=healthy", "--filter", "name=plain"])
            .contains("(healthy)")
    );
    // A monitor's death is not the end of the checks.
    kill_monitor(&host, &id);
    host.ok(["ps"]);
    for name in ["plain", "again", "halt"] {
        is(name, "healthy");
        host.ok(["exec", name, "touch", "/bad"]);
    }
    is("plain", "unhealthy");
    let log: Value = serde_json::from_str(&look(&host, "plain", "{{json .State.Health}}")).unwrap();
    let last = log["Log"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (last["ExitCode"].as_i64(), last["Output"].as_str()),
        (Some(1), Some("broken\n"))
    );
    assert!(log["Log"].as_array().unwrap().len() <= 5);
    host.ok(["exec", "plain", "rm", "/bad"]);
    is("plain", "healthy");
    until("the restart", || {
        (look(&host, "again", "{{.RestartCount}}") != "0").then_some(())
    });
    until("the stop", || {
        (look(&host, "halt", "{{.State.Status}}") == "exited").then_some(())
    });
    host.ok(["rm", "-f", "plain", "again", "halt"]);
}

#[test]
fn privileged_a_check_that_hangs_is_ended() {
    let Some((host, image)) = machine() else { return };
    let line =
        format!("run -d --name aa --health-interval 50ms --health-timeout 200ms --health-retries 1 {image} sleep 1000");
    let mut line = words(&line);
    let at = line.len() - 3;
    line.splice(at..at, ["--health-cmd", "echo before; sleep 1000"]);
    host.ok(line);
    until("the end of its patience", || {
        (look(&host, "aa", "{{.State.Health.Status}}") == "unhealthy").then_some(())
    });
    let log: Value = serde_json::from_str(&look(&host, "aa", "{{json .State.Health}}")).unwrap();
    assert_eq!(log["Log"][0]["ExitCode"], -1);
    assert_eq!(
        log["Log"][0]["Output"],
        "Health check exceeded timeout (200ms): before\n"
    );
    host.ok(["rm", "-f", "aa"]);
}

#[test]
fn privileged_the_host_goes_down_and_comes_up() {
    let Some((host, image)) = machine() else { return };
    for (name, policy) in [
        ("ever", "always"),
        ("until", "unless-stopped"),
        ("asked", "unless-stopped"),
        ("none", "no"),
    ] {
        host.ok(words(&format!(
            "run -d --name {name} --restart {policy} --stop-timeout 0 {image} sleep 1000"
        )));
    }
    host.ok(["stop", "asked"]);
    let mut stopped: Vec<_> = host.ok(["system", "shutdown"]).lines().map(str::to_owned).collect();
    stopped.sort();
    assert_eq!(stopped, ["ever", "none", "until"]);
    assert_eq!(host.ok(["ps", "-q"]), "");
    // What is in the run root does not outlive a boot.
    std::fs::remove_dir_all(host.run_root().join("containers")).unwrap();
    let mut started: Vec<_> = host.ok(["system", "boot"]).lines().map(str::to_owned).collect();
    started.sort();
    assert_eq!(started, ["ever", "until"]);
    // A power failure: everything ends at once, and nobody writes anything down.
    for name in ["ever", "until"] {
        let id = look(&host, name, "{{.Id}}");
        kill_monitor(&host, &id);
        let pid = state(&host, &id).unwrap()["Pid"].as_i64().unwrap();
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        until("its end", || {
            (look(&host, name, "{{.State.Running}}") == "false").then_some(())
        });
    }
    let mut started: Vec<_> = host.ok(["system", "boot"]).lines().map(str::to_owned).collect();
    started.sort();
    assert_eq!(started, ["ever", "until"]);
    assert_eq!(host.ok(["system", "boot"]), "");
    host.ok(["rm", "-f", "ever", "until", "asked", "none"]);
}

#[test]
fn privileged_a_container_that_ends_without_a_monitor_is_started_by_the_next_command() {
    let Some((host, image)) = machine() else { return };
    let id = host.ok(words(&format!(
        "run -d --name aa --restart always --stop-timeout 0 {image} sleep 1000"
    )));
    let kill_both = || {
        let pid = state(&host, &id).unwrap()["Pid"].as_i64().unwrap();
        kill_monitor(&host, &id);
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        until("its end", || {
            (look(&host, "aa", "{{.State.Running}}") == "false").then_some(())
        });
    };
    kill_both();
    assert_eq!(host.ok(["ps", "-q", "--no-trunc"]), id);
    // Nobody looks after it while it is stopped, and it stays so.
    kill_monitor(&host, &id);
    host.ok(["stop", "aa"]);
    assert_eq!(host.ok(["ps", "-q"]), "");
    assert_eq!(look(&host, "aa", "{{.State.Status}}"), "exited");
    host.ok(["rm", "aa"]);
}

/// What the monitor of a container at rest has for itself alone, in bytes.
#[test]
fn privileged_monitors_share_their_executable() {
    let Some((host, image)) = machine() else { return };
    let id = host.ok(words(&format!("run -d --name aa {image} sleep 1000")));
    let own = until("the resident form", || {
        let pid = state(&host, &id)?["MonitorPid"].as_i64()?;
        let program = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
        if !program.starts_with(host.data().join("resident")) {
            return None;
        }
        let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let dirty = rollup.lines().find_map(|line| line.strip_prefix("Private_Dirty:"))?;
        let kilobytes: u64 = dirty.trim().trim_end_matches(" kB").parse().ok()?;
        (kilobytes <= 300).then_some(kilobytes)
    });
    assert!(own > 0);
    host.ok(["rm", "-f", "aa"]);
}
