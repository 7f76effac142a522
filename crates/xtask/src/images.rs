//! The images that the tests, the tour and the benchmarks run: made of Debian's packages, pushed to a real registry.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use clap::Args;
use hull_testkit::{Distribution, Image, Layer, distribution};
use serde_json::json;

#[derive(Args)]
pub(crate) struct Options {
    /// Leave out the Debian root of about 450 MB.
    #[arg(long)]
    small: bool,
    /// Serve them from Debian's docker-registry on a free port of 127.0.0.1 until Enter is pressed.
    #[arg(long)]
    serve: bool,
}

/// An image with the name under which a registry holds it.
pub(crate) struct Named {
    pub(crate) repository: &'static str,
    pub(crate) tag: &'static str,
    images: Vec<Image>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    crate::packages::ensure()?;
    let folder = folder()?;
    let mut all = small();
    if !options.small {
        all.push(debian(&folder)?);
    }
    let registry = serve(&folder.join("registry"))?;
    push(registry.address(), &all)?;
    println!(
        "{} now holds what docker-registry keeps of:",
        folder.join("registry").display()
    );
    for Named { repository, tag, .. } in &all {
        println!("    {}/{repository}:{tag}", registry.address());
    }
    if options.serve {
        println!("Serving them at {}; Enter ends it.", registry.address());
        std::io::stdin()
            .read_line(&mut String::new())
            .context("wait for Enter")?;
    }
    Ok(())
}

/// Where images are kept between runs.
pub(crate) fn folder() -> Result<PathBuf> {
    let folder = crate::workspace::target()?.join("images");
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    Ok(folder)
}

/// Starts Debian's registry on a free port of 127.0.0.1.
pub(crate) fn serve(folder: &Path) -> Result<Distribution> {
    Distribution::start(folder, |program| Command::new(program))
        .context("docker-registry is not installed: `apt-get install docker-registry` brings it")
}

/// Pushes `images` to the registry at `address`.
pub(crate) fn push(address: SocketAddr, images: &[Named]) -> Result<()> {
    for Named {
        repository,
        tag,
        images,
    } in images
    {
        let pushed = match images.as_slice() {
            [image] => distribution::push(address, repository, tag, image),
            several => distribution::push_index(address, repository, tag, several),
        };
        pushed.with_context(|| format!("push {repository}:{tag} to {address}"))?;
    }
    Ok(())
}

/// The images that are made in a moment.
pub(crate) fn small() -> Vec<Named> {
    let busybox = Image::busybox();
    let page = "<h1>It works: this page comes out of a container.</h1>\n";
    let server = Layer::build().dir("www", 0o755).file("www/index.html", 0o644, page);
    let web = busybox
        .clone()
        .layer(server.gzip())
        .cmd(&["httpd", "-f", "-v", "-p", "80", "-h", "/www"])
        .set("ExposedPorts", json!({ "80/tcp": {} }));
    let layers = (0..130).fold(busybox.clone(), |image, n| {
        image.layer(Layer::build().file(&format!("layer-{n}"), 0o644, n.to_string()).gzip())
    });
    let other = if hull_testkit::image::architecture() == "amd64" {
        "arm64"
    } else {
        "amd64"
    };
    let foreign = Image::new()
        .layer(Layer::build().file("foreign", 0o644, "").gzip())
        .set_top("architecture", json!(other));
    let one = |repository, image| Named {
        repository,
        tag: "latest",
        images: vec![image],
    };
    vec![
        one("web", web),
        one("layers", layers),
        Named {
            repository: "platforms",
            tag: "latest",
            images: vec![foreign, busybox.clone()],
        },
        one("busybox", busybox),
    ]
}

/// A Debian root with a compiler and two interpreters: about 450 MB in 165 MB of gzip, made once.
pub(crate) fn debian(folder: &Path) -> Result<Named> {
    let (tar, blob) = (folder.join("debian.tar"), folder.join("debian.tar.gz"));
    if !tar.is_file() {
        if crate::command::find("mmdebstrap").is_none() {
            crate::packages::install(&["mmdebstrap", "debian-archive-keyring"])?;
        }
        let part = folder.join("debian.tar.part");
        let mut bootstrap = Command::new("mmdebstrap");
        bootstrap.args(["--quiet", "--variant=minbase", "--format=tar"]);
        // Ubuntu has the keys, but does not trust them for its own archive.
        let keys = Path::new("/usr/share/keyrings/debian-archive-keyring.gpg");
        if keys.is_file() {
            bootstrap.arg("--keyring").arg(keys);
        }
        bootstrap
            .arg("--include=python3,perl,gcc,libc6-dev,curl,ca-certificates")
            .arg("stable")
            .arg(&part);
        if let Some(mirror) = mirror() {
            bootstrap.arg(mirror);
        }
        crate::command::show(bootstrap.stdin(Stdio::null()))?;
        std::fs::rename(&part, &tar).context("keep the Debian root")?;
    }
    let layer = Layer::of_tar_file(&tar, &blob).with_context(|| format!("compress {}", tar.display()))?;
    Ok(Named {
        repository: "debian",
        tag: "latest",
        images: vec![Image::new().layer(layer).cmd(&["bash"])],
    })
}

/// The Debian mirror that this machine uses, so that a test stays on it.
fn mirror() -> Option<String> {
    let lists = ["/etc/apt/sources.list".into(), PathBuf::from("/etc/apt/sources.list.d")];
    let folder = std::fs::read_dir(&lists[1])
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let texts = folder
        .chain([lists[0].clone()])
        .filter_map(|file| std::fs::read_to_string(file).ok());
    texts.into_iter().find_map(|text| mirror_in(&text))
}

fn mirror_in(text: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let words = line.strip_prefix("URIs:").or_else(|| line.strip_prefix("deb "))?;
        let url = words.split_whitespace().find(|word| word.contains("://"))?;
        (url.contains("debian") && !url.contains("security")).then(|| url.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_mirror_in_both_forms() {
        let check = |text: &str, expected: Option<&str>| assert_eq!(mirror_in(text).as_deref(), expected);
        check(
            "# x\ndeb [signed-by=/x] http://m.example/debian stable main\n",
            Some("http://m.example/debian"),
        );
        check(
            "Types: deb\nURIs: https://m.example/debian\nSuites: stable\n",
            Some("https://m.example/debian"),
        );
        check("deb http://m.example/debian-security stable-security main\n", None);
        check("deb http://archive.ubuntu.com/ubuntu noble main\n", None);
    }
}
