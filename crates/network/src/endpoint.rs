//! A container's place on a network: taken, attached, configured, freed.

use std::{
    net::Ipv4Addr,
    os::fd::{BorrowedFd, OwnedFd},
    path::Path,
};

use hull_spec::container::EndpointSettings;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::{Deserialize, Serialize};

pub use crate::link::Netns;
use crate::{
    Error, Mac, Network, Result, Settings, conntrack, firewall, lease,
    link::{self, LinkOp},
    netlink::Netlink,
    publish::{Published, Wish},
    reserve::{self, Reservation},
    state,
    state::Lock,
};

/// What a container asks of a network.
#[derive(Clone, Debug, Default)]
pub struct EndpointRequest {
    /// The container's ID.
    pub container: String,
    /// Ports to publish.
    pub ports: Vec<Wish>,
    /// The address it wants.
    pub address: Option<Ipv4Addr>,
    /// The MAC it wants.
    pub mac: Option<Mac>,
}

/// An endpoint as data: what its lease holds, and all that `attach`, `configure` and `release` need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct EndpointPlan {
    /// The endpoint's own ID, 64 hexadecimal digits: another one each time a container starts.
    pub id: String,
    /// The container's ID.
    pub container: String,
    /// The network's name.
    pub network: String,
    /// The network's ID.
    pub network_id: String,
    /// The bridge.
    pub bridge: String,
    /// The host's end of the pair.
    pub link: String,
    /// The container's end.
    pub peer: String,
    /// Its MAC.
    pub mac: Mac,
    /// Its address.
    pub address: Ipv4Addr,
    /// The subnet's prefix.
    pub prefix: u8,
    /// Its default route.
    pub gateway: Ipv4Addr,
    /// Bytes.
    pub mtu: u32,
    /// Whether the kernel would give the links IPv6 addresses, unless told not to.
    pub kernel_ipv6: bool,
    /// Its published ports.
    pub ports: Vec<Published>,
}

/// A taken endpoint. Keep it for as long as the container runs: it holds the published ports.
#[derive(Debug)]
pub struct Endpoint {
    /// The endpoint as data.
    pub plan: EndpointPlan,
    /// The host's ports.
    pub reservation: Reservation,
}

impl EndpointPlan {
    /// As `inspect` shows it.
    #[must_use]
    pub fn settings(&self) -> EndpointSettings {
        EndpointSettings {
            mac_address: self.mac.to_string(),
            network_id: self.network_id.clone(),
            endpoint_id: self.id.clone(),
            gateway: self.gateway.to_string(),
            ip_address: self.address.to_string(),
            ip_prefix_len: self.prefix,
            ..EndpointSettings::default()
        }
    }

    /// What makes the pair, from the host's namespace.
    #[must_use]
    pub fn outside(&self, hairpin: bool) -> Vec<LinkOp> {
        let mut ops = vec![LinkOp::AddVeth {
            name: self.link.clone(),
            bridge: self.bridge.clone(),
            peer: self.peer.clone(),
            mac: self.mac,
            mtu: self.mtu,
        }];
        let no_ipv6 = self.kernel_ipv6;
        if hairpin || no_ipv6 {
            ops.push(LinkOp::Tune {
                link: self.link.clone(),
                hairpin,
                no_ipv6,
            });
        }
        ops
    }

    /// What the container's own namespace needs once the pair is there.
    #[must_use]
    pub fn inside(&self) -> Vec<LinkOp> {
        let peer = || self.peer.clone();
        let mut ops = vec![LinkOp::Up { link: "lo".into() }];
        if self.kernel_ipv6 {
            ops.push(LinkOp::Tune {
                link: peer(),
                hairpin: false,
                no_ipv6: true,
            });
        }
        ops.push(LinkOp::AddAddress {
            link: peer(),
            address: self.address,
            prefix: self.prefix,
        });
        ops.push(LinkOp::Up { link: peer() });
        ops.push(LinkOp::AddDefaultRoute {
            via: self.gateway,
            link: peer(),
        });
        ops
    }
}

/// Takes the host's ports, then an address, then publishes: what can be refused is refused before there is a process.
///
/// `alive` says whether the container of an ID lives. It is asked only when every address is leased or a port's entry
/// exists already. The caller must be alive to others' `alive` before it calls this (hold the container's lock), or its
/// lease may be reaped.
///
/// # Errors
/// A port in use, an address in use or outside, a full network; nothing is kept then.
pub fn allocate(
    settings: &Settings,
    network: &Network,
    request: &EndpointRequest,
    alive: &dyn Fn(&str) -> bool,
) -> Result<Endpoint> {
    if let Some(address) = request.address {
        check_wanted(network, address)?;
    }
    let reservation = reserve::take(&request.ports).map_err(|e| blame(settings, e, alive))?;
    let plan = lease(settings, network, request, &reservation, alive)?;
    if !plan.ports.is_empty()
        && let Err(e) = publish(settings, &plan, alive).and_then(|()| conntrack::forget(&plan))
    {
        let undo = release(settings, &plan).err().into_iter().collect();
        return Err(e.with_undo(undo));
    }
    Ok(Endpoint { plan, reservation })
}

