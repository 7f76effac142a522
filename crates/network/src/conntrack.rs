//! UDP flows that the kernel remembers longer than they are true.
//!
//! A flow keeps the translation that its first packet met. A client that sent before a port was published, or keeps
//! sending after its container is gone, would stay with the old answer for as long as it does not pause. So the flows of
//! a UDP port are forgotten when it is published and when it is freed. TCP begins anew by itself.

use std::{io, net::Ipv4Addr};

use crate::{
    EndpointPlan, Error, Result,
    netlink::{Batch, NLM_F_ACK, NLM_F_DUMP, Netlink, attributes},
    publish::Protocol,
};

const SUBSYSTEM: u16 = 1 << 8;
const GET: u16 = SUBSYSTEM | 1;
const DELETE: u16 = SUBSYSTEM | 2;
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ZONE: u16 = 18;
const TUPLE_ADDRESSES: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const UDP: u8 = 17;
/// `struct nfgenmsg` of IPv4.
const HEADER: [u8; 4] = [2, 0, 0, 0];

/// What tells a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Flow {
    /// Port that its first packet was for.
    port: u16,
    /// Who answers it.
    server: Ipv4Addr,
}

/// Forgets the UDP flows of an endpoint: those to its published ports and those that its address answers. A kernel
/// without conntrack's netlink has nothing to offer here, and that is no error.
pub(crate) fn forget(plan: &EndpointPlan) -> Result<()> {
    let ports: Vec<u16> = plan
        .ports
        .iter()
        .filter(|p| p.protocol == Protocol::Udp)
        .map(|p| p.host_port)
        .collect();
    if ports.is_empty() {
        return Ok(());
    }
    let stale = |flow: Flow| ports.contains(&flow.port) || flow.server == plan.address;
    match run(&stale) {
        Err(e) if matches!(e.kind(), io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput) => Ok(()),
        other => other.map_err(|source| Error::Socket {
            act: "forget the UDP flows of a published port",
            source,
        }),
    }
}

fn run(stale: &dyn Fn(Flow) -> bool) -> io::Result<()> {
    let socket = Netlink::netfilter()?;
    let mut request = Batch::new();
    request.message(GET, NLM_F_DUMP, &HEADER);
    let mut found: Vec<(Vec<u8>, Option<Vec<u8>>)> = Vec::new();
    socket.dump(&mut request, |_, payload| {
        let body = payload.get(HEADER.len()..).unwrap_or_default();
        if flow(body).is_some_and(stale)
            && let Some(original) = inner(body, TUPLE_ORIGINAL)
        {
            found.push((original.to_vec(), inner(body, ZONE).map(<[u8]>::to_vec)));
        }
    })?;
    for (original, zone) in found {
        let mut request = Batch::new();
        request.message(DELETE, NLM_F_ACK, &HEADER);
        request.nest(TUPLE_ORIGINAL, |b| b.raw(&original));
        if let Some(zone) = zone {
            request.attribute(ZONE, &zone);
        }
        match socket.ask(&mut request, |_, _| {})? {
            // It ended meanwhile.
            Some(refusal) if refusal.errno != rustix::io::Errno::NOENT => return Err(refusal.into_io()),
            _ => {}
        }
    }
    Ok(())
}

fn inner(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(bytes)
        .find(|(kind, _)| *kind == wanted)
        .map(|(_, value)| value)
}

/// Reads a flow, if it is one of UDP.
fn flow(body: &[u8]) -> Option<Flow> {
    let original = inner(inner(body, TUPLE_ORIGINAL)?, TUPLE_PROTOCOL)?;
    // CTA_PROTO_NUM, CTA_PROTO_DST_PORT.
    if inner(original, 1)? != [UDP] {
        return None;
    }
    let port = u16::from_be_bytes(inner(original, 3)?.try_into().ok()?);
    // CTA_IP_V4_SRC of the answers.
    let server: [u8; 4] = inner(inner(inner(body, TUPLE_REPLY)?, TUPLE_ADDRESSES)?, 1)?
        .try_into()
        .ok()?;
    Some(Flow {
        port,
        server: server.into(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(protocol: u8) -> Vec<u8> {
        let mut batch = Batch::new();
        batch.nest(TUPLE_ORIGINAL, |b| {
            b.nest(TUPLE_PROTOCOL, |b| {
                b.attribute(1, &[protocol]);
                b.attribute(3, &5300u16.to_be_bytes());
            });
        });
        batch.nest(TUPLE_REPLY, |b| {
            b.nest(TUPLE_ADDRESSES, |b| b.attribute(1, &[172, 17, 0, 2]))
        });
        batch.bytes().to_vec()
    }

    #[test]
    fn udp_flows_are_read_and_others_are_not() {
        assert_eq!(
            flow(&message(UDP)),
            Some(Flow {
                port: 5300,
                server: Ipv4Addr::new(172, 17, 0, 2)
            })
        );
        assert_eq!(flow(&message(6)), None);
        assert_eq!(flow(&[]), None);
    }

    proptest! {
        #[test]
        fn damaged_flows_are_no_flows(cut in 0usize..80, at in 0usize..80, byte: u8) {
            let mut bytes = message(UDP);
            if let Some(b) = bytes.get_mut(at) {
                *b = byte;
            }
            bytes.truncate(cut);
            let _ = flow(&bytes);
        }
    }
}
