//! What can be wrong with a Dockerfile, in BuildKit's words where it has some.

use std::fmt;

use hull_spec::ErrorKind;

use crate::source::{Position, Source, Span};

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What.
    pub problem: Box<Problem>,
    /// The text that it is about.
    pub span: Span,
    /// Where that text starts.
    pub at: Position,
    /// Whether an instruction could not be read, for which BuildKit names the line in the message.
    reading: bool,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.reading {
            write!(f, "dockerfile parse error on line {}: ", self.at.line)?;
        }
        write!(f, "{}", self.problem)
    }
}

impl std::error::Error for Error {}

impl Error {
    /// A failure at `span`.
    #[must_use]
    pub fn new(source: &Source, span: Span, problem: Problem) -> Self {
        Self {
            problem: Box::new(problem),
            span,
            at: source.position(span.start),
            reading: false,
        }
    }

    /// The same failure as one of reading an instruction.
    pub(crate) fn of_reading(self) -> Self {
        Self { reading: true, ..self }
    }

    /// Everything that can be wrong with a text is malformed, but for what it names and nobody knows.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match *self.problem {
            Problem::TargetUnknown { .. } => ErrorKind::NotFound,
            Problem::TooLarge { .. } => ErrorKind::Exhausted,
            _ => ErrorKind::Invalid,
        }
    }
}

/// A problem with its place, before the line is known: [`Dockerfile::error`](crate::Dockerfile::error) knows it.
pub type Located = (Problem, Span);

/// What was probably meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Near(pub Option<String>);

impl fmt::Display for Near {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(name) => write!(f, " (did you mean {name}?)"),
            None => Ok(()),
        }
    }
}

/// Go's `%q`, of a text that may be too long to be shown.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(300) {
            Some((end, _)) => write!(f, "{:?}...", &self.0[..end]),
            None => write!(f, "{:?}", self.0),
        }
    }
}

