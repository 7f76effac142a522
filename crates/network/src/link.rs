//! Changes of links, addresses and routes: as data, as netlink messages, and done.

use std::{
    fmt, io,
    net::Ipv4Addr,
    os::fd::{AsRawFd, BorrowedFd},
};

use crate::{
    Error, Mac, Result,
    netlink::{Batch, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, Netlink},
};

/// One change, named as a person would say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkOp {
    /// A bridge, up.
    AddBridge {
        /// Its name.
        name: String,
        /// Its own MAC; without it a bridge takes the lowest of its ports', which changes under its neighbours' feet.
        mac: Mac,
        /// Bytes.
        mtu: u32,
    },
    /// A veth pair: one end on a bridge and up, the other in the namespace that the executor is given and down.
    AddVeth {
        /// The host's end.
        name: String,
        /// The bridge it is a port of.
        bridge: String,
        /// The end in the namespace.
        peer: String,
        /// The peer's MAC.
        mac: Mac,
        /// Bytes.
        mtu: u32,
    },
    /// What a link is told before it is used.
    Tune {
        /// The link.
        link: String,
        /// Whether it, a port of a bridge, may send back what it received.
        hairpin: bool,
        /// Whether it gets no IPv6 address of the kernel's own making.
        no_ipv6: bool,
    },
    /// A link becomes a port of a bridge.
    Join {
        /// The link.
        port: String,
        /// The bridge.
        bridge: String,
    },
    /// A link goes up.
    Up {
        /// The link.
        link: String,
    },
    /// A link goes away, and a veth's peer with it.
    Remove {
        /// The link.
        link: String,
    },
    /// A link gets an address.
    AddAddress {
        /// The link.
        link: String,
        /// The address.
        address: Ipv4Addr,
        /// The subnet's.
        prefix: u8,
    },
    /// A default route.
    AddDefaultRoute {
        /// Through which address.
        via: Ipv4Addr,
        /// By which link.
        link: String,
    },
    /// A kernel setting below /proc/sys.
    Set {
        /// `net/ipv4/..`.
        key: String,
        /// The value.
        value: String,
    },
}

impl fmt::Display for LinkOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddBridge { name, mac, mtu } => write!(f, "add bridge `{name}` (mac {mac}, mtu {mtu})"),
            Self::AddVeth {
                name,
                bridge,
                peer,
                mac,
                mtu,
            } => {
                write!(
                    f,
                    "add veth `{name}` on `{bridge}` with peer `{peer}` (mac {mac}, mtu {mtu})"
                )
            }
            Self::Tune { link, hairpin, no_ipv6 } => write!(f, "tune `{link}` (hairpin {hairpin}, no IPv6 {no_ipv6})"),
            Self::Join { port, bridge } => write!(f, "join `{port}` to `{bridge}`"),
            Self::Up { link } => write!(f, "set `{link}` up"),
            Self::Remove { link } => write!(f, "remove `{link}`"),
            Self::AddAddress { link, address, prefix } => write!(f, "add address {address}/{prefix} to `{link}`"),
            Self::AddDefaultRoute { via, link } => write!(f, "add default route via {via} by `{link}`"),
            Self::Set { key, value } => write!(f, "set {key} to {value}"),
        }
    }
}

/// Where a peer is put: a process's namespace, or an open one.
#[derive(Clone, Copy, Debug)]
pub enum Netns<'a> {
    /// The namespace of the process of this number, in the caller's PID namespace. The process must be a child that is
    /// not reaped, else the number may be another's.
    Pid(i32),
    /// `/proc/PID/ns/net`, open.
    Fd(BorrowedFd<'a>),
}

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_PID: u16 = 19;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_NUM_TX_QUEUES: u16 = 31;
const IFLA_NUM_RX_QUEUES: u16 = 32;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_BRPORT_MODE: u16 = 4;
const VETH_INFO_PEER: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const IFF_UP: u32 = 1;
const AF_INET6: u16 = 10;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const IN6_ADDR_GEN_MODE_NONE: u8 = 1;

const ADD: u16 = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;

/// `struct ifinfomsg`.
fn ifinfo(up: bool) -> [u8; 16] {
    let mut header = [0; 16];
    if up {
        header[8..12].copy_from_slice(&IFF_UP.to_ne_bytes());
        header[12..16].copy_from_slice(&IFF_UP.to_ne_bytes());
    }
    header
}

/// One queue each way, as many as a veth uses unless told otherwise; left alone, the kernel makes room for one a CPU,
/// which costs a seventh of the whole.
fn queues(batch: &mut Batch) {
    batch.attribute(IFLA_NUM_TX_QUEUES, &1u32.to_ne_bytes());
    batch.attribute(IFLA_NUM_RX_QUEUES, &1u32.to_ne_bytes());
}

