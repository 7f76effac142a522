//! Flags as runc takes them: `--name value`, `--name=value`, `-n value`, up to the first argument or `--`.

use std::fmt;

use super::{Failure, Outcome};

/// A flag that a command knows.
#[derive(Debug)]
pub(super) struct Flag {
    names: &'static [&'static str],
    takes_value: bool,
}

impl Flag {
    /// One with a value.
    pub(super) const fn value(names: &'static [&'static str]) -> Self {
        Self {
            names,
            takes_value: true,
        }
    }

    /// One without.
    pub(super) const fn switch(names: &'static [&'static str]) -> Self {
        Self {
            names,
            takes_value: false,
        }
    }
}

impl fmt::Display for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, name) in self.names.iter().enumerate() {
            let dashes = if name.len() == 1 { "-" } else { "--" };
            write!(f, "{}{dashes}{name}", if number == 0 { "" } else { ", " })?;
        }
        f.write_str(if self.takes_value { " VALUE" } else { "" })
    }
}

/// A parsed command line.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    given: Vec<(&'static str, String)>,
    /// What came after the flags.
    pub(super) rest: Vec<String>,
}

impl Arguments {
    pub(super) fn parse(flags: &'static [Flag], args: &[String]) -> Outcome<Self> {
        let mut parsed = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            if arg == "--" {
                break;
            }
            let Some(name) = arg
                .strip_prefix("--")
                .or_else(|| arg.strip_prefix('-'))
                .filter(|name| !name.is_empty())
            else {
                parsed.rest.push(arg.clone());
                break;
            };
            let (name, value) = match name.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (name, None),
            };
            let flag = flags.iter().find(|flag| flag.names.contains(&name));
            let flag = flag.ok_or_else(|| Failure::new(format!("unknown flag `{arg}`")))?;
            let value = match (flag.takes_value, value) {
                (true, Some(value)) => value,
                (true, None) => args
                    .next()
                    .cloned()
                    .ok_or_else(|| Failure::new(format!("flag `{arg}` needs a value")))?,
                (false, None) => "true".to_owned(),
                (false, Some(value)) if value == "true" || value == "false" => value,
                (false, Some(value)) => return Err(Failure::new(format!("flag `--{name}` takes no value `{value}`"))),
            };
            parsed.given.push((flag.names[0], value));
        }
        parsed.rest.extend(args.cloned());
        Ok(parsed)
    }

    /// The last value given.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.given
            .iter()
            .rev()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value.as_str())
    }

    /// All values given, in order.
    pub(super) fn values(&self, name: &str) -> Vec<String> {
        self.given
            .iter()
            .filter(|(known, _)| *known == name)
            .map(|(_, value)| value.clone())
            .collect()
    }

    /// Whether a switch was given.
    pub(super) fn has(&self, name: &str) -> bool {
        self.value(name) == Some("true")
    }

    /// A value that is a number.
    pub(super) fn number<N: std::str::FromStr>(&self, name: &str) -> Outcome<Option<N>> {
        let parse = |text: &str| {
            text.parse()
                .map_err(|_| Failure::new(format!("--{name} `{text}` is not a number")))
        };
        self.value(name).map(parse).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: &[Flag] = &[Flag::value(&["bundle", "b"]), Flag::switch(&["detach", "d"])];

    fn parse(line: &str) -> Outcome<Arguments> {
        Arguments::parse(FLAGS, &line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn command_lines() {
        let check = |line: &str, bundle: Option<&str>, detach: bool, rest: &[&str]| {
            let parsed = parse(line).unwrap();
            assert_eq!(parsed.value("bundle"), bundle, "{line}");
            assert_eq!(parsed.has("detach"), detach, "{line}");
            assert_eq!(parsed.rest, rest, "{line}");
        };
        check("", None, false, &[]);
        check("--bundle /b -d id", Some("/b"), true, &["id"]);
        check("-b=/b id", Some("/b"), false, &["id"]);
        check("-bundle /a --bundle=/b id -d x", Some("/b"), false, &["id", "-d", "x"]);
        check("--detach=false -- -id", None, false, &["-id"]);
        for bad in ["--nope", "--bundle", "--detach=maybe id"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
