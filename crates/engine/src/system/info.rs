//! `info`: what hull runs on, and how much it has.

use std::collections::BTreeMap;
use std::fs;

use hull_spec::container::Status;
use hull_store::{Access, image};
use jiff::Timestamp;
use serde::Serialize;

use super::host;
use crate::container::{ids, name, status};
use crate::{Engine, Result};

/// Docker's `/info` (Engine API 1.47), in its order.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Info {
    /// Made up once for each data root; empty until it can be written.
    #[serde(rename = "ID")]
    pub id: String,
    /// All of them.
    pub containers: usize,
    /// Those that run.
    pub containers_running: usize,
    /// Those that are frozen.
    pub containers_paused: usize,
    /// All others.
    pub containers_stopped: usize,
    /// All of them.
    pub images: usize,
    /// The storage driver.
    pub driver: &'static str,
    /// What there is to say of it.
    pub driver_status: Vec<[String; 2]>,
    /// What can be chosen from.
    pub plugins: Plugins,
    /// Whether memory can be limited.
    pub memory_limit: bool,
    /// Whether swap can be limited.
    pub swap_limit: bool,
    /// Whether CPU periods can be set.
    pub cpu_cfs_period: bool,
    /// Whether CPU quotas can be set.
    pub cpu_cfs_quota: bool,
    /// Whether CPU weights can be set.
    #[serde(rename = "CPUShares")]
    pub cpu_shares: bool,
    /// Whether containers can be bound to CPUs.
    #[serde(rename = "CPUSet")]
    pub cpu_set: bool,
    /// Whether processes can be limited.
    pub pids_limit: bool,
    /// Whether the host forwards packets.
    #[serde(rename = "IPv4Forwarding")]
    pub ipv4_forwarding: bool,
    /// Whether bridged packets pass the host's firewall.
    pub bridge_nf_iptables: bool,
    /// Whether bridged IPv6 packets do.
    pub bridge_nf_ip6tables: bool,
    /// Always off.
    pub debug: bool,
    /// Open files of this process.
    #[serde(rename = "NFd")]
    pub open_files: usize,
    /// Whether the OOM killer can be kept off.
    pub oom_kill_disable: bool,
    /// Threads of this process.
    #[serde(rename = "NGoroutines")]
    pub threads: usize,
    /// Now.
    pub system_time: String,
    /// The default one.
    pub logging_driver: String,
    /// Who makes cgroups.
    pub cgroup_driver: &'static str,
    /// `1` (also for hybrid hosts) or `2`.
    pub cgroup_version: &'static str,
    /// Always 0.
    #[serde(rename = "NEventsListener")]
    pub event_listeners: usize,
    /// The kernel's release.
    pub kernel_version: String,
    /// The distribution's name.
    pub operating_system: String,
    /// The distribution's version.
    #[serde(rename = "OSVersion")]
    pub os_version: String,
    /// `linux`.
    #[serde(rename = "OSType")]
    pub os_type: &'static str,
    /// The machine, `x86_64`.
    pub architecture: String,
    /// Docker Hub's old address, by which clients find their credentials.
    pub index_server_address: &'static str,
    /// Where images come from.
    pub registry_config: RegistryConfig,
    /// CPUs.
    #[serde(rename = "NCPU")]
    pub cpus: u32,
    /// Bytes of memory.
    pub mem_total: u64,
    /// Swarm's; always none.
    pub generic_resources: Option<Vec<String>>,
    /// The data root.
    pub docker_root_dir: String,
    /// Not kept by the engine.
    pub http_proxy: String,
    /// Not kept by the engine.
    pub https_proxy: String,
    /// Not kept by the engine.
    pub no_proxy: String,
    /// The host's name.
    pub name: String,
    /// Always none.
    pub labels: Vec<String>,
    /// Always off.
    pub experimental_build: bool,
    /// hull's version.
    pub server_version: &'static str,
    /// The OCI runtimes.
    pub runtimes: BTreeMap<&'static str, Runtime>,
    /// The one that is used.
    pub default_runtime: &'static str,
    /// Always inactive.
    pub swarm: Swarm,
    /// Containers outlive everything but the host.
    pub live_restore_enabled: bool,
    /// Windows'.
    pub isolation: String,
    /// What `--init` puts before the program.
    pub init_binary: &'static str,
    /// Not used.
    pub containerd_commit: Commit,
    /// Not used.
    pub runc_commit: Commit,
    /// Not used.
    pub init_commit: Commit,
    /// What containers are kept apart by, beyond namespaces.
    pub security_options: Vec<String>,
    /// Where CDI devices are described.
    #[serde(rename = "CDISpecDirs")]
    pub cdi_spec_dirs: Vec<String>,
    /// The devices that are described there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub discovered_devices: Vec<DiscoveredDevice>,
    /// What this host lacks.
    pub warnings: Option<Vec<String>>,
}

