//! What the network and a registry that is ill do.

use std::time::{Duration, Instant};

use hull_spec::ErrorKind;
use hull_spec::progress::Event;
use hull_testkit::registry::Reply;
use hull_testkit::{Compression, Layer, require_root};

use super::{Site, bare, big, fails, listing, started};

#[test]
fn what_does_not_exist_is_told_in_docker_s_words() {
    let (site, registry) = started();
    registry.image("me/app", "1", &bare());
    let name = |image: &str| registry.name(image);
    fails(
        site.pull(&name("me/app:2")),
        ErrorKind::NotFound,
        "me/app:2 not found: manifest unknown: manifest unknown",
    );
    let digest = format!("sha256:{}", "0".repeat(64));
    fails(
        site.pull(&name(&format!("me/app@{digest}"))),
        ErrorKind::NotFound,
        &format!("manifest for {} not found", name(&format!("me/app@{digest}"))),
    );
    fails(
        site.pull(&name("no/such")),
        ErrorKind::NotFound,
        "no/such not found: name unknown: repository name not known to registry",
    );
    assert_eq!(registry.seen("/manifests/").len(), 3, "no use to ask again");
}

#[test]
fn a_registry_that_is_down_is_named() {
    let site = Site::new();
    let address = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let start = Instant::now();
    let err = fails(
        site.pull(&format!("{address}/app")),
        ErrorKind::Unavailable,
        &format!("cannot GET http://{address}/v2/: Connection refused"),
    );
    assert!(err.to_string().contains(&address.to_string()), "{err}");
    assert!(err.hints()[0].contains("nothing listens"), "{:?}", err.hints());
    assert!(start.elapsed() < Duration::from_secs(2));
}

/// Nothing outside `.invalid` may be asked for in a test (RFC 6761, 6.4); here mostly nobody answers at all.
#[test]
fn a_host_that_nobody_knows_is_told_soon() {
    let mut site = Site::new();
    site.settings.timeouts.connect = Duration::from_millis(300);
    let start = Instant::now();
    let err = fails(
        site.pull("hull-test.invalid/app"),
        ErrorKind::Unavailable,
        "cannot GET https://hull-test.invalid/",
    );
    assert_eq!(err.hints().len(), 1, "{err:?}");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn refusals_are_final_and_failures_that_pass_are_not() {
    let check = |status: u16, times: usize, asked: usize, expected: Option<(ErrorKind, &str)>| {
        let (site, registry) = started();
        registry.image("app", "1", &bare());
        registry.spoil(times, "/manifests/", move |_, reply| {
            *reply = Reply::error(status, "SOME_CODE", "a message");
        });
        let result = site.pull(&registry.name("app:1"));
        assert_eq!(registry.seen("/manifests/").len(), asked, "{status}");
        match expected {
            None => assert!(result.is_ok(), "{status}: {result:?}"),
            Some((kind, said)) => {
                fails(result, kind, said);
            }
        }
    };
    for status in [408, 429, 500, 502, 503, 504] {
        check(status, 2, 3, None);
    }
    let denied = "pull access denied for ";
    check(401, 9, 1, Some((ErrorKind::Denied, denied)));
    check(
        403,
        9,
        1,
        Some((ErrorKind::Denied, "or may require 'docker login': some code: a message")),
    );
    check(404, 9, 1, Some((ErrorKind::NotFound, "manifest unknown")));
    check(
        400,
        9,
        1,
        Some((ErrorKind::Unavailable, "answered 400: some code: a message")),
    );
    check(
        429,
        9,
        4,
        Some((ErrorKind::Unavailable, "answered 429: some code: a message")),
    );
    check(503, 9, 4, Some((ErrorKind::Unavailable, "answered 503")));
}

#[test]
fn retry_after_is_obeyed_within_reason() {
    let (site, registry) = started();
    registry.image("app", "1", &bare());
    registry.once("/manifests/", |reply| {
        *reply = Reply::error(429, "TOOMANYREQUESTS", "slow down");
        reply.set("Retry-After", "1");
    });
    let start = Instant::now();
    site.pull(&registry.name("app:1")).unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));

    registry.image("app", "2", &bare());
    registry.always("/manifests/", |reply| {
        *reply = Reply::error(429, "TOOMANYREQUESTS", "come back tomorrow");
        reply.set("Retry-After", "86400");
    });
    let start = Instant::now();
    let err = fails(
        site.pull(&registry.name("app:2")),
        ErrorKind::Unavailable,
        "come back tomorrow",
    );
    assert!(start.elapsed() < Duration::from_secs(1));
    assert!(err.hints()[0].contains("86400"), "{:?}", err.hints());
}

