//! The commands, in the order of a container's life.

use std::io::{IoSliceMut, Read, Write};
use std::os::unix::net::UnixListener;
use std::process::Stdio;

use hull_testkit::{Run, until};
use serde_json::{Value, json};

use crate::bench::{Bench, unique};

#[test]
fn privileged_run_ends_as_its_program_ends() {
    let Some(bench) = Bench::new() else { return };
    for (name, script, code, out) in [
        ("code", "echo hello; exit 7", 7, "hello\n"),
        ("success", "true", 0, ""),
        // Process 1 of a PID namespace takes no signal from within, not even this one.
        ("unkillable", "kill -9 $$; echo alive", 0, "alive\n"),
    ] {
        let id = unique(name);
        let bundle = bench.bundle(name, script, |_| ());
        let run = bench.run_bundle(&bundle, &id).fails(code);
        assert_eq!(run.stdout, out, "{script}");
        bench.assert_gone(&id);
    }
}

#[test]
fn privileged_signals_are_passed_on() {
    let Some(bench) = Bench::new() else { return };
    let id = unique("signals");
    let bundle = bench.bundle(
        "b",
        "trap 'exit 42' TERM; echo ready; while true; do sleep 0.01; done",
        |_| (),
    );
    let mut run = bench.command(&["run", "--bundle", bundle.to_str().unwrap(), &id]);
    let mut child = run.stdout(Stdio::piped()).spawn().unwrap();
    let mut ready = [0u8; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(42));
    bench.assert_gone(&id);
}

#[test]
fn privileged_a_container_lives_through_its_commands() {
    let Some(bench) = Bench::new() else { return };
    let id = unique("life");
    let bundle = bench.bundle("b", "echo started; sleep 1000", |_| ());
    let pid_file = bench.path("pid");
    let (created, output) = bench.create(&bundle, &id, &["--pid-file", pid_file.to_str().unwrap()]);
    created.ok();
    assert_eq!(bench.status(&id), "created");
    let pid = bench.field(&id, "pid");
    assert_eq!(std::fs::read_to_string(pid_file).unwrap(), pid.to_string());
    assert_eq!(bench.field(&id, "bundle"), json!(bundle));
    // Looking does not start it, and its creator is gone without taking it along.
    assert_eq!(std::fs::read_to_string(&output).unwrap(), "");
    bench
        .create(&bundle, &id, &[])
        .0
        .fails(1)
        .says(&format!("container with id exists: {id}"));
    assert_eq!(bench.status(&id), "created");

    bench.run(&["start", &id]).ok();
    until("the program's output", || {
        (std::fs::read_to_string(&output).unwrap() == "started\n").then_some(())
    });
    assert_eq!(bench.status(&id), "running");
    bench
        .run(&["start", &id])
        .fails(1)
        .says("cannot start an already running container");
    assert!(bench.run(&["list"]).ok().stdout.contains(&id));
    let listed: Value = serde_json::from_str(&bench.run(&["list", "-f", "json"]).ok().stdout).unwrap();
    assert_eq!(listed[0]["id"], json!(id));
    let pids: Vec<i32> = serde_json::from_str(&bench.run(&["ps", "-f", "json", &id]).ok().stdout).unwrap();
    assert!(
        pids.contains(&i32::try_from(pid.as_i64().unwrap()).unwrap()),
        "{pids:?}"
    );

    bench.run(&["pause", &id]).ok();
    assert_eq!(bench.status(&id), "paused");
    bench.run(&["exec", &id, "true"]).fails(1).says("paused");
    bench.run(&["pause", &id]).fails(1);
    bench.run(&["resume", &id]).ok();
    assert_eq!(bench.status(&id), "running");

    bench
        .run(&["delete", &id])
        .fails(1)
        .says("that is not stopped: running");
    bench.run(&["kill", &id, "KILL"]).ok();
    until("its end", || (bench.status(&id) == "stopped").then_some(()));
    assert_eq!(bench.field(&id, "pid"), json!(0));
    bench.run(&["kill", &id, "TERM"]).fails(1).says("container not running");
    bench.run(&["start", &id]).fails(1).says("stopped");
    bench.run(&["exec", &id, "true"]).fails(1).says("stopped");
    bench.run(&["delete", &id]).ok();
    bench.assert_gone(&id);
    bench.run(&["delete", &id]).fails(1).says("container does not exist");
    bench.run(&["delete", "--force", &id]).ok();
}

