//! The main job as a user sees it: each command, then what it really said.
//!
//! The tour has a state folder and, as root, a network namespace of its own, so it meets nothing that is already on the
//! machine and leaves nothing behind.

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use hull_testkit::host::User;
use hull_testkit::{Host, until};

#[derive(Args)]
pub(crate) struct Options {
    /// Use this binary instead of building the release.
    #[arg(long)]
    binary: Option<std::path::PathBuf>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => crate::workspace::build("release")?,
    };
    crate::packages::ensure()?;
    let start = Instant::now();
    if crate::packages::is_privileged() {
        let host = Host::new(&binary);
        rootful(&host)?;
        println!("\nThe same as a normal user: no daemon, no setting, no root.");
        rootless(&Host::rootless(
            &binary,
            User {
                id: 12345,
                subordinate: true,
            },
        ))?;
    } else {
        plain(&binary)?;
    }
    println!("\nThe tour took {:.1} s.", start.elapsed().as_secs_f64());
    Ok(())
}

/// A host with a registry in its network that holds the small images.
fn stock(host: &Host) -> Result<SocketAddr> {
    let address = host.registry().context("docker-registry is not installed")?;
    let images = crate::images::small();
    host.within(|| crate::images::push(address, &images))?;
    println!("\nDebian's docker-registry at {address} holds busybox and web.");
    Ok(address)
}

fn rootful(host: &Host) -> Result<()> {
    let registry = stock(host)?;
    let (busybox, web) = (format!("{registry}/busybox"), format!("{registry}/web"));
    let hull = |line: &str| show(host, "hull", line, 0);
    hull("version")?;
    hull(&format!("pull {busybox}"))?;
    hull(&format!("pull {web}"))?;
    hull("images")?;
    hull(&format!("run --rm {busybox} echo hello from a container"))?;
    hull(&format!("run --rm --memory 64m --read-only --user app {busybox} id"))?;
    show(host, "hull", &format!("run --rm {busybox} no-such-program"), 127)?;
    hull(&format!("run --detach --init --name web --publish 8080:80 {web}"))?;
    hull("ps")?;
    until("the page", || {
        host.within(|| hull_testkit::http::get(([127, 0, 0, 1], 8080).into(), "/"))
            .ok()
    });
    let page = show(host, "curl", "--silent --show-error http://127.0.0.1:8080/", 0)?;
    ensure!(
        page.contains("It works"),
        "the published port does not serve the image's page"
    );
    hull("exec web ps")?;
    hull("exec web hostname -i")?;
    hull("logs web")?;
    hull("inspect --format {{.State.Status}} web")?;
    hull("stop web")?;
    hull("ps --all")?;
    hull("rm web")?;
    hull(&format!("rmi {web} {busybox}"))?;
    let left = hull("ps --all --quiet")?;
    ensure!(left.is_empty(), "containers are left: {left}");
    hull("images")?;
    hull("run --rm hello")?;
    Ok(())
}

fn rootless(host: &Host) -> Result<()> {
    let registry = stock(host)?;
    let busybox = format!("{registry}/busybox");
    let hull = |line: &str| show(host, "hull", line, 0);
    show(host, "id", "", 0)?;
    hull(&format!("pull --quiet {busybox}"))?;
    hull(&format!("run --rm --network none {busybox} id"))?;
    hull(&format!("run --rm --network host {busybox} cat /proc/self/uid_map"))?;
    hull(&format!(
        "run --detach --name sleeper --network none {busybox} sleep 1000"
    ))?;
    hull("ps")?;
    hull("exec sleeper ps")?;
    hull("rm --force sleeper")?;
    hull(&format!("rmi {busybox}"))?;
    Ok(())
}

/// Without root there are no namespaces for a host of its own: the tour runs on the machine, in a state folder of its own.
fn plain(binary: &std::path::Path) -> Result<()> {
    let state = tempfile::Builder::new()
        .prefix("h-")
        .tempdir()
        .context("make a state folder")?;
    let registry = crate::images::serve(&state.path().join("registry"))?;
    crate::images::push(registry.address(), &crate::images::small())?;
    let busybox = format!("{}/busybox", registry.address());
    let lines = [
        format!("pull {busybox}"),
        "images".into(),
        format!("run --rm --network none {busybox} id"),
        format!("run --rm --network host {busybox} echo hello from a container"),
        format!("run --detach --name sleeper --network none {busybox} sleep 1000"),
        "ps".into(),
        "exec sleeper ps".into(),
        "rm --force sleeper".into(),
        format!("rmi {busybox}"),
    ];
    for line in lines {
        let mut command = Command::new(binary);
        command
            .args(line.split(' '))
            .env("HULL_ROOT", state.path().join("data"));
        command.env("HULL_RUN_ROOT", state.path().join("run"));
        told(&mut command, "hull", &line, 0)?;
    }
    Ok(())
}

/// Shows `program line` on `host` with its output, which it returns, and checks its exit code.
fn show(host: &Host, program: &str, line: &str, code: i32) -> Result<String> {
    let words = line.split(' ').filter(|word| !word.is_empty());
    let mut command = if program == "hull" {
        host.hull_command(words)
    } else {
        let mut command = host.command(program);
        command.args(words);
        command
    };
    told(&mut command, program, line, code)
}

fn told(command: &mut Command, program: &str, line: &str, code: i32) -> Result<String> {
    println!("\n$ {program} {line}");
    std::io::stdout().flush()?;
    // Standard error goes straight to the reader, before what was written to standard output: the commands of the tour
    // write to one of them, or say something before they begin.
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("run {program}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    print!("{text}");
    if output.status.code() != Some(code) {
        bail!("`{program} {line}` ended with {}, not with {code}", output.status);
    }
    if code != 0 {
        println!("(exit code {code})");
    }
    Ok(text)
}
