//! The specification's endpoints, by their numbers, in its four categories.

use hull_testkit::{Image, Layer};

use super::{INDEX, MANIFEST, Served, code, json, manifest, sha256};
use crate::{Site, noise};

#[test]
fn pull_end_1_to_3() {
    let served = Served::start();
    let layer = noise(300_000);
    let digest = served.image("a/b", "v1", &layer);
    let base = served.get("/v2/");
    assert_eq!((base.status, base.text().as_str()), (200, "{}"));
    assert_eq!(base.header("docker-distribution-api-version"), Some("registry/2.0"));
    for which in ["v1", digest.as_str()] {
        for method in ["GET", "HEAD"] {
            let found = served.ask(method, &format!("/v2/a/b/manifests/{which}"), &[], b"");
            assert_eq!(found.status, 200);
            assert_eq!(found.header("content-type"), Some(MANIFEST));
            assert_eq!(found.header("docker-content-digest"), Some(digest.as_str()));
            let bytes = manifest(b"{}", &[&layer], None);
            assert_eq!(found.header("content-length"), Some(bytes.len().to_string().as_str()));
            assert_eq!(found.body, if method == "GET" { bytes } else { Vec::new() });
        }
    }
    let path = format!("/v2/a/b/blobs/{}", sha256(&layer));
    let found = served.get(&path);
    assert_eq!((found.status, found.body == layer), (200, true));
    assert_eq!(found.header("content-length"), Some("300000"));
    assert_eq!(found.header("accept-ranges"), Some("bytes"));
    let found = served.ask("HEAD", &path, &[], b"");
    assert_eq!((found.status, found.header("content-length")), (200, Some("300000")));
    let etag = found.header("etag").unwrap().to_owned();
    assert_eq!(served.ask("GET", &path, &[("If-None-Match", &etag)], b"").status, 304);
    for (range, status, content) in [
        ("bytes=10-19", 206, &layer[10..20]),
        ("bytes=299990-", 206, &layer[299_990..]),
        ("bytes=-5", 206, &layer[299_995..]),
        ("bytes=0-299999", 200, &layer[..]),
    ] {
        let found = served.ask("GET", &path, &[("Range", range)], b"");
        assert_eq!((found.status, found.body == content), (status, true), "{range}");
    }
    let found = served.ask("GET", &path, &[("Range", "bytes=300000-")], b"");
    assert_eq!(
        (found.status, found.header("content-range")),
        (416, Some("bytes */300000"))
    );
    let absent = sha256(b"absent");
    for (path, expected) in [
        (format!("/v2/a/b/blobs/{absent}"), "BLOB_UNKNOWN"),
        (format!("/v2/other/blobs/{}", sha256(&layer)), "BLOB_UNKNOWN"),
        (format!("/v2/a/b/manifests/{absent}"), "MANIFEST_UNKNOWN"),
        ("/v2/a/b/manifests/v2".to_owned(), "MANIFEST_UNKNOWN"),
    ] {
        let found = served.get(&path);
        assert_eq!((found.status, code(&found).as_str()), (404, expected), "{path}");
        assert_eq!(served.ask("HEAD", &path, &[], b"").status, 404);
    }
}

