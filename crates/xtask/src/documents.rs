//! The manual pages and shell completions, made by the binary of its own arguments.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

pub(crate) fn run() -> Result<()> {
    let binary = crate::workspace::build("dev")?;
    let docs = crate::workspace::root().join("docs");
    write(&binary, &docs.join("man"), "__man")?;
    write(&binary, &docs.join("completions"), "__completions")
}

fn write(binary: &Path, folder: &Path, verb: &str) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    crate::command::show(Command::new(binary).arg(verb).arg(folder))
}
