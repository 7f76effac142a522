//! What a client is told: plain values, filled by the command line or the engine, read from nowhere here.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::url::{is_loopback, split_authority};

/// Everything that a [`Client`](crate::Client) can be told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Registries with rules of their own, by `host[:port]` as references name them.
    pub registries: BTreeMap<String, Registry>,
    /// Addresses whose registries are all insecure, such as `10.0.0.0/8`.
    pub insecure_networks: Vec<Network>,
    /// Where a name without a registry is looked for, in order.
    pub search: Vec<String>,
    /// Blobs that are downloaded at once.
    pub downloads: usize,
    /// Blobs that are uploaded at once.
    pub uploads: usize,
    /// How failures that may pass are tried again.
    pub retry: Retry,
    /// How long a silent peer is waited for.
    pub timeouts: Timeouts,
    /// Docker's `config.json`, for credentials.
    pub credentials: Option<PathBuf>,
    /// Where `docker-credential-NAME` is looked for; the process' `PATH` where empty.
    pub helper_path: Vec<PathBuf>,
    /// Folders of `HOST[:PORT]/{*.crt,client.cert,client.key}`.
    pub certificates: Vec<PathBuf>,
    /// A file of certificates trusted instead of the system's.
    pub roots: Option<PathBuf>,
    /// Proxies to go through.
    pub proxy: Proxy,
    /// What the client calls itself.
    pub user_agent: String,
}

/// One registry's rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registry {
    /// Where its images are asked for first: `host[:port]` or a URL, with a path that is put before the repository.
    pub mirrors: Vec<String>,
    /// Whether plain HTTP and unknown certificates are accepted.
    pub insecure: bool,
    /// A file of certificates that sign this registry's.
    pub ca: Option<PathBuf>,
    /// A certificate and its key that this registry asks of its clients.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// How failures that may pass are tried again: exponential back-off with jitter, obeying `Retry-After`.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    /// Tries in all; a download that makes progress starts counting anew.
    pub attempts: u32,
    /// The first pause; each next one is twice as long.
    pub base: Duration,
    /// The longest pause. A server that asks for more is not waited for.
    pub longest: Duration,
}

/// How long a silent peer is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Until a connection is there.
    pub connect: Duration,
    /// Until the next bytes arrive.
    pub stall: Duration,
    /// Until a manifest, a config or a token is there whole.
    pub document: Duration,
    /// Until a registry has put away what was uploaded.
    pub commit: Duration,
}

/// Proxies, as `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` give them. Loopback is never asked through one.
#[derive(Clone, Debug, Default)]
pub struct Proxy {
    /// For plain HTTP.
    pub http: Option<String>,
    /// For HTTPS.
    pub https: Option<String>,
    /// Hosts and domains that are asked directly, separated by commas.
    pub none: String,
}

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            registries: BTreeMap::new(),
            insecure_networks: Vec::new(),
            search: vec!["docker.io".to_owned()],
            downloads: 3,
            uploads: 5,
            retry: Retry {
                attempts: 5,
                base: Duration::from_secs(1),
                longest: Duration::from_secs(60),
            },
            timeouts: Timeouts {
                connect: Duration::from_secs(15),
                stall: Duration::from_secs(30),
                document: Duration::from_secs(120),
                commit: Duration::from_secs(900),
            },
            credentials: None,
            helper_path: Vec::new(),
            certificates: ["/etc/hull/certs.d", "/etc/docker/certs.d", "/etc/containers/certs.d"]
                .map(PathBuf::from)
                .to_vec(),
            roots: None,
            proxy: Proxy::default(),
            user_agent: concat!("hull/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

impl Settings {
    /// Whether plain HTTP and unknown certificates are accepted from `authority` (`host[:port]`): it was named so, or
    /// it is this machine.
    pub(crate) fn is_insecure(&self, authority: &str) -> bool {
        if self.registries.get(authority).is_some_and(|r| r.insecure) {
            return true;
        }
        let Ok((host, _)) = split_authority(authority) else {
            return false;
        };
        if self.registries.get(&host).is_some_and(|r| r.insecure) || is_loopback(&host) {
            return true;
        }
        host.parse::<IpAddr>()
            .is_ok_and(|ip| self.insecure_networks.iter().any(|n| n.contains(ip)))
    }
}

impl Network {
    /// Parses `address/bits`.
    ///
    /// # Errors
    /// If either part is malformed.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (address, bits) = text.split_once('/').ok_or("no slash")?;
        let address: IpAddr = address.parse().map_err(|_| "the address is malformed")?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        match bits.parse::<u8>() {
            Ok(bits) if bits <= most => Ok(Self { address, bits }),
            _ => Err("the number of bits is out of range"),
        }
    }

    pub(crate) fn contains(self, ip: IpAddr) -> bool {
        match (self.address, ip) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                u32::from(net) & mask == u32::from(ip) & mask
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                u128::from(net) & mask == u128::from(ip) & mask
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn insecure_is_only_what_was_named() {
        let mut settings = Settings {
            insecure_networks: vec![
                Network::parse("10.1.0.0/16").unwrap(),
                Network::parse("fd00::/8").unwrap(),
            ],
            ..Settings::default()
        };
        let insecure = || Registry {
            insecure: true,
            ..Registry::default()
        };
        settings.registries.insert("reg.lan:5000".to_owned(), insecure());
        settings.registries.insert("other.lan".to_owned(), insecure());
        for (authority, expected) in [
            ("reg.lan:5000", true),
            ("reg.lan", false),
            ("reg.lan:5001", false),
            ("other.lan:8080", true),
            ("10.1.2.3:5000", true),
            ("10.2.2.3:5000", false),
            ("[fd12::1]:5000", true),
            ("[fe80::1]:5000", false),
            ("127.0.0.1:5000", true),
            ("localhost", true),
            ("docker.io", false),
        ] {
            assert_eq!(settings.is_insecure(authority), expected, "{authority}");
        }
    }

    #[test]
    fn malformed_networks_are_refused() {
        for bad in ["10.0.0.0", "10.0.0.0/33", "x/8", "10.0.0.0/-1", "/8"] {
            assert!(Network::parse(bad).is_err(), "{bad}");
        }
        assert!(
            Network::parse("0.0.0.0/0")
                .unwrap()
                .contains("9.9.9.9".parse().unwrap())
        );
    }
}
