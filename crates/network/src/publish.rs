//! Published ports: what `-p` and `--expose` mean, and what of it a container asks of the host. Pure.

mod parse;

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr},
};

use hull_spec::container::{Empty, PortBinding};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};
pub use parse::{Parsed, expose, parse};

/// `80/tcp` to where on the host: Docker's `PortBindings`.
pub type Bindings = BTreeMap<String, Option<Vec<PortBinding>>>;

/// A transport that can be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// `tcp` or `udp`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }

    /// The number in an IP header.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One port that a container asks to have published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Address on the host; unspecified for all.
    pub host: Ipv4Addr,
    /// First and last port on the host of which any free one will do; 0 and 0 for an ephemeral one.
    pub host_ports: (u16, u16),
    /// Port in the container.
    pub container_port: u16,
    /// Transport.
    pub protocol: Protocol,
}

/// One port that is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Published {
    /// Address on the host; unspecified for all.
    pub host: Ipv4Addr,
    /// Port on the host.
    pub host_port: u16,
    /// Port in the container.
    pub container_port: u16,
    /// Transport.
    pub protocol: Protocol,
}

/// What the bindings of a container's configuration ask of the host, with `--publish-all` for the exposed ports that have
/// no binding of their own.
///
/// # Errors
/// A malformed port or address; SCTP and IPv6, which are not there yet.
pub fn wishes(bindings: &Bindings, exposed: &BTreeMap<String, Empty>, all: bool) -> Result<Vec<Wish>> {
    let mut wishes = Vec::new();
    for (port, hosts) in bindings {
        let (container_port, protocol) = port_key(port)?;
        let any = [PortBinding::default()];
        // Docker takes a port without a binding for one that is only exposed, and an empty binding for any port.
        for binding in hosts.as_deref().unwrap_or(&any[..0]) {
            let refuse = |reason: String| Error::Publish {
                spec: format!("{}:{}:{port}", binding.host_ip, binding.host_port),
                reason,
            };
            wishes.push(Wish {
                host: host_address(&binding.host_ip)?,
                host_ports: host_range(&binding.host_port).map_err(refuse)?,
                container_port,
                protocol,
            });
        }
    }
    if all {
        for port in exposed
            .keys()
            .filter(|p| bindings.get(*p).is_none_or(|b| b.as_ref().is_none_or(Vec::is_empty)))
        {
            let (container_port, protocol) = port_key(port)?;
            wishes.push(Wish {
                host: Ipv4Addr::UNSPECIFIED,
                host_ports: (0, 0),
                container_port,
                protocol,
            });
        }
    }
    Ok(wishes)
}

/// The ports as `inspect` and `ps` show them: those published, and those exposed only, which have no binding.
#[must_use]
pub fn bindings(published: &[Published], exposed: &BTreeMap<String, Empty>) -> Bindings {
    let mut bindings: Bindings = exposed.keys().map(|port| (port.clone(), None)).collect();
    for port in published {
        let key = format!("{}/{}", port.container_port, port.protocol);
        bindings
            .entry(key)
            .or_default()
            .get_or_insert_default()
            .push(PortBinding {
                host_ip: port.host.to_string(),
                host_port: port.host_port.to_string(),
            });
    }
    bindings
}

/// `80/tcp`, `80`.
fn port_key(key: &str) -> Result<(u16, Protocol)> {
    let (port, protocol) = key.split_once('/').unwrap_or((key, "tcp"));
    let refuse = |reason: String| Error::Publish {
        spec: key.to_owned(),
        reason,
    };
    let protocol = parse::protocol(protocol).map_err(refuse)?;
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => {
            return Err(Error::Unsupported {
                what: format!("cannot publish port `{key}`: SCTP is not supported"),
                hint: "publish it over TCP or UDP, or use `--network host`".into(),
            });
        }
    };
    match parse::number(port).map_err(|r| refuse(format!("invalid containerPort: {r}")))? {
        0 => Err(refuse("invalid containerPort: 0".into())),
        port => Ok((port, protocol)),
    }
}

fn host_range(text: &str) -> std::result::Result<(u16, u16), String> {
    if text.is_empty() {
        Ok((0, 0))
    } else {
        parse::range(text).map_err(|r| format!("invalid hostPort: {r}"))
    }
}

