//! `cargo xtask`: everything that is done to hull besides compiling it. Each subcommand is one file.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a developer's tool talks to its developer"
)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::too_many_lines))]

mod bench;
mod ci;
mod command;
mod documents;
mod images;
mod packages;
mod picture;
mod release;
mod test;
mod tidy;
mod tour;
mod transcripts;
mod vm;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Builds, checks, measures and shows hull.
#[derive(Parser)]
#[command(name = "cargo xtask", disable_help_subcommand = true)]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Everything that a change must pass: format, lints, tidy, dependencies, tests, the release binary.
    Ci,
    /// Install what the tests need (as root, on Debian and Ubuntu), build, and run every test.
    Test {
        /// Passed to the test runner.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        filter: Vec<String>,
    },
    /// Check the tree against the project's own rules.
    Tidy,
    /// Build the release binary and check that it is static, position-independent and small.
    Release,
    /// Measure, and print the table of BENCHMARKS.md.
    Bench(bench::Options),
    /// Show the main job at work: pull, run, publish, logs, exec, stop, remove.
    Tour(tour::Options),
    /// Make the test images as an OCI image layout in target/images, and serve them if asked to.
    Images(images::Options),
    /// Write docs/commands.md, and the manual pages and completions of a package into target/.
    Docs,
    /// Write docs/terminal.svg and docs/stats.svg, pictures of real terminal sessions.
    Picture(picture::Options),
    /// Hold hull, and Docker where there is one, to the recorded transcripts.
    Transcripts(transcripts::Options),
    /// Run hull in a virtual machine whose kernel has cgroup v2 (as root, on Debian; takes minutes).
    Vm(vm::Options),
}

fn main() -> ExitCode {
    let done = match Args::parse().task {
        Task::Ci => ci::run(),
        Task::Test { filter } => test::run(&filter),
        Task::Tidy => tidy::run(),
        Task::Release => release::run(),
        Task::Bench(options) => bench::run(&options),
        Task::Tour(options) => tour::run(&options),
        Task::Images(options) => images::run(&options),
        Task::Docs => documents::run(),
        Task::Picture(options) => picture::run(&options),
        Task::Transcripts(options) => transcripts::run(&options),
        Task::Vm(options) => vm::run(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
