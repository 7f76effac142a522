//! What goes well.

use hull_spec::ErrorKind;
use hull_spec::progress::Event;
use hull_testkit::image::Format;
use hull_testkit::{Compression, Image, Layer, require_root};
use serde_json::json;

use super::{bare, big, fails, started};

#[test]
fn an_image_is_pulled_by_tag_and_by_digest() {
    let (site, registry) = started();
    let digest = registry.image("me/app", "1", &bare());
    let pulled = site.pull(&registry.name("me/app:1")).unwrap();
    assert_eq!(pulled.digest.as_str(), digest);
    assert_eq!(pulled.image.id.as_str(), bare().config().digest);
    let name = registry.name("me/app:1");
    assert_eq!(
        pulled.status_lines(),
        [
            format!("Digest: {digest}"),
            format!("Status: Downloaded newer image for {name}")
        ]
    );
    let agents: Vec<_> = registry
        .seen("")
        .iter()
        .map(|seen| seen.header("user-agent").map(str::to_owned))
        .collect();
    assert!(
        agents
            .iter()
            .flatten()
            .all(|agent| agent == concat!("hull/", env!("CARGO_PKG_VERSION"))),
        "{agents:?}"
    );
    assert_eq!(site.events()[0], Event::Message("1: Pulling from me/app".to_owned()));
    let names = hull_store::image::names(&site.store(), &pulled.image.id).unwrap();
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    assert_eq!(names, [name, registry.name(&format!("me/app@{digest}"))]);

    let other = super::Site::new();
    let by_digest = registry.name(&format!("me/app@{digest}"));
    let pulled = other.pull(&by_digest).unwrap();
    assert!(pulled.updated);
    assert_eq!(
        other.events()[0],
        Event::Message(format!("{digest}: Pulling from me/app"))
    );
    registry.forget();
    let again = other.pull(&by_digest).unwrap();
    assert!(
        !again.updated && registry.seen("/v2/").is_empty(),
        "a digest never changes"
    );
}

#[test]
fn the_default_tag_is_latest() {
    let (site, registry) = started();
    registry.image("app", "latest", &bare());
    let pulled = site.pull(&registry.name("app")).unwrap();
    assert!(
        pulled.status_lines()[1].ends_with("app:latest"),
        "{:?}",
        pulled.status_lines()
    );
}

#[test]
fn privileged_layers_of_every_kind_are_unpacked_and_shared() {
    if !require_root() {
        return;
    }
    for format in [Format::Oci, Format::Docker] {
        let (site, registry) = started();
        let layer = |name: &str, compression| Layer::build().file(name, 0o644, name).finish(compression);
        let base = Image::new()
            .format(format)
            .layer(layer("plain", Compression::None))
            .layer(layer("gzip", Compression::Gzip));
        let top = base.clone().layer(layer("zstd", Compression::Zstd));
        registry.image("base", "1", &base);
        registry.image("top", "1", &top);
        site.pull(&registry.name("base:1")).unwrap();
        registry.forget();
        let pulled = site.pull(&registry.name("top:1")).unwrap();
        assert_eq!(pulled.image.layers.len(), 3);
        for name in ["plain", "gzip", "zstd"] {
            assert_eq!(site.file(&pulled, name), name.as_bytes(), "{format:?}");
        }
        assert_eq!(registry.seen("/blobs/").len(), 2, "the config and the new layer");
        let blob = |i: usize| top.layers()[i].blob.digest.parse().unwrap();
        let events = site.events();
        assert!(
            events.contains(&Event::Exists(blob(0))) && events.contains(&Event::Done(blob(2))),
            "{events:?}"
        );
    }
}

#[test]
fn a_layer_s_bytes_decide_how_it_is_compressed() {
    if !require_root() {
        return;
    }
    let (site, registry) = started();
    let image = Image::new().layer(Layer::build().file("a", 0o644, "a").finish(Compression::Zstd));
    registry.image("x", "1", &image);
    let text = String::from_utf8(image.manifest().bytes())
        .unwrap()
        .replace("tar+zstd", "tar+gzip");
    registry.manifest("x", "2", image.media_type(), text.as_bytes());
    let pulled = site.pull(&registry.name("x:2")).unwrap();
    assert_eq!(site.file(&pulled, "a"), b"a");
}

