//! Transcripts: command lines and what they answer, as text files that hull is held to and that Docker can be asked
//! to write.
//!
//! ```text
//! # A comment.
//! % mask port [0-9]+ => port <port>     more that must differ, in the whole file
//! $ docker rm -f one two                a command line, for `sh`; `docker` is hull or Docker
//! > --force                             its next line
//! % differs KEY                         hull answers otherwise on purpose: docs/differences.md, heading KEY
//! | one                                 a line of standard output
//! ~ two                                 the last, when no line end follows
//! ! No such container: two              a line of standard error, without `Error response from daemon:` and the like
//! !~ executable file not found          a part of standard error that is all that counts of it
//! = 1                                   the exit code, unless 0
//! +| one                                after `% differs`: what hull says instead, in the same forms
//! ```
//! Standard output and the exit code are compared in full, after the [masks](mask). Of standard error, each line must
//! be contained in what hull says.

pub mod machine;
pub mod mask;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use machine::Machine;
use mask::Masks;

/// A transcript file.
#[derive(Debug)]
pub struct Transcript {
    path: PathBuf,
    items: Vec<Item>,
}

#[derive(Debug)]
enum Item {
    /// A comment or an empty line, kept as it is.
    Text(String),
    /// A mask of the file's own.
    Mask(String, String),
    Step(Step),
}

/// A command line and its answers.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// Where it stands in the file, from 1.
    pub number: usize,
    /// The text for `sh`.
    pub command: String,
    /// The heading of docs/differences.md that says why hull answers otherwise.
    pub differs: Option<String>,
    docker: Answer,
    hull: Answer,
}

/// What a command line answered, masked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Lines as the file has them: `| text`, and `~ text` for a last one without an end.
    stdout: Vec<String>,
    /// Lines without the program's prefixes.
    stderr: Vec<String>,
    /// Parts that standard error must contain, instead of lines.
    phrases: Vec<String>,
    code: i32,
}

/// An answer that is not what the file says.
#[derive(Debug)]
pub struct Mismatch {
    place: String,
    command: String,
    who: &'static str,
    expected: String,
    found: String,
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            place,
            command,
            who,
            expected,
            found,
        } = self;
        write!(
            f,
            "{place}: {who}\n$ {command}\n  expected:\n{expected}  found:\n{found}"
        )
    }
}

/// The transcripts of a folder, in the order of their names.
///
/// # Panics
/// If it cannot be read.
#[must_use]
pub fn all(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("read the folder of transcripts");
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "txt"));
    paths.sort();
    paths
}

impl Transcript {
    /// Reads one.
    ///
    /// # Panics
    /// If it cannot be read, or is not in the form that this module describes.
    #[must_use]
    pub fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()));
        Self::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Self {
        let mut items = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let place = || format!("{}:{}", path.display(), index + 1);
            if line.is_empty() || line.starts_with('#') {
                items.push(Item::Text(line.to_owned()));
                continue;
            }
            if let Some(rule) = line.strip_prefix("% mask ") {
                let (from, to) = rule
                    .split_once(" => ")
                    .unwrap_or_else(|| panic!("{}: no ` => ` in the mask", place()));
                items.push(Item::Mask(from.to_owned(), to.to_owned()));
                continue;
            }
            if let Some(command) = line.strip_prefix("$ ") {
                items.push(Item::Step(Step {
                    number: index + 1,
                    command: command.to_owned(),
                    ..Step::default()
                }));
                continue;
            }
            let Some(Item::Step(step)) = items.last_mut() else {
                panic!("{}: no command line before this one", place());
            };
            assert!(step.take(line), "{}: not a line of a transcript: {line}", place());
        }
        Self {
            path: path.to_owned(),
            items,
        }
    }

    /// The name of the file without `.txt`.
    #[must_use]
    pub fn name(&self) -> String {
        self.path
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned())
            .unwrap_or_default()
    }

    /// The command lines.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.items.iter().filter_map(|item| match item {
            Item::Step(step) => Some(step),
            _ => None,
        })
    }

    fn masks(&self, machine: &Machine) -> Masks {
        let mut masks = Masks::new(machine.folders());
        for item in &self.items {
            if let Item::Mask(from, to) = item {
                masks.add(from, to);
            }
        }
        masks
    }

    /// Runs all command lines on a fresh `machine` and tells where its answers are not those of the file.
    #[must_use]
    pub fn replay(&self, machine: &Machine) -> Vec<Mismatch> {
        let mut masks = self.masks(machine);
        let mut mismatches = Vec::new();
        for step in self.steps() {
            let found = Answer::of(&machine.run(&step.command), &mut masks);
            let expected = step.expected(machine.is_hull());
            if !expected.allows(&found, machine.is_hull() && step.differs.is_none()) {
                mismatches.push(Mismatch {
                    place: format!("{}:{}", self.path.display(), step.number),
                    command: step.command.clone(),
                    who: if machine.is_hull() { "hull" } else { "Docker" },
                    expected: expected.text("    "),
                    found: found.text("    "),
                });
            }
        }
        mismatches
    }

    /// Runs all command lines on a fresh Docker and writes down what it answers, and on a fresh hull what that answers
    /// where a difference is announced.
    ///
    /// # Panics
    /// If the file cannot be written, or a phrase is not in what Docker says.
    pub fn record(&mut self, docker: &Machine, hull: &Machine) {
        let (mut of_docker, mut of_hull) = (self.masks(docker), self.masks(hull));
        for item in &mut self.items {
            let Item::Step(step) = item else { continue };
            let mut answer = Answer::of(&docker.run(&step.command), &mut of_docker);
            if !step.docker.phrases.is_empty() {
                let all = answer.stderr.join("\n");
                for phrase in &step.docker.phrases {
                    assert!(
                        all.contains(phrase),
                        "line {}: Docker does not say `{phrase}` but: {all}",
                        step.number
                    );
                }
                answer.phrases.clone_from(&step.docker.phrases);
                answer.stderr.clear();
            }
            step.docker = answer;
            let answer = Answer::of(&hull.run(&step.command), &mut of_hull);
            step.hull = if step.differs.is_some() {
                answer
            } else {
                Answer::default()
            };
        }
        std::fs::write(&self.path, self.text()).expect("write the transcript");
    }

    fn text(&self) -> String {
        let mut out = String::new();
        for item in &self.items {
            let _ = match item {
                Item::Text(text) => writeln!(out, "{text}"),
                Item::Mask(from, to) => writeln!(out, "% mask {from} => {to}"),
                Item::Step(step) => write!(out, "{}", step.text()),
            };
        }
        out
    }
}

