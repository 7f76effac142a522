//! What a network is: a bridge with a subnet, as data.

use std::{
    fmt,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

/// How this host's networks are to be. Plain data: the caller reads the configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// `RUN/networks`.
    pub run: PathBuf,
    /// Interface of the default network.
    pub bridge: String,
    /// Subnets to choose from, in order; the first that overlaps no route of the host is taken.
    pub subnets: Vec<Subnet>,
    /// Bytes of the largest packet on the default network.
    pub mtu: u32,
    /// The nftables table that is ours.
    pub table: String,
}

impl Settings {
    /// Docker's pools, with state below `run` (`RUN/networks`). The bridge is `hull0` and the table `hull` for
    /// `/run/hull/networks`; another run folder has its own leases, so it gets a bridge and a table of its own, named
    /// after it.
    #[must_use]
    pub fn new(run: impl Into<PathBuf>) -> Self {
        let run = run.into();
        let sixteens = (17..32).map(|n| Subnet {
            address: Ipv4Addr::new(172, n, 0, 0),
            prefix: 16,
        });
        let twenties = (0..=240).step_by(16).map(|n| Subnet {
            address: Ipv4Addr::new(192, 168, n, 0),
            prefix: 20,
        });
        let (bridge, table) = if run == Path::new("/run/hull/networks") {
            ("hull0".into(), "hull".into())
        } else {
            let tag = tag(run.as_os_str().as_encoded_bytes());
            (format!("hull-{tag:08x}"), format!("hull-{tag:08x}"))
        };
        Self {
            run,
            bridge,
            subnets: sixteens.chain(twenties).collect(),
            mtu: 1500,
            table,
        }
    }

    pub(crate) fn folder(&self, network: &str) -> PathBuf {
        self.run.join(network)
    }
}

/// FNV-1a: the same today and tomorrow, unlike the standard library's hashers.
fn tag(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

/// A network, as `network.json` keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Network {
    /// Its name; the default one is `bridge`.
    pub name: String,
    /// 64 hexadecimal digits.
    pub id: String,
    /// The bridge's interface.
    pub bridge: String,
    /// Its addresses.
    pub subnet: Subnet,
    /// The bridge's address, its containers' default route.
    pub gateway: Ipv4Addr,
    /// Bytes of the largest packet.
    pub mtu: u32,
    /// Whether what leaves it for the outside gets the host's address.
    pub masquerade: bool,
    /// Whether we turned the host's forwarding on. Then packets between the host's own interfaces are dropped, for the
    /// host was no router before.
    pub opened_forwarding: bool,
    /// Index of the bridge once all of it stands, which tells it from a later one of its name; 0 until then.
    pub index: u32,
}

/// Name of the built-in network.
pub const DEFAULT: &str = "bridge";

/// An IPv4 subnet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Subnet {
    /// Its first address.
    pub address: Ipv4Addr,
    /// Leading bits that all its addresses share, 0 to 32.
    pub prefix: u8,
}

impl Subnet {
    /// The bits of an address that tell the subnet.
    #[must_use]
    pub fn mask(self) -> u32 {
        if self.prefix == 0 {
            0
        } else {
            u32::MAX << (32 - u32::from(self.prefix.min(32)))
        }
    }

    /// Whether `address` is one of its addresses.
    #[must_use]
    pub fn contains(self, address: Ipv4Addr) -> bool {
        (address.to_bits() ^ self.address.to_bits()) & self.mask() == 0
    }

    /// Whether the two share an address.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        let mask = self.mask() & other.mask();
        (self.address.to_bits() ^ other.address.to_bits()) & mask == 0
    }

    /// Its last address: broadcast.
    #[must_use]
    pub fn last(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.address.to_bits() | !self.mask())
    }

    /// Its first address that a host can have.
    #[must_use]
    pub fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.address.to_bits().wrapping_add(1))
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = &'static str;

    /// `172.17.0.0/16`. Between 1 and 65 thousand million addresses make no network: the prefix is 8 to 30.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, prefix) = text.split_once('/').ok_or("a subnet is ADDRESS/PREFIX")?;
        let address = address.parse().map_err(|_| "the address is no IPv4 address")?;
        let prefix = prefix
            .parse()
            .ok()
            .filter(|p| !prefix.starts_with('+') && (8..=30).contains(p))
            .ok_or("the prefix is not 8 to 30")?;
        let subnet = Self { address, prefix };
        if subnet.address.to_bits() & !subnet.mask() != 0 {
            return Err("the address has bits behind the prefix");
        }
        Ok(subnet)
    }
}

