//! Logs of every driver, written by real containers.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::Stdio;
use std::time::Duration;

use hull_testkit::{Host, wait};

use crate::{machine, shell, words};

/// Prints the numbers from 0 on, one a line.
const COUNT: &str = "i=0; while [ $i -lt 8000 ]; do echo line $i; i=$((i+1)); done";

fn counted() -> String {
    (0..8000).map(|n| format!("line {n}\n")).collect()
}

/// The container's log folder holds a file whose name ends so.
fn has_file(host: &Host, name: &str, end: &str) -> bool {
    let id = host.ok(["inspect", "-f", "{{.Id}}", name]);
    let folder = host.data().join("containers").join(id);
    let mut files = folder.read_dir().unwrap().map(|entry| entry.unwrap().file_name());
    files.any(|file| file.to_string_lossy().ends_with(end))
}

#[test]
fn privileged_logs_are_followed_over_rotation_and_compression() {
    let Some((host, image)) = machine() else { return };
    host.ok(["run", "--rm", &image, "true"]);
    let before = host.traces();
    for (name, options, compressed) in [
        ("plain", "max-size=20k --log-opt max-file=500", ""),
        (
            "gzip",
            "max-size=20k --log-opt max-file=500 --log-opt compress=true",
            ".gz",
        ),
        ("local", "max-size=10k --log-opt max-file=500", ".zst"),
    ] {
        let driver = if name == "local" { "local" } else { "json-file" };
        let line = format!("run -d --name {name} --log-driver {driver} --log-opt {options} {image}");
        // It begins when the follower is there.
        host.ok(shell(
            &line,
            &format!("while [ ! -e /go ]; do sleep 0.01; done; {COUNT}"),
        ));
        let out = host.path(name);
        let mut follower = host.hull_command(["logs", "-f", name]);
        let mut follower = follower.stdout(File::create(&out).unwrap()).spawn().unwrap();
        host.ok(["exec", name, "touch", "/go"]);
        assert_eq!(host.ok(["wait", name]), "0");
        assert!(follower.wait().unwrap().success());
        assert!(
            std::fs::read_to_string(&out).unwrap() == counted(),
            "{name}: {}",
            out.display()
        );
        assert!(host.hull(["logs", name]).ok().stdout == counted(), "{name}");
        if !compressed.is_empty() {
            wait::until("a compressed file", || has_file(&host, name, compressed).then_some(()));
        }
        let tail = host.ok(["logs", "--tail", "6000", name]);
        assert!(
            tail.starts_with("line 2000\n") && tail.ends_with("line 7999"),
            "{tail:.50}"
        );
        let stamped = host.ok(["logs", "-t", "-n", "1", name]);
        let (time, text) = stamped.split_once(' ').unwrap();
        assert_eq!((time.len(), text), (30, "line 7999"));
        assert!(time.parse::<jiff::Timestamp>().is_ok());
        host.ok(["rm", name]);
    }
    host.assert_clean(&before);
}

#[test]
fn privileged_a_restarted_container_goes_on_with_its_log() {
    let Some((host, image)) = machine() else { return };
    host.ok(shell(
        &format!("run -d --name cc --log-driver local {image}"),
        "echo a; printf half",
    ));
    host.ok(["wait", "cc"]);
    host.ok(["start", "cc"]);
    host.ok(["wait", "cc"]);
    assert_eq!(host.hull(["logs", "cc"]).ok().stdout, "a\nhalfa\nhalf");
    assert_eq!(host.hull(["logs", "-n", "3", "cc"]).ok().stdout, "halfa\nhalf");
    host.ok(["rm", "cc"]);
}

#[test]
fn privileged_details_show_what_was_chosen() {
    let Some((host, image)) = machine() else { return };
    for driver in ["json-file", "local"] {
        let line = format!(
            "run --name cc --log-driver {driver} --label a=b --env Z=1 --log-opt labels=a --log-opt env-regex=^Z --log-opt tag={{{{.Name}}}} {image} echo hi"
        );
        host.ok(words(&line));
        assert_eq!(host.ok(["logs", "--details", "cc"]), "Z=1,a=b,tag=cc hi");
        host.ok(["rm", "cc"]);
    }
}

#[test]
fn privileged_a_damaged_log_is_shown_with_a_warning() {
    let Some((host, image)) = machine() else { return };
    host.ok(shell(
        &format!("run --name cc {image}"),
        "echo one; echo two; echo three",
    ));
    let path = host.ok(["inspect", "-f", "{{.LogPath}}", "cc"]);
    let text = std::fs::read_to_string(&path).unwrap();
    let damaged: String = text
        .lines()
        .map(|line| {
            if line.contains("two") {
                "\0\0\n".to_owned()
            } else {
                format!("{line}\n")
            }
        })
        .collect();
    std::fs::write(&path, damaged + "{\"log\":\"to").unwrap();
    let run = host.hull(["logs", "cc"]).ok();
    assert_eq!(run.stdout, "one\nthree\n");
    assert_eq!(
        run.stderr,
        "warning: the log is damaged in 1 place: what was there is left out\n"
    );
    host.ok(["rm", "cc"]);
}

