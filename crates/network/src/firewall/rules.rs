//! What the table says. docs/networking.md shows it as `nft list table inet hull` does, with the reasons.

use std::fmt;

use super::{
    Element, Expression as E, Field, FirewallOp, Hook, Place, Value,
    Verdict::{Accept, Drop, Jump},
};
use crate::{
    EndpointPlan, Network,
    publish::{Protocol, Published},
};

/// Every bridge of ours.
const BRIDGES: &str = "bridges";
/// Pairs of input and output between which containers talk: each bridge with itself.
const WITHIN: &str = "within";
/// Bridges whose packets leave with the host's address.
const MASQUERADED: &str = "masqueraded";
/// Ports published on one address of the host.
const PORTS: &str = "ports";
/// Ports published on all addresses of the host.
const PORTS_ANY: &str = "ports_any";
const PUBLISH: &str = "publish";

const NFPROTO_IPV4: u8 = 2;
const RTN_LOCAL: u32 = 2;
/// `NF_CT_STATE_BIT(IP_CT_ESTABLISHED) | NF_CT_STATE_BIT(IP_CT_RELATED)`
const ESTABLISHED_RELATED: u32 = 2 | 4;
/// `IPS_DST_NAT`
const DESTINATION_CHANGED: u32 = 1 << 5;

/// The whole table anew: rules, the networks, and the ports of the endpoints that are.
#[must_use]
pub fn base(networks: &[Network], endpoints: &[EndpointPlan]) -> Vec<FirewallOp> {
    // Added first so that removing it cannot fail.
    let mut ops = vec![FirewallOp::AddTable, FirewallOp::RemoveTable, FirewallOp::AddTable];
    ops.extend(sets());
    ops.extend(guard());
    ops.extend(translation());
    ops.extend(forward(networks.iter().any(|n| n.opened_forwarding)));
    ops.extend(networks.iter().flat_map(network));
    ops.extend(endpoints.iter().flat_map(publish));
    ops
}

fn sets() -> Vec<FirewallOp> {
    let set = |name, key, value| FirewallOp::AddSet { name, key, value };
    vec![
        set(BRIDGES, &[Field::Interface], &[]),
        set(WITHIN, &[Field::Interface, Field::Interface], &[]),
        set(MASQUERADED, &[Field::Interface], &[]),
        set(
            PORTS,
            &[Field::Address, Field::Protocol, Field::Port],
            &[Field::Address, Field::Port],
        ),
        set(
            PORTS_ANY,
            &[Field::Protocol, Field::Port],
            &[Field::Address, Field::Port],
        ),
    ]
}

/// Bridges take packets for and from 127.0.0.0/8 (`route_localnet`), which only the host itself may send: CVE-2020-8558.
fn guard() -> Vec<FirewallOp> {
    let from_bridge = |load: E| {
        let mut body = vec![E::LoadInput(1), E::In(1, BRIDGES)];
        body.extend(ipv4());
        body.extend([
            load,
            E::Mask(1, [255, 0, 0, 0]),
            E::Equal(1, vec![127, 0, 0, 0]),
            E::End(Drop),
        ]);
        rule("guard", body)
    };
    vec![
        hooked("guard", "filter", Place::Prerouting, -300),
        from_bridge(E::LoadDestination(1)),
        from_bridge(E::LoadSource(1)),
    ]
}

