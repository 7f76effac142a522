//! Two commands at one container at once, in pairs, again and again. Each must end, say why where it fails, and leave a
//! container that every command sees alike; in the end nothing is left.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use hull_testkit::Host;

use crate::{machine, words};

/// What a command that lost a race may say: Docker's words for a state that does not fit.
const LOST: [&str; 9] = [
    "No such container",
    "is not running",
    "is being changed by another command",
    "stop the container before removing",
    "must be unpaused first",
    "is not paused",
    "is already paused",
    "Error when allocating new name",
    "cannot attach to a stopped container",
];

fn rounds() -> u64 {
    let given = std::env::var("HULL_TEST_ROUNDS").ok().and_then(|n| n.parse().ok());
    given.map_or(6, |rounds: u64| rounds.min(500))
}

fn start(host: &Host, line: &str) -> Child {
    let mut command = host.hull_command(words(line));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Waits for a command, which must end, and for one of the reasons where it fails.
fn end(line: &str, other: &str, mut child: Child) {
    let limit = Instant::now() + Duration::from_secs(30);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > limit {
            child.kill().unwrap();
            panic!("`{line}` hangs beside `{other}`");
        }
        // The end of a child has no descriptor here to wait for.
        std::thread::sleep(Duration::from_millis(2));
    }
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    // The process in the container was killed.
    let ended = ["exec", "attach"].iter().any(|verb| line.starts_with(verb)) && output.status.code() == Some(137);
    assert!(
        output.status.success() || ended || LOST.iter().any(|reason| said.contains(reason)),
        "`{line}` beside `{other}` ends with {:?}: {said}",
        output.status.code()
    );
}

/// Whether a line goes on for as long as the container does.
fn watches(line: &str) -> bool {
    ["attach", "logs", "wait"].iter().any(|verb| line.starts_with(verb))
}

fn ends_soon(child: &mut Child) -> bool {
    let limit = Instant::now() + Duration::from_millis(300);
    while Instant::now() < limit {
        if child.try_wait().unwrap().is_some() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    false
}

/// Runs both lines at once on a container that runs (or not), in both orders, with delays that shift them against each
/// other.
fn pair(host: &Host, image: &str, runs: bool, one: &str, other: &str) {
    for round in 0..rounds() {
        let line = if runs { "run -d --name xx" } else { "create --name xx" };
        host.ok(words(&format!("{line} {image} sleep 1000")));
        let (first, second) = if round % 2 == 0 { (one, other) } else { (other, one) };
        let a = start(host, first);
        // The shift is what is tried, not a wait for a state.
        std::thread::sleep(Duration::from_micros(round / 2 * 700));
        let b = start(host, second);
        let mut both = [(first, second, a), (second, first, b)];
        both.sort_by_key(|(line, ..)| watches(line));
        for (line, other, mut child) in both {
            if watches(line) && other.starts_with("restart") && !ends_soon(&mut child) {
                // It came after the restart and watches the new run.
                host.ok(["kill", "xx"]);
            }
            end(line, other, child);
        }
        agree(host, one, other);
        for name in ["xx", "yy"] {
            let run = host.hull(["rm", "-f", name]);
            assert!(run.status.success(), "{one} / {other}: {}", run.stderr);
        }
        assert_eq!(host.ok(["ps", "-aq"]), "", "{one} / {other}");
    }
}

/// What `ps` and `inspect` say, and what is, are one.
fn agree(host: &Host, one: &str, other: &str) {
    let list = host.ok(["ps", "-a", "--format", "{{.Names}} {{.State}}"]);
    assert!(list.lines().count() <= 1, "one container: {list}");
    let Some((name, state)) = list.split_once(' ') else {
        return;
    };
    let seen = host.ok(["inspect", "-f", "{{.Name}} {{.State.Status}} {{.State.Pid}}", name]);
    let pid = seen.rsplit(' ').next().unwrap();
    assert_eq!(seen, format!("/{name} {state} {pid}"), "{one} / {other}");
    let lives = pid != "0" && std::path::Path::new(&format!("/proc/{pid}")).exists();
    assert_eq!(lives, matches!(state, "running" | "paused"), "{one} / {other}: {seen}");
}

fn all(pairs: &[(bool, &str, &str)]) {
    let Some((host, image)) = machine() else { return };
    let folder = host.path("files");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("file"), vec![b'x'; 1_000_000]).unwrap();
    host.ok(words(&format!("run --rm {image} true")));
    let before = host.traces();
    for (runs, one, other) in pairs {
        let at = |line: &str| line.replace("FILES", folder.to_str().unwrap());
        pair(&host, &image, *runs, &at(one), &at(other));
        if one.starts_with("commit") {
            host.hull(["rmi", "-f", "made"]);
            host.ok(["image", "prune", "-f"]);
        }
    }
    host.assert_clean(&before);
}