#[test]
fn privileged_syslog_gets_lines_and_logs_still_shows_them() {
    let Some((host, image)) = machine() else { return };
    host.ok(["run", "--rm", &image, "true"]);
    let before = host.traces();
    let socket = host.path("gram");
    let server = UnixDatagram::bind(&socket).unwrap();
    server.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let options = format!(
        "--log-driver syslog --log-opt syslog-address=unixgram://{} --log-opt syslog-facility=local0 --log-opt syslog-format=rfc5424",
        socket.display()
    );
    let script = "echo out; echo err >&2; sleep 0.1; printf end";
    host.ok(shell(
        &format!("run --name cc {options} --log-opt tag=my-{{{{.Name}}}} {image}"),
        script,
    ));
    let mut got = Vec::new();
    let mut buffer = [0; 1000];
    while got.len() < 3 {
        let length = server.recv(&mut buffer).unwrap();
        got.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
    }
    assert!(
        got.iter()
            .any(|m| m.starts_with("<134>1 2") && m.contains(" my-cc ") && m.ends_with(" my-cc - out\n")),
        "{got:?}"
    );
    assert!(
        got.iter().any(|m| m.starts_with("<131>1 2") && m.ends_with(" - err\n")),
        "{got:?}"
    );
    assert!(got[2].ends_with(" - end\n"), "{got:?}");
    let run = host.hull(["logs", "cc"]).ok();
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("out\nend", "err\n"));
    host.ok(["rm", "cc"]);

    host.ok(words(&format!(
        "run --name cc {options} --log-opt cache-disabled=true {image} true"
    )));
    let refused = host.hull(["logs", "cc"]).fails(1);
    refused.says("configured logging driver does not support reading");
    host.ok(["rm", "cc"]);
    host.assert_clean(&before);
}

#[test]
fn privileged_who_cannot_be_reached_keeps_a_container_from_starting() {
    let Some((host, image)) = machine() else { return };
    host.ok(["run", "--rm", &image, "true"]);
    let before = host.traces();
    for (options, words_of_error) in [
        (
            "--log-driver syslog --log-opt syslog-address=tcp://127.0.0.1:9",
            "tcp://127.0.0.1:9: connection refused",
        ),
        (
            "--log-driver syslog",
            "failed to initialize logging driver: unix:///var/run/log: no such file or directory",
        ),
        (
            "--log-driver journald",
            "failed to initialize logging driver: journald is not enabled on this host",
        ),
        (
            "--log-driver gelf",
            "log driver `gelf` is not part of hull: use one of journald, json-file, local, none, syslog",
        ),
    ] {
        // Where the host has them, they can be reached.
        let there = match options {
            "--log-driver syslog" => ["/dev/log", "/var/run/syslog", "/var/run/log"]
                .iter()
                .any(|p| std::path::Path::new(p).exists()),
            "--log-driver journald" => std::path::Path::new("/run/systemd/journal/socket").exists(),
            _ => false,
        };
        if !there {
            host.hull(words(&format!("run --rm {options} {image} true")))
                .fails(125)
                .says(words_of_error);
        }
    }
    host.assert_clean(&before);
}

/// Writes ten megabytes, and says when it is done.
const FLOOD: &str = "head -c 10000000 /dev/zero | tr '\\0' x | fold -w 100; echo; touch /done; sleep 1000";

fn is_done(host: &Host, name: &str) -> bool {
    host.hull(["exec", name, "test", "-e", "/done"]).status.success()
}

