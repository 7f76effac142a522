use std::path::{Path, PathBuf};

use super::rotate::numbered;
use super::*;

fn plan(folder: &Path, max_size: Option<u64>, max_files: u32) -> (LogPlan, PathBuf) {
    let path = folder.join("x-json.log");
    let file = LogFile {
        path: path.clone(),
        form: LogForm::JsonFile,
        max_size,
        max_files,
        compress: false,
        attributes: Default::default(),
    };
    let plan = LogPlan {
        file: Some(file),
        ..LogPlan::default()
    };
    (plan, path)
}

fn texts(path: &Path) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(path).unwrap();
    let parse = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(value["time"].as_str().unwrap().ends_with('Z'));
        (
            value["stream"].as_str().unwrap().to_owned(),
            value["log"].as_str().unwrap().to_owned(),
        )
    };
    text.lines().map(parse).collect()
}

#[test]
fn lines_are_kept_whole_and_streams_apart() {
    let folder = tempfile::tempdir().unwrap();
    let (plan, path) = plan(folder.path(), None, 3);
    let mut log = Log::open(&plan).unwrap();
    log.write(Stream::Stdout, b"one\ntw");
    log.write(Stream::Stderr, b"err\n");
    log.write(Stream::Stdout, b"o\n\xff<\"\\\x01\xe2\x80\xa8end");
    log.finish();
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(
        texts(&path),
        [
            pair("stdout", "one\n"),
            pair("stderr", "err\n"),
            pair("stdout", "two\n"),
            pair("stdout", "\u{fffd}<\"\\\u{1}\u{2028}end")
        ]
    );
    let raw = std::fs::read_to_string(&path).unwrap();
    assert!(
        raw.contains(r#"{"log":"\ufffd\u003c\"\\\u0001\u2028end","stream":"stdout","time":"2"#),
        "{raw}"
    );
}

#[test]
fn long_lines_are_split_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let (plan, path) = plan(folder.path(), None, 3);
    let mut log = Log::open(&plan).unwrap();
    let text = "x".repeat(40_000) + "\n";
    for chunk in text.as_bytes().chunks(777) {
        log.write(Stream::Stdout, chunk);
    }
    log.finish();
    let parts = texts(&path);
    assert_eq!(
        parts.iter().map(|(_, t)| t.len()).collect::<Vec<_>>(),
        [LINE_MAX, LINE_MAX, 40_001 - 2 * LINE_MAX]
    );
    assert_eq!(parts.concat_text(), text);
}

trait Concat {
    fn concat_text(&self) -> String;
}

impl Concat for Vec<(String, String)> {
    fn concat_text(&self) -> String {
        self.iter().map(|(_, t)| t.as_str()).collect()
    }
}

#[test]
fn one_burst_is_spread_over_files_of_the_right_size() {
    let folder = tempfile::tempdir().unwrap();
    let (plan, path) = plan(folder.path(), Some(1000), 4);
    let mut log = Log::open(&plan).unwrap();
    let long = "x".repeat(2000);
    let text: String = (0..40).map(|n| format!("line {n}\n")).collect::<String>() + &long + "\nlast\n";
    log.write(Stream::Stdout, text.as_bytes());
    let mut all = Vec::new();
    for file in [numbered(&path, 3), numbered(&path, 2), numbered(&path, 1), path.clone()] {
        let lines = texts(&file);
        assert!(std::fs::metadata(&file).unwrap().len() <= 1000 || lines.len() == 1);
        all.extend(lines);
    }
    let kept = all.concat_text();
    assert!(text.ends_with(&kept) && kept.contains(&long), "{kept}");
}

#[test]
fn rotation_keeps_the_newest_and_loses_no_line_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let (plan, path) = plan(folder.path(), Some(1000), 3);
    let mut log = Log::open(&plan).unwrap();
    for n in 0..100 {
        log.write(Stream::Stdout, format!("line {n}\n").as_bytes());
    }
    let mut all = Vec::new();
    for file in [numbered(&path, 2), numbered(&path, 1), path.clone()] {
        assert!(std::fs::metadata(&file).unwrap().len() <= 1000);
        all.extend(texts(&file));
    }
    assert!(!numbered(&path, 3).exists());
    let first = 100 - all.len();
    assert!(all.len() > 20);
    for (n, (_, text)) in all.iter().enumerate() {
        assert_eq!(*text, format!("line {}\n", first + n));
    }
}
