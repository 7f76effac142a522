//! What a change must pass, from the cheapest check to the dearest.

use std::time::Instant;

use anyhow::{Context, Result};

pub(crate) fn run() -> Result<()> {
    let start = Instant::now();
    step("format", || {
        crate::command::show(crate::command::cargo().args(["fmt", "--all", "--check"]))
    })?;
    step("tidy", crate::tidy::run)?;
    step("dependencies", dependencies)?;
    step("lints", || {
        let mut clippy = crate::command::cargo();
        crate::command::show(clippy.args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--quiet",
            "--",
            "-D",
            "warnings",
        ]))
    })?;
    step("release", crate::release::run)?;
    println!("\nBefore the tests: {} s", start.elapsed().as_secs());
    // Last, so that the run ends with the runner's own totals.
    crate::test::run(&[])
}

fn step(name: &str, act: impl FnOnce() -> Result<()>) -> Result<()> {
    let start = Instant::now();
    act().context(name.to_owned())?;
    println!("{name}: passed ({:.0} s)", start.elapsed().as_secs_f64());
    Ok(())
}

fn dependencies() -> Result<()> {
    if crate::command::find("cargo-deny").is_none() {
        println!("\ncargo-deny is not installed: deny.toml is not checked. `cargo install cargo-deny` brings it.");
        return Ok(());
    }
    let mut deny = crate::command::cargo();
    crate::command::show(deny.args(["deny", "--all-features", "check", "bans", "licenses", "sources"]))
}
