//! The files that every container gets from its host: names and name servers.

use std::fs;
use std::path::Path;

use hull_network::Mode;
use hull_network::names::{self, HostsPlan, ResolvPlan};
use hull_spec::container::Record;

use crate::container::{find, userns};
use crate::{Engine, Error, Result};

/// Writes `hosts`, `resolv.conf` and `hostname` into the run folder. The container's own line of `hosts` comes from its
/// monitor, which takes its address.
pub(crate) fn write(engine: &Engine, record: &Record, run: &Path) -> Result<()> {
    let owner = record.id_maps.as_ref().and_then(userns::root);
    let put = |name: &str, text: &str| {
        let path = run.join(name);
        fs::write(&path, text)
            .and_then(|()| match owner {
                // They are the container's root's to edit.
                Some((uid, gid)) => std::os::unix::fs::chown(&path, Some(uid), Some(gid)),
                None => Ok(()),
            })
            .map_err(|source| Error::Write { path, source })
    };
    let mode: Mode = record.host_config.network_mode.parse()?;
    if let Mode::Container(other) = &mode {
        // One network, one set of names.
        let other = find::find_id(engine, other)?;
        for name in ["hosts", "resolv.conf", "hostname"] {
            put(name, &read(&engine.container_run(&other).join(name)))?;
        }
        return Ok(());
    }
    let host = &record.host_config;
    put("hostname", &names::hostname(&record.config.hostname))?;
    let in_host = mode == Mode::Host;
    let gateway = gateway(engine, record, &mode)?;
    let extra = host
        .extra_hosts
        .iter()
        .flatten()
        .map(|line| Ok(names::extra_host(line, gateway)?));
    let extra = extra.collect::<Result<Vec<_>>>()?;
    let of_host = if in_host {
        Some(read(Path::new("/etc/hosts")))
    } else {
        None
    };
    let hosts = names::hosts(&HostsPlan {
        host: of_host.as_deref(),
        hostname: &record.config.hostname,
        domainname: &record.config.domainname,
        addresses: &[],
        extra: &extra,
        ipv6: true,
    });
    put("hosts", &hosts)?;
    let mut of_host = read(Path::new(names::STUB));
    if !in_host && names::source(&of_host) != names::STUB {
        of_host = read(Path::new(names::source(&of_host)));
    }
    let resolv = names::resolv(&ResolvPlan {
        host: &of_host,
        servers: &host.dns,
        search: &host.dns_search,
        options: &host.dns_options,
        host_namespace: in_host,
        ipv6: in_host,
    })?;
    put("resolv.conf", &resolv)
}

/// The host's address as its containers see it, where a line asks for it.
fn gateway(engine: &Engine, record: &Record, mode: &Mode) -> Result<Option<std::net::Ipv4Addr>> {
    let asked = record
        .host_config
        .extra_hosts
        .iter()
        .flatten()
        .any(|line| line.ends_with("host-gateway"));
    match mode {
        Mode::Bridge if asked => {
            let settings = super::network_settings(engine);
            Ok(Some(hull_network::bridge::ensure(&settings)?.gateway))
        }
        Mode::Host => Ok(Some(std::net::Ipv4Addr::LOCALHOST)),
        _ => Ok(None),
    }
}

/// A file of the host's that may be missing.
fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
