//! From a container's record to what the runtime is told: everything that Docker's words leave open is decided here.

mod cdi;
mod devices;
mod files;
mod log;
mod process;
mod resources;
mod spaces;
mod tree;
mod volume;

use std::path::Path;

use hull_monitor::{BridgePlan, NetworkPlan};
use hull_network::{EndpointRequest, Mode};
use hull_runtime::cgroup;
use hull_runtime::container::Container;
use hull_spec::container::{Config, HostConfig, Record};

use super::{find, userns};
use crate::{Engine, Error, Result};

pub(crate) use files::write as write_files;
pub(crate) use log::{DRIVERS as LOG_DRIVERS, log};
pub(in crate::container) use log::{attributes as log_attributes, readable as readable_log, wish as log_wish};
pub(crate) use process::{Exec, exec as exec_process};
pub(in crate::container) use resources::{check as check_limits, of as resources};
use spaces::Spaces;
pub(crate) use spaces::conflicts;
pub(in crate::container) use tree::{protection, rootfs};
pub(in crate::container) use volume::lasting;
pub(crate) use volume::{file_systems, ready_sources, volume_mount};

/// The host name of a container that was given none: the beginning of its ID, or that of whom it shares it with.
pub(crate) fn default_hostname(engine: &Engine, id: &str, host: &HostConfig) -> String {
    let shared = [&host.uts_mode, &host.network_mode];
    if let Some(other) = shared.iter().find_map(|mode| mode.strip_prefix("container:"))
        && let Ok(other) = find(engine, other)
    {
        return other.config.hostname;
    }
    if host.network_mode == "host" || host.uts_mode == "host" {
        return host_name();
    }
    id[..12].to_owned()
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Refuses what a container cannot have of its own that shares another's network.
pub(crate) fn check_shared_network(config: &Config, host: &HostConfig) -> Result<()> {
    let Some(other) = host.network_mode.strip_prefix("container:") else {
        return Ok(());
    };
    if other.is_empty() {
        return Err(Error::Invalid(
            "Invalid network mode: invalid container format container:<name|id>".to_owned(),
        ));
    }
    let some = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
    for (given, what) in [
        (!config.hostname.is_empty(), "hostname and the network mode"),
        (!host.dns.is_empty(), "dns and the network mode"),
        (
            some(&host.extra_hosts),
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
    ] {
        if given {
            return Err(Error::Invalid(format!("conflicting options: {what}")));
        }
    }
    Ok(())
}

/// Refuses what cannot be, before anything is made. Returns what the person should know.
pub(crate) fn check(engine: &Engine, record: &Record) -> Result<Vec<String>> {
    let host = &record.host_config;
    let mode: Mode = host.network_mode.parse()?;
    mode.check(engine.rootless)?;
    hull_network::publish::wishes(
        &host.port_bindings,
        &record.config.exposed_ports,
        host.publish_all_ports,
    )?;
    super::policy::check_restart(&host.restart_policy)?;
    super::policy::check_health(record.config.healthcheck.as_ref(), host)?;
    spaces::check(host)?;
    userns::check(engine, host)?;
    if !matches!(host.runtime.as_str(), "" | "hull" | "runc") {
        return Err(Error::Invalid(format!(
            "unknown or invalid runtime name: {}",
            host.runtime
        )));
    }
    if !matches!(host.isolation.as_str(), "" | "default") {
        return Err(Error::Invalid(format!(
            "Invalid isolation: \"{}\" - linux only supports 'default'",
            host.isolation
        )));
    }
    log::check_log(engine, record)?;
    if let Some(signal) = &record.config.stop_signal {
        super::kill::parse(signal)?;
    }
    process::check(record)?;
    tree::check_sysctls(record)?;
    let mut warnings = Vec::new();
    if !host.port_bindings.is_empty() && matches!(mode, Mode::Host) {
        warnings.push("Published ports are discarded when using host network mode".to_owned());
    }
    let resources = resources(host)?;
    cgroup::plan(&cgroup::detect(), parent(host), &record.id, &resources)?;
    Ok(warnings)
}

/// Refuses a list of mounts that cannot be, once it is resolved.
pub(crate) fn check_mounts(engine: &Engine, record: &Record) -> Result<()> {
    let surroundings = tree::Surroundings {
        run: Path::new("/"),
        namespaces: &hull_runtime::container::Namespaces::default(),
        shm: None,
    };
    tree::mounts(engine, record, surroundings).map(drop)
}

/// The container as the runtime sees it, its cgroups, and whether it can do without them.
pub(crate) fn container(engine: &Engine, record: &Record, run: &Path) -> Result<(Container, cgroup::Plan, bool)> {
    let host = &record.host_config;
    let Spaces { namespaces, shm } = spaces::plan(engine, record)?;
    let own_uts = namespaces.uts.is_new();
    let mut process = process::init(record)?;
    process.console_size = Some((host.console_size[0], host.console_size[1]));
    let mut devices = devices::plan(host, engine.rootless)?;
    let masks = tree::protection(host);
    let mut container = Container {
        hostname: own_uts.then(|| record.config.hostname.clone()),
        domainname: own_uts.then(|| record.config.domainname.clone()),
        rootfs: tree::rootfs(engine, record)?,
        readonly_rootfs: host.readonly_rootfs,
        propagation: tree::propagation(record),
        mounts: tree::mounts(
            engine,
            record,
            tree::Surroundings {
                run,
                namespaces: &namespaces,
                shm,
            },
        )?,
        devices: std::mem::take(&mut devices.nodes),
        // In a user namespace no node can be made.
        bind_devices: engine.rootless || record.id_maps.is_some(),
        masked_paths: masks.masked,
        readonly_paths: masks.readonly,
        sysctls: tree::sysctls(record, &namespaces, engine.rootless),
        namespaces,
        process,
    };
    cdi::apply(engine, host, &mut container, &mut devices.policy)?;
    let mut resources = resources(host)?;
    resources.devices = devices.policy;
    let limited = resources
        != cgroup::Resources {
            devices: resources.devices.clone(),
            ..cgroup::Resources::default()
        };
    let plan = cgroup::plan(&cgroup::detect(), parent(host), &record.id, &resources)?;
    Ok((container, plan, engine.rootless && !limited))
}

/// The cgroup that containers' own are below unless told otherwise.
pub(crate) const PARENT: &str = "hull";

/// The cgroup that a container's own is below.
pub(crate) fn parent(host: &HostConfig) -> &str {
    let parent = host.cgroup_parent.trim_matches('/');
    if parent.is_empty() || parent.split('/').any(|part| part == "..") {
        PARENT
    } else {
        parent
    }
}

/// How networks are set up below this engine.
pub(crate) fn network_settings(engine: &Engine) -> hull_network::Settings {
    hull_network::Settings::new(engine.run.join("networks"))
}

/// The container's network.
pub(crate) fn network(engine: &Engine, record: &Record) -> Result<NetworkPlan> {
    let host = &record.host_config;
    match host.network_mode.parse::<Mode>()? {
        Mode::Host | Mode::Container(_) => Ok(NetworkPlan::Shared),
        Mode::None => Ok(NetworkPlan::Loopback),
        Mode::Named(name) => Err(Error::Unsupported(format!("network {name} not found"))),
        Mode::Bridge => {
            let ports = hull_network::publish::wishes(
                &host.port_bindings,
                &record.config.exposed_ports,
                host.publish_all_ports,
            )?;
            let config = &record.config;
            let mut host_names = config.hostname.clone();
            if !config.domainname.is_empty() {
                host_names = format!("{host_names}.{} {host_names}", config.domainname);
            }
            Ok(NetworkPlan::Bridge(Box::new(BridgePlan {
                settings: network_settings(engine),
                request: EndpointRequest {
                    container: record.id.clone(),
                    ports,
                    ..EndpointRequest::default()
                },
                name: "bridge".to_owned(),
                exposed: config.exposed_ports.clone(),
                host_names,
            })))
        }
    }
}
