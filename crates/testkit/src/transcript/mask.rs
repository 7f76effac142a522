//! What must differ between two runs of the same command lines, made equal: IDs, times, addresses, free ports, sizes of
//! images and folders.
//!
//! An ID becomes `id` and the number of its first appearance in what the command line answers, so that the sameness of
//! objects still counts. What keeps its width keeps it; a table with what does not has its gaps cut to three spaces.

use std::collections::HashMap;
use std::fmt::Write as _;

use regex_lite::{Captures, Regex};

/// The masks of one file, and the IDs of one answer.
#[derive(Debug)]
pub struct Masks {
    /// Text and what stands for it.
    folders: Vec<(String, String)>,
    own: Vec<(Regex, String)>,
    ids: HashMap<String, usize>,
    id: Regex,
    /// Of one width.
    steady: Vec<(Regex, &'static str)>,
    /// Of changing width.
    wide: Vec<(Regex, &'static str)>,
    gap: Regex,
}

const SPAN: &str =
    "(Less than a second|About a minute|About an hour|[0-9]+ (second|minute|hour|day|week|month|year)s?)";

/// Beginnings of a message that tell who speaks, not what happened.
const SPEAKERS: &[&str] = &[
    "docker: ",
    "error: ",
    "caused by: ",
    "Error response from daemon: ",
    "Error: ",
    "failed to create task for container: ",
    "failed to create shim task: ",
    "OCI runtime create failed: ",
    "OCI runtime exec failed: ",
    "runc create failed: ",
    "exec failed: ",
    "unable to start container process: ",
    "error during container init: ",
];

/// Lines that advise instead of telling.
const ADVICE: &[&str] = &["See 'docker ", "Run 'docker ", "hint: "];

impl Masks {
    /// Masks for a machine whose folders are named so.
    ///
    /// # Panics
    /// If a pattern of this file is wrong.
    #[must_use]
    pub fn new(folders: Vec<(String, String)>) -> Self {
        let make = |pattern: &str| Regex::new(pattern).expect("a pattern of this file");
        let steady = [
            (r"\b([0-9a-f]{2}:){5}[0-9a-f]{2}\b", "<mac>"),
            (r"\b172\.(1[6-9]|2[0-9]|3[01])\.[0-9]+\.[0-9]+\b", "<ip>"),
            (r":(3[2-9]|[456][0-9])[0-9]{3}\b", ":<port>"),
        ];
        let wide = [
            (
                r"\b202[5-9]-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})",
                "<time>",
            ),
            (
                r"\b202[5-9]-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)? [+-][0-9]{4} [A-Z]+",
                "<time>",
            ),
            (r"\b[0-9]+(\.[0-9]+)?(e\+[0-9]+)?[kMG]B\b", "<size>"),
        ];
        let mut wide: Vec<_> = wide.iter().map(|(p, to)| (make(p), *to)).collect();
        wide.push((make(&format!(r"\bUp {SPAN}")), "Up <span>"));
        wide.push((make(&format!(r"\b{SPAN} ago\b")), "<span> ago"));
        Self {
            folders,
            own: Vec::new(),
            ids: HashMap::new(),
            id: make(r"\b([0-9a-f]{12})([0-9a-f]{52})?\b"),
            steady: steady.iter().map(|(p, to)| (make(p), *to)).collect(),
            wide,
            gap: make("   +"),
        }
    }

    /// Adds one of the file's own.
    ///
    /// # Panics
    /// If the pattern is wrong.
    pub fn add(&mut self, pattern: &str, to: &str) {
        let regex = Regex::new(pattern).unwrap_or_else(|error| panic!("the mask {pattern}: {error}"));
        self.own.push((regex, to.to_owned()));
    }

    /// Forgets the IDs: a new answer begins.
    pub fn begin(&mut self) {
        self.ids.clear();
    }

    /// Standard output as the file has it: `| line`, and `~ line` for a last one without an end.
    pub fn stdout(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut text = self.common(&legible(bytes));
        let before = text.clone();
        for (regex, to) in &self.wide {
            text = regex.replace_all(&text, *to).into_owned();
        }
        if text != before {
            text = self.gap.replace_all(&text, "   ").into_owned();
        }
        let mut lines: Vec<_> = text.split('\n').map(|line| format!("| {line}")).collect();
        match lines.pop() {
            Some(last) if last != "| " => lines.push(last.replacen('|', "~", 1)),
            _ => {}
        }
        lines.iter_mut().for_each(|line| {
            if line == "| " {
                "|".clone_into(line);
            }
        });
        lines
    }

    /// Standard error: what it says, line by line, without who says it, advice and usage.
    pub fn stderr(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut text = self.common(&legible(bytes));
        for (regex, to) in self.wide.iter().filter(|(_, to)| *to == "<time>") {
            text = regex.replace_all(&text, *to).into_owned();
        }
        let text = text.replace("'hull ", "'docker ").replace(": hull ", ": docker ");
        let text = text.replace("\"hull ", "\"docker ");
        let text = text.split("\nUsage:").next().unwrap_or_default();
        let mut out = Vec::new();
        for mut line in text.lines() {
            if ADVICE.iter().any(|start| line.starts_with(start)) {
                continue;
            }
            while let Some(rest) = SPEAKERS.iter().find_map(|speaker| line.strip_prefix(speaker)) {
                line = rest;
            }
            if !line.trim().is_empty() {
                let line = line.trim_end().trim_end_matches('.');
                out.push(line.strip_suffix(": unknown").unwrap_or(line).to_owned());
            }
        }
        out
    }

    fn common(&mut self, text: &str) -> String {
        let mut text = text.to_owned();
        for (from, to) in &self.folders {
            text = text.replace(from, to);
        }
        for (regex, to) in &self.own {
            text = regex.replace_all(&text, to.as_str()).into_owned();
        }
        let ids = &mut self.ids;
        let mut number = |found: &Captures<'_>| {
            // One ID of three hundred begins with twelve digits and no letter.
            let id = &found[1];
            let next = ids.len() + 1;
            let number = ids.entry(id.to_owned()).or_insert(next);
            let rest = if found.get(2).is_some() { "…(64)" } else { "" };
            format!("id{number:010}{rest}")
        };
        text = self.id.replace_all(&text, &mut number).into_owned();
        for (regex, to) in &self.steady {
            text = regex.replace_all(&text, *to).into_owned();
        }
        text
    }
}

/// Text in which every byte can be seen: what is not UTF-8 and control characters become `\xNN`.
fn legible(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() && c != '\n' {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            } else {
                out.push(c);
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_differ_is_made_equal() {
        let mut masks = Masks::new(vec![("/tmp/h-1/data".into(), "<root>".into())]);
        let mut check = |text: &str, expected: &str| {
            masks.begin();
            assert_eq!(masks.stdout(text.as_bytes()).join("\n"), expected, "{text}");
        };
        check("\n", "|");
        check("", "");
        check("a\nb", "| a\n~ b");
        check("0123456789ab  x\n", "| id0000000001  x");
        check(
            "abc123abc123\n0123456789ab abc123abc123\n",
            "| id0000000001\n| id0000000002 id0000000001",
        );
        let full = format!("sha256:0123456789ab{}\n", "0".repeat(52));
        check(&full, "| sha256:id0000000001…(64)");
        check("123456789012 deadbeefdead\n", "| id0000000001 id0000000002");
        check(
            "NAME       CREATED           X\na    3 seconds ago     b\n",
            "| NAME   CREATED   X\n| a   <span> ago   b",
        );
        check("Up 2 hours      x", "~ Up <span>   x");
        check("Up About a minute (Paused)", "~ Up <span> (Paused)");
        check("a      b\n", "| a      b");
        check(
            "2026-01-02T03:04:05.678901234Z 0001-01-01T00:00:00Z\n",
            "| <time> 0001-01-01T00:00:00Z",
        );
        check("172.17.0.12 02:42:ac:11:00:02\n", "| <ip> <mac>");
        check(
            "0.0.0.0:32768->80/tcp 1.2.3.4:8080->80/tcp",
            "~ 0.0.0.0:<port>->80/tcp 1.2.3.4:8080->80/tcp",
        );
        check("/tmp/h-1/data/x 0B 1.24MB", "~ <root>/x 0B <size>");
        check("a\tb\x1b", "~ a\\x09b\\x1b");
        assert_eq!(masks.stdout(b"\xff"), ["~ \\xff"]);
    }

    #[test]
    fn a_message_is_what_happened() {
        let mut masks = Masks::new(Vec::new());
        let mut check = |text: &str, expected: &[&str]| assert_eq!(masks.stderr(text.as_bytes()), expected, "{text}");
        check(
            "docker: Error response from daemon: No such image.\n\nRun 'docker run --help' for more information\n",
            &["No such image"],
        );
        check(
            "Error response from daemon: failed to create task for container: failed to create shim task: OCI runtime \
             create failed: runc create failed: unable to start container process: exec: \"x\": permission denied: unknown\n",
            &["exec: \"x\": permission denied"],
        );
        check("error: No such image\nhint: pull it\n", &["No such image"]);
        check(
            "error: 'hull run' requires at least 1 argument\n\nUsage:  hull run IMAGE\n\nRun 'hull run --help' for more",
            &["'docker run' requires at least 1 argument"],
        );
        check("", &[]);
    }
}
