//! The default network: there when a container needs it.

use std::{net::Ipv4Addr, path::Path};

use crate::{
    EndpointPlan, Error, Mac, Network, Result, Settings, Subnet, endpoint, firewall, lease,
    link::{self, LinkOp},
    names,
    netlink::{Batch, NLM_F_DUMP, Netlink, attributes},
    network::DEFAULT,
    state,
    state::Lock,
};

/// The default network, made or made whole again where it is missing: after a reboot, after somebody removed the bridge
/// or flushed the firewall. When it stands this is one look at the link and one at the table.
///
/// # Errors
/// No free subnet, no privilege, a kernel without bridges or nftables. What was made is undone.
pub fn ensure(settings: &Settings) -> Result<Network> {
    let folder = settings.folder(DEFAULT);
    let socket = Netlink::route().map_err(|source| Error::Socket {
        act: "open the kernel's route socket",
        source,
    })?;
    if let Some(network) = state::read::<Network>(&folder.join("network.json"))?
        && stands(settings, &socket, &network)?
    {
        return Ok(network);
    }
    let _lock = Lock::take(&folder.join("lock"))?;
    // Another command may have made it while we waited.
    match state::read::<Network>(&folder.join("network.json"))? {
        Some(network) if stands(settings, &socket, &network)? => Ok(network),
        Some(network) => make(settings, &socket, &folder, network),
        None => make(settings, &socket, &folder, decide(settings, &socket)?),
    }
}

/// The default network as it was decided, if it ever was; nothing is made.
///
/// # Errors
/// A damaged file.
pub fn find(settings: &Settings) -> Result<Option<Network>> {
    state::read(&settings.folder(DEFAULT).join("network.json"))
}

fn stands(settings: &Settings, socket: &Netlink, network: &Network) -> Result<bool> {
    let index = index(socket, &network.bridge)?;
    Ok(network.index != 0 && index == Some(network.index) && firewall::exists(settings)?)
}

fn index(socket: &Netlink, link: &str) -> Result<Option<u32>> {
    socket.index(link).map_err(|source| Error::Link {
        act: format!("look for `{link}`"),
        source,
    })
}

fn decide(settings: &Settings, socket: &Netlink) -> Result<Network> {
    // A bridge of ours that outlived its record is no obstacle to itself.
    let own = index(socket, &settings.bridge)?;
    let mut taken = routes(socket, own)?;
    // Of interfaces that are down as well, which have no routes yet.
    taken.extend(
        addresses(socket)?
            .into_iter()
            .filter(|(index, _)| Some(*index) != own)
            .map(|(_, subnet)| subnet),
    );
    let resolv = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    taken.extend(
        names::nameservers(&resolv).filter_map(|server| match server.parse().ok()? {
            std::net::IpAddr::V4(address) => Some(Subnet { address, prefix: 32 }),
            std::net::IpAddr::V6(_) => None,
        }),
    );
    let subnet = choose(&settings.subnets, &taken).ok_or_else(|| Error::NoSubnet {
        network: DEFAULT.into(),
    })?;
    let forwarding = std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap_or_default();
    Ok(Network {
        name: DEFAULT.into(),
        id: endpoint::random_id()?,
        bridge: settings.bridge.clone(),
        subnet,
        gateway: subnet.gateway(),
        mtu: settings.mtu,
        masquerade: true,
        opened_forwarding: forwarding.trim() == "0",
        index: 0,
    })
}

/// The first of `pool` that shares no address with a subnet that is `taken`.
fn choose(pool: &[Subnet], taken: &[Subnet]) -> Option<Subnet> {
    pool.iter()
        .copied()
        .find(|subnet| !taken.iter().any(|t| t.overlaps(*subnet)))
}

