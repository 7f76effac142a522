//! `inspect`: all that is known of a container, as Docker's JSON.

use std::collections::BTreeMap;
use std::path::Path;

use hull_monitor::LogForm;
use hull_spec::container::{
    Config, EndpointSettings, Health, HostConfig, LiveState, MountPoint, PortBinding, Record, Status,
};
use hull_store::{Access, snapshot};
use serde::Serialize;

use super::list::{argv, network_name, networks};
use super::port::has_ports;
use super::status::{self, Look};
use super::{describe, find, size};
use crate::elapsed::NEVER;
use crate::{Engine, Result, event};

/// Docker's `ContainerJSON` (Engine API 1.47), in its order.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Inspect {
    /// The whole ID.
    pub id: String,
    /// RFC 3339 with nanoseconds, UTC.
    pub created: String,
    /// The program.
    pub path: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// What it is doing.
    pub state: State,
    /// The image's ID.
    pub image: String,
    /// Its /etc/resolv.conf on the host; empty before the first start.
    pub resolv_conf_path: String,
    /// Its /etc/hostname on the host.
    pub hostname_path: String,
    /// Its /etc/hosts on the host.
    pub hosts_path: String,
    /// Its log.
    pub log_path: String,
    /// Its name, with Docker's leading slash.
    pub name: String,
    /// How often its monitor has started it again.
    pub restart_count: u64,
    /// The storage driver.
    pub driver: &'static str,
    /// The operating system.
    pub platform: String,
    /// SELinux label of its mounts.
    pub mount_label: String,
    /// SELinux label of its processes.
    pub process_label: String,
    /// AppArmor profile.
    pub app_armor_profile: String,
    /// Processes that were added to it.
    #[serde(rename = "ExecIDs")]
    pub exec_ids: Option<Vec<String>>,
    /// Where and how it runs.
    pub host_config: HostConfig,
    /// Its layers on the host.
    pub graph_driver: GraphDriver,
    /// Bytes of its own layer, where asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_rw: Option<u64>,
    /// Bytes of all of its layers, where asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_root_fs: Option<u64>,
    /// Its mounts.
    pub mounts: Vec<MountPoint>,
    /// What it was asked to be.
    pub config: Config,
    /// Its networks.
    pub network_settings: NetworkSettings,
}

/// Docker's `State`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct State {
    /// In a word.
    pub status: Status,
    /// Also true while it is paused or waits to be started again.
    pub running: bool,
    /// Whether it is frozen.
    pub paused: bool,
    /// Whether its monitor waits to start it again.
    pub restarting: bool,
    /// Whether the OOM killer struck.
    #[serde(rename = "OOMKilled")]
    pub oom_killed: bool,
    /// Whether a removal failed half-way.
    pub dead: bool,
    /// Its first process on the host; 0 where there is none.
    pub pid: i32,
    /// How it last ended; 0 while it runs.
    pub exit_code: i32,
    /// Why it could not be started.
    pub error: String,
    /// RFC 3339, or Go's zero time.
    pub started_at: String,
    /// RFC 3339, or Go's zero time.
    pub finished_at: String,
    /// What its health checks have found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
}

/// Docker's `GraphDriver`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GraphDriver {
    /// `LowerDir`, `MergedDir`, `UpperDir` and `WorkDir`. The rootfs is mounted in the container's own mount namespace
    /// only, so `MergedDir` is where that is seen from the host; empty where it does not run.
    pub data: BTreeMap<&'static str, String>,
    /// `overlay2`.
    pub name: &'static str,
}

