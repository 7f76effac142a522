//! Containers that mean harm, or do it without meaning to: each can be looked at, ended and removed as any other, and the
//! engine says what is so.

use std::process::Stdio;
use std::time::{Duration, Instant};

use hull_testkit::{Host, until, wait};
use serde_json::Value;

use crate::{machine, shell, words};

mod clock;
mod disk;

/// What a person tries on a container: all of it answers, soon, and in the end it is gone.
fn can_be_handled(host: &Host, name: &str) {
    for line in [
        "ps -a",
        "inspect NAME",
        "logs --tail 5 NAME",
        "stats --no-stream NAME",
        "top NAME",
        "diff NAME",
    ] {
        let began = Instant::now();
        host.ok(words(&line.replace("NAME", name)));
        assert!(began.elapsed() < Duration::from_secs(10), "{line} of {name}");
    }
    let began = Instant::now();
    host.ok(words(&format!("stop -t 0 {name}")));
    assert!(began.elapsed() < Duration::from_secs(10), "stop of {name}");
    assert_eq!(
        host.ok(["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", name]),
        "exited 137"
    );
    host.ok(["start", name]);
    host.ok(["rm", "-f", name]);
}

#[test]
fn privileged_one_that_forks_to_its_limit() {
    let Some((host, image)) = machine() else { return };
    host.ok(["run", "--rm", &image, "true"]);
    let before = host.traces();
    // A shell that cannot fork ends: the first one does not try.
    let script = "f() { while :; do sleep 1000 & f & done; }; f 2>/dev/null & exec sleep 1000";
    host.ok(shell(
        &format!("run -d --name bomb --pids-limit 40 --cpus 0.3 --health-cmd true --health-interval 50ms {image}"),
        script,
    ));
    until("the limit", || {
        let stats: Value = serde_json::from_str(&host.ok(words("stats --no-stream --format json bomb"))).unwrap();
        (stats["PIDs"].as_str()?.parse::<u32>().ok()? >= 36).then_some(())
    });
    // There is no room for another, unless its kernel lets it in from outside; it says so at once.
    let run = host.hull(["exec", "bomb", "true"]);
    let refused = run.code() == 126 && run.stderr.contains("Resource temporarily unavailable");
    assert!(run.code() == 0 || refused, "{run:?}");
    can_be_handled(&host, "bomb");
    host.assert_clean(&before);
}

#[test]
fn privileged_one_that_fills_its_log() {
    let Some((host, image)) = machine() else { return };
    host.ok(["run", "--rm", &image, "true"]);
    let before = host.traces();
    for driver in ["json-file", "local"] {
        let line = format!(
            "run -d --name loud --log-driver {driver} --log-opt max-size=256k --log-opt max-file=3 \
             --health-cmd true --health-interval 20ms {image} yes"
        );
        let id = host.ok(words(&line));
        let folder = host.data().join("containers").join(&id);
        let sizes = || -> u64 {
            let entries = std::fs::read_dir(&folder).unwrap().flatten();
            let logs = entries.filter(|entry| entry.file_name().to_string_lossy().contains(".log"));
            logs.filter_map(|entry| Some(entry.metadata().ok()?.len())).sum()
        };
        let mut most = 0;
        until("its health", || {
            most = most.max(sizes());
            (host.ok(["inspect", "-f", "{{.State.Health.Status}}", "loud"]) == "healthy").then_some(())
        });
        let until = Instant::now() + Duration::from_millis(500);
        while Instant::now() < until {
            most = most.max(sizes());
        }
        // Three files, one that is being compressed, and what is written before a file is put away.
        assert!(most > 256 << 10 && most < 8 << 20, "{driver}: {most} bytes");
        let tail = host.ok(["logs", "--tail", "3", "loud"]);
        assert_eq!(tail, "y\ny\ny", "{driver}");
        // Who follows is no burden, and goes when told so.
        let mut follower = host.hull_command(["logs", "-f", "loud"]);
        let mut follower = follower.stdout(Stdio::piped()).spawn().unwrap();
        can_be_handled(&host, "loud");
        follower.kill().unwrap();
        follower.wait().unwrap();
    }
    host.assert_clean(&before);
}

