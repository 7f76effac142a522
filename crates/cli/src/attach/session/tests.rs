//! Sessions with a monitor played by the test, over the socket and pipes that a real one has.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::thread::{JoinHandle, spawn};

use hull_monitor::frame;

use super::super::signals::Signals;
use super::super::{Ending, Local, Options, Remote};
use super::Session;
use crate::detach_keys::Watch;

/// The three ends that the test keeps, and the session on a thread of its own.
struct Bench {
    monitor: UnixStream,
    stdin: Option<File>,
    stdout: File,
    stderr: File,
    session: JoinHandle<Ending>,
}

fn pipe() -> (File, OwnedFd, OwnedFd, File) {
    let (near, far) = rustix::pipe::pipe().unwrap();
    let (other_near, other_far) = rustix::pipe::pipe().unwrap();
    (File::from(far), near, other_far, File::from(other_near))
}

fn bench(keys: &'static [u8], stdin_wanted: bool) -> Bench {
    let (monitor, socket) = UnixStream::pair().unwrap();
    let (stdin, stdin_far, stdout_far, stdout) = pipe();
    let (_, _, stderr_far, stderr) = pipe();
    let session = spawn(move || {
        let local = Local {
            stdin: stdin_far.as_fd(),
            stdout: stdout_far.as_fd(),
            stderr: stderr_far.as_fd(),
        };
        let options = Options {
            stdin: stdin_wanted,
            stdout: true,
            stderr: true,
            tty: false,
            detach_keys: Vec::new(),
            forward: None,
        };
        let signals = Signals::take(false, false).unwrap();
        let watch = Watch::new(keys.to_vec());
        Session::new(Remote::monitor(socket), local, &options, watch, signals, None)
            .unwrap()
            .run()
            .unwrap()
    });
    Bench {
        monitor,
        stdin: Some(stdin),
        stdout,
        stderr,
        session,
    }
}

fn send(monitor: &mut UnixStream, kind: u8, payload: &[u8]) {
    monitor.write_all(&frame::header(kind, payload.len())).unwrap();
    monitor.write_all(payload).unwrap();
}

fn receive(monitor: &mut UnixStream) -> (u8, Vec<u8>) {
    let mut header = [0; frame::HEADER];
    monitor.read_exact(&mut header).unwrap();
    let mut payload = vec![0; u32::from_le_bytes([header[1], header[2], header[3], header[4]]) as usize];
    monitor.read_exact(&mut payload).unwrap();
    (header[0], payload)
}

fn text(mut file: File) -> String {
    let mut out = String::new();
    file.read_to_string(&mut out).unwrap();
    out
}

#[test]
fn output_and_the_exit_code_come_through() {
    let mut bench = bench(b"", false);
    send(&mut bench.monitor, frame::STDOUT, b"out");
    send(&mut bench.monitor, frame::STDERR, b"err");
    send(&mut bench.monitor, 200, b"a word of a later monitor");
    send(&mut bench.monitor, frame::STDOUT, b"put");
    send(&mut bench.monitor, frame::EXIT, &7i32.to_le_bytes());
    assert_eq!(bench.session.join().unwrap(), Ending::Exited(7));
    assert_eq!(
        (text(bench.stdout), text(bench.stderr)),
        ("output".to_owned(), "err".to_owned())
    );
}

#[test]
fn no_byte_is_lost_to_a_slow_reader() {
    let mut bench = bench(b"", false);
    let sent: Vec<u8> = (0..8u32 << 18).flat_map(u32::to_le_bytes).collect();
    let writer = {
        let (mut monitor, sent) = (bench.monitor.try_clone().unwrap(), sent.clone());
        spawn(move || {
            for piece in sent.chunks(frame::PAYLOAD_MAX) {
                send(&mut monitor, frame::STDOUT, piece);
            }
            send(&mut monitor, frame::EXIT, &0i32.to_le_bytes());
        })
    };
    let mut got = Vec::new();
    let mut buffer = [0; 1000];
    while got.len() < sent.len() {
        let n = bench.stdout.read(&mut buffer).unwrap();
        got.extend_from_slice(&buffer[..n]);
    }
    writer.join().unwrap();
    assert_eq!(bench.session.join().unwrap(), Ending::Exited(0));
    assert!(got == sent, "what came is what was sent");
}

#[test]
fn input_is_passed_on_and_its_end_told() {
    let mut bench = bench(b"", true);
    let mut stdin = bench.stdin.take().unwrap();
    stdin.write_all(b"typed").unwrap();
    assert_eq!(receive(&mut bench.monitor), (frame::STDIN, b"typed".to_vec()));
    drop(stdin);
    assert_eq!(receive(&mut bench.monitor), (frame::STDIN_END, Vec::new()));
    // The container goes on after its input has ended.
    send(&mut bench.monitor, frame::STDOUT, b"still here");
    send(&mut bench.monitor, frame::EXIT, &0i32.to_le_bytes());
    assert_eq!(bench.session.join().unwrap(), Ending::Exited(0));
    assert_eq!(text(bench.stdout), "still here");
}

#[test]
fn output_comes_through_while_input_is_not_taken() {
    let mut bench = bench(b"", true);
    let mut stdin = bench.stdin.take().unwrap();
    // More than socket and pipe hold: the writer blocks until the test reads the socket, at the end.
    let writer = spawn(move || stdin.write_all(&vec![b'x'; 4 << 20]));
    send(&mut bench.monitor, frame::STDOUT, b"out");
    let mut out = [0; 3];
    bench.stdout.read_exact(&mut out).unwrap();
    assert_eq!(&out, b"out");
    let mut got = 0;
    loop {
        match receive(&mut bench.monitor) {
            (frame::STDIN, bytes) => got += bytes.len(),
            (kind, _) => {
                assert_eq!(kind, frame::STDIN_END);
                break;
            }
        }
    }
    assert_eq!(got, 4 << 20);
    writer.join().unwrap().unwrap();
    send(&mut bench.monitor, frame::EXIT, &0i32.to_le_bytes());
    assert_eq!(bench.session.join().unwrap(), Ending::Exited(0));
}

#[test]
fn the_detach_keys_leave() {
    let mut bench = bench(b"\x10\x11", true);
    let mut stdin = bench.stdin.take().unwrap();
    stdin.write_all(b"ab\x10\x11").unwrap();
    assert_eq!(bench.session.join().unwrap(), Ending::Detached);
    // Whatever was typed before may or may not be under way; nothing of the keys is.
    let mut rest = Vec::new();
    let _ = bench.monitor.read_to_end(&mut rest);
    assert!(!rest.contains(&0x10), "{rest:?}");
}

#[test]
fn a_killed_monitor_closes_the_session() {
    let mut bench = bench(b"", true);
    send(&mut bench.monitor, frame::STDOUT, b"last words");
    drop(bench.monitor);
    assert_eq!(bench.session.join().unwrap(), Ending::Closed);
    assert_eq!(text(bench.stdout), "last words");
}

#[test]
fn a_reader_that_goes_away_ends_the_session() {
    hull_sys::signal::ignore(super::PIPE);
    let mut bench = bench(b"", false);
    drop(bench.stdout);
    send(&mut bench.monitor, frame::STDOUT, b"unheard");
    assert_eq!(bench.session.join().unwrap(), Ending::Signalled(super::PIPE));
}