fn make(settings: &Settings, socket: &Netlink, folder: &Path, mut network: Network) -> Result<Network> {
    let file = folder.join("network.json");
    // Decided before anything is done: whoever goes on after a crash must know that we turned forwarding on.
    network.index = 0;
    state::write(&file, &network)?;
    let there = index(socket, &network.bridge)?;
    let addressed = match there {
        Some(index) => addresses(socket)?
            .iter()
            .any(|(i, a)| *i == index && a.address == network.gateway),
        None => false,
    };
    let ops = plan(&network, there.is_some(), addressed, link::has_ipv6(network.mtu));
    let made = link::execute(socket, &ops, None)?;
    let finish = || -> Result<u32> {
        firewall::execute(settings, &firewall::base(&networks(settings)?, &plans(settings)?))?;
        // Only now, for the rules just made keep everybody else off the host's 127.0.0.1.
        link::execute(socket, &[localnet(&network)], None)?;
        rejoin(socket, &network, folder)?;
        Ok(index(socket, &network.bridge)?.unwrap_or(0))
    };
    network.index = finish().map_err(|e| e.with_undo(link::undo(socket, &made)))?;
    state::write(&file, &network)?;
    Ok(network)
}

/// Removes the default network: bridge, table, files. For a host that is to be left as it was found; its containers lose
/// their network. Forwarding is turned off again if we had turned it on.
///
/// # Errors
/// What could not be removed.
pub fn remove(settings: &Settings) -> Result<()> {
    let folder = settings.folder(DEFAULT);
    let Some(network) = find(settings)? else { return Ok(()) };
    let _lock = Lock::take(&folder.join("lock"))?;
    let socket = Netlink::route().map_err(|source| Error::Socket {
        act: "open the kernel's route socket",
        source,
    })?;
    let mut ops = Vec::new();
    if index(&socket, &network.bridge)?.is_some() {
        ops.push(LinkOp::Remove { link: network.bridge });
    }
    if network.opened_forwarding {
        ops.push(LinkOp::Set {
            key: "net/ipv4/ip_forward".into(),
            value: "0".into(),
        });
    }
    link::execute(&socket, &ops, None)?;
    firewall::execute(
        settings,
        &[firewall::FirewallOp::AddTable, firewall::FirewallOp::RemoveTable],
    )?;
    std::fs::remove_dir_all(&folder).map_err(Error::file("remove", folder))
}

fn plan(network: &Network, there: bool, addressed: bool, ipv6: bool) -> Vec<LinkOp> {
    let bridge = &network.bridge;
    let mut ops = Vec::new();
    if !there {
        ops.push(LinkOp::AddBridge {
            name: bridge.clone(),
            mac: Mac::of(network.gateway),
            mtu: network.mtu,
        });
    }
    if ipv6 {
        // No IPv6 address on it, not even a link-local one, until the network has IPv6.
        ops.push(LinkOp::Set {
            key: format!("net/ipv6/conf/{bridge}/disable_ipv6"),
            value: "1".into(),
        });
    }
    if !addressed {
        let (address, prefix) = (network.gateway, network.subnet.prefix);
        ops.push(LinkOp::AddAddress {
            link: bridge.clone(),
            address,
            prefix,
        });
    }
    ops.push(LinkOp::Up { link: bridge.clone() });
    ops.push(LinkOp::Set {
        key: "net/ipv4/ip_forward".into(),
        value: "1".into(),
    });
    ops
}

/// Lets connections from 127.0.0.1 leave by the bridge, for ports published there.
fn localnet(network: &Network) -> LinkOp {
    LinkOp::Set {
        key: format!("net/ipv4/conf/{}/route_localnet", network.bridge),
        value: "1".into(),
    }
}

/// Containers that outlived the bridge get on the new one.
fn rejoin(socket: &Netlink, network: &Network, folder: &Path) -> Result<()> {
    for plan in lease::list(folder)?.into_iter().filter_map(|found| found.plan) {
        if index(socket, &plan.link)?.is_some() {
            let join = LinkOp::Join {
                port: plan.link,
                bridge: network.bridge.clone(),
            };
            link::execute(socket, &[join], None)?;
        }
    }
    Ok(())
}

fn networks(settings: &Settings) -> Result<Vec<Network>> {
    let mut networks = Vec::new();
    for folder in endpoint::folders(settings)? {
        networks.extend(state::read::<Network>(&folder.join("network.json"))?);
    }
    Ok(networks)
}

fn plans(settings: &Settings) -> Result<Vec<EndpointPlan>> {
    let mut plans = Vec::new();
    for folder in endpoint::folders(settings)? {
        plans.extend(lease::list(&folder)?.into_iter().filter_map(|found| found.plan));
    }
    Ok(plans)
}

