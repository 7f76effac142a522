//! The whole file: directives, global arguments, stages.

use crate::directive::{self, Directives};
use crate::error::{Error, Located, Problem};
use crate::instruction::read::{self, Parts};
use crate::instruction::{Command, From, Instruction};
use crate::line::Reader;
use crate::source::{Source, Span};

/// A Dockerfile that could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dockerfile {
    /// Its text.
    pub source: Source,
    /// Its parser directives.
    pub directives: Directives,
    /// The `ARG` instructions before the first `FROM`.
    pub globals: Vec<Instruction>,
    /// Its stages, in order; at least one.
    pub stages: Vec<Stage>,
    /// Lines that were empty although the one above them says that the instruction goes on.
    pub gaps: Vec<Span>,
}

/// A stage: `FROM` and what follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Its `FROM`.
    pub instruction: Instruction,
    /// What that says.
    pub from: From,
    /// Its name in lower case.
    pub name: Option<String>,
    /// What the comment above says of it.
    pub description: Option<String>,
    /// The instructions below.
    pub instructions: Vec<Instruction>,
}

impl Dockerfile {
    /// The character that escapes and continues lines.
    #[must_use]
    pub fn escape(&self) -> char {
        self.directives.escape_character()
    }

    /// All instructions, in order.
    pub fn instructions(&self) -> impl Iterator<Item = &Instruction> {
        let stages = self.stages.iter();
        let below = stages.flat_map(|stage| std::iter::once(&stage.instruction).chain(&stage.instructions));
        self.globals.iter().chain(below)
    }

    /// A failure at a place of this file.
    #[must_use]
    pub fn error(&self, span: Span, problem: Problem) -> Error {
        Error::new(&self.source, span, problem)
    }
}

/// Reads a Dockerfile.
///
/// # Errors
/// What is wrong with it, and where. `Source::new` of the same bytes has the text that the place is in.
pub fn parse(bytes: &[u8]) -> Result<Dockerfile, Error> {
    let source = Source::new(bytes);
    if bytes.is_empty() {
        return Err(Error::new(&source, Span::default(), Problem::Empty));
    }
    let fail = |(problem, span): Located| Error::new(&source, span, problem);
    let (directives, head) = directive::read(&source).map_err(fail)?;
    let all = take_apart(&source, directives.escape_character(), head).map_err(fail)?;
    if all.is_empty() {
        let end = source.text().len();
        return Err(fail((Problem::NoInstructions, Span { start: end, end })));
    }
    let mut globals = Vec::new();
    let mut stages: Vec<Stage> = Vec::new();
    let gaps = all.iter().filter_map(|parts| parts.gap).collect();
    for parts in all {
        let instruction = read::instruction(parts).map_err(|at| fail(at).of_reading())?;
        if let Command::From(from) = &instruction.command {
            stages.push(stage(from.clone(), instruction));
        } else if let Some(stage) = stages.last_mut() {
            stage.instructions.push(instruction);
        } else if matches!(instruction.command, Command::Arg(_)) {
            globals.push(instruction);
        } else {
            return Err(fail((Problem::OutsideStage, instruction.span)));
        }
    }
    if stages.is_empty() {
        let end = source.text().len();
        return Err(fail((Problem::NoStages, Span { start: end, end })));
    }
    Ok(Dockerfile {
        directives,
        globals,
        stages,
        gaps,
        source,
    })
}

fn stage(from: From, instruction: Instruction) -> Stage {
    let name = from.name.as_ref().map(|name| name.text.to_lowercase());
    Stage {
        description: name
            .as_ref()
            .and_then(|name| read::description(&instruction.comments, name)),
        name,
        from,
        instruction,
        instructions: Vec::new(),
    }
}

fn take_apart(source: &Source, escape: char, head: usize) -> Result<Vec<Parts>, Located> {
    let mut reader = Reader::new(source, escape, head);
    let mut out = Vec::new();
    while let Some(line) = reader.next() {
        out.push(read::parts(line, &mut reader, escape)?);
    }
    Ok(out)
}

/// Reads an `ONBUILD` instruction of a base image: the instruction's text with its here-documents. Its places are places
/// of that text.
///
/// # Errors
/// What is wrong with it.
pub fn parse_trigger(expression: &str) -> Result<Instruction, Problem> {
    let source = Source::new(expression.as_bytes());
    let problem = |(problem, _): Located| problem;
    let (directives, head) = directive::read(&source).map_err(problem)?;
    let mut all = take_apart(&source, directives.escape_character(), head).map_err(problem)?;
    let (Some(parts), true) = (all.pop(), all.is_empty()) else {
        return Err(Problem::TriggerNotSingle);
    };
    let instruction = read::instruction(parts).map_err(problem)?;
    match &instruction.command {
        Command::Onbuild(_) => Err(Problem::OnbuildChained),
        Command::From(_) | Command::Maintainer(_) => Err(Problem::NoTrigger {
            instruction: instruction.keyword().as_str().to_owned(),
        }),
        _ => Ok(instruction),
    }
}
