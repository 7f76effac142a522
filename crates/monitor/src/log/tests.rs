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

fn file_plan(folder: &Path, form: LogForm, compress: bool) -> LogPlan {
    let (mut plan, _) = plan(folder, Some(1000), 4);
    let file = plan.file.as_mut().unwrap();
    file.form = form;
    file.compress = compress;
    plan
}

/// The lines of all files, oldest first, and how many of the files are compressed.
fn all_lines(path: &Path, form: LogForm) -> (Vec<String>, usize) {
    use std::io::Read;
    let mut text = Vec::new();
    let mut compressed = 0;
    for n in (0..9).rev() {
        let plain = if n == 0 { path.to_owned() } else { numbered(path, n) };
        if let Ok(bytes) = std::fs::read(&plain) {
            text.extend(bytes);
        } else if let Ok(bytes) = std::fs::read(rotate::with_suffix(&plain, form.suffix())) {
            compressed += 1;
            match form {
                LogForm::JsonFile => {
                    let mut decoder = flate2::read::GzDecoder::new(&*bytes);
                    decoder.read_to_end(&mut text).unwrap();
                }
                LogForm::Local => text.extend(zstd::decode_all(&*bytes).unwrap()),
            }
            assert!(Origin::read(form, &mut &*bytes).unwrap().size <= 1000);
        }
    }
    let lines = String::from_utf8(text).unwrap();
    (lines.lines().map(str::to_owned).collect(), compressed)
}

#[test]
fn what_is_rotated_away_is_compressed() {
    for form in [LogForm::JsonFile, LogForm::Local] {
        let folder = tempfile::tempdir().unwrap();
        let plan = file_plan(folder.path(), form, true);
        let path = plan.file.as_ref().unwrap().path.clone();
        let mut log = Log::open(&plan).unwrap();
        let mut written = 0;
        for n in 0..100 {
            log.write(Stream::Stdout, format!("line {n}\n").as_bytes());
            written += 1;
            if n == 50 {
                log = Log::open(&plan).unwrap();
            }
        }
        let (lines, compressed) = all_lines(&path, form);
        assert_eq!(compressed, 3, "{form:?}");
        for (line, n) in lines.iter().rev().zip((0..written).rev()) {
            assert!(line.contains(&format!("line {n}")), "{line}");
        }
        assert!(lines.len() > 30);
        // A kill of the compressing process leaves both; one of the writing one leaves a gap.
        std::fs::write(numbered(&path, 1), "").unwrap();
        std::fs::remove_file(rotate::with_suffix(&numbered(&path, 2), form.suffix())).unwrap();
        for n in 0..200 {
            log.write(Stream::Stdout, format!("more {n}\n").as_bytes());
        }
        let (lines, compressed) = all_lines(&path, form);
        assert_eq!(compressed, 3);
        assert!(lines.last().unwrap().contains("more 199"));
        assert!(lines.iter().all(|line| line.contains("more ")), "{lines:?}");
    }
}

#[test]
fn a_slow_compression_is_not_waited_for_and_caught_up_with() {
    use rustix::fs::{FlockOperation, flock};
    let folder = tempfile::tempdir().unwrap();
    let plan = file_plan(folder.path(), LogForm::Local, true);
    let path = plan.file.as_ref().unwrap().path.clone();
    let mut log = Log::open(&plan).unwrap();
    let mut n = 0;
    let mut fill = |until: &dyn Fn() -> bool| {
        while !until() {
            log.write(Stream::Stdout, format!("line {n}\n").as_bytes());
            n += 1;
        }
    };
    // As if another process compressed this one.
    std::fs::write(numbered(&path, 1), "oF 0000000000000000000 slow\n").unwrap();
    let slow = std::fs::File::open(numbered(&path, 1)).unwrap();
    flock(&slow, FlockOperation::LockExclusive).unwrap();
    fill(&|| numbered(&path, 3).exists());
    assert_eq!(all_lines(&path, LogForm::Local).1, 0);
    drop(slow);
    fill(&|| rotate::with_suffix(&numbered(&path, 3), ".zst").exists());
    let (lines, compressed) = all_lines(&path, LogForm::Local);
    assert_eq!(compressed, 3);
    for (line, n) in lines.iter().rev().zip((0..n).rev()) {
        assert!(line.ends_with(&format!("line {n}")), "{line}");
    }
}

