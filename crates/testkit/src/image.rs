//! Images: layers, a config and a manifest, and several of them under one index.

use serde_json::{Value, json};

use crate::layer::{Blob, Compression, Layer};
use crate::{elf, root};

/// Whose media types an image uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// The OCI image spec's.
    #[default]
    Oci,
    /// Docker's schema 2.
    Docker,
}

/// An image in the making, and made: every value is computed when it is asked for.
#[derive(Clone, Debug)]
pub struct Image {
    config: Value,
    layers: Vec<Layer>,
    format: Format,
}

impl Default for Image {
    fn default() -> Self {
        Self::new()
    }
}

impl Image {
    /// An image without layers, for the platform of this machine.
    #[must_use]
    pub fn new() -> Self {
        let config = json!({
            "created": "2024-01-01T00:00:00Z",
            "architecture": architecture(),
            "os": "linux",
            "config": { "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"] },
            "rootfs": { "type": "layers", "diff_ids": [] },
            "history": [],
        });
        Self {
            config,
            layers: Vec::new(),
            format: Format::Oci,
        }
    }

    /// The shell and the tools of Debian's busybox-static, each applet a hard link, and a user `app` (1000).
    ///
    /// # Panics
    /// If no static busybox is installed.
    #[must_use]
    pub fn busybox() -> Self {
        let mut layer = Layer::build();
        for (path, mode) in [
            ("bin", 0o755),
            ("dev", 0o755),
            ("etc", 0o755),
            ("home", 0o755),
            ("home/app", 0o755),
        ] {
            layer = layer.dir(path, mode);
        }
        for (path, mode) in [
            ("proc", 0o555),
            ("root", 0o700),
            ("sys", 0o555),
            ("tmp", 0o1777),
            ("usr", 0o755),
        ] {
            layer = layer.dir(path, mode);
        }
        layer = layer.file(
            "bin/busybox",
            0o755,
            std::fs::read(busybox_path()).expect("read busybox"),
        );
        for applet in busybox_applets() {
            layer = layer.hard_link(&format!("bin/{applet}"), "bin/busybox");
        }
        let passwd =
            "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n";
        let group = "root:x:0:\napp:x:1000:\nextra:x:2000:app\nnogroup:x:65534:\n";
        layer = layer.file("etc/passwd", 0o644, passwd).file("etc/group", 0o644, group);
        Self::new().layer(layer.gzip()).cmd(&["sh"])
    }

    /// Adds a layer on top.
    #[must_use]
    pub fn layer(mut self, layer: Layer) -> Self {
        if let Some(ids) = self.config["rootfs"]["diff_ids"].as_array_mut() {
            ids.push(json!(layer.diff_id));
        }
        if let Some(history) = self.config["history"].as_array_mut() {
            history.push(json!({ "created": "2024-01-01T00:00:00Z", "created_by": "testkit" }));
        }
        self.layers.push(layer);
        self
    }

    /// Sets `Cmd`.
    #[must_use]
    pub fn cmd(self, words: &[&str]) -> Self {
        self.set("Cmd", json!(words))
    }

    /// Sets `Entrypoint`.
    #[must_use]
    pub fn entrypoint(self, words: &[&str]) -> Self {
        self.set("Entrypoint", json!(words))
    }

    /// Sets a field of the config's `config` object, such as `User` or `Labels`.
    #[must_use]
    pub fn set(mut self, field: &str, value: Value) -> Self {
        self.config["config"][field] = value;
        self
    }

    /// Sets a field of the config itself, such as `architecture`.
    #[must_use]
    pub fn set_top(mut self, field: &str, value: Value) -> Self {
        self.config[field] = value;
        self
    }

    /// Chooses whose media types it uses.
    #[must_use]
    pub fn format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    /// Its layers, lowest first.
    #[must_use]
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Its config; its digest is the image's ID.
    #[must_use]
    pub fn config(&self) -> Blob {
        Blob::new(self.config.to_string().into_bytes())
    }

    /// Its manifest's media type.
    #[must_use]
    pub fn media_type(&self) -> &'static str {
        match self.format {
            Format::Oci => "application/vnd.oci.image.manifest.v1+json",
            Format::Docker => "application/vnd.docker.distribution.manifest.v2+json",
        }
    }

    /// Its manifest.
    #[must_use]
    pub fn manifest(&self) -> Blob {
        let config = self.config();
        let config_type = match self.format {
            Format::Oci => "application/vnd.oci.image.config.v1+json",
            Format::Docker => "application/vnd.docker.container.image.v1+json",
        };
        let layers: Vec<_> = self.layers.iter().map(|layer| self.descriptor(layer)).collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": self.media_type(),
            "config": { "mediaType": config_type, "digest": config.digest, "size": config.size },
            "layers": layers,
        });
        Blob::new(manifest.to_string().into_bytes())
    }

    fn descriptor(&self, layer: &Layer) -> Value {
        let base = match self.format {
            Format::Oci => "application/vnd.oci.image.layer.v1.tar",
            Format::Docker => "application/vnd.docker.image.rootfs.diff.tar",
        };
        let suffix = match (layer.compression, self.format) {
            (Compression::None, _) => "",
            (Compression::Gzip, Format::Oci) => "+gzip",
            (Compression::Gzip, Format::Docker) => ".gzip",
            (Compression::Zstd, Format::Oci) => "+zstd",
            (Compression::Zstd, Format::Docker) => ".zstd",
        };
        json!({ "mediaType": format!("{base}{suffix}"), "digest": layer.blob.digest, "size": layer.blob.size })
    }

    /// The OCI index over `images`: one entry an image, with the platform of its config.
    #[must_use]
    pub fn index(images: &[Image]) -> Blob {
        let manifests: Vec<_> = images
            .iter()
            .map(|image| {
                let manifest = image.manifest();
                let mut platform = json!({ "os": image.config["os"], "architecture": image.config["architecture"] });
                if let Some(variant) = image.config.get("variant") {
                    platform["variant"] = variant.clone();
                }
                json!({
                    "mediaType": image.media_type(),
                    "digest": manifest.digest,
                    "size": manifest.size,
                    "platform": platform,
                })
            })
            .collect();
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": manifests,
        });
        Blob::new(index.to_string().into_bytes())
    }
}

