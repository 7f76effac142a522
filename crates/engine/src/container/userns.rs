//! User namespaces of containers' own: `--userns`.
//!
//! A container with one has IDs that nobody else on the host has. `auto` takes a free range of those that
//! `/etc/subuid` and `/etc/subgid` grant to the user `hull` or `containers`, or, where neither is named there, of
//! [`FALLBACK`]. The range is claimed as a container's name is, by making a symbolic link:
//!
//! ```text
//! DATA/userns/START-COUNT -> ID     the range of container ID
//! DATA/userns/lock                  held while a range is chosen
//! ```
//! The record keeps the whole map, so that a container keeps its IDs for as long as it exists. A claim ends with its
//! container: the next command that wants a range sweeps those of containers that are gone.

mod claim;
mod mode;

use std::path::Path;

use hull_spec::container::{HostConfig, IdMaps, IdRange, Record};

pub use mode::{Mode, parse};

use crate::{Engine, Error, Result};

/// The IDs of a user namespace unless told otherwise: all that `nobody` and Debian's ranges need.
const SIZE: u32 = 65536;

/// What root of the container is outside: user and group.
#[must_use]
pub(crate) fn root(maps: &IdMaps) -> Option<(u32, u32)> {
    Some((IdRange::outside(&maps.uids, 0)?, IdRange::outside(&maps.gids, 0)?))
}

/// Where ranges come from on a host that grants none: IDs that systemd's table leaves unused
/// (<https://systemd.io/UIDS-GIDS>).
pub const FALLBACK: (u32, u32) = (1_879_048_192, 268_435_456);

/// The users whose subordinate IDs containers get.
const OWNERS: [&str; 2] = ["hull", "containers"];

/// A file of subordinate IDs larger than this is not read.
const FILE_MAX: u64 = 4 << 20;

/// Decides on the IDs of a new container, claims those that are taken from the host and puts them into its record. A
/// claim outlives a creation that fails only until the next one.
pub(crate) fn assign(engine: &Engine, record: &mut Record) -> Result<()> {
    record.id_maps = match parse(&record.host_config.userns_mode)? {
        Mode::Host => None,
        Mode::Auto { size, uids, gids } => {
            let fixed = |maps: &[IdRange]| maps.iter().map(|m| m.count).fold(0u32, u32::saturating_add);
            let size = size.unwrap_or(SIZE);
            let wanted = size.saturating_sub(fixed(&uids).min(fixed(&gids)));
            let start = match wanted {
                0 => 0,
                wanted => claim::range(engine, &record.id, &pools(engine)?, wanted)?,
            };
            Some(IdMaps {
                uids: mode::fill(size, &uids, start)?,
                gids: mode::fill(size, &gids, start)?,
            })
        }
        Mode::KeepId { uid, gid } => keep(record, uid, gid)?,
        Mode::NoMap => {
            let [uids, gids] = own_counts()?;
            let all = |count: u32| {
                vec![IdRange {
                    inside: 0,
                    outside: 1,
                    count: count - 1,
                }]
            };
            if uids < 2 || gids < 2 {
                return Err(few());
            }
            Some(IdMaps {
                uids: all(uids),
                gids: all(gids),
            })
        }
    };
    Ok(())
}

/// Refuses what a user namespace of a container's own cannot be combined with, in Docker's words where it has some.
pub(crate) fn check(engine: &Engine, host: &HostConfig) -> Result<()> {
    let refuse = |text: &str| Err(Error::Invalid(text.to_owned()));
    match parse(&host.userns_mode)? {
        Mode::Host => return Ok(()),
        Mode::KeepId { .. } if !engine.rootless => return refuse("keep-id is only supported in rootless mode"),
        Mode::NoMap if !engine.rootless => return refuse("nomap is only supported in rootless mode"),
        _ => {}
    }
    if host.privileged {
        return refuse(
            "privileged mode is incompatible with user namespaces.  You must run the container in the host namespace when running privileged mode",
        );
    }
    if host.network_mode == "host" && !engine.rootless {
        return refuse("cannot share the host's network namespace when user namespaces are enabled");
    }
    if host.pid_mode == "host" {
        return refuse("cannot share the host PID namespace when user namespaces are enabled");
    }
    for (what, value) in [
        ("network", &host.network_mode),
        ("PID", &host.pid_mode),
        ("IPC", &host.ipc_mode),
    ] {
        if value.starts_with("container:") {
            return Err(Error::Invalid(format!(
                "cannot join the {what} namespace of another container when user namespaces are enabled"
            )));
        }
    }
    if host.ipc_mode == "host" {
        return refuse("cannot share the host's IPC namespace when user namespaces are enabled");
    }
    Ok(())
}

