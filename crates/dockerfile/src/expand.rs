//! Replacing variables: `$x`, `${x}` and its modifiers, quotes and escapes.

use std::collections::BTreeSet;
use std::str::Chars;

use crate::environment::Environment;
use crate::error::{Problem, Substitution};
use crate::pattern::{Length, Pattern};

/// How deep substitutions may stand in each other.
const DEPTH_MAX: usize = 100;

/// How much longer than the text the result may be. What is longer than 128 KiB no program can be given by Linux.
const GROWTH_MAX: usize = 1 << 20;

/// How a text is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expander {
    /// What takes its meaning from the next character.
    escape: char,
    /// Whether quotes stay where they are.
    raw_quotes: bool,
    /// Whether escapes stay where they are.
    raw_escapes: bool,
    /// Whether quotes mean nothing.
    plain_quotes: bool,
    /// Whether a variable that is not set stays as it is written.
    keep_unset: bool,
}

/// A text with its variables replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expanded {
    /// The result.
    pub text: String,
    /// The variables that were there.
    pub used: BTreeSet<String>,
    /// The variables that were not set.
    pub missing: BTreeSet<String>,
}

impl Expander {
    /// The expander of an instruction's words, with the file's escape character.
    #[must_use]
    pub fn new(escape: char) -> Self {
        Self {
            escape,
            raw_quotes: false,
            raw_escapes: false,
            plain_quotes: false,
            keep_unset: false,
        }
    }

    /// The expander of a heredoc's text, in which quotes are only characters. Its escape is `\` in every file.
    #[must_use]
    pub fn of_heredoc() -> Self {
        Self {
            plain_quotes: true,
            ..Self::new('\\')
        }
    }

    /// The expander of what is shown of a command: quotes and unknown variables stay.
    #[must_use]
    pub fn of_display(escape: char) -> Self {
        Self {
            raw_quotes: true,
            keep_unset: true,
            ..Self::new(escape)
        }
    }

    /// The expander that finds heredocs in a line.
    pub(crate) fn of_line() -> Self {
        Self {
            raw_quotes: true,
            raw_escapes: true,
            keep_unset: true,
            ..Self::new('\\')
        }
    }

    /// The expander of a heredoc's name, with or without its quotes.
    pub(crate) fn of_name(raw_quotes: bool) -> Self {
        Self {
            raw_quotes,
            keep_unset: true,
            ..Self::new('\\')
        }
    }

    /// Replaces the variables of one word.
    ///
    /// # Errors
    /// [`Problem::Expansion`] with the text and what is wrong with it.
    pub fn word(&self, text: &str, environment: &Environment) -> Result<Expanded, Problem> {
        let mut walk = Walk::new(self, text, environment);
        let out = walk.body(None, None).map_err(|reason| failure(text, reason))?;
        Ok(Expanded {
            text: out,
            used: walk.used,
            missing: walk.missing,
        })
    }

    /// Replaces the variables of a text, then takes it apart at white space that is not quoted.
    ///
    /// # Errors
    /// As [`Expander::word`].
    pub fn words(&self, text: &str, environment: &Environment) -> Result<(Vec<String>, Expanded), Problem> {
        let mut walk = Walk::new(self, text, environment);
        let mut words = Words::default();
        let out = walk
            .body(None, Some(&mut words))
            .map_err(|reason| failure(text, reason))?;
        words.end();
        let expanded = Expanded {
            text: out,
            used: walk.used,
            missing: walk.missing,
        };
        Ok((words.found, expanded))
    }
}

fn failure(text: &str, reason: Substitution) -> Problem {
    Problem::Expansion {
        text: text.chars().take(400).collect(),
        reason,
    }
}

#[derive(Default)]
struct Words {
    found: Vec<String>,
    word: String,
}

impl Words {
    fn end(&mut self) {
        if !self.word.is_empty() {
            self.found.push(std::mem::take(&mut self.word));
        }
    }

    fn split(&mut self, text: &str) {
        for c in text.chars() {
            if c.is_whitespace() {
                self.end();
            } else {
                self.word.push(c);
            }
        }
    }
}