#[test]
fn a_line_outlives_its_monitor() {
    let folder = tempfile::tempdir().unwrap();
    let (mut plan, path) = plan(folder.path(), None, 3);
    plan.unfinished = Some(folder.path().join("unfinished"));
    let killed = |log: Log| drop(log);
    let mut log = Log::open(&plan).unwrap();
    log.write(Stream::Stdout, b"one\ntw");
    log.write(Stream::Stderr, b"er");
    log.write(Stream::Stdout, b"o, ");
    killed(log);
    let next = || Log::resume(&plan, Held::default()).unwrap();
    let mut log = next();
    log.write(Stream::Stdout, b"three\n");
    log.write(Stream::Stderr, &[b'x'; LINE_MAX]);
    killed(log);
    let mut log = next();
    log.write(Stream::Stderr, b"rest\n");
    log.finish();
    killed(log);
    // What was finished does not come again.
    next().finish();
    let found: Vec<String> = texts(&path).into_iter().map(|(_, text)| text).collect();
    let long = "er".to_owned() + &"x".repeat(LINE_MAX - 2);
    assert_eq!(found, ["one\n", "two, three\n", &long, "xxrest\n"]);
}

#[test]
fn what_was_written_ahead_is_neither_lost_nor_there_twice() {
    let folder = tempfile::tempdir().unwrap();
    let (mut plan, path) = plan(folder.path(), None, 3);
    plan.unfinished = Some(folder.path().join("unfinished"));
    let mut log = Log::open(&plan).unwrap();
    log.write_ahead(Stream::Stdout, b"one\ntw");
    log.left();
    log.write_ahead(Stream::Stderr, b"three\n");
    // Killed before these leave their pipe: the next monitor is told of them.
    drop(log);
    let mut log = Log::resume(&plan, Held::default()).unwrap();
    let taken = log.take_over().unwrap();
    assert_eq!(
        (taken.stream, taken.length, taken.front.as_slice()),
        (1, 6, &b"three\n"[..])
    );
    log.left();
    let known = std::fs::read(folder.path().join("unfinished")).unwrap();
    log.write_ahead(Stream::Stdout, b"o\nfour\nfi");
    drop(log);
    // Killed before that could be written down: it is in its pipe still, and comes again.
    std::fs::write(folder.path().join("unfinished"), known).unwrap();
    let mut log = Log::resume(&plan, Held::default()).unwrap();
    assert_eq!(log.take_over(), None);
    log.write_ahead(Stream::Stdout, b"o\nfour\nfi");
    log.left();
    log.write_ahead(Stream::Stdout, b"ve\n");
    log.left();
    drop(log);
    let mut log = Log::resume(&plan, Held::default()).unwrap();
    assert_eq!(log.take_over(), None);
    log.finish();
    let found: Vec<String> = texts(&path).into_iter().map(|(_, text)| text).collect();
    assert_eq!(found, ["one\n", "three\n", "two\n", "four\n", "five\n"]);
    // The next run has nothing to do with it.
    log.write(Stream::Stdout, b"half");
    drop(log);
    Log::open(&plan).unwrap().finish();
    assert_eq!(texts(&path).len(), 5);
}

#[test]
fn all_parts_of_a_line_have_its_first_ones_time() {
    let folder = tempfile::tempdir().unwrap();
    let plan = file_plan(folder.path(), LogForm::Local, false);
    let path = plan.file.as_ref().unwrap().path.clone();
    let mut log = Log::open(&plan).unwrap();
    log.write(Stream::Stdout, &[b'x'; LINE_MAX]);
    log.write(Stream::Stdout, b"\nnext\n");
    let (lines, _) = all_lines(&path, LogForm::Local);
    let heads: Vec<_> = lines.iter().map(|line| line.split_at(22).0.split_at(2)).collect();
    assert_eq!((heads[0].0, heads[1].0, heads[2].0), ("oP", "oF", "oF"));
    assert_eq!(heads[0].1, heads[1].1);
    assert_ne!(heads[1].1, heads[2].1);
}