/// Docker's `NetworkSettings`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NetworkSettings {
    /// Always empty, as is Docker's.
    pub bridge: String,
    /// Of its network namespace: the container's own ID.
    #[serde(rename = "SandboxID")]
    pub sandbox_id: String,
    /// Path of its network namespace.
    pub sandbox_key: String,
    /// Its ports; published ones with where.
    pub ports: BTreeMap<String, Option<Vec<PortBinding>>>,
    /// Deprecated; always off.
    pub hairpin_mode: bool,
    /// Deprecated; always empty.
    #[serde(rename = "LinkLocalIPv6Address")]
    pub link_local_ipv6_address: String,
    /// Deprecated; always 0.
    #[serde(rename = "LinkLocalIPv6PrefixLen")]
    pub link_local_ipv6_prefix_len: u8,
    /// Deprecated; always none.
    #[serde(rename = "SecondaryIPAddresses")]
    pub secondary_ip_addresses: Option<Vec<String>>,
    /// Deprecated; always none.
    #[serde(rename = "SecondaryIPv6Addresses")]
    pub secondary_ipv6_addresses: Option<Vec<String>>,
    /// On the default network.
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    /// On the default network.
    pub gateway: String,
    /// On the default network.
    #[serde(rename = "GlobalIPv6Address")]
    pub global_ipv6_address: String,
    /// On the default network.
    #[serde(rename = "GlobalIPv6PrefixLen")]
    pub global_ipv6_prefix_len: u8,
    /// On the default network.
    #[serde(rename = "IPAddress")]
    pub ip_address: String,
    /// On the default network.
    #[serde(rename = "IPPrefixLen")]
    pub ip_prefix_len: u8,
    /// On the default network.
    #[serde(rename = "IPv6Gateway")]
    pub ipv6_gateway: String,
    /// On the default network.
    pub mac_address: String,
    /// By name.
    pub networks: BTreeMap<String, EndpointSettings>,
}

/// All that is known of a container; with `with_size` its files are measured.
///
/// # Errors
/// If there is no such container, or what is kept of it cannot be read.
pub fn inspect(engine: &Engine, name: &str, with_size: bool) -> Result<Inspect> {
    let record = find(engine, name)?;
    let look = status::derive(engine, &record)?;
    let sizes = match with_size {
        true => Some(size::Layers::default().container(engine, &record)?),
        false => None,
    };
    let (path, args) = argv(&record);
    let (path, args) = (path.to_owned(), args.into_iter().map(str::to_owned).collect());
    let started = look.live.is_some() || look.status == Status::Exited;
    let run_file = |file: &str| match started {
        true => engine.container_run(&record.id).join(file).display().to_string(),
        false => String::new(),
    };
    let log = describe::readable_log(engine, &record)?.filter(|(_, form)| started && *form == LogForm::JsonFile);
    Ok(Inspect {
        state: state(&look),
        resolv_conf_path: run_file("resolv.conf"),
        hostname_path: run_file("hostname"),
        hosts_path: run_file("hosts"),
        log_path: log.map(|(path, _)| path.display().to_string()).unwrap_or_default(),
        path,
        args,
        restart_count: restarts(&look),
        driver: "overlay2",
        platform: record.platform.split('/').next().unwrap_or_default().to_owned(),
        mount_label: String::new(),
        process_label: String::new(),
        app_armor_profile: String::new(),
        exec_ids: None,
        graph_driver: graph_driver(engine, &record, look.live.as_ref())?,
        size_rw: sizes.map(|s| s.rw),
        size_root_fs: sizes.map(|s| s.root_fs),
        network_settings: network_settings(engine, &record, look.live.as_ref(), started),
        host_config: host_config(&record),
        config: config(&record),
        image: record.image_id.to_string(),
        name: format!("/{}", record.name),
        id: record.id,
        created: record.created,
        mounts: mounts(record.host_config.tmpfs.keys(), record.mounts),
    })
}

/// How often it was started again since somebody started it.
fn restarts(look: &Look) -> u64 {
    let live = look.live.as_ref().map(|live| live.restarts);
    live.or(look.exit.as_ref().map(|exit| exit.restarts))
        .unwrap_or_default()
        .into()
}

/// The mounts as Docker shows them: those of `--tmpfs` are in the host config only.
fn mounts<'a>(tmpfs: impl Iterator<Item = &'a String> + Clone, all: Vec<MountPoint>) -> Vec<MountPoint> {
    let short = |m: &MountPoint| {
        let mut places = tmpfs.clone();
        m.kind == "tmpfs" && places.any(|place| Path::new(place) == Path::new(&m.destination))
    };
    let plain = |m: MountPoint| MountPoint { plan: None, ..m };
    all.into_iter().filter(|m| !short(m)).map(plain).collect()
}

