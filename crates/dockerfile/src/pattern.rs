//! The patterns of `${x#p}`, `${x%p}` and `${x/p/r}`: `*`, `?` and escaped characters; neither matches the end of a line.

use crate::error::Substitution;

/// The most characters that all tries of one substitution may look at together.
const STEPS_MAX: usize = 1 << 22;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Literal(char),
    Any,
    Star,
}

/// Which match is taken where several are possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    Shortest,
    Longest,
}

#[derive(Debug)]
pub(crate) struct Pattern<'p> {
    text: &'p str,
    tokens: Vec<Token>,
}

impl<'p> Pattern<'p> {
    pub(crate) fn new(text: &'p str) -> Result<Self, Substitution> {
        let mut tokens = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            tokens.push(match c {
                // One star after another is one star.
                '*' if tokens.last() == Some(&Token::Star) => continue,
                '*' => Token::Star,
                '?' => Token::Any,
                '\\' => match chars.next() {
                    Some(escaped @ ('*' | '?' | '\\' | '}' | '/')) => Token::Literal(escaped),
                    other => {
                        return Err(Substitution::Pattern {
                            pattern: shortened(text),
                            escaped: other.unwrap_or(char::REPLACEMENT_CHARACTER),
                        });
                    }
                },
                other => Token::Literal(other),
            });
        }
        Ok(Self { text, tokens })
    }

    /// The value without what the pattern matches at its start.
    pub(crate) fn without_prefix(&self, value: &str, length: Length) -> Result<String, Substitution> {
        let chars: Vec<char> = value.chars().collect();
        let mut steps = 0;
        let end = self.ends(&self.tokens, &chars, length, &mut steps)?;
        Ok(chars[end.unwrap_or(0)..].iter().collect())
    }

    /// The value without what the pattern matches at its end.
    pub(crate) fn without_suffix(&self, value: &str, length: Length) -> Result<String, Substitution> {
        let chars: Vec<char> = value.chars().rev().collect();
        let tokens: Vec<Token> = self.tokens.iter().rev().copied().collect();
        let mut steps = 0;
        let end = self.ends(&tokens, &chars, length, &mut steps)?;
        Ok(chars[end.unwrap_or(0)..].iter().rev().collect())
    }

    /// The value with the first match replaced, or with all of them.
    pub(crate) fn replace(
        &self,
        value: &str,
        replacement: &str,
        all: bool,
        limit: usize,
    ) -> Result<String, Substitution> {
        let chars: Vec<char> = value.chars().collect();
        let mut out = String::new();
        let (mut at, mut steps, mut replaced) = (0, 0, false);
        // As in Go, an empty match right behind another match is none.
        let mut last_end = None;
        while at <= chars.len() {
            let found = if replaced && !all {
                None
            } else {
                self.ends(&self.tokens, &chars[at..], Length::Longest, &mut steps)?
            };
            match found {
                Some(0) if last_end == Some(at) => {}
                Some(length) => {
                    out.push_str(replacement);
                    replaced = true;
                    last_end = Some(at + length);
                    if length > 0 {
                        at += length;
                        continue;
                    }
                }
                None => {}
            }
            out.extend(chars.get(at));
            at += 1;
            if out.len() > limit {
                return Err(Substitution::TooLong { limit });
            }
        }
        if out.len() > limit {
            return Err(Substitution::TooLong { limit });
        }
        Ok(out)
    }

    /// Where a match that starts at the first character ends.
    fn ends(
        &self,
        tokens: &[Token],
        value: &[char],
        length: Length,
        steps: &mut usize,
    ) -> Result<Option<usize>, Substitution> {
        // The places in the pattern that what was read can have reached; ascending.
        let mut states: Vec<usize> = Vec::new();
        enter(tokens, 0, &mut states);
        let mut found = None;
        for at in 0..=value.len() {
            if states.last() == Some(&tokens.len()) {
                found = Some(at);
                if length == Length::Shortest {
                    break;
                }
            }
            let Some(c) = value.get(at) else { break };
            *steps += states.len() + 1;
            if *steps > STEPS_MAX {
                return Err(Substitution::TooSlow {
                    pattern: shortened(self.text),
                    length: value.len(),
                });
            }
            let mut next = Vec::new();
            for state in states {
                match tokens.get(state) {
                    Some(Token::Star) if *c != '\n' => enter(tokens, state, &mut next),
                    Some(Token::Any) if *c != '\n' => enter(tokens, state + 1, &mut next),
                    Some(Token::Literal(literal)) if literal == c => enter(tokens, state + 1, &mut next),
                    _ => {}
                }
            }
            if next.is_empty() {
                break;
            }
            states = next;
        }
        Ok(found)
    }
}