fn check_wanted(network: &Network, address: Ipv4Addr) -> Result<()> {
    let subnet = network.subnet;
    if !subnet.contains(address) || address == subnet.address || address == subnet.last() {
        let (network, subnet) = (network.name.clone(), subnet.to_string());
        return Err(Error::AddressOutside {
            address: address.into(),
            network,
            subnet,
        });
    }
    if address == network.gateway {
        let (network, container) = (network.name.clone(), "the gateway".into());
        return Err(Error::AddressTaken {
            address: address.into(),
            network,
            container,
        });
    }
    Ok(())
}

fn lease(
    settings: &Settings,
    network: &Network,
    request: &EndpointRequest,
    reservation: &Reservation,
    alive: &dyn Fn(&str) -> bool,
) -> Result<EndpointPlan> {
    let folder = settings.folder(&network.name);
    let id = random_id()?;
    let plan = |address| EndpointPlan {
        container: request.container.clone(),
        network: network.name.clone(),
        network_id: network.id.clone(),
        bridge: network.bridge.clone(),
        link: link_name(&id),
        peer: "eth0".into(),
        mac: request.mac.unwrap_or_else(|| Mac::of(address)),
        address,
        prefix: network.subnet.prefix,
        gateway: network.gateway,
        mtu: network.mtu,
        kernel_ipv6: link::has_ipv6(network.mtu),
        ports: reservation.ports.clone(),
        id: id.clone(),
    };
    let lock = Lock::take(&folder.join("lock"))?;
    if let Some(plan) = lease::take(&folder, network, &lock, request.address, &plan)? {
        return Ok(plan);
    }
    reap_locked(settings, &folder, alive)?;
    if let Some(plan) = lease::take(&folder, network, &lock, request.address, &plan)? {
        return Ok(plan);
    }
    match request.address {
        Some(address) => {
            let holder = state::read::<EndpointPlan>(&lease::path(&folder, address))?;
            Err(Error::AddressTaken {
                address: address.into(),
                network: network.name.clone(),
                container: holder.map_or_else(String::new, |h| h.container),
            })
        }
        None => Err(Error::NoAddress {
            network: network.name.clone(),
            subnet: network.subnet.to_string(),
            leases: lease::list(&folder)?.len(),
        }),
    }
}

fn publish(settings: &Settings, plan: &EndpointPlan, alive: &dyn Fn(&str) -> bool) -> Result<()> {
    let ops = firewall::publish(plan);
    match firewall::execute(settings, &ops) {
        Err(e) if e.kind() == hull_spec::ErrorKind::Conflict => {
            // We hold the port, so its entry is of a container that died, or of one that lives on without a monitor.
            reap(settings, alive)?;
            firewall::execute(settings, &ops).map_err(|e| match holder(settings, &plan.ports, &plan.id) {
                Some((port, container)) => Error::PortAllocated {
                    address: port.host.into(),
                    port: port.host_port,
                    container,
                },
                None => e,
            })
        }
        other => other,
    }
}

/// Who else, by its lease, publishes one of `ports`.
fn holder(settings: &Settings, ports: &[Published], except: &str) -> Option<(Published, String)> {
    let same = |a: &Published, b: &Published| {
        a.protocol == b.protocol
            && a.host_port == b.host_port
            && (a.host == b.host || a.host.is_unspecified() || b.host.is_unspecified())
    };
    for folder in folders(settings).ok()? {
        for plan in lease::list(&folder)
            .ok()?
            .into_iter()
            .filter_map(|found| found.plan)
            .filter(|p| p.id != except)
        {
            if let Some(port) = ports
                .iter()
                .find(|port| plan.ports.iter().any(|theirs| same(port, theirs)))
            {
                return Some((*port, plan.container));
            }
        }
    }
    None
}

/// Tells a port of another container from one of the host.
fn blame(settings: &Settings, error: Error, alive: &dyn Fn(&str) -> bool) -> Error {
    let Error::PortTaken {
        address: std::net::IpAddr::V4(host),
        port,
        protocol,
        source,
    } = &error
    else {
        return error;
    };
    if source.kind() != std::io::ErrorKind::AddrInUse {
        return error;
    }
    let protocol = if *protocol == "tcp" {
        crate::publish::Protocol::Tcp
    } else {
        crate::publish::Protocol::Udp
    };
    let wanted = Published {
        host: *host,
        host_port: *port,
        container_port: 0,
        protocol,
    };
    match holder(settings, &[wanted], "") {
        Some((_, container)) if alive(&container) => Error::PortAllocated {
            address: (*host).into(),
            port: *port,
            container,
        },
        _ => error,
    }
}