#[test]
fn push_end_7_checks_what_it_keeps() {
    let served = Served::start();
    let bytes = manifest(b"{}", &[b"layer"], None);
    let put = |which: &str, headers: &[(&str, &str)], bytes: &[u8]| {
        served.ask("PUT", &format!("/v2/a/manifests/{which}"), headers, bytes)
    };
    let typed = [("Content-Type", MANIFEST)];
    let refused = put("v1", &typed, &bytes);
    assert_eq!(
        (refused.status, code(&refused).as_str()),
        (400, "MANIFEST_BLOB_UNKNOWN")
    );
    served.blob("a", b"{}");
    served.blob("a", b"layer");
    let wrong = sha256(b"x");
    let refused = put(&wrong, &typed, &bytes);
    assert_eq!((refused.status, code(&refused).as_str()), (400, "DIGEST_INVALID"));
    let kept = put(&format!("{}?tag=one&tag=two", sha256(&bytes)), &typed, &bytes);
    assert_eq!(kept.status, 201);
    let tags: Vec<_> = kept
        .headers
        .iter()
        .filter(|(name, _)| name == "oci-tag")
        .map(|(_, tag)| tag.as_str())
        .collect();
    assert_eq!(tags, ["one", "two"]);
    assert_eq!(kept.header("docker-content-digest"), Some(sha256(&bytes).as_str()));
    let location = kept.header("location").unwrap();
    assert_eq!(served.get(location).body, bytes);
    assert_eq!(served.get("/v2/a/manifests/two").body, bytes);
    // An index needs its manifests, one of another digest algorithm is found under that.
    let index = |of: &str| {
        let json = serde_json::json!({"schemaVersion": 2, "mediaType": INDEX,
            "manifests": [{"mediaType": MANIFEST, "digest": of, "size": 1}]});
        json.to_string().into_bytes()
    };
    let typed = [("Content-Type", INDEX)];
    assert_eq!(put("index", &typed, &index(&wrong)).status, 400);
    let kept = put("index", &typed, &index(&sha256(&bytes)));
    assert_eq!(kept.status, 201, "{}", kept.text());
    assert_eq!(served.get("/v2/a/manifests/index").header("content-type"), Some(INDEX));
    let long = hull_store::digest(hull_spec::Algorithm::Sha512, &bytes).to_string();
    assert_eq!(put(&long, &[("Content-Type", MANIFEST)], &bytes).status, 201);
    assert_eq!(served.get(&format!("/v2/a/manifests/{long}")).body, bytes);
}

#[test]
fn discovery_end_8_and_the_catalogue_in_pages() {
    let served = Served::start();
    for tag in ["c", "a", "B", "d"] {
        served.image("x/y", tag, b"layer");
    }
    served.image("x", "1", b"layer");
    served.image("x-z", "1", b"layer");
    let list = |path: &str| {
        let found = served.get(path);
        assert_eq!(found.status, 200, "{path}");
        let names = if path.contains("_catalog") {
            "repositories"
        } else {
            "tags"
        };
        let names: Vec<String> = serde_json::from_value(json(&found)[names].clone()).unwrap();
        (names.join(" "), found.header("link").map(str::to_owned))
    };
    assert_eq!(list("/v2/x/y/tags/list"), ("B a c d".to_owned(), None));
    assert_eq!(json(&served.get("/v2/x/y/tags/list"))["name"], "x/y");
    let (names, link) = list("/v2/x/y/tags/list?n=3");
    assert_eq!(
        (names.as_str(), link.as_deref()),
        ("B a c", Some("</v2/x/y/tags/list?n=3&last=c>; rel=\"next\""))
    );
    assert_eq!(list("/v2/x/y/tags/list?n=3&last=c"), ("d".to_owned(), None));
    assert_eq!(list("/v2/x/y/tags/list?n=0"), (String::new(), None));
    assert_eq!(list("/v2/x/y/tags/list?last=aa"), ("c d".to_owned(), None));
    assert_eq!(list("/v2/_catalog"), ("x x-z x/y".to_owned(), None));
    let (names, link) = list("/v2/_catalog?n=2");
    assert_eq!(
        (names.as_str(), link.as_deref()),
        ("x x-z", Some("</v2/_catalog?n=2&last=x-z>; rel=\"next\""))
    );
    assert_eq!(list("/v2/_catalog?n=2&last=x-z"), ("x/y".to_owned(), None));
    let refused = served.get("/v2/x/y/tags/list?n=many");
    assert_eq!(
        (refused.status, code(&refused).as_str()),
        (400, "PAGINATION_NUMBER_INVALID")
    );
    let refused = served.get("/v2/none/tags/list");
    assert_eq!((refused.status, code(&refused).as_str()), (404, "NAME_UNKNOWN"));
}

