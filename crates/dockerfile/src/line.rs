//! Physical lines, and instructions made of them: comments left out, continued lines joined.

use std::ops::Range;

use crate::source::{Source, Span, Word};

/// The text of one instruction, which remembers where its pieces stood in the file.
#[derive(Debug, Default)]
pub(crate) struct Line {
    pub(crate) text: String,
    /// Where a piece starts in `text`, and in the file; ascending.
    pieces: Vec<(usize, usize)>,
    /// The comments right above.
    pub(crate) comments: Vec<Word>,
    /// Where the last of its physical lines ends in the file.
    pub(crate) end: usize,
    /// The last line that was empty although the one above it says that the instruction goes on.
    pub(crate) gap: Option<Span>,
}

impl Line {
    fn push(&mut self, text: &str, at: usize) {
        if !text.is_empty() || self.pieces.is_empty() {
            self.pieces.push((self.text.len(), at));
            self.text.push_str(text);
        }
        self.end = at + text.len();
    }

    fn locate(&self, at: usize) -> usize {
        let next = self.pieces.partition_point(|(start, _)| *start <= at);
        let (start, place) = self.pieces[next.max(1) - 1];
        place + (at - start)
    }

    /// Where a range of the text stood in the file.
    pub(crate) fn span(&self, range: &Range<usize>) -> Span {
        let start = self.locate(range.start);
        let end = if range.is_empty() {
            start
        } else {
            self.locate(range.end - 1) + 1
        };
        Span { start, end }
    }

    /// The whole instruction.
    pub(crate) fn whole(&self) -> Span {
        Span {
            start: self.locate(0),
            end: self.end.max(self.locate(0)),
        }
    }

    /// What stands in a range.
    pub(crate) fn word(&self, range: Range<usize>) -> Word {
        Word {
            text: self.text[range.clone()].to_owned(),
            span: self.span(&range),
        }
    }

    /// A text that was made of what stands in a range.
    pub(crate) fn made(&self, text: String, range: &Range<usize>) -> Word {
        Word {
            text,
            span: self.span(range),
        }
    }

    /// The range without white space at its ends.
    pub(crate) fn trim(&self, range: Range<usize>) -> Range<usize> {
        let text = &self.text[range.clone()];
        let start = range.start + (text.len() - text.trim_start().len());
        start..(start + text.trim().len())
    }
}

/// Reads a file line by line.
#[derive(Debug)]
pub(crate) struct Reader<'s> {
    text: &'s str,
    at: usize,
    escape: char,
    comments: Vec<Word>,
    /// How often a line was looked for and not found.
    missed: usize,
}

/// How often a line may be looked for in vain: each time the rest of the file is read.
const MISSED_MAX: usize = 50;

impl<'s> Reader<'s> {
    /// A reader behind the `directives` first lines.
    pub(crate) fn new(source: &'s Source, escape: char, directives: usize) -> Self {
        let text = source.text();
        let head = text.split_inclusive('\n').take(directives).map(str::len).sum();
        Self {
            text,
            at: head,
            escape,
            comments: Vec::new(),
            missed: 0,
        }
    }

    /// As [`Reader::until`], but where there is no such line nothing is taken.
    pub(crate) fn until_or_stay(&mut self, terminator: &str, chomp: bool) -> Option<(String, Span, Span)> {
        if self.missed >= MISSED_MAX {
            return None;
        }
        let before = self.at;
        let found = self.until(terminator, chomp);
        if found.is_none() {
            self.at = before;
            self.missed += 1;
        }
        found
    }

    /// The next line with its end, and where it starts.
    fn physical(&mut self) -> Option<(usize, &'s str)> {
        let start = self.at;
        let rest = self.text.get(start..).filter(|rest| !rest.is_empty())?;
        let length = rest.find('\n').map_or(rest.len(), |end| end + 1);
        self.at += length;
        Some((start, &rest[..length]))
    }

    /// The next instruction's text.
    pub(crate) fn next(&mut self) -> Option<Line> {
        loop {
            let (at, full) = self.physical()?;
            let line = without_end(full);
            let stripped = line.trim_start();
            let start = at + (line.len() - stripped.len());
            if stripped.starts_with('#') {
                self.comment(line, at);
                continue;
            }
            let (kept, mut more) = continued(stripped, self.escape);
            if !more && kept.is_empty() {
                continue;
            }
            let mut out = Line::default();
            out.push(kept, start);
            out.end = start + stripped.len();
            while more {
                let Some((at, full)) = self.physical() else { break };
                let line = without_end(full);
                if is_comment(line) {
                    continue;
                }
                if line.trim_start().is_empty() {
                    out.gap = Some(Span {
                        start: at,
                        end: at + line.len(),
                    });
                    continue;
                }
                let (kept, again) = continued(line, self.escape);
                out.push(kept, at);
                out.end = at + line.len();
                more = again;
            }
            out.comments = std::mem::take(&mut self.comments);
            return Some(out);
        }
    }

