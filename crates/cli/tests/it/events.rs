//! What is told of what happens.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};

use hull_testkit::{Host, Image, require_root, until};
use serde_json::Value;

use crate::{HULL, machine, shell, words};

/// All events so far that `filters` let pass.
fn told(host: &Host, filters: &[&str]) -> Vec<Value> {
    let mut args = vec!["events", "--since", "1h", "--until", "0s", "--format", "json"];
    args.extend(filters.iter().flat_map(|filter| ["--filter", filter]));
    let out = host.ok(args);
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Each as `TYPE ACTION (attributes but for names of things)`.
fn short(events: &[Value]) -> Vec<String> {
    let line = |event: &Value| {
        let attributes: BTreeMap<String, String> =
            serde_json::from_value(event["Actor"]["Attributes"].clone()).unwrap();
        let known = ["exitCode", "signal", "oldName", "destination", "label"];
        let shown = attributes.iter().filter(|(name, _)| known.contains(&name.as_str()));
        let shown: Vec<String> = shown.map(|(name, value)| format!(" {name}={value}")).collect();
        format!(
            "{} {}{}",
            event["Type"].as_str().unwrap(),
            event["Action"].as_str().unwrap(),
            shown.concat()
        )
    };
    events.iter().map(line).collect()
}

#[test]
fn privileged_a_containers_life_is_told() {
    let Some((host, image)) = machine() else { return };
    let id = host.ok(words(&format!(
        "create --name aa --label label=l -v vv:/data {image} sleep 1000"
    )));
    host.ok(["start", "aa"]);
    host.ok(["exec", "aa", "true"]);
    host.hull(shell("exec aa", "exit 4")).fails(4);
    host.ok(["rename", "aa", "bb"]);
    host.ok(["kill", "-s", "USR1", "bb"]);
    host.ok(["pause", "bb"]);
    host.ok(["unpause", "bb"]);
    host.ok(["stop", "-t", "0", "bb"]);
    host.ok(["rm", "bb"]);
    let events = told(&host, &["type=container", "type=network", "type=volume"]);
    assert_eq!(
        short(&events),
        [
            "volume create",
            "container create label=l",
            "network connect",
            "volume mount destination=/data",
            "container start label=l",
            "container exec_create: true  label=l",
            "container exec_start: true  label=l",
            "container exec_die exitCode=0 label=l",
            "container exec_create: sh -c exit 4 label=l",
            "container exec_start: sh -c exit 4 label=l",
            "container exec_die exitCode=4 label=l",
            "container rename label=l oldName=/aa",
            "container kill label=l signal=10",
            "container pause label=l",
            "container unpause label=l",
            "container kill label=l signal=15",
            "container kill label=l signal=9",
            "network disconnect",
            "volume unmount",
            "container die exitCode=137 label=l",
            "container stop label=l",
            "container destroy label=l",
        ]
    );
    for event in &events {
        let container = event["Type"] == "container";
        assert_eq!(event["id"].as_str(), container.then_some(id.as_str()), "{event}");
        assert_eq!(event["from"].as_str(), container.then_some(image.as_str()), "{event}");
        let of = if container {
            &event["Actor"]["ID"]
        } else {
            &event["Actor"]["Attributes"]["container"]
        };
        assert!(*of == id.as_str() || event["Action"] == "create", "{event}");
        assert_eq!(event["scope"], "local");
        assert_eq!(event["time"], event["timeNano"].as_i64().unwrap() / 1_000_000_000);
    }
    let name = |event: &Value| event["Actor"]["Attributes"]["name"].as_str().map(str::to_owned);
    let last = events.last().unwrap();
    assert_eq!(name(last).as_deref(), Some("bb"));
    let network = host.ok(["run", "--rm", "-d", "--name", "cc", &image, "sleep", "1000"]);
    let network_id = host.ok([
        "inspect",
        "-f",
        "{{.NetworkSettings.Networks.bridge.NetworkID}}",
        &network,
    ]);
    host.ok(["rm", "-f", "cc"]);
    let connected = told(&host, &["event=connect"]);
    assert_eq!(connected.last().unwrap()["Actor"]["ID"], network_id.as_str());
}

#[test]
fn privileged_what_goes_with_its_container_is_told() {
    let Some((host, image)) = machine() else { return };
    host.hull(shell(&format!("run --rm -v /anonymous {image}"), "exit 3"))
        .fails(3);
    let events = told(&host, &["type=container", "type=volume"]);
    assert_eq!(
        short(&events),
        [
            "volume create",
            "container create",
            "container attach",
            "volume mount destination=/anonymous",
            "container start",
            "volume unmount",
            "container die exitCode=3",
            "volume destroy",
            "container destroy",
        ]
    );
    // What never ran does not die, but goes.
    host.hull(["run", "--rm", "--network", "none", &image, "/no/such"])
        .fails(127);
    let events = told(&host, &["type=container", "type=network"]);
    assert_eq!(
        short(&events[events.len() - 2..]),
        ["container create", "container destroy"]
    );
    // The network that is none has an ID, too, always the same.
    for _ in 0..2 {
        host.ok(["run", "--rm", "--network", "none", &image, "true"]);
    }
    let ids: Vec<String> = told(&host, &["network=none"])
        .iter()
        .map(|event| event["Actor"]["ID"].to_string())
        .collect();
    assert!(
        ids.len() == 4 && ids.iter().all(|id| *id == ids[0] && id.len() == 66),
        "{ids:?}"
    );
}

#[test]
fn privileged_a_death_that_no_monitor_saw_is_told_once() {
    let Some((host, image)) = machine() else { return };
    host.ok(words(&format!("run -d --name aa {image} sleep 1000")));
    let pids = host.ok(["inspect", "-f", "{{.State.Pid}}", "aa"]);
    let state = host
        .run_root()
        .join("containers")
        .join(host.ok(["inspect", "-f", "{{.Id}}", "aa"]))
        .join("state.json");
    let state: Value = serde_json::from_slice(&std::fs::read(state).unwrap()).unwrap();
    for pid in [state["MonitorPid"].to_string(), pids] {
        let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
    host.ok(["wait", "aa"]);
    host.ok(["wait", "aa"]);
    let deaths = told(&host, &["event=die", "event=disconnect"]);
    assert_eq!(short(&deaths).len(), 2, "{deaths:?}");
    host.ok(["rm", "aa"]);
    assert_eq!(told(&host, &["event=die"]).len(), 1);
}

#[test]
fn privileged_images_are_told_of() {
    if !require_root() {
        return;
    }
    let host = Host::new(HULL);
    let labelled = Image::busybox().set("Labels", serde_json::json!({"label": "l"}));
    let Some(image) = host.provide("busybox", &labelled) else {
        return;
    };
    let id = host.ok(["inspect", "-f", "{{.Id}}", &image]);
    host.ok(["rmi", &image]);
    let events = told(&host, &["type=image"]);
    let untag = short(&events)
        .iter()
        .filter(|line| *line == "image untag label=l")
        .count();
    assert!(untag >= 1, "{events:?}");
    assert_eq!(short(&events[..1]), ["image pull label=l"]);
    assert_eq!(
        events[0]["id"],
        format!("{image}:latest").replace(":latest:latest", ":latest")
    );
    assert_eq!(short(&events[events.len() - 1..]), ["image delete label=l"]);
    assert_eq!(events[events.len() - 1]["id"], id.as_str());
}

#[test]
fn privileged_events_are_followed_from_another_process() {
    let Some((host, image)) = machine() else { return };
    let mut command = host.hull_command([
        "events",
        "--filter",
        "event=die",
        "--format",
        "{{.Actor.Attributes.exitCode}}",
    ]);
    let mut listener = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(listener.stdout.take().unwrap()).lines();
    let log = host.data().join("events");
    until("the listener", || {
        let fds = std::fs::read_dir(format!("/proc/{}/fd", listener.id())).ok()?;
        let mut links = fds.flatten().filter_map(|fd| std::fs::read_link(fd.path()).ok());
        (log.exists() && links.any(|link| link.to_string_lossy().contains("inotify"))).then_some(())
    });
    for code in 1..4 {
        if code == 3 {
            // As a writer that finds it long enough.
            std::fs::rename(log.join("log"), log.join("log.1")).unwrap();
        }
        host.hull(shell(&format!("run --rm {image}"), &format!("exit {code}")))
            .fails(code);
        assert_eq!(lines.next().unwrap().unwrap(), code.to_string());
    }
    let pid = rustix::process::Pid::from_child(&listener);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    // As Docker's client: the shell sees 130.
    let status = listener.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(2));
    // It ends by itself when the time has come.
    let past = host.ok([
        "events",
        "--since",
        "1h",
        "--until",
        "0s",
        "--filter",
        "event=die",
        "--format",
        "{{.Actor.Attributes.exitCode}}",
    ]);
    assert_eq!(past, "1\n2\n3");
}

#[test]
fn privileged_events_are_refused_in_dockers_words() {
    if !require_root() {
        return;
    }
    let host = Host::new(HULL);
    let check = |args: &[&str], code: i32, text: &str| {
        host.hull(["events"].iter().chain(args)).fails(code).says(text);
    };
    check(
        &["--since", "foo"],
        1,
        "failed to parse value as time or duration: \"foo\"",
    );
    check(
        &["--since", "200", "--until", "100"],
        1,
        "`since` time (200) cannot be after `until` time (100)",
    );
    check(
        &["--filter", "event"],
        125,
        "bad format of filter (expected name=value)",
    );
    check(&["--filter", "nosuch=x", "--until", "0s"], 1, "invalid filter 'nosuch'");
    check(
        &["--format", "{{"],
        64,
        "Error parsing format: template: :1: unclosed action",
    );
    check(&["extra"], 1, "accepts no arguments");
}

#[test]
fn privileged_the_end_of_a_detached_exec_is_told() {
    let Some((host, image)) = machine() else { return };
    host.ok(words(&format!("run -d --name aa {image} sleep 1000")));
    let died = || -> Vec<Value> { told(&host, &["event=exec_die"]) };
    // The command returns while its process runs, and nobody holds its output open.
    host.ok(shell("exec -d aa", "while ! test -e /go; do sleep 0.01; done; exit 5"));
    assert_eq!(died(), [Value::Null; 0]);
    host.ok(["exec", "-d", "-t", "aa", "sleep", "1000"]);
    host.ok(["exec", "aa", "touch", "/go"]);
    let by = |code: &str| {
        until("the end", || {
            died()
                .into_iter()
                .find(|event| event["Actor"]["Attributes"]["exitCode"] == code)
        })
    };
    let start = told(&host, &["event=exec_start"]);
    assert_eq!(
        by("5")["Actor"]["Attributes"]["execID"],
        start[0]["Actor"]["Attributes"]["execID"]
    );
    host.ok(["rm", "-f", "aa"]);
    assert_eq!(
        by("137")["Actor"]["Attributes"]["execID"],
        start[1]["Actor"]["Attributes"]["execID"]
    );
    host.hull(["exec", "-d", "aa", "true"])
        .fails(1)
        .says("No such container: aa");
    host.ok(words(&format!("run -d --name aa {image} sleep 1000")));
    host.hull(["exec", "-d", "aa", "no-such"])
        .fails(1)
        .says("executable file not found");
    host.ok(["rm", "-f", "aa"]);
}

#[test]
fn privileged_a_terminals_sizes_are_told() {
    use rustix::termios::{Winsize, tcsetwinsize};
    let Some((host, image)) = machine() else { return };
    let mut session = crate::terminal::terminal(&host, &format!("run -it --name box {image} sh"));
    session.exp_string("# ").unwrap();
    let master = crate::terminal::master(&session);
    let sizes = || -> Vec<(String, String)> {
        let text = |event: &Value, name: &str| event["Actor"]["Attributes"][name].as_str().unwrap().to_owned();
        let events = told(&host, &["event=resize", "container=box"]);
        events
            .iter()
            .map(|event| (text(event, "height"), text(event, "width")))
            .collect()
    };
    let size = Winsize {
        ws_row: 31,
        ws_col: 101,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&master, size).unwrap();
    until("its new size", || {
        sizes().contains(&("31".to_owned(), "101".to_owned())).then_some(())
    });
    session.send_line("exit").unwrap();
    session.exp_eof().unwrap();
    host.ok(["rm", "box"]);
}
