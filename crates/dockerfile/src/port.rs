//! The ports of `EXPOSE`: `80`, `80/udp`, `8000-8010/tcp`; an address and a host's port before it mean nothing, but are
//! allowed so far.

use crate::error::PortProblem;

/// What one word of `EXPOSE` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposed {
    /// `port/protocol`, one a port.
    pub ports: Vec<String>,
    /// Whether the protocol is not in lower case.
    pub odd_case: bool,
    /// Whether an address or a host's port is given.
    pub mapped: bool,
}

/// Reads a word whose variables are replaced.
///
/// # Errors
/// BuildKit's, for what is no port.
pub fn read(word: &str) -> Result<Exposed, PortProblem> {
    let (address, host, rest) = split(word);
    let (container, protocol) = rest.split_once('/').unwrap_or((rest, ""));
    if container.is_empty() {
        return Err(PortProblem::Missing { port: word.to_owned() });
    }
    let lower = protocol.to_lowercase();
    let lower = match lower.as_str() {
        "" => "tcp",
        "tcp" | "udp" | "sctp" => &lower,
        _ => {
            return Err(PortProblem::Protocol {
                port: word.to_owned(),
                protocol: protocol.to_owned(),
            });
        }
    };
    let plain = address
        .strip_prefix('[')
        .and_then(|inner| inner.strip_suffix(']'))
        .unwrap_or(address);
    if !plain.is_empty() && plain.parse::<std::net::IpAddr>().is_err() {
        return Err(PortProblem::Address {
            address: plain.to_owned(),
        });
    }
    let (first, last) = range(container).ok_or_else(|| PortProblem::Container {
        port: container.to_owned(),
    })?;
    if !host.is_empty() {
        let (from, to) = range(host).ok_or_else(|| PortProblem::Host { port: host.to_owned() })?;
        if last - first != to - from && last != first {
            return Err(PortProblem::Ranges {
                container: container.to_owned(),
                host: host.to_owned(),
            });
        }
    }
    Ok(Exposed {
        ports: (first..=last).map(|port| format!("{port}/{lower}")).collect(),
        odd_case: protocol != protocol.to_lowercase(),
        mapped: !address.is_empty() || !host.is_empty(),
    })
}

/// The address, the host's port and the container's.
fn split(word: &str) -> (&str, &str, &str) {
    match word.rsplit_once(':') {
        None => ("", "", word),
        Some((before, container)) => match before.rsplit_once(':') {
            None => ("", before, container),
            Some((address, host)) => (address, host, container),
        },
    }
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    // Go's ParseInt takes a sign, and so does this.
    let number = |text: &str| text.parse::<u16>().ok();
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read() {
        let check = |word: &str, expected: &[&str]| assert_eq!(read(word).unwrap().ports, expected, "{word}");
        check("80", &["80/tcp"]);
        check("80/UDP", &["80/udp"]);
        check("80/", &["80/tcp"]);
        check("8000-8002/sctp", &["8000/sctp", "8001/sctp", "8002/sctp"]);
        check("127.0.0.1:80:90", &["90/tcp"]);
        check("[::1]:80:90/tcp", &["90/tcp"]);
        check("::1::90", &["90/tcp"]);
        check("80-90:100", &["100/tcp"]);
        check(
            "0-65535",
            &read("0-65535")
                .unwrap()
                .ports
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>(),
        );
        assert!(read("80/UDP").unwrap().odd_case && !read("80/udp").unwrap().odd_case);
        assert!(read("1:80").unwrap().mapped && !read("80").unwrap().mapped);
    }

    #[test]
    fn what_is_no_port_is_refused() {
        let check = |word: &str, expected: &str| {
            assert_eq!(read(word).unwrap_err().to_string(), expected, "{word}");
        };
        check("", "invalid port: \"\": no port specified");
        check("/tcp", "invalid port: \"/tcp\": no port specified");
        check("80/http", "invalid port: \"80/http\": invalid proto: http");
        check("x", "invalid containerPort: x");
        check("70000", "invalid containerPort: 70000");
        check("90-80", "invalid containerPort: 90-80");
        check("x:80", "invalid hostPort: x");
        check("a:1:80", "invalid IP address: a");
        check(
            "1-2:80-82",
            "invalid ranges specified for container and host Ports: 80-82 and 1-2",
        );
    }
}
