//! Pulls from registries that are honest, slow, broken and hostile.

#![allow(clippy::unwrap_used)]

mod auth;
mod copy;
mod fault;
mod hostile;
mod mirror;
mod proxy;
mod pull;
mod push;
mod real;
mod redirect;
mod serve;
mod tls;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hull_registry::settings::{Retry, Timeouts};
use hull_registry::{Client, Error, PullOptions, Pulled, Settings};
use hull_spec::Progress;
use hull_spec::progress::Event;
use hull_store::{Access, Store};
use hull_testkit::registry::Registry;
use hull_testkit::{Image, Layer};

/// A store of its own, and a way to pull into it.
struct Site {
    dir: tempfile::TempDir,
    settings: Settings,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Site {
    fn new() -> Self {
        let settings = Settings {
            retry: Retry {
                attempts: 4,
                base: Duration::from_millis(4),
                longest: Duration::from_secs(3),
            },
            timeouts: Timeouts {
                connect: Duration::from_secs(5),
                stall: Duration::from_secs(10),
                document: Duration::from_secs(20),
                commit: Duration::from_secs(20),
            },
            certificates: Vec::new(),
            ..Settings::default()
        };
        Self {
            dir: tempfile::tempdir().unwrap(),
            settings,
            events: Arc::default(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Where the store keeps what has arrived of a blob.
    fn partial(&self, digest: &str) -> PathBuf {
        self.path("store/blobs/partial").join(digest.replace(':', "-"))
    }

    fn store(&self) -> Store {
        Store::open(&self.path("store"), Access::Write).unwrap()
    }

    fn pull(&self, name: &str) -> Result<Pulled, Error> {
        self.pull_for(name, None)
    }

    fn pull_for(&self, name: &str, platform: Option<&str>) -> Result<Pulled, Error> {
        let client = Arc::new(Client::new(self.settings.clone()));
        self.pull_with(&client, name, platform)
    }

    fn pull_with(&self, client: &Arc<Client>, name: &str, platform: Option<&str>) -> Result<Pulled, Error> {
        let events = Arc::clone(&self.events);
        let progress = Progress::new(move |event| events.lock().unwrap().push(event));
        let options = PullOptions {
            platform: platform.map(|p| p.parse().unwrap()),
        };
        hull_registry::pull(&self.store(), client, &name.parse().unwrap(), &options, &progress)
    }

    fn events(&self) -> Vec<Event> {
        std::mem::take(&mut self.events.lock().unwrap())
    }

    /// Writes Docker's `config.json` and points the settings at it.
    fn login(&mut self, json: &str) {
        let path = self.path("config.json");
        std::fs::write(&path, json).unwrap();
        self.settings.credentials = Some(path);
    }

    /// The file `name` of the image's top layer.
    fn file(&self, pulled: &Pulled, name: &str) -> Vec<u8> {
        let dirs = hull_store::snapshot::lower(&self.store(), &pulled.image.layers);
        let found = dirs.iter().map(|dir| dir.join(name)).find(|path| path.exists());
        std::fs::read(found.unwrap()).unwrap()
    }
}

/// `Ok` is a failure of the test, and so is another error.
#[track_caller]
fn fails(result: Result<Pulled, Error>, kind: hull_spec::ErrorKind, said: &str) -> Error {
    let err = result.map(|pulled| pulled.digest).expect_err("the pull should fail");
    let mut text = err.to_string();
    let mut source = std::error::Error::source(&err);
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    assert!(text.contains(said), "`{text}` does not say `{said}`");
    assert_eq!(err.kind(), kind, "{text}");
    err
}

/// An image without layers: whoever is not root can pull it.
fn bare() -> Image {
    Image::new().cmd(&["/bin/true"])
}

/// An image of one layer with one file of `size` bytes that do not compress.
fn big(size: usize) -> Image {
    bare().layer(Layer::build().file("data", 0o644, noise(size)).gzip())
}

fn noise(size: usize) -> Vec<u8> {
    let mut word = 0x9e37_79b9_7f4a_7c15_u64;
    let mut out = Vec::with_capacity(size + 8);
    while out.len() < size {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        out.extend(word.to_le_bytes());
    }
    out.truncate(size);
    out
}

/// Everything under `dir`, for comparing.
fn listing(dir: &Path) -> Vec<PathBuf> {
    let mut out: Vec<PathBuf> = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .collect();
    out.sort();
    out
}

fn started() -> (Site, Registry) {
    (Site::new(), Registry::start())
}
