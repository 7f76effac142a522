//! A person at a terminal: sizes, keys, and a terminal that is as it was, whatever ends the client.

use std::fs::File;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use hull_testkit::{Host, until};
use rexpect::session::{PtySession, spawn_command};
use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcgetsid, tcsetwinsize};

use crate::{machine, shell, words};

const PATIENCE: Option<u64> = Some(20_000);

/// A terminal with `hull LINE` on it.
pub(crate) fn terminal(host: &Host, line: &str) -> PtySession {
    let mut command = host.hull_command(words(line));
    command.stdin(std::process::Stdio::inherit());
    spawn_command(command, PATIENCE).unwrap()
}

/// The terminal's own end, which sees the settings that the client makes.
pub(crate) fn master(session: &PtySession) -> File {
    session.process().get_file_handle().unwrap()
}

pub(crate) fn is_raw(terminal: &File) -> bool {
    !tcgetattr(terminal).unwrap().local_modes.contains(LocalModes::ICANON)
}

pub(crate) fn exit_code(session: &mut PtySession) -> String {
    session.exp_eof().unwrap();
    format!("{:?}", session.process().wait().unwrap())
}

#[test]
fn privileged_a_shell_is_typed_into() {
    let Some((host, image)) = machine() else { return };
    let mut session = terminal(&host, &format!("run --rm -it --name box {image} sh"));
    session.exp_string("# ").unwrap();
    let master = master(&session);
    assert!(is_raw(&master));
    session.send_line("tty; echo got-$((40 + 2))").unwrap();
    session.exp_string("/dev/pts/0").unwrap();
    session.exp_string("got-42").unwrap();
    // Ctrl-C goes to what runs in the container, not to the client.
    session.send_line("sleep 1000; echo after-$?").unwrap();
    until("the sleep", || {
        host.ok(["exec", "box", "ps"]).contains("sleep 1000").then_some(())
    });
    session.send_control('c').unwrap();
    session.exp_string("# ").unwrap();
    session.send_line("exit 7").unwrap();
    assert!(exit_code(&mut session).contains(", 7)"));
    assert!(!is_raw(&master), "the terminal is as it was");
}

#[test]
fn privileged_the_terminals_size_is_the_containers() {
    let Some((host, image)) = machine() else { return };
    let mut session = terminal(&host, &format!("run --rm -it {image} sh"));
    session.exp_string("# ").unwrap();
    let master = master(&session);
    for (rows, columns) in [(31, 101), (47, 83)] {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&master, size).unwrap();
        // The size is passed on by a signal, so that it is there a moment later.
        session
            .send_line(&format!(
                "until [ \"$(stty size)\" = '{rows} {columns}' ]; do :; done; echo is-$((1 + 1))"
            ))
            .unwrap();
        session.exp_string("is-2").unwrap();
    }
    session.send_line("exit").unwrap();
    session.exp_eof().unwrap();
}

#[test]
fn privileged_the_detach_keys_leave_it_running() {
    let Some((host, image)) = machine() else { return };
    for (keys, typed) in [("", "\x10\x11"), ("--detach-keys ctrl-a,x", "\x01x")] {
        let mut session = terminal(&host, &format!("run -it --name box {keys} {image} sh"));
        session.exp_string("# ").unwrap();
        let master = master(&session);
        session.send(typed).unwrap();
        session.flush().unwrap();
        assert!(exit_code(&mut session).contains(", 0)"));
        assert!(!is_raw(&master));
        assert_eq!(host.ok(["inspect", "-f", "{{.State.Running}}", "box"]), "true");
        // It can be attached to again, and ends when its shell does.
        let mut session = terminal(&host, "attach box");
        session.send_line("echo got-$((40 + 2)); exit 6").unwrap();
        session.exp_string("got-42").unwrap();
        assert!(exit_code(&mut session).contains(", 6)"));
        host.hull(["attach", "box"]).fails(1).says("start it first");
        host.ok(["rm", "box"]);
    }
}

/// A terminal with a shell that runs `hull LINE` and then waits. The kernel resets a terminal whose first process dies,
/// so the client must not be that. Returns the client, too.
pub(crate) fn under_a_shell(host: &Host, line: &str, ready: &str) -> (PtySession, Pid) {
    let hull = host.hull_command(words(line));
    let mut shell = Command::new("sh");
    shell.args(["-c", "\"$@\"; echo ended-with-$?; sleep 1000", "sh"]);
    shell.arg(hull.get_program()).args(hull.get_args()).current_dir("/");
    for (name, value) in hull.get_envs() {
        shell.env(name, value.unwrap_or_default());
    }
    let mut session = spawn_command(shell, PATIENCE).unwrap();
    session.exp_string(ready).unwrap();
    let children = format!("/proc/{0}/task/{0}/children", shell_id(&session));
    let client = until("the client", || {
        let text = std::fs::read_to_string(&children).unwrap();
        Pid::from_raw(text.split_whitespace().next()?.parse().ok()?)
    });
    (session, client)
}

fn shell_id(session: &PtySession) -> i32 {
    tcgetsid(master(session)).unwrap().as_raw_pid()
}