fn encode(batch: &mut Batch, op: &LinkOp, netns: Option<Netns<'_>>, index: u32) {
    match op {
        LinkOp::AddBridge { name, mac, mtu } => {
            batch.message(RTM_NEWLINK, ADD, &ifinfo(true));
            batch.text(IFLA_IFNAME, name);
            batch.attribute(IFLA_ADDRESS, &mac.0);
            batch.attribute(IFLA_MTU, &mtu.to_ne_bytes());
            batch.nest(IFLA_LINKINFO, |b| b.attribute(IFLA_INFO_KIND, b"bridge"));
        }
        LinkOp::AddVeth {
            name,
            bridge: _,
            peer,
            mac,
            mtu,
        } => {
            batch.message(RTM_NEWLINK, ADD, &ifinfo(true));
            batch.text(IFLA_IFNAME, name);
            batch.attribute(IFLA_MTU, &mtu.to_ne_bytes());
            batch.attribute(IFLA_MASTER, &index.to_ne_bytes());
            queues(batch);
            batch.nest(IFLA_LINKINFO, |b| {
                b.attribute(IFLA_INFO_KIND, b"veth");
                b.nest(IFLA_INFO_DATA, |b| {
                    b.nest(VETH_INFO_PEER, |b| {
                        // The peer cannot be made up: veth refuses to open an end whose pair is not complete.
                        b.raw(&ifinfo(false));
                        b.text(IFLA_IFNAME, peer);
                        b.attribute(IFLA_ADDRESS, &mac.0);
                        b.attribute(IFLA_MTU, &mtu.to_ne_bytes());
                        queues(b);
                        match netns {
                            Some(Netns::Pid(pid)) => b.attribute(IFLA_NET_NS_PID, &pid.to_ne_bytes()),
                            Some(Netns::Fd(fd)) => b.attribute(IFLA_NET_NS_FD, &fd.as_raw_fd().to_ne_bytes()),
                            None => {}
                        }
                    });
                });
            });
        }
        LinkOp::Tune { link, hairpin, no_ipv6 } => {
            batch.message(RTM_NEWLINK, NLM_F_ACK, &ifinfo(false));
            batch.text(IFLA_IFNAME, link);
            if *hairpin {
                batch.nest(IFLA_LINKINFO, |b| {
                    b.attribute(IFLA_INFO_SLAVE_KIND, b"bridge");
                    b.nest(IFLA_INFO_SLAVE_DATA, |b| b.attribute(IFLA_BRPORT_MODE, &[1]));
                });
            }
            if *no_ipv6 {
                batch.nest(IFLA_AF_SPEC, |b| {
                    b.nest(AF_INET6, |b| {
                        b.attribute(IFLA_INET6_ADDR_GEN_MODE, &[IN6_ADDR_GEN_MODE_NONE])
                    });
                });
            }
        }
        LinkOp::Join { port, bridge: _ } => {
            batch.message(RTM_NEWLINK, NLM_F_ACK, &ifinfo(false));
            batch.text(IFLA_IFNAME, port);
            batch.attribute(IFLA_MASTER, &index.to_ne_bytes());
        }
        LinkOp::Up { link } => {
            batch.message(RTM_NEWLINK, NLM_F_ACK, &ifinfo(true));
            batch.text(IFLA_IFNAME, link);
        }
        LinkOp::Remove { link } => {
            batch.message(RTM_DELLINK, NLM_F_ACK, &ifinfo(false));
            batch.text(IFLA_IFNAME, link);
        }
        LinkOp::AddAddress {
            link: _,
            address,
            prefix,
        } => {
            // struct ifaddrmsg: family, prefix, flags, scope, index.
            let mut header = [2, *prefix, 0, 0, 0, 0, 0, 0];
            header[4..].copy_from_slice(&index.to_ne_bytes());
            batch.message(RTM_NEWADDR, ADD, &header);
            batch.attribute(IFA_LOCAL, &address.octets());
            batch.attribute(IFA_ADDRESS, &address.octets());
            let subnet = crate::Subnet {
                address: *address,
                prefix: *prefix,
            };
            batch.attribute(IFA_BROADCAST, &subnet.last().octets());
        }
        LinkOp::AddDefaultRoute { via, link: _ } => {
            // struct rtmsg: family, lengths, tos, table main, protocol boot, scope universe, unicast, flags.
            batch.message(RTM_NEWROUTE, ADD, &[2, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0]);
            batch.attribute(RTA_GATEWAY, &via.octets());
            batch.attribute(RTA_OIF, &index.to_ne_bytes());
        }
        LinkOp::Set { .. } => {}
    }
}

impl LinkOp {
    /// The link whose index the message needs.
    fn refers(&self) -> Option<&str> {
        match self {
            Self::AddVeth { bridge, .. } | Self::Join { bridge, .. } => Some(bridge),
            Self::AddAddress { link, .. } | Self::AddDefaultRoute { link, .. } => Some(link),
            _ => None,
        }
    }

