//! What `--userns` says, and the maps that follow from it. Pure.

use hull_spec::container::IdRange;

use crate::{Error, Result};

/// The user namespace of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The host's, or the user's own one without root.
    Host,
    /// One with IDs of its own.
    Auto {
        /// How many.
        size: Option<u32>,
        /// Users that are given.
        uids: Vec<IdRange>,
        /// Groups that are given.
        gids: Vec<IdRange>,
    },
    /// One in which the caller has these IDs, his own unless given.
    KeepId {
        /// User.
        uid: Option<u32>,
        /// Group.
        gid: Option<u32>,
    },
    /// One without the caller's own ID.
    NoMap,
}

/// Reads `host`, `private`, `auto[:size=N,uidmapping=IN:OUT[:N],gidmapping=..]`, `keep-id[:uid=N,gid=N]` or `nomap`.
///
/// # Errors
/// What is none of these; `container:` and `ns:`, which are not there.
pub fn parse(text: &str) -> Result<Mode> {
    let (word, options) = text.split_once(':').unwrap_or((text, ""));
    let options = || options.split(',').filter(|option| !option.is_empty());
    let unknown = |option: &str| Err(invalid(format!("unknown option specified: {option:?}")));
    match word {
        "container" | "ns" => Err(Error::Unsupported(format!(
            "--userns {text}: joining another user namespace is not there; auto, private, keep-id, nomap and host are"
        ))),
        "" | "host" if word.len() == text.len() => Ok(Mode::Host),
        "private" if word.len() == text.len() => Ok(Mode::Auto {
            size: None,
            uids: Vec::new(),
            gids: Vec::new(),
        }),
        "nomap" if word.len() == text.len() => Ok(Mode::NoMap),
        "auto" => {
            let (mut size, mut uids, mut gids) = (None, Vec::new(), Vec::new());
            for option in options() {
                match option.split_once('=') {
                    Some(("size", value)) => size = Some(number(value).filter(|n| *n > 0).ok_or_else(|| bad(option))?),
                    Some(("uidmapping", value)) => uids.push(mapping(value).ok_or_else(|| bad(option))?),
                    Some(("gidmapping", value)) => gids.push(mapping(value).ok_or_else(|| bad(option))?),
                    _ => return unknown(option),
                }
            }
            Ok(Mode::Auto { size, uids, gids })
        }
        "keep-id" => {
            let (mut uid, mut gid) = (None, None);
            for option in options() {
                match option.split_once('=') {
                    Some(("uid", value)) => uid = Some(number(value).ok_or_else(|| bad(option))?),
                    Some(("gid", value)) => gid = Some(number(value).ok_or_else(|| bad(option))?),
                    _ => return unknown(option),
                }
            }
            Ok(Mode::KeepId { uid, gid })
        }
        _ => Err(invalid("--userns: invalid USER mode".to_owned())),
    }
}

fn invalid(text: String) -> Error {
    Error::Invalid(text)
}

fn bad(option: &str) -> Error {
    invalid(format!("invalid option of --userns: {option:?}"))
}

/// An ID or a number of IDs: what fits a signed number, as everywhere in Docker.
fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse::<u32>().ok().filter(|n| digits && i32::try_from(*n).is_ok())
}

/// `IN:OUT[:COUNT]`.
fn mapping(text: &str) -> Option<IdRange> {
    let mut parts = text.split(':');
    let range = IdRange {
        inside: number(parts.next()?)?,
        outside: number(parts.next()?)?,
        count: parts.next().map_or(Some(1), number).filter(|n| *n > 0)?,
    };
    parts.next().is_none().then_some(range)
}

/// The map of a namespace of `size` IDs: those that are `fixed`, and consecutive ones from `start` on for the rest.
pub(super) fn fill(size: u32, fixed: &[IdRange], start: u32) -> Result<Vec<IdRange>> {
    let mut fixed = fixed.to_vec();
    fixed.sort_by_key(|range| range.inside);
    let mut out: Vec<IdRange> = Vec::new();
    let (mut inside, mut outside) = (0u32, start);
    for range in &fixed {
        if range.inside < inside {
            return Err(invalid(format!(
                "ID {} of the user namespace is mapped twice",
                range.inside
            )));
        }
        push(&mut out, &mut inside, &mut outside, range.inside.min(size));
        inside = range.inside.saturating_add(range.count);
        out.push(*range);
    }
    push(&mut out, &mut inside, &mut outside, size);
    // The kernel's limit (`user_namespaces(7)`).
    if out.len() > 340 {
        return Err(invalid("a user namespace has at most 340 mappings".to_owned()));
    }
    Ok(out)
}

