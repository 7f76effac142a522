//! What a container's log costs: to write it, and to read it.

use std::io::Write;

use anyhow::{Context, Result};

use super::Bench;
use super::measure::{Contender, in_turn};
use super::table::{Table, time};

/// The text that is logged.
const TEXT: u64 = 1 << 30;

/// A container that writes a gigabyte of lines, beside a pipe into a file; and `logs` of a gigabyte into a pipe.
pub(super) fn run(bench: &Bench, image: &str, table: &mut Table) -> Result<()> {
    let lines = bench.host.path("lines");
    write_lines(&lines).context("write a gigabyte of lines")?;
    let text = std::fs::canonicalize(&lines)?.display().to_string();
    let busybox = hull_testkit::image::busybox_path();
    let out = bench.host.path("out").display().to_string();
    let hull = bench.binary.display();
    let container = |driver: &str| {
        let options = format!("--network none --log-driver {driver} -v {text}:/lines:ro");
        let line = format!("id=$({hull} run -d {options} {image} cat /lines); {hull} wait $id; {hull} rm $id");
        Contender::shell(driver, &line)
            .env("HULL_ROOT", bench.host.data())
            .env("HULL_RUN_ROOT", bench.host.run_root())
    };
    let contenders = [
        container("json-file"),
        container("local"),
        Contender::shell(
            "cat | cat > file",
            &format!("{} cat {text} | cat > {out}", busybox.display()),
        ),
    ];
    let times = in_turn(bench.rounds(7), &contenders)?;
    let file = (contenders[2].name.as_str(), times[2].median());
    for (contender, times) in contenders.iter().zip(&times).take(2) {
        let what = format!("a container that logs 1 GB of lines, {}", contender.name);
        table.ratio(&what, times.median(), file, Some(1.3));
    }
    std::fs::remove_file(&out)?;

    let mut readers = Vec::new();
    for driver in ["json-file", "local"] {
        let options = format!("--network none --log-driver {driver} --log-opt max-size=-1 -v {text}:/lines:ro");
        bench
            .hull(&format!("run -d --name bench-{driver} {options} {image} cat /lines"))
            .check()?;
        bench.hull(&format!("wait bench-{driver}")).check()?;
        let reader = Contender::shell(driver, &format!("{hull} logs bench-{driver} | cat > /dev/null"));
        let reader = reader.env("HULL_ROOT", bench.host.data());
        readers.push(reader.env("HULL_RUN_ROOT", bench.host.run_root()));
    }
    let times = in_turn(bench.rounds(7), &readers)?;
    for (reader, times) in readers.iter().zip(&times) {
        // A gigabyte a second at the least.
        let gigabytes = TEXT as f64 / 1e9;
        table.figure(
            &format!("`logs` of 1 GB into a pipe, {}", reader.name),
            times.median().as_secs_f64() / gigabytes,
            Some(1.0),
            |s| time(std::time::Duration::from_secs_f64(s)),
        );
    }
    for driver in ["json-file", "local"] {
        bench.hull(&format!("rm bench-{driver}")).check()?;
    }
    Ok(std::fs::remove_file(&lines)?)
}

/// Lines of some hundred bytes, as servers write them.
fn write_lines(path: &std::path::Path) -> std::io::Result<()> {
    let mut file = std::io::BufWriter::with_capacity(1 << 20, std::fs::File::create(path)?);
    let mut written = 0;
    let mut n = 0u64;
    while written < TEXT {
        let line = format!(
            "2026-01-02T03:04:05.{:06}Z INFO  server: GET /api/v1/items/{n} 200 {} bytes from 10.0.{}.{} in {} us\n",
            n % 1_000_000,
            n * 7919 % 100_000,
            n % 256,
            n * 31 % 256,
            n * 104_729 % 10_000
        );
        file.write_all(line.as_bytes())?;
        written += line.len() as u64;
        n += 1;
    }
    file.flush()
}
