//! A person at a terminal: sizes, keys, and a terminal that is as it was, whatever ends the client.

use std::fs::File;

use hull_testkit::{Host, until};
use rexpect::process::Signal;
use rexpect::session::{PtySession, spawn_command};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::{machine, words};

const PATIENCE: Option<u64> = Some(20_000);

/// A terminal with `hull LINE` on it.
fn terminal(host: &Host, line: &str) -> PtySession {
    spawn_command(host.hull_command(words(line)), PATIENCE).unwrap()
}

/// The terminal's own end, which sees the settings that the client makes.
fn master(session: &PtySession) -> File {
    session.process().get_file_handle().unwrap()
}

fn is_raw(terminal: &File) -> bool {
    !tcgetattr(terminal).unwrap().local_modes.contains(LocalModes::ICANON)
}

fn exit_code(session: &mut PtySession) -> String {
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
        host.ok(["rm", "-f", "box"]);
    }
}

#[test]
fn privileged_the_terminal_is_restored_whatever_ends_the_client() {
    let Some((host, image)) = machine() else { return };
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT, Signal::SIGKILL] {
        let mut session = terminal(&host, &format!("run -it --name box {image} sh"));
        session.exp_string("# ").unwrap();
        let master = master(&session);
        assert!(is_raw(&master));
        session.process_mut().signal(signal).unwrap();
        until("the terminal as it was", || (!is_raw(&master)).then_some(()));
        assert_eq!(
            host.ok(["inspect", "-f", "{{.State.Running}}", "box"]),
            "true",
            "{signal}"
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
