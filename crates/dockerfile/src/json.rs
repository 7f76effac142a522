//! JSON arrays of strings, with the place of each string. What is no JSON is a shell's command line, so this has to know
//! exactly what JSON is (RFC 8259, as Go's `encoding/json` reads it).

use std::ops::Range;

use crate::error::Problem;
use crate::line::Line;
use crate::source::Word;

/// Go refuses what is nested deeper.
const DEPTH_MAX: usize = 10_000;

/// The strings of the array that `range` is, or nothing where it is no JSON array.
///
/// # Errors
/// [`Problem::NotStrings`] where it is one of other things than strings.
pub(crate) fn strings(line: &Line, range: &Range<usize>) -> Result<Option<Vec<Word>>, Problem> {
    let text = &line.text[range.clone()];
    let mut scan = Scan {
        bytes: text.as_bytes(),
        text,
        at: text.len() - text.trim_start().len(),
    };
    if scan.peek() != Some(b'[') {
        return Ok(None);
    }
    let Some(elements) = scan.array() else { return Ok(None) };
    let mut words = Vec::with_capacity(elements.len());
    for (text, place) in elements {
        let text = text.ok_or(Problem::NotStrings)?;
        words.push(line.made(text, &(range.start + place.start..range.start + place.end)));
    }
    Ok(Some(words))
}

struct Scan<'t> {
    bytes: &'t [u8],
    text: &'t str,
    at: usize,
}

/// An element of the outermost array: its text where it is a string, and its place.
type Element = (Option<String>, Range<usize>);