/// A device that containers can have by its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DiscoveredDevice {
    /// `cdi`.
    pub source: &'static str,
    /// Its name.
    #[serde(rename = "ID")]
    pub id: String,
}

/// What can be chosen from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Plugins {
    /// Volume drivers.
    pub volume: Vec<&'static str>,
    /// Network drivers.
    pub network: Vec<&'static str>,
    /// Authorization plugins; always none.
    pub authorization: Option<Vec<&'static str>>,
    /// Log drivers.
    pub log: Vec<&'static str>,
}

/// Where images come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RegistryConfig {
    /// Deprecated; always none.
    #[serde(rename = "AllowNondistributableArtifactsCIDRs")]
    pub allow_nondistributable_artifacts_cidrs: Option<Vec<String>>,
    /// Deprecated; always none.
    pub allow_nondistributable_artifacts_hostnames: Option<Vec<String>>,
    /// Addresses of registries that plain HTTP is spoken to.
    #[serde(rename = "InsecureRegistryCIDRs")]
    pub insecure_registry_cidrs: Vec<String>,
    /// Registries by name.
    pub index_configs: BTreeMap<String, IndexConfig>,
    /// What is asked before Docker Hub; `null` where there is nothing.
    #[serde(serialize_with = "nothing_null")]
    pub mirrors: Vec<String>,
}

fn nothing_null<S: serde::Serializer>(list: &[String], s: S) -> Result<S::Ok, S::Error> {
    Some(list).filter(|list| !list.is_empty()).serialize(s)
}

/// One registry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct IndexConfig {
    /// `host[:port]`.
    pub name: String,
    /// What is asked before it.
    pub mirrors: Vec<String>,
    /// Whether only HTTPS with a known certificate is spoken to it.
    pub secure: bool,
    /// Whether it is Docker Hub.
    pub official: bool,
}

/// An OCI runtime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Runtime {
    /// Its program.
    pub path: &'static str,
}

/// Docker's `Swarm`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Swarm {
    /// Empty.
    #[serde(rename = "NodeID")]
    pub node_id: String,
    /// Empty.
    pub node_addr: String,
    /// `inactive`.
    pub local_node_state: &'static str,
    /// Off.
    pub control_available: bool,
    /// Empty.
    pub error: String,
    /// None.
    pub remote_managers: Option<Vec<String>>,
}

/// Which commit of something is in use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Commit {
    /// The commit.
    #[serde(rename = "ID")]
    pub id: String,
    /// The one that was expected.
    #[serde(rename = "Expected")]
    pub expected: String,
}

