//! From the text of an instruction to what it says.

use super::flag::{self, Flags, Table};
use super::{Argument, Command, CommandLine, Form, From, Instruction, Keyword, Onbuild};
use super::{healthcheck, run, transfer};
use crate::error::{Located, Near, Problem};
use crate::heredoc::{self, Heredoc};
use crate::line::{Line, Reader};
use crate::source::{Span, Word};
use crate::suggest::nearest;
use crate::token::{self, Flag, Pair, part};

/// An instruction's parts, before anybody asks whether they make sense. All instructions of a file are taken apart first:
/// so a text that has no end is told of before a word that nobody knows, as BuildKit does it.
#[derive(Debug)]
pub(crate) struct Parts {
    name: Word,
    keyword: Option<Keyword>,
    flags: Vec<Flag>,
    words: Vec<Word>,
    pairs: Vec<Pair>,
    json: bool,
    heredocs: Vec<Heredoc>,
    /// What `ONBUILD` keeps.
    expression: String,
    code: String,
    comments: Vec<Word>,
    span: Span,
    pub(crate) gap: Option<Span>,
}

/// Takes a line apart, and reads the here-documents that it asks for.
pub(crate) fn parts(line: Line, reader: &mut Reader<'_>, escape: char) -> Result<Parts, Located> {
    let (name, rest) = token::name(&line, 0..line.text.len());
    let (flags, rest) = token::flags(&line, rest, escape);
    let name = line.word(name);
    let keyword = Keyword::of(&name.text);
    let mut parts = Parts {
        name,
        keyword,
        flags,
        words: Vec::new(),
        pairs: Vec::new(),
        json: false,
        heredocs: Vec::new(),
        expression: String::new(),
        code: line.text.trim().to_owned(),
        comments: Vec::new(),
        span: line.whole(),
        gap: line.gap,
    };
    let mut taker = keyword;
    match keyword {
        Some(Keyword::Add | Keyword::Copy | Keyword::Volume) => {
            (parts.words, parts.json) = token::list(&line, &rest)?;
        }
        Some(Keyword::Arg) => parts.words = token::words(&line, &rest, escape),
        Some(Keyword::Cmd | Keyword::Entrypoint | Keyword::Run | Keyword::Shell) => {
            (parts.words, parts.json) = token::command(&line, &rest)?;
        }
        Some(Keyword::Env) => parts.pairs = token::pairs(&line, &rest, escape, "ENV")?,
        Some(Keyword::Label) => parts.pairs = token::pairs(&line, &rest, escape, "LABEL")?,
        Some(Keyword::Expose | Keyword::From) => parts.words = token::fields(&line, &rest),
        Some(Keyword::Healthcheck) => {
            let text = &line.text[rest.clone()];
            let end = text.find(char::is_whitespace).unwrap_or(text.len());
            if end > 0 {
                let (words, json) = token::command(&line, &line.trim(rest.start + end..rest.end))?;
                parts.json = json;
                parts.words.push(line.word(rest.start..rest.start + end));
                parts.words.extend(words);
            }
        }
        Some(Keyword::Maintainer | Keyword::Stopsignal | Keyword::User | Keyword::Workdir) if !rest.is_empty() => {
            parts.words.push(line.word(rest));
        }
        Some(Keyword::Onbuild) => {
            let (name, rest) = token::name(&line, rest);
            // Chains are refused later on, and not followed here.
            taker = Keyword::of(&line.text[name.clone()]).filter(|keyword| *keyword != Keyword::Onbuild);
            parts.json = trigger(&line, taker, rest, escape)?;
            if !name.is_empty() {
                parts.words.push(line.word(name));
            }
        }
        _ => {}
    }
    if taker.is_some_and(Keyword::takes_heredocs) && !parts.json {
        parts.heredocs = heredocs(&line, reader, &mut parts.span)?;
    }
    if keyword == Some(Keyword::Onbuild) {
        parts.expression = expression(&line, &parts.heredocs);
    }
    parts.comments = line.comments;
    Ok(parts)
}

/// Takes the instruction behind `ONBUILD` apart for what is wrong with it, and says whether it is a JSON array.
fn trigger(line: &Line, keyword: Option<Keyword>, rest: std::ops::Range<usize>, escape: char) -> Result<bool, Located> {
    let (_, rest) = token::flags(line, rest, escape);
    match keyword {
        Some(Keyword::Add | Keyword::Copy | Keyword::Volume) => Ok(token::list(line, &rest)?.1),
        Some(Keyword::Cmd | Keyword::Entrypoint | Keyword::Run | Keyword::Shell) => Ok(token::command(line, &rest)?.1),
        Some(Keyword::Env) => token::pairs(line, &rest, escape, "ENV").map(|_| false),
        Some(Keyword::Label) => token::pairs(line, &rest, escape, "LABEL").map(|_| false),
        _ => Ok(false),
    }
}

