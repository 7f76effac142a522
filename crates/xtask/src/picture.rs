//! A real terminal session as an SVG: tmux draws it, this file turns its cells into text elements.

mod cells;
mod svg;

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::Args;
use hull_testkit::{Host, until};

/// A picture: its file in docs/, what is typed before a screen is shown, and how many rows the terminal has. `REGISTRY`
/// stands for the registry's address; the images are in it.
struct Shot {
    file: &'static str,
    rows: usize,
    script: &'static [&'static str],
    /// A last command that takes the whole screen: what it is, how long it is watched in seconds, and the key that ends it.
    watched: Option<(&'static str, u64, &'static str)>,
}

/// What a container of the pictures does: something and nothing by turns.
const WORK: &str = "'while :; do i=0; while [ $i -lt LOAD ]; do i=$((i+1)); done; sleep 1; done'";
const FILL: &str =
    "'n=0; while :; do n=$((n+4)); head -c ${n}000000 /dev/zero > /dev/shm/x; [ $n -lt 40 ] || n=0; sleep 1; done'";

const SHOTS: [Shot; 2] = [
    Shot {
        file: "terminal.svg",
        rows: 36,
        script: &[
            "hull pull REGISTRY/web",
            "hull run -d --name web -p 8080:80 REGISTRY/web",
            "hull ps",
            "curl -s 127.0.0.1:8080",
            "hull exec web ps",
            "time hull run --rm REGISTRY/web true",
        ],
        watched: None,
    },
    Shot {
        file: "stats.svg",
        rows: 30,
        script: &[
            "hull pull -q REGISTRY/busybox",
            "hull run -d --name worker -m 256m REGISTRY/busybox sh -c WORK",
            "hull run -d --name cache -m 128m REGISTRY/busybox sh -c FILL",
        ],
        watched: Some(("hull stats --graph", 50, "q")),
    },
];

const COLUMNS: usize = 144;
const PROMPT: &str = "\u{276f} ";

#[derive(Args)]
pub(crate) struct Options {
    /// Use this binary instead of building the release.
    #[arg(long)]
    binary: Option<std::path::PathBuf>,
    /// Make this picture only, such as `stats.svg`.
    #[arg(long)]
    only: Option<String>,
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
    for shot in &SHOTS {
        if options.only.as_ref().is_some_and(|only| *only != shot.file) {
            continue;
        }
        let screen = session(&host, &registry.to_string(), shot)?;
        let picture = svg::draw(&cells::parse(&screen), COLUMNS);
        let file = crate::workspace::root().join("docs").join(shot.file);
        std::fs::write(&file, picture).with_context(|| format!("write {}", file.display()))?;
        println!("{}", file.display());
    }
    Ok(())
}

/// Types the script into a shell in tmux and returns the screen with its escape sequences.
fn session(host: &Host, registry: &str, shot: &Shot) -> Result<String> {
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
        &shot.rows.to_string(),
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
        let type_in = |line: &str| {
            let line = line
                .replace("REGISTRY", registry)
                .replace("WORK", WORK)
                .replace("FILL", FILL);
            tmux(&["send-keys", "-l", &line.replace("LOAD", "60000")])?;
            tmux(&["send-keys", "Enter"])
        };
        for (done, line) in shot.script.iter().enumerate() {
            type_in(line)?;
            until("the next prompt", || (prompts(&shown()) == done + 2).then_some(()));
        }
        let Some((line, seconds, end)) = shot.watched else {
            return tmux(&["capture-pane", "-e", "-p"]);
        };
        type_in(line)?;
        // A history takes its time.
        std::thread::sleep(std::time::Duration::from_secs(seconds));
        let screen = tmux(&["capture-pane", "-e", "-p"]);
        tmux(&["send-keys", end])?;
        screen
    })();
    let _ = tmux(&["kill-server"]);
    let screen = result?;
    ensure!(!screen.trim().is_empty(), "tmux shows an empty screen");
    Ok(screen)
}
