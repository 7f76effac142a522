//! What is done to one container: `start`, `stop`, `rm -f` and `cp`.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::Bench;
use super::measure::{Contender, Times, in_turn};
use super::table::{Table, time};

/// Ends at once when it is asked to, and says when it is ready to be asked.
const OBEDIENT: &str = "trap 'exit 0' TERM; : > /tmp/ready; while :; do sleep 1000 & wait; done";

/// A container that is started again, stopped and removed.
pub(super) fn run(bench: &Bench, image: &str, table: &mut Table) -> Result<()> {
    let seconds = |s: f64| time(Duration::from_secs_f64(s));
    bench
        .host
        .ok(["create", "--name", "bench-start", image, "sleep", "100000"]);
    let kill = bench.hull("kill bench-start");
    let wait = bench.hull("wait bench-start");
    let mut first = true;
    let mut started = Times::default();
    for _ in 0..=bench.rounds(60) {
        let took = bench.hull("start bench-start").time()?;
        kill.check()?;
        wait.check()?;
        // The first is not a start of one that has stopped.
        if !std::mem::take(&mut first) {
            started.push(took);
        }
    }
    table.figure(
        "`start` of a stopped container",
        started.median().as_secs_f64(),
        Some(0.004),
        seconds,
    );
    bench.host.ok(["rm", "-f", "bench-start"]);

    stop(bench, image, table)?;

    let begin = format!("run -d --name bench-rm {image} sleep 100000");
    let begin = bench.hull(&begin);
    let remove = bench.hull("rm -f bench-rm").before(move || begin.check());
    let times = in_turn(bench.rounds(60), &[remove])?;
    table.figure(
        "`rm -f` of a running container",
        times[0].median().as_secs_f64(),
        Some(0.005),
        seconds,
    );
    Ok(())
}

/// `stop` of a process that obeys, beside the same process without a container.
fn stop(bench: &Bench, image: &str, table: &mut Table) -> Result<()> {
    let folder = bench.host.path("obedient");
    std::fs::create_dir_all(&folder)?;
    let ready = folder.join("ready");
    let mount = format!("{}:/tmp", folder.display());
    let create = [
        "create",
        "--name",
        "bench-stop",
        "-v",
        &mount,
        image,
        "sh",
        "-c",
        OBEDIENT,
    ];
    bench.host.ok(create);
    let script = OBEDIENT.replace("/tmp/ready", &ready.display().to_string());
    let (mut stopped, mut alone) = (Times::default(), Times::default());
    for _ in 0..bench.rounds(40) {
        bench.hull("start bench-stop").check()?;
        await_file(&ready)?;
        stopped.push(bench.hull("stop bench-stop").time()?);

        let mut child = Command::new(hull_testkit::image::busybox_path())
            .args(["sh", "-c", &script])
            .stdin(Stdio::null())
            .spawn()
            .context("start a process beside")?;
        await_file(&ready)?;
        let start = Instant::now();
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        child.wait()?;
        alone.push(start.elapsed());
    }
    bench.host.ok(["rm", "bench-stop"]);
    let extra = stopped.median().saturating_sub(alone.median());
    table.figure(
        "`stop` of an obedient process, beyond its own end",
        extra.as_secs_f64(),
        Some(0.005),
        |s| time(Duration::from_secs_f64(s)),
    );
    Ok(())
}

/// Waits for a file, and takes it away.
fn await_file(path: &Path) -> Result<()> {
    let there = hull_testkit::wait::within(Duration::from_secs(10), || path.exists().then_some(()));
    ensure!(there.is_some(), "{} does not appear", path.display());
    Ok(std::fs::remove_file(path)?)
}

/// A gigabyte of files into a container and out of it, beside `tar | tar`.
pub(super) fn copy(bench: &Bench, image: &str, table: &mut Table) -> Result<()> {
    const FILES: u32 = 1000;
    let from = bench.host.path("many-files");
    std::fs::create_dir_all(&from)?;
    let mut noise = 0x2545_f491_4f6c_dd1d_u64;
    for number in 0..FILES {
        let mut bytes = Vec::with_capacity(1_000_000);
        while bytes.len() < 1_000_000 {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            bytes.extend_from_slice(&noise.to_le_bytes());
        }
        std::fs::write(from.join(number.to_string()), bytes)?;
    }
    let id = bench.host.ok(["create", "--name", "bench-cp", image, "true"]);
    let upper = bench.host.data().join("containers").join(&id).join("upper");
    let out = bench.host.path("copied");
    let shown = |path: &Path| path.display().to_string();
    let tar = |name: &str, from: &Path, to: &Path| {
        let (from, to) = (shown(from), shown(to));
        Contender::shell(name, &format!("mkdir {to}; tar -C {from} -cf - . | tar -C {to} -xf -"))
    };
    let clear = |path: &Path| {
        let path = path.to_owned();
        move || {
            if path.exists() {
                std::fs::remove_dir_all(&path)?;
            }
            // Each begins with nothing to be written.
            rustix::fs::sync();
            Ok(())
        }
    };
    let (inside, beside) = (upper.join("copied"), bench.host.path("beside"));
    let contenders = [
        bench
            .hull(&format!("cp -q {} bench-cp:/copied", shown(&from)))
            .before(clear(&inside)),
        tar("tar | tar", &from, &beside).before(clear(&beside)),
        bench
            .hull(&format!("cp -q bench-cp:/copied {}", shown(&out)))
            .before(clear(&out)),
        tar("tar | tar", &inside, &beside).before(clear(&beside)),
    ];
    let times = in_turn(bench.rounds(8), &contenders)?;
    for (what, pair) in ["`cp` of 1 GB into a container", "`cp` of 1 GB out of a container"]
        .iter()
        .zip(times.chunks(2))
    {
        table.ratio(
            what,
            pair[0].median(),
            (&contenders[1].name, pair[1].median()),
            Some(1.2),
        );
    }
    for folder in [&from, &out, &beside] {
        std::fs::remove_dir_all(folder)?;
    }
    bench.host.ok(["rm", "bench-cp"]);
    super::cases::rest();
    Ok(())
}