/// This machine's instruction set in Go's words.
#[must_use]
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The path of a busybox that runs without any library.
///
/// # Panics
/// If there is none: the Debian package is `busybox-static`.
#[must_use]
pub fn busybox_path() -> std::path::PathBuf {
    let path = root::find_program("busybox").expect("busybox is not installed: apt-get install busybox-static");
    let elf = elf::read(&path)
        .expect("read busybox")
        .expect("busybox is an ELF program");
    assert_eq!(
        elf.interpreter,
        None,
        "{} is not static: apt-get install busybox-static",
        path.display()
    );
    path
}

fn busybox_applets() -> Vec<String> {
    let list = std::process::Command::new(busybox_path())
        .arg("--list")
        .output()
        .expect("run busybox --list");
    let text = String::from_utf8_lossy(&list.stdout).into_owned();
    text.lines()
        .filter(|applet| *applet != "busybox")
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_names_what_the_image_holds() {
        let one = Layer::build().file("a", 0o644, "1").gzip();
        let two = Layer::build().file("b", 0o644, "2").finish(Compression::Zstd);
        let image = Image::new()
            .layer(one.clone())
            .layer(two.clone())
            .cmd(&["/a"])
            .set("User", json!("app"));
        let manifest: Value = serde_json::from_slice(&image.manifest().bytes()).unwrap();
        assert_eq!(manifest["config"]["digest"], json!(image.config().digest));
        assert_eq!(manifest["layers"][0]["digest"], json!(one.blob.digest));
        assert_eq!(
            manifest["layers"][1]["mediaType"],
            json!("application/vnd.oci.image.layer.v1.tar+zstd")
        );
        let config: Value = serde_json::from_slice(&image.config().bytes()).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"], json!([one.diff_id, two.diff_id]));
        assert_eq!(
            (&config["config"]["User"], &config["config"]["Cmd"]),
            (&json!("app"), &json!(["/a"]))
        );

        let arm = Image::new()
            .set_top("architecture", json!("arm64"))
            .set_top("variant", json!("v8"));
        let index: Value = serde_json::from_slice(&Image::index(&[image, arm]).bytes()).unwrap();
        assert_eq!(
            index["manifests"][1]["platform"],
            json!({"os":"linux","architecture":"arm64","variant":"v8"})
        );
    }
}
