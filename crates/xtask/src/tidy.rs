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
    if !root.join(".git").exists() {
        let mut files = Vec::new();
        walk(root, Path::new(""), &mut files)?;
        return Ok(files);
    }
    let mut command = Command::new("git");
    // A checkout may belong to another user than the one who checks it.
    command.args(["-c", "safe.directory=*", "-C"]).arg(root);
    command.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let list = crate::command::output(&mut command).context("list the tree's files")?;
    let files = list.split('\0').filter(|file| !file.is_empty()).map(PathBuf::from);
    Ok(files.filter(|file| root.join(file).is_file()).collect())
}

/// Every file of an unpacked archive of the tree, but for what a build made.
fn walk(root: &Path, folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(root.join(folder)).with_context(|| format!("list {}", folder.display()))? {
        let entry = entry?;
        let path = folder.join(entry.file_name());
        if entry.file_type()?.is_file() {
            files.push(path);
        } else if entry.file_type()?.is_dir() && path != Path::new("target") {
            walk(root, &path, files)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_tree_is_tidy() {
        let breaches = super::check(crate::workspace::root()).unwrap();
        assert!(breaches.is_empty(), "{}", breaches.join("\n"));
    }
}
