//! The rules of `build --check`: BuildKit's, with its names and words, as data with places.

mod rule;
mod stage;

use std::collections::{BTreeMap, BTreeSet};

use crate::directive;
use crate::error::{Error, Problem};
use crate::graph::Graph;
use crate::ignore::IgnoreFile;
use crate::instruction::{Command, Instruction};
use crate::parse::{Dockerfile, Stage};
use crate::scope::{Globals, Parameters};
use crate::source::{Span, Word};
use crate::suggest::nearest;

pub use rule::Rule;

/// What the rules have to know besides the file.
#[derive(Clone, Debug, Default)]
pub struct Facts<'f> {
    /// What is given from outside.
    pub parameters: Parameters,
    /// What the base images' configs say, by stage. Without it no variable is called undefined, since the base may define it.
    pub bases: BTreeMap<usize, BaseConfig>,
    /// The context's `.dockerignore`.
    pub ignore: Option<&'f IgnoreFile>,
    /// What is to be skipped, as in `# check=`; of the file where there is nothing.
    pub options: Option<Options>,
}

/// The part of a base image's config that rules look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BaseConfig {
    /// `Env`.
    pub env: Vec<String>,
    /// Whether there is a `Shell`.
    pub shell: bool,
}

/// `# check=skip=RULE,..;error=true;experimental=RULE,..`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// All rules are skipped.
    pub skip_all: bool,
    /// These rules are skipped.
    pub skip: BTreeSet<String>,
    /// All experimental rules are looked at.
    pub experimental_all: bool,
    /// These experimental rules are looked at.
    pub experimental: BTreeSet<String>,
    /// A warning fails the build.
    pub error: bool,
}

/// A rule that is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The rule.
    pub rule: Rule,
    /// What is wrong.
    pub message: String,
    /// The word that it is about.
    pub span: Span,
    /// The instruction with that word: BuildKit counts in lines of it.
    pub instruction: Span,
}

/// What a file's rules say.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// In the order of the phases, and in each of the file.
    pub warnings: Vec<Warning>,
    /// Why the file could not be looked at to its end; or, with `error=true`, that there are warnings.
    pub error: Option<Error>,
}

impl Options {
    /// Reads the value of `# check=`.
    ///
    /// # Errors
    /// [`Problem::CheckOption`].
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let mut out = Self::default();
        let names = |value: &str| value.split(',').map(|name| name.trim().to_owned()).collect();
        for part in text.trim().splitn(3, ';').filter(|_| !text.trim().is_empty()) {
            let wrong = |option: &str| Problem::CheckOption {
                option: option.to_owned(),
            };
            let (key, value) = part.split_once('=').ok_or_else(|| wrong(part))?;
            match (key.trim(), value.trim()) {
                ("skip", "all") => out.skip_all = true,
                ("skip", value) => out.skip = names(value),
                ("experimental", "all") => out.experimental_all = true,
                ("experimental", value) => out.experimental = names(value),
                ("error", value) => {
                    out.error = hull_spec::value::parse_bool(value).ok_or_else(|| wrong(part))?;
                }
                (key, _) => return Err(wrong(key)),
            }
        }
        Ok(out)
    }

    fn allow(&self, rule: Rule) -> bool {
        if rule.is_experimental() {
            self.experimental_all || self.experimental.contains(rule.name())
        } else {
            !self.skip_all && !self.skip.contains(rule.name())
        }
    }

    /// The same with what the comments of an instruction say.
    fn with_comments(&self, comments: &[Word]) -> Self {
        let mut out = self.clone();
        let option = comments
            .iter()
            .find_map(|comment| match directive::option(&comment.text) {
                Some(("check", value)) => value.split(' ').next(),
                _ => None,
            });
        if let Some(Ok(more)) = option.map(Self::parse) {
            out.skip_all |= more.skip_all;
            out.skip.extend(more.skip);
            out.experimental_all |= more.experimental_all;
            out.experimental.extend(more.experimental);
        }
        out
    }
}

/// Where warnings are collected.
struct Log {
    options: Options,
    /// The options of the instruction that was spoken of last, with what its comments say.
    of_instruction: Option<(Span, Options)>,
    warnings: Vec<Warning>,
}

impl Log {
    /// Notes a broken rule, unless the options or the instruction's comments say otherwise.
    fn warn(&mut self, rule: Rule, instruction: &Instruction, span: Span, message: String) {
        let allowed = if instruction.comments.is_empty() {
            self.options.allow(rule)
        } else {
            let known = self.of_instruction.take().filter(|(span, _)| *span == instruction.span);
            let (_, options) = self
                .of_instruction
                .insert(known.unwrap_or_else(|| (instruction.span, self.options.with_comments(&instruction.comments))));
            options.allow(rule)
        };
        if allowed {
            self.warnings.push(Warning {
                rule,
                message,
                span,
                instruction: instruction.span,
            });
        }
    }

