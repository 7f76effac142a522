//! What happens when a container exits or becomes unhealthy: `--restart`, `--health-*`.

use hull_spec::container::{Healthcheck, RestartPolicy};

use crate::args::{Matches, duration};

/// What `--health-on-failure` may say, as Podman's flag does.
const ON_FAILURE: [&str; 4] = ["none", "kill", "stop", "restart"];
/// The word of `--restart` that restarts a container that becomes unhealthy.
const UNHEALTHY: &str = "unhealthy";

/// `--restart`: Docker's policy, and whether the container is started again when it becomes unhealthy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Restart {
    /// `no`, `always`, `unless-stopped`, `on-failure[:N]`; which of these words is right is for the engine to say.
    pub(crate) policy: RestartPolicy,
    /// Whether `unhealthy` was named, alone or behind a comma.
    pub(crate) unhealthy: bool,
}

/// Reads `--restart` of `run`, `create` and `update`.
///
/// # Errors
/// Docker's message.
pub(crate) fn parse(text: &str) -> Result<Restart, String> {
    let mut out = Restart::default();
    let mut rest: Vec<&str> = text.split(',').collect();
    let words = rest.len();
    rest.retain(|word| *word != UNHEALTHY);
    out.unhealthy = rest.len() < words;
    if out.unhealthy && rest.is_empty() {
        out.policy.name = "no".to_owned();
        return Ok(out);
    }
    let text = rest.join(",");
    let (name, count) = match text.split_once(':') {
        Some(("", _)) => return Err("invalid restart policy format: no policy provided before colon".to_owned()),
        Some((name, count)) => (name, count),
        None => (text.as_str(), ""),
    };
    if !count.is_empty() {
        out.policy.maximum_retry_count = count
            .parse()
            .map_err(|_| "invalid restart policy format: maximum retry count must be an integer".to_owned())?;
    }
    out.policy.name = name.to_owned();
    Ok(out)
}

/// The policy that the flags ask for, and what happens to the container when it becomes unhealthy (empty: nothing).
///
/// # Errors
/// Docker's message; flags that contradict each other.
pub(super) fn read(args: &Matches) -> Result<(RestartPolicy, String), String> {
    let restart = parse(args.value("restart").unwrap_or("no"))?;
    let named = !matches!(restart.policy.name.as_str(), "" | "no");
    if args.on("rm") && (named || restart.unhealthy) {
        return Err("conflicting options: cannot specify both --restart and --rm".to_owned());
    }
    let on_failure = match args.value("health-on-failure").unwrap_or("") {
        "" => "",
        word if ON_FAILURE.contains(&word) => word,
        other => {
            return Err(format!(
                "invalid --health-on-failure '{other}': must be one of \"none\", \"kill\", \"stop\" or \"restart\""
            ));
        }
    };
    if args.on("rm") && on_failure == "restart" {
        return Err("conflicting options: cannot specify both --health-on-failure restart and --rm".to_owned());
    }
    let on_failure = match (restart.unhealthy, on_failure) {
        (true, "" | "restart") => "restart",
        (true, other) => {
            return Err(format!(
                "conflicting options: --restart unhealthy and --health-on-failure {other}"
            ));
        }
        (false, "none") => "",
        (false, word) => word,
    };
    if args.on("no-healthcheck") && !on_failure.is_empty() {
        return Err("conflicting options: --no-healthcheck leaves no check that could fail".to_owned());
    }
    Ok((restart.policy, on_failure.to_owned()))
}

/// The health check that the flags ask for, on top of the image's.
///
/// # Errors
/// Docker's message.
pub(super) fn health(args: &Matches) -> Result<Option<Healthcheck>, String> {
    let time = |flag: &str| args.value(flag).map_or(Ok(0), duration::parse_duration);
    let command = args.value("health-cmd").unwrap_or("");
    let out = Healthcheck {
        test: if command.is_empty() {
            Vec::new()
        } else {
            vec!["CMD-SHELL".to_owned(), command.to_owned()]
        },
        interval: time("health-interval")?,
        timeout: time("health-timeout")?,
        start_period: time("health-start-period")?,
        start_interval: time("health-start-interval")?,
        retries: args.int("health-retries").unwrap_or(0),
    };
    let given = out != Healthcheck::default();
    if args.on("no-healthcheck") {
        if given {
            return Err("--no-healthcheck conflicts with --health-* options".to_owned());
        }
        return Ok(Some(Healthcheck {
            test: vec!["NONE".to_owned()],
            ..Healthcheck::default()
        }));
    }
    for (flag, value) in [
        ("interval", out.interval),
        ("timeout", out.timeout),
        ("retries", out.retries),
        ("start-period", out.start_period),
        ("start-interval", out.start_interval),
    ] {
        if value < 0 {
            return Err(format!("--health-{flag} cannot be negative"));
        }
    }
    Ok(given.then_some(out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Parsed, parse as parse_flags};
    use crate::container::flags::CREATE;

    #[test]
    fn policies_may_name_bad_health() {
        let check = |text: &str, name: &str, count: i64, unhealthy: bool| {
            let restart = parse(text).unwrap();
            let policy = RestartPolicy {
                name: name.to_owned(),
                maximum_retry_count: count,
            };
            assert_eq!(restart, Restart { policy, unhealthy }, "{text}");
        };
        check("always", "always", 0, false);
        check("unhealthy", "no", 0, true);
        check("on-failure:3,unhealthy", "on-failure", 3, true);
        check("unhealthy,always", "always", 0, true);
        check("", "", 0, false);
        // No policy of Docker's: the engine says so.
        check("always,no", "always,no", 0, false);
        assert!(parse("unhealthy,:3").is_err());
    }

    #[test]
    fn what_contradicts_is_refused() {
        let check = |line: &str, expected: Result<&str, &str>| {
            let words = line.split_whitespace().map(str::to_owned);
            let Ok(Parsed::Matches(matches)) = parse_flags(CREATE, false, words) else {
                panic!("{line}");
            };
            let found = read(&matches).map(|(_, on_failure)| on_failure);
            assert_eq!(found.as_deref().map_err(String::as_str), expected, "{line}");
        };
        check("x", Ok(""));
        check("--health-on-failure none x", Ok(""));
        check("--health-on-failure kill x", Ok("kill"));
        check("--restart unhealthy x", Ok("restart"));
        check("--restart unhealthy --health-on-failure restart x", Ok("restart"));
        check(
            "--restart unhealthy --health-on-failure stop x",
            Err("conflicting options: --restart unhealthy and --health-on-failure stop"),
        );
        check(
            "--health-on-failure never x",
            Err("invalid --health-on-failure 'never': must be one of \"none\", \"kill\", \"stop\" or \"restart\""),
        );
        check(
            "--rm --restart unhealthy x",
            Err("conflicting options: cannot specify both --restart and --rm"),
        );
        check(
            "--rm --health-on-failure restart x",
            Err("conflicting options: cannot specify both --health-on-failure restart and --rm"),
        );
        check("--rm --health-on-failure kill x", Ok("kill"));
        check(
            "--no-healthcheck --restart unhealthy x",
            Err("conflicting options: --no-healthcheck leaves no check that could fail"),
        );
    }
}
