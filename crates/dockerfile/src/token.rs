//! How the text behind an instruction falls apart into flags, words, pairs and strings.

use std::ops::Range;

use crate::error::{Located, Problem};
use crate::json;
use crate::line::Line;
use crate::source::{Span, Word};

/// A flag as written: `--name` or `--name=value`, without quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// Without the dashes.
    pub name: Word,
    /// What follows the `=`.
    pub value: Option<Word>,
}

/// `name=value`, or the old `name value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Quotes and variables are still in it.
    pub name: Word,
    /// Likewise.
    pub value: Word,
    /// Whether there was no `=` between them.
    pub legacy: bool,
}

/// The white space that parts an instruction from what follows, and words that are not quoted.
pub(crate) fn is_blank(c: char) -> bool {
    matches!(c, '\t' | '\x0b' | '\x0c' | '\r' | ' ')
}

/// The instruction's name and what follows it.
pub(crate) fn name(line: &Line, range: Range<usize>) -> (Range<usize>, Range<usize>) {
    let range = line.trim(range);
    let text = &line.text[range.clone()];
    let end = text.find(is_blank).unwrap_or(text.len());
    let rest = text[end..].trim_start_matches(is_blank).len();
    (range.start..range.start + end, range.end - rest..range.end)
}

/// The flags at the head of `range`, and what follows them.
pub(crate) fn flags(line: &Line, range: Range<usize>, escape: char) -> (Vec<Flag>, Range<usize>) {
    let mut found = Vec::new();
    let mut at = range.start;
    loop {
        let text = &line.text[at..range.end];
        let start = at + (text.len() - text.trim_start().len());
        let text = &line.text[start..range.end];
        if !text.starts_with("--") {
            return (found, line.trim(start..range.end));
        }
        let (word, length) = flag_word(text, escape);
        at = start + length;
        if word == "--" {
            return (found, line.trim(at..range.end));
        }
        found.push(flag(line, word, start..at));
    }
}

/// The first word of `text` without its quotes, and how long it was with them.
fn flag_word(text: &str, escape: char) -> (String, usize) {
    let mut out = String::new();
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match quote {
            None if c.is_whitespace() => return (out, at),
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(mark) if c == mark => quote = None,
            _ if c == escape => out.extend(chars.next().map(|(_, c)| c)),
            _ => out.push(c),
        }
    }
    (out, text.len())
}

fn flag(line: &Line, word: String, range: Range<usize>) -> Flag {
    // Where quotes are gone, a part of the word has no place of its own.
    let plain = line.text[range.clone()] == word;
    let part = |from: usize, to: usize| {
        let place = if plain {
            range.start + from..range.start + to
        } else {
            range.clone()
        };
        line.made(word[from..to].to_owned(), &place)
    };
    match word.find('=') {
        Some(at) => Flag {
            name: part(2, at),
            value: Some(part(at + 1, word.len())),
        },
        None => Flag {
            name: part(2, word.len()),
            value: None,
        },
    }
}

/// Words that white space parts, unless it is quoted or escaped. Quotes and escapes stay in them.
pub(crate) fn words(line: &Line, range: &Range<usize>, escape: char) -> Vec<Word> {
    let text = &line.text[range.clone()];
    let mut found = Vec::new();
    let mut start = None;
    let mut quote = None;
    let mut word = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if start.is_none() {
            if c.is_whitespace() {
                continue;
            }
            start = Some(at);
        }
        match quote {
            None if c.is_whitespace() => {
                let from = range.start + start.take().unwrap_or(at);
                push(&mut found, line, std::mem::take(&mut word), from..range.start + at);
                continue;
            }
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(mark) if c == mark => quote = None,
            _ => {}
        }
        if c == escape && quote != Some('\'') {
            // An escape at the very end escapes nothing, and is dropped.
            let Some((_, next)) = chars.next() else { break };
            word.push(c);
            word.push(next);
        } else {
            word.push(c);
        }
    }
    if let Some(start) = start {
        push(&mut found, line, word, range.start + start..range.end);
    }
    found
}

fn push(found: &mut Vec<Word>, line: &Line, word: String, range: Range<usize>) {
    if !word.is_empty() {
        found.push(line.made(word, &range));
    }
}

/// Words that blanks part, whatever quotes say.
pub(crate) fn fields(line: &Line, range: &Range<usize>) -> Vec<Word> {
    let text = &line.text[range.clone()];
    let mut found = Vec::new();
    let mut start = 0;
    let mut cut = |from: usize, to: usize| found.push(line.word(range.start + from..range.start + to));
    let mut inside = false;
    for (at, c) in text.char_indices() {
        if is_blank(c) == inside {
            if inside {
                cut(start, at);
            }
            start = at;
            inside = !inside;
        }
    }
    if inside {
        cut(start, text.len());
    }
    found
}