/// Puts a veth pair between the bridge and `netns`. Called from the host's namespace.
///
/// # Errors
/// The kernel's; nothing is left then.
pub fn attach(plan: &EndpointPlan, netns: Netns<'_>) -> Result<()> {
    let socket = Netlink::route().map_err(|source| Error::Socket {
        act: "open the kernel's route socket",
        source,
    })?;
    link::execute(&socket, &plan.outside(link::bridges_filter()), Some(netns)).map(drop)
}

/// Gives the container's end its address and route, and `lo` its life, from within the container's namespace. For the
/// container's init: one socket, one batch, no thread. Needs `CAP_NET_ADMIN` in that namespace.
///
/// # Errors
/// The kernel's. The namespace is as good as lost then.
pub fn configure_inside(plan: &EndpointPlan) -> Result<()> {
    inside(&plan.inside())
}

/// Sets `lo` up in the namespace that the caller is in: all that `--network none` needs.
///
/// # Errors
/// The kernel's.
pub fn loopback_inside() -> Result<()> {
    inside(&[LinkOp::Up { link: "lo".into() }])
}

fn inside(ops: &[LinkOp]) -> Result<()> {
    let socket = Netlink::route().map_err(|source| Error::Socket {
        act: "open the container's route socket",
        source,
    })?;
    link::execute(&socket, ops, None).map(drop)
}

/// As [`configure_inside`], from outside: the calling thread enters `netns` to open the socket and returns to its own
/// namespace at once, so the container's init may do its mounts meanwhile.
///
/// # Errors
/// The kernel's.
pub fn configure(plan: &EndpointPlan, netns: BorrowedFd<'_>) -> Result<()> {
    let socket = socket_in(netns)?;
    link::execute(&socket, &plan.inside(), None).map(drop)
}

/// A route socket of `netns` belongs to it for ever, wherever its opener goes.
fn socket_in(netns: BorrowedFd<'_>) -> Result<Netlink> {
    let enter = |source| Error::Enter { source };
    let home = std::fs::File::open("/proc/thread-self/ns/net").map_err(enter)?;
    let net = Some(LinkNameSpaceType::Network);
    move_into_link_name_space(netns, net).map_err(|e| enter(e.into()))?;
    let socket = Netlink::route();
    move_into_link_name_space(std::os::fd::AsFd::as_fd(&home), net).map_err(|e| enter(e.into()))?;
    socket.map_err(|source| Error::Socket {
        act: "open the container's route socket",
        source,
    })
}

/// Makes an endpoint ready for another start of its container, with the address and ports that it has: its last namespace
/// may still be going away with a link of the old name.
///
/// # Errors
/// The lease could not be rewritten.
pub fn renew(settings: &Settings, endpoint: &mut Endpoint) -> Result<()> {
    let folder = settings.folder(&endpoint.plan.network);
    let id = random_id()?;
    let plan = EndpointPlan {
        link: link_name(&id),
        id,
        ..endpoint.plan.clone()
    };
    let _lock = Lock::take(&folder.join("lock"))?;
    state::write(&lease::path(&folder, plan.address), &plan)?;
    endpoint.plan = plan;
    Ok(())
}

/// Docker's form. Not made of the container's ID, which the next start has too.
fn link_name(id: &str) -> String {
    format!("veth{}", id.get(..7).unwrap_or(id))
}

/// Frees the ports and the address. The links go with the container's namespace. Freeing twice is no error.
///
/// # Errors
/// What could not be freed; the next [`reap`] tries again.
pub fn release(settings: &Settings, plan: &EndpointPlan) -> Result<()> {
    let folder = settings.folder(&plan.network);
    let _lock = Lock::take(&folder.join("lock"))?;
    // The address may have been reaped and given to another since.
    match state::read::<EndpointPlan>(&lease::path(&folder, plan.address)) {
        Ok(Some(found)) if found.id == plan.id => free(settings, &folder, plan),
        _ => Ok(()),
    }
}

/// Entries first: one must never name an address that another container may get.
fn free(settings: &Settings, folder: &Path, plan: &EndpointPlan) -> Result<()> {
    if !plan.ports.is_empty() {
        firewall::withdraw(settings, plan)?;
        conntrack::forget(plan)?;
    }
    state::remove(&lease::path(folder, plan.address))
}

