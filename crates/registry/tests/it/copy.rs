//! Copies from every place to every place, by one contract.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use hull_registry::copy::{Around, Copied, Format, Options, Place, copy};
use hull_registry::{Client, Error};
use hull_spec::manifest::Compression;
use hull_spec::{ErrorKind, Progress};
use hull_store::Store;
use hull_store::recompress::Form;
use hull_testkit::image::Format as ImageFormat;
use hull_testkit::registry::Registry;
use hull_testkit::{Image, Layer, require_root};
use serde_json::{Value, json};

use super::{Site, bare, noise, started};

/// A machine with a store, a registry, folders, and an engine that only keeps what it is given.
struct Ground {
    site: Site,
    store: Store,
    registry: Registry,
    engine: Arc<Mutex<Vec<u8>>>,
}

impl Ground {
    fn new() -> Self {
        let (site, registry) = started();
        let store = site.store();
        let engine: Arc<Mutex<Vec<u8>>> = Arc::default();
        serve_engine(site.path("docker.sock"), Arc::clone(&engine));
        Self {
            site,
            store,
            registry,
            engine,
        }
    }

    fn around(&self) -> Around<'_> {
        Around {
            store: &self.store,
            client: Arc::new(Client::new(self.site.settings.clone())),
            socket: self.site.path("docker.sock"),
            spool: self.site.path(""),
            progress: Progress::silent(),
        }
    }

    /// A place of each kind, all of them new.
    fn places(&self, tag: &str) -> Vec<String> {
        let path = |name: &str| self.site.path(&format!("{name}-{tag}")).display().to_string();
        vec![
            format!("docker://{}", self.registry.name(&format!("copy:{tag}"))),
            format!("store:copy:{tag}"),
            format!("oci:{}:{tag}", path("layout")),
            format!("oci-archive:{}:{tag}", path("oci.tar")),
            format!("docker-archive:{}:copy:{tag}", path("docker.tar")),
            format!("dir:{}", path("dir")),
            format!("docker-daemon:copy:{tag}"),
        ]
    }

    fn copy(&self, from: &str, to: &str, options: &Options) -> Result<Copied, Error> {
        let around = self.around();
        let options = Options {
            spool: self.site.path(""),
            ..options.clone()
        };
        let source = Place::parse(from)?.source(&around, options.all, options.platform.as_ref())?;
        let target = Place::parse(to)?.target(&around)?;
        copy(source.as_ref(), target.as_ref(), &options, &Progress::silent())
    }
}

/// An engine that keeps the last archive it was given, and gives it back.
fn serve_engine(socket: PathBuf, kept: Arc<Mutex<Vec<u8>>>) {
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut seen = Vec::new();
            let mut buffer = [0; 64 << 10];
            let end = |seen: &[u8]| seen.windows(4).position(|w| w == b"\r\n\r\n");
            while end(&seen).is_none() {
                match stream.read(&mut buffer) {
                    Ok(n) if n > 0 => seen.extend_from_slice(&buffer[..n]),
                    _ => return,
                }
            }
            let at = end(&seen).unwrap() + 4;
            if seen.starts_with(b"POST /images/load") {
                while !seen.ends_with(b"\r\n0\r\n\r\n") {
                    match stream.read(&mut buffer) {
                        Ok(n) if n > 0 => seen.extend_from_slice(&buffer[..n]),
                        _ => return,
                    }
                }
                *kept.lock().unwrap() = unchunk(&seen[at..]);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n{\"stream\":\"Loaded image: copy\\n\"}\n");
            } else if seen.starts_with(b"GET /images/copy:") {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                for piece in kept.lock().unwrap().chunks(10_000) {
                    let _ = stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes());
                    let _ = stream.write_all(piece);
                    let _ = stream.write_all(b"\r\n");
                }
                let _ = stream.write_all(b"0\r\n\r\n");
            } else {
                let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\n\r\n{\"message\":\"No such image: x\"}");
            }
        }
    });
}

fn unchunk(mut rest: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let end = rest.windows(2).position(|w| w == b"\r\n").unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            return out;
        }
        out.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + 4 + size..];
    }
}

fn sample() -> Image {
    let one = Layer::build().file("one", 0o644, noise(70_000)).gzip();
    let two = Layer::build().file("two", 0o644, noise(40_000)).gzip();
    // The same layer twice, as some builders make it.
    bare().layer(one.clone()).layer(two).layer(one)
}