fn translation() -> Vec<FirewallOp> {
    let local = [E::LoadDestinationKind(1), E::Equal(1, RTN_LOCAL.to_ne_bytes().to_vec())];
    let mut incoming = ipv4();
    incoming.extend(local.clone());
    // 127.0.0.1 is the host's own: what comes from outside for it is not turned into something that would get in.
    incoming.extend([
        E::LoadDestination(1),
        E::Mask(1, [255, 0, 0, 0]),
        E::Differ(1, vec![127, 0, 0, 0]),
        E::End(Jump(PUBLISH)),
    ]);
    let mut outgoing = ipv4();
    outgoing.extend(local);
    outgoing.push(E::End(Jump(PUBLISH)));
    let mut from_loopback = vec![E::LoadOutput(1), E::In(1, BRIDGES)];
    from_loopback.extend(ipv4());
    from_loopback.extend([
        E::LoadSource(1),
        E::Mask(1, [255, 0, 0, 0]),
        E::Equal(1, vec![127, 0, 0, 0]),
        E::Masquerade,
    ]);
    vec![
        FirewallOp::AddChain {
            name: PUBLISH,
            hook: None,
        },
        rule(PUBLISH, {
            let mut body = ipv4();
            body.extend([E::LoadDestination(8), E::LoadProtocol(9), E::LoadPort(10)]);
            body.extend([E::Map(8, PORTS, 8), E::DestinationNat(8, 9)]);
            body
        }),
        rule(
            PUBLISH,
            vec![
                E::LoadProtocol(8),
                E::LoadPort(9),
                E::Map(8, PORTS_ANY, 8),
                E::DestinationNat(8, 9),
            ],
        ),
        // Just behind the host's own translations, which win.
        hooked("prerouting", "nat", Place::Prerouting, -99),
        rule("prerouting", incoming),
        hooked("output", "nat", Place::Output, -99),
        rule("output", outgoing),
        hooked("postrouting", "nat", Place::Postrouting, 101),
        rule(
            "postrouting",
            vec![
                E::LoadInput(1),
                E::In(1, MASQUERADED),
                E::LoadOutput(1),
                E::NotIn(1, BRIDGES),
                E::Masquerade,
            ],
        ),
        rule("postrouting", from_loopback),
        // A container that reaches another, or itself, through the host: the answer must come back this way.
        rule("postrouting", {
            let mut body = vec![E::LoadInput(1), E::LoadOutput(2), E::In(1, WITHIN)];
            body.extend(destination_changed());
            body.push(E::Masquerade);
            body
        }),
        // The same within the bridge (br_netfilter), where the kernel does not say by what it came in.
        rule("postrouting", {
            let mut body = vec![
                E::LoadInput(1),
                E::Equal(1, vec![0; 16]),
                E::LoadOutput(1),
                E::In(1, BRIDGES),
            ];
            body.extend([E::LoadSourceKind(1), E::Differ(1, RTN_LOCAL.to_ne_bytes().to_vec())]);
            body.extend(destination_changed());
            body.push(E::Masquerade);
            body
        }),
    ]
}

fn forward(guard_forwarding: bool) -> Vec<FirewallOp> {
    let mut ops = vec![
        // Behind the host's filters. To accept here is to have nothing against a packet: it overrides nobody's drop.
        hooked("forward", "filter", Place::Forward, 10),
        rule(
            "forward",
            vec![
                E::LoadState(1),
                E::Mask(1, ESTABLISHED_RELATED.to_ne_bytes()),
                E::Differ(1, vec![0; 4]),
                E::End(Accept),
            ],
        ),
        rule(
            "forward",
            vec![E::LoadInput(1), E::LoadOutput(2), E::In(1, WITHIN), E::End(Accept)],
        ),
        rule("forward", {
            let mut body = vec![E::LoadOutput(1), E::In(1, BRIDGES)];
            body.extend(destination_changed());
            body.push(E::End(Accept));
            body
        }),
        rule(
            "forward",
            vec![E::LoadOutput(1), E::In(1, BRIDGES), E::Count, E::End(Drop)],
        ),
    ];
    if guard_forwarding {
        // The host forwarded nothing before we had it do so; it still forwards nothing that is not ours, unless a bridge
        // of somebody else's, who came later, is one side of it.
        let bridge = || E::Equal(1, b"bridge\0\0\0\0\0\0\0\0\0\0".to_vec());
        ops.push(rule("forward", vec![E::LoadInputKind(1), bridge(), E::End(Accept)]));
        ops.push(rule("forward", vec![E::LoadOutputKind(1), bridge(), E::End(Accept)]));
        ops.push(rule(
            "forward",
            vec![E::LoadInput(1), E::NotIn(1, BRIDGES), E::Count, E::End(Drop)],
        ));
    }
    ops
}

/// A network's elements.
fn network(network: &Network) -> Vec<FirewallOp> {
    let interface = || Value::Interface(network.bridge.clone());
    let element = |set, key| {
        FirewallOp::AddElement(Element {
            set,
            key,
            value: Vec::new(),
            comment: network.name.clone(),
        })
    };
    let mut ops = vec![
        element(BRIDGES, vec![interface()]),
        element(WITHIN, vec![interface(), interface()]),
    ];
    if network.masquerade {
        ops.push(element(MASQUERADED, vec![interface()]));
    }
    ops
}

