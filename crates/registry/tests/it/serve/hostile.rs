//! Clients that mean no good, and disks that are full.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use hull_testkit::{require_root, wait};

use super::{INDEX, MANIFEST, Served, code, descriptor, manifest, sha256};
use crate::noise;

/// What the server answers to these bytes, until it closes the connection.
fn raw(served: &Served, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(served.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    // A server that resets the connection has said what it had to say.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn names_lead_nowhere_else() {
    let served = Served::start();
    std::fs::write(served.dir.path().join("outside"), "secret").unwrap();
    for path in [
        "/v2/../outside/tags/list",
        "/v2/..%2f..%2foutside/tags/list",
        "/v2/a/%2e%2e/%2e%2e/tags/list",
        "/v2/a/_tags/tags/list",
        "/v2/a/manifests/..%2f..%2foutside",
        "/v2/a/manifests/../../outside",
        "/v2/a/blobs/sha256:..%2f..%2foutside",
        "/v2/a/blobs/uploads/..%2f..%2f..%2foutside",
        "/v2/a%00b/tags/list",
        "//v2/a/tags/list",
    ] {
        for method in ["GET", "PUT", "PATCH", "DELETE", "POST"] {
            let answer = served.ask(method, path, &[("Content-Type", MANIFEST)], b"");
            assert!(
                matches!(answer.status, 400 | 404 | 405),
                "{method} {path}: {}",
                answer.status
            );
            assert!(!answer.text().contains("secret"));
        }
    }
    assert_eq!(std::fs::read_dir(served.path("repositories")).unwrap().count(), 0);
    assert_eq!(
        std::fs::read_to_string(served.dir.path().join("outside")).unwrap(),
        "secret"
    );
}

#[test]
fn documents_that_are_two_things_are_refused() {
    // CVE-2021-41190.
    let served = Served::start();
    served.image("a", "v1", b"layer");
    let layer = descriptor("application/vnd.oci.image.layer.v1.tar", b"layer");
    let child = descriptor(MANIFEST, &manifest(b"{}", &[b"layer"], None));
    let both = serde_json::json!({"schemaVersion": 2, "config": layer, "layers": [layer], "manifests": [child]});
    let mut lying: serde_json::Value = serde_json::from_slice(&manifest(b"{}", &[b"layer"], None)).unwrap();
    lying["mediaType"] = INDEX.into();
    for (json, kinds) in [(both, [MANIFEST, INDEX]), (lying, [MANIFEST, INDEX])] {
        for kind in kinds {
            let answer = served.ask(
                "PUT",
                "/v2/a/manifests/v2",
                &[("Content-Type", kind)],
                json.to_string().as_bytes(),
            );
            assert_eq!(
                (answer.status, code(&answer).as_str()),
                (400, "MANIFEST_INVALID"),
                "{json}"
            );
        }
    }
    for bytes in [&b"{"[..], b"", b"[]", b"null", b"\xff\xfe", &b"[".repeat(1 << 20)] {
        let answer = served.ask("PUT", "/v2/a/manifests/v2", &[("Content-Type", MANIFEST)], bytes);
        assert_eq!((answer.status, code(&answer).as_str()), (400, "MANIFEST_INVALID"));
    }
    assert_eq!(served.get("/v2/a/manifests/v2").status, 404);
}

#[test]
fn what_is_too_large_is_refused_before_it_is_there() {
    let served = Served::with(|settings| settings.limits.blob = Some(100_000));
    let large = vec![b' '; (4 << 20) + 1];
    let answer = served.ask(
        "PUT",
        "/v2/a/manifests/v1",
        &[("Content-Type", MANIFEST)],
        &large[..1 << 20],
    );
    assert_eq!(answer.status, 400);
    let head = format!(
        "PUT /v2/a/manifests/v1 HTTP/1.1\r\nHost: x\r\nContent-Type: {MANIFEST}\r\nContent-Length: 1000000000000\r\n\r\n"
    );
    assert!(raw(&served, head.as_bytes()).starts_with("HTTP/1.1 413"));
    // Without a length, as much is read as may be there.
    let mut chunked = format!("PUT /v2/a/manifests/v1 HTTP/1.1\r\nHost: x\r\nContent-Type: {MANIFEST}\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n", large.len()).into_bytes();
    chunked.extend(&large);
    chunked.extend(b"\r\n0\r\n\r\n");
    assert!(raw(&served, &chunked).starts_with("HTTP/1.1 413"));
    let blob = noise(100_001);
    let path = format!("/v2/a/blobs/uploads/?digest={}", sha256(&blob));
    let answer = served.ask("POST", &path, &[], &blob);
    assert_eq!((answer.status, code(&answer).as_str()), (413, "SIZE_INVALID"));
    served.blob("a", &blob[..100_000]);
    // Heads have limits, too.
    let mut long = b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX: ".to_vec();
    long.extend(vec![b'a'; 200_000]);
    long.extend(b"\r\n\r\n");
    let answer = raw(&served, &long);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    let many = format!("GET /v2/ HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: y\r\n".repeat(100));
    assert!(raw(&served, many.as_bytes()).starts_with("HTTP/1.1 431"));
}

#[test]
fn lengths_that_lie_are_found_out() {
    let served = Served::start();
    let digest = sha256(b"blob");
    let post = |headers: &str, body: &str| {
        let head = format!(
            "POST /v2/a/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n\r\n{body}"
        );
        raw(&served, head.as_bytes())
    };
    // More than was promised is another request, and no sensible one.
    let answer = post("Content-Length: 3", "blob");
    assert!(
        answer.starts_with("HTTP/1.1 400") && answer.contains("DIGEST_INVALID"),
        "{answer}"
    );
    // Two ways to tell where the body ends are one too many (RFC 9112, 6.3).
    for headers in [
        "Content-Length: 4\r\nContent-Length: 5",
        "Content-Length: -4",
        "Content-Length: 4x",
        "Transfer-Encoding: chunked, gzip",
    ] {
        let answer = post(headers, "blob");
        assert!(answer.starts_with("HTTP/1.1 400"), "{headers}: {answer}");
    }
    assert_eq!(served.get(&format!("/v2/a/blobs/{digest}")).status, 404);
    // A body that ends early is none, and leaves nothing.
    let mut stream = TcpStream::connect(served.address).unwrap();
    write!(
        stream,
        "POST /v2/a/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nblob"
    )
    .unwrap();
    drop(stream);
    assert_eq!(served.get(&format!("/v2/a/blobs/{digest}")).status, 404);
    assert!(post("Content-Length: 4", "blob").starts_with("HTTP/1.1 201"));
}

#[test]
fn silent_clients_are_not_waited_for() {
    let served = Served::with(|settings| {
        settings.limits.head = Duration::from_millis(200);
        settings.limits.stall = Duration::from_millis(200);
        settings.limits.connections = 4;
    });
    // They hold every place there is: with half a head, with half a body, and with an answer that they do not read.
    let blob = noise(64 << 20);
    let digest = served.blob("a", &blob);
    let begun = served.ask("POST", "/v2/a/blobs/uploads/", &[], b"");
    let at = begun.header("location").unwrap().to_owned();
    let connect = || TcpStream::connect(served.address).unwrap();
    let mut held: Vec<TcpStream> = (0..4).map(|_| connect()).collect();
    write!(held[0], "GET /v2/ HTTP/1.1\r\nHost: ").unwrap();
    write!(
        held[1],
        "PATCH {at} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf"
    )
    .unwrap();
    write!(held[2], "GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let answer = served.get("/v2/");
    assert_eq!(answer.status, 200);
    let mut said = String::new();
    let _ = held[1].read_to_string(&mut said);
    assert!(said.starts_with("HTTP/1.1 408"), "{said}");
    assert_eq!(served.get(&at).header("range"), Some("0-3"));
}

#[test]
fn quotas_are_kept() {
    let served = Served::with(|settings| {
        settings.quota.repository = Some(100_000);
        settings.quota.total = Some(250_000);
    });
    let blob = |name: &str, size: usize, seed: u8| {
        let bytes = vec![seed; size];
        let path = format!("/v2/{name}/blobs/uploads/?digest={}", sha256(&bytes));
        served.ask("POST", &path, &[], &bytes)
    };
    assert_eq!(blob("a", 90_000, 1).status, 201);
    let refused = blob("a", 20_000, 2);
    assert_eq!((refused.status, code(&refused).as_str()), (403, "DENIED"));
    assert!(refused.text().contains("quota"));
    assert_eq!(blob("a", 10_000, 3).status, 201);
    // What others have is not cheaper.
    assert_eq!(blob("b", 90_000, 1).status, 201);
    let mount = format!("/v2/b/blobs/uploads/?mount={}&from=a", sha256(&[3; 10_000]));
    assert_eq!(served.ask("POST", &mount, &[], b"").status, 201);
    assert_eq!(blob("c", 90_000, 1).status, 403, "the whole is full");
    assert_eq!(blob("c", 50_000, 1).status, 201);
    // Deleting makes room; so does a restart not.
    let served = served.restart(|settings| settings.quota.repository = Some(100_000));
    assert_eq!(
        served
            .ask("DELETE", &format!("/v2/a/blobs/{}", sha256(&[1; 90_000])), &[], b"")
            .status,
        202
    );
    let bytes = vec![9; 90_000];
    served.blob("a", &bytes);
    let path = format!("/v2/a/blobs/uploads/?digest={}", sha256(b"x"));
    assert_eq!(served.ask("POST", &path, &[], b"x").status, 403);
}

/// A file system of 8 MiB, unmounted when it is dropped.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    fn mount() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut command = std::process::Command::new("mount");
        command
            .args(["-t", "tmpfs", "-o", "size=8m", "hull-test"])
            .arg(dir.path());
        assert!(command.status().unwrap().success());
        Self(dir)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount")
            .arg("-l")
            .arg(self.0.path())
            .status();
    }
}