/// What can be wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each variant says in its message what its fields are")]
pub enum Problem {
    #[error("the Dockerfile cannot be empty")]
    Empty,
    #[error("file with no instructions")]
    NoInstructions,
    #[error("dockerfile contains no stages to build")]
    NoStages,
    #[error("only one {name} parser directive can be used")]
    DirectiveRepeated { name: &'static str },
    #[error("invalid escape token '{value}' does not match ` or \\")]
    Escape { value: String },
    #[error("unterminated heredoc")]
    HeredocUnterminated,
    #[error("unknown instruction: {}{near}", .name.chars().take(100).collect::<String>())]
    UnknownInstruction { name: String, near: Near },
    #[error("no build stage in current context")]
    OutsideStage,
    #[error("unknown flag: --{name}{near}")]
    UnknownFlag { name: String, near: Near },
    #[error("duplicate flag specified: --{name}")]
    FlagRepeated { name: String },
    #[error("missing a value on flag: --{name}")]
    FlagWithoutValue { name: String },
    #[error("expecting boolean value for flag --{name}, not: {value}")]
    FlagNotBoolean { name: String, value: String },
    #[error("{instruction} requires at least one argument")]
    NoArgument { instruction: &'static str },
    #[error("{instruction} requires exactly one argument")]
    NotOneArgument { instruction: &'static str },
    #[error("{instruction} must have two arguments")]
    NotTwoArguments { instruction: &'static str },
    #[error(
        "{instruction} requires at least two arguments, but only one was provided. Destination could not be determined"
    )]
    NoDestination { instruction: &'static str },
    #[error("{instruction} cannot accept a heredoc as a destination")]
    HeredocDestination { instruction: &'static str },
    #[error("{instruction} names can not be blank")]
    BlankName { instruction: &'static str },
    #[error("{instruction} requires the arguments to be in JSON form")]
    NotJson { instruction: &'static str },
    #[error("Syntax error - can't find = in {}. Must be of the form: name=value", Quoted(.word))]
    NoEquals { word: String },
    #[error("when using JSON array syntax, arrays must be comprised of strings only")]
    NotStrings,
    #[error("FROM requires either one or three arguments")]
    FromArguments,
    #[error(
        "invalid name for build stage: {}, name can't start with a number or contain symbols", Quoted(.name)
    )]
    StageName { name: String },
    #[error("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")]
    OnbuildChained,
    #[error("{instruction} isn't allowed as an ONBUILD trigger")]
    NoTrigger { instruction: String },
    #[error("onbuild trigger should be a single expression")]
    TriggerNotSingle,
    #[error("HEALTHCHECK NONE takes no arguments")]
    HealthcheckNone,
    #[error("Missing command after HEALTHCHECK CMD")]
    HealthcheckEmpty,
    #[error("Unknown type {} in HEALTHCHECK (try CMD)", Quoted(.word))]
    HealthcheckType { word: String },
    #[error("{message}")]
    Duration { message: String },
    #[error("Interval {:?} cannot be less than 1ms", .flag)]
    Interval { flag: &'static str },
    #[error("{message}")]
    Retries { message: String },
    #[error("VOLUME specified can not be an empty string")]
    EmptyVolume,
    #[error("invalid network mode {}", Quoted(.mode))]
    Network { mode: String },
    #[error("security {} is not valid", Quoted(.mode))]
    Security { mode: String },
    #[error("{0}")]
    Mount(#[from] MountProblem),
    #[error("failed to process {}: {reason}", Quoted(.text))]
    Expansion { text: String, reason: Substitution },
    #[error("{what} grows beyond {limit} bytes")]
    TooLarge { what: &'static str, limit: usize },
    #[error("base name ({name}) should not be blank")]
    BlankBase { name: String },
    #[error("failed to parse stage name {}: {reason}", Quoted(.name))]
    BaseName {
        name: String,
        reason: hull_spec::Error,
        near: Near,
    },
    #[error("empty platform value from expression {expression}{near}")]
    EmptyPlatform { expression: String, near: Near },
    #[error("failed to parse platform {expression}: {reason}{near}")]
    Platform {
        expression: String,
        reason: hull_spec::Error,
        near: Near,
    },
    #[error(
        "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as \
         a workaround"
    )]
    VariableInFrom,
    #[error("invalid stage index {index}")]
    StageIndex { index: String },
    #[error("target stage {} could not be found{near}", Quoted(.name))]
    TargetUnknown { name: String, near: Near },
    #[error("circular dependency detected on stage: {stage}")]
    Cycle { stage: String },
    #[error(
        "cannot copy from stage {}, it needs to be defined before current stage {}", Quoted(.from), Quoted(.stage)
    )]
    CopyFromLater { from: String, stage: String },
    #[error(
        "cannot mount from stage {} to {}, stage needs to be defined before current command",
        Quoted(.from), Quoted(.target)
    )]
    MountFromLater { from: String, target: String },
    #[error("{0}")]
    Port(#[from] PortProblem),
    #[error("failed to parse check options: invalid check option {}", Quoted(.option))]
    CheckOption { option: String },
    #[error("lint violation found for rules: {rules}")]
    Lint { rules: String },
    #[error("{0}")]
    Transfer(#[from] TransferProblem),
}

/// What can be wrong with `RUN --mount` and `RUN --device`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant says in its message what its fields are")]
pub enum MountProblem {
    #[error("failed to parse csv {what}: {reason}")]
    Csv { what: &'static str, reason: &'static str },
    #[error("unexpected key '{key}' for mount type '{mount}'")]
    KeyOfOtherType { key: String, mount: &'static str },
    #[error("unexpected key '{key}' in '{field}'{near}")]
    Key { key: String, field: String, near: Near },
    #[error("invalid field '{field}' must be a key=value pair")]
    NoValue { field: String },
    #[error("'from' doesn't support variable expansion, define alias stage instead")]
    VariableInFrom,
    #[error("unsupported mount type {}{near}", Quoted(.name))]
    Type { name: String, near: Near },
    #[error("unsupported sharing value {}{near}", Quoted(.name))]
    Sharing { name: String, near: Near },
    #[error("invalid value for {key}: {value}")]
    Value { key: String, value: String },
    #[error("invalid value {value} for {key}")]
    Number { key: &'static str, value: String },
    #[error("{key} not allowed for \"{mount}\" type mounts")]
    Owner { key: &'static str, mount: &'static str },
    #[error("secret mount should not have a from")]
    SecretFrom,
    #[error("secret mount should not define sharing")]
    SecretSharing,
    #[error("invalid secret mount. one of source, target required")]
    SecretUnnamed,
    #[error("both source and id can't be set")]
    SecretNamedTwice,
    #[error("invalid cache sharing set for {mount} mount")]
    SharingOfOtherType { mount: &'static str },
    #[error("invalid mount target {}", Quoted(.target))]
    Target { target: String },
    #[error("device name already set to {name}")]
    DeviceNamedTwice { name: String },
}

/// What can be wrong with a variable's substitution.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant says in its message what its fields are")]
pub enum Substitution {
    #[error("unexpected end of statement while looking for matching {mark}")]
    Unfinished { mark: &'static str },
    #[error("syntax error: missing '}}'")]
    NoBrace,
    #[error("syntax error: missing '/' in ${{}}")]
    NoSlash,
    #[error("syntax error: bad substitution")]
    Bad,
    #[error("unsupported modifier ({modifier}) in substitution")]
    Modifier { modifier: String },
    #[error("{name}: {message}")]
    Required { name: String, message: String },
    #[error("invalid pattern ({pattern}) in substitution: invalid escape '\\{escaped}'")]
    Pattern { pattern: String, escaped: char },
    #[error("substitutions are nested more than {limit} deep")]
    TooDeep { limit: usize },
    #[error("the result grows beyond {limit} bytes")]
    TooLong { limit: usize },
    #[error("the pattern ({pattern}) takes too many steps on a value of {length} bytes")]
    TooSlow { pattern: String, length: usize },
}

/// What can be wrong with a port of `EXPOSE`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant says in its message what its fields are")]
pub enum PortProblem {
    #[error("invalid port: {}: no port specified", Quoted(.port))]
    Missing { port: String },
    #[error("invalid port: {}: invalid proto: {protocol}", Quoted(.port))]
    Protocol { port: String, protocol: String },
    #[error("invalid IP address: {address}")]
    Address { address: String },
    #[error("invalid containerPort: {port}")]
    Container { port: String },
    #[error("invalid hostPort: {port}")]
    Host { port: String },
    #[error("invalid ranges specified for container and host Ports: {container} and {host}")]
    Ranges { container: String, host: String },
}

/// What can be wrong with the values of `COPY` and `ADD` once their variables are replaced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant says in its message what its fields are")]
pub enum TransferProblem {
    #[error("invalid chmod parameter: '{mode}'. it should be octal string and between 0 and 07777")]
    Mode { mode: String },
    #[error("checksum can't be specified for multiple sources")]
    ChecksumOfMany,
    #[error("checksum requires HTTP(S) or Git sources")]
    ChecksumOfLocal,
    #[error("source can't be a URL for COPY")]
    Url,
    #[error("source can't be a git ref for COPY")]
    Git,
}
