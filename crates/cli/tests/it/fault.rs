//! kill -9 at any moment. What counts afterwards: every command still works, what it shows is true, and removing what it
//! shows leaves nothing.

use std::process::Child;
use std::time::Duration;

use hull_testkit::Host;

use crate::machine;

mod verb;

/// Who is killed.
#[derive(Clone, Copy, Debug)]
enum Victim {
    Command,
    Monitor,
    Both,
}

/// A small generator (xorshift) with a seed that a failure prints.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn rounds(default: u64) -> u64 {
    std::env::var("HULL_TEST_ROUNDS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(default)
}

/// hull's processes of this host: commands and monitors.
fn own(host: &Host) -> Vec<i32> {
    let needle = host.path("");
    let needle = needle.to_str().unwrap().trim_end_matches('/').as_bytes().to_vec();
    let pids = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|e| e.ok()?.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let names_it = ["environ", "cmdline"].iter().any(|file| {
            let text = std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            text.windows(needle.len()).any(|w| w == needle)
        });
        let program = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        program.to_string_lossy().contains("hull") && names_it
    })
    .filter(|pid| u32::try_from(*pid) != Ok(std::process::id()))
    .collect()
}

fn kill(pid: i32) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

/// Starts `hull ARGS` and kills the victim after a moment. The command is returned: where its monitor was killed it goes
/// on, perhaps until its container ends.
fn interrupt(host: &Host, args: &[&str], victim: Victim, after: Duration) -> Child {
    strike(host, args, victim, after, &mut || {})
}

/// [`interrupt`]; `before` is called just before the kill.
fn strike(host: &Host, args: &[&str], victim: Victim, after: Duration, before: &mut dyn FnMut()) -> Child {
    let command = host.spawn(args);
    let pid = i32::try_from(command.id()).unwrap();
    // The fault is injected at a time, not at a state: this is no wait.
    std::thread::sleep(after);
    before();
    let monitors = || own(host).into_iter().filter(|other| *other != pid);
    match victim {
        Victim::Command => kill(pid),
        Victim::Monitor => monitors().for_each(kill),
        Victim::Both => {
            kill(pid);
            monitors().for_each(kill);
        }
    }
    command
}

/// Waits for a command whose container is gone, or about to be: it must not hang.
fn end(host: &Host, mut command: Child, context: &str) {
    let ended = hull_testkit::wait::within(Duration::from_secs(15), || {
        // It may have been killed before it could make the container that it now waits for.
        let ids = host.ok(["ps", "-aq", "--no-trunc"]);
        if !ids.is_empty() {
            let _ = host.hull(["rm", "-f"].into_iter().chain(ids.lines()));
        }
        command.try_wait().unwrap()
    });
    if ended.is_none() {
        command.kill().unwrap();
        panic!("{context}: the command hangs though its container is gone");
    }
}

/// Checks what `ps` shows against the kernel. What was killed a moment ago may still be dying: only what stays wrong is.
fn check_truth(host: &Host, context: &str) {
    let mut wrong = None;
    let true_at_last = hull_testkit::wait::within(Duration::from_secs(3), || {
        wrong = falsehood(host, context);
        wrong.is_none().then_some(())
    });
    if let (None, Some(wrong)) = (true_at_last, wrong) {
        panic!("{context}: {wrong}");
    }
}

/// What `ps` says that is not so.
fn falsehood(host: &Host, context: &str) -> Option<String> {
    let list = host.hull(["ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.State}}"]);
    assert_eq!(list.code(), 0, "{context}: {list:?}");
    list.stdout.lines().find_map(|line| {
        let (id, state) = line.split_once(' ').unwrap();
        let pid = host.hull(["inspect", "-f", "{{.State.Pid}}", id]);
        if pid.code() != 0 {
            return Some(format!("{id} is shown, but: {pid:?}"));
        }
        let pid = pid.stdout.trim();
        let lives = std::path::Path::new(&format!("/proc/{pid}/ns/pid")).exists();
        match state {
            "running" | "paused" if pid == "0" || !lives => {
                let holders = holders(&host.run_root().join("containers").join(id).join("lock"));
                Some(format!(
                    "{id} is shown as {state}, its process is {pid}; the lock is held by {holders}"
                ))
            }
            // Its monitor waits to start it again.
            "running" | "paused" | "restarting" => None,
            "exited" | "created" | "dead" => {
                (pid != "0").then(|| format!("{id} is shown as {state} with process {pid}"))
            }
            other => Some(format!("{id} is {other}")),
        }
    })
}