/// `name=value ..`, or `name value`.
pub(crate) fn pairs(
    line: &Line,
    range: &Range<usize>,
    escape: char,
    instruction: &'static str,
) -> Result<Vec<Pair>, Located> {
    let words = words(line, range, escape);
    let Some(first) = words.first() else {
        return Ok(Vec::new());
    };
    if !first.text.contains('=') {
        let text = &line.text[range.clone()];
        let end = text
            .find(is_blank)
            .ok_or_else(|| (Problem::NotTwoArguments { instruction }, line.span(range)))?;
        let value = text[end..].trim_start_matches(is_blank).len();
        return Ok(vec![Pair {
            name: line.word(range.start..range.start + end),
            value: line.word(range.end - value..range.end),
            legacy: true,
        }]);
    }
    let pair = |word: Word| {
        let Some((name, value)) = word.text.split_once('=') else {
            return Err((Problem::NoEquals { word: word.text }, word.span));
        };
        Ok(Pair {
            name: part(&word, 0, name),
            value: part(&word, name.len() + 1, value),
            legacy: false,
        })
    };
    words.into_iter().map(pair).collect()
}

/// A part of a word, whose place is known as long as nothing was taken out of the word.
pub(crate) fn part(word: &Word, offset: usize, text: &str) -> Word {
    let start = word.span.start + offset;
    let end = start + text.len();
    let span = if end <= word.span.end && word.span.end - word.span.start == word.text.len() {
        Span { start, end }
    } else {
        word.span
    };
    Word {
        text: text.to_owned(),
        span,
    }
}

/// The words of a command, and whether they were a JSON array. A text that is none is one word.
pub(crate) fn command(line: &Line, range: &Range<usize>) -> Result<(Vec<Word>, bool), Located> {
    if range.is_empty() {
        return Ok((Vec::new(), false));
    }
    match array(line, range)? {
        Some(words) => Ok((words, true)),
        None => Ok((vec![line.word(range.clone())], false)),
    }
}

/// The words of a list, and whether they were a JSON array. A text that is none falls apart at its blanks.
pub(crate) fn list(line: &Line, range: &Range<usize>) -> Result<(Vec<Word>, bool), Located> {
    match array(line, range)? {
        Some(words) => Ok((words, true)),
        None => Ok((fields(line, range), false)),
    }
}

fn array(line: &Line, range: &Range<usize>) -> Result<Option<Vec<Word>>, Located> {
    json::strings(line, range).map_err(|problem| (problem, line.span(range)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::Reader;
    use crate::source::Source;

    fn line(text: &str) -> (Source, Line) {
        let source = Source::new(text.as_bytes());
        let line = Reader::new(&source, '\\', 0).next().unwrap();
        (source, line)
    }

    #[test]
    fn flags_end_where_words_begin() {
        let check = |text: &str, expected: &[(&str, Option<&str>)], rest: &str| {
            let (_, line) = line(text);
            let (_, range) = name(&line, 0..line.text.len());
            let (flags, range) = flags(&line, range, '\\');
            let found: Vec<_> = flags
                .iter()
                .map(|flag| {
                    (
                        flag.name.text.as_str(),
                        flag.value.as_ref().map(|value| value.text.as_str()),
                    )
                })
                .collect();
            assert_eq!(found, expected, "{text}");
            assert_eq!(&line.text[range], rest, "{text}");
        };
        check("X", &[], "");
        check("X a --b", &[], "a --b");
        check("X --a --b=c  d  e ", &[("a", None), ("b", Some("c"))], "d  e");
        check("X --a= b", &[("a", Some(""))], "b");
        check("X --a=\"b c\"'d' e", &[("a", Some("b cd"))], "e");
        check("X --a=b\\ c d", &[("a", Some("b c"))], "d");
        check("X --a -- --b", &[("a", None)], "--b");
        check("X -- --b", &[], "--b");
        check("X --a=\"b", &[("a", Some("b"))], "");
        check("X -a", &[], "-a");
        check("X --a=b=c", &[("a", Some("b=c"))], "");
    }

    #[test]
    fn words_keep_their_quotes() {
        let check = |text: &str, expected: &[&str]| {
            let (_, line) = line(text);
            let found = words(&line, &(0..line.text.len()), '\\');
            let found: Vec<_> = found.iter().map(|word| word.text.as_str()).collect();
            assert_eq!(found, expected, "{text}");
        };
        check("a b", &["a", "b"]);
        check("a=\"b c\" d='e f'", &["a=\"b c\"", "d='e f'"]);
        check("a\\ b c", &["a\\ b", "c"]);
        check("a=\"b\\\" c\" d", &["a=\"b\\\" c\"", "d"]);
        check("a='b\\' c", &["a='b\\'", "c"]);
        check("a='b\\\\' c", &["a='b\\\\'", "c"]);
        check("\"\"", &["\"\""]);
        check("a=\"b c", &["a=\"b c"]);
        check("a\\\\", &["a\\\\"]);
    }

    #[test]
    fn pairs_have_their_places() {
        let (source, line) = line("ENV a=1 \\\n  b=\"x y\" c=");
        let pairs = pairs(&line, &(4..line.text.len()), '\\', "ENV").unwrap();
        let found: Vec<_> = pairs
            .iter()
            .map(|pair| (source.slice(pair.name.span), source.slice(pair.value.span)))
            .collect();
        assert_eq!(found, [("a", "1"), ("b", "\"x y\""), ("c", "")]);
    }

    #[test]
    fn the_old_form_takes_all_that_follows() {
        let (_, line) = line("ENV a  b=c d ");
        let (_, range) = name(&line, 0..line.text.len());
        let pairs = pairs(&line, &range, '\\', "ENV").unwrap();
        assert_eq!(
            (pairs[0].name.text.as_str(), pairs[0].value.text.as_str()),
            ("a", "b=c d")
        );
        assert!(pairs[0].legacy);
    }
}