impl Scan<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn blank(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// The outermost array, which must be all that there is.
    fn array(&mut self) -> Option<Vec<Element>> {
        self.at += 1;
        let mut elements = Vec::new();
        self.blank();
        if !self.eat(b']') {
            loop {
                self.blank();
                let start = self.at;
                let text = if self.peek() == Some(b'"') {
                    Some(self.string()?)
                } else {
                    self.value()?;
                    None
                };
                elements.push((text, start..self.at));
                self.blank();
                if self.eat(b']') {
                    break;
                }
                if !self.eat(b',') {
                    return None;
                }
            }
        }
        self.blank();
        (self.at == self.bytes.len()).then_some(elements)
    }

    /// Skips any value. Nesting is counted, not recursed into: it is a stranger's.
    fn value(&mut self) -> Option<()> {
        // What is open: `]` or `}`.
        let mut open: Vec<u8> = Vec::new();
        loop {
            self.blank();
            match self.peek()? {
                first @ (b'[' | b'{') => {
                    self.at += 1;
                    let close = if first == b'[' { b']' } else { b'}' };
                    self.blank();
                    if !self.eat(close) {
                        open.push(close);
                        if open.len() + 1 > DEPTH_MAX {
                            return None;
                        }
                        self.key(close)?;
                        continue;
                    }
                }
                b'"' => drop(self.string()?),
                b't' => self.literal("true")?,
                b'f' => self.literal("false")?,
                b'n' => self.literal("null")?,
                _ => self.number()?,
            }
            loop {
                let Some(close) = open.last().copied() else {
                    return Some(());
                };
                self.blank();
                if self.eat(close) {
                    open.pop();
                    continue;
                }
                if !self.eat(b',') {
                    return None;
                }
                self.key(close)?;
                break;
            }
        }
    }

    /// The key of an object's next member.
    fn key(&mut self, close: u8) -> Option<()> {
        if close == b'}' {
            self.blank();
            if self.peek() != Some(b'"') {
                return None;
            }
            self.string()?;
            self.blank();
            if !self.eat(b':') {
                return None;
            }
        }
        Some(())
    }

    fn literal(&mut self, word: &str) -> Option<()> {
        let found = self.text.get(self.at..)?.starts_with(word);
        self.at += word.len();
        found.then_some(())
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    fn number(&mut self) -> Option<()> {
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            let _ = self.eat(b'+') || self.eat(b'-');
            self.digits()?;
        }
        Some(())
    }

    fn string(&mut self) -> Option<String> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let rest = &self.text[self.at..];
            let plain = rest.find(|c: char| c == '"' || c == '\\' || c < ' ')?;
            out.push_str(&rest[..plain]);
            self.at += plain + 1;
            match rest.as_bytes()[plain] {
                b'"' => return Some(out),
                b'\\' => self.escape(&mut out)?,
                _ => return None,
            }
        }
    }

    fn escape(&mut self, out: &mut String) -> Option<()> {
        let byte = self.peek()?;
        self.at += 1;
        out.push(match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let unit = self.unit()?;
                // Halves of a pair that stand alone become U+FFFD, as in Go.
                if (0xd800..0xdc00).contains(&unit) && self.text.get(self.at..)?.starts_with("\\u") {
                    let before = self.at;
                    self.at += 2;
                    let low = self.unit()?;
                    if (0xdc00..0xe000).contains(&low) {
                        let joined = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
                        char::from_u32(joined)?
                    } else {
                        self.at = before;
                        char::REPLACEMENT_CHARACTER
                    }
                } else {
                    char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER)
                }
            }
            _ => return None,
        });
        Some(())
    }

    fn unit(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        self.at += 4;
        u32::from_str_radix(digits, 16).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::Reader;
    use crate::source::Source;

    fn read(text: &str) -> Result<Option<Vec<String>>, Problem> {
        let source = Source::new(format!("x{text}").as_bytes());
        let line = Reader::new(&source, '\\', 0).next().unwrap();
        let words = strings(&line, &(1..line.text.len()))?;
        Ok(words.map(|words| words.into_iter().map(|word| word.text).collect()))
    }

    #[test]
    fn arrays_of_strings_are_read() {
        let check = |text: &str, expected: &[&str]| {
            assert_eq!(read(text).unwrap().unwrap(), expected, "{text}");
        };
        check("[]", &[]);
        check(" [ ] ", &[]);
        check(r#"["a"]"#, &["a"]);
        check(r#"[ "a" , "b c" ]"#, &["a", "b c"]);
        check(r#"["\"\\\/\b\f\n\r\t"]"#, &["\"\\/\u{8}\u{c}\n\r\t"]);
        check(r#"["\u00e9\ud83d\ude00"]"#, &["\u{e9}\u{1f600}"]);
        check(
            r#"["\ud83d", "\ude00x", "\ud83d\u0041"]"#,
            &["\u{fffd}", "\u{fffd}x", "\u{fffd}A"],
        );
    }

    #[test]
    fn what_is_no_array_is_left_to_the_shell() {
        for text in [
            "",
            "a",
            "\"a\"",
            "[",
            "[a]",
            "['a']",
            "[\"a\"",
            "[\"a\",]",
            "[,]",
            "[\"a\" \"b\"]",
            "[\"a\"] b",
            "[ -f x ] && y",
            "[[ -f x ]]",
            "[\"\\x\"]",
            "[\"a\tb\"]",
            "[\"\\u12g4\"]",
            "[01]",
            "[1.]",
            "[tru]",
            "[{\"a\"}]",
            "[{a:1}]",
            "{\"a\":1}",
        ] {
            assert_eq!(read(text), Ok(None), "{text}");
        }
    }

    #[test]
    fn arrays_of_other_things_are_refused() {
        for text in [
            "[1]",
            "[\"a\", [\"b\"]]",
            "[[[[]]], {}]",
            "[null]",
            "[true, false]",
            "[-1.5e+3, 0]",
            "[{\"a\": {\"b\": [1, 2, {}]}, \"c\": \"d\"}]",
        ] {
            assert_eq!(read(text), Err(Problem::NotStrings), "{text}");
        }
    }

    #[test]
    fn deep_nesting_is_no_json() {
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert_eq!(read(&deep(10_000)), Err(Problem::NotStrings));
        assert_eq!(read(&deep(1_000_000)), Ok(None));
        assert_eq!(read(&"[".repeat(1_000_000)), Ok(None));
    }
}
