//! How a failure is told to a person, and which exit code it becomes. The only place that does either.

use std::fmt::Write as _;
use std::io::Write as _;

use hull_spec::ErrorKind;

use crate::command::Command;

/// An engine failure of `run` and `create`: Docker's code for "the container was not started".
pub(crate) const ENGINE: u8 = 125;
/// The command line itself is wrong.
pub(crate) const USAGE: u8 = 125;
/// The command cannot be executed.
pub(crate) const NOT_EXECUTABLE: u8 = 126;
/// The command was not found.
pub(crate) const NOT_FOUND: u8 = 127;
/// Any other command failed, or was given the wrong number of arguments.
pub(crate) const FAILED: u8 = 1;

/// What a command returns: the exit code, or why it failed.
pub(crate) type Outcome = Result<u8>;

/// The result of a step of a command.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

/// A failed command.
pub(crate) struct Failure {
    code: u8,
    usage: Option<&'static Command>,
    hint: Option<String>,
    error: anyhow::Error,
}

impl Failure {
    /// A failure of which there is nothing more to say than `text`.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self::from(anyhow::Error::msg(text.into()))
    }

    /// The command line of `command` is wrong. Its usage is shown, too.
    pub(crate) fn usage(command: &'static Command, text: impl Into<String>) -> Self {
        let mut out = Self::new(text).code(USAGE);
        out.usage = Some(command);
        out
    }

    /// The same, ending with another exit code.
    pub(crate) fn code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// The same, with advice.
    pub(crate) fn hint(mut self, text: impl Into<String>) -> Self {
        self.hint = Some(text.into());
        self
    }

    /// What failed, in one line.
    pub(crate) fn message(&self) -> String {
        self.error.to_string()
    }

    /// The engine's kind of it, where the engine or what lies below it failed.
    pub(crate) fn kind(&self) -> Option<ErrorKind> {
        self.error.chain().find_map(|e| {
            None.or_else(|| e.downcast_ref().map(hull_engine::Error::kind))
                .or_else(|| e.downcast_ref().map(hull_registry::Error::kind))
                .or_else(|| e.downcast_ref().map(hull_store::Error::kind))
                .or_else(|| e.downcast_ref().map(hull_spec::Error::kind))
        })
    }

    /// The failure as it is printed: `error:`, `caused by:` and `hint:` lines.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        let mut last = String::new();
        for (i, cause) in self.error.chain().enumerate() {
            let text = cause.to_string();
            if i == 0 {
                let _ = writeln!(out, "error: {text}");
            } else if text != last {
                let _ = writeln!(out, "caused by: {text}");
            }
            last = text;
        }
        if let Some(hint) = self.hint.as_deref().or_else(|| self.kind().and_then(advice)) {
            let _ = writeln!(out, "hint: {hint}");
        }
        if let Some(command) = self.usage {
            let name = command.name();
            let _ = write!(
                out,
                "\nUsage:  {}\n\nRun 'hull {name} --help' for more information\n",
                command.usage_line()
            );
        }
        out
    }

    /// Prints it on standard error and returns its exit code.
    pub(crate) fn report(&self) -> u8 {
        // Nothing is left to do when standard error is closed.
        let _ = std::io::stderr().write_all(self.text().as_bytes());
        self.code
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self {
            code: FAILED,
            usage: None,
            hint: None,
            error: error.into(),
        }
    }
}

impl std::fmt::Debug for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text())
    }
}

/// What to do next about failures of a kind, where that is the same for all of them.
fn advice(kind: ErrorKind) -> Option<&'static str> {
    match kind {
        ErrorKind::Exhausted => {
            Some("free some of what the message names (disk space, memory, processes) and try again")
        }
        _ => None,
    }
}

/// Does `act` for each of `names`, in order, and prints what it returns; a failure does not stop the rest. All failures
/// are told after the last, as Docker does.
pub(crate) fn for_each(names: &[String], mut act: impl FnMut(&str) -> Result<Option<String>>) -> Outcome {
    let mut failures = Vec::new();
    for name in names {
        match act(name) {
            Ok(Some(line)) => print_line(&line)?,
            Ok(None) => {}
            Err(failure) => failures.push(failure),
        }
    }
    let mut code = 0;
    for failure in failures {
        code = failure.report();
    }
    Ok(code)
}

/// Why the system refused, as Go says it: without the number, in lower case.
pub(crate) fn reason(e: &std::io::Error) -> String {
    let text = e.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

/// Prints a line on standard output.
///
/// # Errors
/// If standard output cannot be written.
pub(crate) fn print_line(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()?;
    Ok(())
}

/// Prints a line on standard error. Nobody can be told if that fails.
pub(crate) fn note(line: &str) {
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_tells_its_causes_and_advice() {
        let error = anyhow::Error::msg("disk full")
            .context("cannot write `x`")
            .context("cannot start `web`");
        let failure = Failure::from(error).hint("free some space");
        insta::assert_snapshot!(failure.text(), @r"
        error: cannot start `web`
        caused by: cannot write `x`
        caused by: disk full
        hint: free some space
        ");
        assert_eq!(failure.code, FAILED);
    }

    #[test]
    fn the_engines_kind_is_found_below_context() {
        let error = hull_engine::Error::NoSuchContainer { name: "x".to_owned() };
        let failure = Failure::from(anyhow::Error::from(error).context("cannot stop"));
        assert_eq!(failure.kind(), Some(ErrorKind::NotFound));
        assert_eq!(Failure::new("x").kind(), None);
    }

    #[test]
    fn every_name_is_tried() {
        let names = ["a", "b", "c"].map(str::to_owned);
        let mut seen = Vec::new();
        let code = for_each(&names, |name| {
            seen.push(name.to_owned());
            if name == "b" { Err(Failure::new("no")) } else { Ok(None) }
        });
        assert_eq!((code.unwrap(), seen.join("")), (FAILED, "abc".to_owned()));
    }
}
