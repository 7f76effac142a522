//! What the binary's own tables of commands are made into: `docs/commands.md`, which is kept in the tree, and the manual
//! pages and shell completions that a package ships, which are not.

use std::process::{Command, Stdio};

use anyhow::{Context, Result};

pub(crate) fn run() -> Result<()> {
    let mut page = crate::command::cargo();
    page.env("HULL_WRITE_DOCS", "1")
        .args(["test", "--quiet", "--package", "hull-cli", "--bin", "hull", "manual"]);
    crate::command::show(page.stdout(Stdio::null()))?;
    let binary = crate::workspace::build("dev")?;
    let target = crate::workspace::target()?;
    let (man, completions) = (target.join("man"), target.join("completions"));
    for folder in [&man, &completions] {
        std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    crate::command::show(Command::new(&binary).arg("__man").arg(&man))?;
    for (shell, name) in [("bash", "hull"), ("zsh", "_hull"), ("fish", "hull.fish")] {
        let mut command = Command::new(&binary);
        let text = crate::command::output(command.args(["completion", shell]).stdin(Stdio::null()))?;
        let file = completions.join(name);
        std::fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
    }
    println!(
        "docs/commands.md, {} and {} are up to date.",
        man.display(),
        completions.display()
    );
    Ok(())
}