/// What hull runs on, and how much it has.
///
/// # Errors
/// If containers or images cannot be counted, or the configuration file cannot be used.
pub fn info(engine: &Engine) -> Result<Info> {
    let cgroups = host::cgroups();
    let (operating_system, os_version) = host::distribution();
    let (running, paused, stopped) = count(engine)?;
    let config = engine.config()?;
    let cdi_spec_dirs = config.cdi.spec_dirs.as_slice();
    let entries = |dir: &str| fs::read_dir(dir).map_or(0, Iterator::count);
    Ok(Info {
        id: id(engine),
        containers: running + paused + stopped,
        containers_running: running,
        containers_paused: paused,
        containers_stopped: stopped,
        images: image::list(engine.store(Access::Read)?)?.len(),
        driver: "overlay2",
        driver_status: driver_status(engine),
        plugins: Plugins {
            volume: vec!["local"],
            network: vec!["bridge", "host", "null"],
            authorization: None,
            log: crate::container::LOG_DRIVERS
                .iter()
                .copied()
                .filter(|d| *d != "none")
                .collect(),
        },
        memory_limit: cgroups.memory,
        swap_limit: cgroups.swap,
        cpu_cfs_period: cgroups.cpu,
        cpu_cfs_quota: cgroups.cpu,
        cpu_shares: cgroups.cpu,
        cpu_set: cgroups.cpuset,
        pids_limit: cgroups.pids,
        ipv4_forwarding: host::is_on("/proc/sys/net/ipv4/ip_forward"),
        bridge_nf_iptables: host::is_on("/proc/sys/net/bridge/bridge-nf-call-iptables"),
        bridge_nf_ip6tables: host::is_on("/proc/sys/net/bridge/bridge-nf-call-ip6tables"),
        debug: false,
        open_files: entries("/proc/self/fd"),
        oom_kill_disable: cgroups.memory && !cgroups.v2,
        threads: entries("/proc/self/task"),
        system_time: Timestamp::now().to_string(),
        logging_driver: match config.log.driver.as_str() {
            "" => "json-file".to_owned(),
            driver => driver.to_owned(),
        },
        cgroup_driver: "cgroupfs",
        cgroup_version: if cgroups.v2 { "2" } else { "1" },
        event_listeners: 0,
        kernel_version: host::kernel_release(),
        operating_system,
        os_version,
        os_type: "linux",
        architecture: host::machine(),
        index_server_address: "https://index.docker.io/v1/",
        registry_config: registry_config(&config.registry),
        cpus: host::cpus(),
        mem_total: host::memory(),
        generic_resources: None,
        docker_root_dir: engine.data.display().to_string(),
        http_proxy: String::new(),
        https_proxy: String::new(),
        no_proxy: String::new(),
        name: host::name(),
        labels: Vec::new(),
        experimental_build: false,
        server_version: env!("CARGO_PKG_VERSION"),
        runtimes: BTreeMap::from([("hull", Runtime { path: "hull-runtime" })]),
        default_runtime: "hull",
        swarm: Swarm {
            local_node_state: "inactive",
            ..Swarm::default()
        },
        live_restore_enabled: true,
        isolation: String::new(),
        init_binary: "hull",
        containerd_commit: Commit::default(),
        runc_commit: Commit::default(),
        init_commit: Commit::default(),
        security_options: security_options(engine),
        cdi_spec_dirs: cdi_spec_dirs.iter().map(|dir| dir.display().to_string()).collect(),
        discovered_devices: crate::cdi::discover(cdi_spec_dirs)
            .names()
            .map(|id| DiscoveredDevice {
                source: "cdi",
                id: id.to_owned(),
            })
            .collect(),
        warnings: warnings(cgroups),
    })
}

/// Containers that run, are paused, and do neither.
fn count(engine: &Engine) -> Result<(usize, usize, usize)> {
    let (mut running, mut paused, mut stopped) = (0, 0, 0);
    for id in ids(engine)? {
        if !crate::container::exists(engine, &id) {
            continue;
        }
        match status::sight(engine, &id)?.status {
            Status::Running | Status::Restarting => running += 1,
            Status::Paused => paused += 1,
            _ => stopped += 1,
        }
    }
    Ok((running, paused, stopped))
}

/// The data root's ID, made up when it is first asked for and can be written.
fn id(engine: &Engine) -> String {
    let path = engine.data.join("engine-id");
    let read = || {
        fs::read_to_string(&path)
            .ok()
            .map(|text| text.trim().to_owned())
            .filter(|text| text.len() == 36)
    };
    if let Some(id) = read() {
        return id;
    }
    // A random UUID (RFC 9562, 5.4).
    let mut bytes: [u8; 32] = name::entropy();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = name::id(bytes);
    let id = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..32]].join("-");
    let next = path.with_extension(format!("{}.new", std::process::id()));
    // Whoever links first has named it; the others take that.
    let linked = fs::write(&next, &id).and_then(|()| fs::hard_link(&next, &path));
    let _ = fs::remove_file(&next);
    match linked {
        Ok(()) => id,
        Err(_) => read().unwrap_or_default(),
    }
}

