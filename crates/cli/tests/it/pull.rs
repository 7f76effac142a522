//! Real images out of Debian's docker-registry.

use hull_testkit::image::Format;
use hull_testkit::{Compression, Image, Layer, distribution};
use serde_json::json;

use crate::machine;

#[test]
fn privileged_by_tag_by_digest_and_for_this_platform() {
    let Some((host, _)) = machine() else { return };
    let registry = host.registry().unwrap();
    let image = Image::busybox().layer(Layer::build().file("mark", 0o644, "native").gzip());
    let other = if hull_testkit::image::architecture() == "amd64" {
        "arm64"
    } else {
        "amd64"
    };
    let foreign = image
        .clone()
        .layer(Layer::build().file("mark", 0o644, other).gzip())
        .set_top("architecture", json!(other));
    let digest = host
        .within(|| distribution::push(registry, "one", "1.0", &image))
        .unwrap();
    let index = host
        .within(|| distribution::push_index(registry, "many", "latest", &[foreign, image]))
        .unwrap();
    let run = |reference: &str| host.ok(["run", "--rm", "--network", "none", reference, "cat", "/mark"]);
    assert_eq!(
        run(&format!("{registry}/one:1.0")),
        "native",
        "run pulls what is missing"
    );
    assert_eq!(run(&format!("{registry}/one@{digest}")), "native");
    assert_eq!(run(&format!("{registry}/many")), "native");
    assert_eq!(run(&format!("{registry}/many@{index}")), "native");
    let said = host.hull(["pull", &format!("{registry}/one:1.0")]).ok().stdout;
    assert!(
        said.contains(&format!("Digest: {digest}")) && said.contains("Image is up to date"),
        "{said}"
    );
    host.ok([
        "pull",
        "-q",
        "--platform",
        &format!("linux/{other}"),
        &format!("{registry}/many"),
    ]);
    let seen = host.ok(["inspect", "-f", "{{.Architecture}}", &format!("{registry}/many")]);
    assert_eq!(seen, other);
}

#[test]
fn privileged_every_format_and_compression() {
    let Some((host, _)) = machine() else { return };
    let registry = host.registry().unwrap();
    for (n, format) in [Format::Oci, Format::Docker].into_iter().enumerate() {
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            if format == Format::Docker && compression == Compression::Zstd {
                continue;
            }
            let name = format!("f{n}-{}", format!("{compression:?}").to_lowercase());
            let layer = Layer::build().file("mark", 0o644, &name).finish(compression);
            let image = Image::busybox().layer(layer).format(format);
            host.within(|| distribution::push(registry, &name, "latest", &image))
                .unwrap();
            let reference = format!("{registry}/{name}");
            assert_eq!(
                host.ok(["run", "--rm", "--network", "none", &reference, "cat", "/mark"]),
                name
            );
        }
    }
}

#[test]
fn privileged_layers_stack() {
    let Some((host, _)) = machine() else { return };
    let lower = Layer::build()
        .dir("dd", 0o755)
        .file("d/a", 0o644, "a")
        .file("d/b", 0o644, "b")
        .dir("o", 0o755);
    let lower = lower.file("o/x", 0o644, "x").file("f", 0o644, "f").gzip();
    let upper = Layer::build()
        .whiteout("d/a")
        .file("d/b", 0o644, "b2")
        .opaque("o")
        .file("o/y", 0o644, "y")
        .whiteout("f")
        .gzip();
    let mut image = Image::busybox().layer(lower).layer(upper);
    for n in 0..130 {
        image = image.layer(Layer::build().file(&format!("many/{n}"), 0o644, n.to_string()).gzip());
    }
    let Some(reference) = host.provide("stack", &image) else {
        return;
    };
    let script = "ls /d /o | tr '\\n' ' '; cat /d/b; test -e /f || echo ' gone'; ls /many | wc -l; \
                  rm -r /many /d; mkdir /d; ls /d; test -e /many || echo removed";
    let seen = host.ok(["run", "--rm", "--network", "none", &reference, "sh", "-c", script]);
    assert_eq!(seen, "/d: b  /o: y b2 gone\n130\nremoved");
}

#[test]
fn privileged_two_pulls_of_one_image_at_once() {
    let Some((host, image)) = machine() else { return };
    host.ok(["rmi", &image]);
    let pulls: Vec<_> = (0..6).map(|_| host.spawn(["pull", "-q", &image])).collect();
    for mut pull in pulls {
        assert!(pull.wait().unwrap().success());
    }
    assert_eq!(host.ok(["images", "-q"]).lines().count(), 1);
    host.ok(["run", "--rm", "--network", "none", &image, "true"]);
}

#[test]
fn privileged_removal_frees_and_protects() {
    let Some((host, image)) = machine() else { return };
    host.ok(["create", "--name", "cc", &image]);
    host.hull(["rmi", &image]).fails(1).says("must force");
    host.ok(["rm", "cc"]);
    host.ok(["rmi", &image]);
    assert_eq!(host.ok(["images", "-q"]), "");
    let left = |folder: &str| {
        let entries = std::fs::read_dir(host.data().join(folder))
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        // The lower folder of images without layers stays.
        entries.filter(|name| name != "empty").collect::<Vec<_>>()
    };
    assert_eq!(
        (left("layers"), left("blobs/sha256")),
        (vec![], vec![]),
        "its layers and blobs are gone at once"
    );
}
