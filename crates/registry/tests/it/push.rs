//! Pushes to a registry that is honest, slow, broken and hostile.

use std::sync::Arc;

use hull_registry::copy::{Copied, Options, RegistrySource, StoreTarget, copy};
use hull_registry::{Client, Error, PushOptions};
use hull_spec::manifest::Compression;
use hull_spec::progress::Event;
use hull_spec::{ErrorKind, Progress, Reference};
use hull_store::image;
use hull_store::recompress::Form;
use hull_testkit::registry::{Login, Registry, Reply};
use hull_testkit::{Image, Layer, require_root};

use super::{Site, bare, big, noise, started};

impl Site {
    pub(crate) fn push(&self, name: &str) -> Result<Copied, Error> {
        self.push_as(name, &PushOptions::default())
    }

    pub(crate) fn push_as(&self, name: &str, options: &PushOptions) -> Result<Copied, Error> {
        let client = Arc::new(Client::new(self.settings.clone()));
        let events = Arc::clone(&self.events);
        let progress = Progress::new(move |event| events.lock().unwrap().push(event));
        hull_registry::push(&self.store(), &client, &name.parse().unwrap(), options, &progress)
    }

    /// Puts `image` into the store under `name`.
    pub(crate) fn hold(&self, name: &str, image: &Image) {
        let from = Registry::start();
        from.image("from", "1", image);
        let client = Arc::new(Client::new(self.settings.clone()));
        let source = RegistrySource::new(&client, &from.name("from:1").parse().unwrap()).unwrap();
        let store = self.store();
        let target = StoreTarget::new(&store, &name.parse().unwrap(), &Progress::silent()).unwrap();
        let options = Options {
            all: true,
            ..Options::default()
        };
        copy(&source, &target, &options, &Progress::silent()).unwrap();
    }
}

#[track_caller]
fn fails(result: Result<Copied, Error>, kind: ErrorKind, said: &str) {
    let err = result.expect_err("the push should fail");
    assert!(err.to_string().contains(said), "`{err}` does not say `{said}`");
    assert_eq!(err.kind(), kind, "{err}");
}

fn uploads(registry: &Registry) -> Vec<String> {
    let seen = registry.seen("/blobs/");
    seen.iter().map(|seen| seen.method.clone()).collect()
}

#[test]
fn an_image_without_layers_comes_as_it_is_and_only_once() {
    let (site, registry) = started();
    let name = registry.name("app:1");
    site.hold(&name, &bare());
    let pushed = site.push(&name).unwrap();
    let manifest = bare().manifest();
    assert_eq!(registry.held("app", "1"), Some(manifest.bytes()));
    assert_eq!(
        (pushed.digest.as_str(), pushed.size),
        (manifest.digest.as_str(), manifest.size)
    );
    assert_eq!(uploads(&registry), ["HEAD", "POST", "PUT"]);
    let put = &registry.seen("/manifests/1")[0];
    assert_eq!(put.header("content-type"), Some(bare().media_type()));
    let last = site.events().pop();
    let line = format!("1: digest: {} size: {}", manifest.digest, manifest.size);
    assert_eq!(last, Some(Event::Message(line)));

    registry.forget();
    let again = site.push(&name).unwrap();
    assert_eq!(again, Copied { moved: 0, ..pushed });
    assert_eq!(uploads(&registry), ["HEAD"], "one question a blob");
}