/// The caller's own IDs inside as outside. `None` where that is what his user namespace has already.
fn keep(record: &mut Record, uid: Option<u32>, gid: Option<u32>) -> Result<Option<IdMaps>> {
    let own = |file: &str| ranges_of(file).first().map_or(0, |range| range.outside);
    let uid = uid.unwrap_or_else(|| own("/proc/self/uid_map"));
    let gid = gid.unwrap_or_else(|| own("/proc/self/gid_map"));
    if record.config.user.is_empty() {
        record.config.user = format!("{uid}:{gid}");
    }
    if (uid, gid) == (0, 0) {
        return Ok(None);
    }
    let [uids, gids] = own_counts()?;
    if uids < 2 || gids < 2 {
        return Err(few());
    }
    Ok(Some(IdMaps {
        uids: mode::keeping(uid, uids),
        gids: mode::keeping(gid, gids),
    }))
}

fn few() -> Error {
    Error::Unsupported(
        "this user has no subordinate IDs: /etc/subuid and /etc/subgid must grant some, and newuidmap must be there"
            .to_owned(),
    )
}

/// How many consecutive IDs, from 0 on, this process's own user namespace has: users and groups.
fn own_counts() -> Result<[u32; 2]> {
    let count = |file: &str| {
        let mut ranges = ranges_of(file);
        ranges.sort_by_key(|range| range.inside);
        ranges.iter().fold(0u32, |end, range| match range.inside == end {
            true => end.saturating_add(range.count),
            false => end,
        })
    };
    match [count("/proc/self/uid_map"), count("/proc/self/gid_map")] {
        [0, _] | [_, 0] => Err(few()),
        counts => Ok(counts),
    }
}

fn ranges_of(file: &str) -> Vec<IdRange> {
    let text = read(Path::new(file));
    let range = |line: &str| {
        let mut numbers = line.split_whitespace().map(|n| n.parse::<u32>().ok());
        Some(IdRange {
            inside: numbers.next()??,
            outside: numbers.next()??,
            count: numbers.next()??,
        })
    };
    text.lines().filter_map(range).collect()
}

/// The ranges that containers may take IDs from: first and count.
fn pools(engine: &Engine) -> Result<Vec<(u32, u32)>> {
    if engine.rootless {
        let [uids, gids] = own_counts()?;
        let count = uids.min(gids);
        return if count > 1 {
            Ok(vec![(1, count - 1)])
        } else {
            Err(few())
        };
    }
    let [uids, gids] = ["/etc/subuid", "/etc/subgid"].map(|file| granted(&read(Path::new(file))));
    if uids.is_empty() && gids.is_empty() {
        return Ok(vec![FALLBACK]);
    }
    let both = common(&uids, &gids);
    if both.is_empty() {
        return Err(Error::Unsupported(
            "/etc/subuid and /etc/subgid grant the users `hull` and `containers` no ID in common".to_owned(),
        ));
    }
    Ok(both)
}

/// The ranges of [`OWNERS`] in a file such as `/etc/subuid` (`subuid(5)`).
fn granted(text: &str) -> Vec<(u32, u32)> {
    let range = |line: &str| {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        let (first, count): (u32, u32) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        (OWNERS.contains(&owner) && count > 0 && first.checked_add(count).is_some()).then_some((first, count))
    };
    text.lines().filter_map(range).collect()
}

/// What is in both lists of ranges.
fn common(a: &[(u32, u32)], b: &[(u32, u32)]) -> Vec<(u32, u32)> {
    let mut out: Vec<(u32, u32)> = Vec::new();
    for &(first, count) in a {
        for &(other, others) in b {
            let start = first.max(other);
            let end = (first + count).min(other + others);
            if start < end {
                out.push((start, end - start));
            }
        }
    }
    out.sort_unstable();
    out
}

/// A text file of a bounded size; empty where it cannot be read.
fn read(path: &Path) -> String {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    if let Ok(file) = std::fs::File::open(path) {
        let _ = file.take(FILE_MAX).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn granted_ranges_are_read() {
        let text =
            "me:100000:65536\ncontainers:200000:10\nhull:300000:5\ncontainers:x:1\nhull:1:0\nhull:4294967295:9\n";
        assert_eq!(granted(text), [(200_000, 10), (300_000, 5)]);
        assert_eq!(granted(""), []);
    }

    #[test]
    fn only_ids_of_both_files_are_taken() {
        assert_eq!(
            common(&[(100, 50), (300, 10)], &[(120, 100), (305, 1)]),
            [(120, 30), (305, 1)]
        );
        assert_eq!(common(&[(1, 5)], &[(6, 5)]), []);
    }
}
