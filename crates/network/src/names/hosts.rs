//! `/etc/hosts` and `/etc/hostname`.

use std::net::{IpAddr, Ipv4Addr};

use crate::{Error, Result};

/// A line of a hosts file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The address.
    pub address: IpAddr,
    /// Its names.
    pub names: Vec<String>,
}

/// What a container's hosts file is made of.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostsPlan<'a> {
    /// The host's file, for a container in the host's namespace; it is kept as it is.
    pub host: Option<&'a str>,
    /// Host name.
    pub hostname: &'a str,
    /// Domain name, or empty.
    pub domainname: &'a str,
    /// The container's addresses.
    pub addresses: &'a [IpAddr],
    /// `--add-host`, from [`extra_host`].
    pub extra: &'a [Record],
    /// Whether the container has IPv6.
    pub ipv6: bool,
}

/// The container's hosts file.
#[must_use]
pub fn hosts(plan: &HostsPlan<'_>) -> String {
    let mut text = String::new();
    if let Some(host) = plan.host {
        text.push_str(host);
        if !host.is_empty() && !host.ends_with('\n') {
            text.push('\n');
        }
    } else {
        text.push_str("127.0.0.1\tlocalhost\n");
        if plan.ipv6 {
            text.push_str("::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\n");
            text.push_str("ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n");
        }
    }
    for record in plan.extra {
        text.push_str(&format!("{}\t{}\n", record.address, record.names.join(" ")));
    }
    for address in plan.addresses {
        let (name, domain) = (plan.hostname, plan.domainname);
        if domain.is_empty() {
            text.push_str(&format!("{address}\t{name}\n"));
        } else {
            text.push_str(&format!("{address}\t{name}.{domain} {name}\n"));
        }
    }
    text
}

/// One `--add-host`: `name:address`, `name=address`, `name:[address]`, or `name:host-gateway` for the host itself.
///
/// # Errors
/// What is malformed, and `host-gateway` where there is no gateway.
pub fn extra_host(text: &str, gateway: Option<Ipv4Addr>) -> Result<Record> {
    let refuse = |reason| Error::Name {
        value: text.to_owned(),
        reason,
    };
    let bad = || refuse("bad format for add-host");
    let (name, address) = text.split_once('=').or_else(|| text.split_once(':')).ok_or_else(bad)?;
    if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '#') {
        return Err(bad());
    }
    let address = if address == "host-gateway" {
        gateway
            .map(IpAddr::V4)
            .ok_or_else(|| refuse("unable to derive the IP value for host-gateway"))?
    } else {
        let bare = address
            .strip_prefix('[')
            .and_then(|a| a.strip_suffix(']'))
            .unwrap_or(address);
        bare.parse().map_err(|_| refuse("invalid IP address in add-host"))?
    };
    Ok(Record {
        address,
        names: vec![name.to_owned()],
    })
}

/// The container's `/etc/hostname`.
#[must_use]
pub fn hostname(name: &str) -> String {
    format!("{name}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bridged_names_itself_last() {
        let extra = [extra_host("db:10.0.0.9", None).unwrap()];
        let addresses = [IpAddr::from([172, 17, 0, 2])];
        let plan = HostsPlan {
            hostname: "web",
            addresses: &addresses,
            extra: &extra,
            ipv6: true,
            ..HostsPlan::default()
        };
        insta::assert_snapshot!(hosts(&plan), @r"
        127.0.0.1	localhost
        ::1	localhost ip6-localhost ip6-loopback
        fe00::	ip6-localnet
        ff00::	ip6-mcastprefix
        ff02::1	ip6-allnodes
        ff02::2	ip6-allrouters
        10.0.0.9	db
        172.17.0.2	web
        ");
    }

    #[test]
    fn a_domain_makes_two_names() {
        let addresses = [IpAddr::from([172, 17, 0, 2])];
        let plan = HostsPlan {
            hostname: "web",
            domainname: "example.org",
            addresses: &addresses,
            ..HostsPlan::default()
        };
        assert_eq!(hosts(&plan), "127.0.0.1\tlocalhost\n172.17.0.2\tweb.example.org web\n");
    }

    #[test]
    fn the_hosts_own_file_is_kept() {
        let extra = [extra_host("db:10.0.0.9", None).unwrap()];
        let plan = HostsPlan {
            host: Some("127.0.0.1 localhost\n1.2.3.4 me"),
            extra: &extra,
            ..HostsPlan::default()
        };
        assert_eq!(hosts(&plan), "127.0.0.1 localhost\n1.2.3.4 me\n10.0.0.9\tdb\n");
    }

    #[test]
    fn add_host_follows_docker() {
        let gateway = Some(Ipv4Addr::new(172, 17, 0, 1));
        for (text, expected) in [
            ("db:10.0.0.9", Some("10.0.0.9 db")),
            ("db=10.0.0.9", Some("10.0.0.9 db")),
            ("db:::1", Some("::1 db")),
            ("db=::1", Some("::1 db")),
            ("db:[::1]", Some("::1 db")),
            ("up:host-gateway", Some("172.17.0.1 up")),
            ("db", None),
            ("db:", None),
            (":10.0.0.9", None),
            ("a b:10.0.0.9", None),
            ("a\nb:10.0.0.9", None),
            ("db:10.0.0.9\n6.6.6.6 evil", None),
        ] {
            let got = extra_host(text, gateway)
                .ok()
                .map(|r| format!("{} {}", r.address, r.names.join(" ")));
            assert_eq!(got.as_deref(), expected, "{text}");
        }
        assert!(extra_host("up:host-gateway", None).is_err());
    }
}