#[test]
fn privileged_one_that_ignores_the_signal_to_end() {
    let Some((host, image)) = machine() else { return };
    host.ok(shell(
        &format!("run -d --name deaf {image}"),
        "trap '' TERM INT HUP; echo up; while :; do sleep 0.05; done",
    ));
    until("its traps", || (host.ok(["logs", "deaf"]) == "up").then_some(()));
    let began = Instant::now();
    host.ok(["stop", "-t", "1", "deaf"]);
    let took = began.elapsed();
    assert!(
        took >= Duration::from_secs(1) && took < Duration::from_secs(8),
        "{took:?}"
    );
    assert_eq!(host.ok(["inspect", "-f", "{{.State.ExitCode}}", "deaf"]), "137");
    host.ok(["start", "deaf"]);
    let began = Instant::now();
    host.ok(["rm", "-f", "deaf"]);
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn privileged_one_that_ends_while_it_is_attached_to() {
    let Some((host, image)) = machine() else { return };
    for round in 0..8_u64 {
        let id = host.ok(shell(
            &format!("run -d --name brief {image}"),
            "sleep 0.03; echo last; exit 7",
        ));
        let mut clients = Vec::new();
        for _ in 0..6 {
            // What is tried is where in its short life the client comes.
            std::thread::sleep(Duration::from_millis(round));
            let mut client = host.hull_command(["attach", "--no-stdin", &id]);
            clients.push(client.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
        }
        for mut client in clients {
            let ended = wait::within(Duration::from_secs(15), || client.try_wait().unwrap());
            if ended.is_none() {
                client.kill().unwrap();
                panic!("a client hangs though its container has ended");
            }
            let output = client.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            let late = output.status.code() == Some(1) && said.contains("stopped container, start it first");
            assert!(output.status.code() == Some(7) || late, "{output:?}");
        }
        assert_eq!(host.ok(["logs", "brief"]), "last");
        host.ok(["rm", "-f", "brief"]);
    }
}

#[test]
fn privileged_one_that_leaves_a_thousand_zombies() {
    let Some((host, image)) = machine() else { return };
    host.ok(["run", "--rm", &image, "true"]);
    let before = host.traces();
    // The shell becomes a program that does not look after the orphans that it gets.
    let script = "mkfifo /gate; i=0; while [ $i -lt 1000 ]; do (read x </gate &); i=$((i+1)); done; \
                  echo made; exec sleep 1000";
    host.ok(shell(&format!("run -d --name dead --pids-limit 3000 {image}"), script));
    until("the orphans", || {
        host.ok(["logs", "dead"]).contains("made").then_some(())
    });
    // All that wait at the gate end at once.
    host.ok(shell("exec dead", "exec 3>/gate"));
    let zombies = "cat /proc/[0-9]*/stat 2>/dev/null | grep -c ') Z '; true";
    until("a thousand zombies", || {
        let count: u32 = host.ok(shell("exec dead", zombies)).parse().unwrap();
        (count >= 900).then_some(())
    });
    can_be_handled(&host, "dead");
    host.assert_clean(&before);
}

#[test]
fn privileged_one_that_is_stopped_in_its_tracks() {
    let Some((host, image)) = machine() else { return };
    host.ok(["run", "--rm", &image, "true"]);
    let before = host.traces();
    let run = || {
        let script = "trap 'exit 3' TERM; i=0; while :; do echo $i; i=$((i+1)); sleep 0.01; done";
        let id = host.ok(shell(&format!("run -d --name still {image}"), script));
        until("a line", || (!host.ok(["logs", "still"]).is_empty()).then_some(()));
        host.ok(["kill", "-s", "STOP", "still"]);
        let pid = host.ok(["inspect", "-f", "{{.State.Pid}}", "still"]);
        until("its stop", || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            stat.contains(") T ").then_some(())
        });
        id
    };
    run();
    // It is no more and no less than running.
    assert_eq!(host.ok(["inspect", "-f", "{{.State.Status}}", "still"]), "running");
    assert_eq!(host.ok(["exec", "still", "echo", "here"]), "here");
    assert_eq!(host.ok(["logs", "still"]).lines().next(), Some("0"));
    let held = host.ok(["logs", "still"]);
    host.ok(["kill", "-s", "CONT", "still"]);
    until("more lines", || {
        (host.ok(["logs", "still"]).len() > held.len()).then_some(())
    });
    host.ok(["kill", "-s", "STOP", "still"]);
    // A polite signal does not reach it: it is killed when its time is up.
    host.ok(["stop", "-t", "1", "still"]);
    assert_eq!(host.ok(["inspect", "-f", "{{.State.ExitCode}}", "still"]), "137");
    host.ok(["rm", "still"]);
    run();
    can_be_handled(&host, "still");
    host.assert_clean(&before);
}
