//! What of this host stands in the way of the network, in words a person can act on. Only looks; changes nothing.

use std::fs;

use crate::{
    Settings, bridge, firewall,
    netlink::{Batch, NLM_F_DUMP, Netlink, attributes},
};

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub hint: String,
}

/// Looks at the host that the caller is on. Empty when nothing is wrong.
#[must_use]
pub fn doctor(settings: &Settings) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |problem: String, hint: String| findings.push(Finding { problem, hint });
    let socket = match Netlink::netfilter() {
        Ok(socket) => socket,
        Err(e) => {
            find(
                format!("the kernel has no netfilter socket ({e}): no network but `none` and `host`"),
                "load the modules `nf_tables`, `nft_nat`, `nft_masq` and `nft_fib_inet`".into(),
            );
            return findings;
        }
    };
    let bridge = match bridge::find(settings) {
        Ok(network) => network.map_or_else(|| settings.bridge.clone(), |n| n.bridge),
        Err(e) => {
            find(
                e.to_string(),
                format!("remove `{}`; the next command makes it anew", settings.run.display()),
            );
            settings.bridge.clone()
        }
    };
    match chains(&socket) {
        Ok(chains) => {
            for chain in chains
                .iter()
                .filter(|c| c.drops_at(FORWARD) && c.table != settings.table)
            {
                let (problem, hint) = chain.advice(&bridge);
                find(problem, hint);
            }
            // Published ports are forwarded: a host that filters its input alone may think them closed.
            let drops = |place| chains.iter().any(|c| c.table != settings.table && c.drops_at(place));
            if drops(INPUT) && !drops(FORWARD) {
                find(
                    "the host's firewall drops unknown input but forwards freely: published ports are open to all who \
                     reach this host"
                        .into(),
                    "filter them in a `forward` chain, or publish them on one address: `-p 127.0.0.1:8080:80`".into(),
                );
            }
        }
        Err(e) => find(
            format!("the kernel's nftables cannot be read ({e})"),
            "load the module `nf_tables`, and run this as root".into(),
        ),
    }
    if fs::read_to_string("/proc/thread-self/net/ip_tables_names").is_ok_and(|t| t.lines().any(|l| l == "filter")) {
        find(
            "the legacy iptables filter table is in use: its FORWARD chain also decides about containers".into(),
            format!("see `iptables-legacy -L FORWARD`; let `{bridge}` through there if its policy is DROP"),
        );
    }
    standing(settings, &bridge, &mut find);
    findings
}

/// What was made and is no longer so.
fn standing(settings: &Settings, bridge: &str, find: &mut dyn FnMut(String, String)) {
    if !matches!(bridge::find(settings), Ok(Some(_))) {
        return;
    }
    let again = || "the next bridged container makes it anew".to_owned();
    if !matches!(firewall::exists(settings), Ok(true)) {
        find(
            format!("the nftables table `{}` is gone: no port is published", settings.table),
            again(),
        );
    }
    if let Ok(socket) = Netlink::route()
        && let Ok(None) = socket.index(bridge)
    {
        find(format!("the bridge `{bridge}` is gone"), again());
    }
    for (key, consequence) in [
        (
            "net/ipv4/ip_forward".to_owned(),
            "containers reach nothing outside, nor are they reached",
        ),
        (
            format!("net/ipv4/conf/{bridge}/route_localnet"),
            "published ports are not reached at 127.0.0.1",
        ),
    ] {
        if fs::read_to_string(format!("/proc/sys/{key}")).is_ok_and(|v| v.trim() == "0") {
            let name = key.replace('/', ".");
            find(format!("{name} is 0: {consequence}"), format!("`sysctl -w {name}=1`"));
        }
    }
}

/// `NF_INET_LOCAL_IN`.
const INPUT: u32 = 1;
/// `NF_INET_FORWARD`.
const FORWARD: u32 = 2;