#[test]
fn discovery_end_12_lists_referrers() {
    let served = Served::start();
    served.image("a", "v1", b"layer");
    let subject = manifest(b"{}", &[b"layer"], None);
    let of = format!("/v2/a/referrers/{}", sha256(&subject));
    let none = served.get(&of);
    assert_eq!((none.status, none.header("content-type")), (200, Some(INDEX)));
    assert_eq!(json(&none)["manifests"], serde_json::json!([]));
    let mut pushed = Vec::new();
    for kind in ["application/sig", "application/sbom", "application/sig"] {
        let mut about: serde_json::Value =
            serde_json::from_slice(&manifest(b"{}", &[b"layer"], Some(&subject))).unwrap();
        about["artifactType"] = kind.into();
        about["annotations"] = serde_json::json!({"n": pushed.len().to_string()});
        let bytes = about.to_string().into_bytes();
        let answer = served.ask(
            "PUT",
            &format!("/v2/a/manifests/{}", sha256(&bytes)),
            &[("Content-Type", MANIFEST)],
            &bytes,
        );
        assert_eq!(answer.status, 201);
        assert_eq!(answer.header("oci-subject"), Some(sha256(&subject).as_str()));
        pushed.push(sha256(&bytes));
    }
    let all = json(&served.get(&of));
    assert_eq!(all["manifests"].as_array().unwrap().len(), 3);
    let found = served.get(&format!("{of}?artifactType=application/sig"));
    assert_eq!(found.header("oci-filters-applied"), Some("artifactType"));
    let listed = json(&found)["manifests"].as_array().unwrap().clone();
    assert_eq!(listed.len(), 2);
    assert!(
        listed
            .iter()
            .all(|entry| entry["artifactType"] == "application/sig" && entry["annotations"]["n"].is_string())
    );
    // In pages.
    let first = served.get(&format!("{of}?n=2&artifactType=application/sig&x"));
    assert_eq!(first.header("link"), None);
    let first = served.get(&format!("{of}?n=1&artifactType=application/sig"));
    let link = first.header("link").unwrap();
    let path = link.split(['<', '>']).nth(1).unwrap();
    let second = json(&served.get(path));
    assert_eq!(second["manifests"][0], listed[1]);
    // Without a type of its own, the config's counts; and a subject that is not there yet is fine.
    let later = manifest(b"{}", &[b"late"], None);
    let about = manifest(b"{}", &[b"layer"], Some(&later));
    served.put("a", &sha256(&about), &about);
    let found = json(&served.get(&format!("/v2/a/referrers/{}", sha256(&later))));
    assert_eq!(
        found["manifests"][0]["artifactType"],
        "application/vnd.oci.image.config.v1+json"
    );
    // What is deleted is no longer listed, what another repository has never was.
    assert_eq!(
        served
            .ask("DELETE", &format!("/v2/a/manifests/{}", pushed[1]), &[], b"")
            .status,
        202
    );
    assert_eq!(json(&served.get(&of))["manifests"].as_array().unwrap().len(), 2);
    let elsewhere = served.get(&of.replace("/a/", "/b/"));
    assert_eq!(json(&elsewhere)["manifests"], serde_json::json!([]));
    let refused = served.get("/v2/a/referrers/sha256:xyz");
    assert_eq!((refused.status, code(&refused).as_str()), (400, "DIGEST_INVALID"));
}

#[test]
fn management_end_9_and_10() {
    let served = Served::start();
    let digest = served.image("a", "v1", b"layer");
    served.manifest("a", "v2", b"{}", &[b"layer"]);
    let delete = |path: &str| served.ask("DELETE", path, &[], b"").status;
    assert_eq!(delete("/v2/a/manifests/v1"), 202);
    assert_eq!(delete("/v2/a/manifests/v1"), 404);
    assert_eq!(served.get("/v2/a/manifests/v1").status, 404);
    assert_eq!(served.get("/v2/a/manifests/v2").status, 200);
    assert_eq!(delete(&format!("/v2/a/manifests/{digest}")), 202);
    assert_eq!(served.get("/v2/a/manifests/v2").status, 404);
    assert_eq!(json(&served.get("/v2/a/tags/list"))["tags"], serde_json::json!([]));
    assert_eq!(delete(&format!("/v2/a/manifests/{digest}")), 404);
    let blob = format!("/v2/a/blobs/{}", sha256(b"layer"));
    assert_eq!(delete(&blob), 202);
    assert_eq!(served.get(&blob).status, 404);
    assert_eq!(delete(&blob), 404);
    assert_eq!(delete("/v2/a/tags/list"), 405);
}

