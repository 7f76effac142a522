//! The rules of the tree that neither the compiler nor clippy holds. A test runs them, too.

mod crates;
mod documents;
mod naming;
mod source;
mod text;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// One breach of a rule: where, and what.
type Breach = String;

pub(crate) fn run() -> Result<()> {
    let breaches = check(crate::workspace::root())?;
    for breach in &breaches {
        eprintln!("tidy: {breach}");
    }
    ensure!(breaches.is_empty(), "{} breaches of the tree's rules", breaches.len());
    Ok(())
}

/// All breaches in the tree at `root`.
fn check(root: &Path) -> Result<Vec<Breach>> {
    let files = files(root)?;
    let mut breaches = crates::check(root)?;
    breaches.extend(naming::check(&files));
    for file in &files {
        let bytes = std::fs::read(root.join(file)).with_context(|| format!("read {}", file.display()))?;
        let Ok(text) = String::from_utf8(bytes) else { continue };
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("rs") => breaches.extend(source::check(file, &text)),
            Some("md") => breaches.extend(documents::check(root, file, &text)),
            _ => breaches.extend(naming::check_script(file, &text)),
        }
    }
    breaches.extend(documents::check_set(root, &files)?);
    breaches.sort();
    Ok(breaches)
}

/// The files that belong to the tree, relative to `root`: tracked ones and new ones, ignored ones not.
fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut command = Command::new("git");
    command
        .arg("-C")
        .arg(root)
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let list = crate::command::output(&mut command).context("list the tree's files")?;
    let files = list.split('\0').filter(|file| !file.is_empty()).map(PathBuf::from);
    Ok(files.filter(|file| root.join(file).is_file()).collect())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_tree_is_tidy() {
        let breaches = super::check(crate::workspace::root()).unwrap();
        assert!(breaches.is_empty(), "{}", breaches.join("\n"));
    }
}
