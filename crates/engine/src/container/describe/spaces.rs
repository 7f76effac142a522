//! The container's namespaces: which are its own, which are the host's, and which are another container's.

use hull_network::Mode;
use hull_runtime::container::{IdMap, Namespace, Namespaces, Source};
use hull_spec::container::{Config, HostConfig, IdRange, LiveState, Record};

use crate::container::{find, status};
use crate::{Engine, Error, Result};

/// A container's namespaces.
pub(super) struct Spaces {
    pub(super) namespaces: Namespaces,
    /// `/dev/shm` of the container whose IPC namespace it shares.
    pub(super) shm: Option<Source>,
}

/// Refuses modes that are none, in Docker's words.
pub(super) fn check(host: &HostConfig) -> Result<()> {
    for (what, mode, known) in [
        (
            "IPC",
            &host.ipc_mode,
            ["", "private", "shareable", "host", "none"].as_slice(),
        ),
        ("PID", &host.pid_mode, &["", "host"]),
        ("UTS", &host.uts_mode, &["", "host"]),
        ("cgroup namespace", &host.cgroupns_mode, &["", "private", "host"]),
    ] {
        let joins = what != "cgroup namespace" && mode.strip_prefix("container:").is_some_and(|name| !name.is_empty());
        if !joins && !known.contains(&mode.as_str()) {
            return Err(Error::Invalid(format!("invalid {what} mode: {mode}")));
        }
    }
    Ok(())
}

/// Refuses what is asked for beside namespaces that it does not go with, in Docker's words.
pub(crate) fn conflicts(config: &Config, host: &HostConfig) -> Result<()> {
    let refuse = |text: &str| Err(Error::Invalid(format!("conflicting options: {text}")));
    if !config.hostname.is_empty() && !host.uts_mode.is_empty() {
        return refuse("hostname and the UTS mode");
    }
    if !host.network_mode.starts_with("container:") {
        return Ok(());
    }
    let conflicts = [
        (!config.hostname.is_empty(), "hostname and the network mode"),
        (!host.dns.is_empty(), "dns and the network mode"),
        (
            host.extra_hosts.as_ref().is_some_and(|hosts| !hosts.is_empty()),
            "custom host-to-IP mapping and the network mode",
        ),
        (
            !host.port_bindings.is_empty() || host.publish_all_ports,
            "port publishing and the container type network mode",
        ),
        (
            !config.exposed_ports.is_empty(),
            "port exposing and the container type network mode",
        ),
    ];
    match conflicts.iter().find(|(conflict, _)| *conflict) {
        Some((_, text)) => refuse(text),
        None => Ok(()),
    }
}

/// The namespaces, with those of other containers opened.
pub(super) fn plan(engine: &Engine, record: &Record) -> Result<Spaces> {
    let host = &record.host_config;
    let network = match host.network_mode.parse::<Mode>()? {
        Mode::Host => Namespace::Host,
        Mode::Container(other) => join(&running(engine, &other)?, "net")?,
        _ => Namespace::New,
    };
    let mode = |mode: &str, which: &str| match mode.strip_prefix("container:") {
        Some(other) => join(&running(engine, other)?, which),
        None if mode == "host" => Ok(Namespace::Host),
        None => Ok(Namespace::New),
    };
    let (ipc, shm) = match host.ipc_mode.strip_prefix("container:") {
        Some(other) => {
            let live = sharing(engine, other)?;
            let shm = Source::Neighbour {
                pid: live.pid,
                start_ticks: live.start_ticks,
                path: "/dev/shm".to_owned(),
            };
            (join(&live, "ipc")?, Some(shm))
        }
        None => (mode(&host.ipc_mode, "ipc")?, None),
    };
    let maps = record.id_maps.clone().unwrap_or_default();
    let namespaces = Namespaces {
        user: match record.id_maps {
            Some(_) => Namespace::New,
            None => Namespace::Host,
        },
        uid_maps: ids(&maps.uids),
        gid_maps: ids(&maps.gids),
        pid: mode(&host.pid_mode, "pid")?,
        network,
        ipc,
        uts: mode(&host.uts_mode, "uts")?,
        cgroup: cgroup(host),
        ..Namespaces::default()
    };
    Ok(Spaces { namespaces, shm })
}

fn cgroup(host: &HostConfig) -> Namespace {
    if host.cgroupns_mode == "host" {
        Namespace::Host
    } else {
        Namespace::New
    }
}

fn ids(ranges: &[IdRange]) -> Vec<IdMap> {
    let map = |range: &IdRange| IdMap {
        inside: range.inside,
        outside: range.outside,
        count: range.count,
    };
    ranges.iter().map(map).collect()
}

/// The container `name`, whose IPC namespace others may share.
fn sharing(engine: &Engine, name: &str) -> Result<LiveState> {
    let other = find(engine, name)?;
    if other.host_config.ipc_mode != "shareable" {
        return Err(Error::Invalid(format!(
            "failed to join IPC namespace: container {}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)",
            other.id
        )));
    }
    running(engine, name)
}

/// A namespace of another, running container.
fn join(live: &LiveState, which: &str) -> Result<Namespace> {
    let path = format!("/proc/{}/ns/{which}", live.pid);
    let file = std::fs::File::open(&path).map_err(|source| Error::Read {
        path: path.into(),
        source,
    })?;
    // Opened before the process is looked at again: a later process of its number would be another container's.
    if !status::alive(live.pid, live.start_ticks) {
        return Err(Error::NotRunning {
            id: live.pid.to_string(),
        });
    }
    Ok(Namespace::Join(file.into()))
}

fn running(engine: &Engine, name: &str) -> Result<LiveState> {
    let other = find(engine, name)?;
    status::derive(engine, &other)?
        .live
        .ok_or(Error::NotRunning { id: other.id })
}
