//! File patterns: Go's `filepath.Match`, and the same with `**`.

use std::fmt;

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadPattern {
    /// A bracket that does not end, an escape at the end, an empty range.
    Syntax,
    /// A `!` with nothing behind it.
    Nothing,
}

impl fmt::Display for BadPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Syntax => "syntax error in pattern",
            Self::Nothing => "illegal exclusion pattern: \"!\"",
        })
    }
}

impl std::error::Error for BadPattern {}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Literal(char),
    /// `?`: any character of a name.
    Any,
    /// `*`: any characters of a name.
    Star,
    /// `**`: anything.
    Everything,
    /// `**/`: nothing, or anything up to a slash.
    Folders,
    /// `[..]`: one of these ranges, or none of them. In `.dockerignore` a slash is a character like any other here.
    Class {
        negated: bool,
        slash: bool,
        ranges: Vec<(char, char)>,
    },
}

/// A pattern that can be compared with paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glob {
    tokens: Vec<Token>,
    /// Where there is no wildcard: the one path that it matches.
    exact: Option<String>,
}

/// Whether a name matches a pattern of Go's `filepath.Match`; `*` and `?` do not match a slash.
///
/// # Errors
/// [`BadPattern::Syntax`].
pub fn matches(pattern: &str, name: &str) -> Result<bool, BadPattern> {
    Ok(Glob::new(pattern, false)?.matches(name))
}

impl Glob {
    /// A pattern of `.dockerignore`.
    pub(crate) fn of_ignore(pattern: &str) -> Result<Self, BadPattern> {
        Self::new(pattern, true)
    }

    fn new(pattern: &str, folders: bool) -> Result<Self, BadPattern> {
        let mut tokens = Vec::new();
        let mut rest = pattern;
        while let Some(c) = rest.chars().next() {
            rest = &rest[c.len_utf8()..];
            let token = match c {
                '*' if folders && rest.starts_with('*') => {
                    rest = &rest[1..];
                    let slash = rest.strip_prefix('/');
                    rest = slash.unwrap_or(rest);
                    // At the end all is matched; elsewhere whole folders.
                    if rest.is_empty() {
                        Token::Everything
                    } else if slash.is_none() && tokens.is_empty() && is_plain(rest) {
                        // `**a` at the start matches every path that ends so.
                        Token::Everything
                    } else {
                        Token::Folders
                    }
                }
                '*' => Token::Star,
                '?' => Token::Any,
                '[' => {
                    let (class, after) = class(rest, folders).ok_or(BadPattern::Syntax)?;
                    rest = after;
                    class
                }
                '\\' => {
                    let escaped = rest.chars().next().ok_or(BadPattern::Syntax)?;
                    rest = &rest[escaped.len_utf8()..];
                    Token::Literal(escaped)
                }
                other => Token::Literal(other),
            };
            // The same wildcard twice is the same as once, and comparing takes less.
            let wild = matches!(token, Token::Star | Token::Everything | Token::Folders);
            if !(wild && tokens.last() == Some(&token)) {
                tokens.push(token);
            }
        }
        let literal = |token: &Token| match token {
            Token::Literal(c) => Some(*c),
            _ => None,
        };
        Ok(Self {
            exact: tokens.iter().map(literal).collect(),
            tokens,
        })
    }

