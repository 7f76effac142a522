//! Uploads (end-4 to end-6, end-11, end-13, end-14), whole and broken.

use std::io::Write;
use std::net::TcpStream;

use hull_testkit::wait;

use super::{Served, code, sha256};
use crate::noise;

fn begin(served: &Served, name: &str) -> String {
    let begun = served.ask("POST", &format!("/v2/{name}/blobs/uploads/"), &[], b"");
    assert_eq!(begun.status, 202);
    assert!(begun.header("docker-upload-uuid").is_some());
    begun.header("location").unwrap().to_owned()
}

fn patch(served: &Served, at: &str, range: Option<&str>, bytes: &[u8]) -> hull_testkit::http::Response {
    let headers: Vec<_> = range.map(|range| ("Content-Range", range)).into_iter().collect();
    served.ask("PATCH", at, &headers, bytes)
}

#[test]
fn in_every_way_that_there_is() {
    let served = Served::start();
    let bytes = noise(200_000);
    let digest = sha256(&bytes);
    let check = |name: &str| {
        let found = served.get(&format!("/v2/{name}/blobs/{digest}"));
        assert!(found.status == 200 && found.body == bytes, "{name}");
    };
    // POST, then PUT with everything.
    let at = begin(&served, "put");
    let done = served.ask("PUT", &format!("{at}?digest={digest}"), &[], &bytes);
    assert_eq!(
        (done.status, done.header("docker-content-digest")),
        (201, Some(digest.as_str()))
    );
    check("put");
    // One POST.
    assert_eq!(served.blob("post", &bytes), digest);
    check("post");
    // Chunks, with their ranges; the last one in the PUT.
    let at = begin(&served, "chunks");
    let answer = patch(&served, &at, Some("0-99999"), &bytes[..100_000]);
    assert_eq!((answer.status, answer.header("range")), (202, Some("0-99999")));
    let status = served.get(&at);
    assert_eq!((status.status, status.header("range")), (204, Some("0-99999")));
    assert_eq!(status.header("location"), Some(at.as_str()));
    for range in ["50000-149999", "150000-199999"] {
        let refused = patch(&served, &at, Some(range), &bytes[100_000..150_000]);
        // One does not agree with its length, the other does not follow.
        assert!(matches!(refused.status, 400 | 416), "{range}");
    }
    let refused = patch(&served, &at, Some("100001-100002"), b"xx");
    assert_eq!((refused.status, refused.header("range")), (416, Some("0-99999")));
    assert_eq!(
        patch(&served, &at, Some("100000-149999"), &bytes[100_000..150_000]).status,
        202
    );
    let done = served.ask(
        "PUT",
        &format!("{at}?digest={digest}"),
        &[("Content-Range", "150000-199999")],
        &bytes[150_000..],
    );
    assert_eq!(done.status, 201);
    check("chunks");
    // As docker does it: one PATCH without a range, an empty PUT.
    let at = begin(&served, "stream");
    assert_eq!(patch(&served, &at, None, &bytes).status, 202);
    assert_eq!(
        served.ask("PUT", &format!("{at}?digest={digest}"), &[], b"").status,
        201
    );
    check("stream");
    assert_eq!(served.get(&at).status, 404);
    // Cancelled.
    let at = begin(&served, "gone");
    assert_eq!(patch(&served, &at, None, &bytes).status, 202);
    assert_eq!(served.ask("DELETE", &at, &[], b"").status, 204);
    assert_eq!(served.get(&at).status, 404);
    // All of them are one file.
    assert_eq!(std::fs::read_dir(served.path("blobs/sha256")).unwrap().count(), 1);
    assert_eq!(std::fs::read_dir(served.path("uploads")).unwrap().count(), 0);
}