impl Serialize for Subnet {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Subnet {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A hardware address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Docker's: `02:42` and the IPv4 address. An address has one MAC for ever, so no neighbour's table is ever stale.
    #[must_use]
    pub fn of(address: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        Self([0x02, 0x42, a, b, c, d])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for Mac {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let part = parts
                .next()
                .filter(|p| p.len() == 2 && !p.starts_with('+'))
                .ok_or("a MAC address has six pairs of digits")?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| "a MAC address is hexadecimal")?;
        }
        if parts.next().is_some() {
            return Err("a MAC address has six pairs of digits");
        }
        if bytes[0] & 1 != 0 || bytes == [0; 6] {
            return Err("the MAC address is no single interface's");
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Mac {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets_parse() {
        for (text, good) in [
            ("172.17.0.0/16", true),
            ("10.0.0.0/8", true),
            ("10.1.2.4/30", true),
            ("10.1.2.4/31", false),
            ("172.17.0.1/16", false),
            ("172.17.0.0", false),
            ("0.0.0.0/0", false),
            ("::/16", false),
            ("172.17.0.0/+16", false),
            ("172.17.0.0/-1", false),
        ] {
            assert_eq!(text.parse::<Subnet>().is_ok(), good, "{text}");
        }
    }

    #[test]
    fn subnets_overlap_when_one_holds_the_other() {
        for (a, b, overlap) in [
            ("172.17.0.0/16", "172.17.4.0/24", true),
            ("172.17.4.0/24", "172.17.0.0/16", true),
            ("172.17.0.0/16", "172.18.0.0/16", false),
            ("172.16.0.0/12", "172.31.0.0/16", true),
        ] {
            assert_eq!(
                a.parse::<Subnet>().unwrap().overlaps(b.parse().unwrap()),
                overlap,
                "{a} {b}"
            );
        }
        let subnet: Subnet = "172.17.0.0/16".parse().unwrap();
        assert_eq!(subnet.last().to_string(), "172.17.255.255");
        assert_eq!(subnet.gateway().to_string(), "172.17.0.1");
        assert!(subnet.contains(Ipv4Addr::new(172, 17, 9, 9)));
        assert!(!subnet.contains(Ipv4Addr::new(172, 18, 0, 1)));
    }

    #[test]
    fn macs_parse() {
        for (text, good) in [
            ("02:42:ac:11:00:02", true),
            ("02-42-AC-11-00-02", true),
            ("01:42:ac:11:00:02", false),
            ("00:00:00:00:00:00", false),
            ("02:42:ac:11:00", false),
            ("02:42:ac:11:00:02:03", false),
            ("02:42:ac:11:00:+2", false),
            ("2:42:ac:11:00:02", false),
        ] {
            assert_eq!(text.parse::<Mac>().is_ok(), good, "{text}");
        }
        assert_eq!(Mac::of(Ipv4Addr::new(172, 17, 0, 2)).to_string(), "02:42:ac:11:00:02");
    }

    #[test]
    fn another_run_folder_has_another_bridge() {
        let (own, other) = (Settings::new("/run/hull/networks"), Settings::new("/tmp/x/networks"));
        assert_eq!((own.bridge.as_str(), own.table.as_str()), ("hull0", "hull"));
        assert_ne!(other.bridge, Settings::new("/tmp/y/networks").bridge);
        assert_eq!(other.bridge, Settings::new("/tmp/x/networks").bridge);
        assert!(other.bridge.len() <= 15);
    }
}
