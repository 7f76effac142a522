//! Instructions, typed: what each says, with the place of every word.
//!
//! Words are as written: variables are still in them. [`Scope`](crate::Scope) replaces those where the instruction's
//! rules say so.

pub(crate) mod flag;
mod healthcheck;
pub mod mount;
pub(crate) mod read;
mod run;
mod transfer;

use std::fmt;

use crate::source::{Span, Word};
use crate::token::{Flag, Pair};

pub use healthcheck::{Healthcheck, Probe};
pub use mount::{Device, Mount, MountFlag, MountType, Sharing};
pub use run::{InlineScript, Network, Program, Run, Security};
pub use transfer::{Add, Content, Copy, Files};

/// The name of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "they are the Dockerfile reference's")]
pub enum Keyword {
    Add,
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    From,
    Healthcheck,
    Label,
    Maintainer,
    Onbuild,
    Run,
    Shell,
    Stopsignal,
    User,
    Volume,
    Workdir,
}

impl Keyword {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::Add,
        Self::Arg,
        Self::Cmd,
        Self::Copy,
        Self::Entrypoint,
        Self::Env,
        Self::Expose,
        Self::From,
        Self::Healthcheck,
        Self::Label,
        Self::Maintainer,
        Self::Onbuild,
        Self::Run,
        Self::Shell,
        Self::Stopsignal,
        Self::User,
        Self::Volume,
        Self::Workdir,
    ];

    /// In upper case.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Arg => "ARG",
            Self::Cmd => "CMD",
            Self::Copy => "COPY",
            Self::Entrypoint => "ENTRYPOINT",
            Self::Env => "ENV",
            Self::Expose => "EXPOSE",
            Self::From => "FROM",
            Self::Healthcheck => "HEALTHCHECK",
            Self::Label => "LABEL",
            Self::Maintainer => "MAINTAINER",
            Self::Onbuild => "ONBUILD",
            Self::Run => "RUN",
            Self::Shell => "SHELL",
            Self::Stopsignal => "STOPSIGNAL",
            Self::User => "USER",
            Self::Volume => "VOLUME",
            Self::Workdir => "WORKDIR",
        }
    }

    /// The instruction of a word in any case.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|known| known.as_str().eq_ignore_ascii_case(word))
    }

    /// Whether here-documents may follow it.
    pub(crate) fn takes_heredocs(self) -> bool {
        matches!(self, Self::Add | Self::Copy | Self::Run)
    }
}

impl fmt::Display for Keyword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Its name as written.
    pub name: Word,
    /// What it says.
    pub command: Command,
    /// Its flags as written.
    pub flags: Vec<Flag>,
    /// Its text on one line, without its here-documents: what progress and the history show.
    pub code: String,
    /// The comments right above it.
    pub comments: Vec<Word>,
    /// From its name to the end of its last line or here-document.
    pub span: Span,
}

impl Instruction {
    /// Its name.
    #[must_use]
    pub fn keyword(&self) -> Keyword {
        self.command.keyword()
    }
}

/// What an instruction says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `ADD`.
    Add(Add),
    /// `ARG name[=value] ..`.
    Arg(Vec<Argument>),
    /// `CMD`.
    Cmd(CommandLine),
    /// `COPY`.
    Copy(Copy),
    /// `ENTRYPOINT`.
    Entrypoint(CommandLine),
    /// `ENV name=value ..`.
    Env(Vec<Pair>),
    /// `EXPOSE port[/protocol] ..`, sorted.
    Expose(Vec<Word>),
    /// `FROM`.
    From(From),
    /// `HEALTHCHECK`.
    Healthcheck(Healthcheck),
    /// `LABEL name=value ..`.
    Label(Vec<Pair>),
    /// `MAINTAINER`.
    Maintainer(Word),
    /// `ONBUILD`.
    Onbuild(Onbuild),
    /// `RUN`.
    Run(Box<Run>),
    /// `SHELL ["program", ..]`.
    Shell(Vec<Word>),
    /// `STOPSIGNAL`.
    Stopsignal(Word),
    /// `USER`.
    User(Word),
    /// `VOLUME`.
    Volume(Vec<Word>),
    /// `WORKDIR`.
    Workdir(Word),
}

impl Command {
    /// The instruction's name.
    #[must_use]
    pub fn keyword(&self) -> Keyword {
        match self {
            Self::Add(_) => Keyword::Add,
            Self::Arg(_) => Keyword::Arg,
            Self::Cmd(_) => Keyword::Cmd,
            Self::Copy(_) => Keyword::Copy,
            Self::Entrypoint(_) => Keyword::Entrypoint,
            Self::Env(_) => Keyword::Env,
            Self::Expose(_) => Keyword::Expose,
            Self::From(_) => Keyword::From,
            Self::Healthcheck(_) => Keyword::Healthcheck,
            Self::Label(_) => Keyword::Label,
            Self::Maintainer(_) => Keyword::Maintainer,
            Self::Onbuild(_) => Keyword::Onbuild,
            Self::Run(_) => Keyword::Run,
            Self::Shell(_) => Keyword::Shell,
            Self::Stopsignal(_) => Keyword::Stopsignal,
            Self::User(_) => Keyword::User,
            Self::Volume(_) => Keyword::Volume,
            Self::Workdir(_) => Keyword::Workdir,
        }
    }
}

/// How a command line is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A JSON array: the program and its arguments.
    Exec,
    /// A text for the shell.
    Shell,
}

/// A command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    /// How it is given.
    pub form: Form,
    /// The program and its arguments; of a shell's text one word, or none where it is empty.
    pub words: Vec<Word>,
}

impl CommandLine {
    /// What is executed, given the shell and its options.
    #[must_use]
    pub fn arguments(&self, shell: &[String]) -> Vec<String> {
        let words: Vec<String> = self.words.iter().map(|word| word.text.clone()).collect();
        match self.form {
            Form::Exec => words,
            Form::Shell => with_shell(shell, words.join(" ")),
        }
    }
}

fn with_shell(shell: &[String], text: String) -> Vec<String> {
    shell.iter().cloned().chain([text]).collect()
}

/// `FROM [--platform=P] image [AS name]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct From {
    /// The image or the stage.
    pub base: Word,
    /// The word `AS` as written.
    pub as_word: Option<Word>,
    /// The stage's name as written; names are compared in lower case.
    pub name: Option<Word>,
    /// `--platform`.
    pub platform: Option<Word>,
}

/// One variable of `ARG`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    /// The name.
    pub name: Word,
    /// The value where none is given from outside.
    pub value: Option<Word>,
    /// What the comment above says of it.
    pub description: Option<String>,
}

/// `ONBUILD instruction`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Onbuild {
    /// The instruction's name as written.
    pub trigger: Word,
    /// The instruction with its here-documents, as the image's config keeps it.
    pub expression: String,
}