#[test]
fn privileged_layers_are_pushed_mounted_or_left() {
    if !require_root() {
        return;
    }
    let (site, registry) = started();
    let base = Layer::build().file("base", 0o644, noise(50_000)).gzip();
    let top = Layer::build().file("top", 0o644, noise(30_000)).gzip();
    let (one, two) = (
        bare().layer(base.clone()),
        bare().layer(base.clone()).layer(top.clone()),
    );
    let (lower, upper) = (registry.name("lower:1"), registry.name("upper:1"));
    site.hold(&lower, &one);
    site.hold(&upper, &two);
    site.push(&lower).unwrap();
    let shown = |layer: &Layer| layer.diff_id.parse::<hull_spec::Digest>().unwrap();
    let events = site.events();
    assert!(
        events.contains(&Event::Preparing(shown(&base))) && events.contains(&Event::Uploaded(shown(&base))),
        "{events:?}"
    );
    registry.forget();
    let pushed = site.push(&upper).unwrap();
    assert_eq!(pushed.moved, top.blob.size + two.config().size);
    let events = site.events();
    let mounted = Event::Mounted {
        blob: shown(&base),
        from: "lower".to_owned(),
    };
    assert!(
        events.contains(&mounted) && events.contains(&Event::Uploaded(shown(&top))),
        "{events:?}"
    );
    assert_eq!(registry.seen("mount=").len(), 1);
    site.push(&upper).unwrap();
    assert!(site.events().contains(&Event::Stored(shown(&base))));
    // What was pushed is what is pulled.
    let other = Site::new();
    let pulled = other.pull(&upper).unwrap();
    assert_eq!(pulled.digest, pushed.digest);
    assert_eq!(other.file(&pulled, "top"), noise(30_000));

    // A registry that mounts nothing begins an upload instead, which is used.
    let third = registry.name("third:1");
    site.hold(&third, &one);
    registry.forget();
    registry.refuse(1, "POST", "mount=", {
        let mut reply = Reply::error(202, "", "");
        reply.set("Location", "/v2/third/blobs/uploads/none");
        reply
    });
    site.push(&third).unwrap();
    assert_eq!(registry.held("third", "1"), Some(one.manifest().bytes()));
    assert_eq!(registry.open_uploads(), 0);
}

#[test]
fn privileged_a_push_that_breaks_off_at_every_tenth_goes_on() {
    if !require_root() {
        return;
    }
    let (site, registry) = started();
    let image = big(2 << 20);
    let size = image.layers()[0].blob.size;
    for tenth in 1..10 {
        let repository = format!("app{tenth}");
        let name = registry.name(&format!("{repository}:1"));
        site.hold(&name, &image);
        registry.forget();
        registry.heal();
        let at = size * tenth / 10;
        registry.cut_uploads(1, &format!("/v2/{repository}/blobs/uploads/upload-"), at);
        // Who knows the blob of another repository would mount it.
        registry.refuse(1, "POST", "mount=", Reply::error(403, "DENIED", "no"));
        registry.refuse(8, "POST", "mount=", Reply::error(403, "DENIED", "no"));
        site.push(&name).unwrap();
        assert_eq!(registry.held(&repository, "1"), Some(image.manifest().bytes()));
        let layer: Vec<_> = registry
            .seen("/blobs/uploads/upload-")
            .into_iter()
            .filter(|seen| seen.bytes.len() > 1000)
            .collect();
        let sent: u64 = layer.iter().map(|seen| seen.bytes.len() as u64).sum();
        assert_eq!(sent, size, "nothing is sent twice: cut at {at}");
        assert_eq!(
            layer[1].header("content-range"),
            Some(format!("{at}-{}", size - 1).as_str())
        );
    }
}

#[test]
fn privileged_a_push_survives_losses_and_refusals_that_pass() {
    if !require_root() {
        return;
    }
    let (site, registry) = started();
    let image = big(300_000);
    let check = |repository: &str, spoil: &dyn Fn(&Registry)| {
        let name = registry.name(&format!("{repository}:1"));
        site.hold(&name, &image);
        registry.heal();
        registry.forget();
        registry.refuse(usize::MAX, "POST", "mount=", Reply::error(403, "DENIED", "no"));
        spoil(&registry);
        site.push(&name).unwrap();
        assert_eq!(
            registry.held(repository, "1"),
            Some(image.manifest().bytes()),
            "{repository}"
        );
    };
    let error = |status| Reply::error(status, "UNAVAILABLE", "not now");
    check("busy", &|registry| {
        for (method, path) in [
            ("HEAD", "/blobs/"),
            ("POST", "uploads/"),
            ("PUT", "uploads/"),
            ("PUT", "/manifests/"),
        ] {
            registry.refuse(1, method, path, error(503));
        }
    });
    check("slow", &|registry| {
        let mut reply = error(429);
        reply.set("Retry-After", "0");
        registry.refuse(3, "PUT", "uploads/", reply);
    });
    check("forgetful", &|registry| {
        registry.cut_uploads(1, "uploads/upload-", 100_000);
        registry.refuse(
            1,
            "GET",
            "uploads/",
            Reply::error(404, "BLOB_UPLOAD_UNKNOWN", "unknown"),
        );
    });
    // It wants no request to be long.
    check("small", &|registry| {
        registry.refuse(1, "PUT", "uploads/", Reply::error(413, "SIZE_INVALID", "too large"));
    });
    assert!(registry.seen("uploads/").iter().any(|seen| seen.method == "PATCH"));
}

