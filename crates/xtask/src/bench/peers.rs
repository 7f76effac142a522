//! Other engines, where they are found.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::measure::Contender;

/// How other engines are reached, and which are there.
pub(crate) struct Peers {
    prefix: Vec<String>,
    root: PathBuf,
    found: Vec<&'static str>,
}

impl Peers {
    /// Looks for docker, podman and crun. An engine without the image `busybox:latest` is left out, and so said.
    pub(crate) fn find() -> Self {
        let prefix = std::env::var("HULL_BENCH_PEER_PREFIX").unwrap_or_default();
        let root = std::env::var_os("HULL_BENCH_PEER_ROOT").map_or_else(|| "/".into(), PathBuf::from);
        let mut peers = Self {
            prefix: prefix.split_whitespace().map(str::to_owned).collect(),
            root,
            found: Vec::new(),
        };
        for engine in ["docker", "podman"] {
            if peers.answers(&[engine, "image", "inspect", "busybox:latest"]) {
                peers.found.push(engine);
            } else {
                println!("{engine} is not measured: not here, or without the image busybox:latest.");
            }
        }
        if peers.answers(&["crun", "--version"]) {
            peers.found.push("crun");
        } else {
            println!("crun is not measured: not here.");
        }
        peers
    }

    fn command(&self, words: &[&str]) -> Command {
        let all: Vec<_> = self
            .prefix
            .iter()
            .map(String::as_str)
            .chain(words.iter().copied())
            .collect();
        let mut command = Command::new(all[0]);
        command.args(&all[1..]).stdin(Stdio::null());
        command
    }

    fn answers(&self, words: &[&str]) -> bool {
        let mut command = self.command(words);
        command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }

    /// Runs `line` there, unmeasured.
    pub(crate) fn prepare(&self, line: &str) -> Result<()> {
        let words: Vec<_> = line.split(' ').collect();
        crate::command::quiet(self.command(&words).stdout(Stdio::null()).stderr(Stdio::null()))
    }

    /// Whether `engine` was found.
    pub(crate) fn has(&self, engine: &str) -> bool {
        self.found.contains(&engine)
    }

    /// A contender that runs `line` with `engine`, where that is there and can.
    pub(crate) fn contender(&self, engine: &str, line: &str, rounds: usize) -> Option<Contender> {
        let contender = self.command_of(engine, line)?.rounds(rounds);
        match contender.check() {
            Ok(()) => Some(contender),
            Err(error) => {
                println!("{engine} is not measured: {error:#}");
                None
            }
        }
    }

    /// `line` as a command of `engine`, where that is there, without trying it.
    pub(crate) fn command_of(&self, engine: &str, line: &str) -> Option<Contender> {
        let words = self
            .prefix
            .iter()
            .cloned()
            .chain(line.split(' ').map(str::to_owned))
            .collect();
        self.has(engine).then(|| Contender::new(engine, words))
    }

    /// What it costs to get there: to be taken off what is measured there. `None` where it is nothing.
    pub(crate) fn entry(&self) -> Option<Contender> {
        let words: Vec<_> = self.prefix.iter().cloned().chain(["true".to_owned()]).collect();
        (!self.prefix.is_empty()).then(|| Contender::new("entry", words))
    }

    /// Makes an OCI bundle of busybox whose process is `true`, and returns its path as the peers see it.
    pub(crate) fn bundle(&self) -> Result<String> {
        let inside = "/tmp/hull-bench-bundle";
        let outside = self.root.join(&inside[1..]);
        let rootfs = outside.join("rootfs");
        for folder in ["bin", "proc", "sys", "dev", "tmp", "etc"] {
            std::fs::create_dir_all(rootfs.join(folder)).with_context(|| format!("make {}", rootfs.display()))?;
        }
        let busybox = hull_testkit::image::busybox_path();
        for name in ["busybox", "true", "sh"] {
            std::fs::copy(&busybox, rootfs.join("bin").join(name)).context("fill the bundle")?;
        }
        let config = outside.join("config.json");
        let _ = std::fs::remove_file(&config);
        crate::command::quiet(&mut self.command(&["sh", "-c", &format!("cd {inside} && crun spec")]))?;
        let mut spec: Value = serde_json::from_slice(&std::fs::read(&config)?).context("read crun's own spec")?;
        spec["process"]["terminal"] = json!(false);
        spec["process"]["args"] = json!(["true"]);
        std::fs::write(&config, spec.to_string())?;
        Ok(inside.to_owned())
    }
}