/// A base chain of anybody's.
#[derive(Debug, Default, PartialEq, Eq)]
struct Chain {
    family: u8,
    table: String,
    name: String,
    place: Option<u32>,
    policy: Option<u32>,
}

impl Chain {
    /// Whether what no rule of it accepts is dropped at that place. Families inet and ip; a policy of 0 is to drop.
    fn drops_at(&self, place: u32) -> bool {
        self.place == Some(place) && self.policy == Some(0) && matches!(self.family, 1 | 2)
    }

    fn advice(&self, bridge: &str) -> (String, String) {
        let family = if self.family == 1 { "inet" } else { "ip" };
        let Self { table, name, .. } = self;
        let problem = format!(
            "the chain `{name}` of the host's table `{family} {table}` drops what it does not know: containers reach \
             nothing outside and published ports are not reached, and hull never overrides the host's firewall"
        );
        let hint = match (table.as_str(), name.as_str()) {
            ("filter", "FORWARD") => format!(
                "this is iptables' (Docker and ufw set it so): `iptables -I DOCKER-USER -i {bridge} -j ACCEPT` and \
                 `iptables -I DOCKER-USER -o {bridge} -m conntrack --ctstate DNAT,ESTABLISHED,RELATED -j ACCEPT`; without \
                 Docker, the same in FORWARD; with ufw, `ufw route allow in on {bridge}` and, for each published port, \
                 `ufw route allow out on {bridge} to any port PORT`"
            ),
            _ => format!(
                "`nft insert rule {family} {table} {name} iifname {bridge} accept` and \
                 `nft insert rule {family} {table} {name} oifname {bridge} ct status dnat accept`, with \
                 `ct state established,related accept`"
            ),
        };
        (problem, hint)
    }
}

fn chains(socket: &Netlink) -> std::io::Result<Vec<Chain>> {
    const GET_CHAIN: u16 = 10 << 8 | 4;
    let mut request = Batch::new();
    request.message(GET_CHAIN, NLM_F_DUMP, &[0; 4]);
    let mut chains = Vec::new();
    socket.dump(&mut request, |_, payload| chains.extend(chain(payload)))?;
    Ok(chains)
}

fn chain(payload: &[u8]) -> Option<Chain> {
    let text = |value: &[u8]| String::from_utf8_lossy(value).trim_end_matches('\0').to_owned();
    let number = |value: &[u8]| value.try_into().ok().map(u32::from_be_bytes);
    let mut chain = Chain {
        family: *payload.first()?,
        ..Chain::default()
    };
    for (kind, value) in attributes(payload.get(4..)?) {
        match kind {
            1 => chain.table = text(value),
            3 => chain.name = text(value),
            4 => {
                chain.place = attributes(value)
                    .find(|(kind, _)| *kind == 1)
                    .and_then(|(_, v)| number(v))
            }
            5 => chain.policy = number(value),
            _ => {}
        }
    }
    Some(chain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_forward_chains_that_drop_are_in_the_way() {
        let chain = |family, place, policy| Chain {
            family,
            place,
            policy,
            ..Chain::default()
        };
        for (case, expected) in [
            (chain(1, Some(2), Some(0)), true),
            (chain(2, Some(2), Some(0)), true),
            (chain(2, Some(2), Some(1)), false),
            (chain(2, Some(1), Some(0)), false),
            (chain(10, Some(2), Some(0)), false),
            (chain(2, None, None), false),
        ] {
            assert_eq!(case.drops_at(FORWARD), expected, "{case:?}");
        }
    }

    #[test]
    fn advice_knows_iptables() {
        let chain = |table: &str, name: &str| Chain {
            family: 2,
            table: table.into(),
            name: name.into(),
            ..Chain::default()
        };
        assert!(
            chain("filter", "FORWARD")
                .advice("hull0")
                .1
                .contains("DOCKER-USER -i hull0")
        );
        assert!(
            chain("fw", "fwd")
                .advice("hull0")
                .1
                .contains("nft insert rule ip fw fwd iifname hull0 accept")
        );
    }
}