    /// What takes it back. Addresses and routes go with their link.
    fn inverse(&self) -> Option<Self> {
        match self {
            Self::AddBridge { name, .. } | Self::AddVeth { name, .. } => Some(Self::Remove { link: name.clone() }),
            _ => None,
        }
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Link {
            act: self.to_string(),
            source,
        }
    }
}

/// Does `ops` in order, as few system calls as they allow: consecutive messages travel together. After a failure the ones
/// that were done are undone, last first. Returns what takes all of it back, for a caller whose next step fails.
///
/// # Errors
/// The first failure, with those of the undo.
pub(crate) fn execute(socket: &Netlink, ops: &[LinkOp], netns: Option<Netns<'_>>) -> Result<Vec<LinkOp>> {
    let mut done = Vec::new();
    match run(socket, ops, netns, &mut done) {
        Ok(()) => Ok(done),
        Err(e) => Err(e.with_undo(undo(socket, &done))),
    }
}

/// Does `ops`, which undo something, last first; each is tried, whatever became of the others.
pub(crate) fn undo(socket: &Netlink, ops: &[LinkOp]) -> Vec<Error> {
    let mut failures = Vec::new();
    for op in ops.iter().rev() {
        if let Err(e) = run(socket, std::slice::from_ref(op), None, &mut Vec::new()) {
            failures.push(e);
        }
    }
    failures
}

fn run(socket: &Netlink, ops: &[LinkOp], netns: Option<Netns<'_>>, done: &mut Vec<LinkOp>) -> Result<()> {
    let mut batch = Batch::new();
    let mut pending: Vec<&LinkOp> = Vec::with_capacity(ops.len());
    for op in ops {
        if let LinkOp::Set { key, value } = op {
            flush(socket, &mut batch, &mut pending, done)?;
            if let Some(old) = set(key, value).map_err(|e| op.failed(e))? {
                done.push(LinkOp::Set {
                    key: key.clone(),
                    value: old,
                });
            }
            continue;
        }
        let mut index = 0;
        if let Some(name) = op.refers() {
            let mut found = socket.index(name).map_err(|e| op.failed(e))?;
            if found.is_none() && !pending.is_empty() {
                // It may be one that is still to be made by this very batch.
                flush(socket, &mut batch, &mut pending, done)?;
                found = socket.index(name).map_err(|e| op.failed(e))?;
            }
            let missing = || io::Error::new(io::ErrorKind::NotFound, format!("there is no interface `{name}`"));
            index = found.ok_or_else(|| op.failed(missing()))?;
        }
        encode(&mut batch, op, netns, index);
        pending.push(op);
    }
    flush(socket, &mut batch, &mut pending, done)
}

fn flush(socket: &Netlink, batch: &mut Batch, pending: &mut Vec<&LinkOp>, done: &mut Vec<LinkOp>) -> Result<()> {
    if pending.is_empty() {
        return Ok(());
    }
    let answers = socket.each(batch).map_err(|source| Error::Socket {
        act: "send to the kernel's route socket",
        source,
    })?;
    let mut first = None;
    for answer in answers {
        let Some(op) = (answer.sequence as usize).checked_sub(1).and_then(|i| pending.get(i)) else {
            continue;
        };
        match answer.error {
            None => done.extend(op.inverse()),
            Some(refusal) if first.is_none() => {
                first = Some(match op {
                    LinkOp::AddVeth { bridge, .. } if refusal.errno == rustix::io::Errno::XFULL => {
                        Error::BridgeFull { bridge: bridge.clone() }
                    }
                    op => op.failed(refusal.into_io()),
                });
            }
            Some(_) => {}
        }
    }
    *batch = Batch::new();
    pending.clear();
    first.map_or(Ok(()), Err)
}

/// Writes a setting; returns the old value, or `None` when it was the same.
fn set(key: &str, value: &str) -> io::Result<Option<String>> {
    let path = format!("/proc/sys/{key}");
    let old = std::fs::read_to_string(&path)?;
    if old.trim() == value {
        return Ok(None);
    }
    std::fs::write(&path, value)?;
    Ok(Some(old.trim().to_owned()))
}

/// Whether bridged packets go through the IP hooks of this namespace (`br_netfilter`). Then a published port that a
/// container reaches through the host's address is turned round within the bridge, and its port must allow that.
pub(crate) fn bridges_filter() -> bool {
    std::fs::read("/proc/sys/net/bridge/bridge-nf-call-iptables").is_ok_and(|text| text.first() == Some(&b'1'))
}

/// Whether the kernel has IPv6, and a link of this MTU with it.
pub(crate) fn has_ipv6(mtu: u32) -> bool {
    mtu >= 1280 && std::path::Path::new("/proc/sys/net/ipv6").exists()
}