fn host_address(text: &str) -> Result<Ipv4Addr> {
    if text.is_empty() {
        return Ok(Ipv4Addr::UNSPECIFIED);
    }
    match text.parse() {
        Ok(IpAddr::V4(address)) if !address.is_multicast() && !address.is_broadcast() => Ok(address),
        Ok(IpAddr::V4(_)) => Err(Error::Publish {
            spec: text.to_owned(),
            reason: "the address is no single host's".into(),
        }),
        Ok(IpAddr::V6(_)) => Err(Error::Unsupported {
            what: format!("cannot publish a port on `{text}`: IPv6 is not supported yet"),
            hint: "publish it on an IPv4 address".into(),
        }),
        Err(_) => Err(Error::Publish {
            spec: text.to_owned(),
            reason: format!("invalid IP address: {text}"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(host_ip: &str, host_port: &str) -> PortBinding {
        PortBinding {
            host_ip: host_ip.into(),
            host_port: host_port.into(),
        }
    }

    #[test]
    fn wishes_follow_the_bindings() {
        let check = |key: &str, binding: PortBinding, expected: &str| {
            let got = match wishes(
                &Bindings::from([(key.into(), Some(vec![binding]))]),
                &BTreeMap::new(),
                false,
            ) {
                Ok(wishes) => wishes
                    .iter()
                    .map(|w| {
                        format!(
                            "{}:{}-{}>{}/{}",
                            w.host, w.host_ports.0, w.host_ports.1, w.container_port, w.protocol
                        )
                    })
                    .collect::<Vec<_>>()
                    .join(" "),
                Err(e) => e.to_string(),
            };
            assert_eq!(got, expected, "{key}");
        };
        check("80/tcp", binding("", "8080"), "0.0.0.0:8080-8080>80/tcp");
        check("80", binding("", ""), "0.0.0.0:0-0>80/tcp");
        check(
            "53/udp",
            binding("127.0.0.1", "5300-5310"),
            "127.0.0.1:5300-5310>53/udp",
        );
        check("53/UDP", binding("", "0"), "0.0.0.0:0-0>53/udp");
        check(
            "9/sctp",
            binding("", "9"),
            "cannot publish port `9/sctp`: SCTP is not supported",
        );
        check(
            "80/tcp",
            binding("::", "80"),
            "cannot publish a port on `::`: IPv6 is not supported yet",
        );
        check(
            "0/tcp",
            binding("", "80"),
            "invalid publish specification `0/tcp`: invalid containerPort: 0",
        );
        check(
            "80/tcp",
            binding("", "9-8"),
            "invalid publish specification `:9-8:80/tcp`: invalid hostPort: 9-8",
        );
        check(
            "80/tcp",
            binding("224.0.0.1", ""),
            "invalid publish specification `224.0.0.1`: the address is no single host's",
        );
        check(
            "80/tcp",
            binding("x", ""),
            "invalid publish specification `x`: invalid IP address: x",
        );
    }

    #[test]
    fn all_publishes_what_is_exposed_and_not_bound() {
        let exposed = BTreeMap::from([("80/tcp".into(), Empty {}), ("53/udp".into(), Empty {})]);
        let bound = Bindings::from([("80/tcp".into(), Some(vec![binding("", "8080")]))]);
        let wishes = wishes(&bound, &exposed, true).unwrap();
        assert_eq!(wishes.len(), 2);
        assert_eq!((wishes[1].container_port, wishes[1].host_ports), (53, (0, 0)));
    }

    #[test]
    fn shown_ports_keep_the_exposed_ones() {
        let exposed = BTreeMap::from([("80/tcp".into(), Empty {}), ("53/udp".into(), Empty {})]);
        let published = [Published {
            host: Ipv4Addr::UNSPECIFIED,
            host_port: 8080,
            container_port: 80,
            protocol: Protocol::Tcp,
        }];
        let shown = bindings(&published, &exposed);
        assert_eq!(shown["80/tcp"], Some(vec![binding("0.0.0.0", "8080")]));
        assert_eq!(shown["53/udp"], None);
    }
}
