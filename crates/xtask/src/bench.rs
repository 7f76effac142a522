//! What hull costs, beside the bare kernel's cost and other engines', taken in one run.
//!
//! Times drift on any machine, so every pair is measured in turn, many times, and what counts is the ratio of medians.
//! Other engines are measured when they are on PATH, or behind `HULL_BENCH_PEER_PREFIX` (a command that enters the place
//! where they are, such as `chroot /srv/peers`; `HULL_BENCH_PEER_ROOT` is then the path of that place's root).

mod cases;
mod crowd;
mod logs;
mod measure;
mod memory;
mod peers;
mod table;
mod verbs;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;
use hull_testkit::Host;

use peers::Peers;
use table::Table;

#[derive(Args)]
pub(crate) struct Options {
    /// Use this binary instead of building the release.
    #[arg(long)]
    binary: Option<PathBuf>,
    /// A quarter of the rounds.
    #[arg(long)]
    quick: bool,
    /// Only these: size, pull, run, exec, verbs, cp, many, stopped, healthy, thousand, logs.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Run the crates' own benchmarks (criterion), too.
    #[arg(long)]
    micro: bool,
    /// Put the tables into BENCHMARKS.md and README.md.
    #[arg(long)]
    write: bool,
}

/// What every case needs.
pub(crate) struct Bench {
    host: Host,
    binary: PathBuf,
    peers: Peers,
    quick: bool,
}

impl Bench {
    /// `rounds`, or a quarter of them in a quick run.
    fn rounds(&self, rounds: usize) -> usize {
        if self.quick { rounds.div_ceil(4) } else { rounds }
    }

    /// The words of `hull ARGS` with the state folders of this run: without a wrapper that would cost time.
    fn hull(&self, line: &str) -> measure::Contender {
        let words = std::iter::once(self.binary.display().to_string()).chain(line.split(' ').map(str::to_owned));
        measure::Contender::new("hull", words.collect())
            .env("HULL_ROOT", self.host.data())
            .env("HULL_RUN_ROOT", self.host.run_root())
    }
}

pub(crate) fn run(options: &Options) -> Result<()> {
    ensure!(
        crate::packages::is_privileged(),
        "the benchmarks need root: bridged networks are measured"
    );
    crate::packages::ensure()?;
    let binary = match &options.binary {
        Some(binary) => binary
            .canonicalize()
            .with_context(|| format!("find {}", binary.display()))?,
        None => crate::workspace::build("release")?,
    };
    let host = Host::new(&binary);
    // As /run is on any host that systemd has started; not every test machine has it so.
    std::fs::create_dir_all(host.run_root())?;
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "tmpfs"])
        .arg(host.run_root())
        .status()?;
    ensure!(
        mounted.success(),
        "cannot mount a tmpfs on {}",
        host.run_root().display()
    );
    let bench = Bench {
        host,
        binary,
        peers: Peers::find(),
        quick: options.quick,
    };
    let mut table = Table::default();
    let wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|only| only == name);
    if wanted("size") {
        cases::size(&bench, &mut table)?;
    }
    if wanted("pull") {
        // In the machine's own network, where other engines reach the registry.
        cases::pull(&bench, &mut table)?;
    }
    bench.host.within(|| -> Result<()> {
        let image = cases::stock(&bench)?;
        if wanted("run") {
            cases::run(&bench, &image, &mut table)?;
        }
        if wanted("exec") {
            cases::exec(&bench, &image, &mut table)?;
        }
        if wanted("verbs") {
            verbs::run(&bench, &image, &mut table)?;
        }
        if wanted("cp") {
            verbs::copy(&bench, &image, &mut table)?;
        }
        if wanted("many") {
            cases::many(&bench, &image, &mut table)?;
        }
        if wanted("stopped") {
            crowd::stopped(&bench, &image, &mut table)?;
        }
        if wanted("healthy") {
            crowd::healthy(&bench, &image, &mut table)?;
        }
        if wanted("thousand") {
            crowd::thousand(&bench, &image, &mut table)?;
        }
        if wanted("logs") {
            logs::run(&bench, &image, &mut table)?;
        }
        Ok(())
    })?;
    let text = format!("{}\n\n{}", table::machine(), table.markdown());
    println!("\n{text}");
    if options.write {
        table::write(&crate::workspace::root().join("BENCHMARKS.md"), &text)?;
        table::write(&crate::workspace::root().join("README.md"), &table.summary())?;
    }
    if options.micro {
        crate::command::show(crate::command::cargo().args(["bench", "--workspace", "--benches"]))?;
    }
    let missed = table.missed();
    ensure!(missed.is_empty(), "targets missed: {}", missed.join("; "));
    Ok(())
}
