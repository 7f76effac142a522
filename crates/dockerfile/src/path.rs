//! Paths as Go's `path` package cleans them. Nothing here looks at a file.

/// The shortest path that names the same: no `.`, no `//`, and `..` only at the start of a relative one.
#[must_use]
pub fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

/// The path from the root that a path names there, which nothing leads out of.
#[must_use]
pub fn rooted(path: &str) -> String {
    clean(&format!("/{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_as_go_does_it() {
        let check = |path: &str, expected: &str, below: &str| {
            assert_eq!(
                (clean(path).as_str(), rooted(path).as_str()),
                (expected, below),
                "{path}"
            );
        };
        check("", ".", "/");
        check(".", ".", "/");
        check("/", "/", "/");
        check("a//b/./c/", "a/b/c", "/a/b/c");
        check("a/../b", "b", "/b");
        check("../a", "../a", "/a");
        check("../../a/../..", "../../..", "/");
        check("/../a", "/a", "/a");
        check("a/..", ".", "/");
    }
}