#[test]
fn refusals_are_told_in_the_registrys_words() {
    let (site, registry) = started();
    let name = registry.name("app:1");
    site.hold(&name, &bare());
    let check = |method: &str, path: &str, status: u16, kind: ErrorKind, said: &str| {
        registry.heal();
        let reply = Reply::error(status, "DENIED", "requested access to the resource is denied");
        registry.refuse(usize::MAX, method, path, reply);
        fails(site.push(&name), kind, said);
        assert_eq!(registry.held("app", "1"), None);
    };
    let denied = "denied: requested access to the resource is denied";
    check("POST", "uploads/", 404, ErrorKind::NotFound, "404");
    check("PUT", "uploads/", 400, ErrorKind::Unavailable, denied);
    for (method, path) in [
        ("HEAD", "/blobs/"),
        ("POST", "uploads/"),
        ("PUT", "uploads/"),
        ("PUT", "/manifests/"),
    ] {
        check(
            method,
            path,
            403,
            ErrorKind::Denied,
            if method == "HEAD" { "push access denied" } else { denied },
        );
        check(method, path, 500, ErrorKind::Unavailable, "500");
    }
    let missing: Reference = "app:none".parse().unwrap();
    assert!(image::resolve(&site.store(), &missing.to_string()).is_err());
    fails(site.push("app:none"), ErrorKind::NotFound, "No such image");
}

#[test]
fn a_token_for_pushing_is_asked_for() {
    let (mut site, registry) = started();
    registry.require(Login::token("u", "p"));
    let name = registry.name("app:1");
    site.hold(&name, &bare());
    fails(site.push(&name), ErrorKind::Denied, "401");
    site.login(&format!(
        r#"{{"auths":{{"{}":{{"auth":"dTpw"}}}}}}"#,
        registry.address()
    ));
    registry.forget();
    site.push(&name).unwrap();
    let asked = registry.seen("/token");
    assert_eq!(asked.len(), 1);
    assert!(
        asked[0].path.ends_with("&scope=repository:app:pull,push"),
        "{}",
        asked[0].path
    );
    let seen = registry.seen("/v2/");
    let shown = seen.iter().filter_map(|seen| seen.header("authorization"));
    let passwords = shown.filter(|shown| shown.starts_with("Basic")).count();
    assert_eq!(passwords, 0, "the password goes to the token server only");

    // A token that ends in the middle is replaced, and the blob sent again.
    registry.require(Login::anonymous_token().uses(2));
    site.settings.credentials = None;
    let name = registry.name("other:1");
    site.hold(&name, &bare());
    registry.refuse(usize::MAX, "POST", "mount=", Reply::error(403, "DENIED", "no"));
    site.push(&name).unwrap();
}

#[test]
fn an_upload_elsewhere_carries_no_credentials() {
    let (mut site, registry) = started();
    let elsewhere = Registry::start();
    registry.require(Login::basic("u", "p"));
    site.login(&format!(
        r#"{{"auths":{{"{}":{{"auth":"dTpw"}},"{}":{{"auth":"dTpw"}}}}}}"#,
        registry.address(),
        elsewhere.address()
    ));
    let name = registry.name("app:1");
    site.hold(&name, &bare());
    let config = bare().config();
    // The other place takes what comes; the registry then shows the blob.
    elsewhere.refuse(usize::MAX, "PUT", "/take", Reply::error(201, "", ""));
    let to = elsewhere.url("/take?signature=s3cret");
    registry.spoil(1, "/blobs/uploads/", move |seen, reply| {
        assert!(seen.header("authorization").is_none());
        reply.set("X", "y");
    });
    registry.spoil(1, "/blobs/uploads/", move |_, reply| reply.set("Location", &to));
    registry.blob(&config);
    registry.refuse(2, "HEAD", &config.digest, Reply::error(404, "BLOB_UNKNOWN", "unknown"));
    let pushed = site.push(&name);
    let seen = elsewhere.seen("/take");
    assert!(pushed.is_ok(), "{pushed:?}");
    assert_eq!((seen.len(), seen[0].bytes.clone()), (1, config.bytes()));
    assert!(seen[0].path.contains("&digest=sha256"), "{}", seen[0].path);
    assert!(seen[0].header("authorization").is_none());

    // A challenge from there is not obeyed, and its URL is not shown.
    let (to, name) = (elsewhere.url("/take?signature=s3cret"), registry.name("app:2"));
    elsewhere.require(Login::basic("u", "p"));
    site.hold(&name, &bare().cmd(&["x"]));
    registry.spoil(usize::MAX, "/blobs/uploads/", move |seen, reply| {
        if seen.header("authorization").is_some() {
            reply.set("Location", &to);
        }
    });
    let err = site.push(&name).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Denied);
    assert!(!err.to_string().contains("s3cret"), "{err}");
    assert!(
        elsewhere
            .seen("")
            .iter()
            .all(|seen| seen.header("authorization").is_none())
    );
    for location in ["file:///etc/passwd", "https://u:p@x/", "gopher://x/"] {
        registry.heal();
        registry.spoil(usize::MAX, "/blobs/uploads/", move |_, reply| {
            reply.set("Location", location)
        });
        let name = registry.name("app:3");
        site.hold(&name, &bare().cmd(&["y"]));
        let err = site.push(&name).unwrap_err();
        assert!(err.to_string().contains("which is refused"), "{err}");
    }
}

