//! What was typed: the flags that were given and the arguments after them.

use super::{Arity, Flag, value};

/// The flags and arguments of one command.
#[derive(Debug)]
pub(crate) struct Matches {
    flags: &'static [Flag],
    given: Vec<(&'static Flag, String)>,
    args: Vec<String>,
}

impl Matches {
    pub(super) fn new(flags: &'static [Flag]) -> Self {
        Self {
            flags,
            given: Vec::new(),
            args: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, flag: &'static Flag, value: String) {
        self.given.push((flag, value));
    }

    pub(super) fn push_arg(&mut self, arg: String) {
        self.args.push(arg);
    }

    /// The arguments that are not flags, in order.
    pub(crate) fn args(&self) -> &[String] {
        &self.args
    }

    /// The first argument, or an empty text.
    pub(crate) fn arg(&self) -> &str {
        self.args.first().map_or("", String::as_str)
    }

    /// Whether the flag was given at all, with whatever value.
    pub(crate) fn changed(&self, long: &str) -> bool {
        self.value(long).is_some()
    }

    /// Whether a switch is on: given, and not with `=false`.
    pub(crate) fn on(&self, long: &str) -> bool {
        self.value(long).is_some_and(|v| value::parse_bool(v) == Some(true))
    }

    /// Whether a switch is on that is on by default.
    pub(crate) fn on_by_default(&self, long: &str) -> bool {
        self.value(long).is_none_or(|v| value::parse_bool(v) == Some(true))
    }

    /// The flag's last value.
    pub(crate) fn value(&self, long: &str) -> Option<&str> {
        self.known(long);
        self.given
            .iter()
            .rev()
            .find(|(flag, _)| flag.long == long)
            .map(|(_, value)| value.as_str())
    }

    /// The flag's last value, or an empty text.
    pub(crate) fn text(&self, long: &str) -> String {
        self.value(long).unwrap_or_default().to_owned()
    }

    /// The flag's values, in order.
    pub(crate) fn values<'a>(&'a self, long: &'a str) -> impl Iterator<Item = &'a str> {
        self.known(long);
        self.given
            .iter()
            .filter(move |(flag, _)| flag.long == long)
            .map(|(_, value)| value.as_str())
    }

    /// The flag's values as owned texts.
    pub(crate) fn list(&self, long: &str) -> Vec<String> {
        self.values(long).map(str::to_owned).collect()
    }

    /// The flag's values, or `None` where it was not given: Go writes `null` for an empty list.
    pub(crate) fn maybe_list(&self, long: &str) -> Option<Vec<String>> {
        Some(self.list(long)).filter(|list| !list.is_empty())
    }

    /// A whole number; it was checked when it was read.
    pub(crate) fn int(&self, long: &str) -> Option<i64> {
        self.value(long).and_then(|v| value::parse_int(v).ok())
    }

    /// A size in bytes; it was checked when it was read.
    pub(crate) fn bytes(&self, long: &str) -> Option<i64> {
        self.value(long).and_then(|v| value::parse_bytes(v).ok())
    }

    /// The first given flag that is refused.
    pub(crate) fn refused(&self) -> Option<(&'static Flag, &'static str)> {
        self.given.iter().find_map(|(flag, value)| {
            // `--link=false` asks for nothing.
            let off = flag.arity == Arity::Switch && value::parse_bool(value) == Some(false);
            flag.refused.filter(|_| !off).map(|reason| (*flag, reason))
        })
    }

    /// Whether the command has such a flag.
    pub(crate) fn knows(&self, long: &str) -> bool {
        self.flags.iter().any(|flag| flag.long == long)
    }

    /// A misspelt name in our own code would read as "not given" for ever.
    fn known(&self, long: &str) {
        debug_assert!(
            self.flags.iter().any(|flag| flag.long == long),
            "no flag `--{long}` in the command's table"
        );
    }
}
