//! What the documents must hold: links that lead somewhere, an index that is whole, decisions in one shape, and nothing
//! but the project.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Breach;

/// Pages that the tree must have.
const PAGES: [&str; 8] = [
    "ARCHITECTURE.md",
    "BENCHMARKS.md",
    "CHANGELOG.md",
    "LICENSE",
    "README.md",
    "SCOPE.md",
    "docs/README.md",
    "docs/adr/README.md",
];

/// Headings of a decision's page.
const DECISION: [&str; 3] = ["## Context", "## Decision", "## Rejected"];

/// The most lines of ARCHITECTURE.md: a map that is longer is no map.
const MAP_MAX: usize = 300;

/// Signs of something unfinished, or of the machine on which a page was written.
const FOREIGN: [&str; 6] = ["TODO", "FIXME", "XXX", "/home/", "/Users/", "/tmp/target"];

pub(super) fn check(root: &Path, file: &Path, text: &str) -> Vec<Breach> {
    let path = file.display();
    let mut breaches = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for word in FOREIGN.iter().filter(|word| line.contains(**word)) {
            breaches.push(format!(
                "{path}:{}: `{word}` does not belong into a document",
                number + 1
            ));
        }
        for link in links(line) {
            let target = link.split('#').next().unwrap_or_default();
            let foreign = link.contains("://") || link.starts_with("mailto:") || target.is_empty();
            if !foreign
                && !root
                    .join(file)
                    .parent()
                    .is_some_and(|folder| folder.join(target).exists())
            {
                breaches.push(format!("{path}:{}: the link `{link}` leads nowhere", number + 1));
            }
        }
    }
    breaches
}

/// The targets of `[text](target)` in one line.
fn links(line: &str) -> Vec<&str> {
    let starts = line.match_indices("](").map(|(at, _)| &line[at + 2..]);
    starts
        .filter_map(|rest| rest.split_once(')'))
        .map(|(link, _)| link)
        .collect()
}

/// What is wrong with the documents as a set.
pub(super) fn check_set(root: &Path, files: &[PathBuf]) -> Result<Vec<Breach>> {
    let read = |path: &str| std::fs::read_to_string(root.join(path)).with_context(|| format!("read {path}"));
    let missing: Vec<_> = PAGES.iter().filter(|page| !root.join(page).is_file()).collect();
    if !missing.is_empty() {
        return Ok(missing.iter().map(|page| format!("{page} is missing")).collect());
    }
    let mut breaches = Vec::new();
    if read("ARCHITECTURE.md")?.lines().count() >= MAP_MAX {
        breaches.push(format!("ARCHITECTURE.md: {MAP_MAX} lines or more"));
    }
    if !read("CHANGELOG.md")?.contains("## Unreleased") {
        breaches.push("CHANGELOG.md: no section `## Unreleased`".into());
    }
    let (index, decisions) = (read("docs/README.md")?, read("docs/adr/README.md")?);
    for file in files.iter().filter(|file| file.extension().is_some_and(|e| e == "md")) {
        let name = file
            .file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default();
        if name == "README.md" {
            continue;
        }
        if file.parent() == Some(Path::new("docs")) && !index.contains(&format!("]({name})")) {
            breaches.push(format!("docs/README.md does not list {name}"));
        }
        if file.parent() == Some(Path::new("docs/adr")) {
            if !decisions.contains(&format!("]({name})")) {
                breaches.push(format!("docs/adr/README.md does not list {name}"));
            }
            breaches.extend(check_decision(file, &name, &read(&file.to_string_lossy())?));
        }
    }
    Ok(breaches)
}

fn check_decision(file: &Path, name: &str, text: &str) -> Vec<Breach> {
    let path = file.display();
    let number = name
        .get(..5)
        .is_some_and(|n| n.ends_with('-') && n[..4].bytes().all(|b| b.is_ascii_digit()));
    let mut breaches: Vec<_> = DECISION
        .iter()
        .filter(|heading| !text.lines().any(|line| line.starts_with(**heading)))
        .map(|heading| format!("{path}: no `{heading}`"))
        .collect();
    if !number {
        breaches.push(format!("{path}: a decision's file is named NNNN-what.md"));
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_links() {
        let root = crate::workspace::root();
        let check = |line: &str, breaches: usize| {
            assert_eq!(check(root, Path::new("docs/adr/x.md"), line).len(), breaches, "{line}");
        };
        check(
            "see [the map](../../ARCHITECTURE.md#crates) and [web](https://example.org/) and [here](#there)",
            0,
        );
        check("see [nothing](../nothing.md)", 1);
        check("TODO: write", 1);
    }

    #[test]
    fn a_decision_has_its_parts() {
        let text = "# A\n\n## Context\n\n## Decision\n\n## Rejected options\n";
        assert!(check_decision(Path::new("a"), "0001-a.md", text).is_empty());
        assert_eq!(check_decision(Path::new("a"), "a.md", "# A\n").len(), 4);
    }
}
