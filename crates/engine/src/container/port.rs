//! A container's ports as lists show them.

use std::collections::BTreeMap;

use hull_spec::container::{LiveState, Record};
use serde::Serialize;

use super::{find, status};
use crate::{Engine, Result};

/// One port: of the container alone, or with where it is published.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Port {
    /// The container's port.
    pub private_port: u16,
    /// The host's address; empty where it is not published.
    #[serde(rename = "IP", skip_serializing_if = "String::is_empty")]
    pub ip: String,
    /// The host's port; 0 where it is not published.
    #[serde(skip_serializing_if = "is_zero")]
    pub public_port: u16,
    /// `tcp`, `udp` or `sctp`.
    #[serde(rename = "Type")]
    pub protocol: String,
}

/// The published ports of a container: its own port, the protocol and the host's `address:port`, in order. One that does
/// not run has none.
///
/// # Errors
/// No such container.
pub fn published(engine: &Engine, name: &str) -> Result<Vec<(u16, String, String)>> {
    let record = find(engine, name)?;
    let Some(live) = status::derive(engine, &record)?.live else {
        return Ok(Vec::new());
    };
    let mut out: Vec<_> = ports(&record, &live)
        .into_iter()
        .filter(|port| port.public_port != 0)
        .map(|port| {
            (
                port.private_port,
                port.protocol,
                join(&port.ip, &port.public_port.to_string()),
            )
        })
        .collect();
    out.sort();
    Ok(out)
}

fn is_zero(port: &u16) -> bool {
    *port == 0
}

/// The ports of a running container: the published ones as they came out, and those it only says it serves.
pub(crate) fn ports(record: &Record, live: &LiveState) -> Vec<Port> {
    let mut out = Vec::new();
    for (key, bindings) in &live.ports {
        let Some((private_port, protocol)) = parse(key) else {
            continue;
        };
        let bindings = bindings.as_deref().unwrap_or_default();
        if bindings.is_empty() {
            out.push(Port {
                private_port,
                protocol: protocol.to_owned(),
                ..Port::default()
            });
        }
        for binding in bindings {
            out.push(Port {
                private_port,
                ip: binding.host_ip.clone(),
                public_port: binding.host_port.parse().unwrap_or(0),
                protocol: protocol.to_owned(),
            });
        }
    }
    if has_ports(&record.host_config.network_mode) {
        for key in record
            .config
            .exposed_ports
            .keys()
            .filter(|key| !live.ports.contains_key(*key))
        {
            if let Some((private_port, protocol)) = parse(key) {
                out.push(Port {
                    private_port,
                    protocol: protocol.to_owned(),
                    ..Port::default()
                });
            }
        }
    }
    out.sort();
    out
}

/// Whether a network mode gives a container ports of its own.
pub(crate) fn has_ports(mode: &str) -> bool {
    !matches!(mode, "host" | "none") && !mode.starts_with("container:")
}

/// Reads `80/tcp` or `80`.
pub(crate) fn parse(key: &str) -> Option<(u16, &str)> {
    let (port, protocol) = key.split_once('/').unwrap_or((key, "tcp"));
    Some((port.parse().ok()?, protocol))
}

/// The PORTS column: neighbouring ports joined to ranges, `127.0.0.1:9000-9003->9000-9003/tcp, 90/udp`. Ports that
/// are published under another number come last, one by one.
#[must_use]
pub fn display(ports: &[Port]) -> String {
    let mut ports: Vec<&Port> = ports.iter().collect();
    ports.sort();
    let mut moved = Vec::new();
    let mut done = Vec::new();
    // The open range of each address and protocol, in order of their first port.
    let mut order = Vec::new();
    let mut open: BTreeMap<(&str, &str), (u16, u16)> = BTreeMap::new();
    for port in ports {
        if !port.ip.is_empty() && port.public_port != port.private_port {
            moved.push(format!(
                "{}->{}/{}",
                join(&port.ip, &port.public_port.to_string()),
                port.private_port,
                port.protocol
            ));
            continue;
        }
        let key = (port.ip.as_str(), port.protocol.as_str());
        match open.get_mut(&key) {
            None => {
                order.push(key);
                open.insert(key, (port.private_port, port.private_port));
            }
            Some((_, last)) if port.private_port == *last => {}
            Some((_, last)) if Some(port.private_port) == last.checked_add(1) => *last = port.private_port,
            Some(range) => {
                done.push(range_text(key, *range));
                *range = (port.private_port, port.private_port);
            }
        }
    }
    done.extend(order.into_iter().map(|key| range_text(key, open[&key])));
    done.extend(moved);
    done.join(", ")
}

fn range_text((ip, protocol): (&str, &str), (first, last): (u16, u16)) -> String {
    let range = if first == last {
        first.to_string()
    } else {
        format!("{first}-{last}")
    };
    if ip.is_empty() {
        return format!("{range}/{protocol}");
    }
    format!("{}->{range}/{protocol}", join(ip, &range))
}

/// `address:port`, with brackets around an IPv6 address.
fn join(ip: &str, port: &str) -> String {
    if ip.contains(':') {
        format!("[{ip}]:{port}")
    } else {
        format!("{ip}:{port}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `80/tcp` or `ADDRESS PUBLIC PRIVATE/PROTOCOL`.
    fn port(text: &str) -> Port {
        let words: Vec<&str> = text.split(' ').collect();
        let (private_port, protocol) = parse(words[words.len() - 1]).unwrap();
        let mut out = Port {
            private_port,
            protocol: protocol.to_owned(),
            ..Port::default()
        };
        if let [ip, public, _] = words[..] {
            out.ip = ip.to_owned();
            out.public_port = public.parse().unwrap();
        }
        out
    }

    #[test]
    fn neighbouring_ports_become_ranges() {
        for (ports, expected) in [
            (&[][..], ""),
            (&["80/tcp"][..], "80/tcp"),
            (
                &["7000/tcp", "7001/tcp", "90/udp", "7003/tcp"][..],
                "7000-7001/tcp, 90/udp, 7003/tcp",
            ),
            (&["90/udp", "7000/tcp", "7001/tcp"][..], "90/udp, 7000-7001/tcp"),
            (
                &["0.0.0.0 8080 80/tcp", ":: 8080 80/tcp"][..],
                "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp",
            ),
            (
                &[
                    "127.0.0.1 9000 9000/tcp",
                    "127.0.0.1 9001 9001/tcp",
                    "0.0.0.0 5353 53/udp",
                ][..],
                "127.0.0.1:9000-9001->9000-9001/tcp, 0.0.0.0:5353->53/udp",
            ),
            (
                &["1.2.3.4 65535 65535/tcp", "65535/tcp"][..],
                "65535/tcp, 1.2.3.4:65535->65535/tcp",
            ),
            (
                &["1.2.3.4 80 80/tcp", "1.2.3.4 81 80/tcp"][..],
                "1.2.3.4:80->80/tcp, 1.2.3.4:81->80/tcp",
            ),
        ] {
            let ports: Vec<Port> = ports.iter().map(|p| port(p)).collect();
            assert_eq!(display(&ports), expected);
        }
    }
}