#[test]
fn privileged_every_place_keeps_an_image_as_it_is() {
    if !require_root() {
        return;
    }
    let ground = Ground::new();
    let image = sample();
    let digest = ground.registry.image("origin", "1", &image);
    let origin = format!("docker://{}", ground.registry.name("origin:1"));
    // There and back again: each place is a target, then a source.
    for (n, place) in ground.places("a").into_iter().enumerate() {
        let options = Options::default();
        let there = ground
            .copy(&origin, &place, &options)
            .unwrap_or_else(|e| panic!("{place}: {e}"));
        assert_eq!(there.digest.as_str(), digest, "{place}");
        let back = format!("docker://{}", ground.registry.name(&format!("back{n}:1")));
        let again = ground
            .copy(&place, &back, &options)
            .unwrap_or_else(|e| panic!("from {place}: {e}"));
        assert_eq!(again.digest.as_str(), digest, "from {place}");
        let held = ground.registry.held(&format!("back{n}"), "1");
        assert_eq!(held, Some(image.manifest().bytes()), "{place}");
    }
    assert!(!ground.engine.lock().unwrap().is_empty());
}

#[test]
fn privileged_every_place_refuses_bytes_that_are_not_the_promised_ones() {
    if !require_root() {
        return;
    }
    let ground = Ground::new();
    let image = sample();
    ground.registry.image("origin", "1", &image);
    let origin = format!("docker://{}", ground.registry.name("origin:1"));
    let blob = image.layers()[1].blob.digest.clone();
    ground.registry.always(&blob, |reply| {
        if let Some(byte) = reply.body.get_mut(100) {
            *byte ^= 1;
        }
    });
    for place in ground.places("bad") {
        if place.starts_with("docker://") {
            // The registry is one that checks; its own blob would be there already.
            continue;
        }
        let options = Options::default();
        let err = ground.copy(&origin, &place, &options).expect_err(&place);
        assert_eq!(err.kind(), ErrorKind::Invalid, "{place}: {err}");
        // Nothing of it can be used.
        let found = Place::parse(&place).unwrap().source(&ground.around(), false, None);
        let root = found.and_then(|source| source.root());
        assert!(root.is_err(), "{place} holds something");
    }
    let other = Registry::start();
    let place = format!("docker://{}", other.name("copy:bad"));
    let err = ground.copy(&origin, &place, &Options::default()).unwrap_err();
    assert!(err.to_string().contains("digest"), "{err}");
    assert_eq!(other.held("copy", "bad"), None);
}

#[test]
fn privileged_all_platforms_or_one() {
    if !require_root() {
        return;
    }
    let ground = Ground::new();
    let native = sample();
    let other = if hull_testkit::image::architecture() == "amd64" {
        "arm64"
    } else {
        "amd64"
    };
    let foreign = bare()
        .layer(Layer::build().file("foreign", 0o644, "x").gzip())
        .set_top("architecture", json!(other));
    let index = ground.registry.index("many", "1", &[foreign.clone(), native.clone()]);
    let origin = format!("docker://{}", ground.registry.name("many:1"));
    let all = Options {
        all: true,
        ..Options::default()
    };
    for (n, place) in ground.places("all").into_iter().enumerate() {
        if place.starts_with("docker-") {
            let err = ground.copy(&origin, &place, &all).unwrap_err();
            assert!(err.to_string().contains("one platform only"), "{place}: {err}");
            continue;
        }
        assert_eq!(
            ground.copy(&origin, &place, &all).unwrap().digest.as_str(),
            index,
            "{place}"
        );
        let back = format!("docker://{}", ground.registry.name(&format!("all{n}:1")));
        let again = ground
            .copy(&place, &back, &all)
            .unwrap_or_else(|e| panic!("from {place}: {e}"));
        assert_eq!(again.digest.as_str(), index, "from {place}");
        // One of them.
        let one = Options {
            platform: Some(format!("linux/{other}").parse().unwrap()),
            ..Options::default()
        };
        let back = format!("docker://{}", ground.registry.name(&format!("one{n}:1")));
        let copied = ground.copy(&place, &back, &one).unwrap();
        assert_eq!(copied.digest.as_str(), foreign.manifest().digest, "from {place}");
    }
    let one = Options::default();
    let place = format!("dir:{}", ground.site.path("native").display());
    assert_eq!(
        ground.copy(&origin, &place, &one).unwrap().digest.as_str(),
        native.manifest().digest
    );
    let none = Options {
        platform: Some("linux/s390x".parse().unwrap()),
        ..Options::default()
    };
    let err = ground.copy(&origin, "store:none", &none).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotFound, "{err}");
}

