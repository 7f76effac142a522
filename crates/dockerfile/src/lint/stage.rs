//! The rules that follow a stage from instruction to instruction.

use std::collections::BTreeSet;

use super::{BaseConfig, Facts, Log, Rule};
use crate::error::{Error, Located, Near};
use crate::graph::{Graph, PlannedStage, Step};
use crate::ignore::IgnoreFile;
use crate::instruction::{Command, CommandLine, Files, Form, Instruction};
use crate::parse::Dockerfile;
use crate::path;
use crate::port;
use crate::remote::{self, Location};
use crate::scope::{Globals, Resolved, Scope};
use crate::source::Span;
use crate::token::Pair;

/// Parts of a variable's name that say that its value is a secret.
const SECRET: [&str; 10] = [
    "apikey",
    "auth",
    "credential",
    "credentials",
    "key",
    "password",
    "pword",
    "passwd",
    "secret",
    "token",
];

/// Parts that say that it is not.
const NO_SECRET: [&str; 3] = ["public", "file", "version"];

/// What is known where an instruction is.
#[derive(Clone)]
struct State<'g> {
    scope: Scope<'g>,
    /// Whether all variables of the base are known.
    complete: bool,
    /// Whether an instruction or the base says which shell it is.
    shell: bool,
    /// Whether a `WORKDIR` was there.
    workdir: bool,
}

/// The instructions of which only the last one counts.
#[derive(Default)]
struct Once {
    cmd: Option<(Span, Instruction)>,
    entrypoint: Option<(Span, Instruction)>,
    healthcheck: Option<(Span, Instruction)>,
}

pub(super) fn check(
    file: &Dockerfile,
    globals: &Globals,
    graph: &Graph,
    looked_at: &BTreeSet<usize>,
    facts: &Facts<'_>,
    log: &mut Log,
) -> Result<(), Error> {
    let bases: BTreeSet<usize> = graph.stages().iter().filter_map(|stage| stage.base_stage).collect();
    let mut states: Vec<Option<State<'_>>> = Vec::with_capacity(graph.stages().len());
    for (number, stage) in graph.stages().iter().enumerate() {
        let inherited = stage.base_stage.and_then(|base| states[base].clone());
        let mut state = match inherited {
            Some(state) => state,
            None => {
                let span = file.stages[number].instruction.span;
                fresh(globals, stage, number, graph, facts).map_err(|(problem, _)| file.error(span, problem))?
            }
        };
        if looked_at.contains(&number) {
            let mut once = Once::default();
            for step in &stage.steps {
                instruction(step, &mut state, &mut once, facts.ignore, log)
                    .map_err(|(problem, span)| file.error(if step.trigger { step.span } else { span }, problem))?;
            }
        }
        // A state is kept only where a later stage starts from it.
        states.push(bases.contains(&number).then_some(state));
    }
    Ok(())
}

fn fresh<'g>(
    globals: &'g Globals,
    stage: &PlannedStage,
    number: usize,
    graph: &Graph,
    facts: &Facts<'_>,
) -> Result<State<'g>, Located> {
    let none = BaseConfig::default();
    let scratch = graph.node(stage.base).kind == crate::graph::NodeKind::Scratch;
    let known = facts.bases.get(&number).or_else(|| scratch.then_some(&none));
    let base = known.unwrap_or(&none);
    let scope = Scope::new(globals, base.env.iter().map(String::as_str));
    Ok(State {
        scope: scope.map_err(|problem| (problem, Span::default()))?,
        complete: known.is_some(),
        shell: base.shell,
        workdir: false,
    })
}

