//! hull held to what Docker answered to the same command lines: `tests/transcripts/*.txt`, one test a file, each on a
//! host of its own. `cargo xtask transcripts` records them and holds Docker to them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hull_testkit::require_root;
use hull_testkit::transcript::machine::Machine;
use hull_testkit::transcript::{self, Transcript};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts")
}

fn replay(name: &str) {
    if !require_root() {
        return;
    }
    let transcript = Transcript::read(&folder().join(format!("{name}.txt")));
    let binary = std::env::var_os("HULL_BIN").map_or_else(|| PathBuf::from(crate::HULL), PathBuf::from);
    let Some(machine) = Machine::hull(&binary) else { return };
    let wrong = transcript.replay(&machine);
    let told: Vec<_> = wrong.iter().map(ToString::to_string).collect();
    assert!(wrong.is_empty(), "{} wrong answers\n{}", wrong.len(), told.join("\n"));
}

/// A test for each file, so that they run beside each other.
macro_rules! transcripts {
    ($($test:ident $name:literal,)*) => {
        const NAMES: &[&str] = &[$($name),*];
        $(
            #[test]
            fn $test() {
                replay($name);
            }
        )*
    };
}

transcripts! {
    privileged_absent "absent",
    privileged_archive "archive",
    privileged_environment "environment",
    privileged_event "event",
    privileged_exec "exec",
    privileged_file "file",
    privileged_image "image",
    privileged_inspect "inspect",
    privileged_label "label",
    privileged_lifecycle "lifecycle",
    privileged_limit "limit",
    privileged_logs "logs",
    privileged_mount "mount",
    privileged_network "network",
    privileged_odd "odd",
    privileged_option "option",
    privileged_port "port",
    privileged_ps "ps",
    privileged_run "run",
    privileged_system "system",
    privileged_template "template",
    privileged_usage "usage",
    privileged_verb "verb",
    privileged_volume "volume",
}

#[test]
fn every_transcript_is_replayed() {
    let files: BTreeSet<_> = transcript::all(&folder())
        .iter()
        .map(|path| Transcript::read(path).name())
        .collect();
    assert_eq!(files, NAMES.iter().map(|name| (*name).to_owned()).collect());
}

#[test]
fn every_difference_has_its_reason() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/differences.md");
    let page = std::fs::read_to_string(page).unwrap();
    let headings: BTreeSet<_> = page.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let mut used = BTreeSet::new();
    for path in transcript::all(&folder()) {
        let transcript = Transcript::read(&path);
        for step in transcript.steps() {
            let Some(key) = &step.differs else { continue };
            assert!(
                headings.contains(key.as_str()),
                "{}:{}: docs/differences.md has no heading `### {key}`",
                path.display(),
                step.number
            );
            used.insert(key.clone());
        }
    }
    let unused: Vec<_> = headings
        .into_iter()
        .filter(|heading| !used.contains(*heading))
        .collect();
    assert!(unused.is_empty(), "no transcript shows these differences: {unused:?}");
}