fn heredocs(line: &Line, reader: &mut Reader<'_>, span: &mut Span) -> Result<Vec<Heredoc>, Located> {
    let found = heredoc::in_line(&line.text).map_err(|problem| (problem, line.whole()))?;
    let mut out = Vec::with_capacity(found.len());
    for doc in found {
        let found = if doc.spaced {
            reader.until_or_stay(&doc.name, doc.chomp)
        } else {
            reader.until(&doc.name, doc.chomp)
        };
        let Some((content, body, end)) = found else {
            // `$(( a << b ))` is a shell's arithmetic.
            if doc.spaced {
                continue;
            }
            return Err((Problem::HeredocUnterminated, line.whole()));
        };
        *span = span.to(end);
        out.push(Heredoc {
            content,
            span: body,
            ..doc
        });
    }
    Ok(out)
}

/// What stands behind `ONBUILD`, with its here-documents.
fn expression(line: &Line, heredocs: &[Heredoc]) -> String {
    let text = line.text.trim_start();
    let rest = text.get("ONBUILD".len()..).unwrap_or_default().trim_start();
    let mut out = rest.to_owned();
    for doc in heredocs {
        out.push('\n');
        out.push_str(&doc.content);
        out.push_str(&doc.name);
    }
    out
}

/// Says what the parts mean.
pub(crate) fn instruction(parts: Parts) -> Result<Instruction, Located> {
    let Some(keyword) = parts.keyword else {
        return Err(unknown(&parts.name));
    };
    let (name, span) = (parts.name.clone(), parts.span);
    let (flags, code, comments) = (parts.flags.clone(), parts.code.clone(), parts.comments.clone());
    Ok(Instruction {
        command: command(keyword, parts)?,
        name,
        flags,
        code,
        comments,
        span,
    })
}

/// BuildKit writes its suggestion in the case of what was written.
fn unknown(name: &Word) -> Located {
    let known = Keyword::ALL.map(Keyword::as_str);
    let near = nearest(&name.text.to_uppercase(), known).map(|found| {
        if name.text == name.text.to_lowercase() {
            found.to_lowercase()
        } else if name.text == name.text.to_uppercase() {
            found.to_owned()
        } else {
            found.to_lowercase()
        }
    });
    let problem = Problem::UnknownInstruction {
        name: name.text.clone(),
        near: Near(near),
    };
    (problem, name.span)
}

fn command(keyword: Keyword, parts: Parts) -> Result<Command, Located> {
    let instruction = keyword.as_str();
    Ok(match keyword {
        Keyword::Add | Keyword::Copy => copied(keyword, parts)?,
        Keyword::Arg => Command::Arg(arguments(parts)?),
        Keyword::Cmd => Command::Cmd(command_line(parts.checked(flag::NONE)?)),
        Keyword::Entrypoint => Command::Entrypoint(command_line(parts.checked(flag::NONE)?)),
        Keyword::Env => Command::Env(pairs(parts.checked(flag::NONE)?, instruction)?),
        Keyword::Label => Command::Label(pairs(parts.checked(flag::NONE)?, instruction)?),
        Keyword::Expose => {
            let mut parts = parts.at_least_one(instruction)?.checked(flag::NONE)?;
            parts.words.sort_by(|a, b| a.text.cmp(&b.text));
            Command::Expose(parts.words)
        }
        Keyword::From => Command::From(from(parts)?),
        Keyword::Healthcheck => {
            let mut parts = parts.at_least_one(instruction)?;
            let kind = parts.words.remove(0);
            let given = std::mem::take(&mut parts.flags);
            // `HEALTHCHECK NONE` does not look at its flags.
            let none = kind.text.eq_ignore_ascii_case("NONE");
            let flags = Flags::check(if none { &[] } else { &given }, flag::HEALTHCHECK)?;
            let span = parts.span;
            Command::Healthcheck(healthcheck::read(&kind, command_line(parts), &flags, span)?)
        }
        Keyword::Maintainer => Command::Maintainer(parts.one(instruction)?),
        Keyword::Onbuild => Command::Onbuild(onbuild(parts)?),
        Keyword::Run => {
            let mut parts = parts;
            let given = std::mem::take(&mut parts.flags);
            let flags = Flags::check(&given, flag::RUN)?;
            let heredocs = std::mem::take(&mut parts.heredocs);
            Command::Run(Box::new(run::read(command_line(parts), heredocs, &flags)?))
        }
        Keyword::Shell => {
            let parts = parts.checked(flag::NONE)?.at_least_one(instruction)?;
            if !parts.json {
                return Err((Problem::NotJson { instruction }, parts.span));
            }
            Command::Shell(parts.words)
        }
        Keyword::Stopsignal => Command::Stopsignal(parts.one(instruction)?),
        Keyword::User => Command::User(parts.one(instruction)?),
        Keyword::Volume => Command::Volume(volumes(parts.at_least_one(instruction)?.checked(flag::NONE)?)?),
        Keyword::Workdir => Command::Workdir(parts.one(instruction)?),
    })
}

impl Parts {
    fn checked(self, table: Table) -> Result<Self, Located> {
        Flags::check(&self.flags, table)?;
        Ok(self)
    }