    /// Whether a path matches. The time is bounded by the product of both lengths.
    pub(crate) fn matches(&self, path: &str) -> bool {
        if let Some(exact) = &self.exact {
            return path == exact;
        }
        let end = self.tokens.len();
        // The places in the pattern that what was read can have reached; ascending.
        let mut states = Vec::new();
        self.enter(0, &mut states);
        for c in path.chars() {
            let mut next = Vec::with_capacity(states.len() + 1);
            for state in states {
                match self.tokens.get(state) {
                    Some(Token::Literal(literal)) if *literal == c => self.enter(state + 1, &mut next),
                    Some(Token::Any) if c != '/' => self.enter(state + 1, &mut next),
                    Some(Token::Star) if c != '/' => self.enter(state, &mut next),
                    Some(Token::Everything) => self.enter(state, &mut next),
                    Some(Token::Folders) => {
                        // In the middle of a folder's name nothing behind `**/` can begin.
                        push(&mut next, state);
                        if c == '/' {
                            self.enter(state + 1, &mut next);
                        }
                    }
                    Some(Token::Class { negated, slash, ranges }) if c != '/' || *slash => {
                        let inside = ranges.iter().any(|(low, high)| (*low..=*high).contains(&c));
                        if inside != *negated {
                            self.enter(state + 1, &mut next);
                        }
                    }
                    _ => {}
                }
            }
            if next.is_empty() {
                return false;
            }
            if !next.is_sorted_by(|a, b| a < b) {
                next.sort_unstable();
                next.dedup();
            }
            states = next;
        }
        states.contains(&end)
    }

    /// Adds a place, and those behind it where what stands there may match nothing.
    fn enter(&self, mut state: usize, states: &mut Vec<usize>) {
        loop {
            push(states, state);
            match self.tokens.get(state) {
                Some(Token::Star | Token::Everything | Token::Folders) => state += 1,
                _ => return,
            }
        }
    }
}

fn push(states: &mut Vec<usize>, state: usize) {
    if states.last() != Some(&state) {
        states.push(state);
    }
}

fn is_plain(text: &str) -> bool {
    !text.contains(['*', '?', '[', '\\'])
}

/// Reads what stands behind a `[`, up to its `]`.
fn class(text: &str, slash: bool) -> Option<(Token, &str)> {
    let (negated, mut rest) = match text.strip_prefix('^') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut ranges = Vec::new();
    loop {
        if let Some(after) = rest.strip_prefix(']')
            && !ranges.is_empty()
        {
            let class = Token::Class { negated, slash, ranges };
            return Some((class, after));
        }
        let low = class_character(&mut rest)?;
        let high = match rest.strip_prefix('-') {
            Some(after) => {
                rest = after;
                class_character(&mut rest)?
            }
            None => low,
        };
        ranges.push((low, high));
    }
}

fn class_character(rest: &mut &str) -> Option<char> {
    let mut chars = rest.chars();
    let c = match chars.next()? {
        '-' | ']' => return None,
        '\\' => chars.next()?,
        c => c,
    };
    *rest = chars.as_str();
    Some(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_with_go() {
        let check = |pattern: &str, name: &str, expected: Result<bool, BadPattern>| {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        };
        check("abc", "abc", Ok(true));
        check("*", "abc", Ok(true));
        check("*c", "abc", Ok(true));
        check("a*", "ab/c", Ok(false));
        check("a*/b", "abc/b", Ok(true));
        check("a*b*c*d*e*/f", "axbxcxdxe/f", Ok(true));
        check("a*b?c*x", "abxbbxdbxebxczzx", Ok(true));
        check("a*b?c*x", "abxbbxdbxebxczzy", Ok(false));
        check("ab[c]", "abc", Ok(true));
        check("ab[b-d]", "abc", Ok(true));
        check("ab[^c]", "abc", Ok(false));
        check("ab[^e-g]", "abc", Ok(true));
        check("a\\*b", "a*b", Ok(true));
        check("a[^a]b", "a\u{263a}b", Ok(true));
        check("a???b", "a\u{263a}b", Ok(false));
        check("[a-\u{3b6}]*", "\u{3b1}", Ok(true));
        check("[\\]a]", "]", Ok(true));
        check("[\\-x]", "-", Ok(true));
        check("a?b", "a/b", Ok(false));
        check("a*b", "a/b", Ok(false));
        check("*x", "xxx", Ok(true));
        check("**", "a/b", Ok(false));
        for bad in [
            "[]a]", "[-]", "[x-]", "[-x]", "\\", "[a-b-c]", "[", "[^", "[^bc", "a[", "[a",
        ] {
            check(bad, "a", Err(BadPattern::Syntax));
        }
    }
}
