//! What a container goes through, seen through every command.

use hull_testkit::until;
use serde_json::Value;

use crate::{machine, shell};

#[test]
fn privileged_a_container_from_create_to_rm() {
    let Some((host, image)) = machine() else { return };
    let format = "{{.State.Status}} {{.State.ExitCode}}";
    let state = || host.ok(["inspect", "--format", format, "cc"]);
    let script = "echo out; echo err >&2; trap 'exit 3' TERM; while :; do sleep 0.05; done";
    let id = host.ok(shell(&format!("create --name cc --label a=b {image}"), script));
    assert!(id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
    assert_eq!(state(), "created 0");
    assert_eq!(host.ok(["ps", "-q"]), "");
    host.ok(["start", "cc"]);
    assert_eq!(state(), "running 0");
    assert_eq!(host.ok(["ps", "-q", "--no-trunc", "--filter", "label=a=b"]), id);
    host.hull(["rm", "cc"]).fails(1).says("running");
    until("the output in the log", || {
        (host.hull(["logs", "cc"]).stderr == "err\n").then_some(())
    });
    assert_eq!(host.hull(["logs", "cc"]).ok().stdout, "out\n");
    assert_eq!(host.ok(["stop", "cc"]), "cc");
    assert_eq!(state(), "exited 3");
    assert_eq!(host.ok(["wait", "cc"]), "3");
    let table = host.ok(["ps", "-a", "--format", "{{.Names}} {{.Image}} {{.Status}}"]);
    assert!(table.starts_with(&format!("cc {image} Exited (3) ")), "{table}");
    host.ok(["start", "cc"]);
    assert_eq!(state(), "running 0");
    assert_eq!(host.ok(["kill", "cc"]), "cc");
    assert_eq!(host.ok(["wait", &id[..12]]), "137");
    host.ok(["rm", &id[..8]]);
    host.hull(["inspect", "cc"]).fails(1).says("cc");
}

#[test]
fn privileged_a_removed_container_leaves_nothing() {
    let Some((host, image)) = machine() else { return };
    host.ok(["run", "--rm", &image, "true"]);
    let before = host.traces();
    host.ok(["run", "--rm", &image, "true"]);
    host.ok([
        "run", "--rm", "-p", "8080:80", "-v", "/tmp:/x", "--tmpfs", "/y", "-m", "32m", &image, "true",
    ]);
    host.ok([
        "run",
        "-d",
        "--name",
        "aa",
        "-p",
        "8080:80/udp",
        &image,
        "sleep",
        "1000",
    ]);
    host.ok([
        "run",
        "-d",
        "--name",
        "bb",
        "--network",
        "container:aa",
        &image,
        "sleep",
        "1000",
    ]);
    host.ok(["exec", "bb", "true"]);
    host.ok(["rm", "-f", "aa", "bb"]);
    host.hull(["run", "--rm", &image, "no-such-program"]).fails(127);
    host.assert_clean(&before);
}

#[test]
fn privileged_input_and_output_pass() {
    let Some((host, image)) = machine() else { return };
    let large: Vec<u8> = (0..3_000_000_u32)
        .map(|n| b'a' + u8::try_from(n % 26).unwrap())
        .collect();
    let run = host.hull_with_input(["run", "--rm", "-i", &image, "cat"], &large).ok();
    assert_eq!(
        (run.stdout.len(), run.stdout.as_bytes() == large),
        (large.len(), true),
        "every byte, in order"
    );
    let run = host
        .hull(shell(&format!("run --rm {image}"), "echo one; echo two >&2; cat"))
        .ok();
    assert_eq!(
        (run.stdout.as_str(), run.stderr.as_str()),
        ("one\n", "two\n"),
        "without -i there is no input"
    );
    let flood = "head -c 5000000 /dev/zero | tr '\\0' x; echo; echo end";
    let run = host.hull(shell(&format!("run --rm {image}"), flood)).ok();
    assert!(
        run.stdout.len() == 5_000_005 && run.stdout.ends_with("x\nend\n"),
        "{} bytes",
        run.stdout.len()
    );
    let piped = host
        .hull_with_input(["run", "--rm", "-i", &image, "head", "-c", "1"], &large)
        .ok();
    assert_eq!(piped.stdout, "a", "a process that stops reading ends the command");
}

#[test]
fn privileged_logs_are_kept_cut_and_followed() {
    let Some((host, image)) = machine() else { return };
    host.ok(shell(
        &format!("run -d --name cc {image}"),
        "for i in 1 2 3; do echo $i; done; sleep 0.3; echo 4 >&2",
    ));
    let followed = host.hull(["logs", "--follow", "cc"]).ok();
    assert_eq!(
        (followed.stdout.as_str(), followed.stderr.as_str()),
        ("1\n2\n3\n", "4\n"),
        "it ends with the container"
    );
    assert_eq!(host.hull(["logs", "--tail", "2", "cc"]).ok().stdout, "3\n");
    assert_eq!(host.hull(["logs", "--tail", "0", "cc"]).ok().stdout, "");
    let stamped = host.hull(["logs", "-t", "cc"]).ok().stdout;
    assert!(
        stamped.lines().all(|line| line.contains("T") && line.contains("Z ")),
        "{stamped}"
    );
    let options = "--log-opt max-size=10k --log-opt max-file=2";
    host.ok(shell(
        &format!("run -d --name dd {options} {image}"),
        "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done",
    ));
    host.ok(["wait", "dd"]);
    let kept = host.hull(["logs", "dd"]).ok().stdout;
    assert!(
        kept.ends_with("line 1999\n") && !kept.contains("line 0\n"),
        "the newest are kept: {} bytes",
        kept.len()
    );
    let on_disk: u64 = std::fs::read_dir(
        host.data()
            .join("containers")
            .join(host.ok(["inspect", "-f", "{{.Id}}", "dd"])),
    )
    .unwrap()
    .map(|entry| entry.unwrap())
    .filter(|entry| entry.file_name().to_string_lossy().contains(".log"))
    .map(|entry| entry.metadata().unwrap().len())
    .sum();
    assert!(on_disk <= 20_480, "{on_disk} bytes of log, 2 x 10 kB allowed");
    host.ok(["run", "-d", "--name", "ee", "--log-driver", "none", &image, "echo", "x"]);
    host.ok(["wait", "ee"]);
    assert!(!host.hull(["logs", "ee"]).status.success(), "there is no log to read");
}

#[test]
fn privileged_exec_joins_the_container() {
    let Some((host, image)) = machine() else { return };
    host.ok([
        "run", "-d", "--name", "cc", "-e", "A=1", "-w", "/tmp", &image, "sleep", "1000",
    ]);
    assert_eq!(
        host.ok(shell("exec cc", "echo $A; pwd; hostname"))
            .lines()
            .collect::<Vec<_>>()[..2],
        ["1", "/tmp"]
    );
    assert_eq!(
        host.ok([
            "exec",
            "-e",
            "B=2",
            "-w",
            "/etc",
            "-u",
            "app",
            "cc",
            "sh",
            "-c",
            "echo $B; pwd; id -un"
        ]),
        "2\n/etc\napp"
    );
    host.hull(shell("exec cc", "exit 9")).fails(9);
    host.hull(["exec", "cc", "nosuch"]).fails(127).says("nosuch");
    host.hull(["exec", "cc", "/etc/passwd"]).fails(126).says("/etc/passwd");
    assert_eq!(
        host.hull_with_input(["exec", "-i", "cc", "cat"], b"through")
            .ok()
            .stdout,
        "through"
    );
    host.ok(["exec", "-d", "cc", "sh", "-c", "echo done > /tmp/mark"]);
    until("the detached process", || {
        (host.hull(["exec", "cc", "cat", "/tmp/mark"]).stdout == "done\n").then_some(())
    });
    let same = "for n in pid net mnt ipc uts cgroup; do readlink /proc/self/ns/$n; done; cat /proc/self/cgroup; grep -E '^(Cap|Secc|NoNew)' /proc/self/status";
    let inside = host.ok(shell("exec cc", &same.replace("/self/", "/1/")));
    assert_eq!(
        host.ok(shell("exec cc", same)),
        inside,
        "the same namespaces, cgroup, capabilities and filter as its process"
    );
    host.ok(["stop", "-t", "0", "cc"]);
    host.hull(["exec", "cc", "true"]).fails(1).says("is not running");
}

#[test]
fn privileged_the_image_and_the_flags_make_the_process() {
    let Some((host, image)) = machine() else { return };
    let file = host.path("env");
    std::fs::write(&file, "# comment\nFROM_FILE=x y\nHOME=/over\n").unwrap();
    let env = host.ok([
        "run",
        "--rm",
        "--env-file",
        file.to_str().unwrap(),
        "-e",
        "A=1",
        "-h",
        "named",
        &image,
        "env",
    ]);
    for line in [
        "FROM_FILE=x y",
        "HOME=/over",
        "A=1",
        "HOSTNAME=named",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ] {
        assert!(env.lines().any(|l| l == line), "{line} in {env}");
    }
    assert_eq!(
        host.ok(["run", "--rm", "--entrypoint", "echo", &image, "a", "b"]),
        "a b"
    );
    assert_eq!(
        host.ok(["run", "--rm", "-u", "app", &image, "id"]),
        "uid=1000(app) gid=1000(app) groups=1000(app),2000(extra)"
    );
    assert_eq!(
        host.ok(["run", "--rm", "-u", "77:88", "--group-add", "extra", &image, "id"]),
        "uid=77 gid=88 groups=88,2000(extra)"
    );
    let cid = host.path("cid");
    host.ok([
        "run",
        "-d",
        "--name",
        "cc",
        "--cidfile",
        cid.to_str().unwrap(),
        "--label",
        "x=y",
        &image,
        "sleep",
        "1000",
    ]);
    let inspect: Value = serde_json::from_str(&host.ok(["inspect", "cc"])).unwrap();
    assert_eq!(inspect[0]["Id"], std::fs::read_to_string(&cid).unwrap());
    assert_eq!(inspect[0]["Config"]["Labels"]["x"], "y");
    assert_eq!(inspect[0]["Name"], "/cc");
    assert_eq!(inspect[0]["State"]["Running"], true);
    assert_eq!(inspect[0]["Config"]["Cmd"], serde_json::json!(["sleep", "1000"]));
    host.hull(["run", "--cidfile", cid.to_str().unwrap(), &image, "true"])
        .fails(125)
        .says("cid");
}

#[test]
fn privileged_a_container_outlives_its_command_and_its_monitor() {
    let Some((host, image)) = machine() else { return };
    host.ok(["run", "--rm", &image, "true"]);
    let before = host.traces();
    let mut command = host.spawn(["run", "--name", "attached", &image, "sleep", "1000"]);
    let state = |name: &str| {
        host.hull(["inspect", "-f", "{{.State.Status}}", name])
            .stdout
            .trim()
            .to_owned()
    };
    until("the container to run", || {
        (state("attached") == "running").then_some(())
    });
    command.kill().unwrap();
    command.wait().unwrap();
    assert_eq!(state("attached"), "running");
    let pid = host.ok(["inspect", "-f", "{{.State.Pid}}", "attached"]);
    let monitor = parent(&pid);
    kill_9(&monitor);
    until("the monitor's end", || (!alive(&monitor)).then_some(()));
    assert!(alive(&pid), "the container lives on");
    assert_eq!(state("attached"), "running");
    assert!(
        host.ok(["ps", "--format", "{{.Names}} {{.Status}}"])
            .starts_with("attached Up ")
    );
    assert_eq!(host.ok(["exec", "attached", "echo", "still"]), "still");
    host.ok(["stop", "-t", "0", "attached"]);
    assert!(!alive(&pid), "stop ended it without its monitor");
    assert_eq!(state("attached"), "exited");
    host.ok(["start", "attached"]);
    assert_eq!(state("attached"), "running", "and it can be started again");
    host.ok(["rm", "-f", "attached"]);
    host.assert_clean(&before);
}

fn parent(pid: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status
        .lines()
        .find_map(|line| line.strip_prefix("PPid:"))
        .unwrap()
        .trim()
        .to_owned()
}

fn alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ")
        .next()
        .is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

fn kill_9(pid: &str) {
    let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}