#[test]
fn privileged_full_disks_are_told_and_lose_nothing() {
    if !require_root() {
        return;
    }
    let dir = Tmpfs::mount();
    let path = dir.0.path().to_owned();
    let served = Served::on(tempfile::tempdir().unwrap(), |settings| {
        settings.storage = path.join("registry")
    });
    served.image("a", "v1", b"layer");
    let begun = served.ask("POST", "/v2/a/blobs/uploads/", &[], b"");
    let at = begun.header("location").unwrap().to_owned();
    let blob = noise(12 << 20);
    let refused = served.ask("PATCH", &at, &[], &blob);
    assert_eq!(refused.status, 507, "{}", refused.text());
    // What was there is there; what arrived is there too, and as much of it as the server says.
    assert_eq!(served.get("/v2/a/manifests/v1").status, 200);
    let range = served.get(&at).header("range").unwrap().to_owned();
    let len: usize = range.strip_prefix("0-").unwrap().parse::<usize>().unwrap() + 1;
    assert!((4 << 20..8 << 20).contains(&len), "{len}");
    let mut large: serde_json::Value = serde_json::from_slice(&manifest(b"{}", &[b"layer"], None)).unwrap();
    large["annotations"] = serde_json::json!({"x": "y".repeat(1 << 20)});
    let refused = served.ask(
        "PUT",
        "/v2/a/manifests/v2",
        &[("Content-Type", MANIFEST)],
        large.to_string().as_bytes(),
    );
    assert_eq!(refused.status, 507, "{}", refused.text());
    assert_eq!(served.get("/v2/a/manifests/v2").status, 404);
    assert_eq!(served.ask("DELETE", &at, &[], b"").status, 204);
    wait::until("there is room again", || {
        (served.blob("a", &blob[..4 << 20]).len() > 1).then_some(())
    });
    assert_eq!(std::fs::read_dir(path.join("registry/tmp")).unwrap().count(), 0);
}
