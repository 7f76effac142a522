//! Devices of the host, and rules that allow them.

use hull_spec::container::DeviceMapping;

fn is_mode(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .enumerate()
            .all(|(i, b)| b"rwm".contains(&b) && !text.as_bytes()[..i].contains(&b))
}

/// `HOST[:CONTAINER][:rwm]`.
pub(super) fn parse(text: &str) -> Result<DeviceMapping, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let (host, container, mode) = match parts[..] {
        [host] => (host, host, "rwm"),
        [host, mode] if is_mode(mode) => (host, host, mode),
        [host, container] => (host, container, "rwm"),
        [host, container, mode] => (host, container, mode),
        _ => return Err(format!("bad format for path: {text}")),
    };
    if host.is_empty() {
        return Err(format!("bad format for path: {text}"));
    }
    if !is_mode(mode) {
        return Err(format!("bad mode specified: {mode}"));
    }
    if !container.starts_with('/') {
        return Err(format!("{container} is not an absolute path"));
    }
    Ok(DeviceMapping {
        path_on_host: host.to_owned(),
        path_in_container: container.to_owned(),
        cgroup_permissions: mode.to_owned(),
    })
}

/// A rule of the devices cgroup, `c 7:* rmw`.
pub(super) fn check_rule(text: &str) -> Result<(), String> {
    let number = |n: &str| n == "*" || (!n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    let fields: Vec<&str> = text.split(' ').collect();
    let valid = match fields[..] {
        ["a" | "b" | "c", numbers, mode] => {
            numbers.split_once(':').is_some_and(|(a, b)| number(a) && number(b))
                && (1..=3).contains(&mode.len())
                && mode.bytes().all(|b| b"rwm".contains(&b))
        }
        _ => false,
    };
    if valid {
        Ok(())
    } else {
        Err(format!("invalid device cgroup format '{text}'"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_read_as_docker_reads_them() {
        let check = |text: &str, expected: Option<(&str, &str, &str)>| {
            let read = parse(text).ok();
            let read = read
                .as_ref()
                .map(|d| (&*d.path_on_host, &*d.path_in_container, &*d.cgroup_permissions));
            assert_eq!(read, expected, "{text}");
        };
        check("/dev/null", Some(("/dev/null", "/dev/null", "rwm")));
        check("/dev/null:r", Some(("/dev/null", "/dev/null", "r")));
        check("/dev/null:/dev/x", Some(("/dev/null", "/dev/x", "rwm")));
        check("/dev/null:/dev/x:rw", Some(("/dev/null", "/dev/x", "rw")));
        for bad in [
            "",
            "x",
            ":/dev/x",
            "/dev/null:",
            "/dev/null:x",
            "/dev/null:/dev/x:rr",
            "/dev/null:/dev/x:z",
            "/a:/b:r:w",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn rules_read_as_docker_reads_them() {
        for good in ["a *:* rwm", "c 7:* rmw", "b 8:0 r"] {
            assert!(check_rule(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "a",
            "c 7 r",
            "d 7:1 r",
            "c 7:1 x",
            "c 7:1 rwmr",
            "c  7:1 r",
            "c 7:1 ",
        ] {
            assert!(check_rule(bad).is_err(), "{bad}");
        }
    }
}