    fn at_least_one(self, instruction: &'static str) -> Result<Self, Located> {
        if self.words.is_empty() {
            return Err((Problem::NoArgument { instruction }, self.span));
        }
        Ok(self)
    }

    /// The only word of an instruction without flags.
    fn one(mut self, instruction: &'static str) -> Result<Word, Located> {
        match (self.words.pop(), self.words.is_empty()) {
            (Some(word), true) => {
                Flags::check(&self.flags, flag::NONE)?;
                Ok(word)
            }
            _ => Err((Problem::NotOneArgument { instruction }, self.span)),
        }
    }
}

fn command_line(parts: Parts) -> CommandLine {
    CommandLine {
        form: if parts.json { Form::Exec } else { Form::Shell },
        words: parts.words,
    }
}

fn copied(keyword: Keyword, mut parts: Parts) -> Result<Command, Located> {
    let instruction = keyword.as_str();
    if parts.words.len() < 2 {
        return Err((Problem::NoDestination { instruction }, parts.span));
    }
    let given = std::mem::take(&mut parts.flags);
    let table = if keyword == Keyword::Copy {
        flag::COPY
    } else {
        flag::ADD
    };
    let flags = Flags::check(&given, table)?;
    let files = transfer::files(instruction, parts.words, &parts.heredocs, &flags)?;
    Ok(if keyword == Keyword::Copy {
        Command::Copy(super::Copy {
            files,
            from: flags.value("from"),
            parents: flags.switch("parents").unwrap_or_default(),
        })
    } else {
        Command::Add(super::Add {
            files,
            checksum: flags.value("checksum"),
            keep_git_dir: flags.switch("keep-git-dir"),
            unpack: flags.switch("unpack"),
        })
    })
}

fn pairs(parts: Parts, instruction: &'static str) -> Result<Vec<Pair>, Located> {
    if parts.pairs.is_empty() {
        return Err((Problem::NoArgument { instruction }, parts.span));
    }
    if let Some(pair) = parts.pairs.iter().find(|pair| pair.name.text.is_empty()) {
        return Err((Problem::BlankName { instruction }, pair.name.span));
    }
    Ok(parts.pairs)
}

fn arguments(parts: Parts) -> Result<Vec<Argument>, Located> {
    let parts = parts.at_least_one("ARG")?;
    let mut out = Vec::with_capacity(parts.words.len());
    for word in parts.words {
        let (name, value) = match word.text.split_once('=') {
            Some((name, value)) => (part(&word, 0, name), Some(part(&word, name.len() + 1, value))),
            None => (word, None),
        };
        if name.text.is_empty() {
            return Err((Problem::BlankName { instruction: "ARG" }, name.span));
        }
        out.push(Argument {
            description: description(&parts.comments, &name.text),
            name,
            value,
        });
    }
    Ok(out)
}

/// What the comments say of `name`: the rest of the first one that starts with it.
pub(crate) fn description(comments: &[Word], name: &str) -> Option<String> {
    let mut rests = comments.iter().filter_map(|comment| comment.text.strip_prefix(name));
    rests.find_map(|rest| rest.strip_prefix(' ')).map(str::to_owned)
}

fn from(parts: Parts) -> Result<From, Located> {
    let mut words = parts.words.into_iter();
    let (base, as_word, name) = match (words.next(), words.next(), words.next(), words.next()) {
        (Some(base), None, None, None) => (base, None, None),
        (Some(base), Some(as_word), Some(name), None) if as_word.text.eq_ignore_ascii_case("as") => {
            (base, Some(as_word), Some(name))
        }
        _ => return Err((Problem::FromArguments, parts.span)),
    };
    if let Some(name) = &name {
        let lower = name.text.to_lowercase();
        let valid = lower.starts_with(|c: char| c.is_ascii_lowercase())
            && lower
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.'));
        if !valid {
            let problem = Problem::StageName {
                name: name.text.clone(),
            };
            return Err((problem, name.span));
        }
    }
    let flags = Flags::check(&parts.flags, flag::FROM)?;
    Ok(From {
        base,
        as_word,
        name,
        platform: flags.value("platform"),
    })
}

fn onbuild(parts: Parts) -> Result<Onbuild, Located> {
    let mut parts = parts.at_least_one("ONBUILD")?.checked(flag::NONE)?;
    let trigger = parts.words.remove(0);
    let instruction = trigger.text.to_uppercase();
    match instruction.as_str() {
        "ONBUILD" => Err((Problem::OnbuildChained, trigger.span)),
        "MAINTAINER" | "FROM" => Err((Problem::NoTrigger { instruction }, trigger.span)),
        _ => Ok(Onbuild {
            trigger,
            expression: parts.expression,
        }),
    }
}

fn volumes(parts: Parts) -> Result<Vec<Word>, Located> {
    let trimmed = parts.words.into_iter().map(|word| word.with(word.text.trim()));
    let words: Vec<Word> = trimmed.collect();
    match words.iter().find(|word| word.text.is_empty()) {
        Some(word) => Err((Problem::EmptyVolume, word.span)),
        None => Ok(words),
    }
}
