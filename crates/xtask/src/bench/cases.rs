//! What is measured.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::measure::{Contender, Times, in_turn};
use super::table::{Table, megabytes, time};
use super::{Bench, memory};

/// How many containers the crowd has.
const CROWD: usize = 200;

/// The size of the file that ships.
pub(super) fn size(bench: &Bench, table: &mut Table) -> Result<()> {
    let size = std::fs::metadata(&bench.binary)?.len();
    table.figure("size of the binary", size as f64, Some(f64::from(12 << 20)), megabytes);
    Ok(())
}

/// Brings busybox into hull's store and returns its reference.
pub(super) fn stock(bench: &Bench) -> Result<String> {
    let image = hull_testkit::Image::busybox();
    bench
        .host
        .provide("busybox", &image)
        .context("docker-registry is not installed")
}

/// From the command to the end of `true` in a new container.
pub(super) fn run(bench: &Bench, image: &str, table: &mut Table) -> Result<()> {
    let mut contenders = vec![
        bench.hull(&format!("run --rm {image} true")),
        bench.hull(&format!("run --rm --network none {image} true")),
        Contender::of("unshare -fpmnui true", "unshare -fpmnui true"),
    ];
    let slow = bench.rounds(12);
    if bench.peers.has("crun") {
        let bundle = bench.peers.bundle()?;
        contenders.extend(
            bench
                .peers
                .contender("crun", &format!("crun run --bundle {bundle} hull-bench"), usize::MAX),
        );
    }
    for engine in ["docker", "podman"] {
        contenders.extend(
            bench
                .peers
                .contender(engine, &format!("{engine} run --rm busybox:latest true"), slow),
        );
    }
    contenders.extend(bench.peers.entry());
    let times = in_turn(bench.rounds(60), &contenders)?;
    let (bridged, none, bare) = (times[0].median(), times[1].median(), times[2].median());
    let unshare = &contenders[2].name;
    table.ratio("`run --rm busybox true`, bridged", bridged, (unshare, bare), Some(2.5));
    table.ratio(
        "`run --rm --network none busybox true`",
        none,
        (unshare, bare),
        Some(1.8),
    );
    for (name, other) in others(&contenders[3..], &times[3..]) {
        let most = match name.as_str() {
            "docker" => 1.0 / 40.0,
            "podman" => 1.0 / 30.0,
            _ => 1.0,
        };
        table.ratio(
            "`run --rm busybox true`, bridged",
            bridged,
            (&format!("{name} run"), other),
            Some(most),
        );
    }
    Ok(())
}

/// Lets the disk come to rest after a tree was deleted: for five seconds ext4 without a journal steps around the inodes of
/// deleted files one by one, and making ten thousand files then takes several times as long.
pub(super) fn rest() {
    rustix::fs::sync();
    std::thread::sleep(Duration::from_secs(8));
}

/// The medians of other engines, less what it costs to reach them.
fn others(contenders: &[Contender], times: &[Times]) -> Vec<(String, Duration)> {
    let pairs = || contenders.iter().zip(times);
    let entry = pairs()
        .find(|(c, _)| c.name == "entry")
        .map(|(_, times)| times.median())
        .unwrap_or_default();
    let engines = pairs().filter(|(c, _)| c.name != "entry");
    engines
        .map(|(c, times)| (c.name.clone(), times.median().saturating_sub(entry)))
        .collect()
}

/// `true` in a container that runs.
pub(super) fn exec(bench: &Bench, image: &str, table: &mut Table) -> Result<()> {
    bench
        .host
        .ok(["run", "-d", "--name", "bench-exec", image, "sleep", "100000"]);
    let pid = bench.host.ok(["inspect", "--format", "{{.State.Pid}}", "bench-exec"]);
    let mut contenders = vec![
        bench.hull("exec bench-exec true"),
        Contender::of("nsenter -a -t PID true", &format!("nsenter -a -t {pid} true")),
    ];
    for engine in ["docker", "podman"] {
        if bench.peers.has(engine) {
            let _ = bench.peers.prepare(&format!("{engine} rm -f hull-bench-exec"));
            let _ = bench.peers.prepare(&format!(
                "{engine} run -d --name hull-bench-exec busybox:latest sleep 100000"
            ));
            contenders.extend(bench.peers.contender(
                engine,
                &format!("{engine} exec hull-bench-exec true"),
                bench.rounds(12),
            ));
        }
    }
    contenders.extend(bench.peers.entry());
    let times = in_turn(bench.rounds(60), &contenders)?;
    for engine in ["docker", "podman"] {
        if bench.peers.has(engine) {
            let _ = bench.peers.prepare(&format!("{engine} rm -f hull-bench-exec"));
        }
    }
    let own = times[0].median();
    table.ratio(
        "`exec CONTAINER true`",
        own,
        (&contenders[1].name, times[1].median()),
        Some(1.5),
    );
    for (name, other) in others(&contenders[2..], &times[2..]) {
        table.ratio("`exec CONTAINER true`", own, (&format!("{name} exec"), other), None);
    }
    bench.host.ok(["rm", "-f", "bench-exec"]);
    Ok(())
}

