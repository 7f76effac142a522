//! A clock that jumps. It cannot be moved for a test alone, so the files are made as a clock leaves them that was ahead when
//! they were written and has been put right since.

use hull_testkit::{Host, until};
use serde_json::Value;

use crate::{machine, shell, words};

fn look(host: &Host, format: &str) -> String {
    host.ok(["inspect", "-f", format, "cc"])
}

/// Changes a JSON file of the container.
fn change(path: &std::path::Path, by: impl Fn(&mut Value)) {
    let mut value: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    by(&mut value);
    std::fs::write(path, serde_json::to_vec(&value).unwrap()).unwrap();
}

fn kill(pid: i64) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}

/// Kills the monitor and the process of the container.
fn kill_all(host: &Host, id: &str) {
    let run = host.run_root().join("containers").join(id);
    let state: Value = serde_json::from_slice(&std::fs::read(run.join("state.json")).unwrap()).unwrap();
    kill(state["MonitorPid"].as_i64().unwrap());
    let lock = std::fs::File::open(run.join("lock")).unwrap();
    until("the lock", || lock.try_lock_shared().ok());
    drop(lock);
    kill(state["Pid"].as_i64().unwrap());
    until("its end", || {
        (look(host, "{{.State.Running}}") == "false").then_some(())
    });
}

#[test]
fn privileged_an_earlier_end_of_a_later_time_is_not_the_last() {
    let Some((host, image)) = machine() else { return };
    let script = "test -e /again && exec sleep 1000; touch /again; exit 3";
    let id = host.ok(shell(&format!("create --name cc {image}"), script));
    host.hull(["start", "-a", "cc"]).fails(3);
    let exit = host.data().join("containers").join(&id).join("exit.json");
    change(&exit, |exit| {
        exit["StartedAt"] = "2199-01-01T00:00:00.000000001Z".into();
        exit["FinishedAt"] = "2199-01-01T00:00:01.000000001Z".into();
    });
    host.ok(["start", "cc"]);
    assert_eq!(look(&host, "{{.State.Status}} {{.State.ExitCode}}"), "running 0");
    let table = host.ok(["ps", "--format", "{{.Status}}"]);
    assert!(table.starts_with("Up "), "{table}");
    kill_all(&host, &id);
    assert_eq!(look(&host, "{{.State.Status}} {{.State.ExitCode}}"), "exited 255");
    host.ok(["rm", "cc"]);
}

#[test]
fn privileged_a_wait_is_not_deceived_by_times() {
    let Some((host, image)) = machine() else { return };
    let script = "test -e /again && exec sleep 1000; touch /again; exit 3";
    let id = host.ok(shell(&format!("create --name cc --restart on-failure {image}"), script));
    host.ok(["start", "cc"]);
    until("its second run", || {
        (look(&host, "{{.RestartCount}} {{.State.Status}}") == "1 running").then_some(())
    });
    let exit = host.data().join("containers").join(&id).join("exit.json");
    change(&exit, |exit| {
        exit["StartedAt"] = "2199-01-01T00:00:00.000000001Z".into()
    });
    let mut waiting = host.hull_command(["wait", "cc"]);
    let waiting = waiting.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let links = format!("/proc/{}/fd", waiting.id());
    until("its wait", || {
        let links = std::fs::read_dir(&links).ok()?.flatten();
        let mut links = links.filter_map(|link| std::fs::read_link(link.path()).ok());
        links.any(|link| link.ends_with("anon_inode:[pidfd]")).then_some(())
    });
    host.ok(["stop", "-t", "0", "cc"]);
    let output = waiting.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "137\n");
    host.ok(["rm", "cc"]);
}

#[test]
fn privileged_a_start_period_lasts_its_time() {
    let Some((host, image)) = machine() else { return };
    let line = format!(
        "run -d --name cc --health-cmd false --health-interval 50ms --health-retries 1 \
         --health-start-period 1h --health-start-interval 50ms {image} sleep 1000"
    );
    let id = host.ok(words(&line));
    // Long ago, says the clock.
    let run = host.run_root().join("containers").join(&id);
    change(&run.join("state.json"), |state| {
        state["StartedAt"] = "1999-01-01T00:00:00Z".into()
    });
    let state: Value = serde_json::from_slice(&std::fs::read(run.join("state.json")).unwrap()).unwrap();
    kill(state["MonitorPid"].as_i64().unwrap());
    let lock = std::fs::File::open(run.join("lock")).unwrap();
    until("the lock", || lock.try_lock_shared().ok());
    drop(lock);
    let checks = || -> String { look(&host, "{{range .State.Health.Log}}{{.Start}} {{end}}") };
    let before = checks();
    host.ok(["ps"]);
    until("a check of the new monitor's", || {
        (checks() != before && checks().len() > 60).then_some(())
    });
    assert_eq!(
        look(&host, "{{.State.Health.Status}} {{.State.Health.FailingStreak}}"),
        "starting 0"
    );
    host.ok(["rm", "-f", "cc"]);
}

#[test]
fn privileged_lines_of_the_future_hide_none_of_the_present() {
    let Some((host, image)) = machine() else { return };
    let id = host.ok(shell(
        &format!("run -d --name cc {image}"),
        "echo one; echo two; echo three",
    ));
    host.ok(["wait", "cc"]);
    let path = host.data().join("containers").join(&id).join(format!("{id}-json.log"));
    let text = std::fs::read_to_string(&path).unwrap();
    let year = &look(&host, "{{.State.StartedAt}}")[..4];
    let jumped: String = text
        .lines()
        .map(|line| match line.contains("two") {
            true => line.replace(&format!("\"time\":\"{year}"), "\"time\":\"2199") + "\n",
            false => format!("{line}\n"),
        })
        .collect();
    assert_ne!(jumped, text);
    std::fs::write(&path, jumped).unwrap();
    assert_eq!(host.ok(["logs", "cc"]), "one\ntwo\nthree");
    assert_eq!(host.ok(["logs", "--since", "1h", "--until", "0s", "cc"]), "one\nthree");
    assert_eq!(host.ok(["logs", "--since", "2190-01-01T00:00:00Z", "cc"]), "two");
    assert_eq!(host.ok(["logs", "--tail", "2", "cc"]), "two\nthree");
    host.ok(["rm", "cc"]);
}

/// What a host finds that was switched off while a container ran for the second time.
#[test]
fn privileged_a_power_failure_ends_the_run_that_it_met() {
    let Some((host, image)) = machine() else { return };
    let id = host.ok(words(&format!(
        "run -d --name cc --restart unless-stopped --stop-timeout 0 {image} sleep 1000"
    )));
    host.ok(["stop", "cc"]);
    host.ok(["start", "cc"]);
    let started = look(&host, "{{.State.StartedAt}}");
    kill_all(&host, &id);
    std::fs::remove_dir_all(host.run_root().join("containers")).unwrap();
    assert_eq!(
        look(&host, "{{.State.Status}} {{.State.ExitCode}} {{.State.StartedAt}}"),
        format!("exited 255 {started}")
    );
    // It was stopped once, but not since.
    assert_eq!(host.ok(["system", "boot"]), "cc");
    host.ok(["rm", "-f", "cc"]);
}
