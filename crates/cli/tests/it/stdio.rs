//! Standard streams: several clients at once, input that ends, much of everything, and exec's own answers.

use std::io::{Read, Write};
use std::process::{Child, Stdio};

use hull_testkit::{Host, until};

use crate::{machine, shell, words};

/// A client whose input we write and whose output we read.
fn client(host: &Host, line: &str) -> Child {
    let mut command = host.hull_command(words(line));
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Waits until `count` clients are attached: the events tell of each.
fn attached(host: &Host, count: usize) {
    until("the clients", || {
        let told = std::fs::read_to_string(host.data().join("events/log")).unwrap_or_default();
        (told.matches("\"Action\":\"attach\"").count() >= count).then_some(())
    });
}

#[test]
fn privileged_all_clients_see_all_output_and_any_may_type() {
    let Some((host, image)) = machine() else { return };
    let script = "read a; read b; i=0; while [ $i -lt 3000 ]; do echo $a-$b-$i; i=$((i+1)); done; echo err >&2; exit 7";
    host.ok(shell(&format!("run -d -i --name cc {image}"), script));
    let mut clients: Vec<Child> = (0..3).map(|_| client(&host, "attach cc")).collect();
    let mut deaf = client(&host, "attach --no-stdin cc");
    attached(&host, 4);
    drop(deaf.stdin.take());
    // The end of one client's input is not the container's, whose input was not made for one client.
    for (at, line) in [(0, "x\n"), (1, "y\n")] {
        let mut stdin = clients[at].stdin.take().unwrap();
        stdin.write_all(line.as_bytes()).unwrap();
    }
    let mut expected: String = (0..3000).map(|i| format!("x-y-{i}\n")).collect();
    clients.push(deaf);
    let mut orders = Vec::new();
    for client in clients {
        let output = client.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(7));
        orders.push(String::from_utf8(output.stdout).unwrap());
        assert_eq!(output.stderr, b"err\n");
    }
    // Two that type at once may be heard in either order.
    if orders[0].starts_with("y-x") {
        expected = expected.replace("x-y", "y-x");
    }
    for seen in orders {
        assert!(seen == expected, "{} of {} bytes", seen.len(), expected.len());
    }
}

#[test]
fn privileged_input_that_was_made_for_one_client_ends_with_it() {
    let Some((host, image)) = machine() else { return };
    let run = host.hull_with_input(shell(&format!("run --rm -i {image}"), "cat; echo eof"), b"one\n");
    assert_eq!(run.ok().stdout, "one\neof\n");
    host.ok(shell(&format!("run -d -i --name cc {image}"), "cat; echo eof"));
    // Without input of its own a client leaves the container's alone.
    let mut deaf = client(&host, "attach --no-stdin cc");
    attached(&host, 1);
    drop(deaf.stdin.take());
    let mut typist = client(&host, "attach cc");
    attached(&host, 2);
    let mut stdin = typist.stdin.take().unwrap();
    stdin.write_all(b"typed\n").unwrap();
    drop(stdin);
    for client in [&mut deaf, &mut typist] {
        let mut seen = [0; 6];
        client.stdout.as_mut().unwrap().read_exact(&mut seen).unwrap();
        assert_eq!(&seen, b"typed\n");
    }
    assert_eq!(host.ok(["inspect", "-f", "{{.State.Running}}", "cc"]), "true");
    host.ok(["rm", "-f", "cc"]);
    for mut client in [deaf, typist] {
        assert_eq!(client.wait().unwrap().code(), Some(137));
    }
}

#[test]
fn privileged_a_client_that_only_types_is_told_the_id() {
    let Some((host, image)) = machine() else { return };
    let input = vec![b'x'; 2_000_000];
    let script = "wc -c; exit 3";
    let run = host.hull_with_input(shell(&format!("run -i -a stdin --name cc {image}"), script), &input);
    let id = run.ok().stdout.trim().to_owned();
    assert_eq!(id, host.ok(["inspect", "-f", "{{.Id}}", "cc"]));
    assert_eq!(host.ok(["wait", "cc"]), "3");
    assert_eq!(host.ok(["logs", "cc"]), "2000000");
}

/// The most memory that a process had, in KiB.
fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

