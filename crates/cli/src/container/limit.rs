//! Resource limits of processes and kernel settings of namespaces.

use hull_spec::container::Ulimit;

const NAMES: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// `NAME=SOFT[:HARD]`; -1 for no limit.
pub(super) fn parse_ulimit(text: &str) -> Result<Ulimit, String> {
    let err = || format!("invalid ulimit argument: {text}");
    let (name, limits) = text.split_once('=').ok_or_else(err)?;
    if !NAMES.contains(&name) {
        return Err(format!("invalid ulimit type: {name}"));
    }
    let number = |part: &str| {
        part.parse::<i64>().map_err(|_| {
            format!(
                "strconv.ParseInt: parsing {}: invalid syntax",
                crate::args::value::quote(part)
            )
        })
    };
    let (soft, hard) = match limits.split_once(':') {
        Some((_, hard)) if hard.contains(':') => {
            return Err(format!(
                "too many limit value arguments - {limits}, can only have up to two, `soft[:hard]`"
            ));
        }
        Some((soft, hard)) => (number(soft)?, number(hard)?),
        None => (number(limits)?, number(limits)?),
    };
    if hard != -1 && (soft == -1 || soft > hard) {
        return Err(format!(
            "ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
        ));
    }
    Ok(Ulimit {
        name: name.to_owned(),
        hard,
        soft,
    })
}

pub(super) fn check_ulimit(text: &str) -> Result<(), String> {
    parse_ulimit(text).map(drop)
}

/// Only settings that a namespace has of its own may be changed.
pub(super) fn check_sysctl(text: &str) -> Result<(), String> {
    const SINGLE: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    let allowed = text
        .split_once('=')
        .is_some_and(|(name, _)| SINGLE.contains(&name) || name.starts_with("net.") || name.starts_with("fs.mqueue."));
    if allowed {
        Ok(())
    } else {
        Err(format!("sysctl '{text}' is not allowed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ulimits_read_as_docker_reads_them() {
        let check = |text: &str, expected: Option<(i64, i64)>| {
            assert_eq!(parse_ulimit(text).ok().map(|u| (u.soft, u.hard)), expected, "{text}");
        };
        check("nofile=1024", Some((1024, 1024)));
        check("nofile=1024:2048", Some((1024, 2048)));
        check("core=0", Some((0, 0)));
        check("memlock=-1", Some((-1, -1)));
        check("memlock=5:-1", Some((5, -1)));
        for bad in [
            "",
            "nofile",
            "x=1",
            "nofile=",
            "nofile=a",
            "nofile=2:1",
            "nofile=-1:5",
            "nofile=1:2:3",
            "NOFILE=1",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn only_settings_of_namespaces_may_be_changed() {
        for good in [
            "net.ipv4.ip_forward=1",
            "kernel.msgmax=1",
            "fs.mqueue.msg_max=5",
            "net.x=",
        ] {
            assert!(check_sysctl(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "net.ipv4.ip_forward",
            "kernel.core_pattern=x",
            "vm.swappiness=1",
            "kernel.msgmaxx=1",
        ] {
            assert!(check_sysctl(bad).is_err(), "{bad}");
        }
    }
}