    /// An empty comment parts those above it from the instruction below.
    fn comment(&mut self, line: &str, at: usize) {
        let lead = line.len() - line.trim_start().len();
        let text = line[lead + 1..].trim();
        if text.is_empty() {
            self.comments.clear();
            return;
        }
        let start = at + (text.as_ptr() as usize - line.as_ptr() as usize);
        self.comments.push(Word {
            text: text.to_owned(),
            span: Span {
                start,
                end: start + text.len(),
            },
        });
    }

    /// The lines up to the one that is `terminator`, with their ends, and where they and the terminator are; nothing
    /// where there is no such line.
    pub(crate) fn until(&mut self, terminator: &str, chomp: bool) -> Option<(String, Span, Span)> {
        let start = self.at;
        loop {
            let (at, full) = self.physical()?;
            let line = without_end(full);
            let bare = if chomp { line.trim_start_matches('\t') } else { line };
            if bare == terminator {
                let body = Span { start, end: at };
                let end = Span {
                    start: at,
                    end: at + line.len(),
                };
                return Some((self.text[start..at].to_owned(), body, end));
            }
        }
    }
}

fn without_end(line: &str) -> &str {
    line.trim_end_matches(['\r', '\n'])
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

/// A line without the escape character that continues it, and whether there was one. One that is itself escaped does
/// not continue; blanks may follow it.
fn continued(line: &str, escape: char) -> (&str, bool) {
    match line.trim_end_matches([' ', '\t']).strip_suffix(escape) {
        Some(kept) if !kept.ends_with(escape) => (kept, true),
        _ => (line, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        let source = Source::new(text.as_bytes());
        let mut reader = Reader::new(&source, '\\', 0);
        std::iter::from_fn(|| reader.next()).map(|line| line.text).collect()
    }

    #[test]
    fn continued_lines_are_joined() {
        let check = |text: &str, expected: &[&str]| assert_eq!(lines(text), expected, "{text:?}");
        check("A\nB", &["A", "B"]);
        check("  A b  \r\n\r\n\tB\r\n", &["A b  ", "B"]);
        check("A \\\n b \\  \n c\nB\n", &["A  b  c", "B"]);
        check("A \\\\\nB\n", &["A \\\\", "B"]);
        check("A \\\\\\\nB\n", &["A \\\\\\", "B"]);
        check("A \\\n# no\n  # no\n b\n", &["A  b"]);
        check("A \\\n\n  \n b\n", &["A  b"]);
        check("\\\nA\n", &["A"]);
        check("A \\", &["A "]);
        check("A \\\n", &["A "]);
        check("# x\n\n#\n", &[]);
        check("A # b\n", &["A # b"]);
        check("\u{a0}A\n", &["A"]);
    }

    #[test]
    fn comments_above_an_instruction_belong_to_it() {
        let source = Source::new(b"# one\n#\n# two \n\n  # three\nA \\\n# inside\n b\n# four\nB\n");
        let mut reader = Reader::new(&source, '\\', 0);
        let comments = |line: Line| line.comments.into_iter().map(|c| c.text).collect::<Vec<_>>();
        assert_eq!(comments(reader.next().unwrap()), ["two", "three"]);
        assert_eq!(comments(reader.next().unwrap()), ["four"]);
        assert!(reader.next().is_none());
    }

    #[test]
    fn a_joined_text_knows_its_places() {
        let source = Source::new(b"RUN a \\\n# no\n  bc \\\n  d\n");
        let line = Reader::new(&source, '\\', 0).next().unwrap();
        let of = |what: &str| {
            let at = line.text.find(what).unwrap();
            source.slice(line.span(&(at..at + what.len())))
        };
        assert_eq!(of("RUN"), "RUN");
        assert_eq!(of("bc"), "bc");
        assert_eq!(of("d"), "d");
        assert_eq!(of("a   bc"), "a \\\n# no\n  bc");
        assert_eq!(source.slice(line.whole()), "RUN a \\\n# no\n  bc \\\n  d");
    }

    #[test]
    fn an_empty_continuation_is_noticed() {
        let source = Source::new(b"A \\\n\n b\n");
        let line = Reader::new(&source, '\\', 0).next().unwrap();
        assert_eq!(source.lines(line.gap.unwrap()), 2..=2);
    }
}