#[test]
fn wrong_digests_are_found_and_another_try_is_given() {
    let served = Served::start();
    let wrong = sha256(b"something else");
    let refused = served.ask("POST", &format!("/v2/a/blobs/uploads/?digest={wrong}"), &[], b"blob");
    assert_eq!((refused.status, code(&refused).as_str()), (400, "DIGEST_INVALID"));
    let at = begin(&served, "a");
    assert_eq!(patch(&served, &at, None, b"blob").status, 202);
    assert_eq!(served.ask("PUT", &format!("{at}?digest={wrong}"), &[], b"").status, 400);
    assert_eq!(served.ask("PUT", &at, &[], b"").status, 400);
    assert_eq!(served.ask("PUT", &format!("{at}?digest=md5:x"), &[], b"").status, 400);
    assert_eq!(served.get(&format!("/v2/a/blobs/{wrong}")).status, 404);
    let right = format!("{at}?digest={}", sha256(b"blob"));
    assert_eq!(served.ask("PUT", &right, &[], b"").status, 201);
    let long = hull_store::digest(hull_spec::Algorithm::Sha512, b"blob").to_string();
    let at = begin(&served, "a");
    assert_eq!(
        served.ask("PUT", &format!("{at}?digest={long}"), &[], b"blob").status,
        201
    );
    assert_eq!(served.get(&format!("/v2/a/blobs/{long}")).body, b"blob");
}

#[test]
fn what_has_arrived_survives_its_connection_and_its_server() {
    let served = Served::start();
    let bytes = noise(400_000);
    let at = begin(&served, "a");
    // The client promises everything, sends half and is gone.
    let mut stream = TcpStream::connect(served.address).unwrap();
    write!(
        stream,
        "PATCH {at} HTTP/1.1\r\nHost: x\r\nContent-Length: 400000\r\n\r\n"
    )
    .unwrap();
    stream.write_all(&bytes[..200_000]).unwrap();
    drop(stream);
    wait::until("the half has arrived", || {
        (served.get(&at).header("range") == Some("0-199999")).then_some(())
    });
    // Also for another server, which has to read what it has not seen arrive.
    let served = served.restart(|_| ());
    let status = served.get(&at);
    assert_eq!((status.status, status.header("range")), (204, Some("0-199999")));
    let digest = sha256(&bytes);
    let done = served.ask(
        "PUT",
        &format!("{at}?digest={digest}"),
        &[("Content-Range", "200000-399999")],
        &bytes[200_000..],
    );
    assert_eq!(done.status, 201, "{}", done.text());
    assert_eq!(served.get(&format!("/v2/a/blobs/{digest}")).body, bytes);
}

#[test]
fn an_upload_belongs_to_its_repository() {
    let served = Served::start();
    let at = begin(&served, "mine");
    let elsewhere = at.replace("/mine/", "/yours/");
    assert_eq!(patch(&served, &elsewhere, None, b"x").status, 404);
    assert_eq!(served.get(&elsewhere).status, 404);
    for id in ["0123456789abcdef0123456789abcdef", "..", "%2e%2e%2f%2e%2e", "x"] {
        let found = served.get(&format!("/v2/mine/blobs/uploads/{id}"));
        assert_eq!(found.status, 404, "{id}");
    }
}

#[test]
fn blobs_are_mounted_from_other_repositories() {
    let served = Served::start();
    let digest = served.blob("from", b"blob");
    let mount = |query: &str| served.ask("POST", &format!("/v2/to/blobs/uploads/?{query}"), &[], b"");
    let done = mount(&format!("mount={digest}&from=from"));
    assert_eq!(
        (done.status, done.header("location")),
        (201, Some(format!("/v2/to/blobs/{digest}").as_str()))
    );
    assert_eq!(served.get(&format!("/v2/to/blobs/{digest}")).body, b"blob");
    for query in [
        format!("mount={}&from=from", sha256(b"absent")),
        format!("mount={digest}&from=nobody"),
        format!("mount={digest}&from=../from"),
        format!("mount={digest}"),
    ] {
        let begun = mount(&query);
        assert_eq!(begun.status, 202, "{query}");
        assert!(begun.header("location").is_some_and(|at| at.contains("/uploads/")));
    }
    assert_eq!(mount("mount=sha256:x&from=from").status, 400);
}
