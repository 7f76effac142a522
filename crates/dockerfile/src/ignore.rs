//! `.dockerignore`: which paths of a build context are not there.
//!
//! The rules are those of moby's patternmatcher as BuildKit walks a context with it. Patterns are looked at in order and the last one that matches counts;
//! `!` takes paths back in; a pattern that matches a folder matches all that is below it. Besides what Go's
//! `filepath.Match` knows there is `**`, which matches any number of folders.

use crate::path::clean;

mod glob;

use glob::Glob;

pub use glob::{BadPattern, matches};

/// The patterns of a `.dockerignore` file.
#[derive(Clone, Debug, Default)]
pub struct IgnoreFile {
    patterns: Vec<Pattern>,
}

#[derive(Clone, Debug)]
struct Pattern {
    /// As it was cleaned, without `!`.
    text: String,
    exception: bool,
    glob: Glob,
}

/// A pattern that is none, and the line that it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// From 1.
    pub line: usize,
    /// The pattern.
    pub pattern: String,
    /// What is wrong.
    pub reason: BadPattern,
}

impl std::fmt::Display for BadLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}: `{}`: {}", self.line, self.pattern, self.reason)
    }
}

impl std::error::Error for BadLine {}

/// What is known of a folder, so that its entries need not be compared with what its parents were compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the path is ignored.
    pub ignored: bool,
    /// Which patterns matched it or a folder above it.
    matched: Vec<bool>,
}

impl IgnoreFile {
    /// Reads the file.
    ///
    /// # Errors
    /// The first pattern that is none.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadLine> {
        let text = String::from_utf8_lossy(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes));
        let mut patterns = Vec::new();
        for (number, line) in text.lines().enumerate() {
            // A comment starts in the first column; a `#` behind white space is a name.
            if line.starts_with('#') {
                continue;
            }
            let line = line.trim();
            if line.is_empty() {
                continue;
            }
            let pattern = Pattern::read(line).map_err(|reason| BadLine {
                line: number + 1,
                pattern: line.chars().take(200).collect(),
                reason,
            })?;
            patterns.push(pattern);
        }
        Ok(Self { patterns })
    }

    /// The patterns of a list, such as those of `--exclude`.
    ///
    /// # Errors
    /// The first that is none, with its place in the list.
    pub fn from_patterns<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, BadLine> {
        let mut out = Vec::new();
        for (number, pattern) in patterns.into_iter().enumerate() {
            let trimmed = pattern.trim();
            if trimmed.is_empty() {
                continue;
            }
            let read = Pattern::read(trimmed).map_err(|reason| BadLine {
                line: number + 1,
                pattern: pattern.chars().take(200).collect(),
                reason,
            })?;
            out.push(read);
        }
        Ok(Self { patterns: out })
    }

    /// Whether nothing is ignored.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether some patterns take paths back in: then an ignored folder has to be looked into.
    #[must_use]
    pub fn has_exceptions(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.exception)
    }

    /// Whether a path, relative to the context and without `.` or `..` in it, is ignored: as somebody finds it who walks
    /// down from the root.
    #[must_use]
    pub fn ignores(&self, path: &str) -> bool {
        let mut verdict: Option<Verdict> = None;
        for (at, _) in path.match_indices('/').chain([(path.len(), "")]) {
            verdict = Some(self.verdict(&path[..at], verdict.as_ref()));
        }
        verdict.is_some_and(|verdict| verdict.ignored)
    }

    /// The same for a path in a folder of which the verdict is known; of a path in the context's root it is `None`.
    #[must_use]
    pub fn verdict(&self, path: &str, folder: Option<&Verdict>) -> Verdict {
        let mut out = Verdict {
            ignored: false,
            matched: vec![false; self.patterns.len()],
        };
        for (place, pattern) in self.patterns.iter().enumerate() {
            let inherited = folder.is_some_and(|folder| folder.matched[place]);
            let matched = inherited || (pattern.exception == out.ignored && pattern.glob.matches(path));
            out.matched[place] = matched;
            if matched {
                out.ignored = !pattern.exception;
            }
        }
        out
    }

    /// Whether something below an ignored folder can have been taken back in.
    #[must_use]
    pub fn may_except_below(&self, folder: &str) -> bool {
        let inside = format!("{folder}/");
        self.patterns.iter().any(|pattern| {
            // Up to its first wildcard a pattern is a path.
            let plain = pattern.text.find(['*', '?', '[', '\\']).unwrap_or(pattern.text.len());
            let head = &pattern.text[..plain];
            pattern.exception && (inside.starts_with(head) || head.starts_with(&inside))
        })
    }

    /// Whether some pattern ignores all that there is in the root.
    #[must_use]
    pub fn ignores_all(&self) -> bool {
        let all = |pattern: &Pattern| !pattern.exception && matches!(pattern.text.as_str(), "*" | "**" | "**/*");
        self.patterns.iter().any(all)
    }
}

