//! Parser directives: `# syntax=`, `# escape=` and `# check=` before anything else in the file.

use crate::error::{Located, Problem};
use crate::source::{Source, Span, Word};

/// The directives of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directives {
    /// The image of the frontend that the file asks for, as written.
    pub syntax: Option<Word>,
    /// The character that escapes and continues lines.
    pub escape: Option<Word>,
    /// The options of the lint rules.
    pub check: Option<Word>,
}

impl Directives {
    /// The image of [`Directives::syntax`], without the options behind it.
    #[must_use]
    pub fn frontend(&self) -> Option<&str> {
        self.syntax.as_ref().and_then(|word| word.text.split(' ').next())
    }

    /// The escape character: `\` unless the file says otherwise.
    #[must_use]
    pub fn escape_character(&self) -> char {
        self.escape
            .as_ref()
            .and_then(|word| word.text.chars().next())
            .unwrap_or('\\')
    }
}

const NAMES: [&str; 3] = ["syntax", "escape", "check"];

/// Reads the directives at the head of `source`, and says how many lines they are.
pub(crate) fn read(source: &Source) -> Result<(Directives, usize), Located> {
    let mut out = Directives::default();
    let mut count = 0;
    let mut at = 0;
    for (number, full) in source.text().split_inclusive('\n').enumerate() {
        let (start, line) = (at, full.trim_end_matches(['\r', '\n']));
        at += full.len();
        // A file that is executable may name its interpreter first; then it has no `escape`.
        let interpreted = source.text().starts_with("#!");
        if number == 0 && interpreted {
            continue;
        }
        let Some((name, value)) = split(line.trim_start()) else {
            break;
        };
        let offset = value.as_ptr() as usize - line.as_ptr() as usize + start;
        let span = Span {
            start: offset,
            end: offset + value.len(),
        };
        let word = Word {
            text: value.to_owned(),
            span,
        };
        let whole = Span {
            start,
            end: start + line.len(),
        };
        let slot = match name {
            "syntax" => &mut out.syntax,
            "check" => &mut out.check,
            _ if interpreted => break,
            _ => &mut out.escape,
        };
        if slot.is_some() {
            return Err((Problem::DirectiveRepeated { name }, whole));
        }
        if name == "escape" && value != "`" && value != "\\" {
            return Err((
                Problem::Escape {
                    value: value.chars().take(100).collect(),
                },
                span,
            ));
        }
        *slot = Some(word);
        count = number + 1;
    }
    Ok((out, count))
}

/// The name and the value of a line `# name = value`, or of the comment `name = value` of an instruction.
fn split(line: &str) -> Option<(&'static str, &str)> {
    option(line.strip_prefix('#')?.trim_start())
}

/// The name and the value of `name = value`, where the name is a directive's.
pub(crate) fn option(text: &str) -> Option<(&'static str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric()).filter(|end| *end > 0)?;
    let (name, rest) = text.split_at(end);
    let name = NAMES.into_iter().find(|known| known.eq_ignore_ascii_case(name))?;
    // Go's `\s`, which is not all that is white space.
    let blank = ['\t', '\n', '\x0c', '\r', ' '];
    let value = rest.trim_start_matches(blank).strip_prefix('=')?.trim_matches(blank);
    (!value.is_empty()).then_some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directives(text: &str) -> Result<(Directives, usize), Located> {
        read(&Source::new(text.as_bytes()))
    }

    #[test]
    fn directives_are_read_where_they_count() {
        let check = |text: &str, syntax: Option<&str>, escape: char, lint: Option<&str>| {
            let (found, _) = directives(text).unwrap();
            assert_eq!(found.frontend(), syntax, "{text}");
            assert_eq!(found.escape_character(), escape, "{text}");
            assert_eq!(found.check.map(|word| word.text).as_deref(), lint, "{text}");
        };
        check(
            "# syntax=docker/dockerfile:1\nFROM a\n",
            Some("docker/dockerfile:1"),
            '\\',
            None,
        );
        check("#syntax = a b\r\n# escape = `\r\nFROM a\n", Some("a"), '`', None);
        check(
            "  # EsCaPe=`\n#CHECK=skip=all;error=true\n",
            None,
            '`',
            Some("skip=all;error=true"),
        );
        check("# a comment\n# escape=`\n", None, '\\', None);
        check("\n# escape=`\n", None, '\\', None);
        check("# unknown=1\n# escape=`\n", None, '\\', None);
        check("# escape\n", None, '\\', None);
        check("# escape=\n", None, '\\', None);
        check("FROM a\n# escape=`\n", None, '\\', None);
        check("#!/usr/bin/env hull\n# syntax=x\n# escape=`\n", Some("x"), '\\', None);
        check("\u{feff}# escape=`\n", None, '`', None);
        check("", None, '\\', None);
    }

    #[test]
    fn a_directive_has_its_place() {
        let source = Source::new(b"# check =  skip=all \n");
        let word = read(&source).unwrap().0.check.unwrap();
        assert_eq!(source.slice(word.span), "skip=all");
    }

    #[test]
    fn wrong_directives_are_refused() {
        let check = |text: &str, expected: &str, at: usize| {
            let (problem, span) = directives(text).unwrap_err();
            assert_eq!((problem.to_string().as_str(), span.start), (expected, at), "{text}");
        };
        check("# escape=x\n", "invalid escape token 'x' does not match ` or \\", 9);
        check(
            "# escape=\\\\\n",
            "invalid escape token '\\\\' does not match ` or \\",
            9,
        );
        check(
            "# escape=`\n# escape=`\n",
            "only one escape parser directive can be used",
            11,
        );
        check(
            "# syntax=a\n# Syntax=b\n",
            "only one syntax parser directive can be used",
            11,
        );
    }
}
