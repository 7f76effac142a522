//! Debian's docker-registry, the reference implementation.

use std::process::Command;

use hull_testkit::distribution::{push, push_index};
use hull_testkit::image::Format;
use hull_testkit::{Compression, Distribution, Image, Layer, require_root};
use serde_json::json;

use super::{Site, fails, noise};

#[test]
fn privileged_images_of_the_reference_registry_are_pulled() {
    let folder = tempfile::tempdir().unwrap();
    if !require_root() {
        return;
    }
    let Some(registry) = Distribution::start(folder.path(), |program| Command::new(program)) else {
        return;
    };
    let name = |image: &str| format!("{}/{image}", registry.address());
    for format in [Format::Oci, Format::Docker] {
        let image = |architecture: &str| {
            let image = Image::new().format(format).set_top("architecture", json!(architecture));
            [Compression::None, Compression::Gzip, Compression::Zstd]
                .into_iter()
                .enumerate()
                .fold(image, |image, (i, compression)| {
                    let mut bytes = noise(100_000 + i);
                    bytes.extend(architecture.bytes());
                    image.layer(Layer::build().file(&format!("f{i}"), 0o644, bytes).finish(compression))
                })
        };
        let site = Site::new();
        let digest = push(registry.address(), "me/app", "1", &image("amd64")).unwrap();
        let pulled = site.pull_for(&name("me/app:1"), Some("linux/amd64")).unwrap();
        assert_eq!(pulled.digest.as_str(), digest, "{format:?}");
        assert_eq!(site.file(&pulled, "f2").len(), 100_007);
        assert!(!site.pull_for(&name("me/app:1"), Some("linux/amd64")).unwrap().updated);

        let site = Site::new();
        let pulled = site.pull(&name(&format!("me/app@{digest}"))).unwrap();
        assert_eq!(site.file(&pulled, "f0").len(), 100_005);

        let index = push_index(registry.address(), "me/all", "1", &[image("arm64"), image("amd64")]).unwrap();
        let pulled = Site::new().pull_for(&name("me/all:1"), Some("linux/amd64")).unwrap();
        assert_eq!(
            (pulled.digest.as_str(), pulled.image.manifest.as_str()),
            (index.as_str(), digest.as_str())
        );
        let pulled = Site::new()
            .pull_for(&name(&format!("me/all@{index}")), Some("linux/arm64"))
            .unwrap();
        assert_eq!(pulled.image.config.architecture, "arm64");
    }
    let site = Site::new();
    let not_found = hull_spec::ErrorKind::NotFound;
    fails(
        site.pull(&name("me/app:2")),
        not_found,
        "not found: manifest unknown: manifest unknown",
    );
    let unknown = format!("me/app@sha256:{}", "0".repeat(64));
    fails(site.pull(&name(&unknown)), not_found, "not found: manifest unknown");
    fails(site.pull(&name("no/such:1")), not_found, "not found: ");
}