impl Pattern {
    fn read(line: &str) -> Result<Self, BadPattern> {
        let (exception, text) = match line.strip_prefix('!') {
            Some(rest) => (true, rest.trim()),
            None => (false, line),
        };
        if text.is_empty() {
            return Err(BadPattern::Nothing);
        }
        let cleaned = clean(text);
        let text = match cleaned.strip_prefix('/') {
            Some(rest) if !rest.is_empty() => rest.to_owned(),
            _ => cleaned,
        };
        Ok(Self {
            glob: Glob::of_ignore(&text)?,
            exception,
            text,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(file: &str, ignored: &[&str], kept: &[&str]) {
        let read = IgnoreFile::parse(file.as_bytes()).unwrap();
        for (paths, expected) in [(ignored, true), (kept, false)] {
            for path in paths {
                assert_eq!(read.ignores(path), expected, "{file:?} {path}");
            }
        }
    }

    #[test]
    fn patterns_match_as_mobys_do() {
        check("a", &["a", "a/b", "a/b/c"], &["b/a", "ab", "A"]);
        check("/a", &["a", "a/b"], &["b/a"]);
        check("a/", &["a", "a/b"], &["b/a"]);
        check("./a", &["a"], &["b/a"]);
        check("a/../b", &["b"], &["a"]);
        check("*", &["a", "a/b", ".x"], &[]);
        check("*.md", &["a.md", "a.md/b", ".md"], &["b/a.md", "a.mdx"]);
        check("*/a", &["b/a", "b/a/c"], &["a", "b/c/a"]);
        check("*/*/a*", &["x/y/a", "x/y/ab"], &["x/a", "x/y/z/a"]);
        check("a?", &["ab", "ab/c"], &["a", "abc", "a/b"]);
        check("**", &["a", "a/b/c"], &[]);
        check("**/*", &["a", "a/b/c"], &[]);
        check("**/a", &["a", "b/a", "b/c/a", "b/a/d"], &["ba", "b/ca"]);
        check("**/*.md", &["a.md", "b/a.md", "b/c/a.md"], &["a.mdx"]);
        check("a/**", &["a/b", "a/b/c"], &["a", "ab"]);
        check("a/**/b", &["a/b", "a/x/b", "a/x/y/b"], &["a", "b", "a/bc"]);
        check("**a", &["a", "ba", "x/ba"], &["ab"]);
        check("a**b", &["ab", "ax/b", "a/x/b"], &["axb"]);
        check("[ab]c", &["ac", "bc"], &["cc", "abc"]);
        check("[a-c]", &["a", "b", "c"], &["d", "-"]);
        check("[^a]", &["b"], &["a"]);
        check("a[^x]b", &["a/b", "ayb"], &["axb"]);
        check("a\\*b", &["a*b"], &["axb"]);
        check("\\[a", &["[a"], &["a"]);
        check("a.b+(c)|{d}$", &["a.b+(c)|{d}$"], &["axb+(c)|{d}$"]);
        check("\u{e9}?", &["\u{e9}\u{e9}"], &["\u{e9}"]);
    }

    #[test]
    fn later_patterns_count_more() {
        check("*.md\n!README.md", &["a.md"], &["README.md"]);
        check(
            "*.md\n!README*.md\nREADME-secret.md",
            &["a.md", "README-secret.md"],
            &["README.md"],
        );
        check("!a\na", &["a"], &[]);
        check("a\n!a/b", &["a", "a/c"], &["a/b", "a/b/c"]);
        check("*\n!a/b", &["c", "a", "a/c"], &["a/b"]);
        // Nothing is taken back in that was not ignored when it was come by.
        check("a/b\n!a", &["a/b"], &["a/c"]);
        check("a/b\n!a/**", &[], &["a/b", "a/c"]);
        check("*\n!src/**/*.rs", &["src/a.c", "x"], &["src/a.rs", "src/b/c.rs"]);
    }

    #[test]
    fn comments_and_blanks_are_no_patterns() {
        check(
            "\u{feff}# a\n\n  b  \r\n\t\n !  c\nc/d\n",
            &["b", "c/d"],
            &["a", "# a", "c"],
        );
        check(" # a", &["# a"], &["a"]);
        assert!(IgnoreFile::parse(b"# a\n\n").unwrap().is_empty());
    }

    #[test]
    fn wrong_patterns_are_told_with_their_line() {
        let wrong = |file: &str, expected: &str| {
            assert_eq!(
                IgnoreFile::parse(file.as_bytes()).unwrap_err().to_string(),
                expected,
                "{file}"
            );
        };
        wrong("a\n[b", "line 2: `[b`: syntax error in pattern");
        wrong("!", "line 1: `!`: illegal exclusion pattern: \"!\"");
        wrong("! ", "line 1: `!`: illegal exclusion pattern: \"!\"");
        wrong("[]a]", "line 1: `[]a]`: syntax error in pattern");
        wrong("a\\", "line 1: `a\\`: syntax error in pattern");
    }

    #[test]
    fn an_ignored_folder_is_looked_into_where_something_in_it_may_be_kept() {
        let file = IgnoreFile::parse(b"*\n!src/a\n!lib*").unwrap();
        assert!(file.has_exceptions() && file.ignores_all());
        assert!(file.may_except_below("src"));
        assert!(!file.may_except_below("target"));
        assert!(file.may_except_below("libx"));
        assert!(IgnoreFile::parse(b"*\n!**/a").unwrap().may_except_below("x"));
    }

    #[test]
    fn hostile_patterns_end() {
        let file = format!("{}b", "a*".repeat(100));
        let read = IgnoreFile::parse(file.as_bytes()).unwrap();
        assert!(!read.ignores(&"a".repeat(4096)));
        let stars = IgnoreFile::parse("**/".repeat(20_000).as_bytes()).unwrap();
        assert!(stars.ignores(&"a/".repeat(2000)));
    }
}