#[test]
fn documents_that_break_off_or_stall_are_asked_for_again() {
    for chunked in [false, true] {
        let (mut site, registry) = started();
        site.settings.timeouts.stall = Duration::from_millis(500);
        registry.image("app", "1", &bare());
        registry.once("/manifests/", move |reply| {
            reply.cut = Some(20);
            reply.chunked = chunked;
        });
        registry.once("/manifests/", |reply| reply.stall = Some((20, Duration::from_secs(60))));
        registry.once("/manifests/", |reply| reply.stall = Some((0, Duration::from_secs(60))));
        registry.once("/blobs/", |reply| reply.cut = Some(9));
        site.pull(&registry.name("app:1")).unwrap();
        assert_eq!(registry.seen("/manifests/").len(), 4);
        assert_eq!(registry.seen("/blobs/").len(), 2);
    }
}

#[test]
fn privileged_a_broken_download_goes_on_where_it_stopped() {
    if !require_root() {
        return;
    }
    let (mut site, registry) = started();
    site.settings.timeouts.stall = Duration::from_millis(500);
    let image = big(1 << 20);
    let blob = image.layers()[0].blob.clone();
    registry.image("app", "1", &image);
    registry.once(&blob.digest, |reply| reply.cut = Some(300_000));
    registry.once(&blob.digest, |reply| {
        reply.stall = Some((200_000, Duration::from_secs(60)))
    });
    registry.once(&blob.digest, |reply| *reply = Reply::error(503, "UNAVAILABLE", "ill"));
    let pulled = site.pull(&registry.name("app:1")).unwrap();
    assert_eq!(site.file(&pulled, "data").len(), 1 << 20);
    let asked = registry.seen(&blob.digest);
    let ranges: Vec<_> = asked.iter().map(|seen| seen.header("range")).collect();
    assert_eq!(
        ranges,
        [
            None,
            Some("bytes=300000-"),
            Some("bytes=500000-"),
            Some("bytes=500000-")
        ]
    );
    let error_body = asked[2].sent();
    assert_eq!(
        registry.sent(&blob.digest) - error_body,
        blob.size,
        "no byte was sent twice"
    );
    let retries = site
        .events()
        .into_iter()
        .filter(|e| matches!(e, Event::Retrying { .. }))
        .count();
    assert_eq!(retries, 3);
}

#[test]
fn privileged_servers_that_cannot_continue_are_read_from_the_start() {
    if !require_root() {
        return;
    }
    let spoils: [fn(&mut Reply); 5] = [
        |reply| {
            reply.status = 206;
            reply.set("Content-Range", "bytes 0-99/100");
        },
        |reply| reply.unset("Content-Range"),
        |reply| {
            reply.status = 416;
            reply.body = Vec::new();
        },
        |reply| {
            reply.set(
                "Content-Range",
                "bytes 300000-18446744073709551615/18446744073709551615",
            )
        },
        |reply| reply.set("Content-Range", "bytes -"),
    ];
    for (i, spoil) in spoils.into_iter().enumerate() {
        let (site, registry) = started();
        let image = big(1 << 20);
        let blob = image.layers()[0].blob.clone();
        registry.image("app", "1", &image);
        registry.once(&blob.digest, |reply| reply.cut = Some(300_000));
        registry.once(&blob.digest, spoil);
        let pulled = site
            .pull(&registry.name("app:1"))
            .unwrap_or_else(|err| panic!("{i}: {err}"));
        assert_eq!(site.file(&pulled, "data").len(), 1 << 20, "{i}");
    }
}

#[test]
fn privileged_a_server_that_ignores_ranges_is_skipped_through() {
    if !require_root() {
        return;
    }
    let (site, registry) = started();
    let image = big(1 << 20);
    let blob = image.layers()[0].blob.clone();
    let bytes = blob.bytes();
    registry.image("app", "1", &image);
    registry.once(&blob.digest, |reply| reply.cut = Some(300_000));
    registry.once(&blob.digest, move |reply| {
        reply.status = 200;
        reply.unset("Content-Range");
        reply.body.clone_from(&bytes);
    });
    let pulled = site.pull(&registry.name("app:1")).unwrap();
    assert_eq!(site.file(&pulled, "data").len(), 1 << 20);
    assert_eq!(registry.seen(&blob.digest).len(), 2);
}

#[test]
fn privileged_a_download_that_never_gets_on_ends() {
    if !require_root() {
        return;
    }
    let (site, registry) = started();
    let image = big(1 << 20);
    let blob = image.layers()[0].blob.clone();
    registry.image("app", "1", &image);
    registry.always(&blob.digest, |reply| reply.cut = Some(10_000));
    fails(
        site.pull(&registry.name("app:1")),
        ErrorKind::Unavailable,
        "broke off after 40000 bytes",
    );
    assert_eq!(registry.seen(&blob.digest).len(), 4);

    // What has arrived is not asked for again by the next pull.
    registry.heal();
    registry.forget();
    let pulled = site.pull(&registry.name("app:1")).unwrap();
    assert_eq!(site.file(&pulled, "data").len(), 1 << 20);
    assert_eq!(registry.sent(&blob.digest), blob.size - 40_000);
    assert!(listing(&site.path("store/blobs/partial")).is_empty());
}