impl Step {
    fn expected(&self, hull: bool) -> &Answer {
        if hull && self.differs.is_some() {
            &self.hull
        } else {
            &self.docker
        }
    }

    /// Reads a line that belongs to it, or says that it is none.
    fn take(&mut self, line: &str) -> bool {
        if let Some(more) = line.strip_prefix("> ") {
            self.command.push('\n');
            self.command.push_str(more);
            return true;
        }
        if let Some(key) = line.strip_prefix("% differs ") {
            self.differs = Some(key.to_owned());
            return true;
        }
        match line.strip_prefix('+') {
            Some(rest) => self.differs.is_some() && self.hull.take(rest),
            None => self.docker.take(line),
        }
    }

    fn text(&self) -> String {
        let mut out = format!("$ {}\n", self.command.replace('\n', "\n> "));
        if let Some(key) = &self.differs {
            let _ = writeln!(out, "% differs {key}");
        }
        out += &self.docker.text("");
        if self.differs.is_some() {
            out += &self.hull.text("+");
        }
        out
    }
}

impl Answer {
    fn of(run: &machine::Raw, masks: &mut Masks) -> Self {
        masks.begin();
        Self {
            stdout: masks.stdout(&run.stdout),
            stderr: masks.stderr(&run.stderr),
            phrases: Vec::new(),
            code: run.code,
        }
    }

    fn take(&mut self, line: &str) -> bool {
        let (sign, rest) = line.split_once(' ').unwrap_or((line, ""));
        match sign {
            "|" | "~" => self.stdout.push(line.to_owned()),
            "!" => self.stderr.push(rest.to_owned()),
            "!~" => self.phrases.push(rest.to_owned()),
            "=" => match rest.parse() {
                Ok(code) => self.code = code,
                Err(_) => return false,
            },
            _ => return false,
        }
        true
    }

    fn text(&self, indent: &str) -> String {
        let mut out = String::new();
        for line in &self.stdout {
            let _ = writeln!(out, "{indent}{line}");
        }
        for line in &self.stderr {
            let _ = writeln!(out, "{indent}! {line}");
        }
        for phrase in &self.phrases {
            let _ = writeln!(out, "{indent}!~ {phrase}");
        }
        if self.code != 0 {
            let _ = writeln!(out, "{indent}= {}", self.code);
        }
        out
    }

    /// Whether `found` is what this promises. `loosely`: it may say more on standard error around each line.
    fn allows(&self, found: &Self, loosely: bool) -> bool {
        if (&self.stdout, self.code) != (&found.stdout, found.code) {
            return false;
        }
        let said = found.stderr.join(": ");
        if !self.phrases.is_empty() {
            return self.phrases.iter().all(|phrase| said.contains(phrase));
        }
        if loosely && !self.stderr.is_empty() {
            return self.stderr.iter().all(|line| said.contains(line.as_str()));
        }
        self.stderr == found.stderr
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# about
% mask [0-9]+ apples => <apples>

$ docker rm one &&
> docker rm two
| one
~ two
! No such container: two
= 1
$ docker version
% differs version
| 28
!~ a phrase
+| 0.1
+= 3
";

    #[test]
    fn a_file_is_written_as_it_was_read() {
        let transcript = Transcript::parse(Path::new("x.txt"), TEXT);
        assert_eq!(transcript.text(), TEXT);
        let steps: Vec<_> = transcript.steps().collect();
        assert_eq!(steps[0].command, "docker rm one &&\ndocker rm two");
        assert_eq!((steps[0].number, steps[0].docker.code), (4, 1));
        assert_eq!(steps[1].expected(true).code, 3);
        assert_eq!(steps[1].expected(false).code, 0);
    }

    #[test]
    fn only_standard_error_may_say_more() {
        let read = |text: &str| {
            let mut answer = Answer::default();
            for line in text.lines() {
                assert!(answer.take(line), "{line}");
            }
            answer
        };
        let check = |expected: &str, found: &str, loosely: bool, allowed: bool| {
            assert_eq!(
                read(expected).allows(&read(found), loosely),
                allowed,
                "{expected} / {found}"
            );
        };
        check("| a", "| a", true, true);
        check("| a", "| a\n| b", true, false);
        check("~ a", "| a", true, false);
        check("", "! warning", true, false);
        check("! no x", "! cannot do y\n! no x", true, true);
        check("! no x", "! cannot do y\n! no x", false, false);
        check("! no x\n! no y", "! no x", true, false);
        check("!~ no", "! oh no!", false, true);
        check("= 1", "= 2", true, false);
    }

    #[test]
    #[should_panic(expected = "x.txt:1: no command line before")]
    fn an_answer_needs_its_question() {
        Transcript::parse(Path::new("x.txt"), "| a");
    }
}
