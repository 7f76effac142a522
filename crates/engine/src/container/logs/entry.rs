//! One entry of a json-file log.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Which stream an entry was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What a container wrote at one time: a line, or a part of a long one, which has no line feed at its end.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Entry {
    /// The text as written, with its line feed.
    #[serde(default)]
    pub log: String,
    /// Where it was written to.
    pub stream: Stream,
    /// Labels and variables that the log driver was told to add.
    #[serde(default)]
    pub attrs: BTreeMap<String, String>,
    /// RFC 3339 with nanoseconds, UTC.
    pub time: String,
}

impl Entry {
    /// Reads a line of the log. `None` for what is no entry: a line that a killed monitor left torn. Where its successor
    /// went on writing behind the torn one, the later entry is read.
    #[must_use]
    pub fn read(line: &[u8]) -> Option<Self> {
        if let Ok(entry) = serde_json::from_slice(line) {
            return Some(entry);
        }
        // Within a JSON text the quotes would be escaped, so this is the beginning of an entry.
        let start = br#"{"log":""#;
        let at = line.windows(start.len()).rposition(|w| w == start)?;
        serde_json::from_slice(&line[at..]).ok()
    }

    /// The entry as `logs` prints it.
    #[must_use]
    pub fn text(&self, timestamps: bool, details: bool) -> String {
        if !timestamps && !details {
            return self.log.clone();
        }
        let mut out = String::with_capacity(self.log.len() + 32);
        if timestamps {
            out.push_str(&padded(&self.time));
            out.push(' ');
        }
        if details {
            for (at, (name, value)) in self.attrs.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                out.push_str(&escape(name));
                out.push('=');
                out.push_str(&escape(value));
            }
            out.push(' ');
        }
        out.push_str(&self.log);
        out
    }
}

/// The time with all nine digits of its fraction, so that the texts align: Go cuts trailing zeros off in JSON.
fn padded(time: &str) -> String {
    let Some(bare) = time.strip_suffix('Z') else {
        return time.to_owned();
    };
    let (seconds, fraction) = bare.split_once('.').unwrap_or((bare, ""));
    format!("{seconds}.{fraction:0<9}Z")
}

/// Go's `url.QueryEscape`.
fn escape(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read() {
        let line = br#"{"log":"a\n","stream":"stderr","attrs":{"b c":"d"},"time":"2024-05-01T10:00:00.5Z"}"#;
        let entry = Entry::read(line).unwrap();
        assert_eq!((entry.log.as_str(), entry.stream), ("a\n", Stream::Stderr));
        assert_eq!(entry.text(false, false), "a\n");
        assert_eq!(entry.text(true, false), "2024-05-01T10:00:00.500000000Z a\n");
        assert_eq!(entry.text(true, true), "2024-05-01T10:00:00.500000000Z b+c=d a\n");
    }

    #[test]
    fn torn_lines_are_passed_over() {
        let whole = r#"{"log":"x {\"log\":\"","stream":"stdout","time":"2024-05-01T10:00:00Z"}"#;
        assert_eq!(Entry::read(whole.as_bytes()).unwrap().log, "x {\"log\":\"");
        let behind = format!(r#"{{"log":"to{whole}"#);
        assert_eq!(Entry::read(behind.as_bytes()).unwrap().log, "x {\"log\":\"");
        for torn in [
            &b""[..],
            b"\n",
            b"{\"log\":\"x",
            b"{}",
            b"[]",
            b"\xff\xff",
            b"{\"log\":\"x\",\"stream\":\"stdin\",\"time\":\"\"}",
        ] {
            assert_eq!(Entry::read(torn), None, "{}", String::from_utf8_lossy(torn));
        }
    }
}