#[test]
fn privileged_one_failed_layer_ends_the_others_at_once() {
    if !require_root() {
        return;
    }
    let (mut site, registry) = started();
    site.settings.timeouts.stall = Duration::from_secs(60);
    let layer = |name: &str| Layer::build().file(name, 0o644, super::noise(200_000)).gzip();
    let image = bare().layer(layer("a")).layer(layer("b")).layer(layer("c"));
    registry.image("app", "1", &image);
    let blobs: Vec<_> = image.layers().iter().map(|layer| layer.blob.digest.clone()).collect();
    for silent in &blobs[1..] {
        registry.always(silent, |reply| reply.stall = Some((1000, Duration::from_secs(60))));
    }
    // The first fails when the others already wait for bytes.
    let registry = std::sync::Arc::new(registry);
    let (watched, silent) = (std::sync::Arc::downgrade(&registry), blobs[1..].to_vec());
    registry.always(&blobs[0], move |reply| {
        let Some(registry) = watched.upgrade() else {
            return;
        };
        hull_testkit::until("bytes of the other layers", || {
            silent.iter().all(|blob| registry.sent(blob) == 1000).then_some(())
        });
        *reply = Reply::error(404, "BLOB_UNKNOWN", "blob unknown to registry");
    });
    let start = Instant::now();
    let err = fails(
        site.pull(&registry.name("app:1")),
        ErrorKind::NotFound,
        "404: blob unknown",
    );
    assert!(err.to_string().contains(&blobs[0]), "{err}");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert!(hull_store::image::resolve(&site.store(), &registry.name("app:1")).is_err());
}

/// The child of the next test: pulls, and is killed.
#[test]
fn child_that_pulls() {
    let Ok(name) = std::env::var("HULL_TEST_PULL") else {
        return;
    };
    let root = std::env::var("HULL_TEST_STORE").unwrap();
    let store = hull_store::Store::open(root.as_ref(), hull_store::Access::Write).unwrap();
    let client = std::sync::Arc::new(hull_registry::Client::new(hull_registry::Settings::default()));
    let options = hull_registry::PullOptions::default();
    hull_registry::pull(
        &store,
        &client,
        &name.parse().unwrap(),
        &options,
        &hull_spec::Progress::silent(),
    )
    .unwrap();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak <= 64 << 10, "the pull took {peak} KiB");
}

/// A process of its own that pulls `name` into the site's store.
fn child(site: &Site, name: &str) -> std::process::Child {
    std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "fault::child_that_pulls", "--nocapture"])
        .env("HULL_TEST_PULL", name)
        .env("HULL_TEST_STORE", site.path("store"))
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap()
}

/// The limit that the bench holds release builds to; layers of all formats, more of them than are fetched at once.
#[test]
fn privileged_a_pull_takes_little_memory() {
    if !require_root() {
        return;
    }
    let (site, registry) = started();
    let data = super::noise(24 << 20);
    let formats = [
        Compression::Gzip,
        Compression::Zstd,
        Compression::None,
        Compression::Gzip,
    ];
    let image = formats.into_iter().enumerate().fold(bare(), |image, (i, compression)| {
        image.layer(Layer::build().file(&format!("f{i}"), 0o644, &data).finish(compression))
    });
    registry.image("app", "1", &image);
    assert!(child(&site, &registry.name("app:1")).wait().unwrap().success());
    assert_eq!(hull_store::image::list(&site.store()).unwrap().len(), 1);
}

#[test]
fn privileged_a_killed_pull_is_gone_on_with() {
    if !require_root() {
        return;
    }
    let (site, registry) = started();
    let image = big(1 << 20);
    let blob = image.layers()[0].blob.clone();
    registry.image("app", "1", &image);
    registry.once(&blob.digest, |reply| {
        reply.stall = Some((500_000, Duration::from_secs(60)))
    });
    let partial = site.partial(&blob.digest);
    let mut child = child(&site, &registry.name("app:1"));
    let arrived = hull_testkit::until("bytes of the partial blob", || {
        std::fs::metadata(&partial).ok().map(|m| m.len()).filter(|n| *n > 0)
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let kept = std::fs::metadata(&partial).unwrap().len();
    assert!(kept >= arrived);
    assert!(hull_store::image::list(&site.store()).unwrap().is_empty());
    registry.forget();
    let pulled = site.pull(&registry.name("app:1")).unwrap();
    assert_eq!(site.file(&pulled, "data").len(), 1 << 20);
    assert_eq!(registry.sent(&blob.digest), blob.size - kept);
}