    /// What was probably meant; of a file with a thousand warnings nobody reads that.
    fn near<'n>(&self, name: &str, known: impl Iterator<Item = &'n str>) -> crate::Near {
        let near = if self.warnings.len() < 1000 {
            nearest(name, known)
        } else {
            None
        };
        crate::Near(near.map(str::to_owned))
    }

    /// Notes a broken rule of the whole file, which comments have no say in.
    fn warn_of_file(&mut self, rule: Rule, instruction: Span, span: Span, message: String) {
        if self.options.allow(rule) {
            self.warnings.push(Warning {
                rule,
                message,
                span,
                instruction,
            });
        }
    }
}

/// Looks at the stages that `graph`'s target needs, or at all where no target is given.
#[must_use]
pub fn check(file: &Dockerfile, facts: &Facts<'_>) -> Report {
    let directive = file.directives.check.as_ref();
    let options = match (&facts.options, directive) {
        (Some(options), _) => Ok(options.clone()),
        (None, Some(word)) => Options::parse(&word.text).map_err(|problem| file.error(word.span, problem)),
        (None, None) => Ok(Options::default()),
    };
    let options = match options {
        Ok(options) => options,
        Err(error) => {
            return Report {
                error: Some(error),
                ..Report::default()
            };
        }
    };
    let mut log = Log {
        options,
        of_instruction: None,
        warnings: Vec::new(),
    };
    let error = run(file, facts, &mut log).err().or_else(|| failure(file, &log));
    Report {
        warnings: log.warnings,
        error,
    }
}

/// With `error=true` a warning is a failure.
fn failure(file: &Dockerfile, log: &Log) -> Option<Error> {
    let first = log.warnings.first().filter(|_| log.options.error)?;
    let rules: BTreeSet<&str> = log.warnings.iter().map(|warning| warning.rule.name()).collect();
    let rules = Vec::from_iter(rules).join(", ");
    Some(file.error(first.span, Problem::Lint { rules }))
}

fn run(file: &Dockerfile, facts: &Facts<'_>, log: &mut Log) -> Result<(), Error> {
    for gap in &file.gaps {
        log.warn_of_file(
            Rule::NoEmptyContinuation,
            *gap,
            *gap,
            "Empty continuation line".to_owned(),
        );
    }
    for instruction in file.instructions() {
        words(instruction, log);
    }
    stage_names(file, log);
    casing(file, log);
    default_arguments(file, facts, log);
    let globals = Globals::new(file, &facts.parameters)?;
    for stage in &file.stages {
        from(file, &globals, stage, log)?;
    }
    let request = crate::graph::Request {
        target: facts.parameters.target.as_deref(),
        platform: Some(facts.parameters.platform.clone()),
        ..Default::default()
    };
    let graph = Graph::new(file, &globals, &request)?;
    let looked_at = if request.target.is_none() {
        graph.needed_by(file, 0..file.stages.len())?;
        (0..file.stages.len()).collect()
    } else {
        graph.stages_of(&graph.needed(file)?)
    };
    stage::check(file, &globals, &graph, &looked_at, facts, log)
}

/// What can be seen in one instruction alone.
fn words(instruction: &Instruction, log: &mut Log) {
    match &instruction.command {
        Command::Maintainer(_) => {
            let message = "Maintainer instruction is deprecated in favor of using label".to_owned();
            log.warn(Rule::MaintainerDeprecated, instruction, instruction.name.span, message);
        }
        Command::From(from) => {
            let Some((name, as_word)) = from.name.as_ref().zip(from.as_word.as_ref()) else {
                return;
            };
            if name.text != name.text.to_lowercase() {
                let message = format!("Stage name '{}' should be lowercase", name.text);
                log.warn(Rule::StageNameCasing, instruction, name.span, message);
            }
            let keyword = &instruction.name.text;
            let lower = *keyword == keyword.to_lowercase();
            let upper = *keyword == keyword.to_uppercase();
            let matching = if lower {
                as_word.text.to_lowercase()
            } else {
                as_word.text.to_uppercase()
            };
            if (lower || upper) && as_word.text != matching {
                let message = format!("'{}' and '{keyword}' keywords' casing do not match", as_word.text);
                log.warn(Rule::FromAsCasing, instruction, as_word.span, message);
            }
            description(instruction, &[&name.text.to_lowercase()], log);
        }
        Command::Arg(arguments) => {
            let names: Vec<&str> = arguments.iter().map(|argument| argument.name.text.as_str()).collect();
            description(instruction, &names, log);
        }
        _ => {}
    }
}

