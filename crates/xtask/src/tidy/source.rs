//! What Rust source may hold, by crate.

use std::path::Path;

use super::{Breach, text};

/// The most lines that a file may have, its tests not counted.
const MAX: usize = 900;

/// Files that may be longer, each with its reason.
const LONGER: [(&str, &str); 0] = [];

/// A word that only some crates may use.
struct Word {
    word: &'static str,
    /// Path prefixes in which it may stand.
    allowed: &'static [&'static str],
    reason: &'static str,
}

const TALKERS: &[&str] = &["crates/cli/", "crates/xtask/"];
const READERS: &[&str] = &["crates/cli/", "crates/xtask/", "crates/testkit/"];

const WORDS: &[Word] = &[
    Word {
        word: "unsafe",
        allowed: &["crates/sys/"],
        reason: "only crate sys is unsafe",
    },
    Word {
        word: "env::var",
        allowed: READERS,
        reason: "only cli reads the environment",
    },
    Word {
        word: "env::var_os",
        allowed: READERS,
        reason: "only cli reads the environment",
    },
    Word {
        word: "env::vars",
        allowed: READERS,
        reason: "only cli reads the environment",
    },
    Word {
        word: "env::vars_os",
        allowed: READERS,
        reason: "only cli reads the environment",
    },
    Word {
        word: "env::args",
        allowed: READERS,
        reason: "only cli reads its arguments",
    },
    Word {
        word: "env::args_os",
        allowed: READERS,
        reason: "only cli reads its arguments",
    },
    Word {
        word: "env::home_dir",
        allowed: READERS,
        reason: "only cli reads the environment",
    },
    Word {
        word: "env::temp_dir",
        allowed: READERS,
        reason: "only cli reads the environment",
    },
    Word {
        word: "env::current_dir",
        allowed: READERS,
        reason: "only cli knows where it was started",
    },
    Word {
        word: "println!",
        allowed: TALKERS,
        reason: "only cli prints",
    },
    Word {
        word: "print!",
        allowed: TALKERS,
        reason: "only cli prints",
    },
    Word {
        word: "eprintln!",
        allowed: TALKERS,
        reason: "only cli prints",
    },
    Word {
        word: "eprint!",
        allowed: TALKERS,
        reason: "only cli prints",
    },
    Word {
        word: "process::exit",
        allowed: TALKERS,
        reason: "only cli exits",
    },
    Word {
        word: "dbg!",
        allowed: &[],
        reason: "a debugger's print",
    },
    Word {
        word: "todo!",
        allowed: &[],
        reason: "what is not done is not there",
    },
    Word {
        word: "unimplemented!",
        allowed: &[],
        reason: "what is not done is not there",
    },
    Word {
        word: "tar::Archive::unpack",
        allowed: &[],
        reason: "tar's unpack trusts the archive",
    },
];

pub(super) fn check(file: &Path, source: &str) -> Vec<Breach> {
    let path = file.to_string_lossy().replace('\\', "/");
    let mut breaches = Vec::new();
    let code = text::code(source);
    let (own, tests) = text::without_tests(&code);
    let lines = source.lines().count() - tests;
    if lines > MAX && !LONGER.iter().any(|(longer, _)| *longer == path) {
        breaches.push(format!(
            "{path}: {lines} lines without its tests, {MAX} at most: split it by noun or phase"
        ));
    }
    let is_root = path.ends_with("src/lib.rs") || path.ends_with("src/main.rs");
    if is_root && !source.starts_with("//!") {
        breaches.push(format!("{path}: a crate opens with its job, `//! ..`"));
    }
    let is_test = path.contains("/tests/")
        || path.contains("/benches/")
        || path.contains("/examples/")
        || path.contains("/fuzz/");
    if is_test {
        return breaches;
    }
    for (number, line) in own.lines().enumerate() {
        for Word { word, allowed, reason } in WORDS {
            if has_word(line, word) && !allowed.iter().any(|prefix| path.starts_with(prefix)) {
                breaches.push(format!("{path}:{}: `{word}`: {reason}", number + 1));
            }
        }
    }
    breaches
}

/// Whether `word` stands in `line` with no letter, digit or underscore beside it.
fn has_word(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + word.len()..]);
        !before.ends_with(part) && (word.ends_with('!') || !after.starts_with(part))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_a_word_where_it_may_not_be() {
        let check = |path: &str, source: &str, expected: &[&str]| {
            let breaches = check(Path::new(path), source);
            assert_eq!(breaches, expected, "{path}: {source}");
        };
        check("crates/sys/src/fork.rs", "unsafe { fork() }", &[]);
        check(
            "crates/store/src/blob.rs",
            "unsafe { x() }",
            &["crates/store/src/blob.rs:1: `unsafe`: only crate sys is unsafe"],
        );
        check(
            "crates/store/src/blob.rs",
            "// unsafe\nlet x = \"unsafe\";\n#![forbid(unsafe_code)]",
            &[],
        );
        check(
            "crates/store/src/blob.rs",
            "\nprintln!()",
            &["crates/store/src/blob.rs:2: `println!`: only cli prints"],
        );
        check(
            "crates/store/src/blob.rs",
            "#[cfg(test)]\nmod tests { fn f() { println!() } }",
            &[],
        );
        check("crates/store/tests/it/main.rs", "std::env::var(x)", &[]);
        check("crates/cli/src/env.rs", "std::env::var(x); env!(\"A\")", &[]);
        check(
            "crates/engine/src/a.rs",
            "std::env::var_os(x)",
            &["crates/engine/src/a.rs:1: `env::var_os`: only cli reads the environment"],
        );
        check(
            "crates/engine/src/lib.rs",
            "mod a;",
            &["crates/engine/src/lib.rs: a crate opens with its job, `//! ..`"],
        );
    }

    #[test]
    fn counts_lines_without_tests() {
        let long = |n: usize| format!("//! Job.\n{}", "fn a() {}\n".repeat(n));
        assert_eq!(check(Path::new("crates/a/src/b.rs"), &long(MAX - 1)).len(), 0);
        assert_eq!(check(Path::new("crates/a/src/b.rs"), &long(MAX)).len(), 1);
        let tested = long(MAX - 1) + "#[cfg(test)]\nmod tests {\n" + &"fn a() {}\n".repeat(500) + "}\n";
        assert_eq!(check(Path::new("crates/a/src/b.rs"), &tested).len(), 0);
    }
}
