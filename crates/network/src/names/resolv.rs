//! `resolv.conf`: the host's, with what the container asks for in its place.

use std::net::IpAddr;

use crate::{Error, Result};

/// Where systemd-resolved keeps the servers that its stub at 127.0.0.53 asks.
pub const UPSTREAM: &str = "/run/systemd/resolve/resolv.conf";
/// The host's own file.
pub const STUB: &str = "/etc/resolv.conf";

/// What a container asks for. Empty lists leave the host's.
#[derive(Clone, Copy, Debug, Default)]
pub struct ResolvPlan<'a> {
    /// Text of the host's file, as [`source`] chose it.
    pub host: &'a str,
    /// `--dns`.
    pub servers: &'a [String],
    /// `--dns-search`; a single `.` for none.
    pub search: &'a [String],
    /// `--dns-option`.
    pub options: &'a [String],
    /// Whether the container is in the host's namespace, where 127.0.0.53 is what it is for the host.
    pub host_namespace: bool,
    /// Whether the container can reach IPv6 servers.
    pub ipv6: bool,
}

/// The file to read for a container with a network of its own: the host's, unless all it names is systemd-resolved's
/// stub, which a container cannot reach.
#[must_use]
pub fn source(host: &str) -> &'static str {
    let mut servers = nameservers(host);
    if servers.next() == Some("127.0.0.53") && servers.next().is_none() {
        UPSTREAM
    } else {
        STUB
    }
}

/// The `nameserver` lines' values.
pub fn nameservers(text: &str) -> impl Iterator<Item = &str> {
    values(text, "nameserver").filter_map(|value| value.split_whitespace().next())
}

fn values<'a>(text: &'a str, keyword: &'static str) -> impl Iterator<Item = &'a str> {
    text.lines().filter_map(move |line| {
        let line = line.split(['#', ';']).next()?.trim();
        let (word, rest) = line.split_once(char::is_whitespace)?;
        (word == keyword).then(|| rest.trim())
    })
}

/// The container's file. Loopback servers of the host are left out where the container has its own loopback; when none
/// is left it is Google's, as for Docker.
///
/// # Errors
/// A server that is no address; a search domain or option with spaces or line breaks.
pub fn resolv(plan: &ResolvPlan<'_>) -> Result<String> {
    for server in plan.servers {
        // A zone may follow: fe80::1%eth0.
        let address = server.split_once('%').map_or(server.as_str(), |(address, _)| address);
        if address.parse::<IpAddr>().is_err() || !word(server) {
            return Err(Error::Name {
                value: server.clone(),
                reason: "invalid IP address for a name server",
            });
        }
    }
    if let Some(bad) = plan.search.iter().find(|s| !word(s)) {
        return Err(Error::Name {
            value: bad.clone(),
            reason: "invalid search domain",
        });
    }
    if let Some(bad) = plan.options.iter().find(|s| !word(s)) {
        return Err(Error::Name {
            value: bad.clone(),
            reason: "invalid resolv.conf option",
        });
    }
    let servers: Vec<String> = if plan.servers.is_empty() {
        inherited(plan)
    } else {
        plan.servers.to_vec()
    };
    let search: Vec<&str> = if plan.search.is_empty() {
        // The last line counts, as for libc.
        values(plan.host, "search")
            .last()
            .or_else(|| values(plan.host, "domain").last())
            .unwrap_or_default()
            .split_whitespace()
            .collect()
    } else {
        plan.search.iter().map(String::as_str).collect()
    };
    let options: Vec<&str> = if plan.options.is_empty() {
        values(plan.host, "options").flat_map(str::split_whitespace).collect()
    } else {
        plan.options.iter().map(String::as_str).collect()
    };
    let mut text = String::new();
    for server in servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    if !search.is_empty() && search != ["."] {
        text.push_str(&format!("search {}\n", search.join(" ")));
    }
    if !options.is_empty() {
        text.push_str(&format!("options {}\n", options.join(" ")));
    }
    Ok(text)
}

fn inherited(plan: &ResolvPlan<'_>) -> Vec<String> {
    let reachable = |server: &str| {
        let address = server.split_once('%').map_or(server, |(address, _)| address);
        match address.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) => plan.host_namespace || !address.is_loopback(),
            Ok(IpAddr::V6(address)) => plan.host_namespace || (plan.ipv6 && !address.is_loopback()),
            Err(_) => false,
        }
    };
    let servers: Vec<String> = nameservers(plan.host)
        .filter(|s| reachable(s))
        .map(str::to_owned)
        .collect();
    if servers.is_empty() && !plan.host_namespace {
        return ["8.8.8.8", "8.8.4.4"].map(str::to_owned).to_vec();
    }
    servers
}