/// Twenty containers one after the other, then a crowd at once.
pub(super) fn many(bench: &Bench, image: &str, table: &mut Table) -> Result<()> {
    let mut turns = Vec::new();
    for _ in 0..bench.rounds(8) {
        let start = Instant::now();
        for _ in 0..20 {
            bench.hull(&format!("run -d {image} sleep 100000")).check()?;
        }
        turns.push(start.elapsed());
        remove_all(bench);
    }
    turns.sort_unstable();
    let twenty = turns[turns.len() / 2];
    table.figure("`run -d` of 20 in turn", twenty.as_secs_f64(), Some(0.2), |s| {
        time(Duration::from_secs_f64(s))
    });

    let start = Instant::now();
    let line = format!("run -d {image} sleep 100000");
    let crowd: Vec<_> = (0..CROWD)
        .map(|_| bench.hull(&line).command().stderr(Stdio::piped()).spawn())
        .collect();
    for child in crowd {
        let output = child.context("start one of the crowd")?.wait_with_output()?;
        ensure!(
            output.status.success(),
            "one of {CROWD} at once: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    table.figure("200 started at once", start.elapsed().as_secs_f64(), None, |s| {
        time(Duration::from_secs_f64(s))
    });
    let running = bench.host.ok(["ps", "-q"]).lines().count();
    ensure!(running == CROWD, "{running} of {CROWD} containers run");
    let times = in_turn(bench.rounds(40), &[bench.hull("ps")])?;
    let ps = times[0].median().as_secs_f64();
    table.figure("`ps` of 200", ps, Some(0.015), |s| time(Duration::from_secs_f64(s)));

    let monitors = memory::own_processes(&bench.binary, &bench.host.path(""));
    ensure!(!monitors.is_empty(), "no monitor found among the processes");
    let total: u64 = monitors.iter().filter_map(|pid| memory::pss(*pid)).sum();
    let each = total as f64 / CROWD as f64;
    table.figure(
        "memory a running container (PSS of its monitor)",
        each,
        Some(0.3 * f64::from(1 << 20)),
        megabytes,
    );
    let start = Instant::now();
    remove_all(bench);
    table.figure("`rm -f` of 200", start.elapsed().as_secs_f64(), None, |s| {
        time(Duration::from_secs_f64(s))
    });
    let left = hull_testkit::wait::within(Duration::from_secs(5), || {
        memory::own_processes(&bench.binary, &bench.host.path(""))
            .is_empty()
            .then_some(0.0)
    });
    table.figure(
        "processes of hull with no container",
        left.unwrap_or(1.0),
        Some(0.0),
        |n| n.to_string(),
    );
    Ok(())
}

fn remove_all(bench: &Bench) {
    let ids = bench.host.ok(["ps", "-aq"]);
    bench.host.ok(["rm", "-f"].into_iter().chain(ids.split_whitespace()));
}

/// A Debian root of about 450 MB from a registry on the loopback interface.
pub(super) fn pull(bench: &Bench, table: &mut Table) -> Result<()> {
    let folder = crate::images::folder()?;
    let debian = crate::images::debian(&folder)?;
    let registry = crate::images::serve(&bench.host.path("pull-registry"))?;
    let address = registry.address();
    let blob = hull_testkit::layer::Blob::of_file(&folder.join("debian.tar.gz"))?.digest;
    crate::images::push(address, &[debian])?;
    let image = format!("{address}/debian:latest");
    let unpacked = bench.host.path("unpacked");
    let line = format!(
        "curl -sf http://{address}/v2/debian/blobs/{blob} | tar -xz -C {}",
        unpacked.display()
    );
    let (remove, clear) = (bench.hull(&format!("rmi {image}")), unpacked);
    let mut contenders = vec![
        bench.hull(&format!("pull --quiet {image}")).before(move || {
            let _ = remove.command().status();
            rest();
            Ok(())
        }),
        Contender::shell("curl | tar -xz", &line).before(move || {
            let done = fresh(&clear);
            rest();
            done
        }),
    ];
    let engines = [
        ("docker", "docker pull -q"),
        ("podman", "podman pull -q --tls-verify=false"),
    ];
    for (engine, line) in engines {
        if let Some(contender) = bench
            .peers
            .contender(engine, &format!("{line} {image}"), bench.rounds(2))
        {
            let remove = bench.peers.command_of(engine, &format!("{engine} rmi -f {image}"));
            contenders.push(contender.before(move || {
                let _ = remove.as_ref().map(|remove| remove.command().status());
                rest();
                Ok(())
            }));
        }
    }
    let times = in_turn(bench.rounds(7), &contenders)?;
    let own = times[0].median();
    let what = format!(
        "pull of {} in gzip from loopback",
        megabytes(std::fs::metadata(folder.join("debian.tar.gz"))?.len() as f64)
    );
    table.ratio(&what, own, (&contenders[1].name, times[1].median()), Some(0.75));
    for (name, other) in others(&contenders[2..], &times[2..]) {
        table.ratio(&what, own, (&format!("{name} pull"), other), None);
    }
    contenders[0].check()?;
    bench.hull(&format!("rmi {image}")).check()?;
    let peak = memory::peak(&mut bench.hull(&format!("pull --quiet {image}")).command())?;
    table.figure(
        "peak memory of that pull (RSS)",
        peak as f64,
        Some(f64::from(64 << 20)),
        megabytes,
    );
    for (engine, _) in engines.iter().filter(|(engine, _)| bench.peers.has(engine)) {
        let _ = bench.peers.prepare(&format!("{engine} rmi -f {image}"));
    }
    Ok(())
}

/// An empty folder, what was in it gone from the disk's queue too, so that it does not slow the next contender.
fn fresh(folder: &Path) -> Result<()> {
    let _ = std::fs::remove_dir_all(folder);
    std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    crate::command::quiet(Command::new("sync").arg("-f").arg(folder))
}