/// An endpoint's published ports: one element each.
#[must_use]
pub fn publish(endpoint: &EndpointPlan) -> Vec<FirewallOp> {
    let comment = endpoint.container.get(..12).unwrap_or(&endpoint.container);
    let element = |port: &Published| {
        let place = [Value::Protocol(port.protocol.number()), Value::Port(port.host_port)];
        let (set, key) = if port.host.is_unspecified() {
            (PORTS_ANY, place.to_vec())
        } else {
            (PORTS, [vec![Value::Address(port.host)], place.to_vec()].concat())
        };
        let value = vec![Value::Address(endpoint.address), Value::Port(port.container_port)];
        FirewallOp::AddElement(Element {
            set,
            key,
            value,
            comment: comment.to_owned(),
        })
    };
    endpoint.ports.iter().map(element).collect()
}

fn ipv4() -> Vec<E> {
    vec![E::LoadFamily(1), E::Equal(1, vec![NFPROTO_IPV4])]
}

fn destination_changed() -> Vec<E> {
    vec![
        E::LoadStatus(1),
        E::Mask(1, DESTINATION_CHANGED.to_ne_bytes()),
        E::Differ(1, vec![0; 4]),
    ]
}

fn rule(chain: &'static str, body: Vec<E>) -> FirewallOp {
    FirewallOp::AddRule { chain, body }
}

fn hooked(name: &'static str, kind: &'static str, place: Place, priority: i32) -> FirewallOp {
    FirewallOp::AddChain {
        name,
        hook: Some(Hook { kind, place, priority }),
    }
}

impl fmt::Display for FirewallOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddTable => f.write_str("add table"),
            Self::RemoveTable => f.write_str("remove table"),
            Self::AddSet { name, key, value: [] } => write!(f, "add set {name} {key:?}"),
            Self::AddSet { name, key, value } => write!(f, "add map {name} {key:?} to {value:?}"),
            Self::AddChain { name, hook: None } => write!(f, "add chain {name}"),
            Self::AddChain { name, hook: Some(hook) } => {
                write!(f, "add chain {name} ({} {:?} {})", hook.kind, hook.place, hook.priority)
            }
            Self::AddRule { chain, body } => {
                write!(f, "add rule to {chain}: ")?;
                let steps: Vec<_> = body.iter().map(ToString::to_string).collect();
                f.write_str(&steps.join("; "))
            }
            Self::AddElement(element) => write!(f, "add {element}"),
            Self::RemoveElement(element) => write!(f, "remove {element}"),
        }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let join = |values: &[Value]| values.iter().map(ToString::to_string).collect::<Vec<_>>().join(" . ");
        write!(f, "{}[{}]", self.set, join(&self.key))?;
        if !self.value.is_empty() {
            write!(f, " = {}", join(&self.value))?;
        }
        write!(f, " of {}", self.comment)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Protocol(number) if *number == Protocol::Tcp.number() => f.write_str("tcp"),
            Self::Protocol(number) if *number == Protocol::Udp.number() => f.write_str("udp"),
            Self::Protocol(number) => number.fmt(f),
            Self::Port(port) => port.fmt(f),
            Self::Interface(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_planned_whole() {
        let network = crate::lease::example("172.17.0.0/16");
        let text: Vec<_> = base(
            &[Network {
                opened_forwarding: true,
                ..network
            }],
            &[],
        )
        .iter()
        .map(ToString::to_string)
        .collect();
        insta::assert_snapshot!(text.join("\n"));
    }

    #[test]
    fn ports_are_elements() {
        let ports = vec![
            Published {
                host: [0, 0, 0, 0].into(),
                host_port: 8080,
                container_port: 80,
                protocol: Protocol::Tcp,
            },
            Published {
                host: [127, 0, 0, 1].into(),
                host_port: 5300,
                container_port: 53,
                protocol: Protocol::Udp,
            },
        ];
        let plan = EndpointPlan {
            ports,
            ..crate::endpoint::example()
        };
        let text: Vec<_> = publish(&plan).iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(text.join("\n"), @r"
        add ports_any[tcp . 8080] = 172.17.0.2 . 80 of cccccccccccc
        add ports[127.0.0.1 . udp . 5300] = 172.17.0.2 . 53 of cccccccccccc
        ");
    }
}