/// Subnets that the host has routes to, but for those by the link of index `own`.
fn routes(socket: &Netlink, own: Option<u32>) -> Result<Vec<Subnet>> {
    const RTM_GETROUTE: u16 = 26;
    const RTA_DST: u16 = 1;
    const RTA_OIF: u16 = 4;
    let mut batch = Batch::new();
    batch.message(RTM_GETROUTE, NLM_F_DUMP, &[2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let mut routes = Vec::new();
    let read = |_, payload: &[u8]| {
        // struct rtmsg: family, destination's prefix, .., type at 7 (1 unicast).
        let [2, prefix, _, _, _, _, _, 1, ..] = *payload else {
            return;
        };
        let (mut destination, mut by) = (None, None);
        for (kind, value) in attributes(payload.get(12..).unwrap_or_default()) {
            match (kind, value) {
                (RTA_DST, &[a, b, c, d]) => destination = Some(Ipv4Addr::new(a, b, c, d)),
                (RTA_OIF, &[a, b, c, d]) => by = Some(u32::from_ne_bytes([a, b, c, d])),
                _ => {}
            }
        }
        // The default route goes everywhere and takes nothing.
        if let Some(address) = destination.filter(|_| prefix > 0 && (own.is_none() || by != own)) {
            routes.push(Subnet { address, prefix });
        }
    };
    socket.dump(&mut batch, read).map_err(|source| Error::Socket {
        act: "list the host's routes",
        source,
    })?;
    Ok(routes)
}

/// The host's IPv4 addresses, each with its link's index and the prefix of its subnet.
fn addresses(socket: &Netlink) -> Result<Vec<(u32, Subnet)>> {
    const RTM_GETADDR: u16 = 22;
    const IFA_LOCAL: u16 = 2;
    let mut batch = Batch::new();
    batch.message(RTM_GETADDR, NLM_F_DUMP, &[2, 0, 0, 0, 0, 0, 0, 0]);
    let mut addresses = Vec::new();
    let read = |_, payload: &[u8]| {
        // struct ifaddrmsg: family, prefix, flags, scope, index.
        let [2, prefix, _, _, a, b, c, d, ref rest @ ..] = *payload else {
            return;
        };
        let index = u32::from_ne_bytes([a, b, c, d]);
        for (kind, value) in attributes(rest) {
            if let (IFA_LOCAL, &[a, b, c, d]) = (kind, value) {
                addresses.push((
                    index,
                    Subnet {
                        address: Ipv4Addr::new(a, b, c, d),
                        prefix,
                    },
                ));
            }
        }
    };
    socket.dump(&mut batch, read).map_err(|source| Error::Socket {
        act: "list the host's addresses",
        source,
    })?;
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bridge_is_planned() {
        let show = |there, addressed, ipv6| {
            let ops = plan(&lease::example("172.17.0.0/16"), there, addressed, ipv6);
            ops.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        };
        insta::assert_snapshot!(show(false, false, true), @r"
        add bridge `hull0` (mac 02:42:ac:11:00:01, mtu 1500)
        set net/ipv6/conf/hull0/disable_ipv6 to 1
        add address 172.17.0.1/16 to `hull0`
        set `hull0` up
        set net/ipv4/ip_forward to 1
        ");
        insta::assert_snapshot!(show(true, true, false), @r"
        set `hull0` up
        set net/ipv4/ip_forward to 1
        ");
    }

    #[test]
    fn the_first_free_subnet_is_chosen() {
        let check = |taken: &[&str], expected: Option<&str>| {
            let taken: Vec<Subnet> = taken.iter().map(|t| t.parse().unwrap()).collect();
            let chosen = choose(&Settings::new("/run/hull/networks").subnets, &taken);
            assert_eq!(chosen.map(|s| s.to_string()).as_deref(), expected, "{taken:?}");
        };
        check(&[], Some("172.17.0.0/16"));
        check(&["172.17.0.0/16", "172.18.9.0/24"], Some("172.19.0.0/16"));
        check(&["172.16.0.0/12"], Some("192.168.0.0/20"));
        check(&["172.16.0.0/12", "192.168.0.0/17"], Some("192.168.128.0/20"));
        check(&["172.0.0.0/8", "192.168.0.0/16"], None);
    }
}
