//! What a container's restart policy and health check may say.

use hull_spec::container::{Healthcheck, HostConfig, RestartPolicy};

use crate::{Error, Result};

/// The shortest time that a health check knows, in nanoseconds.
const SHORTEST: i64 = 1_000_000;

/// Refuses a policy that Docker refuses, in its words.
pub(crate) fn check_restart(policy: &RestartPolicy) -> Result<()> {
    let refuse = |text: &str| Err(Error::Invalid(format!("invalid restart policy: {text}")));
    let count = policy.maximum_retry_count;
    match policy.name.as_str() {
        "" | "no" | "always" | "unless-stopped" if count > 0 => {
            refuse("maximum retry count can only be used with 'on-failure'")
        }
        "" | "no" | "always" | "unless-stopped" if count < 0 => {
            refuse("maximum retry count can only be used with 'on-failure' and cannot be negative")
        }
        "on-failure" if count < 0 => refuse("maximum retry count cannot be negative"),
        "" | "no" | "always" | "unless-stopped" | "on-failure" => Ok(()),
        other => Err(Error::Invalid(format!(
            "invalid restart policy: unknown policy '{other}'; use one of 'no', 'always', 'on-failure', or \
             'unless-stopped'"
        ))),
    }
}

/// Refuses a health check that Docker refuses, in its words, and a consequence of bad health that is none.
pub(crate) fn check_health(health: Option<&Healthcheck>, host: &HostConfig) -> Result<()> {
    if !matches!(host.health_on_failure.as_str(), "" | "kill" | "stop" | "restart") {
        return Err(Error::Invalid(format!(
            "invalid action on failed health checks: '{}'; use one of 'kill', 'stop' or 'restart'",
            host.health_on_failure
        )));
    }
    let restarts = !matches!(host.restart_policy.name.as_str(), "" | "no") || host.health_on_failure == "restart";
    if host.auto_remove && restarts {
        return Err(Error::Invalid(
            "can't create 'AutoRemove' container with restart policy".to_owned(),
        ));
    }
    let Some(health) = health else { return Ok(()) };
    for (name, value) in [
        ("Interval", health.interval),
        ("Timeout", health.timeout),
        ("StartPeriod", health.start_period),
        ("StartInterval", health.start_interval),
    ] {
        if value != 0 && value < SHORTEST {
            return Err(Error::Invalid(format!("{name} in Healthcheck cannot be less than 1ms")));
        }
    }
    if health.retries < 0 {
        return Err(Error::Invalid("Retries in Healthcheck cannot be negative".to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_refused_as_docker_does() {
        let check = |name: &str, count: i64, expected: &str| {
            let policy = RestartPolicy {
                name: name.to_owned(),
                maximum_retry_count: count,
            };
            let said = check_restart(&policy).map_or_else(|e| e.to_string(), |()| String::new());
            assert_eq!(
                said.trim_start_matches("invalid restart policy: "),
                expected,
                "{name}:{count}"
            );
        };
        for good in ["", "no", "always", "unless-stopped", "on-failure"] {
            check(good, 0, "");
        }
        check("on-failure", 5, "");
        check("on-failure", -1, "maximum retry count cannot be negative");
        check("always", 3, "maximum retry count can only be used with 'on-failure'");
        check(
            "no",
            -1,
            "maximum retry count can only be used with 'on-failure' and cannot be negative",
        );
        check(
            "foo",
            0,
            "unknown policy 'foo'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'",
        );
    }

    #[test]
    fn health_checks_are_refused_as_docker_does() {
        let check = |health: Healthcheck, host: HostConfig, expected: &str| {
            let said = check_health(Some(&health), &host).map_or_else(|e| e.to_string(), |()| String::new());
            assert_eq!(said, expected);
        };
        let host = HostConfig::default;
        check(Healthcheck::default(), host(), "");
        check(
            Healthcheck {
                interval: 999_999,
                ..Healthcheck::default()
            },
            host(),
            "Interval in Healthcheck cannot be less than 1ms",
        );
        check(
            Healthcheck {
                start_interval: -1,
                ..Healthcheck::default()
            },
            host(),
            "StartInterval in Healthcheck cannot be less than 1ms",
        );
        check(
            Healthcheck {
                retries: -1,
                ..Healthcheck::default()
            },
            host(),
            "Retries in Healthcheck cannot be negative",
        );
        check(
            Healthcheck::default(),
            HostConfig {
                health_on_failure: "none".to_owned(),
                ..host()
            },
            "invalid action on failed health checks: 'none'; use one of 'kill', 'stop' or 'restart'",
        );
        check(
            Healthcheck::default(),
            HostConfig {
                health_on_failure: "restart".to_owned(),
                auto_remove: true,
                ..host()
            },
            "can't create 'AutoRemove' container with restart policy",
        );
    }
}
