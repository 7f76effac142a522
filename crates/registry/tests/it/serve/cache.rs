//! A cache of another registry.

use std::time::Duration;

use hull_registry::serve::settings::{Mirror, Settings};
use hull_testkit::registry::{Login, Registry};
use hull_testkit::{Image, Layer, http};

use super::{Served, code, json};
use crate::{Site, noise};

fn cached(upstream: &Registry) -> impl FnOnce(&mut Settings) + use<> {
    let upstream = upstream.address().to_string();
    move |settings| {
        settings.mirror = Some(Mirror {
            upstream,
            ttl: Duration::ZERO,
            credentials: None,
        });
    }
}

fn image(size: usize) -> Image {
    Image::new().layer(Layer::build().file("data", 0o644, noise(size)).gzip())
}

#[test]
fn what_was_fetched_once_is_served_without_upstream() {
    let upstream = Registry::start();
    let image = image(3 << 20);
    upstream.image("lib/app", "1", &image);
    let served = Served::with(cached(&upstream));
    let name = format!("{}/lib/app:1", served.address);
    Site::new().pull(&name).unwrap();
    let blobs = upstream.seen("/blobs/").len();
    assert_eq!(blobs, 2);
    Site::new().pull(&name).unwrap();
    assert_eq!(upstream.seen("/blobs/").len(), blobs);
    // The tag was asked about; now upstream is gone, and what is here is served.
    upstream.always("/", |reply| {
        *reply = hull_testkit::registry::Reply::error(500, "UNKNOWN", "down")
    });
    let served = served.restart(cached(&upstream));
    Site::new().pull(&format!("{}/lib/app:1", served.address)).unwrap();
    let refused = served.get("/v2/lib/app/manifests/2");
    assert_eq!(refused.status, 502, "{}", refused.text());
    let refused = served.ask("POST", "/v2/lib/app/blobs/uploads/", &[], b"");
    assert_eq!((refused.status, code(&refused).as_str()), (405, "UNSUPPORTED"));
}

#[test]
fn a_tag_that_moves_is_followed() {
    let upstream = Registry::start();
    let first = upstream.image("a", "1", &image(10));
    let served = Served::with(cached(&upstream));
    let digest = |served: &Served| {
        let found = served.ask("HEAD", "/v2/a/manifests/1", &[], b"");
        found.header("docker-content-digest").unwrap().to_owned()
    };
    assert_eq!(digest(&served), first);
    let second = upstream.image("a", "1", &image(20));
    assert_eq!(digest(&served), second);
    assert_eq!(served.get("/v2/a/manifests/none").status, 404);
    // Believed for a while, it is not asked about.
    let served = served.restart(|settings| {
        cached(&upstream)(settings);
        settings.mirror.as_mut().unwrap().ttl = Duration::from_secs(3600);
    });
    upstream.image("a", "1", &image(30));
    assert_eq!(digest(&served), second);
}

#[test]
fn many_clients_make_one_fetch_and_all_get_everything() {
    let upstream = Registry::start();
    let image = image(4 << 20);
    upstream.image("a", "1", &image);
    let served = Served::with(cached(&upstream));
    let blob = &image.layers()[0].blob;
    upstream.once("/blobs/", |reply| reply.slow = Some(Duration::from_micros(20)));
    let path = format!("/v2/a/blobs/{}", blob.digest);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let found = http::get(served.address, &path).unwrap();
                assert!(found.status == 200 && found.body == blob.bytes());
            });
        }
    });
    assert_eq!(upstream.seen("/blobs/").len(), 1);
    assert_eq!(served.get(&path).body, blob.bytes());
    let metrics = served.get("/metrics").text();
    assert!(metrics.contains("hull_registry_cache_hits_total 1"), "{metrics}");
}