fn driver_status(engine: &Engine) -> Vec<[String; 2]> {
    [
        ("Backing Filesystem", host::filesystem(&engine.data)),
        ("Supports d_type", "true"),
        ("Using metacopy", "false"),
        ("Native Overlay Diff", "true"),
        ("userxattr", if engine.rootless { "true" } else { "false" }),
    ]
    .map(|(key, value)| [key.to_owned(), value.to_owned()])
    .to_vec()
}

/// Every container has a cgroup namespace of its own unless it says otherwise, on both versions of cgroups.
fn security_options(engine: &Engine) -> Vec<String> {
    let mut out = vec!["name=seccomp,profile=builtin".to_owned()];
    if engine.rootless {
        out.push("name=rootless".to_owned());
    }
    out.push("name=cgroupns".to_owned());
    out
}

fn warnings(cgroups: host::Cgroups) -> Option<Vec<String>> {
    let lacks = [
        (cgroups.memory, "memory limit"),
        (cgroups.swap, "swap limit"),
        (cgroups.cpu, "cpu cfs quota"),
        (cgroups.cpuset, "cpuset"),
        (cgroups.pids, "pids limit"),
    ];
    let out: Vec<String> = lacks
        .iter()
        .filter(|(there, _)| !there)
        .map(|(_, what)| format!("WARNING: No {what} support"))
        .collect();
    Some(out).filter(|out| !out.is_empty())
}

/// The registries that the configuration file names.
fn registry_config(table: &toml::Table) -> RegistryConfig {
    let texts = |value: Option<&toml::Value>| -> Vec<String> {
        let array = value.and_then(toml::Value::as_array);
        array
            .into_iter()
            .flatten()
            .filter_map(|v| v.as_str().map(str::to_owned))
            .collect()
    };
    let mut out = RegistryConfig {
        insecure_registry_cidrs: vec!["::1/128".to_owned(), "127.0.0.0/8".to_owned()],
        ..RegistryConfig::default()
    };
    let mut index = |name: &str, mirrors: Vec<String>, secure: bool| {
        let entry = out.index_configs.entry(name.to_owned()).or_insert_with(|| IndexConfig {
            name: name.to_owned(),
            secure: true,
            official: name == "docker.io",
            ..IndexConfig::default()
        });
        entry.mirrors.extend(mirrors);
        entry.secure &= secure;
    };
    index("docker.io", Vec::new(), true);
    for (name, value) in table {
        if let Some(entry) = value.as_table() {
            let insecure = entry.get("insecure").and_then(toml::Value::as_bool) == Some(true);
            index(name, texts(entry.get("mirrors")), !insecure);
        }
    }
    for name in texts(table.get("insecure")) {
        if name.contains('/') {
            out.insecure_registry_cidrs.push(name);
        } else {
            index(&name, Vec::new(), false);
        }
    }
    out.mirrors = out.index_configs["docker.io"].mirrors.clone();
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_of_the_configuration_are_told() {
        let table: toml::Table = r#"
            insecure = ["10.0.0.0/8", "registry.lan:5000"]
            ["docker.io"]
            mirrors = ["mirror.lan"]
            ["quay.io"]
            insecure = true
        "#
        .parse()
        .unwrap();
        let config = registry_config(&table);
        assert_eq!(config.insecure_registry_cidrs, ["::1/128", "127.0.0.0/8", "10.0.0.0/8"]);
        assert_eq!(config.mirrors, ["mirror.lan"]);
        let secure: Vec<_> = config
            .index_configs
            .values()
            .map(|c| (c.name.as_str(), c.secure))
            .collect();
        assert_eq!(
            secure,
            [("docker.io", true), ("quay.io", false), ("registry.lan:5000", false)]
        );
    }

    #[test]
    fn the_engine_keeps_its_id() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::open(&crate::Settings {
            root: dir.path().to_owned(),
            run_root: dir.path().to_owned(),
            config: dir.path().join("config.toml"),
            rootless: false,
            resident: false,
        });
        let first = id(&engine);
        assert_eq!((first.len(), first.as_bytes()[14]), (36, b'4'));
        assert_eq!(id(&engine), first);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
