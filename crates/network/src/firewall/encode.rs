//! nfnetlink messages (`linux/netfilter/nf_tables.h`). Numbers in attributes are big-endian; what goes into registers is
//! as the packet or the machine has it.

use super::{Element, Expression, Field, FirewallOp, Value, Verdict};
use crate::netlink::{Batch, NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, attributes};

const SUBSYSTEM: u16 = 10 << 8;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEW_TABLE: u16 = SUBSYSTEM;
const GET_TABLE: u16 = SUBSYSTEM | 1;
const REMOVE_TABLE: u16 = SUBSYSTEM | 2;
const NEW_CHAIN: u16 = SUBSYSTEM | 3;
const NEW_RULE: u16 = SUBSYSTEM | 6;
const NEW_SET: u16 = SUBSYSTEM | 9;
const NEW_ELEMENT: u16 = SUBSYSTEM | 12;
const GET_ELEMENT: u16 = SUBSYSTEM | 13;
const REMOVE_ELEMENT: u16 = SUBSYSTEM | 14;
const NFPROTO_INET: u8 = 1;
const NFPROTO_IPV4: u32 = 2;
const NFT_SET_MAP: u32 = 8;
const NFT_LOOKUP_INVERTED: u32 = 1;
const NFT_JUMP: i32 = -3;
const LIST_ELEMENT: u16 = 1;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;

/// `struct nfgenmsg`: family, version, resource.
fn generic(family: u8, resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [family, 0, high, low]
}

fn number(batch: &mut Batch, kind: u16, value: u32) {
    batch.attribute(kind, &value.to_be_bytes());
}

/// One transaction; its last operation asks for an answer.
pub(super) fn batch(table: &str, ops: &[FirewallOp]) -> Batch {
    let mut batch = Batch::new();
    batch.message(BATCH_BEGIN, 0, &generic(0, 10));
    for (at, op) in ops.iter().enumerate() {
        let flags = if at + 1 == ops.len() { NLM_F_ACK } else { 0 };
        operation(&mut batch, table, op, flags, at);
    }
    batch.message(BATCH_END, 0, &generic(0, 10));
    batch
}

/// Asks whether the table is there.
pub(super) fn probe(table: &str) -> Batch {
    let mut batch = Batch::new();
    batch.message(GET_TABLE, NLM_F_ACK, &generic(NFPROTO_INET, 0));
    batch.text(1, table);
    batch
}

/// Asks for one element.
pub(super) fn look(table: &str, wanted: &Element) -> Batch {
    let mut batch = Batch::new();
    batch.message(GET_ELEMENT, NLM_F_ACK, &generic(NFPROTO_INET, 0));
    element(&mut batch, table, wanted, false);
    batch
}

/// The value of the element in the kernel's answer to [`look`].
pub(super) fn value(payload: &[u8]) -> Option<&[u8]> {
    let inner = |bytes, wanted| {
        attributes(bytes)
            .find(|(kind, _)| *kind == wanted)
            .map(|(_, value)| value)
    };
    let elements = inner(payload.get(4..)?, 3)?;
    inner(inner(inner(elements, LIST_ELEMENT)?, 2)?, DATA_VALUE)
}