#[test]
fn an_entry_that_was_torn_gets_an_end() {
    let folder = tempfile::tempdir().unwrap();
    let (plan, path) = plan(folder.path(), None, 3);
    std::fs::write(&path, "{\"log\":\"ha").unwrap();
    Log::open(&plan).unwrap().write(Stream::Stdout, b"a\n");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("{\"log\":\"ha\n{\"log\":\"a\\n\""), "{text}");
}

#[test]
fn a_file_that_was_cut_by_hand_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (plan, path) = plan(folder.path(), Some(1000), 3);
    let mut log = Log::open(&plan).unwrap();
    log.write(Stream::Stdout, b"a\n");
    std::fs::File::create(&path).unwrap();
    log.write(Stream::Stdout, b"b\n");
    assert_eq!(texts(&path), [("stdout".to_owned(), "b\n".to_owned())]);
}

/// A file system of 64 kB, gone at the end of the test.
struct Small(tempfile::TempDir);

impl Small {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("none", folder.path(), "tmpfs", flags, Some(c"size=64k")).unwrap();
        Self(folder)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.0.path(), rustix::mount::UnmountFlags::DETACH);
    }
}

#[test]
fn privileged_a_full_disk_loses_whole_entries_only_and_says_so() {
    if !hull_testkit::require_root() {
        return;
    }
    for form in [LogForm::JsonFile, LogForm::Local] {
        let disk = Small::new();
        let (mut plan, path) = plan(disk.0.path(), Some(1 << 20), 2);
        plan.file.as_mut().unwrap().form = form;
        plan.buffer = Some(1000);
        let mut log = Log::open(&plan).unwrap();
        let ballast = disk.0.path().join("ballast");
        std::fs::write(&ballast, [0; 32 << 10]).unwrap();
        for n in 0..1000 {
            log.write(Stream::Stdout, format!("line {n} {}\n", "x".repeat(100)).as_bytes());
        }
        std::fs::remove_file(&ballast).unwrap();
        log.write(Stream::Stdout, b"after\n");
        log.write(Stream::Stdout, b"end\n");
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let whole = |line: &&str| match form {
            LogForm::JsonFile => serde_json::from_str::<serde_json::Value>(line).is_ok(),
            LogForm::Local => line.starts_with("oF 1") || line.starts_with("eF 1"),
        };
        assert!(lines.iter().all(whole), "{text}");
        let (note, rest) = lines
            .iter()
            .rev()
            .take(2)
            .collect::<Vec<_>>()
            .split_first()
            .map(|(e, r)| (r[0].to_string(), e.to_string()))
            .unwrap();
        assert!(rest.contains("end"));
        let lost: usize = note
            .split_once("hull: ")
            .unwrap()
            .1
            .split(' ')
            .next()
            .unwrap()
            .parse()
            .unwrap();
        let kept = lines.iter().filter(|line| line.contains("line ")).count();
        assert_eq!(kept + lost, 1000, "{note}");
        for (n, line) in lines.iter().take(kept).enumerate() {
            assert!(line.contains(&format!("line {n} ")), "{line}");
        }
        assert!(lines[kept].contains("after"));
    }
}

#[test]
fn privileged_a_disk_that_has_no_room_for_a_new_file_keeps_the_log() {
    if !hull_testkit::require_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let disk = Small(folder);
    let flags = rustix::mount::MountFlags::empty();
    // Three inodes: the root, the log, and one more file.
    rustix::mount::mount("none", disk.0.path(), "tmpfs", flags, Some(c"size=64k,nr_inodes=3")).unwrap();
    let (plan, path) = plan(disk.0.path(), Some(1000), 3);
    let mut log = Log::open(&plan).unwrap();
    std::fs::write(disk.0.path().join("other"), "").unwrap();
    for n in 0..20 {
        log.write(Stream::Stdout, format!("line {n}\n").as_bytes());
    }
    std::fs::remove_file(disk.0.path().join("other")).unwrap();
    log.write(Stream::Stdout, b"line 20\n");
    let mut found = texts(&numbered(&path, 1));
    found.extend(texts(&path));
    let expected: Vec<_> = (0..=20).map(|n| ("stdout".to_owned(), format!("line {n}\n"))).collect();
    assert_eq!(found, expected);
}
