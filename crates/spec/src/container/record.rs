//! What hull keeps of a container: its record, the state of a running one, and how it last ended.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::host::is_zero_u32;
use super::{
    Config, Empty, EndpointSettings, Healthcheck, HostConfig, MountPoint, NetworkingConfig, PortBinding, null_default,
};
use crate::Digest;

/// `containers/ID/config.json`: what the container is. Written when it is created; replaced whole when it is renamed or
/// updated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Record {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Name, without Docker's leading slash.
    pub name: String,
    /// RFC 3339 with nanoseconds, UTC.
    pub created: String,
    /// The image's ID: its config's digest.
    pub image_id: Digest,
    /// Digest of the manifest that was used.
    pub manifest: Digest,
    /// Chain IDs of the layers, lowest first; the last is the snapshot that the rootfs stands on.
    pub layers: Vec<Digest>,
    /// `os/architecture`.
    pub platform: String,
    /// The merged config: the image's defaults under what was asked for.
    pub config: Config,
    /// Where and how it runs.
    pub host_config: HostConfig,
    /// Its networks.
    pub networking_config: NetworkingConfig,
    /// Its mounts, resolved: volumes have names and host paths.
    pub mounts: Vec<MountPoint>,
    /// The ID of the pod that it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// The IDs of its user namespace, where it has one of its own: chosen when it is created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_maps: Option<IdMaps>,
}

impl Record {
    /// Reads `config.json`. Here and not where it is wanted: this crate is built for speed, and lists read many.
    ///
    /// # Errors
    /// If it is no record.
    pub fn parse(bytes: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(bytes)
    }

    /// As [`Record::parse`], but only of what lists show and filters ask for. All else is passed over and is here as in a
    /// container that nothing was asked for: the most of a record is settings, and a list reads ten thousand.
    ///
    /// # Errors
    /// If it is no record.
    pub fn parse_brief(bytes: &[u8]) -> serde_json::Result<Box<Self>> {
        serde_json::from_slice::<Brief>(bytes).map(|brief| Box::new(brief.into()))
    }
}

/// What lists need of a [`Record`].
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Brief {
    id: String,
    name: String,
    created: String,
    image_id: Digest,
    manifest: Digest,
    layers: Vec<Digest>,
    config: BriefConfig,
    host_config: BriefHostConfig,
    networking_config: NetworkingConfig,
    mounts: Vec<MountPoint>,
    #[serde(default)]
    pod: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct BriefConfig {
    #[serde(deserialize_with = "null_default")]
    exposed_ports: BTreeMap<String, Empty>,
    cmd: Option<Vec<String>>,
    healthcheck: Option<Healthcheck>,
    image: String,
    entrypoint: Option<Vec<String>>,
    #[serde(deserialize_with = "null_default")]
    labels: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct BriefHostConfig {
    network_mode: String,
    #[serde(deserialize_with = "null_default")]
    port_bindings: BTreeMap<String, Option<Vec<PortBinding>>>,
}

impl From<Brief> for Record {
    fn from(brief: Brief) -> Self {
        Self {
            id: brief.id,
            name: brief.name,
            created: brief.created,
            image_id: brief.image_id,
            manifest: brief.manifest,
            layers: brief.layers,
            platform: String::new(),
            config: Config {
                exposed_ports: brief.config.exposed_ports,
                cmd: brief.config.cmd,
                healthcheck: brief.config.healthcheck,
                image: brief.config.image,
                entrypoint: brief.config.entrypoint,
                labels: brief.config.labels,
                ..Config::default()
            },
            host_config: HostConfig {
                network_mode: brief.host_config.network_mode,
                port_bindings: brief.host_config.port_bindings,
                ..HostConfig::default()
            },
            networking_config: brief.networking_config,
            mounts: brief.mounts,
            pod: brief.pod,
            id_maps: None,
        }
    }
}

/// The IDs of a user namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct IdMaps {
    /// Users.
    pub uids: Vec<IdRange>,
    /// Groups.
    pub gids: Vec<IdRange>,
}

/// Consecutive IDs of a user namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct IdRange {
    /// The first in the namespace.
    pub inside: u32,
    /// What the first is outside of it.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

impl IdRange {
    /// What `id` of the namespace among `ranges` is outside of it.
    #[must_use]
    pub fn outside(ranges: &[Self], id: u32) -> Option<u32> {
        ranges.iter().find_map(|range| {
            let offset = id.checked_sub(range.inside).filter(|offset| *offset < range.count)?;
            range.outside.checked_add(offset)
        })
    }
}

/// `/run/hull/containers/ID/state.json`: a container that was started. True only while its monitor holds the lock.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct LiveState {
    /// Process ID of the container's init on the host.
    pub pid: i32,
    /// Its start time in clock ticks since boot (field 22 of /proc/PID/stat): tells it from a later process of the
    /// same number.
    pub start_ticks: u64,
    /// Process ID of the monitor.
    pub monitor_pid: i32,
    /// RFC 3339 with nanoseconds, UTC.
    pub started_at: String,
    /// Whether its process has ended and its monitor waits to start it again.
    #[serde(default)]
    pub restarting: bool,
    /// How often it was started again since somebody started it.
    #[serde(default)]
    pub restarts: u32,
    /// The numbers of the pipes that its standard output and error are; 0 where there is none.
    #[serde(default)]
    pub streams: [u64; 2],
    /// Paths of its cgroups below the host's mounts, one a hierarchy; a single one on cgroup v2.
    #[serde(default)]
    pub cgroups: Vec<String>,
    /// Its networks by name, with what it got there.
    #[serde(default)]
    pub networks: std::collections::BTreeMap<String, EndpointSettings>,
    /// Published ports as they came out: `80/tcp` to host addresses.
    #[serde(default)]
    pub ports: std::collections::BTreeMap<String, Option<Vec<super::PortBinding>>>,
}

