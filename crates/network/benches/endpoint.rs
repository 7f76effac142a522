//! What a bridged network adds to the making of a container: run as root, `cargo bench -p hull-network`.

#![allow(missing_docs, clippy::unwrap_used)]

use std::{
    fs::File,
    os::fd::AsFd,
    thread,
    time::{Duration, Instant},
};

use criterion::{Criterion, criterion_group, criterion_main};
use hull_network::{EndpointRequest, Netns, Settings, bridge, endpoint, publish};
use rustix::thread::UnshareFlags;

#[expect(deprecated, reason = "the safe one; the files table, its danger, is not unshared")]
fn unshare() {
    rustix::thread::unshare(UnshareFlags::NEWNET).unwrap();
}

fn space() -> File {
    let make = || {
        unshare();
        File::open("/proc/thread-self/ns/net").unwrap()
    };
    thread::spawn(make).join().unwrap()
}

/// The kernel takes a namespace apart on its own time, under the lock that every change of links needs: it is let finish.
fn settle(netns: File, link: &str) {
    drop(netns);
    while std::fs::read_to_string("/proc/thread-self/net/dev")
        .unwrap()
        .contains(link)
    {
        thread::yield_now();
    }
}

/// Times the whole of one endpoint, `iterations` times, without the namespace and the release.
fn whole(settings: &Settings, request: &EndpointRequest, iterations: u64) -> Duration {
    let mut total = Duration::ZERO;
    for _ in 0..iterations {
        let netns = space();
        let start = Instant::now();
        let network = bridge::ensure(settings).unwrap();
        let endpoint = endpoint::allocate(settings, &network, request, &|_| true).unwrap();
        endpoint::attach(&endpoint.plan, Netns::Fd(netns.as_fd())).unwrap();
        endpoint::configure(&endpoint.plan, netns.as_fd()).unwrap();
        total += start.elapsed();
        endpoint::release(settings, &endpoint.plan).unwrap();
        settle(netns, &endpoint.plan.link);
    }
    total
}

/// Times one step of it.
fn step(settings: &Settings, request: &EndpointRequest, which: usize, iterations: u64) -> Duration {
    let mut total = Duration::ZERO;
    for _ in 0..iterations {
        let netns = space();
        let mut at = [Instant::now(); 6];
        let network = bridge::ensure(settings).unwrap();
        at[1] = Instant::now();
        let endpoint = endpoint::allocate(settings, &network, request, &|_| true).unwrap();
        at[2] = Instant::now();
        endpoint::attach(&endpoint.plan, Netns::Fd(netns.as_fd())).unwrap();
        at[3] = Instant::now();
        endpoint::configure(&endpoint.plan, netns.as_fd()).unwrap();
        at[4] = Instant::now();
        endpoint::release(settings, &endpoint.plan).unwrap();
        at[5] = Instant::now();
        total += at[which + 1] - at[which];
        settle(netns, &endpoint.plan.link);
    }
    total
}

fn endpoint(c: &mut Criterion) {
    // The host is this thread's namespace alone.
    unshare();
    let run = tempfile::tempdir_in("/run").unwrap();
    let settings = Settings::new(run.path().join("networks"));
    let plain = EndpointRequest {
        container: "c".repeat(64),
        ..EndpointRequest::default()
    };
    let bindings = publish::parse("8080:80")
        .unwrap()
        .into_iter()
        .map(|(port, b)| (port, Some(vec![b])))
        .collect();
    let ports = publish::wishes(&bindings, &[].into(), false).unwrap();
    let published = EndpointRequest { ports, ..plain.clone() };
    let mut group = c.benchmark_group("endpoint");
    group
        .sample_size(20)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3));
    group.bench_function("whole", |b| b.iter_custom(|n| whole(&settings, &plain, n)));
    group.bench_function("whole with a port", |b| {
        b.iter_custom(|n| whole(&settings, &published, n))
    });
    for (which, name) in ["ensure", "allocate", "attach", "configure", "release"]
        .into_iter()
        .enumerate()
    {
        group.bench_function(name, |b| b.iter_custom(|n| step(&settings, &plain, which, n)));
    }
    group.finish();
}

criterion_group!(benches, endpoint);
criterion_main!(benches);