#[test]
fn privileged_hundreds_of_megabytes_pass_in_little_memory() {
    let Some((host, image)) = machine() else { return };
    const BYTES: usize = 200 << 20;
    let mut client = client(&host, &format!("run --rm -i --name cc --log-driver none {image} cat"));
    let mut stdin = client.stdin.take().unwrap();
    let mut stdout = client.stdout.take().unwrap();
    let pattern = |at: usize| u8::try_from(at % 251).unwrap();
    let block: Vec<u8> = (0..251 * 1024).map(pattern).collect();
    let pid = client.id();
    std::thread::scope(|scope| {
        let block = &block;
        scope.spawn(move || {
            let mut left = BYTES;
            while left > 0 {
                let n = left.min(block.len());
                stdin.write_all(&block[..n]).unwrap();
                left -= n;
            }
        });
        let monitor = until("the container", || {
            let init = host.hull(["inspect", "-f", "{{.State.Pid}}", "cc"]).stdout;
            let status = std::fs::read_to_string(format!("/proc/{}/status", init.trim())).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
            line.trim().parse::<u32>().ok().filter(|pid| *pid > 1)
        });
        // A reader that does not read: everything between stands still, and nothing grows.
        let mut last = 0;
        until("the standstill", || {
            let io = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
            let read = io
                .lines()
                .next()
                .unwrap()
                .split(' ')
                .nth(1)
                .unwrap()
                .parse::<u64>()
                .unwrap();
            let still = read == last && read > 0;
            last = read;
            still.then_some(())
        });
        let (mut at, mut buffer) = (0, vec![0u8; 1 << 20]);
        let mut most = [0, 0];
        loop {
            let n = stdout.read(&mut buffer).unwrap();
            if n == 0 {
                break;
            }
            for (offset, byte) in buffer[..n].iter().enumerate() {
                assert_eq!(*byte, pattern((at + offset) % block.len()), "byte {}", at + offset);
            }
            at += n;
            most = [most[0].max(peak(pid)), most[1].max(peak(monitor))];
        }
        assert_eq!(at, BYTES);
        assert!(most[0] > 0 && most[0] < 8 << 10, "the client has {} KiB", most[0]);
        assert!(most[1] > 0 && most[1] < 8 << 10, "the monitor has {} KiB", most[1]);
    });
    assert_eq!(client.wait().unwrap().code(), Some(0));
}

#[test]
fn privileged_exec_answers_for_itself() {
    let Some((host, image)) = machine() else { return };
    host.ok(words(&format!("run -d --name cc -e KEPT=1 {image} sleep 1000")));
    let check = |line: &str, code: i32, says: &str| {
        host.hull(words(&format!("exec {line}"))).fails(code).says(says);
    };
    check("cc nosuch", 127, "executable file not found");
    check("cc /etc/passwd", 126, "permission denied");
    check("cc /etc", 126, "exec: \"/etc\"");
    check("-w /nope cc true", 126, "/nope");
    check("-u nobodyx cc true", 126, "unable to find user nobodyx");
    check("-u 12:nogrp cc true", 126, "unable to find group nogrp");
    check("-d cc nosuch", 1, "executable file not found");
    check("-e =x cc true", 125, "invalid argument \"=x\" for \"-e, --env\" flag");
    check("--detach-keys x-y cc true", 1, "Invalid escape keys (x-y) provided");
    check("-it cc true", 1, "the input device is not a TTY");
    check("nope true", 1, "No such container: nope");
    host.hull(shell("exec cc", "kill -9 $$")).fails(137);
    let out = |line: &str, script: &str| host.ok(shell(&format!("exec {line} cc"), script));
    assert_eq!(
        out("-e A=1 -e UNKNOWN_HERE", "echo $A ${UNKNOWN_HERE-unset} $KEPT"),
        "1 unset 1"
    );
    assert_eq!(out("-u 12:34 -w /tmp", "id -u; id -g; pwd"), "12\n34\n/tmp");
    let all = out("--privileged", "grep CapEff /proc/self/status");
    let own = out("", "grep CapEff /proc/self/status");
    assert!(all != own && all.contains("ffffff"), "{all} {own}");
    assert_eq!(
        host.hull_with_input(words("exec cc cat"), b"x").ok().stdout,
        "",
        "no input without -i"
    );
    // One that leaves a child behind with its output is not waited for longer than itself.
    let start = std::time::Instant::now();
    assert_eq!(out("", "sleep 1000 & echo left"), "left");
    assert!(start.elapsed().as_secs() < 20);
    // The container's end is that of what runs in it.
    let exec = host.spawn(["exec", "cc", "sleep", "1000"]);
    until("the exec", || {
        host.ok(["top", "cc", "-eo", "pid,args"])
            .matches("sleep 1000")
            .nth(2)
            .map(drop)
    });
    host.ok(["kill", "cc"]);
    let mut exec = exec;
    assert_eq!(exec.wait().unwrap().code(), Some(137));
}