/// The endpoint of container `id`, whose monitor was killed.
///
/// # Errors
/// If the leases cannot be read.
pub fn find(settings: &Settings, id: &str) -> Result<Option<EndpointPlan>> {
    for folder in folders(settings)? {
        let plans = lease::list(&folder)?.into_iter().filter_map(|found| found.plan);
        if let Some(plan) = plans.into_iter().find(|plan| plan.container == id) {
            return Ok(Some(plan));
        }
    }
    Ok(None)
}

/// Takes the published ports of an endpoint once more, as far as nobody else has taken them since.
#[must_use]
pub fn reserve(plan: &EndpointPlan) -> Vec<OwnedFd> {
    let wish = |port: &Published| Wish {
        host: port.host,
        host_ports: (port.host_port, port.host_port),
        container_port: port.container_port,
        protocol: port.protocol,
    };
    let taken = plan.ports.iter().filter_map(|port| reserve::take(&[wish(port)]).ok());
    taken.flat_map(reserve::Reservation::into_sockets).collect()
}

/// Frees what containers left behind that died without a monitor to release them; returns their IDs.
///
/// # Errors
/// What could not be read or freed.
pub fn reap(settings: &Settings, alive: &dyn Fn(&str) -> bool) -> Result<Vec<String>> {
    let mut freed = Vec::new();
    for folder in folders(settings)? {
        let _lock = Lock::take(&folder.join("lock"))?;
        freed.extend(reap_locked(settings, &folder, alive)?);
    }
    Ok(freed)
}

fn reap_locked(settings: &Settings, folder: &Path, alive: &dyn Fn(&str) -> bool) -> Result<Vec<String>> {
    let mut freed = Vec::new();
    for found in lease::list(folder)? {
        match found.plan {
            Some(plan) if alive(&plan.container) => {}
            Some(plan) => {
                free(settings, folder, &plan)?;
                freed.push(plan.container);
            }
            None => state::remove(&found.path)?,
        }
    }
    Ok(freed)
}

/// The folders of all networks.
pub(crate) fn folders(settings: &Settings) -> Result<Vec<std::path::PathBuf>> {
    let entries = match std::fs::read_dir(&settings.run) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::file("read", &settings.run)(e)),
    };
    let mut folders = Vec::new();
    for entry in entries {
        let path = entry.map_err(Error::file("read", &settings.run))?.path();
        if path.join("network.json").exists() {
            folders.push(path);
        }
    }
    Ok(folders)
}

/// 32 random bytes as hexadecimal.
pub(crate) fn random_id() -> Result<String> {
    let mut bytes = [0u8; 32];
    rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty()).map_err(|e| Error::Socket {
        act: "get random bytes",
        source: e.into(),
    })?;
    let mut text = String::with_capacity(64);
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from_digit(nibble.into(), 16).unwrap_or('0'));
        }
    }
    Ok(text)
}

/// An endpoint for tests.
#[cfg(test)]
pub(crate) fn example() -> EndpointPlan {
    let address = Ipv4Addr::new(172, 17, 0, 2);
    EndpointPlan {
        id: "e".repeat(64),
        container: "c".repeat(64),
        network: "bridge".into(),
        network_id: "0".repeat(64),
        bridge: "hull0".into(),
        link: "vetheeeeeee".into(),
        peer: "eth0".into(),
        mac: Mac::of(address),
        address,
        prefix: 16,
        gateway: Ipv4Addr::new(172, 17, 0, 1),
        mtu: 1500,
        kernel_ipv6: true,
        ports: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_planned() {
        let show = |ops: Vec<LinkOp>| ops.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        insta::assert_snapshot!(show(example().outside(true)), @r"
        add veth `vetheeeeeee` on `hull0` with peer `eth0` (mac 02:42:ac:11:00:02, mtu 1500)
        tune `vetheeeeeee` (hairpin true, no IPv6 true)
        ");
        insta::assert_snapshot!(show(example().inside()), @r"
        set `lo` up
        tune `eth0` (hairpin false, no IPv6 true)
        add address 172.17.0.2/16 to `eth0`
        set `eth0` up
        add default route via 172.17.0.1 by `eth0`
        ");
        let old = EndpointPlan {
            kernel_ipv6: false,
            ..example()
        };
        assert_eq!(old.outside(false).len(), 1);
        assert_eq!(old.inside().len(), 4);
    }

    #[test]
    fn a_lease_is_read_back() {
        let text = serde_json::to_string(&example()).unwrap();
        assert_eq!(serde_json::from_str::<EndpointPlan>(&text).unwrap(), example());
    }

    #[test]
    fn ids_are_random_and_whole() {
        let (a, b) = (random_id().unwrap(), random_id().unwrap());
        assert_eq!(a.len(), 64);
        assert!(a.bytes().all(|c| c.is_ascii_hexdigit()));
        assert_ne!(a, b);
    }
}