struct Walk<'a> {
    options: &'a Expander,
    rest: Chars<'a>,
    environment: &'a Environment,
    raw_escapes: bool,
    depth: usize,
    limit: usize,
    used: BTreeSet<String>,
    missing: BTreeSet<String>,
}

impl<'a> Walk<'a> {
    fn new(options: &'a Expander, text: &'a str, environment: &'a Environment) -> Self {
        Self {
            options,
            rest: text.chars(),
            environment,
            raw_escapes: options.raw_escapes,
            depth: 0,
            limit: text.len() + GROWTH_MAX,
            used: BTreeSet::new(),
            missing: BTreeSet::new(),
        }
    }

    fn peek(&self) -> Option<char> {
        self.rest.clone().next()
    }

    fn eat(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        if found {
            self.rest.next();
        }
        found
    }

    fn append(&self, out: &mut String, text: &str) -> Result<(), Substitution> {
        if out.len() + text.len() > self.limit {
            return Err(Substitution::TooLong { limit: self.limit });
        }
        out.push_str(text);
        Ok(())
    }

    /// Everything up to `stop`, which is taken, or to the end.
    fn body(&mut self, stop: Option<char>, mut words: Option<&mut Words>) -> Result<String, Substitution> {
        let mut out = String::new();
        while let Some(c) = self.peek() {
            if Some(c) == stop {
                self.rest.next();
                return Ok(out);
            }
            let (text, splits) = match c {
                '$' => (self.dollar()?, true),
                '<' => (self.less(), false),
                '\'' if !self.options.plain_quotes => (self.single()?, false),
                '"' if !self.options.plain_quotes => (self.double()?, false),
                _ => {
                    self.rest.next();
                    let mut text = String::new();
                    if c == self.options.escape {
                        if self.raw_escapes {
                            text.push(c);
                        }
                        // An escape at the end escapes nothing.
                        text.extend(self.rest.next());
                        (text, false)
                    } else {
                        text.push(c);
                        (text, true)
                    }
                }
            };
            self.append(&mut out, &text)?;
            if let Some(words) = words.as_deref_mut() {
                if splits {
                    words.split(&text);
                } else {
                    words.word.push_str(&text);
                }
            }
        }
        match stop {
            None => Ok(out),
            Some('}') => Err(Substitution::NoBrace),
            Some(_) => Err(Substitution::NoSlash),
        }
    }

    fn single(&mut self) -> Result<String, Substitution> {
        let rest = self.rest.as_str();
        let inside = &rest[1..];
        let end = inside
            .find('\'')
            .ok_or(Substitution::Unfinished { mark: "single-quote" });
        let Ok(end) = end else {
            self.rest = "".chars();
            return end.map(|_| String::new());
        };
        self.rest = inside[end + 1..].chars();
        Ok(if self.options.raw_quotes {
            rest[..end + 2].to_owned()
        } else {
            inside[..end].to_owned()
        })
    }

    fn double(&mut self) -> Result<String, Substitution> {
        let mut out = String::new();
        self.rest.next();
        if self.options.raw_quotes {
            out.push('"');
        }
        loop {
            match self.peek() {
                None => return Err(Substitution::Unfinished { mark: "double-quote" }),
                Some('"') => {
                    self.rest.next();
                    if self.options.raw_quotes {
                        out.push('"');
                    }
                    return Ok(out);
                }
                Some('$') => {
                    let value = self.dollar()?;
                    self.append(&mut out, &value)?;
                }
                Some(mut c) => {
                    self.rest.next();
                    if c == self.options.escape {
                        if self.raw_escapes {
                            out.push(c);
                        }
                        // In double quotes only these can be escaped; before others the escape is itself.
                        match self.peek() {
                            None => continue,
                            Some(next) if next == '"' || next == '$' || next == self.options.escape => {
                                self.rest.next();
                                c = next;
                            }
                            Some(_) => {}
                        }
                    }
                    out.push(c);
                }
            }
        }
    }

