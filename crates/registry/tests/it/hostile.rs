//! Registries that lie.

use hull_spec::ErrorKind;
use hull_testkit::image::Format;
use hull_testkit::layer::Blob;
use hull_testkit::registry::{Registry, Reply};
use hull_testkit::{Compression, Image, Layer, require_root};
use serde_json::{Value, json};

use super::{bare, big, fails, listing, started};

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// The manifest of `image` as a value to spoil.
fn manifest(image: &Image) -> Value {
    serde_json::from_slice(&image.manifest().bytes()).unwrap()
}

/// Serves an image under a manifest and a config of the attacker's.
fn forged(registry: &Registry, config: &[u8], spoil: impl Fn(&mut Value)) {
    let config = Blob::new(config.to_vec());
    registry.blob(&config);
    let mut text = manifest(&bare());
    text["config"]["digest"] = json!(config.digest);
    text["config"]["size"] = json!(config.size);
    spoil(&mut text);
    registry.manifest("app", "1", OCI, text.to_string().as_bytes());
}

#[test]
fn lies_about_a_manifest_are_found() {
    let check = |spoil: fn(&mut Reply), kind: ErrorKind, said: &str| {
        let (site, registry) = started();
        let digest = registry.image("app", "1", &bare());
        registry.always("/manifests/", spoil);
        fails(site.pull(&registry.name("app:1")), kind, said);
        fails(site.pull(&registry.name(&format!("app@{digest}"))), kind, said);
        assert!(listing(&site.path("store/blobs/sha256")).is_empty());
    };
    let invalid = ErrorKind::Invalid;
    check(|reply| reply.body.push(b' '), invalid, "has the digest sha256:");
    check(|reply| reply.set("Content-Type", INDEX), invalid, "is said to be both");
    check(
        |reply| reply.set("Content-Type", "application/vnd.docker.distribution.manifest.v2+json"),
        invalid,
        "is said to be both",
    );
    check(
        |reply| {
            reply.set(
                "Content-Type",
                "application/vnd.docker.distribution.manifest.v1+prettyjws",
            )
        },
        ErrorKind::Unsupported,
        "schema 1",
    );
    check(
        |reply| reply.body = vec![b' '; 5 << 20],
        invalid,
        "larger than 4194304 bytes",
    );
    check(
        |reply| {
            reply.body = vec![b' '; 5 << 20];
            reply.chunked = true;
        },
        invalid,
        "larger than 4194304 bytes",
    );
    check(
        |reply| reply.set("Content-Length", "18446744073709551615"),
        invalid,
        "larger than 4194304 bytes",
    );
}

#[test]
fn documents_of_another_kind_are_refused() {
    let check = |text: &Value, media_type: &str, kind: ErrorKind, said: &str| {
        let (site, registry) = started();
        registry.manifest("app", "1", media_type, text.to_string().as_bytes());
        fails(site.pull(&registry.name("app:1")), kind, said);
    };
    let mut both = manifest(&bare());
    both["manifests"] = json!([]);
    // CVE-2021-41190.
    check(&both, OCI, ErrorKind::Invalid, "both an index and the manifest");
    both.as_object_mut().unwrap().remove("mediaType");
    check(&both, INDEX, ErrorKind::Invalid, "both an index and the manifest");
    let mut chart = manifest(&bare());
    chart["config"]["mediaType"] = json!("application/vnd.cncf.helm.config.v1+json");
    check(
        &chart,
        OCI,
        ErrorKind::Unsupported,
        "encountered remote \"application/vnd.cncf.helm.config.v1+json\"(unknown) when fetching",
    );
    let schema1 = json!({ "schemaVersion": 1, "name": "x", "tag": "1", "fsLayers": [], "history": [] });
    check(&schema1, "application/json", ErrorKind::Unsupported, "schema 1");
    let many = bare().layer(Layer::build().gzip());
    let mut text = manifest(&many);
    let layer = text["layers"][0].clone();
    text["layers"] = (0..501).map(|_| layer.clone()).collect();
    check(&text, OCI, ErrorKind::Invalid, "501 layers");
}

#[test]
fn an_index_that_lies_about_its_entries_is_refused() {
    let check = |spoil: fn(&mut Value), kind: ErrorKind, said: &str| {
        let (site, registry) = started();
        registry.image("app", "0", &bare());
        let mut index: Value = serde_json::from_slice(&Image::index(&[bare()]).bytes()).unwrap();
        spoil(&mut index["manifests"][0]);
        registry.manifest("app", "1", INDEX, index.to_string().as_bytes());
        fails(site.pull(&registry.name("app:1")), kind, said);
    };
    check(|entry| entry["size"] = json!(7), ErrorKind::Invalid, "bytes, not 7");
    check(
        |entry| entry["mediaType"] = json!(INDEX),
        ErrorKind::Invalid,
        "is said to be both",
    );
    check(
        |entry| entry["digest"] = json!("sha256:00"),
        ErrorKind::Invalid,
        "cannot parse",
    );
    check(
        |entry| entry["digest"] = json!("../../x"),
        ErrorKind::Invalid,
        "cannot parse",
    );
    check(
        |entry| entry["digest"] = json!(format!("sha256:{}", "0".repeat(64))),
        ErrorKind::NotFound,
        "not found",
    );
}

