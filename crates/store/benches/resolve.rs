//! What `hull run` pays to learn what an image name means: open, one lookup, close, as every command does anew.
//!
//! The figure to keep is half a millisecond, with a hundred images in the index.

#![expect(clippy::print_stdout, reason = "a benchmark reports to whoever runs it")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on may stop anywhere")]

use std::time::Instant;

use hull_spec::Algorithm;
use hull_store::image::{Record, record, resolve};
use hull_store::{Access, Store};

const ROUNDS: u32 = 500;

fn main() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let store = Store::open(dir.path(), Access::Write).unwrap();
    let lease = store.lease().unwrap();
    let padding = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin ".repeat(100);
    for number in 0..100 {
        let config = serde_json::json!({"os": "linux", "author": format!("{number} {padding}")}).to_string();
        let id = hull_store::digest(Algorithm::Sha256, config.as_bytes());
        let names = [format!("app{number}:latest").parse().unwrap()];
        let request = Record {
            id: &id,
            config: config.as_bytes(),
            manifest: &id,
            layers: &[],
            names: &names,
        };
        record(&lease, &request).unwrap();
    }
    drop(lease);
    drop(store);
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let store = Store::open(dir.path(), Access::Read).unwrap();
        let hold = store.hold().unwrap();
        resolve(&store, "app42").unwrap();
        drop(hold);
        drop(store);
        times.push(start.elapsed());
    }
    times.sort();
    println!(
        "open, hold, resolve, close: median {:?}, best {:?}, worst {:?}",
        times[times.len() / 2],
        times[0],
        times[times.len() - 1]
    );
}