#[test]
fn what_is_not_allowed_is_405() {
    let served = Served::start();
    served.image("a", "v1", b"layer");
    let served = served.restart(|settings| settings.read_only = true);
    assert_eq!(served.get("/v2/a/manifests/v1").status, 200);
    assert_eq!(
        served
            .ask("HEAD", &format!("/v2/a/blobs/{}", sha256(b"layer")), &[], b"")
            .status,
        200
    );
    for (method, path) in [
        ("POST", "/v2/a/blobs/uploads/"),
        ("PUT", "/v2/a/manifests/v2"),
        ("DELETE", "/v2/a/manifests/v1"),
    ] {
        let refused = served.ask(method, path, &[("Content-Type", MANIFEST)], b"");
        assert_eq!(
            (refused.status, code(&refused).as_str()),
            (405, "UNSUPPORTED"),
            "{method} {path}"
        );
    }
    let served = served.restart(|settings| settings.delete = false);
    assert_eq!(served.ask("DELETE", "/v2/a/manifests/v1", &[], b"").status, 405);
    served.image("a", "v2", b"layer");
}

#[test]
fn images_come_back_as_they_were_pushed() {
    let served = Served::start();
    let image = Image::new().layer(Layer::build().file("f", 0o644, noise(3 << 20)).gzip());
    for blob in image.layers().iter().map(|layer| &layer.blob).chain([&image.config()]) {
        served.blob("lib/app", &blob.bytes());
    }
    served.put("lib/app", "1", &image.manifest().bytes());
    let site = Site::new();
    let name = format!("{}/lib/app:1", served.address);
    let pulled = site.pull(&name).unwrap();
    assert_eq!(pulled.digest.to_string(), image.manifest().digest);
    // Counts, and nothing but counts.
    let metrics = served.get("/metrics").text();
    assert!(
        metrics.contains("hull_registry_requests_total{route=\"blob\",code=\"200\"} 2"),
        "{metrics}"
    );
    assert!(!metrics.contains("lib/app"), "{metrics}");
}

#[test]
fn requests_that_are_sent_ahead_are_answered_in_order() {
    use std::io::{Read as _, Write as _};
    // Blobs go from their files to the socket past everything else that is sent: nothing may change places.
    let served = Served::start();
    let blobs: Vec<Vec<u8>> = [1, 70_000, 3_000_000, 1_048_576].map(noise).to_vec();
    let mut requests = String::new();
    let mut expected = Vec::new();
    for round in 0..3 {
        for blob in &blobs {
            let digest = served.blob("a", blob);
            let close = if round == 2 { "Connection: close\r\n" } else { "" };
            let close = if blob.len() == 1_048_576 { close } else { "" };
            requests += "GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n";
            requests += &format!("HEAD /v2/a/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n");
            requests += &format!("GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: x\r\n{close}\r\n");
            expected.push(blob.clone());
        }
    }
    let mut stream = std::net::TcpStream::connect(served.address).unwrap();
    stream.write_all(requests.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let mut rest = &answer[..];
    let mut take = |body: Option<&[u8]>| {
        let end = rest.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
        assert!(rest.starts_with(b"HTTP/1.1 200 OK"));
        rest = &rest[end..];
        if let Some(body) = body {
            assert!(rest.starts_with(body), "a body of {} bytes", body.len());
            rest = &rest[body.len()..];
        }
        rest.len()
    };
    let mut left = 1;
    for blob in &expected {
        take(Some(b"{}"));
        take(None);
        left = take(Some(blob));
    }
    assert_eq!(left, 0);
}
