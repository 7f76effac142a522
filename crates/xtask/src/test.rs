//! Every test of the workspace, on a machine that is made fit for them.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

pub(crate) fn run(filter: &[String]) -> Result<()> {
    let complete = crate::packages::ensure()?;
    crate::workspace::build("dev")?;
    let target = crate::workspace::target()?;
    let skips = target.join("skipped-tests");
    let _ = std::fs::remove_file(&skips);
    let privileged = crate::packages::is_privileged();
    if !privileged {
        let why = if crate::packages::is_root() {
            "this root may not make namespaces and mounts"
        } else {
            "not root"
        };
        println!("\nThe tests that need root are skipped: {why}.");
    }
    let mut command = crate::command::cargo();
    let nextest = crate::command::find("cargo-nextest").is_some();
    if nextest {
        command.args(["nextest", "run", "--workspace"]).args(filter);
    } else {
        println!("\ncargo-nextest is not installed: cargo test runs the tests, without its limits on time.");
        command.args(["test", "--workspace", "--no-fail-fast"]).args(filter);
    }
    command.env("HULL_TEST_SKIPS", &skips);
    match (privileged, complete) {
        (true, true) => command.env("HULL_TEST_PRIVILEGED", "1"),
        (true, false) => command.env_remove("HULL_TEST_PRIVILEGED"),
        (false, _) => command.env("HULL_TEST_PRIVILEGED", "0"),
    };
    crate::command::announce(&command);
    if nextest {
        return relay(&mut command, || report(&skips));
    }
    let status = command.status().context("run cargo test")?;
    report(&skips);
    ensure!(status.success(), "cargo test ended with {status}");
    Ok(())
}

/// Runs `command` and passes its standard error on; calls `before` ahead of nextest's summary, which stays the end.
fn relay(command: &mut Command, before: impl FnOnce()) -> Result<()> {
    let mut child = command.stderr(Stdio::piped()).spawn().context("run cargo nextest")?;
    let lines = child.stderr.take().context("read what cargo nextest says")?;
    let mut before = Some(before);
    for line in BufReader::new(lines).split(b'\n') {
        let line = line.context("read what cargo nextest says")?;
        let line = String::from_utf8_lossy(&line);
        if line.trim_start().starts_with("Summary [")
            && let Some(report) = before.take()
        {
            report();
        }
        eprintln!("{line}");
    }
    let status = child.wait().context("wait for cargo nextest")?;
    ensure!(status.success(), "cargo nextest ended with {status}");
    Ok(())
}

fn report(skips: &Path) {
    let lines = std::fs::read_to_string(skips).unwrap_or_default();
    let mut lines: Vec<_> = lines.lines().collect();
    lines.sort_unstable();
    eprintln!("Skipped inside a test for what this machine lacks: {}", lines.len());
    for line in lines {
        eprintln!("    {line}");
    }
}
