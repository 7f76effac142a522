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

#[test]
fn a_clock_that_jumps_hides_nothing() {
    let host = Host::new();
    let id = host.create("web", |_| {});
    for (text, second) in [("a\n", 10), ("b\n", 50), ("c\n", 12), ("d\n", 14), ("e\n", 51)] {
        append(&host, &id, &line(text, "stdout", second));
    }
    let at = |second: u32| Some(format!("2024-05-01T10:00:{second:02}Z").parse().unwrap());
    let within = LogsRequest {
        since: at(11),
        until: at(20),
        ..LogsRequest::default()
    };
    assert_eq!(text(&host, "web", &within), "c\nd\n");
}

/// Compresses the newest rotated file as a monitor does.
fn compress(host: &Host, id: &str, with_origin: bool) {
    let path = host.dir(id).join(format!("{id}-json.log.1"));
    let file = File::open(&path).unwrap();
    let mut header = flate2::GzBuilder::new();
    if with_origin {
        let origin = hull_monitor::Origin::of(&file).unwrap();
        header = header.extra(serde_json::to_vec(&origin).unwrap());
    }
    let out = File::create(host.dir(id).join(format!("{id}-json.log.1.gz"))).unwrap();
    let mut encoder = header.write(out, flate2::Compression::fast());
    std::io::copy(&mut &file, &mut encoder).unwrap();
    encoder.finish().unwrap();
    fs::remove_file(path).unwrap();
}

#[test]
fn compressed_files_are_read_and_a_follower_knows_them_again() {
    let host = Host::new();
    let id = host.create("web", |_| {});
    for n in 0..3 {
        append(&host, &id, &line(&format!("{n}\n"), "stdout", n));
    }
    rotate(&host, &id, 3);
    compress(&host, &id, false);
    append(&host, &id, &line("3\n", "stdout", 3));
    for (tail, expected) in [
        (None, "0\n1\n2\n3\n"),
        (Some(1), "3\n"),
        (Some(2), "2\n3\n"),
        (Some(4), "0\n1\n2\n3\n"),
        (Some(9), "0\n1\n2\n3\n"),
    ] {
        let request = LogsRequest {
            tail,
            ..LogsRequest::default()
        };
        assert_eq!(text(&host, "web", &request), expected);
    }
    let mut running = host.start(&id, |_| {});
    std::thread::scope(|scope| {
        let request = LogsRequest {
            follow: true,
            tail: Some(1),
            ..LogsRequest::default()
        };
        let received = follow(scope, &host, request);
        let next = || received.recv_timeout(LONG).unwrap();
        assert_eq!(next(), "3\n");
        fs::rename(
            host.dir(&id).join(format!("{id}-json.log.1.gz")),
            host.dir(&id).join(format!("{id}-json.log.2.gz")),
        )
        .unwrap();
        rotate(&host, &id, 2);
        compress(&host, &id, true);
        append(&host, &id, &line("4\n", "stdout", 4));
        assert_eq!(next(), "4\n");
        running.kill();
        host.write_exit(&id, |exit| exit.started_at.clone_from(&running.live.started_at));
        fs::remove_file(host.run(&id).join("state.json")).unwrap();
        running.unlock();
        assert_eq!(received.recv_timeout(LONG), Err(mpsc::RecvTimeoutError::Disconnected));
    });
    // What is left of a damaged one is not an error.
    let path = host.dir(&id).join(format!("{id}-json.log.1.gz"));
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 12]).unwrap();
    let mut seen = Vec::new();
    let flaws = logs(&host.engine, "web", &LogsRequest::default(), &mut |told| {
        if let Told::Entry(entry) = told {
            seen.extend_from_slice(entry.text);
        }
        ControlFlow::Continue(())
    })
    .unwrap();
    assert!(seen.ends_with(b"4\n") && seen.starts_with(b"0\n1\n2\n"));
    assert!(flaws.damaged > 0);
}

#[test]
fn a_follower_that_is_overtaken_says_so() {
    let host = Host::new();
    let id = host.create("web", |_| {});
    append(&host, &id, &line("0\n", "stdout", 0));
    let running = host.start(&id, |_| {});
    let mut seen = Vec::new();
    let request = LogsRequest {
        follow: true,
        ..LogsRequest::default()
    };
    let flaws = logs(&host.engine, "web", &request, &mut |told| match told {
        Told::Entry(entry) => {
            seen.push(String::from_utf8(entry.text.to_vec()).unwrap());
            match seen.len() {
                3 => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        }
        Told::Pause => {
            for n in 1..4 {
                rotate(&host, &id, 2);
                append(&host, &id, &line(&format!("{n}\n"), "stdout", n));
            }
            ControlFlow::Continue(())
        }
    })
    .unwrap();
    assert_eq!(seen, ["0\n", "2\n", "3\n"]);
    assert!(flaws.overtaken);
    drop(running);
}
