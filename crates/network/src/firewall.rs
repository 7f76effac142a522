//! The nftables table that is ours: planned as data, encoded here, sent in one transaction.
//!
//! The rules are made once for the host; networks are elements of its sets and published ports are elements of its maps.

mod encode;
mod expression;
mod rules;

use std::{io, net::Ipv4Addr};

use rustix::io::Errno;

pub use expression::{Expression, Verdict};
pub use rules::{base, publish};

use crate::{EndpointPlan, Error, Result, Settings, netlink::Netlink};

/// One change of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FirewallOp {
    /// The table, there or not.
    AddTable,
    /// The table goes, and all in it.
    RemoveTable,
    /// A set, or a map when it has values.
    AddSet {
        /// Its name.
        name: &'static str,
        /// What a key is made of.
        key: &'static [Field],
        /// What a value is made of.
        value: &'static [Field],
    },
    /// A chain; with a hook, one that the kernel calls.
    AddChain {
        /// Its name.
        name: &'static str,
        /// Where it is hooked in.
        hook: Option<Hook>,
    },
    /// A rule at the end of a chain.
    AddRule {
        /// The chain.
        chain: &'static str,
        /// What it does, step by step.
        body: Vec<Expression>,
    },
    /// An element that must not be there yet.
    AddElement(Element),
    /// An element that must be there.
    RemoveElement(Element),
}

/// An element of a set or map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// The set.
    pub set: &'static str,
    /// Its key.
    pub key: Vec<Value>,
    /// Its value, in a map.
    pub value: Vec<Value>,
    /// Whose it is, for whoever lists the table.
    pub comment: String,
}

/// A part of a key or value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// An IPv4 address.
    Address(Ipv4Addr),
    /// An IP protocol number.
    Protocol(u8),
    /// A port.
    Port(u16),
    /// An interface's name.
    Interface(String),
}

/// The type of a [`Value`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// An IPv4 address.
    Address,
    /// An IP protocol number.
    Protocol,
    /// A port.
    Port,
    /// An interface's name.
    Interface,
}

/// Where a chain is called from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    /// `nat` or `filter`.
    pub kind: &'static str,
    /// The place on a packet's way.
    pub place: Place,
    /// Lower comes earlier; the host's filters are at 0, its destination NAT at -100, its source NAT at 100.
    pub priority: i32,
}

/// A place on a packet's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// As it comes in.
    Prerouting = 0,
    /// As it goes through.
    Forward = 2,
    /// As a process of the host sends it.
    Output = 3,
    /// As it goes out.
    Postrouting = 4,
}

/// Elements in one transaction at the most: a few hundred kilobytes.
const CHUNK: usize = 2048;

/// Does `ops` in one transaction, or, with thousands of elements, in several; what was done is undone if a later one fails.
///
/// # Errors
/// [`Error::Firewall`] with the operation that the kernel refused.
pub(crate) fn execute(settings: &Settings, ops: &[FirewallOp]) -> Result<()> {
    let socket = Netlink::netfilter().map_err(|source| Error::Socket {
        act: "open the kernel's netfilter socket",
        source,
    })?;
    let mut done = 0;
    for chunk in ops.chunks(CHUNK) {
        if let Err(e) = transaction(settings, &socket, chunk) {
            let inverse: Vec<_> = ops[..done].iter().filter_map(FirewallOp::inverse).collect();
            let undo = inverse
                .chunks(CHUNK)
                .filter_map(|chunk| transaction(settings, &socket, chunk).err())
                .collect();
            return Err(e.with_undo(undo));
        }
        done += chunk.len();
    }
    Ok(())
}

fn transaction(settings: &Settings, socket: &Netlink, ops: &[FirewallOp]) -> Result<()> {
    let table = &settings.table;
    let mut batch = encode::batch(table, ops);
    let failed = |act: String, source: io::Error| Error::Firewall {
        act,
        table: table.clone(),
        source,
    };
    if batch.len() > 64 * 1024 {
        socket
            .allow(batch.len() * 2)
            .map_err(|e| failed("send a large change".into(), e))?;
    }
    let result = socket
        .atomically(&mut batch)
        .map_err(|e| failed("send a change".into(), e))?;
    result.map_err(|(sequence, refusal)| {
        // The first message only opens the transaction.
        let op = (sequence as usize).checked_sub(2).and_then(|at| ops.get(at));
        let act = op.map_or_else(|| "begin a change".into(), ToString::to_string);
        match (op, refusal.errno) {
            // Nothing that these refer to can be missing but the kernel's own parts.
            (
                Some(
                    FirewallOp::AddTable
                    | FirewallOp::AddSet { .. }
                    | FirewallOp::AddChain { .. }
                    | FirewallOp::AddRule { .. },
                ),
                Errno::NOENT | Errno::OPNOTSUPP | Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT,
            ) => Error::Unsupported {
                what: format!("the kernel's nftables cannot {act}: {}", refusal.into_io()),
                hint: "load the modules `nf_tables`, `nft_nat`, `nft_masq`, `nft_ct` and `nft_fib_inet`, or use \
                       `--network none` or `host`"
                    .into(),
            },
            _ => failed(act, refusal.into_io()),
        }
    })
}

/// Whether the table is there.
pub(crate) fn exists(settings: &Settings) -> Result<bool> {
    let failed = |source| Error::Firewall {
        act: "look".into(),
        table: settings.table.clone(),
        source,
    };
    let socket = Netlink::netfilter().map_err(failed)?;
    let answers = socket.each(&mut encode::probe(&settings.table)).map_err(failed)?;
    match answers.into_iter().find_map(|a| a.error) {
        None => Ok(true),
        Some(refusal) if refusal.errno == Errno::NOENT => Ok(false),
        Some(refusal) => Err(failed(refusal.into_io())),
    }
}

/// Takes an endpoint's ports out of the maps: those entries that name its address, for a port may be another's by now.
/// Ports, or a table, that are gone already are as good. The caller holds the network's lock, so nobody else gets the
/// address meanwhile.
pub(crate) fn withdraw(settings: &Settings, plan: &EndpointPlan) -> Result<()> {
    let failed = |source| Error::Firewall {
        act: "look for a port".into(),
        table: settings.table.clone(),
        source,
    };
    let socket = Netlink::netfilter().map_err(failed)?;
    let mut ops = Vec::new();
    for op in rules::publish(plan) {
        let FirewallOp::AddElement(element) = op else { continue };
        let mut own = false;
        let look =
            |_, payload: &[u8]| own |= encode::value(payload).is_some_and(|v| v == encode::bytes(&element.value));
        match socket
            .ask(&mut encode::look(&settings.table, &element), look)
            .map_err(failed)?
        {
            None if own => ops.push(FirewallOp::RemoveElement(element)),
            None => {}
            Some(refusal) if refusal.errno == Errno::NOENT => {}
            Some(refusal) => return Err(failed(refusal.into_io())),
        }
    }
    if ops.is_empty() {
        Ok(())
    } else {
        execute(settings, &ops)
    }
}

impl FirewallOp {
    fn inverse(&self) -> Option<Self> {
        match self {
            Self::AddElement(element) => Some(Self::RemoveElement(element.clone())),
            _ => None,
        }
    }
}
