//! The instructions of a Dockerfile that say how an image runs, with Docker's words for what is wrong with them.

use hull_spec::container::{Config, Empty, Healthcheck};

use super::words::{expand, lines, split};
use crate::container::kill;
use crate::{Error, Result};

/// The shell of the shell form.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

fn invalid<T>(text: impl Into<String>) -> Result<T> {
    Err(Error::Invalid(text.into()))
}

/// The container's config as `changes` want it.
pub(crate) fn apply(config: &Config, changes: &[String]) -> Result<Config> {
    let mut change = Change {
        config: config.clone(),
        own_command: false,
    };
    for line in changes.iter().flat_map(|text| lines(text)) {
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((&line, ""));
        change.instruction(word, rest.trim())?;
    }
    Ok(change.config)
}

struct Change {
    config: Config,
    /// Whether there was a CMD: an ENTRYPOINT takes away the one that was there before.
    own_command: bool,
}

impl Change {
    fn instruction(&mut self, word: &str, rest: &str) -> Result<()> {
        let name = word.to_ascii_uppercase();
        match name.as_str() {
            "CMD" => {
                let command = self.command(rest);
                if !command.is_empty() {
                    self.config.cmd = Some(command);
                    self.own_command = true;
                }
                Ok(())
            }
            "ENTRYPOINT" => {
                let entrypoint = self.command(rest);
                if !self.own_command && !entrypoint.is_empty() {
                    self.config.cmd = None;
                }
                self.config.entrypoint = Some(entrypoint).filter(|e| !e.is_empty());
                Ok(())
            }
            "ENV" => self.environment(rest),
            "LABEL" => {
                for (key, value) in self.pairs("LABEL", rest)? {
                    self.config.labels.insert(key, value);
                }
                Ok(())
            }
            "EXPOSE" => self.expose(rest),
            "HEALTHCHECK" => self.healthcheck(rest),
            "ONBUILD" => self.on_build(rest),
            "SHELL" => {
                let Some(shell) = array(rest).filter(|shell| !shell.is_empty()) else {
                    return invalid("SHELL requires the arguments to be in JSON form");
                };
                self.config.shell = Some(shell);
                Ok(())
            }
            "STOPSIGNAL" => {
                let signal = self.one("STOPSIGNAL", rest)?;
                kill::parse(&signal)?;
                self.config.stop_signal = Some(signal);
                Ok(())
            }
            "USER" => {
                self.config.user = self.one("USER", rest)?;
                Ok(())
            }
            "VOLUME" => self.volume(rest),
            "WORKDIR" => self.working_dir(rest),
            _ => invalid(format!("{word} is not a valid change command")),
        }
    }

    /// The JSON form, or the shell form run by a shell.
    fn command(&self, rest: &str) -> Vec<String> {
        if let Some(words) = array(rest) {
            return words;
        }
        if rest.is_empty() {
            return Vec::new();
        }
        let shell = self.config.shell.clone();
        let mut command = shell.unwrap_or_else(|| SHELL.map(str::to_owned).to_vec());
        command.push(rest.to_owned());
        command
    }

    fn expand(&self, text: &str) -> Result<String> {
        expand(text, &self.config.env)
    }

    /// The single argument of an instruction.
    fn one(&self, name: &str, rest: &str) -> Result<String> {
        if rest.is_empty() {
            return invalid(format!("{name} requires exactly one argument"));
        }
        self.expand(rest)
    }

    /// `NAME=value ..`, or the old form `NAME value`.
    fn pairs(&self, name: &str, rest: &str) -> Result<Vec<(String, String)>> {
        let words = split(rest);
        let Some(first) = words.first() else {
            return invalid(format!("{name} requires at least one argument"));
        };
        if !first.contains('=') {
            let Some((key, value)) = rest.split_once(char::is_whitespace) else {
                return invalid(format!("{name} must have two arguments"));
            };
            return Ok(vec![(self.expand(key)?, self.expand(value.trim())?)]);
        }
        let pair = |word: &String| {
            let Some((key, value)) = word.split_once('=') else {
                return invalid(format!(
                    "Syntax error - can't find = in {word:?}. Must be of the form: name=value"
                ));
            };
            let key = self.expand(key)?;
            if key.is_empty() {
                return invalid(format!("{name} names can not be blank"));
            }
            Ok((key, self.expand(value)?))
        };
        words.iter().map(pair).collect()
    }

    fn environment(&mut self, rest: &str) -> Result<()> {
        for (key, value) in self.pairs("ENV", rest)? {
            let entry = format!("{key}={value}");
            let same = |other: &&mut String| other.split('=').next() == Some(&key);
            match self.config.env.iter_mut().find(same) {
                Some(old) => *old = entry,
                None => self.config.env.push(entry),
            }
        }
        Ok(())
    }