fn operation(batch: &mut Batch, table: &str, op: &FirewallOp, flags: u16, at: usize) {
    let header = generic(NFPROTO_INET, 0);
    let create = flags | NLM_F_CREATE;
    match op {
        FirewallOp::AddTable => {
            batch.message(NEW_TABLE, create, &header);
            batch.text(1, table);
        }
        FirewallOp::RemoveTable => {
            batch.message(REMOVE_TABLE, flags, &header);
            batch.text(1, table);
        }
        FirewallOp::AddSet { name, key, value } => {
            batch.message(NEW_SET, create | NLM_F_EXCL, &header);
            batch.text(1, table);
            batch.text(2, name);
            number(batch, 3, if value.is_empty() { 0 } else { NFT_SET_MAP });
            number(batch, 4, kind(key));
            number(batch, 5, length(key));
            if !value.is_empty() {
                number(batch, 6, kind(value));
                number(batch, 7, length(value));
            }
            if matches!(key, [Field::Interface]) {
                // nft's note that the key has the machine's byte order, as all names; without it, it shows nothing.
                let [a, b, c, d] = 1u32.to_ne_bytes();
                batch.attribute(13, &[0, 4, a, b, c, d]);
            }
            // The transaction's own number for it; we refer to it by name.
            number(batch, 10, u32::try_from(at).unwrap_or(u32::MAX));
        }
        FirewallOp::AddChain { name, hook } => {
            batch.message(NEW_CHAIN, create | NLM_F_EXCL, &header);
            batch.text(1, table);
            batch.text(3, name);
            if let Some(hook) = hook {
                batch.nest(4, |b| {
                    number(b, 1, hook.place as u32);
                    b.attribute(2, &hook.priority.to_be_bytes());
                });
                // Policy: accept.
                number(batch, 5, 1);
                batch.text(7, hook.kind);
            }
        }
        FirewallOp::AddRule { chain, body } => {
            batch.message(NEW_RULE, create | NLM_F_APPEND, &header);
            batch.text(1, table);
            batch.text(2, chain);
            batch.nest(4, |b| body.iter().for_each(|step| expression(b, step)));
        }
        FirewallOp::AddElement(element) => {
            batch.message(NEW_ELEMENT, create | NLM_F_EXCL, &header);
            self::element(batch, table, element, true);
        }
        FirewallOp::RemoveElement(element) => {
            batch.message(REMOVE_ELEMENT, flags, &header);
            self::element(batch, table, element, false);
        }
    }
}

fn element(batch: &mut Batch, table: &str, element: &Element, whole: bool) {
    batch.text(1, table);
    batch.text(2, element.set);
    batch.nest(3, |b| {
        b.nest(LIST_ELEMENT, |b| {
            b.nest(1, |b| b.attribute(DATA_VALUE, &bytes(&element.key)));
            if whole {
                if !element.value.is_empty() {
                    b.nest(2, |b| b.attribute(DATA_VALUE, &bytes(&element.value)));
                }
                b.attribute(6, &comment(&element.comment));
            }
        });
    });
}

/// nft's own form of a comment: type 0, length, text, NUL; 128 bytes at the most.
fn comment(text: &str) -> Vec<u8> {
    let mut end = text.len().min(120);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let text = &text[..end];
    let mut bytes = vec![0, u8::try_from(text.len() + 1).unwrap_or(u8::MAX)];
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(0);
    bytes
}

/// Values one after the other, each filled up to a whole number of 4-byte registers.
pub(super) fn bytes(values: &[Value]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for value in values {
        match value {
            Value::Address(address) => bytes.extend_from_slice(&address.octets()),
            Value::Protocol(protocol) => bytes.extend_from_slice(&[*protocol, 0, 0, 0]),
            Value::Port(port) => {
                bytes.extend_from_slice(&port.to_be_bytes());
                bytes.extend_from_slice(&[0; 2]);
            }
            Value::Interface(name) => {
                let mut padded = [0; 16];
                let length = name.len().min(15);
                padded[..length].copy_from_slice(&name.as_bytes()[..length]);
                bytes.extend_from_slice(&padded);
            }
        }
    }
    bytes
}

/// What nft calls the type, so that it can show elements; the kernel does not look at it.
fn kind(fields: &[Field]) -> u32 {
    fields.iter().fold(0, |kind, field| {
        kind << 6
            | match field {
                Field::Address => 7,
                Field::Protocol => 12,
                Field::Port => 13,
                Field::Interface => 41,
            }
    })
}

fn length(fields: &[Field]) -> u32 {
    fields
        .iter()
        .map(|field| if *field == Field::Interface { 16 } else { 4 })
        .sum()
}

