//! `HEALTHCHECK`.

use hull_spec::value::{parse_duration, quote};

use super::flag::Flags;
use super::{CommandLine, Form};
use crate::error::{Located, Problem};
use crate::source::{Span, Word};

/// How a container's health is found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Healthcheck {
    /// Not at all, whatever the base image says.
    None,
    /// By a command.
    Probe(Probe),
}

/// A command that says by its exit code whether the container is healthy. Times are nanoseconds; 0 leaves the default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The command.
    pub command: CommandLine,
    /// `--interval`.
    pub interval: i64,
    /// `--timeout`.
    pub timeout: i64,
    /// `--start-period`.
    pub start_period: i64,
    /// `--start-interval`.
    pub start_interval: i64,
    /// `--retries`; 0 leaves the default.
    pub retries: u32,
}

impl Healthcheck {
    /// The config's `Test`: `NONE`, `CMD` or `CMD-SHELL` and what follows.
    #[must_use]
    pub fn test(&self) -> Vec<String> {
        match self {
            Self::None => vec!["NONE".to_owned()],
            Self::Probe(probe) => {
                let kind = match probe.command.form {
                    Form::Exec => "CMD",
                    Form::Shell => "CMD-SHELL",
                };
                let words = probe.command.words.iter().map(|word| word.text.clone());
                std::iter::once(kind.to_owned()).chain(words).collect()
            }
        }
    }
}

/// Reads the kind, the command behind it and the flags.
pub(crate) fn read(kind: &Word, command: CommandLine, flags: &Flags<'_>, span: Span) -> Result<Healthcheck, Located> {
    if kind.text.eq_ignore_ascii_case("NONE") {
        if !command.words.is_empty() {
            return Err((Problem::HealthcheckNone, span));
        }
        return Ok(Healthcheck::None);
    }
    if !kind.text.eq_ignore_ascii_case("CMD") {
        let word = kind.text.to_uppercase();
        return Err((Problem::HealthcheckType { word }, kind.span));
    }
    if command.words.is_empty() {
        return Err((Problem::HealthcheckEmpty, span));
    }
    Ok(Healthcheck::Probe(Probe {
        command,
        interval: interval(flags, "interval")?,
        timeout: interval(flags, "timeout")?,
        start_period: interval(flags, "start-period")?,
        start_interval: interval(flags, "start-interval")?,
        retries: retries(flags)?,
    }))
}

fn interval(flags: &Flags<'_>, flag: &'static str) -> Result<i64, Located> {
    const MILLISECOND: i64 = 1_000_000;
    let Some(word) = flags.value(flag) else { return Ok(0) };
    let nanoseconds = parse_duration(&word.text).map_err(|message| (Problem::Duration { message }, word.span))?;
    if nanoseconds != 0 && nanoseconds < MILLISECOND {
        return Err((Problem::Interval { flag }, word.span));
    }
    Ok(nanoseconds)
}

fn retries(flags: &Flags<'_>) -> Result<u32, Located> {
    let Some(word) = flags.value("retries") else {
        return Ok(0);
    };
    let fail = |message: String| (Problem::Retries { message }, word.span);
    let text = &word.text;
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let what = if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        "invalid syntax"
    } else {
        "value out of range"
    };
    let number: i32 = text
        .parse()
        .map_err(|_| fail(format!("strconv.ParseInt: parsing {}: {what}", quote(text))))?;
    u32::try_from(number).map_err(|_| fail(format!("--retries cannot be negative ({number})")))
}