/// A comment right above a definition is its description, and starts with its name.
fn description(instruction: &Instruction, names: &[&str], log: &mut Log) {
    let Some(comment) = instruction.comments.last() else {
        return;
    };
    let first = comment.text.split(' ').next().unwrap_or_default();
    if names.contains(&first) {
        return;
    }
    let example = match names {
        [name] => name,
        _ => "<arg_key>",
    };
    let keyword = instruction.keyword();
    let message = format!("Comment for {keyword} should follow the format: `# {example} <description>`");
    log.warn(Rule::InvalidDefinitionDescription, instruction, comment.span, message);
}

fn stage_names(file: &Dockerfile, log: &mut Log) {
    let mut known = BTreeSet::new();
    for stage in &file.stages {
        let Some((name, word)) = stage.name.as_ref().zip(stage.from.name.as_ref()) else {
            continue;
        };
        let instruction = stage.instruction.span;
        if ["context", "scratch"].contains(&name.as_str()) {
            let message = format!("Stage name should not use the same name as reserved stage {name:?}");
            log.warn_of_file(Rule::ReservedStageName, instruction, word.span, message);
        }
        if !known.insert(name) {
            let message = format!("Duplicate stage name {name:?}, stage names should be unique");
            log.warn_of_file(Rule::DuplicateStageName, instruction, word.span, message);
        }
    }
}

/// Instructions should all be in the case that most of them are in.
fn casing(file: &Dockerfile, log: &mut Log) {
    let all = || {
        file.stages
            .iter()
            .flat_map(|stage| std::iter::once(&stage.instruction).chain(&stage.instructions))
    };
    let lower = |name: &str| name == name.to_lowercase();
    let upper = |name: &str| name == name.to_uppercase();
    let count = |is: &dyn Fn(&str) -> bool| all().filter(|instruction| is(&instruction.name.text)).count();
    let majority_lower = count(&lower) > count(&upper);
    for instruction in all() {
        let name = &instruction.name.text;
        let case = match majority_lower {
            true if !lower(name) => "lowercase",
            false if !upper(name) => "uppercase",
            _ => continue,
        };
        let message = format!("Command '{name}' should match the case of the command majority ({case})");
        log.warn_of_file(
            Rule::ConsistentInstructionCasing,
            instruction.span,
            instruction.name.span,
            message,
        );
    }
}

/// Without build arguments, too, a base should have a name that can be one.
fn default_arguments(file: &Dockerfile, facts: &Facts<'_>, log: &mut Log) {
    let mut parameters = facts.parameters.clone();
    let platforms = |name: &String, _: &mut String| name.starts_with("TARGET") || name.starts_with("BUILD");
    parameters.arguments.retain(platforms);
    // What is wrong with the arguments themselves is told later on.
    let Ok(globals) = Globals::new(file, &parameters) else {
        return;
    };
    for stage in &file.stages {
        let word = &stage.from.base;
        let Ok(name) = globals.expand(word) else { return };
        if name.text.parse::<hull_spec::Reference>().is_err() {
            let message = format!(
                "Default value for ARG {} results in empty or invalid base image name",
                word.text
            );
            let instruction = stage.instruction.span;
            log.warn_of_file(Rule::InvalidDefaultArgInFrom, instruction, word.span, message);
        }
    }
}

fn from(file: &Dockerfile, globals: &Globals, stage: &Stage, log: &mut Log) -> Result<(), Error> {
    let instruction = &stage.instruction;
    let words = std::iter::once(&stage.from.base).chain(&stage.from.platform);
    for word in words {
        let expanded = globals.expand(word).map_err(|problem| file.error(word.span, problem))?;
        for name in &expanded.missing {
            if globals.knows(name) {
                continue;
            }
            let near = log.near(name, globals.names());
            let message = format!("FROM argument '{name}' is not declared{near}");
            log.warn(Rule::UndefinedArgInFrom, instruction, word.span, message);
        }
    }
    let base = globals
        .base(stage)
        .map_err(|(problem, span)| file.error(span, problem))?;
    let (Some(word), Some(text), Some(platform)) = (&stage.from.platform, base.platform_text, base.platform) else {
        return Ok(());
    };
    let target = "TARGETPLATFORM";
    if text.missing.is_empty()
        && text.used.len() == 1
        && text.used.contains(target)
        && globals.variables().get(target) == Some(&text.text)
    {
        let message = format!(
            "Setting platform to predefined {} in FROM is redundant as this is the default behavior",
            word.text
        );
        log.warn(Rule::RedundantTargetPlatform, instruction, word.span, message);
    }
    // A stage that has the platform in its name is for that platform.
    let name = stage.name.as_deref().unwrap_or_default();
    let told = name.contains(&platform.os) || name.contains(&platform.architecture);
    if text.missing.is_empty() && text.used.is_empty() && !told {
        let message = format!("FROM --platform flag should not use constant value {:?}", text.text);
        log.warn(Rule::FromPlatformFlagConstDisallowed, instruction, word.span, message);
    }
    Ok(())
}