/// `containers/ID/exit.json`: how the container last ended. Outlives a reboot.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct LastExit {
    /// 0 to 255; 128 + N for signal N.
    pub exit_code: i32,
    /// Whether the kernel's OOM killer struck in its cgroup.
    #[serde(rename = "OOMKilled")]
    pub oom_killed: bool,
    /// Why it could not be started, or empty.
    pub error: String,
    /// RFC 3339 with nanoseconds, UTC.
    pub started_at: String,
    /// RFC 3339 with nanoseconds, UTC.
    pub finished_at: String,
    /// Whether somebody stopped it: then it is not started again, at the next boot neither.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopped: bool,
    /// How often it had been started again since somebody started it.
    #[serde(default, skip_serializing_if = "is_zero_u32")]
    pub restarts: u32,
    /// When it was started after this end; empty where it was not. Where nothing is known of that later run, it ended with
    /// the host, unseen.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub started_again: String,
}

impl LastExit {
    /// Reads `exit.json`; as [`Record::parse`].
    ///
    /// # Errors
    /// If it is none.
    pub fn parse(bytes: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(bytes)
    }
}

impl LiveState {
    /// Reads `state.json`; as [`Record::parse`].
    ///
    /// # Errors
    /// If it is none.
    pub fn parse(bytes: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(bytes)
    }
}

/// `health.json`, and Docker's `State.Health`: what a container's health checks have found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Health {
    /// `starting`, `healthy` or `unhealthy`.
    pub status: String,
    /// Failures since the last success.
    pub failing_streak: u32,
    /// The last checks, oldest first.
    pub log: Vec<HealthResult>,
}

/// What one health check has found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HealthResult {
    /// RFC 3339 with nanoseconds, UTC.
    pub start: String,
    /// RFC 3339 with nanoseconds, UTC.
    pub end: String,
    /// 0 for healthy; -1 where it was not run to its end.
    pub exit_code: i32,
    /// The beginning of what it wrote.
    pub output: String,
}

/// What a container is doing, derived each time it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Never started.
    Created,
    /// Its process runs.
    Running,
    /// Its processes are frozen.
    Paused,
    /// Its monitor waits to start it again.
    Restarting,
    /// A removal is under way.
    Removing,
    /// Its process has ended.
    Exited,
    /// A removal failed half-way.
    Dead,
}

impl Status {
    /// Docker's word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Removing => "removing",
            Self::Exited => "exited",
            Self::Dead => "dead",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_brief_record_has_what_lists_show() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        let text = serde_json::json!({
            "Id": "1", "Name": "web", "Created": "2024-05-01T10:00:00Z", "ImageId": digest, "Manifest": digest,
            "Layers": [digest], "Platform": "linux/amd64", "Unknown": {"a": [1, "x", null]},
            "Config": {
                "Hostname": "host", "Env": ["A=b"], "Image": "busybox", "Cmd": ["sleep", "1"], "Entrypoint": ["sh"],
                "ExposedPorts": {"80/tcp": {}}, "Labels": {"a": "b"}, "Healthcheck": {"Test": ["CMD", "true"], "Interval": 5},
            },
            "HostConfig": {
                "Binds": ["/a:/b"], "NetworkMode": "host", "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]},
                "Memory": 7,
            },
            "NetworkingConfig": {"EndpointsConfig": {"bridge": {"Aliases": ["x"]}}},
            "Mounts": [{"Type": "volume", "Name": "v", "Destination": "/d"}],
            "Pod": "p",
        });
        let text = serde_json::to_vec(&text).unwrap();
        let whole = Record::parse(&text).unwrap();
        let brief = Record::parse_brief(&text).unwrap();
        assert_eq!((whole.host_config.memory, brief.host_config.memory), (7, 0));
        let expected = Record {
            platform: String::new(),
            config: Config {
                hostname: String::new(),
                env: Vec::new(),
                ..whole.config
            },
            host_config: HostConfig {
                network_mode: whole.host_config.network_mode,
                port_bindings: whole.host_config.port_bindings,
                ..HostConfig::default()
            },
            ..whole
        };
        assert_eq!(*brief, expected);
        assert!(!expected.config.labels.is_empty() && !expected.mounts.is_empty() && expected.pod.is_some());
        for bad in [&b""[..], b"{}", b"[]", &text[..text.len() - 1]] {
            assert!(Record::parse_brief(bad).is_err());
        }
    }
}
