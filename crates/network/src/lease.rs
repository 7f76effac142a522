//! Addresses of a network, each leased to one endpoint by a file that names it.
//!
//! The file is made under the network's lock with `O_EXCL`, so an address is never given twice. The search goes on behind
//! the last address given, so one that was just freed rests as long as the subnet allows.

use std::{
    fs::{self, File},
    io::{self, Write},
    net::Ipv4Addr,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use crate::{EndpointPlan, Error, Network, Result, state, state::Lock};

/// The lease file of an address.
pub(crate) fn path(folder: &Path, address: Ipv4Addr) -> PathBuf {
    folder.join("leases").join(address.to_string())
}

/// Leases the next free address, or `wanted`; `plan` makes of it what the file holds. `None` when every one is leased.
pub(crate) fn take(
    folder: &Path,
    network: &Network,
    lock: &Lock,
    wanted: Option<Ipv4Addr>,
    plan: &dyn Fn(Ipv4Addr) -> EndpointPlan,
) -> Result<Option<EndpointPlan>> {
    if let Some(address) = wanted {
        return claim(folder, plan(address));
    }
    for address in candidates(network, last(lock)) {
        if let Some(leased) = claim(folder, plan(address))? {
            // Lost in a crash, this only makes the next search longer.
            let text = format!("{address:<15}");
            lock.file()
                .write_all_at(text.as_bytes(), 0)
                .map_err(Error::file("write", folder.join("lock")))?;
            return Ok(Some(leased));
        }
    }
    Ok(None)
}

/// Where the last search ended; the lock's file holds it.
fn last(lock: &Lock) -> Option<Ipv4Addr> {
    let mut bytes = [0; 15];
    let length = lock.file().read_at(&mut bytes, 0).ok()?;
    std::str::from_utf8(&bytes[..length]).ok()?.trim().parse().ok()
}

/// Every address that a container can have, once, beginning behind `last`.
fn candidates(network: &Network, last: Option<Ipv4Addr>) -> impl Iterator<Item = Ipv4Addr> + use<> {
    let first = network.subnet.address.to_bits() + 1;
    let count = network.subnet.last().to_bits() - first;
    let start = last
        .filter(|a| network.subnet.contains(*a))
        .map_or(0, |a| (a.to_bits() + 1).saturating_sub(first) % count.max(1));
    let gateway = network.gateway;
    (0..count)
        .map(move |n| Ipv4Addr::from_bits(first + (start + n) % count))
        .filter(move |a| *a != gateway)
}

fn claim(folder: &Path, plan: EndpointPlan) -> Result<Option<EndpointPlan>> {
    let path = path(folder, plan.address);
    let create = || File::options().write(true).create_new(true).open(&path);
    let mut file = match create() {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let leases = folder.join("leases");
            fs::create_dir_all(&leases).map_err(Error::file("make", leases))?;
            create().map_err(Error::file("make", &path))?
        }
        other => other.map_err(Error::file("make", &path))?,
    };
    let written = serde_json::to_vec(&plan)
        .map_err(|source| Error::Damaged {
            path: path.clone(),
            source,
        })
        .and_then(|bytes| file.write_all(&bytes).map_err(Error::file("write", &path)));
    match written {
        Ok(()) => Ok(Some(plan)),
        Err(e) => {
            let undo = state::remove(&path).err().into_iter().collect();
            Err(e.with_undo(undo))
        }
    }
}

/// A lease as found on disk.
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    /// `None` when its writer was killed while it wrote. Read under the lock, such a lease is nobody's.
    pub(crate) plan: Option<EndpointPlan>,
}

/// Every lease of the network at `folder`.
pub(crate) fn list(folder: &Path) -> Result<Vec<Found>> {
    let leases = folder.join("leases");
    let entries = match fs::read_dir(&leases) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::file("read", leases)(e)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(Error::file("read", &leases))?.path();
        match state::read(&path) {
            // Freed since it was listed.
            Ok(None) => {}
            Ok(plan) => found.push(Found { path, plan }),
            Err(Error::Damaged { .. }) => found.push(Found { path, plan: None }),
            Err(e) => return Err(e),
        }
    }
    Ok(found)
}

/// A network for tests.
#[cfg(test)]
pub(crate) fn example(subnet: &str) -> Network {
    let subnet: crate::Subnet = subnet.parse().unwrap();
    Network {
        name: crate::network::DEFAULT.into(),
        id: "0".repeat(64),
        bridge: "hull0".into(),
        subnet,
        gateway: subnet.gateway(),
        mtu: 1500,
        masquerade: true,
        opened_forwarding: false,
        index: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_come_once_each_and_go_on_behind_the_last() {
        let check = |subnet: &str, last: Option<&str>, expected: &[&str]| {
            let got: Vec<_> = candidates(&example(subnet), last.map(|l| l.parse().unwrap()))
                .map(|a| a.to_string())
                .collect();
            assert_eq!(got, expected, "{subnet} {last:?}");
        };
        check(
            "10.0.0.0/29",
            None,
            &["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"],
        );
        check(
            "10.0.0.0/29",
            Some("10.0.0.4"),
            &["10.0.0.5", "10.0.0.6", "10.0.0.2", "10.0.0.3", "10.0.0.4"],
        );
        check(
            "10.0.0.0/29",
            Some("10.0.0.6"),
            &["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"],
        );
        check(
            "10.0.0.0/29",
            Some("10.9.0.4"),
            &["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"],
        );
        check("10.0.0.4/30", None, &["10.0.0.6"]);
        assert_eq!(candidates(&example("172.17.0.0/16"), None).count(), 65533);
    }
}