#[test]
fn privileged_starts_and_stops_at_once() {
    all(&[
        (false, "start xx", "stop -t 0 xx"),
        (false, "start xx", "start xx"),
        (true, "stop -t 0 xx", "stop -t 0 xx"),
        (true, "restart -t 0 xx", "stop -t 0 xx"),
        (true, "restart -t 0 xx", "restart -t 0 xx"),
        (true, "kill xx", "restart -t 0 xx"),
    ]);
}

#[test]
fn privileged_removals_at_once() {
    all(&[
        (true, "stop -t 0 xx", "rm -f xx"),
        (true, "rm -f xx", "rm -f xx"),
        (true, "rm -f xx", "exec xx true"),
        (true, "rm -f xx", "rename xx yy"),
        (false, "rm xx", "start xx"),
        (true, "rm -f xx", "restart -t 0 xx"),
        (true, "rm -f xx", "update -c 100 xx"),
        (true, "rm -f xx", "pause xx"),
    ]);
}

#[test]
fn privileged_changes_at_once() {
    all(&[
        (false, "rename xx yy", "start xx"),
        (true, "rename xx yy", "stop -t 0 xx"),
        (true, "rename xx yy", "rename xx yy"),
        (true, "rename xx yy", "update -c 100 xx"),
        (true, "update --cpus 0.5 xx", "restart -t 0 xx"),
        (true, "update --cpus 0.5 xx", "stop -t 0 xx"),
        (false, "update -m 64m xx", "start xx"),
        (true, "pause xx", "stop -t 0 xx"),
        (true, "pause xx", "unpause xx"),
        (true, "exec xx true", "stop -t 0 xx"),
    ]);
}

#[test]
fn privileged_files_at_once() {
    all(&[
        (true, "cp FILES/file xx:/tmp", "rm -f xx"),
        (true, "cp xx:/bin/busybox FILES/copy", "rm -f xx"),
        (false, "cp FILES/file xx:/tmp", "rm xx"),
        (false, "cp FILES/file xx:/tmp", "start xx"),
        (true, "cp FILES/file xx:/tmp", "restart -t 0 xx"),
        (true, "cp xx:/bin/busybox FILES/copy", "stop -t 0 xx"),
        (true, "commit xx made", "stop -t 0 xx"),
        (true, "commit xx made", "rm -f xx"),
        (true, "commit xx made", "pause xx"),
        (false, "commit xx made", "start xx"),
        (true, "export -o FILES/export xx", "rm -f xx"),
        (true, "diff xx", "rm -f xx"),
    ]);
}

#[test]
fn privileged_policies_and_watchers_at_once() {
    all(&[
        (true, "update --restart always xx", "restart -t 0 xx"),
        (true, "update --restart always xx", "stop -t 0 xx"),
        (false, "update --restart unless-stopped xx", "start xx"),
        (true, "update --restart on-failure xx", "update -c 100 xx"),
        (true, "attach --no-stdin xx", "stop -t 0 xx"),
        (true, "attach --no-stdin xx", "restart -t 0 xx"),
        (true, "wait xx", "stop -t 0 xx"),
        (true, "wait xx", "restart -t 0 xx"),
        (true, "wait xx", "rm -f xx"),
        (true, "logs -f xx", "rm -f xx"),
    ]);
}

