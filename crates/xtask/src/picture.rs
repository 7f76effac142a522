//! A real terminal session as an SVG: tmux draws it, this file turns its cells into text elements.

mod cells;
mod svg;

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::Args;
use hull_testkit::{Host, until};

/// What is typed, after the images are in the registry. `REGISTRY` stands for its address.
const SCRIPT: [&str; 6] = [
    "hull pull REGISTRY/web",
    "hull run -d --name web -p 8080:80 REGISTRY/web",
    "hull ps",
    "curl -s 127.0.0.1:8080",
    "hull exec web ps",
    "time hull run --rm REGISTRY/web true",
];

const COLUMNS: usize = 144;
const ROWS: usize = 36;
const PROMPT: &str = "\u{276f} ";

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
    for (program, package) in [("tmux", "tmux"), ("bash", "bash")] {
        if crate::command::find(program).is_none() {
            crate::packages::install(&[package])?;
        }
    }
    let host = Host::new(&binary);
    let registry = host.registry().context("docker-registry is not installed")?;
    host.within(|| crate::images::push(registry, &crate::images::small()))?;
    std::fs::copy(&binary, host.path("hull")).context("put the binary on the session's PATH")?;
    let screen = session(&host, &registry.to_string())?;
    let picture = svg::draw(&cells::parse(&screen), COLUMNS);
    let file = crate::workspace::root().join("docs/terminal.svg");
    std::fs::write(&file, picture).with_context(|| format!("write {}", file.display()))?;
    println!("{}", file.display());
    Ok(())
}

/// Types the script into a shell in tmux and returns the screen with its escape sequences.
fn session(host: &Host, registry: &str) -> Result<String> {
    let socket = host.path("tmux");
    let tmux = |words: &[&str]| {
        let mut command = Command::new("tmux");
        command
            .arg("-S")
            .arg(&socket)
            .args(["-f", "/dev/null"])
            .args(words)
            .stdin(Stdio::null());
        crate::command::output(&mut command)
    };
    let path = format!(
        "{}:{}",
        host.path("").display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let mut shell = host.command("tmux");
    shell
        .arg("-S")
        .arg(&socket)
        .args(["-f", "/dev/null", "new-session", "-d"]);
    shell.args([
        "-x",
        &COLUMNS.to_string(),
        "-y",
        &ROWS.to_string(),
        "bash",
        "--norc",
        "--noprofile",
    ]);
    shell
        .env("PATH", path)
        .env("PS1", PROMPT)
        .env("TERM", "xterm-256color")
        .env("LC_ALL", "C.UTF-8");
    shell.env("TIMEFORMAT", "%3R s");
    crate::command::quiet(shell.stdin(Stdio::null()))?;
    let result = (|| {
        let shown = || tmux(&["capture-pane", "-p"]).unwrap_or_default();
        let prompts = |screen: &str| screen.lines().filter(|line| line.starts_with(PROMPT.trim())).count();
        until("a prompt", || (prompts(&shown()) == 1).then_some(()));
        for (done, line) in SCRIPT.iter().enumerate() {
            tmux(&["send-keys", "-l", &line.replace("REGISTRY", registry)])?;
            tmux(&["send-keys", "Enter"])?;
            until("the next prompt", || (prompts(&shown()) == done + 2).then_some(()));
        }
        tmux(&["capture-pane", "-e", "-p"])
    })();
    let _ = tmux(&["kill-server"]);
    let screen = result?;
    ensure!(!screen.trim().is_empty(), "tmux shows an empty screen");
    Ok(screen)
}