/// The processes that have `file` open.
fn holders(file: &std::path::Path) -> String {
    let links = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let folder = entry.ok()?.path();
        let fds = std::fs::read_dir(folder.join("fd")).ok()?;
        let holds = fds
            .flatten()
            .any(|fd| std::fs::read_link(fd.path()).is_ok_and(|target| target == file));
        let words = std::fs::read_to_string(folder.join("cmdline"))
            .unwrap_or_default()
            .replace('\0', " ");
        holds.then(|| format!("{} `{words}`", folder.display()))
    });
    links.collect::<Vec<_>>().join(", ")
}

/// Removes every container. One that its own monitor removes at this moment may say so, for that moment.
fn remove_all(host: &Host, context: &str) {
    let mut last = None;
    let gone = hull_testkit::wait::within(Duration::from_secs(5), || {
        let ids = host.ok(["ps", "-aq", "--no-trunc"]);
        if !ids.is_empty() {
            last = Some(host.hull(["rm", "-f"].into_iter().chain(ids.lines())));
        }
        ids.is_empty().then_some(())
    });
    assert!(gone.is_some(), "{context}: {last:?}");
}

#[test]
fn privileged_kill_loop_over_run() {
    let Some((host, image)) = machine() else { return };
    host.ok(["run", "--rm", &image, "true"]);
    let before = host.traces();
    let seed = u64::from(std::process::id()) | 1;
    let mut random = Random(seed);
    for round in 0..rounds(60) {
        let victim = [Victim::Command, Victim::Monitor, Victim::Both][usize::try_from(random.below(3)).unwrap()];
        let after = Duration::from_micros(random.below(60_000));
        let context = format!("seed {seed}, round {round}, {victim:?} after {after:?}");
        let (name, args): (_, &[&str]) = match random.below(3) {
            0 => ("detached", &["-d", "-p", "8080:80", "-m", "64m"]),
            1 => ("attached", &["--tmpfs", "/x"]),
            _ => ("removed", &["--rm"]),
        };
        let mut line = vec!["run", "--name", name];
        line.extend(args);
        let seconds = if random.below(2) == 0 { "0.01" } else { "1000" };
        line.extend([image.as_str(), "sleep", seconds]);
        let command = interrupt(&host, &line, victim, after);
        check_truth(&host, &context);
        end(&host, command, &context);
        remove_all(&host, &context);
    }
    host.assert_clean(&before);
    host.ok(["run", "--rm", "--name", "detached", "-p", "8080:80", &image, "true"]);
}

#[test]
fn privileged_kill_loop_over_stop_and_rm() {
    let Some((host, image)) = machine() else { return };
    host.ok(["run", "--rm", &image, "true"]);
    let before = host.traces();
    let seed = u64::from(std::process::id()) | 1;
    let mut random = Random(seed);
    for round in 0..rounds(40) {
        let victim = [Victim::Command, Victim::Monitor, Victim::Both][usize::try_from(random.below(3)).unwrap()];
        let verb: &[&str] = match random.below(4) {
            0 => &["stop", "-t", "0", "cc"],
            1 => &["rm", "-f", "cc"],
            2 => &["kill", "cc"],
            _ => &["exec", "cc", "true"],
        };
        let after = Duration::from_micros(random.below(30_000));
        let context = format!("seed {seed}, round {round}, {verb:?}, {victim:?} after {after:?}");
        host.ok(["run", "-d", "--name", "cc", "-p", "8080:80", &image, "sleep", "1000"]);
        let command = interrupt(&host, verb, victim, after);
        check_truth(&host, &context);
        end(&host, command, &context);
        remove_all(&host, &context);
    }
    host.assert_clean(&before);
}

#[test]
fn privileged_kill_loop_over_pull() {
    let Some((host, image)) = machine() else { return };
    // The folders that every first container makes.
    host.ok(["run", "--rm", "--network", "none", &image, "true"]);
    host.ok(["rmi", &image]);
    let before = host.traces();
    let mut random = Random(u64::from(std::process::id()) | 1);
    for _ in 0..rounds(30) {
        let after = Duration::from_micros(random.below(80_000));
        interrupt(&host, &["pull", "-q", &image], Victim::Command, after)
            .wait()
            .unwrap();
        host.ok(["images"]);
    }
    host.ok(["pull", "-q", &image]);
    assert_eq!(
        host.ok(["run", "--rm", "--network", "none", &image, "echo", "whole"]),
        "whole"
    );
    host.ok(["rmi", &image]);
    host.assert_clean(&before);
}