#[test]
fn privileged_a_created_and_a_paused_container_can_be_deleted() {
    let Some(bench) = Bench::new() else { return };
    let bundle = bench.bundle("b", "sleep 1000", |_| ());
    let id = unique("never-started");
    bench.create(&bundle, &id, &[]).0.ok();
    bench.run(&["delete", &id]).ok();
    bench.assert_gone(&id);
    let id = unique("frozen");
    bench.create(&bundle, &id, &[]).0.ok();
    bench.run(&["start", &id]).ok();
    bench.run(&["pause", &id]).ok();
    bench.run(&["delete", "--force", &id]).ok();
    bench.assert_gone(&id);
}

#[test]
fn privileged_exec_joins_the_container() {
    let Some(bench) = Bench::new() else { return };
    let id = unique("exec");
    let bundle = bench.bundle("b", "sleep 1000", |_| ());
    bench.create(&bundle, &id, &[]).0.ok();
    bench.run(&["start", &id]).ok();
    assert_eq!(bench.run(&["exec", &id, "hostname"]).ok().stdout, "hull\n");
    let script = "id -u; id -g; echo $A; pwd; exit 9";
    let run = bench.run(&[
        "exec", "--user", "1000:5", "--env", "A=b", "--cwd", "/tmp", &id, "sh", "-c", script,
    ]);
    assert_eq!(run.fails(9).stdout, "1000\n5\nb\n/tmp\n");
    bench
        .run(&["exec", &id, "nosuch"])
        .fails(127)
        .says("exec: \"nosuch\": executable file not found in $PATH");
    bench
        .run(&["exec", &id, "/etc/passwd"])
        .fails(126)
        .says("permission denied");
    bench
        .run(&["exec", "--cwd", "/none", &id, "true"])
        .fails(255)
        .says("/none");
    bench
        .run(&["exec", "--cap", "CAP_FLY", &id, "true"])
        .fails(1)
        .says("CAP_FLY");

    // A failure reaches the log, which lies where the new process can no longer see it.
    let log = bench.path("log.json");
    let args = [
        "--log",
        log.to_str().unwrap(),
        "--log-format",
        "json",
        "exec",
        &id,
        "nosuch",
    ];
    bench.run(&args).fails(127);
    let logged: Value = serde_json::from_str(std::fs::read_to_string(&log).unwrap().trim()).unwrap();
    assert_eq!(logged["level"], "error");
    assert_eq!(logged["msg"], "exec: \"nosuch\": executable file not found in $PATH");

    let process = bench.path("process.json");
    let spec = json!({ "user": { "uid": 3, "gid": 4 }, "args": ["sh", "-c", "id -u; id -g"], "cwd": "/tmp", "env": ["PATH=/bin"] });
    std::fs::write(&process, spec.to_string()).unwrap();
    let run = bench.run(&["exec", "--process", process.to_str().unwrap(), &id]);
    assert_eq!(run.ok().stdout, "3\n4\n");

    let pid_file = bench.path("exec.pid");
    let mut detached = bench.command(&[
        "exec",
        "--detach",
        "--pid-file",
        pid_file.to_str().unwrap(),
        &id,
        "sleep",
        "500",
    ]);
    assert!(
        detached
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap()
            .success()
    );
    let pid: i32 = std::fs::read_to_string(pid_file).unwrap().parse().unwrap();
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
    assert_eq!(name, "sleep\n");
    let pids: Vec<i32> = serde_json::from_str(&bench.run(&["ps", "-f", "json", &id]).ok().stdout).unwrap();
    assert!(pids.contains(&pid), "{pid} is not in the container's cgroups: {pids:?}");
}