    /// The `<<` of a heredoc keeps the blanks behind it, so that its name stays in the same word.
    fn less(&mut self) -> String {
        self.rest.next();
        if !self.eat('<') {
            return "<".to_owned();
        }
        let mut out = "<<".to_owned();
        while let Some(c @ ('\t' | '\r' | ' ')) = self.peek() {
            out.push(c);
            self.rest.next();
        }
        out
    }

    fn dollar(&mut self) -> Result<String, Substitution> {
        self.rest.next();
        if self.peek() != Some('{') {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".to_owned());
            }
            return Ok(match self.value(&name) {
                Some(value) => value.to_owned(),
                None if self.options.keep_unset => format!("${name}"),
                None => String::new(),
            });
        }
        self.rest.next();
        match self.peek() {
            None => return Err(Substitution::NoBrace),
            Some('{' | '}' | ':') => return Err(Substitution::Bad),
            Some(_) => {}
        }
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Substitution::TooDeep { limit: DEPTH_MAX });
        }
        let name = self.name();
        let out = match self.rest.next() {
            None => Err(Substitution::NoBrace),
            Some('}') => Ok(match self.value(&name) {
                Some(value) => value.to_owned(),
                None if self.options.keep_unset => format!("${{{name}}}"),
                None => String::new(),
            }),
            Some(':') => {
                let modifier = self.rest.next();
                self.modified(&name, modifier.unwrap_or(char::REPLACEMENT_CHARACTER), true)
            }
            Some(modifier @ ('+' | '-' | '?' | '#' | '%')) => self.modified(&name, modifier, false),
            Some('/') => self.replaced(&name),
            Some(other) => Err(unsupported(other, false)),
        };
        self.depth -= 1;
        out
    }

    /// The text up to `stop`; whatever is wrong with it where the whole text ends in it, the end is what is missing.
    fn operand(&mut self, stop: char, raw_escapes: bool) -> Result<String, Substitution> {
        let outer = std::mem::replace(&mut self.raw_escapes, raw_escapes);
        let out = self.body(Some(stop), None);
        self.raw_escapes = outer;
        match out {
            Err(Substitution::TooDeep { .. } | Substitution::TooLong { .. }) | Ok(_) => out,
            Err(_) if self.rest.as_str().is_empty() => Err(match stop {
                '}' => Substitution::NoBrace,
                _ => Substitution::NoSlash,
            }),
            Err(_) => out,
        }
    }

    fn modified(&mut self, name: &str, modifier: char, colon: bool) -> Result<String, Substitution> {
        let pattern = matches!(modifier, '#' | '%');
        if colon && pattern {
            return Err(unsupported(modifier, colon));
        }
        let word = self.operand('}', pattern)?;
        let value = self.value(name);
        if value.is_none() && self.options.keep_unset {
            let colon = if colon { ":" } else { "" };
            return Ok(format!("${{{name}{colon}{modifier}{word}}}"));
        }
        // With a colon, what is empty counts as not set.
        let set = value.filter(|value| !colon || !value.is_empty());
        match modifier {
            '-' => Ok(set.map_or(word, str::to_owned)),
            '+' => Ok(set.map_or_else(String::new, |_| word)),
            '?' => set.map(str::to_owned).ok_or_else(|| Substitution::Required {
                name: name.to_owned(),
                message: match (word.is_empty(), value) {
                    (false, _) => word,
                    (true, None) => "is not allowed to be unset".to_owned(),
                    (true, Some(_)) => "is not allowed to be empty".to_owned(),
                },
            }),
            '#' | '%' => {
                let (length, text) = match word.strip_prefix(modifier) {
                    Some(rest) => (Length::Longest, rest),
                    None => (Length::Shortest, word.as_str()),
                };
                let (pattern, value) = (Pattern::new(text)?, value.unwrap_or_default());
                if modifier == '#' {
                    pattern.without_prefix(value, length)
                } else {
                    pattern.without_suffix(value, length)
                }
            }
            _ => Err(unsupported(modifier, colon)),
        }
    }

    fn replaced(&mut self, name: &str) -> Result<String, Substitution> {
        let all = self.eat('/');
        let pattern = self.operand('/', true)?;
        let replacement = self.operand('}', true)?;
        let value = self.value(name);
        if value.is_none() && self.options.keep_unset {
            return Ok(format!("${{{name}/{pattern}/{replacement}}}"));
        }
        Pattern::new(&pattern)?.replace(value.unwrap_or_default(), &replacement, all, self.limit)
    }

    /// A number, one of the shell's own variables, or letters, digits and `_`.
    fn name(&mut self) -> String {
        let text = self.rest.as_str();
        let end = match text.chars().next() {
            Some(c) if c.is_ascii_digit() => text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()),
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => 1,
            _ => text
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(text.len()),
        };
        self.rest = text[end..].chars();
        text[..end].to_owned()
    }

    fn value(&mut self, name: &str) -> Option<&'a str> {
        let value = self.environment.get(name);
        let set = if value.is_some() {
            &mut self.used
        } else {
            &mut self.missing
        };
        if !set.contains(name) {
            set.insert(name.to_owned());
        }
        value
    }
}