#[test]
fn a_fetch_that_breaks_off_goes_on() {
    let upstream = Registry::start();
    let image = image(1 << 20);
    upstream.image("a", "1", &image);
    let served = Served::with(cached(&upstream));
    let blob = &image.layers()[0].blob;
    upstream.once("/blobs/", |reply| reply.cut = Some(300_000));
    let found = served.get(&format!("/v2/a/blobs/{}", blob.digest));
    assert!(found.status == 200 && found.body == blob.bytes());
    assert!(upstream.seen("/blobs/").len() > 1);
}

#[test]
fn lies_of_upstream_are_neither_kept_nor_passed_on_whole() {
    let upstream = Registry::start();
    let image = image(1 << 20);
    upstream.image("a", "1", &image);
    let served = Served::with(cached(&upstream));
    let blob = &image.layers()[0].blob;
    upstream.once("/blobs/", |reply| reply.body[1000] ^= 1);
    let found = served.get(&format!("/v2/a/blobs/{}", blob.digest));
    assert!((found.body.len() as u64) < blob.size, "{}", found.body.len());
    assert_eq!(std::fs::read_dir(served.path("blobs/sha256")).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(served.path("uploads")).unwrap().count(), 0);
    assert_eq!(served.get(&format!("/v2/a/blobs/{}", blob.digest)).body, blob.bytes());
    let digest = image.manifest().digest;
    upstream.once("/manifests/", |reply| reply.body.push(b' '));
    assert_eq!(served.get(&format!("/v2/a/manifests/{digest}")).status, 502);
    assert_eq!(served.get(&format!("/v2/a/manifests/{digest}")).status, 200);
}

#[test]
fn the_caches_credentials_are_its_own() {
    let upstream = Registry::start();
    upstream.image("a", "1", &image(10));
    upstream.require(Login::basic("cache", "secret"));
    let served = Served::with(cached(&upstream));
    // What upstream hides is not there.
    assert_eq!(served.get("/v2/a/manifests/1").status, 404);
    let served = served.restart(|settings| {
        cached(&upstream)(settings);
        settings.mirror.as_mut().unwrap().credentials = Some(("cache".to_owned(), "secret".to_owned()));
    });
    assert_eq!(served.get("/v2/a/manifests/1").status, 200);
    let referrers = served.get(&format!("/v2/a/referrers/{}", image(10).manifest().digest));
    assert_eq!(json(&referrers)["manifests"], serde_json::json!([]));
}

#[test]
fn a_full_cache_makes_room() {
    let upstream = Registry::start();
    let images: Vec<Image> = [900_000, 910_000, 920_000].map(image).to_vec();
    for (number, image) in images.iter().enumerate() {
        upstream.image("a", &number.to_string(), image);
    }
    let full = |settings: &mut Settings| {
        cached(&upstream)(settings);
        settings.quota.total = Some(2_000_000);
    };
    let mut served = Served::with(full);
    let pull = |served: &Served, tag: usize| Site::new().pull(&format!("{}/a:{tag}", served.address)).unwrap();
    pull(&served, 0);
    pull(&served, 1);
    // They are of yesterday, and the first was asked for since.
    served.end();
    let yesterday = std::time::SystemTime::now() - Duration::from_secs(86_400);
    for dir in ["_blobs", "_manifests"] {
        for entry in std::fs::read_dir(served.path(&format!("repositories/a/{dir}/sha256"))).unwrap() {
            let file = std::fs::File::options()
                .write(true)
                .open(entry.unwrap().path())
                .unwrap();
            file.set_modified(yesterday).unwrap();
        }
    }
    let served = served.restart(full);
    pull(&served, 0);
    let fetched = upstream.seen("/blobs/").len();
    pull(&served, 2);
    pull(&served, 0);
    assert_eq!(upstream.seen("/blobs/").len(), fetched + 2, "the first is still there");
    pull(&served, 1);
    assert!(upstream.seen("/blobs/").len() > fetched + 2, "the second was gone");
    let metrics = served.get("/metrics").text();
    let stored = metrics
        .lines()
        .find_map(|line| line.strip_prefix("hull_registry_stored_bytes "))
        .unwrap();
    assert!(stored.parse::<u64>().unwrap() <= 2_000_000, "{stored}");
}