#[test]
fn privileged_formats_and_compressions_are_converted_or_refused() {
    if !require_root() {
        return;
    }
    let ground = Ground::new();
    let zstd = Layer::build()
        .file("z", 0o644, noise(50_000))
        .finish(hull_testkit::Compression::Zstd);
    let image = bare().layer(zstd);
    ground.registry.image("oci", "1", &image);
    ground
        .registry
        .image("docker", "1", &sample().format(ImageFormat::Docker));
    let place = |name: &str| format!("docker://{}", ground.registry.name(name));
    let to = |format| Options {
        format: Some(format),
        ..Options::default()
    };
    let manifest = |name: &str| -> Value { serde_json::from_slice(&ground.registry.held(name, "1").unwrap()).unwrap() };
    let made = ground
        .copy(&place("oci:1"), &place("made:1"), &to(Format::Docker))
        .unwrap();
    let seen = manifest("made");
    assert_eq!(seen["mediaType"], made.media_type.as_str());
    assert_eq!(
        seen["layers"][0]["mediaType"],
        "application/vnd.docker.image.rootfs.diff.tar.gzip"
    );
    assert_eq!(
        seen["config"]["mediaType"],
        "application/vnd.docker.container.image.v1+json"
    );
    ground
        .copy(&place("docker:1"), &place("back:1"), &to(Format::Oci))
        .unwrap();
    let seen = manifest("back");
    assert_eq!(
        seen["layers"][2]["mediaType"],
        "application/vnd.oci.image.layer.v1.tar+gzip"
    );
    assert_eq!(seen["layers"][2]["digest"], sample().layers()[0].blob.digest.as_str());
    let compressed = Options {
        form: Some(Form {
            compression: Compression::Zstd,
            level: None,
        }),
        ..Options::default()
    };
    ground
        .copy(&place("docker:1"), &place("packed:1"), &compressed)
        .unwrap();
    let seen = manifest("packed");
    assert_eq!(
        seen["layers"][0]["mediaType"],
        "application/vnd.docker.image.rootfs.diff.tar.zstd"
    );
    assert_eq!(seen["config"]["digest"], sample().config().digest.as_str());
    for options in [to(Format::Oci), compressed] {
        let kept = Options {
            preserve_digests: true,
            ..options
        };
        let err = ground.copy(&place("docker:1"), &place("kept:1"), &kept).unwrap_err();
        assert!(err.to_string().contains("was to be preserved"), "{err}");
    }
    assert_eq!(ground.registry.held("kept", "1"), None);
}

#[test]
fn what_is_attached_comes_along() {
    let ground = Ground::new();
    let image = bare();
    let subject = ground.registry.image("signed", "1", &image);
    let config = hull_testkit::layer::Blob::new(b"{}".to_vec());
    ground.registry.blob(&config);
    let signature = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/x.signature",
        "config": { "mediaType": "application/vnd.oci.empty.v1+json", "digest": config.digest, "size": config.size },
        "layers": [{ "mediaType": "text/plain", "digest": config.digest, "size": config.size }],
        "subject": { "mediaType": image.media_type(), "digest": subject, "size": image.manifest().size },
    });
    let bytes = signature.to_string().into_bytes();
    let from = format!("docker://{}", ground.registry.name("signed:1"));
    let options = Options {
        referrers: true,
        ..Options::default()
    };
    // A registry that lists referrers, and one that has to be told by a tag.
    for (n, lists) in [true, false].into_iter().enumerate() {
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let attached = ground.registry.manifest("signed", &format!("sig{n}"), kind, &bytes);
        ground.registry.list_referrers();
        let other = Registry::start();
        if lists {
            other.list_referrers();
        }
        let to = format!("docker://{}", other.name("copy:1"));
        ground.copy(&from, &to, &options).unwrap();
        assert_eq!(other.held("copy", &attached), Some(bytes.clone()));
        let client = Client::new(ground.site.settings.clone());
        let name = other.name("copy:1").parse().unwrap();
        let found = client.referrers(&name, &subject.parse().unwrap(), None).unwrap();
        assert_eq!(found.len(), 1, "lists: {lists}");
        assert_eq!(found[0].digest.as_str(), attached);
        assert_eq!(found[0].artifact_type.as_deref(), Some("application/x.signature"));
        let none = client.referrers(&name, &subject.parse().unwrap(), Some("text/x"));
        assert_eq!(none.unwrap().len(), 0);
        assert_eq!(
            other.held("copy", &format!("sha256-{}", &subject[7..])).is_some(),
            !lists
        );
        // Not twice, and its own copy from there.
        ground.copy(&from, &to, &options).unwrap();
        let third = Registry::start();
        let on = format!("docker://{}", third.name("copy:1"));
        ground.copy(&to, &on, &options).unwrap();
        assert_eq!(third.held("copy", &attached), Some(bytes.clone()));
    }
    let folder = format!("dir:{}", ground.site.path("attached").display());
    ground.copy(&from, &folder, &Options::default()).unwrap();
    let err = ground.copy(&folder, &from, &options).unwrap_err();
    assert!(err.to_string().contains("not kept in this form"), "{err}");
}

