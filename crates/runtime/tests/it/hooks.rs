//! Programs at a container's transitions.

use serde_json::{Value, json};

use crate::bench::{Bench, unique};

/// A hook that notes its name and the state's status.
fn note(log: &str, name: &str) -> Value {
    let script = format!("read state; echo \"{name} $state\" >> {log}");
    json!({ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"] })
}

#[test]
fn privileged_hooks_run_in_their_order_and_place() {
    let Some(bench) = Bench::new() else { return };
    let id = unique("hooks");
    let log = bench.path("log");
    let log = log.to_str().unwrap();
    let bundle = bench.bundle("b", "cat /started; hostname", |spec| {
        let inside = "read state; echo startContainer > /started; echo $state >> /started";
        spec["annotations"] = json!({ "a.b": "c" });
        spec["hooks"] = json!({
            "prestart": [note(log, "prestart")],
            "createRuntime": [note(log, "createRuntime")],
            "createContainer": [note(log, "createContainer")],
            "startContainer": [{ "path": "/bin/sh", "args": ["sh", "-c", inside] }],
            "poststart": [note(log, "poststart")],
            "poststop": [note(log, "poststop"), { "path": "/bin/false" }, note(log, "last")],
        });
    });
    let run = bench.run_bundle(&bundle, &id).ok();
    assert!(run.stdout.starts_with("startContainer\n{"), "{}", run.stdout);
    assert!(run.stdout.ends_with("hull\n"), "{}", run.stdout);
    let inside: Value = serde_json::from_str(run.stdout.lines().nth(1).unwrap()).unwrap();
    assert_eq!((&inside["status"], &inside["pid"]), (&json!("created"), &json!(1)));
    assert!(
        run.stderr.contains("poststop hook"),
        "the hook that fails is told of: {}",
        run.stderr
    );
    let text = std::fs::read_to_string(log).unwrap();
    let noted: Vec<(String, Value)> = text
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(name, state)| (name.to_owned(), serde_json::from_str(state).unwrap()))
        .collect();
    let statuses: Vec<(&str, &str)> = noted
        .iter()
        .map(|(name, state)| (name.as_str(), state["status"].as_str().unwrap()))
        .collect();
    let expected = [
        ("prestart", "creating"),
        ("createRuntime", "creating"),
        ("createContainer", "creating"),
        ("poststart", "running"),
        ("poststop", "stopped"),
        ("last", "stopped"),
    ];
    assert_eq!(statuses, expected);
    for (_, state) in &noted {
        assert_eq!(state["id"], json!(id));
        assert_eq!(state["bundle"], json!(bundle));
        assert_eq!(state["annotations"]["a.b"], "c");
    }
    bench.assert_gone(&id);
}

#[test]
fn privileged_a_hook_that_fails_ends_the_making() {
    let Some(bench) = Bench::new() else { return };
    for kind in ["prestart", "createRuntime", "createContainer", "startContainer"] {
        let id = unique(kind);
        let bundle = bench.bundle(kind, "echo ran", |spec| {
            spec["hooks"][kind] = json!([{ "path": "/bin/sh", "args": ["sh", "-c", "echo no way >&2; exit 3"] }]);
        });
        let run = bench.run_bundle(&bundle, &id).fails(1).says(kind).says("no way");
        assert_eq!(run.stdout, "", "{kind}");
        bench.assert_gone(&id);
    }
}

#[test]
fn privileged_a_hook_that_takes_too_long_is_killed() {
    let Some(bench) = Bench::new() else { return };
    let id = unique("slow");
    let bundle = bench.bundle("b", "true", |spec| {
        spec["hooks"]["createRuntime"] = json!([{ "path": "/bin/sleep", "args": ["sleep", "100"], "timeout": 1 }]);
    });
    bench.run_bundle(&bundle, &id).fails(1).says("timed out after 1 s");
    bench.assert_gone(&id);
}