#[test]
fn an_image_that_is_there_costs_one_request() {
    let (site, registry) = started();
    registry.image("app", "1", &bare());
    let name = registry.name("app:1");
    site.pull(&name).unwrap();
    registry.forget();
    let again = site.pull(&name).unwrap();
    assert!(!again.updated);
    assert_eq!(
        again.status_lines()[1],
        format!("Status: Image is up to date for {name}")
    );
    let methods: Vec<_> = registry
        .seen("/manifests/")
        .iter()
        .map(|seen| seen.method.clone())
        .collect();
    assert_eq!(methods, ["HEAD"]);
    assert!(registry.seen("/blobs/").is_empty());

    let digest = registry.image("app", "1", &bare().cmd(&["/bin/false"]));
    let moved = site.pull(&name).unwrap();
    assert!(moved.updated && moved.digest.as_str() == digest, "{moved:?}");
}

#[test]
fn a_registry_without_head_is_asked_with_get() {
    let (site, registry) = started();
    registry.image("app", "1", &bare());
    let name = registry.name("app:1");
    site.pull(&name).unwrap();
    registry.spoil(usize::MAX, "/manifests/", |seen, reply| {
        reply.unset("Docker-Content-Digest");
        if seen.method == "HEAD" {
            reply.status = 405;
        }
    });
    assert!(!site.pull(&name).unwrap().updated);
}

#[test]
fn the_platform_is_chosen_from_an_index() {
    let (site, registry) = started();
    let image = |architecture: &str, variant: Option<&str>| {
        let image = bare().set_top("architecture", json!(architecture));
        match variant {
            Some(variant) => image.set_top("variant", json!(variant)),
            None => image,
        }
    };
    let images = [
        image("arm", Some("v6")),
        image("amd64", None),
        image("arm", Some("v7")),
        image("arm64", None),
    ];
    let digest = registry.index("app", "1", &images);
    let name = registry.name("app:1");
    let check = |platform: &str, expected: usize| {
        let pulled = site.pull_for(&name, Some(platform)).unwrap();
        assert_eq!(pulled.image.id.as_str(), images[expected].config().digest, "{platform}");
        assert_eq!(pulled.digest.as_str(), digest, "the name stands for the index");
    };
    check("linux/amd64", 1);
    check("linux/arm/v7", 2);
    check("linux/arm/v6", 0);
    check("linux/arm64", 3);
    check("linux/amd64", 1);
    let err = fails(
        site.pull_for(&name, Some("linux/s390x")),
        ErrorKind::NotFound,
        "no matching manifest for linux/s390x in the manifest list entries",
    );
    assert!(err.hints()[0].contains("linux/arm64"), "{:?}", err.hints());
}

#[test]
fn an_image_for_another_platform_is_refused_or_warned_of() {
    let (site, registry) = started();
    registry.image("app", "1", &bare().set_top("architecture", json!("s390x")));
    let name = registry.name("app:1");
    let pulled = site.pull(&name).unwrap();
    assert!(
        pulled.warnings[0].contains("(linux/s390x) does not match"),
        "{:?}",
        pulled.warnings
    );
    fails(
        super::Site::new().pull_for(&name, Some("linux/amd64")),
        ErrorKind::NotFound,
        "was found but does not match the specified platform: wanted linux/amd64, actual: linux/s390x",
    );
    registry.image("app", "2", &bare().set_top("os", json!("windows")));
    fails(
        site.pull(&registry.name("app:2")),
        ErrorKind::NotFound,
        "actual: windows/",
    );
}

#[test]
fn nested_indexes_are_followed_a_few_deep() {
    let (site, registry) = started();
    let digest = registry.index("app", "0", &[bare()]);
    let mut inner = (digest, hull_testkit::Image::index(&[bare()]).size);
    for depth in 1..=6 {
        let text = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [{
                "mediaType": "application/vnd.oci.image.index.v1+json",
                "digest": inner.0,
                "size": inner.1,
            }],
        })
        .to_string();
        let digest = registry.manifest(
            "app",
            &depth.to_string(),
            "application/vnd.oci.image.index.v1+json",
            text.as_bytes(),
        );
        inner = (digest, text.len() as u64);
    }
    site.pull(&registry.name("app:2")).unwrap();
    fails(
        super::Site::new().pull(&registry.name("app:6")),
        ErrorKind::Invalid,
        "nested",
    );
}