#[test]
fn an_archive_is_whole_or_not_there() {
    let ground = Ground::new();
    ground.registry.image("app", "1", &bare());
    let from = format!("docker://{}", ground.registry.name("app:1"));
    let path = ground.site.path("x.tar");
    let to = format!("oci-archive:{}:x", path.display());
    ground.registry.always("/manifests/", |reply| reply.status = 404);
    ground.copy(&from, &to, &Options::default()).unwrap_err();
    assert!(!path.exists());
    ground.registry.heal();
    ground.copy(&from, &to, &Options::default()).unwrap();
    let err = ground.copy(&from, &to, &Options::default()).unwrap_err();
    assert!(err.to_string().contains("cannot create"), "{err}");
    let wrong = ground.copy(
        &format!("docker-archive:{}", path.display()),
        "store:x",
        &Options::default(),
    );
    assert!(
        wrong
            .unwrap_err()
            .to_string()
            .contains("an archive of an OCI image layout")
    );
    let missing = ground.copy(
        &format!("oci-archive:{}:y", path.display()),
        "store:x",
        &Options::default(),
    );
    assert!(missing.unwrap_err().to_string().contains("no image called `y`"));
    let err = ground
        .copy("docker-daemon:none", "store:x", &Options::default())
        .unwrap_err();
    assert!(err.to_string().contains("No such image: x"), "{err}");
}

#[test]
fn tags_catalogues_digests_and_deletions() {
    let ground = Ground::new();
    let client = Client::new(ground.site.settings.clone());
    let digest = ground.registry.image("app", "1", &bare());
    for n in 0..30 {
        ground.registry.image("app", &format!("t{n:02}"), &bare());
        ground.registry.image(&format!("repo{n:02}"), "1", &bare());
    }
    let name = |name: &str| ground.registry.name(name).parse::<hull_spec::Reference>().unwrap();
    ground.registry.spoil(1, "/tags/list", |_, reply| {
        // A page of three; the rest is asked for.
        reply.body = br#"{"tags":["1","t00","t01"]}"#.to_vec();
        reply.set("Link", "</v2/app/tags/list?n=1000&last=t01>; rel=\"next\"");
    });
    let tags = client.tags(&name("app")).unwrap();
    assert_eq!((tags.len(), tags[30].as_str()), (31, "t29"));
    let all = client.catalog(&ground.registry.address().to_string()).unwrap();
    assert_eq!(all.len(), 31);
    assert_eq!(all[0], name("app"));
    assert_eq!(client.digest(&name("app:t05")).unwrap().as_str(), digest);
    ground
        .registry
        .always("/manifests/t05", |reply| reply.unset("Docker-Content-Digest"));
    assert_eq!(
        client.digest(&name("app:t05")).unwrap().as_str(),
        digest,
        "from the bytes"
    );
    client.delete(&name("app:t03"), true).unwrap();
    assert_eq!(client.tags(&name("app")).unwrap().len(), 30);
    client.delete(&name("app:t04"), false).unwrap();
    let err = client.tags(&name("app")).unwrap_err();
    assert_eq!(
        err.kind(),
        ErrorKind::NotFound,
        "the manifest of all tags is gone: {err}"
    );
    assert_eq!(
        client.delete(&name("app:t04"), false).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    // Lists that never end, and names that are none.
    for body in [r#"{"tags":["../x"]}"#, r#"{"tags":["a b"]}"#] {
        ground.registry.heal();
        ground
            .registry
            .always("/tags/list", move |reply| reply.body = body.as_bytes().to_vec());
        let err = client.tags(&name("repo01")).unwrap_err();
        assert!(err.to_string().contains("it holds"), "{err}");
    }
    ground.registry.heal();
    ground.registry.spoil(usize::MAX, "/tags/list", |seen, reply| {
        let path = seen.path.clone();
        reply.set("Link", &format!("<{path}>; rel=\"next\""));
    });
    let err = client.tags(&name("repo01")).unwrap_err();
    assert!(err.to_string().contains("no end"), "{err}");
}
