use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::ops::ControlFlow;
use std::sync::mpsc;
use std::time::Duration;

use hull_engine::Error;
use hull_engine::container::logs::{Stream, Told};
use hull_engine::container::{LogsRequest, logs};

use crate::fixture::Host;

/// Long enough for a busy machine; nothing waits for it unless it fails.
const LONG: Duration = Duration::from_secs(20);

fn line(text: &str, stream: &str, second: u32) -> String {
    let log = serde_json::to_string(text).unwrap();
    format!("{{\"log\":{log},\"stream\":\"{stream}\",\"time\":\"2024-05-01T10:00:{second:02}Z\"}}\n")
}

fn append(host: &Host, id: &str, text: &str) {
    let path = host.dir(id).join(format!("{id}-json.log"));
    let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// Renames as a monitor does, keeping `keep` files.
fn rotate(host: &Host, id: &str, keep: u32) {
    let path = |n: u32| {
        let suffix = if n == 0 { String::new() } else { format!(".{n}") };
        host.dir(id).join(format!("{id}-json.log{suffix}"))
    };
    for n in (0..keep - 1).rev() {
        let _ = fs::rename(path(n), path(n + 1));
    }
    File::create(path(0)).unwrap();
}

fn text(host: &Host, name: &str, request: &LogsRequest) -> String {
    let mut out = String::new();
    logs(&host.engine, name, request, &mut |told| {
        if let Told::Entry(entry) = told {
            out.push_str(std::str::from_utf8(entry.text).unwrap());
        }
        ControlFlow::Continue(())
    })
    .unwrap();
    out
}

/// A log of three files: `a` and `b` in `.2`, `c` and `d` in `.1`, `e` and the unended `f` in the newest.
fn three() -> (Host, String) {
    let host = Host::new();
    let id = host.create("web", |_| {});
    append(&host, &id, &line("a\n", "stdout", 1));
    append(&host, &id, &line("b\n", "stderr", 2));
    rotate(&host, &id, 3);
    append(&host, &id, &line("c\n", "stdout", 3));
    append(&host, &id, &line("d\n", "stdout", 4));
    rotate(&host, &id, 3);
    append(&host, &id, &line("e\n", "stderr", 5));
    append(&host, &id, &line("f", "stdout", 6));
    (host, id)
}

#[test]
fn a_rotated_log_is_read_in_order() {
    let (host, _) = three();
    let at = |second: u32| Some(format!("2024-05-01T10:00:{second:02}Z").parse().unwrap());
    let all = LogsRequest::default();
    for (request, expected) in [
        (all.clone(), "a\nb\nc\nd\ne\nf"),
        (
            LogsRequest {
                tail: Some(0),
                ..all.clone()
            },
            "",
        ),
        (
            LogsRequest {
                tail: Some(1),
                ..all.clone()
            },
            "f",
        ),
        (
            LogsRequest {
                tail: Some(3),
                ..all.clone()
            },
            "d\ne\nf",
        ),
        (
            LogsRequest {
                tail: Some(99),
                ..all.clone()
            },
            "a\nb\nc\nd\ne\nf",
        ),
        (
            LogsRequest {
                stdout: false,
                ..all.clone()
            },
            "b\ne\n",
        ),
        (
            LogsRequest {
                since: at(4),
                ..all.clone()
            },
            "d\ne\nf",
        ),
        (
            LogsRequest {
                until: at(2),
                ..all.clone()
            },
            "a\nb\n",
        ),
        (
            LogsRequest {
                since: at(2),
                until: at(5),
                tail: Some(4),
                ..all.clone()
            },
            "c\nd\ne\n",
        ),
        // A container that does not run is not waited for.
        (
            LogsRequest {
                follow: true,
                ..all.clone()
            },
            "a\nb\nc\nd\ne\nf",
        ),
    ] {
        assert_eq!(text(&host, "web", &request), expected, "{request:?}");
    }
    let mut seen = Vec::new();
    logs(&host.engine, "web", &all, &mut |told| {
        if let Told::Entry(entry) = told {
            seen.push(entry.stream);
        }
        match seen.len() {
            2 => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    })
    .unwrap();
    assert_eq!(seen, [Stream::Stdout, Stream::Stderr]);
}

#[test]
fn a_damaged_log_is_read_as_far_as_it_goes() {
    let host = Host::new();
    let id = host.create("web", |_| {});
    append(&host, &id, &line("a\n", "stdout", 1));
    append(&host, &id, "\0\0\0\n");
    append(&host, &id, "{\"log\":\"to");
    append(&host, &id, &line("b\n", "stdout", 2));
    append(&host, &id, &format!("{}\n", "x".repeat(3 << 20)));
    append(&host, &id, &line("c\n", "stdout", 3));
    append(&host, &id, "{\"log\":\"half");
    assert_eq!(text(&host, "web", &LogsRequest::default()), "a\nb\nc\n");
}

#[test]
fn a_log_that_is_not_kept_cannot_be_read() {
    let host = Host::new();
    host.create("made", |_| {});
    host.create("mute", |record| {
        record.host_config.log_config.driver = "none".to_owned()
    });
    assert_eq!(text(&host, "made", &LogsRequest::default()), "");
    let error = logs(&host.engine, "mute", &LogsRequest::default(), &mut |_| {
        ControlFlow::Continue(())
    })
    .unwrap_err();
    assert!(matches!(error, Error::LogDriver { .. }));
    assert!(matches!(
        logs(&host.engine, "x", &LogsRequest::default(), &mut |_| {
            ControlFlow::Continue(())
        }),
        Err(Error::NoSuchContainer { .. })
    ));
}

/// Follows in a thread; the texts come through the channel.
fn follow<'scope>(
    scope: &'scope std::thread::Scope<'scope, '_>,
    host: &Host,
    request: LogsRequest,
) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    let settings = hull_engine::Settings {
        root: host.engine.data.clone(),
        run_root: host.engine.run.clone(),
        config: host.engine.data.join("none"),
        rootless: false,
        resident: false,
    };
    scope.spawn(move || {
        let engine = hull_engine::Engine::open(&settings);
        logs(&engine, "web", &request, &mut |told| {
            let Told::Entry(entry) = told else {
                return ControlFlow::Continue(());
            };
            match sender.send(String::from_utf8(entry.text.to_vec()).unwrap()) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        })
        .unwrap();
    });
    receiver
}