#[test]
fn privileged_plain_layers_are_compressed_and_the_result_is_remembered() {
    if !require_root() {
        return;
    }
    let (site, registry) = started();
    let layer = Layer::build().file("a", 0o644, vec![b'x'; 200_000]);
    let plain = layer.finish(hull_testkit::Compression::None);
    let image = bare().layer(plain.clone());
    let name = registry.name("app:1");
    site.hold(&name, &image);
    let options = PushOptions {
        memory: Some(site.path("packed")),
        ..PushOptions::default()
    };
    let pushed = site.push_as(&name, &options).unwrap();
    assert!(pushed.moved < 20_000, "{pushed:?}");
    assert_ne!(pushed.digest.as_str(), image.manifest().digest);
    let manifest: serde_json::Value = serde_json::from_slice(&registry.held("app", "1").unwrap()).unwrap();
    assert_eq!(
        manifest["layers"][0]["mediaType"],
        "application/vnd.oci.image.layer.v1.tar+gzip"
    );
    assert_eq!(manifest["config"]["digest"], image.config().digest.as_str());
    // Not compressed again to learn that it is there: its blob may even be gone.
    let blob = site.path("store/blobs/sha256").join(&plain.blob.digest[7..]);
    let bytes = std::fs::read(&blob).unwrap();
    std::fs::remove_file(&blob).unwrap();
    let again = site.push_as(&name, &options).unwrap();
    assert_eq!(
        again,
        Copied {
            moved: 0,
            ..pushed.clone()
        }
    );
    // A memory that is wrong is found out.
    std::fs::write(&blob, bytes).unwrap();
    for entry in std::fs::read_dir(site.path("packed")).unwrap() {
        let wrong = format!(r#"{{"digest":"sha256:{}","size":3}}"#, "1".repeat(64));
        std::fs::write(entry.unwrap().path(), wrong).unwrap();
    }
    assert_eq!(site.push_as(&name, &options).unwrap().digest, pushed.digest);

    let zstd = PushOptions {
        form: Some(Form {
            compression: Compression::Zstd,
            level: Some(7),
        }),
        ..options
    };
    let one = site.push_as(&name, &zstd).unwrap();
    let other = Site::new();
    let pulled = other.pull(&name).unwrap();
    assert_eq!(
        (pulled.digest, pulled.image.id.as_str()),
        (one.digest, image.config().digest.as_str())
    );
}

#[test]
fn a_damaged_blob_is_not_pushed() {
    let (site, registry) = started();
    let name = registry.name("app:1");
    site.hold(&name, &bare());
    let config = site.path("store/blobs/sha256").join(&bare().config().digest[7..]);
    let mut bytes = std::fs::read(&config).unwrap();
    bytes[10] ^= 1;
    std::fs::write(&config, &bytes).unwrap();
    fails(site.push(&name), ErrorKind::Invalid, "has the digest");
    std::fs::write(&config, &bytes[..20]).unwrap();
    fails(site.push(&name), ErrorKind::Invalid, "");
    assert_eq!(registry.held("app", "1"), None);
}
