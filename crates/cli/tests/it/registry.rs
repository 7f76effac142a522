//! `registry serve` as a process: killed at any time, under load, and with flags that contradict each other.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hull_testkit::http;

use crate::HULL;

/// A server, killed when it is dropped.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn start(dir: &Path, flags: &[&str]) -> Self {
        let mut process = Command::new(HULL)
            .args([
                "--root",
                dir.to_str().unwrap(),
                "registry",
                "serve",
                "--listen",
                "127.0.0.1:0",
            ])
            .args(flags)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap());
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        let address = line.trim().rsplit_once("://").expect(&line).1.parse().unwrap();
        // Nobody reads the rest: it must not fill the pipe.
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        Self { process, address }
    }

    fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    fn ask(&self, method: &str, path: &str, body: &[u8]) -> std::io::Result<http::Response> {
        let kind = [("Content-Type", "application/vnd.oci.image.manifest.v1+json")];
        http::send(self.address, method, path, &kind, &mut &*body, body.len() as u64)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn digest(bytes: &[u8]) -> String {
    hull_store::digest(hull_spec::Algorithm::Sha256, bytes).to_string()
}

/// A blob that no other one is like.
fn blob(seed: usize, size: usize) -> Vec<u8> {
    let mut out = seed.to_le_bytes().repeat(size / 8 + 1);
    out.truncate(size);
    out
}

fn manifest(layer: &[u8]) -> Vec<u8> {
    let describe =
        |kind: &str, bytes: &[u8]| serde_json::json!({"mediaType": kind, "digest": digest(bytes), "size": bytes.len()});
    let json = serde_json::json!({
        "schemaVersion": 2,
        "config": describe("application/vnd.oci.image.config.v1+json", b"{}"),
        "layers": [describe("application/vnd.oci.image.layer.v1.tar", layer)],
    });
    json.to_string().into_bytes()
}

/// Pushes images until the server is gone; returns the numbers of those that it has acknowledged.
fn push_all(server: &Server, from: usize, over: &AtomicBool) -> Vec<usize> {
    let mut done = Vec::new();
    for number in from.. {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let layer = blob(number, 300_000);
        let push =
            |method: &str, path: String, bytes: &[u8]| server.ask(method, &path, bytes).is_ok_and(|a| a.status == 201);
        let all = push("POST", format!("/v2/a/blobs/uploads/?digest={}", digest(b"{}")), b"{}")
            && push(
                "POST",
                format!("/v2/a/blobs/uploads/?digest={}", digest(&layer)),
                &layer,
            )
            && push("PUT", format!("/v2/a/manifests/t{number}"), &manifest(&layer));
        if !all {
            break;
        }
        done.push(number);
    }
    done
}

#[test]
fn a_killed_server_has_what_it_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..6_u64 {
        let mut server = Server::start(dir.path(), &["--gc-interval", "20ms"]);
        let begun = server.ask("POST", "/v2/a/blobs/uploads/", b"").unwrap();
        let at = begun.header("location").unwrap().to_owned();
        assert_eq!(server.ask("PATCH", &at, b"first half, ").unwrap().status, 202);
        let over = AtomicBool::new(false);
        let first = usize::try_from(round).unwrap() * 10_000;
        let pushed = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for worker in 0..3 {
                let (server, over, pushed) = (&server, &over, &pushed);
                scope.spawn(move || {
                    let done = push_all(server, first + worker * 1000, over);
                    pushed.lock().unwrap().extend(done);
                });
            }
            // The instant of the kill is what is being varied; there is no state to wait for.
            std::thread::sleep(Duration::from_millis(40 + round * 67));
            let pid = rustix::process::Pid::from_child(&server.process);
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
            over.store(true, Ordering::Relaxed);
        });
        server.kill();
        acknowledged.append(&mut pushed.into_inner().unwrap());
        let server = Server::start(dir.path(), &[]);
        for number in &acknowledged {
            let layer = blob(*number, 300_000);
            let found = server.ask("GET", &format!("/v2/a/manifests/t{number}"), b"").unwrap();
            assert_eq!((found.status, found.body == manifest(&layer)), (200, true), "t{number}");
            let found = server
                .ask("GET", &format!("/v2/a/blobs/{}", digest(&layer)), b"")
                .unwrap();
            assert_eq!((found.status, found.body == layer), (200, true), "t{number}");
        }
        // The upload goes on where it was.
        let status = server.ask("GET", &at, b"").unwrap();
        assert_eq!((status.status, status.header("range")), (204, Some("0-11")));
        let whole = digest(b"first half, second half");
        let done = server
            .ask("PUT", &format!("{at}?digest={whole}"), b"second half")
            .unwrap();
        assert_eq!(done.status, 201, "{}", done.text());
        assert_eq!(std::fs::read_dir(dir.path().join("registry/tmp")).unwrap().count(), 0);
    }
    assert!(acknowledged.len() > 6, "hardly anything was pushed: {acknowledged:?}");
    for entry in std::fs::read_dir(dir.path().join("registry/blobs/sha256")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        assert_eq!(digest(&std::fs::read(&path).unwrap()), format!("sha256:{name}"));
    }
}

/// Bytes of a process' own memory.
fn memory(process: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn memory_does_not_grow_with_uploads() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let over = AtomicBool::new(false);
    let most = std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut most = 0;
            while !over.load(Ordering::Relaxed) {
                most = most.max(memory(&server.process));
                std::thread::sleep(Duration::from_millis(2));
            }
            most
        });
        let uploads: Vec<_> = (0..64)
            .map(|number| {
                let server = &server;
                scope.spawn(move || {
                    // Of the right length, and not kept by the client either.
                    let size = 4 << 20;
                    let begun = server.ask("POST", "/v2/a/blobs/uploads/", b"").unwrap();
                    let at = begun.header("location").unwrap().to_owned();
                    let mut body = std::io::repeat(number).take(size);
                    let sent = http::send(server.address, "PATCH", &at, &[], &mut body, size).unwrap();
                    assert_eq!((sent.status, sent.header("range")), (202, Some("0-4194303")));
                    let _ = server.ask("DELETE", &at, b"");
                })
            })
            .collect();
        for upload in uploads {
            upload.join().unwrap();
        }
        over.store(true, Ordering::Relaxed);
        watch.join().unwrap()
    });
    assert!(most < 64 << 20, "{most} bytes");
}

#[test]
fn contradictions_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().to_str().unwrap();
    let file = dir.path().join("serve.toml");
    std::fs::write(
        &file,
        "[[access]]\nrepositories = [\"**\"]\nusers = [\"*\"]\nactions = [\"pull\"]\n",
    )
    .unwrap();
    let file = file.to_str().unwrap();
    let refuse = |args: &[&str], expected: &str| {
        let mut all = vec!["--root", root, "registry", "serve", "--listen", "127.0.0.1:0"];
        all.extend(args);
        let done = Command::new(HULL).args(all).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(!done.status.success() && said.contains(expected), "{args:?}: {said}");
    };
    refuse(&["--tls-cert", "x"], "go together");
    refuse(&["--quota", "lots"], "quota");
    refuse(&["--gc-grace", "soon"], "gc-grace");
    refuse(&["--htpasswd", "/nonexistent"], "/nonexistent");
    refuse(&["--mirror", "not a registry"], "invalid reference");
    refuse(&[file], "rules of access need users");
    refuse(&["/nonexistent.toml"], "/nonexistent.toml");
    let _server = Server::start(dir.path(), &[]);
    refuse(&[], "another server uses the storage");
}