fn expression(batch: &mut Batch, step: &Expression) {
    use Expression as E;
    let with = |batch: &mut Batch, name: &str, fill: &dyn Fn(&mut Batch)| {
        batch.nest(LIST_ELEMENT, |b| {
            b.text(EXPRESSION_NAME, name);
            b.nest(EXPRESSION_DATA, |b| fill(b));
        });
    };
    let numbers = |batch: &mut Batch, name: &str, numbers: &[(u16, u32)]| {
        with(batch, name, &|b| {
            numbers.iter().for_each(|(kind, value)| number(b, *kind, *value))
        });
    };
    let compare = |batch: &mut Batch, register: u32, operator: u32, bytes: &[u8]| {
        with(batch, "cmp", &|b| {
            number(b, 1, register);
            number(b, 2, operator);
            b.nest(3, |b| b.attribute(DATA_VALUE, bytes));
        });
    };
    let lookup = |batch: &mut Batch, register: u32, set: &str, rest: &[(u16, u32)]| {
        with(batch, "lookup", &|b| {
            b.text(1, set);
            number(b, 2, register);
            rest.iter().for_each(|(kind, value)| number(b, *kind, *value));
        });
    };
    match step {
        E::LoadInput(r) => numbers(batch, "meta", &[(1, *r), (2, 6)]),
        E::LoadOutput(r) => numbers(batch, "meta", &[(1, *r), (2, 7)]),
        // NFT_META_IIFKIND and NFT_META_OIFKIND.
        E::LoadInputKind(r) => numbers(batch, "meta", &[(1, *r), (2, 26)]),
        E::LoadOutputKind(r) => numbers(batch, "meta", &[(1, *r), (2, 27)]),
        E::LoadFamily(r) => numbers(batch, "meta", &[(1, *r), (2, 15)]),
        E::LoadProtocol(r) => numbers(batch, "meta", &[(1, *r), (2, 16)]),
        E::LoadSource(r) => numbers(batch, "payload", &[(1, *r), (2, 1), (3, 12), (4, 4)]),
        E::LoadDestination(r) => numbers(batch, "payload", &[(1, *r), (2, 1), (3, 16), (4, 4)]),
        E::LoadPort(r) => numbers(batch, "payload", &[(1, *r), (2, 2), (3, 2), (4, 2)]),
        E::LoadDestinationKind(r) => numbers(batch, "fib", &[(1, *r), (2, 3), (3, 2)]),
        E::LoadSourceKind(r) => numbers(batch, "fib", &[(1, *r), (2, 3), (3, 1)]),
        E::LoadState(r) => numbers(batch, "ct", &[(1, *r), (2, 0)]),
        E::LoadStatus(r) => numbers(batch, "ct", &[(1, *r), (2, 2)]),
        E::Mask(r, mask) => with(batch, "bitwise", &|b| {
            number(b, 1, *r);
            number(b, 2, *r);
            number(b, 3, 4);
            b.nest(4, |b| b.attribute(DATA_VALUE, mask));
            b.nest(5, |b| b.attribute(DATA_VALUE, &[0; 4]));
        }),
        E::Equal(r, bytes) => compare(batch, *r, 0, bytes),
        E::Differ(r, bytes) => compare(batch, *r, 1, bytes),
        E::In(r, set) => lookup(batch, *r, set, &[]),
        E::NotIn(r, set) => lookup(batch, *r, set, &[(5, NFT_LOOKUP_INVERTED)]),
        E::Map(r, set, to) => lookup(batch, *r, set, &[(3, *to)]),
        E::DestinationNat(address, port) => {
            numbers(batch, "nat", &[(1, 1), (2, NFPROTO_IPV4), (3, *address), (5, *port)]);
        }
        E::Masquerade => with(batch, "masq", &|_| {}),
        E::Count => with(batch, "counter", &|_| {}),
        E::End(verdict) => with(batch, "immediate", &|b| {
            number(b, 1, 0);
            b.nest(2, |b| {
                b.nest(DATA_VERDICT, |b| match verdict {
                    Verdict::Drop => number(b, 1, 0),
                    Verdict::Accept => number(b, 1, 1),
                    Verdict::Jump(chain) => {
                        b.attribute(1, &NFT_JUMP.to_be_bytes());
                        b.text(2, chain);
                    }
                });
            });
        }),
    }
}
