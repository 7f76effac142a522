//! `idmap`: whose files on disk appear as whose in the container.
//!
//! Without a map of its own, the owner of the source and the container's user change places, and all others stay as they
//! are: what the container's user makes belongs to the owner of the source, and nothing fails for want of a mapping.
//! Podman's form, `idmap=uids=DISK-SEEN-COUNT#..;gids=..`, says it all itself: whoever is not in it appears as nobody
//! and can own nothing there. A range that begins with `@` names IDs of the container's user namespace, others the
//! host's.

use hull_spec::container::{OwnerMap, OwnerRange};

/// IDs from 0 up to this one, which is none.
const END: u32 = u32::MAX;

/// The map that `text` asks for; an empty one asks for the default, with the source's `owner` and the container's `user`,
/// both user and group. `None` where that changes nothing.
///
/// # Errors
/// What is wrong with the text.
pub(super) fn read(text: &str, owner: [u32; 2], user: [u32; 2]) -> Result<Option<OwnerMap>, String> {
    if text.is_empty() {
        let uids = swap(owner[0], user[0]);
        let gids = swap(owner[1], user[1]);
        return Ok((owner != user).then_some(OwnerMap {
            uids,
            gids,
            host: false,
        }));
    }
    let bad = |why: &str| format!("invalid idmap `{text}`: {why}");
    let mut map = OwnerMap::default();
    let mut relative = None;
    for part in text.split(';') {
        let (key, ranges) = part.split_once('=').ok_or_else(|| bad("it is uids=..;gids=.."))?;
        let list = match key {
            "uids" => &mut map.uids,
            "gids" => &mut map.gids,
            _ => return Err(bad("it is uids=..;gids=..")),
        };
        if !list.is_empty() {
            return Err(bad("a list is given twice"));
        }
        for range in ranges.split('#') {
            let (own, range) = match range.strip_prefix('@') {
                Some(range) => (true, range),
                None => (false, range),
            };
            if relative.replace(own).is_some_and(|before| before != own) {
                return Err(bad("either all ranges begin with @ or none"));
            }
            let numbers: Vec<u32> = range.split('-').map_while(|n| n.parse().ok()).collect();
            let [disk, seen, count] = numbers[..] else {
                return Err(bad("a range is three numbers, DISK-SEEN-COUNT"));
            };
            if range.split('-').count() != 3 || count == 0 {
                return Err(bad("a range is three numbers, DISK-SEEN-COUNT"));
            }
            if disk.checked_add(count).is_none() || seen.checked_add(count).is_none() {
                return Err(bad("a range goes beyond the last ID"));
            }
            list.push(OwnerRange { disk, seen, count });
        }
    }
    if map.uids.is_empty() || map.gids.is_empty() {
        return Err(bad("both uids and gids are needed"));
    }
    if overlaps(&map.uids) || overlaps(&map.gids) {
        return Err(bad("its ranges overlap"));
    }
    // The kernel takes this many (user_namespaces(7)).
    if map.uids.len() > 340 || map.gids.len() > 340 {
        return Err(bad("it has more than 340 ranges"));
    }
    map.host = relative == Some(false);
    Ok(Some(map))
}

fn overlaps(ranges: &[OwnerRange]) -> bool {
    let meet = |a: u32, b: u32, n: u32, m: u32| {
        u64::from(a) < u64::from(b) + u64::from(m) && u64::from(b) < u64::from(a) + u64::from(n)
    };
    ranges.iter().enumerate().any(|(at, a)| {
        ranges[..at]
            .iter()
            .any(|b| meet(a.disk, b.disk, a.count, b.count) || meet(a.seen, b.seen, a.count, b.count))
    })
}

/// All IDs as they are, but these two in each other's place.
fn swap(one: u32, other: u32) -> Vec<OwnerRange> {
    let (low, high) = (one.min(other), one.max(other));
    let same = |from: u32, to: u32| OwnerRange {
        disk: from,
        seen: from,
        count: to - from,
    };
    if low == high {
        return vec![same(0, END)];
    }
    let single = |disk: u32, seen: u32| OwnerRange { disk, seen, count: 1 };
    let all = [
        same(0, low),
        single(low, high),
        same(low + 1, high),
        single(high, low),
        same(high.saturating_add(1), END),
    ];
    all.into_iter().filter(|range| range.count > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(ranges: &[OwnerRange]) -> String {
        let all: Vec<String> = ranges
            .iter()
            .map(|r| format!("{}-{}-{}", r.disk, r.seen, r.count))
            .collect();
        all.join("#")
    }

    #[test]
    fn owner_and_user_change_places() {
        let map = read("", [1000, 100], [0, 0]).unwrap().unwrap();
        assert_eq!(shown(&map.uids), "0-1000-1#1-1-999#1000-0-1#1001-1001-4294966294");
        assert_eq!(shown(&map.gids), "0-100-1#1-1-99#100-0-1#101-101-4294967194");
        let map = read("", [1000, 1000], [1000, 1001]).unwrap().unwrap();
        assert_eq!(shown(&map.uids), "0-0-4294967295");
        assert_eq!(
            shown(&map.gids),
            "0-0-1000#1000-1001-1#1001-1000-1#1002-1002-4294966293"
        );
        assert_eq!(read("", [7, 8], [7, 8]).unwrap(), None);
    }

    #[test]
    fn podmans_maps_are_read() {
        let map = read("uids=0-1-10#10-11-10;gids=0-100-10", [9, 9], [0, 0])
            .unwrap()
            .unwrap();
        assert_eq!(
            (shown(&map.uids), shown(&map.gids)),
            ("0-1-10#10-11-10".to_owned(), "0-100-10".to_owned())
        );
        assert!(map.host);
        assert!(!read("uids=@0-1-10;gids=@0-1-10", [9, 9], [0, 0]).unwrap().unwrap().host);
    }

    #[test]
    fn malformed_maps_are_refused() {
        for (text, expected) in [
            ("x", "it is uids"),
            ("uids=0-0-1", "both"),
            ("uids=0-0-1;gids=", "three numbers"),
            ("uids=0-0-0;gids=0-0-1", "three numbers"),
            ("uids=0-0-1-1;gids=0-0-1", "three numbers"),
            ("uids=a-0-1;gids=0-0-1", "three numbers"),
            ("uids=-1-0-1;gids=0-0-1", "three numbers"),
            ("uids=0-0-4294967295#1-1-1;gids=0-0-1", "overlap"),
            ("uids=0-1-1#5-1-1;gids=0-0-1", "overlap"),
            ("uids=4294967295-0-1;gids=0-0-1", "beyond"),
            ("uids=0-0-1;uids=1-1-1;gids=0-0-1", "twice"),
            ("uids=@0-0-1;gids=0-0-1", "either all"),
        ] {
            let error = read(text, [0, 0], [0, 0]).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
