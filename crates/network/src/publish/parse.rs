//! `[[hostip:]hostport[-end]:]port[-end][/protocol]`, with IPv6 in brackets, and the long form `published=..,target=..`.

use std::net::IpAddr;

use hull_spec::container::PortBinding;

use crate::{Error, Result};

/// What one `-p` says: ports of the container, `80/tcp`, each with its place on the host.
pub type Parsed = Vec<(String, PortBinding)>;

/// Parses one `-p`.
///
/// # Errors
/// What is malformed, in Docker's words.
pub fn parse(spec: &str) -> Result<Parsed> {
    let refuse = |reason| Error::Publish {
        spec: spec.to_owned(),
        reason,
    };
    if spec.contains('=') {
        return short_form(spec).and_then(|short| short_parse(&short)).map_err(refuse);
    }
    short_parse(spec).map_err(refuse)
}

/// Parses one `--expose`: `80`, `80/udp`, `80-90/tcp`.
///
/// # Errors
/// What is malformed.
pub fn expose(spec: &str) -> Result<Vec<String>> {
    let refuse = |reason| Error::Publish {
        spec: spec.to_owned(),
        reason,
    };
    let (ports, protocol_name) = spec.split_once('/').unwrap_or((spec, "tcp"));
    let protocol = protocol(protocol_name).map_err(refuse)?;
    let (first, last) = range(ports).map_err(|r| refuse(format!("invalid range format for --expose: {r}")))?;
    if first == 0 {
        return Err(refuse("invalid containerPort: 0".into()));
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

fn short_form(spec: &str) -> std::result::Result<String, String> {
    let (mut published, mut target, mut protocol) = ("", "", "tcp");
    for field in spec.split(',') {
        let (key, value) = field
            .split_once('=')
            .ok_or_else(|| format!("invalid field `{field}`"))?;
        match key {
            "published" => published = value,
            "target" => target = value,
            "protocol" => protocol = value,
            // Swarm's choice; a container's port is always its host's.
            "mode" if value == "host" || value == "ingress" => {}
            _ => return Err(format!("invalid field `{field}`")),
        }
    }
    Ok(if published.is_empty() {
        format!("{target}/{protocol}")
    } else {
        format!("{published}:{target}/{protocol}")
    })
}

fn short_parse(spec: &str) -> std::result::Result<Parsed, String> {
    let (rest, container) = spec
        .rsplit_once(':')
        .map_or(("", spec), |(rest, container)| (rest, container));
    let (ip, host) = rest.rsplit_once(':').unwrap_or(("", rest));
    let (container, protocol_name) = container.split_once('/').unwrap_or((container, "tcp"));
    let protocol = protocol(protocol_name)?;
    if container.is_empty() {
        return Err("no port specified".into());
    }
    let ip = address(ip)?;
    let (first, last) = range(container).map_err(|r| format!("invalid containerPort: {r}"))?;
    if first == 0 {
        return Err("invalid containerPort: 0".into());
    }
    if host.is_empty() {
        return Ok((first..=last)
            .map(|port| {
                (
                    format!("{port}/{protocol}"),
                    PortBinding {
                        host_ip: ip.clone(),
                        host_port: String::new(),
                    },
                )
            })
            .collect());
    }
    let (host_first, host_last) = range(host).map_err(|r| format!("invalid hostPort: {r}"))?;
    if last - first != host_last - host_first {
        if first != last {
            return Err(format!(
                "invalid ranges specified for container and host Ports: {container} and {host}"
            ));
        }
        // Any one of them.
        return Ok(vec![(
            format!("{first}/{protocol}"),
            PortBinding {
                host_ip: ip,
                host_port: format!("{host_first}-{host_last}"),
            },
        )]);
    }
    Ok((first..=last)
        .zip(host_first..=host_last)
        .map(|(port, host)| {
            (
                format!("{port}/{protocol}"),
                PortBinding {
                    host_ip: ip.clone(),
                    host_port: host.to_string(),
                },
            )
        })
        .collect())
}

fn address(text: &str) -> std::result::Result<String, String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    let parsed: IpAddr = bare
        .unwrap_or(text)
        .parse()
        .map_err(|_| format!("invalid IP address: {text}"))?;
    if bare.is_some() && parsed.is_ipv4() {
        return Err(format!("invalid IP address: {text}"));
    }
    Ok(parsed.to_string())
}

pub(super) fn protocol(name: &str) -> std::result::Result<&'static str, String> {
    ["tcp", "udp", "sctp"]
        .into_iter()
        .find(|known| known.eq_ignore_ascii_case(name))
        .ok_or_else(|| format!("invalid proto: {name}"))
}

/// A port; only digits, for `u16`'s own parser takes a sign.
pub(super) fn number(text: &str) -> std::result::Result<u16, String> {
    if text.bytes().all(|b| b.is_ascii_digit()) {
        text.parse().map_err(|_| text.to_owned())
    } else {
        Err(text.to_owned())
    }
}