/// Takes the terminal that the runtime sends.
fn take_terminal(listener: &UnixListener) -> std::fs::File {
    let (socket, _) = listener.accept().unwrap();
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = rustix::net::RecvAncillaryBuffer::new(&mut space);
    let mut buffer = [0u8; 100];
    let flags = rustix::net::RecvFlags::CMSG_CLOEXEC;
    rustix::net::recvmsg(&socket, &mut [IoSliceMut::new(&mut buffer)], &mut control, flags).unwrap();
    let fd = control.drain().find_map(|message| match message {
        rustix::net::RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    fd.unwrap().into()
}

/// Reads until some text has come.
fn read_until(terminal: &mut std::fs::File, text: &str) {
    let mut all = String::new();
    while !all.contains(text) {
        let mut buffer = [0u8; 256];
        let read = terminal
            .read(&mut buffer)
            .unwrap_or_else(|e| panic!("{e} after {all:?}"));
        assert!(read > 0, "the end, after {all:?}");
        all.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
}

#[test]
fn privileged_a_terminal_goes_to_the_console_socket() {
    let Some(bench) = Bench::new() else { return };
    let id = unique("tty");
    let path = bench.path("console.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let bundle = bench.bundle("b", "tty; read line; echo got $line; sleep 1000", |spec| {
        spec["process"]["terminal"] = true.into();
    });
    let socket = ["--console-socket", path.to_str().unwrap()];
    // The caller's descriptors are let go of: whoever reads the runtime's output sees its end.
    let mut create = bench.command(&[
        "create",
        "--bundle",
        bundle.to_str().unwrap(),
        socket[0],
        socket[1],
        &id,
    ]);
    Run::of(&mut create).ok();
    let mut terminal = take_terminal(&listener);
    bench.run(&["start", &id]).ok();
    read_until(&mut terminal, "/dev/pts/0");
    terminal.write_all(b"words\n").unwrap();
    read_until(&mut terminal, "got words");

    let mut exec = bench.command(&["exec", "--tty", "--detach", socket[0], socket[1], &id, "tty"]);
    Run::of(&mut exec).ok();
    read_until(&mut take_terminal(&listener), "/dev/pts/1");

    let other = unique("tty2");
    bench.create(&bundle, &other, &[]).0.fails(1).says("console socket");
    bench.assert_gone(&other);
}

#[test]
fn privileged_limits_are_set_and_changed() {
    let Some(bench) = Bench::new() else { return };
    let id = unique("limits");
    let bundle = bench.bundle("b", "sleep 1000", |spec| {
        spec["linux"]["resources"]["memory"] = json!({ "limit": 64 << 20 });
        spec["linux"]["resources"]["pids"] = json!({ "limit": 30 });
        spec["linux"]["cgroupsPath"] = json!(format!("/hull-test/{id}"));
    });
    bench.create(&bundle, &id, &[]).0.ok();
    let limit = |names: [&str; 2]| {
        let files = bench
            .cgroups(&id)
            .into_iter()
            .flat_map(|folder| names.map(|name| folder.join(name)));
        files
            .filter_map(|file| std::fs::read_to_string(file).ok())
            .next()
            .unwrap()
            .trim()
            .to_owned()
    };
    let memory = ["memory.limit_in_bytes", "memory.max"];
    assert_eq!(limit(memory), (64 << 20).to_string());
    assert_eq!(limit(["pids.max"; 2]), "30");
    assert!(
        bench
            .cgroups(&id)
            .iter()
            .all(|folder| folder.to_str().unwrap().contains("hull-test/"))
    );
    bench.run(&["start", &id]).ok();
    bench
        .run(&["update", "--memory", "100663296", "--pids-limit", "20", &id])
        .ok();
    assert_eq!(limit(memory), "100663296");
    assert_eq!(limit(["pids.max"; 2]), "20");
    // Shares need a hierarchy that the container was not in, on cgroup v1; in any case all of it is subject to them.
    let mut update = bench.command(&["update", "--resources", "-", &id]);
    let mut child = update.stdin(Stdio::piped()).spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(br#"{"cpu": {"shares": 512}}"#)
        .unwrap();
    assert!(child.wait().unwrap().success());
    assert!(["512", "20", "59"].contains(&limit(["cpu.shares", "cpu.weight"]).as_str()));
    bench
        .run(&["update", "--memory", "much", &id])
        .fails(1)
        .says("not a number");
    bench.run(&["delete", "--force", &id]).ok();
    bench.assert_gone(&id);
}

#[test]
fn privileged_what_cannot_be_made_leaves_nothing() {
    let Some(bench) = Bench::new() else { return };
    type Edit = fn(&mut Value);
    let edits: [(&str, Edit, &str); 14] = [
        (
            "program",
            |s| s["process"]["args"] = json!(["nosuch"]),
            "exec: \"nosuch\": executable file not found in $PATH",
        ),
        (
            "file",
            |s| s["process"]["args"] = json!(["/etc/passwd"]),
            "exec: \"/etc/passwd\": permission denied",
        ),
        ("mount", |s| s["mounts"][0]["type"] = json!("nosuchfs"), "nosuchfs"),
        (
            "bind",
            |s| s["mounts"][0] = json!({"destination": "/x", "type": "bind", "source": "/no/such"}),
            "/no/such",
        ),
        ("rootfs", |s| s["root"]["path"] = json!("none"), "none"),
        (
            "cwd",
            |s| s["process"]["cwd"] = json!("relative"),
            "not an absolute path",
        ),
        (
            "sysctl",
            |s| s["linux"]["sysctl"] = json!({"kernel.panic": "1"}),
            "not in a separate kernel namespace",
        ),
        (
            "version",
            |s| s["ociVersion"] = json!("2.0.0"),
            "`2.0.0` is not supported",
        ),
        (
            "personality",
            |s| s["linux"]["personality"] = json!({"domain": "LINUX32"}),
            "`linux.personality`",
        ),
        (
            "scheduler",
            |s| s["process"]["scheduler"] = json!({"policy": "SCHED_FIFO"}),
            "`process.scheduler`",
        ),
        (
            "cgroup",
            |s| s["linux"]["cgroupsPath"] = json!("/hull/../.."),
            "leaves its place",
        ),
        (
            "systemd",
            |s| s["linux"]["cgroupsPath"] = json!("a.slice:b:c"),
            "systemd",
        ),
        (
            "hook",
            |s| s["hooks"] = json!({"createRuntime": [{"path": "relative"}]}),
            "not an absolute path",
        ),
        (
            "seccomp",
            |s| s["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_NOTIFY"}),
            "SCMP_ACT_NOTIFY",
        ),
    ];
    for (name, edit, says) in edits {
        let id = unique(name);
        let bundle = bench.bundle(name, "true", edit);
        bench.create(&bundle, &id, &[]).0.fails(1).says(says);
        bench.assert_gone(&id);
    }
}

#[test]
fn privileged_command_lines_that_are_refused() {
    let Some(bench) = Bench::new() else { return };
    for (args, says) in [
        (&["nosuch"][..], "unknown command `nosuch`"),
        (&["checkpoint", "x"], "`checkpoint` is not supported"),
        (&["--systemd-cgroup", "list"], "--systemd-cgroup is not supported"),
        (&["--log-format", "xml", "list"], "invalid log-format: xml"),
        (&["list", "--nope"], "unknown flag `--nope`"),
        (&["state"], "`state` takes exactly one argument"),
        (&["state", "../etc"], "invalid container id format"),
        (&["state", "nobody"], "container does not exist: nobody"),
        (&["create", "--no-pivot", "x"], "--no-pivot is not supported"),
        (&["create", "--bundle", "/no/such", "x"], "/no/such"),
        (&["kill", "nobody", "KILL"], "container does not exist"),
    ] {
        bench.run(args).fails(1).says(says);
    }
    assert!(bench.run(&["--version"]).ok().stdout.contains("spec: 1."));
    assert!(bench.run(&["--help"]).ok().stdout.contains("create"));
    let features: Value = serde_json::from_str(&bench.run(&["features"]).ok().stdout).unwrap();
    assert_eq!(features["linux"]["seccomp"]["enabled"], json!(true));
}

#[test]
fn privileged_a_creator_that_is_killed_leaves_what_can_be_deleted() {
    let Some(bench) = Bench::new() else { return };
    let id = unique("orphan");
    let bundle = bench.bundle("b", "sleep 1000", |spec| {
        // Holds the creator up in the middle.
        spec["hooks"] = json!({ "createRuntime": [{ "path": "/bin/sleep", "args": ["sleep", "30"] }] });
    });
    let mut create = bench.command(&["create", "--bundle", bundle.to_str().unwrap(), &id]);
    let mut creator = create.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let pid = until("its init", || {
        let text = std::fs::read(bench.state().join(&id).join("state.json")).ok()?;
        let state: Value = serde_json::from_slice(&text).ok()?;
        state["pid"].as_i64().filter(|pid| *pid > 0)
    });
    creator.kill().unwrap();
    creator.wait().unwrap();
    until("init's death", || (bench.status(&id) == "stopped").then_some(()));
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
    bench.run(&["delete", &id]).ok();
    bench.assert_gone(&id);
}