#[test]
fn unknown_fields_of_a_config_are_kept() {
    let (site, registry) = started();
    let image = bare()
        .set_top("moby.buildkit.cache.v0", json!("x"))
        .set("OnBuild", json!(["RUN x"]));
    registry.image("app", "1", &image);
    let pulled = site.pull(&registry.name("app:1")).unwrap();
    let kept = hull_store::blob::read(&site.store(), &pulled.image.id, 1 << 20).unwrap();
    assert_eq!(kept, image.config().bytes());
}

#[test]
fn privileged_two_pulls_of_one_image_at_once_download_it_once() {
    if !require_root() {
        return;
    }
    let (site, registry) = started();
    let image = big(3 << 20);
    registry.image("app", "1", &image);
    let name = registry.name("app:1");
    std::thread::scope(|scope| {
        let pulls: Vec<_> = (0..3).map(|_| scope.spawn(|| site.pull(&name).unwrap())).collect();
        let ids: Vec<_> = pulls.into_iter().map(|pull| pull.join().unwrap().image.id).collect();
        assert!(ids.iter().all(|id| *id == ids[0]));
    });
    let blob = &image.layers()[0].blob;
    assert_eq!(registry.sent(&blob.digest), blob.size, "the blob was sent once");
}

#[test]
fn privileged_connections_are_used_again() {
    if !require_root() {
        return;
    }
    let (mut site, registry) = started();
    site.settings.downloads = 1;
    registry.require(hull_testkit::registry::Login::anonymous_token());
    let image = (0..6).fold(bare(), |image, i| {
        image.layer(Layer::build().file(&format!("f{i}"), 0o644, [i; 3000]).gzip())
    });
    registry.index("app", "1", &[image]);
    site.pull(&registry.name("app:1")).unwrap();
    assert_eq!(registry.connections(), 1, "for {} requests", registry.seen("").len());
}

#[test]
fn privileged_downloads_run_side_by_side_but_not_too_many() {
    if !require_root() {
        return;
    }
    let (mut site, registry) = started();
    site.settings.downloads = 2;
    let image = (0..6).fold(bare(), |image, i| {
        image.layer(
            Layer::build()
                .file(&format!("f{i}"), 0o644, [i; 3000])
                .finish(Compression::None),
        )
    });
    registry.image("app", "1", &image);
    registry.always("/blobs/", |reply| {
        reply.slow = Some(std::time::Duration::from_millis(20))
    });
    let pulled = site.pull(&registry.name("app:1")).unwrap();
    assert_eq!(pulled.image.layers.len(), 6);
    assert_eq!(registry.most_at_once(), 2);
}

#[test]
fn a_name_without_a_registry_is_searched_for_in_order() {
    let (mut site, first) = started();
    let second = hull_testkit::registry::Registry::start();
    site.settings.search = vec![first.address().to_string(), second.address().to_string()];
    second.image("app", "1", &bare());
    first.image("other", "1", &bare());
    let pull = |text: &str| {
        let client = std::sync::Arc::new(hull_registry::Client::new(site.settings.clone()));
        let candidates = site.settings.candidates(text).unwrap();
        let (options, progress) = (hull_registry::PullOptions::default(), hull_spec::Progress::silent());
        hull_registry::pull_first(&site.store(), &client, &candidates, &options, &progress)
    };
    assert_eq!(pull("app:1").unwrap().reference.to_string(), second.name("app:1"));
    assert_eq!(pull("other:1").unwrap().reference.to_string(), first.name("other:1"));
    fails(pull("no/such"), ErrorKind::NotFound, &first.name("no/such"));
    first.always("/v2/", |reply| reply.status = 503);
    second.forget();
    fails(pull("app:1"), ErrorKind::Unavailable, "503");
    assert!(second.seen("").is_empty(), "a registry that is ill does not decide");
}
