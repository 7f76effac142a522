//! How long a layer takes from its compressed bytes to files in place, next to `tar -xzf` of the same bytes on the same
//! file system, in turn in one run. Absolute times drift from machine to machine; the ratio is what counts.
//!
//! `cargo bench -p hull-store` packs a part of `/usr`; `HULL_BENCH_LAYER=FILE.tar.gz` takes another layer, and
//! `HULL_BENCH_ROUNDS` another number of rounds than three. Needs root, as unpacking with owners does.

#![expect(clippy::print_stdout, reason = "a benchmark reports to whoever runs it")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on may stop anywhere")]

use std::convert::Infallible;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use hull_spec::manifest::{Descriptor, media};
use hull_spec::{Digest, Progress};
use hull_store::ingest::{LayerSpec, layer};
use hull_store::{Access, Store};
use std::io::Read;

/// Directories of `/usr` that are packed, in this order, until there is enough.
const SUBTREES: [&str; 6] = [
    "usr/bin",
    "usr/lib/python3",
    "usr/share/doc",
    "usr/share/perl",
    "usr/lib/gcc",
    "usr/share",
];
const ENOUGH: u64 = 400 << 20;

fn main() {
    // `cargo test --benches` runs this too, and wants no measurement.
    if std::env::args().any(|a| a == "--test") || !rustix::process::geteuid().is_root() {
        println!("skipped: run `cargo bench -p hull-store` as root");
        return;
    }
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let archive = match std::env::var_os("HULL_BENCH_LAYER") {
        Some(path) => PathBuf::from(path),
        None => pack(Path::new(env!("CARGO_TARGET_TMPDIR"))),
    };
    let spec = describe(&archive);
    let rounds: u32 = std::env::var("HULL_BENCH_ROUNDS").map_or(3, |r| r.parse().unwrap());
    println!(
        "layer: {} MB compressed, {} rounds",
        spec.descriptor.size / 1_000_000,
        rounds
    );
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let dir = scratch.path().join(format!("tar-{round}"));
        std::fs::create_dir(&dir).unwrap();
        theirs.push(timed(|| {
            let status = Command::new("tar")
                .arg("-xzf")
                .arg(&archive)
                .arg("-C")
                .arg(&dir)
                .status();
            assert!(status.unwrap().success());
        }));
        let root = scratch.path().join(format!("store-{round}"));
        let store = Store::open(&root, Access::Write).unwrap();
        let lease = store.lease().unwrap();
        ours.push(timed(|| {
            let source = |_| Ok::<_, Infallible>(Box::new(File::open(&archive).unwrap()) as Box<dyn Read + Send>);
            layer(&lease, &spec, source, &Progress::silent()).unwrap();
        }));
        let sync = timed(|| store.sync().unwrap());
        println!(
            "round {round}: tar -xzf {:?}, ingest {:?} ({:.2} x), then syncfs of both {sync:?}",
            theirs[round as usize],
            ours[round as usize],
            ours[round as usize].as_secs_f64() / theirs[round as usize].as_secs_f64()
        );
        hull_store::tree::remove(&dir).unwrap();
        hull_store::tree::remove(&root).unwrap();
    }
    let (ours, theirs) = (ours.iter().min().unwrap(), theirs.iter().min().unwrap());
    println!(
        "best of each: tar -xzf {theirs:?}, ingest {ours:?}: {:.2} x; peak memory {}",
        ours.as_secs_f64() / theirs.as_secs_f64(),
        peak()
    );
}

fn timed(act: impl FnOnce()) -> Duration {
    let start = Instant::now();
    act();
    start.elapsed()
}

/// A layer of real files, made once.
fn pack(dir: &Path) -> PathBuf {
    let path = dir.join("layer.tar.gz");
    if path.exists() {
        return path;
    }
    let mut size = 0;
    let mut chosen = Vec::new();
    for subtree in SUBTREES {
        if size < ENOUGH && Path::new("/").join(subtree).exists() {
            let du = Command::new("du")
                .args(["-sbx", subtree])
                .current_dir("/")
                .output()
                .unwrap();
            let text = String::from_utf8(du.stdout).unwrap();
            let bytes: u64 = text.split_whitespace().next().unwrap().parse().unwrap();
            if size + bytes < ENOUGH + ENOUGH / 4 {
                size += bytes;
                chosen.push(subtree);
            }
        }
    }
    let part = dir.join("layer.part");
    let status = Command::new("tar")
        .arg("-czf")
        .arg(&part)
        .arg("-C")
        .arg("/")
        .args(&chosen)
        .status();
    assert!(status.unwrap().success());
    std::fs::rename(&part, &path).unwrap();
    path
}

fn describe(archive: &Path) -> LayerSpec {
    // Not in this process: its peak of memory is reported too.
    let sum = |command: &str| -> Digest {
        let out = Command::new("sh")
            .args(["-c", command, "sh"])
            .arg(archive)
            .output()
            .unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        format!("sha256:{}", &text[..64]).parse().unwrap()
    };
    let diff_id = sum("gzip -dc \"$1\" | sha256sum");
    LayerSpec {
        descriptor: Descriptor {
            media_type: media::OCI_LAYER_GZIP.to_owned(),
            digest: sum("sha256sum < \"$1\""),
            size: archive.metadata().unwrap().len(),
            urls: Vec::new(),
            annotations: std::collections::BTreeMap::new(),
            platform: None,
            artifact_type: None,
        },
        chain_id: diff_id.clone(),
        diff_id,
    }
}

/// The most memory that this process has had.
fn peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    line.trim().to_owned()
}