#[test]
fn privileged_an_updated_policy_beside_a_restart_holds() {
    let Some((host, image)) = machine() else { return };
    for round in 0..rounds() {
        host.ok(words(&format!("run -d --name xx {image} sleep 1000")));
        let a = start(&host, "restart -t 0 xx");
        std::thread::sleep(Duration::from_micros(round * 900));
        let b = start(&host, "update --restart always xx");
        end("restart", "update", a);
        end("update", "restart", b);
        let look = |format: &str| host.ok(["inspect", "-f", format, "xx"]);
        assert_eq!(look("{{.HostConfig.RestartPolicy.Name}}"), "always", "round {round}");
        let pid = || look("{{.State.Pid}}");
        let first = pid();
        let process = rustix::process::Pid::from_raw(first.parse().unwrap()).unwrap();
        let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
        hull_testkit::until("its next process", || {
            let pid = pid();
            (pid != "0" && pid != first).then_some(())
        });
        host.ok(["rm", "-f", "xx"]);
    }
}

/// Whether a process waits for a lock, or has an eye on another process.
fn waits(pid: u32) -> bool {
    let locks = std::fs::read_to_string("/proc/locks").unwrap();
    let mut queued = locks.lines().filter(|line| line.contains("->"));
    let links = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .flatten();
    let mut links = links.filter_map(|link| std::fs::read_link(link.path()).ok());
    queued.any(|line| line.contains(&format!(" READ {pid} "))) || links.any(|link| link.ends_with("anon_inode:[pidfd]"))
}

#[test]
fn privileged_a_wait_ends_with_the_run_that_it_saw() {
    let Some((host, image)) = machine() else { return };
    for (flags, other) in [
        ("", "restart -t 0 xx"),
        ("--restart always", "restart -t 0 xx"),
        ("--rm", "kill xx"),
    ] {
        for round in 0..rounds() {
            host.ok(words(&format!("run -d --name xx {flags} {image} sleep 1000")));
            let waiting = start(&host, "wait xx");
            let pid = waiting.id();
            hull_testkit::until("its wait", || waits(pid).then_some(()));
            host.ok(words(other));
            let limit = Instant::now() + Duration::from_secs(10);
            let mut waiting = waiting;
            while waiting.try_wait().unwrap().is_none() {
                assert!(
                    Instant::now() < limit,
                    "{flags} {other}: round {round}: it waits for another end"
                );
                std::thread::sleep(Duration::from_millis(1));
            }
            let output = waiting.wait_with_output().unwrap();
            assert_eq!(
                String::from_utf8_lossy(&output.stdout).trim(),
                "137",
                "{flags} {other}: {output:?}"
            );
            host.hull(["rm", "-f", "xx"]);
            hull_testkit::until("its removal", || host.ok(["ps", "-aq"]).is_empty().then_some(()));
        }
    }
}

#[test]
fn privileged_an_update_beside_a_start_holds() {
    let Some((host, image)) = machine() else { return };
    for round in 0..rounds() {
        host.ok(words(&format!("create --name xx {image} sleep 1000")));
        let a = start(&host, "start xx");
        std::thread::sleep(Duration::from_micros(round * 500));
        let b = start(&host, "update --pids-limit 77 xx");
        end("start", "update", a);
        end("update", "start", b);
        let pid = host.ok(["inspect", "-f", "{{.State.Pid}}", "xx"]);
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        let limit = groups.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            let root = match controllers {
                "pids" => "/sys/fs/cgroup/pids",
                "" => "/sys/fs/cgroup",
                _ => return None,
            };
            std::fs::read_to_string(format!("{root}{path}/pids.max")).ok()
        });
        assert_eq!(limit.unwrap().trim(), "77", "round {round}");
        assert_eq!(host.ok(["inspect", "-f", "{{.HostConfig.PidsLimit}}", "xx"]), "77");
        host.ok(["rm", "-f", "xx"]);
    }
}