fn push(out: &mut Vec<IdRange>, inside: &mut u32, outside: &mut u32, until: u32) {
    if *inside < until {
        let count = until - *inside;
        out.push(IdRange {
            inside: *inside,
            outside: *outside,
            count,
        });
        *inside = until;
        *outside = outside.saturating_add(count);
    }
}

/// The map in which `kept` is ID 0 of a namespace of `size` IDs, the caller's, and all others keep their order.
pub(super) fn keeping(kept: u32, size: u32) -> Vec<IdRange> {
    let others = size - 1;
    let below = kept.min(others);
    let mut out = Vec::new();
    let mut add = |inside, outside, count| {
        if count > 0 {
            out.push(IdRange { inside, outside, count });
        }
    };
    add(0, 1, below);
    add(kept, 0, 1);
    add(kept.saturating_add(1), below + 1, others - below);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(inside: u32, outside: u32, count: u32) -> IdRange {
        IdRange { inside, outside, count }
    }

    #[test]
    fn modes_are_read() {
        let auto = |size, uids: &[IdRange], gids: &[IdRange]| Mode::Auto {
            size,
            uids: uids.to_vec(),
            gids: gids.to_vec(),
        };
        for (text, expected) in [
            ("", Mode::Host),
            ("host", Mode::Host),
            ("private", auto(None, &[], &[])),
            ("auto", auto(None, &[], &[])),
            ("auto:size=10", auto(Some(10), &[], &[])),
            (
                "auto:size=10,uidmapping=1:2:3,gidmapping=4:5",
                auto(Some(10), &[range(1, 2, 3)], &[range(4, 5, 1)]),
            ),
            ("keep-id", Mode::KeepId { uid: None, gid: None }),
            (
                "keep-id:uid=5,gid=6",
                Mode::KeepId {
                    uid: Some(5),
                    gid: Some(6),
                },
            ),
            ("nomap", Mode::NoMap),
        ] {
            assert_eq!(parse(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_mode_is_refused() {
        for (text, word) in [
            ("foo", "--userns: invalid USER mode"),
            ("host:x", "invalid USER mode"),
            ("auto:size=0", "size=0"),
            ("auto:size=+1", "size=+1"),
            ("auto:wat", "unknown option"),
            ("auto:uidmapping=1", "uidmapping=1"),
            ("auto:uidmapping=1:2:3:4", "uidmapping"),
            ("auto:size=4294967296", "size"),
            ("keep-id:uid=-1", "uid=-1"),
            ("container:x", "joining another user namespace"),
            ("ns:/x", "joining another user namespace"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn a_map_is_filled_around_what_is_given() {
        assert_eq!(fill(10, &[], 100).unwrap(), [range(0, 100, 10)]);
        assert_eq!(
            fill(10, &[range(3, 7, 2)], 100).unwrap(),
            [range(0, 100, 3), range(3, 7, 2), range(5, 103, 5)]
        );
        assert_eq!(
            fill(4, &[range(0, 7, 1)], 100).unwrap(),
            [range(0, 7, 1), range(1, 100, 3)]
        );
        assert_eq!(
            fill(2, &[range(9, 7, 1)], 100).unwrap(),
            [range(0, 100, 2), range(9, 7, 1)]
        );
        assert!(fill(4, &[range(0, 7, 2), range(1, 9, 1)], 100).is_err());
    }

    #[test]
    fn the_callers_id_is_kept() {
        assert_eq!(
            keeping(1000, 65537),
            [range(0, 1, 1000), range(1000, 0, 1), range(1001, 1001, 64536)]
        );
        assert_eq!(keeping(0, 10), [range(0, 0, 1), range(1, 1, 9)]);
        assert_eq!(keeping(100, 10), [range(0, 1, 9), range(100, 0, 1)]);
    }
}
