//! Many containers at once.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::measure::in_turn;
use super::table::{Table, megabytes, time};
use super::{Bench, memory};

/// How many are told of by one command line at the most.
const SLICE: usize = 100;

/// A list of ten thousand containers that have ended.
pub(super) fn stopped(bench: &Bench, image: &str, table: &mut Table) -> Result<()> {
    const COUNT: usize = 10_000;
    let id = bench
        .host
        .ok(["create", "--name", "bench-stopped", image, "sleep", "1"]);
    let ids = bench.host.multiply(&id, COUNT);
    let shown = bench.host.ok(["ps", "-aq"]).lines().count();
    ensure!(shown == COUNT + 1, "{shown} of {} containers are shown", COUNT + 1);
    let times = in_turn(bench.rounds(20), &[bench.hull("ps -a")])?;
    let ps = times[0].median().as_secs_f64();
    table.figure("`ps -a` of 10,000 stopped", ps, Some(0.12), seconds);
    bench.host.clear(&ids);
    bench.host.ok(["rm", "bench-stopped"]);
    super::cases::rest();
    Ok(())
}

/// Two hundred containers, each with a health check a second.
pub(super) fn healthy(bench: &Bench, image: &str, table: &mut Table) -> Result<()> {
    const COUNT: usize = 200;
    let span = Duration::from_secs(if bench.quick { 5 } else { 20 });
    let idle = busy_share(span)?;
    let check = "--health-interval 1s --health-cmd true";
    begin(
        bench,
        &format!("run -d --network none {check} {image} sleep 100000"),
        COUNT,
    )?;
    // Until each was asked once.
    let healthy = hull_testkit::wait::within(Duration::from_secs(30), || {
        let shown = bench.host.ok(["ps", "-q", "--filter", "health=healthy"]);
        (shown.lines().count() == COUNT).then_some(())
    });
    ensure!(healthy.is_some(), "not all of {COUNT} containers become healthy");
    // One process's time is told in steps that are longer than a check takes: the machine's is looked at, which does nothing
    // else.
    let used = (busy_share(span)? - idle).max(0.0);
    let percent = |n: f64| format!("{:.1} %", n * 100.0);
    table.figure(
        "200 health checks a second, of one core, the checks among it",
        used,
        None,
        percent,
    );
    // What the checks themselves take: a shell each.
    let bare = memory::cost(200, &["sh", "-c", "true"])?.as_secs_f64();
    let own = (used - bare).max(0.0);
    table.figure(
        "200 health checks a second, of one core, beyond the checks",
        own,
        Some(0.05),
        percent,
    );
    remove(bench, COUNT)
}

/// How much of one processor the machine uses.
fn busy_share(span: Duration) -> Result<f64> {
    let before = memory::busy()?;
    std::thread::sleep(span);
    let used = memory::busy()?.saturating_sub(before);
    Ok(used.as_secs_f64() / span.as_secs_f64())
}

/// A thousand that run.
pub(super) fn thousand(bench: &Bench, image: &str, table: &mut Table) -> Result<()> {
    const COUNT: usize = 1000;
    let start = Instant::now();
    begin(bench, &format!("run -d {image} sleep 100000"), COUNT)?;
    table.figure("1,000 started", start.elapsed().as_secs_f64(), None, seconds);
    let running = bench.host.ok(["ps", "-q"]).lines().count();
    ensure!(running == COUNT, "{running} of {COUNT} containers run");
    let one = bench.host.ok(["ps", "-lq"]);
    let times = in_turn(
        bench.rounds(12),
        &[
            bench.hull("ps"),
            bench.hull(&format!("exec {one} true")),
            bench.hull(&format!("inspect {one}")),
            bench.hull(&format!("run --rm {image} true")),
        ],
    )?;
    for (what, times) in ["`ps`", "`exec`", "`inspect`", "`run --rm`"].iter().zip(&times) {
        let what = format!("{what} beside 1,000 that run");
        table.figure(&what, times.median().as_secs_f64(), None, seconds);
    }
    let monitors = memory::own_processes(&bench.binary, &bench.host.path(""));
    let total: u64 = monitors.iter().filter_map(|pid| memory::pss(*pid)).sum();
    table.figure("memory of 1,000 monitors (PSS)", total as f64, Some(300e6), megabytes);
    let start = Instant::now();
    remove(bench, COUNT)?;
    table.figure("`rm -f` of 1,000", start.elapsed().as_secs_f64(), None, seconds);
    Ok(())
}

/// Runs `line` so many times, as many at once as there are in a slice.
fn begin(bench: &Bench, line: &str, count: usize) -> Result<()> {
    let mut left = count;
    while left > 0 {
        let slice: Vec<_> = (0..left.min(SLICE))
            .map(|_| bench.hull(line).command().stderr(Stdio::piped()).spawn())
            .collect();
        left -= slice.len();
        for child in slice {
            let output = child.context("start one of the crowd")?.wait_with_output()?;
            ensure!(
                output.status.success(),
                "one of {count}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
    Ok(())
}

/// Removes all containers, of which there are `count`.
fn remove(bench: &Bench, count: usize) -> Result<()> {
    let ids = bench.host.ok(["ps", "-aq"]);
    let ids: Vec<&str> = ids.split_whitespace().collect();
    ensure!(ids.len() == count, "{} of {count} containers are left", ids.len());
    bench.host.ok(["rm", "-f"].iter().chain(&ids));
    Ok(())
}

fn seconds(s: f64) -> String {
    time(Duration::from_secs_f64(s))
}