#[test]
fn a_log_is_followed_over_rotations_until_the_container_stops() {
    let host = Host::new();
    let id = host.create("web", |_| {});
    append(&host, &id, &line("0\n", "stdout", 0));
    let mut running = host.start(&id, |_| {});
    std::thread::scope(|scope| {
        let received = follow(
            scope,
            &host,
            LogsRequest {
                follow: true,
                ..LogsRequest::default()
            },
        );
        let next = || received.recv_timeout(LONG).unwrap();
        assert_eq!(next(), "0\n");
        append(&host, &id, &line("1\n", "stdout", 1));
        assert_eq!(next(), "1\n");
        // A line that comes in two writes is given once, whole.
        let two = line("2\n", "stdout", 2);
        append(&host, &id, &two[..10]);
        append(&host, &id, &two[10..]);
        assert_eq!(next(), "2\n");
        // Two rotations at once: what lies in between is not lost.
        append(&host, &id, &line("3\n", "stdout", 3));
        rotate(&host, &id, 3);
        append(&host, &id, &line("4\n", "stdout", 4));
        rotate(&host, &id, 3);
        append(&host, &id, &line("5\n", "stdout", 5));
        assert_eq!([next(), next(), next()], ["3\n", "4\n", "5\n"]);
        // The last words, and the end.
        append(&host, &id, &line("6\n", "stdout", 6));
        running.kill();
        host.write_exit(&id, |exit| exit.started_at.clone_from(&running.live.started_at));
        fs::remove_file(host.run(&id).join("state.json")).unwrap();
        running.unlock();
        assert_eq!(next(), "6\n");
        assert_eq!(received.recv_timeout(LONG), Err(mpsc::RecvTimeoutError::Disconnected));
    });
}

#[test]
fn a_killed_monitor_and_a_removed_container_end_following() {
    for removed in [false, true] {
        let host = Host::new();
        let id = host.create("web", |_| {});
        let mut running = host.start(&id, |_| {});
        append(&host, &id, &line("1\n", "stdout", 1));
        std::thread::scope(|scope| {
            let received = follow(
                scope,
                &host,
                LogsRequest {
                    follow: true,
                    tail: Some(0),
                    ..LogsRequest::default()
                },
            );
            // The follower begins at the end, wherever that is when it gets there: write until it hears something.
            let patience = std::time::Duration::from_millis(50);
            loop {
                append(&host, &id, &line("2\n", "stdout", 2));
                if received.recv_timeout(patience).is_ok() {
                    break;
                }
            }
            running.kill();
            if removed {
                fs::remove_dir_all(host.dir(&id)).unwrap();
                fs::remove_dir_all(host.run(&id)).unwrap();
            }
            running.unlock();
            let end = loop {
                match received.recv_timeout(LONG) {
                    Ok(text) => assert_eq!(text, "2\n"),
                    Err(end) => break end,
                }
            };
            assert_eq!(end, mpsc::RecvTimeoutError::Disconnected);
        });
    }
}