#[test]
fn privileged_a_slow_syslog_server_stops_the_container_only_if_it_may() {
    let Some((host, image)) = machine() else { return };
    host.ok(["run", "--rm", &image, "true"]);
    let before = host.traces();
    let socket = host.path("stream");
    let server = UnixListener::bind(&socket).unwrap();
    let options = format!(
        "--log-driver syslog --log-opt syslog-address=unix://{} --log-opt cache-disabled=true",
        socket.display()
    );
    host.ok(shell(
        &format!("run -d --name lossy {options} --log-opt mode=non-blocking {image}"),
        FLOOD,
    ));
    let (lossy, _) = server.accept().unwrap();
    wait::until("the end of the container that does not wait", || {
        is_done(&host, "lossy").then_some(())
    });
    host.ok(shell(&format!("run -d --name waits {options} {image}"), FLOOD));
    let (waits, _) = server.accept().unwrap();
    assert!(wait::within(Duration::from_millis(300), || is_done(&host, "waits").then_some(())).is_none());
    // It can be looked at and ended all the same.
    assert_eq!(host.ok(["inspect", "-f", "{{.State.Status}}", "waits"]), "running");
    let reader = std::thread::spawn(move || {
        let lines = BufReader::new(waits).lines().map(Result::unwrap);
        lines.filter(|line| line.contains("xxxx")).count()
    });
    wait::until("the end of the container that waits", || {
        is_done(&host, "waits").then_some(())
    });
    host.ok(["rm", "-f", "waits"]);
    assert_eq!(reader.join().unwrap(), 100_000);
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        BufReader::new(lossy).read_to_string(&mut text).map(|_| text).unwrap()
    });
    host.ok(["rm", "-f", "lossy"]);
    let text = reader.join().unwrap();
    let shown = text.matches("]: xxxx").count();
    assert!(shown > 100 && shown < 100_000, "{shown}");
    host.assert_clean(&before);
}

#[test]
fn privileged_a_slow_client_stops_the_container_only_if_it_may() {
    let Some((host, image)) = machine() else { return };
    host.ok(["run", "--rm", &image, "true"]);
    let before = host.traces();
    for (options, waits) in [("--log-opt mode=non-blocking", false), ("", true)] {
        host.ok(shell(
            &format!("run -d --name cc {options} {image}"),
            &format!("while [ ! -e /go ]; do sleep 0.01; done; {FLOOD}"),
        ));
        let mut client = host.hull_command(["attach", "--no-stdin", "--sig-proxy=false", "cc"]);
        let mut client = client.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // The client is there when the socket has a connection: it shows what was written after.
        let mut first = [0; 1];
        host.ok(["exec", "cc", "sh", "-c", "echo a > /proc/1/fd/1"]);
        let connected = wait::within(Duration::from_millis(500), || {
            host.ok(["exec", "cc", "sh", "-c", "echo a > /proc/1/fd/1"]);
            let mut ready = [rustix::event::PollFd::new(
                client.stdout.as_ref().unwrap(),
                rustix::event::PollFlags::IN,
            )];
            let zero = rustix::event::Timespec::default();
            (rustix::event::poll(&mut ready, Some(&zero)) == Ok(1)).then_some(())
        });
        assert!(connected.is_some(), "the client shows something");
        client.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
        host.ok(["exec", "cc", "touch", "/go"]);
        if waits {
            let done = wait::within(Duration::from_millis(300), || is_done(&host, "cc").then_some(()));
            assert!(done.is_none(), "it waits for its client");
        } else {
            wait::until("the end of what does not wait", || is_done(&host, "cc").then_some(()));
        }
        client.kill().unwrap();
        client.wait().unwrap();
        wait::until("the end", || is_done(&host, "cc").then_some(()));
        let kept = host.ok(["logs", "cc"]).matches('x').count();
        assert_eq!(kept, 10_000_000);
        host.ok(["rm", "-f", "cc"]);
    }
    host.assert_clean(&before);
}

#[test]
fn privileged_a_line_is_whole_though_its_monitor_was_killed_within_it() {
    let Some((host, image)) = machine() else { return };
    for driver in ["json-file", "local"] {
        let script =
            "echo one; printf half; while [ ! -e /go ]; do sleep 0.01; done; echo ' done'; echo three; sleep 1000";
        host.ok(shell(
            &format!("run -d --name cc --log-driver {driver} {image}"),
            script,
        ));
        let id = host.ok(["inspect", "-f", "{{.Id}}", "cc"]);
        let folder = host.run_root().join("containers").join(&id);
        wait::until("half a line", || {
            let bytes = std::fs::read(folder.join("unfinished")).ok()?;
            bytes.windows(4).any(|part| part == b"half").then_some(())
        });
        let state = std::fs::read_to_string(folder.join("state.json")).unwrap();
        let monitor = state
            .split_once("\"MonitorPid\":")
            .unwrap()
            .1
            .split([',', '}'])
            .next()
            .unwrap()
            .to_owned();
        assert!(host.command("kill").args(["-9", &monitor]).status().unwrap().success());
        // Any command that looks at it puts another monitor in its place.
        wait::until("another monitor", || {
            host.ok(["ps"]);
            let now = std::fs::read_to_string(folder.join("state.json")).ok()?;
            (!now.contains(&format!("\"MonitorPid\":{monitor}"))).then_some(())
        });
        host.ok(["exec", "cc", "touch", "/go"]);
        wait::until("the lines after", || {
            (host.hull(["logs", "cc"]).stdout == "one\nhalf done\nthree\n").then_some(())
        });
        host.ok(["rm", "-f", "cc"]);
    }
}
