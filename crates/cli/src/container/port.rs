//! Published and exposed ports.

use std::collections::BTreeMap;
use std::net::IpAddr;

use hull_spec::container::{Empty, PortBinding};

/// What `--publish` and `--expose` ask for, in Docker's shapes.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Ports {
    /// `80/tcp`, whether published or only declared.
    pub(super) exposed: BTreeMap<String, Empty>,
    /// `80/tcp` to places on the host.
    pub(super) bindings: BTreeMap<String, Option<Vec<PortBinding>>>,
}

impl Ports {
    /// Adds one `--publish`.
    pub(super) fn publish(&mut self, text: &str) -> Result<(), String> {
        let short;
        let text = if text.contains('=') {
            short = long_form(text)?;
            &short
        } else {
            text
        };
        let (address, host, container) = split(text)?;
        let (container, protocol) = protocol(container)?;
        if container.is_empty() {
            return Err(format!("no port specified: {text}<empty>"));
        }
        let (start, end) = range(container).map_err(|_| format!("invalid containerPort: {container}"))?;
        let host_range = match host {
            "" => None,
            host => Some(range(host).map_err(|_| format!("invalid hostPort: {host}"))?),
        };
        if let Some((low, high)) = host_range
            && high - low != end - start
            && start != end
        {
            return Err(format!(
                "invalid ranges specified for container and host Ports: {container} and {host}"
            ));
        }
        for port in start..=end {
            let host_port = match host_range {
                None => String::new(),
                Some((low, high)) if start == end && low != high => format!("{low}-{high}"),
                Some((low, _)) => (low + (port - start)).to_string(),
            };
            let key = format!("{port}/{protocol}");
            self.exposed.insert(key.clone(), Empty {});
            let binding = PortBinding {
                host_ip: address.to_owned(),
                host_port,
            };
            self.bindings
                .entry(key)
                .or_default()
                .get_or_insert_default()
                .push(binding);
        }
        Ok(())
    }

    /// Adds one `--expose`.
    pub(super) fn expose(&mut self, text: &str) -> Result<(), String> {
        if text.contains(':') {
            return Err(format!("invalid port format for --expose: {text}"));
        }
        let (ports, protocol) = protocol(text)?;
        let (start, end) =
            range(ports).map_err(|e| format!("invalid range format for --expose: {text}, error: {e}"))?;
        for port in start..=end {
            self.exposed.entry(format!("{port}/{protocol}")).or_default();
        }
        Ok(())
    }
}

/// `published=80,target=8080,protocol=udp` in the short form.
fn long_form(text: &str) -> Result<String, String> {
    let (mut published, mut target, mut protocol) = ("", "", "tcp");
    for field in text.split(',') {
        let (key, value) = field.split_once('=').ok_or_else(|| format!("invalid field {field}"))?;
        match key {
            "published" => published = value,
            "target" => target = value,
            "protocol" => protocol = value,
            "mode" if matches!(value, "ingress" | "host") => {}
            _ => return Err(format!("invalid field key {key}")),
        }
    }
    Ok(format!("{published}:{target}/{protocol}"))
}

/// Address, host ports and container ports.
fn split(text: &str) -> Result<(&str, &str, &str), String> {
    let (rest, container) = match text.rsplit_once(':') {
        None => return Ok(("", "", text)),
        Some(parts) => parts,
    };
    let (address, host) = match rest.rsplit_once(':') {
        None => ("", rest),
        // `[::1]:80` ends in the host's port, `[::1]` alone does not.
        Some(_) if rest.ends_with(']') => (rest, ""),
        Some(parts) => parts,
    };
    let bare = address
        .strip_prefix('[')
        .and_then(|a| a.strip_suffix(']'))
        .unwrap_or(address);
    if !bare.is_empty() && bare.parse::<IpAddr>().is_err() {
        return Err(format!("invalid IP address: {bare}"));
    }
    Ok((bare, host, container))
}

/// The ports before the slash and the protocol after it.
fn protocol(text: &str) -> Result<(&str, String), String> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = if protocol.is_empty() { "tcp" } else { protocol };
    match protocol.to_ascii_lowercase().as_str() {
        p @ ("tcp" | "udp" | "sctp") => Ok((ports, p.to_owned())),
        _ => Err(format!("invalid proto: {protocol}")),
    }
}

/// `80` or `80-90`.
fn range(text: &str) -> Result<(u16, u16), String> {
    if text.is_empty() {
        return Err("empty string specified for ports".to_owned());
    }
    let number = |part: &str| match part.parse::<u16>() {
        Ok(n) if !part.starts_with('+') => Ok(n),
        Err(e) if *e.kind() == std::num::IntErrorKind::PosOverflow => Err(format!(
            "strconv.ParseUint: parsing {}: value out of range",
            crate::args::value::quote(part)
        )),
        _ => Err(format!(
            "strconv.ParseUint: parsing {}: invalid syntax",
            crate::args::value::quote(part)
        )),
    };
    let (start, end) = match text.split_once('-') {
        Some((start, end)) => (number(start)?, number(end)?),
        None => (number(text)?, number(text)?),
    };
    if end < start {
        return Err(format!("invalid range specified for port: {text}"));
    }
    Ok((start, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(text: &str) -> Result<String, String> {
        let mut ports = Ports::default();
        ports.publish(text)?;
        let lines = ports.bindings.iter().flat_map(|(key, bindings)| {
            let bindings = bindings.iter().flatten();
            bindings.map(move |b| format!("{}|{}|{key}", b.host_ip, b.host_port))
        });
        Ok(lines.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn ports_read_as_docker_reads_them() {
        let check = |text: &str, expected: &str| assert_eq!(published(text).as_deref(), Ok(expected), "{text}");
        check("80", "||80/tcp");
        check("80:81", "|80|81/tcp");
        check("127.0.0.1:80:81/udp", "127.0.0.1|80|81/udp");
        check("127.0.0.1::81", "127.0.0.1||81/tcp");
        check("[::1]:80:81", "::1|80|81/tcp");
        check("[::1]::81", "::1||81/tcp");
        check("8000-8001:90-91", "|8000|90/tcp |8001|91/tcp");
        check("8000-8005:90", "|8000-8005|90/tcp");
        check("80-81", "||80/tcp ||81/tcp");
        check("published=5,target=6,protocol=udp", "|5|6/udp");
        check("80/TCP", "||80/tcp");
        check("65535", "||65535/tcp");
    }

    #[test]
    fn mistakes_are_told_in_dockers_words() {
        let check = |text: &str, expected: &str| assert_eq!(published(text).unwrap_err(), expected, "{text}");
        check("foo", "invalid containerPort: foo");
        check("80:99999", "invalid containerPort: 99999");
        check("x:80", "invalid hostPort: x");
        check("80:80/foo", "invalid proto: foo");
        check("1.2.3:80:80", "invalid IP address: 1.2.3");
        check(
            "1-5:1-2",
            "invalid ranges specified for container and host Ports: 1-2 and 1-5",
        );
        check("", "no port specified: <empty>");
        check("80:", "no port specified: 80:<empty>");
        check("a=b", "invalid field key a");
        let mut ports = Ports::default();
        assert_eq!(
            ports.expose("1:2").unwrap_err(),
            "invalid port format for --expose: 1:2"
        );
        assert_eq!(
            ports.expose("foo").unwrap_err(),
            "invalid range format for --expose: foo, error: strconv.ParseUint: parsing \"foo\": invalid syntax"
        );
    }
}
