//! `top` and `stats`: what is shown of running containers.

use std::collections::BTreeMap;

use hull_testkit::{Host, until};
use rustix::process::{Signal, kill_process};
use serde_json::Value;

use crate::terminal::{exit_code, is_raw, master, terminal, under_a_shell};
use crate::{machine, shell, words};

/// The cells of a table, by its headers.
fn table(text: &str) -> Vec<BTreeMap<String, String>> {
    let mut lines = text.lines();
    let titles: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    lines
        .map(|line| {
            let mut cells = line.split_whitespace();
            let mut row = BTreeMap::new();
            for (at, title) in titles.iter().enumerate() {
                let cell = if at + 1 == titles.len() {
                    cells.by_ref().collect::<Vec<_>>().join(" ")
                } else {
                    cells.next().unwrap().to_owned()
                };
                row.insert((*title).to_owned(), cell);
            }
            row
        })
        .collect()
}

fn two_processes(host: &Host, image: &str) {
    host.ok(shell(
        &format!("run -d --name cc {image}"),
        "sleep 1000 & exec sleep 2000",
    ));
    until("both processes", || {
        (host.ok(["top", "cc"]).lines().count() == 3).then_some(())
    });
    until("the last exec", || {
        (!host.ok(["top", "cc"]).contains("sh -c")).then_some(())
    });
}

#[test]
fn privileged_top_shows_what_the_hosts_ps_shows() {
    let Some((host, image)) = machine() else { return };
    two_processes(&host, &image);
    let init = host.ok(["inspect", "-f", "{{.State.Pid}}", "cc"]);
    let text = host.ok(["top", "cc"]);
    assert!(
        text.starts_with("UID                 PID                 PPID                C   "),
        "{text}"
    );
    let rows = table(&text);
    let pids: Vec<&str> = rows.iter().map(|row| row["PID"].as_str()).collect();
    assert!(pids.contains(&init.as_str()), "{text}");
    let commands: Vec<&str> = rows.iter().map(|row| row["CMD"].as_str()).collect();
    assert_eq!(commands, ["sleep 2000", "sleep 1000"]);
    assert_eq!(rows[1]["PPID"], init);
    // The same by the real `ps`, which any option leads to that is not understood here. What moves is left out.
    for (ours, theirs) in [
        (vec![], vec!["-ef", "--sort=pid"]),
        (vec!["aux"], vec!["aux", "--sort=pid"]),
        (
            vec!["-eo", "pid,ppid,pgid,user,uid,group,gid,stat,tty,nlwp,ni,pri,comm,args"],
            vec![
                "--sort=pid",
                "-eo",
                "pid,ppid,pgid,user,uid,group,gid,stat,tty,nlwp,ni,pri,comm,args",
            ],
        ),
    ] {
        let run = |options: &[&str]| host.hull(["top", "cc"].iter().chain(options).copied());
        let real = run(&theirs);
        if real.stderr.contains("cannot run the host's `ps`") {
            continue;
        }
        assert_eq!(run(&ours).ok().stdout, real.ok().stdout, "{ours:?}");
    }
    assert_eq!(table(&host.ok(["top", "cc", "-o", "pid,comm"]))[0]["COMMAND"], "sleep");
    host.hull(["top", "cc", "-o", "comm"])
        .fails(1)
        .says("Couldn't find PID field in ps output");
    host.hull(["top", "cc", "--nope"]).fails(1).says("ps");
    host.hull(["top", "cc", "-o", "ppid=PID"]).fails(1).says("not allowed");
    host.hull(["top"]).fails(1).says("requires at least 1 argument");
    host.ok(["stop", "-t", "0", "cc"]);
    host.hull(["top", "cc"]).fails(1).says("is not running");
    host.hull(["top", "nope"]).fails(1).says("No such container: nope");
}

fn figures(host: &Host, name: &str) -> Value {
    serde_json::from_str(&host.ok(["stats", "--no-stream", "--format", "json", name])).unwrap()
}

