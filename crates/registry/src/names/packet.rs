//! DNS packets, as far as asking for addresses needs them (RFC 1035, 4.1).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(super) const A: u16 = 1;
pub(super) const AAAA: u16 = 28;
const IN: u16 = 1;

/// What a server said.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    /// Addresses; none where the name has none of this family.
    Found(Vec<IpAddr>),
    /// There is no such name.
    NoSuchName,
    /// The answer did not fit: ask again over TCP.
    Truncated,
    /// The server could not or would not.
    Failed,
}

/// A recursive query; `None` where `name` can be no name of a host.
pub(super) fn query(id: u16, name: &str, kind: u16) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(name.len() + 18);
    out.extend(id.to_be_bytes());
    // Recursion desired; one question.
    out.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|n| (1..=63).contains(n))?;
        out.push(length);
        out.extend(label.bytes());
    }
    out.push(0);
    if name.len() > 253 {
        return None;
    }
    out.extend(kind.to_be_bytes());
    out.extend(IN.to_be_bytes());
    Some(out)
}

/// Reads a reply to `query`; `None` where it is none, or is malformed.
pub(super) fn answer(query: &[u8], reply: &[u8]) -> Option<Answer> {
    // The same ID, and the same question byte for byte but for the case: what does not match was forged or is late.
    if reply.len() < query.len() || reply[..2] != query[..2] || reply[2] & 0x80 == 0 {
        return None;
    }
    if u16_at(reply, 4)? != 1 || !reply[12..query.len()].eq_ignore_ascii_case(&query[12..]) {
        return None;
    }
    if reply[2] & 2 != 0 {
        return Some(Answer::Truncated);
    }
    match reply[3] & 15 {
        0 => {}
        3 => return Some(Answer::NoSuchName),
        _ => return Some(Answer::Failed),
    }
    let kind = u16_at(query, query.len() - 4)?;
    let mut at = query.len();
    let mut found = Vec::new();
    for _ in 0..u16_at(reply, 6)? {
        at = skip_name(reply, at)?;
        let (this, class) = (u16_at(reply, at)?, u16_at(reply, at + 2)?);
        let length = usize::from(u16_at(reply, at + 8)?);
        let data = reply.get(at + 10..at + 10 + length)?;
        at += 10 + length;
        // Owner names are not compared: the server has already followed the CNAMEs that it lists.
        if class != IN || this != kind {
            continue;
        }
        if let Ok(bytes) = <[u8; 4]>::try_from(data) {
            found.push(Ipv4Addr::from(bytes).into());
        } else if let Ok(bytes) = <[u8; 16]>::try_from(data) {
            found.push(Ipv6Addr::from(bytes).into());
        }
    }
    Some(Answer::Found(found))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// The offset after a name. Pointers end a name here, so that no chain of them is followed.
fn skip_name(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *bytes.get(at)? {
            0 => return Some(at + 1),
            length if length & 0xc0 == 0xc0 => return Some(at + 2),
            length if length < 64 => at += 1 + usize::from(length),
            _ => return None,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A reply to `query` with a CNAME and then `found`; only queries for A get addresses.
    pub(in super::super) fn reply(query: &[u8], found: &[Ipv4Addr], truncated: bool) -> Vec<u8> {
        let kind = u16_at(query, query.len() - 4).unwrap();
        let found = if kind == A { found } else { &[] };
        let mut out = query.to_vec();
        out[2] = 0x81 | if truncated { 2 } else { 0 };
        out[3] = 0x80;
        out[7] = u8::try_from(found.len() + 1).unwrap();
        out.extend([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0, 2, 1, b'x']);
        for ip in found {
            out.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4]);
            out.extend(ip.octets());
        }
        out
    }

    #[test]
    fn replies_must_belong_to_the_query() {
        let asked = query(7, "reg.example", A).unwrap();
        let ip = Ipv4Addr::new(192, 0, 2, 1);
        let good = reply(&asked, &[ip], false);
        assert_eq!(answer(&asked, &good), Some(Answer::Found(vec![ip.into()])));
        assert_eq!(answer(&query(8, "reg.example", A).unwrap(), &good), None);
        assert_eq!(answer(&query(7, "rag.example", A).unwrap(), &good), None);
        assert_eq!(answer(&asked, &asked), None);
        let mut missing = good.clone();
        missing[3] = 3;
        assert_eq!(answer(&asked, &missing), Some(Answer::NoSuchName));
        for end in 0..good.len() {
            assert_ne!(answer(&asked, &good[..end]), Some(Answer::Found(vec![ip.into()])));
        }
    }

    #[test]
    fn impossible_names_are_not_asked_for() {
        for bad in ["", "a..b", ".a", &"a".repeat(64), &"a.".repeat(200)] {
            assert_eq!(query(1, bad, A), None, "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_reply_is_read_or_refused(tail in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            let asked = query(7, "reg.example", AAAA).unwrap();
            let mut bytes = asked.clone();
            bytes[2] = 0x80;
            bytes[7] = 9;
            bytes.extend(&tail);
            let _ = answer(&asked, &bytes);
            let _ = answer(&asked, &tail);
        }
    }
}