/// Adds a place in the pattern, and the one behind it where a star may match nothing.
fn enter(tokens: &[Token], state: usize, states: &mut Vec<usize>) {
    let mut add = |state| {
        if states.last().is_none_or(|last| *last < state) {
            states.push(state);
        }
    };
    add(state);
    if tokens.get(state) == Some(&Token::Star) {
        add(state + 1);
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_and_suffixes_are_taken_off() {
        let check = |pattern: &str, value: &str, expected: [&str; 4]| {
            let made = Pattern::new(pattern).unwrap();
            let found = [
                made.without_prefix(value, Length::Shortest).unwrap(),
                made.without_prefix(value, Length::Longest).unwrap(),
                made.without_suffix(value, Length::Shortest).unwrap(),
                made.without_suffix(value, Length::Longest).unwrap(),
            ];
            assert_eq!(found, expected, "{pattern} {value}");
        };
        check("*o", "foobarfoo", ["obarfoo", "", "foobarfo", ""]);
        check("*/", "a/b/c", ["b/c", "c", "a/b/c", "a/b/c"]);
        check("/*", "a/b/c", ["a/b/c", "a/b/c", "a/b", "a"]);
        check("?", "abc", ["bc", "bc", "ab", "ab"]);
        check("*", "abc", ["abc", "", "abc", ""]);
        check("**", "abc", ["abc", "", "abc", ""]);
        check("", "abc", ["abc"; 4]);
        check("x", "abc", ["abc"; 4]);
        check("\\*", "*a*", ["a*", "a*", "*a", "*a"]);
        check("a\\?", "a?b", ["b", "b", "a?b", "a?b"]);
        check("*", "a\nb", ["a\nb", "\nb", "a\nb", "a\n"]);
        check("[a]", "[a]b", ["b", "b", "[a]b", "[a]b"]);
        check("\u{e9}*", "\u{e9}t\u{e9}", ["t\u{e9}", "", "\u{e9}t", ""]);
        check("*a*b", "xaybzb", ["zb", "", "x", ""]);
    }

    #[test]
    fn matches_are_replaced() {
        let check = |pattern: &str, value: &str, first: &str, all: &str| {
            let made = Pattern::new(pattern).unwrap();
            assert_eq!(made.replace(value, "-", false, 100).unwrap(), first, "{pattern}");
            assert_eq!(made.replace(value, "-", true, 100).unwrap(), all, "{pattern}");
        };
        check("a", "banana", "b-nana", "b-n-n-");
        check("a?a", "banana", "b-na", "b-na");
        check("*", "abc", "-", "-");
        check("x", "abc", "abc", "abc");
        check("", "ab", "-ab", "-a-b-");
        check("a*n", "banana", "b-a", "b-a");
        check("\\/", "a/b/c", "a-b/c", "a-b-c");
    }

    #[test]
    fn escapes_of_other_characters_are_refused() {
        for pattern in ["a\\b", "a\\"] {
            assert!(
                matches!(Pattern::new(pattern), Err(Substitution::Pattern { .. })),
                "{pattern}"
            );
        }
    }

    #[test]
    fn hostile_patterns_end() {
        let value = "a".repeat(100_000);
        let pattern = "a*".repeat(5_000) + "b";
        let made = Pattern::new(&pattern).unwrap();
        assert!(matches!(
            made.replace(&value, "", true, usize::MAX),
            Err(Substitution::TooSlow { .. })
        ));
        assert!(matches!(
            made.without_prefix(&value, Length::Longest),
            Err(Substitution::TooSlow { .. })
        ));
    }
}
