//! Networks, hosts and name servers.

use std::net::IpAddr;

/// `name:address` or `name=address`, in the one form that is sent.
pub(super) fn parse_host(text: &str) -> Result<String, String> {
    let err = || format!("bad format for add-host: {}", crate::args::value::quote(text));
    let (name, address) = text
        .split_once('=')
        .or_else(|| text.split_once(':'))
        .filter(|(name, _)| !name.is_empty() && !name.contains(':'))
        .ok_or_else(err)?;
    if address == "host-gateway" {
        return Ok(format!("{name}:{address}"));
    }
    let bare = address
        .strip_prefix('[')
        .and_then(|a| a.strip_suffix(']'))
        .unwrap_or(address);
    if bare.parse::<IpAddr>().is_err() {
        return Err(format!(
            "invalid IP address in add-host: {}",
            crate::args::value::quote(bare)
        ));
    }
    Ok(format!("{name}:{bare}"))
}

pub(super) fn check_host(text: &str) -> Result<(), String> {
    parse_host(text).map(drop)
}

pub(super) fn check_address(text: &str) -> Result<(), String> {
    match text.trim().parse::<IpAddr>() {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("IP address is not correctly formatted: {text}")),
    }
}

/// A search domain; a dot alone asks for none.
pub(super) fn check_domain(text: &str) -> Result<(), String> {
    let label = |l: &str| {
        !l.is_empty() && l.len() <= 63 && l.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    if text.trim() == "." || (text.len() < 255 && name.split('.').all(label)) {
        return Ok(());
    }
    Err(format!("{text} is not a valid domain"))
}

/// The network mode of one `--network`: plain, or `name=` of the long form.
pub(super) fn parse_mode(text: &str) -> Result<String, String> {
    let name = if text.contains('=') {
        let mut name = None;
        for field in super::mount::fields(text)? {
            match field.split_once('=') {
                Some(("name", value)) => name = Some(value.to_owned()),
                Some((
                    key @ ("alias" | "ip" | "ip6" | "link-local-ip" | "mac-address" | "driver-opt" | "gw-priority"),
                    _,
                )) => {
                    return Err(format!("`{key}` is not there yet: it is for networks of your own"));
                }
                Some((key, _)) => return Err(format!("invalid field key {key}")),
                None => return Err(format!("invalid field {field}")),
            }
        }
        name.ok_or_else(|| "network name/id is not specified".to_owned())?
    } else {
        text.to_owned()
    };
    match name.as_str() {
        "default" | "bridge" | "host" | "none" => Ok(name),
        "" => Ok("default".to_owned()),
        // The engine refuses an empty name.
        other if other.starts_with("container:") => Ok(name),
        _ => Err(format!(
            "network '{name}' is not there: networks of your own come in a later version; bridge, host, none and \
             container:NAME work"
        )),
    }
}

pub(super) fn check_mode(text: &str) -> Result<(), String> {
    parse_mode(text).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_read_as_docker_reads_them() {
        let check =
            |text: &str, expected: Option<&str>| assert_eq!(parse_host(text).ok().as_deref(), expected, "{text}");
        check("a:1.1.1.1", Some("a:1.1.1.1"));
        check("a=1.1.1.1", Some("a:1.1.1.1"));
        check("a:::1", Some("a:::1"));
        check("a=[::1]", Some("a:::1"));
        check("a:host-gateway", Some("a:host-gateway"));
        for bad in ["", "a", "a:", ":1.1.1.1", "a:x", "a:b=1.1.1.1"] {
            check(bad, None);
        }
    }

    #[test]
    fn only_networks_that_are_there_are_taken() {
        let check =
            |text: &str, expected: Option<&str>| assert_eq!(parse_mode(text).ok().as_deref(), expected, "{text}");
        check("host", Some("host"));
        check("container:web", Some("container:web"));
        check("name=none", Some("none"));
        for bad in ["mine", "name=bridge,alias=x", "a=b", "name=mine", "alias=x"] {
            check(bad, None);
        }
    }

    #[test]
    fn search_domains_are_checked() {
        for good in [".", "example.com", "example.com.", "a_b"] {
            assert!(check_domain(good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "..", "a..b", "a\nnameserver 1.1.1.1"] {
            assert!(check_domain(bad).is_err(), "{bad}");
        }
    }
}
