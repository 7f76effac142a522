//! Debian's `docker-registry` (distribution, the reference implementation) as a process, and pushing to any registry.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::image::Image;
use crate::layer::Blob;
use crate::{http, require_program, until};

/// A running registry on a free port of 127.0.0.1; it ends with this value.
#[derive(Debug)]
pub struct Distribution {
    address: SocketAddr,
    process: Child,
}

impl Distribution {
    /// Starts one that keeps its files in `folder`. `prepare` makes the command that runs the program, so that it can
    /// run in another network namespace. `None`, and a counted skip, where the program is not installed.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start(folder: &Path, prepare: impl FnOnce(&Path) -> Command) -> Option<Self> {
        Self::start_at("127.0.0.1:0", folder, prepare)
    }

    /// The same, at an address of the caller's choice.
    ///
    /// # Panics
    /// As `start`.
    #[must_use]
    pub fn start_at(address: &str, folder: &Path, prepare: impl FnOnce(&Path) -> Command) -> Option<Self> {
        let program = require_program("docker-registry")?;
        Some(Self::run(address, &program, folder, prepare))
    }

    fn run(address: &str, program: &Path, folder: &Path, prepare: impl FnOnce(&Path) -> Command) -> Self {
        std::fs::create_dir_all(folder).expect("make the registry's folder");
        let (config, log) = (folder.join("config.yml"), folder.join("registry.log"));
        let text = format!(
            "version: 0.1\nlog: {{level: info, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n\
             http: {{addr: \"{address}\"}}\n",
            folder.join("data").display()
        );
        std::fs::write(&config, text).expect("write the registry's configuration");
        let output = std::fs::File::create(&log).expect("make the registry's log");
        let mut command = prepare(program);
        command.arg("serve").arg(&config).env("OTEL_TRACES_EXPORTER", "none");
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("share the log"))
            .stderr(output);
        let mut process = command.spawn().expect("start docker-registry");
        let address = until("docker-registry's address in its log", || {
            if let Ok(Some(status)) = process.try_wait() {
                panic!(
                    "docker-registry ended with {status}: {}",
                    std::fs::read_to_string(&log).unwrap_or_default()
                );
            }
            listening(&std::fs::read_to_string(&log).ok()?)
        });
        Self { address, process }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Distribution {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The address in a line such as `level=info msg="listening on 127.0.0.1:34567"`.
fn listening(log: &str) -> Option<SocketAddr> {
    let (_, rest) = log.split_once("listening on ")?;
    rest[..rest.find(|c: char| c != '.' && c != ':' && !c.is_ascii_digit())?]
        .parse()
        .ok()
}

/// Pushes `image` to the registry at `address` as `repository:tag` and returns the digest of its manifest.
///
/// # Errors
/// If the registry cannot be reached or refuses a part.
pub fn push(address: SocketAddr, repository: &str, tag: &str, image: &Image) -> io::Result<String> {
    blobs(address, repository, image)?;
    let manifest = image.manifest();
    put(address, repository, tag, image.media_type(), &manifest)?;
    Ok(manifest.digest)
}

/// Pushes `images` under one index and returns its digest.
///
/// # Errors
/// If the registry cannot be reached or refuses a part.
pub fn push_index(address: SocketAddr, repository: &str, tag: &str, images: &[Image]) -> io::Result<String> {
    for image in images {
        blobs(address, repository, image)?;
        let manifest = image.manifest();
        put(address, repository, &manifest.digest, image.media_type(), &manifest)?;
    }
    let index = Image::index(images);
    put(
        address,
        repository,
        tag,
        "application/vnd.oci.image.index.v1+json",
        &index,
    )?;
    Ok(index.digest)
}

fn blobs(address: SocketAddr, repository: &str, image: &Image) -> io::Result<()> {
    blob(address, repository, &image.config())?;
    image
        .layers()
        .iter()
        .try_for_each(|layer| blob(address, repository, &layer.blob))
}

/// Uploads one blob in one piece (distribution spec, "Pushing a blob monolithically").
fn blob(address: SocketAddr, repository: &str, blob: &Blob) -> io::Result<()> {
    let known = http::send(
        address,
        "HEAD",
        &format!("/v2/{repository}/blobs/{}", blob.digest),
        &[],
        &mut io::empty(),
        0,
    )?;
    if known.status == 200 {
        return Ok(());
    }
    let start = format!("/v2/{repository}/blobs/uploads/");
    let started = expect(
        http::send(address, "POST", &start, &[], &mut io::empty(), 0)?,
        &start,
        202,
    )?;
    let location = started.header("location").unwrap_or_default();
    let path = location
        .strip_prefix("http://")
        .map_or(location, |rest| &rest[rest.find('/').unwrap_or(rest.len())..]);
    let separator = if path.contains('?') { '&' } else { '?' };
    let path = format!("{path}{separator}digest={}", blob.digest.replace(':', "%3A"));
    let kind = [("Content-Type", "application/octet-stream")];
    expect(
        http::send(address, "PUT", &path, &kind, &mut blob.open()?, blob.size)?,
        &path,
        201,
    )?;
    Ok(())
}

fn put(address: SocketAddr, repository: &str, tag: &str, media_type: &str, manifest: &Blob) -> io::Result<()> {
    let path = format!("/v2/{repository}/manifests/{tag}");
    let response = http::send(
        address,
        "PUT",
        &path,
        &[("Content-Type", media_type)],
        &mut manifest.open()?,
        manifest.size,
    )?;
    expect(response, &path, 201).map(|_| ())
}

fn expect(response: http::Response, what: &str, status: u16) -> io::Result<http::Response> {
    if response.status == status {
        return Ok(response);
    }
    Err(io::Error::other(format!(
        "{what}: status {}: {}",
        response.status,
        response.text()
    )))
}

/// The path of Debian's registry program, where it is installed.
#[must_use]
pub fn program() -> Option<PathBuf> {
    crate::root::find_program("docker-registry")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Layer;

    #[test]
    fn finds_the_address_in_the_log() {
        let log = "level=info msg=\"using filesystem\"\nlevel=info msg=\"listening on 127.0.0.1:40123\" go=1\n";
        assert_eq!(listening(log), Some("127.0.0.1:40123".parse().unwrap()));
        assert_eq!(
            listening("level=info msg=\"listening on 127.0.0"),
            None,
            "a line half written"
        );
    }

    #[test]
    fn holds_what_was_pushed() {
        let folder = tempfile::tempdir().unwrap();
        let Some(registry) = Distribution::start(folder.path(), |program| Command::new(program)) else {
            return;
        };
        let image = Image::new().layer(Layer::build().file("hello", 0o644, "hello\n").gzip());
        let digest = push(registry.address(), "library/hello", "1", &image).unwrap();
        // Without it, distribution 2.8 hides OCI manifests.
        let accept = [(
            "Accept",
            "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json",
        )];
        let get = |path: &str| http::send(registry.address(), "GET", path, &accept, &mut io::empty(), 0).unwrap();
        let got = get(&format!("/v2/library/hello/manifests/{digest}"));
        assert_eq!((got.status, got.body), (200, image.manifest().bytes()));
        let layer = &image.layers()[0].blob;
        let got = http::get(registry.address(), &format!("/v2/library/hello/blobs/{}", layer.digest)).unwrap();
        assert_eq!((got.status, got.body), (200, layer.bytes()));

        let arm = Image::new().set_top("architecture", serde_json::json!("arm64"));
        let index = push_index(registry.address(), "library/hello", "all", &[image, arm]).unwrap();
        let got = get("/v2/library/hello/manifests/all");
        assert_eq!(crate::layer::sha256(&got.body), index);
    }
}