fn unsupported(modifier: char, colon: bool) -> Substitution {
    let colon = if colon { ":" } else { "" };
    Substitution::Modifier {
        modifier: format!("{colon}{modifier}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment() -> Environment {
        Environment::from_lines([
            "x=value",
            "empty=",
            "path=/usr/local/lib",
            "star=a*b?c",
            "sp=a  b",
            "_n1=one",
        ])
        .unwrap()
    }

    fn expand(text: &str) -> Result<String, String> {
        let out = Expander::new('\\').word(text, &environment());
        out.map(|out| out.text).map_err(|problem| problem.to_string())
    }

    #[test]
    fn variables_are_replaced() {
        let check = |text: &str, expected: &str| assert_eq!(expand(text).as_deref(), Ok(expected), "{text}");
        check("", "");
        check("a", "a");
        check("$x", "value");
        check("a$x.b", "avalue.b");
        check("$xy", "");
        check("${x}y", "valuey");
        check("$_n1", "one");
        check("$none|$empty|", "||");
        check("$", "$");
        check("a$ b", "a$ b");
        check("$$x", "x");
        check("$1x", "x");
        check("$12x", "x");
        check("${x:-word}|${none:-word}|${empty:-word}", "value|word|word");
        check("${x-word}|${none-word}|${empty-word}", "value|word|");
        check("${x:+word}|${none:+word}|${empty:+word}", "word||");
        check("${x+word}|${none+word}|${empty+word}", "word||word");
        check("${x:?word}|${x?word}|${empty?word}", "value|value|");
        check("${none:-${x}}|${none:-a${none2:-$x}b}", "value|avalueb");
        check("${none:-'a}b'}|${none:-\"a}b\"}|${none:-a\\}b}", "a}b|a}b|a}b");
        check("${none:-}", "");
        check("${path#*/}|${path##*/}", "usr/local/lib|lib");
        check("${path%/*}|${path%%/*}", "/usr/local|");
        check("${star#a\\*}|${star%\\?c}", "b?c|a*b");
        check(
            "${path/usr/opt}|${path//\\//-}|${path//l/L}",
            "/opt/local/lib|-usr-local-lib|/usr/LocaL/Lib",
        );
        check("${x/a/}|${x/?a/b}", "vlue|blue");
        check("${none#x}|${none/a/b}", "|");
        check("${path#${none:-/usr}}", "/local/lib");
        check("a < b << c <<< d", "a < b << c <<< d");
    }

    #[test]
    fn quotes_and_escapes_are_taken_away() {
        let check = |text: &str, expected: &str| assert_eq!(expand(text).as_deref(), Ok(expected), "{text}");
        check("'$x'", "$x");
        check("\"$x\"", "value");
        check("\"'$x'\"", "'value'");
        check("'\"$x\"'", "\"$x\"");
        check("\\$x", "$x");
        check("\\\\$x", "\\value");
        check("\"\\$x \\\" \\\\ \\a\"", "$x \" \\ \\a");
        check("'a\\'b", "a\\b");
        check("a\\", "a");
        check("a\\b", "ab");
        check("a b  c", "a b  c");
        check("$sp", "a  b");
    }

    #[test]
    fn wrong_substitutions_are_refused() {
        let check = |text: &str, expected: &str| {
            assert_eq!(
                expand(text),
                Err(format!("failed to process {text:?}: {expected}")),
                "{text}"
            );
        };
        check(
            "'a",
            "unexpected end of statement while looking for matching single-quote",
        );
        check(
            "\"a",
            "unexpected end of statement while looking for matching double-quote",
        );
        check("${", "syntax error: missing '}'");
        check("${x", "syntax error: missing '}'");
        check("${x:", "syntax error: missing '}'");
        check("${x:-a", "syntax error: missing '}'");
        check("${x:-'a", "syntax error: missing '}'");
        check("${x/a}", "syntax error: missing '/' in ${}");
        check("${x/a/b", "syntax error: missing '}'");
        check("${}", "syntax error: bad substitution");
        check("${{x}}", "syntax error: bad substitution");
        check("${:x}", "syntax error: bad substitution");
        check("${x:x}", "unsupported modifier (:x) in substitution");
        check("${x;y}", "unsupported modifier (;) in substitution");
        check("${x:#y}", "unsupported modifier (:#) in substitution");
        check("${x^^}", "unsupported modifier (^) in substitution");
        check("${none?}|", "none: is not allowed to be unset");
        check("${none:?}|", "none: is not allowed to be unset");
        check("${empty:?}|", "empty: is not allowed to be empty");
        check("${none:?give it}|", "none: give it");
        check(
            "${x#\\a}|",
            "invalid pattern (\\a) in substitution: invalid escape '\\a'",
        );
    }

    #[test]
    fn words_part_at_white_space_that_is_not_quoted() {
        let check = |text: &str, expected: &[&str]| {
            let (words, _) = Expander::new('\\').words(text, &environment()).unwrap();
            assert_eq!(words, expected, "{text}");
        };
        check("a b", &["a", "b"]);
        check("$sp", &["a", "b"]);
        check("\"$sp\"", &["a  b"]);
        check("x$sp.y", &["xa", "b.y"]);
        check("8${none:-0 9}0", &["80", "90"]);
        check("a\\ b", &["a b"]);
        check(" ", &[]);
        check("<< EOF x", &["<< EOF", "x"]);
    }

    #[test]
    fn other_expanders_leave_what_is_not_theirs() {
        let check = |expander: Expander, text: &str, expected: &str| {
            assert_eq!(expander.word(text, &environment()).unwrap().text, expected, "{text}");
        };
        check(Expander::of_heredoc(), "it's \"$x\" \\$x", "it's \"value\" $x");
        check(
            Expander::of_display('\\'),
            "'$x' \"$x\" $none ${none:-a}",
            "'$x' \"value\" $none ${none:-a}",
        );
        check(Expander::of_line(), "\\a 'b' $x", "\\a 'b' value");
        check(Expander::new('`'), "`$x \\$x", "$x \\value");
    }

    #[test]
    fn it_is_known_which_variables_were_there() {
        let out = Expander::new('\\')
            .word("$x ${none:-$other} '$no' ${x:+$empty}", &environment())
            .unwrap();
        assert_eq!(Vec::from_iter(out.used), ["empty", "x"]);
        assert_eq!(Vec::from_iter(out.missing), ["none", "other"]);
    }

    #[test]
    fn hostile_texts_end() {
        let deep = "${a:-".repeat(200_000);
        assert!(expand(&deep).unwrap_err().contains("nested more than 100 deep"));
        let mut environment = Environment::default();
        environment.set("x", &"y".repeat(100_000)).unwrap();
        let out = Expander::new('\\').word(&"$x".repeat(100_000), &environment);
        assert!(out.unwrap_err().to_string().contains("grows beyond"));
        let quotes = "\"".repeat(1_000_001);
        assert!(Expander::new('\\').word(&quotes, &environment).is_err());
    }
}