    fn expose(&mut self, rest: &str) -> Result<()> {
        let words = split(rest);
        if words.is_empty() {
            return invalid("EXPOSE requires at least one argument");
        }
        for word in words {
            let word = self.expand(&word)?;
            let (ports, protocol) = word.split_once('/').unwrap_or((&word, "tcp"));
            let protocol = protocol.to_ascii_lowercase();
            if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
                return invalid(format!("Invalid proto: {protocol}"));
            }
            let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
            let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>()) else {
                return invalid(format!("Invalid containerPort: {ports}"));
            };
            if first > last {
                return invalid(format!("Invalid containerPort: {ports}"));
            }
            for port in first..=last {
                self.config.exposed_ports.insert(format!("{port}/{protocol}"), Empty {});
            }
        }
        Ok(())
    }

    fn on_build(&mut self, rest: &str) -> Result<()> {
        let trigger = rest.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
        match trigger.as_str() {
            "" => invalid("ONBUILD requires at least one argument"),
            "ONBUILD" => invalid("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
            "MAINTAINER" | "FROM" => invalid(format!("{trigger} isn't allowed as an ONBUILD trigger")),
            _ => {
                self.config.on_build.get_or_insert_default().push(rest.to_owned());
                Ok(())
            }
        }
    }

    fn volume(&mut self, rest: &str) -> Result<()> {
        let paths = array(rest).unwrap_or_else(|| split(rest));
        if paths.is_empty() {
            return invalid("VOLUME requires at least one argument");
        }
        for path in paths {
            let path = self.expand(&path)?.trim().to_owned();
            if path.is_empty() {
                return invalid("VOLUME specified can not be an empty string");
            }
            self.config.volumes.get_or_insert_default().insert(path, Empty {});
        }
        Ok(())
    }

    fn working_dir(&mut self, rest: &str) -> Result<()> {
        let path = self.one("WORKDIR", rest)?;
        let base = if path.starts_with('/') {
            ""
        } else {
            self.config.working_dir.as_str()
        };
        let mut parts: Vec<&str> = Vec::new();
        for part in base.split('/').chain(path.split('/')) {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()),
                part => parts.push(part),
            }
        }
        self.config.working_dir = format!("/{}", parts.join("/"));
        Ok(())
    }

    fn healthcheck(&mut self, rest: &str) -> Result<()> {
        let mut check = Healthcheck::default();
        let mut rest = rest;
        while let Some(flag) = rest.strip_prefix("--") {
            let (flag, after) = flag.split_once(char::is_whitespace).unwrap_or((flag, ""));
            rest = after.trim_start();
            let (name, value) = flag.split_once('=').unwrap_or((flag, ""));
            match name {
                "interval" => check.interval = duration(name, value)?,
                "timeout" => check.timeout = duration(name, value)?,
                "start-period" => check.start_period = duration(name, value)?,
                "start-interval" => check.start_interval = duration(name, value)?,
                "retries" => {
                    let Ok(retries) = value.parse::<i32>() else {
                        return invalid(format!("strconv.ParseInt: parsing {value:?}: invalid syntax"));
                    };
                    if retries < 0 {
                        return invalid(format!("--retries cannot be negative ({retries})"));
                    }
                    check.retries = i64::from(retries);
                }
                _ => return invalid(format!("unknown flag: --{name}")),
            }
        }
        let (kind, command) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let command = command.trim();
        check.test = match kind.to_ascii_uppercase().as_str() {
            "" => return invalid("HEALTHCHECK requires at least one argument"),
            "NONE" if command.is_empty() => vec!["NONE".to_owned()],
            "NONE" => return invalid("HEALTHCHECK NONE takes no arguments"),
            "CMD" if command.is_empty() => return invalid("Missing command after HEALTHCHECK CMD"),
            "CMD" => match array(command) {
                Some(words) => [vec!["CMD".to_owned()], words].concat(),
                None => vec!["CMD-SHELL".to_owned(), command.to_owned()],
            },
            other => return invalid(format!("Unknown type {other:?} in HEALTHCHECK (try CMD)")),
        };
        self.config.healthcheck = Some(check);
        Ok(())
    }
}

/// A JSON array of texts; anything else is the shell form.
fn array(text: &str) -> Option<Vec<String>> {
    text.starts_with('[').then(|| serde_json::from_str(text).ok()).flatten()
}