fn instruction(
    step: &Step,
    state: &mut State<'_>,
    once: &mut Once,
    ignore: Option<&IgnoreFile>,
    log: &mut Log,
) -> Result<(), Located> {
    let instruction = &step.instruction;
    if step.trigger {
        // What a base image asks for is not this file's to mend; what it does to variables counts.
        state.scope.resolve(instruction)?;
        return Ok(());
    }
    let known = state.scope.variables().len();
    let resolved = state.scope.resolve(instruction)?;
    if state.complete {
        undefined(instruction, &resolved, &state.scope, known, log);
    }
    match &resolved.command {
        Command::Env(pairs) => {
            legacy(instruction, pairs, log);
            for pair in pairs {
                secret("ENV", &pair.name.text, instruction, pair.name.span, log);
            }
        }
        Command::Label(pairs) => legacy(instruction, pairs, log),
        Command::Arg(arguments) => {
            for argument in arguments {
                secret("ARG", &argument.name.text, instruction, argument.name.span, log);
            }
        }
        Command::Cmd(line) => {
            used_once(&mut once.cmd, instruction, log);
            json(line, state.shell, instruction, log);
        }
        Command::Entrypoint(line) => {
            used_once(&mut once.entrypoint, instruction, log);
            json(line, state.shell, instruction, log);
        }
        Command::Healthcheck(_) => used_once(&mut once.healthcheck, instruction, log),
        Command::Shell(_) => state.shell = true,
        Command::Workdir(word) => {
            if !state.workdir && !word.text.starts_with('/') {
                let message = format!(
                    "Relative workdir {:?} can have unexpected results if the base image changes",
                    word.text
                );
                log.warn(Rule::WorkdirRelativePath, instruction, word.span, message);
            }
            state.workdir = true;
        }
        Command::Copy(copy) if copy.from.is_none() => ignored("Copy", &copy.files, instruction, ignore, log),
        Command::Add(add) => ignored("Add", &add.files, instruction, ignore, log),
        Command::Expose(words) => {
            for word in words {
                let Ok(exposed) = port::read(&word.text) else { continue };
                if exposed.odd_case {
                    let message = format!(
                        "Defined protocol '{}' in EXPOSE instruction should be lowercase",
                        word.text
                    );
                    log.warn(Rule::ExposeProtoCasing, instruction, word.span, message);
                }
                if exposed.mapped {
                    let message = format!(
                        "EXPOSE instruction should not define an IP address or host-port mapping, found '{}'",
                        word.text
                    );
                    log.warn(Rule::ExposeInvalidFormat, instruction, word.span, message);
                }
            }
        }
        _ => {}
    }
    Ok(())
}

/// The first `known` variables were there when the instruction was read; it may have defined more.
fn undefined(instruction: &Instruction, resolved: &Resolved, scope: &Scope<'_>, known: usize, log: &mut Log) {
    for (name, word) in &resolved.missing {
        let near = log
            .near(name, scope.variables().names().take(known))
            .0
            .map(|near| format!("${near}"));
        let message = format!("Usage of undefined variable '${name}'{}", Near(near));
        log.warn(Rule::UndefinedVar, instruction, word.span, message);
    }
}

fn legacy(instruction: &Instruction, pairs: &[Pair], log: &mut Log) {
    let name = &instruction.name.text;
    for pair in pairs.iter().filter(|pair| pair.legacy) {
        let message = format!("\"{name} key=value\" should be used instead of legacy \"{name} key value\" format");
        log.warn(Rule::LegacyKeyValueFormat, instruction, pair.name.span, message);
    }
}

fn secret(keyword: &str, name: &str, instruction: &Instruction, span: Span, log: &mut Log) {
    let lower = name.to_lowercase();
    let has = |words: &[&str]| lower.split('_').any(|part| words.contains(&part));
    if has(&SECRET) && !has(&NO_SECRET) {
        let message = format!("Do not use ARG or ENV instructions for sensitive data ({keyword} {name:?})");
        log.warn(Rule::SecretsUsedInArgOrEnv, instruction, span, message);
    }
}

/// Told of the earlier one, since that is the one without effect.
fn used_once(earlier: &mut Option<(Span, Instruction)>, instruction: &Instruction, log: &mut Log) {
    if let Some((span, before)) = earlier {
        let message = format!(
            "Multiple {} instructions should not be used in the same stage because only the last one will be used",
            instruction.name.text
        );
        let quiet = Instruction {
            comments: instruction.comments.clone(),
            ..before.clone()
        };
        log.warn(Rule::MultipleInstructionsDisallowed, &quiet, *span, message);
    }
    *earlier = Some((instruction.name.span, instruction.clone()));
}

fn json(line: &CommandLine, shell: bool, instruction: &Instruction, log: &mut Log) {
    if line.form == Form::Shell && !shell {
        let message = format!(
            "JSON arguments recommended for {} to prevent unintended behavior related to OS signals",
            instruction.name.text
        );
        log.warn(Rule::JsonArgsRecommended, instruction, instruction.name.span, message);
    }
}

fn ignored(verb: &str, files: &Files, instruction: &Instruction, ignore: Option<&IgnoreFile>, log: &mut Log) {
    // With exceptions nobody can say without looking at the files.
    let Some(ignore) = ignore.filter(|ignore| !ignore.has_exceptions()) else {
        return;
    };
    for source in &files.sources {
        if remote::locate(&source.text) != Ok(Location::Local) {
            continue;
        }
        let clean = path::clean(&source.text);
        let shown = clean.as_str();
        let root = shown == "." || shown == "/";
        let hit = if root {
            ignore.ignores_all()
        } else {
            ignore.ignores(shown.trim_start_matches('/'))
        };
        if hit {
            let message = format!("Attempting to {verb} file {shown:?} that is excluded by .dockerignore");
            log.warn(Rule::CopyIgnoredFile, instruction, source.span, message);
        }
    }
}