fn word(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '#' || c == ';')
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "# made by hand\nnameserver 127.0.0.53\nnameserver 192.0.2.1 # office\nnameserver fe80::1%eth0\nnameserver bad\nsearch a.example\nsearch b.example c.example\noptions ndots:2 edns0\n";

    fn list(items: &[&str]) -> Vec<String> {
        items.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn bridged_gets_the_hosts_without_loopback() {
        let text = resolv(&ResolvPlan {
            host: HOST,
            ..ResolvPlan::default()
        })
        .unwrap();
        insta::assert_snapshot!(text, @r"
        nameserver 192.0.2.1
        search b.example c.example
        options ndots:2 edns0
        ");
    }

    #[test]
    fn host_mode_gets_the_hosts() {
        let text = resolv(&ResolvPlan {
            host: HOST,
            host_namespace: true,
            ..ResolvPlan::default()
        })
        .unwrap();
        insta::assert_snapshot!(text, @r"
        nameserver 127.0.0.53
        nameserver 192.0.2.1
        nameserver fe80::1%eth0
        search b.example c.example
        options ndots:2 edns0
        ");
    }

    #[test]
    fn asked_for_replaces_the_hosts_line_by_line() {
        let (servers, search, options) = (list(&["1.1.1.1", "::1"]), list(&["x.example"]), list(&["timeout:1"]));
        let plan = ResolvPlan {
            host: HOST,
            servers: &servers,
            search: &search,
            options: &options,
            ..ResolvPlan::default()
        };
        insta::assert_snapshot!(resolv(&plan).unwrap(), @r"
        nameserver 1.1.1.1
        nameserver ::1
        search x.example
        options timeout:1
        ");
        let dot = list(&["."]);
        let plan = ResolvPlan {
            host: HOST,
            search: &dot,
            ..ResolvPlan::default()
        };
        assert!(!resolv(&plan).unwrap().contains("search"));
    }

    #[test]
    fn nothing_reachable_falls_back() {
        for host in [
            "",
            "nameserver 127.0.0.1\n",
            "nameserver ::1",
            "nameserver 2001:db8::1\n",
        ] {
            let text = resolv(&ResolvPlan {
                host,
                ..ResolvPlan::default()
            })
            .unwrap();
            assert_eq!(text, "nameserver 8.8.8.8\nnameserver 8.8.4.4\n", "{host}");
        }
        let text = resolv(&ResolvPlan {
            host: "nameserver 2001:db8::1",
            ipv6: true,
            ..ResolvPlan::default()
        })
        .unwrap();
        assert_eq!(text, "nameserver 2001:db8::1\n");
        assert_eq!(
            resolv(&ResolvPlan {
                host_namespace: true,
                ..ResolvPlan::default()
            })
            .unwrap(),
            ""
        );
    }

    #[test]
    fn lines_cannot_be_smuggled_in() {
        for bad in [
            "1.1.1.1\nnameserver 2.2.2.2",
            "x",
            "",
            "1.1.1.1 2.2.2.2",
            "fe80::1%a\nb",
        ] {
            let servers = list(&[bad]);
            assert!(
                resolv(&ResolvPlan {
                    servers: &servers,
                    ..ResolvPlan::default()
                })
                .is_err(),
                "{bad}"
            );
        }
        let bad = list(&["a\nnameserver 2.2.2.2"]);
        assert!(
            resolv(&ResolvPlan {
                search: &bad,
                ..ResolvPlan::default()
            })
            .is_err()
        );
        assert!(
            resolv(&ResolvPlan {
                options: &bad,
                ..ResolvPlan::default()
            })
            .is_err()
        );
    }

    #[test]
    fn the_stub_is_looked_behind() {
        assert_eq!(source("nameserver 127.0.0.53\noptions edns0\n"), UPSTREAM);
        assert_eq!(source("nameserver 127.0.0.53\nnameserver 192.0.2.1\n"), STUB);
        assert_eq!(source("nameserver 127.0.0.1\n"), STUB);
        assert_eq!(source(""), STUB);
    }

    proptest::proptest! {
        #[test]
        fn a_hosts_file_never_makes_other_lines(host in "([ -~\n#;]|nameserver |search |options ){0,20}") {
            let plan = ResolvPlan { host: &host, ..ResolvPlan::default() };
            let text = resolv(&plan).unwrap();
            for line in text.lines() {
                let word = line.split(' ').next().unwrap();
                let known = ["nameserver", "search", "options"].contains(&word);
                proptest::prop_assert!(known, "another line: {line}");
            }
            proptest::prop_assert!(text.starts_with("nameserver "));
        }

        #[test]
        fn what_is_asked_for_adds_no_line(word in "\\PC{0,12}", odd in "[ \t\n\r#;]") {
            let search = [format!("{word}{odd}x")];
            let plan = ResolvPlan { search: &search, ..ResolvPlan::default() };
            proptest::prop_assert!(resolv(&plan).is_err());
        }
    }
}
