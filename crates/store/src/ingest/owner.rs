//! Which owners can be given here.

use crate::Ownership;
use crate::error::{At, Result};

/// The IDs of this user namespace.
#[derive(Debug)]
pub(crate) struct Owners {
    users: Map,
    groups: Map,
    /// What a new file belongs to anyway.
    pub(crate) default: (u32, u32),
}

#[derive(Debug)]
enum Map {
    /// The host: every ID is one.
    All,
    /// One ID is mapped. Everything belongs to it, as files do that one user unpacks.
    Single,
    /// First ID and count of each range.
    Ranges(Vec<(u32, u32)>),
}

impl Owners {
    pub(crate) fn new(ownership: Ownership) -> Result<Self> {
        let map = |path: &'static str| -> Result<Map> {
            Ok(match ownership {
                Ownership::Host => Map::All,
                Ownership::UserNamespace => Map::parse(&std::fs::read_to_string(path).at("read", path)?),
            })
        };
        Ok(Self {
            users: map("/proc/self/uid_map")?,
            groups: map("/proc/self/gid_map")?,
            default: (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()),
        })
    }

    /// The owner to give to a file, or which part of it cannot be expressed here.
    pub(crate) fn give(&self, uid: u32, gid: u32) -> Result<(u32, u32), (&'static str, u32)> {
        Ok((
            self.users.give(uid, self.default.0).ok_or(("user", uid))?,
            self.groups.give(gid, self.default.1).ok_or(("group", gid))?,
        ))
    }
}

impl Map {
    /// Reads lines of `inside outside count` (user_namespaces(7)).
    fn parse(text: &str) -> Self {
        let ranges: Vec<(u32, u32)> = text
            .lines()
            .filter_map(|line| {
                let mut fields = line.split_ascii_whitespace().map(|f| f.parse().ok());
                let (first, _, count) = (fields.next()??, fields.next()??, fields.next()??);
                Some((first, count))
            })
            .collect();
        match ranges[..] {
            [(_, 1)] => Self::Single,
            _ => Self::Ranges(ranges),
        }
    }

    fn give(&self, id: u32, default: u32) -> Option<u32> {
        match self {
            Self::All => (id != u32::MAX).then_some(id),
            Self::Single => Some(default),
            Self::Ranges(ranges) => ranges
                .iter()
                .any(|&(first, count)| id.checked_sub(first).is_some_and(|at| at < count))
                .then_some(id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mapped_ids_are_given() {
        let check = |map: &str, id: u32, expected: Option<u32>| {
            assert_eq!(Map::parse(map).give(id, 0), expected, "{id} in {map:?}");
        };
        let subuid = "         0       1000          1\n         1     100000      65536\n";
        check(subuid, 0, Some(0));
        check(subuid, 65536, Some(65536));
        check(subuid, 65537, None);
        check("0 1000 1\n", 0, Some(0));
        check("0 1000 1\n", 4242, Some(0));
        check("", 0, None);
        assert_eq!(Map::All.give(70000, 0), Some(70000));
        assert_eq!(Map::All.give(u32::MAX, 0), None);
    }
}