fn state(look: &Look) -> State {
    let running = look.live.is_some();
    let exit = look.exit.clone().unwrap_or_default();
    let time = |text: String| if text.is_empty() { NEVER.to_owned() } else { text };
    State {
        status: look.status,
        running,
        paused: look.status == Status::Paused,
        restarting: look.status == Status::Restarting,
        oom_killed: exit.oom_killed && !running,
        dead: look.status == Status::Dead,
        pid: match &look.live {
            Some(live) if look.status != Status::Restarting => live.pid,
            _ => 0,
        },
        exit_code: if running && look.status != Status::Restarting {
            0
        } else {
            exit.exit_code
        },
        error: if running { String::new() } else { exit.error },
        started_at: time(
            look.live
                .as_ref()
                .map_or(exit.started_at, |live| live.started_at.clone()),
        ),
        finished_at: time(exit.finished_at),
        health: look.health.clone(),
    }
}

fn graph_driver(engine: &Engine, record: &Record, live: Option<&LiveState>) -> Result<GraphDriver> {
    let mut lower = snapshot::lower(engine.store(Access::Read)?, &record.layers);
    // Below all layers, as in the container's own mount.
    lower.push(engine.data.join("layers/base"));
    let lower: Vec<String> = lower.iter().map(|dir| dir.display().to_string()).collect();
    let dir = engine.container_dir(&record.id);
    let merged = live.map_or_else(String::new, |live| format!("/proc/{}/root", live.pid));
    Ok(GraphDriver {
        data: BTreeMap::from([
            ("LowerDir", lower.join(":")),
            ("MergedDir", merged),
            ("UpperDir", dir.join("upper").display().to_string()),
            ("WorkDir", dir.join("work").display().to_string()),
        ]),
        name: "overlay2",
    })
}

/// The host config with the defaults that the container runs with.
fn host_config(record: &Record) -> HostConfig {
    let mut out = record.host_config.clone();
    let default = |text: &mut String, value: &str| {
        if text.is_empty() {
            value.clone_into(text);
        }
    };
    out.network_mode = network_name(&out.network_mode).to_owned();
    default(&mut out.log_config.driver, "json-file");
    default(&mut out.restart_policy.name, "no");
    default(&mut out.ipc_mode, "private");
    default(&mut out.cgroupns_mode, "private");
    default(&mut out.runtime, "hull");
    if out.memory > 0 && out.memory_swap == 0 {
        // Docker's default, which is what the container gets.
        out.memory_swap = out.memory.saturating_mul(2);
    }
    if out.shm_size == 0 {
        out.shm_size = 64 << 20;
    }
    let protection = describe::protection(&out);
    out.masked_paths = Some(protection.masked).filter(|paths| !paths.is_empty());
    out.readonly_paths = Some(protection.readonly).filter(|paths| !paths.is_empty());
    out
}

/// The config; Docker writes a missing set of volumes as `null`.
fn config(record: &Record) -> Config {
    let mut out = record.config.clone();
    out.volumes = out.volumes.filter(|volumes| !volumes.is_empty());
    out
}

fn network_settings(engine: &Engine, record: &Record, live: Option<&LiveState>, started: bool) -> NetworkSettings {
    let mut networks = networks(record, live);
    for (name, endpoint) in &mut networks {
        if started && matches!(name.as_str(), "none" | "host") {
            endpoint.network_id = event::network_id(engine, name);
        }
    }
    let Some(live) = live else {
        return NetworkSettings {
            networks,
            ..NetworkSettings::default()
        };
    };
    // Docker repeats the default network's endpoint on the level above.
    let default = networks.get("bridge").cloned().unwrap_or_default();
    let mut ports = live.ports.clone();
    if has_ports(&record.host_config.network_mode) {
        for port in record.config.exposed_ports.keys() {
            ports.entry(port.clone()).or_default();
        }
    }
    NetworkSettings {
        sandbox_id: record.id.clone(),
        sandbox_key: format!("/proc/{}/ns/net", live.pid),
        ports,
        endpoint_id: default.endpoint_id,
        gateway: default.gateway,
        global_ipv6_address: default.global_ipv6_address,
        global_ipv6_prefix_len: default.global_ipv6_prefix_len,
        ip_address: default.ip_address,
        ip_prefix_len: default.ip_prefix_len,
        ipv6_gateway: default.ipv6_gateway,
        mac_address: default.mac_address,
        networks,
        ..NetworkSettings::default()
    }
}
