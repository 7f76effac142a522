//! Which crate may use which: the table of ARCHITECTURE.md against what cargo sees.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};
use cargo_metadata::{DependencyKind, Metadata};

use super::Breach;

/// Crates that only tests and developers use; any crate's tests may use the first.
const DEVELOPMENT: [&str; 2] = ["testkit", "xtask"];

/// Where an async runtime may be: the crates that speak HTTP to clients.
const ASYNC: [&str; 3] = ["api", "cri", "registry"];

/// The table's rows: crate and what it may use.
type Table = BTreeMap<String, BTreeSet<String>>;

pub(super) fn check(root: &Path) -> Result<Vec<Breach>> {
    let page = std::fs::read_to_string(root.join("ARCHITECTURE.md")).context("read ARCHITECTURE.md")?;
    let table = parse(&page);
    let metadata = cargo_metadata::MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .no_deps()
        .exec()?;
    let mut breaches = compare(&table, &uses(&metadata));
    for package in &metadata.packages {
        let name = short(&package.name);
        for dependency in &package.dependencies {
            let runtime = ["tokio", "async-std", "smol", "futures"].contains(&dependency.name.as_str());
            if runtime && !ASYNC.contains(&name) {
                breaches.push(format!(
                    "crate {name} uses {}: only {} may be async",
                    dependency.name,
                    ASYNC.join(", ")
                ));
            }
        }
        let manifest = std::fs::read_to_string(&package.manifest_path)?;
        if name != "sys" && !manifest.contains("[lints]\nworkspace = true") {
            breaches.push(format!("crate {name} does not take the workspace's lints"));
        }
    }
    Ok(breaches)
}

/// Reads the rows `| name | job | may use |` below the heading `## Crates`.
fn parse(page: &str) -> Table {
    let section = page
        .split("\n## ")
        .find(|section| section.starts_with("Crates"))
        .unwrap_or_default();
    let rows = section.lines().filter_map(|line| {
        let cells: Vec<_> = line
            .strip_prefix('|')?
            .strip_suffix('|')?
            .split('|')
            .map(str::trim)
            .collect();
        let [names, _, uses] = cells.as_slice() else {
            return None;
        };
        Some((names.replace('`', ""), uses.replace('`', "")))
    });
    let mut table = Table::new();
    for (names, uses) in rows.filter(|(name, _)| name != "crate" && !name.starts_with('-')) {
        let above: BTreeSet<_> = table.keys().cloned().collect();
        let uses = match uses.as_str() {
            "everything" => above,
            "-" => BTreeSet::new(),
            list => list
                .split([' ', ','])
                .filter(|word| !word.is_empty())
                .map(str::to_owned)
                .collect(),
        };
        for name in names.split(", ") {
            table.insert(name.to_owned(), uses.clone());
        }
    }
    table
}

/// Which crates of the workspace each crate uses: in its own code, and in its tests alone.
struct Uses {
    own: Table,
    tests: Table,
}

fn uses(metadata: &Metadata) -> Uses {
    let mut uses = Uses {
        own: Table::new(),
        tests: Table::new(),
    };
    for package in &metadata.packages {
        let of = |tests: bool| {
            let dependencies = package.dependencies.iter().filter(|d| d.name.starts_with("hull-"));
            let kind = dependencies.filter(|d| (d.kind == DependencyKind::Development) == tests);
            kind.map(|d| short(&d.name).to_owned()).collect::<BTreeSet<_>>()
        };
        uses.own.insert(short(&package.name).to_owned(), of(false));
        uses.tests.insert(short(&package.name).to_owned(), of(true));
    }
    uses
}

fn short(package: &str) -> &str {
    package.strip_prefix("hull-").unwrap_or(package)
}

fn compare(table: &Table, uses: &Uses) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let none = BTreeSet::new();
    for (name, used) in &uses.own {
        let tests = uses.tests.get(name).unwrap_or(&none);
        let Some(allowed) = table.get(name) else {
            if DEVELOPMENT.contains(&name.as_str()) {
                let shipped = used
                    .iter()
                    .chain(tests)
                    .filter(|other| !DEVELOPMENT.contains(&other.as_str()));
                breaches.extend(shipped.map(|other| format!("crate {name} is for development and uses {other}")));
            } else {
                breaches.push(format!("crate {name} has no row in the table of ARCHITECTURE.md"));
            }
            continue;
        };
        let wrong = used.iter().filter(|other| !allowed.contains(*other));
        breaches.extend(wrong.map(|other| format!("crate {name} uses {other}, which its row does not name")));
        let wrong = tests
            .iter()
            .filter(|other| !allowed.contains(*other) && *other != DEVELOPMENT[0]);
        breaches
            .extend(wrong.map(|other| format!("the tests of crate {name} use {other}, which its row does not name")));
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# A\n\n## Crates\n\n| crate | job | may use |\n|---|---|---|\n| `spec` | types | - |\n\
                        | `sys` | calls | - |\n| `store` | files | spec sys |\n| `cri`, `kube` | later | store |\n\
                        | `cli` | all | everything |\n\n## Next\n| `x` | y | z |\n";

    fn table(rows: &[(&str, &[&str])]) -> Table {
        rows.iter()
            .map(|(name, uses)| ((*name).into(), uses.iter().map(|u| (*u).into()).collect()))
            .collect()
    }

    #[test]
    fn reads_the_table() {
        let expected: &[(&str, &[&str])] = &[
            ("cli", &["cri", "kube", "spec", "store", "sys"]),
            ("cri", &["store"]),
            ("kube", &["store"]),
            ("spec", &[]),
            ("store", &["spec", "sys"]),
            ("sys", &[]),
        ];
        assert_eq!(parse(PAGE), table(expected));
    }

    #[test]
    fn names_each_use_that_has_no_permission() {
        let check = |own: &[(&str, &[&str])], tests: &[(&str, &[&str])], expected: &[&str]| {
            let uses = Uses {
                own: table(own),
                tests: table(tests),
            };
            assert_eq!(compare(&parse(PAGE), &uses), expected);
        };
        check(
            &[("store", &["spec"]), ("testkit", &[])],
            &[("store", &["testkit"])],
            &[],
        );
        check(
            &[("spec", &["sys"])],
            &[],
            &["crate spec uses sys, which its row does not name"],
        );
        check(
            &[("sys", &[])],
            &[("sys", &["store"])],
            &["the tests of crate sys use store, which its row does not name"],
        );
        check(
            &[("new", &[])],
            &[],
            &["crate new has no row in the table of ARCHITECTURE.md"],
        );
        check(
            &[("xtask", &["testkit", "spec"])],
            &[],
            &["crate xtask is for development and uses spec"],
        );
    }
}
