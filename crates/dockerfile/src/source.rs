//! The text of a Dockerfile, and places in it.

use std::fmt::Write as _;
use std::ops::RangeInclusive;

/// A range of bytes in [`Source::text`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// The byte behind the last one.
    pub end: usize,
}

impl Span {
    /// From the start of `self` to the end of `other`.
    #[must_use]
    pub fn to(self, other: Self) -> Self {
        Self {
            start: self.start,
            end: other.end.max(self.start),
        }
    }
}

/// Where a byte is, as a person counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The character in the line, from 1.
    pub column: usize,
}

/// A piece of the text with its place. The text can differ from what stands at the place: quotes may be gone, lines may
/// have been joined, variables may have been replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Word {
    /// What it says.
    pub text: String,
    /// Where it says so.
    pub span: Span,
}

impl Word {
    /// The same place with another text.
    #[must_use]
    pub fn with(&self, text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            span: self.span,
        }
    }
}

/// The text of a file. Bytes that are no UTF-8 stand in it as U+FFFD, as they would in the image's config; a byte order
/// mark at its start is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    text: String,
    /// Where each line starts.
    starts: Vec<usize>,
}

impl Source {
    /// Takes a file's bytes.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let text = String::from_utf8_lossy(bytes).into_owned();
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let starts = std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect();
        Self { text, starts }
    }

    /// The whole text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What stands at `span`.
    #[must_use]
    pub fn slice(&self, span: Span) -> &str {
        self.text.get(span.start..span.end).unwrap_or_default()
    }

    /// The line and the column of a byte.
    #[must_use]
    pub fn position(&self, at: usize) -> Position {
        let line = self.starts.partition_point(|start| *start <= at).max(1);
        let start = self.starts[line - 1];
        let column = self.text.get(start..at).map_or(at - start, |text| text.chars().count());
        Position {
            line,
            column: column + 1,
        }
    }

    /// The lines that a span touches, from 1.
    #[must_use]
    pub fn lines(&self, span: Span) -> RangeInclusive<usize> {
        let line = |at: usize| self.starts.partition_point(|start| *start <= at).max(1);
        line(span.start)..=line(span.end.saturating_sub(1).max(span.start))
    }

    /// One line without its end, from 1.
    #[must_use]
    pub fn line(&self, number: usize) -> Option<&str> {
        let start = *self.starts.get(number.checked_sub(1)?)?;
        let end = self.starts.get(number).map_or(self.text.len(), |next| next - 1);
        let line = &self.text[start..end];
        Some(line.strip_suffix('\r').unwrap_or(line))
    }

    /// The lines around `span` with those of the span marked, as BuildKit shows them below a failure.
    #[must_use]
    pub fn excerpt(&self, name: &str, span: Span) -> String {
        let marked = self.lines(span);
        let (mut first, mut last) = (*marked.start(), *marked.end());
        let around = if first == last { 4 } else { 2 };
        let mut shown = 0;
        while shown < around {
            if first > 1 {
                first -= 1;
                shown += 1;
            }
            if last < self.starts.len() {
                last += 1;
                shown += 1;
            }
            shown += 1;
        }
        let rule = "--------------------";
        let mut out = format!("{name}:{}\n{rule}\n", marked.start());
        for number in first..=last {
            let mark = if marked.contains(&number) { ">>>" } else { "   " };
            // A line may have a megabyte: what is shown of it has an end.
            let line: String = self.line(number).unwrap_or_default().chars().take(400).collect();
            let _ = writeln!(out, " {number:3} | {mark} {line}");
        }
        out.push_str(rule);
        out.push('\n');
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_in_lines_and_characters() {
        let source = Source::new("\u{feff}FROM a\r\n\u{e9}t\u{e9} x\n".as_bytes());
        let check = |at: usize, line: usize, column: usize| {
            assert_eq!(source.position(at), Position { line, column }, "{at}");
        };
        check(0, 1, 1);
        check(5, 1, 6);
        check(7, 1, 8);
        check(8, 2, 1);
        check(10, 2, 2);
        check(14, 2, 5);
        assert_eq!(source.line(1), Some("FROM a"));
        assert_eq!(source.line(2), Some("\u{e9}t\u{e9} x"));
        assert_eq!(source.line(3), Some(""));
        assert_eq!(source.line(4), None);
        assert_eq!(source.line(0), None);
    }

    #[test]
    fn an_excerpt_marks_the_lines() {
        let source = Source::new(b"FROM a\nRUN b\nRUN c\nRUN d \\\n  e\nRUN f\n");
        let at = source.text().find("RUN d").unwrap();
        let span = Span {
            start: at,
            end: at + 11,
        };
        insta::assert_snapshot!(source.excerpt("Dockerfile", span), @r"
        Dockerfile:4
        --------------------
           3 |     RUN c
           4 | >>> RUN d \
           5 | >>>   e
           6 |     RUN f
        --------------------
        ");
    }

    #[test]
    fn what_is_no_utf8_is_replaced() {
        let source = Source::new(b"# Jos\xe9\nFROM a\n");
        assert_eq!(source.text(), "# Jos\u{fffd}\nFROM a\n");
        assert_eq!(source.position(source.text().find("FROM").unwrap()).line, 2);
    }
}