#[test]
fn privileged_the_terminal_is_restored_whatever_ends_the_client() {
    let Some((host, image)) = machine() else { return };
    for (signal, code) in [
        (Signal::TERM, 143),
        (Signal::HUP, 129),
        (Signal::INT, 130),
        (Signal::QUIT, 131),
        (Signal::KILL, 137),
    ] {
        let (mut session, client) = under_a_shell(&host, &format!("run -it --name box {image} sh"), "# ");
        let master = master(&session);
        assert!(is_raw(&master));
        kill_process(client, signal).unwrap();
        session.exp_string(&format!("ended-with-{code}")).unwrap();
        until("the terminal as it was", || (!is_raw(&master)).then_some(()));
        assert_eq!(
            host.ok(["inspect", "-f", "{{.State.Running}}", "box"]),
            "true",
            "{signal:?}"
        );
        host.ok(["rm", "-f", "box"]);
    }
}

#[test]
fn privileged_exec_gives_a_terminal_too() {
    let Some((host, image)) = machine() else { return };
    host.ok(words(&format!("run -d --name box {image} sleep 1000")));
    let mut session = terminal(&host, "exec -it box sh");
    session.exp_string("# ").unwrap();
    let master = master(&session);
    assert!(is_raw(&master));
    session
        .send_line("stty size >/dev/null && echo tty-$((1 + 1)); exit 5")
        .unwrap();
    session.exp_string("tty-2").unwrap();
    assert!(exit_code(&mut session).contains(", 5)"));
    assert!(!is_raw(&master));
}

#[test]
fn privileged_a_stopped_container_is_attached_to_when_it_starts() {
    let Some((host, image)) = machine() else { return };
    host.ok(words(&format!("create -it --name box {image} sh")));
    let mut session = terminal(&host, "start -ai box");
    session.exp_string("# ").unwrap();
    session.send_line("echo got-$((40 + 2)); exit 9").unwrap();
    session.exp_string("got-42").unwrap();
    assert!(exit_code(&mut session).contains(", 9)"));
}

#[test]
fn privileged_signals_are_passed_on_where_there_is_no_terminal() {
    let Some((host, image)) = machine() else { return };
    let script = "trap 'exit 3' TERM; echo ready; while :; do sleep 0.05; done";
    for (proxy, code) in [("true", 3), ("false", 143)] {
        let mut command = host.hull_command(shell(&format!("run --name box --sig-proxy={proxy} {image}"), script));
        let mut client = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut ready = [0; 6];
        client.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
        assert_eq!(&ready, b"ready\n");
        kill_process(Pid::from_child(&client), Signal::TERM).unwrap();
        let status = client.wait().unwrap();
        let ended = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
        assert_eq!(ended, Some(code), "--sig-proxy={proxy}");
        let running = host.ok(["inspect", "-f", "{{.State.Running}}", "box"]);
        assert_eq!(running, (proxy == "false").to_string());
        host.ok(["rm", "-f", "box"]);
    }
}

#[test]
fn privileged_all_output_and_input_come_through() {
    let Some((host, image)) = machine() else { return };
    let run = host.hull(shell(
        &format!("run --rm {image}"),
        "head -c 20000000 /dev/zero | tr '\\0' x; echo end >&2",
    ));
    assert_eq!((run.stdout.len(), run.stderr.as_str()), (20_000_000, "end\n"));
    let input = vec![b'y'; 5_000_000];
    let run = host
        .hull_with_input(words(&format!("run --rm -i {image} wc -c")), &input)
        .ok();
    assert_eq!(run.stdout.trim(), "5000000");
    host.ok(words(&format!("run -d --name box {image} sleep 1000")));
    let run = host.hull_with_input(words("exec -i box wc -c"), &input).ok();
    assert_eq!(run.stdout.trim(), "5000000");
    let run = host.hull(shell("exec box", "head -c 20000000 /dev/zero | tr '\\0' x"));
    assert_eq!(run.stdout.len(), 20_000_000);
}

#[test]
fn privileged_a_killed_monitor_leaves_the_client_with_the_truth() {
    let Some((host, image)) = machine() else { return };
    let mut command = host.hull_command(shell(&format!("run --name box {image}"), "echo ready; sleep 2; exit 5"));
    let mut client = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut ready = [0; 6];
    client.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    let id = host.ok(["inspect", "-f", "{{.Id}}", "box"]);
    let state = std::fs::read(host.run_root().join("containers").join(id).join("state.json")).unwrap();
    let state: serde_json::Value = serde_json::from_slice(&state).unwrap();
    let monitor = i32::try_from(state["MonitorPid"].as_i64().unwrap()).unwrap();
    kill_process(Pid::from_raw(monitor).unwrap(), Signal::KILL).unwrap();
    // Nobody saw the end, so it is not known to have been 5; but the client waits for it.
    assert_eq!(client.wait().unwrap().code(), Some(255));
    assert_eq!(host.ok(["inspect", "-f", "{{.State.Status}}", "box"]), "exited");
}