/// Go's durations in nanoseconds: `1m30s`, `500ms`.
fn duration(name: &str, text: &str) -> Result<i64> {
    let bad = || Error::Invalid(format!("time: invalid duration {text:?}"));
    let mut rest = text;
    let mut total = 0f64;
    if rest.is_empty() {
        return Err(bad());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
        let number: f64 = rest[..digits].parse().map_err(|_| bad())?;
        let unit = &rest[digits..];
        let length = unit.find(|c: char| c.is_ascii_digit()).unwrap_or(unit.len());
        let factor = match &unit[..length] {
            "ns" => 1.0,
            "us" | "\u{b5}s" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return Err(bad()),
        };
        total += number * factor;
        rest = &unit[length..];
    }
    if total != 0.0 && total < 1e6 {
        return invalid(format!("Interval {name:?} cannot be less than 1ms"));
    }
    if total > 9.2e18 {
        return Err(bad());
    }
    #[expect(clippy::cast_possible_truncation, reason = "it was compared above")]
    Ok(total as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(changes: &[&str]) -> Result<Config> {
        let config = Config {
            env: vec!["PATH=/bin".to_owned()],
            cmd: Some(vec!["old".to_owned()]),
            working_dir: "/srv".to_owned(),
            ..Config::default()
        };
        apply(&config, &changes.iter().map(|&c| c.to_owned()).collect::<Vec<_>>())
    }

    /// What Docker 26 was seen to make of the same instructions.
    #[test]
    fn instructions_are_read_as_dockers() {
        let config = changed(&[
            "CMD [\"/bin/echo\",\"hi\"]",
            "env A=b C=\"d e\"",
            "ENV X y z",
            "ENV PATH=$PATH:/x",
            "EXPOSE 80 90/udp 7000-7001",
            "LABEL \"a b\"=\"c d\" e=f\\ g h=$NONE",
            "ONBUILD RUN x",
            "USER 5",
            "VOLUME /v1 /v2",
            "VOLUME [\"/v3\"]",
            "WORKDIR rel",
            "HEALTHCHECK --interval=5s --retries=3 CMD true",
            "STOPSIGNAL SIGINT",
        ])
        .unwrap();
        assert_eq!(config.cmd.unwrap(), ["/bin/echo", "hi"]);
        assert_eq!(config.env, ["PATH=/bin:/x", "A=b", "C=d e", "X=y z"]);
        let ports: Vec<_> = config.exposed_ports.into_keys().collect();
        assert_eq!(ports, ["7000/tcp", "7001/tcp", "80/tcp", "90/udp"]);
        let labels: Vec<_> = config.labels.into_iter().collect();
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(labels, [pair("a b", "c d"), pair("e", "f g"), pair("h", "")]);
        assert_eq!(config.on_build.unwrap(), ["RUN x"]);
        assert_eq!(config.user, "5");
        assert_eq!(
            config.volumes.unwrap().into_keys().collect::<Vec<_>>(),
            ["/v1", "/v2", "/v3"]
        );
        assert_eq!(config.working_dir, "/srv/rel");
        let check = config.healthcheck.unwrap();
        assert_eq!(check.test, ["CMD-SHELL", "true"]);
        assert_eq!((check.interval, check.retries), (5_000_000_000, 3));
        assert_eq!(config.stop_signal.unwrap(), "SIGINT");
    }

    #[test]
    fn commands_and_entrypoints_depend_on_each_other() {
        let both = |changes: &[&str]| {
            let config = changed(changes).unwrap();
            (config.cmd.unwrap_or_default(), config.entrypoint.unwrap_or_default())
        };
        let words = |words: &[&str]| words.iter().map(|&w| w.to_owned()).collect::<Vec<_>>();
        assert_eq!(both(&["CMD []"]), (words(&["old"]), vec![]));
        assert_eq!(both(&["ENTRYPOINT []"]), (words(&["old"]), vec![]));
        assert_eq!(
            both(&["ENTRYPOINT ls -l"]),
            (vec![], words(&["/bin/sh", "-c", "ls -l"]))
        );
        let both_forms = (words(&["/bin/sh", "-c", "[a"]), words(&["x"]));
        assert_eq!(both(&["CMD [a\nENTRYPOINT [\"x\"]"]), both_forms);
        assert_eq!(both(&["SHELL [\"/bin/ash\"]", "CMD x"]).0, words(&["/bin/ash", "x"]));
    }

    #[test]
    fn what_is_wrong_is_told_in_dockers_words() {
        for (change, expected) in [
            ("RUN x", "RUN is not a valid change command"),
            ("foo", "foo is not a valid change command"),
            ("ENV", "ENV requires at least one argument"),
            ("LABEL x", "LABEL must have two arguments"),
            (
                "ENV a=b c",
                "Syntax error - can't find = in \"c\". Must be of the form: name=value",
            ),
            ("EXPOSE 80x", "Invalid containerPort: 80x"),
            ("EXPOSE 80/x", "Invalid proto: x"),
            ("STOPSIGNAL FOO", "invalid signal: FOO"),
            ("WORKDIR", "WORKDIR requires exactly one argument"),
            ("VOLUME", "VOLUME requires at least one argument"),
            (
                "ONBUILD ONBUILD x",
                "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed",
            ),
            ("ONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger"),
            (
                "HEALTHCHECK --retries=x CMD a",
                "strconv.ParseInt: parsing \"x\": invalid syntax",
            ),
            ("HEALTHCHECK FOO", "Unknown type \"FOO\" in HEALTHCHECK (try CMD)"),
            ("HEALTHCHECK --interval=1 CMD a", "time: invalid duration \"1\""),
            (
                "HEALTHCHECK --interval=1us CMD a",
                "Interval \"interval\" cannot be less than 1ms",
            ),
            ("SHELL x", "SHELL requires the arguments to be in JSON form"),
        ] {
            assert_eq!(changed(&[change]).unwrap_err().to_string(), expected, "{change}");
        }
    }
}