#[test]
fn privileged_stats_are_the_containers_own() {
    let Some((host, image)) = machine() else { return };
    let busy = "head -c 30000000 /dev/zero > /dev/shm/x; echo full; while :; do :; done";
    host.ok(shell(&format!("run -d --name busy -m 100m {image}"), busy));
    host.ok(words(&format!("run -d --name idle --network none {image} sleep 1000")));
    host.ok(words(&format!("create --name never {image}")));
    until("the memory in use", || {
        (host.hull(["logs", "busy"]).stdout == "full\n").then_some(())
    });
    // A machine with other work gives it less than a processor, but it gets some.
    until("the load", || {
        let cpu = figures(&host, "busy")["CPUPerc"].as_str().unwrap().to_owned();
        let cpu: f64 = cpu.trim_end_matches('%').parse().unwrap();
        (cpu > 10.0 && cpu < 120.0).then_some(())
    });
    let seen = figures(&host, "busy");
    let memory = seen["MemUsage"].as_str().unwrap();
    assert!(memory.ends_with("MiB / 100MiB"), "{memory}");
    let used: f64 = memory.split("MiB").next().unwrap().parse().unwrap();
    assert!((28.0..40.0).contains(&used), "{memory}");
    let id = host.ok(["inspect", "-f", "{{.Id}}", "busy"]);
    assert_eq!(
        (seen["Name"].as_str(), seen["ID"].as_str()),
        (Some("busy"), Some(&id[..12]))
    );
    assert_eq!(
        (seen["Container"].as_str(), seen["PIDs"].as_str()),
        (Some("busy"), Some("1"))
    );
    let seen = figures(&host, "idle");
    assert_eq!(
        (seen["CPUPerc"].as_str(), seen["NetIO"].as_str()),
        (Some("0.00%"), Some("0B / 0B"))
    );
    // Bytes through its own interface are counted.
    host.ok(words("exec busy ping -c 1 -s 5000 -W 5 127.0.0.1"));
    let gateway = host.ok(["inspect", "-f", "{{.NetworkSettings.Gateway}}", "busy"]);
    host.ok(["exec", "busy", "ping", "-c", "2", "-s", "1000", "-W", "5", &gateway]);
    let net = figures(&host, "busy")["NetIO"].as_str().unwrap().to_owned();
    let sent = net.split(" / ").nth(1).unwrap().to_owned();
    assert!(
        sent.ends_with("kB") && sent.starts_with(['2', '3']),
        "two of a kilobyte: {net}"
    );
    let names = |flags: &[&str]| {
        let line = ["stats", "--no-stream", "--format", "{{.Name}}"];
        let text = host.ok(line.iter().chain(flags).copied());
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(names(&[]), ["idle", "busy"]);
    assert_eq!(names(&["-a"]), ["never", "idle", "busy"]);
    assert_eq!(names(&["busy", "never"]), ["busy", "never"]);
    let table = host.ok(["stats", "--no-stream", "never"]);
    assert_eq!(
        table
            .lines()
            .nth(1)
            .unwrap()
            .split_whitespace()
            .skip(1)
            .collect::<Vec<_>>()
            .join(" "),
        "never 0.00% 0B / 0B 0.00% 0B / 0B 0B / 0B 0"
    );
    host.hull(["stats", "--no-stream", "nope", "idle", "nope2"])
        .fails(1)
        .says("No such container: nope\nNo such container: nope2");
    host.hull(["stats", "--graph"])
        .fails(1)
        .says("--graph needs a terminal");
    host.hull(["stats", "--graph", "--no-stream"])
        .fails(1)
        .says("conflicting options");
}

#[test]
fn privileged_the_table_is_repainted_and_follows_what_comes_and_goes() {
    let Some((host, image)) = machine() else { return };
    host.ok(words(&format!("run -d --name first {image} sleep 1000")));
    let mut session = terminal(&host, "stats");
    session.exp_string("CONTAINER ID").unwrap();
    session.exp_string("first").unwrap();
    host.ok(words(&format!("run -d --name second {image} sleep 1000")));
    session.exp_string("second").unwrap();
    host.ok(["rename", "first", "third"]);
    host.ok(["rm", "-f", "second"]);
    session.exp_string("third").unwrap();
    let shown = session.exp_string("\u{1b}[J").unwrap();
    assert!(!shown.contains("first"), "{shown:?}");
    session.send_control('c').unwrap();
    session.exp_eof().unwrap();
}

#[test]
fn privileged_the_graph_leaves_the_terminal_as_it_was() {
    let Some((host, image)) = machine() else { return };
    host.ok(words(&format!("run -d --name web {image} sleep 1000")));
    for end in ["q", "\u{3}"] {
        let mut session = terminal(&host, "stats --graph");
        session.exp_string("\u{1b}[?1049h\u{1b}[?25l").unwrap();
        session.exp_string("1 container").unwrap();
        session.exp_string("web").unwrap();
        session.exp_string("PIDS 1").unwrap();
        let master = master(&session);
        assert!(is_raw(&master));
        session.send(end).unwrap();
        session.flush().unwrap();
        session.exp_string("\u{1b}[?25h\u{1b}[?1049l").unwrap();
        assert!(exit_code(&mut session).contains(", 0)"));
        assert!(!is_raw(&master));
    }
    // After a KILL it is another process that puts the terminal right, before or after the shell has said how it ended.
    for (signal, ended) in [(Signal::TERM, Some("ended-with-143")), (Signal::KILL, None)] {
        let (mut session, client) = under_a_shell(&host, "stats --graph", "PIDS 1");
        let master = master(&session);
        kill_process(client, signal).unwrap();
        session.exp_string("\u{1b}[?25h\u{1b}[?1049l").unwrap();
        if let Some(ended) = ended {
            session.exp_string(ended).unwrap();
        }
        until("the terminal as it was", || (!is_raw(&master)).then_some(()));
    }
}
