//! One entry of a log.

use std::collections::BTreeMap;

/// Which stream an entry was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What a container wrote at one time: a line, or a part of a long one, which has no line feed at its end.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The text as written, with its line feed.
    pub text: &'a [u8],
    /// Where it was written to.
    pub stream: Stream,
    /// When.
    pub time: Time<'a>,
    /// Labels and variables that the log driver was told to add.
    pub(super) attributes: Attributes<'a>,
}

/// When something was written, as the log has it.
#[derive(Clone, Copy, Debug)]
pub enum Time<'a> {
    /// RFC 3339.
    Text(&'a [u8]),
    /// Nineteen digits of nanoseconds since 1970.
    Digits(&'a [u8]),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Attributes<'a> {
    None,
    /// A JSON object.
    Json(&'a [u8]),
    Read(&'a BTreeMap<String, String>),
}

impl Time<'_> {
    /// Nanoseconds since 1970; `None` for what is no time.
    #[must_use]
    pub fn nanos(&self) -> Option<i64> {
        match self {
            Self::Text(text) => {
                let text = std::str::from_utf8(text).ok()?;
                let time: jiff::Timestamp = text.parse().ok()?;
                i64::try_from(time.as_nanosecond()).ok()
            }
            Self::Digits(text) => std::str::from_utf8(text).ok()?.parse().ok(),
        }
    }

    /// Appends the time with all nine digits of its fraction, so that the texts align: Go cuts trailing zeros off in
    /// JSON.
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => {
                let Some(bare) = text.strip_suffix(b"Z") else {
                    out.extend_from_slice(text);
                    return;
                };
                let start = out.len();
                out.extend_from_slice(bare);
                if !bare.contains(&b'.') {
                    out.push(b'.');
                }
                let fraction = out[start..].iter().rev().take_while(|b| **b != b'.').count();
                out.extend(std::iter::repeat_n(b'0', 9usize.saturating_sub(fraction)));
                out.push(b'Z');
            }
            Self::Digits(text) => {
                let time = self.nanos().map(i128::from).map(jiff::Timestamp::from_nanosecond);
                match time {
                    Some(Ok(time)) => out.extend_from_slice(format!("{time:.9}").as_bytes()),
                    _ => out.extend_from_slice(text),
                }
            }
        }
    }
}

impl<'a> Entry<'a> {
    /// An entry without attributes.
    #[must_use]
    pub fn new(stream: Stream, text: &'a [u8], time: Time<'a>) -> Self {
        Self {
            text,
            stream,
            time,
            attributes: Attributes::None,
        }
    }

    /// Appends the entry as `logs` prints it.
    pub fn write(&self, timestamps: bool, details: bool, out: &mut Vec<u8>) {
        if timestamps {
            self.time.write(out);
            out.push(b' ');
        }
        if details {
            match self.attributes {
                Attributes::None => {}
                Attributes::Read(attributes) => write_attributes(attributes, out),
                Attributes::Json(text) => {
                    let attributes: BTreeMap<String, String> = serde_json::from_slice(text).unwrap_or_default();
                    write_attributes(&attributes, out);
                }
            }
            out.push(b' ');
        }
        out.extend_from_slice(self.text);
    }
}

fn write_attributes(attributes: &BTreeMap<String, String>, out: &mut Vec<u8>) {
    for (at, (name, value)) in attributes.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        escape(name, out);
        out.push(b'=');
        escape(value, out);
    }
}

/// Go's `url.QueryEscape`.
fn escape(text: &str, out: &mut Vec<u8>) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte),
            b' ' => out.push(b'+'),
            _ => out.extend_from_slice(format!("%{byte:02X}").as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_printed_as_docker_prints_them() {
        let attributes = [("Z", "1"), ("cd", "e&f,g h")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        let attributes = attributes.into();
        for (time, attributes, timestamps, details, expected) in [
            (
                Time::Text(b"2024-05-01T10:00:00.5Z"),
                Attributes::None,
                false,
                false,
                "a\n",
            ),
            (
                Time::Text(b"2024-05-01T10:00:00.5Z"),
                Attributes::None,
                true,
                false,
                "2024-05-01T10:00:00.500000000Z a\n",
            ),
            (
                Time::Text(b"2024-05-01T10:00:00Z"),
                Attributes::Json(br#"{"b":"d","a":"x y"}"#),
                true,
                true,
                "2024-05-01T10:00:00.000000000Z a=x+y,b=d a\n",
            ),
            (
                Time::Digits(b"1714557600000000001"),
                Attributes::Read(&attributes),
                true,
                true,
                "2024-05-01T10:00:00.000000001Z Z=1,cd=e%26f%2Cg+h a\n",
            ),
            (
                Time::Digits(b"1714557600000000001"),
                Attributes::None,
                false,
                true,
                " a\n",
            ),
        ] {
            let entry = Entry {
                text: b"a\n",
                stream: Stream::Stdout,
                time,
                attributes,
            };
            let mut out = Vec::new();
            entry.write(timestamps, details, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
