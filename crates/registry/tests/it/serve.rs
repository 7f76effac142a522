//! A registry of our own, asked over the wire as strangers ask.

mod access;
mod cache;
mod collect;
mod hostile;
mod protocol;
mod upload;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use hull_registry::serve::settings::Settings;
use hull_registry::serve::{Server, Stop};
use hull_spec::Algorithm;
use hull_testkit::http::{self, Response};

/// A server that runs in this process until it is dropped.
struct Served {
    dir: tempfile::TempDir,
    address: SocketAddr,
    stop: Stop,
    thread: Option<std::thread::JoinHandle<()>>,
    log: Arc<Mutex<Vec<String>>>,
}

impl Served {
    fn start() -> Self {
        Self::with(|_| ())
    }

    fn with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::on(tempfile::tempdir().unwrap(), change)
    }

    /// On what another server has left.
    fn on(dir: tempfile::TempDir, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings {
            storage: dir.path().join("registry"),
            ..Settings::default()
        };
        settings.gc.interval = None;
        change(&mut settings);
        let log: Arc<Mutex<Vec<String>>> = Arc::default();
        let lines = Arc::clone(&log);
        let client = super::Site::new().settings;
        let server = Server::open(
            settings,
            client,
            Arc::new(move |line: &str| lines.lock().unwrap().push(line.to_owned())),
        );
        let server = server.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stop = server.stopper();
        let thread = std::thread::spawn(move || server.run(listener).unwrap());
        Self {
            dir,
            address,
            stop,
            thread: Some(thread),
            log,
        }
    }

    fn end(&mut self) {
        self.stop.stop();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }

    /// Ends it and starts another on the same storage.
    fn restart(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        self.end();
        let dir = std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap());
        Self::on(dir, change)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("registry").join(name)
    }

    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        http::send(self.address, method, path, headers, &mut &body[..], body.len() as u64).unwrap()
    }

    fn get(&self, path: &str) -> Response {
        self.ask("GET", path, &[], b"")
    }

    /// Pushes a blob in one request.
    fn blob(&self, name: &str, bytes: &[u8]) -> String {
        let digest = sha256(bytes);
        let path = format!("/v2/{name}/blobs/uploads/?digest={digest}");
        let answer = self.ask("POST", &path, &[], bytes);
        assert_eq!(answer.status, 201, "{}", answer.text());
        digest
    }

    /// Pushes a manifest of these blobs and returns its digest.
    fn manifest(&self, name: &str, which: &str, config: &[u8], layers: &[&[u8]]) -> String {
        let bytes = manifest(config, layers, None);
        self.put(name, which, &bytes)
    }

    fn put(&self, name: &str, which: &str, bytes: &[u8]) -> String {
        let path = format!("/v2/{name}/manifests/{which}");
        let answer = self.ask("PUT", &path, &[("Content-Type", MANIFEST)], bytes);
        assert_eq!(answer.status, 201, "{}", answer.text());
        sha256(bytes)
    }

    /// Pushes an image of a config and one layer.
    fn image(&self, name: &str, tag: &str, layer: &[u8]) -> String {
        self.blob(name, b"{}");
        self.blob(name, layer);
        self.manifest(name, tag, b"{}", &[layer])
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.end();
    }
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn sha256(bytes: &[u8]) -> String {
    hull_store::digest(Algorithm::Sha256, bytes).to_string()
}

fn descriptor(media_type: &str, bytes: &[u8]) -> serde_json::Value {
    serde_json::json!({"mediaType": media_type, "digest": sha256(bytes), "size": bytes.len()})
}

/// A manifest; `subject` is another one that it is about.
fn manifest(config: &[u8], layers: &[&[u8]], subject: Option<&[u8]>) -> Vec<u8> {
    let layer = "application/vnd.oci.image.layer.v1.tar";
    let mut json = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", config),
        "layers": layers.iter().map(|bytes| descriptor(layer, bytes)).collect::<Vec<_>>(),
    });
    if let Some(subject) = subject {
        json["subject"] = descriptor(MANIFEST, subject);
    }
    json.to_string().into_bytes()
}

/// The code of a refusal.
fn code(answer: &Response) -> String {
    let json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    json["errors"][0]["code"].as_str().unwrap().to_owned()
}

fn json(answer: &Response) -> serde_json::Value {
    serde_json::from_slice(&answer.body).unwrap()
}
