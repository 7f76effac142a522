//! The kernel modules that a container host needs, each after those that it needs itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

const WANTED: [&str; 13] = [
    "overlay",
    "veth",
    "bridge",
    "nf_tables",
    "nft_chain_nat",
    "nft_nat",
    "nft_masq",
    "nft_ct",
    "nft_fib_inet",
    "nft_fib_ipv4",
    "nft_fib_ipv6",
    "nft_reject_inet",
    "ipv6",
];

/// Name and contents of the modules below `folder`, in the order in which they can be loaded. What is built in is left
/// out.
pub(super) fn load(folder: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let mut files = BTreeMap::new();
    list(&folder.join("kernel"), &mut files)?;
    let builtin = std::fs::read_to_string(folder.join("modules.builtin")).context("read modules.builtin")?;
    let builtin: Vec<_> = builtin.lines().map(name_of).collect();
    let mut loaded = Vec::new();
    for name in WANTED.into_iter().filter(|name| !builtin.iter().any(|own| own == name)) {
        add(name, &files, &mut loaded)?;
    }
    Ok(loaded)
}

fn list(folder: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            list(&path, files)?;
        } else {
            files.insert(name_of(&path.to_string_lossy()), path);
        }
    }
    Ok(())
}

/// The kernel takes `-` and `_` in a module's name for the same.
fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split('.').next().unwrap_or(file).replace('-', "_")
}

fn add(name: &str, files: &BTreeMap<String, PathBuf>, loaded: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    if loaded.iter().any(|(own, _)| own == name) {
        return Ok(());
    }
    let path = files
        .get(name)
        .with_context(|| format!("the kernel package has no module `{name}`"))?;
    let contents = if path.extension().is_some_and(|e| e == "xz") {
        let output = Command::new("xz").arg("-dc").arg(path).output().context("run xz")?;
        ensure!(output.status.success(), "unpack {}: {}", path.display(), output.status);
        output.stdout
    } else {
        std::fs::read(path).with_context(|| format!("read {}", path.display()))?
    };
    for needed in dependencies(&contents) {
        add(&needed, files, loaded)?;
    }
    loaded.push((name.to_owned(), contents));
    Ok(())
}

/// What a module names in the field `depends` of its section `.modinfo`.
fn dependencies(contents: &[u8]) -> Vec<String> {
    let key = b"\0depends=";
    let Some(at) = contents.windows(key.len()).position(|window| window == key) else {
        return Vec::new();
    };
    let value = contents[at + key.len()..].split(|b| *b == 0).next().unwrap_or_default();
    let value = String::from_utf8_lossy(value);
    value.split(',').filter(|name| !name.is_empty()).map(name_of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_a_module_needs() {
        let check = |contents: &[u8], expected: &[&str]| assert_eq!(dependencies(contents), expected);
        check(
            b"x\0license=GPL\0depends=nf-nat,nf_tables\0name=y\0",
            &["nf_nat", "nf_tables"],
        );
        check(b"x\0depends=\0name=y\0", &[]);
        check(b"nothing", &[]);
    }
}
