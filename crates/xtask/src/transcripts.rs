//! The transcripts of `crates/cli/tests/transcripts`: hull held to what Docker answered, and Docker asked again.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Args;
use hull_testkit::transcript::machine::{DOCKER, Machine};
use hull_testkit::transcript::{self, Transcript};

#[derive(Args)]
pub(crate) struct Options {
    /// Write down what Docker answers now.
    #[arg(long, conflicts_with = "compare")]
    record: bool,
    /// Hold Docker to the transcripts, too.
    #[arg(long)]
    compare: bool,
    /// Use this binary instead of building one.
    #[arg(long)]
    binary: Option<PathBuf>,
    /// The transcripts, by name; all of them without one.
    names: Vec<String>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    crate::packages::ensure()?;
    ensure!(
        crate::packages::is_privileged(),
        "the transcripts start containers: run this as root"
    );
    let binary = match &options.binary {
        Some(binary) => std::path::absolute(binary)?,
        None => crate::workspace::build("dev")?,
    };
    let all = transcript::all(&crate::workspace::root().join("crates/cli/tests/transcripts"));
    let mut chosen: Vec<_> = all.iter().map(|path| Transcript::read(path)).collect();
    chosen.retain(|transcript| options.names.is_empty() || options.names.contains(&transcript.name()));
    ensure!(
        !chosen.is_empty(),
        "there is no such transcript: {}",
        options.names.join(" ")
    );

    let docker = (options.record || options.compare).then(docker).transpose()?;
    let mut wrong = 0;
    for transcript in &mut chosen {
        if let Some(docker) = &docker {
            docker.reset();
            if options.record {
                transcript.record(docker, &hull(&binary)?);
                docker.reset();
            } else {
                wrong += tell(&transcript.replay(docker));
            }
        }
        wrong += tell(&transcript.replay(&hull(&binary)?));
        println!("{}: {} command lines", transcript.name(), transcript.steps().count());
    }
    let lines: usize = chosen.iter().map(|transcript| transcript.steps().count()).sum();
    println!("{lines} command lines, {wrong} wrong answers");
    ensure!(wrong == 0, "the answers differ");
    Ok(())
}

fn tell(mismatches: &[transcript::Mismatch]) -> usize {
    for mismatch in mismatches {
        println!("{mismatch}");
    }
    mismatches.len()
}

fn hull(binary: &std::path::Path) -> Result<Machine> {
    Machine::hull(binary).ok_or_else(|| anyhow::Error::msg("docker-registry is not installed"))
}

/// A Docker of its own. What it takes is found on PATH, or behind the words of the setting.
fn docker() -> Result<Machine> {
    let prefix = std::env::var(DOCKER).unwrap_or_default();
    let prefix: Vec<_> = prefix.split_whitespace().map(str::to_owned).collect();
    ensure!(
        !prefix.is_empty() || crate::command::find("dockerd").is_some(),
        "there is no dockerd on PATH, and {DOCKER} does not name the words that reach one"
    );
    Machine::docker(&prefix).ok_or_else(|| anyhow::Error::msg("docker-registry is not installed"))
}