pub(super) fn range(text: &str) -> std::result::Result<(u16, u16), String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first).map_err(|_| text)?, number(last).map_err(|_| text)?);
    if first > last || (first == 0 && last != 0) {
        Err(text.to_owned())
    } else {
        Ok((first, last))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn show(spec: &str) -> String {
        match parse(spec) {
            Ok(ports) => ports
                .iter()
                .map(|(port, b)| format!("{port}={}|{}", b.host_ip, b.host_port))
                .collect::<Vec<_>>()
                .join(" "),
            Err(Error::Publish { reason, .. }) => format!("! {reason}"),
            Err(e) => panic!("{e}"),
        }
    }

    #[test]
    fn publish_follows_docker() {
        for (spec, expected) in [
            ("80", "80/tcp=|"),
            ("80/udp", "80/udp=|"),
            ("80/UDP", "80/udp=|"),
            ("9/sctp", "9/sctp=|"),
            ("8080:80", "80/tcp=|8080"),
            ("0:80", "80/tcp=|0"),
            (":80", "80/tcp=|"),
            ("127.0.0.1:8080:80", "80/tcp=127.0.0.1|8080"),
            ("127.0.0.1::80", "80/tcp=127.0.0.1|"),
            ("0.0.0.0:53:53/udp", "53/udp=0.0.0.0|53"),
            ("[::1]:8080:80", "80/tcp=::1|8080"),
            ("::1:8080:80", "80/tcp=::1|8080"),
            ("[::]::80", "80/tcp=::|"),
            ("80-82", "80/tcp=| 81/tcp=| 82/tcp=|"),
            ("8000-8001:80-81/udp", "80/udp=|8000 81/udp=|8001"),
            (
                "127.0.0.1:8000-8001:80-81",
                "80/tcp=127.0.0.1|8000 81/tcp=127.0.0.1|8001",
            ),
            ("8000-8010:80", "80/tcp=|8000-8010"),
            ("published=8080,target=80,protocol=udp", "80/udp=|8080"),
            ("target=80", "80/tcp=|"),
            ("65535:65535", "65535/tcp=|65535"),
            ("", "! no port specified"),
            ("8080:", "! no port specified"),
            ("8080:/tcp", "! no port specified"),
            ("0", "! invalid containerPort: 0"),
            ("65536", "! invalid containerPort: 65536"),
            ("+80", "! invalid containerPort: +80"),
            ("x:80", "! invalid hostPort: x"),
            ("81-80", "! invalid containerPort: 81-80"),
            ("80-", "! invalid containerPort: 80-"),
            ("-80", "! invalid containerPort: -80"),
            ("1-2-3", "! invalid containerPort: 1-2-3"),
            ("80/icmp", "! invalid proto: icmp"),
            ("80/", "! invalid proto: "),
            ("80/tcp/udp", "! invalid proto: tcp/udp"),
            ("localhost:8080:80", "! invalid IP address: localhost"),
            ("[127.0.0.1]:8080:80", "! invalid IP address: [127.0.0.1]"),
            ("[::1:8080:80", "! invalid IP address: [::1"),
            ("1.2.3:80:80", "! invalid IP address: 1.2.3"),
            (
                "8000-8002:80-81",
                "! invalid ranges specified for container and host Ports: 80-81 and 8000-8002",
            ),
            (
                "8000:80-81",
                "! invalid ranges specified for container and host Ports: 80-81 and 8000",
            ),
            ("target=80,colour=red", "! invalid field `colour=red`"),
        ] {
            assert_eq!(show(spec), expected, "{spec}");
        }
    }

    #[test]
    fn expose_takes_ranges() {
        assert_eq!(expose("80").unwrap(), ["80/tcp"]);
        assert_eq!(expose("80-81/udp").unwrap(), ["80/udp", "81/udp"]);
        for bad in ["", "0", "a", "80-79", "80:80", "80/x", "65536"] {
            assert!(expose(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn strangers_text_never_panics(spec in "\\PC{0,40}") {
            let _ = parse(&spec);
            let _ = expose(&spec);
        }

        #[test]
        fn what_is_made_is_read_back(ip in any::<IpAddr>(), host in 1u16..60000, port in 1u16..60000, more in 0u16..9, udp: bool) {
            let address = if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() };
            let name = if udp { "udp" } else { "tcp" };
            let parsed = parse(&format!("{address}:{host}-{}:{port}-{}/{name}", host + more, port + more)).unwrap();
            prop_assert_eq!(parsed.len(), usize::from(more) + 1);
            for (i, (key, binding)) in (0..).zip(parsed) {
                prop_assert_eq!(key, format!("{}/{name}", port + i));
                prop_assert_eq!(binding.host_ip.parse::<IpAddr>().unwrap(), ip);
                prop_assert_eq!(binding.host_port, (host + i).to_string());
            }
        }
    }
}
