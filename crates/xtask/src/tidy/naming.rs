//! What files may be called, and how long a shell script may be.

use std::path::{Path, PathBuf};

use super::Breach;

/// Names that say nothing of what is in a file.
const EMPTY_NAMES: [&str; 10] = [
    "utils", "util", "common", "helpers", "helper", "types", "misc", "shared", "stuff", "mod",
];

/// The most lines of a shell script: what is longer belongs into xtask, in Rust.
const SCRIPT_MAX: usize = 50;

pub(super) fn check(files: &[PathBuf]) -> Vec<Breach> {
    files.iter().filter_map(|file| check_name(file)).collect()
}

fn check_name(file: &Path) -> Option<Breach> {
    let path = file.display();
    if file.extension()? != "rs" {
        return None;
    }
    let stem = file.file_stem()?.to_str()?;
    if EMPTY_NAMES.contains(&stem) || stem.ends_with("_impl") || stem.ends_with("_utils") || stem.ends_with("_helpers")
    {
        return Some(format!(
            "{path}: a file is named for the noun it defines or the verb it does, not `{stem}`"
        ));
    }
    let parent = file.parent()?.file_name()?.to_str()?;
    let singular = parent.trim_end_matches('s');
    let repeats = stem.len() > parent.len()
        && [parent, singular]
            .iter()
            .any(|p| stem.split('_').any(|word| word == *p));
    (repeats && !["src", "it", "tests", "benches", "bin"].contains(&parent))
        .then(|| format!("{path}: the parent's name `{parent}` is not repeated in the child's"))
}

pub(super) fn check_script(file: &Path, text: &str) -> Option<Breach> {
    let first = text.lines().next().unwrap_or_default();
    let shell = first.starts_with("#!") && first.ends_with("sh") || file.extension().is_some_and(|e| e == "sh");
    let lines = text.lines().count();
    (shell && lines > SCRIPT_MAX).then(|| {
        format!(
            "{}: a shell script of {lines} lines, {SCRIPT_MAX} at most: write it in xtask",
            file.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_names_that_say_nothing() {
        let check = |path: &str, good: bool| assert_eq!(check_name(Path::new(path)).is_none(), good, "{path}");
        check("crates/store/src/blob.rs", true);
        check("crates/store/src/utils.rs", false);
        check("crates/store/src/blob/mod.rs", false);
        check("crates/store/src/blob_impl.rs", false);
        check("crates/engine/src/container/start.rs", true);
        check("crates/engine/src/container/start_container.rs", false);
        check("crates/engine/src/containers/start_container.rs", false);
        check("docs/utils.md", true);
    }

    #[test]
    fn refuses_long_scripts() {
        let long = format!("#!/bin/bash\n{}", "true\n".repeat(SCRIPT_MAX));
        assert!(check_script(Path::new("run"), &long).is_some());
        assert!(check_script(Path::new("run"), "#!/bin/sh\ntrue\n").is_none());
        assert!(check_script(Path::new("data"), &"x\n".repeat(99)).is_none());
        assert!(check_script(Path::new("x.sh"), &"x\n".repeat(99)).is_some());
    }
}