#[test]
fn lies_about_a_config_are_found() {
    let check = |spoil: fn(&mut Reply), kind: ErrorKind, said: &str| {
        let (site, registry) = started();
        registry.image("app", "1", &bare());
        registry.always("/blobs/", spoil);
        fails(site.pull(&registry.name("app:1")), kind, said);
        assert!(hull_store::image::list(&site.store()).unwrap().is_empty());
    };
    check(|reply| reply.body[5] ^= 1, ErrorKind::Invalid, "has the digest");
    check(|reply| reply.body.push(b' '), ErrorKind::Invalid, "bytes, not");
    check(|reply| reply.body.truncate(9), ErrorKind::Invalid, "has 9 bytes, not");
    check(|reply| reply.status = 404, ErrorKind::NotFound, "404");
}

#[test]
fn configs_are_limited_and_must_fit_their_manifest() {
    let check = |config: &[u8], spoil: &dyn Fn(&mut Value), said: &str| {
        let (site, registry) = started();
        forged(&registry, config, spoil);
        fails(site.pull(&registry.name("app:1")), ErrorKind::Invalid, said);
        registry.seen("/blobs/").len()
    };
    let huge = |text: &mut Value| text["config"]["size"] = json!(100 << 20);
    let asked = check(b"{}", &huge, "larger than 8388608 bytes");
    assert_eq!(asked, 0, "refused before a byte is read");
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    check(deep.as_bytes(), &|_| (), "invalid rootfs");
    check(
        deep.replace("\"a\"", "\"history\"").as_bytes(),
        &|_| (),
        "cannot parse the config",
    );
    check(b"[]", &|_| (), "invalid rootfs");
    check(b"{}", &|_| (), "invalid rootfs");
    check(b"", &|_| (), "cannot parse the config");
    let layers = |text: &mut Value| {
        let layer = json!({ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": format!("sha256:{}", "0".repeat(64)), "size": 1 });
        text["layers"] = json!([layer]);
    };
    check(
        &bare().config().bytes(),
        &layers,
        "it names 0 layers, and the manifest 1",
    );
}

#[test]
fn privileged_lies_about_a_layer_are_found_and_leave_nothing() {
    if !require_root() {
        return;
    }
    let check = |spoil: fn(&mut Reply), kind: ErrorKind, said: &str| {
        let (site, registry) = started();
        let image = big(200_000);
        registry.image("app", "1", &image);
        registry.always(&image.layers()[0].blob.digest, spoil);
        fails(site.pull(&registry.name("app:1")), kind, said);
        assert!(hull_store::image::list(&site.store()).unwrap().is_empty());
        let layers = listing(&site.path("store/layers"));
        assert_eq!(layers, [site.path("store/layers/empty")], "{said}");
    };
    let invalid = ErrorKind::Invalid;
    check(|reply| reply.body[1000] ^= 1, invalid, "is not what its digest says");
    check(|reply| reply.body.push(b' '), invalid, "bytes, not");
    check(|reply| reply.body.truncate(1000), invalid, "has 1000 bytes, not");
    check(|reply| reply.set("Content-Length", "9"), invalid, "has 9 bytes, not");
    check(
        |reply| {
            reply.body[1000] ^= 1;
            reply.chunked = true;
        },
        invalid,
        "is not what its digest says",
    );
    check(
        |reply| {
            reply.body.push(b' ');
            reply.chunked = true;
        },
        invalid,
        "bytes, not",
    );
    check(
        |reply| {
            reply.body.truncate(1000);
            reply.chunked = true;
        },
        ErrorKind::Unavailable,
        "broke off after 4000 bytes",
    );
}

#[test]
fn privileged_a_layer_that_unpacks_to_something_else_is_refused() {
    if !require_root() {
        return;
    }
    let (site, registry) = started();
    let layer = |text: &str| Layer::build().file("a", 0o644, text).finish(Compression::Gzip);
    let (honest, other) = (bare().layer(layer("a")), bare().layer(layer("b")));
    registry.image("other", "1", &other);
    let config = honest.config();
    forged(&registry, &config.bytes(), |text| {
        text["layers"] = manifest(&other)["layers"].clone()
    });
    fails(
        site.pull(&registry.name("app:1")),
        ErrorKind::Invalid,
        "but the image config names",
    );
}

#[test]
fn a_config_of_old_registries_is_taken() {
    let (site, registry) = started();
    let image = bare().format(Format::Docker);
    registry.image("app", "0", &image);
    let mut text = manifest(&image);
    text["config"]["mediaType"] = json!("application/octet-stream");
    registry.manifest("app", "1", image.media_type(), text.to_string().as_bytes());
    site.pull(&registry.name("app:1")).unwrap();
}

#[test]
fn what_a_registry_says_reaches_no_terminal_raw() {
    let (site, registry) = started();
    registry.always("/manifests/", |reply| {
        *reply = Reply::error(404, "X\u{1b}[2J", "\u{1b}]0;evil\u{7}\nerror: forged");
    });
    let err = fails(site.pull(&registry.name("app:1")), ErrorKind::NotFound, "evil");
    assert!(!err.to_string().chars().any(char::is_control), "{err:?}");
}
